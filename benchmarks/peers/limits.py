"""What the machine can do: bytes a second through all cores, and multiply-adds in float32."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .frameworks import cores

TRIAD = 20_000_000  # elements of each array
BLOCK = 1 << 19  # of NumPy's inner step: smaller ones fight for the GIL
GEMM = 2048


def rate(run: Callable[[], object], amount: float, repeats: int = 7) -> float:
    """The median of `amount` over seconds, after one run that is not counted."""
    run()
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        found.append(amount / (time.perf_counter() - begin))
    return statistics.median(found)


def bandwidth() -> float:
    """Bytes a second of the triad ``a = b + s * c`` on three float32 arrays (McCalpin 1995).

    PyTorch's, which is one pass into memory that is there already, or that of threads with NumPy
    where they do better or PyTorch is absent.
    """
    a, b, c = (np.full(TRIAD, x, np.float32) for x in (0, 1, 2))
    n_threads = cores()
    step = TRIAD // n_threads

    def part(i: int) -> None:
        for lo in range(i * step, (i + 1) * step, BLOCK):
            hi = min(lo + BLOCK, (i + 1) * step)
            np.multiply(c[lo:hi], np.float32(3), out=a[lo:hi])
            np.add(a[lo:hi], b[lo:hi], out=a[lo:hi])

    with ThreadPoolExecutor(n_threads) as pool:
        found = rate(lambda: list(pool.map(part, range(n_threads))), 12 * step * n_threads)
    try:
        import torch
    except ImportError:
        return found
    x, y, z = (torch.from_numpy(array) for array in (a, b, c))
    return max(found, rate(lambda: torch.add(y, z, alpha=3.0, out=x), 12 * TRIAD))


def gemm_rate() -> float:
    """Floating-point operations a second of NumPy's float32 product of two 2048 x 2048 matrices."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((GEMM, GEMM), dtype=np.float32) for _ in range(2))
    out = np.empty_like(x)
    return rate(lambda: np.matmul(x, y, out=out), 2.0 * GEMM**3)


def limits() -> dict[str, float]:
    """Both, a second."""
    return {"bytes": bandwidth(), "flops": gemm_rate()}
