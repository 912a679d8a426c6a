"""Elementwise ops where samples do not reach: mixed dtypes, weak numbers, zeros, ties, errors."""

import itertools
import warnings

import numpy as np
import pytest
from interpreter import evaluate

from lazyarray import _ir
from lazyarray.autodiff import gradients
from lazyarray.dtypes import SUPPORTED
from lazyarray.errors import DTypeError, ShapeError
from lazyarray.ops import activation, elementary, elementwise, reduction

BINARY = (
    "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "maximum", "less",
    "not_equal", "bitwise_and", "left_shift", "hypot", "logical_xor", "power", "float_power",
)  # fmt: skip
WEAK = (2, 3.0, 1.5j)


def given(*arrays):
    """Return (nodes, their values) for arrays."""
    nodes = [_ir.placeholder(a.shape, a.dtype) for a in arrays]
    return nodes, {n.serial: a for n, a in zip(nodes, arrays, strict=True)}


def run(function, *arrays):
    """Return what a function of nodes gives on arrays."""
    nodes, values = given(*arrays)
    return evaluate([function(*nodes)], values)[0]


def numpy_result(function, *inputs):
    """Return NumPy's result, or the exception class it raises."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*inputs)
        except (TypeError, ValueError, OverflowError) as error:
            return type(error)


@pytest.mark.parametrize("name", BINARY)
def test_mixed_dtypes(name):
    op, ufunc = _ir.registry[name], getattr(np, name)
    for left, right in itertools.product(SUPPORTED, SUPPORTED):
        a, b = np.array([1, 2, 3, 0]).astype(left), np.array([2, 1, 3, 1]).astype(right)
        wanted = numpy_result(ufunc, a, b)
        if isinstance(wanted, type):
            with pytest.raises(TypeError):
                run(op, a, b)
            continue
        got = run(op, a, b)
        assert got.dtype == wanted.dtype, (left, right)
        np.testing.assert_allclose(got, wanted, rtol=1e-2 if got.dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("number", WEAK)
def test_numbers_are_weak(name, number):
    op, ufunc = _ir.registry[name], getattr(np, name)
    # Beside bfloat16 a number of Python's is weak here alone: test_bfloat16.py.
    for dtype in SUPPORTED if type(number) is int else SUPPORTED[:-1]:
        a = np.array([1, 2, 3, 4]).astype(dtype)
        for swapped in (False, True):
            wanted = numpy_result(ufunc, *((number, a) if swapped else (a, number)))
            if isinstance(wanted, type):
                with pytest.raises((TypeError, ValueError)):
                    run(lambda x: op(number, x) if swapped else op(x, number), a)  # noqa: B023
                continue
            got = run(lambda x: op(number, x) if swapped else op(x, number), a)  # noqa: B023
            assert got.dtype == wanted.dtype, (dtype, swapped)
            np.testing.assert_allclose(got, wanted, rtol=1e-2 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("number", [-1, 300, 2**70, -(2**70)])
def test_integers_out_of_range_compare_as_they_are(number):
    a = np.array([0, 200], np.uint8)
    for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
        op, ufunc = _ir.registry[name], getattr(np, name)
        assert np.array_equal(run(lambda x: op(x, number), a), ufunc(a, number))  # noqa: B023
        assert np.array_equal(run(lambda x: op(number, x), a), ufunc(number, a))  # noqa: B023
    with pytest.raises(OverflowError):
        run(lambda x: elementwise.add(x, number), a)


def test_where_takes_weak_numbers():
    a = np.array([True, False])
    x = np.array([1, 2], np.float32)
    assert run(lambda c, x: elementwise.where(c, x, 0.5), a, x).dtype == np.float32
    assert run(lambda c: elementwise.where(c, 1, 2), a).dtype == np.int64
    assert run(lambda c: elementwise.where(c, 1.0, 2), a).dtype == np.float64


@pytest.mark.parametrize(
    ("start", "step", "count", "dtype"),
    [
        (0, 1, 5, "int64"), (3, -2, 6, "int32"), (0, 1, 4, "float32"), (0.1, 0.1, 100, "float64"),
        (0.1, 0.1, 100, "float32"), (-3.5, 0.37, 50, "float16"), (1e-20, 1.0, 7, "float64"),
        (-1.0, 1.0 + 2**-52, 9, "float64"), (5, 3, 200, "uint8"), (0, 1, 2, "bool"),
        (0.5, 0.25, 10, "complex64"), (1e16, 1.0, 10, "float64"), (2, 1, 0, "float64"),
    ],
)  # fmt: skip
def test_arange_rounds_as_numpy(start, step, count, dtype):
    dtype = np.dtype(dtype)
    wanted = np.arange(start, start + (count - 0.5) * step, step, dtype)[:count]
    if dtype.kind in "iub":
        with np.errstate(all="ignore"):
            wanted = (start + step * np.arange(count)).astype(dtype)
    if len(wanted) < count:
        pytest.skip("NumPy counts otherwise here")
    got = evaluate([elementwise.arange_node(start, step, count, dtype)], {})[0]
    assert got.dtype == dtype
    assert got.tobytes() == wanted.tobytes()


def test_negative_integer_powers():
    (x, p), values = given(np.array([2, 3]), np.array([1, -1]))
    with pytest.raises(ValueError, match="negative integer powers"):
        elementary.power(x, -1)
    with pytest.raises(ValueError, match="negative integer powers"):
        elementary.power(x, np.int8(-1))
    result = elementary.power(x, p)
    with pytest.raises(ValueError, match="negative integer powers"):
        evaluate([result], values)
    unsigned = _ir.cast(x, np.dtype(np.uint64))
    assert elementary.power(unsigned, p).dtype == np.float64
    assert elementary.power(x, -1.0).dtype == np.float64


def test_negative_powers_of_nothing_and_of_unsigned_integers():
    with pytest.raises(ValueError, match="negative integer powers"):
        elementary.power(2, -1)
    for dtype in ("uint8", "int8", "int64", "bool"):
        for exponent in (-1, -1000, np.array([-1])):
            for size in (0, 2):
                base = np.ones(size, dtype)
                wanted = numpy_result(np.power, base[:1], exponent)
                (x,), values = given(base[:1])
                p = exponent
                if not isinstance(p, int):
                    (p,), more = given(exponent)
                    values.update(more)
                if isinstance(wanted, type):
                    with pytest.raises(wanted):
                        evaluate([elementary.power(x, p)], values)
                else:
                    got = evaluate([elementary.power(x, p)], values)[0]
                    assert got.dtype == wanted.dtype
                    assert np.array_equal(got, wanted)


def test_errors():
    (a, b), _ = given(np.zeros((2, 3)), np.zeros((4,)))
    with pytest.raises(ShapeError, match=r"\(2, 3\), \(4,\)"):
        elementwise.add(a, b)
    with pytest.raises(DTypeError, match="bitwise_and"):
        elementwise.bitwise_and(a, 1)
    with pytest.raises(TypeError):
        elementwise.add(a, "x")
    with pytest.raises(DTypeError):
        elementwise.round(elementwise.equal(a, 0), 2)


def differentiate(function, *arrays):
    """Return the gradients of the sum of a function's result."""
    nodes, values = given(*arrays)
    for node in nodes:
        node.variable = object()
    recorder = _ir.current()
    recorder.recording = True
    try:
        loss = reduction.sum(function(*nodes))
        found = {n.serial: g for n, g in gradients([loss], None, nodes)}
    finally:
        recorder.recording = False
    return evaluate([found[n.serial] for n in nodes], values)


