"""Loops and the block driver against NumPy: values, bits, splitting, aliasing, errors."""

import threading
import warnings
from itertools import pairwise

import numpy as np
import pytest
from loops import (
    COMPLEX,
    DTYPES,
    FLOATS,
    INTEGERS,
    apply,
    one_step,
    operand,
    random_shape,
    same_bits,
    sample,
    strided_view,
)

from lazyarray import _loops

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
        got = apply(_loops.ufunc_loop(special.erf, (dtype, dtype)), values)
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
    kernel = one_step(_loops.ufunc_loop(np.exp, ("f4", "f4")), (x,), (out,))
    with np.errstate(all="ignore"):
        expected = np.exp(np.ascontiguousarray(x))
        kernel.call(x, out)
        assert same_bits(out, expected)
        out[...] = 0
        kernel.call_spans([(77, 61 * 4), (0, 1), (61 * 4, 61 * 203), (1, 77)], x, out)
        assert same_bits(out, expected)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 16, 17])
def test_rows_of_a_few_elements(width):
    """Copied row by row, whatever the piece begins with."""
    rng = np.random.default_rng(width)
    for dtype in (np.uint8, np.float16, np.float32, np.float64, np.complex128):
        whole = sample(rng, np.dtype(dtype), (6, 301, 2 * width))
        narrow = sample(rng, np.dtype(dtype), (6, 301, 1))
        views = whole[:, :, ::2], whole[:, ::-1, width - 1 :: -1], whole[1:, ::3, :width]
        for x in (*views, np.broadcast_to(narrow, (6, 301, width))):
            w = x.itemsize
            out = np.empty(x.shape, x.dtype)
            copy = _loops.elementwise(x.shape, [(0, x.strides, w)], [(0, out.strides, w)], [w], [])
            for pieces in (1, 3):
                out[...] = 0
                copy.call(x, out, pieces=pieces, seed=pieces)
                assert same_bits(out, np.ascontiguousarray(x))
            out[...] = 0
            cuts = [0, 1, width + 1, out.size // 3, out.size]
            copy.call_spans(list(pairwise(cuts)), x, out)
            assert same_bits(out, np.ascontiguousarray(x))


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
