"""Array: NumPy's ndarray, recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from lazyarray import _handle, _ir, _record, device, layouts, lending  # noqa: F401
from lazyarray._handle import from_node, seen, shadow, to_node
from lazyarray._ir import Node, registry
from lazyarray._record import ArrayBase
from lazyarray.dtypes import BFLOAT16, BOOL, INTP, canonical, kind_of
from lazyarray.errors import ArrayIndexError, DTypeError, ShapeError, fail, retell
from lazyarray.layouts import has_order
from lazyarray.number import Number
from lazyarray.ops import counting, expressions, indexing, shaping

SCALARS = (bool, int, float, complex, np.generic)


class Array(ArrayBase):
    """A recorded n-dimensional array with NumPy's semantics.

    Operations return at once; a value is computed when it is observed (printed, converted to NumPy,
    compared in an ``if``), when `wait` or `la.eval` asks, or when much is pending. Make one with
    `la.array` and its kin.
    """

    __slots__ = ()

    # ---- attributes

    @property
    def device(self) -> device.Device:
        """Where the array lives."""
        return device.known[_handle.device_of(self)]

    @property
    def real(self) -> Array:
        """The real part: a view of complex data, the array itself otherwise."""
        return seen(self, shadow(self).real) if self.dtype.kind == "c" else self

    @real.setter
    def real(self, value: Any) -> None:
        self.real[...] = value

    @property
    def imag(self) -> Array:
        """The imaginary part: a view of complex data, read-only zeros otherwise."""
        if self.dtype.kind == "c":
            return seen(self, shadow(self).imag)
        number = _ir.settled(shaping.full((), 0, self.dtype), _handle.device_of(self), "imag")
        zero = from_node(number, False)
        return seen(zero, np.broadcast_to(shadow(zero), self.shape))

    @imag.setter
    def imag(self, value: Any) -> None:
        if self.dtype.kind != "c":
            raise TypeError("cannot set imaginary part of a real array")
        self.imag[...] = value

    @property
    def mT(self) -> Array:
        """The view with the last two axes swapped."""
        return seen(self, shadow(self).mT)

    def __iter__(self) -> Iterator[Array]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    # ---- NumPy's protocols

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False and _handle.device_of(self):
            raise ValueError(f"asarray: memory of {self.device} cannot be shared with NumPy")
        exported = _handle.export_numpy(self)
        if dtype is not None and np.dtype(dtype) != self.dtype:
            if copy is False:
                raise ValueError("asarray: a change of dtype needs a copy")
            return exported.astype(dtype)
        return exported.copy() if copy else exported

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if _handle.device_of(self):
            if dl_device != lending.HOST:
                return lending.capsule(self, stream, max_version, dl_device, copy)
            if copy is False:
                raise BufferError(f"__dlpack__: memory of {self.device} is not the CPU's")
            stream = None  # another device's
        exported = _handle.export_numpy(self)
        if self.dtype is BFLOAT16:  # which NumPy does not know how to name
            return lending.of_host(exported, max_version, dl_device, copy)
        return exported.__dlpack__(
            stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """How CUDA libraries describe the memory, which both sides see while the dict lives."""
        return lending.cuda_interface(self)

    def __dlpack_device__(self) -> tuple[int, int]:
        backend = device.backends[_handle.device_of(self)]
        return (1, 0) if backend is None else backend.dlpack_device()

    def tobytes(self, order: Literal["C", "F", "A", "K"] = "C") -> bytes:
        """Return the elements as bytes, in C or Fortran order, or as they lie in memory."""
        return _handle.peek_numpy(self).tobytes(order)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        raise NotImplementedError  # lift.py puts the one of ufunc.py here

    def __repr__(self) -> str:
        if self.is_scalar:
            return repr(_handle.peek_numpy(self)[()])
        return repr(_handle.peek_numpy(self)).replace("array(", "Array(", 1)

    def __str__(self) -> str:
        if self.is_scalar:
            return str(_handle.peek_numpy(self)[()])
        return str(_handle.peek_numpy(self))

    def __format__(self, spec: str) -> str:
        return format(
            _handle.peek_numpy(self)[()] if not self.ndim else _handle.peek_numpy(self), spec
        )

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """How NumPy describes the memory, which both sides see while the dict lives."""
        if _handle.device_of(self):
            raise AttributeError(
                f"__array_interface__: the array's memory is that of {self.device}"
            )
        if self.dtype is BFLOAT16:
            raise AttributeError("__array_interface__: it has no name for bfloat16")
        exported = _handle.export_numpy(self)
        return {**exported.__array_interface__, "owner": exported}

    def __reduce__(self) -> Any:
        return rebuilt, (self.numpy(), self.is_scalar)

    def __copy__(self) -> Array:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Array:
        return self.copy()

    def __round__(self, ndigits: int | None = None) -> Any:
        if not self.is_scalar:
            raise TypeError("type Array doesn't define __round__ method")
        return round(_handle.peek_numpy(self)[()]) if ndigits is None else self.round(ndigits)

    # ---- views

    def flatten(self, order: str = "C") -> Array:
        """Return a copy of the elements in one axis."""
        found = self.ravel(order)
        return found.copy() if found.storage is self.storage else found

    def squeeze(self, axis: Any = None) -> Array:
        """Return a view without axes of extent 1."""
        try:
            found = seen(self, shadow(self).squeeze(axis))
        except ValueError as error:
            retell(error, "squeeze", self.shape)
        return self if axis is None and found.ndim == self.ndim else found

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
        """Return a read-only view of a diagonal."""
        try:
            return seen(self, shadow(self).diagonal(offset, axis1, axis2))
        except ValueError as error:
            retell(error, "diagonal", self.shape)

    # ---- copies

    def in_order(self, op: Callable[[Node], Node]) -> Array:
        """Return what an op makes of each element, in this array's own memory order."""
        order = None if shadow(self).flags.c_contiguous else _handle.memory_order(shadow(self))
        if order is None:
            return from_node(op(to_node(self)), self.is_scalar)
        result = from_node(op(to_node(self.transpose(order))), False)
        return result.transpose(np.argsort(order))

    def fill(self, value: Any) -> None:
        """Write one number everywhere."""
        self[...] = value

    def to(self, target: Any) -> Array:
        """Return the array on another device; itself when it is there already."""
        number = device.number_of(device.as_device(target))
        return self if number == _handle.device_of(self) else _handle.carried(self, number)

    def detach(self) -> Array:
        """Return the value cut off from any gradient."""
        return from_node(registry["stop_gradient"](to_node(self)), self.is_scalar)


