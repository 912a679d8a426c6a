"""Index tricks, grids and arrays put together: `r_`, `mgrid`, `ix_`, `block`, `indices`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray._handle import from_data
from lazyarray._record import ArrayBase
from lazyarray.dtypes import BFLOAT16, BOOL, INTP, canonical, is_inexact
from lazyarray.errors import OptionError, fail
from lazyarray.ops.define import normalize_axis

from .array import Array, array, asarray
from .functions import arange, as_shape, broadcast_to, moveaxis, zeros_like
from .hosted import observe
from .lift import LIFTED
from .observers import nonzero

__all__ = [
    "asanyarray",
    "asarray_chkfinite",
    "ascontiguousarray",
    "asfortranarray",
    "block",
    "c_",
    "diag_indices",
    "diag_indices_from",
    "fromfunction",
    "index_exp",
    "indices",
    "isdtype",
    "ix_",
    "mask_indices",
    "mgrid",
    "ogrid",
    "piecewise",
    "r_",
    "require",
    "row_stack",
    "s_",
    "tri",
    "tril_indices",
    "tril_indices_from",
    "triu_indices",
    "triu_indices_from",
    "unstack",
]

index_exp, s_ = np.index_exp, np.s_


class Tricks:
    """One of NumPy's objects that make arrays of what they are indexed with."""

    runs = "waits"  # for arrays in the index

    def __init__(self, numpys: Any, doc: str) -> None:
        self.numpys = numpys
        self.__doc__ = doc

    def __getitem__(self, key: Any) -> Any:
        def taken(key: Any) -> Any:
            return self.numpys[key]

        taken.__name__, taken.__module__ = type(self.numpys).__name__, "numpy"
        return observe(taken, (key,), {})


mgrid = Tricks(np.mgrid, "Dense grids of slices: ``la.mgrid[0:3, 0:4]``; as `numpy.mgrid`.")
ogrid = Tricks(np.ogrid, "Open grids of slices: ``la.ogrid[0:3, 0:4]``; as `numpy.ogrid`.")
r_ = Tricks(np.r_, "Slices and arrays joined along the first axis; as `numpy.r_`.")
c_ = Tricks(np.c_, "Slices and arrays joined as columns; as `numpy.c_`.")


def constants(found: Any) -> Any:
    """Arrays of NumPy arrays that are the same at every turn."""
    if isinstance(found, tuple):
        return tuple(constants(part) for part in found)
    return from_data(found)


def indices(dimensions: Any, dtype: Any = int, sparse: bool = False) -> Any:
    """Return the indices of a grid; as `numpy.indices`."""
    shape: Any = as_shape(dimensions, "indices")
    wanted = canonical(dtype)
    if wanted.kind not in "iuf" or not shape:
        return constants(np.indices(shape, wanted, sparse))  # type: ignore[call-overload]
    rows = [
        arange(n, dtype=wanted).reshape([1] * i + [n] + [1] * (len(shape) - i - 1))
        for i, n in enumerate(shape)
    ]
    if sparse:
        return tuple(rows)
    return LIFTED["stack"]([broadcast_to(row, shape) for row in rows])


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> Array:
    """Return ones on and below a diagonal; as `numpy.tri`."""
    return constants(np.tri(N, M, k, canonical(dtype)))


def diag_indices(n: int, ndim: int = 2) -> tuple[Array, ...]:
    """Return the indices of a main diagonal; as `numpy.diag_indices`."""
    return constants(np.diag_indices(n, ndim))


def diag_indices_from(arr: Any) -> tuple[Array, ...]:
    """Return the indices of an array's main diagonal; as `numpy.diag_indices_from`."""
    arr = asarray(arr)
    require_rank(arr.ndim >= 2, "diag_indices_from", "input array must be at least 2-d")
    same = len(set(arr.shape)) == 1
    require_rank(same, "diag_indices_from", "All dimensions of input must be of equal length")
    return diag_indices(arr.shape[0], arr.ndim)


def require_rank(condition: bool, op: str, text: str) -> None:
    """Raise ValueError unless the condition holds."""
    if not condition:
        raise ValueError(f"{op}: {text}")


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, ...]:
    """Return the indices of a lower triangle; as `numpy.tril_indices`."""
    return constants(np.tril_indices(n, k, m))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, ...]:
    """Return the indices of an upper triangle; as `numpy.triu_indices`."""
    return constants(np.triu_indices(n, k, m))


