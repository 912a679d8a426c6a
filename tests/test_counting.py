"""Sorting, searching, counting and masks against NumPy, on rows long enough to be divided."""

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _engine, _order
from lazyarray.array import LARGE_MASK
from lazyarray.dtypes import SUPPORTED

LONG = 140_003
SIZES = (0, 1, 17, LARGE_MASK, LONG)
KINDS = ("normal", "few", "wide", "sorted", "mostly one")
ORDERED = SUPPORTED[:-1]  # NumPy leaves NaNs of bfloat16 anywhere: test_bfloat16.py


def drawn(dtype, n, kind, seed=0):
    """Numbers with ties; for floats with zeros of both signs and NaNs of both."""
    rng, dtype = np.random.default_rng(seed), np.dtype(dtype)
    with np.errstate(all="ignore"):
        if kind == "few":
            x = rng.integers(0, 5, n).astype(dtype)
        elif kind == "wide" and dtype.kind in "fc":
            x = (rng.standard_normal(n) * 10.0 ** rng.integers(-300, 300, n)).astype(dtype)
        elif kind == "wide":
            x = rng.integers(0, 2 if dtype.kind == "b" else 256, n * dtype.itemsize, np.uint8)
            x = x.view(dtype)
        elif kind == "sorted":
            return np.sort(rng.standard_normal(n) * 100).astype(dtype)
        elif kind == "mostly one":
            x = np.where(rng.random(n) < 0.9, 7, rng.standard_normal(n) * 100).astype(dtype)
        else:
            x = (rng.standard_normal(n) * 100).astype(dtype)
    if dtype.kind in "fc":
        for value, share in ((0.0, 0.1), (-0.0, 0.1), (np.nan, 0.05), (-np.nan, 0.05)):
            x[rng.random(n) < share] = value
    if dtype.kind == "c":
        x.imag[rng.random(n) < 0.05] = np.nan
    return x


def same_bits(ours, wanted):
    ours = np.asarray(ours)
    assert ours.dtype == wanted.dtype
    assert ours.shape == wanted.shape
    return ours.tobytes() == np.ascontiguousarray(wanted).tobytes()


def equal(ours, wanted):
    ours = np.asarray(ours)
    assert ours.dtype == wanted.dtype
    assert ours.shape == wanted.shape
    return np.array_equal(ours, wanted, equal_nan=wanted.dtype.kind in "fc")


# ---- sorts


@pytest.mark.parametrize("dtype", ORDERED, ids=str)
def test_sorts_of_long_rows(dtype):
    for kind in KINDS:
        for n in SIZES:
            x = drawn(dtype, n, kind)
            assert same_bits(la.sort(la.array(x)), np.sort(x, kind="stable")), (kind, n)
            assert same_bits(la.argsort(la.array(x)), np.argsort(x, kind="stable")), (kind, n)


@pytest.mark.parametrize("shape", [(3, 70_000), (2, 65_536), (20, 5000)])
def test_sorts_of_several_rows(shape):
    for dtype in ("float64", "float32", "int16", "complex128"):
        x = drawn(dtype, shape[0] * shape[1], "normal").reshape(shape)
        for axis in (0, 1):
            found = la.sort(la.array(x), axis=axis), la.argsort(la.array(x), axis=axis)
            assert same_bits(found[0], np.sort(x, axis=axis, kind="stable"))
            assert same_bits(found[1], np.argsort(x, axis=axis, kind="stable"))


@pytest.mark.parametrize("pieces", [1, 2, 9])
def test_stages_in_any_order(pieces):
    for dtype in ("float64", "float32", "int64", "uint16", "complex64"):
        x = drawn(dtype, LONG, "normal")
        out, order = np.empty_like(x), np.empty(LONG, np.int64)
        stages = _order.sort(dtype, 1, LONG, pieces), _order.argsort(dtype, 1, LONG)
        assert [len(each) for each in stages] == [3 if dtype == "uint16" else 5, 5]
        _order.run_stages(stages[0], x, out, pieces=pieces, seed=pieces)
        _order.run_stages(stages[1], x, order, pieces=pieces, seed=pieces)
        assert same_bits(out, np.sort(x, kind="stable"))
        assert same_bits(order, np.argsort(x, kind="stable"))