def rebuilt(data: np.ndarray, is_scalar: bool) -> Array:
    """Unpickle."""
    return _handle.from_numpy(data, is_scalar)


# ---- making arrays


def array(
    object: Any,
    dtype: Any = None,
    *,
    copy: bool | None = True,
    order: str | None = "K",
    subok: bool = False,
    ndmin: int = 0,
    ndmax: int = 0,
    like: Any = None,
    device: Any = None,
) -> Array:
    """Make an array from anything array-like; the data is copied.

    Parameters
    ----------
    object : array_like
    dtype : dtype, optional
        Default: NumPy's choice (float64 for Python floats).
    copy : bool or None, default True
        False shares the memory of a C-contiguous NumPy array or a lazyarray array, and raises
        ValueError where it cannot.
    order : {'K', 'A', 'C', 'F'}, default 'K'
        The memory order.
    ndmin : int, default 0
        Axes of extent 1 are put in front until there are that many.
    ndmax : int, default 0
        The most axes that lists are taken for; 0 sets no limit.
    subok, like
        Have no meaning here.
    device : Device or str, optional

    Raises
    ------
    DTypeError
        For object, string and other dtypes that NumPy has and lazyarray has not.
    """
    home = number_of(as_device(device))
    source = object
    if ndmax and np.ndim(nested(source)) > ndmax:
        fail(DTypeError, "array", f"the data has more axes than ndmax={ndmax}")
    wanted = None if dtype is None else canonical(dtype, "array")
    if isinstance(source, ArrayBase):
        result = source
        if wanted is not None and wanted != source.dtype:
            if copy is False:
                raise ValueError("array: a change of dtype needs a copy")
            result = source.astype(wanted)
        elif copy:
            result = source.copy("K")
        if result.is_scalar:
            result = from_node(to_node(result), False)
        if device is not None:
            result = result.to(device)
    elif lending.foreign(source):
        result = lending.borrowed(source, None, copy)
        if wanted is not None and wanted != result.dtype:
            if copy is False:
                raise ValueError("array: a change of dtype needs a copy")
            result = result.astype(wanted)
        elif copy:
            result = result.copy()
        if device is not None:
            result = result.to(device)
    elif lending.is_bfloat16(source):
        data = lending.on_host(source, None)
        if copy is False:
            if wanted not in (None, BFLOAT16):
                raise ValueError("array: a change of dtype needs a copy")
            result = _handle.alias_numpy(data)
        else:
            result = _handle.placed(_handle.from_numpy(data), home)
            result = result if wanted in (None, BFLOAT16) else result.astype(wanted)
    elif copy is False:
        if not isinstance(source, np.ndarray) or (wanted is not None and wanted != source.dtype):
            raise ValueError("array: unable to avoid a copy while creating an array as requested")
        result = _handle.alias_numpy(source)
    else:
        data = (
            native(source) if isinstance(source, np.ndarray) else np.asarray(nested(source), dtype)
        )
        canonical(data.dtype, "array")
        if wanted is not None and data.dtype != wanted:
            data = data.astype(wanted)
        result = _handle.placed(imported(source, data), home)
    anyhow = order in ("K", None) or (order == "A" and not copy)
    if not anyhow and not has_order(result, order):
        if copy is False:
            raise ValueError("array: unable to avoid a copy: another memory order is asked for")
        result = result.copy(order)
    while result.ndim < ndmin:
        result = result[None]
    return result


