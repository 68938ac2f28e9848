"""What the Python scripts share: the definitions, the timing, and the output of a row."""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

T, ENCODING, ROWS = 1000, 128, 8192
# Network and batch.
TRAIN = {
    "seed-32": ("seed", 32),
    "seed-256": ("seed", 256),
    "seed-4096": ("seed", 4096),
    "mlp-256": ("mlp", 256),
    "conv-32": ("conv", 32),
    "unet-28": ("unet2d", 64),
    "unet-1d": ("unet1d", 64),
}
DATA = {"seed": 100, "mlp": 784, "conv": 784, "unet2d": 784, "unet1d": 128}
WIDTHS = {"seed": [100 + ENCODING, 128, 100], "mlp": [784 + ENCODING, 1024, 1024, 1024, 784]}
# In, out and stride of the 3x3 convolutions; the width doubles before the fourth and the fifth.
CONV = [(1, 32, 1), (32, 64, 2), (64, 128, 2), (128, 64, 1), (64, 32, 1), (32, 1, 1)]
# Sample of the U-Net, its channels per level, groups, and heads on the coarsest level.
SAMPLES = {"unet2d": (1, 28, 28), "unet1d": (1, 128)}
LEVELS, GROUPS, HEADS, STEP, TIME = {"unet2d": (32, 64, 128), "unet1d": (32, 64, 128, 128)}, 8, 4, 64, 128
# Channels, heads and places.
ATTENTION = {"attention-4096": (128, 4, 4096)}
# Batch, sample, channels per level and groups of the small U-Net.
SMALL = {"unet-32": 2, "unet-32-b32": 32}
SMALL_SAMPLE, SMALL_LEVELS, SMALL_GROUPS = (4, 32, 32), (64, 128, 256), 16
GEMM = {"gemm-512": 512, "gemm-1024": 1024, "gemm-2048": 2048}
NOISE = (16_384, 784)
# Network, batch and steps.
SAMPLE = {"ddim-50": ("mlp", 64, 50), "ddpm-1000": ("seed", 256, T), "sample-unet": ("unet2d", 64, 20)}
FIRST = "first-step"
NAMES = [*list(TRAIN)[:4], *GEMM, "noise", *list(SAMPLE)[:2], *list(TRAIN)[4:], *SMALL, *ATTENTION, "sample-unet", FIRST]
# Those without U-Nets and attention.
BASIC = [name for name in NAMES if "unet" not in name and name not in ATTENTION]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", action="append", choices=NAMES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="where the library can be told")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--contiguous", action="store_true", help="images [B, C, H, W] in memory, and not [B, H, W, C]")
    parser.add_argument("--graphs", action="store_true", help="CUDA graphs of whole training steps and reverse processes")
    parser.add_argument("--quick", action="store_true", help="three chunks of a tenth of a second")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def alpha_bar():
    """The cumulative products of the linear schedule, in f64."""
    product, out = 1.0, []
    for t in range(T):
        product *= 1.0 - (1e-4 + (0.02 - 1e-4) * t / (T - 1))
        out.append(product)
    return out


def noising_table():
    """sqrt(alpha bar) and sqrt(1 - alpha bar) of each t."""
    return [[math.sqrt(a), math.sqrt(1 - a)] for a in alpha_bar()]


