"""The kernels' floor against NumPy: values, bits, splitting, aliasing, errors."""

import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

from lazyarray import _loops

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
    if a.dtype.kind == "f":
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
    elif dtype.kind == "f":
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


# Loops


@pytest.mark.parametrize("source", DTYPES, ids=str)
def test_cast_has_the_values_of_astype(source):
    rng = np.random.default_rng(1)
    x = sample(rng, source, 3001)
    for target in DTYPES:
        values = x
        if source.kind in "fc" and target.kind in "iu":
            # Out of range the C standard says nothing; what we give there is in the next test.
            reach = min(float(np.iinfo(target).max), 60000.0) / 2
            values = np.where(np.abs(x.real) < reach, x, source.type(1))
            if target.kind == "u":
                values = np.where(values.real < 0, source.type(2), values)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = values.astype(target)
        got = apply(_loops.own_loop("cast", (source, target)), values)
        assert same_bits(got, expected), target


@pytest.mark.parametrize("source", [np.float16, *FLOATS], ids=lambda d: np.dtype(d).name)
def test_cast_out_of_range_does_not_depend_on_the_place_in_a_block(source):
    special = np.array([np.nan, np.inf, -np.inf, -1.5, 300.0, -40000.0, 6e4], source)
    if source != np.float16:
        special = np.concatenate([special, np.array([3e9, -3e9, 1e19, -1e19, 2e19, 1e30], source)])
    x = np.repeat(special, 67)
    for target in INTEGERS:
        loop = _loops.own_loop("cast", (source, target))
        one_by_one = np.array([apply(loop, x[i : i + 1].copy())[0] for i in range(len(x))])
        assert same_bits(apply(loop, x), one_by_one), target


def test_cast_to_and_from_every_half():
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    for target in FLOATS:
        wide = apply(_loops.own_loop("cast", (np.float16, target)), halves)
        assert same_bits(wide, halves.astype(target))
        # All ties and their neighbours.
        finite = np.sort(wide[np.isfinite(wide)])
        ties = (finite[1:] + finite[:-1]) / 2
        x = np.concatenate([finite, ties, np.nextafter(ties, 1e9), np.nextafter(ties, -1e9)])
        x = np.concatenate([x, [65519.0, 65520.0, 65521.0, 1e30, -1e30, 2.0**-25, 2.0**-26]])
        x = x.astype(target)
        with np.errstate(all="ignore"):
            expected = x.astype(np.float16)
        assert same_bits(apply(_loops.own_loop("cast", (target, np.float16)), x), expected)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize(
    "name",
    ["power", "floor_divide", "remainder", "fmod", "divmod", "left_shift", "right_shift"],
)
def test_integer_loops(name, dtype):
    rng = np.random.default_rng(2)
    a, b = sample(rng, dtype, 5003), sample(rng, dtype, 5003)
    if name == "power":
        b = np.abs(b % dtype.type(100)).astype(dtype)
    ufunc = getattr(np, name)
    loop = _loops.find_loop(ufunc, (dtype,) * (ufunc.nin + ufunc.nout))
    with np.errstate(all="ignore"):
        expected = ufunc(a, b)
    got = apply(loop, a, b)
    for g, e in zip(np.atleast_2d(got), np.atleast_2d(expected), strict=True):
        assert same_bits(g, e)


def test_find_loop_takes_ours_for_integers_and_numpys_for_floats():
    assert _loops.own_loop("power", (np.int32,) * 3) is not None
    assert _loops.own_loop("power", (np.float32,) * 3) is None
    assert _loops.find_loop(np.power, (np.float32,) * 3).name == "power"
    assert _loops.find_loop("add", (np.int8,) * 3).dtypes == (np.dtype(np.int8),) * 3
    assert _loops.find_loop("no_such_op", (np.int8,) * 3) is None
    assert _loops.ufunc_loop(np.add, (np.int8, np.int8, np.int16)) is None
    assert _loops.ufunc_loop(np.add, (object,) * 3) is None
    assert _loops.ufunc_loop(np.matmul, (np.float32,) * 3) is None
    with pytest.raises(ValueError, match="3 dtypes"):
        _loops.ufunc_loop(np.add, (np.float32,))


