#!/usr/bin/env bash
# Packs the crate as for crates.io, without warnings, compiles what was packed, and runs its unit tests. The dependencies are
# those of the release build; the crate itself is not optimised, so that it compiles in a quarter of the time.
set -euo pipefail
cd "$(dirname "$0")/.."

limit=$((10 * 1000 * 1000)) # bytes of a package on crates.io
log=$(mktemp)
trap 'rm -f "$log"' EXIT
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
name=langevin-$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

cargo package --no-verify --allow-dirty 2>&1 | tee "$log"
# Others, such as those of a slow network or of a dependency that was yanked, are no fault of the package.
about_the_package='^warning: .*(manifest|Cargo\.toml|published package|outside of the package|package\.(include|exclude))'
if grep -E "$about_the_package" "$log"; then
    echo "the package has warnings" >&2
    exit 1
fi
size=$(wc -c <"$target/package/$name.crate")
echo "$name.crate: $size bytes"
if [ "$size" -gt "$limit" ]; then
    echo "crates.io takes at most $limit bytes" >&2
    exit 1
fi

cd "$target/package"
rm -rf "$name"
tar xzf "$name.crate"
cd "$name"
for file in LICENSE-MIT LICENSE-APACHE README.md CHANGELOG.md docs/data.md tests/golden/manifest.json; do
    [ -s "$file" ] || { echo "the package has no $file" >&2; exit 1; }
done
# In the folder of the checkout's build, whose dependencies are the same. Packed files have an old date, and cargo would take
# an older build for theirs.
find . -type f -exec touch {} +
CARGO_TARGET_DIR="$target" cargo test --release --lib --config 'profile.release.package.langevin.opt-level=0'
