"""Compares what langevin reads with numpy, pandas, Pillow, scipy and soundfile, on files that this script writes.

    pip install numpy pandas pillow scipy soundfile
    cargo build --release && python tests/readers/compare.py target/release/langevin > docs/readers.md

Each file is read by `langevin noise FILE --kind gaussian:0 --out OUT.npy`, which writes the values as they are, and by
`langevin inspect FILE --json`. The values must be equal to those of the other reader as float32, or as float64 where
langevin keeps an offset. It takes about a minute. The exit code is 1 if a file differs.
"""

import gzip
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections import defaultdict

import numpy as np
import pandas as pd
import PIL
import PIL.ImageOps
import scipy
import soundfile
from PIL import Image
from scipy.io import wavfile

RNG = np.random.default_rng(0)


class Comparison:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.rows = defaultdict(list)

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *arguments):
        environment = dict(os.environ, LANGEVIN_CACHE="off")
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout

    def check(self, group, reader, name, want, options=(), names=None, tolerance=0.0):
        """Compares the values, and the names of the columns if given."""
        path, out = self.path(name), self.path("out.npy")
        try:
            changed = ["--data-kind" if option == "--kind" else option for option in options]
            noise = ["--kind", "gaussian:0", "--device", "cpu", "--out", out]
            self.run("noise", path, *noise, *changed)
            got = np.load(out)
            want = np.asarray(want)
            cause = difference(got, want, tolerance)
            if names is not None and cause is None:
                described = json.loads(self.run("inspect", path, "--json", *options))
                found = [column["name"] for column in described["columns"]]
                cause = None if found == list(names) else f"names {found} for {list(names)}"
        except RuntimeError as error:
            cause = str(error).splitlines()[0].replace(self.folder + os.sep, "")
        self.rows[group, reader].append((name, cause))

    def print(self):
        print("# Comparison of the readers\n")
        versions = f"numpy {np.__version__}, pandas {pd.__version__}, Pillow {PIL.__version__}, scipy "
        versions += f"{scipy.__version__} and soundfile {soundfile.__version__}"
        print("The script `tests/readers/compare.py` writes files of many kinds and compares")
        print("what langevin reads with what other programs read, value by value: as float32, or as float64 where langevin")
        print("keeps an offset. The names of columns are compared, too. This is its result with")
        print(f"{versions}.\n")
        print("| files | read by | number | equal |\n| --- | --- | ---: | ---: |")
        total = [0, 0]
        for (group, reader), files in self.rows.items():
            equal = sum(cause is None for _, cause in files)
            total = [total[0] + len(files), total[1] + equal]
            print(f"| {group} | {reader} | {len(files)} | {equal} |")
        print(f"| all | | {total[0]} | {total[1]} |")
        print("\nGrey BMP files have a palette, which langevin reads as three equal channels unless `--grey` is set.")
        for files in self.rows.values():
            for name, cause in files:
                if cause is not None:
                    print(f"\n- `{name}`: {cause}")
        return total[0] == total[1]


def difference(got, want, tolerance):
    if got.shape != want.shape:
        return f"shape {got.shape} for {want.shape}"
    exact = want.astype(got.dtype)
    if got.dtype == np.float64:
        # Values relative to an offset have the precision of float32 for differences of at most 8 times the range.
        tolerance = 8 * 2.0**-24 * np.ptp(want, axis=0)
    wrong = ~(np.abs(got.astype(np.float64) - exact.astype(np.float64)) <= tolerance)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        return f"{wrong.sum()} values differ, the first at {at}: {got[at]!r} for {exact[at]!r}"
    return None


def integers(dtype, shape):
    info = np.iinfo(dtype)
    # Beyond 2^24, float32 rounds as numpy does; the range is that of the type, or of exact float64.
    low, high = max(info.min, -(2**52)), min(info.max, 2**52)
    return RNG.integers(low, high, shape, dtype=np.int64 if low < 0 else np.uint64).astype(dtype)