def native(data: np.ndarray) -> np.ndarray:
    """The same values in the machine's byte order."""
    return data if data.dtype.isnative else data.astype(data.dtype.newbyteorder("="))


def imported(source: Any, data: np.ndarray) -> Array:
    """An array of `data`, which was made of `source`."""
    if isinstance(source, list | tuple | int | float | complex):
        return _handle.from_data(data)
    return _handle.from_numpy(data)


def nested(source: Any) -> Any:
    """Lists of arrays as lists of NumPy arrays."""
    if isinstance(source, list | tuple):
        return [nested(part) for part in source]
    if isinstance(source, ArrayBase):
        return source.numpy()
    return source


def asarray(
    a: Any,
    dtype: Any = None,
    order: str | None = None,
    *,
    device: Any = None,
    copy: bool | None = None,
    like: Any = None,
) -> Array:
    """Return `a` itself where it is an array of that dtype and memory order, else make one."""
    shared = isinstance(a, ArrayBase) and not copy and not a.is_scalar
    fits = shared and (dtype is None or canonical(dtype, "asarray") == a.dtype)
    if fits and (order in (None, "A") or has_order(a, order)):
        return a if device is None else a.to(device)
    return array(a, dtype, copy=copy, order=order, device=device)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """Return an array on the memory of another library's array; both see each other's writes.

    Parameters
    ----------
    x : object with ``__dlpack__`` and ``__dlpack_device__``
        On the CPU or a GPU, where the array then lies, too; C-contiguous, unless `copy` is True.
    device : Device or str, optional
        Another one makes a copy there.
    copy : bool, optional
        True copies the data; False never does.

    Raises
    ------
    ValueError
        Where the memory is not C-contiguous and `copy` is not True, or `copy` is False and a copy
        is needed.
    """
    if lending.foreign(x):
        where = None if device is None else as_device(device)
        found = lending.borrowed(x, where, copy)
        if where in (None, found.device):
            return found.copy() if copy else found
        if copy is False:
            text = f"from_dlpack: the memory is that of {found.device}; {where} needs a copy"
            raise ValueError(text)
        return found.to(where)
    home = number_of(as_device(device))
    if home and copy is False:
        raise ValueError("from_dlpack: the memory is the CPU's; another device needs a copy")
    data = lending.on_host(x, copy)
    if copy or home:
        return _handle.placed(_handle.from_numpy(data), home)
    if not data.flags.c_contiguous:
        raise ValueError(
            "from_dlpack: only C-contiguous memory can be shared\n  Pass copy=True for a copy."
        )
    return _handle.alias_numpy(data)


as_device = device.as_device
number_of = device.number_of


# ---- what _record hands over


def gathered(values: Node, places: Node) -> Array:
    """``values[places]``."""
    return advanced_read(from_node(values, False), from_node(places, False))


def picked(values: Node, places: Node) -> Node:
    """The same where all places are known to be in bounds, and none counts from the end."""
    return indexing.gather_axes(values, (0,), [places], 0, checked=True)


OURS = np.ndarray.__array_ufunc__


def overrides(value: Any) -> bool:
    """Whether operators leave it to a value what they mean with it, as NumPy's do."""
    kind = type(value)
    if getattr(kind, "__array_ufunc__", OURS) is not OURS:
        return kind is not Number
    return kind is not np.ndarray and isinstance(value, np.ndarray) and value.__array_priority__ > 0


def inplace_foreign(name: str, target: Array, value: Any) -> Any:
    """``target += value`` and its like where `value` has its own way with ufuncs."""
    if getattr(value, "__array_ufunc__", None) is None or isinstance(value, np.ndarray):
        return NotImplemented
    _record.store(target, asarray(getattr(np, name)(target, value)), name)
    return target


