"""Kernels on whole arrays against NumPy: reductions, scans, rows, sorts, random numbers."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from loops import COMPLEX, DTYPES, FLOATS, apply, same_bits, sample

from lazyarray import _loops, _order
from lazyarray.dtypes import kind_of

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
    (1, 260, 1100),
    (2, 1023, 260),
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
        if kind_of(dtype) == "f" and shape[1] > 100:
            x[:, :, 0] = rng.standard_normal(shape[:2]).astype(dtype)  # a column without NaN
        for name in ("min", "max", "any", "all", "argmin", "argmax", "sum", "prod"):
            if (shape[1] == 0 and name.lstrip("arg") in ("min", "max")) or (
                shape[1] and name in ("sum", "prod") and kind_of(dtype) in "fc"
            ):
                continue
            with np.errstate(all="ignore"):
                expected = getattr(np, name)(x, axis=1)
            got = reduced(name, x, expected.dtype, pieces=5)
            # Of equal extremes (0.0 and -0.0) and of NaNs NumPy promises no particular one.
            assert np.array_equal(
                got, expected, equal_nan=kind_of(dtype) in "fc" and name in ("min", "max")
            ), (name, shape)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "u4", "u8"])
def test_rows_give_the_place_of_the_first_extreme(dtype):
    rng = np.random.default_rng(16)
    for n in (31, 32, 33, 63, 64, 65, 999, 1000, 1024, 1025, 3000):
        x = rng.integers(0, 3, (40, n, 1)).astype(dtype)
        x[20:30, : n // 2] = 1  # the only extremes are in the second half
        if x.dtype.kind == "f":
            x[30:] = np.where(x[30:] == 1, -0.0, 0.0)
            for i in range(10):  # a NaN comes before all numbers, and the first of two
                x[i, [i * (n - 1) // 9, n - 1]] = np.nan
        for name in ("argmin", "argmax"):
            for pieces in (None, 7):
                got = reduced(name, x, np.dtype(np.int64), pieces)
                assert np.array_equal(got, getattr(np, name)(x, axis=1)), (name, n)


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
            for target in targets if kind_of(dtype) not in "fc" else [dtype]:
                out = np.empty(shape, target)
                _loops.scan(name, dtype, target, *shape).call(x, out, pieces=3)
                assert same_bits(out, cumulate(x, axis=1, dtype=target)), (shape, target)


def without_nan(y):
    """Numbers in place of NaN."""
    if kind_of(y.dtype) not in "fc":
        return y
    return np.nan_to_num(y.astype("f4") if y.dtype.kind == "V" else y)


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
        if kind_of(dtype) in "fc":
            x[rng.random(shape) < 0.2] = 0.0
            x[rng.random(shape) < 0.2] = -0.0
        out, order = np.empty_like(x), np.empty(shape, np.int64)
        (sort,), (argsort,) = _order.sort(dtype, *shape), _order.argsort(dtype, *shape)
        sort.call(x, out, pieces=2)
        argsort.call(x, order, pieces=2)
        # NumPy's sorts of bfloat16 know no NaN.
        wide = x.astype("f4") if dtype.kind == "V" else x
        assert same_bits(order, np.argsort(wide, axis=1, kind="stable"))
        assert same_bits(out, np.sort(wide, axis=1, kind="stable").astype(dtype))


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
import loops
import test_kernels as t
from lazyarray import _loops, _order
rng, seen = np.random.default_rng(20), hashlib.sha256()
with np.errstate(all="ignore"):
    for dtype in loops.DTYPES:
        x = loops.sample(rng, dtype, (3, 1500, 5))
        for target in loops.DTYPES:
            y = loops.apply(_loops.own_loop("cast", (dtype, target)), x)
            seen.update(t.without_nan(y).tobytes())
        for name in ("sum", "prod", "min", "max"):
            for shape in ((3, 1500, 5), (1, 22500, 1)):
                y = t.reduced(name, x.reshape(shape), dtype)
                seen.update(t.without_nan(y).tobytes())
    for dtype in loops.FLOATS:
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


def test_a_product_may_overflow_in_a_lane():
    x = np.full(4096, 1e30, np.float32)
    x[1:64:2] = 0
    assert np.prod(x[:2]) == 0
    ours = np.empty(1, np.float32)
    _loops.reduce("prod", x.dtype, x.dtype, 1, x.size, 1).call(x, ours)
    assert np.isnan(ours[0])