def encoding_table():
    """enc[t][2i] = sin(t r_i), enc[t][2i+1] = cos(t r_i), r_i = 10000^(-2i/d)."""
    rates = [10000.0 ** (-2 * i / ENCODING) for i in range(ENCODING // 2)]
    return [[f(t * r) for r in rates for f in (math.sin, math.cos)] for t in range(T)]


def reverse_table(steps):
    """t, a, b, s of each step of x <- a x + b eps + s z: DDIM with eta 0, or DDPM with its small variance for T steps."""
    bar, out = alpha_bar(), []
    for t in range(0, T, T // steps)[::-1]:
        at, ap = bar[t], bar[t - T // steps] if t >= T // steps else 1.0
        scale, part = at**-0.5, (1 - at) ** 0.5 * at**-0.5  # x0 = scale x - part eps
        if steps < T:
            out.append((t, ap**0.5 * scale, (1 - ap) ** 0.5 - ap**0.5 * part, 0.0))
        else:
            beta = 1 - at / ap
            of_x0, of_x = ap**0.5 * beta / (1 - at), (at / ap) ** 0.5 * (1 - ap) / (1 - at)
            out.append((t, of_x0 * scale + of_x, -of_x0 * part, (beta * (1 - ap) / (1 - at)) ** 0.5))
    return out


def sine_waves(length):
    """Rows of a sin(2 pi f s + phi), like the crate's toy."""
    import numpy as np

    rng = np.random.default_rng(0)
    a, f, phi = rng.uniform(0.5, 1, (ROWS, 1)), rng.uniform(1, 5, (ROWS, 1)), rng.uniform(0, 2 * math.pi, (ROWS, 1))
    return (a * np.sin(2 * math.pi * f * np.arange(length) / length + phi)).astype("float32")


def rate(advance, quick):
    """Rates of iterations, sorted: `advance(n)` does n and waits for them."""
    chunk, chunks = (0.1, 3) if quick else (1.0, 5)
    n = 1
    while True:
        advance(n)  # compiles and tunes what it needs for the first time
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
    return sorted(rates)


def row(workload, where, metric, unit, values, batch=None, losses=(None, None)):
    """One JSON object with the keys of `langevin bench --json`, for its `--compare` too."""
    keys = where | dict(workload=workload, batch=batch, metric=metric, value=statistics.median(values), unit=unit)
    keys |= dict(loss_first=losses[0], loss_last=losses[1], precision="f32", chunks=values)
    print(json.dumps(keys), flush=True)


def measure(args, peer, where, names=None):
    """A row for each workload, of `names` if not all are there. `peer` has training, gemm, small_unet, attention, noise
    and sampling, which return `advance`."""
    if args.child:
        advance, losses = peer.training(*TRAIN["seed-256"])
        advance(1)
        print("loss", losses[-1], flush=True)
        return

    def timed(advance, amount):
        return [r * amount for r in rate(advance, args.quick)]

    for work in args.workload or names or NAMES:
        if work in TRAIN:
            advance, losses = peer.training(*TRAIN[work])
            values = timed(advance, 1)
            advance(100 if values[-1] > 20 else 10)
            last = losses[-max(1, len(losses) // 4) :]
            row(work, where, "training_steps", "steps/s", values, TRAIN[work][1], (losses[0], statistics.mean(last)))
        elif work in GEMM:
            values = timed(peer.gemm(GEMM[work]), 4 * GEMM[work] ** 3 / 1e9)
            row(work, where, "gemm", "GFLOP/s", values)
        elif work in SMALL:
            row(work, where, "passes", "passes/s", timed(peer.small_unet(SMALL[work]), 1), SMALL[work])
        elif work in ATTENTION:
            row(work, where, "passes", "passes/s", timed(peer.attention(*ATTENTION[work]), 1))
        elif work == "noise":
            values = timed(peer.noise(), NOISE[0] * NOISE[1])
            row(work, where, "elements", "elements/s", values, NOISE[0])
        elif work in SAMPLE:
            values = timed(peer.sampling(*SAMPLE[work]), SAMPLE[work][1])
            row(work, where, "samples", "samples/s", values, SAMPLE[work][1])
        else:
            for metric, times in first_steps(args).items():
                row(work, where, metric, "s", times, 256)


# Where JAX, torch.compile, CUDA and programs that follow the XDG rules keep what they compiled.
CACHES = ["JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH", "XDG_CACHE_HOME"]


def first_steps(args):
    """Seconds of fresh processes up to their first line, with cold and with warm caches."""
    command = [sys.executable, sys.argv[0], "--child", "--device", args.device, "--threads", str(args.threads)]
    command += ["--compile"] if args.compile else []
    times = {"first_step_cold": [], "first_step_warm": []}
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            caches = dict.fromkeys(CACHES, folder) | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
            for metric in times:
                start = time.perf_counter()
                with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | caches) as child:
                    assert b"loss" in child.stdout.readline(), "the child process failed"
                    times[metric].append(time.perf_counter() - start)
    return {metric: sorted(t) for metric, t in times.items()}
