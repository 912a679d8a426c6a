"""Ufuncs: the functions that work element by element, and their methods, as NumPy has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazyarray import _handle, _ir, _record
from lazyarray._handle import from_node, seen, shadow, to_node
from lazyarray._ir import Node, registry
from lazyarray._record import ArrayBase, ProductBase
from lazyarray.dtypes import BOOL, NUMBER, canonical
from lazyarray.errors import ArrayIndexError, AxisError, DTypeError, ShapeError, fail
from lazyarray.ops import expressions, indexing, ufuncs
from lazyarray.ops.define import normalize_axes, normalize_axis
from lazyarray.ops.host import Result

from .array import Array, asarray, in_bounds, node, taken_apart
from .ufunc_calls import (
    WEAK,
    Calls,
    as_mask,
    check_out,
    filled,
    foreign,
    kind_of,
    plain,
    single,
    stored,
)

NO_VALUE = np._NoValue

# What reduces and accumulates by kernels of its own,
REDUCTIONS = {
    "add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min",
    "logical_and": "all", "logical_or": "any",
}  # fmt: skip
SCANS = {"add": "cumsum", "multiply": "cumprod"}
# and what gives exact results in any order: the result of nothing, or None where there is none.
FOLDS = {
    "bitwise_and": -1, "bitwise_or": 0, "bitwise_xor": 0, "logical_xor": 0, "gcd": 0,
    "fmax": None, "fmin": None,
}  # fmt: skip


class ufunc(Calls):
    """A function that works element by element on arrays that broadcast; as `numpy.ufunc`.

    Calls take ``out=``, ``where=``, ``casting=``, ``order=``, ``dtype=``, ``subok=`` and
    ``signature=``. Where ``where`` does not hold, inputs are not looked at: the result has what
    `out` had, or a value that is not specified.

    Parameters
    ----------
    numpy : numpy.ufunc
        Whose dtypes, names and methods it has.
    *ops : callable
        One on Nodes for each result.
    name, doc : str, optional
    """

    def reduce(
        self,
        array: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = NO_VALUE,
        where: Any = True,
    ) -> Any:
        """Reduce axes by applying the ufunc along them; as `numpy.ufunc.reduce`.

        Parameters
        ----------
        array : array_like, any shape
        axis : None, int or tuple of int, default 0
            None means all.
        dtype : dtype, optional
            In which to compute.
        out : array, optional
        keepdims : bool, default False
        initial : number or None, optional
            What to start from. None: from the first element.
        where : array_like of bool, default True
            The elements to take.

        Returns
        -------
        array

        Raises
        ------
        ValueError
            When the ufunc does not take two inputs, and where NumPy raises it.
        """
        self.needs_pairs("reduce")
        out = single(out)
        if out is not None:
            check_out(out, self.__name__)
        array = asarray(array)
        name = self.__name__
        wanted = None if dtype is None else canonical(dtype, name)
        if wanted is None and out is not None and name in SCANS:
            wanted = canonical(np.result_type(array.dtype, out.dtype), name)
        if array.ndim == 0 and axis in (0, -1, None):
            axes: tuple[int, ...] = ()
        else:
            axes = normalize_axes(axis, array.ndim, name)
        result = None
        last = _record.newest()
        if name in REDUCTIONS:
            result = self.reduced(array, axes, wanted, keepdims, initial, where)
        elif name in FOLDS and wanted in (None, array.dtype) and initial is NO_VALUE:
            result = self.folded(array, axes, keepdims, where)
        if result is None:
            result = self.reduced_by_numpy(array, axes, wanted, keepdims, initial, where)
        _record.ask_since(last)
        return result if out is None else filled(out, result, name)

    def reduced(
        self, array: Array, axes: Any, dtype: Any, keepdims: bool, initial: Any, where: Any
    ) -> Any:
        """A reduction by a kernel of our own; None where there is none."""
        name = self.__name__
        logical = name.startswith("logical")
        if (logical and dtype not in (None, BOOL)) or (not logical and dtype == BOOL):
            return None
        start = initial
        if where is not True:
            mask = as_mask(where)
            if initial is NO_VALUE or initial is None:
                start = self.identity if initial is NO_VALUE else None
                if start is None:
                    raise ValueError(
                        f"reduction operation '{name}' does not have an identity, so to use a "
                        "where mask one has to specify 'initial'"
                    )
            array = _record.apply(registry["where"], mask, array, self.filling(start, array.dtype))
            if array.ndim == 0:
                array = from_node(to_node(array), False)
            if mask.ndim > len(shadow(array).shape):
                return None
        count = 1
        for i in axes:
            count *= array.shape[i]
        if count == 0 and name in ("maximum", "minimum"):
            if start is NO_VALUE or start is None:
                raise ShapeError(
                    f"zero-size array to reduction operation {name} which has no identity"
                )
            return None
        if initial is None and count == 0:
            raise ShapeError(f"zero-size array to reduction operation {name} which has no identity")
        options = {"axis": axes, "keepdims": bool(keepdims)}
        if name in SCANS:
            options["dtype"] = dtype
            if dtype is not None and array.dtype.kind == "c" and dtype.kind not in "cb":
                _handle.warn_of_parts(3)
        elif dtype is not None and not logical:
            array = array.astype(dtype, copy=False)
        if array.dtype.kind == "c" and name in ("maximum", "minimum") and count == 0:
            return None
        result = from_node(registry[REDUCTIONS[name]](to_node(array), **options))
        if initial is NO_VALUE or initial is None:
            return result
        if not isinstance(initial, WEAK) or result.dtype == BOOL:
            initial = asarray(initial).astype(result.dtype, casting="unsafe", copy=False)
        return self(result, initial)

    def filling(self, start: Any, dtype: np.dtype) -> Any:
        """What changes nothing in a reduction."""
        if self.identity is None:
            return start
        identity = self.identity
        if self.__name__.startswith("logical"):
            return np.asarray(identity, dtype)[()]
        return np.asarray(identity).astype(dtype)[()]

    def folded(self, array: Array, axes: Any, keepdims: bool, where: Any) -> Any:
        """A reduction by halves; None where it does not serve."""
        name = self.__name__
        if where is not True:
            return None
        self.result_dtypes((array.dtype, array.dtype))
        size = 1
        for i in axes:
            size *= array.shape[i]
        if size == 0 and FOLDS[name] is None:
            raise ShapeError(f"zero-size array to reduction operation {name} which has no identity")
        value = to_node(array)
        if name == "logical_xor":
            value = registry["not_equal"](value, 0)
        elif not axes:
            value = registry["positive"](value) if value.dtype.kind != "b" else value
        empty = np.asarray(FOLDS[name] or 0).astype(value.dtype)[()]
        found = from_node(ufuncs.folded(registry[name], value, axes, empty))
        if name == "gcd":  # of one number: with 0, its size
            found = self(found, found)
        if not keepdims:
            return found
        return found.reshape([1 if i in axes else n for i, n in enumerate(array.shape)])

    def reduced_by_numpy(
        self, array: Array, axes: Any, dtype: Any, keepdims: bool, initial: Any, where: Any
    ) -> Any:
        """A reduction as a task that runs NumPy's."""
        options: dict[str, Any] = {"axis": axes, "keepdims": bool(keepdims)}
        if not array.ndim:
            options["axis"] = 0
        if dtype is not None:
            options["dtype"] = dtype
        if initial is not NO_VALUE:
            number = isinstance(initial, ArrayBase | np.ndarray)
            options["initial"] = initial.item() if number else initial
        example = np.ones([min(n, 2) for n in array.shape], array.dtype)
        masked: dict[str, Any] = {}
        if where is not True:
            mask = as_mask(where)
            masked["where"] = np.ones([min(n, 2) for n in mask.shape], bool)
        found = self.numpy.reduce(example, **options, **masked)
        if masked:
            options["where"] = to_node(mask)
        shape = array.shape
        if keepdims:
            shape = tuple([1 if i in axes else n for i, n in enumerate(shape)])
        else:
            shape = tuple([n for i, n in enumerate(shape) if i not in axes])
        return self.by_numpy("reduce", [to_node(array)], shape, found.dtype, options)

    def by_numpy(
        self,
        method: str,
        arrays: Sequence[Node],
        shape: tuple[int, ...],
        dtype: np.dtype,
        options: dict[str, Any],
        result: int = 0,
    ) -> Array:
        """An array that a task gets from a method of NumPy's ufunc."""
        kind = Result(shape, canonical(dtype, self.__name__))
        found = ufuncs.ufunc_method(
            self.numpy, method, result, tuple(options.items()), kind, tuple(arrays)
        )
        return from_node(found)

    def result_dtypes(self, dtypes: tuple[Any, ...]) -> tuple[np.dtype, ...]:
        """The dtypes of the loop for inputs of these; DTypeError where there is none."""
        try:
            return self.numpy.resolve_dtypes((*dtypes, *[None] * self.nout))
        except TypeError as error:
            fail(DTypeError, self.__name__, str(error))

    def needs_pairs(self, method: str) -> None:
        """Raise ValueError unless it takes two inputs and gives one result."""
        if self.signature is not None:
            raise RuntimeError(
                f"Reduction not defined on ufunc with signature: {self.__name__}.{method}"
            )
        if self.nin != 2:
            raise ValueError(f"{method} only supported for binary functions")
        if self.nout != 1:
            raise ValueError(f"{method} only supported for functions returning a single value")

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """Return the results of applying the ufunc to all elements so far, along an axis.

        As `numpy.ufunc.accumulate`.
        """
        self.needs_pairs("accumulate")
        out = single(out)
        if out is not None:
            check_out(out, self.__name__)
        array, name = asarray(array), self.__name__
        if not array.ndim:
            raise TypeError("cannot accumulate on a scalar")
        axis = normalize_axis(axis, array.ndim, name)
        wanted = None if dtype is None else canonical(dtype, name)
        if wanted is None and out is not None and name in SCANS:
            wanted = canonical(np.result_type(array.dtype, out.dtype), name)
        last = _record.newest()
        if name in SCANS and wanted != BOOL:
            result = from_node(registry[SCANS[name]](to_node(array), axis, wanted))
        else:
            options: dict[str, Any] = {"axis": axis}
            if wanted is not None:
                options["dtype"] = wanted
            example = np.ones([min(n, 2) for n in array.shape], array.dtype)
            found = self.numpy.accumulate(example, **options).dtype
            result = self.by_numpy("accumulate", [to_node(array)], array.shape, found, options)
        _record.ask_since(last)
        return result if out is None else filled(out, result, name)

    def reduceat(
        self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None
    ) -> Any:
        """Reduce slices between consecutive indices; as `numpy.ufunc.reduceat`."""
        self.needs_pairs("reduceat")
        out = single(out)
        if out is not None:
            check_out(out, self.__name__)
        array, name = asarray(array), self.__name__
        if not array.ndim:
            raise TypeError("cannot reduceat on a scalar")
        axis = normalize_axis(axis, array.ndim, name)
        if not isinstance(indices, ArrayBase):
            indices = np.asarray(indices)
            if not indices.size:
                indices = indices.astype(np.intp)
            for each in indices.ravel():
                if not 0 <= each < array.shape[axis]:
                    raise ArrayIndexError(
                        f"index {each} out-of-bounds in {name}.reduceat [0, {array.shape[axis]})"
                    )
        indices = asarray(indices)
        if indices.dtype.kind not in "biu" or indices.ndim != 1:
            raise TypeError(f"{name}.reduceat: indices must be integers in one axis")
        options: dict[str, Any] = {"axis": axis}
        if dtype is not None:
            options["dtype"] = canonical(dtype, name)
        elif out is not None and name in SCANS:
            options["dtype"] = canonical(np.result_type(array.dtype, out.dtype), name)
        example = np.ones(
            [min(n, 2) if i != axis else 2 for i, n in enumerate(array.shape)], array.dtype
        )
        found = self.numpy.reduceat(example, [0], **options).dtype
        places = _ir.cast(to_node(indices), np.dtype(np.intp))
        shape = (*array.shape[:axis], indices.shape[0], *array.shape[axis + 1 :])
        result = self.by_numpy("reduceat", [to_node(array), places], shape, found, options)
        return result if out is None else filled(out, result, name)

    def outer(self, A: Any, B: Any, /, **options: Any) -> Any:
        """Apply the ufunc to all pairs of an element of `A` and one of `B`.

        As `numpy.ufunc.outer`.
        """
        if self.signature is not None:
            raise TypeError("method outer is not allowed in ufunc with non-trivial signature")
        if self.nin != 2:
            raise ValueError("outer product only supported for binary functions")
        a, b = asarray(A), asarray(B)
        last = _record.newest()
        result = self(a[(..., *[None] * b.ndim)], b, **options)
        _record.ask_since(last)
        return result

    def at(self, a: Any, indices: Any, b: Any = None, /) -> None:
        """Apply the ufunc in place to the elements at `indices`; equal ones apply again.

        As `numpy.ufunc.at`.
        """
        name = self.__name__
        if self.signature is not None or self.nin > 2:
            raise TypeError("Only unary and binary ufuncs supported at this time")
        if self.nout != 1:
            raise ValueError("Only single output ufuncs supported at this time")
        if (b is None) == (self.nin == 2):
            raise ValueError(
                "second operand needed for ufunc"
                if b is None
                else "second operand provided when ufunc is unary"
            )
        if not isinstance(a, ArrayBase):
            if not isinstance(a, np.ndarray):
                raise TypeError("first operand must be array")
            others = [] if b is None else [plain(b)]
            self.numpy.at(a, plain(indices), *others)
            return
        if a.is_scalar:
            raise TypeError("first operand must be array")
        _record.writeable(a, f"{name}.at")
        parts = indices if isinstance(indices, tuple) else (indices,)
        if not arrayed(parts) and not any(part is Ellipsis for part in parts):
            indices = (*parts, ...)
        window, index, arrays = taken_apart(a, indices)
        if not arrays:
            inputs = (window,) if b is None else (window, b)
            found = self(*inputs).astype(window.dtype, copy=False)
            _record.store(window, found, name)
            return
        in_bounds(index, window.shape)
        self.put(window, index, arrays, b)

    def put(self, window: Array, index: expressions.Index, arrays: list[Node], b: Any) -> None:
        """`at` rows that arrays choose."""
        kinds: tuple[Any, ...] = (window.dtype,)
        if b is not None:
            if type(b) in WEAK:  # here Python's numbers have the dtypes of arrays of them
                self.result_dtypes((window.dtype, np.asarray(b).dtype))
                b = b if held(b, window.dtype) else asarray(b)
            b = b if kind_of(b) else asarray(b)
            kinds = (window.dtype, kind_of(b) or b.dtype)
        found = self.result_dtypes(kinds)
        plain_sum = self.__name__ in ("add", "subtract") and window.dtype.kind != "b"
        same = all(dtype == window.dtype for dtype in found)
        if b is None:
            values = _ir.scalar(0, window.dtype)
        elif kind_of(b):
            values = _ir.scalar(b, found[1])
        else:
            values = _ir.cast(to_node(b), canonical(found[1])) if same else to_node(b)
        if plain_sum and same:
            write = registry["add_rows"]
            if self.__name__ == "subtract":
                values = registry["negative"](values)
        else:

            def write(base: Node, idx: Node, rows: Node) -> Node:
                return registry["_ufunc_at"](base, idx, rows, ufunc=self.numpy)

        new = indexing.scatter_axes(to_node(window), index.axes, arrays, index.place, values, write)
        _handle.assign(window, new)