def arrays(compare):
    group = ".npy of all types, byte orders and memory orders"
    floats = RNG.standard_normal((30, 6))
    small = RNG.integers(0, 100, (30, 6))
    for dtype in ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]:
        values = (small % 2).astype(dtype) if dtype == "?" else (floats if dtype[0] == "f" else small).astype(dtype)
        for order in ["<", ">"] if np.dtype(dtype).itemsize > 1 else ["|"]:
            for layout in "CF":
                name = f"{dtype.replace('?', 'bool')}_{'be' if order == '>' else 'le'}_{layout}.npy"
                np.save(compare.path(name), np.asarray(values, np.dtype(order + dtype), order=layout))
                compare.check(group, "numpy", name, values, ["--kind", "table"])
    group = ".npy with the whole range of integers, and large offsets"
    for dtype in ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]:
        name = f"range_{dtype}.npy"
        values = integers(dtype, (40, 5))
        np.save(compare.path(name), values)
        compare.check(group, "numpy", name, values, ["--kind", "signals"])
    for name, values in {
        "timestamps.npy": 1_700_000_000.0 + np.arange(100)[:, None] * [0.25, 0.5, 3.0],
        "nanoseconds.npy": 1_700_000_000_000_000_000 + np.arange(100)[:, None] * [1024, 2048, 4096],
        "utm.npy": [[4_523_123.25, 512_345.5, 3.0]] + RNG.integers(0, 1000, (99, 3)) / 4.0,
    }.items():
        np.save(compare.path(name), values)
        compare.check(group, "numpy", name, values, ["--kind", "table"])
    group = ".npy of other shapes"
    images = RNG.integers(0, 256, (6, 3, 8, 9), dtype=np.uint8)
    np.save(compare.path("rgb.npy"), images)
    compare.check(group, "numpy", "rgb.npy", images / np.float32(255))
    np.save(compare.path("grey.npy"), images[:, 0])
    compare.check(group, "numpy", "grey.npy", images[:, :1] / np.float32(255))
    channels = RNG.standard_normal((20, 3, 40)).astype("f4")
    np.save(compare.path("channels.npy"), np.asfortranarray(channels))
    compare.check(group, "numpy", "channels.npy", channels)
    recording = RNG.standard_normal(1000).astype("f4")
    np.save(compare.path("recording.npy"), recording)
    compare.check(group, "numpy", "recording.npy", recording, ["--window", "64"])
    np.save(compare.path("leads.npy"), recording.reshape(500, 2))
    compare.check(group, "numpy", "leads.npy", recording.reshape(500, 2), ["--window", "64", "--hop", "10"])
    group = ".npz, stored and compressed"
    for name, save in {"stored.npz": np.savez, "packed.npz": np.savez_compressed}.items():
        save(compare.path(name), labels=np.arange(20), values=channels, other=floats)
        compare.check(group, "numpy", f"{name}:values", channels)
        compare.check(group, "numpy", f"{name}:other", floats, ["--kind", "table"])


def idx(compare):
    codes = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    for code, dtype in codes.items():
        values = RNG.integers(0, 100, (12, 7)).astype(dtype)
        content = bytes([0, 0, code, 2]) + struct.pack(">2I", *values.shape) + values.tobytes()
        for name, write in {f"idx{code}": open, f"idx{code}.gz": gzip.open}.items():
            with write(compare.path(name), "wb") as file:
                file.write(content)
            compare.check("IDX of all types, plain and gzip", "numpy", name, values, ["--kind", "table"])


