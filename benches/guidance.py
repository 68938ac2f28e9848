"""Class-conditional models: how far samples have the requested class, and how far they are distributed as the data.

    python3 benches/guidance.py PROGRAM NAME DATA LABELS [SEED...]

Trains a model with the labels for each seed, draws 1000 samples for each strength of the guidance, and prints the accuracy of
a classifier that was trained on the data, and the ratio of the sliced Wasserstein distance to that between real halves
(`langevin evaluate`). The classifier is a support vector machine for images and a convolutional network for signals.
The environment variable TRAIN adds options to `langevin train`. Writes `NAME.json` for `--plot`, which draws several of them:

    python3 benches/guidance.py --plot OUT.svg NAME.json...

Files are written into the current folder. It needs numpy, scikit-learn for images, torch for signals, and matplotlib for the
plot.
"""

import json
import os
import subprocess
import sys

import numpy as np

SCALES = [0, 1, 2, 3, 4, 6]
COUNT = 1000


def read(path):
    """An array of a .npy or an IDX file."""
    if path.endswith(".npy"):
        return np.load(path)
    content = open(path, "rb").read()
    axes = content[3]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(np.frombuffer(content, ">u4", axes, 4))


def judge(data, labels):
    """A function from samples to classes, and its accuracy on data that it was not trained on."""
    return judge_signals(data, labels) if data.ndim == 2 else judge_images(data, labels)


def judge_images(data, labels):
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import SVC

    flat = data.reshape(len(data), -1)
    machine, scale = SVC(C=10, gamma="scale"), flat.max()
    expected = cross_val_score(machine, flat / scale, labels, cv=5).mean()
    machine.fit(flat / scale, labels)
    return lambda samples: machine.predict(samples.reshape(len(samples), -1) / scale), expected


def judge_signals(data, labels):
    """Trained on four fifths of the signals."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    layers = [[nn.Conv1d(width, 32, 5, stride=2, padding=2), nn.BatchNorm1d(32), nn.ReLU()] for width in [1, 32, 32]]
    network = nn.Sequential(*sum(layers, []), nn.Flatten(), nn.LazyLinear(len(np.unique(labels))))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(data)))
    inputs, targets = torch.from_numpy(data)[order, None], torch.from_numpy(labels.astype(np.int64))[order]
    held_out = len(data) // 5
    network(inputs[:1].expand(2, -1, -1))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=1e-2)
    steps = 1500
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    for _ in range(steps):
        rows = torch.randint(held_out, len(data), (128,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs[rows]), targets[rows]).backward()
        optimizer.step()
        schedule.step()
    network.eval()

    def predict(samples):
        with torch.no_grad():
            return network(torch.from_numpy(samples.astype("float32"))[:, None]).argmax(1).numpy()

    unseen = order[:held_out].numpy()
    return predict, (predict(data[unseen]) == labels[unseen]).mean()


def measure(program, name, data, labels, seeds):
    real, classes = read(data), read(labels)
    predict, expected = judge(real.astype("float32"), classes)
    print(f"{name}: the classifier has an accuracy of {expected:.3f} on the data")
    rows = []
    for seed in seeds:
        run = f"{name}-{seed}"
        train = ["train", data, "--labels", labels, "--seed", seed, "--out", run, "--force", "--no-samples"]
        train += os.environ.get("TRAIN", "").split()
        subprocess.run([program, *train], check=True, stdout=subprocess.DEVNULL)
        for scale in SCALES:
            out = f"{run}-{scale}.npy"
            sample = ["sample", run, "--class", "all", "--guidance", str(scale), "--count", str(COUNT), "--out", out]
            subprocess.run([program, *sample], check=True, stdout=subprocess.DEVNULL)
            drawn = np.load(out)
            wanted = np.arange(COUNT) % len(np.unique(classes))
            accuracy = (predict(drawn) == wanted).mean()
            evaluate = subprocess.run([program, "evaluate", out, data, "--json"], check=True, capture_output=True)
            ratio = json.loads(evaluate.stdout)["sliced"]["ratio"]
            rows.append(dict(seed=seed, scale=scale, accuracy=accuracy, ratio=ratio))
            print(f"seed {seed}, guidance {scale}: accuracy {accuracy:.3f}, ratio {ratio:.2f}", flush=True)
    with open(f"{name}.json", "w") as file:
        json.dump(dict(name=name, expected=expected, rows=rows), file)


def plot(out, files):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for file, colour, marker in zip(files, ["#0072b2", "#d55e00"], "os"):
        found = json.load(open(file))
        for axis, key in zip(axes, ["accuracy", "ratio"]):
            of = [[row[key] for row in found["rows"] if row["scale"] == scale] for scale in SCALES]
            low, middle, high = (np.array([f(v) for v in of]) for f in (np.min, np.mean, np.max))
            errors = [middle - low, high - middle]
            axis.errorbar(SCALES, middle, errors, marker=marker, color=colour, label=found["name"], capsize=3)
        axes[0].axhline(found["expected"], color=colour, linestyle=":", label=f"{found['name']}, real")
    axes[0].set(title="Samples of the requested class", xlabel="guidance", ylabel="accuracy of a classifier")
    axes[1].set(title="Distance to the data", xlabel="guidance", ylabel="sliced Wasserstein ratio", yscale="log")
    axes[1].yaxis.set_major_formatter("{x:g}")
    axes[1].yaxis.set_minor_formatter("{x:g}")
    axes[0].legend(fontsize=8)
    axes[1].legend(fontsize=8)
    figure.savefig(out, metadata=dict.fromkeys(["Creator", "Date", "Format", "Type"]))


if __name__ == "__main__":
    if sys.argv[1] == "--plot":
        plot(sys.argv[2], sys.argv[3:])
    else:
        measure(*sys.argv[1:5], sys.argv[5:] or ["0"])