def test_scipy_loops():
    special = pytest.importorskip("scipy.special")
    x = np.linspace(-3, 3, 1001)
    for dtype in FLOATS:
        values = x.astype(dtype)
        got = apply(_loops.find_loop(special.erf, (dtype, dtype)), values)
        assert same_bits(got, special.erf(values))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_where_and_copy(dtype):
    rng = np.random.default_rng(3)
    c, a, b = sample(rng, bool, 1001), sample(rng, dtype, 1001), sample(rng, dtype, 1001)
    got = apply(_loops.own_loop("where", (bool, dtype, dtype, dtype)), c, a, b)
    assert same_bits(got, np.where(c, a, b))
    assert same_bits(apply(_loops.own_loop("copy", (dtype, dtype)), a), a)


def test_complex_from_parts():
    rng = np.random.default_rng(4)
    for part, whole in zip(FLOATS, COMPLEX, strict=True):
        a, b = sample(rng, part, 100), sample(rng, part, 100)
        z = apply(_loops.own_loop("complex", (part, part, whole)), a, b)
        assert same_bits(z.real.copy(), a) and same_bits(z.imag.copy(), b)


# Numpy's inner loops must not care where a block begins: else splitting would change bits.
POSITION_FREE = """
    add multiply divide sqrt exp exp2 expm1 log log2 log10 log1p sin cos tan arcsin arccos arctan
    sinh cosh tanh arcsinh arccosh arctanh cbrt reciprocal square power arctan2 hypot
    floor_divide remainder fmod logaddexp maximum minimum absolute floor rint sign
""".split()  # noqa: SIM905


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), *FLOATS, *COMPLEX], ids=str)
def test_numpys_loops_give_the_same_bits_at_every_place(dtype):
    rng = np.random.default_rng(5)
    a, b = sample(rng, dtype, 300), sample(rng, dtype, 300)
    with np.errstate(all="ignore"):
        for name in POSITION_FREE:
            ufunc = getattr(np, name)
            inputs = (a, b)[: ufunc.nin]
            loop = None
            for out in (dtype, np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype):
                loop = loop or _loops.ufunc_loop(ufunc, (*(dtype,) * ufunc.nin, out))
            if loop is None:
                continue
            whole = apply(loop, *inputs)
            assert same_bits(whole, ufunc(*inputs)), name
            for begin, end in ((1, 300), (7, 19), (8, 9), (31, 95), (3, 4), (64, 67)):
                part = apply(loop, *(x[begin:end].copy() for x in inputs))
                assert same_bits(part, whole[begin:end]), (name, begin, end)


# The block driver


@pytest.mark.parametrize("seed", range(8))
def test_strided_operands(seed):
    rng = np.random.default_rng(seed)
    for trial in range(120):
        shape = random_shape(rng)
        dtype = DTYPES[rng.integers(0, len(DTYPES))]
        a, b = (strided_view(rng, dtype, shape, True) for _ in range(2))
        out = strided_view(rng, dtype, shape, False)
        loop = _loops.find_loop(np.add, (dtype,) * 3)
        with np.errstate(all="ignore"):
            one_step(loop, (a, b), (out,)).call(
                a, b, out, pieces=int(rng.integers(1, 6)), seed=trial
            )
            assert same_bits(out, np.add(a, b)), (shape, a.strides, b.strides, out.strides)
        copy = _loops.elementwise(shape, [operand(0, a)], [operand(0, out)], [a.itemsize], [])
        copy.call(a, out, pieces=3, seed=trial)
        assert same_bits(out, a), (shape, a.strides, out.strides)


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "f8", "c16"])
def test_transposed_operands_are_tiled(dtype):
    rng = np.random.default_rng(6)
    loop = _loops.find_loop(np.multiply, (dtype,) * 3)
    for shape in ((40, 16), (37, 301), (5, 9000), (300, 17), (3, 40, 50), (2, 3, 33, 65)):
        axes = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
        a = sample(rng, dtype, [shape[i] for i in axes]).transpose(axes)
        b = sample(rng, dtype, shape)
        for x, y in ((a, b), (b, a), (a, a)):
            for out in (
                np.empty(shape, dtype),
                np.empty([shape[i] for i in axes], dtype).transpose(axes),
            ):
                with np.errstate(all="ignore"):
                    kernel = one_step(loop, (x, y), (out,))
                    kernel.call(x, y, out, pieces=4, seed=1)
                    # Over strides NumPy's own loop may give other bits (complex).
                    assert same_bits(
                        out, np.multiply(np.ascontiguousarray(x), np.ascontiguousarray(y))
                    )


