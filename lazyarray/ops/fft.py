"""Discrete Fourier transforms: complex to complex and its inverse, real to complex and back.

Lengths without a prime factor above 13 have kernels. SciPy's functions compute the others, on all
cores (the rows of a batch are independent: the bits do not depend on how many), float16 those of
NumPy. All are linear: a gradient is a transform as well.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import lazyarray._fft as _fft
from lazyarray import _ir
from lazyarray._ir import Node, registry
from lazyarray.dtypes import BFLOAT16, REAL_OF
from lazyarray.errors import ArrayIndexError, DTypeError, OptionError, ShapeError, require

from .define import normalize_axis
from .host import HostOp, Result, arguments, in_parts
from .joining import pad
from .shaping import Shape, axis_list, positions, slice_axis

COMPLEX64, COMPLEX128 = np.dtype(np.complex64), np.dtype(np.complex128)
Axes = tuple[int, ...]
BACK = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
NO_AXIS = "needs an axis"
WORKERS = os.cpu_count() or 1
BATCH = 1 << 16  # elements of a result from which rows are worth threads


def scipys(name: str) -> Callable[..., Any]:
    """SciPy's transform, imported when it is first wanted; NumPy's of float16."""

    def compute(x: np.ndarray, s: Shape, axes: Axes, norm: str) -> Any:
        if x.dtype == np.float16:
            return getattr(np.fft, name)(x, s, axes, norm)
        import scipy.fft

        x = x.astype(np.float32) if x.dtype is BFLOAT16 else x
        return getattr(scipy.fft, name)(x, s, axes, norm, workers=WORKERS)

    compute.__name__ = name
    return compute


def complex_of(x: Node) -> np.dtype:
    """The dtype of a transform."""
    return COMPLEX64 if x.dtype.char in "efFE" else COMPLEX128


def replaced(shape: Shape, s: Shape, axes: Axes) -> Shape:
    """`shape` with the extents `s` along `axes`; the last of repeated axes counts."""
    found = list(shape)
    for n, axis in zip(s, axes, strict=True):
        found[axis] = n
    return tuple(found)


def c2c_type(x: Node, s: Shape, axes: Axes, norm: str) -> Result:
    """The transform of complex data over `axes`, cut or padded to the extents `s`."""
    return Result(replaced(x.shape, s, axes), complex_of(x))


def inverse_type(x: Node, s: Shape, axes: Axes, norm: str) -> Result:
    """The inverse of the transform of complex data."""
    return Result(replaced(x.shape, s, axes), complex_of(x))


def r2c_type(x: Node, s: Shape, axes: Axes, norm: str) -> Result:
    """The transform of real data: the first half of the last axis, the rest being its mirror."""
    return Result(replaced(x.shape, (*s[:-1], s[-1] // 2 + 1), axes), complex_of(x))


def c2r_type(x: Node, s: Shape, axes: Axes, norm: str) -> Result:
    """The inverse of the transform of real data, whose last axis gets `s[-1]` elements."""
    half = x.dtype.char == "e" and len(axes) == 1  # as in NumPy, whose other axes come first
    dtype = x.dtype if half else REAL_OF[complex_of(x)]
    return Result(replaced(x.shape, s, axes), dtype)


class Transform(HostOp):
    """A transform; along one axis, NumPy's writes the result where it belongs."""

    def run(
        self, xp: Any, *arrays: Any, out: Any, call: Any, results: Sequence[Result] | None = None
    ) -> None:
        """Compute the result, as a task."""
        (x,), (_, options) = arrays, call
        given = dict(options)
        s, axes, norm = given["s"], given["axes"], given["norm"]
        # Of single precision, and where half of a result is the mirror of the other, SciPy's is
        # twice as fast.
        slow = out.dtype.char not in "dD" or (self.name != "fft.r2c" and x.dtype.kind != "c")
        if len(axes) != 1 or slow or out.size < BATCH:
            super().run(xp, *arrays, out=out, call=call, results=results)
            return
        (axis,), (n,) = axes, s
        function = getattr(np.fft, self.compute.__name__[:-1])
        if x.ndim == 1:
            with np.errstate(all="ignore"):
                function(x, n, norm=norm, out=out)
            return
        across = 0 if axis % x.ndim else 1

        def part(begin: int, end: int) -> None:
            where = (slice(None),) * across + (slice(begin, end),)
            with np.errstate(all="ignore"):
                function(x[where], n, axis, norm, out=out[where])

        in_parts(x.shape[across], part)


