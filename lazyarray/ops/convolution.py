"""Convolution and pooling: windows over batches of images, channels last."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import lazyarray._blas as _blas
from lazyarray import _ir
from lazyarray._ir import Node, c_strides, view
from lazyarray.device import backend_of
from lazyarray.dtypes import is_float
from lazyarray.errors import DTypeError, OptionError, ShapeError, fail, require

from .define import arrayop, composite
from .indexing import take_along_axis
from .joining import pad
from .reduction import argmax
from .shaping import Shape, reshape, squeeze
from .statistics import mean

Pair = tuple[int, int]
SINGLE = np.dtype(np.float32)


def pair(value: Any, op: str, name: str, least: int) -> Pair:
    """An int or two as a pair, for height and width."""
    if type(value) is tuple and len(value) == 2:
        first, second = value
        if type(first) is int and type(second) is int and first >= least and second >= least:
            return value
    parts = tuple(value) if isinstance(value, tuple | list) else (value, value)
    whole = len(parts) == 2 and all(hasattr(n, "__index__") for n in parts)
    require(whole, OptionError, op, f"{name} must be an int or two, got {value!r}")
    first, second = (n.__index__() for n in parts)
    require(
        min(first, second) >= least,
        OptionError,
        op,
        f"{name} must be at least {least}, got {value!r}",
    )
    return first, second


def check_image(x: Node, op: str) -> None:
    """Raise unless `x` is a batch of floating images."""
    if x.ndim != 4:
        message = f"x must have shape (batch, height, width, channels), got {x.shape}"
        fail(ShapeError, op, message)
    if not is_float(x.dtype):
        fail(
            DTypeError, op, f"x must be floating, got {x.dtype}", "Convert with astype('float32')."
        )


def window_extents(
    x: Shape, window: Pair, stride: Pair, padding: Pair, dilation: Pair, op: str
) -> Pair:
    """How many windows fit along height and width."""
    rows = (x[1] + 2 * padding[0] - dilation[0] * (window[0] - 1) - 1) // stride[0] + 1
    columns = (x[2] + 2 * padding[1] - dilation[1] * (window[1] - 1) - 1) // stride[1] + 1
    if rows < 1 or columns < 1:
        fail(
            ShapeError,
            op,
            f"a window of {window} does not fit an image of {x[1:3]} padded by {padding}",
            "Enlarge pad, or use a smaller window.",
        )
    return rows, columns


# ---- convolution


def check_computed(op: str, a: Node, b: Node) -> None:
    """Raise unless both have one floating dtype."""
    if a.dtype is not b.dtype or not is_float(a.dtype):
        fail(DTypeError, op, f"needs one floating dtype, got {a.dtype} and {b.dtype}")


def as_computed(x: Node) -> Node:
    """Halves compute in float32: here where the device's kernels do not see to that."""
    if x.dtype.itemsize > 2 or (x.device and getattr(backend_of(x.device), "halves", False)):
        return x
    return _ir.cast(x, SINGLE)


def widened(factory: Any) -> Any:
    """What runs a convolution's kernel on halves widened to float32, and rounds the result once."""

    def run(xp: Any, a: Any, b: Any, out: Any, **options: Any) -> None:
        kinds = [Like(each.shape, SINGLE) for each in (a, b, out)]
        wide = np.empty(out.shape, SINGLE)
        kernel = factory(kinds[:2], kinds[2], None, **options)
        kernel.call(np.ascontiguousarray(a, SINGLE), np.ascontiguousarray(b, SINGLE), wide)
        out[...] = wide

    return run


class Like(NamedTuple):
    """The shape and dtype of an operand."""

    shape: Shape
    dtype: np.dtype


def computed_by(op: Any) -> Any:
    """Set what makes a convolution's kernel; halves get it by a Python task."""

    def define(factory: Any) -> Any:
        @op.native
        def _(inputs: Any, out: Any, layouts: Any, **options: Any) -> Any:
            return None if out.dtype.itemsize == 2 else factory(inputs, out, layouts, **options)

        op.kernel(widened(factory))
        return factory

    return define


