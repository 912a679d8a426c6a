"""Lifting: every registered op on Nodes becomes a function, and often a method, of arrays."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _record
from lazyarray._floats import TELLING
from lazyarray._handle import from_node, to_node
from lazyarray._ir import Node, registry
from lazyarray._record import ArrayBase
from lazyarray.dtypes import canonical

# Importing them fills the registry.
from lazyarray.ops import (  # noqa: F401
    activation,
    convolution,
    counting,
    elementary,
    fft,
    host,
    indexing,
    joining,
    linalg,
    matrices,
    missing,
    nn,
    reduction,
    shaping,
    solvers,
    sorting,
    statistics,
    ufuncs,
)
from lazyarray.ops.define import Elementwise

from . import ufunc_calls
from .array import Array, asarray, node
from .ufunc import FUNCTIONS, TwoResults, array_ufunc, gufunc, product, ufunc
from .ufunc_calls import check_out

# Composites that work element by element: their results are laid out as those of elementwise ops.
POINTWISE = {
    "angle", "clip", "elu", "gelu", "isclose", "leaky_relu", "nan_to_num", "relu", "round",
    "sigmoid", "silu", "softplus", "softsign",
}  # fmt: skip
ARRAY_LIKE = (ArrayBase, np.ndarray, list, tuple)
PLAIN = {bool, int, float, complex, str, type, type(None)}  # what is structure as it is
# Reductions write to an `out` of any dtype.
CASTING = {
    "sum", "prod", "min", "max", "any", "all", "cumsum", "cumprod", "mean", "std", "var", "nansum",
    "nanprod", "nanmin", "nanmax", "nanmean", "nanstd", "nanvar",
}  # fmt: skip


ARRAYS = {"pad", "roll"}  # their results without axes are no scalars


# Functions that are no ufuncs whose floating-point warnings are those of NumPy's.
WARNING = {
    "sum", "prod", "cumsum", "cumprod", "mean", "var", "std", "dot", "inner", "vdot", "diff",
    "average", "outer", "kron", "tensordot", "round",
}  # fmt: skip
# Rules that look at types and arguments only, and record the same for the same.
RECALLED = {
    "all", "any", "append", "argmax", "argmin", "argsort", "clip", "column_stack", "concatenate",
    "count_nonzero", "cross", "cumprod", "cumsum", "diff", "dot", "dstack", "einsum", "hstack",
    "inner", "isclose", "kron", "logsumexp", "log_softmax", "matmul", "max", "mean", "min",
    "nan_to_num", "nanmax", "nanmin", "norm",
    "outer", "pad", "prod", "ptp", "relu", "repeat", "roll", "round", "sigmoid", "softmax",
    "softplus", "sort", "stack", "std", "sum", "take", "tensordot", "tile", "trace", "tril", "triu",
    "var", "vdot", "vecdot", "vstack",
}  # fmt: skip
RECALLS: dict[str, _record.Recalled] = {}  # what records them, by name


def lift(op: Any) -> Callable[..., Any]:
    """Return the function on arrays that records `op`."""
    numpy = getattr(op, "ufunc", None)
    if isinstance(op, Elementwise) and numpy is not None:
        return lifted_ufunc(op, numpy, op.name)
    numpy = getattr(np, getattr(op, "__name__", ""), None)
    if isinstance(numpy, np.ufunc):
        return lifted_ufunc(op, numpy, op.__name__)
    if isinstance(op, Elementwise):
        return lifted_elementwise(op)
    if getattr(op, "__name__", None) in POINTWISE:
        return lifted_pointwise(op)
    return lifted_function(op)


def lifted_ufunc(op: Any, numpy: np.ufunc, name: str) -> ufunc:
    """What has a ufunc of NumPy's or SciPy's is one of ours."""
    kind = product if name == "matmul" else ufunc if numpy.signature is None else gufunc
    made = kind(numpy, op, name=name, doc=op.__doc__)
    FUNCTIONS.setdefault(numpy, made)
    return made


def lifted_pointwise(op: Any) -> Callable[..., Any]:
    """Composites that keep NumPy's K order."""
    signature = inspect.signature(op)
    kinds = {name: str(p.annotation) for name, p in signature.parameters.items()}
    needed = sum(p.default is inspect.Parameter.empty for p in signature.parameters.values())
    name, bare = op.__name__, op
    if name in WARNING:
        op = warning(op)

    def function(*args: Any, out: Array | None = None, **options: Any) -> Any:
        if not options and needed <= len(args) <= len(kinds):  # inspect is slow
            given = dict(zip(kinds, args, strict=False))
        else:
            given = bind(name, signature, args, options).arguments
        arrays = {}
        for key, value in given.items():
            if isinstance(value, ARRAY_LIKE):
                arrays[key] = asarray(value)
            else:
                given[key] = as_argument(kinds[key], value)

        def on_nodes(*nodes: Node) -> Node:
            return op(**{**given, **dict(zip(arrays, nodes, strict=True))})

        result = _record.apply(on_nodes, *arrays.values()) if arrays else as_result(on_nodes())
        return result if out is None else stored(out, result, name)

    def rule(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        for key, value in bound.arguments.items():
            if type(value) is not Node:
                bound.arguments[key] = as_argument(kinds[key], value)
        return bare(*bound.args, **bound.kwargs)

    if name in RECALLED:
        RECALLS[name] = recall = _record.Recalled(rule, name in WARNING, pointwise=True)
        function = _record.Remembered(function, recall)
    function.__signature__ = signature  # type: ignore[attr-defined]
    return named(function, name, bare.__doc__)


def lifted_elementwise(op: Elementwise) -> Callable[..., Any]:
    """Elementwise ops keep NumPy's K order, and take ``out=`` and ``dtype=``."""

    def function(*inputs: Any, out: Array | None = None, dtype: Any = None) -> Array:
        if len(inputs) != op.nin:
            raise TypeError(f"{op.name}() takes {op.nin} arrays, got {len(inputs)}")
        if dtype is not None:
            wanted = canonical(dtype, op.name)
            inputs = tuple(asarray(x).astype(wanted, copy=False) for x in inputs)
        if isinstance(out, ArrayBase):
            _record.writeable(out, op.name)
        result = _record.apply(op, *inputs)
        if result is NotImplemented:
            kinds = ", ".join(type(x).__name__ for x in inputs)
            raise TypeError(f"{op.name}: not supported for operands of type {kinds}")
        return result if out is None else stored(out, result, op.name)

    return named(function, op.name, op.__doc__)


def lifted_function(op: Any) -> Callable[..., Any]:
    """Other ops: parameters annotated Node take anything array-like."""
    signature = inspect.signature(op)
    kinds = {name: str(p.annotation) for name, p in signature.parameters.items()}
    name = getattr(op, "name", None) or op.__name__
    doc = op.__doc__
    variadic = next(
        (n for n, p in signature.parameters.items() if p.kind == p.VAR_POSITIONAL), None
    )

    scalar = False if name in ARRAYS else None

    bare = op

    def rule(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        for key, value in bound.arguments.items():
            if key == variadic:
                bound.arguments[key] = tuple(as_argument(kinds[key], part) for part in value)
            elif type(value) is not Node:
                bound.arguments[key] = as_argument(kinds[key], value)
        return bare(*bound.args, **bound.kwargs)

    if name in WARNING:
        op = warning(op)

    # Inspect is slow: calls without fault are seen by what is to follow n positional arguments.
    names = [n for n, p in signature.parameters.items() if p.kind == p.POSITIONAL_OR_KEYWORD]
    order = [(kinds[n], kinds[n].startswith(("Node", "Sequence[Node]"))) for n in names]
    of_parts = bool(names) and kinds[names[0]].startswith("Sequence")  # an array is its rows
    needed: list[set[str]] = []
    taken: list[set[str]] = []
    for n in range(0 if variadic else len(names) + 1):
        taken.append(kinds.keys() - set(names[:n]))
        needed.append(
            {m for m in taken[n] if signature.parameters[m].default is inspect.Parameter.empty}
        )

    def function(*args: Any, out: Array | None = None, **options: Any) -> Any:
        given = len(args)
        if given < len(needed) and needed[given] <= options.keys() <= taken[given]:
            made = [
                x if type(x) in PLAIN and not array else as_argument(kind, x)
                for (kind, array), x in zip(order, args, strict=False)
            ]
            if options:
                options = {key: as_argument(kinds[key], x) for key, x in options.items()}
            found = op(*made, **options)
            result = from_node(found, scalar) if type(found) is Node else as_result(found)
            return result if out is None else filled(out, result, name)
        bound = bind(name, signature, args, options)
        for key, value in bound.arguments.items():
            if key == variadic:
                bound.arguments[key] = tuple(as_argument(kinds[key], part) for part in value)
            else:
                bound.arguments[key] = as_argument(kinds[key], value)
        found = op(*bound.args, **bound.kwargs)
        result = from_node(found, scalar) if type(found) is Node else as_result(found)
        return result if out is None else filled(out, result, name)

    if name in RECALLED:
        RECALLS[name] = recall = _record.Recalled(
            rule,
            name in WARNING,
            scalars=name not in ARRAYS,
            alone=name in ("std", "var"),  # which warn of some arguments, each time
            of_parts=of_parts,  # an array is its rows
            most=1 if name in ("roll", "tile") else 64,  # where the others are read
        )
        function = _record.Remembered(function, recall)
    function.__signature__ = signature  # type: ignore[attr-defined]
    return named(function, name, doc)


def warning(op: Callable[..., Any]) -> Callable[..., Any]:
    """An op whose nodes warn as the errstate of the call says, where the user calls it."""

    def call(*args: Any, **options: Any) -> Any:
        last = _record.newest()
        found = op(*args, **options)
        _record.ask_since(last)
        return found

    return call


def warned(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same of a function of arrays."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        last = _record.newest()
        found = function(*args, **options)
        _record.ask_since(last)
        return found

    return call


def bind(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], options: dict[str, Any]
) -> inspect.BoundArguments:
    """The arguments of a call by name; what is wrong with them is said as Python would."""
    try:
        return signature.bind(*args, **options)
    except TypeError as error:
        text = str(error)
        verb = "" if text.startswith(("got ", "missing ")) else "got "
        raise TypeError(f"{name}() {verb}{text}") from None


def as_argument(kind: str, value: Any) -> Any:
    """An argument as the op on Nodes wants it."""
    if kind == "Node":
        return to_node(value) if isinstance(value, ArrayBase) else node(value)
    if kind == "Node | None":
        return None if value is None else node(value)
    if kind.startswith("Sequence[Node]"):
        parts = list(value)
        return [node(part) for part in parts]
    if isinstance(value, ArrayBase):
        return to_node(value)
    if isinstance(value, tuple) and any(isinstance(part, ArrayBase) for part in value):
        return tuple(node(part) for part in value)
    if isinstance(value, np.ndarray) and value.ndim:
        return node(value)
    return value


def as_result(found: Any) -> Any:
    """What an op on Nodes returned, as arrays."""
    if isinstance(found, Node):
        return from_node(found)
    if isinstance(found, tuple | list):
        return type(found)(as_result(part) for part in found)
    return found


def stored(out: Any, result: Array, name: str) -> Any:
    """`result` written to `out`, which is returned."""
    check_out(out, name)
    return ufunc_calls.stored(out, result, True, "same_kind", name)


def filled(out: Any, result: Array, name: str) -> Any:
    """The same of a function that is no ufunc: the shapes are equal, reductions cast as they like.

    NumPy takes a tuple of one array, too.
    """
    out = ufunc_calls.single(out)
    check_out(out, name)
    return ufunc_calls.filled(out, result, name, "unsafe" if name in CASTING else "same_kind")


def named(function: Any, name: str, doc: str | None) -> Any:
    """Give a function a name and a docstring."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__module__ = "lazyarray"
    return function


# What is no function of arrays: structure, and ops whose front end is another.
HIDDEN = {
    "view", "update", "empty", "cast", "iota", "place", "gemm", "take_rows", "take_axis",
    "count_bins", "sum_bins", "count_between", "count_mask", "take_masked", "put_masked",
    "mask_index", "run_flags", "tally", "put_rows", "put_along", "add_rows", "flat_index",
    "correlate2d", "conv2d_data_grad", "conv2d_weight_grad", "max_pool2d_grad", "avg_pool2d_grad",
    "mantissa", "exponent", *TELLING,
}  # fmt: skip
ALIASES = {
    "abs": "absolute", "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh",
    "atan": "arctan", "atan2": "arctan2", "atanh": "arctanh", "conj": "conjugate",
    "concat": "concatenate", "mod": "remainder", "pow": "power", "true_divide": "divide",
    "amax": "max", "amin": "min", "around": "round", "bitwise_not": "invert",
    "bitwise_invert": "invert", "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift", "degrees": "rad2deg", "radians": "deg2rad",
}  # fmt: skip
METHODS = (
    "sum", "prod", "mean", "var", "std", "min", "max", "argmin", "argmax", "any", "all", "cumsum",
    "cumprod", "ptp", "dot", "take", "repeat", "clip", "round", "argsort", "trace",
)  # fmt: skip


def lifted() -> dict[str, Callable[..., Any]]:
    """The function on arrays of every registered op and composite, by name."""
    found = {
        name: lift(op)
        for name, op in registry.items()
        if name not in HIDDEN and "." not in name and not name.startswith(("_", "philox"))
    }
    found.update({alias: found[name] for alias, name in ALIASES.items() if name in found})
    return found


_record.install_operators()
LIFTED = lifted()
FUNCTIONS[np.power] = LIFTED["power"]  # type: ignore[assignment]  # not `pow`, which checks nothing
# Ufuncs that are no op by themselves.
UFUNCS = {
    "degrees": ufunc(np.degrees, registry["rad2deg"], doc=registry["rad2deg"].__doc__),
    "radians": ufunc(np.radians, registry["deg2rad"], doc=registry["deg2rad"].__doc__),
    "divmod": ufunc(
        np.divmod,
        registry["floor_divide"],
        registry["remainder"],
        doc="Return the floor of the quotients and the remainders; as `numpy.divmod`.",
    ),
    "modf": ufunc(
        np.modf,
        ufuncs.fraction,
        ufuncs.whole_part,
        doc="Return the parts behind and before the point; as `numpy.modf`.",
    ),
    "frexp": TwoResults(
        np.frexp,
        ufuncs.mantissa,
        ufuncs.exponent,
        doc="Return mantissas and exponents of two; as `numpy.frexp`.",
    ),
    "isnat": ufunc(np.isnat, ufuncs.isnat, doc="Not defined for the dtypes of lazyarray."),
}
FUNCTIONS.update({each.numpy: each for each in UFUNCS.values()})
Array.__array_ufunc__ = array_ufunc  # type: ignore[method-assign, assignment]


def method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as a method of arrays."""
    if isinstance(function, _record.Remembered):
        return function

    @functools.wraps(function)
    def call(self: Array, *args: Any, **options: Any) -> Any:
        return function(self, *args, **options)

    return call


for _name in METHODS:
    if _name in LIFTED:
        setattr(Array, _name, method(LIFTED[_name]))