forward = Transform("fft.c2c", scipys("fftn"), c2c_type)
inverse = Transform("fft.inverse", scipys("ifftn"), inverse_type)
real_forward = Transform("fft.r2c", scipys("rfftn"), r2c_type)
real_inverse = Transform("fft.c2r", scipys("irfftn"), c2r_type)


# ---- kernels


def axis_along(
    kind: int,
    inverse: bool,
    shape: Shape,
    axis: int,
    n: int,
    norm: str,
    places: tuple[int, int] = (1, 1),
) -> tuple[Any, ...]:
    """A transform along one axis of data of a shape, as `_fft.transforms` takes it."""
    inner = math.prod(shape[axis + 1 :])
    scaled = norm == ("backward" if inverse else "forward")
    factor = n**-0.5 if norm == "ortho" else 1 / n if scaled else 1.0
    lines = math.prod(shape[:axis]) * inner
    return (kind, inverse, lines, inner, shape[axis], n, *places, factor)


def forth(kind: int, inverse: bool) -> Callable[..., Any]:
    """The factory of a transform whose last axis is of a `kind`, and is the first to go."""

    def factory(
        inputs: Sequence[Any], out: Any, layouts: Sequence[Any], call: Any, results: Any = None
    ) -> Any:
        (x,), given = inputs, dict(call[1])
        (*others, last), (*rest, n) = given["axes"], given["s"]
        same = all(x.shape[axis] == m for axis, m in zip(others, rest, strict=True))
        if x.dtype.char not in "fdFD" or any(layouts) or not same:
            return None
        first = kind if x.dtype.kind != "c" else _fft.COMPLEX
        axes = [axis_along(first, inverse, x.shape, last, n, given["norm"], (0, 1))]
        axes += [
            axis_along(_fft.COMPLEX, inverse, out.shape, axis, m, given["norm"])
            for axis, m in zip(others[::-1], rest[::-1], strict=True)
        ]
        return _fft.transforms(out.dtype, axes)

    return factory


def back(inputs: Sequence[Any], out: Any, layouts: Sequence[Any], call: Any) -> Any:
    """The factory of the inverse of a transform of real data, whose last axis is the last to go."""
    (x,), given = inputs, dict(call[1])
    (*others, last), (*rest, n) = given["axes"], given["s"]
    same = all(x.shape[axis] == m for axis, m in zip(others, rest, strict=True))
    if x.dtype.char not in "FD" or any(layouts) or not same:
        return None
    place, axes = 0, []
    for axis, m in zip(others, rest, strict=True):
        axes.append(axis_along(_fft.COMPLEX, True, x.shape, axis, m, given["norm"], (place, 2)))
        place = 2
    axes.append(axis_along(_fft.REAL, True, x.shape, last, n, given["norm"], (place, 1)))
    held = math.prod(x.shape) * x.dtype.itemsize if others else 0
    return _fft.transforms(x.dtype, axes, held)


forward.factory = forth(_fft.WHOLE, False)
inverse.factory = forth(_fft.WHOLE, True)
real_forward.factory = forth(_fft.HALF, False)
real_inverse.factory = back


# ---- gradients


def fitted(x: Node, shape: Shape) -> Node:
    """`x` cut, or padded with zeros, to `shape`."""
    for axis, n in enumerate(shape):
        if x.shape[axis] > n:
            x = slice_axis(x, axis, 0, n)
    widths = [(0, n - m) for n, m in zip(shape, x.shape, strict=True)]
    return pad(x, widths) if any(b for _, b in widths) else x


def of_kind(g: Node, x: Node) -> Node:
    """A cotangent in the dtype of the input."""
    return g if x.dtype.kind == "c" else registry["real"](g)


def called(y: Node) -> tuple[Shape, Axes, str]:
    """Extents, axes and norm that a transform was called with."""
    found = arguments(y)
    return found["s"], found["axes"], found["norm"]


@forward.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    s, axes, norm = called(y)
    return of_kind(fitted(inverse(g, s, axes, BACK[norm]), x.shape), x)