@arrayop()
def correlate2d(x: Node, kernel: Node, stride: Pair, pad: Pair, dilation: Pair, groups: int) -> Any:
    """The convolution of `conv2d`, its options checked.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), floating
    kernel : array, shape (kh, kw, channels // groups, out_channels), same dtype
    stride, pad, dilation : (int, int)
    groups : int

    Returns
    -------
    array, shape (batch, oh, ow, out_channels)
    """
    check_computed("correlate2d", x, kernel)
    oh, ow = window_extents(x.shape, kernel.shape[:2], stride, pad, dilation, "conv2d")
    attrs = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
    return (x, kernel), (x.shape[0], oh, ow, kernel.shape[3]), x.dtype, attrs


@computed_by(correlate2d)
def _(inputs: Any, out: Any, layouts: Any, **options: Any) -> Any:
    x, kernel = inputs
    return _blas.conv2d(out.dtype, x.shape, kernel.shape, **options)


@correlate2d.vjp
def _(g: Node, y: Node, x: Node, kernel: Node, **options: Any) -> Any:
    return (
        conv2d_data_grad(g, kernel, x.shape[1:3], **options) if x.tracked else None,
        conv2d_weight_grad(x, g, kernel.shape[:2], **options) if kernel.tracked else None,
    )


@arrayop()
def conv2d_data_grad(
    g: Node, kernel: Node, extents: Pair, stride: Pair, pad: Pair, dilation: Pair, groups: int
) -> Any:
    """The gradient of `correlate2d` by its images, linear in `g` and in `kernel`.

    Parameters
    ----------
    g : array, shape (batch, oh, ow, out_channels)
    kernel : array, shape (kh, kw, channels // groups, out_channels)
    extents : (int, int)
        Height and width of the images.
    stride, pad, dilation : (int, int)
    groups : int

    Returns
    -------
    array, shape (batch, height, width, channels)
    """
    check_computed("conv2d_data_grad", g, kernel)
    shape = (g.shape[0], *extents, kernel.shape[2] * groups)
    attrs = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
    return (g, kernel), shape, g.dtype, attrs


@computed_by(conv2d_data_grad)
def _(inputs: Any, out: Any, layouts: Any, **options: Any) -> Any:
    return _blas.conv2d_data_grad(out.dtype, out.shape, inputs[1].shape, **options)


@conv2d_data_grad.vjp
def _(c: Node, y: Node, g: Node, kernel: Node, **options: Any) -> Any:
    return (
        correlate2d(c, kernel, **options) if g.tracked else None,
        conv2d_weight_grad(c, g, kernel.shape[:2], **options) if kernel.tracked else None,
    )


