"""Vector functions: nanoseconds an element on one core, beside NumPy's (SciPy's) and torch's.

The numbers lie in the L2 cache, and the peers take turns. LAZYARRAY_SIMD=0 and 1 show the older
instruction sets.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from lazyarray import _loops, _vmath

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

SIZE = 16_384
TURNS = 15
PASSES = 20
SECONDS = 1e9 / (SIZE * PASSES)  # to nanoseconds an element
SCIPY = {"erf": special.erf, "expit": special.expit}
TORCH = {"expit": "sigmoid", "power": "pow"}


def arguments(name: str, dtype: np.dtype) -> list[np.ndarray]:
    """Return arguments in the range of everyday ones."""
    rng = np.random.default_rng(0)
    positive = name.startswith("log") or name.endswith("power")
    x = rng.uniform(0.1, 10, SIZE) if positive else rng.uniform(-8, 8, SIZE)
    y = rng.uniform(-3, 3, SIZE)
    return [x.astype(dtype), y.astype(dtype)]


def ours(loop: Any, xs: list[np.ndarray]) -> Callable[[], object]:
    """Return a call of our loop over the arguments, PASSES times."""
    item, nin = xs[0].itemsize, len(xs)
    operands = [(i, (0, item), item) for i in range(nin + 1)]
    step = (loop, tuple(range(nin)), (nin,))
    kernel = _loops.elementwise(
        (PASSES, SIZE), operands[:-1], operands[-1:], [item] * (nin + 1), [step]
    )
    out = np.empty_like(xs[0])
    return lambda: kernel.call(*xs, out)


def numpys(name: str, xs: list[np.ndarray]) -> Callable[[], object]:
    """Return the same of NumPy's or SciPy's function."""
    function = SCIPY.get(name) or getattr(np, name)
    out = np.empty_like(xs[0])
    return lambda: [function(*xs, out=out) for _ in range(PASSES)]


def torchs(name: str, xs: list[np.ndarray]) -> Callable[[], object] | None:
    """Return the same of torch's function."""
    function = torch and getattr(torch, TORCH.get(name, name), None)
    if not function:
        return None
    torch.set_num_threads(1)
    tensors = [torch.from_numpy(x) for x in xs]
    out = torch.empty_like(tensors[0])
    return lambda: [function(*tensors, out=out) for _ in range(PASSES)]


def nanoseconds(calls: list[Callable[[], object] | None]) -> list[float]:
    """Return the shortest time of each, taken in turns."""
    best = [math.inf] * len(calls)
    for _ in range(TURNS):
        for i, call in enumerate(calls):
            if call is None:
                continue
            begin = time.perf_counter()
            call()
            best[i] = min(best[i], (time.perf_counter() - begin) * SECONDS)
    return best


def main() -> None:
    """Print one row for each function and dtype."""
    print(f"ns/element, one core, SIMD level {_loops.simd_level()}")
    print(f"{'':20}{'ours':>8}{'numpy':>8}{'torch':>8}")
    for loop in _vmath.LOOPS:  # float_power is power, of float64
        xs = arguments(loop.name, loop.dtypes[0])[: loop.nin]
        with np.errstate(all="ignore"):
            calls = [ours(loop, xs), numpys(loop.name, xs), torchs(loop.name, xs)]
            row = nanoseconds(calls)
        cells = "".join(f"{t:8.2f}" if t < math.inf else f"{'':8}" for t in row)
        print(f"{loop.name:12}{loop.dtypes[0]!s:8}{cells}")


if __name__ == "__main__":
    main()
