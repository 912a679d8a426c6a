"""What functions of NumPy's front end return at the edges: themselves, views, arrays or scalars."""

import numpy as np
import pytest

import lazyarray as la

MODES = ("linear_ramp", "maximum", "mean", "median", "minimum")


def same(ours, theirs):
    """The same dtype, shape, values and kind."""
    theirs_is_array = isinstance(theirs, np.ndarray)
    assert isinstance(ours, la.Array)
    assert ours.is_scalar != theirs_is_array
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_array_equal(np.asarray(ours), theirs)


# ---- pad


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["int16", "float32", "complex128"])
def test_pad_by_what_is_computed(mode, dtype):
    x = np.arange(12).reshape(3, 4).astype(dtype)
    same(la.pad(la.array(x), ((1, 2), (0, 3)), mode), np.pad(x, ((1, 2), (0, 3)), mode))


def test_pad_takes_each_modes_options():
    x = np.arange(4.0)
    for mode, options in (
        ("maximum", {"stat_length": 2}),
        ("linear_ramp", {"end_values": (5, -4)}),
        ("reflect", {"reflect_type": "odd"}),
        ("symmetric", {"reflect_type": "even"}),
        ("constant", {"constant_values": (1, 2)}),
    ):
        same(la.pad(la.array(x), 2, mode, **options), np.pad(x, 2, mode, **options))
    with pytest.raises(ValueError, match="no parameters"):
        la.pad(la.array(x), 2, "edge", stat_length=2)


def test_pad_is_lazy_and_sees_later_writes_not():
    x = la.arange(4.0)
    padded = la.pad(x, 1, "maximum")
    x[3] = 99
    assert padded.tolist() == [3, 0, 1, 2, 3, 3]


def test_pad_by_a_function():
    def fill(vector, width, axis, options):
        vector[: width[0]] = vector[-width[1] :] = options.get("padder", 10)

    x = np.arange(6).reshape(2, 3)
    same(la.pad(la.array(x), 2, fill, padder=100), np.pad(x, 2, fill, padder=100))


def test_pad_of_some_axes():
    x = np.arange(6).reshape(2, 3)
    for width in ({-1: (1, 2)}, {0: 1}, la.array([1, 2])):
        theirs = np.pad(x, np.asarray(width) if isinstance(width, la.Array) else width)
        same(la.pad(la.array(x), width), theirs)


def test_pad_with_widths_that_do_not_fit():
    with pytest.raises(ValueError, match="do not fit an array of 2 axes"):
        la.pad(la.ones((2, 3)), ((1, 1), (1, 1), (1, 1)))
    with pytest.raises(ValueError, match="empty axis 0"):
        la.pad(la.ones((0, 3)), 1, "mean")


# ---- themselves


def test_functions_that_return_their_argument():
    x, m, z = la.arange(3.0), la.eye(2), la.array(1.0)
    assert la.diff(x, 0) is x
    assert la.real_if_close(x) is x
    assert la.linalg.matrix_power(m, 1) is m
    assert la.trim_zeros(z) is z
    assert x.conj() is x
    assert x.conjugate() is x


def test_conjugate_writes_to_its_output():
    out = la.zeros(2)
    assert la.array([1.0, 2.0]).conj(out) is out
    assert out.tolist() == [1, 2]
    same(la.array([1 + 2j]).conj(), np.array([1 - 2j]))
    same(la.array([True]).conj(), np.array([True]))


def test_real_if_close():
    for x in (np.array([1 + 1e-15j, 2]), np.array([1 + 1e-3j]), np.array([1], np.complex64)):
        same(la.real_if_close(la.array(x)), np.real_if_close(x))
        same(la.real_if_close(la.array(x), 1e10), np.real_if_close(x, 1e10))
    x = la.array([1 + 0j])
    la.real_if_close(x)[0] = 5
    assert x.tolist() == [5 + 0j]


def test_trim_zeros_gives_views():
    x = np.array([0, 0, 1, 0, 2, 0])
    a = la.array(x)
    for trim in ("fb", "f", "b", "FB"):
        same(la.trim_zeros(a, trim), np.trim_zeros(x, trim))
    la.trim_zeros(a)[0] = 7
    assert a.tolist() == [0, 0, 7, 0, 2, 0]
    m = np.zeros((4, 5))
    m[1:3, 2] = 1
    same(la.trim_zeros(la.array(m)), np.trim_zeros(m))
    same(la.trim_zeros(la.array(m), axis=0), np.trim_zeros(m, axis=0))
    same(la.trim_zeros(la.zeros(3)), np.trim_zeros(np.zeros(3)))
    assert la.trim_zeros([0, 1, 0]) == np.trim_zeros([0, 1, 0])
    with pytest.raises(ValueError, match="unexpected character"):
        la.trim_zeros(a, "x")


