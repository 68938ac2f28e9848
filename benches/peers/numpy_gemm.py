"""The matrix products of `langevin bench` in NumPy, which calls OpenBLAS in the wheels of PyPI."""

import os

import numpy as np

import common


class Peer:
    def gemm(self, n):
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal((n, n), dtype="float32") for _ in range(2))
        b /= np.float32(n**0.5)
        c, d = np.empty_like(a), np.empty_like(a)

        def advance(count):
            for _ in range(count):
                np.matmul(a, b, out=c)
                np.matmul(c, b, out=d)

        return advance


def main():
    where = dict(library=f"numpy {np.__version__}", device=f"{os.cpu_count()} cores", backend="cpu")
    common.measure(common.arguments(), Peer(), where, list(common.GEMM))


if __name__ == "__main__":
    main()
