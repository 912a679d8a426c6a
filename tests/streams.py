"""Generators of lazyarray's and of NumPy's side by side."""

import numpy as np

import lazyarray as la

KINDS = ("PCG64", "MT19937", "Philox", "SFC64", "PCG64DXSM")
FAMILIES = ("Generator", "RandomState")
# Parameters that are numbers.
NUMBERS = {
    "beta": [(2, 3), (0.5, 0.5)],
    "binomial": [(10, 0.3), (100, 0.5), (1000, 0.9), (0, 0.5)],
    "chisquare": [(3,)],
    "exponential": [(), (2.5,), (0,)],
    "f": [(3, 4)],
    "gamma": [(2,), (0.3, 2.0), (0, 1)],
    "geometric": [(0.1,), (0.6,), (1,)],
    "gumbel": [(), (1, 2)],
    "hypergeometric": [(10, 20, 5), (1000, 2000, 500)],
    "laplace": [(), (1, 2.0)],
    "logistic": [(), (1, 3)],
    "lognormal": [(), (1, 0.5)],
    "logseries": [(0.4,)],
    "negative_binomial": [(5, 0.3), (2.5, 0.3)],
    "noncentral_chisquare": [(3, 2.0), (0.5, 2)],
    "noncentral_f": [(3, 4, 1.5)],
    "normal": [(), (1, 2.5), (-0.0, 0), (0.0, 0), (np.float32(3), np.int8(2))],
    "pareto": [(2.0,)],
    "poisson": [(), (3.5,), (100,), (0,)],
    "power": [(3,)],
    "random": [()],
    "rayleigh": [(), (2,)],
    "standard_cauchy": [()],
    "standard_exponential": [()],
    "standard_gamma": [(2,), (0.4,), (1,)],
    "standard_normal": [()],
    "standard_t": [(4,)],
    "triangular": [(0, 1, 3)],
    "uniform": [(), (-2, 5), (3, 3)],
    "vonmises": [(0, 4), (1, 0.0)],
    "wald": [(1, 2)],
    "weibull": [(3,), (0,)],
    "zipf": [(2.5,)],
}
# Parameters that broadcast; the lists hold arrays.
ARRAYS = {
    "beta": ([1.0, 2.0, 3.0], 2.0),
    "binomial": ([10, 20, 30], [[0.3], [0.5]]),
    "chisquare": ([1.0, 2.0, 30.0],),
    "exponential": ([1.0, 2.0, 3.0],),
    "f": ([1.0, 2.0, 3.0], [[4.0], [5.0]]),
    "gamma": ([1.0, 2.0, 3.0], 2.0),
    "geometric": ([0.3, 0.5, 0.9],),
    "gumbel": (0.0, [1.0, 2.0, 3.0]),
    "hypergeometric": ([10, 20, 30], 5, [[3], [4]]),
    "laplace": ([1.0, 2.0, 3.0], 2.0),
    "logistic": ([1.0, 2.0, 3.0], 1.0),
    "lognormal": ([1.0, 2.0, 3.0], 0.5),
    "logseries": ([0.3, 0.5, 0.9],),
    "negative_binomial": ([1.0, 2.0, 3.0], 0.5),
    "noncentral_chisquare": ([1.0, 2.0, 3.0], 1.0),
    "noncentral_f": (2.0, 3.0, [1.0, 2.0, 3.0]),
    "normal": ([[0.0], [10.0]], [1.0, 2.0, 3.0]),
    "pareto": ([1.0, 2.0, 3.0],),
    "poisson": ([1.0, 20.0, 3.0],),
    "power": ([1.0, 2.0, 3.0],),
    "rayleigh": ([1.0, 2.0, 3.0],),
    "standard_gamma": ([1.0, 2.0, 3.0],),
    "standard_t": ([1.0, 2.0, 3.0],),
    "triangular": (0.0, [1.0, 2.0, 3.0], 4.0),
    "uniform": ([1.0, 2.0, 3.0], [[5.0], [6.0]]),
    "vonmises": ([1.0, 2.0, 3.0], 1.0),
    "wald": ([1.0, 2.0, 3.0], 1.0),
    "weibull": ([1.0, 2.0, 3.0],),
    "zipf": ([1.5, 2.0, 3.0],),
}


def pair(family="Generator", kind="PCG64", seed=5):
    """The same generator of lazyarray's and of NumPy's."""
    bits = getattr(np.random, kind)
    ours = getattr(la.random, family)(bits(seed))
    return ours, getattr(np.random, family)(bits(seed))


def check(ours, theirs):
    """Assert equal bits, shapes, dtypes, and scalars for scalars."""
    got = ours.numpy()
    # A single float32 is a Python float to NumPy.
    wanted = np.asarray(theirs, got.dtype if type(theirs) is float else None)
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    assert got.tobytes() == wanted.tobytes()
    assert ours.is_scalar == (not isinstance(theirs, np.ndarray))


def check_state(ours, theirs):
    """Assert that two generators go on alike."""
    if isinstance(ours, la.random.Generator):
        assert repr(ours.bit_generator.state) == repr(theirs.bit_generator.state)
    else:
        assert repr(ours.get_state(legacy=False)) == repr(theirs.get_state(legacy=False))
