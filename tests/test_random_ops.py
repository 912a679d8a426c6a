"""Keyed random numbers: the generator against a plain one, distributions, bounds, structure."""

import numpy as np
import pytest
from interpreter import evaluate
from scipy import stats

from lazyarray import _ir
from lazyarray.errors import DTypeError, OptionError
from lazyarray.ops import random

MASK = 0xFFFFFFFF
COUNT = 20_000


def value(node):
    """Return the value of a node without leaves."""
    return evaluate([node], {})[0]


def philox(block: int, counter: int, key: int) -> list[int]:
    """Return the four words of a block: Salmon et al. 2011, ten rounds, one step at a time."""
    words = [block & MASK, block >> 32, counter & MASK, counter >> 32]
    low, high = key & MASK, key >> 32
    for _ in range(10):
        p, q = words[0] * 0xD2511F53, words[2] * 0xCD9E8D57
        words = [(q >> 32) ^ words[1] ^ low, q & MASK, (p >> 32) ^ words[3] ^ high, p & MASK]
        low, high = (low + 0x9E3779B9) & MASK, (high + 0xBB67AE85) & MASK
    return words


@pytest.mark.parametrize(
    ("block", "counter", "key", "wanted"),
    [
        (0, 0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (2**64 - 1, 2**64 - 1, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            0x85A308D3243F6A88, 0x0370734413198A2E, 0x299F31D0A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)  # fmt: skip
def test_the_plain_generator_gives_the_published_numbers(block, counter, key, wanted):
    assert [f"{w:08x}" for w in philox(block, counter, key)] == wanted.split()


@pytest.mark.parametrize(("key", "counter"), [(0, 0), (7, 1), (2**64 - 3, 2**40 + 5)])
def test_bits(key, counter):
    words = [w for block in range(5) for w in philox(block, counter, key)]
    got = value(random.bits(key, counter, (4, 5), np.uint32))
    assert got.ravel().tolist() == words
    got = value(random.bits(key, counter, (10,)))
    assert got.tolist() == [a | b << 32 for a, b in zip(words[::2], words[1::2], strict=True)]


def test_uniform_and_normal_numbers():
    for dtype in (np.float32, np.float64):
        u = value(random.uniform(3, 4, (COUNT,), dtype))
        assert u.dtype == dtype
        assert u.min() >= 0
        assert u.max() < 1
        assert stats.kstest(u, "uniform").pvalue > 1e-3
        z = value(random.normal(3, 5, (COUNT,), dtype))
        assert z.dtype == dtype
        assert stats.kstest(z, "norm").pvalue > 1e-3
        assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 0.04
    e = value(random.exponential(3, 6, (COUNT,), scale=2.0))
    assert stats.kstest(e / 2, "expon").pvalue > 1e-3


def test_counters_and_keys_give_other_numbers():
    draws = [value(random.uniform(k, c, (COUNT,))) for k, c in ((1, 0), (1, 1), (2, 0))]
    for i in range(3):
        assert abs(np.corrcoef(draws[i], draws[i - 1])[0, 1]) < 0.04


def test_element_i_depends_on_i_alone():
    long, short = (value(random.normal(9, 2, shape)) for shape in ((7, 11), (30,)))
    np.testing.assert_array_equal(long.ravel()[:30], short)


def test_scaling():
    u = value(random.uniform(1, 2, (100,), np.float32, -2, 6))
    assert u.dtype == np.float32
    assert -2 <= u.min() < 0 < 4 < u.max() <= 6
    low = _ir.placeholder((2, 1), np.dtype(np.float64))
    spread = random.uniform(1, 2, (2, 50), np.float64, low, 10.0)
    got = evaluate([spread], {low.serial: np.array([[0.0], [9.0]])})[0]
    assert got[0].min() < 2
    assert got[1].min() >= 9
    assert value(random.normal(1, 2, (3,), np.float32, 5, 0)).tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 10, "int64"), (-5, 5, "int8"), (200, 256, "uint8"), (-(2**63), 2**63, "int64"),
        (0, 2**64, "uint64"), (2**63, 2**63 + 3, "uint64"), (0, 2, "bool"), (7, 8, "int16"),
    ],
)  # fmt: skip
def test_integers(low, high, dtype):
    got = value(random.integers(5, 6, (COUNT,), low, high, dtype))
    assert got.dtype == dtype
    numbers = [int(x) for x in got]
    assert low <= min(numbers)
    assert max(numbers) < high
    if high - low <= 56:
        counts = np.bincount([n - low for n in numbers], minlength=high - low)
        assert len(counts) == 1 or stats.chisquare(counts).pvalue > 1e-3
    else:
        assert (max(numbers) - min(numbers)) / (high - low) > 0.99


def test_bernoulli():
    for p in (0.0, 0.1, 0.5, 1.0):
        got = value(random.bernoulli(1, 2, (COUNT,), p))
        assert got.dtype == bool
        assert abs(got.mean() - p) < 0.015
        assert p not in (0.0, 1.0) or got.mean() == p


def test_permutation():
    got = value(random.permutation(1, 2, 1000))
    assert sorted(got.tolist()) == list(range(1000))
    assert abs(np.corrcoef(got, np.arange(1000))[0, 1]) < 0.15


def test_errors():
    with pytest.raises(DTypeError, match="float32"):
        random.uniform(0, 0, (2,), np.int64)
    with pytest.raises(OptionError):
        random.integers(0, 0, (2,), 5, 5)
    with pytest.raises(OptionError):
        random.integers(0, 0, (2,), 0, 300, np.uint8)
    with pytest.raises(OptionError):
        random.integers(0, 0, (2,), -1, 3, np.uint8)
    with pytest.raises(DTypeError):
        random.integers(0, 0, (2,), 0, 3, np.float32)
    with pytest.raises(OptionError):
        random.bernoulli(0, 0, (2,), 1.5)


def test_key_and_counter_are_data():
    first, second = (random.normal(key, counter, (3,)) for key, counter in ((1, 2), (3, 4)))
    assert first.sig == second.sig
