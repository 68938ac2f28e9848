#!/usr/bin/env bash
# Runs the parity tests and the self-test on SwiftShader, a second implementation of Vulkan beside Mesa's: another compiler,
# subgroups of 4, at most 256 invocations a workgroup, no f16. It comes from the npm package @sparticuz/chromium, needs no
# root, and is kept in the target folder. For Linux on x86-64; takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
version=153.0.0

stop() { echo "$*" >&2; exit 1; }
needs() { command -v "$1" >/dev/null || stop "$1 is missing: $2"; }

[ "$(uname -sm)" = "Linux x86_64" ] || stop "@sparticuz/chromium holds SwiftShader for Linux on x86-64, not for $(uname -sm)"
needs cargo "install Rust from https://rustup.rs"
for tool in npm node; do
    needs $tool "install Node.js from https://nodejs.org, or: apt install npm (Debian, Ubuntu), dnf install npm, pacman -S npm"
done
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
folder="$target/swiftshader-$version"

fetch() {
    mkdir -p "$target"
    local new="$folder.$$"
    trap 'rm -rf "$folder.$$"' EXIT
    mkdir "$new"
    echo "fetching SwiftShader from @sparticuz/chromium $version"
    npm pack --silent --pack-destination "$new" "@sparticuz/chromium@$version" >/dev/null || stop "npm pack failed"
    tar -xzf "$new"/*.tgz -C "$new" package/bin/swiftshader.tar.br
    node -e 'const f = process.argv[1]; process.stdout.write(require("zlib").brotliDecompressSync(require("fs").readFileSync(f)))' \
        "$new/package/bin/swiftshader.tar.br" | tar -x -C "$new"
    rm -r "$new"/*.tgz "$new/package"
    mv "$new" "$folder"
}
on_swiftshader() {
    LD_LIBRARY_PATH="$folder" VK_DRIVER_FILES="$folder/vk_swiftshader_icd.json" \
        VK_ICD_FILENAMES="$folder/vk_swiftshader_icd.json" LANGEVIN_GPU=require LANGEVIN_CACHE=off "$@"
}

cargo test --release --test engine --no-run
[ -e "$folder" ] || fetch
on_swiftshader "$target/release/langevin" devices --device gpu | grep "SwiftShader" || stop "SwiftShader does not start"
on_swiftshader cargo test --release --test engine parity -- --skip ::cpu
on_swiftshader "$target/release/langevin" selftest --device gpu