# ---- views


def test_einsum_that_sums_nothing_is_a_view():
    a = la.zeros((3, 3))
    la.einsum("ii->i", a)[:] = 1
    assert a.tolist() == np.eye(3).tolist()
    b = la.arange(24).reshape(2, 3, 4)
    for text in ("ijk->kij", "kji", "ijk"):
        found = la.einsum(text, b)
        assert la.shares_memory(found, b)
        same(found, np.einsum(text, np.asarray(b)))
    same(la.einsum("iij->ji", la.arange(12).reshape(2, 2, 3)),
         np.einsum("iij->ji", np.arange(12).reshape(2, 2, 3)))  # fmt: skip
    assert not la.shares_memory(la.einsum("ij->i", a), a)


def test_split_at_an_array():
    x = np.arange(48.0).reshape(2, 6, 4)
    for name in ("hsplit", "vsplit", "dsplit", "split", "array_split"):
        at = np.array([1, 3])
        theirs = getattr(np, name)(x, at)
        for cuts in (at, la.array(at)):
            for mine, part in zip(getattr(la, name)(la.array(x), cuts), theirs, strict=True):
                same(mine, part)


def test_an_array_is_the_sequence_of_its_rows():
    x = np.arange(6.0).reshape(2, 3)
    for name in ("concatenate", "stack", "vstack", "hstack", "column_stack"):
        same(getattr(la, name)(la.array(x)), getattr(np, name)(x))
    same(la.concatenate(la.array(x[None]), 1), np.concatenate(x[None], 1))


# ---- arrays and scalars without axes


def test_results_without_axes():
    x, a = np.array(0.5), la.array(0.5)
    same(la.roll(a, 1), np.roll(x, 1))
    same(la.pad(a, 1), np.pad(x, 1))
    same(la.i0(a), np.i0(x))
    same(la.isin(a, [1]), np.isin(x, [1]))
    same(la.median(a), np.median(x))
    same(la.median(a, keepdims=True), np.median(x, keepdims=True))
    same(la.quantile(a, 0.5, keepdims=True), np.quantile(x, 0.5, keepdims=True))
    same(la.cov(la.array([1.0, 2.0])), np.cov([1.0, 2.0]))
    same(la.unstack(la.arange(3))[1], np.unstack(np.arange(3))[1])
    at = la.array(1)
    same(la.arange(3)[at], np.arange(3)[np.array(1)])
    same(la.arange(3)[at, ...], np.arange(3)[np.array(1), ...])
    assert la.real(1 + 2j) == 1.0
    assert type(la.imag(1 + 2j)) is float


# ---- average


def test_average_over_several_axes():
    x = np.arange(8.0).reshape(2, 2, 2)
    w = np.array([[0.25, 0.75], [1.0, 0.5]])
    for axis in ((0, 1), (1, 0), (-1, 0)):
        for keepdims in (False, True):
            theirs = np.average(x, axis, w, keepdims=keepdims)
            ours = la.average(la.array(x), axis, w, keepdims=keepdims)
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(np.asarray(ours), theirs)


def test_average_with_its_weights():
    x = np.arange(6.0).reshape(2, 3)
    for options in ({}, {"axis": 1}, {"axis": 1, "weights": [1.0, 2.0, 3.0]}, {"weights": x}):
        theirs = np.average(x, returned=True, **options)
        ours = la.average(la.array(x), returned=True, **options)
        for mine, part in zip(ours, theirs, strict=True):
            assert (mine.shape, mine.dtype) == (part.shape, part.dtype)
            np.testing.assert_allclose(np.asarray(mine), part)


@pytest.mark.filterwarnings("ignore:.*encountered in divide", "ignore:Mean of empty")
def test_lazy_weights_that_sum_to_zero_give_no_number():
    w = la.array([1.0, -1.0])
    assert la.average(la.array([1.0, 2.0]), weights=w).item() == -np.inf
    assert np.isnan(la.average(la.array([1.0, 1.0]), weights=w * 1).item())
    with pytest.raises(ZeroDivisionError):
        la.average(la.array([1.0, 2.0]), weights=[1.0, -1.0])
    with pytest.raises(ZeroDivisionError):
        la.average(la.ones((0, 2)), weights=la.ones((0, 2)))
    with pytest.raises(ZeroDivisionError):
        la.average(la.ones((4, 0)), axis=0)


