#!/usr/bin/env bash
# Runs everything that is checked: format, lints, documentation, and all tests with a GPU adapter required. The tests of the engine
# and of the program run in the configuration that is released, whose shaders are not checked while they run; unit tests are not
# optimised. Software Vulkan is installed where there is no adapter. LANGEVIN_GPU=optional leaves out what needs an adapter that is
# missing.
set -euo pipefail
cd "$(dirname "$0")"
# A released program keeps files in the user's cache folder; its tests do not.
export LANGEVIN_GPU="${LANGEVIN_GPU:-require}" LANGEVIN_CACHE="${LANGEVIN_CACHE:-off}" CARGO_TERM_COLOR=never
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=() times=()

have() { command -v "$1" >/dev/null; }
stop() { echo "$*" >&2; exit 1; }
check() {
    local start=$SECONDS
    printf '\n== %s\n' "$1"
    "${@:2}" || failed+=("$1")
    times+=("$((SECONDS - start)) s $1")
}

# A cargo command that rustup may have left out.
tool() {
    cargo "$1" --version >/dev/null 2>&1 || { have rustup && rustup component add "$2"; } || {
        echo "$2 is missing; install it: rustup component add $2, or your system's package for it" >&2
        return 1
    }
}
format() { tool fmt rustfmt && cargo fmt --check; }
clippy() { tool clippy clippy && cargo clippy --all-targets -- -D warnings; }
# A script that ends with status 77 where something that it needs is missing.
optional() {
    local status=0
    "$@" || status=$?
    [ $status = 77 ] && echo "ignored" && return
    return $status
}
features() {
    tool clippy clippy && cargo clippy --no-default-features -- -D warnings &&
        cargo clippy --no-default-features --features files -- -D warnings &&
        cargo clippy --features parquet --all-targets -- -D warnings
}
documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --no-deps; }
# Unit tests run from the package.
selected=(--release --bins --examples --test '*')
compile() { cargo test "${selected[@]}" --no-run || stop "the tests do not compile"; }
logged() { "$@" 2>&1 | tee -a "$log"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
adapter() { "$target/release/langevin" devices --device gpu >/dev/null 2>&1; }
vulkan() {
    if adapter || [ "$LANGEVIN_GPU" != require ]; then return; fi
    if have apt-get && as_root true 2>/dev/null; then
        echo "no GPU adapter: installing Mesa's software Vulkan (mesa-vulkan-drivers)"
        as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy mesa-vulkan-drivers
    fi
    adapter || stop "no GPU adapter. For software Vulkan: apt install mesa-vulkan-drivers (Debian, Ubuntu), dnf install \
mesa-vulkan-drivers vulkan-loader (Fedora), pacman -S vulkan-swrast vulkan-icd-loader (Arch). Without one: \
LANGEVIN_GPU=optional ./test.sh"
}

# spirv-val checks the kernels as SPIR-V; where it is missing, that test is reported as ignored.
spirv() {
    if have spirv-val || ! have apt-get || ! as_root true 2>/dev/null; then return; fi
    echo "no spirv-val: installing it (spirv-tools)"
    { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy spirv-tools; } ||
        echo "spirv-tools could not be installed"
}

# Tests of each kind, from the lines that cargo and its tests print.
summary() {
    awk '
        / Running unittests examples\// { kind = "examples"; next }
        / Running unittests / { kind = "unit"; next }
        / Running tests\// { kind = $2; gsub(/^tests\/|\/main\.rs$|\.rs$/, "", kind); next }
        / Doc-tests / { kind = "readme and docs"; next }
        /^test result:/ {
            if (!(kind in passed)) order[++kinds] = kind
            passed[kind] += $4; failed[kind] += $6; ignored[kind] += $8
        }
        END {
            printf "%-16s %7s %7s %8s\n", "tests", "passed", "failed", "ignored"
            for (i = 1; i <= kinds; i++) {
                k = order[i]
                printf "%-16s %7d %7d %8d\n", k, passed[k], failed[k], ignored[k]
                p += passed[k]; f += failed[k]; s += ignored[k]
            }
            printf "Summary [%9.3fs] %d tests run: %d passed, %d failed, %d skipped\n", time, p + f, p, f, s
        }' time="$SECONDS" "$log"
}

have cargo || stop "cargo is missing: install Rust from https://rustup.rs"
have cc || stop "a linker is missing: apt install gcc (Debian, Ubuntu), dnf install gcc, pacman -S gcc, or xcode-select --install"
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

check format format
check clippy clippy
check documentation documentation
check "engine alone, and with files" features
check wasm32 optional tests/wasm.sh
check "compile the tests" compile
vulkan
spirv
check "tests of the engine and the program" logged cargo test "${selected[@]}" --no-fail-fast -- --show-output
check "examples in the documentation" logged cargo test --release --doc
check "wheel of the program" optional tests/wheel.sh
check "package of the crate, and its unit tests" logged tests/package.sh
check "several processes over MPI" optional tests/mpi.sh

printf '\n== counts\n'
grep -oE '(gradient cases:|parity cases on|golden:|kernels in all languages:|[0-9]+ tests are ignored:).*' "$log" || true
for name in ${failed[@]+"${failed[@]}"}; do echo "FAILED: $name"; done
printf 'time: %s\n' "${times[@]}"
summary
[ ${#failed[@]} = 0 ]
