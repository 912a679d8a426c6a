"""Iteration over elements: nditer and its kin, on arrays' own memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lazyarray import _handle
from lazyarray._handle import shadow
from lazyarray._record import ArrayBase

from .array import Array, asarray
from .flat import flatiter
from .functions import broadcast_to

__all__ = ["broadcast", "flatiter", "ndenumerate", "ndindex", "nditer", "nested_iters"]

ndindex = np.ndindex


class ndenumerate(Iterator[tuple[tuple[int, ...], Array]]):
    """Pairs of an index and the element there, in C order; as `numpy.ndenumerate`.

    Parameters
    ----------
    arr : array_like
    """

    def __init__(self, arr: Any) -> None:
        self.iter = asarray(arr).flat

    def __next__(self) -> tuple[tuple[int, ...], Array]:
        where = self.iter.coords
        return where, next(self.iter)


class broadcast(Iterator[tuple[Array, ...]]):
    """What arrays broadcast to: the shape, and their elements in turn; as `numpy.broadcast`.

    Parameters
    ----------
    *args : array_like
    """

    def __init__(self, *args: Any) -> None:
        arrays = [asarray(each) for each in args]
        known = np.broadcast(*[shadow(each) for each in arrays])
        self.shape: tuple[int, ...] = known.shape
        self.nd = self.ndim = known.nd
        self.numiter: int = known.numiter
        self.size: int = known.size
        self._arrays = arrays
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.iters = tuple([broadcast_to(each, self.shape).flat for each in self._arrays])

    @property
    def index(self) -> int:
        """The place of the elements that come next."""
        return self.iters[0].index if self.iters else 0

    def __next__(self) -> tuple[Array, ...]:
        if not self.iters:
            raise StopIteration
        return tuple([next(each) for each in self.iters])


def exported(op: Any) -> Any:
    """Operands as NumPy arrays on the arrays' own memory."""
    if isinstance(op, ArrayBase):
        return _handle.export_numpy(op)
    if isinstance(op, list | tuple):
        return type(op)([exported(each) for each in op])
    return op


def options_of(args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The options of an iterator, with NumPy arrays for arrays."""
    return exported(args), {key: exported(value) for key, value in options.items()}


class nditer:
    """An iterator over several arrays at once; as `numpy.nditer`.

    It waits for its operands. What it hands out are NumPy arrays on their memory, so that a write
    through one whose flags allow it lands in the array. While the iterator lives, what is
    recorded on its operands runs at once.

    Parameters
    ----------
    op : array_like or sequence of array_like
        None stands for a result that the iterator makes: see `operands`.
    *args, **options
        As `numpy.nditer`.
    """

    __slots__ = ("_made", "_memory", "_numpy", "_ops")

    def __init__(self, op: Any, *args: Any, **options: Any) -> None:
        given = tuple(op) if isinstance(op, list | tuple) else (op,)
        args, options = options_of(args, options)
        memory = exported(op)
        found = np.nditer(memory, *args, **options)
        self._attach(found, given, memory if isinstance(memory, list | tuple) else (memory,))

    def _attach(self, numpy: Any, given: tuple[Any, ...], memory: Any) -> None:
        parts: Any = (("_numpy", numpy), ("_ops", given), ("_memory", memory), ("_made", {}))
        for name, value in parts:
            object.__setattr__(self, name, value)

    @property
    def operands(self) -> tuple[Any, ...]:
        """The arrays; those that the iterator has made, or copied, are on its own memory."""
        found = []
        for place, theirs in enumerate(self._numpy.operands):
            ours = self._ops[place] if place < len(self._ops) else None
            if not isinstance(ours, ArrayBase) or not same(theirs, self._memory[place]):
                ours = self._made.setdefault(place, shared(theirs))
            found.append(ours)
        return tuple(found)

    def copy(self) -> nditer:
        """Return an iterator that goes on from here by itself."""
        return wrapped(self._numpy.copy(), self._ops, self._memory)

    def __copy__(self) -> nditer:
        return self.copy()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._numpy)

    def __len__(self) -> int:
        return len(self._numpy)

    def __getitem__(self, key: Any) -> Any:
        return self._numpy[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._numpy[key] = exported(value)

    def __enter__(self) -> nditer:
        self._numpy.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._numpy.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._numpy, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._numpy, name, value)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether an operand is what was given, and no copy of it."""
    return a.dtype == b.dtype and (not a.size or np.may_share_memory(a, b))


def shared(data: np.ndarray) -> Any:
    """An array on NumPy's memory where it can be, else a copy."""
    if data.flags.c_contiguous:
        return _handle.alias_numpy(data)
    if data.flags.f_contiguous:
        return _handle.alias_numpy(data.T).T
    return asarray(data)


def wrapped(numpy: Any, given: tuple[Any, ...], memory: Any) -> nditer:
    """An iterator of NumPy's as one of ours."""
    found = object.__new__(nditer)
    found._attach(numpy, given, memory)
    return found


def nested_iters(op: Any, axes: Any, *args: Any, **options: Any) -> tuple[nditer, ...]:
    """Iterators over groups of axes, to be used in nested loops; as `numpy.nested_iters`."""
    given = tuple(op) if isinstance(op, list | tuple) else (op,)
    args, options = options_of(args, options)
    memory = exported(op)
    found = np.nested_iters(memory, axes, *args, **options)
    listed = memory if isinstance(memory, list | tuple) else (memory,)
    return tuple([wrapped(each, given, listed) for each in found])