def held(value: Any, dtype: np.dtype) -> bool:
    """Whether a dtype has a Python number exactly."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return type(value) is not complex and bool(info.min <= value <= info.max)
    if dtype.kind == "f" and type(value) is complex:
        return False
    with np.errstate(all="ignore"):
        return bool(dtype.type(value) == value)


class TwoResults(ufunc):
    """A ufunc with two results: by ops of float32 and float64, else each by a task of NumPy's."""

    def __init__(self, numpy: np.ufunc, *ops: Callable[..., Node], doc: str) -> None:
        super().__init__(numpy, *[self.part(i, op) for i, op in enumerate(ops)], doc=doc)

    def part(self, number: int, direct: Callable[..., Node]) -> Callable[..., Node]:
        """The op of one result."""

        def op(x: Node) -> Node:
            found = self.result_dtypes((x.dtype if type(x) is Node else type(x),))
            shape = x.shape if type(x) is Node else ()
            kind = Result(shape, canonical(found[1 + number], self.__name__))
            x = x if type(x) is Node else _ir.scalar(x, found[0])
            if found[0].char in "fd":
                return direct(_ir.cast(x, found[0]))
            return ufuncs.ufunc_method(self.numpy, "__call__", number, (), kind, (x,))

        return op


class gufunc(ufunc):
    """A ufunc of whole vectors or matrices: calls take ``axes=``, ``axis=`` and ``keepdims=``, too.

    Parameters
    ----------
    numpy : numpy.ufunc
    op : callable
        On Nodes whose last axes are those of the signature.
    doc : str, optional
    """

    def call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A call with options."""
        axes = self.core_axes(options)
        name, nin = self.__name__, self.nin
        if not nin <= len(args) <= nin + 1:
            raise TypeError(
                f"{name}() takes from {nin} to {nin + 1} positional arguments but "
                f"{len(args)} were given"
            )
        outs = self.outputs(args[nin:], options.pop("out", None))
        order, casting = options.pop("order", "K"), options.pop("casting", "same_kind")
        keepdims = options.pop("keepdims", False)
        options.pop("subok", True)
        signature = self.chosen_loop(options)
        if options:
            raise TypeError(f"{name}() got an unexpected keyword argument {next(iter(options))!r}")
        arrays = [asarray(x) for x in args[:nin]]
        if signature is not None or casting != "same_kind":
            arrays = self.converted(arrays, outs, signature, casting)
        if axes is not None:
            arrays = [moved(x, own, name) for x, own in zip(arrays, axes, strict=False)]
        result = from_node(self.ops[0](*[to_node(x) for x in arrays]))
        if keepdims:
            if name != "vecdot":
                raise TypeError(f"{name}: keepdims needs inputs that all have the same core axes")
            result = result[..., None]
        if axes is not None and len(axes) > nin:
            result = moved_back(result, axes[nin], name)
        elif keepdims and axes is not None:
            result = moved_back(result, axes[0], name)
        if order in ("F", "A"):
            result = result.copy(order)
        if outs is None:
            return result
        return stored(outs[0], result, True, casting, name)

    def core_axes(self, options: dict[str, Any]) -> list[tuple[int, ...]] | None:
        """The axes of inputs and result that the signature speaks of, where they are given."""
        axes, axis = options.pop("axes", None), options.pop("axis", None)
        if axes is None and axis is None:
            return None
        if axis is not None:
            if axes is not None:
                raise TypeError("cannot specify both 'axis' and 'axes'")
            if self.__name__ != "vecdot":
                raise TypeError(
                    f"{self.__name__}: axis can only be used with a single shared core dimension"
                )
            return [(axis,)] * self.nin
        if not isinstance(axes, list):
            raise TypeError("axes should be a list")
        return [each if isinstance(each, tuple) else (each,) for each in axes]


class product(ProductBase, gufunc):
    """The matrix product."""

    def __reduce__(self) -> str:
        return self.__name__


# ---- operands


def arrayed(parts: tuple[Any, ...]) -> bool:
    """Whether an index has arrays in it."""
    return any(isinstance(p, ArrayBase | np.ndarray | list | bool | np.bool_) for p in parts)


def made(found: Any) -> Any:
    """What NumPy returned, as arrays; what lazyarray has no dtype for as it is."""
    if isinstance(found, tuple):
        return tuple([made(each) for each in found])
    if isinstance(found, np.ndarray | np.generic) and found.dtype in NUMBER:
        return _handle.from_numpy(np.asarray(found), not isinstance(found, np.ndarray))
    return found


def moved(x: Array, axes: tuple[int, ...], name: str) -> Array:
    """A view with these axes last."""
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axes {axes} names an axis twice")
    if any(not -x.ndim <= a < x.ndim for a in axes):
        raise AxisError(next(a for a in axes if not -x.ndim <= a < x.ndim), x.ndim, name)
    return seen(x, np.moveaxis(shadow(x), axes, range(-len(axes), 0)))


def moved_back(x: Array, axes: tuple[int, ...], name: str) -> Array:
    """A view with the last axes at these places."""
    return seen(x, np.moveaxis(shadow(x), range(-len(axes), 0), axes)) if axes else x


# ---- NumPy's ufuncs on arrays

FUNCTIONS: dict[np.ufunc, ufunc] = {}  # NumPy's -> ours


def array_ufunc(self: Array, numpy: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """Serve NumPy's ufuncs, and those of other packages, on arrays."""
    for each in (*inputs, *options.get("out", ())):
        if foreign(each):
            return NotImplemented
    ours = FUNCTIONS.get(numpy)
    if ours is not None:
        return getattr(ours, method)(*inputs, **options)
    return by_others(numpy, method, inputs, options)


