#!/usr/bin/env bash
# Trains and samples with several processes over MPI, and compares the files with those of one process, byte for byte. Builds the
# program with the feature mpi, for which it installs Open MPI and libclang where apt and root are there. Ends with status 77
# where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(libopenmpi-dev openmpi-bin libclang-dev)

have() { command -v "$1" >/dev/null; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
libclang() { ldconfig -p 2>/dev/null | grep -q libclang || ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1; }
complete() { have mpicc && have mpirun && { libclang || [ -n "${LIBCLANG_PATH:-}" ]; }; }
if ! complete && have apt-get && as_root true 2>/dev/null; then
    { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy "${packages[@]}"; } || true
fi
complete || { echo "no MPI: apt install ${packages[*]}" >&2; exit 77; }

target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# As a release, but not optimised, so that it compiles in a quarter of the time. It is no program to keep; the next build of cargo puts
# the released one back.
cargo build --release --features mpi --config 'profile.release.package.langevin.opt-level=0'
langevin=$out/langevin
mv "$target/release/langevin" "$langevin"
# Open MPI asks for these where everything runs as root, as in containers.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 LANGEVIN_CACHE=off

fail() { echo "$*" >&2; exit 1; }
on() { timeout 120 mpirun --oversubscribe -n "$1" "$langevin" "${@:2}"; }
device=cpu
train() { on "$1" train data/pulse.npy --steps ${steps:-40} --batch 24 --model mlp --validation 0.1 --validation-every 20 --quiet --no-samples \
    --preview off --device $device "${@:2}"; }
same() { cmp "$out/$1" "$out/$2" || fail "$1 and $2 differ"; }
refuses() { # the words that an error must have, and the command
    local text
    text=$("${@:2}" 2>&1) && fail "${*:2} succeeded"
    grep -q "$1" <<<"$text" || fail "no \"$1\" in: $text"
}

for ranks in 2 3 4; do
    train $ranks --out "$out/$ranks"
    train 1 --micro-batch $((24 / ranks)) --out "$out/alone-$ranks"
    same $ranks/checkpoint.safetensors alone-$ranks/checkpoint.safetensors
done
echo "2, 3 and 4 processes train as one does"

# Another number of processes continues a run.
on 2 train --out "$out/4" --resume --steps 50 --quiet --no-samples --preview off --device cpu
on 1 train --out "$out/alone-4" --resume --steps 50 --quiet --no-samples --preview off --device cpu
same 4/checkpoint.safetensors alone-4/checkpoint.safetensors
for ranks in 1 3; do on $ranks sample "$out/4" --count 50 --device cpu --out "$out/$ranks.npy" >/dev/null; done
same 1.npy 3.npy
echo "they resume and sample as one does"

# Images of 28 x 28, more than are uploaded at once.
{
    printf "\x93NUMPY\x01\x00\x76\x00%-117s\n" "{'descr': '|u1', 'fortran_order': False, 'shape': (12000, 28, 28), }"
    head -c $((12000 * 784)) < <(seq 2000000)
} >"$out/images.npy"
images() { on "$1" train "$out/images.npy" --steps 20 --batch 24 --model simple --quiet --no-samples --preview off --device cpu "${@:2}"; }
images 2 --data-from disk --out "$out/disk"
images 1 --data-from memory --micro-batch 12 --out "$out/memory"
same disk/checkpoint.safetensors memory/checkpoint.safetensors
echo "two processes that read from disk train as one does in memory"

if "$langevin" devices --device gpu >/dev/null 2>&1; then
    device=gpu steps=5
    train 2 --out "$out/gpu"
    train 1 --out "$out/alone-gpu" --micro-batch 12
    device=cpu steps=
    same gpu/checkpoint.safetensors alone-gpu/checkpoint.safetensors
    echo "two processes on one GPU train as one does"
fi

refuses "only train and sample" on 2 inspect data/pulse.npy
refuses "cannot read missing.npy" train 2 --out "$out/none" --labels missing.npy
refuses "started with other options than rank 0" timeout 60 mpirun --oversubscribe -n 1 "$langevin" train moons --out "$out/none" --steps 5 : \
    -n 1 "$langevin" train moons --out "$out/none" --steps 6

# The end of one process ends all, at the last checkpoint.
on 2 train moons --steps 10000000 --model simple --batch 32 --quiet --preview off --device cpu --out "$out/killed" >"$out/log" 2>&1 &
job=$!
for _ in $(seq 100); do
    sleep 0.2
    [ -e "$out/killed/checkpoint.safetensors" ] && break
done
pkill -KILL --newest -f "$out/killed" || fail "no process to end: $(cat "$out/log")"
SECONDS=0
! wait $job || fail "the job succeeded without one of its processes"
[ $SECONDS -lt 20 ] || fail "the other process ended after $SECONDS s"
"$langevin" sample "$out/killed" --count 2 --device cpu --out "$out/killed.npy" >/dev/null
echo "the end of one process ends all of them"
