"""`la.random.fast`: draws follow seed, number and position, in NumPy's shapes."""

import subprocess
import sys

import numpy as np
import pytest

import lazyarray as la
from lazyarray.errors import DTypeError, OptionError
from lazyarray.random import Keyed

DRAWS = {
    "uniform": lambda r, size: r.uniform(-1.0, 3.0, size),
    "normal": lambda r, size: r.normal(1.0, 2.0, size),
    "exponential": lambda r, size: r.exponential(2.0, size),
    "bernoulli": lambda r, size: r.bernoulli(0.25, size),
    "integers": lambda r, size: r.integers(-3, 5, size),
    "bits": lambda r, size: r.bits(size),
}
MOMENTS = {
    "uniform": (1.0, 16 / 12), "normal": (1.0, 4.0), "exponential": (2.0, 4.0),
    "bernoulli": (0.25, 0.1875), "integers": (0.5, 63 / 12),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWS)
def test_draws_follow_the_seed(name):
    draw = DRAWS[name]
    first, second, other = Keyed(1), Keyed(1), Keyed(2)
    a, b = draw(first, (50,)), draw(first, (50,))
    assert la.array_equal(a, draw(second, (50,)))
    assert la.array_equal(b, draw(second, (50,)))
    assert not la.array_equal(a, b)
    assert not la.array_equal(a, draw(other, (50,)))


@pytest.mark.parametrize("name", DRAWS)
def test_shapes(name):
    draw = DRAWS[name]
    for size, shape in ((None, ()), (3, (3,)), ((2, 3), (2, 3)), ((), ()), ((0, 2), (0, 2))):
        found = draw(Keyed(0), size)
        assert found.shape == shape
        assert found.is_scalar == (size is None)


@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name):
    found = DRAWS[name](Keyed(3), (200_000,)).numpy().astype(float)
    mean, variance = MOMENTS[name]
    assert found.mean() == pytest.approx(mean, abs=6 * np.sqrt(variance / found.size))
    assert found.var() == pytest.approx(variance, rel=0.03)


def test_parameters_broadcast():
    low = la.array([[0.0], [10.0]])
    found = Keyed(0).uniform(low, np.array([1.0, 11.0, 12.0]) + 10)
    assert found.shape == (2, 3)
    assert (found.numpy() >= low.numpy()).all()
    assert Keyed(0).normal(la.zeros(4), 1.0, (3, 4)).shape == (3, 4)


def test_dtypes():
    r = Keyed(0)
    assert r.uniform(size=3).dtype == np.float64
    assert r.normal(size=3, dtype="float32").dtype == np.float32
    assert r.integers(5, size=3, dtype="uint8").dtype == np.uint8
    assert r.bits(3, "uint32").dtype == np.uint32
    with pytest.raises(DTypeError, match="float32, float64"):
        r.uniform(size=3, dtype="int32")


def test_permutation():
    found = Keyed(5).permutation(1000).numpy()
    assert (np.sort(found) == np.arange(1000)).all()
    assert (found != np.arange(1000)).any()


def test_state():
    r = Keyed(7)
    r.uniform(size=2)
    state = r.get_state()
    a = r.uniform(size=5)
    fresh = Keyed(0)
    fresh.set_state(state)
    assert la.array_equal(fresh.uniform(size=5), a)
    with pytest.raises(OptionError, match="key and a count"):
        r.set_state({"key": 1})


def test_a_new_draw_finds_the_old_plan():
    r = Keyed(0)
    lowerings = []
    for _ in range(4):
        before = la.stats()["lowerings"]
        (r.normal(size=(50, 50)) * 2).wait()
        lowerings.append(la.stats()["lowerings"] - before)
    assert lowerings[1:] == [0, 0, 0]


def test_without_a_seed_processes_differ():
    program = "import lazyarray as la; print(la.random.fast.bits().item())"
    found = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert found[0].strip().isdecimal()
    assert found[0] != found[1]


def test_bad_arguments():
    for call, message in (
        (lambda: la.random.fast.seed(-1), "at least 0"),
        (lambda: la.random.fast.seed(1.5), "at least 0"),
        (lambda: Keyed(0).uniform(size=(2, -1)), "negative extent"),
        (lambda: Keyed(0).integers(3, 3), "not below"),
        (lambda: Keyed(0).bernoulli(1.5), "not a probability"),
        (lambda: Keyed(0).normal(scale=-1), "normal: scale < 0"),
        (lambda: Keyed(0).exponential(-0.5, 3), "exponential: scale < 0"),
    ):
        with pytest.raises(OptionError, match=message):
            call()
