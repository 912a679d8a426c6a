"""NumPy's names that are no functions of arrays: types, iterators, stride tricks, testing."""
# ruff: noqa: E501 (tables)

import operator

import numpy as np
import pytest

import lazyarray as la

MISSING = {"char", "core", "ctypeslib", "f2py", "ma", "polynomial", "rec", "strings", "test"}


def test_every_name_of_numpy_is_there():
    names = {n for n in np.__all__ if not n.startswith("_")}
    assert {n for n in names if not hasattr(la, n)} <= MISSING


@pytest.mark.parametrize("name", [
    "bool", "int_", "intp", "uint", "single", "double", "half", "csingle", "longlong", "ubyte", "floating", "integer",
    "generic", "number", "inexact", "float32", "uint8", "errstate", "seterr", "geterr", "iinfo", "dtype",
    "exceptions", "promote_types", "True_", "e", "pi", "inf", "euler_gamma", "newaxis", "typecodes", "sctypeDict",
])  # fmt: skip
def test_types_and_constants_are_numpys(name):
    assert getattr(la, name) is getattr(np, name) or getattr(la, name) == getattr(np, name)


def test_types_take_arrays():
    x = la.arange(3, dtype="int16")
    flushes = la.stats()["flushes"]
    y = x + 1
    assert la.result_type(y, 1.0) == np.result_type(np.int16, 1.0)
    assert la.result_type(y, la.float32(1), y[0]) == np.float32
    assert la.can_cast(y, "int8", "same_kind")
    assert not la.can_cast(y, la.int8)
    assert la.finfo(y.astype("f4")).bits == 32
    assert la.issubdtype(y.dtype, la.integer)
    assert la.isdtype(y.dtype, "integral")
    assert la.stats()["flushes"] == flushes


# ---- iteration