def is_flag(key: Any) -> bool:
    """Whether a key is one truth value: an index into scalars, too."""
    return isinstance(key, bool) or (getattr(key, "dtype", None) == BOOL and not key.ndim)


def foreign_operand(value: Any) -> Any:
    """A Node for a NumPy scalar or array, a list, or another array-like; else None."""
    if isinstance(value, bool | np.generic):
        data = np.asarray(value)
        return _ir.scalar(data[()], canonical(data.dtype, "operand"))
    if type(value) is Node or type(value) is Number:
        return value
    if type(value) is np.ndarray:
        return to_node(_handle.from_numpy(value))
    if isinstance(value, int | float | complex):
        return _ir.scalar(value, np.result_type(value))
    if not isinstance(value, list | tuple) and overrides(value):
        return None
    if isinstance(value, np.ndarray):
        return to_node(_handle.from_numpy(value))
    if lending.is_bfloat16(value) and not lending.foreign(value):
        return to_node(_handle.from_numpy(lending.on_host(value, None)))
    if isinstance(value, list | tuple) or hasattr(value, "__array__"):
        data = native(np.asarray(nested(value)))
        if kind_of(data.dtype) in "biufc":
            return to_node(imported(value, data))
    return None


def node(value: Any) -> Node:
    """The Node of anything array-like."""
    if isinstance(value, ArrayBase):
        return to_node(value)
    found = foreign_operand(value)
    if type(found) is Number:
        return found.constant(np.result_type(found.kind))
    return to_node(array(value)) if found is None else found


def value_node(value: Any, dtype: np.dtype) -> Node:
    """The Node of what is assigned to elements of `dtype`."""
    if isinstance(value, ArrayBase):
        return to_node(value)
    if isinstance(value, np.generic):
        cell = np.empty((), dtype)
        cell[...] = value  # NumPy checks the range
        return _ir.scalar(cell[()], dtype)
    if isinstance(value, bool | int | float | complex):
        if isinstance(value, complex) and dtype.kind != "c":
            raise TypeError(f"setitem: cannot convert a complex number to {dtype}")
        if type(value) is Number:
            return value.constant(dtype)
        try:
            return _ir.scalar(value, dtype)
        except ValueError as error:
            raise ValueError(f"setitem: {error}: the array has dtype {dtype}") from None
    return node(value)


def set_shape(self: Array, value: Any) -> None:
    """Another shape of the same handle."""
    try:
        _record.become(self, seen(self, shadow(self).reshape(value, copy=False)))
    except ValueError as error:
        if "copy" in str(error):
            raise AttributeError(
                "incompatible shape for in-place modification; use reshape() for a copy"
            ) from None
        fail(ShapeError, "shape", str(error))


def set_dtype(self: Array, value: Any) -> None:
    """Another dtype of the same handle, on the same memory."""
    _record.become(self, self.view(canonical(value, "dtype")))


def everywhere(a: Array, value: bool) -> Array:
    """One truth value for each element."""
    found = a.in_order(lambda old: shaping.full(old.shape, value, BOOL))
    return found if found.ndim else from_node(to_node(found))


def matmul(a: Any, b: Any) -> Any:
    """The ``@`` operator."""
    return on_nodes(registry["matmul"], a, b)


def on_nodes(op: Callable[..., Node], *operands: Any) -> Any:
    """What an op makes of whole operands; NotImplemented where one is not array-like."""
    nodes = [to_node(x) if isinstance(x, ArrayBase) else foreign_operand(x) for x in operands]
    return NotImplemented if None in nodes else from_node(op(*nodes))


def nonzero(mask: Any) -> tuple[Any, ...]:
    """The indices of what is not zero: reads the mask."""
    data = _handle.peek_numpy(mask) if isinstance(mask, ArrayBase) else np.asarray(mask)
    if data.ndim == 0:
        return (np.zeros(int(data), INTP),)
    return data.nonzero()


def taken_apart(target: Array, key: Any) -> tuple[Array, expressions.Index, list[Node]]:
    """The basic part of an index as a view, and the Nodes of its index arrays."""
    view = shadow(target)
    index = expressions.parse_index(view.shape, view.strides, key, nonzero)
    window = _handle.window(target, index.shape, index.strides, index.offset)
    parts = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(part, np.ndarray | np.generic) for part in parts):
        # Lists are the same at every call; what NumPy holds need not be.
        literal = [_handle.from_data(x) if isinstance(x, np.ndarray) else x for x in index.arrays]
        return window, index, [index_node(each) for each in literal]
    return window, index, [index_node(each) for each in index.arrays]


