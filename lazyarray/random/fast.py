"""Keyed random arrays: `la.random.fast`.

Element i of a draw is a function of the seed, of the number of the draw and of i alone (Philox
4x32-10, Salmon et al. 2011). A draw is a pure operation: fused, recomputed for a gradient, not
kept, and the same with any number of workers.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from lazyarray._handle import from_node, to_node
from lazyarray._ir import Node
from lazyarray.array import Array, asarray
from lazyarray.errors import OptionError, fail, require
from lazyarray.number import words
from lazyarray.ops import random as ops
from lazyarray.ops.define import as_index

WORD = 1 << 64


def extents(size: Any) -> tuple[int, ...]:
    """A size as NumPy takes it (None, an int or a tuple) as a shape."""
    if size is None:
        return ()
    parts = size if isinstance(size, tuple | list) else (size,)
    shape = tuple(as_index(n, "size", "random") for n in parts)
    require(min(shape, default=0) >= 0, OptionError, "random", f"size {size} has a negative extent")
    return shape


def parameter(value: Any) -> Any:
    """A number as it is, an array as a Node."""
    return value if isinstance(value, int | float) else to_node(asarray(value))


class Keyed:
    """Random numbers from a key and the number of the draw.

    Parameters
    ----------
    seed : int or None, default None
        None takes one from the operating system.

    Examples
    --------
    >>> la.random.fast.seed(1)
    >>> a = la.random.fast.uniform(size=3)
    >>> la.random.fast.seed(1)
    >>> la.array_equal(a, la.random.fast.uniform(size=3))
    True
    """

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self.seed(seed)

    def seed(self, seed: int | None = None) -> None:
        """Start anew from `seed`, an integer of at least 0; None asks the operating system."""
        whole = seed is None or (isinstance(seed, int | np.integer) and seed >= 0)
        require(whole, OptionError, "seed", f"expected an integer of at least 0, got {seed!r}")
        sequence = np.random.SeedSequence(None if seed is None else int(seed))
        with self._lock:
            self._key = int(sequence.generate_state(1, np.uint64)[0])
            self._count = 0

    def get_state(self) -> dict[str, int]:
        """Return what `set_state` needs to go on from here."""
        with self._lock:
            return {"key": self._key, "count": self._count}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on where `get_state` was called.

        Raises
        ------
        OptionError
            When `state` is not what `get_state` returned.
        """
        if not {"key", "count"} <= set(state):
            fail(OptionError, "set_state", f"needs a key and a count, got {sorted(state)}")
        with self._lock:
            self._key, self._count = int(state["key"]) % WORD, int(state["count"]) % WORD

    def draw(self) -> tuple[int, int]:
        """The key and the number of a new draw, which nobody else gets."""
        return words(self._next)

    def _next(self) -> tuple[int, int]:
        with self._lock:
            self._count += 1
            return self._key, self._count

    def uniform(
        self, low: Any = 0.0, high: Any = 1.0, size: Any = None, dtype: Any = np.float64
    ) -> Array:
        """Draw uniform numbers from `low` up to `high`, shape `size`, float32 or float64."""
        shape = fitting(size, low, high)
        return made(ops.uniform(*self.draw(), shape, dtype, parameter(low), parameter(high)), size)

    def normal(
        self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None, dtype: Any = np.float64
    ) -> Array:
        """Draw normal numbers with mean `loc` and deviation `scale`, float32 or float64."""
        shape = fitting(size, loc, scale)
        return made(ops.normal(*self.draw(), shape, dtype, parameter(loc), parameter(scale)), size)

    def exponential(self, scale: Any = 1.0, size: Any = None, dtype: Any = np.float64) -> Array:
        """Draw exponential numbers with mean `scale`, float32 or float64."""
        shape = fitting(size, scale)
        return made(ops.exponential(*self.draw(), shape, dtype, parameter(scale)), size)

    def bernoulli(self, p: Any = 0.5, size: Any = None) -> Array:
        """Draw booleans that are true with probability `p`."""
        return made(ops.bernoulli(*self.draw(), fitting(size, p), parameter(p)), size)

    def integers(
        self,
        low: int,
        high: int | None = None,
        size: Any = None,
        dtype: Any = np.int64,
        endpoint: bool = False,
    ) -> Array:
        """Draw integers from `low` to below `high` (from 0 to below `low` with one bound)."""
        return made(ops.integers(*self.draw(), extents(size), low, high, dtype, endpoint), size)

    def bits(self, size: Any = None, dtype: Any = np.uint64) -> Array:
        """Draw random bits, uint32 or uint64."""
        return made(ops.bits(*self.draw(), extents(size), dtype), size)

    def permutation(self, n: int) -> Array:
        """Draw a random order of the integers below `n`, shape (n,), int64."""
        return from_node(ops.permutation(*self.draw(), int(n)))


def fitting(size: Any, *parameters: Any) -> tuple[int, ...]:
    """The shape of a draw: `size`, or what the parameters broadcast to."""
    if size is not None:
        return extents(size)
    return np.broadcast_shapes(
        *[np.shape(p) if isinstance(p, int | float) else p.shape for p in parameters]
    )


def made(node: Node, size: Any) -> Array:
    """A draw as an array; a scalar where no size was given, as in NumPy."""
    return from_node(node, size is None and node.ndim == 0)


fast = Keyed()