def tril_indices_from(arr: Any, k: int = 0) -> tuple[Array, ...]:
    """Return the indices of a matrix' lower triangle; as `numpy.tril_indices_from`."""
    arr = asarray(arr)
    require_rank(arr.ndim == 2, "tril_indices_from", "input array must be 2-d")
    return tril_indices(arr.shape[0], k, arr.shape[1])


def triu_indices_from(arr: Any, k: int = 0) -> tuple[Array, ...]:
    """Return the indices of a matrix' upper triangle; as `numpy.triu_indices_from`."""
    arr = asarray(arr)
    require_rank(arr.ndim == 2, "triu_indices_from", "input array must be 2-d")
    return triu_indices(arr.shape[0], k, arr.shape[1])


def mask_indices(n: int, mask_func: Callable[..., Any], k: Any = 0) -> tuple[Array, ...]:
    """Return the indices where a function of a matrix leaves ones; as `numpy.mask_indices`."""
    return nonzero(asarray(mask_func(array(np.ones((n, n), int)), k)) != 0)


def ix_(*args: Any) -> tuple[Array, ...]:
    """Return an open grid of vectors of indices; as `numpy.ix_`."""
    found = []
    for place, each in enumerate(args):
        vector = asarray(each)
        require_rank(vector.ndim == 1, "ix_", "Cross index must be 1 dimensional")
        if not vector.size and not isinstance(each, ArrayBase | np.ndarray):
            vector = vector.astype(INTP)
        if vector.dtype == BOOL:
            (vector,) = nonzero(vector)
        found.append(vector.reshape([-1 if i == place else 1 for i in range(len(args))]))
    return tuple(found)


def fromfunction(function: Callable[..., Any], shape: Any, *, dtype: Any = float, **kw: Any) -> Any:
    """Return what a function makes of the indices of a grid; as `numpy.fromfunction`."""
    kw.pop("like", None)
    return function(*indices(shape, dtype), **kw)


def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Array:
    """Return what functions make of the elements that conditions choose; as `numpy.piecewise`.

    Each function is called with an array of the elements it is for; conditions are read for that.
    """
    x = asarray(x)
    count = len(funclist)
    single = not isinstance(condlist[0], list | np.ndarray | ArrayBase) and x.ndim
    masks = [asarray(each, BOOL) for each in ([condlist] if single or np.isscalar(condlist)
                                              else condlist)]  # fmt: skip
    if isinstance(condlist, ArrayBase | np.ndarray) and np.ndim(condlist) < 2:
        masks = [asarray(condlist, BOOL)]
    if count == len(masks) + 1:
        covered = masks[0]
        for each in masks[1:]:
            covered = covered | each
        masks.append(~covered)
    elif count != len(masks):
        raise ValueError(
            f"piecewise: with {len(masks)} condition(s), either {len(masks)} or "
            f"{len(masks) + 1} functions are expected"
        )
    found = zeros_like(x)
    for mask, function in zip(masks, funclist, strict=True):
        if not callable(function):
            found[mask] = function
            continue
        values = x[mask]
        if values.size:
            found[mask] = function(values, *args, **kw)
    return found


# ---- joining


def block(arrays: Any) -> Array:
    """Return an array put together from nested lists of blocks; as `numpy.block`."""
    depth = depth_of(arrays, ())

    def rank(part: Any) -> int:
        return max(map(rank, part)) if isinstance(part, list) else asarray(part).ndim

    ndim = max(depth, rank(arrays))

    def joined(part: Any, level: int) -> Array:
        if isinstance(part, list):
            return LIFTED["concatenate"]([joined(each, level + 1) for each in part], level - depth)
        return array(part, copy=None, ndmin=ndim)

    found = joined(arrays, 0)
    return found if isinstance(arrays, list) else found.copy()


