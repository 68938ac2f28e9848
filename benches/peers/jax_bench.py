"""The workloads of `langevin bench` in JAX: a whole step, or a whole sampling loop, is one compiled program."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

import common
from common import ENCODING, GEMM, NOISE, ROWS, SAMPLE, TRAIN, WIDTHS, T

BAR = np.array(common.alpha_bar())
SCALE = jnp.asarray(np.stack([np.sqrt(BAR), np.sqrt(1 - BAR)], 1), jnp.float32)
CODE = jnp.asarray(common.encoding_table(), jnp.float32)


def uniform(key, shape, inputs):
    return random.uniform(key, shape, minval=-1, maxval=1) / inputs**0.5


def dense(key, widths):
    keys = random.split(key, 2 * len(widths))
    pairs = enumerate(zip(widths, widths[1:]))
    return [(uniform(keys[2 * i], (a, b), a), uniform(keys[2 * i + 1], (b,), a)) for i, (a, b) in pairs]


def forward(net, x):
    for w, b in net[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = net[-1]
    return x @ w + b


CHANNELS = [(1, 32), (32, 64), (64, 128), (128, 64), (64, 32), (32, 1)]


def conv_net(key):
    keys = random.split(key, 13)
    net = [
        (uniform(keys[2 * i], (3, 3, a, b), 9 * a), uniform(keys[2 * i + 1], (b,), 9 * a))
        for i, (a, b) in enumerate(CHANNELS)
    ]
    return net, (uniform(keys[12], (ENCODING, 128), ENCODING), jnp.zeros(128))


def conv_forward(net, x, enc):
    """Channels last, the layout XLA prefers on a CPU."""
    layers, (w, b) = net

    def conv(x, i, stride=1):
        kernel, bias = layers[i]
        pads = [(1, 1), (1, 1)]
        return lax.conv_general_dilated(x, kernel, (stride,) * 2, pads, dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias

    def double(x):
        return jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)

    h = jax.nn.relu(conv(x.reshape(-1, 28, 28, 1), 0))
    h = jax.nn.relu(conv(h, 1, 2))
    h = jax.nn.relu(conv(h, 2, 2) + (enc @ w + b)[:, None, None, :])
    h = jax.nn.relu(conv(double(h), 3))
    h = jax.nn.relu(conv(double(h), 4))
    return conv(h, 5).reshape(x.shape)


def adam(p, m, v, g, step):
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    a, b = 1 - 0.9**step, 1 - 0.999**step
    return jax.tree.map(lambda p, m, v: p - 1e-3 * (m / a) / (jnp.sqrt(v / b) + 1e-8), p, m, v), m, v


def training(kind, batch):
    net = conv_net(random.key(0)) if kind == "conv" else dense(random.key(0), WIDTHS[kind])
    data = jnp.asarray(common.sine_waves(100 if kind == "seed" else 784))

    def loss_of(net, key):
        rows, times, noise = random.split(key, 3)
        x0 = data[random.randint(rows, (batch,), 0, ROWS)]
        t = random.randint(times, (batch,), 0, T)
        eps = random.normal(noise, x0.shape)
        x_t = SCALE[t, :1] * x0 + SCALE[t, 1:] * eps
        out = conv_forward(net, x_t, CODE[t]) if kind == "conv" else forward(net, jnp.concatenate([x_t, CODE[t]], 1))
        return jnp.mean((out - eps) ** 2)

    @partial(jax.jit, donate_argnums=0)
    def step(state):
        net, m, v, count, key = state
        key, use = random.split(key)
        loss, g = jax.value_and_grad(loss_of)(net, use)
        count = count + 1
        return (*adam(net, m, v, g, count.astype(jnp.float32)), count, key), loss

    zeros = jax.tree.map(jnp.zeros_like, net)
    state = [(net, zeros, jax.tree.map(jnp.zeros_like, net), jnp.int32(0), random.key(1))]
    losses = []

    def advance(n):
        for i in range(n):
            state[0], loss = step(state[0])
            if not losses or i % 100 == 99 or i == n - 1:
                losses.append(float(loss))

    return advance, losses


def gemm(n):
    a, b = random.normal(random.key(0), (n, n)), random.normal(random.key(1), (n, n)) / n**0.5
    run = jax.jit(lambda a, b: (a @ b) @ b)

    def advance(count):
        for _ in range(count):
            c = run(a, b)
        c.block_until_ready()

    return advance


def noise():
    x0 = random.normal(random.key(0), NOISE)

    @jax.jit
    def run(key, x0):
        key, a, b = random.split(key, 3)
        t = random.randint(a, (NOISE[0],), 0, T)
        eps = random.normal(b, NOISE)
        return key, SCALE[t, :1] * x0 + SCALE[t, 1:] * eps, eps

    key = [random.key(2)]

    def advance(count):
        for _ in range(count):
            key[0], x_t, _ = run(key[0], x0)
        x_t.block_until_ready()

    return advance


def sampling(kind, batch, steps):
    net, width = dense(random.key(0), WIDTHS[kind]), WIDTHS[kind][-1]
    times = np.arange(0, T, T // steps)[::-1]
    at = BAR[times]
    ap = np.append(BAR[times[1:]], 1.0)
    beta = 1 - at / ap
    rows = [times, at**-0.5, -((1 - at) ** 0.5) * at**-0.5]
    if steps < T:
        rows += [ap**0.5, 0 * at, (1 - ap) ** 0.5, 0 * at]
    else:
        rows += [ap**0.5 * beta / (1 - at), (at / ap) ** 0.5 * (1 - ap) / (1 - at), 0 * at]
        rows += [np.sqrt(beta * (1 - ap) / (1 - at))]
    table = jnp.asarray(np.stack(rows, 1), jnp.float32)

    @jax.jit
    def run(key, net):
        key, start = random.split(key)

        def step(carry, row):
            x, key = carry
            enc = jnp.broadcast_to(CODE[row[0].astype(int)], (batch, ENCODING))
            eps = forward(net, jnp.concatenate([x, enc], 1))
            x = row[3] * (row[1] * x + row[2] * eps) + row[4] * x + row[5] * eps
            if steps == T:
                key, use = random.split(key)
                x = x + row[6] * random.normal(use, x.shape)
            return (x, key), None

        (x, key), _ = lax.scan(step, (random.normal(start, (batch, width)), key), table)
        return key, x

    key = [random.key(3)]

    def advance(count):
        for _ in range(count):
            key[0], x = run(key[0], net)
            np.asarray(x)

    return advance


def main():
    args = common.arguments()
    if args.child:
        advance, losses = training(*TRAIN["seed-256"])
        advance(1)
        print("loss", losses[-1], flush=True)
        return
    name, backend = jax.devices()[0].device_kind, f"jax {jax.__version__} jit"
    train = TRAIN | {common.CONV: ("conv", 32)}
    for work in args.workload or common.NAMES:
        if work in train:
            advance, losses = training(*train[work])
            value, chunks = common.rate(advance)
            tail = losses[len(losses) // 2 :]
            ends = losses[0], sum(tail) / len(tail)
            common.row(work, name, backend, value, "steps/s", train[work][1], ends, chunks=chunks)
        elif work in GEMM:
            value, _ = common.rate(gemm(GEMM[work]))
            common.row(work, name, backend, value * 4 * GEMM[work] ** 3 / 1e9, "GFLOP/s")
        elif work == "noise":
            value, _ = common.rate(noise())
            common.row(work, name, backend, value * NOISE[0] * NOISE[1], "elements/s", NOISE[0])
        elif work in SAMPLE:
            value, _ = common.rate(sampling(*SAMPLE[work]))
            common.row(work, name, backend, value * SAMPLE[work][1], "samples/s", SAMPLE[work][1])
        else:
            common.row(work, name, backend, common.first_step(__file__, "cpu"), "s", 256)


if __name__ == "__main__":
    main()