def tables(compare):
    group = "tables in many dialects"
    frame = pd.DataFrame(np.round(RNG.standard_normal((40, 4)) * [1, 10, 100, 1000], 3), columns=["a", "b c", "d", "e"])
    frame["d"] = frame["d"].round().astype(int)

    def table(name, want, options=(), names=None, **arguments):
        want = want if want is not None else pd.read_csv(compare.path(name), **arguments)
        values = want.to_numpy(np.float64) if hasattr(want, "to_numpy") else want
        names = names if names is not None else (list(want.columns) if hasattr(want, "columns") else None)
        compare.check(group, "pandas", name, values, ["--kind", "table", *options], names)

    frame.to_csv(compare.path("plain.csv"), index=False)
    table("plain.csv", None)
    frame.to_csv(compare.path("index.csv"))
    table("index.csv", None, index_col=0)
    frame.to_csv(compare.path("semicolon.csv"), sep=";", index=False)
    table("semicolon.csv", None, sep=";")
    frame.to_csv(compare.path("decimal.csv"), sep=";", decimal=",", index=False)
    table("decimal.csv", None, sep=";", decimal=",")
    frame.to_csv(compare.path("tab.tsv"), sep="\t", index=False)
    table("tab.tsv", None, sep="\t")
    frame.to_csv(compare.path("tab_decimal.tsv"), sep="\t", decimal=",", index=False)
    table("tab_decimal.tsv", None, sep="\t", decimal=",")
    frame.to_csv(compare.path("no_header.csv"), header=False, index=False)
    table("no_header.csv", frame, names=[None] * 4)
    frame.to_csv(compare.path("quoted.csv"), quoting=1, index=False)
    table("quoted.csv", None)
    frame.to_csv(compare.path("windows.csv"), index=False, lineterminator="\r\n", encoding="utf-8-sig")
    table("windows.csv", None, encoding="utf-8-sig")
    frame.to_csv(compare.path("exponents.csv"), index=False, float_format="%.9e")
    table("exponents.csv", None)
    with open(compare.path("blanks.csv"), "w") as file:
        file.write(frame.rename(columns={"b c": "b"}).to_string(index=False))
    table("blanks.csv", None, sep=r"\s+")
    np.savetxt(compare.path("savetxt.csv"), frame)
    table("savetxt.csv", np.loadtxt(compare.path("savetxt.csv")))
    np.savetxt(compare.path("savetxt_header.csv"), frame, delimiter=",", header="a,b,c,d")
    table("savetxt_header.csv", np.loadtxt(compare.path("savetxt_header.csv"), delimiter=","), names=list("abcd"))
    for name, text in {
        "comments.csv": "# first\na,b,c\n# second\n1,2,5\n3,4,6\n",
        "trailing.csv": "a,b,c,\n1,2,5,\n3,4,6,\n",
        "spaces.csv": "a, b, c\n1, 2, 5\n3, 4, 6\n",
        "empty_lines.csv": "a,b,c\n\n1,2,5\n\n3,4,6\n\n",
        "plus.csv": "a,b,c\n+1,2.,.5\n-3,4e1,6E-2\n",
        "numbers_as_header.csv": "400,402,404\n1,2,5\n3,4,6\n",
    }.items():
        with open(compare.path(name), "w") as file:
            file.write(text)
        wanted = pd.read_csv(compare.path(name), comment="#", skipinitialspace=True).dropna(axis=1)
        table(name, wanted, names=list(wanted.columns))
    gaps = frame.mask(RNG.random(frame.shape) < 0.05)
    for word in ["", "NA", "NaN", "null", "None", "N/A", "n/a", "#N/A"]:
        name = f"missing_{word.strip('#').replace('/', '') or 'empty'}{'_small' if word == 'n/a' else ''}{'_hash' if word == '#N/A' else ''}.csv"
        gaps.to_csv(compare.path(name), index=False, na_rep=word)
        table(name, pd.read_csv(compare.path(name)).dropna(), ["--missing", "drop"])
    filled = pd.read_csv(compare.path("missing_empty.csv"))
    table("missing_empty.csv", filled.fillna(filled.mean()), ["--missing", "mean"])
    dated = frame.assign(when=pd.date_range("2016-07-01", periods=40, freq="h"))[["when", *frame.columns]]
    dated.to_csv(compare.path("dates.csv"), index=False)
    table("dates.csv", frame, ["--drop-columns", "when"])
    table("dates.csv", frame)
    table("plain.csv", frame[["e", "a"]], ["--columns", "e,a"])
    mixed = frame.assign(city=RNG.choice(["Ulm", "Bonn", "Köln"], 40), ok=RNG.random(40) < 0.5)
    mixed.to_csv(compare.path("categories.csv"), index=False)
    hot = pd.get_dummies(mixed.astype({"ok": str}), prefix_sep="=", dtype=float)
    table("categories.csv", hot)
    group = "tables with numbers that float32 does not hold"
    for name, column in {"timestamps.csv": 1_700_000_000 + np.arange(40) * 0.25, "northing.csv": 5_345_678.125 + np.arange(40) / 8}.items():
        frame.assign(a=column).to_csv(compare.path(name), index=False)
        table(name, None)


