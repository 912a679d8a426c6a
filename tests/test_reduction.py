"""Reductions where samples do not reach: axes, empty arrays, zeros, extremes, warnings."""

import itertools
import warnings

import numpy as np
import pytest
from interpreter import evaluate

import lazyarray as la
from lazyarray import _ir
from lazyarray.autodiff import gradients
from lazyarray.errors import AxisError, OptionError, ShapeError
from lazyarray.ops import joining, linalg, reduction, shaping, sorting, statistics


def run(function, *arrays):
    """Return what a function of nodes gives on arrays."""
    nodes = [_ir.placeholder(a.shape, a.dtype) for a in arrays]
    values = {n.serial: a for n, a in zip(nodes, arrays, strict=True)}
    return evaluate([function(*nodes)], values)[0]


def node(*shape, dtype=np.float64):
    """Return a leaf."""
    return _ir.placeholder(shape, np.dtype(dtype))


@pytest.mark.parametrize(
    "function", [reduction.sum, reduction.max, reduction.argmax, reduction.cumsum, sorting.sort]
)
def test_axis_out_of_bounds(function):
    with pytest.raises(AxisError):
        function(node(2, 3), axis=2)
    with pytest.raises(np.exceptions.AxisError):
        function(node(2, 3), axis=-3)


def test_axis_named_twice():
    with pytest.raises(ValueError, match="twice"):
        reduction.sum(node(2, 3), axis=(0, -2))


def test_nothing_to_search():
    for function in (reduction.min, reduction.max, reduction.argmin, reduction.argmax):
        with pytest.raises(ShapeError):
            function(node(0, 3), axis=0)
        with pytest.raises(ShapeError):  # as in NumPy, although the result is empty
            function(node(0, 0), axis=1)
        assert function(node(0, 3), axis=1).shape == (0,)


def test_axes_apart_are_reduced_in_steps():
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float16)
    for axis in ((0, 2), (0, 3), (1, 3), (0, 2, 3), (-1, 0)):
        got = run(lambda a: reduction.sum(a, axis), x)  # noqa: B023
        np.testing.assert_allclose(got, x.astype(float).sum(axis), rtol=2e-3, atol=1e-2)
        assert got.dtype == np.float16
        got = run(lambda a: reduction.max(a, axis, keepdims=True), x)  # noqa: B023
        np.testing.assert_array_equal(got, x.max(axis, keepdims=True))


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_gradient_of_products_with_zeros(zeros):
    x = np.array([2.0, 3.0, 5.0, 7.0])
    x[[1, 3][:zeros]] = 0
    wanted = [np.prod(np.delete(x, i)) for i in range(4)]
    leaf = node(4)
    leaf.variable = object()
    recorder = _ir.current()
    recorder.recording = True
    try:
        ((_, gradient),) = gradients([reduction.prod(leaf)], None, [leaf])
    finally:
        recorder.recording = False
    np.testing.assert_allclose(evaluate([gradient], {leaf.serial: x})[0], wanted)


def test_normalised_exponentials_do_not_overflow():
    x = np.array([[1e4, 0, -1e4], [-1e5, -1e5, -1e5]])
    np.testing.assert_allclose(run(statistics.softmax, x), [[1, 0, 0], [1 / 3] * 3])
    np.testing.assert_allclose(run(statistics.log_softmax, x)[0], [0, -1e4, -2e4])
    np.testing.assert_allclose(
        run(lambda a: statistics.logsumexp(a, 1), x), [1e4, -1e5 + np.log(3)]
    )
    infinite = np.array([-np.inf, -np.inf])
    assert run(statistics.logsumexp, infinite) == -np.inf
    assert run(statistics.logsumexp, np.array([np.inf, 1.0])) == np.inf
    assert run(statistics.logsumexp, np.zeros(0)) == -np.inf


def test_warnings_of_empty_means():
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        statistics.mean(node(0, 2), axis=0)
    with pytest.warns(RuntimeWarning, match="Degrees of freedom"):
        statistics.var(node(1, 2), axis=0, ddof=1)


