"""Kernels with a quicker way to the same bits: long extremes, limits, a worker alone, copies."""

import numpy as np
import pytest
from loops import same_bits
from test_kernels import reduced, tree

import lazyarray as la
from lazyarray import _loops, _order

FLOATS = ("float32", "float64")


def extremes(x, join):
    return np.array([[tree(x, join)]], x.dtype)


def greater(a, b):
    return a if a >= b or a != a else b


def smaller(a, b):
    return a if a <= b or a != a else b


def known(join):
    return lambda a, b: a if b != b else b if a != a else join(a, b)


JOINS = {"max": greater, "min": smaller, "fmax": known(greater), "fmin": known(smaller)}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", JOINS)
@pytest.mark.parametrize("kind", ["numbers", "zeros", "NaN", "late NaN", "all NaN", "infinite"])
def test_extremes_of_long_lines(name, dtype, kind):
    """Zeros keep the sign that the tree gives them."""
    rng = np.random.default_rng(0)
    for n in (1025, 2051, 4100, 9000):
        x = rng.standard_normal(n).astype(dtype)
        if kind == "zeros":
            x = np.where(rng.random(n) < 0.5, 0.0, -0.0).astype(dtype)
        elif kind == "NaN":
            x[rng.integers(0, n, 9)] = np.nan
        elif kind == "late NaN":
            x[-1] = np.nan
        elif kind == "all NaN":
            x[:] = np.nan
        elif kind == "infinite":
            x[:] = -np.inf if "max" in name else np.inf
        found = reduced(name, x.reshape(1, n, 1), x.dtype)
        assert same_bits(found, extremes(x, JOINS[name])), n


LIMITS = ((-0.5, 0.5), (0.5, -0.5), (np.nan, 0.5), (-0.5, np.nan), (0.0, -0.0), (-0.0, 0.0))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int64", "uint8"])
def test_limits_have_the_bits_of_two_loops(dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(5000) * 100
    x[rng.integers(0, 5000, 50)] = np.inf
    x[rng.integers(0, 5000, 50)] = 0.0
    x[rng.integers(0, 5000, 50)] = -0.0
    with np.errstate(invalid="ignore"):
        x = x.astype(dtype)
    if x.dtype.kind == "f":
        x[rng.integers(0, 5000, 50)] = np.nan
    limits = LIMITS if x.dtype.kind == "f" else ((1, 9), (9, 1), (0, 0))
    for low, high in limits:
        for shape in ((), (5000,)):
            for other in ((), (5000,)):
                a, b = np.full(shape, low, dtype), np.full(other, high, dtype)
                found = la.minimum(la.maximum(la.array(x), la.array(a)), la.array(b))
                assert same_bits(np.asarray(found), np.minimum(np.maximum(x, a), b)), (low, high)


def test_limits_where_the_greater_is_wanted_too():
    x = np.linspace(-2, 2, 999)
    a = la.array(x)
    least = la.maximum(a, -1.0)
    most = la.minimum(least, 1.0)
    both = least + most
    la.wait_all([least, most, both])
    assert np.asarray(least).tolist() == np.maximum(x, -1).tolist()
    assert np.asarray(most).tolist() == np.clip(x, -1, 1).tolist()
    assert np.asarray(both).tolist() == (np.maximum(x, -1) + np.clip(x, -1, 1)).tolist()
    a[...] = la.clip(a, -0.5, 0.5)  # in place
    assert np.asarray(a).tolist() == np.clip(x, -0.5, 0.5).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint16"])
def test_a_worker_alone_sorts_the_same(dtype):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(100_000) * 50).astype("int64").astype(dtype)
    if x.dtype.kind == "f":
        x[::7] = -0.0
        x[5::11] = np.nan
        x[6::13] = -np.nan
    alone, together = np.empty_like(x), np.empty_like(x)
    _order.run_stages(_order.sort(dtype, 1, len(x), 1), x, alone)
    for workers in (2, 4, 16):
        _order.run_stages(_order.sort(dtype, 1, len(x), workers), x, together)
        assert alone.tobytes() == together.tobytes()
    assert alone.tobytes() == np.sort(x, kind="stable").tobytes()


def test_a_worker_alone_writes_rows_in_order():
    rng = np.random.default_rng(0)
    n, m = 300_000, 200_000
    index = rng.integers(0, n, m)
    index[::3] = index[0]
    values = rng.standard_normal(m)
    for make in (
        lambda *alone: _order.put_rows(8, n, m, *alone),
        lambda *alone: _order.add_rows(np.dtype("f8"), n, m, 1, *alone),
    ):
        out, other = np.zeros(n), np.zeros(n)
        kernel = make(True)
        assert kernel.grain >= kernel.extent
        kernel.call(index, values, out)
        _order.run_stages(make(), index, values, other)
        assert out.tobytes() == other.tobytes()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["bool", "int16", "float32", "float64", "complex128"])
