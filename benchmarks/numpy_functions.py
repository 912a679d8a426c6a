"""Functions with a kernel of their own against NumPy's, the largest gaps first.

    python benchmarks/numpy_functions.py
    python benchmarks/numpy_functions.py --quick
    python benchmarks/numpy_functions.py --only sort unique "a[mask]"
    python benchmarks/numpy_functions.py --by-cpu

On a busy machine the last one tells most, with one core for both: run it by ``taskset -c 0`` with
``LAZYARRAY_WORKERS=1`` and ``OPENBLAS_NUM_THREADS=1``.

Both run the same call on the same data in one process and take turns, so that a change of the
machine's speed meets both; ours is waited for. The ratio is the median of the turns' ratios. A
second ratio compares processor time, which other programs disturb less: ours is divided over the
cores, so that with C cores it may be C times as large. Results are compared once. Then small
arrays: the time of one operation in a chain whose end is read, and of one operation that is read.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy_cases import Case, table, unmeasured

import lazyarray as la

GOAL = 1.05
SIZES = (1_000_000, 5_000_000)
# Both cores and at least 1.5 times as fast on the larger size.
HARD = {
    "sort", "argsort", "unique", "cumsum", "a[index]", "a[mask]", "take", "searchsorted",
    "bincount", "histogram",
}  # fmt: skip
LEAST_TURNS, MOST_TURNS = 5, 25
SMALL, CHAIN, SMALL_TURNS = 10, 1000, 30


@dataclass(slots=True)
class Found:
    """What was measured of a case; times in seconds."""

    name: str
    dtype: str
    size: int
    numpys: float
    ours: float
    ratio: float
    cpu: float

    @property
    def goal(self) -> float:
        """The largest ratio that is good enough."""
        hard = self.name.split(",")[0] in HARD and self.size == SIZES[-1]
        return 1 / 1.5 if hard else GOAL


# ---- measuring


def same(theirs: Any, ours: Any, exact: bool) -> bool:
    """Whether two results are equal, as far as that can be asked."""
    if isinstance(theirs, tuple | list):
        return all(same(a, b, exact) for a, b in zip(theirs, ours, strict=True))
    theirs, ours = np.asarray(theirs), np.asarray(ours)
    if theirs.dtype != ours.dtype or theirs.shape != ours.shape:
        return False
    inexact = theirs.dtype.kind in "fc"
    if exact or not inexact:
        return np.array_equal(theirs, ours, equal_nan=inexact)
    close = 1e-3 if theirs.real.dtype.itemsize == 4 else 1e-8
    # What is left of a sum of large numbers is as uncertain as they are.
    largest = float(np.max(np.abs(theirs), initial=1.0, where=np.isfinite(theirs)))
    return np.allclose(theirs, ours, rtol=close, atol=close * largest, equal_nan=True)


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall time, processor time and result of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = run()
    return time.perf_counter() - wall, time.process_time() - cpu, found


def measure(case: Case, dtype: str, size: int, seconds: float) -> Found:
    """Let NumPy and lazyarray take turns."""
    theirs = case.make(np.random.default_rng(0), size, np.dtype(dtype))
    ours = tuple(la.array(x) if isinstance(x, np.ndarray) else x for x in theirs)
    la.wait_all(*ours)

    def run_ours() -> Any:
        found = case.call(la, *ours)
        la.wait_all(found)
        return found

    def run_theirs() -> Any:
        return case.call(np, *theirs)

    known = case.exact is not None and "argsort" not in case.name
    wrong = not same(run_theirs(), run_ours(), bool(case.exact)) and known
    if wrong:
        print(f"  {case.name} {dtype} {size}: results differ")
    turns = []
    end = time.perf_counter() + seconds
    while len(turns) < LEAST_TURNS or (time.perf_counter() < end and len(turns) < MOST_TURNS):
        a, a_cpu, found = timed(run_theirs)
        del found
        b, b_cpu, found = timed(run_ours)
        del found
        turns.append((a, b, b / a, b_cpu / max(a_cpu, 1e-9)))
    middles = [statistics.median(column) for column in zip(*turns, strict=True)]
    return Found(case.name, dtype, size, *middles)


# ---- small arrays


def chained(xp: Any, name: str) -> Callable[[], Any]:
    """A chain of one operation on a few elements, read at its end."""
    x = xp.asarray(np.linspace(0.1, 0.9, SMALL))
    y = xp.asarray(np.linspace(0.9, 0.1, SMALL))
    step: dict[str, Callable[[Any], Any]] = {
        "a + b": lambda a: a + y,
        "a * 0.5": lambda a: a * 0.5,
        "sin(a)": lambda a: xp.sin(a),
        "maximum(a, b)": lambda a: xp.maximum(a, y),
        "where": lambda a: xp.where(a > y, a, y),
        "a[::-1] + b": lambda a: a[::-1] + y,
        "a - a.max()": lambda a: a - a.max(),
        "a / a.sum()": lambda a: a / a.sum(),
        "a += b": lambda a: a.__iadd__(y),
        "sort": lambda a: xp.sort(a),
        "cumsum(a) * 0.1": lambda a: xp.cumsum(a) * 0.1,
        "concatenate": lambda a: xp.concatenate([a[:5], y[:5]]),
        "reshape, transpose": lambda a: a.reshape(2, 5).T.reshape(SMALL),
    }
    run = step[name]

    def chain(count: int = CHAIN) -> Any:
        a = x.copy()
        for _ in range(count):
            a = run(a)
        return np.asarray(a)

    return chain


SMALL_STEPS = (
    "a + b", "a * 0.5", "sin(a)", "maximum(a, b)", "where", "a[::-1] + b", "a - a.max()",
    "a / a.sum()", "a += b", "sort", "cumsum(a) * 0.1", "concatenate", "reshape, transpose",
)  # fmt: skip


def small(only: list[str]) -> list[dict[str, Any]]:
    """Measure chains, and single operations that are read; times per operation."""
    rows = []
    for name in SMALL_STEPS:
        if only and not any(part in name for part in only):
            continue
        theirs, ours = chained(np, name), chained(la, name)
        for kind, count in (("chained", CHAIN), ("read", 1)):
            turns = []
            for _ in range(SMALL_TURNS if count > 1 else 20 * SMALL_TURNS):
                a = timed(lambda count=count, run=theirs: run(count))[0] / count
                b = timed(lambda count=count, run=ours: run(count))[0] / count
                turns.append((a, b, b / a))
            a, b, ratio = (statistics.median(column) for column in zip(*turns, strict=True))
            rows.append({"name": name, "kind": kind, "numpys": a, "ours": b, "ratio": ratio})
    return rows


# ---- the command


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="parts of names")
    parser.add_argument("--quick", action="store_true", help="one size, fewer turns")
    parser.add_argument("--dtypes", nargs="+", default=[], metavar="DTYPE")
    parser.add_argument("--sizes", nargs="+", type=int, default=None, metavar="N")
    parser.add_argument("--top", type=int, default=100, help="rows printed")
    parser.add_argument("--by-cpu", action="store_true", help="sort and judge by processor time")
    parser.add_argument("--small", action="store_true", help="small arrays only")
    parser.add_argument("--json", type=Path, help="a file to leave all figures in")
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = arguments()
    warnings.simplefilter("ignore")
    seconds = 0.2 if args.quick else 1.0
    most = 1 if args.quick else None
    sizes, cases = SIZES[:most], table()
    cores = len(os.sched_getaffinity(0))
    print(f"NumPy {np.__version__}, {cores} cores, load {os.getloadavg()[0]:.1f} before\n")
    found: list[Found] = []
    with contextlib.suppress(KeyboardInterrupt):  # what is there is printed
        for case in () if args.small else cases:
            if args.only and not any(part in case.name for part in args.only):
                continue
            for dtype in case.dtypes:
                chosen = args.sizes or case.sizes[:most] or sizes
                for size in chosen if not args.dtypes or dtype in args.dtypes else ():
                    with np.errstate(all="ignore"):
                        found.append(measure(case, dtype, size, seconds))
                    gc.collect()

    def measured(row: Found) -> float:
        return row.cpu if args.by_cpu else row.ratio

    rows = sorted(found, key=lambda row: measured(row) / row.goal, reverse=True)
    if rows:
        print("| function | dtype | elements | NumPy ms | ours ms | ratio | goal | CPU ratio |")
        print("|---|---|---|---|---|---|---|---|")
    for row in rows[: args.top]:
        miss = "" if measured(row) <= row.goal else " (not met)"
        print(
            f"| {row.name} | {row.dtype} | {row.size / 1e6:g} M | {row.numpys * 1e3:.2f} | "
            f"{row.ours * 1e3:.2f} | {row.ratio:.2f} | {row.goal:.2f}{miss} | {row.cpu:.2f} |"
        )
    if left_out := unmeasured(cases):
        print("\nNo case calls: " + ", ".join(left_out))
    missed = sum(measured(row) > row.goal for row in rows)
    print(f"\n{missed} of {len(rows)} rows miss their goal\n")
    chains = small(args.only)
    if chains:
        print("| ten elements | NumPy us | ours us | ratio |\n|---|---|---|---|")
    for row in sorted(chains, key=lambda r: (r["kind"], -r["ratio"])):
        print(
            f"| {row['name']}, {row['kind']} | {row['numpys'] * 1e6:.2f} | "
            f"{row['ours'] * 1e6:.2f} | {row['ratio']:.2f} |"
        )
    if args.json:
        figures = [{key: getattr(row, key) for key in Found.__slots__} for row in rows]
        args.json.write_text(json.dumps({"rows": figures, "small": chains}, indent=1))


if __name__ == "__main__":
    main()
