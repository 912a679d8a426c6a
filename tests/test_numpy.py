"""NumPy's functions, called with the same random arguments: the oracle is NumPy itself."""

import zlib

import numpy as np
import pytest
from calls import CALLS, UNLIKE
from differential import Difference, check, compare, lookup, settle
from draws import Draw, lazy, plain

import lazyarray as la


def try_calls(name, count):
    """Compare this many calls; what differs is shown with the arguments."""
    start = zlib.crc32(name.encode())
    for i in range(count):
        args, options = CALLS[name](Draw(start + i))
        try:
            check(name, args, options)
        except Difference as difference:
            args, options = CALLS[name](Draw(start + i))  # as they were before the call
            pytest.fail(f"{name} (example {i})\n{plain(args)!r}\n{plain(options)!r}\n{difference}")


@pytest.mark.parametrize("name", sorted(CALLS))
def test_as_numpy(name):
    try_calls(name, 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CALLS))
def test_as_numpy_at_length(name):
    try_calls(name, 200)


# ---- the fuzz itself


def test_every_public_function_has_a_row_or_a_reason():
    reasons = {name for names in UNLIKE.values() for name in names}
    assert not reasons & CALLS.keys()
    for space in ("", "linalg", "fft"):
        module = getattr(np, space) if space else np
        for name in module.__all__:
            thing = getattr(module, name)
            kept = isinstance(thing, type) and issubclass(thing, np.generic | Exception)
            if callable(thing) and not kept:
                full = f"{space}.{name}" if space else name
                assert full in CALLS or full in reasons, full


def test_enough_functions_are_covered():
    assert len({name for name in CALLS if not name.startswith(("ndarray.", "operator."))}) >= 450


def test_rows_are_reproducible():
    for seed in range(20):
        first, second = (CALLS["add"](Draw(seed)) for _ in range(2))
        assert repr(plain(first)) == repr(plain(second))


def test_names_are_looked_up():
    assert lookup(np, "linalg.inv") is np.linalg.inv
    assert lookup(la, "ndarray.tolist")(la.arange(2)) == [0, 1]
    assert lookup(la, "operator.add")(2, 3) == 5


VALUES = np.array([1.0, 2.0, 3.0], np.float32)
UNLIKE_VALUES = [
    la.array(VALUES + np.float32(1e-6)),  # the last places
    la.array(VALUES.astype(np.float64)),
    la.array(VALUES[None]),
    la.array(VALUES[:2]),
    VALUES.tolist(),
    None,
]


@pytest.mark.parametrize("ours", UNLIKE_VALUES, ids=str)
def test_a_difference_is_seen(ours):
    compare("negative", settle(VALUES), settle(la.array(VALUES)))
    with pytest.raises(Difference):
        compare("negative", settle(VALUES), settle(ours))


def test_scalars_and_arrays_are_told_apart():
    compare("sum", settle(np.float64(2)), settle(la.array([2.0]).sum()))
    with pytest.raises(Difference, match="scalar"):
        compare("sum", settle(np.float64(2)), settle(la.array(2.0)))


def test_another_result_is_seen(monkeypatch):
    pair = Draw(3).array("f", shape=(4,), low=1, high=2)
    check("negative", [pair], {})
    monkeypatch.setattr(la, "negative", lambda x: -x + 1)
    with pytest.raises(Difference):
        check("negative", [pair], {})


def test_errors_are_told_apart(monkeypatch):
    draw = Draw(5)
    pair = draw.array("f", shape=(4,))
    check("sum", [pair], {"axis": 3})
    monkeypatch.setattr(la, "sum", lambda x, axis: la.zeros(3).reshape(4))
    with pytest.raises(Difference, match="AxisError"):
        check("sum", [pair], {"axis": 3})


def test_what_is_written_is_seen(monkeypatch):
    pair = Draw(7).array("f", shape=(4,), low=1, high=2)
    monkeypatch.setattr(la, "copyto", lambda to, of: to.fill(9))
    with pytest.raises(Difference, match="afterwards"):
        check("copyto", [pair, 3.0], {})


def test_lazy_is_the_same_data():
    pair = Draw(11).array("f", shape=(3, 2))
    assert isinstance(lazy(pair), la.Array)
    assert lazy([pair, {"x": pair}])[1]["x"] is pair.ours
    np.testing.assert_array_equal(np.asarray(pair.ours), pair.theirs)
