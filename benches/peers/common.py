"""What both scripts share: the definitions, the timing, and the output of a row."""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time

T, ENCODING, ROWS = 1000, 128, 8192
TRAIN = {"seed-32": ("seed", 32), "seed-256": ("seed", 256), "seed-4096": ("seed", 4096), "mlp-256": ("mlp", 256)}
WIDTHS = {"seed": [100 + ENCODING, 128, 100], "mlp": [784 + ENCODING, 1024, 1024, 1024, 784]}
GEMM = {"gemm-512": 512, "gemm-1024": 1024, "gemm-2048": 2048}
NOISE = (16_384, 784)
SAMPLE = {"ddim-50": ("mlp", 64, 50), "ddpm-1000": ("seed", 256, T)}
CONV = "conv-32"
FIRST = "first-step"
NAMES = [*TRAIN, *GEMM, "noise", *SAMPLE, CONV, FIRST]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", action="append", choices=NAMES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def alpha_bar():
    """The cumulative products of the linear schedule, in f64."""
    product, out = 1.0, []
    for t in range(T):
        product *= 1.0 - (1e-4 + (0.02 - 1e-4) * t / (T - 1))
        out.append(product)
    return out


def encoding_table():
    """enc[t][2i] = sin(t r_i), enc[t][2i+1] = cos(t r_i), r_i = 10000^(-2i/d)."""
    rates = [10000.0 ** (-2 * i / ENCODING) for i in range(ENCODING // 2)]
    return [[f(t * r) for r in rates for f in (math.sin, math.cos)] for t in range(T)]


def sine_waves(length):
    """Rows of a sin(2 pi f s + phi), like the crate's toy."""
    import numpy as np

    rng = np.random.default_rng(0)
    a, f, phi = rng.uniform(0.5, 1, (ROWS, 1)), rng.uniform(1, 5, (ROWS, 1)), rng.uniform(0, 2 * math.pi, (ROWS, 1))
    return (a * np.sin(2 * math.pi * f * np.arange(length) / length + phi)).astype("float32")


def rate(advance, chunk=1.0, chunks=5):
    """Median of `chunks` rates of iterations, `advance(n)` doing n and waiting for them."""
    n = 1
    while True:
        start = time.perf_counter()
        advance(n)
        seconds = time.perf_counter() - start
        if (seconds >= 0.3 * chunk and n > 1) or seconds >= 2 * chunk:
            break
        n *= 2
    n = max(1, math.ceil(n / seconds * chunk))
    rates = []
    for _ in range(chunks):
        start = time.perf_counter()
        advance(n)
        rates.append(n / (time.perf_counter() - start))
    return statistics.median(rates), sorted(rates)


def row(workload, device, backend, value, unit, batch=None, losses=(None, None), **more):
    keys = dict(workload=workload, device=device, backend=backend, batch=batch, metric=METRIC[unit], value=value)
    keys |= dict(unit=unit, loss_first=losses[0], loss_last=losses[1], commit=None, **more)
    print(json.dumps(keys), flush=True)


METRIC = {
    "steps/s": "training_steps",
    "GFLOP/s": "gemm",
    "elements/s": "elements",
    "samples/s": "samples",
    "s": "first_step",
}


def first_step(script, device):
    """Wall time of fresh processes up to their first line."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        child = subprocess.Popen([sys.executable, script, "--child", "--device", device], stdout=subprocess.PIPE)
        assert b"loss" in child.stdout.readline()
        times.append(time.perf_counter() - start)
        child.wait()
    return statistics.median(times)