def test_pieces_may_begin_anywhere():
    rng = np.random.default_rng(7)
    x = sample(rng, "f4", (61, 203)).T
    out = np.empty(x.shape, "f4")
    kernel = one_step(_loops.find_loop(np.exp, ("f4", "f4")), (x,), (out,))
    with np.errstate(all="ignore"):
        expected = np.exp(np.ascontiguousarray(x))
        kernel.call(x, out)
        assert same_bits(out, expected)
        out[...] = 0
        kernel.call_spans([(77, 61 * 4), (0, 1), (61 * 4, 61 * 203), (1, 77)], x, out)
        assert same_bits(out, expected)


def test_program_in_place_and_registers_used_again():
    rng = np.random.default_rng(8)
    a, b = rng.standard_normal((2, 50_000)).astype("f4")
    add, multiply, sqrt = (
        _loops.find_loop(u, ("f4",) * n) for u, n in ((np.add, 3), (np.multiply, 3), (np.sqrt, 2))
    )
    absolute = _loops.find_loop(np.absolute, ("f4", "f4"))
    five = np.full(1, 5, "f4")
    w = (4,)
    kernel = _loops.elementwise(
        a.shape,
        [(0, w, 4), (1, w, 4), (2, (0,), 4)],
        [(3, w, 4), (0, w, 4)],
        [4] * 4,
        [
            (absolute, (1,), (3,)),
            (sqrt, (3,), (3,)),
            (multiply, (3, 2), (3,)),  # output 0 is complete here, and a is read below
            (multiply, (0, 1), (2,)),  # overwrites the scalar's register
            (add, (2, 3), (0,)),
        ],
    )
    first = np.sqrt(np.abs(b)) * np.float32(5)
    second = a * b + first
    for out0, out1 in (("new", "new"), ("a", "new"), ("new", "a"), ("b", "a"), ("a", "b")):
        memory = {"a": a.copy(), "b": b.copy()}
        outs = [memory.get(name, np.empty_like(a)) for name in (out0, out1)]
        kernel.call(memory["a"], memory["b"], five, *outs, pieces=3, seed=2)
        assert same_bits(outs[0], first) and same_bits(outs[1], second)


def test_outputs_that_swap_their_inputs():
    a, b = np.arange(20_000.0), -np.arange(20_000.0)
    x, y = a.copy(), b.copy()
    kernel = _loops.elementwise(
        a.shape, [operand(0, a), operand(1, b)], [operand(1, a), operand(0, b)], [8, 8], []
    )
    kernel.call(x, y, x, y, pieces=2)
    assert same_bits(x, b) and same_bits(y, a)


def test_flat_index_register_and_one_value_to_two_outputs():
    shape = (7, 3000)
    index, out = np.empty(shape, np.int64), np.empty(shape[::-1], np.int64).T
    loop = _loops.find_loop(np.add, (np.int64,) * 3)
    kernel = _loops.elementwise(
        shape,
        [(0, None, 8), (1, (0, 8), 8)],
        [operand(2, index), operand(2, out)],
        [8] * 3,
        [(loop, (0, 1), (2,))],
    )
    row = np.arange(3000) * 10
    kernel.call(row, index, out, pieces=4)
    expected = np.arange(21_000).reshape(shape) + row
    assert same_bits(index, expected) and same_bits(out, expected)


def test_unaligned_operands():
    raw = np.zeros(8 * 1000 + 1, np.uint8)
    x = raw[1:].view("f8")
    x[:] = np.arange(1000)
    target = np.zeros(8 * 1000 + 3, np.uint8)[3:8003].view("f8")
    kernel = one_step(_loops.find_loop(np.sqrt, ("f8", "f8")), (x,), (target,))
    kernel.call(x, target)
    assert same_bits(target, np.sqrt(x.copy()))


