"""What layers' operations and einsum-like products must give, written out in plain NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import special


def pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, tuple) else (value, value)


def wide(x: np.ndarray) -> np.ndarray:
    """Return `x` in a dtype that sums well."""
    return x.astype(np.float64)


def convolved(x, kernel, bias=None, stride=1, pad=0, dilation=1, groups=1) -> np.ndarray:
    """Return the cross-correlation of channels-last images, one output pixel at a time."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(pad), pair(dilation)
    kh, kw, inner, outputs = kernel.shape
    padded = np.pad(wide(x), ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    oh = (padded.shape[1] - dh * (kh - 1) - 1) // sh + 1
    ow = (padded.shape[2] - dw * (kw - 1) - 1) // sw + 1
    out = np.zeros((x.shape[0], oh, ow, outputs))
    share = outputs // groups
    for i, j in np.ndindex(oh, ow):
        rows = slice(i * sh, i * sh + dh * (kh - 1) + 1, dh)
        columns = slice(j * sw, j * sw + dw * (kw - 1) + 1, dw)
        for g in range(groups):
            seen = padded[:, rows, columns, g * inner : (g + 1) * inner]
            mine = slice(g * share, (g + 1) * share)
            out[:, i, j, mine] = np.tensordot(seen, wide(kernel)[..., mine], 3)
    if bias is not None:
        out = out + bias
    return out.astype(x.dtype)


def linear_transpose(forward, g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the transpose of a linear function, applied to `g`."""
    out = np.zeros(shape)
    for place in np.ndindex(*shape):
        unit = np.zeros(shape)
        unit[place] = 1
        out[place] = np.sum(forward(unit) * wide(g))
    return out.astype(g.dtype)


def convolved_images(g, kernel, extents, **options) -> np.ndarray:
    """Return the gradient of a convolution by its images."""
    shape = (g.shape[0], *extents, kernel.shape[2] * options["groups"])
    return linear_transpose(lambda x: convolved(x, kernel, **options), g, shape)


def convolved_kernel(x, g, window, **options) -> np.ndarray:
    """Return the gradient of a convolution by its kernel."""
    shape = (*window, x.shape[3] // options["groups"], g.shape[3])
    return linear_transpose(lambda kernel: convolved(wide(x), kernel, **options), g, shape)


def windows(
    x: np.ndarray, window: Any, stride: Any, pad: Any
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
    """Yield the place of each window in the result, and its rows and columns in the image."""
    (kh, kw), (ph, pw) = pair(window), pair(pad)
    sh, sw = pair(window if stride is None else stride)
    for i in range((x.shape[1] + 2 * ph - kh) // sh + 1):
        for j in range((x.shape[2] + 2 * pw - kw) // sw + 1):
            top, left = i * sh - ph, j * sw - pw
            yield (
                (i, j),
                (slice(max(top, 0), top + kh), slice(max(left, 0), left + kw)),
            )


def pooled(function, x, window=2, stride=None, pad=0) -> np.ndarray:
    """Return `function` of the pixels of each window."""
    found = {
        place: function(x[:, rows, columns])
        for place, (rows, columns) in windows(x, window, stride, pad)
    }
    oh, ow = (n + 1 for n in max(found))
    out = np.empty((x.shape[0], oh, ow, x.shape[3]), x.dtype)
    for (i, j), value in found.items():
        out[:, i, j] = value
    return out


def max_pooled(x, window=2, stride=None, pad=0) -> np.ndarray:
    return pooled(lambda seen: seen.max((1, 2)), x, window, stride, pad)


def avg_pooled(x, window=2, stride=None, pad=0, count_include_pad=True) -> np.ndarray:
    kh, kw = pair(window)

    def average(seen: np.ndarray) -> np.ndarray:
        count = kh * kw if count_include_pad else seen.shape[1] * seen.shape[2]
        return wide(seen).sum((1, 2)) / count

    return pooled(average, x, window, stride, pad)


def max_pooled_back(x, g, window=2, stride=None, pad=0) -> np.ndarray:
    """Return `g` added at the first maximum of each window."""
    out = np.zeros(x.shape)
    for (i, j), (rows, columns) in windows(x, window, stride, pad):
        seen, part = x[:, rows, columns], out[:, rows, columns]
        for n, c in np.ndindex(x.shape[0], x.shape[3]):
            first = np.unravel_index(np.argmax(seen[n, :, :, c]), seen.shape[1:3])
            part[n, *first, c] += g[n, i, j, c]
    return out.astype(x.dtype)


def avg_pooled_back(g, extents, **options) -> np.ndarray:
    shape = (g.shape[0], *extents, g.shape[3])
    return linear_transpose(lambda x: avg_pooled(x, **options), g, shape)


def dense(x, weight, bias=None) -> np.ndarray:
    out = x @ weight.T
    return out if bias is None else out + bias


def batch_norm(x, gamma, beta, mean, var, axis=-1, eps=1e-5) -> np.ndarray:
    moved = np.moveaxis(x, axis, -1)
    found = (moved - mean) / np.sqrt(var + x.dtype.type(eps)) * gamma + beta
    return np.moveaxis(found, -1, axis)


def layer_norm(x, gamma, beta, axis=-1, eps=1e-5) -> np.ndarray:
    moved = np.moveaxis(x, axis, -1)
    middle = moved.mean(-1, keepdims=True)
    spread = np.sqrt(moved.var(-1, keepdims=True) + x.dtype.type(eps))
    return np.moveaxis((moved - middle) / spread * gamma + beta, -1, axis)


def cross_entropy(logits, labels, axis=-1) -> np.ndarray:
    found = np.moveaxis(special.log_softmax(logits, axis=axis), axis, -1)
    labels = labels % logits.shape[axis]
    return -np.take_along_axis(found, labels[..., None], -1)[..., 0]


def l2_loss(prediction, target) -> np.ndarray:
    half = (prediction - target) ** 2 / prediction.dtype.type(2)
    return half.mean(tuple(range(1, half.ndim))) if half.ndim > 1 else half


def put_rows(base, idx, values) -> np.ndarray:
    out = base.copy()
    for i, row in zip(idx, values, strict=True):
        out[i] = row
    return out


def mantissa(x) -> np.ndarray:
    return parts(x)[0]


def exponent(x) -> np.ndarray:
    return parts(x)[1]


def parts(x) -> tuple[np.ndarray, np.ndarray]:
    if x.dtype.char not in "fd":
        raise TypeError("of float32 and float64 only")
    return np.frexp(x)


def put_along(base, idx, values, axis) -> np.ndarray:
    out = base.copy()
    np.put_along_axis(out, idx, values, axis)
    return out


def put_masked(base, mask, counts, values) -> np.ndarray:
    out = base.copy()
    out[mask] = values
    return out


def tally(x) -> np.ndarray:
    values, first, counts = np.unique(x, return_index=True, return_counts=True)
    out = np.zeros((3, 4097), np.int64)
    out[0, 0] = len(values)
    out[0, 1 : len(values) + 1] = x[first].view(f"u{x.itemsize}")
    out[1, 1 : len(values) + 1], out[2, 1 : len(values) + 1] = counts, first
    return out


def add_rows(base, idx, values) -> np.ndarray:
    out = base.copy()
    np.add.at(out, idx, values)
    return out


def put_along_axis(x, indices, values, axis=-1) -> np.ndarray:
    out = x.copy()
    np.put_along_axis(out, indices, values, axis)
    return out


def one_hot(indices, depth, dtype=np.float32) -> np.ndarray:
    return (indices[..., None] == np.arange(depth)).astype(dtype)


def maximum_at(base, idx, values, ufunc=None) -> np.ndarray:
    out = base.copy()
    np.maximum.at(out, idx, values)
    return out
