"""The PSNR of Pillow's JPEG for the picture of the test `colours_are_coded_as_by_libjpeg` in src/ops/jpeg_colour.rs.

    pip install numpy pillow && python tests/readers/jpeg.py
"""

import io

import numpy as np
from PIL import Image


def picture():
    """24 rows and 40 columns of RGB with smooth parts, edges and colours."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    for k in range(3):
        for i in range(24):
            for j in range(40):
                case = (j // 10 + i // 8) % 3
                if case == 0:
                    value = (i * 8 + j * 3 * (k + 1)) % 256
                elif case == 1:
                    value = [200, 60, 90][(k + i // 4) % 3]
                else:
                    value = (128 + (i * i + j * j * (k + 1)) // 8) % 256
                pixels[i, j, k] = value
    return pixels


def psnr(pixels, quality, subsampling):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    decoded = np.asarray(Image.open(file), np.float64)
    return -10 * np.log10(np.mean((pixels - decoded) ** 2) / 255**2)


if __name__ == "__main__":
    for quality in (10, 50, 75, 95):
        four = [psnr(picture(), quality, name) for name in ("4:2:0", "4:4:4")]
        print(f"({quality}, {four[0]:.3f}, {four[1]:.3f}),")
