"""The same call to NumPy and to lazyarray.

Compared are dtype, shape, values, the kind of result, the class of exceptions, and what was written
to the arguments.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import warnings
from typing import Any

import numpy as np
from draws import lazy, pairs, plain

import lazyarray as la

# Their last places are our own (docs/differences.md): programs of our own, fixed trees of sums,
# contractions, and what is computed with these.
PROGRAMS = {
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh",
    "tanh", "power", "pow", "float_power", "logaddexp", "logaddexp2", "sinc", "i0",
}  # fmt: skip
SUMS = {
    "sum", "prod", "mean", "std", "var", "cumsum", "cumprod", "nansum", "nanprod", "nanmean",
    "nanstd", "nanvar", "nancumsum", "nancumprod", "cumulative_sum", "cumulative_prod", "average",
    "trace", "dot", "vdot", "inner", "matmul", "tensordot", "einsum", "vecdot", "matvec", "vecmat",
    "kron", "outer", "convolve", "correlate", "cov", "corrcoef", "trapezoid", "add.reduce",
    "multiply.reduce", "add.accumulate", "multiply.accumulate", "add.reduceat", "multiply.reduceat",
    "linalg.norm", "linalg.vector_norm", "linalg.matrix_norm", "linalg.multi_dot", "linalg.trace",
    "linalg.matrix_power", "linalg.matmul", "linalg.tensordot", "linalg.vecdot", "linalg.outer",
    "linspace", "logspace", "geomspace", "percentile", "quantile", "median", "nanmedian",
    "nanpercentile", "nanquantile", "interp", "gradient", "polyval", "polymul", "polyint", "vander",
    "add.at", "multiply.at", "ndarray.sum", "ndarray.prod", "ndarray.mean", "ndarray.std",
    "ndarray.var", "ndarray.cumsum", "ndarray.cumprod", "ndarray.trace", "ndarray.dot",
    "linalg.cross", "cross", "histogram", "histogram2d", "histogramdd", "operator.pow",
    "operator.ipow", "operator.matmul", "hypot.reduce", "logaddexp.reduce",
}  # fmt: skip
FFTS = {
    f"fft.{way}{kind}{n}" for way in ("", "i") for kind in ("fft", "rfft") for n in ("", "2", "n")
} | {"fft.hfft", "fft.ihfft", "fft.fftfreq", "fft.rfftfreq"}  # SciPy's, by all cores
ROUNDED = PROGRAMS | SUMS | FFTS
# Which of 0.0 and -0.0 is the greater is the place's in memory, with NumPy.
EXTREMES = {
    "max", "min", "amax", "amin", "nanmax", "nanmin", "ndarray.max", "ndarray.min", "maximum",
    "minimum", "maximum.reduce", "minimum.reduce", "fmax.reduce", "fmin.reduce", "fmax", "fmin",
    "maximum.accumulate", "minimum.accumulate", "fmax.accumulate", "fmin.accumulate", "clip",
    "ndarray.clip", "ptp", "maximum.outer", "minimum.outer", "fmax.outer", "fmin.outer",
    "maximum.reduceat", "maximum.at",
}  # fmt: skip


# Sums of products, whose rounding is measured by the sums of the products' sizes.
CONTRACTED = {
    "dot", "vdot", "inner", "matmul", "tensordot", "einsum", "vecdot", "matvec", "vecmat", "sum",
    "mean", "cumsum", "nansum", "nanmean", "nancumsum", "cumulative_sum", "trace", "convolve",
    "correlate", "trapezoid", "average", "linalg.matmul", "linalg.tensordot", "linalg.vecdot",
    "linalg.multi_dot", "linalg.trace", "add.reduce", "add.accumulate", "add.reduceat",
    "ndarray.sum", "ndarray.mean", "ndarray.cumsum", "ndarray.trace", "ndarray.dot", "polyval",
}  # fmt: skip
# Their last place depends on the layout with NumPy: that of any result, of complex ones.
LAID_OUT = {
    "arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "asin", "acos", "atan", "asinh",
    "acosh", "atanh", "angle", "cbrt", "arctan2", "atan2", "absolute", "abs", "operator.abs",
    "ndarray.__abs__",
}  # fmt: skip
PRODUCTS = {"square", "multiply", "operator.mul", "operator.imul"}
UNORDERED = {"unique_values"}


class Difference(AssertionError):
    """lazyarray did something else than NumPy."""


def lookup(module: Any, name: str) -> Any:
    """``sum``, ``linalg.inv``, ``add.reduce``; ``ndarray.sum`` is a method; ``operator.add``."""
    if name.startswith("operator."):
        return getattr(operator, name[9:])
    if name.startswith("ndarray."):
        return lambda x, *args, **options: getattr(x, name[8:])(*args, **options)
    return functools.reduce(getattr, name.split("."), module)


def settle(result: Any) -> Any:
    """A result with all that is lazy computed: (value, whether it is a scalar) for arrays."""
    if isinstance(result, la.Array):
        return np.asarray(result), result.is_scalar
    if isinstance(result, np.ndarray):
        return result, False
    if isinstance(result, np.generic):
        return np.asarray(result), True
    if isinstance(result, tuple | list):
        return [settle(part) for part in result]
    return result


def arguments(args: list[Any], options: dict[str, Any]) -> list[Any]:
    """What a call was given."""
    return [*args, *options.values()]


def attempt(call: Any, args: list[Any], options: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The result of a call, the result settled, and the exception it raised."""
    try:
        result = call(*args, **options)
        return result, settle(result), None
    except Exception as error:
        return None, None, error


