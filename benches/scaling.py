#!/usr/bin/env python3
"""Measures how data-parallel training scales on this machine, and computes a model of its cost on networks.

    cargo build --release --features mpi && python3 benches/scaling.py [--rounds 3] [--program target/release/langevin]

One process with one thread is compared with two processes with one thread each, on the same batch; and with two independent trainings
of one thread each at the same time, which are what the machine can do at best. Needs numpy, mpirun and taskset.
--model prints only the table of docs/scaling.md that follows from the model.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy

CASES = {
    "MLP 4x256, batch 256": ("mlp", {"width": 256, "depth": 4}, 256, 200),
    "MLP 2x1024, batch 256": ("mlp", {"width": 1024, "depth": 2}, 256, 50),
    "convolutional autoencoder, batch 32": ("autoencoder", {}, 32, 300),
    "U-Net of width 32, levels 1 2 4, batch 64": ("unet", {"width": 32}, 64, 10),
}
UNET = "[model.unet]\nmultipliers = [1, 2, 4]\nattention = [2]\npatch = 1\n"


MPIRUN = ["mpirun", "--bind-to", "core", "-n", "2"]
# The launchers of the programs that run at the same time.
WAYS = {"one": [[]], "two": [MPIRUN], "apart": [["taskset", "-c", "0"], ["taskset", "-c", "1"]]}


def rate(program, folder, case, launchers):
    """Samples per second of short trainings on random images of 28 x 28, which run at the same time: their sum."""
    network, sizes, batch, steps = CASES[case]
    model = "".join(f"{key} = {value}\n" for key, value in sizes.items())
    settings = f'data = "{folder}/images.npy"\nsteps = {steps}\nbatch = {batch}\n[model]\nname = "{network}"\n{model}'
    (folder / "settings.toml").write_text(settings + (UNET if network == "unet" else ""))
    environment = {**os.environ, "LANGEVIN_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    started = []
    for i, launcher in enumerate(launchers):
        options = f"--out {folder}/run{i} --force --device cpu --quiet --no-samples --preview off".split()
        command = [*launcher, program, "train", "--config", f"{folder}/settings.toml", *options]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    for process in started:
        text, _ = process.communicate()
        if process.returncode:
            sys.exit(f"{' '.join(process.args)}\n{text}")
    rows = [list(csv.DictReader((folder / f"run{i}/metrics.csv").open())) for i in range(len(launchers))]
    return sum(float(of[-1]["samples_per_second"]) for of in rows)


def measure(program, rounds):
    print("| network | 1 process | 2 processes | ratio | 2 at once, each alone | ratio |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numpy.save(folder / "images.npy", numpy.random.default_rng(0).normal(size=(2048, 28, 28)).astype("f4"))
        for case in CASES:
            rates = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way, launchers in WAYS.items():
                    rates[way].append(rate(program, folder, case, launchers))
            one, two, apart = (statistics.median(rates[way]) for way in WAYS)
            print(f"| {case} | {one:.0f} samples/s | {two:.0f} | {two / one:.2f} | {apart:.0f} | {apart / one:.2f} |", flush=True)


def exchange(ranks, parameters, bandwidth, latency, staging, hidden=0.0):
    """Seconds of the exchange of a step: two passes over the gradient or the weights, a message to each other rank in each of them, and
    the copies between device and host. Of the first pass, `hidden` seconds overlap with the computation."""
    size = 4 * parameters
    one_pass = (ranks - 1) / ranks * size / bandwidth + (ranks - 1) * latency + (size * (1 + 1 / ranks) / staging if staging else 0)
    return max(one_pass - hidden, 0) + one_pass


def model():
    """The share of the time that ranks compute, for the U-Net of unet-28 with 64 samples a rank. In brackets, if the sums of gradients
    overlapped with the reverse pass, two thirds of the computation."""
    networks = {"InfiniBand, 100 Gbit/s, 2 us": (12.5e9, 2e-6), "Ethernet, 25 Gbit/s, 20 us": (3.1e9, 20e-6), "Ethernet, 1 Gbit/s, 50 us": (0.12e9, 50e-6)}
    machines = {"NVIDIA H200, 4.8 ms": (4.8e-3, 25e9), "two CPU cores, 300 ms": (0.3, None)}
    print("\n| network | step without exchange | 2 | 8 | 64 | 512 processes |\n| --- | --- | --- | --- | --- | --- |")
    for network, (bandwidth, latency) in networks.items():
        for machine, (compute, staging) in machines.items():
            def share(ranks, hidden):
                return compute / (compute + exchange(ranks, 855_457, bandwidth, latency, staging, hidden))
            shares = [f"{100 * share(ranks, 0):.0f}% ({100 * share(ranks, compute * 2 / 3):.0f}%)" for ranks in (2, 8, 64, 512)]
            print(f"| {network} | {machine} | " + " | ".join(shares) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", default="target/release/langevin")
    parser.add_argument("--model", action="store_true")
    arguments = parser.parse_args()
    if not arguments.model:
        measure(arguments.program, arguments.rounds)
    model()