def test_keys_that_differ_in_their_last_bits_only():
    # Wider than a word together with a place: what packs them has to look again.
    rng = np.random.default_rng(3)
    x = rng.integers(0, 50, LONG) + np.where(rng.random(LONG) < 0.5, -(2**62), 2**62)
    assert same_bits(la.argsort(la.array(x)), np.argsort(x, kind="stable"))


# ---- searching and counting


@pytest.mark.parametrize("dtype", ORDERED, ids=str)
def test_searchsorted(dtype):
    for kind in ("normal", "few", "wide"):
        for n in (0, 1, 2, 1000):
            row, x = np.sort(drawn(dtype, n, kind)), drawn(dtype, 300, kind, seed=1)
            for side in ("left", "right"):
                found = la.searchsorted(la.array(row), la.array(x), side)
                assert equal(found, np.searchsorted(row, x, side)), (kind, n, side)


def test_searchsorted_with_sorter_and_mixed_dtypes():
    x = drawn("float32", 500, "normal")
    order = np.argsort(x, kind="stable")
    found = la.searchsorted(la.array(x), [0, 1, 2], sorter=la.array(order))
    assert equal(found, np.searchsorted(x, [0, 1, 2], sorter=order))
    assert la.searchsorted(la.array([1, 2, 3]), 2.5) == 2
    with pytest.raises(ValueError, match="side"):
        la.searchsorted(la.array([1.0]), 1.0, side="middle")
    with pytest.raises(ValueError, match="one dimension"):
        la.searchsorted(la.ones((2, 2)), 1.0)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "int64", "uint8", "uint32"])
def test_bincount(dtype):
    for top in (1, 2, 100, 30_000):
        x = np.random.default_rng(top).integers(0, top, LONG).astype(dtype)
        x = np.abs(x) if x.dtype.kind == "i" else x
        x[x < 0] = 0
        weights = drawn("float64", LONG, "sorted")
        for least in (0, 5000):
            found = la.bincount(la.array(x), minlength=least)
            assert equal(found, np.bincount(x, minlength=least))
        for kind in ("float64", "float32", "int16", "bool"):
            found = la.bincount(la.array(x), la.array(weights.astype(kind)))
            wanted = np.bincount(x, weights.astype(kind))
            scale = np.bincount(x, np.abs(weights))
            assert found.dtype == wanted.dtype and found.shape == wanted.shape
            assert (np.abs(np.asarray(found) - wanted) <= 1e-12 * scale).all(), kind


def test_bins_beside_as_many_elements():
    rng = np.random.default_rng(4)
    x, weights = rng.integers(0, LONG, LONG), rng.standard_normal(LONG)
    found = la.bincount(la.array(x), la.array(weights))
    assert same_bits(found, np.bincount(x, weights))  # each bin has few: added one by one