def test_wrong_programs_are_refused():
    add = _loops.find_loop(np.add, ("f4",) * 3)
    good = dict(
        shape=(4,), inputs=[(0, (4,), 4), (1, (4,), 4)], outputs=[(2, (4,), 4)], registers=[4, 4, 4]
    )
    with pytest.raises(ValueError, match="nothing has written"):
        _loops.elementwise(**good, steps=[(add, (0, 2), (2,))])
    with pytest.raises(ValueError, match="takes 2"):
        _loops.elementwise(**good, steps=[(add, (0,), (2,))])
    with pytest.raises(ValueError, match="items of 8 bytes"):
        _loops.elementwise(**{**good, "registers": [4, 4, 8]}, steps=[(add, (0, 1), (2,))])
    with pytest.raises(ValueError, match="was not written"):
        _loops.elementwise(**good, steps=[])
    with pytest.raises(ValueError, match="share a register"):
        _loops.elementwise((4,), [(0, (4,), 4), (0, (4,), 4)], [(0, (4,), 4)], [4], [])
    with pytest.raises(TypeError, match="factory"):
        _loops.NativeKernel()


def test_one_kernel_on_many_threads():
    rng = np.random.default_rng(9)
    inputs = [rng.standard_normal((64, 500)) for _ in range(8)]
    outputs = [np.empty((64, 500)) for _ in inputs]
    kernel = _loops.elementwise(
        (64, 500),
        [operand(0, inputs[0]), (1, (4000, 0), 8)],
        [operand(2, outputs[0])],
        [8] * 3,
        [(_loops.find_loop(np.subtract, ("f8",) * 3), (0, 1), (2,))],
    )

    def work(x, y):
        for _ in range(50):
            kernel.call(x, x, y, pieces=2)

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(inputs, outputs, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, y in zip(inputs, outputs, strict=True):
        assert same_bits(y, x - x[:, :1])


# Reductions and scans


def tree(rows, join):
    """The reference: the order of joins that native/reduce.hpp promises."""

    def block(rows):
        lanes = list(rows[:32])
        for j in range(32, len(rows)):
            lanes[j % 32] = join(lanes[j % 32], rows[j])
        for h in (16, 8, 4, 2, 1):
            for k in range(h):
                if k + h < len(lanes):
                    lanes[k] = join(lanes[k], lanes[k + h])
            lanes = lanes[:h]
        return lanes[0]

    def blocks(items):
        if len(items) == 1:
            return items[0]
        half = 1 << (len(items) - 1).bit_length() - 1
        return join(blocks(items[:half]), blocks(items[half:]))

    return blocks([block(rows[i : i + 1024]) for i in range(0, len(rows), 1024)])


def reduced(name, x, dtype, pieces=None):
    out = np.empty((x.shape[0], x.shape[2]), dtype)
    _loops.reduce(name, x.dtype, dtype, *x.shape).call(x, out, pieces=pieces, seed=1)
    return out


SHAPES = [
    (1, 1, 1),
    (3, 7, 1),
    (2, 31, 5),
    (4, 33, 3),
    (2, 100, 1),
    (1, 1024, 2),
    (2, 1025, 1),
    (3, 2049, 1),
    (1, 40, 700),
]
EMPTY = [(5, 0, 3), (0, 4, 4), (2, 5, 0)]


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX], ids=str)
@pytest.mark.parametrize("name", ["sum", "prod"])
def test_float_reductions_follow_the_tree(name, dtype):
    rng = np.random.default_rng(10)

    def multiply(a, b):
        if dtype.kind != "c":
            return a * b
        z = np.empty_like(a)
        z.real, z.imag = a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real
        return z

    join = np.add if name == "sum" else multiply
    with np.errstate(all="ignore"):
        for shape in [*SHAPES, (1, 70_000, 2), (1, 140_001, 1)]:
            x = (1 + rng.standard_normal(shape) / 8).astype(dtype)
            if dtype.kind == "c":
                x.imag = rng.standard_normal(shape) / 8
            if shape[1] < 3000:
                x = np.where(rng.random(shape) < 0.001, sample(rng, dtype, shape), x)
            expected = np.stack([tree(x[o], join) for o in range(shape[0])])
            for pieces in (None, 2, 9):
                assert same_bits(reduced(name, x, dtype, pieces), expected), (shape, pieces)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exact_reductions(dtype):
    rng = np.random.default_rng(11)
    for shape in [*SHAPES, *EMPTY, (2, 70_001, 2)]:
        x = sample(rng, dtype, shape)
        if dtype.kind == "f" and shape[1] > 100:
            x[:, :, 0] = rng.standard_normal(shape[:2]).astype(dtype)  # a column without NaN
        for name in ("min", "max", "any", "all", "argmin", "argmax", "sum", "prod"):
            if (shape[1] == 0 and name.lstrip("arg") in ("min", "max")) or (
                shape[1] and name in ("sum", "prod") and dtype.kind in "fc"
            ):
                continue
            with np.errstate(all="ignore"):
                expected = getattr(np, name)(x, axis=1)
            got = reduced(name, x, expected.dtype, pieces=5)
            # Of equal extremes (0.0 and -0.0) and of NaNs NumPy promises no particular one.
            assert np.array_equal(
                got, expected, equal_nan=dtype.kind in "fc" and name in ("min", "max")
            ), (name, shape)


