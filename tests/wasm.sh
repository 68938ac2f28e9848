#!/usr/bin/env bash
# Checks that the engine (no cargo feature) compiles for browsers: target wasm32-unknown-unknown. The standard library for it
# is rustup's (`rustup target add wasm32-unknown-unknown`), or else comes from Debian's packages, whose cargo and compiler
# are then used (as root, the script installs them). Ends with status 77 where neither is there.
set -euo pipefail
cd "$(dirname "$0")/.."

# The release profile, whose procedural macros are not optimised: the check takes half the time.
check=(check --release --no-default-features --lib --target wasm32-unknown-unknown)
debian=(cargo-web rust-web-src rust-web-llvm)

if [ -e "$(rustc --print target-libdir --target wasm32-unknown-unknown)" ]; then
    RUSTFLAGS="-D warnings" exec cargo "${check[@]}"
fi
missing() { ! dpkg --status "${debian[@]}" >/dev/null 2>&1; }
if missing && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${debian[@]}" || true
fi
if missing; then
    echo "no standard library for wasm32. Install it: rustup target add wasm32-unknown-unknown, or on Debian: apt install" \
        "${debian[*]}" >&2
    exit 77
fi
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# Debian's compiler compiles the standard library too, which is an unstable option of cargo.
PATH=/usr/bin:/bin RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$target/wasm32" RUSTFLAGS="-D warnings" \
    exec cargo "${check[@]}" -Zbuild-std=std,panic_abort
