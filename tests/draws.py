"""Random arguments, twice: for NumPy and for lazyarray, with the same values and layout."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import lazyarray as la

DTYPES = {
    "b": ["bool"],
    "i": ["int64", "int32", "int8", "int16"],
    "u": ["uint8", "uint64", "uint16", "uint32"],
    "f": ["float64", "float32", "float64", "float32", "float16"],
    "c": ["complex128", "complex64"],
}
KINDS = "biufc"
SPECIAL = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf]


class Pair:
    """One argument: `theirs` for NumPy, `ours` for lazyarray."""

    __slots__ = ("ours", "theirs")

    def __init__(self, theirs: Any, ours: Any) -> None:
        self.theirs = theirs
        self.ours = ours

    def each(self, function: Callable[[Any], Any]) -> Pair:
        """Both sides of the same function."""
        return Pair(function(self.theirs), function(self.ours))


class Draw:
    """A source of arguments, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.values = np.random.default_rng(seed)

    # ---- plain choices

    def choice(self, options: Sequence[Any]) -> Any:
        return options[self.rng.randrange(len(options))]

    def integer(self, low: int, high: int) -> int:
        """Both bounds included."""
        return self.rng.randint(low, high)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def options(self, **choices: Sequence[Any]) -> dict[str, Any]:
        """Some of the keywords, each with one of its values."""
        return {name: self.choice(of) for name, of in choices.items() if self.chance(0.4)}

    def dtype(self, kinds: str = KINDS) -> str:
        return self.choice(DTYPES[self.choice(kinds)])

    def shape(self, ndim: int | tuple[int, int] = (0, 3), empty: bool = True) -> tuple[int, ...]:
        n = ndim if isinstance(ndim, int) else self.integer(*ndim)
        sizes = [1, 2, 3, 4, 5, 7] + ([0] if empty and self.chance(0.3) else [])
        return tuple(self.choice(sizes) for _ in range(n))

    def axis(self, ndim: int, wrong: float = 0.03) -> int:
        """An axis, now and then one that is out of bounds."""
        return self.integer(-ndim, ndim - 1) if ndim and not self.chance(wrong) else ndim

    # ---- values

    def fill(self, shape: tuple[int, ...], dtype: Any, low: float, high: float) -> np.ndarray:
        """Values of a dtype, special ones among them where they are not bounded."""
        dtype = np.dtype(dtype)
        bounded = np.isfinite(low)
        if dtype.kind == "b":
            return self.values.random(shape) < 0.5
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            least, most = (low, high) if bounded else self.choice([(-9, 9), (-9, 9), (-120, 120)])
            if not bounded and self.chance(0.1):
                least, most = info.min, info.max
            least, most = max(int(least), info.min), min(int(most), info.max)
            return self.values.integers(least, most, shape, dtype, endpoint=True)
        if dtype.kind == "c":
            parts = [self.fill(shape, "f8", low, high) for _ in "ri"]
            return (parts[0] + 1j * parts[1]).astype(dtype)
        if bounded:
            return self.values.uniform(low, high, shape).astype(dtype)
        found = self.values.normal(0, self.choice([1, 1, 30]), shape)
        if self.chance(0.2):
            found = np.round(found)
        if self.chance(0.2):
            spots = self.values.random(shape) < 0.3
            found = np.where(spots, self.values.choice(SPECIAL, shape), found)
        return found.astype(dtype)

    # ---- arrays

    def array(
        self,
        kinds: str = KINDS,
        ndim: int | tuple[int, int] = (0, 3),
        shape: tuple[int, ...] | None = None,
        *,
        dtype: str | None = None,
        low: float = -np.inf,
        high: float = np.inf,
        empty: bool = True,
        layout: bool = True,
    ) -> Pair:
        """An array in one of many layouts."""
        shape = self.shape(ndim, empty) if shape is None else shape
        dtype = dtype or self.dtype(kinds)
        with np.errstate(all="ignore"):
            if not layout or not shape or self.chance(0.5):
                base = np.ascontiguousarray(self.fill(shape, dtype, low, high)).reshape(shape)
                return Pair(base, la.array(base))
            axis = self.integer(0, len(shape) - 1)
            whole = (slice(None),) * axis
            kind = self.choice(["transposed", "reversed", "stepped", "inner"])
            if kind == "transposed":
                base = self.fill(shape[::-1], dtype, low, high)
                view = lambda x: x.T  # noqa: E731
            elif kind == "reversed":
                base = self.fill(shape, dtype, low, high)
                view = lambda x: x[(*whole, slice(None, None, -1))]  # noqa: E731
            elif kind == "stepped":
                long = (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])
                base = self.fill(long, dtype, low, high)
                view = lambda x: x[(*whole, slice(None, None, 2))]  # noqa: E731
            else:
                long = (*shape[:axis], shape[axis] + 2, *shape[axis + 1 :])
                base = self.fill(long, dtype, low, high)
                view = lambda x: x[(*whole, slice(1, -1))]  # noqa: E731
            base = np.ascontiguousarray(base)
            return Pair(view(base), view(la.array(base)))

    def arrays(self, n: int, kinds: str = KINDS, **options: Any) -> list[Pair]:
        """Arrays whose shapes broadcast, mostly."""
        shape = self.shape((0, 3))
        found = []
        for _ in range(n):
            own = list(shape[self.integer(0, len(shape)) :] if self.chance(0.3) else shape)
            own = [1 if self.chance(0.15) else extent for extent in own]
            if own and self.chance(0.02):
                own[0] += 1
            found.append(self.array(kinds, shape=tuple(own), **options))
        return found

    def operand(self, kinds: str = KINDS, **options: Any) -> Any:
        """An array, a Python number or a list."""
        if self.chance(0.1):
            return self.choice([2, -1, 0.5, True, 3 + 1j] if "c" in kinds else [2, 1, 0.5, True])
        made = self.array(kinds, **options)
        if made.theirs.ndim and made.theirs.size and self.chance(0.07):
            return made.theirs.tolist()
        return made

    def like(self, pair: Any, **options: Any) -> Pair:
        """Another array of the same shape."""
        return self.array(shape=np.shape(plain(pair)), **options)


def plain(argument: Any) -> Any:
    """An argument, or a structure of them, for NumPy."""
    return side(argument, "theirs")


def lazy(argument: Any) -> Any:
    """An argument, or a structure of them, for lazyarray."""
    return side(argument, "ours")


def side(argument: Any, which: str) -> Any:
    if isinstance(argument, Pair):
        return getattr(argument, which)
    if isinstance(argument, list | tuple):
        return type(argument)(side(part, which) for part in argument)
    if isinstance(argument, dict):
        return {key: side(part, which) for key, part in argument.items()}
    return argument


def pairs(argument: Any) -> list[Pair]:
    """All pairs in a structure of arguments."""
    if isinstance(argument, Pair):
        return [argument]
    if isinstance(argument, list | tuple):
        return [found for part in argument for found in pairs(part)]
    if isinstance(argument, dict):
        return pairs(list(argument.values()))
    return []
