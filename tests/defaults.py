#!/usr/bin/env python3
"""Trains the ten data sets of docs/defaults.md with the default settings, and writes their table and their pictures.

    tests/defaults.py PROGRAM DATA_OF_DRUMS WINE.csv OUT [NAME ...]

It needs rsvg-convert and Pillow, and takes about fifteen minutes on two cores. It is not part of the tests.
"""
import json, pathlib, resource, subprocess, sys, time
from PIL import Image, ImageDraw

program, drums, wine, out = sys.argv[1:5]
out = pathlib.Path(out)
out.mkdir(parents=True, exist_ok=True)
SETS = [
    ("pulse", "data/pulse.npy", 600), ("ecg", "ecg", 600), ("drums", drums, 53), ("digits", "data/digits8x8.npy", 1000),
    ("mnist", "data/mnist-1k/train-images-idx3-ubyte", 300), ("wine", wine, 178), ("dino", "data/dino.csv", 142),
    ("coastline", "coastline", 2000), ("swissroll", "swissroll", 2000), ("moons", "moons", 2000),
]


def run(*args):
    return subprocess.run([program, *args, "--device", "cpu"], check=True, capture_output=True, text=True).stdout


def measure(report, name):
    found = report.get(name)
    return "-" if not found else f"{found['value']:.3g} ({found['expected']:.3g}), p = {found['p']:.2g}"


pictures = []
for name, data, count in SETS:
    if sys.argv[5:] and name not in sys.argv[5:]:
        continue
    started, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    said = run("train", data, "--out", str(out / name), "--force")
    wall, cpu = time.time() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    samples = str(out / f"{name}.npy")
    run("sample", str(out / name), "--count", str(count), "--seed", "1", "--out", samples)
    report = json.loads(run("evaluate", samples, data, "--json"))
    choice = next(line for line in said.splitlines() if line.startswith("model ")).split(": chosen")[0]
    sliced, measures = report.get("sliced") or {}, ("energy", "neighbours", "classifier", "coverage", "copies")
    cells = [name, choice, f"{wall:.0f} s ({cpu:.0f} s CPU)", f"{sliced.get('ratio', float('nan')):.2f}"]
    cells += [measure(report, m) for m in measures]
    print("| " + " | ".join([*cells, report["verdict"]["outcome"]]) + " |", flush=True)
    picture = out / f"{name}.png"
    subprocess.run(["rsvg-convert", "-w", "940", str(out / name / "samples/compare.svg"), "-o", str(picture)], check=True)
    pictures.append((name, picture))

width, height, title = 470, 245, 18
sheet = Image.new("RGB", (2 * width, (len(pictures) + 1) // 2 * (height + title)), "white")
for i, (name, picture) in enumerate(pictures):
    x, y = i % 2 * width, i // 2 * (height + title)
    image = Image.open(picture).convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image)
    page = page.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    sheet.paste(page, (x, y + title))
    ImageDraw.Draw(sheet).text((x + 6, y + 3), name, fill="black")
sheet.quantize(64, dither=Image.Dither.NONE).save(out / "defaults.png", optimize=True)