def test_half_sums_accumulate_in_single_precision():
    rng = np.random.default_rng(12)
    x = rng.random((3, 5000, 4)).astype(np.float16)
    expected = np.stack([tree(x[o].astype(np.float32), np.add) for o in range(3)]).astype(
        np.float16
    )
    assert same_bits(reduced("sum", x, np.float16), expected)


@pytest.mark.parametrize("target", ["f8", "f4", "c8", "i4", "u1", "?"])
def test_sums_into_another_dtype(target):
    rng = np.random.default_rng(13)
    for source in DTYPES:
        x = rng.integers(0, 4, (2, 50, 3)).astype(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # complex to real
            expected = x.sum(axis=1, dtype=target)
        assert same_bits(reduced("sum", x, np.dtype(target)), expected), source


def test_columns_do_not_meet():
    x = np.random.default_rng(14).standard_normal((1, 3000, 600)).astype("f4")
    whole = reduced("sum", x, x.dtype)
    for column in (0, 17, 599):
        alone = reduced("sum", np.ascontiguousarray(x[:, :, column : column + 1]), x.dtype)
        assert same_bits(alone[:, 0], whole[:, column])


def test_reductions_that_do_not_exist():
    with pytest.raises(ValueError, match="empty axis"):
        _loops.reduce("max", "f4", "f4", 1, 0, 1)
    with pytest.raises(TypeError, match="gives int64"):
        _loops.reduce("argmax", "f4", "f4", 1, 4, 1)
    with pytest.raises(TypeError, match="keeps"):
        _loops.reduce("max", "f4", "f8", 1, 4, 1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["sum", "prod"])
def test_scans_have_numpys_bits(name, dtype):
    rng = np.random.default_rng(15)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for shape in [*SHAPES, *EMPTY, (1, 20, 5000)]:
            x = sample(rng, dtype, shape)
            cumulate = getattr(np, f"cum{name}")
            targets = {dtype, cumulate(x, axis=1).dtype, np.dtype("f8"), np.dtype("c8")}
            for target in targets if dtype.kind not in "fc" else [dtype]:
                out = np.empty(shape, target)
                _loops.scan(name, dtype, target, *shape).call(x, out, pieces=3)
                assert same_bits(out, cumulate(x, axis=1, dtype=target)), (shape, target)


# Indexing


ROWS = [(1000, 50, 1), (1000, 50, 7), (5, 3, 20_000), (0, 3, 4), (60_000, 1000, 2)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows(dtype):
    rng = np.random.default_rng(16)
    w = dtype.itemsize
    for m, n, row in ROWS:
        x, values = sample(rng, dtype, (n, row)), sample(rng, dtype, (m, row))
        index = rng.integers(0, n, m)
        out = np.empty((m, row), dtype)
        _loops.take_rows(row * w, n, m).call(x, index, out, pieces=3)
        assert same_bits(out, x[index])
        out, expected = x.copy(), x.copy()
        _loops.put_rows(row * w, n, m).call(index, values, out, pieces=5)
        for j in range(m) if m <= 1000 else ():
            expected[index[j]] = values[j]
        assert m > 1000 or same_bits(out, expected)
        out, expected = x.copy(), x.copy()
        with np.errstate(all="ignore"):
            _loops.add_rows(dtype, n, m, row).call(index, values, out, pieces=5)
            np.add.at(expected, index, values)
        assert same_bits(out, expected), (m, n, row)


def test_flat_index():
    rng = np.random.default_rng(17)
    dims, m = (3, 4, 5), 50_000
    index = [rng.integers(-d, d, m) for d in dims]
    out = np.empty(m, np.int64)
    kernel = _loops.flat_index(dims, m)
    kernel.call(*index, out, pieces=3)
    assert same_bits(
        out, np.ravel_multi_index([i % d for i, d in zip(index, dims, strict=True)], dims)
    )
    for axis, bad in ((0, 3), (1, -5), (2, 2**62), (2, -(2**63))):
        index[axis][40_000], good = bad, index[axis][40_000]
        with pytest.raises(IndexError, match=f"axis {axis} with size {dims[axis]}"):
            kernel.call(*index, out)
        index[axis][40_000] = good
    with pytest.raises(IndexError):
        _loops.flat_index((0,), 1).call(np.zeros(1, np.int64), out)
    with pytest.raises(IndexError):
        _loops.take_rows(8, 3, 1).call(np.zeros(3), np.array([3]), np.zeros(1))


def test_negative_integer_exponents():
    kernel = _loops.check_power(np.int16, 3)
    kernel.call(np.array([0, 1, 2], np.int16))
    with pytest.raises(ValueError, match="negative integer powers"):
        kernel.call(np.array([0, -1, 2], np.int16))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sorts(dtype):
    rng = np.random.default_rng(18)
    for shape in ((3, 0), (3, 1), (4, 2), (5, 17), (2, 1023), (2, 1024), (3, 5000)):
        x = sample(rng, dtype, shape)
        if dtype.kind in "fc":
            x[rng.random(shape) < 0.2] = 0.0
            x[rng.random(shape) < 0.2] = -0.0
        out, order = np.empty_like(x), np.empty(shape, np.int64)
        _loops.sort(dtype, *shape).call(x, out, pieces=2)
        _loops.argsort(dtype, *shape).call(x, order, pieces=2)
        assert same_bits(order, np.argsort(x, axis=1, kind="stable"))
        assert same_bits(out, np.sort(x, axis=1, kind="stable"))


# Random numbers


def draw(name, dtype, n, key=5, counter=7, pieces=None):
    dtype = np.dtype(dtype)
    kernel = _loops.elementwise(
        (n,),
        [(0, None, 8), (1, (0,), 8), (2, (0,), 8)],
        [(3, (dtype.itemsize,), dtype.itemsize)],
        [8, 8, 8, dtype.itemsize],
        [(_loops.own_loop(name, (np.int64, np.uint64, np.uint64, dtype)), (0, 1, 2), (3,))],
    )
    out = np.empty(n, dtype)
    kernel.call(np.array([key], np.uint64), np.array([counter], np.uint64), out, pieces=pieces)
    return out


def test_philox_known_answers():
    """The vectors for philox4x32-10 in Random123's kat_vectors."""
    ones = 2**64 - 1
    assert _loops.philox_words(0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert _loops.philox_words(ones, ones, ones) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    assert _loops.philox_words(0x85A308D3243F6A88, 0x0370734413198A2E, 0x299F31D0A4093822) == (
        0xD16CFE09,
        0x94FDCCEB,
        0x5001E420,
        0x24126EA1,
    )


def test_random_loops_are_made_of_philox_words():
    words = np.array([_loops.philox_words(block, 7, 5) for block in range(300)], np.uint32)
    wide = words.view(np.uint64)
    assert same_bits(draw("philox_bits", np.uint32, 1200), words.ravel())
    assert same_bits(draw("philox_bits", np.uint64, 600), wide.ravel())
    single, double = draw("philox_uniform", "f4", 1200), draw("philox_uniform", "f8", 600)
    assert same_bits(single, (words.ravel() >> 8).astype("f4") * np.float32(2**-24))
    assert same_bits(double, (wide.ravel() >> np.uint64(11)).astype("f8") * 2.0**-53)
    radius = np.sqrt(-2 * np.log(((wide[:, 0] >> np.uint64(12)) + 0.5) * 2.0**-52))
    angle = 2 * np.pi * ((wide[:, 1] >> np.uint64(11)) * 2.0**-53)
    normal = draw("philox_normal", "f8", 600).reshape(-1, 2)
    np.testing.assert_allclose(
        normal,
        np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1),
        rtol=1e-14,
        atol=3e-15,
    )
    radius = np.sqrt(-2 * np.log((words[:, ::2] + 0.5) * 2.0**-32))
    angle = 2 * np.pi * (words[:, 1::2] * 2.0**-32)
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 2).reshape(-1)
    np.testing.assert_allclose(draw("philox_normal", "f4", 1200), expected, rtol=1e-7, atol=1e-15)


@pytest.mark.parametrize("name", ["philox_uniform", "philox_normal"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_random_element_depends_on_its_index_only(name, dtype):
    whole = draw(name, dtype, 100_001)
    assert same_bits(draw(name, dtype, 100_001, pieces=7), whole)
    assert same_bits(draw(name, dtype, 777), whole[:777])
    assert not np.array_equal(draw(name, dtype, 777, counter=8), whole[:777])
    assert not np.array_equal(draw(name, dtype, 777, key=6), whole[:777])
    # Any order of indices, keys and counters of their own.
    index = np.random.default_rng(19).integers(0, 100_001, 500)
    keys, counters = np.full(500, 5, np.uint64), np.full(500, 7, np.uint64)
    loop = _loops.own_loop(name, (np.int64, np.uint64, np.uint64, dtype))
    assert same_bits(apply(loop, index, keys, counters), whole[index])


def test_random_moments():
    n = 1_000_000
    for dtype in FLOATS:
        u, z = (
            draw("philox_uniform", dtype, n).astype("f8"),
            draw("philox_normal", dtype, n).astype("f8"),
        )
        assert u.min() >= 0 and u.max() < 1
        # Five standard errors each.
        assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
        assert abs(z.mean()) < 5 / np.sqrt(n)
        assert abs(z.var() - 1) < 5 * np.sqrt(2 / n)
        assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / n)
        assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 5 / np.sqrt(n / 2)


# Instruction sets

DIGEST = """
import hashlib, sys
import numpy as np
sys.path.insert(0, "tests")
import test_loops as t
from lazyarray import _loops
rng, seen = np.random.default_rng(20), hashlib.sha256()
with np.errstate(all="ignore"):
    for dtype in t.DTYPES:
        x = t.sample(rng, dtype, (3, 1500, 5))
        for target in t.DTYPES:
            y = t.apply(_loops.own_loop("cast", (dtype, target)), x)
            seen.update((np.nan_to_num(y) if y.dtype.kind in "fc" else y).tobytes())
        for name in ("sum", "prod", "min", "max"):
            for shape in ((3, 1500, 5), (1, 22500, 1)):
                y = t.reduced(name, x.reshape(shape), dtype)
                seen.update((np.nan_to_num(y) if y.dtype.kind in "fc" else y).tobytes())
    for dtype in t.FLOATS:
        seen.update(t.draw("philox_normal", dtype, 5001).tobytes())
        seen.update(t.draw("philox_uniform", dtype, 5001).tobytes())
print(_loops.simd_level(), seen.hexdigest())
"""


def test_instruction_sets_give_the_same_bits():
    seen = {}
    for level in range(_loops.simd_level() + 1):
        environment = {
            **os.environ,
            "LAZYARRAY_SIMD": str(level),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        done = subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        used, digest = done.stdout.split()
        assert int(used) == level
        seen[level] = digest
    assert len(set(seen.values())) == 1, seen
