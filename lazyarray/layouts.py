"""Shapes, memory orders and dtypes of arrays: what `_record` does not do by itself."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from lazyarray import _handle, _ir, _record
from lazyarray._handle import from_node, seen, shadow, to_node
from lazyarray._ir import Node, registry
from lazyarray.dtypes import canonical
from lazyarray.errors import ShapeError, fail, retell
from lazyarray.ops import shaping

Array = Any  # array.py, which hands these over, defines it
Casting = Literal["no", "equiv", "safe", "same_kind", "unsafe", "same_value"]


def has_order(a: Array, order: str | None) -> bool:
    """Whether an array lies in memory as asked for."""
    if order == "K":
        return True
    flags = shadow(a).flags
    if order == "A":
        return flags.c_contiguous or flags.f_contiguous
    if order not in ("C", "F"):
        raise ValueError(f"order must be one of 'C', 'F', 'A', or 'K' (got {order!r})")
    return flags.f_contiguous if order == "F" else flags.c_contiguous


def reshaped_view(view: np.ndarray, shape: Any) -> np.ndarray | None:
    """A shadow in another shape, None where that takes a copy."""
    try:
        return view.reshape(shape, copy=False)
    except ValueError as error:
        if "copy" not in str(error):
            fail(ShapeError, "reshape", str(error))
    return None


def reshaped(value: Node, shape: Any) -> Node:
    """The elements of a value in another shape, as a copy."""
    return shaping.reshape(value, shape, "C")


def reshape(self: Array, shape: tuple[Any, ...], order: str, copy: bool | None) -> Array:
    """`Array.reshape`, whatever its options."""
    wanted = shape[0] if len(shape) == 1 else shape
    view = shadow(self)
    if copy is not True:
        try:
            return seen(self, view.reshape(wanted, order=order, copy=False))
        except ValueError as error:
            if copy is False or "copy" not in str(error):
                fail(ShapeError, "reshape", str(error))
    if order == "A":
        order = "F" if view.flags.f_contiguous and not view.flags.c_contiguous else "C"
    if order == "F":
        turned = wanted[::-1] if isinstance(wanted, tuple | list) else wanted
        return self.T.reshape(turned, copy=True).T
    return from_node(shaping.reshape(to_node(self), wanted, order), False)


def ravel(self: Array, order: str) -> Array:
    """`Array.ravel`, whatever the order."""
    if order not in ("C", "F", "A", "K"):
        raise ValueError(f"ravel: order must be one of 'C', 'F', 'A', or 'K' (got {order!r})")
    if order in ("C", "A") and shadow(self).flags.c_contiguous:
        return self.reshape(-1)
    if order in ("F", "A") and shadow(self).flags.f_contiguous:
        return self.T.reshape(-1)
    if order == "K":
        axes = _handle.memory_order(shadow(self))
        return self.ravel() if axes is None else self.transpose(axes).ravel()
    return from_node(shaping.reshape(to_node(self), -1, "F" if order == "F" else "C"), False)


def copy(self: Array, order: str) -> Array:
    """`Array.copy`, whatever the order."""
    copied = registry["positive"] if self.dtype.kind != "b" else registry["stop_gradient"]
    if order == "C":
        return from_node(copied(to_node(self)), self.is_scalar)
    if order not in ("F", "A", "K"):
        raise ValueError(f"order must be one of 'C', 'F', 'A', or 'K' (got {order!r})")
    if order == "K":
        return self.in_order(copied)
    flags = shadow(self).flags
    if self.ndim > 1 and (order == "F" or (flags.f_contiguous and not flags.c_contiguous)):
        return self.T.copy().T
    return self.copy()


def converted(value: Node, dtype: Any) -> Node | None:
    """A value in another dtype; None where NumPy has more to say than that."""
    wanted = canonical(dtype, "astype")
    loses = value.dtype.kind == "c" and wanted.kind not in "cb"
    return None if wanted == value.dtype or loses else _ir.cast(value, wanted)


def astype(self: Array, dtype: Any, order: str, casting: Casting, subok: bool, copy: bool) -> Array:
    """`Array.astype`, whatever its options."""
    wanted = canonical(dtype, "astype")
    if casting == "same_value":  # NumPy looks at the values, now
        _handle.peek_numpy(self).astype(wanted, casting=casting)
    elif not np.can_cast(self.dtype, wanted, casting):
        raise TypeError(
            f"Cannot cast array data from {self.dtype!r} to {wanted!r} "
            f"according to the rule {casting!r}"
        )
    if order == "A":
        flags = shadow(self).flags
        order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
    if wanted == self.dtype:
        return self.copy(order) if copy or not has_order(self, order) else self
    if self.dtype.kind == "c" and wanted.kind not in "cb":
        _handle.warn_of_parts(2)
    last = _record.newest()
    found = self.in_order(lambda node: _ir.cast(node, wanted))
    _record.ask_since(last)
    return found if has_order(found, order) else found.copy(order)


def permuted_view(view: np.ndarray, axes: tuple[Any, ...]) -> np.ndarray:
    """A shadow with permuted axes."""
    try:
        return view.transpose(*axes)
    except ValueError as error:
        retell(error, "transpose", view.shape)


def swapped_view(view: np.ndarray, axis1: Any, axis2: Any) -> np.ndarray:
    """A shadow with two axes interchanged."""
    try:
        return view.swapaxes(axis1, axis2)
    except ValueError as error:
        retell(error, "swapaxes", view.shape)
