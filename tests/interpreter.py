"""Nodes evaluated one by one with NumPy: an oracle that knows no plan, engine, fusion or buffer.

Elementwise ops run their ufunc on contiguous arrays (as the block driver feeds its loops), views
and updates are strided NumPy arrays, reductions and sorts NumPy's own. What NumPy has no function
for runs its kernel alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from lazyarray._ir import Node

from lazyarray import _loops, _order

CONST, PLACEHOLDER = 2, 3
ELEMENTWISE, VIEW, UPDATE, NATIVE, EMPTY = 1, 2, 3, 4, 5


def evaluate(heads: Sequence[Node], values: Mapping[int, np.ndarray]) -> list[np.ndarray]:
    """Return the values of `heads`, given those of leaves by ``node.serial``."""
    done: dict[int, np.ndarray] = {}
    stack = list(heads)
    while stack:
        node = stack[-1]
        if node.serial in done:
            stack.pop()
            continue
        missing = [n for n in node.inputs if n.serial not in done]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        with np.errstate(all="ignore"):
            value = np.ascontiguousarray(
                value_of(node, [done[n.serial] for n in node.inputs], values)
            )
        value = value.reshape(node.shape)  # ascontiguousarray makes 0-d arrays 1-d
        assert value.dtype == node.dtype, f"{node!r} came out as {value.dtype}"
        done[node.serial] = value
    return [done[n.serial] for n in heads]


def value_of(node: Node, inputs: list[np.ndarray], values: Mapping[int, np.ndarray]) -> Any:
    """Return the value of one node, given its inputs'."""
    if node.op is None:
        return values[node.serial] if node.state != CONST else np.asarray(node.value)
    if node.op.kind == ELEMENTWISE:
        return elementwise(node, inputs)
    if node.op.kind == VIEW:
        strides, _ = node.attrs
        return window(inputs[0], node.shape, strides, node.offset, node.dtype)
    if node.op.kind == UPDATE:
        shape, strides, _, _, dtype = node.attrs
        result = inputs[0].copy()
        window(result, shape, strides, node.offset, dtype)[...] = inputs[1]
        return result
    if node.op.kind == EMPTY:
        filler = np.full(math.prod(node.shape) * node.dtype.itemsize, 0x5B, np.uint8)
        return filler.view(node.dtype).reshape(node.shape)
    return native(node, inputs)


def window(
    base: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, dtype: Any
) -> np.ndarray:
    """Return a View of `base`, checked to lie inside it."""
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    reach = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    low = offset + sum(r for r in reach if r < 0)
    high = offset + sum(r for r in reach if r > 0) + np.dtype(dtype).itemsize
    assert low >= 0 and high <= base.nbytes, f"a view reaches bytes {low}..{high} of {base.nbytes}"
    flat = base.reshape(-1).view(np.uint8)
    return np.ndarray(shape, dtype, flat.data, offset, strides)


def elementwise(node: Node, inputs: list[np.ndarray]) -> Any:
    """Return an elementwise node's value."""
    if node.op.name == "iota":
        return np.arange(math.prod(node.shape)).reshape(node.shape)
    full = [np.array(np.broadcast_to(x, node.shape), order="C", ndmin=1) for x in inputs]
    if node.op.ufunc is not None:
        return node.op.ufunc(*full, dtype=None, casting="no")
    if node.op.name == "where":
        return np.where(*full)
    if node.op.name in ("cast", "stop_gradient"):
        if full[0].dtype.kind == "c" and node.dtype.kind not in "bc":
            full[0] = full[0].real
        return full[0].astype(node.dtype)
    return looped(node, full)


def looped(node: Node, inputs: list[np.ndarray]) -> np.ndarray:
    """Return the value that the op's loop gives."""
    dtypes = [x.dtype for x in inputs]
    sizes = [d.itemsize for d in (*dtypes, node.dtype)]
    count = len(inputs)
    loop = node.op.loop(dtypes, node.dtype)
    operands = [(i, (size,), size) for i, size in enumerate(sizes)]
    kernel = _loops.elementwise(
        (inputs[0].size,),
        operands[:count],
        operands[count:],
        sizes,
        [(loop, range(count), (count,))],
    )
    out = np.empty(inputs[0].shape, node.dtype)
    kernel.call(*inputs, out)
    return out


def native(node: Node, inputs: list[np.ndarray]) -> Any:
    """Return the value of an op on whole arrays."""
    op = node.op
    attributes = dict(node.attrs or ())
    if op.name in REFERENCES:
        return REFERENCES[op.name](*inputs, node.dtype, **attributes)
    if op.inplace:
        out = np.array(inputs[0], order="C")
        operands, inputs = inputs[1:], inputs[1:]
    else:
        out, operands = np.empty(node.shape, node.dtype), inputs
    kernel = None
    if op.factory is not None:
        types = [n.type for n in node.inputs]
        kernel = op.factory(types, node.type, [None] * len(types), **attributes)
    if kernel is None:
        op.function(np, *operands, out=out, **attributes)
    elif isinstance(kernel, list):
        _order.run_stages(kernel, *operands, out)
    else:
        kernel.call(*operands, out)
    return out


def _reduced(function: Callable[..., Any], typed: bool = False) -> Callable[..., Any]:
    def reference(x: np.ndarray, dtype: np.dtype, start: int, stop: int) -> Any:
        if stop - start > 1:
            x = x.reshape(*x.shape[:start], -1, *x.shape[stop:])
        return function(x, axis=start, **({"dtype": dtype} if typed else {}))

    return reference


REFERENCES: dict[str, Callable[..., Any]] = {
    "sum": _reduced(np.sum, typed=True),
    "prod": _reduced(np.prod, typed=True),
    "min": _reduced(np.min),
    "max": _reduced(np.max),
    "argmin": _reduced(np.argmin),
    "argmax": _reduced(np.argmax),
    "any": _reduced(np.any),
    "all": _reduced(np.all),
    "cumsum": lambda x, dtype, axis: np.cumsum(x, axis=axis, dtype=dtype),
    "cumprod": lambda x, dtype, axis: np.cumprod(x, axis=axis, dtype=dtype),
    "sort": lambda x, dtype: np.sort(x, axis=-1, kind="stable"),
    "argsort": lambda x, dtype: np.argsort(x, axis=-1, kind="stable"),
    "gemm": lambda a, b, dtype: np.matmul(a, b),
}