def test_ndindex_and_ndenumerate():
    for xp in (np, la):
        assert list(xp.ndindex(2, 2)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
        x = xp.arange(6).reshape(2, 3).T
        assert [(i, int(v)) for i, v in xp.ndenumerate(x)][1:3] == [((0, 1), 3), ((1, 0), 1)]
        assert [(i, int(v)) for i, v in xp.ndenumerate(xp.array(5))] == [((), 5)]
        assert list(xp.ndenumerate(xp.ones((0, 2)))) == []


def test_broadcast():
    for xp in (np, la):
        b = xp.broadcast(xp.array([[1], [2]]), xp.arange(3))
        assert (b.shape, b.nd, b.ndim, b.size, b.numiter, b.index) == ((2, 3), 2, 2, 6, 2, 0)
        assert [tuple(map(int, pair)) for pair in b] == [
            (1, 0),
            (1, 1),
            (1, 2),
            (2, 0),
            (2, 1),
            (2, 2),
        ]
        assert b.index == 6
        b.reset()
        assert tuple(map(int, next(b))) == (1, 0)
        assert len(b.iters) == 2
        with pytest.raises(ValueError):
            xp.broadcast(xp.ones(2), xp.ones(3))


def test_nditer_reads():
    for xp in (np, la):
        x = xp.arange(6).reshape(2, 3)
        assert [int(v) for v in xp.nditer(x.T)] == [0, 1, 2, 3, 4, 5]
        assert [int(v) for v in xp.nditer(x.T, order="C")] == [0, 3, 1, 4, 2, 5]
        it = xp.nditer(x, flags=["multi_index"])
        assert [it.multi_index for _ in it][-1] == (1, 2)
        it = xp.nditer([x, xp.arange(3)], flags=["external_loop"], order="C")
        assert [tuple(map(len, pair)) for pair in it] == [(3, 3), (3, 3)]
        it = xp.nditer(x, flags=["c_index"])
        it.iterindex = 4
        assert (int(it[0]), it.index, len(it), it.finished) == (4, 4, 1, False)
        assert it.iternext()
        assert int(it.value) == 5
        assert [int(v) for v in it.copy()] == [5]
        with pytest.raises(ValueError):
            xp.nditer(x, flags=["nope"])
        with pytest.raises((ValueError, RuntimeError)), xp.nditer(x) as it:
            it[0] = 1


def test_nditer_writes_to_the_array():
    results = []
    for xp in (np, la):
        x = xp.arange(6.0).reshape(2, 3)
        view = x[:, ::2]
        later = x * 10
        with xp.nditer(view, op_flags=["readwrite"]) as it:
            for v in it:
                v[...] = v + 100
        x += 1
        with xp.nditer([x, None], [], [["readonly"], ["writeonly", "allocate"]]) as it:
            for a, b in it:
                b[...] = a * 2
            made = it.operands[1]
            assert it.operands[0] is x
        made[0] = 0
        with xp.nditer(x, ["buffered"], ["readwrite"], op_dtypes=["f4"], casting="same_kind") as it:
            for v in it:
                v[...] = v / 2
        results.append([np.asarray(each) for each in (x, view, later, made)])
        assert isinstance(made, xp.ndarray)
    for ours, theirs in zip(results[1], results[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_iterator_may_work_on_a_copy():
    for xp in (np, la):
        a = xp.arange(6, dtype="i4")[::-2]
        flags = [["writeonly", "updateifcopy"]]
        with xp.nditer(a, [], flags, casting="unsafe", op_dtypes=["f4"]) as it:
            x = it.operands[0]
            x[:] = [-1, -2, -3]
            assert a.tolist() == [5, 3, 1]
        assert a.tolist() == [-1, -2, -3]
        assert x.dtype == "f4"


def test_nested_iters_write_to_the_array():
    for xp in (np, la):
        x = xp.arange(6).reshape(2, 3)
        outer, inner = xp.nested_iters(x, [[1], [0]], op_flags=["readwrite"])
        seen = []
        for _ in outer:
            for v in inner:
                seen.append(int(v))
                v[...] = -v
        assert seen == [0, 3, 1, 4, 2, 5]
        del outer, inner
        assert x.tolist() == [[0, -1, -2], [-3, -4, -5]]


# ---- stride tricks


@pytest.mark.parametrize("text", [
    "t.as_strided(x, (2, 2), (16, 8))", "t.as_strided(x, (3, 4), (16, 8))", "t.as_strided(x, strides=(24,))" , "t.as_strided(x[1], (2,), (-16,))",
    "t.as_strided(x[2:], (3, 2), (8, 8), writeable=False)", "t.as_strided(x.T, (2, 3), (32, 8))", "t.as_strided(x[0], (0, 5), (8, 8))",
    "t.as_strided(x[3], (4, 3), (-16, 0))", "t.sliding_window_view(x, (2, 2))", "t.sliding_window_view(x, 3, axis=1)", "t.sliding_window_view(x[0], 2)",
    "t.sliding_window_view(x, (2, 2), (0, 1))", "t.sliding_window_view(x, 9, axis=0)", "xp.broadcast_to(x[0], (2, 4))", "xp.lib.stride_tricks.as_strided(x)",
])  # fmt: skip
def test_views_by_strides(text):
    found = []
    for xp in (np, la):
        x = xp.arange(16.0).reshape(4, 4)
        try:
            found.append((x, eval(text, {"t": xp.lib.stride_tricks, "x": x, "xp": xp})))
        except Exception as error:
            found.append((None, error))
    (n, theirs), (x, ours) = found
    if n is None:
        assert isinstance(ours, ValueError)
        return
    np.testing.assert_array_equal(np.array(ours), theirs)
    assert ours.shape == theirs.shape
    x[1:3] *= -1
    n[1:3] *= -1
    np.testing.assert_array_equal(np.array(ours), theirs)
    if ours.flags.writeable:
        ours[...] = 5
        theirs[...] = 5
        np.testing.assert_array_equal(np.array(x), n)


def test_windows_by_numpys_name_are_views():
    x = la.arange(6)
    view = np.lib.stride_tricks.sliding_window_view(x, 3)
    assert isinstance(view, la.Array)
    assert not view.flags.writeable
    x[0] = 9
    assert int(view[0, 0]) == 9


def test_strides_stay_inside_the_memory():
    x = la.arange(6)
    view = la.lib.stride_tricks.as_strided(x, (3,), (16,))
    view += 10
    assert x.tolist() == [10, 1, 12, 3, 14, 5]
    for shape, strides in (
        ((7,), (8,)),
        ((3,), (-8,)),
        ((2, 6), (8, 8)),
        ((3,), (4,)),
        ((3,), (8, 8)),
        ((-1,), (8,)),
    ):
        with pytest.raises(ValueError):
            la.lib.stride_tricks.as_strided(x, shape, strides)
    overlapping = la.lib.stride_tricks.as_strided(x, (5, 2), (8, 8))
    with pytest.raises(ValueError, match="read-only"):
        overlapping[0] = 1


# ---- complex results


@pytest.mark.parametrize("name", ["sqrt", "log", "log2", "log10", "arccos", "arcsin", "arctanh"])
@pytest.mark.parametrize("values", [[0.5, 0.25], [-1.0, 4.0], [2.0, -2.0], [3, 2]])
def test_emath(name, values):
    for dtype in (None, "float32"):
        with np.errstate(all="ignore"):
            theirs = getattr(np.emath, name)(np.array(values, dtype))
        ours = getattr(la.emath, name)(la.array(values, dtype))
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-5)


def test_emath_of_two():
    for ours, theirs in (
        (la.emath.logn(2, la.array([4.0, -8])), np.emath.logn(2, [4.0, -8])),
        (la.emath.power(la.array([-4.0, 2]), 0.5), np.emath.power([-4.0, 2], 0.5)),
        (la.emath.power(la.array([2, 4]), -1), np.emath.power([2, 4], -1)),
    ):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-12)
    assert la.lib.scimath is la.emath


# ---- testing


def test_assertions_take_arrays():
    x = la.arange(3.0)
    t = la.testing
    assert sorted(np.testing.__all__) == t.__all__
    t.assert_allclose(x + 1e-12, [0, 1, 2], atol=1e-9)
    t.assert_array_equal(x, np.arange(3.0))
    t.assert_array_almost_equal(x, x + 1e-9)
    t.assert_array_less(x, x + 1)
    t.assert_equal({"a": x, "b": [x]}, {"a": np.arange(3.0), "b": [np.arange(3.0)]})
    t.assert_array_max_ulp(x, x)
    for check in (t.assert_allclose, t.assert_array_equal, t.assert_equal, t.assert_almost_equal):
        with pytest.raises(AssertionError, match="Mismatched"):
            check(x, x + 1)
    with t.assert_raises(ZeroDivisionError):
        operator.truediv(1, 0)
    t.assert_raises(ValueError, la.zeros, -1)
