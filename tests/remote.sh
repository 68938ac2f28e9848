#!/usr/bin/env bash
# Reads files from a local server with the interface of S3 (moto), by s3:// and http:// addresses, and compares what is trained with
# local files, byte for byte. Builds the program with the feature remote. Ends with status 77 where Python or PyPI is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill $server 2>/dev/null; rm -rf "$folder"' EXIT
ignored() { echo "$*" >&2; exit 77; }
fail() { echo "$*" >&2; exit 1; }

python3 -m venv "$folder/venv" >"$folder/log" 2>&1 ||
    ignored "no virtual environments of Python 3 ($(tail -n 1 "$folder/log")). On Debian: apt install python3-venv"
"$folder/venv/bin/pip" install --disable-pip-version-check --quiet 'moto[server,s3]' boto3 >"$folder/log" 2>&1 ||
    ignored "PyPI has no moto for this machine: $(tail -n 1 "$folder/log")"

cargo build --release --features remote
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
langevin="$target/release/langevin"

port=${PORT:-5599}
"$folder/venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$folder/moto.log" 2>&1 &
server=$!
export AWS_ENDPOINT="http://127.0.0.1:$port" AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
export LANGEVIN_CACHE="$folder/cache" LANGEVIN_DEVICE=cpu
for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.2
done
put() { # local files, as objects of the same names
    "$folder/venv/bin/python" - "$folder" "$@" <<'PYTHON'
import os, sys, boto3
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"])
s3.create_bucket(Bucket="samples")
for name in sys.argv[2:]:
    s3.upload_file(os.path.join(sys.argv[1], name), "samples", name, ExtraArgs={"ACL": "public-read"})
PYTHON
}
alike() { # the data at an address and in a local file, the name of the runs, and options
    local side of=("$1" "$2")
    for side in 0 1; do
        "$langevin" train "${of[side]}" --model mlp --steps 20 --quiet --no-samples --preview off --force --out "$folder/run" "${@:4}"
        "$langevin" sample "$folder/run" --count 8 --seed 1 --out "$folder/$3-$side.npy" >/dev/null
    done
    cmp "$folder/$3-0.npy" "$folder/$3-1.npy" || fail "$1 trains otherwise than $2"
}
refuses() { # the words that an error must have, and the command
    local text
    text=$("${@:2}" 2>&1) && fail "${*:2} succeeded"
    grep -qF "$1" <<<"$text" || fail "no \"$1\" in: $text"
}

