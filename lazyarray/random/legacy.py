"""RandomState: NumPy's generator of old, whose streams never change."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lazyarray.array import Array
from lazyarray.number import fixed

from .distributions import Distributions
from .fast import extents, fast
from .stream import FLOAT64, INT64, read

# Those that NumPy computes by the same C functions as a Generator.
SHARED = {
    "gumbel": ("d2", "random_gumbel"),
    "laplace": ("d2", "random_laplace"),
    "logistic": ("d2", "random_logistic"),
    "normal": ("gauss2", "legacy_gauss"),
    "triangular": ("d3", "random_triangular"),
    "uniform": ("d2", "random_uniform"),
}
GAUSS = ("gauss0", "legacy_gauss")
UNIFORM = ("fill", "random_standard_uniform_fill")


class RandomState(Distributions):
    """Random numbers of old: `numpy.random.RandomState`, drawn lazily.

    Parameters
    ----------
    seed : None, int, array_like of int, or BitGenerator
        None asks the operating system.
    """

    family = "RandomState"
    native = SHARED

    def __init__(self, seed: Any = None) -> None:
        if isinstance(seed, np.random.BitGenerator):
            super().__init__(seed, True)
            return
        bits = np.random.RandomState(fixed(seed))._bit_generator
        super().__init__(bits, False)

    @property
    def _bit_generator(self) -> Any:
        self._expose()
        return self._bits

    def __repr__(self) -> str:
        return f"{self} at 0x{id(self):X}"

    def __str__(self) -> str:
        return f"RandomState({type(self._bits).__name__})"

    def __reduce__(self) -> Any:
        return restored, (type(self._bits), self.get_state(legacy=False))

    # ---- the state

    def seed(self, seed: Any = None) -> None:
        """Start anew; as `numpy.random.RandomState.seed`."""
        self._at_once("seed", seed)

    def get_state(self, legacy: bool = True) -> Any:
        """Return the state, after all draws so far; as `numpy.random.RandomState.get_state`."""
        return self._at_once("get_state", legacy)

    def set_state(self, state: Any) -> None:
        """Go on where `get_state` was called; as `numpy.random.RandomState.set_state`."""
        self._at_once("set_state", state)

    # ---- standard distributions

    def random_sample(self, size: Any = None) -> Array:
        """Draw from [0, 1); as `numpy.random.RandomState.random_sample`."""
        return self._sample("random_sample", (), size, FLOAT64, native=UNIFORM)

    def random(self, size: Any = None) -> Array:
        """Draw from [0, 1); as `random_sample`."""
        return self.random_sample(size)

    def rand(self, *args: int) -> Array:
        """Draw from [0, 1), the extents being arguments; as `numpy.random.rand`."""
        return self.random_sample(args or None)

    def randn(self, *args: int) -> Array:
        """Draw standard normal numbers, the extents being arguments; as `numpy.random.randn`."""
        return self.standard_normal(args or None)

    def standard_normal(self, size: Any = None) -> Array:
        """Draw standard normal numbers; as `numpy.random.RandomState.standard_normal`."""
        return self._sample("standard_normal", (), size, native=GAUSS)

    def standard_exponential(self, size: Any = None) -> Array:
        """Draw standard exponentials; as `numpy.random.RandomState.standard_exponential`."""
        return self._sample("standard_exponential", (), size)

    def standard_gamma(self, shape: Any, size: Any = None) -> Array:
        """Draw standard Gamma numbers; as `numpy.random.RandomState.standard_gamma`."""
        return self._sample("standard_gamma", (shape,), size)

    # ---- integers and choices

    def randint(self, low: Any, high: Any = None, size: Any = None, dtype: Any = int) -> Array:
        """Draw integers from `low` to below `high`; as `numpy.random.RandomState.randint`."""
        return self._integers("randint", low, high, size, dtype, False)

    def random_integers(self, low: Any, high: Any = None, size: Any = None) -> Array:
        """Draw integers from `low` to `high`, both included; deprecated, as in NumPy."""
        if high is None:
            text = f"please call randint(1, {low} + 1) instead"
            low, high = 1, low
        else:
            text = f"please call randint({low}, {high} + 1) instead"
        warnings.warn(f"This function is deprecated, {text}.", DeprecationWarning, stacklevel=2)
        return self.randint(low, int(high) + 1, size)

    def tomaxint(self, size: Any = None) -> Array:
        """Draw integers of at least 0; as `numpy.random.RandomState.tomaxint`."""
        with self._lock:
            if not self._leads():
                return self._wrapped("tomaxint", size=size)
            shape = () if size is None else extents(size)
            given = {"size": None if size is None else shape}
            return self._general("tomaxint", (), given, shape, INT64, size is None)

    def choice(self, a: Any, size: Any = None, replace: bool = True, p: Any = None) -> Any:
        """Draw elements of `a`, or integers below it; as `numpy.random.RandomState.choice`."""
        return self._chosen(a, size, replace, p, 0, {})

    # ---- orders

    def shuffle(self, x: Any) -> None:
        """Put the parts of `x` along its first axis in random order, in place."""
        self._shuffled(x, None)

    def permutation(self, x: Any) -> Any:
        """Return a shuffled copy of `x`, or of ``arange(x)``."""
        return self._permutation(x, None)

    # ---- several numbers at once

    def multinomial(self, n: int, pvals: Any, size: Any = None) -> Array:
        """Draw from a multinomial distribution; as `numpy.random.RandomState.multinomial`."""
        return self._rows("multinomial", (fixed(n), pvals), size, {}, INT64)

    def multivariate_normal(
        self, mean: Any, cov: Any, size: Any = None, check_valid: str = "warn", tol: float = 1e-8
    ) -> Array:
        """Draw normal vectors; as `numpy.random.RandomState.multivariate_normal`."""
        options = {"check_valid": check_valid, "tol": fixed(tol)}
        return self._rows("multivariate_normal", (mean, cov), size, options, FLOAT64)


def restored(kind: type, state: Any) -> RandomState:
    """Unpickle."""
    found = RandomState.__new__(RandomState)
    Distributions.__init__(found, kind(0), False)
    found.set_state(state)
    return found


# The state behind `la.random.rand` and its kin.
state = RandomState()


def seed(seed: Any = None) -> None:
    """Start anew: the module's own functions, as `numpy.random.seed`, and `la.random.fast`."""
    state.seed(seed)
    if seed is not None and not isinstance(seed, int | np.integer):
        seed = int(np.random.SeedSequence(read(seed)).generate_state(1, np.uint64)[0])
    fast.seed(None if seed is None else int(seed))


def get_bit_generator() -> Any:
    """Return the bit generator behind the module's own functions."""
    return state._bit_generator


def set_bit_generator(bitgen: Any) -> None:
    """Let the module's own functions draw from `bitgen`."""
    state._adopt(bitgen, True)