def compare(name: str, theirs: Any, ours: Any, where: str = "result", size: float = 0.0) -> None:
    """Raise Difference unless two settled results are the same.

    `size` is how large the terms are that were added, where it is known.
    """
    if isinstance(theirs, list):
        if not isinstance(ours, list) or len(theirs) != len(ours):
            raise Difference(f"{where}: {len(theirs)} parts, ours {ours!r}")
        for i, (a, b) in enumerate(zip(theirs, ours, strict=True)):
            compare(name, a, b, f"{where}[{i}]", size)
        return
    if not isinstance(theirs, tuple):
        if type(theirs) is bool or theirs is None or isinstance(theirs, int | str | np.dtype):
            plainly = ours[0][()] if isinstance(ours, tuple) else ours
            if plainly != theirs:
                raise Difference(f"{where}: {theirs!r}, ours {plainly!r}")
        elif isinstance(theirs, float) and not np.isclose(theirs, ours, equal_nan=True):
            raise Difference(f"{where}: {theirs!r}, ours {ours!r}")
        return
    if not isinstance(ours, tuple):
        raise Difference(f"{where}: an array, ours {type(ours).__name__}")
    (a, single), (b, is_scalar) = theirs, ours
    if a.dtype != b.dtype:
        raise Difference(f"{where}: dtype {a.dtype}, ours {b.dtype}")
    if a.shape != b.shape:
        raise Difference(f"{where}: shape {a.shape}, ours {b.shape}")
    if single != is_scalar:
        raise Difference(f"{where}: scalar {single}, ours {is_scalar}")
    if name in UNORDERED:
        a, b = np.sort(a, None), np.sort(b, None)
    if a.dtype.kind in "fc" and name in ROUNDED:
        near(a, b, where, size)
    elif (a.dtype.kind in "fc" and name in LAID_OUT) or (a.dtype.kind == "c" and name in PRODUCTS):
        beside(a, b, where)
    elif not equal(a, b, name not in EXTREMES):
        raise Difference(f"{where}:\n{a!r}\nours\n{b!r}")


def equal(a: np.ndarray, b: np.ndarray, signed: bool = True) -> bool:
    """Bit by bit; any NaN equals any NaN, and -0.0 equals 0.0 unless zeros are `signed`."""
    same = a == b
    if a.dtype.kind in "fc" and signed:
        same = same & (np.signbit(a.real) == np.signbit(b.real))
        same = same & (np.signbit(a.imag) == np.signbit(b.imag))
    if a.dtype.kind in "fc":
        same = same | (np.isnan(a) & np.isnan(b))
    return bool(np.all(same))


def beside(a: np.ndarray, b: np.ndarray, where: str) -> None:
    """In the last place."""
    with np.errstate(all="ignore"):
        close = np.abs(a - b) <= 2 * np.finfo(a.dtype).eps * np.abs(a)
    if not np.all(close | (a == b) | (np.isnan(a) & np.isnan(b))):
        raise Difference(f"{where}:\n{a!r}\nours\n{b!r}")