def test_sort_options():
    with pytest.raises(OptionError):
        sorting.sort(node(3), kind="bogus")
    with pytest.raises(OptionError):
        sorting.topk(node(3), 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reduction.sum(node(2, 3), axis=1.5), "sum: axis must be an integer, got float"),
        (
            lambda: reduction.argmax(node(2, 3), axis="x"),
            "argmax: axis must be an integer, got str",
        ),
        (lambda: reduction.max(node(2, 3), axis=(0, None)), "max: axis .* got NoneType"),
        (lambda: sorting.sort(node(2, 3), axis=node()), r"sort: axis .* an array of shape \(\)"),
        (lambda: shaping.reshape(node(2, 3), (2, 3.0)), "reshape: shape .* got float"),
        (lambda: joining.tile(node(2), 2.5), "tile: reps must be an integer, got float"),
        (lambda: joining.repeat(node(2), 2.5), "repeat: repeats must be an integer, got float"),
        (lambda: linalg.tensordot(node(2), node(2), 1.0), "tensordot: axes must be an integer"),
        (lambda: la.random.fast.uniform(size=2.5), "random: size must be an integer, got float"),
        (lambda: la.zeros((2, 1.5)), "shape must be an int"),
    ],
)
def test_what_is_no_integer_is_a_type_error(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_integers_of_other_kinds_are_axes():
    for axis in (np.int8(1), np.array(1), _ir.scalar(1, np.int64), True):
        assert reduction.sum(node(2, 3), axis=axis).shape == (2,)
    assert la.sum(la.ones((2, 3)), axis=la.array(1)).shape == (2,)


# ---- kernels


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [70, 1000, 2048, 5000, 70_000])
def test_extremes_beside_nan_and_zeros(n, dtype):
    rng = np.random.default_rng(n)
    x = rng.random((3, n)).astype(dtype)
    x[0, rng.random(n) < 0.01] = np.nan
    x[1, 1] = -np.inf
    x[2] = np.where(rng.random(n) < 0.5, 0.0, -0.0)
    a = la.array(x)
    for name in ("min", "max", "argmin", "argmax"):
        mine, theirs = getattr(la, name), getattr(np, name)
        np.testing.assert_array_equal(mine(a, axis=1).numpy(), theirs(x, axis=1))
        for row, data in zip(a, x, strict=True):
            np.testing.assert_array_equal(mine(row).numpy(), theirs(data))
            # Read by a kernel that computes what it reduces: the same tree, the same zeros.
            assert mine(la.negative(-row)).numpy().tobytes() == mine(row).numpy().tobytes()


@pytest.mark.parametrize("dtype", ["?", "i1", "i4", "f2", "f4", "f8", "c8"])
@pytest.mark.parametrize("n", [1, 60, 1000, 200_000])
def test_truth_that_is_decided_anywhere(n, dtype):
    for place in {0, n // 2, n - 1}:
        x = np.zeros((2, n), dtype)
        x[0, place] = x[1] = 1
        x[1, place] = 0
        a = la.array(x)
        for name in ("any", "all"):
            mine, theirs = getattr(la, name), getattr(np, name)
            assert mine(a).numpy() == theirs(x)
            np.testing.assert_array_equal(mine(a, axis=1).numpy(), theirs(x, axis=1))
            np.testing.assert_array_equal(mine(a[1]).numpy(), theirs(x[1]))


# ---- calls like one before


def test_called_alike():
    x, y = np.array([[3.0, 1, 2], [6, 5, 4]]), np.array([[0.0, 7, 1], [2, 9, 8]])
    a, b = la.array(x), la.array(y)
    of_any = [
        lambda xp, m: xp.sum(m),
        lambda xp, m: m.max(),
        lambda xp, m: m.max(0),
        lambda xp, m: m.mean(),
        lambda xp, m: m.std(),
        lambda xp, m: xp.argmin(m),
        lambda xp, m: xp.cumsum(m),
        lambda xp, m: xp.sort(m),
        lambda xp, m: xp.sort(m, None),
        lambda xp, m: xp.median(m),
        lambda xp, m: xp.concatenate([m, m]),
    ]
    of_matrices = [
        lambda xp, m: xp.sum(m, 1),
        lambda xp, m: xp.sum(m, 1, None, None, True),
        lambda xp, m: xp.sum(m, (0, 1)),
        lambda xp, m: xp.argmin(m, 1),
        lambda xp, m: xp.sort(m, 0),
        lambda xp, m: xp.median(m, 1),
        lambda xp, m: xp.concatenate([m, m + 1], 1),
    ]
    rows = ((a[0], x[0]), (b[1], y[1]))
    for call in (*of_any, *of_matrices):
        for mine, theirs in ((a, x), (b, y), *(rows if call in of_any else ())):
            np.testing.assert_allclose(call(la, mine).numpy(), call(np, theirs), rtol=1e-15)
    np.testing.assert_array_equal(la.concatenate([a, b]).numpy(), np.concatenate([x, y]))
    np.testing.assert_array_equal(la.concatenate([b, b]).numpy(), np.concatenate([y, y]))
    np.testing.assert_array_equal(la.concatenate([b, a]).numpy(), np.concatenate([y, x]))


def test_calls_alike_warn_each_time():
    a = la.array([1.0, 2.0])
    for _ in range(3):
        with pytest.warns(RuntimeWarning, match="Degrees of freedom"), np.errstate(all="ignore"):
            la.var(a, None, None, None, 2).wait()
        with pytest.warns(RuntimeWarning, match="Mean of empty"), np.errstate(all="ignore"):
            la.array(np.zeros(0)).mean().wait()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "i4", "u1", "?"])