def test_gradient_of_powers_at_zero_and_below():
    x = np.array([0.0, -0.0, 2.0, -3.0])
    for exponent in (1, 2, 3, 2.0, 5):
        (got,) = differentiate(lambda x: elementary.power(x, exponent), x)  # noqa: B023
        np.testing.assert_allclose(got, exponent * x ** (exponent - 1))
        (got,) = differentiate(lambda x: x**exponent, x)  # noqa: B023
        np.testing.assert_allclose(got, exponent * x ** (exponent - 1))
    base = np.array([0.0, 0.0, 0.0, 2.0])
    p = np.array([0.0, 1.0, 2.0, 3.0])
    for power in (elementary.power, elementary.float_power):
        by_base, by_exponent = differentiate(power, base, p)
        np.testing.assert_allclose(by_base, [0.0, 1.0, 0.0, 12.0])
        np.testing.assert_allclose(by_exponent, [0.0, 0.0, 0.0, 8 * np.log(2.0)])


def test_ties_share_the_gradient():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    for op, wanted in ((elementwise.maximum, [0.5, 0, 1]), (elementwise.minimum, [0.5, 1, 0])):
        left, right = differentiate(op, x, y)
        np.testing.assert_array_equal(left, wanted)
        np.testing.assert_array_equal(right, 1 - np.array(wanted))
    (got,) = differentiate(reduction.max, np.array([[1.0, 3.0], [3.0, 3.0]]))
    np.testing.assert_allclose(got, np.array([[0, 1], [1, 1]]) / 3)


def test_fmax_passes_the_gradient_beside_nan():
    x, y = np.array([1.0, np.nan]), np.array([np.nan, 2.0])
    left, right = differentiate(elementwise.fmax, x, y)
    np.testing.assert_array_equal(left, [1, 0])
    np.testing.assert_array_equal(right, [0, 1])


def test_activations_at_their_corners():
    x = np.array([-np.inf, -800.0, -0.0, 0.0, 800.0, np.inf, np.nan])
    np.testing.assert_array_equal(run(activation.relu, x), [0, 0, 0, 0, 800, np.inf, np.nan])
    np.testing.assert_array_equal(differentiate(activation.relu, x)[0], [0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(
        run(activation.softplus, x), [0, 0, np.log(2), np.log(2), 800, np.inf, np.nan]
    )
    finite = x[1:5]
    np.testing.assert_allclose(differentiate(activation.softplus, finite)[0], [0, 0.5, 0.5, 1])
    np.testing.assert_array_equal(differentiate(activation.elu, finite)[0], [0, 1, 1, 1])
    np.testing.assert_allclose(differentiate(activation.sigmoid, finite)[0], [0, 0.25, 0.25, 0])


def test_float32_stays_float32():
    x = np.linspace(-2, 2, 7, dtype=np.float32)
    for function in (activation.gelu, activation.softplus, activation.silu, activation.elu):
        assert run(function, x).dtype == np.float32
        assert differentiate(function, x)[0].dtype == np.float32
