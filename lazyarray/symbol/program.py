"""What a Symbol is made of: inputs and calls, and their attributes as values and as text."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lazyarray.dtypes import canonical
from lazyarray.errors import ShapeError, require

HOME = str(Path(__file__).resolve().parent.parent)
counts: dict[str, Iterator[int]] = {}  # by the kind of entry that was given no name

Site = tuple[Any, int]  # a code object and the offset of an instruction in it
Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """A name to which a value is bound."""

    name: str
    shape: Shape | None = None  # None, as a whole or for an extent: not stated
    dtype: np.dtype | None = None
    init: Any = None
    attributes: dict[str, str] = field(default_factory=dict)
    site: Site | None = None

    @property
    def sources(self) -> tuple[Output, ...]:
        """Nothing: it is where a program begins."""
        return ()

    @property
    def output_names(self) -> list[str]:
        """Its own name."""
        return [self.name]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """An op or layer applied to outputs of other entries."""

    op: str
    name: str
    sources: tuple[Output, ...]
    arguments: dict[str, Any]  # by parameter; a Reference stands for a source
    outputs: int = 1
    attributes: dict[str, str] = field(default_factory=dict)
    site: Site | None = None

    @property
    def output_names(self) -> list[str]:
        """One name for each output."""
        if self.outputs == 1:
            return [f"{self.name}_output"]
        return [f"{self.name}_output{i}" for i in range(self.outputs)]

    def __str__(self) -> str:
        return f"{self.name} ({self.op})"


Entry = Input | Call
Output = tuple[Entry, int]  # an entry, and which of its outputs


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands in a call's arguments for one of its sources."""

    source: int


def fresh_name(kind: str) -> str:
    """A name that no other entry was given by this function."""
    hint = kind.lower()
    return f"{hint}{next(counts.setdefault(hint, itertools.count()))}"


def users_site() -> Site | None:
    """The innermost frame outside this package: where an entry was made."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(HOME):
        frame = frame.f_back
    return None if frame is None else (frame.f_code, frame.f_lasti)


def in_order(outputs: Sequence[Output]) -> list[Entry]:
    """The entries that `outputs` are computed from, sources first."""
    found: dict[int, Entry] = {}
    for head, _ in outputs:
        stack = [(head, iter(head.sources))]
        while stack:
            entry, rest = stack[-1]
            following = next((s for s, _ in rest if id(s) not in found), None)
            if following is None:
                stack.pop()
                found.setdefault(id(entry), entry)
            else:
                stack.append((following, iter(following.sources)))
    return list(found.values())


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """`value` with `change` made to every part of its lists and tuples."""
    if isinstance(value, list | tuple):
        return type(value)(mapped(part, change) for part in value)
    return change(value)


# ---- attributes as text

PLAIN = (type(None), bool, int, str, Reference)


def attribute(value: Any, name: str) -> Any:
    """An argument that is structure, in the form in which a call keeps it.

    Raises
    ------
    TypeError
        For what cannot be written down, such as an array.
    """
    if isinstance(value, list | tuple):
        return type(value)([attribute(part, name) for part in value])
    if value is Ellipsis or type(value) in (*PLAIN, float, complex):
        return value
    if isinstance(value, np.generic):
        canonical(value.dtype, name)
        return value
    if isinstance(value, np.dtype | type):
        return canonical(value, name)
    if isinstance(value, slice):
        return slice(*[attribute(part, name) for part in (value.start, value.stop, value.step)])
    raise TypeError(
        f"{name}: {type(value).__name__} is neither a Symbol nor an attribute that text can hold\n"
        "  Bind data to a Variable instead."
    )


def encoded(value: Any) -> Any:
    """An attribute as JSON has it: what JSON lacks is an object with one key, its kind."""
    if type(value) is Reference:
        return {"source": value.source}
    if type(value) is float and not np.isfinite(value):
        return {"float": repr(value)}
    if type(value) is complex:
        return {"complex": [encoded(value.real), encoded(value.imag)]}
    if type(value) is tuple:
        return {"tuple": [encoded(part) for part in value]}
    if type(value) is list:
        return [encoded(part) for part in value]
    if type(value) is slice:
        return {"slice": [encoded(part) for part in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if isinstance(value, np.generic):
        return {"scalar": [value.dtype.name, encoded(value.item())]}
    return value


DECODERS: dict[str, Callable[[Any], Any]] = {
    "source": Reference,
    "float": float,
    "complex": lambda parts: complex(*map(decoded, parts)),
    "tuple": lambda parts: tuple(map(decoded, parts)),
    "slice": lambda parts: slice(*map(decoded, parts)),
    "ellipsis": lambda _: Ellipsis,
    "dtype": canonical,
    "scalar": lambda parts: canonical(parts[0]).type(decoded(parts[1])),
}


def decoded(value: Any) -> Any:
    """The attribute that `encoded` wrote.

    Raises
    ------
    ValueError
        When no attribute is written like that.
    """
    if isinstance(value, list):
        return [decoded(part) for part in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, content),) = value.items()
        if kind in DECODERS:
            return DECODERS[kind](content)
    raise ValueError(f"no attribute is written {value!r}")


def merged(known: Shape | None, found: Sequence[int | None], name: str) -> Shape:
    """A declared shape with what else is known about it.

    Raises
    ------
    ValueError
        When they contradict each other.
    """
    shape = tuple(found)
    if known is None:
        return shape
    pairs = list(zip(known, shape, strict=False))
    if len(known) != len(shape) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
        raise ValueError(f"{name} is declared {shown(known)}, got {shown(shape)}")
    return tuple(b if a is None else a for a, b in pairs)


def shown(shape: Iterable[int | None]) -> str:
    """A shape as text, with ? for an extent that is not stated."""
    parts = ["?" if n is None else str(n) for n in shape]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def as_shape(value: Any, name: str) -> Shape:
    """A declared shape: None, 0 and -1 are extents that are not stated."""
    parts = value if isinstance(value, tuple | list) else (value,)
    whole = all(n is None or (hasattr(n, "__index__") and n.__index__() >= -1) for n in parts)
    require(whole, ShapeError, name, f"shape must be an int or a tuple of ints, got {value!r}")
    extents = tuple(None if n is None else n.__index__() for n in parts)
    return tuple(None if n in (None, 0, -1) else n for n in extents)
