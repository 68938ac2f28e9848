"""Filling gaps of pulse waves: a run of `train --task complete` beside three baselines.

    langevin train data/pulse.npy[0:1000] --task complete --mask block:0.3,future:0.5 --out RUN
    langevin complete RUN data/pulse.npy[1000:] --mask future:0.5 --out FORECAST
    python3 benches/gaps.py data/pulse.npy FORECAST...

Each folder has the draws of the samples from number 1000 on. Prints the CRPS, the root mean square error of the median and
the coverage of the band from 5% to 95%. The score of a baseline, which has one value, is its absolute error. It needs numpy.
"""

import sys

import numpy as np

TRAINED = 1000


def crps(draws, truth):
    """The mean score of draws [n, m, ...], with the unbiased estimate of the spread."""
    m = draws.shape[1]
    draws = np.sort(draws.astype(float), axis=1)
    rank = (2 * np.arange(m) + 1 - m).reshape([1, m] + [1] * (draws.ndim - 2))
    spread = (rank * draws).sum(1) / (m * (m - 1)) if m > 1 else 0.0
    return np.abs(draws - truth[:, None]).mean(1) - spread


def linear(x, known):
    """Linear interpolation; beyond the ends the nearest known value."""
    t = np.arange(x.shape[1])
    return np.stack([np.interp(t, t[k], row[k]) for row, k in zip(x, known)])


def period(row, known):
    """The lag of the largest autocorrelation of the known values, of pairs that are both known."""
    centred = np.where(known, row - row[known].mean(), 0.0)
    best, at = -np.inf, 1
    for lag in range(20, 100):
        both = known[lag:] & known[:-lag]
        if both.sum() < 16:
            continue
        a, b = centred[lag:][both], centred[:-lag][both]
        score = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-12)
        if score > best:
            best, at = score, lag
    return at


def seasonal(x, known):
    """The value one period before, or after; by linear interpolation where neither is known."""
    filled = linear(x, known)
    for row, k, out in zip(x, known, filled):
        lag, n = period(row, k), len(row)
        done = k.copy()
        for i in np.flatnonzero(~k):
            for j in [i - lag, i + lag]:
                if 0 <= j < n and done[j]:
                    out[i], done[i] = out[j], True
                    break
    return filled


def ridge(train, x, known):
    """The linear function of the known values with the least squared error, its penalty chosen on a fifth of the data."""
    out = x.copy()
    split = len(train) * 4 // 5
    patterns = {}
    for i, k in enumerate(known):
        patterns.setdefault(k.tobytes(), []).append(i)
    for pattern, rows in patterns.items():
        k = np.frombuffer(pattern, bool)

        def fit(data, penalty):
            a, b = data[:, k], data[:, ~k]
            ma, mb = a.mean(0), b.mean(0)
            w = np.linalg.solve((a - ma).T @ (a - ma) + penalty * np.eye(k.sum()), (a - ma).T @ (b - mb))
            return lambda z: mb + (z - ma) @ w

        error = lambda p: ((fit(train[:split], p)(train[split:, k]) - train[split:, ~k]) ** 2).mean()
        best = min([1.0, 10.0, 100.0, 1000.0], key=error)
        out[np.ix_(rows, ~k)] = fit(train, best)(x[np.ix_(rows, k)])
    return out


def main():
    data = np.load(sys.argv[1]).astype(float)
    train, truth = data[:TRAINED], data[TRAINED:]
    for folder in sys.argv[2:]:
        draws = np.load(f"{folder}/draws.npy").astype(float).reshape(len(truth), -1, truth.shape[1])
        low, median, high = (np.load(f"{folder}/{name}.npy") for name in ["q05", "median", "q95"])
        known = (draws == truth[:, None]).all(1)
        hidden = ~known
        rmse = lambda guess: np.sqrt(((guess - truth)[hidden] ** 2).mean())
        print(f"{folder}: {hidden.mean():.0%} of the values are hidden")
        score = crps(draws, truth)[hidden].mean()
        covered = ((low <= truth) & (truth <= high))[hidden].mean()
        print(f"  {'complete':24} CRPS {score:.4f}  RMSE {rmse(median):.4f}  coverage {covered:.1%}")
        guesses = {
            "linear interpolation": linear(truth, known),
            "seasonal naive": seasonal(truth, known),
            "ridge regression": ridge(train, np.where(known, truth, 0.0), known),
        }
        scores = {}
        for name, guess in guesses.items():
            scores[name] = np.abs(guess - truth)[hidden].mean()
            print(f"  {name:24} CRPS {scores[name]:.4f}  RMSE {rmse(guess):.4f}")
        print(f"  CRPS {1 - score / min(scores.values()):.0%} below the best of the three")


if __name__ == "__main__":
    main()
