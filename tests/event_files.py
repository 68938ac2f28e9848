#!/usr/bin/env python3
"""Reads the event files of a run with TensorBoard and compares them with metrics.csv.

    pip install tensorboard "setuptools<81"
    langevin train moons --out run --steps 300 --tensorboard --preview 100
    python tests/event_files.py run
"""
import csv
import math
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = Path(sys.argv[1])
# 0: keep all events.
events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
events.Reload()
rows = list(csv.DictReader((run / "metrics.csv").open()))
columns = [name for name in rows[0] if name != "step"]
assert sorted(events.Tags()["scalars"]) == sorted(name for name in columns if any(row[name] for row in rows)), events.Tags()
for name in columns:
    expected = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
    found = [(event.step, event.value) for event in events.Scalars(name)] if expected else []
    assert [step for step, _ in found] == [step for step, _ in expected], name
    # Values are float32.
    assert all(math.isclose(a, b, rel_tol=1e-6) for (_, a), (_, b) in zip(found, expected)), name
previews = sorted(int(path.stem) for path in (run / "previews").glob("0*.png"))
images = {event.step: event.encoded_image_string for event in events.Images("preview")} if previews else {}
for step, image in images.items():
    assert image == (run / "previews" / f"{step:09}.png").read_bytes(), step
print(f"{len(rows)} rows of {len(columns)} columns and {len(images)} of {len(previews)} previews are the same")
