"""An array's elements in one row, and its flags: what ``a.flat`` and ``a.flags`` are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lazyarray import _handle
from lazyarray._handle import shadow
from lazyarray._record import ArrayBase
from lazyarray.dtypes import INTP
from lazyarray.errors import ArrayIndexError

from .array import Array, array, asarray


class flatiter(Iterator[Array]):
    """The elements of an array in C order, whatever its memory order; as `numpy.flatiter`.

    What is read is a copy; what is written lands in the array. Made by ``a.flat``.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, base: Array) -> None:
        self._base = base
        self._at = 0

    @property
    def base(self) -> Array:
        """The array."""
        return self._base

    @property
    def index(self) -> int:
        """The place of the element that comes next."""
        return self._at

    @property
    def coords(self) -> tuple[int, ...]:
        """Its index along each axis."""
        found, rest = [], self._at
        for extent in reversed(self._base.shape[1:]):
            rest, last = divmod(rest, extent)
            found.append(last)
        return (rest, *reversed(found)) if self._base.ndim else ()

    def __len__(self) -> int:
        return self._base.size

    def __iter__(self) -> flatiter:
        return self

    def __next__(self) -> Array:
        if self._at >= self._base.size:
            raise StopIteration
        found = self._base[self.coords]
        self._at += 1
        return found

    def __getitem__(self, key: Any) -> Array:
        self._at = 0
        found = row(self._base)[plain_key(key)]
        return found if found.is_scalar else found.copy()

    def __setitem__(self, key: Any, value: Any) -> None:
        self._at = 0
        base, key = self._base, plain_key(key)
        places = np.arange(base.size)[key]
        if not places.ndim:
            base[np.unravel_index(int(places), base.shape) if base.ndim else ...] = value
            return
        values = asarray(value).ravel()
        if not places.size:
            return
        if not values.size:
            raise ValueError("flat: cannot write the elements of an empty array")
        if values.size != places.size and values.size != 1:
            turns = np.arange(places.size) % values.size
            values = values[array(turns)]
        values = values.reshape(places.shape) if values.size == places.size else values
        if whole(key) or not base.ndim:
            base[...] = values.reshape(base.shape) if values.size == base.size else values
            return
        flat = straight(base)
        if flat is not None:
            flat[key] = values
        else:
            base[np.unravel_index(places, base.shape)] = values

    def copy(self) -> Array:
        """Return the elements in one axis."""
        return self._base.flatten()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self.copy().numpy()
        return found if dtype is None else found.astype(dtype)

    def __eq__(self, other: Any) -> Any:
        return self.copy() == values_of(other)

    def __ne__(self, other: Any) -> Any:
        return self.copy() != values_of(other)

    def __lt__(self, other: Any) -> Any:
        return self.copy() < values_of(other)

    def __le__(self, other: Any) -> Any:
        return self.copy() <= values_of(other)

    def __gt__(self, other: Any) -> Any:
        return self.copy() > values_of(other)

    def __ge__(self, other: Any) -> Any:
        return self.copy() >= values_of(other)


def values_of(other: Any) -> Any:
    """The other side of a comparison."""
    return other.copy() if isinstance(other, flatiter) else other


def plain_key(key: Any) -> Any:
    """An index into one axis, with NumPy arrays for arrays."""
    if isinstance(key, tuple):
        if len(key) != 1:
            raise ArrayIndexError("unsupported iterator index")
        key = key[0]
    if key is Ellipsis:
        return slice(None)
    if isinstance(key, ArrayBase):
        return _handle.peek_numpy(key)
    if isinstance(key, list):
        key = np.asarray(key)
        return key if key.size else key.astype(INTP)
    if key is None or isinstance(key, float):
        raise ArrayIndexError("unsupported iterator index")
    return key


def whole(key: Any) -> bool:
    """Whether an index takes everything in order."""
    return isinstance(key, slice) and key == slice(None)


def straight(base: Array) -> Array | None:
    """The elements in one axis as a view, or None where there is none."""
    try:
        return base.reshape(-1, copy=False)
    except ValueError:
        return None


def row(base: Array) -> Array:
    """The elements in one axis."""
    found = straight(base)
    return base.ravel() if found is None else found


# ---- flags

LETTERS = {"C": "C_CONTIGUOUS", "F": "F_CONTIGUOUS", "O": "OWNDATA", "W": "WRITEABLE",
           "A": "ALIGNED", "X": "WRITEBACKIFCOPY", "B": "BEHAVED", "CA": "CARRAY",
           "FA": "FARRAY"}  # fmt: skip
SHOWN = ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA", "WRITEABLE", "ALIGNED", "WRITEBACKIFCOPY")
KNOWN = (
    "aligned", "behaved", "c_contiguous", "carray", "contiguous", "f_contiguous", "farray", "fnc",
    "forc", "fortran", "owndata", "writeable", "writebackifcopy",
)  # fmt: skip


class Flags:
    """How an array lies in memory, by attribute or by key; `writeable` can be set.

    As NumPy's flags. An array that sees all of its memory in C order owns it.
    """

    __slots__ = ("_array",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: Array) -> None:
        object.__setattr__(self, "_array", array)

    def __getattr__(self, name: str) -> Any:
        if name == "owndata":
            return self._array.base is None
        if name == "num":
            return shadow(self._array).flags.num | (4 if self.owndata else 0)
        if name not in KNOWN:
            raise AttributeError(f"flags have no {name!r}", name=name)
        return getattr(shadow(self._array).flags, name)

    def __setattr__(self, name: str, value: Any) -> None:
        places = {"writeable": "write", "aligned": "align", "writebackifcopy": "uic"}
        if name not in places:
            raise AttributeError(f"flags: {name!r} is not writable", name=name)
        self._array.setflags(**{places[name]: value})

    def __getitem__(self, key: str) -> Any:
        name = LETTERS.get(key, key)
        if not isinstance(name, str) or name != name.upper() or name.lower() not in KNOWN:
            raise KeyError("Unknown flag")
        return getattr(self, name.lower())

    def __setitem__(self, key: str, value: Any) -> None:
        name = LETTERS.get(key, key)
        if name not in ("WRITEABLE", "ALIGNED", "WRITEBACKIFCOPY"):
            raise KeyError("Unknown flag")
        setattr(self, name.lower(), value)

    def __eq__(self, other: Any) -> Any:
        return self.num == other.num if isinstance(other, Flags) else NotImplemented

    def __repr__(self) -> str:
        return "".join([f"  {name} : {self[name]}\n" for name in SHOWN])
