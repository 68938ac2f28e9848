#!/usr/bin/env bash
# Installs the program with pip into a new virtual environment, as `pip install .` does, trains a model with it, and compares
# the samples of its ONNX file in PyPI's onnxruntime. Ends with status 77 where Python or PyPI is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ignored() { echo "$*" >&2; exit 77; }

python3 -m venv "$folder/venv" >"$folder/log" 2>&1 ||
    ignored "no virtual environments of Python 3 ($(tail -n 1 "$folder/log")). On Debian: apt install python3-venv"
bin=$folder/venv/bin
# What pyproject.toml builds with, so that a build that fails is told apart from PyPI that is not there.
requires=$(sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml)
"$bin/pip" install --disable-pip-version-check --quiet "$requires" numpy onnxruntime >"$folder/log" 2>&1 ||
    ignored "PyPI has no $requires, numpy and onnxruntime for this machine: $(tail -n 1 "$folder/log")"

# The build finds maturin on the path.
export PATH="$bin:$PATH" LANGEVIN_DEVICE=cpu
"$bin/pip" install --disable-pip-version-check --quiet --no-build-isolation --check-build-dependencies --no-deps .
[ "$(command -v langevin)" = "$bin/langevin" ]
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
langevin --version | grep -Fx "langevin $version"

langevin train data/pulse.npy --model mlp --steps 100 --no-samples --quiet --out "$folder/pulse"
"$bin/python" tests/export/onnx_samples.py langevin "$folder/pulse"
