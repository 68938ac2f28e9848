"""Sounds of a class: spectrograms of generated drums beside recorded ones, and how far a classifier finds the requested class.

    langevin train data/drums --labels data/drums --steps 4000 --out RUN
    langevin sample RUN --class all --count 32 --out drums.npy
    python3 benches/drums.py data/drums drums.npy OUT.png

The classifier is a logistic regression on the levels of 16 bands of frequency in 4 parts of the sound; its accuracy on the
recorded sounds is that of leaving one out. It needs numpy, scikit-learn and matplotlib.
"""

import sys
import wave
from pathlib import Path

import numpy as np

RATE, WINDOW, HOP = 16000, 256, 64


def read(path):
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def spectrogram(sound, length):
    """Levels in dB [frequencies, times], at least -80."""
    sound = np.pad(sound, (0, max(0, length - len(sound))))[:length]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, WINDOW // 2), WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW)) * 4 / WINDOW) ** 2
    return 10 * np.log10(np.maximum(power, 1e-8)).T


def features(levels):
    """Mean levels of 16 bands, wider for higher frequencies, in 4 parts of equal length."""
    edges = np.unique(np.geomspace(1, levels.shape[0], 17).astype(int))
    bands = np.stack([levels[a:b].mean(0) for a, b in zip(edges, edges[1:])])
    return np.concatenate([part.mean(1) for part in np.array_split(bands, 4, axis=1)])


def main(folder, drawn, out):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = sorted(path.name for path in Path(folder).iterdir() if path.is_dir())
    drawn = np.load(drawn).reshape(len(np.load(drawn)), -1)
    files = {name: sorted((Path(folder) / name).glob("*.wav")) for name in names}
    real = {name: [spectrogram(read(path), drawn.shape[1]) for path in files[name]] for name in names}
    new = {name: [spectrogram(sound, drawn.shape[1]) for sound in drawn[i :: len(names)]] for i, name in enumerate(names)}
    inputs = np.array([features(levels) for name in names for levels in real[name]])
    classes = np.array([name for name in names for _ in real[name]])
    machine = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    print(f"recorded sounds: accuracy {cross_val_score(machine, inputs, classes, cv=LeaveOneOut()).mean():.3f}")
    machine.fit(inputs, classes)
    for name in names:
        found = machine.predict([features(levels) for levels in new[name]])
        print(f"{name}: {np.mean(found == name):.3f} of {len(found)} have the class")
    draw(names, real, new, out)


def draw(names, real, new, out):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    columns = 4
    figure, axes = plt.subplots(len(names), 2 * columns, figsize=(12, 1.6 * len(names)), layout="constrained")
    for row, name in zip(axes, names):
        for axis, levels in zip(row, real[name][:columns] + new[name][:columns]):
            extent = [0, levels.shape[1] * HOP / RATE * 1000, 0, RATE / 2000]
            axis.imshow(levels, origin="lower", aspect="auto", extent=extent, vmin=-80, vmax=0, cmap="magma")
            axis.set(xticks=[], yticks=[])
        row[0].set(ylabel=f"{name}\n0 to 8 kHz", yticks=[0, 8])
    for axis in axes[-1]:
        axis.set(xlabel="256 ms")
    axes[0][0].set_title("recorded", loc="left")
    axes[0][columns].set_title("generated", loc="left")
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
