"""Random NumPy programs: run on NumPy and on lazyarray, compared, made small.

A program is a list of source lines over names and ``xp`` (NumPy or lazyarray), so a failing one
prints as something to paste. `writer` writes them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any

import numpy as np

import lazyarray as la
from lazyarray import _bind, _handle, tiers
from lazyarray.errors import ShapeError

WORD = re.compile(r"\b[ae]\d+\b")

# ---- running


@cache
def compiled(line: str) -> CodeType:
    """The code of a statement."""
    return compile(line, line, "exec")


@dataclass
class Outcome:
    """Live names, the exception class of each statement, and what the program looked at."""

    names: dict[str, Any]
    raised: list[type[Exception] | None]
    seen: list[Any]


@contextmanager
def quiet() -> Iterator[None]:
    """Arithmetic warnings are no part of the comparison."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def run(
    lines: list[str], xp: Any, after: Callable[[dict[str, Any]], None] | None = None
) -> Outcome:
    """Execute a program; a statement that raises is left behind, and the next one runs."""
    seen: list[Any] = []
    scope: dict[str, Any] = {"xp": xp, "np": np, "look": lambda x: seen.append(frozen(x))}
    scope["start"] = la.eval if xp is la else lambda *arrays: None
    fixed = {*scope, "__builtins__", "__warningregistry__", "__turn__"}
    raised: list[type[Exception] | None] = []
    with quiet():
        for line in lines:
            try:
                exec(compiled(line), scope)
                raised.append(None)
            except Exception as error:
                raised.append(type(error))
            if after is not None:
                after(scope)
    return Outcome({k: v for k, v in scope.items() if k not in fixed}, raised, seen)


def step(scope: dict[str, Any]) -> None:
    """Wait for everything after each statement."""
    for value in scope.values():
        if isinstance(value, la.Array):
            value.wait()


def cut(scope: dict[str, Any]) -> None:
    """Run what is pending, as at the bound, after every third statement."""
    scope["__turn__"] = turn = scope.get("__turn__", 0) + 1
    if turn % 3 == 0:
        _handle.cut()


MODES: dict[str, tuple[str, int, Any]] = {
    "threaded": ("threaded", 2, None),
    "one worker": ("threaded", 1, None),
    "naive": ("naive", 2, None),
    "stepped": ("threaded", 2, step),
    "cut": ("threaded", 2, cut),
}


def run_in(mode: str, lines: list[str]) -> Outcome:
    """Execute a program on lazyarray in one of the modes."""
    kind, workers, after = MODES[mode]
    la.set_engine(kind)
    la.set_workers(workers)
    try:
        return run(lines, la, after)
    finally:
        la.set_engine("threaded")
        la.set_workers(2)


# ---- comparing


def frozen(x: Any) -> Any:
    """A value as it is now, comparable."""
    if isinstance(x, la.Array | np.ndarray | np.generic):
        return bits(x)
    return repr(x)


def bits(x: Any) -> tuple[Any, ...]:
    """dtype, shape and bytes; every NaN has the same bytes."""
    data = x.numpy() if isinstance(x, la.Array) else np.array(x)
    if data.dtype.kind == "f":
        data[np.isnan(data)] = np.nan
    elif data.dtype.kind == "c":
        data.real[np.isnan(data.real)] = np.nan
        data.imag[np.isnan(data.imag)] = np.nan
    return data.dtype, data.shape, data.tobytes()


def layout(x: Any) -> Any:
    """Strides of the axes that are walked, whether it may be written, whether it is a scalar."""
    scalar = x.is_scalar if isinstance(x, la.Array) else isinstance(x, np.generic)
    if scalar or x.size == 0:
        return scalar
    strides = tuple(s for s, n in zip(x.strides, x.shape, strict=True) if n > 1)
    return scalar, strides, bool(x.flags.writeable)


def close(name: str, ours: Any, wanted: Any) -> str | None:
    """Compare a probe; its name ends in the ulps allowed, counted at its largest element."""
    ours, wanted = np.array(ours), np.array(wanted)
    if ours.dtype != wanted.dtype or ours.shape != wanted.shape:
        return f"{name}: {ours.dtype}{ours.shape}, NumPy has {wanted.dtype}{wanted.shape}"
    if ours.size == 0:
        return None
    ulps = int(name.rpartition("_")[2])
    finite = np.isfinite(wanted)
    if not np.array_equal(finite, np.isfinite(ours)):
        return f"{name}: {ours}, NumPy has {wanted}"
    large = np.abs(wanted[finite]).max(initial=0)
    bound = (
        ulps * np.finfo(wanted.dtype).eps * max(float(large), float(np.finfo(wanted.dtype).tiny))
    )
    error = np.abs(ours[finite].astype("complex128") - wanted[finite]).max(initial=0)
    if error <= bound:
        return None
    return f"{name}: {ours}, NumPy has {wanted}: off by {error}, allowed {bound}"


