"""Super-resolution of images by 2: the runs of a model beside bicubic interpolation.

    python3 benches/upscale.py PROGRAM [SEED...]

Trains on digits of half the size (means of 2 x 2 pixels) with the original ones as samples, for 1500 of data/digits8x8.npy,
and enlarges the others: one draw, and the mean of 16 draws. Prints PSNR and SSIM (scikit-image), and writes `upscaled.png`:
small, bicubic, one draw, mean, original. Files are written into the current folder. It needs numpy, Pillow and scikit-image.
"""

import subprocess
import sys

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

TRAINED, DRAWS, STEPS, SHOWN = 1500, 16, 3000, 10


def bicubic(image, size):
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def scores(images, truth):
    pairs = list(zip(images.astype(float), truth.astype(float)))
    psnr = [peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in pairs]
    ssim = [structural_similarity(b, a, data_range=1.0, win_size=7) for a, b in pairs]
    return f"PSNR {np.mean(psnr):5.2f} dB, SSIM {np.mean(ssim):.3f}"


def main():
    program, seeds = sys.argv[1], sys.argv[2:] or ["0"]
    digits = np.load("data/digits8x8.npy").astype(np.float32)
    digits /= digits.max()
    small = digits.reshape(-1, 4, 2, 4, 2).mean((2, 4))
    for name, part in [("train", slice(None, TRAINED)), ("test", slice(TRAINED, None))]:
        np.save(f"{name}.npy", digits[part])
        np.save(f"{name}_small.npy", small[part])
    truth = digits[TRAINED:]
    np.save("repeated_small.npy", np.repeat(small[TRAINED:], DRAWS, 0))
    enlarged = np.stack([bicubic(image, 8) for image in small[TRAINED:]])
    print("bicubic      ", scores(enlarged.clip(0, 1), truth))
    for seed in seeds:
        run = f"upscale-{seed}"
        train = ["train", "train.npy", "--given", "train_small.npy", "--steps", STEPS, "--seed", seed, "--out", run]
        sample = ["sample", run, "--given", "repeated_small.npy", "--count", len(truth) * DRAWS, "--out", f"{run}.npy"]
        for command in (train + ["--force", "--no-samples"], sample):
            subprocess.run([program, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
        draws = np.load(f"{run}.npy").reshape(len(truth), DRAWS, 8, 8)
        print(f"seed {seed}: draw ", scores(draws[:, 0].clip(0, 1), truth))
        print(f"seed {seed}: mean ", scores(draws.mean(1).clip(0, 1), truth))
    rows = [np.kron(small[TRAINED:], np.ones((2, 2))), enlarged, draws[:, 0], draws.mean(1), truth]
    sheet = np.concatenate([np.pad(np.concatenate([np.pad(i, 1) for i in row[:SHOWN]], 1), 1) for row in rows])
    picture = Image.fromarray((255 * sheet.clip(0, 1)).astype(np.uint8))
    picture.resize((picture.width * 6, picture.height * 6), Image.Resampling.NEAREST).save("upscaled.png")


if __name__ == "__main__":
    main()