def test_sums_in_bins_in_any_order():
    rng = np.random.default_rng(5)
    n = 1_100_000  # several parts
    x, weights = rng.integers(0, 40, n), rng.standard_normal(n).astype("f4")
    found = set()
    for pieces in (None, 2, 7):
        out = np.empty(40)
        _order.run_stages(_order.sum_bins(x.dtype, weights.dtype, n, 40), x, weights, out,
                          pieces=pieces, seed=pieces)  # fmt: skip
        assert np.allclose(out, np.bincount(x, weights))
        found.add(out.tobytes())
    assert len(found) == 1
    with pytest.raises(ValueError, match="outside of the bins"):
        _order.run_stages(_order.sum_bins("i8", "f4", n, 39), x, weights, np.empty(39))
    total = la.array(weights.astype("f8"))
    total.attach_grad()
    with la.autograd.record():
        la.sum(la.bincount(la.array(x), total) * la.arange(40.0)).backward()
    assert np.array_equal(total.grad, x)


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "float64", "complex128"])
def test_writes_dealt_to_ranges(dtype):
    rng = np.random.default_rng(8)
    m = 200_001
    n = 4_500_000 // np.dtype(dtype).itemsize
    index, values = rng.integers(0, n, m), rng.integers(-9, 9, m).astype(dtype)
    index[: m // 3] = index[m // 2]  # one row again and again
    put, add = _order.put_rows(np.dtype(dtype).itemsize, n, m), _order.add_rows(dtype, n, m, 1)
    assert len(put) == len(add) == 3
    for pieces in (None, 3):
        base = (np.arange(n) % 50).astype(dtype)
        wanted = base.copy()
        wanted[index] = values
        _order.run_stages(put, index, values, base, pieces=pieces, seed=1)
        assert base.tobytes() == wanted.tobytes()
        np.add.at(wanted, index, values)
        _order.run_stages(add, index, values, base, pieces=pieces, seed=1)
        assert base.tobytes() == wanted.tobytes()
    a = la.array(base)
    a[index] = values
    base[index] = values
    assert same_bits(a, base)
    with pytest.raises(IndexError, match="out of bounds"):
        _order.run_stages(put, np.full(m, n), values, base)


def test_sparse_masks():
    for share in (0.0, 1e-4, 0.03, 0.2):
        mask = np.random.default_rng(2).random(LONG) < share
        mask[-3] = True
        x = np.arange(LONG, dtype=float)
        assert same_bits(la.array(x)[la.array(mask)], x[mask])
        assert same_bits(la.flatnonzero(la.array(mask)), np.flatnonzero(mask))
        wide = np.arange(LONG * 3.0).reshape(LONG, 3)
        assert same_bits(la.array(wide)[la.array(mask)], wide[mask])
        y = la.array(x)
        y[la.array(mask)] = x[mask] + 0.5
        x[mask] += 0.5
        assert same_bits(y, x)


def test_bincount_refuses_what_numpy_refuses():
    for x in (np.full(LONG, -1), np.zeros(LONG), np.zeros((2, LONG), int)):
        with pytest.raises((ValueError, TypeError)) as wanted:
            np.bincount(x)
        with pytest.raises(wanted.type):
            la.bincount(la.array(x))


BINS = (
    (10, None), (7, (-3, 30)), (1, None), (2000, None), ([-50, -10, 0, 0.5, 20], None),
    (np.array([-5, 0, 3]), None), (5, (4, 4)),
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int16", "uint8"])
def test_histogram(dtype):
    x = drawn(dtype, LONG, "normal")
    x = np.nan_to_num(x) if x.dtype.kind == "f" else x
    for bins, span in BINS:
        try:
            wanted = np.histogram(x, bins, span)
        except ValueError as error:  # too many bins for float16
            with pytest.raises(ValueError, match=str(error)[:10]):
                la.histogram(la.array(x), bins, span)
            continue
        found = la.histogram(la.array(x), bins, span)
        assert equal(found[0], wanted[0])
        assert equal(found[1], wanted[1])
    found, wanted = la.histogram(la.array(x), 9, density=True), np.histogram(x, 9, density=True)
    assert np.allclose(found[0], wanted[0])


def test_histogram_of_nan():
    x = drawn("float64", LONG, "normal")
    with pytest.raises(ValueError, match="not finite"):
        la.histogram(la.array(x))
    found = la.histogram(la.array(x), [-1, 0, 1])
    assert equal(found[0], np.histogram(x, [-1, 0, 1])[0])
    with pytest.raises(ValueError, match="monotonically"):
        la.histogram(la.array(x), [1, 0])


@pytest.mark.parametrize("dtype", ORDERED, ids=str)
def test_unique(dtype):
    for kind in ("normal", "few", "wide"):
        x = drawn(dtype, LONG, kind)
        ours = la.array(x)
        assert equal(la.unique(ours), np.unique(x)), kind
        if x.dtype.kind != "c":  # NumPy's order of complex NaNs is another
            found, wanted = la.unique(ours, True, True, True), np.unique(x, True, True, True)
            assert all(equal(a, b) for a, b in zip(found, wanted, strict=True)), kind
            found = la.unique(ours, True, True, True, equal_nan=False)
            wanted = np.unique(x, True, True, True, equal_nan=False)
            assert all(equal(a, b) for a, b in zip(found, wanted, strict=True)), kind
    table = np.random.default_rng(0).integers(0, 99, (300, 400))
    found = la.unique(la.array(table), return_inverse=True)
    assert equal(found[1], np.unique(table, return_inverse=True)[1])


@pytest.mark.parametrize("dtype", ORDERED, ids=str)
def test_few_values_and_almost_few(dtype):
    # Counted, unless a table of them is too small.
    rng, dtype = np.random.default_rng(5), np.dtype(dtype)
    for distinct in (1, 2, 300, 3000):
        x = rng.integers(0, distinct, LONG).astype(dtype)
        many = np.where(rng.random(LONG) < 0.1, np.arange(LONG) % 60_000, 7).astype(dtype)
        for values in (x, many):
            ours = la.array(values)
            assert same_bits(la.sort(ours), np.sort(values, kind="stable"))
            found, wanted = la.unique(ours, True, True, True), np.unique(values, True, True, True)
            assert all(equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_values_that_collide():
    # Bits that differ where a hash by multiplication does not look first.
    rng = np.random.default_rng(6)
    x = (rng.integers(0, 60, LONG).astype(np.uint64) << np.uint64(58)) | np.uint64(1)
    assert same_bits(la.sort(la.array(x)), np.sort(x))
    x = np.ldexp(1.0, rng.integers(-1000, 1000, LONG))
    assert same_bits(la.sort(la.array(x)), np.sort(x))
    assert equal(la.unique(la.array(x)), np.unique(x))


@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_short_integers_are_counted(dtype):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(7)
    for n in (131_072, 600_001):
        for low, high in ((info.min, info.max), (5, 9), (info.max, info.max), (100, 30_000)):
            x = rng.integers(low, high, n, endpoint=True).astype(dtype)
            assert same_bits(la.sort(la.array(x)), np.sort(x)), (n, low)
    x = rng.integers(0, 9999, (2, 140_000)).astype(dtype)
    assert same_bits(la.sort(la.array(x)), np.sort(x))


# ---- masks


@pytest.mark.parametrize("dtype", SUPPORTED, ids=str)
def test_masks(dtype):
    for n in SIZES:
        x = drawn(dtype, n, "normal")
        for share in (0.0, 0.3, 1.0):
            mask = np.random.default_rng(n).random(n) < share
            values = drawn(dtype, int(mask.sum()), "normal", seed=2)
            ours, ours_mask = la.array(x), la.array(mask)
            assert same_bits(ours[ours_mask], x[mask])
            assert same_bits(ours[mask], x[mask])
            assert equal(la.nonzero(ours_mask)[0], np.nonzero(mask)[0])
            written, wanted = la.array(x), x.copy()
            written[ours_mask] = la.array(values)
            wanted[mask] = values
            assert same_bits(written, wanted)
        assert equal(la.flatnonzero(ours), np.flatnonzero(x))
        assert la.count_nonzero(ours) == np.count_nonzero(x)


def test_masks_of_leading_axes_and_strided_arrays():
    rng = np.random.default_rng(0)
    x, mask = rng.random((200, 300, 2)), rng.random((200, 300)) < 0.5
    ours, ours_mask = la.array(x), la.array(mask)
    rows = rng.random((int(mask.sum()), 2))
    assert same_bits(ours[ours_mask], x[mask])
    for value in (rows, rows[0], 2.5):
        written, wanted = la.array(x), x.copy()
        written[ours_mask] = value
        wanted[mask] = value
        assert same_bits(written, wanted)
    assert all(equal(a, b) for a, b in zip(la.nonzero(ours_mask), np.nonzero(mask), strict=True))
    assert equal(la.argwhere(ours_mask), np.argwhere(mask))
    part = mask[:, ::2]
    assert same_bits(ours[:, ::2][la.array(part)], x[:, ::2][part])
    written, wanted = la.array(x), x.copy()
    written[:, ::2][la.array(part)] = rows[: part.sum()]
    wanted[:, ::2][part] = rows[: part.sum()]
    assert same_bits(written, wanted)


def test_a_mask_of_the_wrong_number_of_values():
    x = la.zeros(LONG)
    with pytest.raises(ValueError, match="shape mismatch"):
        x[la.arange(LONG) % 2 == 0] = la.zeros(3)


def test_masks_are_differentiable():
    x = la.array(drawn("float64", LONG, "sorted"))
    mask = x > 0
    slope = la.grad(lambda x: (x[mask] * 3.0).sum())(x)
    assert equal(slope, np.where(np.asarray(mask), 3.0, 0.0))

    def written(x):
        y = x * 2.0
        y[mask] = x[mask] * 5.0
        return y.sum()

    assert equal(la.grad(written)(x), np.where(np.asarray(mask), 5.0, 2.0))


def test_take_along_inner_axes():
    x = np.random.default_rng(0).random((30, 40, 5))
    index = np.random.default_rng(1).integers(-5, 5, (7, 3))
    for axis in (1, 2):
        found = la.take(la.array(x), la.array(index), axis=axis)
        assert same_bits(found, np.take(x, index, axis=axis))
    assert same_bits(la.array(x)[:, index[0]], x[:, index[0]])
    with pytest.raises(IndexError, match="axis of size 40"):
        np.asarray(la.array(x)[:, la.array([0, 40])])
    with pytest.raises(IndexError, match="axis 2 with size 5"):
        np.asarray(la.take(la.array(x), la.array([-6]), axis=2))


@pytest.mark.parametrize("many", [False, True])
def test_writes_by_index(many):
    rng = np.random.default_rng(5)
    n = 400_000 if many else 1000
    x, index, values = rng.random(n), rng.integers(0, n, 50_000), rng.random(50_000)
    written, wanted = la.array(x), x.copy()
    written[la.array(index)] = la.array(values)
    for start in range(0, 50_000, 100):  # NumPy says of equal indices that the last stays
        wanted[index[start : start + 100]] = values[start : start + 100]
    keep = dict(zip(index.tolist(), values.tolist(), strict=True))
    wanted[list(keep)] = list(keep.values())
    assert same_bits(written, wanted)


# ---- law 2


def results():
    """Bytes of everything that is divided over workers."""
    x, i = la.array(drawn("float64", LONG, "normal")), la.array(drawn("uint8", LONG, "wide"))
    f, w = la.array(drawn("float32", LONG, "few")), la.array(drawn("float64", LONG, "sorted"))
    index = la.array(np.random.default_rng(9).integers(0, LONG, LONG))
    written = x.copy()
    written[index] = w
    found = [
        la.sort(x), la.argsort(x), la.sort(f), la.argsort(f), la.sort(i), la.argsort(i),
        *la.unique(f, True, True, True), la.bincount(i), la.bincount(i, w), x[w > 0], written,
        la.histogram(w, 50)[0], la.searchsorted(w, x), la.cumsum(w), *la.nonzero(w > 0),
    ]  # fmt: skip
    return [np.asarray(each).tobytes() for each in found]


def test_bits_depend_on_no_worker():
    before = _engine.engine_kind(), _engine.workers()
    found = []
    try:
        for kind, workers in (("threaded", 1), ("threaded", 2), ("threaded", 8), ("naive", 1)):
            la.set_engine(kind)
            la.set_workers(workers)
            found.append(results())
    finally:
        la.set_engine(before[0])
        la.set_workers(before[1])
    assert all(each == found[0] for each in found)