def by_others(numpy: np.ufunc, method: str, inputs: Any, options: dict[str, Any]) -> Any:
    """A ufunc that lazyarray has not: a task where the dtypes are known, else run at once."""
    ours = ufunc(numpy)
    simple = method == "__call__" and not options and numpy.signature is None
    if simple:
        arrays = [asarray(x) for x in inputs]
        try:
            kinds = [kind_of(x) or a.dtype for x, a in zip(inputs, arrays, strict=True)]
            found = numpy.resolve_dtypes((*kinds, *[None] * numpy.nout))
        except (AttributeError, TypeError):  # Numba's ufuncs have no such method
            simple = False
    if simple and all(dtype in NUMBER for dtype in found):
        shape = _ir.broadcast_shapes(*[a.shape for a in arrays])
        nodes = [_ir.cast(node(a), canonical(d)) for a, d in zip(arrays, found, strict=False)]
        parts = [
            ours.by_numpy("__call__", nodes, shape, dtype, {}, number)
            for number, dtype in enumerate(found[numpy.nin :])
        ]
        return tuple(parts) if numpy.nout > 1 else parts[0]
    outs = options.pop("out", None)
    if method == "at":
        target = inputs[0]
        data = np.array(plain(target))
        numpy.at(data, *[plain(x) for x in inputs[1:]], **options)
        target[...] = data
        return None
    results = getattr(numpy, method)(
        *[plain(x) for x in inputs], **{key: plain(value) for key, value in options.items()}
    )
    if outs is None:
        return made(results)
    listed = results if isinstance(results, tuple) else (results,)
    filled = tuple(
        [
            made(each) if out is None else stored(out, asarray(each), True, "same_kind", "out")
            for out, each in zip(outs, listed, strict=True)
        ]
    )
    return filled if len(filled) > 1 else filled[0]
