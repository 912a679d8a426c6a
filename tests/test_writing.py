"""Small writes land at once where nobody else looks; what is seen is as if they were recorded."""

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _ir


def records():
    return _ir.counters()["records"]


def resting(x):
    """An array whose value is in memory of its own."""
    return la.array(x).copy().wait()


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8"])
@pytest.mark.parametrize("key", [3, -1, slice(1, 5), slice(None, None, -2), slice(4, 1, -1)])
def test_numbers_at_once(dtype, key):
    x = np.arange(8).astype(dtype)
    a = resting(x)
    before = records()
    for number in (7, -2, 1 << 20):
        a[key] = x[key] = number
    if dtype != "i8":
        for number in (0.1, -0.0, float("inf")):
            a[key] = x[key] = number
    assert records() == before
    np.testing.assert_array_equal(a, x)
    np.testing.assert_array_equal(np.signbit(a), np.signbit(x))


def test_views_of_two_axes_at_once():
    x = np.zeros((4, 5))
    a = resting(x)
    before = records()
    for target in (a, x):
        target[1] = 1.0
        target[:, 2] = 2.0
        target[::2, ::-2] = 3.0
        target.T[4, 1] = 4.0
        target[1:3][:, 1:3][1] = 5.0
    assert records() == before
    np.testing.assert_array_equal(a, x)


def test_arrays_at_once():
    x, y = np.zeros((4, 5)), np.arange(20.0).reshape(4, 5)
    a, b = resting(x), resting(y)
    expected = np.zeros((4, 5))
    expected[1] = y[2]
    expected[:, 3] = y[::-1, 0]
    expected[2:, 1:3] = y[:2, 3:]
    a[1], a[:, 3] = b[2], b[::-1, 0]
    before = records()
    a[2:, 1:3] = b[:2, 3:]
    assert records() == before
    np.testing.assert_array_equal(a, expected)
    np.testing.assert_array_equal(b, y)


def test_arrays_of_one_storage_that_overlap():
    for _ in range(3):
        x = np.arange(8.0)
        a = resting(x)
        for target in (a, x):
            target[2:6] = target[1:5]
            target[1:4] = target[::-1][1:4]
        np.testing.assert_array_equal(a, x)


def test_what_has_been_read_stays():
    """Values that were taken before a write do not see it; views do."""
    a = resting(np.zeros(4))
    view, doubled, copied = a[1:3], a * 2, a.copy()
    a[1] = 5.0
    a[2:4] = 6.0
    np.testing.assert_array_equal(doubled, [0, 0, 0, 0])
    np.testing.assert_array_equal(copied, [0, 0, 0, 0])
    np.testing.assert_array_equal(view, [5, 6])
    np.testing.assert_array_equal(a, [0, 5, 6, 6])
    element = a[1]
    a[1] = 7.0
    assert float(element) == 5.0
    assert float(a[1]) == 7.0


def test_writes_to_what_is_pending():
    """After some of them they are computed, whatever stands between."""
    x = np.zeros(12)
    a = la.zeros(12)
    for i in range(12):
        a[i] = x[i] = i * 0.5
        if i == 7:
            a += 1
            x += 1
    np.testing.assert_array_equal(a, x)
    a = la.arange(12.0) * 2
    before = records()
    for i in range(12):
        a[i] = i * 1.0
    assert records() - before < 12
    np.testing.assert_array_equal(a, np.arange(12.0))


def test_writes_to_what_is_being_computed():
    big = la.ones((400, 400))
    for _ in range(3):
        product = big @ big
        la.eval(product)
        for i in range(20):
            product[0, i] = float(i)
        expected = np.full((400, 400), 400.0)
        expected[0, :20] = range(20)
        np.testing.assert_array_equal(product, expected)


def test_exported_memory_is_seen_on_both_sides():
    a = resting(np.zeros(4))
    outside = np.asarray(a)
    a[1] = 2.0
    assert outside[1] == 2.0
    outside[2] = 3.0
    a[2:] = a[1:3]
    np.testing.assert_array_equal(a, [0, 2, 2, 3])
    memory = np.zeros(4)
    shared = la.asarray(memory, copy=False)
    shared[3] = 1.0
    assert memory[3] == 1.0


def test_gradients_see_writes():
    a = resting(np.arange(3.0))
    a.attach_grad()
    with la.autograd.record():
        b = a * 1.0
        b[1] = 5.0
        loss = (b * b).sum()
    loss.backward()
    np.testing.assert_array_equal(a.grad, [0, 0, 4])
    a[0] = 3.0
    with la.autograd.record():
        loss = (a * a).sum()
    loss.backward()
    np.testing.assert_array_equal(a.grad, [6, 2, 4])


def test_traced_calls_write():
    @la.jit
    def put(a):
        b = a * 2.0
        b[1] = 9.0
        a[0] = 1.0
        return b

    for i in range(4):
        a = resting(np.full(3, float(i)))
        np.testing.assert_array_equal(put(a), [2.0 * i, 9, 2.0 * i])
        np.testing.assert_array_equal(a, [1, i, i])


@pytest.mark.parametrize(
    ("value", "error"), [("x", TypeError), (1j, TypeError), (1 << 70, OverflowError)]
)
def test_what_is_no_number_of_the_dtype(value, error):
    a = resting(np.zeros(3, "i8"))
    for _ in range(2):
        with pytest.raises(error):
            a[1] = value
    locked = resting(np.zeros(3))
    locked.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        locked[1] = 1.0
    with pytest.raises(IndexError):
        a[3] = 1


def test_part_of_a_number_written_on_the_engine():
    """The rest of the number, which is no buffer, is copied beside what is written."""
    for _ in range(2):
        a = la.array(-1.25 + 2j)[None]
        part = a.imag
        part[...] = part[::-1] * 2 + 1
        la.eval(a)
        np.testing.assert_array_equal(a, [-1.25 + 5j])


def test_failed_array_stays_failed():
    a = la.arange(3.0)[la.asarray([7])]
    with pytest.raises(IndexError):
        a.wait()
    b = la.concatenate([a, la.zeros(3)])
    with pytest.raises(IndexError):
        b.wait()
    b[0] = 1.0
    with pytest.raises(IndexError):
        b.wait()


# ---- failures of what runs on the thread that waits


def test_failure_beside_what_succeeds():
    for _ in range(3):
        a = la.arange(5.0).wait()
        good, bad = la.array([1, 2]).wait(), la.array([1, 9]).wait()
        first, wrong = a[good] + 1, a[bad]
        after, last = wrong * 2, a[good] * 3
        with pytest.raises(IndexError, match=r"test_writing.py:\d+"):
            la.wait_all(first, wrong, after, last)
        np.testing.assert_array_equal(first, [2, 3])
        np.testing.assert_array_equal(last, [3, 6])
        for each in (wrong, after):
            for _ in range(2):
                with pytest.raises(IndexError, match="out of bounds"):
                    each.wait()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: la.array([2, 3]) ** la.array([1, -1]), ValueError),
        (lambda: la.linalg.inv(la.zeros((2, 2))), np.linalg.LinAlgError),
        (lambda: la.take(la.arange(3), la.array([3])), IndexError),
    ],
)
def test_failures_are_told_once_by_a_wait_for_all(call, error):
    found = call()
    with pytest.raises(error):
        found.wait()
    la.wait_all()
    with pytest.raises(error):
        (found + 1).wait()
