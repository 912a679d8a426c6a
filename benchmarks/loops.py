"""The kernels' floor against NumPy on one core, as ratios measured in one run."""

import time

import numpy as np

from lazyarray import _loops


def milliseconds(run, repeats=7):
    """Return the shortest of several runs."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best * 1e3


def report(name, ours, numpys):
    """Print one row: both times and how many times faster we are."""
    a, b = milliseconds(ours), milliseconds(numpys)
    print(f"{name:44} {a:9.2f} ms   numpy {b:9.2f} ms   x{b / a:.2f}")


def fused():
    """a*b + 5*sqrt(abs(c) + 1) on 10 M float32."""
    n, f4 = 10_000_000, np.dtype("f4")
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(n, dtype=f4) for _ in range(3))
    one, five, out = np.ones(1, f4), np.full(1, 5, f4), np.empty(n, f4)

    def loop(ufunc):
        return _loops.find_loop(ufunc, (f4,) * (ufunc.nin + ufunc.nout))

    kernel = _loops.elementwise(
        (n,),
        [(0, (4,), 4), (1, (4,), 4), (2, (4,), 4), (3, (0,), 4), (4, (0,), 4)],
        [(6, (4,), 4)],
        [4] * 8,
        [
            (loop(np.absolute), (2,), (5,)),
            (loop(np.add), (5, 3), (5,)),
            (loop(np.sqrt), (5,), (5,)),
            (loop(np.multiply), (5, 4), (5,)),
            (loop(np.multiply), (0, 1), (7,)),
            (loop(np.add), (7, 5), (6,)),
        ],
    )

    def numpys():
        return a * b + five * np.sqrt(np.abs(c) + one)

    report("a*b + 5*sqrt(abs(c)+1), 10 M", lambda: kernel.call(a, b, c, one, five, out), numpys)
    assert np.array_equal(out, numpys())


def reductions():
    """Sum over either axis of a square matrix, and over short rows."""
    rng = np.random.default_rng(0)
    for shape in ((1, 4096, 4096), (4096, 4096, 1), (1, 4096 * 4096, 1), (1_000_000, 8, 1)):
        x = rng.standard_normal(shape, dtype="f4")
        out = np.empty((shape[0], shape[2]), "f4")
        kernel = _loops.reduce("sum", "f4", "f4", *shape)
        report(
            f"sum {shape} over axis 1",
            lambda k=kernel, x=x, o=out: k.call(x, o),
            lambda x=x: x.sum(1),
        )


def copies():
    """Transposed copy."""
    x, y = (
        np.random.default_rng(0).standard_normal((4096, 4096), dtype="f4"),
        np.empty((4096, 4096), "f4"),
    )
    kernel = _loops.elementwise(x.shape, [(0, x.T.strides, 4)], [(0, y.strides, 4)], [4], [])
    report("copy of x.T, 4096 x 4096", lambda: kernel.call(x.T, y), lambda: np.copyto(y, x.T))


if __name__ == "__main__":
    fused()
    reductions()
    copies()
