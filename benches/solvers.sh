#!/bin/sh
# Prints the tables of docs/choosing.md on samplers: the sliced Wasserstein ratio of samples to data against the number of
# evaluations of the network, for each sampler with its default spacing. The mean over the seeds.
#
# usage: benches/solvers.sh [pulse|moons|dino|digits|sine ...]
#
# SEEDS, CALLS and SAMPLERS select less; LANGEVIN is the program, RUNS the folder of the runs, which are trained if they do
# not exist. An hour for all of it on two CPU cores.
set -eu
: "${LANGEVIN:=target/release/langevin}" "${RUNS:=target/solvers}" "${SEEDS:=1 2 3}" "${CALLS:=5 10 20 50 100}"
: "${SAMPLERS:=ddpm ddim euler euler_ancestral heun edm dpmpp_2m dpmpp_2m_sde unipc}"
[ $# -gt 0 ] || set -- pulse moons dino digits sine
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The steps with at most this number of evaluations: two per step, one in the last, for heun and edm.
steps() {
    case $1 in
    heun | edm) echo $((($2 + 1) / 2)) ;;
    *) echo "$2" ;;
    esac
}

# Data, number of samples and options of training, as in README.md and docs/choosing.md.
for name; do
    case $name in
    pulse) data=data/pulse.npy count=1203 options= ;;
    moons) data=moons count=4096 options= ;;
    dino) data=data/dino.csv count=142 options= ;;
    digits) data=data/digits8x8.npy count=600 options="--model unet --steps 1200" ;;
    sine) data=sine count=200 options="--model unet --steps 4000 --decay cosine" ;;
    *) echo "unknown set $name" >&2 && exit 2 ;;
    esac
    run=$RUNS/$name
    # shellcheck disable=SC2086
    [ -e "$run/checkpoint.safetensors" ] || "$LANGEVIN" train "$data" --out "$run" --device cpu $options >&2
    echo "| $name | $(echo "$CALLS" | sed 's/ / | /g') |"
    echo "| --- |$(for _ in $CALLS; do printf ' --- |'; done)"
    for sampler in $SAMPLERS; do
        row="| $sampler |"
        for calls in $CALLS; do
            for seed in $SEEDS; do
                "$LANGEVIN" sample "$run" --device cpu --count "$count" --seed "$seed" --sampler "$sampler" \
                    --steps "$(steps "$sampler" "$calls")" --out "$scratch/new.npy" --json >/dev/null
                "$LANGEVIN" evaluate "$scratch/new.npy" "$data" --permutations 1 --json
            done >"$scratch/all"
            mean=$(sed 's/.*"sliced":{[^}]*"ratio":\([0-9.e-]*\).*/\1/' "$scratch/all" |
                awk '{ sum += $1 } END { printf "%.2f", sum / NR }')
            row="$row $mean |"
            if [ "$name" = sine ]; then
                share=$(sed 's/.*"sines":{[^}]*"samples":\([0-9.e-]*\).*/\1/' "$scratch/all" |
                    awk '{ sum += $1 } END { printf "%.0f%%", 100 * sum / NR }')
                row="${row% |}, $share |"
            fi
        done
        echo "$row"
    done
done