def index_node(value: Any) -> Node:
    """Index arrays as Nodes of the platform's index type."""
    return _ir.cast(node(value), INTP)


# Elements of a mask from which it is counted by a task; below, NumPy is done sooner.
LARGE_MASK = 16384


def large_mask(key: Any, shape: tuple[int, ...]) -> Any:
    """The key where it is one large boolean array for the leading axes of a shape, else None."""
    if isinstance(key, tuple) and len(key) == 1:
        key = key[0]
    if not isinstance(key, ArrayBase | np.ndarray) or key.dtype != np.bool_:
        return None
    return key if key.size >= LARGE_MASK and key.shape == shape[: key.ndim] else None


def counted(mask: Any) -> tuple[Node, Node, int]:
    """A mask in one axis, and how many are true, in each of its chunks and in all: reads it."""
    flat = shaping.ravel(node(mask))
    counts = from_node(counting.count_mask(flat), False)
    return flat, to_node(counts), int(_handle.peek_numpy(counts).sum())


def masked_rows(target: Array, mask: Any) -> tuple[Node, tuple[int, ...]]:
    """The axes of `target` that a mask indexes in one, and the others."""
    rest = target.shape[mask.ndim :]
    return shaping.reshape(to_node(target), (mask.size, *rest)), rest


def advanced_read(target: Array, key: Any) -> Array:
    """``target[key]`` where the key has arrays in it."""
    mask = large_mask(key, target.shape)
    if mask is not None:
        flat, counts, total = counted(mask)
        rows, _ = masked_rows(target, mask)
        return from_node(counting.take_masked(rows, flat, counts, total), False)
    window, index, arrays = taken_apart(target, key)
    if not arrays:
        return from_node(to_node(window), True) if index.scalar else window
    in_bounds(index, window.shape)
    found = indexing.gather_axes(to_node(window), index.axes, arrays, index.place)
    single = not found.ndim and not any(each is Ellipsis for each in expressions.as_items(key))
    return from_node(found, single)


def in_bounds(index: expressions.Index, shape: tuple[int, ...]) -> None:
    """Check index arrays whose values are at hand; others are checked when they are computed."""
    for axis, each in zip(index.axes, index.arrays, strict=True):
        if isinstance(each, np.ndarray) and each.size:
            low, high = int(each.min()), int(each.max())
            if low < -shape[axis] or high >= shape[axis]:
                bad = low if low < -shape[axis] else high
                raise ArrayIndexError(
                    f"index: index {bad} is out of bounds for axis {axis} with size {shape[axis]}"
                )


def advanced_write(target: Array, key: Any, value: Any) -> None:
    """``target[key] = value`` where the key has arrays in it."""
    value = value_node(value, target.dtype)
    if target.is_scalar:  # see is_flag
        new = _ir.cast(shaping.reshape(value, ()), target.dtype)
        _handle.assign(target, registry["where"](node(key), new, to_node(target)))
        return
    masked = is_mask(key, target.shape)
    if masked and value.ndim > 1:
        raise DTypeError(
            "setitem: assignment by a boolean array takes 0 or 1 axes, "
            f"the value has shape {value.shape}"
        )
    if masked and value.size == 1:
        old = to_node(target)
        mask = node(key[0] if isinstance(key, tuple) else key)
        filled = _ir.cast(shaping.reshape(value, ()), target.dtype)
        _handle.assign(target, registry["where"](mask, filled, old))
        return
    mask = large_mask(key, target.shape)
    if mask is not None:
        flat, counts, total = counted(mask)
        rows, rest = masked_rows(target, mask)
        values = indexing.value_for(_ir.cast(value, target.dtype), (total, *rest))
        written = counting.put_masked(rows, flat, counts, values)
        _handle.assign(target, shaping.reshape(written, target.shape))
        return
    window, index, arrays = taken_apart(target, key)
    if not arrays:
        _handle.assign(window, value)
        return
    in_bounds(index, window.shape)
    cast = _ir.cast(value, target.dtype)
    new = indexing.scatter_axes(to_node(window), index.axes, arrays, index.place, cast)
    _handle.assign(window, new)


def is_mask(key: Any, shape: tuple[int, ...]) -> bool:
    """Whether a key is one boolean array of the whole shape."""
    if isinstance(key, tuple) and len(key) == 1:
        key = key[0]
    return getattr(key, "dtype", None) == np.bool_ and key.shape == shape and len(shape) > 0


_handle.install(Array)
_record.install(sys.modules[__name__])