def test_put_along_axis(axis, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (5, 6, 7)).astype(dtype)
    shape = list(x.shape)
    shape[axis] = 11
    index = rng.integers(-x.shape[axis], x.shape[axis], shape)
    values = rng.integers(0, 9, shape).astype(dtype)
    for value in (values, values[:1, :1, :1], values.ravel()[0], 2):
        want, a = x.copy(), la.array(x)
        np.put_along_axis(want, index, value, axis)
        given = la.array(value) if isinstance(value, np.ndarray) else value
        la.put_along_axis(a, la.array(index), given, axis)
        assert np.asarray(a).tolist() == want.tolist()
    a = la.array(x)
    with pytest.raises(IndexError):
        index[0, 0, 0] = x.shape[axis]
        la.put_along_axis(a, la.array(index), la.array(values), axis)
        a.wait()


@pytest.mark.parametrize("dtype", FLOATS)
def test_frexp(dtype):
    info = np.finfo(dtype)
    x = np.concatenate(
        [
            [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, info.max, info.tiny],
            [info.smallest_subnormal, -info.smallest_subnormal, info.tiny / 3, 3.0],
            np.random.default_rng(0).standard_normal(500),
        ]
    ).astype(dtype)
    for found, want in zip(la.frexp(la.array(x)), np.frexp(x), strict=True):
        assert found.dtype == want.dtype
        assert same_bits(np.asarray(found), want)


def test_gradient_of_frexp():
    x = la.array([3.0, -0.3, 1024.0, 0.5, 0.0])
    slope = la.grad(lambda x: la.frexp(x)[0].sum())(x)
    assert slope.tolist() == [0.25, 2.0, 1 / 2048, 1.0, 1.0]
    twice = la.grad(lambda x: (la.frexp(x)[0] ** 2).sum())(x[:2])
    assert twice.tolist() == [2 * 0.75 * 0.25, 2 * -0.6 * 2.0]


@pytest.mark.parametrize(
    "args, dtype",
    [
        ((0, 2**40, 2**38), "f2"), ((0, 1e10, 1e9), "f2"), ((1e300, 2e300, 1e300), "f4"),
        ((0, 300), "i1"), ((-3, 3), "u1"), ((200, 201), "i1"), ((0, 1000, 200), "i1"),
        ((300.0, 303.0), "i1"), ((300, 200), "i1"), ((0, 3), "?"), ((0, 2), "?"), ((5,), "?"),
        ((0, 2, 0.25), "f8"), ((120, 130), "i1"),
    ],
)  # fmt: skip
def test_arange_as_numpy(args, dtype):
    answers = []
    for xp in (np, la):
        with np.errstate(all="ignore"):
            try:
                answers.append(np.asarray(xp.arange(*args, dtype=dtype)))
            except (OverflowError, TypeError) as error:
                answers.append(next(c for c in type(error).__mro__ if c.__module__ == "builtins"))
    want, found = answers
    if isinstance(want, type):
        assert found is want
    else:
        assert found.dtype == want.dtype
        np.testing.assert_array_equal(found, want)


def test_arange_by_name():
    assert la.arange(stop=9, step=2).tolist() == [0, 2, 4, 6, 8]
    assert la.arange(1, 3, None).tolist() == [1, 2]
    with pytest.raises(TypeError, match="stop"):
        la.arange()


def test_copies_of_views():
    x = np.arange(2 * 3 * 40, dtype="f4").reshape(2, 3, 40)
    a = la.array(x)
    for view in (
        lambda v: v[..., ::-1],
        lambda v: v[:, ::2, ::3],
        lambda v: v.transpose(2, 0, 1),
        lambda v: v[::-1].T,
        lambda v: v[:, 1:2],
    ):
        copied = view(a).copy()
        la.wait_all([copied])
        assert np.asarray(copied).tolist() == view(x).tolist()
        both = +view(a), view(a) * 2  # beside another reader
        assert np.asarray(both[0]).tolist() == view(x).tolist()
        assert np.asarray(both[1]).tolist() == (view(x) * 2).tolist()
    assert np.array_equal(np.asarray(la.arange(5000)), np.arange(5000))


def test_loops_of_frexp_are_ours():
    assert _loops.find_loop("mantissa", ("f4", "f4")) is not None
    assert _loops.find_loop("exponent", ("f8", "i4")) is not None
    assert _loops.find_loop("exponent", ("f8", "i8")) is None
