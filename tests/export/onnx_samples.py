#!/usr/bin/env python3
"""Compares the samples of exported ONNX files with those of langevin, from the same noise.

    python tests/export/onnx_samples.py langevin RUN...

It needs numpy and onnxruntime. RUN is a trained run without conditions. Exits with 1 if an error is above 1e-5 of the range of
the data. `compare.py` compares more, with more packages, and uses these functions.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

COUNT = 8
LIMIT = 1e-5


def main():
    langevin, runs = sys.argv[1], sys.argv[2:]
    worst = 0.0
    print(f"onnxruntime {onnxruntime.__version__}")
    for run in runs:
        with tempfile.TemporaryDirectory() as folder:
            errors = compare(langevin, run, Path(folder))
        worst = report(run, errors, worst)
    finish(worst)


def report(run, errors, worst):
    """Prints the errors of a run, and gives the largest one of all; a NaN is an error, too."""
    print(f"{run}: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()), flush=True)
    return max(worst, *(error if error == error else np.inf for error in errors.values()))


def finish(worst):
    print(f"worst error {worst:.1e}")
    sys.exit(0 if worst <= LIMIT else 1)


def call(*arguments):
    done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done.stdout


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def sample_error(config, got, want):
    """The largest error of samples, relative to the range of the data, which `config.json` of an export has."""
    got = np.asarray(got)
    limits = [np.reshape(np.repeat(config["limits"][end], config["limits"]["repeat"]), -1) for end in ("high", "low")]
    extent = float(np.max(limits[0] - limits[1]) * np.max(config["units"]["scale"]))
    assert got.shape == want.shape, (got.shape, want.shape)
    return float(np.max(np.abs(got - want))) / extent


def compare(langevin, run, folder):
    def cpu(*arguments):
        return call(langevin, *arguments, "--device", "cpu")

    cpu("export", run, "--pytorch", folder / "exported")
    config = json.loads((folder / "exported/config.json").read_text())
    errors = {}
    for name, more in [("unipc", ()), ("ddim", ("--steps", 20)), ("heun", ("--steps", 5))]:
        onnx, noise, out = folder / f"{name}.onnx", folder / f"{name}-noise.npy", folder / f"{name}.npy"
        cpu("export", run, "--onnx", onnx, "--sampler", name, *more)
        cpu("sample", run, "--count", COUNT, "--sampler", name, *more, "--save-noise", noise, "--out", out)
        (got,) = session(onnx).run(None, {"noise": np.load(noise)})
        errors[f"ONNX {name}"] = sample_error(config, got, np.load(out))
    return errors


if __name__ == "__main__":
    main()
