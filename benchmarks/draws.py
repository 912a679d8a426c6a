"""Random numbers: NumPy's streams drawn by lazyarray, keyed draws, and NumPy itself.

    python benchmarks/draws.py
    python benchmarks/draws.py --quick

Each row is timed in turns with NumPy, reading the result included; the median of a row's turns, and
what of NumPy's time it takes. `fast` draws other numbers than NumPy, on all cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import lazyarray as la

MILLION = 1_000_000


def rows(scale: int) -> list[tuple[str, int, Callable[[], Any], Callable[[], Any] | None, Any]]:
    """Name, calls a turn, ours, keyed (or None), NumPy's."""
    ours, theirs = la.random.default_rng(1), np.random.default_rng(1)
    old, numpys = la.random.RandomState(1), np.random.RandomState(1)
    fast, n = la.random.fast, 10 * MILLION // scale
    single = np.float32
    return [
        (
            f"normal, {n}",
            1,
            lambda: ours.normal(size=n).wait(),
            lambda: fast.normal(size=n).wait(),
            lambda: theirs.normal(size=n),
        ),
        (
            f"standard_normal, float32, {n}",
            1,
            lambda: ours.standard_normal(n, single).wait(),
            lambda: fast.normal(size=n, dtype=single).wait(),
            lambda: theirs.standard_normal(n, single),
        ),
        (
            f"random, {n}",
            1,
            lambda: ours.random(n).wait(),
            lambda: fast.uniform(size=n).wait(),
            lambda: theirs.random(n),
        ),
        (
            f"integers below 1000, {n}",
            1,
            lambda: ours.integers(1000, size=n).wait(),
            lambda: fast.integers(1000, size=n).wait(),
            lambda: theirs.integers(1000, size=n),
        ),
        (
            f"permutation, {n // 10}",
            1,
            lambda: ours.permutation(n // 10).wait(),
            lambda: fast.permutation(n // 10).wait(),
            lambda: theirs.permutation(n // 10),
        ),
        (
            f"two generators at once, {n // 2} each",
            1,
            two_at_once(n // 2),
            None,
            lambda: (theirs.normal(size=n // 2), theirs.normal(size=n // 2)),
        ),
        (
            "normal, 10, read",
            1000,
            lambda: ours.normal(size=10).wait(),
            None,
            lambda: theirs.normal(size=10),
        ),
        ("random, one, read", 1000, lambda: ours.random().item(), None, lambda: theirs.random()),
        ("randn, 10, read", 1000, lambda: old.randn(10).wait(), None, lambda: numpys.randn(10)),
    ]


def two_at_once(n: int) -> Callable[[], Any]:
    """Draws from two streams, which the workers run side by side."""
    one, other = la.random.default_rng(1).spawn(2)
    return lambda: la.wait_all(one.normal(size=n), other.normal(size=n))


def seconds(call: Callable[[], Any], count: int) -> float:
    """The time of a call."""
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the numbers")
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    print(f"{'':40}{'NumPy':>12}{'lazyarray':>12}{'':>8}{'fast':>12}{'':>8}")
    for name, count, ours, keyed, theirs in rows(10 if options.quick else 1):
        calls = [theirs, ours] if keyed is None else [theirs, ours, keyed]
        spans: list[list[float]] = [[] for _ in calls]
        for turn in range(options.turns + 1):
            for call, found in zip(calls, spans, strict=True):
                span = seconds(call, count)
                if turn:
                    found.append(span)
        medians = [statistics.median(found) * 1e6 for found in spans]
        line = f"{name:40}{medians[0]:>9.1f} us"
        for median in medians[1:]:
            line += f"{median:>9.1f} us{median / medians[0]:>7.2f}x"
        print(line)


if __name__ == "__main__":
    main()