@arrayop()
def conv2d_weight_grad(
    x: Node, g: Node, window: Pair, stride: Pair, pad: Pair, dilation: Pair, groups: int
) -> Any:
    """The gradient of `correlate2d` by its kernel, linear in `x` and in `g`.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels)
    g : array, shape (batch, oh, ow, out_channels)
    window : (int, int)
        kh and kw.
    stride, pad, dilation : (int, int)
    groups : int

    Returns
    -------
    array, shape (kh, kw, channels // groups, out_channels)
    """
    check_computed("conv2d_weight_grad", x, g)
    shape = (*window, x.shape[3] // groups, g.shape[3])
    attrs = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
    return (x, g), shape, g.dtype, attrs


@computed_by(conv2d_weight_grad)
def _(inputs: Any, out: Any, layouts: Any, **options: Any) -> Any:
    return _blas.conv2d_weight_grad(out.dtype, inputs[0].shape, out.shape, **options)


@conv2d_weight_grad.vjp
def _(c: Node, y: Node, x: Node, g: Node, **options: Any) -> Any:
    return (
        conv2d_data_grad(g, c, x.shape[1:3], **options) if x.tracked else None,
        correlate2d(x, c, **options) if g.tracked else None,
    )


@composite
def conv2d(
    x: Node,
    kernel: Node,
    bias: Node | None = None,
    stride: Any = 1,
    pad: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Node:
    """Two-dimensional convolution (cross-correlation) of images.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), floating
    kernel : array, shape (kh, kw, channels // groups, out_channels), same dtype as `x`
    bias : array, shape (out_channels,), optional
    stride : int or (int, int), default 1
        Step between windows, in pixels.
    pad : int or (int, int), default 0
        Zeros at each side, in pixels.
    dilation : int or (int, int), default 1
        Step between the elements of a window, in pixels.
    groups : int, default 1
        Group i maps its share of the channels to its share of the outputs.

    Returns
    -------
    array, shape (batch, oh, ow, out_channels)
        ``oh = (height + 2*pad - dilation*(kh-1) - 1) // stride + 1``. Each element is one chain of
        fused multiply-adds over (kh, kw, channels); halves compute in float32.

    Raises
    ------
    ShapeError, DTypeError
        When `x` is not a floating (batch, height, width, channels), or the kernel does not fit it.
    OptionError
        When a stride, dilation or the number of groups is below 1, or a pad is negative.
    """
    check_image(x, "conv2d")
    if kernel.ndim != 4:
        fail(
            ShapeError,
            "conv2d",
            "kernel must have shape (kh, kw, channels // groups, out_channels), "
            f"got {kernel.shape}",
        )
    if kernel.dtype is not x.dtype:
        fail(
            DTypeError,
            "conv2d",
            f"x is {x.dtype}, kernel is {kernel.dtype}",
            "Convert one with astype.",
        )
    require(
        isinstance(groups, int) and groups > 0,
        OptionError,
        "conv2d",
        f"groups must be at least 1, got {groups!r}",
    )
    fits = x.shape[3] == kernel.shape[2] * groups and kernel.shape[3] % groups == 0
    if not fits or 0 in kernel.shape[:2]:
        fail(
            ShapeError,
            "conv2d",
            f"kernel {kernel.shape} does not fit x {x.shape} in {groups} groups",
            "A kernel is (kh, kw, channels // groups, out_channels).",
        )
    options = {
        "stride": pair(stride, "conv2d", "stride", 1),
        "pad": pair(pad, "conv2d", "pad", 0),
        "dilation": pair(dilation, "conv2d", "dilation", 1),
        "groups": groups,
    }
    out = correlate2d(as_computed(x), as_computed(kernel), **options)
    out = _ir.cast(out, x.dtype)
    if bias is None:
        return out
    if bias.shape != kernel.shape[3:]:
        message = f"bias must have shape {kernel.shape[3:]}, got {bias.shape}"
        fail(ShapeError, "conv2d", message)
    return out + bias


# ---- pooling


def pool_options(x: Node, window: Any, stride: Any, padding: Any, op: str) -> dict[str, Pair]:
    """Checked options; by default windows do not overlap."""
    check_image(x, op)
    size = pair(window, op, "window", 1)
    found = {
        "window": size,
        "stride": size if stride is None else pair(stride, op, "stride", 1),
        "pad": pair(padding, op, "pad", 0),
    }
    first, second = found["pad"]
    if first >= size[0] or second >= size[1]:
        fail(OptionError, op, f"pad {found['pad']} must be smaller than the window {size}")
    return found


def pooled_shape(shape: Shape, window: Pair, stride: Pair, pad: Pair, op: str) -> Shape:
    """The shape of pooled images."""
    return (shape[0], *window_extents(shape, window, stride, pad, (1, 1), op), shape[3])


@arrayop()
def max_pool2d(x: Node, window: Any = 2, stride: Any = None, pad: Any = 0) -> Any:
    """Maxima of windows.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), floating
    window : int or (int, int), default 2
        In pixels.
    stride : int or (int, int), optional
        Step between windows, in pixels; by default they touch.
    pad : int or (int, int), default 0
        Pixels at each side, which are never the maximum; smaller than the window.

    Returns
    -------
    array, shape (batch, oh, ow, channels)
        ``oh = (height + 2*pad - window) // stride + 1``. NaN where a window has one. The gradient
        goes to the first maximum of each window.

    Raises
    ------
    ShapeError, DTypeError
        When `x` is not a floating (batch, height, width, channels), or smaller than a window.
    OptionError
        When an option is out of its range.
    """
    options = pool_options(x, window, stride, pad, "max_pool2d")
    return (x,), pooled_shape(x.shape, **options, op="max_pool2d"), x.dtype, options


@max_pool2d.native
def _(inputs: Any, out: Any, layouts: Any, **options: Any) -> Any:
    return _blas.max_pool2d(out.dtype, inputs[0].shape, **options)


@max_pool2d.vjp
def _(g: Node, y: Node, x: Node, **options: Any) -> Node:
    return max_pool2d_grad(x, g, **options)


@arrayop()
def max_pool2d_grad(x: Node, g: Node, window: Pair, stride: Pair, pad: Pair) -> Any:
    """The gradient of `max_pool2d`: `g` at the first maximum of each window, linear in `g`.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), floating
    g : array, shape (batch, oh, ow, channels), same dtype
    window, stride, pad : (int, int)

    Returns
    -------
    array, the shape of `x`
    """
    options = pool_options(x, window, stride, pad, "max_pool2d_grad")
    shape = pooled_shape(x.shape, **options, op="max_pool2d_grad")
    if g.shape != shape:
        fail(ShapeError, "max_pool2d_grad", f"g must have shape {shape}, got {g.shape}")
    return (x, _ir.cast(g, x.dtype)), x.shape, x.dtype, options


@max_pool2d_grad.native
def _(inputs: Any, out: Any, layouts: Any, **options: Any) -> Any:
    return _blas.max_pool2d_grad(out.dtype, inputs[0].shape, **options)


@max_pool2d_grad.vjp
def _(c: Node, y: Node, x: Node, g: Node, window: Pair, stride: Pair, pad: Pair) -> Any:
    index = argmax(windows_of(x, window, stride, pad, -math.inf), axis=-1, keepdims=True)
    picked = take_along_axis(windows_of(c, window, stride, pad, 0.0), index, -1)
    return None, squeeze(picked, -1)


def windows_of(x: Node, window: Pair, stride: Pair, padding: Pair, outside: float) -> Node:
    """All windows of padded images, their pixels along the last axis."""
    shape = pooled_shape(x.shape, window, stride, padding, "windows")
    wide = pad(x, ((0, 0), *((p, p) for p in padding), (0, 0)), constant_values=outside)
    images, rows, columns, channels = c_strides(wide.shape, wide.dtype.itemsize)
    steps = (images, rows * stride[0], columns * stride[1], channels, rows, columns)
    seen = view(wide, (*shape, *window), steps)
    return reshape(seen, (*shape, window[0] * window[1]))


@arrayop()
def avg_pool2d(
    x: Node, window: Any = 2, stride: Any = None, pad: Any = 0, count_include_pad: bool = True
) -> Any:
    """Means of windows.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), floating
    window : int or (int, int), default 2
        In pixels.
    stride : int or (int, int), optional
        Step between windows, in pixels; by default they touch.
    pad : int or (int, int), default 0
        Zeros at each side, in pixels; smaller than the window.
    count_include_pad : bool, default True
        Whether the zeros count.

    Returns
    -------
    array, shape (batch, oh, ow, channels)

    Raises
    ------
    ShapeError, DTypeError, OptionError
        As for `max_pool2d`.
    """
    options = pool_options(x, window, stride, pad, "avg_pool2d")
    shape = pooled_shape(x.shape, **options, op="avg_pool2d")
    return (x,), shape, x.dtype, {**options, "count_include_pad": bool(count_include_pad)}


@avg_pool2d.native
def _(inputs: Any, out: Any, layouts: Any, **options: Any) -> Any:
    return _blas.avg_pool2d(out.dtype, inputs[0].shape, **options)


@avg_pool2d.vjp
def _(g: Node, y: Node, x: Node, **options: Any) -> Node:
    return avg_pool2d_grad(g, x.shape[1:3], **options)


@arrayop()
def avg_pool2d_grad(
    g: Node, extents: Pair, window: Pair, stride: Pair, pad: Pair, count_include_pad: bool
) -> Any:
    """The gradient of `avg_pool2d` for images of the given extents, linear in `g`.

    Parameters
    ----------
    g : array, shape (batch, oh, ow, channels), floating
    extents, window, stride, pad : (int, int)
    count_include_pad : bool

    Returns
    -------
    array, shape (batch, height, width, channels)
    """
    attrs = {"window": window, "stride": stride, "pad": pad, "count_include_pad": count_include_pad}
    return (g,), (g.shape[0], *extents, g.shape[3]), g.dtype, attrs


@avg_pool2d_grad.native
def _(inputs: Any, out: Any, layouts: Any, **options: Any) -> Any:
    return _blas.avg_pool2d_grad(out.dtype, out.shape, **options)


@avg_pool2d_grad.vjp
def _(c: Node, y: Node, g: Node, **options: Any) -> Node:
    return avg_pool2d(c, **options)


@composite
def global_avg_pool2d(x: Node) -> Node:
    """Means over height and width.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels), floating

    Returns
    -------
    array, shape (batch, channels)
    """
    check_image(x, "global_avg_pool2d")
    return mean(x, axis=(1, 2))