@pytest.mark.parametrize("shape", [(1, 1), (70, 40), (33, 1100), (2100, 33), (5000, 3)])
def test_nan_left_out_of_extremes(dtype, shape):
    """Lanes without a number, infinities among NaN, and the first of two zeros of unlike sign."""
    rng = np.random.default_rng(5)
    x = rng.integers(-3, 4, shape).astype("f8") * rng.choice([1.0, -1.0], shape)
    if dtype[0] in "fc":
        x[rng.random(shape) < 0.3] = np.nan
        x[0, :] = x[-1, :] = np.nan
        x[shape[0] // 2, rng.random(shape[1]) < 0.5] = np.inf
        x[:, shape[1] // 2] = np.nan
        x[-1, -1] = -np.inf
    x = np.abs(x).astype(dtype) if dtype in ("u1", "?") else x.astype(dtype)
    a = la.array(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("nanmin", "nanmax"):
            for axis in (None, 0, 1):
                want = getattr(np, name)(x, axis)
                got = getattr(la, name)(a, axis)
                np.testing.assert_array_equal(np.asarray(got), want)
                # In one kernel with what they are computed of.
                np.testing.assert_array_equal(np.asarray(getattr(la, name)(a + 0, axis)), want)


def test_extremes_without_numbers():
    x = la.array(np.zeros((0, 3)))
    for name in ("nanmin", "nanmax"):
        with pytest.raises(ValueError, match=f"reduction operation f{name[3:]} which has no"):
            getattr(la, name)(x)
        assert getattr(la, name)(x, 1).shape == (0,)


@pytest.mark.parametrize("red", [33, 64, 95, 1024, 1500, 3000])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_one_nan_anywhere_in_a_line(red, dtype):
    """Extremes of numbers are joined apart from the search for NaN."""
    x = np.random.default_rng(2).standard_normal(red).astype(dtype)
    for place in {0, 1, 31, 32, min(63, red - 1), red // 2, red - 1}:
        y = x.copy()
        y[place] = np.nan
        a = la.array(y)
        for name in ("min", "max", "argmin", "argmax"):
            np.testing.assert_array_equal(np.asarray(getattr(la, name)(a)), getattr(np, name)(y))


@pytest.mark.parametrize(
    "name", ["sum", "max", "mean", "var", "nansum", "nanmean", "nanmax", "any"]
)
@pytest.mark.parametrize("keepdims", [False, True])
def test_results_are_laid_out_as_numpys(name, keepdims):
    base = np.random.default_rng(3).standard_normal((2, 3, 4, 5))
    for order in itertools.permutations(range(4)):
        x, a = base.transpose(order), la.array(base).transpose(order)
        for axis in (0, 1, 2, 3, -1, (0, 2), (1, 3), (1, 2), (0, 1, 3), None):
            want = getattr(np, name)(x, axis=axis, keepdims=keepdims)
            got = getattr(la, name)(a, axis=axis, keepdims=keepdims)
            steps = [s for s, n in zip(got.strides, got.shape, strict=True) if n > 1]
            assert steps == [s for s, n in zip(want.strides, want.shape, strict=True) if n > 1]
            np.testing.assert_allclose(np.asarray(got), want, rtol=1e-12, atol=1e-14)


def test_layout_does_not_change_bits():
    x = np.random.default_rng(4).standard_normal((40, 50, 60)).astype("f4")
    for order in itertools.permutations(range(3)):
        turned = np.ascontiguousarray(x.transpose(order))
        a = la.array(turned).transpose(np.argsort(order).tolist())
        for axis in (0, 1, 2, (0, 1), (0, 2), (1, 2)):
            same = la.sum(la.array(x), axis), la.sum(a, axis)
            assert np.array_equal(np.asarray(same[0]), np.asarray(same[1]))
