"""Functions with a kernel of their own against NumPy's, the largest gaps first.

    python benchmarks/numpy_functions.py
    python benchmarks/numpy_functions.py --quick
    python benchmarks/numpy_functions.py --only sort unique "a[mask]"

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lazyarray._ir import registry

import lazyarray as la
from lazyarray.ops.define import Elementwise

GOAL = 1.05
SIZES = (1_000_000, 5_000_000)
DTYPES = ("float64", "float32", "int64")
# Both cores and at least 1.5 times as fast on the larger size.
HARD = {
    "sort", "argsort", "unique", "cumsum", "a[index]", "a[mask]", "take", "searchsorted",
    "bincount", "histogram",
}  # fmt: skip
LEAST_TURNS, MOST_TURNS = 5, 25
SMALL, CHAIN, SMALL_TURNS = 10, 1000, 30

Call = Callable[..., Any]
Make = Callable[[np.random.Generator, int, np.dtype], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """A call, and what it is called with."""

    name: str
    call: Call  # call(xp, *arguments), where xp is numpy or lazyarray
    make: Make
    dtypes: tuple[str, ...] = DTYPES
    exact: bool = True  # compare results bit for bit (else closely, or not at all)


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


# ---- arguments


def numbers(rng: np.random.Generator, n: int, dtype: np.dtype) -> np.ndarray:
    """Numbers that most functions are defined for."""
    if dtype.kind == "b":
        return rng.random(n) < 0.5
    if dtype.kind in "iu":
        return rng.integers(1, min(1 << 40, np.iinfo(dtype).max), n, dtype)
    return rng.uniform(0.05, 0.95, n).astype(dtype)


def one(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """One row."""
    return (numbers(rng, n, dtype),)


def two(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """Two rows."""
    return numbers(rng, n, dtype), numbers(rng, n, dtype)


def matrix(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A matrix of long rows."""
    return (numbers(rng, n, dtype).reshape(n // 1000, 1000),)


def rising(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A sorted row."""
    return (np.sort(numbers(rng, n, dtype)),)


def few(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row of a thousand different numbers."""
    return (rng.integers(0, 1000, n).astype(dtype),)


def holes(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row with NaN in it."""
    x = numbers(rng, n, dtype)
    x[rng.random(n) < 0.01] = np.nan
    return (x,)


def indexed(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row and indices into it."""
    return numbers(rng, n, dtype), rng.integers(0, n, n)


def indexed_rows(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A matrix and indices of its rows."""
    return numbers(rng, n, dtype).reshape(-1, 50), rng.integers(0, n // 50, n // 50)


def indexed_columns(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A matrix and indices of its columns."""
    return numbers(rng, n, dtype).reshape(-1, 50), rng.integers(0, 50, 50)


def placed(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row, indices into it and what to write there."""
    return *indexed(rng, n, dtype), numbers(rng, n, dtype)


def masked(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A row, a mask, and a value for each of its true elements."""
    mask = rng.random(n) < 0.5
    return numbers(rng, n, dtype), mask, numbers(rng, int(mask.sum()), dtype)


def searched(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """A sorted row, and a tenth as many numbers to look for."""
    return *rising(rng, n, dtype), numbers(rng, n // 10, dtype)


def counted(rng: np.random.Generator, n: int, dtype: np.dtype) -> tuple[Any, ...]:
    """Small integers, and weights."""
    return rng.integers(0, 1000, n), rng.random(n).astype(dtype)


# ---- calls


def write(a: Any, index: Any, value: Any) -> Any:
    """`a` after a write."""
    a = a.copy()
    a[index] = value
    return a


def table() -> Iterator[Case]:
    """Functions that are no ufuncs."""
    floats, wide = ("float64", "float32"), (*DTYPES, "int32", "int16", "uint8")
    yield Case("sort", lambda xp, x: xp.sort(x), one, wide)
    yield Case("sort, stable", lambda xp, x: xp.sort(x, kind="stable"), one, wide)
    yield Case("sort, sorted", lambda xp, x: xp.sort(x), rising)
    yield Case("sort, few values", lambda xp, x: xp.sort(x), few)
    yield Case("sort, NaN", lambda xp, x: xp.sort(x), holes, floats)
    yield Case("sort, rows", lambda xp, x: xp.sort(x), matrix)
    yield Case("sort, columns", lambda xp, x: xp.sort(x, axis=0), matrix)
    yield Case("argsort", lambda xp, x: xp.argsort(x), one, wide, exact=False)
    yield Case("argsort, stable", lambda xp, x: xp.argsort(x, kind="stable"), one)
    yield Case("argsort, sorted", lambda xp, x: xp.argsort(x, kind="stable"), rising)
    yield Case("argsort, rows", lambda xp, x: xp.argsort(x, kind="stable"), matrix)
    yield Case("unique", lambda xp, x: xp.unique(x), one)
    yield Case("unique, few values", lambda xp, x: xp.unique(x), few)
    yield Case("unique, counts", lambda xp, x: xp.unique(x, return_counts=True), few)
    yield Case("unique, inverse", lambda xp, x: xp.unique(x, return_inverse=True), few)
    for name in ("cumsum", "cumprod"):
        yield Case(name, lambda xp, x, name=name: getattr(xp, name)(x), one)
        yield Case(f"{name}, rows", lambda xp, x, n=name: getattr(xp, n)(x, axis=1), matrix)
        yield Case(f"{name}, columns", lambda xp, x, n=name: getattr(xp, n)(x, axis=0), matrix)
    yield Case("a[index]", lambda xp, x, i: x[i], indexed)
    yield Case("a[index], rows", lambda xp, x, i: x[i], indexed_rows)
    yield Case("a[index], columns", lambda xp, x, i: x[:, i], indexed_columns)
    yield Case("a[index] = values", lambda xp, x, i, v: write(x, i, v), placed)
    yield Case("a[mask]", lambda xp, x, m, v: x[m], masked)
    yield Case("a[mask] = values", lambda xp, x, m, v: write(x, m, v), masked)
    yield Case("a[mask] = 0", lambda xp, x, m, v: write(x, m, 0), masked)
    yield Case("nonzero", lambda xp, x, m, v: xp.nonzero(m), masked, ("float64",))
    yield Case("count_nonzero", lambda xp, x, m, v: xp.count_nonzero(m), masked, ("float64",))
    yield Case("take", lambda xp, x, i: xp.take(x, i), indexed)
    yield Case("take, axis 0", lambda xp, x, i: xp.take(x, i, axis=0), indexed_rows)
    yield Case("take, axis 1", lambda xp, x, i: xp.take(x, i, axis=1), indexed_columns)
    yield Case("searchsorted", lambda xp, x, v: xp.searchsorted(x, v), searched)
    yield Case("bincount", lambda xp, i, w: xp.bincount(i), counted, ("float64",))
    yield Case("bincount, weights", lambda xp, i, w: xp.bincount(i, w), counted, floats)
    yield Case("histogram", lambda xp, x: xp.histogram(x, 100)[0], one, wide)
    yield Case("histogram, range", lambda xp, x: xp.histogram(x, 50, (0.2, 0.8))[0], one, floats)
    yield Case("histogram, edges", lambda xp, x: xp.histogram(x, [0.1, 0.3, 0.9])[0], one, floats)
    yield from reductions()
    yield from shapes()


def reductions() -> Iterator[Case]:
    """Functions that leave out axes."""
    names = [
        "sum",
        "prod",
        "min",
        "max",
        "argmin",
        "argmax",
        "any",
        "all",
        "mean",
        "var",
        "std",
        "ptp",
    ]
    for name in names:
        for text, axis, make in (("", None, one), (", rows", 1, matrix), (", columns", 0, matrix)):
            yield Case(
                name + text,
                lambda xp, x, name=name, axis=axis: getattr(xp, name)(x, axis=axis),
                make,
                exact=False,
            )
    for name in ["nansum", "nanprod", "nanmin", "nanmax", "nanmean", "nanstd"]:
        yield Case(
            name,
            lambda xp, x, name=name: getattr(xp, name)(x),
            holes,
            ("float64", "float32"),
            False,
        )
    yield Case("average, weights", lambda xp, x, y: xp.average(x, weights=y), two, exact=False)
    yield Case("allclose", lambda xp, x, y: xp.allclose(x, y), two)
    yield Case("array_equal", lambda xp, x: xp.array_equal(x, x.copy()), one)


def shapes() -> Iterator[Case]:
    """Functions that move elements, or make them of nothing."""
    yield Case("copy", lambda xp, x: x.copy(), one)
    yield Case("a[::2]", lambda xp, x: x[::2].copy(), one)
    yield Case("a[::-1]", lambda xp, x: x[::-1].copy(), one)
    yield Case("transposed copy", lambda xp, x: x.T.copy(), matrix)
    yield Case("astype", lambda xp, x: x.astype("float32"), one, ("float64", "int64"))
    yield Case("concatenate", lambda xp, x, y: xp.concatenate([x, y]), two)
    yield Case("stack", lambda xp, x, y: xp.stack([x, y], axis=1), two)
    yield Case("repeat", lambda xp, x: xp.repeat(x, 2), one)
    yield Case("tile", lambda xp, x: xp.tile(x, 2), one)
    yield Case("roll", lambda xp, x: xp.roll(x, 1000), one)
    yield Case("pad", lambda xp, x: xp.pad(x, 3), matrix)
    yield Case("diff", lambda xp, x: xp.diff(x), one)
    yield Case("where", lambda xp, x, m, v: xp.where(m, x, 0), masked)
    yield Case("clip", lambda xp, x: xp.clip(x, x.dtype.type(0.2), x.dtype.type(0.8)), one)
    yield Case("tril", lambda xp, x: xp.tril(x), matrix)
    yield Case("outer", lambda xp, x: xp.outer(x[:1000], x[: x.size // 1000]), one)
    yield Case("dot", lambda xp, x, y: xp.dot(x, y), two, ("float64", "float32"), False)
    yield Case("matrix @ vector", lambda xp, x: x @ x[0], matrix, ("float64", "float32"), False)
    yield Case("einsum ij,ij->i", lambda xp, x: xp.einsum("ij,ij->i", x, x), matrix, exact=False)
    yield Case("zeros", lambda xp, x: xp.zeros(x.size, x.dtype) + 1, one)
    yield Case("arange", lambda xp, x: xp.arange(x.size, dtype=x.dtype), one)
    yield Case("linspace", lambda xp, x: xp.linspace(0, 1, x.size), one, ("float64",), False)
    yield Case("fft", lambda xp, x: xp.fft.fft(x), one, ("float64",), False)
    yield Case("rfft", lambda xp, x: xp.fft.rfft(x), one, ("float64", "float32"), False)
    yield Case("fft2", lambda xp, x: xp.fft.fft2(x), matrix, ("float64",), False)


DOMAINS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"arccosh": lambda x: x + 1}
SHIFTS = ("left_shift", "right_shift")
# The result of an integer power is rarely a number anybody wants.
SKIPPED = {("power", "int64"), ("float_power", "int64"), ("ldexp", "int64")}


def ufuncs() -> Iterator[Case]:
    """NumPy's ufuncs that are ops."""
    for name, op in sorted(registry.items()):
        ufunc = getattr(np, name, None)
        if not isinstance(op, Elementwise) or not isinstance(ufunc, np.ufunc):
            continue
        change = DOMAINS.get(name, lambda x: x)

        def make(
            rng: np.random.Generator, n: int, dtype: np.dtype, nin: int = ufunc.nin,
            change: Callable[[np.ndarray], np.ndarray] = change, shift: bool = name in SHIFTS,
        ) -> tuple[Any, ...]:  # fmt: skip
            found = [change(numbers(rng, n, dtype)) for _ in range(nin)]
            if shift:
                found[1] %= 8
            return tuple(found)

        dtypes = tuple(d for d in DTYPES if (name, d) not in SKIPPED and accepts(ufunc, d))
        yield Case(name, lambda xp, *x, name=name: getattr(xp, name)(*x), make, dtypes, False)


def accepts(ufunc: np.ufunc, dtype: str) -> bool:
    """Whether a ufunc has a loop of this dtype itself."""
    char = np.dtype(dtype).char
    return any(kind.startswith(char * ufunc.nin + "->") for kind in ufunc.types)


# ---- measuring


def same(theirs: Any, ours: Any, exact: bool) -> bool:
    """Whether two results are equal, as far as that can be asked."""
    if isinstance(theirs, tuple):
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

    wrong = not same(run_theirs(), run_ours(), case.exact) and "argsort" not in case.name
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
    parser.add_argument("--by-cpu", action="store_true", help="sort by processor time")
    parser.add_argument("--small", action="store_true", help="small arrays only")
    parser.add_argument("--json", type=Path, help="a file to leave all figures in")
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = arguments()
    warnings.simplefilter("ignore")
    seconds = 0.2 if args.quick else 1.0
    sizes = args.sizes or (SIZES[:1] if args.quick else SIZES)
    cores = len(os.sched_getaffinity(0))
    print(f"NumPy {np.__version__}, {cores} cores, load {os.getloadavg()[0]:.1f} before\n")
    found: list[Found] = []
    with contextlib.suppress(KeyboardInterrupt):  # what is there is printed
        for case in () if args.small else (*table(), *ufuncs()):
            if args.only and not any(part in case.name for part in args.only):
                continue
            for dtype in case.dtypes:
                for size in sizes if not args.dtypes or dtype in args.dtypes else ():
                    with np.errstate(all="ignore"):
                        found.append(measure(case, dtype, size, seconds))
                    gc.collect()
    value = (lambda r: r.cpu) if args.by_cpu else (lambda r: r.ratio / r.goal)
    rows = sorted(found, key=value, reverse=True)
    if rows:
        print("| function | dtype | elements | NumPy ms | ours ms | ratio | goal | CPU ratio |")
        print("|---|---|---|---|---|---|---|---|")
    for row in rows[: args.top]:
        miss = "" if row.ratio <= row.goal else " (not met)"
        print(
            f"| {row.name} | {row.dtype} | {row.size / 1e6:g} M | {row.numpys * 1e3:.2f} | "
            f"{row.ours * 1e3:.2f} | {row.ratio:.2f} | {row.goal:.2f}{miss} | {row.cpu:.2f} |"
        )
    missed = sum(row.ratio > row.goal for row in rows)
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
