"""NumPy's functions, called with the same random arguments: the oracle is NumPy itself."""

import zlib

import numpy as np
import pytest
from calls import CALLS
from differential import Difference, check, lookup
from draws import Draw, lazy, plain

import lazyarray as la


def try_calls(name, count):
    """Compare this many calls; what differs is shown with the seed."""
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


def test_enough_functions_are_covered():
    assert len({name for name in CALLS if not name.startswith("ndarray.")}) >= 300


def test_rows_are_reproducible():
    for seed in range(20):
        first, second = (CALLS["add"](Draw(seed)) for _ in range(2))
        assert repr(plain(first)) == repr(plain(second))


def test_a_difference_is_seen():
    class Other:
        sum = staticmethod(lambda x: x.sum() + 1)

    args, _ = CALLS["sum"](Draw(3))
    assert lookup(np, "add.reduce") is np.add.reduce
    x = lazy(args)[0]
    assert isinstance(x, la.Array)
    with pytest.raises(Difference):
        from differential import compare, settle

        compare("sum", settle(np.sum(plain(args)[0])), settle(Other.sum(x)))