def sounds(compare):
    sound = np.clip(RNG.standard_normal(5000) * 0.2, -1, 1)
    stereo = np.stack([sound, np.roll(sound, 7)], 1)
    subtypes = {"PCM_U8": 0, "PCM_16": 0, "PCM_24": 0, "PCM_32": 0, "FLOAT": 0, "DOUBLE": 0}
    for subtype in subtypes:
        for suffix, values in {"mono": sound, "stereo": stereo}.items():
            for form in ["WAV", "WAVEX"]:
                name = f"{subtype}_{suffix}_{form}.wav"
                soundfile.write(compare.path(name), values, 16_000, subtype=subtype, format=form)
                want, _ = soundfile.read(compare.path(name), dtype="float64", always_2d=True)
                compare.check("WAV of all sample formats", "soundfile", name, want.mean(1), tolerance=6e-8)
    for dtype, scale in {"i2": 2**15, "i4": 2**31, "f4": 1, "f8": 1}.items():
        name = f"scipy_{dtype}.wav"
        wavfile.write(compare.path(name), 8_000, (sound * (scale - 1)).astype(dtype))
        _, want = wavfile.read(compare.path(name))
        compare.check("WAV written by scipy", "scipy", name, want / np.float64(scale), tolerance=6e-8)


def pictures(compare):
    """Each picture in a folder of its own."""
    rgb = RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    smooth = np.add.outer(np.arange(9) * 9, np.arange(12) * 7)[..., None] + [0, 30, 60]
    modes = {
        "L": Image.fromarray(rgb[..., 0]),
        "RGB": Image.fromarray(rgb),
        "RGBA": Image.fromarray(np.concatenate([rgb, np.full((9, 12, 1), 128, np.uint8)], 2)),
        "LA": Image.merge("LA", [Image.fromarray(rgb[..., 0]), Image.fromarray(rgb[..., 1])]),
        "P": Image.fromarray(rgb).quantize(17),
        "1": Image.fromarray(rgb[..., 0] > 128),
        "I;16": Image.fromarray(rgb[..., 0].astype(np.uint16) * 257 + 3),
    }

    def check(name, group, tolerance=0.0, reading=()):
        with Image.open(compare.path(name)) as picture:
            grey = picture.mode in ("L", "LA", "1", "I;16")
            deep = picture.mode == "I;16"
            if not deep:
                # Without transparency, which langevin ignores.
                picture = picture.convert("RGBA" if picture.mode == "P" else picture.mode)
                picture = picture.convert("L" if grey else "RGB") if picture.mode != "LA" else picture.getchannel(0)
            values = np.asarray(picture, np.float64) / (65_535 if deep else 255)
        want = values[None] if grey else values.transpose(2, 0, 1)
        compare.check(group, "Pillow", os.path.dirname(name), want[None], reading, tolerance=tolerance)

    def save(extension, mode, picture, group, tolerance=0.0, reading=(), **options):
        folder = f"{extension}_{mode.replace(';', '')}_{len(compare.rows[group, 'Pillow'])}"
        os.makedirs(compare.path(folder))
        name = f"{folder}/a.{extension}"
        picture.save(compare.path(name), **options)
        check(name, group, tolerance, reading)

    exact = "pictures without loss, of all modes"
    # The last bit of float32.
    rounding = 6e-8
    for mode, picture in modes.items():
        save("png", mode, picture, exact, rounding)
    for extension, supported in {
        "tif": ["L", "RGB", "RGBA", "I;16"],
        "bmp": ["RGB", "P"],
        "gif": ["P"],
        "ppm": ["RGB"],
        "pgm": ["L"],
        "tga": ["L", "RGB", "RGBA"],
    }.items():
        for mode in supported:
            save(extension, mode, modes[mode], exact, rounding)
    for mode in ["L", "1"]:
        save("bmp", mode, modes[mode], exact, rounding, ["--grey"])
    for compression in ["tiff_lzw", "tiff_deflate", "packbits"]:
        save("tif", "RGB", modes["RGB"], exact, rounding, compression=compression)
    for mode in ["RGB", "RGBA"]:
        save("webp", mode, modes[mode], exact, rounding, lossless=True, exact=True)
    # Decoders of JPEG and lossy WebP may round and interpolate differently: at most 3 of 255 levels.
    lossy = "JPEG and WebP with loss, within 3 of 255 levels"
    picture = Image.fromarray(smooth.astype(np.uint8))
    for quality in [50, 90]:
        for subsampling in ["4:4:4", "4:2:0"]:
            save("jpg", "RGB", picture, lossy, 3.01 / 255, quality=quality, subsampling=subsampling)
    save("jpg", "L", picture.convert("L"), lossy, 3.01 / 255)
    save("jpg", "RGB", picture, lossy, 3.01 / 255, progressive=True)
    save("webp", "RGB", picture, lossy, 3.01 / 255, quality=90)
    oriented = "JPEG with each EXIF orientation"
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        folder = f"exif_{orientation}"
        os.makedirs(compare.path(folder))
        picture.save(compare.path(f"{folder}/a.jpg"), exif=exif, quality=95, subsampling="4:4:4")
        with Image.open(compare.path(f"{folder}/a.jpg")) as stored:
            upright = PIL.ImageOps.exif_transpose(stored)
            want = np.asarray(upright, np.float64).transpose(2, 0, 1)[None] / 255
        compare.check(oriented, "Pillow", folder, want, tolerance=3.01 / 255)


