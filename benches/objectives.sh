#!/bin/sh
# Prints the table of docs/choosing.md on objectives: the sliced Wasserstein ratio of samples to data of a flow with few Euler
# steps, and of DDPM with ten times as many, after the same training. The values of the seeds, of training and samples.
#
# usage: benches/objectives.sh [moons|pulse ...]
#
# SEEDS selects less; LANGEVIN is the program, RUNS the folder of the runs, which are trained if they do not exist. A
# quarter of an hour on two CPU cores.
set -eu
: "${LANGEVIN:=target/release/langevin}" "${RUNS:=target/objectives}" "${SEEDS:=1 2 3}"
[ $# -gt 0 ] || set -- moons pulse
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Data, number of samples, and options of training.
select_set() {
    case $1 in
    moons) data=moons count=4096 budget="--steps 3000" ;;
    pulse) data=data/pulse.npy count=1203 budget="--steps 1000" ;;
    *) echo "unknown set $1" >&2 && exit 2 ;;
    esac
}

# Trains the run of a set, a name and a seed with the given options, unless it exists.
train() {
    run=$RUNS/$1-$2-$3
    [ -e "$run/checkpoint.safetensors" ] && return
    shift 3
    # shellcheck disable=SC2086
    "$LANGEVIN" train "$data" --out "$run" --seed "$seed" --device cpu --no-samples $budget "$@" >&2
}

# The ratio of samples of the run with the given options. The seed also selects the points of a built-in data set.
ratio() {
    "$LANGEVIN" sample "$run" --device cpu --count "$count" --seed "$seed" --out "$scratch/new.npy" --json "$@" >/dev/null
    "$LANGEVIN" evaluate "$scratch/new.npy" "$data" --seed "$seed" --permutations 1 --json |
        sed 's/.*"sliced":{[^}]*"ratio":\([0-9.e-]*\).*/\1/' | awk '{ printf "%.2f", $1 }'
}

echo "| data | training | sampling | ratio |"
echo "| --- | --- | --- | --- |"
for name; do
    select_set "$name"
    for objective in flow flow-uniform linear cosine; do
        sampling="--sampler euler --steps 10"
        case $objective in
        flow) training="--objective flow" ;;
        flow-uniform) training="--objective flow --times uniform" ;;
        *) training="--prediction epsilon --schedule $objective" sampling="--sampler ddpm --steps 100" ;;
        esac
        values=
        for seed in $SEEDS; do
            # shellcheck disable=SC2086
            train "$name" "$objective" "$seed" $training
            # shellcheck disable=SC2086
            values="$values$(ratio $sampling), "
        done
        echo "| $name | \`$training\` | \`$sampling\` | ${values%, } |"
    done
done
