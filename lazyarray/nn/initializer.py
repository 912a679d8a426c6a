"""How parameters start: functions of a generator, a shape and the axes of the fans."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from lazyarray.errors import OptionError, ShapeError, fail, require

Shape = tuple[int, ...]
Axes = tuple[int, int]
FACTORS = ("in", "out", "avg")
DISTRIBUTIONS = ("uniform", "gaussian")


class Initializer(Protocol):
    """Anything that makes the first value of a parameter."""

    def __call__(self, rng: np.random.Generator, shape: Shape, axes: Axes | None, /) -> np.ndarray:
        """Return a value of `shape`; `axes` are those of inputs and outputs, None for a bias."""


class Constant:
    """One number everywhere."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, rng: np.random.Generator, shape: Shape, axes: Axes | None) -> np.ndarray:
        """Return a value of `shape`."""
        return np.full(shape, self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value})"


class Zero(Constant):
    """Zeros."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def __repr__(self) -> str:
        return "Zero()"


class One(Constant):
    """Ones."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def __repr__(self) -> str:
        return "One()"


class Uniform:
    """Uniform between ``-scale`` and `scale`."""

    def __init__(self, scale: float = 0.07) -> None:
        self.scale = scale

    def __call__(self, rng: np.random.Generator, shape: Shape, axes: Axes | None) -> np.ndarray:
        """Return a value of `shape`."""
        return rng.uniform(-self.scale, self.scale, shape)

    def __repr__(self) -> str:
        return f"Uniform({self.scale})"


class Normal:
    """Normal with mean 0 and standard deviation `sigma`."""

    def __init__(self, sigma: float = 0.01) -> None:
        self.sigma = sigma

    def __call__(self, rng: np.random.Generator, shape: Shape, axes: Axes | None) -> np.ndarray:
        """Return a value of `shape`."""
        return rng.normal(0.0, self.sigma, shape)

    def __repr__(self) -> str:
        return f"Normal({self.sigma})"


class Scaled:
    """A distribution whose variance follows the number of inputs and outputs."""

    def __init__(self, rnd_type: str, factor_type: str, magnitude: float) -> None:
        name = type(self).__name__
        require(
            rnd_type in DISTRIBUTIONS,
            OptionError,
            name,
            f"rnd_type is {rnd_type!r}, expected one of {', '.join(DISTRIBUTIONS)}",
        )
        require(
            factor_type in FACTORS,
            OptionError,
            name,
            f"factor_type is {factor_type!r}, expected one of {', '.join(FACTORS)}",
        )
        self.rnd_type = rnd_type
        self.factor_type = factor_type
        self.magnitude = magnitude

    def __call__(self, rng: np.random.Generator, shape: Shape, axes: Axes | None) -> np.ndarray:
        """Return a value of `shape`."""
        inputs, outputs = fans(shape, axes, type(self).__name__)
        factor = {"in": inputs, "out": outputs, "avg": (inputs + outputs) / 2}[self.factor_type]
        scale = math.sqrt(self.magnitude / factor) if factor else 0.0
        if self.rnd_type == "uniform":
            return rng.uniform(-scale, scale, shape)
        return rng.normal(0.0, scale, shape)

    def __repr__(self) -> str:
        parts = f"{self.rnd_type!r}, {self.factor_type!r}, {self.magnitude:g}"
        return f"{type(self).__name__}({parts})"


class Xavier(Scaled):
    """Keeps the variance from layer to layer (Glorot and Bengio 2010, equation 16).

    Parameters
    ----------
    rnd_type : {"uniform", "gaussian"}, default "uniform"
    factor_type : {"avg", "in", "out"}, default "avg"
        Which fan n is: inputs, outputs or their mean, each times the window's size.
    magnitude : float, default 3
        The bound of the uniform numbers, or the standard deviation of the normal ones, is
        ``sqrt(magnitude / n)``.
    """

    def __init__(
        self, rnd_type: str = "uniform", factor_type: str = "avg", magnitude: float = 3.0
    ) -> None:
        super().__init__(rnd_type, factor_type, magnitude)


class He(Scaled):
    """Keeps the variance through ReLU (He et al. 2015, equation 15).

    Parameters
    ----------
    factor_type : {"in", "out", "avg"}, default "in"
    slope : float, default 0
        Of the activation for negative numbers.
    """

    def __init__(self, factor_type: str = "in", slope: float = 0.0) -> None:
        super().__init__("gaussian", factor_type, 2.0 / (1.0 + slope * slope))


Glorot = Xavier
Kaiming = MSRAPrelu = He
NAMED = {
    "xavier": Xavier, "glorot": Xavier, "he": He, "kaiming": He, "msraprelu": He, "normal": Normal,
    "uniform": Uniform, "zeros": Zero, "zero": Zero, "ones": One, "one": One,
}  # fmt: skip


def fans(shape: Shape, axes: Axes | None, name: str) -> tuple[int, int]:
    """How many inputs an output has, and how many outputs an input."""
    if axes is None:
        fail(
            ShapeError,
            name,
            f"a parameter of shape {shape} has no inputs and outputs to count",
            "Use Zero(), Normal() or Uniform() for it.",
        )
    window = math.prod(n for i, n in enumerate(shape) if i not in axes)
    return shape[axes[0]] * window, shape[axes[1]] * window


def as_initializer(init: Any) -> Initializer:
    """An initialiser, its name or a number as an initialiser."""
    if isinstance(init, str):
        known = ", ".join(sorted(NAMED))
        require(
            init.lower() in NAMED,
            OptionError,
            "init",
            f"{init!r} is unknown, expected one of {known}",
        )
        return NAMED[init.lower()]()
    if isinstance(init, int | float) and not isinstance(init, bool):
        return Constant(float(init))
    require(callable(init), OptionError, "init", f"{init!r} is no initialiser, name or number")
    return init
