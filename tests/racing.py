"""Programs whose kernels run without the GIL on several workers: what ThreadSanitizer watches.

Run as a script: each result is compared with NumPy, or with its own bits from one worker.
"""

from __future__ import annotations

import sys
import threading
import warnings

import numpy as np

import lazyarray as la

TURNS = 3


def data(*shape: int, dtype: str = "float64") -> np.ndarray:
    """Reproducible values with ties, signs and no special ones."""
    size = int(np.prod(shape))
    return ((np.arange(size) * 7919 % 4093 - 2000) / 64.0).astype(dtype).reshape(shape)


def order(x):
    """Sorting, counting, selecting, searching."""
    whole = (x * 8).astype("int64")
    yield from (la.sort(x), la.argsort(x, kind="stable"), la.partition(x, 1000), la.unique(whole))
    yield from la.unique(whole, return_inverse=True, return_counts=True)
    yield from (la.bincount(whole - whole.min()), la.searchsorted(la.sort(x), x[:5000]))
    yield from (
        la.histogram(x, 50)[0],
        la.median(x),
        la.cumsum(x),
        la.cumsum(x.reshape(200, -1), 0),
    )
    yield from (la.nonzero(x > 3)[0], x[x > 3], la.take(x, la.argsort(x)[::-1]))
    yield la.sort(x.reshape(-1, 100), axis=0)


def reductions(x):
    """Reductions alone and fused, along every axis."""
    for shape in ((x.size,), (200, -1), (-1, 200), (20, -1, 50)):
        a = x.reshape(shape)
        for axis in (None, *range(a.ndim)):
            yield from (
                (a * 2 + 1).sum(axis),
                a.mean(axis),
                a.max(axis),
                a.argmin(axis),
                a.var(axis),
            )
    a = x.reshape(-1, 100)
    e = la.exp(a / 40 - (a / 40).max(axis=1, keepdims=True))
    yield e / e.sum(axis=1, keepdims=True)
    centred = a - a.mean(axis=-1, keepdims=True)
    yield centred / la.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
    yield ((a[:300, None] - a[:60]) ** 2).sum(-1)
    yield a.T.sum(axis=0) + (a.T * 2).sum(axis=1).sum()


def products(x):
    """Products, with what is made of them, over few and over many elements of k."""
    a = x.reshape(200, -1)
    yield from (a @ a.T, la.tanh(a.T[:300] @ a[:, :200] + 1), a[:8] @ a[:8].T, a @ a[0])
    stack = x.reshape(-1, 40, 25)
    yield from (stack @ stack.swapaxes(1, 2), la.einsum("bij,bkj->bik", stack, stack))
    image = x[: 4 * 30 * 30 * 8].reshape(4, 30, 30, 8).astype("float32")
    yield la.conv2d(image, la.ones((3, 3, 8, 16), "float32") / 72)


def updates(x):
    """Writes through views, stencils, scatters."""
    a = x.reshape(200, -1).copy()
    for _ in range(4):
        a[1:-1, 1:-1] = 0.25 * (a[:-2, 1:-1] + a[2:, 1:-1] + a[1:-1, :-2] + a[1:-1, 2:])
    yield a
    b = x.copy()
    b[::2] += b[1::2]
    b[b > 20] = 0
    b[la.arange(0, 5000, 3)] = -1.0
    yield from (b, la.concatenate([a.reshape(-1), b]), la.where(b > a.reshape(-1), b, 1.0))
    yield la.pad(a, 3, mode="reflect")


def numbers(x):
    """Random draws."""
    rng = la.random.default_rng(7)
    yield from (rng.random(60_000), rng.standard_normal(60_000), rng.integers(0, 99, 60_000))
    yield from (rng.permutation(20_000), rng.exponential(size=50_000), rng.choice(x, 5_000))


def keyed(x):
    """Random draws of the default stream, which all threads share."""
    la.random.fast.seed(3)
    normal, uniform = la.random.fast.normal(size=x.size), la.random.fast.uniform(size=x.size)
    yield from (normal, la.tanh(uniform * x + normal))


def raised(x):
    """Floating-point flags, collected from all workers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from (la.sqrt(x) + 1, x / (x - x), la.log(x), la.exp(x * 100))
        for each in (la.sqrt(x), x / 0.0):
            each.wait()


PROGRAMS = (order, reductions, products, updates, numbers)
ALONE = (keyed, raised)


def bits(results) -> list[bytes]:
    """All started before the first is looked at."""
    held = list(results)
    la.eval(*held)
    return [np.asarray(each).tobytes() for each in held]


def main() -> int:
    """Each program on one worker, then on four, then in four threads at once."""
    start = data(60_000)
    wanted = {}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        la.set_workers(1)
        for program in PROGRAMS + ALONE:
            wanted[program] = bits(program(la.array(start)))
        la.set_workers(4)
        for _ in range(TURNS):
            for program in PROGRAMS + ALONE:
                if bits(program(la.array(start))) != wanted[program]:
                    print(f"{program.__name__}: other bits on four workers")
                    return 1
    wrong = []

    def together(turn: int) -> None:
        for program in PROGRAMS[turn:] + PROGRAMS[:turn]:
            with np.errstate(all="ignore"):
                if bits(program(la.array(start))) != wanted[program]:
                    wrong.append(program.__name__)

    threads = [threading.Thread(target=together, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(*(wrong or ["same bits"]))
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
