#!/usr/bin/env python3
"""Measures how data-parallel training scales on this machine, and computes a model of its cost on networks.

    cargo build --release --features mpi && python3 benches/scaling.py [--rounds 3] [--program target/release/langevin]

One process with one thread is compared with two processes with one thread each, on the same batch. Needs numpy and mpirun.
--model prints only the tables of docs/scaling.md that follow from the model.
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


def rate(program, folder, case, processes):
    """Samples per second of a short training on random images of 28 x 28."""
    network, sizes, batch, steps = CASES[case]
    model = "".join(f"{key} = {value}\n" for key, value in sizes.items())
    settings = f'data = "{folder}/images.npy"\nsteps = {steps}\nbatch = {batch}\n[model]\nname = "{network}"\n{model}'
    (folder / "settings.toml").write_text(settings + (UNET if network == "unet" else ""))
    launcher = ["mpirun", "--bind-to", "core", "-n", str(processes)] if processes > 1 else []
    options = f"--out {folder}/run --force --device cpu --quiet --no-samples --preview off".split()
    environment = {**os.environ, "LANGEVIN_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = [*launcher, program, "train", "--config", f"{folder}/settings.toml", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    with open(folder / "run/metrics.csv") as rows:
        return float(list(csv.DictReader(rows))[-1]["samples_per_second"])


def measure(program, rounds):
    print("| network | 1 process | 2 processes | ratio |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numpy.save(folder / "images.npy", numpy.random.default_rng(0).normal(size=(2048, 28, 28)).astype("f4"))
        for case in CASES:
            rates = {1: [], 2: []}
            for _ in range(rounds):
                for processes in rates:
                    rates[processes].append(rate(program, folder, case, processes))
            one, two = (statistics.median(rates[processes]) for processes in (1, 2))
            print(f"| {case} | {one:.0f} samples/s | {two:.0f} | {two / one:.2f} |", flush=True)


def exchange(ranks, parameters, bandwidth, latency, staging):
    """Seconds of the exchange of a step: two passes over the gradient, a message to each other rank in each of them, and the
    copies between device and host."""
    size = 4 * parameters
    return 2 * (ranks - 1) / ranks * size / bandwidth + 2 * (ranks - 1) * latency + (2 * size / staging if staging else 0)


def model():
    """The share of the time that ranks compute, for the U-Net of unet-28 with 64 samples a rank."""
    networks = {"InfiniBand, 100 Gbit/s, 2 us": (12.5e9, 2e-6), "Ethernet, 25 Gbit/s, 20 us": (3.1e9, 20e-6), "Ethernet, 1 Gbit/s, 50 us": (0.12e9, 50e-6)}
    machines = {"NVIDIA H200, 4.8 ms": (4.8e-3, 25e9), "two CPU cores, 300 ms": (0.3, None)}
    print("\n| network | step without exchange | 2 | 8 | 64 | 512 ranks |\n| --- | --- | --- | --- | --- | --- |")
    for network, (bandwidth, latency) in networks.items():
        for machine, (compute, staging) in machines.items():
            shares = [compute / (compute + exchange(ranks, 855_457, bandwidth, latency, staging)) for ranks in (2, 8, 64, 512)]
            print(f"| {network} | {machine} | " + " | ".join(f"{100 * share:.0f}%" for share in shares) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", default="target/release/langevin")
    parser.add_argument("--model", action="store_true")
    arguments = parser.parse_args()
    if not arguments.model:
        measure(arguments.program, arguments.rounds)
    model()
