"""Class-conditional models: how far samples have the requested class, and how far they are distributed as the data.

    python3 benches/guidance.py PROGRAM NAME DATA LABELS [SEED...]

Trains a model with the labels for each seed, with default settings, draws 1000 samples for each strength of the guidance,
and prints the accuracy of a support vector machine that was trained on the data, and the ratio of the sliced Wasserstein
distance to that between real halves (`langevin evaluate`). Writes `NAME.json` for `--plot`, which draws several of them:

    python3 benches/guidance.py --plot OUT.svg NAME.json...

Files are written into the current folder. It needs numpy and scikit-learn, and matplotlib for the plot.
"""

import json
import subprocess
import sys

import numpy as np

SCALES = [0, 1, 2, 3, 4, 6]
COUNT = 1000


def judge(data, labels):
    """The classifier, and its accuracy in a 5-fold cross-validation."""
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import SVC

    flat, machine = data.reshape(len(data), -1), SVC(C=10, gamma="scale")
    return machine.fit(flat, labels), cross_val_score(SVC(C=10, gamma="scale"), flat, labels, cv=5).mean()


def measure(program, name, data, labels, seeds):
    real, classes = np.load(data), np.load(labels)
    machine, expected = judge(real.astype("float32"), classes)
    print(f"{name}: the classifier has an accuracy of {expected:.3f} on the data")
    rows = []
    for seed in seeds:
        run = f"{name}-{seed}"
        train = ["train", data, "--labels", labels, "--seed", seed, "--out", run, "--force", "--no-samples"]
        subprocess.run([program, *train], check=True, stdout=subprocess.DEVNULL)
        for scale in SCALES:
            out = f"{run}-{scale}.npy"
            sample = ["sample", run, "--class", "all", "--guidance", str(scale), "--count", str(COUNT), "--out", out]
            subprocess.run([program, *sample], check=True, stdout=subprocess.DEVNULL)
            drawn = np.load(out)
            wanted = np.arange(COUNT) % len(np.unique(classes))
            accuracy = (machine.predict(drawn.reshape(COUNT, -1)) == wanted).mean()
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
        axes[0].axhline(found["expected"], color=colour, linestyle=":", label=f"{found['name']}, real (cross-validation)")
    axes[0].set(title="Samples of the requested class", xlabel="guidance", ylabel="accuracy of a classifier")
    axes[1].set(title="Distance to the data", xlabel="guidance", ylabel="sliced Wasserstein ratio", yscale="log")
    axes[0].legend(fontsize=8)
    axes[1].legend(fontsize=8)
    figure.savefig(out, metadata=dict.fromkeys(["Creator", "Date", "Format", "Type"]))


if __name__ == "__main__":
    if sys.argv[1] == "--plot":
        plot(sys.argv[2], sys.argv[3:])
    else:
        measure(*sys.argv[1:5], sys.argv[5:] or ["0"])