@inverse.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    s, axes, norm = called(y)
    return of_kind(fitted(forward(g, s, axes, BACK[norm]), x.shape), x)


@real_forward.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    s, axes, norm = called(y)
    whole = fitted(g, replaced(g.shape, s[-1:], axes[-1:]))
    return fitted(registry["real"](inverse(whole, s, axes, BACK[norm])), x.shape)


@real_inverse.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    s, axes, norm = called(y)
    found = real_forward(g, s, axes, BACK[norm])
    axis, n = axes[-1], s[-1]
    place = positions(tuple(n // 2 + 1 if i == axis else 1 for i in range(found.ndim)))
    alone = registry["equal"](registry["remainder"](place * 2, n), 0)
    # What has a mirror image counts twice.
    doubled = _ir.cast(registry["where"](alone, 1.0, 2.0), g.dtype)
    return of_kind(fitted(_ir.cast(found * doubled, found.dtype), x.shape), x)


def parsed(x: Node, s: Any, axes: Any, norm: str | None, op: str) -> tuple[Shape, Axes, str]:
    """Extents, axes and norm as a transform takes them."""
    require(norm in (None, *BACK), OptionError, op, f"norm {norm!r} is unknown",
            "Choose backward, ortho or forward.")  # fmt: skip
    if axes is None:
        count = x.ndim if s is None else len(s)
        axes = range(-count, 0) if s is not None else range(x.ndim)
    found = tuple(normalize_axis(axis, x.ndim, op) for axis in axes)
    if s is None:
        s = [x.shape[axis] for axis in found]
    require(len(s) == len(found), OptionError, op, "Shape and axes have different lengths")
    extents = tuple(
        x.shape[axis] if n == -1 or n is None else int(n) for n, axis in zip(s, found, strict=True)
    )
    for n in extents:
        require(n >= 1, OptionError, op, f"Invalid number of FFT data points ({n}) specified")
    return extents, found, norm or "backward"


# ---- numpy.fft's functions


def transform(op: HostOp, x: Node, s: Any, axes: Any, norm: str | None, name: str) -> Node:
    """A transform over several axes."""
    require(x.ndim > 0 or not axes, ArrayIndexError, name, NO_AXIS)
    extents, found, kind = parsed(x, s, axes, norm, name)
    if not found:
        return x
    if len(set(found)) == len(found):
        return op(x, extents, found, kind)
    for n, axis in zip(extents, found, strict=True):  # NumPy transforms an axis named twice twice
        x = op(x, (n,), (axis,), kind)
    return x


def fft(a: Node, n: int | None = None, axis: int = -1, norm: str | None = None) -> Node:
    """Discrete Fourier transform along an axis; as `numpy.fft.fft`."""
    return transform(forward, a, lengths(n), (axis,), norm, "fft")


def ifft(a: Node, n: int | None = None, axis: int = -1, norm: str | None = None) -> Node:
    """Inverse of `fft`; as `numpy.fft.ifft`."""
    return transform(inverse, a, lengths(n), (axis,), norm, "ifft")


def fftn(a: Node, s: Any = None, axes: Any = None, norm: str | None = None) -> Node:
    """Discrete Fourier transform over several axes; as `numpy.fft.fftn`."""
    return transform(forward, a, s, axes, norm, "fftn")


def ifftn(a: Node, s: Any = None, axes: Any = None, norm: str | None = None) -> Node:
    """Inverse of `fftn`; as `numpy.fft.ifftn`."""
    return transform(inverse, a, s, axes, norm, "ifftn")


def fft2(a: Node, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Node:
    """Discrete Fourier transform over two axes; as `numpy.fft.fft2`."""
    return transform(forward, a, s, axes, norm, "fft2")


def ifft2(a: Node, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Node:
    """Inverse of `fft2`; as `numpy.fft.ifft2`."""
    return transform(inverse, a, s, axes, norm, "ifft2")


def rfftn(a: Node, s: Any = None, axes: Any = None, norm: str | None = None) -> Node:
    """Transform of real data over several axes, half of the last; as `numpy.fft.rfftn`."""
    require(a.dtype.kind != "c", DTypeError, "rfftn", f"the input is real, got {a.dtype}")
    require(a.ndim > 0, ArrayIndexError, "rfftn", NO_AXIS)
    extents, found, kind = parsed(a, s, axes, norm, "rfftn")
    require(bool(found), ArrayIndexError, "rfftn", NO_AXIS)
    if len(set(found)) == len(found):
        return real_forward(a, extents, found, kind)
    a = real_forward(a, extents[-1:], found[-1:], kind)
    for n, axis in zip(extents[:-1], found[:-1], strict=True):
        a = forward(a, (n,), (axis,), kind)
    return a


def irfftn(a: Node, s: Any = None, axes: Any = None, norm: str | None = None) -> Node:
    """Inverse of `rfftn`; as `numpy.fft.irfftn`."""
    require(a.ndim > 0, ArrayIndexError, "irfftn", NO_AXIS)
    known = s is not None and len(s) and s[-1] not in (None, -1)
    if s is None or not known:
        # The last extent is that of real data whose transform this is.
        at = [
            normalize_axis(i, a.ndim, "irfftn") for i in (range(a.ndim) if axes is None else axes)
        ]
        require(bool(at), ArrayIndexError, "irfftn", NO_AXIS)
        wanted = [a.shape[i] for i in at] if s is None else list(s)
        wanted[-1] = 2 * (a.shape[at[-1]] - 1)
        axes, s = at, wanted
    extents, found, kind = parsed(a, s, axes, norm, "irfftn")
    if a.dtype.char in "fd":
        a = _ir.cast(a, complex_of(a))
    if len(set(found)) == len(found):
        return real_inverse(a, extents, found, kind)
    for n, axis in zip(extents[:-1], found[:-1], strict=True):
        a = inverse(a, (n,), (axis,), kind)
    return real_inverse(a, extents[-1:], found[-1:], kind)


def rfft(a: Node, n: int | None = None, axis: int = -1, norm: str | None = None) -> Node:
    """Transform of real data along an axis; as `numpy.fft.rfft`."""
    return rfftn(a, lengths(n), (axis,), norm)


def irfft(a: Node, n: int | None = None, axis: int = -1, norm: str | None = None) -> Node:
    """Inverse of `rfft`; as `numpy.fft.irfft`."""
    return irfftn(a, lengths(n), (axis,), norm)


def rfft2(a: Node, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Node:
    """Transform of real data over two axes; as `numpy.fft.rfft2`."""
    return rfftn(a, s, axes, norm)


def irfft2(a: Node, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Node:
    """Inverse of `rfft2`; as `numpy.fft.irfft2`."""
    return irfftn(a, s, axes, norm)


def hfft(a: Node, n: int | None = None, axis: int = -1, norm: str | None = None) -> Node:
    """Transform of a signal with Hermitian symmetry: real; as `numpy.fft.hfft`."""
    require(norm in (None, *BACK), OptionError, "hfft", f"norm {norm!r} is unknown")
    return irfft(registry["conjugate"](a), n, axis, BACK[norm or "backward"])


def ihfft(a: Node, n: int | None = None, axis: int = -1, norm: str | None = None) -> Node:
    """Inverse of `hfft`; as `numpy.fft.ihfft`."""
    require(norm in (None, *BACK), OptionError, "ihfft", f"norm {norm!r} is unknown")
    return registry["conjugate"](rfft(a, n, axis, BACK[norm or "backward"]))


def lengths(n: int | None) -> Any:
    """The extent of one axis as those of several."""
    return None if n is None else (n,)


def fftshift(x: Node, axes: Any = None) -> Node:
    """Put the zero frequency into the middle; as `numpy.fft.fftshift`."""
    at = shifted_axes(x, axes, "fftshift")
    return registry["roll"](x, tuple(x.shape[i] // 2 for i in at), at)


def ifftshift(x: Node, axes: Any = None) -> Node:
    """Inverse of `fftshift`; as `numpy.fft.ifftshift`."""
    at = shifted_axes(x, axes, "ifftshift")
    return registry["roll"](x, tuple(-(x.shape[i] // 2) for i in at), at)


def shifted_axes(x: Node, axes: Any, op: str) -> tuple[int, ...]:
    """The axes to shift, at least one."""
    at = tuple(range(x.ndim)) if axes is None else tuple(axis_list(axes))
    require(bool(at), ShapeError, op, f"there is no axis to shift in shape {x.shape}")
    return tuple([normalize_axis(i, x.ndim, op) for i in at])