def natural(height, width):
    """A colour picture with the spectrum of natural ones: amplitudes of 1 / frequency."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height)))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(RNG.standard_normal((3, height, width))) / frequency
    grey, *colours = np.fft.ifft2(spectrum).real
    planes = np.stack([grey + 0.3 * colours[0], grey, grey + 0.3 * colours[1]])
    planes = (planes - planes.mean()) / planes.std() * 50 + 128
    return planes.clip(0, 255).round().astype(np.uint8)


def jpeg(compare):
    """The PSNR of `noise --kind jpeg:Q` beside that of a file written and read by Pillow."""
    pixels = natural(120, 170)
    # Black and white are those of the data.
    pixels[:, 0, :2] = [0, 255]
    np.save(compare.path("picture.npy"), pixels[None])
    rows = []
    for quality in [5, 10, 25, 50, 75, 90, 95]:
        for subsampling, suffix in {"4:2:0": "", "4:4:4": ":444"}.items():
            arguments = ["--kind", f"jpeg:{quality}{suffix}", "--device", "cpu", "--out", compare.path("out.npy")]
            compare.run("noise", compare.path("picture.npy"), *arguments)
            ours = np.load(compare.path("out.npy"))[0] * 255
            path = compare.path("picture.jpg")
            Image.fromarray(pixels.transpose(1, 2, 0)).save(path, quality=quality, subsampling=subsampling)
            theirs = np.asarray(Image.open(path), np.float64).transpose(2, 0, 1)

            def psnr(a, b):
                return 10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2))

            rows.append((quality, subsampling, psnr(ours, pixels), psnr(theirs, pixels), psnr(ours, theirs)))
    print("\n## JPEG\n")
    print("`noise --kind jpeg:Q` applied to a colour picture of 120 x 170 pixels, beside a JPEG file of Pillow (PSNR in dB):\n")
    print("| quality | subsampling | langevin | Pillow | one against the other |\n| ---: | --- | ---: | ---: | ---: |")
    for quality, subsampling, *numbers in rows:
        print(f"| {quality} | {subsampling} | " + " | ".join(f"{number:.2f}" for number in numbers) + " |")
    return all(abs(ours - theirs) < 0.5 for _, _, ours, theirs, _ in rows)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        compare = Comparison(os.path.abspath(sys.argv[1]), folder)
        for part in (arrays, idx, tables, sounds, pictures):
            part(compare)
        equal = compare.print()
        return 0 if jpeg(compare) and equal else 1


if __name__ == "__main__":
    sys.exit(main())