def near(a: np.ndarray, b: np.ndarray, where: str, size: float = 0.0) -> None:
    """Within a few units of the last place of the largest, or of `size`, where both are finite."""
    if a.dtype.kind == "c":
        # Where infinities meet, the parts of a product depend on the order of the factors.
        odd = ~np.isfinite(a)
        if np.any(odd & np.isfinite(b)):
            raise Difference(f"{where}:\n{a!r}\nours\n{b!r}")
        a, b = np.where(odd, 0, a), np.where(odd, 0, b)
        with np.errstate(all="ignore"):
            sizes = np.abs(a.astype(np.complex128))
        size = np.max(sizes[np.isfinite(sizes)], initial=size)
        near(a.real, b.real, where, size)
        near(a.imag, b.imag, where, size)
        return
    eps = float(np.finfo(a.dtype).eps)
    with np.errstate(all="ignore"):
        x, y = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(x)
        size = np.max(np.abs(x[finite]), initial=size)
        close = np.abs(x - y) <= 64 * eps * np.maximum(np.abs(x), size) + 1e-300
        same = np.where(finite, close, (x == y) | (np.isnan(x) & np.isnan(y)))
    if not np.all(same):
        raise Difference(f"{where}:\n{a!r}\nours\n{b!r}")


def builtin(error: Exception) -> type:
    """The class that a program would catch: the first one of Python's or NumPy's own."""
    known = ("builtins", "numpy.exceptions", "numpy.linalg")
    return next(c for c in type(error).__mro__ if c.__module__ in known)


def sizes(argument: Any) -> Any:
    """NumPy's arguments with the sizes of numbers for numbers, in float64."""
    if isinstance(argument, np.ndarray) and argument.dtype.kind in "iufc":
        found = np.abs(argument.astype(np.result_type(argument, np.float64)))
        return np.where(np.isfinite(found), found, 0)
    if isinstance(argument, list | tuple):
        return type(argument)(sizes(part) for part in argument)
    if isinstance(argument, dict):
        return {key: sizes(part) for key, part in argument.items() if key != "out"}
    return argument


def size_of_terms(name: str, args: list[Any], options: dict[str, Any]) -> float:
    """The largest sum of the sizes of what a call adds."""
    try:
        found = lookup(np, name)(*sizes(args), **sizes(options | {"dtype": None}))
    except TypeError:
        found = lookup(np, name)(*sizes(args), **sizes(options))
    parts = found if isinstance(found, tuple | list) else [found]
    return float(max(np.max(np.nan_to_num(np.abs(part)), initial=0.0) for part in parts))


def check(name: str, args: list[Any], options: dict[str, Any]) -> None:
    """Raise Difference unless a call does with lazyarray what it does with NumPy."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        given = plain(args)
        size = 0.0
        if name in CONTRACTED:
            with contextlib.suppress(Exception):  # what the call is compared for
                size = size_of_terms(name, given, plain(options))
        result, theirs, error = attempt(lookup(np, name), given, plain(options))
        mine, ours, raised = attempt(lookup(la, name), lazy(args), lazy(options))
        written = None
        if raised is None:
            written, _, raised = attempt(settle, [arguments(lazy(args), lazy(options))], {})
        if error is not None or raised is not None:
            compare_errors(error, raised)
        else:
            compare(name, theirs, ours, size=size)
            for pair in pairs([args, options]):
                if (result is pair.theirs) != (mine is pair.ours):
                    raise Difference("one returns its argument, the other does not")
        if raised is not None:
            written, _, spoiled = attempt(settle, [arguments(lazy(args), lazy(options))], {})
            if spoiled is not None:  # what was to be written, failed
                return
        compare(
            name, settle(arguments(plain(args), plain(options))), written, "arguments afterwards"
        )


def compare_errors(error: Exception | None, raised: Exception | None) -> None:
    """Both raise, and ours is caught where theirs is."""
    if error is None:
        raise Difference(f"no error, ours {raised!r}") from raised
    if raised is None:
        raise Difference(f"{error!r}, ours none")
    first = isinstance(error, TypeError) and isinstance(raised, la.errors.ShapeError)
    if not isinstance(raised, builtin(error)) and not first:  # shapes are looked at first
        raise Difference(f"{error!r}, ours {raised!r}") from raised
