"""Convolution and pooling by a library of NumPy's names: windows as shifted images.

An image's windows are seen element by element: what lies at one place of every window is a strided
part of the padded image. So a convolution is one product of matrices, whose rows are windows, and
its gradients are a product for each place. Sums go over the places in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .library import library

Pair = tuple[int, int]
ONE = (1, 1)


def padded(xp: Any, x: Any, pad: Pair, outside: float) -> Any:
    """Images with a margin."""
    if pad == (0, 0):
        return x
    images, rows, columns, channels = x.shape
    shape = (images, rows + 2 * pad[0], columns + 2 * pad[1], channels)
    found = xp.full(shape, outside, x.dtype)
    inside(found, pad)[...] = x
    return found


def inside(x: Any, pad: Pair) -> Any:
    """Images without their margin."""
    rows, columns = x.shape[1:3]
    return x[:, pad[0] : rows - pad[0], pad[1] : columns - pad[1]]


def places(
    x: Any, extents: Pair, window: Pair, stride: Pair, dilation: Pair = ONE
) -> Iterator[tuple[Pair, Any]]:
    """For each place in a window, what lies there in all windows of padded images."""
    for i, j in itertools.product(range(window[0]), range(window[1])):
        top, left = i * dilation[0], j * dilation[1]
        rows = slice(top, top + (extents[0] - 1) * stride[0] + 1, stride[0])
        columns = slice(left, left + (extents[1] - 1) * stride[1] + 1, stride[1])
        yield (i, j), x[:, rows, columns]


def shares(count: int, groups: int) -> list[slice]:
    """The channels of each group."""
    each = count // groups
    return [slice(each * i, each * (i + 1)) for i in range(groups)]


@library("correlate2d")
def _(
    xp: Any, x: Any, kernel: Any, out: Any, stride: Pair, pad: Pair, dilation: Pair, groups: int
) -> None:
    wide = padded(xp, x, pad, 0)
    window, extents = kernel.shape[:2], out.shape[1:3]
    for given, taken in zip(shares(x.shape[3], groups), shares(out.shape[3], groups), strict=True):
        parts = [part for _, part in places(wide[..., given], extents, window, stride, dilation)]
        rows = xp.stack(parts, axis=3).reshape(-1, len(parts) * kernel.shape[2])
        weights = kernel[..., taken].reshape(rows.shape[1], -1)
        out[..., taken] = xp.matmul(rows, weights).reshape(*out.shape[:3], -1)


@library("conv2d_data_grad")
def _(
    xp: Any, g: Any, kernel: Any, out: Any, stride: Pair, pad: Pair, dilation: Pair, groups: int,
) -> None:  # fmt: skip
    images, rows, columns, channels = out.shape
    shape = (images, rows + 2 * pad[0], columns + 2 * pad[1], channels)
    wide = xp.zeros(shape, out.dtype)
    for given, taken in zip(shares(channels, groups), shares(g.shape[3], groups), strict=True):
        slope = xp.ascontiguousarray(g[..., taken]).reshape(-1, g.shape[3] // groups)
        for (i, j), part in places(
            wide[..., given], g.shape[1:3], kernel.shape[:2], stride, dilation
        ):
            part += xp.matmul(slope, kernel[i, j, :, taken].T).reshape(part.shape)
    out[...] = inside(wide, pad)


@library("conv2d_weight_grad")
def _(
    xp: Any, x: Any, g: Any, out: Any, stride: Pair, pad: Pair, dilation: Pair, groups: int,
) -> None:  # fmt: skip
    wide = padded(xp, x, pad, 0)
    for given, taken in zip(shares(x.shape[3], groups), shares(g.shape[3], groups), strict=True):
        slope = xp.ascontiguousarray(g[..., taken]).reshape(-1, g.shape[3] // groups)
        for (i, j), part in places(wide[..., given], g.shape[1:3], out.shape[:2], stride, dilation):
            rows = xp.ascontiguousarray(part).reshape(-1, out.shape[2])
            out[i, j, :, taken] = xp.matmul(rows.T, slope)


@library("max_pool2d")
def _(xp: Any, x: Any, out: Any, window: Pair, stride: Pair, pad: Pair) -> None:
    out[...] = -np.inf
    for _, part in places(padded(xp, x, pad, -np.inf), out.shape[1:3], window, stride):
        xp.maximum(out, part, out=out)


@library("max_pool2d_grad")
def _(xp: Any, x: Any, g: Any, out: Any, window: Pair, stride: Pair, pad: Pair) -> None:
    wide = padded(xp, x, pad, -np.inf)
    most = xp.full(g.shape, -np.inf, x.dtype)
    for _, part in places(wide, g.shape[1:3], window, stride):
        xp.maximum(most, part, out=most)
    slope = xp.zeros(wide.shape, out.dtype)
    free = xp.ones(g.shape, bool)  # windows whose first maximum is still to come
    seen = places(wide, g.shape[1:3], window, stride)
    for (_, part), (_, target) in zip(
        seen, places(slope, g.shape[1:3], window, stride), strict=True
    ):
        here = free & ((part == most) | (part != part))
        target += xp.where(here, g, xp.zeros((), g.dtype))
        free &= ~here
    out[...] = inside(slope, pad)


def counts(xp: Any, extents: Pair, shape: Any, window: Pair, stride: Pair, pad: Pair) -> Any:
    """How many pixels of the image each window has, shape (1, oh, ow, 1)."""
    ones = padded(xp, xp.ones((1, *extents, 1), np.float32), pad, 0)
    return sum(part for _, part in places(ones, shape, window, stride))


@library("avg_pool2d")
def _(
    xp: Any, x: Any, out: Any, window: Pair, stride: Pair, pad: Pair, count_include_pad: bool
) -> None:
    kind = np.float32 if x.dtype.itemsize == 2 else x.dtype
    total = xp.zeros(out.shape, kind)
    for _, part in places(padded(xp, x, pad, 0), out.shape[1:3], window, stride):
        total += part
    if count_include_pad:
        total /= window[0] * window[1]
    else:
        total /= counts(xp, x.shape[1:3], out.shape[1:3], window, stride, pad).astype(kind)
    out[...] = total


@library("avg_pool2d_grad")
def _(
    xp: Any, g: Any, out: Any, window: Pair, stride: Pair, pad: Pair, count_include_pad: bool,
) -> None:  # fmt: skip
    kind = np.float32 if g.dtype.itemsize == 2 else g.dtype
    if count_include_pad:
        slope = g.astype(kind) / (window[0] * window[1])
    else:
        slope = g / counts(xp, out.shape[1:3], g.shape[1:3], window, stride, pad).astype(kind)
    images, rows, columns, channels = out.shape
    wide = xp.zeros((images, rows + 2 * pad[0], columns + 2 * pad[1], channels), kind)
    for _, part in places(wide, g.shape[1:3], window, stride):
        part += slope
    out[...] = inside(wide, pad)
