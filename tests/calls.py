"""How every public function of NumPy is called by the differential tests: one row of strategy each.

A row makes (arguments, keywords) from a `Draw`. `UNLIKE` names the functions that have none, and
says why. ``ndarray.sum`` is a method, ``operator.add`` Python's function of that name.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from draws import KINDS, Draw, Pair, plain

import lazyarray as la

Call = tuple[list[Any], dict[str, Any]]
CALLS: dict[str, Callable[[Draw], Call]] = {}
# Public functions of NumPy without a row, and why.
UNLIKE = {
    "what they return is not set": ["empty", "empty_like"],
    "other dtypes than numbers": [
        "asmatrix", "bmat", "busday_count", "busday_offset", "busdaycalendar",
        "datetime_as_string", "datetime_data", "frompyfunc", "is_busday", "isnat", "matrix",
        "recarray",
    ],
    "files, with tests of their own": [
        "fromfile", "fromregex", "genfromtxt", "load", "loadtxt", "memmap", "save", "savetxt",
        "savez", "savez_compressed",
    ],
    "classes and objects, with tests of their own": [
        "broadcast", "dtype", "finfo", "flatiter", "iinfo", "ndarray", "ndenumerate", "ndindex",
        "nditer", "nested_iters", "poly1d", "ufunc", "vectorize",
    ],
    "settings and texts": [
        "__array_namespace_info__", "errstate", "format_float_positional",
        "format_float_scientific", "get_include", "get_printoptions", "getbufsize", "geterr",
        "geterrcall", "info", "printoptions", "set_printoptions", "setbufsize", "seterr",
        "seterrcall", "show_config", "show_runtime", "test",
    ],
    "of another library's arrays": ["from_dlpack"],
    "an older name of vstack": ["row_stack"],
    # NumPy's loop over contiguous data does not see that each power needs the one before.
    "wrong in NumPy": ["power.reduce"],
}  # fmt: skip
REAL, NUMBER, FLOAT, WHOLE = "biuf", "biufc", "f", "biu"


def row(*names: str) -> Callable[[Callable[[Draw], Call]], Callable[[Draw], Call]]:
    """Say how these functions are called."""

    def add(strategy: Callable[[Draw], Call]) -> Callable[[Draw], Call]:
        for name in names:
            assert name not in CALLS, name
            CALLS[name] = strategy
        return strategy

    return add


def rows(strategy: Callable[[Draw, str], Call], *names: str) -> None:
    """As `row`, for a strategy that asks for the name."""
    for name in names:
        row(name)(lambda d, name=name: strategy(d, name))


# ---- elementwise

KINDS_OF = {
    **dict.fromkeys(["bitwise_and", "bitwise_or", "bitwise_xor", "invert", "bitwise_not"], "biu"),
    **dict.fromkeys(["left_shift", "right_shift", "gcd", "lcm", "bitwise_count"], "biu"),
    **dict.fromkeys(["bitwise_left_shift", "bitwise_right_shift", "bitwise_invert"], "biu"),
}
UFUNCS = sorted(
    name
    for name in dir(np)
    if isinstance(getattr(np, name), np.ufunc)
    and getattr(np, name).signature is None
    and name not in ("isnat",)
)


def elementwise(d: Draw, name: str) -> Call:
    ufunc = getattr(np, name)
    kinds = KINDS_OF.get(name, KINDS)
    if d.chance(0.1):
        kinds = KINDS
    args = d.arrays(ufunc.nin, kinds)
    if name == "ldexp":
        args[1] = d.array("iu", shape=args[1].theirs.shape, low=-20, high=20)
    if name in ("left_shift", "right_shift", "bitwise_left_shift", "bitwise_right_shift"):
        args[1] = d.array("iu", shape=args[1].theirs.shape, low=0, high=7)
    if ufunc.nin == 2 and d.chance(0.2):
        args[d.integer(0, 1)] = d.choice([2, 0.5, True, 3])
    options: dict[str, Any] = {}
    if d.chance(0.1):
        options["dtype"] = d.dtype("fc")
    if ufunc.nout == 1 and d.chance(0.15):
        try:
            with np.errstate(all="ignore"):
                made = ufunc(*plain(args), **options)
            # NumPy's isinf writes beside the elements of some outputs.
            layout = name not in ("isinf", "isnan", "isfinite", "signbit")
            options["out"] = d.array(shape=np.shape(made), dtype=str(made.dtype), layout=layout)
            if d.chance(0.4):
                options["where"] = d.array("b", shape=np.shape(made))
        except Exception:  # the call will raise
            pass
    return args, options


rows(elementwise, *UFUNCS)
BINARY = [n for n in UFUNCS if getattr(np, n).nin == 2 and getattr(np, n).nout == 1]
REDUCIBLE = [
    n for n in ("add", "multiply", "maximum", "minimum", "logical_and", "logical_or", "bitwise_and",
                "bitwise_or", "bitwise_xor", "subtract", "fmax", "fmin", "logical_xor", "hypot",
                "gcd", "divide", "logaddexp", "equal")
]  # fmt: skip


def reduce_method(d: Draw, name: str) -> Call:
    kinds = KINDS_OF.get(name.split(".")[0], REAL)
    x = d.array(kinds, (0, 3))
    options: dict[str, Any] = {}
    if d.chance(0.8):
        options["axis"] = d.choice([None, 0, -1, d.axis(x.theirs.ndim)])
    if d.chance(0.3):
        options["keepdims"] = d.choice([True, False])
    if d.chance(0.2) and name.split(".")[0] not in ("logical_xor", "equal"):
        options["initial"] = d.choice([0, 1, 2])
    return [x], options


def accumulate_method(d: Draw, name: str) -> Call:
    x = d.array(KINDS_OF.get(name.split(".")[0], REAL), (0, 3))
    return [x], {"axis": d.axis(x.theirs.ndim)} if d.chance(0.6) else {}


def outer_method(d: Draw, name: str) -> Call:
    kinds = KINDS_OF.get(name.split(".")[0], REAL)
    return [d.operand(kinds, ndim=(0, 2)), d.operand(kinds, ndim=(0, 2))], {}


def at_method(d: Draw, name: str) -> Call:
    kinds = KINDS_OF.get(name.split(".")[0], "f")
    x = d.array(kinds, (1, 2), empty=False)
    n = x.theirs.shape[0]
    where = d.array("i", 1, low=-n, high=n - 1, dtype="int64")
    value = d.array(shape=(where.theirs.size, *x.theirs.shape[1:]), dtype=str(x.theirs.dtype))
    return [x, where, d.choice([value, 2])], {}


def reduceat_method(d: Draw, name: str) -> Call:
    x = d.array(KINDS_OF.get(name.split(".")[0], REAL), (1, 2), empty=False)
    axis = d.axis(x.theirs.ndim, 0)
    return [x, d.array("i", 1, low=0, high=x.theirs.shape[axis] - 1, dtype="int64", empty=False)], {
        "axis": axis
    }


rows(reduce_method, *[f"{n}.reduce" for n in REDUCIBLE])
rows(accumulate_method, *[f"{n}.accumulate" for n in REDUCIBLE])
rows(outer_method, *[f"{n}.outer" for n in REDUCIBLE])
rows(at_method, "add.at", "multiply.at", "maximum.at", "subtract.at", "bitwise_or.at")
rows(
    reduceat_method, "add.reduceat", "multiply.reduceat", "maximum.reduceat", "logical_and.reduceat"
)


ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod")
BITWISE = ("and_", "or_", "xor")


def operation(d: Draw, name: str) -> Call:
    """Two operands, at least one of them an array."""
    kinds = "biu" if name.removeprefix("operator.") in BITWISE and d.chance(0.9) else KINDS
    args: list[Any] = d.arrays(2, kinds)
    if d.chance(0.3):
        args[d.integer(0, 1)] = d.choice([2, -1, 0.5, True, 3 + 1j])
    elif d.chance(0.1):
        args[1] = np.float32(1.5) if d.chance(0.5) else np.int8(3)
    return args, {}


def in_place(d: Draw, name: str) -> Call:
    """The first operand is written to; now and then the second one is a view of it."""
    bitwise = name in ("operator.iand", "operator.ior", "operator.ixor")
    kinds = "biu" if bitwise and d.chance(0.9) else KINDS
    first, second = d.arrays(2, kinds)
    if d.chance(0.2) and first.theirs.ndim:
        return [first, first.each(lambda x: x[::-1])], {}
    return [first, d.choice([second, 2, 0.5])], {}


def shift(d: Draw, name: str) -> Call:
    first, second = d.arrays(2, "biu")
    return [first, d.choice([d.like(second, kinds="iu", low=0, high=7), 3])], {}


COMPARISON = ("eq", "ne", "lt", "le", "gt", "ge")
rows(operation, *[f"operator.{n}" for n in (*ARITHMETIC, *BITWISE, *COMPARISON)])
rows(in_place, *[f"operator.i{n}" for n in (*ARITHMETIC, "and", "or", "xor")])
rows(shift, "operator.lshift", "operator.rshift", "operator.ilshift", "operator.irshift")


@row("operator.pow", "operator.ipow")
def _(d: Draw) -> Call:
    return [d.array("f", low=0.1, high=4), d.choice([2, 3, 0.5, -1, np.float32(2)])], {}


@row("operator.matmul")
def _(d: Draw) -> Call:
    n, k = d.choice([1, 2, 3]), d.choice([1, 2, 4])
    return [d.array(shape=(n, k), low=-3, high=3), d.array(shape=(k, n), low=-3, high=3)], {}


@row("operator.neg", "operator.pos", "operator.abs", "operator.invert", "operator.index",
     "operator.truth")  # fmt: skip
def _(d: Draw) -> Call:
    return [d.array()], {}


@row("operator.contains")
def _(d: Draw) -> Call:
    x = d.array(REAL)
    return [x, d.choice([0, 1, 2.5])], {}


@row("clip", "ndarray.clip")
def _(d: Draw) -> Call:
    x = d.array(REAL)
    low, high = d.choice([(-1, 2), (0, 1), (None, 1), (0, None), (2, -2)])
    if d.chance(0.2):
        low = d.like(x, dtype=str(x.theirs.dtype))
    return [x, low, high], {}


@row("round", "around", "ndarray.round")
def _(d: Draw) -> Call:
    return [d.array("iuf")], d.options(decimals=[0, 1, 2, -1])


@row("isclose")
def _(d: Draw) -> Call:
    a, b = d.arrays(2, REAL)
    return [a, b], d.options(rtol=[0.1, 1e-5], atol=[0.5, 1e-8], equal_nan=[True, False])


@row("allclose", "array_equal", "array_equiv")
def _(d: Draw) -> Call:
    a = d.array(REAL)
    return [a, d.choice([a, d.like(a, kinds=REAL), d.array(REAL)])], {}


@row("nan_to_num")
def _(d: Draw) -> Call:
    x = d.array()
    last = d.array("f", shape=x.theirs.shape[-1:], low=-9, high=9)
    return [x], d.options(nan=[0.0, 1.5, last], posinf=[9.0, last], neginf=[-9.0])


@row("real", "imag", "iscomplex", "isreal", "iscomplexobj", "isrealobj", "isscalar", "sinc", "fix",
     "isneginf", "isposinf", "angle", "unwrap", "size", "ndim", "shape", "iterable", "copy",
     "isfortran", "common_type", "min_scalar_type", "ndarray.conj", "ndarray.conjugate",
     "ndarray.copy", "ndarray.tolist", "ndarray.flatten", "ndarray.item", "ndarray.tobytes",
     "ndarray.nonzero", "nonzero", "flatnonzero", "argwhere", "ndarray.__len__", "ndarray.__abs__",
     "ndarray.__neg__", "ndarray.__bool__", "ndarray.__int__", "ndarray.__float__",
     "ndarray.__complex__", "ndarray.__index__", "ndarray.__invert__", "ndarray.__hash__",
     "real_if_close", "ascontiguousarray", "asfortranarray", "asarray_chkfinite", "atleast_1d",
     "atleast_2d", "atleast_3d", "ravel", "ndarray.ravel",
     "transpose", "ndarray.transpose", "fliplr", "flipud", "sort_complex", "trim_zeros",
     "matrix_transpose", "diagflat", "zeros_like", "ones_like", "unique_values", "ndarray.squeeze",
     "require", "linalg.matrix_transpose", "i0")  # fmt: skip
def _(d: Draw) -> Call:
    return [d.array()], {}


@row("array")
def _(d: Draw) -> Call:
    return [d.operand()], d.options(
        dtype=["float64", "complex128"], copy=[True], order=["C", "F", "K"], ndmin=[0, 2]
    )


@row("asarray", "asanyarray")
def _(d: Draw) -> Call:
    return [d.operand()], d.options(dtype=["float64", "complex128"], order=["C", "F", "K"])


# ---- reductions


def axes(d: Draw, x: Any, many: bool = True) -> Any:
    n = np.ndim(plain(x))
    if many and n > 1 and d.chance(0.2):
        return tuple(d.rng.sample(range(n), 2))
    return d.choice([None, d.axis(n)])


def reduction(d: Draw, name: str, kinds: str = NUMBER, many: bool = True) -> Call:
    x = d.array(kinds)
    options: dict[str, Any] = {"axis": axes(d, x, many)} if d.chance(0.7) else {}
    if d.chance(0.3):
        options["keepdims"] = d.choice([True, False])
    plain_name = name.split(".")[-1]
    if plain_name in ("sum", "prod", "nansum", "nanprod") and d.chance(0.2):
        options["dtype"] = d.dtype("fc")
    if name in ("std", "var") and d.chance(0.1):
        options["correction"] = 1
    if plain_name in ("sum", "max", "mean", "any", "nansum") and d.chance(0.1):
        with np.errstate(all="ignore"), warnings.catch_warnings(), contextlib.suppress(Exception):
            warnings.simplefilter("ignore")
            made = getattr(np, plain_name)(x.theirs, **options)
            options["out"] = d.array(shape=np.shape(made), dtype=str(made.dtype))
    if plain_name in ("mean", "std", "var") and d.chance(0.2):
        options["dtype"] = d.choice(["float64", "complex128"])
    if plain_name in ("std", "var", "nanstd", "nanvar") and d.chance(0.3):
        options["ddof"] = d.choice([0, 1])
    if plain_name in ("sum", "prod", "min", "max") and d.chance(0.2):
        options["initial"] = d.choice([2 if plain_name == "prod" else 0, 5])
    masked = ("sum", "prod", "mean", "std", "var", "any", "all", "nansum", "nanmean")
    if plain_name in masked and d.chance(0.2):
        options["where"] = d.array("b", shape=x.theirs.shape)
    return [x], options


rows(reduction, "sum", "prod", "mean", "std", "var", "min", "max", "amin", "amax", "any", "all",
     "nansum", "nanprod", "nanmean", "nanstd", "nanvar", "nanmin", "nanmax", "count_nonzero",
     "ndarray.sum", "ndarray.prod", "ndarray.mean", "ndarray.std", "ndarray.var", "ndarray.min",
     "ndarray.max", "ndarray.any", "ndarray.all")  # fmt: skip
rows(lambda d, name: reduction(d, name, NUMBER, False), "argmin", "argmax", "nanargmin",
     "nanargmax", "ndarray.argmin", "ndarray.argmax")  # fmt: skip


@row("ptp", "median", "nanmedian")
def _(d: Draw) -> Call:
    return reduction(d, "ptp", "iuf")


@row("percentile", "nanpercentile")
def _(d: Draw) -> Call:
    (x,), options = reduction(d, "ptp", "iuf")
    q = d.choice([50, 12.5, [0, 30, 100], 101])
    return [x, q], options | d.options(method=["linear", "lower", "nearest", "median_unbiased"])


@row("quantile", "nanquantile")
def _(d: Draw) -> Call:
    (x,), options = reduction(d, "ptp", "iuf")
    q = d.choice([0.5, 0.125, [0.0, 0.3, 1.0]])
    return [x, q], options | d.options(method=["linear", "higher", "midpoint", "hazen"])


@row("cumsum", "cumprod", "nancumsum", "nancumprod", "ndarray.cumsum", "ndarray.cumprod")
def _(d: Draw) -> Call:
    x = d.array()
    options = {"axis": d.choice([None, d.axis(x.theirs.ndim)])} if d.chance(0.7) else {}
    return [x], options | d.options(dtype=["float64", "complex128"])


@row("cumulative_sum", "cumulative_prod")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 3))
    return [x], {"axis": d.axis(x.theirs.ndim)} | d.options(include_initial=[True, False])


@row("average")
def _(d: Draw) -> Call:
    x = d.array("iuf")
    options: dict[str, Any] = {"axis": axes(d, x, False)} if d.chance(0.7) else {}
    if d.chance(0.4):
        options["weights"] = d.array(FLOAT, shape=x.theirs.shape, low=0.5, high=2)
    return [x], options | d.options(returned=[True, False])


@row("trapezoid")
def _(d: Draw) -> Call:
    x = d.array("iuf", (1, 3))
    axis = d.axis(x.theirs.ndim)
    options = {"axis": axis} | d.options(dx=[0.5, 2])
    if d.chance(0.3) and axis < x.theirs.ndim:
        options["x"] = d.array("f", shape=(x.theirs.shape[axis],), low=-3, high=3)
    return [x], options


@row("trace", "ndarray.trace", "diagonal", "ndarray.diagonal")
def _(d: Draw) -> Call:
    return [d.array(ndim=(1, 3))], d.options(offset=[0, 1, -1, 9])


# ---- shapes


@row("reshape", "ndarray.reshape")
def _(d: Draw) -> Call:
    x = d.array()
    n = x.theirs.size
    return [x, d.choice([-1, (n,), (1, n), (-1, 1), (2, -1), (n + 1,), list(x.theirs.shape)])], (
        d.options(order=["C", "F", "A"])
    )


@row("swapaxes", "moveaxis", "ndarray.swapaxes")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 4))
    return [x, d.axis(x.theirs.ndim), d.axis(x.theirs.ndim)], {}


@row("rollaxis")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 4))
    return [x, d.axis(x.theirs.ndim)], {"start": d.integer(0, x.theirs.ndim)}


@row("permute_dims")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 4))
    order = list(range(x.theirs.ndim))
    d.rng.shuffle(order)
    return [x, d.choice([None, tuple(order), tuple(order[1:])])], {}


@row("expand_dims")
def _(d: Draw) -> Call:
    x = d.array()
    return [x, d.choice([0, -1, (0, 2), d.axis(x.theirs.ndim)])], {}


@row("squeeze")
def _(d: Draw) -> Call:
    x = d.array()
    return [x], {"axis": axes(d, x)}


@row("broadcast_to")
def _(d: Draw) -> Call:
    x = d.array()
    return [
        x,
        d.choice([(2, *x.theirs.shape), x.theirs.shape, d.shape(), (3,) * x.theirs.ndim]),
    ], {}


@row("broadcast_arrays")
def _(d: Draw) -> Call:
    return d.arrays(d.integer(1, 3)), {}


@row("broadcast_shapes")
def _(d: Draw) -> Call:
    return [x.theirs.shape for x in d.arrays(d.integer(1, 3))], {}


@row("flip")
def _(d: Draw) -> Call:
    x = d.array()
    return [x], {"axis": axes(d, x)}


@row("rot90")
def _(d: Draw) -> Call:
    return [d.array(ndim=(1, 3))], d.options(k=[0, 1, 2, 3, -1], axes=[(0, 1), (1, 0), (0, -1)])


@row("roll")
def _(d: Draw) -> Call:
    x = d.array()
    if x.theirs.ndim > 1 and d.chance(0.2):
        return [x, d.choice([2, (1, -2)])], {"axis": (0, 1)}
    return [x, d.integer(-9, 9)], {"axis": axes(d, x, False)} if d.chance(0.7) else {}


@row("tile")
def _(d: Draw) -> Call:
    return [d.array(), d.choice([2, (2,), (2, 3), (1, 2, 1), 0])], {}


@row("repeat", "ndarray.repeat")
def _(d: Draw) -> Call:
    x = d.array()
    axis = d.choice([None, d.axis(x.theirs.ndim)])
    n = x.theirs.size if axis is None else (*x.theirs.shape, 1)[axis]
    return [x, d.choice([0, 2, 3, [1] * n, list(range(n))])], {"axis": axis}


@row("concatenate", "concat", "stack")
def _(d: Draw) -> Call:
    first = d.array(ndim=(0, 3))
    rest = [d.like(first) for _ in range(d.integer(0, 3))]
    if d.chance(0.1):
        rest.append(d.array())
    options: dict[str, Any] = {"axis": d.axis(first.theirs.ndim)} if d.chance(0.6) else {}
    if d.chance(0.1):
        return [d.array(ndim=(2, 3))], options
    return [[first, *rest]], options | d.options(dtype=["float32", "complex64"])


@row("vstack", "hstack", "dstack", "column_stack", "block")
def _(d: Draw) -> Call:
    first = d.array(ndim=(0, 3))
    return [[first, *[d.like(first) for _ in range(d.integer(0, 2))]]], {}


@row("split", "array_split")
def _(d: Draw) -> Call:
    x = d.array()
    return [x, d.choice([1, 2, 3, [1], [1, 2], [0, 5, 9]])], {"axis": d.axis(x.theirs.ndim)}


@row("hsplit", "vsplit", "dsplit")
def _(d: Draw) -> Call:
    return [d.array(), d.choice([1, 2, [1], [1, 2]])], {}


@row("unstack")
def _(d: Draw) -> Call:
    x = d.array()
    return [x], {"axis": d.axis(x.theirs.ndim)}


@row("pad")
def _(d: Draw) -> Call:
    modes = [
        "constant",
        "edge",
        "wrap",
        "reflect",
        "symmetric",
        "linear_ramp",
        "maximum",
        "minimum",
    ]
    return [d.array("iuf"), d.choice([1, 2, (1, 2), 0])], {"mode": d.choice(modes)}


@row("resize")
def _(d: Draw) -> Call:
    return [d.array(), d.shape()], {}


@row("append")
def _(d: Draw) -> Call:
    x = d.array()
    return [x, d.like(x)], {"axis": axes(d, x, False)}


@row("insert")
def _(d: Draw) -> Call:
    x = d.array()
    return [x, d.choice([0, 1, -1, [0, 1], 99]), d.choice([5, 0])], {"axis": axes(d, x, False)}


@row("delete")
def _(d: Draw) -> Call:
    x = d.array()
    axis = axes(d, x, False)
    n = x.theirs.size if axis is None else (*x.theirs.shape, 1)[axis]
    which = d.choice([0, 1, -1, [0, 1], slice(0, 2), 99, d.array("b", shape=(n,))])
    return [x, which], {"axis": axis}


# ---- indices


@row("take", "ndarray.take")
def _(d: Draw) -> Call:
    x = d.array()
    axis = d.choice([None, d.axis(x.theirs.ndim)])
    n = x.theirs.size if axis is None else (*x.theirs.shape, 1)[axis]
    index = d.array("i", (0, 2), low=-n, high=max(n - 1, -n) + d.chance(0.05))
    return [x, d.choice([index, 0])], {"axis": axis} | d.options(mode=["raise", "wrap", "clip"])


@row("take_along_axis")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 3), empty=False)
    axis = d.axis(x.theirs.ndim, 0)
    n = x.theirs.shape[axis]
    return [x, d.like(x, dtype="int64", low=-n, high=n - 1)], {"axis": axis}


@row("put_along_axis")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 3), empty=False)
    axis = d.axis(x.theirs.ndim, 0)
    n = x.theirs.shape[axis]
    return [x, d.array(shape=x.theirs.shape, dtype="int64", low=-n, high=n - 1), 1], {"axis": axis}


@row("put", "ndarray.put")
def _(d: Draw) -> Call:
    x = d.array("if", empty=False)
    n = x.theirs.size
    index = d.array("i", 1, low=-n, high=n - 1 + d.chance(0.05), dtype="int64")
    return [x, index, d.choice([7, d.like(index, dtype=str(x.theirs.dtype))])], {}


@row("choose")
def _(d: Draw) -> Call:
    index = d.array("i", (0, 2), low=0, high=2, dtype="int64")
    return [index, [d.like(index, dtype="float64") for _ in range(3)]], d.options(
        mode=["raise", "wrap", "clip"]
    )


@row("compress", "extract")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 2))
    return [d.array("b", shape=(x.theirs.shape[0],)), x], {}


@row("place", "putmask")
def _(d: Draw) -> Call:
    x = d.array("f", (1, 2), empty=False)
    return [x, d.like(x, kinds="b"), d.array(shape=(3,), dtype=str(x.theirs.dtype))], {}


@row("copyto")
def _(d: Draw) -> Call:
    to, of = d.arrays(2, "f")
    return [to, of], {"casting": "unsafe"} if d.chance(0.5) else {}


@row("select")
def _(d: Draw) -> Call:
    x = d.array("f", (0, 2))
    return [[d.like(x, kinds="b"), d.like(x, kinds="b")], [x, d.like(x, kinds="f")]], d.options(
        default=[0, 1.5]
    )


@row("where")
def _(d: Draw) -> Call:
    return [d.arrays(1, "b")[0], *d.arrays(2)][: d.choice([1, 3, 3, 3])], {}


@row("diag")
def _(d: Draw) -> Call:
    return [d.array(ndim=(1, 2))], d.options(k=[0, 1, -2])


@row("tril", "triu")
def _(d: Draw) -> Call:
    return [d.array(ndim=(1, 3))], d.options(k=[0, 1, -2])


@row("fill_diagonal")
def _(d: Draw) -> Call:
    return [d.array("f", 2), 3.0], d.options(wrap=[True, False])


@row("diag_indices")
def _(d: Draw) -> Call:
    return [d.integer(0, 4)], d.options(ndim=[1, 2, 3])


@row("diag_indices_from", "tril_indices_from", "triu_indices_from")
def _(d: Draw) -> Call:
    n = d.integer(0, 4)
    return [d.array(shape=(n, n))], {}


@row("tri", "tril_indices", "triu_indices", "eye")
def _(d: Draw) -> Call:
    return [d.integer(0, 5)], d.options(k=[0, 1, -1])


@row("identity", "bartlett", "blackman", "hamming", "hanning")
def _(d: Draw) -> Call:
    return [d.integer(0, 9)], {}


@row("kaiser")
def _(d: Draw) -> Call:
    return [d.integer(0, 9), d.choice([0, 2.0, 14])], {}


@row("mask_indices")
def _(d: Draw) -> Call:
    return [d.integer(1, 4), Pair(np.triu, la.triu)], {}


@row("indices")
def _(d: Draw) -> Call:
    return [d.shape((1, 3))], d.options(sparse=[True, False], dtype=["int64", "float32"])


@row("ix_")
def _(d: Draw) -> Call:
    return [d.array("ib", 1) for _ in range(d.integer(1, 3))], {}


@row("unravel_index")
def _(d: Draw) -> Call:
    shape = d.shape((1, 3), empty=False)
    n = int(np.prod(shape))
    return [d.array("i", (0, 2), low=0, high=n - 1 + d.chance(0.1), dtype="int64"), shape], (
        d.options(order=["C", "F"])
    )


@row("ravel_multi_index")
def _(d: Draw) -> Call:
    shape = d.shape(2, empty=False)
    first = d.array("i", 1, low=0, high=shape[0] - 1, dtype="int64")
    return [(first, d.like(first, dtype="int64", low=0, high=shape[1] - 1)), shape], d.options(
        order=["C", "F"], mode=["wrap", "clip"]
    )


@row("searchsorted")
def _(d: Draw) -> Call:
    a = d.array("if", 1)
    options = d.options(side=["left", "right"])
    if d.chance(0.2):
        order = np.argsort(a.theirs, kind="stable")
        return [a, d.array("if")], options | {"sorter": Pair(order, la.array(order))}
    return [Pair(np.sort(a.theirs, kind="stable"), la.sort(a.ours)), d.array("if")], options


@row("digitize")
def _(d: Draw) -> Call:
    bins = d.choice([[-1.0, 0.0, 2.0], [3, 1, 0], [], [1.0]])
    return [d.array("if", (0, 2)), bins], d.options(right=[True, False])


def index(d: Draw, shape: tuple[int, ...]) -> Any:
    """Any index expression."""
    parts: list[Any] = []
    for extent in shape[: d.integer(0, len(shape))]:
        kind = d.integer(0, 6)
        if kind == 0:
            parts.append(d.integer(-extent, max(extent - 1, -extent)) if extent else 0)
        elif kind == 1:
            n = d.integer(1, 3)
            parts.append([d.integer(-extent, extent - 1) for _ in range(n)] if extent else [])
        elif kind == 2:
            parts.append(d.array("b", shape=(extent,)))
        elif kind == 3 and extent:
            parts.append(
                d.array(shape=d.shape((0, 2)), dtype="int64", low=-extent, high=extent - 1)
            )
        else:
            bounds = [None, *range(-extent - 1, extent + 2)]
            parts.append(slice(d.choice(bounds), d.choice(bounds), d.choice([None, 1, 2, -1])))
    for extra in (Ellipsis, None):
        if d.chance(0.2):
            parts.insert(d.integer(0, len(parts)), extra)
    return parts[0] if len(parts) == 1 and d.chance(0.5) else tuple(parts)


@row("ndarray.__getitem__")
def _(d: Draw) -> Call:
    x = d.array()
    if d.chance(0.1):
        return [x, d.like(x, kinds="b")], {}
    return [x, index(d, x.theirs.shape)], {}


@row("ndarray.__setitem__")
def _(d: Draw) -> Call:
    x = d.array("if")
    where = index(d, x.theirs.shape) if d.chance(0.85) else d.like(x, kinds="b")
    try:
        shape = x.theirs[plain(where)].shape
    except Exception:
        shape = ()
    value = d.choice(
        [3, d.array(shape=shape, dtype=str(x.theirs.dtype)), d.array("if", shape=shape)]
    )
    return [x, where, value], {}


# ---- sorting and sets


@row("sort", "argsort")
def _(d: Draw) -> Call:
    x = d.array()
    return [x], {"axis": d.choice([None, -1, d.axis(x.theirs.ndim)])} | {"kind": "stable"}


@row("ndarray.argsort", "ndarray.sort")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 3))
    return [x], {"axis": d.axis(x.theirs.ndim), "kind": "stable"}


@row("lexsort")
def _(d: Draw) -> Call:
    x = d.array("if", (1, 2))
    return [(x, d.like(x, kinds="i"))], {}


@row("partition", "argpartition", "ndarray.partition", "ndarray.argpartition")
def _(d: Draw) -> Call:
    # Only the first element's place is specified: two elements, or all equal.
    x = d.array("i", shape=d.choice([(1,), (2,), (3, 2)]), low=-9, high=9)
    return [x, d.choice([0, -1])], {}


@row("unique")
def _(d: Draw) -> Call:
    x = d.array()
    options = d.options(
        return_index=[True], return_inverse=[True], return_counts=[True], equal_nan=[True, False]
    )
    if d.chance(0.2):
        options["axis"] = d.axis(x.theirs.ndim)
    return [x], options


@row("unique_all", "unique_counts", "unique_inverse")
def _(d: Draw) -> Call:
    return [d.array("iu")], {}


@row("union1d", "setdiff1d", "setxor1d")
def _(d: Draw) -> Call:
    return [d.array("iuf"), d.array("iuf")], {}


@row("intersect1d")
def _(d: Draw) -> Call:
    return [d.array("iu"), d.array("iu")], d.options(return_indices=[True])


@row("isin")
def _(d: Draw) -> Call:
    return [d.array("iuf"), d.array("iuf")], d.options(invert=[True], kind=["sort"])


# ---- sums of products and numerics


@row("diff")
def _(d: Draw) -> Call:
    x = d.array(ndim=(0, 3))
    return [x], {"axis": d.axis(x.theirs.ndim)} | d.options(n=[0, 1, 2], prepend=[0], append=[1])


@row("ediff1d")
def _(d: Draw) -> Call:
    return [d.array("if")], d.options(to_end=[0], to_begin=[1])


@row("gradient")
def _(d: Draw) -> Call:
    x = d.array("if", (1, 3))
    spacing = d.choice([[], [], [2.0], [0.5] * x.theirs.ndim, [1.0, 2.0]])
    options = d.options(edge_order=[1, 2])
    if d.chance(0.3):
        options["axis"] = axes(d, x)
    return [x, *spacing], options


@row("cross", "linalg.cross")
def _(d: Draw) -> Call:
    shape = (*d.shape((0, 2)), d.choice([2, 3, 3, 3]))
    return [d.array("if", shape=shape), d.array("if", shape=shape)], {}


@row("dot", "ndarray.dot", "matmul", "linalg.matmul")
def _(d: Draw) -> Call:
    n, k, m = (d.choice([1, 2, 3, 5]) for _ in range(3))
    a, b = d.choice([((n, k), (k, m)), ((k,), (k, m)), ((n, k), (k,)), ((k,), (k,)),
                     ((2, n, k), (k, m)), ((2, n, k), (2, k, m)), ((n, k), (n, m))])  # fmt: skip
    return [d.array(shape=a, low=-3, high=3), d.array(shape=b, low=-3, high=3)], {}


@row("vdot", "inner", "linalg.vecdot", "vecdot")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 2), low=-3, high=3)
    return [x, d.like(x, low=-3, high=3)], {}


@row("matvec", "vecmat")
def _(d: Draw) -> Call:
    n, k = d.choice([1, 2, 3]), d.choice([1, 2, 4])
    return [d.array(shape=(n, k), low=-3, high=3), d.array(shape=(k,), low=-3, high=3)], {}


@row("outer", "linalg.outer")
def _(d: Draw) -> Call:
    return [d.array(ndim=1, low=-3, high=3), d.array(ndim=1, low=-3, high=3)], {}


@row("kron")
def _(d: Draw) -> Call:
    return [d.array(ndim=(0, 2), low=-3, high=3), d.array(ndim=(0, 2), low=-3, high=3)], {}


@row("tensordot", "linalg.tensordot")
def _(d: Draw) -> Call:
    a = d.array(FLOAT, shape=(2, 3, 4), low=-3, high=3)
    return [a, d.array(FLOAT, shape=(3, 4, 2), low=-3, high=3)], {
        "axes": d.choice([0, ([1], [0]), ([1, 2], [0, 1]), 2])
    }


@row("einsum")
def _(d: Draw) -> Call:
    text, *shapes = d.choice([("ij,jk", (2, 3), (3, 4)), ("ij,jk->ki", (2, 3), (3, 4)),
                              ("ii->i", (3, 3)), ("ii", (3, 3)), ("ij->ji", (2, 3)),
                              ("i,j->ij", (2,), (3,)), ("...ij,...jk->...ik", (2, 3, 4), (4, 2)),
                              ("ij,ij->", (2, 3), (2, 3)), ("ij->", (2, 3))])  # fmt: skip
    return [text, *[d.array(NUMBER, shape=s, low=-3, high=3) for s in shapes]], {}


@row("einsum_path")
def _(d: Draw) -> Call:
    return ["ij,jk,kl", *[d.array(FLOAT, shape=s) for s in ((2, 3), (3, 4), (4, 2))]], {}


@row("convolve", "correlate")
def _(d: Draw) -> Call:
    return [d.array("if", 1, low=-3, high=3), d.array("if", 1, low=-3, high=3)], d.options(
        mode=["full", "same", "valid"]
    )


@row("interp")
def _(d: Draw) -> Call:
    return [d.array("if"), [-1.0, 0.0, 2.0, 5.0], [3.0, 1.0, 4.0, 1.0]], d.options(
        left=[0.0], right=[9.0], period=[3.0]
    )


@row("cov", "corrcoef")
def _(d: Draw) -> Call:
    x = d.array("if", (1, 2), empty=False, low=-3, high=3)
    options = d.options(rowvar=[True, False], dtype=["float64", "complex128"])
    return [x, d.like(x, kinds="f", low=-3, high=3)] if d.chance(0.3) else [x], options


@row("bincount")
def _(d: Draw) -> Call:
    x = d.array("iu", 1, low=-0.0 if d.chance(0.9) else -1, high=9)
    options = d.options(minlength=[0, 12])
    if d.chance(0.3):
        options["weights"] = d.like(x, kinds="fi")
    return [x], options


@row("histogram", "histogram_bin_edges")
def _(d: Draw) -> Call:
    x = d.array("if", (0, 2), low=-3, high=3)
    options = d.options(bins=[3, 10, [-1.0, 0.0, 2.0]], range=[(-2, 2)])
    if d.chance(0.2):
        options["weights"] = d.like(x, dtype="float64", low=0.5, high=2)
    return [x], options


@row("histogram2d")
def _(d: Draw) -> Call:
    x = d.array(FLOAT, 1, low=-3, high=3)
    return [x, d.like(x, kinds=FLOAT, low=-3, high=3)], d.options(bins=[3, 5])


@row("histogramdd")
def _(d: Draw) -> Call:
    return [d.array(FLOAT, shape=(d.integer(1, 9), 2), low=-3, high=3)], d.options(bins=[3, 5])


@row("vander")
def _(d: Draw) -> Call:
    return [d.array("if", 1, low=-3, high=3)], d.options(N=[3, 4], increasing=[True, False])


@row("polyadd", "polysub", "polymul")
def _(d: Draw) -> Call:
    return [d.array(FLOAT, 1, low=-3, high=3, empty=False) for _ in "ab"], {}


@row("polyval")
def _(d: Draw) -> Call:
    return [d.array(FLOAT, 1, low=-3, high=3, empty=False), d.array(FLOAT, low=-3, high=3)], {}


@row("linalg.norm")
def _(d: Draw) -> Call:
    x = d.array("ifc", (1, 3), low=-3, high=3)
    options = d.options(ord=[None, 1, 2, np.inf, -np.inf, 0, "fro"], keepdims=[True])
    return [x], options | ({"axis": axes(d, x)} if d.chance(0.6) else {})


@row("linalg.vector_norm")
def _(d: Draw) -> Call:
    x = d.array("ifc", (1, 3), low=-3, high=3)
    options = d.options(ord=[1, 2, np.inf, -np.inf, 0, 3], keepdims=[True])
    return [x], options | ({"axis": axes(d, x)} if d.chance(0.6) else {})


@row("polyder", "polyint", "poly", "roots")
def _(d: Draw) -> Call:
    return [d.array(FLOAT, 1, dtype="float64", low=1, high=3, empty=False)], {}


@row("polydiv")
def _(d: Draw) -> Call:
    a, b = (d.array(shape=(n,), dtype="float64", low=1, high=3) for n in (4, 2))
    return [a, b], {}


@row("polyfit")
def _(d: Draw) -> Call:
    x = d.array(shape=(7,), dtype="float64", low=-3, high=3)
    return [x, d.like(x, dtype="float64", low=-3, high=3), d.integer(0, 2)], {}


# ---- making arrays


@row("zeros", "ones")
def _(d: Draw) -> Call:
    return [d.choice([d.shape(), 3])], d.options(dtype=["float32", "int8", bool], order=["C", "F"])


@row("full")
def _(d: Draw) -> Call:
    return [d.shape(), d.choice([1, 2.5, True, 1j])], d.options(dtype=["float32", "complex64"])


@row("full_like")
def _(d: Draw) -> Call:
    return [d.array(), d.choice([1, 2])], d.options(
        dtype=["float32"], shape=[(2, 3)], order=["C", "F", "A", "K"]
    )


@row("arange")
def _(d: Draw) -> Call:
    return d.choice([[5], [1, 9], [1, 9, 2], [9, 1, -3], [0.5, 3.0, 0.25], [0]]), d.options(
        dtype=["float32", "int16", "complex64"]
    )


@row("linspace")
def _(d: Draw) -> Call:
    return [d.choice([0, -1.5, [0.0, 1.0]]), d.choice([1, 7.25])], d.options(
        num=[0, 1, 5], endpoint=[True, False], dtype=["float32", "int64"]
    )


@row("logspace", "geomspace")
def _(d: Draw) -> Call:
    return [d.choice([1.0, 2.0]), d.choice([1.5, 8.0])], d.options(num=[0, 1, 5])


@row("meshgrid")
def _(d: Draw) -> Call:
    return [d.array(ndim=(0, 1)) for _ in range(d.integer(1, 3))], d.options(
        indexing=["xy", "ij"], sparse=[True, False]
    )


@row("fromfunction")
def _(d: Draw) -> Call:
    return [lambda i, j: i * 2 + j, d.shape(2)], d.options(dtype=["int64", "float32"])


@row("frombuffer")
def _(d: Draw) -> Call:
    return [bytes(range(16))], {"dtype": d.choice(["u1", "int32", "float64"])}


@row("fromiter")
def _(d: Draw) -> Call:
    return [[1, 2, 3]], {"dtype": d.dtype("if")}


@row("fromstring")
def _(d: Draw) -> Call:
    return ["1 2 3"], {"sep": " ", "dtype": d.dtype("if")}


@row("ndarray.astype")
def _(d: Draw) -> Call:
    return [d.array("biu"), d.dtype()], d.options(
        copy=[True, False], order=["C", "F", "K"], casting=["safe", "same_kind", "unsafe"]
    )


@row("astype")
def _(d: Draw) -> Call:
    return [d.array("biu"), d.dtype()], d.options(copy=[True, False])


@row("ndarray.view", "ndarray.getfield")
def _(d: Draw) -> Call:
    return [d.array(), d.dtype()], {}


@row("ndarray.byteswap")
def _(d: Draw) -> Call:
    return [d.array("iufc", layout=False)], d.options(inplace=[True, False])


@row("ndarray.choose")
def _(d: Draw) -> Call:
    index = d.array("i", (0, 2), low=0, high=2, dtype="int64")
    return [index, [d.like(index, dtype="float64") for _ in range(3)]], {}


@row("ndarray.compress")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 2))
    return [x, d.array("b", shape=(x.theirs.shape[0],))], {"axis": 0}


@row("ndarray.searchsorted")
def _(d: Draw) -> Call:
    a = d.array("if", 1)
    return [Pair(np.sort(a.theirs, kind="stable"), la.sort(a.ours)), d.array("if")], {}


@row("ndarray.resize")
def _(d: Draw) -> Call:
    return [d.array(layout=False).each(lambda x: x.copy()), d.shape()], {"refcheck": False}


@row("ndarray.fill")
def _(d: Draw) -> Call:
    return [d.array("if"), d.choice([1, 2.5])], {}


# ---- types and bits


@row("can_cast", "promote_types", "result_type")
def _(d: Draw) -> Call:
    return [np.dtype(d.dtype()), np.dtype(d.dtype())], {}


@row("issubdtype")
def _(d: Draw) -> Call:
    return [np.dtype(d.dtype()), d.choice([np.floating, np.integer, np.number, np.float64])], {}


@row("isdtype")
def _(d: Draw) -> Call:
    return [np.dtype(d.dtype()), d.choice(["integral", "real floating", "numeric", "bool"])], {}


@row("mintypecode", "typename")
def _(d: Draw) -> Call:
    return [d.choice(["d", "f", "i", "F"])], {}


@row("packbits")
def _(d: Draw) -> Call:
    x = d.array("b")
    return [x], {"axis": axes(d, x, False)} | d.options(bitorder=["big", "little"])


@row("unpackbits")
def _(d: Draw) -> Call:
    x = d.array(dtype="uint8")
    return [x], {"axis": axes(d, x, False)} | d.options(bitorder=["big", "little"])


@row("binary_repr", "base_repr")
def _(d: Draw) -> Call:
    return [d.integer(-20, 20)], {}


@row("shares_memory", "may_share_memory")
def _(d: Draw) -> Call:
    x = d.array(ndim=(1, 2))
    return [x, d.choice([x, x.each(lambda a: a[1:]), d.like(x)])], {}


# ---- functions of functions


@row("apply_along_axis")
def _(d: Draw) -> Call:
    x = d.array("if", (1, 3), empty=False)
    return [lambda row: row.max() - row.min(), d.axis(x.theirs.ndim), x], {}


@row("apply_over_axes")
def _(d: Draw) -> Call:
    x = d.array("i", 3)
    return [Pair(np.sum, la.sum), x, [0, 2]], {}


@row("piecewise")
def _(d: Draw) -> Call:
    x = d.array(FLOAT, (0, 2))
    return [x, [x.each(lambda a: a < 0), x.each(lambda a: a >= 0)], [-1.0, 1.0]], {}


# ---- linear algebra


def square(d: Draw, definite: bool = False) -> Pair:
    n = d.integer(1, 4)
    batch = d.shape((0, 1), empty=False) if d.chance(0.4) else ()
    base = d.fill((*batch, n, n), d.choice(["float64", "float32", "complex128"]), -2.0, 2.0)
    if definite:
        base = base @ np.conj(np.swapaxes(base, -1, -2)) + n * np.eye(n, dtype=base.dtype)
    elif d.chance(0.9):
        base = base + 3 * np.eye(n, dtype=base.dtype)
    return Pair(base, la.array(base))


@row("linalg.inv", "linalg.det", "linalg.slogdet", "linalg.eigvals", "linalg.eig", "linalg.pinv",
     "linalg.matrix_rank", "linalg.svdvals")  # fmt: skip
def _(d: Draw) -> Call:
    return [square(d) if d.chance(0.95) else d.array("if", (0, 3))], {}


@row("linalg.trace", "linalg.diagonal")
def _(d: Draw) -> Call:
    return [square(d) if d.chance(0.5) else d.array("if", (0, 3))], d.options(offset=[0, 1, -1])


@row("linalg.cond")
def _(d: Draw) -> Call:
    return [square(d)], d.options(p=[None, 1, -1, 2, -2, np.inf, "fro"])


@row("linalg.qr")
def _(d: Draw) -> Call:
    return [square(d)], d.options(mode=["reduced", "complete", "r", "raw", "thin"])


@row("linalg.svd")
def _(d: Draw) -> Call:
    return [square(d)], d.options(full_matrices=[True, False], compute_uv=[True, False])


@row("linalg.matrix_norm")
def _(d: Draw) -> Call:
    return [square(d)], d.options(ord=["fro", "nuc", 1, -1, 2, -2, np.inf], keepdims=[True])


@row("linalg.cholesky", "linalg.eigh", "linalg.eigvalsh")
def _(d: Draw) -> Call:
    return [square(d, definite=True)], {}


@row("linalg.solve")
def _(d: Draw) -> Call:
    a = square(d)
    return [a, d.array(shape=(*a.theirs.shape[:-1], 2), dtype="float64", low=-2, high=2)], {}


@row("linalg.lstsq")
def _(d: Draw) -> Call:
    a = d.array(shape=(5, 3), dtype="float64", low=-2, high=2)
    return [a, d.array(shape=(5,), dtype="float64", low=-2, high=2)], {"rcond": None}


@row("linalg.matrix_power")
def _(d: Draw) -> Call:
    return [square(d), d.integer(-1, 3)], {}


@row("linalg.multi_dot")
def _(d: Draw) -> Call:
    return [
        [d.array(shape=s, dtype="float64", low=-2, high=2) for s in ((2, 3), (3, 4), (4, 2))]
    ], {}


@row("linalg.tensorsolve")
def _(d: Draw) -> Call:
    a = d.array(shape=(2, 3, 6), dtype="float64", low=-2, high=2)
    return [a, d.array(shape=(2, 3), dtype="float64", low=-2, high=2)], {}


@row("linalg.tensorinv")
def _(d: Draw) -> Call:
    return [d.array(shape=(6, 2, 3), dtype="float64", low=-2, high=2)], {"ind": 1}


# ---- Fourier transforms


@row("fft.fft", "fft.ifft", "fft.hfft", "fft.irfft")
def _(d: Draw) -> Call:
    x = d.array(NUMBER, (1, 2), empty=False, low=-3, high=3)
    return [x], {"axis": d.axis(x.theirs.ndim)} | d.options(
        n=[3, 8], norm=["ortho", "forward", "backward"]
    )


@row("fft.rfft", "fft.ihfft")
def _(d: Draw) -> Call:
    x = d.array("if", (1, 2), empty=False, low=-3, high=3)
    return [x], {"axis": d.axis(x.theirs.ndim)} | d.options(n=[3, 8], norm=["ortho"])


@row("fft.fft2", "fft.ifft2", "fft.fftn", "fft.ifftn", "fft.irfft2", "fft.irfftn")
def _(d: Draw) -> Call:
    return [d.array(NUMBER, (2, 3), empty=False, low=-3, high=3)], d.options(norm=["ortho"])


@row("fft.rfft2", "fft.rfftn")
def _(d: Draw) -> Call:
    return [d.array("if", (2, 3), empty=False, low=-3, high=3)], d.options(norm=["ortho"])


@row("fft.fftfreq", "fft.rfftfreq")
def _(d: Draw) -> Call:
    return [d.integer(1, 9)], d.options(d=[0.5])


@row("fft.fftshift", "fft.ifftshift")
def _(d: Draw) -> Call:
    x = d.array()
    return [x], {"axes": axes(d, x, False)}


# ---- printing


@row("array_repr", "array_str", "array2string", "ndarray.__str__")
def _(d: Draw) -> Call:
    return [d.array("bi", (1, 2))], {}
