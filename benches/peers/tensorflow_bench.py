"""The workloads of `langevin bench` in TensorFlow: a hundred training steps, or a whole sampling loop, is one graph."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

import common
from common import CONV, DATA, ENCODING, NOISE, ROWS, WIDTHS, T


def layer(shape, inputs):
    """Weights and biases, uniform in +-1/sqrt(inputs)."""
    return [tf.Variable(tf.random.uniform(s, -(inputs**-0.5), inputs**-0.5)) for s in (shape, shape[-1:])]


class Network:
    def __init__(self, kind):
        self.conv = kind == "conv"
        if self.conv:
            self.layers = [layer((3, 3, a, b), 9 * a) for a, b, _ in CONV] + [layer((ENCODING, CONV[2][1]), ENCODING)]
        else:
            self.layers = [layer((a, b), a) for a, b in zip(WIDTHS[kind], WIDTHS[kind][1:])]
        self.variables = [v for pair in self.layers for v in pair]

    def __call__(self, x, enc):
        return self.convolve(x, enc) if self.conv else self.dense(x, enc)

    def dense(self, x, enc):
        x = tf.concat([x, enc], 1)
        for w, b in self.layers[:-1]:
            x = tf.nn.relu(tf.nn.bias_add(x @ w, b))
        w, b = self.layers[-1]
        return tf.nn.bias_add(x @ w, b)

    def convolve(self, x, enc):
        """Channels last, the only layout on a CPU. The encoding enters as a bias per channel at the middle."""

        def conv(x, i):
            pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
            return tf.nn.bias_add(tf.nn.conv2d(x, self.layers[i][0], CONV[i][2], pads), self.layers[i][1])

        def double(x):
            return tf.compat.v1.image.resize_nearest_neighbor(x, [2 * x.shape[1], 2 * x.shape[2]])

        w, b = self.layers[6]
        h = tf.nn.relu(conv(tf.reshape(x, (-1, 28, 28, 1)), 0))
        h = tf.nn.relu(conv(h, 1))
        h = tf.nn.relu(conv(h, 2) + (enc @ w + b)[:, None, None, :])
        h = tf.nn.relu(conv(double(h), 3))
        h = tf.nn.relu(conv(double(h), 4))
        return tf.reshape(conv(h, 5), x.shape)


class Peer:
    def __init__(self, args):
        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        self.graph = tf.function(jit_compile=args.compile or None)
        self.noising = tf.constant(common.noising_table(), tf.float32)
        self.code = tf.constant(common.encoding_table(), tf.float32)

    def noised(self, x0):
        """x_t, eps and t."""
        t = tf.random.uniform((x0.shape[0],), 0, T, tf.int32)
        eps, scale = tf.random.normal(x0.shape), tf.gather(self.noising, t)
        return scale[:, :1] * x0 + scale[:, 1:] * eps, eps, t

    def training(self, kind, batch):
        """advance(n) and the list of losses it appends to."""
        net, data = Network(kind), tf.constant(common.sine_waves(DATA[kind]))
        moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in net.variables]
        count = tf.Variable(0.0)

        def step():
            x_t, eps, t = self.noised(tf.gather(data, tf.random.uniform((batch,), 0, ROWS, tf.int32)))
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.math.squared_difference(net(x_t, tf.gather(self.code, t)), eps))
            count.assign_add(1.0)
            for p, (m, v), g in zip(net.variables, moments, tape.gradient(loss, net.variables)):
                tf.raw_ops.ResourceApplyAdam(
                    var=p.handle, m=m.handle, v=v.handle, beta1_power=0.9**count, beta2_power=0.999**count,
                    lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, grad=g,
                )  # fmt: skip
            return loss

        @self.graph
        def steps(n):
            loss = 0.0
            for _ in tf.range(n):
                loss = step()
            return loss

        losses = []

        def advance(n):
            for part in [100] * (n // 100) + [n % 100] * (n % 100 > 0):
                losses.append(float(steps(tf.constant(part))))

        return advance, losses

    def gemm(self, n):
        a, b = tf.random.normal((n, n)), tf.random.normal((n, n)) / n**0.5
        run = self.graph(lambda a, b: (a @ b) @ b)

        def advance(count):
            for _ in range(count):
                run(a, b)[0, 0].numpy()

        return advance

    def noise(self):
        x0 = tf.random.normal(NOISE)
        run = self.graph(lambda x0: self.noised(x0)[:2])

        def advance(count):
            for _ in range(count):
                run(x0)[0][0, 0].numpy()

        return advance

    def sampling(self, kind, batch, steps):
        net, table = Network(kind), common.reverse_table(steps)
        times, rows = tf.constant([r[0] for r in table]), tf.constant([r[1:] for r in table], tf.float32)

        @self.graph
        def run():
            x = tf.random.normal((batch, WIDTHS[kind][-1]))
            for i in tf.range(steps):
                enc = tf.broadcast_to(self.code[times[i]], (batch, ENCODING))
                x = rows[i, 0] * x + rows[i, 1] * net(x, enc)
                if steps == T:
                    x += rows[i, 2] * tf.random.normal(x.shape)
            return x

        def advance(count):
            for _ in range(count):
                run().numpy()

        return advance


def main():
    args = common.arguments()
    library = f"tensorflow {tf.__version__} {'XLA' if args.compile else 'graph'}"
    common.measure(args, Peer(args), dict(library=library, device=f"{args.threads} threads", backend=args.device), common.BASIC)


if __name__ == "__main__":
    main()