def depth_of(part: Any, place: tuple[int, ...]) -> int:
    """How deep lists are nested: equally everywhere."""
    if isinstance(part, tuple):
        where = "arrays" + "".join(f"[{i}]" for i in place)
        raise TypeError(f"block: {where} is a tuple. Only lists can be used to arrange blocks")
    if not isinstance(part, list):
        return 0
    require_rank(bool(part), "block", f"List at depth {len(place)} cannot be empty")
    depths = {depth_of(each, (*place, i)) for i, each in enumerate(part)}
    require_rank(len(depths) == 1, "block", f"List depths are mismatched: {sorted(depths)}")
    return depths.pop() + 1


def row_stack(tup: Any, *, dtype: Any = None) -> Array:
    """Join arrays along the first axis; 1-d arrays are rows."""
    return LIFTED["vstack"](tup, dtype=dtype)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Array, ...]:
    """Return views of the parts along an axis, of a vector scalars; as `numpy.unstack`."""
    x = asarray(x)
    require_rank(x.ndim > 0, "unstack", "Input array must be at least 1-d.")
    turned = moveaxis(x, normalize_axis(axis, x.ndim, "unstack"), 0)
    return tuple(turned)


# ---- conversion


def asanyarray(a: Any, dtype: Any = None, order: Any = None, **options: Any) -> Array:
    """Return `a` itself where it is an array of that dtype, else make one."""
    options.pop("like", None)
    return ordered(asarray(a, dtype, **options), order)


def ordered(a: Array, order: Any) -> Array:
    """The array in a memory order: itself where it has it."""
    if order in (None, "K", "A"):
        return a
    if order not in ("C", "F"):
        fail(OptionError, "asarray", f"order must be C, F, A or K, got {order!r}")
    if order == "C":
        return a if a.flags.c_contiguous else a.copy()
    return a if a.flags.f_contiguous else a.T.copy().T


def ascontiguousarray(a: Any, dtype: Any = None, *, like: Any = None) -> Array:
    """Return an array in C order with at least one axis; as `numpy.ascontiguousarray`."""
    found = ordered(asarray(a, dtype), "C")
    return found if found.ndim else found.reshape(1)


def asfortranarray(a: Any, dtype: Any = None, *, like: Any = None) -> Array:
    """Return an array in Fortran order with at least one axis; as `numpy.asfortranarray`."""
    found = ordered(asarray(a, dtype), "F")
    return found if found.ndim else found.reshape(1)


def require(a: Any, dtype: Any = None, requirements: Any = None, *, like: Any = None) -> Array:
    """Return an array of a dtype and layout; as `numpy.require`."""
    names = {
        "C": "C", "C_CONTIGUOUS": "C", "CONTIGUOUS": "C", "F": "F", "F_CONTIGUOUS": "F",
        "FORTRAN": "F", "A": "A", "ALIGNED": "A", "W": "W", "WRITEABLE": "W", "O": "O",
        "OWNDATA": "O", "E": "E", "ENSUREARRAY": "E",
    }  # fmt: skip
    wanted = {names[each.upper()] for each in requirements or ()}
    if {"C", "F"} <= wanted:
        raise ValueError("require: Cannot specify both 'C' and 'F' order")
    found = ordered(asarray(a, dtype), "F" if "F" in wanted else "C" if "C" in wanted else None)
    owns = found.flags.c_contiguous and found.flags.writeable
    return found.copy("K") if wanted & {"W", "O"} and not owns else found


def asarray_chkfinite(a: Any, dtype: Any = None, order: Any = None) -> Array:
    """Return an array, or raise ValueError where an element is not finite: reads the elements."""
    found = ordered(asarray(a, dtype), order)
    if is_inexact(found.dtype) and not LIFTED["isfinite"](found).all():
        raise ValueError("asarray_chkfinite: array must not contain infs or NaNs")
    return found


def isdtype(dtype: Any, kind: Any) -> bool:
    """Say whether a dtype is of a kind; as `numpy.isdtype`."""
    found = canonical(dtype, "isdtype")
    if found is not BFLOAT16:
        return np.isdtype(found, kind)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return any(
        np.isdtype(np.dtype("f4"), k) if isinstance(k, str) else np.dtype(k) == found for k in kinds
    )


for _made in (
    diag_indices,
    diag_indices_from,
    indices,
    tri,
    tril_indices,
    tril_indices_from,
    triu_indices,
    triu_indices_from,
):
    setattr(_made, "runs", "made")  # noqa: B010  (functions have no such attribute to a checker)