def test_average_with_weights_that_do_not_fit():
    with pytest.raises(TypeError, match="axis must be specified"):
        la.average(la.ones((2, 3)), weights=[1, 2, 3])
    with pytest.raises(ValueError, match=r"weights have shape \(2,\), the array \(2, 3\)"):
        la.average(la.ones((2, 3)), 1, weights=[1, 2])


# ---- what depends on more with NumPy


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_nanquantile_has_one_dtype(dtype):
    row = np.array([[np.nan, np.nan], [1, 2]], dtype)
    # NumPy's is that of the elements here, and of q where the first row has a number.
    assert np.nanquantile(row, [0.5, 1.0], axis=1).dtype == dtype
    wanted = np.nanquantile(row[::-1], [0.5, 1.0], axis=1)
    ours = la.nanquantile(la.array(row), [0.5, 1.0], axis=1)
    same(ours, wanted[:, ::-1])


def test_last_places_do_not_depend_on_the_layout():
    rng = np.random.default_rng(5)
    for kind in ("float32", "complex64"):
        x = rng.uniform(-0.9, 0.9, 101).astype(kind)
        x = x + 1j * x[::-1] if kind == "complex64" else x
        a = la.array(x)
        names = ("square", "absolute") if kind == "complex64" else ("arcsin", "arctan", "arctanh")
        for name in names:
            function = getattr(la, name)
            for view in (np.s_[::-1], np.s_[::2], np.s_[1:-1]):
                np.testing.assert_array_equal(function(a[view]), function(a)[view])


def test_values_of_a_set_are_sorted():
    x = la.array([3, 1, 2, 3])
    assert la.unique_values(x).tolist() == [1, 2, 3]


def test_input_is_not_overwritten():
    a = la.array([3.0, 1.0, 2.0])
    assert la.median(a, overwrite_input=True).item() == 2
    assert la.quantile(a, 0.5, overwrite_input=True).item() == 2
    assert a.tolist() == [3, 1, 2]


# ---- numbers


def test_full_of_complex_numbers_warns_where_it_loses_them():
    with pytest.warns(np.exceptions.ComplexWarning, match="imaginary"):
        same(la.full(2, 1 + 2j, dtype=float), np.full(2, 1.0))
    assert la.full(2, 1j, dtype=bool).tolist() == [True, True]


def test_at_takes_numbers_as_arrays():
    x = la.zeros(2, la.uint64)
    with pytest.raises(TypeError):
        la.bitwise_or.at(x, [0], 2)
    for dtype in ("float32", "int8", "float16"):
        theirs, ours = np.ones(3, dtype), la.ones(3, dtype)
        for module, a in ((np, theirs), (la, ours)):
            module.add.at(a, [0, 0, 2], 2)
            module.multiply.at(a, [1, 2], 3)
        same(ours, theirs)
    theirs, ours = np.ones(1, np.float32), la.ones(1, la.float32)
    for module, a in ((np, theirs), (la, ours)):
        module.add.at(a, [0] * 9, 0.1)
    same(ours, theirs)


def test_nan_to_num_with_arrays():
    x = np.array([[1, np.nan, np.inf], [np.nan, 2, -np.inf]])
    for nan in ([1.0, 2.0, 3.0], np.arange(3.0), 7.0):
        same(la.nan_to_num(la.array(x), nan=nan), np.nan_to_num(x, nan=nan))
    z = np.array([complex(np.inf, np.nan), np.nan, complex(np.nan, np.inf)])
    nan, posinf = np.array([11, 12, 13]), np.array([21, 22, 23])
    same(la.nan_to_num(la.array(z), nan=nan, posinf=posinf),
         np.nan_to_num(z, nan=nan, posinf=posinf))  # fmt: skip
    with pytest.raises(ValueError, match="do not fit"):
        la.nan_to_num(la.ones(2), nan=la.ones((3, 2)))


@pytest.mark.parametrize("keepdims", [1, True, 0, False, np._NoValue])
@pytest.mark.parametrize("name", ["sum", "max", "any", "mean", "std", "nansum", "nanmin", "nanvar"])
def test_keepdims_is_any_truth_value(name, keepdims):
    x = np.arange(6.0).reshape(2, 3)
    wanted = getattr(np, name)(x, axis=0, keepdims=keepdims)
    assert getattr(la, name)(la.array(x), axis=0, keepdims=keepdims).shape == wanted.shape
