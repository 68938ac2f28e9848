"""The workloads of `langevin bench` in JAX: a hundred training steps, or a whole sampling loop, is one compiled program."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax, random

import common
from common import CONV, DATA, ENCODING, NOISE, ROWS, WIDTHS, T

NOISING = jnp.asarray(common.noising_table(), jnp.float32)
CODE = jnp.asarray(common.encoding_table(), jnp.float32)


def layer(key, shape, inputs):
    """Weights and biases, uniform in +-1/sqrt(inputs)."""
    w, b = random.split(key)
    return tuple(random.uniform(k, s, minval=-1, maxval=1) / inputs**0.5 for k, s in ((w, shape), (b, shape[-1:])))


def network(kind, key):
    widths = [(b, (a, b)) for a, b in zip(WIDTHS[kind], WIDTHS[kind][1:])] if kind != "conv" else []
    shapes = [((a, b), a) for _, (a, b) in widths]
    if kind == "conv":
        shapes = [((3, 3, a, b), 9 * a) for a, b, _ in CONV] + [((ENCODING, CONV[2][1]), ENCODING)]
    return [layer(random.fold_in(key, i), *s) for i, s in enumerate(shapes)]


def forward(net, x, enc):
    x = jnp.concatenate([x, enc], 1)
    for w, b in net[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = net[-1]
    return x @ w + b


def conv_forward(net, x, enc):
    """Channels last, the layout XLA prefers on a CPU. The encoding enters as a bias per channel at the middle."""

    def conv(x, i):
        (kernel, bias), stride, pads = net[i], CONV[i][2], [(1, 1), (1, 1)]
        return lax.conv_general_dilated(x, kernel, (stride,) * 2, pads, dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias

    def double(x):
        return jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)

    w, b = net[6]
    h = jax.nn.relu(conv(x.reshape(-1, 28, 28, 1), 0))
    h = jax.nn.relu(conv(h, 1))
    h = jax.nn.relu(conv(h, 2) + (enc @ w + b)[:, None, None, :])
    h = jax.nn.relu(conv(double(h), 3))
    h = jax.nn.relu(conv(double(h), 4))
    return conv(h, 5).reshape(x.shape)


def adam(net, m, v, g, step):
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    a, b = 1 - 0.9**step, 1 - 0.999**step
    return jax.tree.map(lambda p, m, v: p - 1e-3 * (m / a) / (jnp.sqrt(v / b) + 1e-8), net, m, v), m, v


def training(kind, batch):
    """advance(n) and the list of losses it appends to."""
    net, data = network(kind, random.key(0)), jnp.asarray(common.sine_waves(DATA[kind]))
    model = conv_forward if kind == "conv" else forward

    def loss_of_batch(net, key):
        rows, times, noise = random.split(key, 3)
        x0 = data[random.randint(rows, (batch,), 0, ROWS)]
        t = random.randint(times, (batch,), 0, T)
        eps = random.normal(noise, x0.shape)
        x_t = NOISING[t, :1] * x0 + NOISING[t, 1:] * eps
        return jnp.mean((model(net, x_t, CODE[t]) - eps) ** 2)

    def step(state, _=None):
        net, m, v, count, key = state
        key, use = random.split(key)
        loss, g = jax.value_and_grad(loss_of_batch)(net, use)
        return (*adam(net, m, v, g, count + 1), count + 1, key), loss

    one = jax.jit(step, donate_argnums=0)
    hundred = jax.jit(lambda state: lax.scan(step, state, length=100), donate_argnums=0)
    zeros = [jax.tree.map(jnp.zeros_like, net) for _ in range(2)]
    state, losses = (net, *zeros, jnp.float32(0), random.key(1)), []

    def advance(n):
        nonlocal state
        for _ in range(n // 100):
            state, of_steps = hundred(state)
            losses.append(float(of_steps[-1]))
        for _ in range(n % 100):
            state, loss = one(state)
        if n % 100:
            losses.append(float(loss))

    return advance, losses


def gemm(n):
    """B is orthogonal, so that a long chain of products keeps its size."""
    state, b = random.normal(random.key(0), (n, n)), jnp.linalg.qr(random.normal(random.key(1), (n, n)))[0]
    run = jax.jit(lambda a, b: (a @ b) @ b, donate_argnums=0)

    def advance(count):
        nonlocal state
        for _ in range(count):
            state = run(state, b)
        state.block_until_ready()

    return advance


def noise():
    x0 = random.normal(random.key(0), NOISE)

    @partial(jax.jit, donate_argnums=(1, 2))
    def run(key, _x_t, _eps, x0):
        key, a, b = random.split(key, 3)
        t = random.randint(a, (NOISE[0],), 0, T)
        eps = random.normal(b, NOISE)
        return key, NOISING[t, :1] * x0 + NOISING[t, 1:] * eps, eps

    state = (random.key(2), jnp.zeros(NOISE), jnp.zeros(NOISE))

    def advance(count):
        nonlocal state
        for _ in range(count):
            state = run(*state, x0)
        state[1].block_until_ready()

    return advance


def sampling(kind, batch, steps):
    net, table = network(kind, random.key(0)), common.reverse_table(steps)
    times = jnp.asarray([row[0] for row in table])
    rows = jnp.asarray([row[1:] for row in table], jnp.float32)

    @jax.jit
    def run(key, net):
        key, start = random.split(key)

        def step(carry, at):
            (x, key), (t, (a, b, s)) = carry, at
            x = a * x + b * forward(net, x, jnp.broadcast_to(CODE[t], (batch, ENCODING)))
            if steps == T:
                key, use = random.split(key)
                x += s * random.normal(use, x.shape)
            return (x, key), None

        (x, key), _ = lax.scan(step, (random.normal(start, (batch, WIDTHS[kind][-1])), key), (times, rows))
        return key, x

    key = random.key(3)

    def advance(count):
        nonlocal key
        for _ in range(count):
            key, x = run(key, net)
            jax.device_get(x)

    return advance


class Peer:
    training, gemm, noise, sampling = map(staticmethod, (training, gemm, noise, sampling))


def main():
    args = common.arguments()
    device = jax.devices()[0]
    where = dict(library=f"jax {jax.__version__} jit", device=device.device_kind, backend=device.platform)
    common.measure(args, Peer, where, common.BASIC)


if __name__ == "__main__":
    main()