def differences(ours: Outcome, numpy: Outcome) -> str | None:
    """The first difference between what a program did on lazyarray and on NumPy."""
    for i, (mine, theirs) in enumerate(zip(ours.raised, numpy.raised, strict=True)):
        if (mine is None) != (theirs is None) or (mine and not issubclass(mine, public(theirs))):
            return f"statement {i} raised {mine}, on NumPy {theirs}"
    for i, (mine, theirs) in enumerate(zip(ours.seen, numpy.seen, strict=True)):
        if mine != theirs:
            return f"look {i}: {mine}, on NumPy {theirs}"
    if ours.names.keys() != numpy.names.keys():
        return f"names {sorted(ours.names)}, on NumPy {sorted(numpy.names)}"
    return unequal(ours, numpy) or unaliased(ours, numpy)


def public(cls: type[Exception]) -> Any:
    """What a program can catch: NumPy's own TypeErrors are private.

    Where neither dtypes nor shapes fit, the two do not always complain of the same.
    """
    return (TypeError, ShapeError) if issubclass(cls, TypeError) else cls


def unequal(ours: Outcome, numpy: Outcome, only_bits: bool = False) -> str | None:
    """Compare every live name."""
    for name, theirs in numpy.names.items():
        mine = ours.names[name]
        if name.startswith("p"):
            if only_bits:
                continue
            found = close(name, mine, theirs)
            if found:
                return found
            continue
        if bits(mine) != bits(theirs):
            return f"{name}:\n{mine!r}\non NumPy\n{theirs!r}"
        if not only_bits and layout(mine) != layout(theirs):
            return f"{name}: layout {layout(mine)}, on NumPy {layout(theirs)}"
    return None


def unaliased(ours: Outcome, numpy: Outcome) -> str | None:
    """Write through each name in turn; every other name must change alike."""
    for turn, name in enumerate(numpy.names):
        value = numpy.names[name]
        if not isinstance(value, np.ndarray) or not value.flags.writeable or not value.size:
            continue
        for outcome in (numpy, ours):
            outcome.names[name][...] = (turn + 20) % 2 if value.dtype == bool else turn + 20
        found = unequal(ours, numpy, only_bits=True)
        if found:
            return f"after a write through {name}, {found}"
    return None


def check(lines: list[str]) -> str | None:
    """Run a program on NumPy and on lazyarray in every mode; the first difference, or None."""
    numpy = run(lines, np)
    base: dict[str, Any] | None = None
    for mode in MODES:
        if mode != "threaded":
            numpy = run(lines, np)
        ours = run_in(mode, lines)
        with quiet():
            result = {name: bits(x) for name, x in ours.names.items()}
            found = differences(ours, numpy)
        if found:
            return f"{mode}: {found}"
        if base is None:
            base = result
        elif result != base:
            name = next(n for n in base if base[n] != result[n])
            return f"{mode}: {name} has other bits than threaded"
    return None


def check_compiled(lines: list[str]) -> str | None:
    """Run a program with compiled kernels; the first difference to tier 0, or None."""
    results = []
    for mode in ("0", "1"):
        before = tiers.set_mode(mode)
        _bind.clear_plans()
        try:
            ours = run_in("threaded", lines)
        finally:
            tiers.set_mode(before)
            _bind.clear_plans()
        with quiet():
            results.append({name: bits(x) for name, x in ours.names.items()})
    cold, hot = results
    name = next((n for n in cold if cold[n] != hot.get(n)), None)
    return None if name is None else f"{name} has other bits in tier 1 than in tier 0"


def reduced(lines: list[str], failing: Callable[[list[str]], bool]) -> list[str]:
    """Leave out statements while it still fails."""
    size = max(1, len(lines) // 2)
    while size:
        start = 0
        while start < len(lines):
            fewer = lines[:start] + lines[start + size :]
            if failing(fewer):
                lines = fewer
            else:
                start += size
        size //= 2
    return lines


def defined(lines: list[str]) -> bool:
    """Whether NumPy says what the program's casts give."""
    scope: dict[str, Any] = {"xp": np, "np": np, "look": lambda x: None, "start": lambda *x: None}
    return all(accepts(scope, line, reducing=True) for line in lines)


def accepts(scope: dict[str, Any], line: str, reducing: bool = False) -> bool:
    """Execute a statement; False where its effect is undefined, or lazyarray raises later."""
    with np.errstate(all="warn"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(compiled(line), scope)
        except Exception as error:
            # A scalar's value is not known at the record.
            undefined = "cannot convert float" in str(error)
            undefined |= isinstance(error, OverflowError) and bool(
                WORD.fullmatch(line.rpartition("= ")[2])
            )
            return not undefined and not (reducing and isinstance(error, IndexError))
    return not any("in cast" in str(w.message) for w in caught)
