"""NumPy's functions without a kernel of their own: tasks, observers, and neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from lazyarray._handle import shadow
from lazyarray._record import ArrayBase
from lazyarray.errors import DTypeError, fail
from lazyarray.ops import numpys
from lazyarray.ops.define import normalize_axis

from .array import asarray
from .hosted import deferred, described, observe, observed, published, shaped, viewed
from .lift import LIFTED

# Tasks: the types of their results are known from those of their arguments.
TASKS = (
    "argpartition", "choose", "convolve", "correlate", "digitize", "histogram",
    "histogram_bin_edges", "i0", "interp", "isin", "lexsort", "median", "nanargmax", "nanargmin",
    "nanmedian", "nanpercentile", "nanquantile", "packbits", "partition", "percentile", "quantile",
    "ravel_multi_index", "unpackbits", "unravel_index",
)  # fmt: skip

# Their results without axes are no scalars: never, or where axes are kept.
ARRAYS = ("i0", "isin")
KEPT = ("median", "nanmedian", "nanpercentile", "nanquantile", "percentile", "quantile")

# What needs values before it knows a shape, or takes a user's function, or makes a text.
WAITING = (
    "apply_along_axis", "apply_over_axes", "array2string", "array_equiv", "array_repr",
    "array_str", "base_repr", "binary_repr", "compress", "extract",
    "format_float_positional", "format_float_scientific", "geomspace", "histogram2d",
    "histogramdd", "info", "insert", "intersect1d", "logspace", "min_scalar_type",
    "poly", "polyadd", "polyder", "polydiv", "polyfit", "polyint", "polymul", "polysub",
    "roots", "setdiff1d", "setxor1d", "union1d",
)  # fmt: skip

# Made of numbers alone.
WINDOWS = ("bartlett", "blackman", "hamming", "hanning", "kaiser")

# What looks at shapes and dtypes alone.
TYPES = (
    "common_type", "einsum_path", "iscomplexobj", "isrealobj", "issubdtype", "iterable", "typename",
)  # fmt: skip

# What looks at a few numbers or letters.
NUMBERS = ("broadcast_shapes", "mintypecode")

# Files and texts.
FILES = (
    "fromfile", "fromiter", "fromregex", "fromstring", "genfromtxt", "loadtxt", "save", "savetxt",
    "savez", "savez_compressed",
)  # fmt: skip

# NumPy's own: nothing of theirs is an array of numbers.
NUMPYS = (
    "get_include", "get_printoptions", "getbufsize", "printoptions", "set_printoptions",
    "setbufsize", "show_config", "show_runtime",
)  # fmt: skip


# What is for other dtypes than numbers, and for classes that NumPy advises against.
REFUSED = (
    "asmatrix", "bmat", "busday_count", "busday_offset", "datetime_as_string", "datetime_data",
    "frompyfunc", "is_busday",
)  # fmt: skip


def refused(name: str) -> Callable[..., Any]:
    """A function that says where to keep such data."""
    remedy = "Use vectorize." if name == "frompyfunc" else f"Keep such data in NumPy: np.{name}."

    def call(*args: Any, **options: Any) -> NoReturn:
        fail(DTypeError, name, "its results are no arrays of numbers", remedy)

    return published(
        call, getattr(np, name), f"Raise TypeError: {name} gives no numbers.", "refused"
    )


def isscalar(element: Any) -> bool:
    """Say whether something is a number or a scalar array; as `numpy.isscalar`."""
    return element.is_scalar if isinstance(element, ArrayBase) else np.isscalar(element)


def isfortran(a: Any) -> bool:
    """Say whether an array lies in Fortran order and not in C order; as `numpy.isfortran`."""
    return np.isfortran(shadow(a) if isinstance(a, ArrayBase) else a)


def memory(function: Callable[..., Any]) -> Callable[..., Any]:
    """A question about the memory of two arrays."""

    def call(a: Any, b: Any, /, max_work: int | None = None) -> bool:
        if isinstance(a, ArrayBase) and isinstance(b, ArrayBase):
            return a.storage is b.storage and function(shadow(a), shadow(b), max_work)
        a, b = (viewed(x) if isinstance(x, ArrayBase) else x for x in (a, b))
        return function(a, b, max_work)

    return published(call, function, described(function))


def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """Return an array without some of the elements along an axis; as `numpy.delete`."""
    if isinstance(obj, ArrayBase):
        return observe(np.delete, (arr, obj, axis), {})
    arr = asarray(arr)
    arr, axis = (arr.ravel(), 0) if axis is None else (arr, axis)
    axis = normalize_axis(axis, arr.ndim, "delete")
    if isinstance(obj, slice) and obj.step in (None, 1):
        start, stop, _ = obj.indices(arr.shape[axis])
        before = (slice(None),) * axis
        kept = [arr[(*before, slice(start))], arr[(*before, slice(max(start, stop), None))]]
        return LIFTED["concatenate"](kept, axis)
    return LIFTED["take"](arr, np.delete(np.arange(arr.shape[axis]), obj), axis)


def never(options: dict[str, Any]) -> bool:
    """Results without axes are scalars."""
    return False


def always(options: dict[str, Any]) -> bool:
    """Results without axes are arrays."""
    return True


def kept(options: dict[str, Any]) -> bool:
    """Those with their axes kept are."""
    return bool(options.get("keepdims"))


def catalog() -> dict[str, Any]:
    """The functions on arrays by name."""
    found: dict[str, Any] = {}
    for name in TASKS:
        arrays = always if name in ARRAYS else kept if name in KEPT else never
        found[name] = deferred(getattr(numpys, name), getattr(np, name), arrays)
    for names, runs in ((WAITING, "waits"), (WINDOWS, "made"), (FILES, "file"), (NUMBERS, "types")):
        found |= {name: observed(getattr(np, name), runs) for name in names}
    for name in TYPES:
        found[name] = shaped(getattr(np, name))
    for name in NUMPYS:
        found[name] = getattr(np, name)
    for name in REFUSED:
        found[name] = refused(name)
    for name in ("may_share_memory", "shares_memory"):
        found[name] = memory(getattr(np, name))
    return found | {"delete": delete, "isfortran": isfortran, "isscalar": isscalar}


CATALOG = catalog()
