"""For tests of the kernels' floor: arrays of every dtype, equality by bits, kernels of one loop."""

import numpy as np

from lazyarray import _loops
from lazyarray.dtypes import is_float

DTYPES = _loops.DTYPES
INTEGERS = [d for d in DTYPES if d.kind in "iu"]
FLOATS = [np.dtype(f) for f in ("float32", "float64")]
COMPLEX = [np.dtype(c) for c in ("complex64", "complex128")]


def same_bits(a, b):
    """Equal dtypes, shapes and bits, any NaN equal to any NaN."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind == "c":
        return same_bits(a.real.copy(), b.real.copy()) and same_bits(a.imag.copy(), b.imag.copy())
    if is_float(a.dtype):
        nan = np.isnan(a)
        return np.array_equal(nan, np.isnan(b)) and a[~nan].tobytes() == b[~nan].tobytes()
    return a.tobytes() == b.tobytes()


def sample(rng, dtype, shape):
    """Numbers of many magnitudes with the special ones among them."""
    n = int(np.prod(shape))
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        x = rng.integers(0, 2, n).astype(bool)
    elif dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        x = rng.integers(low, high, n, dtype, endpoint=True)
        near = rng.random(n) < 0.5
        x[near] = rng.integers(max(low, -5), 6, n)[near]
        x[rng.random(n) < 0.05] = low
    elif is_float(dtype):
        reach = 3 if dtype == np.float16 else 9
        x = (rng.standard_normal(n) * 10.0 ** rng.integers(-reach, reach + 1, n)).astype(dtype)
        special = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1, -1, 6e-8, 1e-7], dtype)
        pick = rng.random(n) < 0.1
        x[pick] = rng.choice(special, int(pick.sum()))
    else:
        part = np.dtype(f"f{dtype.itemsize // 2}")
        x = np.empty(n, dtype)
        x.real, x.imag = sample(rng, part, n), sample(rng, part, n)
    return x.reshape(shape)


def strided_view(rng, dtype, shape, broadcast):
    """An array of this shape with permuted, stepped, reversed and (if asked) broadcast axes."""
    steps = [int(rng.integers(1, 3)) for _ in shape]
    order = rng.permutation(len(shape))
    whole = [n * s + int(rng.integers(0, 2)) for n, s in zip(shape, steps, strict=True)]
    x = sample(rng, dtype, [whole[axis] for axis in order]).transpose(np.argsort(order))
    x = x[(..., *(slice(0, n * s, s) for n, s in zip(shape, steps, strict=True)))]
    x = x[(..., *(slice(None, None, -1 if rng.random() < 0.2 else 1) for _ in shape))]
    if broadcast:
        kept = [slice(0, 1) if n and rng.random() < 0.25 else slice(None) for n in shape]
        x = np.broadcast_to(x[(..., *kept)], shape)
    return x


def random_shape(rng, limit=40_000):
    while True:
        extents = (0, 1, 2, 3, 5, 17, 64, 100) if rng.random() < 0.3 else (1, 2, 3, 33, 64, 150)
        shape = tuple(int(n) for n in rng.choice(extents, rng.integers(0, 5)))
        if np.prod(shape) <= limit:
            return shape


def operand(register, array):
    return register, array.strides, array.itemsize


def one_step(loop, inputs, outputs):
    """A kernel of one loop over arrays of one shape."""
    arrays = [*inputs, *outputs]
    n = len(inputs)
    return _loops.elementwise(
        arrays[0].shape,
        [operand(r, x) for r, x in enumerate(inputs)],
        [operand(n + r, y) for r, y in enumerate(outputs)],
        [x.itemsize for x in arrays],
        [(loop, tuple(range(n)), tuple(range(n, len(arrays))))],
    )


def apply(loop, *inputs, pieces=None):
    outputs = [np.empty(inputs[0].shape, d) for d in loop.dtypes[loop.nin :]]
    one_step(loop, inputs, outputs).call(*inputs, *outputs, pieces=pieces)
    return outputs if len(outputs) > 1 else outputs[0]
