#!/usr/bin/env python3
"""Long trainings: whether memory and speed stay the same, and how the files grow.

    python3 benches/long_runs.py [--program target/release/langevin] [--device cpu] [--scale 1]

Trains a small model for 200 000 steps and a U-Net for 5000, and prints for each: the resident memory of the process after a tenth of
the run and at its end, the largest in between, the speed in the second and in the last tenth, and the size of the files. `--scale 0.1`
makes the runs ten times as short. Linux only: it reads /proc.
"""

import argparse
import csv
import pathlib
import shutil
import subprocess
import tempfile
import time

RUNS = {
    "small": (["moons", "--model", "simple", "--batch", "32"], 200_000),
    "U-Net": (["data/digits8x8.npy", "--model", "unet", "--batch", "32", "--validation", "0.1"], 5_000),
}


def resident(pid):
    """The resident memory of a process in MiB; None when it has ended."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return None


def rows(folder):
    """The rows of metrics.csv."""
    try:
        with open(folder / "metrics.csv") as file:
            return list(csv.DictReader(file))
    except OSError:
        return []


def run(name, options, device, scale):
    arguments, steps = RUNS[name]
    steps = max(int(steps * scale), 20)
    folder = pathlib.Path(tempfile.mkdtemp()) / "run"
    command = [options.program, "train", *arguments, "--steps", str(steps), "--device", device, "--out", str(folder), "--quiet", "--no-samples"]
    process = subprocess.Popen(command)
    seen = []
    while process.poll() is None:
        memory, done = resident(process.pid), rows(folder)
        if memory and done:
            seen.append((int(done[-1]["step"]) / steps, memory))
        time.sleep(0.5)
    assert process.returncode == 0, f"{command} failed"
    early = next(memory for share, memory in seen if share >= 0.1)
    late = [memory for share, memory in seen if share >= 0.1]
    speeds = [float(row["samples_per_second"]) for row in rows(folder)]
    tenth = max(len(speeds) // 10, 1)
    mean = lambda values: sum(values) / len(values)
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1024:.0f} KiB" for path in sorted(folder.iterdir()))
    print(
        f"{name} on {device}, {steps} steps: {early:.1f} MiB after a tenth, {late[-1]:.1f} at the end, {max(late):.1f} at most; "
        f"{mean(speeds[tenth:2 * tenth]):.0f} samples/s in the second tenth, {mean(speeds[-tenth:]):.0f} in the last; {sizes}"
    )
    shutil.rmtree(folder.parent)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/langevin")
    parser.add_argument("--device", action="append")
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    for device in options.device or ["cpu"]:
        for name in RUNS:
            run(name, options, device, options.scale)


if __name__ == "__main__":
    main()