# Data: two parts of an array, and a tar file of pictures with classes.
cp data/pulse.npy "$folder/pulse-1.npy"
cp data/pulse.npy "$folder/pulse-2.npy"
"$langevin" convert 'data/mnist-1k/train-images-idx3-ubyte[0:60]' "$folder/mnist.npy" >/dev/null
"$langevin" train "$folder/mnist.npy" --model mlp --steps 5 --quiet --no-samples --preview off --out "$folder/mnist"
"$langevin" sample "$folder/mnist" --count 40 --out "$folder/pictures" >/dev/null
(cd "$folder/pictures" && mkdir a b && mv ./*[0-4].png a && mv ./*.png b)
tar -C "$folder" -cf "$folder/pictures.tar" pictures
put pulse-1.npy pulse-2.npy pictures.tar

alike s3://samples/pulse-1.npy "$folder/pulse-1.npy" array
alike "$AWS_ENDPOINT/samples/pulse-1.npy" "$folder/pulse-1.npy" http
alike 's3://samples/pulse-*.npy' "$folder/pulse-*.npy" parts --data-from disk
alike 's3://samples/pulse-1.npy[10:900]' "$folder/pulse-1.npy[10:900]" range
(cd "$folder" && alike s3://samples/pictures.tar pictures.tar tar --labels pictures.tar)
labels=$("$langevin" evaluate s3://samples/pictures.tar "$folder/pictures" --labels s3://samples/pictures.tar --json)
grep -q '"' <<<"$labels"
"$langevin" inspect s3://samples/pictures.tar:b | grep -q "20 images"
echo "arrays, parts, ranges and tar files train from S3 and HTTP as local ones do"

# A signed address is read, and its signature is shown nowhere but in the settings of the run.
signed() { # the address of an object that is signed for an hour
    "$folder/venv/bin/python" - "$1" <<'PYTHON'
import os, sys, boto3
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"], config=boto3.session.Config(signature_version="s3v4"))
print(s3.generate_presigned_url("get_object", {"Bucket": "samples", "Key": sys.argv[1]}, 3600))
PYTHON
}
python3 - "$folder/pulse-1.npy" "$folder/masks.npy" <<'PYTHON'
import ast, struct, sys
head = open(sys.argv[1], "rb").read(128)
length = ast.literal_eval(head[10:].split(b"}")[0].decode() + "}")["shape"][-1]
head = str({"descr": "|u1", "fortran_order": False, "shape": (2, length)}).ljust(117) + "\n"
masks = bytes(i % 2 for i in range(2 * length))
open(sys.argv[2], "wb").write(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + masks)
PYTHON
put masks.npy
address=$(signed pulse-1.npy)
grep -q 'Signature=' <<<"$address"
alike "$address" "$folder/pulse-1.npy" signed
"$langevin" train "$address" --task complete --mask "point:0.5,$(signed masks.npy)" --model mlp --steps 5 --no-samples --preview off \
    --out "$folder/signed" >"$folder/shown" 2>&1
grep -q 'Signature=' "$folder/signed/config.toml"
for command in "inspect $folder/signed" "inspect $folder/signed --json" "export $folder/signed --pytorch $folder/exported"; do
    # shellcheck disable=SC2086
    "$langevin" $command >>"$folder/shown" 2>&1
done
"$langevin" inspect "$address" >>"$folder/shown" 2>&1
"$langevin" inspect "${address/pulse-1/missing}" >>"$folder/shown" 2>&1 && fail "a missing file was read"
grep -q "samples/masks.npy" "$folder/shown"
grep -rq "samples/pulse-1.npy" "$folder/exported"
! grep -rF Signature "$folder/shown" "$folder/exported" || fail "a signature is shown"
echo "signed addresses are read, and their signatures are not shown"

# What is there is not downloaded again, and what is missing of it is.
copy=$(find "$LANGEVIN_CACHE/data" -name pulse-2.npy)
before=$(stat -c %i "$copy")
"$langevin" inspect s3://samples/pulse-2.npy >/dev/null
[ "$before" = "$(stat -c %i "$copy")" ] || fail "downloaded again"
head -c 100000 "$copy" >"$copy.part"
rm "$copy"
"$langevin" inspect s3://samples/pulse-2.npy >/dev/null
cmp "$copy" "$folder/pulse-2.npy"
"$langevin" convert "$folder/pulse-2.npy[0:100]" "$folder/short.npy" >/dev/null
mv "$folder/short.npy" "$folder/pulse-2.npy"
put pulse-2.npy
"$langevin" inspect s3://samples/pulse-2.npy | grep -q "data: 100 signals" || fail "the old version was read"
echo "downloads are kept and continued, and changed files are downloaded again"

refuses "the server has no such file" "$langevin" inspect s3://samples/missing.npy
refuses "a pattern cannot be read" "$langevin" inspect "$AWS_ENDPOINT/samples/pulse-*.npy"
refuses "use https://, s3:// or gs://" "$langevin" inspect ftp://samples/pulse-1.npy
refuses "set LANGEVIN_CACHE to a folder" env LANGEVIN_CACHE=off "$langevin" inspect s3://samples/pulse-1.npy
kill $server
wait $server 2>/dev/null || true
server=
refuses "cannot be downloaded" "$langevin" inspect s3://samples/pulse-1.npy
echo "what cannot be read is refused"
