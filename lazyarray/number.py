"""Numbers that stay data while a call is traced: what is computed from them is computed anew."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import lazyarray._trace as _trace
from lazyarray import _ir

KINDS = (int, float, complex)


class Number:
    """A Python number of a traced call.

    Arithmetic gives further Numbers. Whoever wants to know its value gets it, and makes it part of
    the structure: a call with another value is traced anew.

    Parameters
    ----------
    value : int, float or complex
    source : hashable
        What gives the value at each call, for a number that is not computed from others.
    """

    __slots__ = ("function", "inputs", "source", "trace", "value")

    def __init__(
        self,
        value: Any,
        source: Any = None,
        function: Callable[..., Any] | None = None,
        inputs: tuple[Any, ...] = (),
    ) -> None:
        self.value = value
        self.source = source
        self.function = function
        self.inputs = inputs
        self.trace = _trace.current()
        if self.trace is not None:
            self.trace.proxies.append(self)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.value)

    @property
    def kind(self) -> type:
        """The type of the value."""
        return type(self.value)

    def sources(self) -> set[Any]:
        """What the value depends on."""
        found, todo = set(), [self]
        while todo:
            number = todo.pop()
            if number.function is None:
                found.add(number.source)
            todo += [each for each in number.inputs if type(each) is Number]
        return found

    def look(self) -> Any:
        """The value, which becomes structure."""
        if self.trace is not None:
            self.trace.seen.update(self.sources())
        return self.value

    def constant(self, dtype: np.dtype) -> _ir.Node:
        """A constant node that takes its value at every call."""
        node = _ir.scalar(self.value, dtype)
        if self.trace is not None:
            self.trace.numbers[node.serial] = (self, dtype)
        return node

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*[fixed(x) for x in inputs], **options)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.look(), dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.look(), name)

    def __repr__(self) -> str:
        return repr(self.look())

    def __str__(self) -> str:
        return str(self.look())

    def __format__(self, spec: str) -> str:
        return format(self.look(), spec)

    def __reduce__(self) -> Any:
        return type(self.value), (self.look(),)


class Word(int):
    """Half of a draw's name: another one at every call."""

    source: Any = None

    def constant(self, dtype: np.dtype) -> _ir.Node:
        """A constant node that takes its value at every call."""
        node = _ir.scalar(np.uint64(int(self)), dtype)
        trace = _trace.current()
        if trace is not None:
            trace.numbers[node.serial] = (Number(int(self), self.source), dtype)
        return node


def words(draw: Callable[[], tuple[int, int]]) -> tuple[int, int]:
    """A draw; while a call is traced, one that every later call makes anew."""
    trace = _trace.current()
    found = draw()
    if trace is None:
        return found
    parts = []
    for part, value in enumerate(found):
        word = Word(value)
        word.source = (len(trace.effects), part)
        parts.append(word)
    trace.effects.append(draw)
    return parts[0], parts[1]


def live(function: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
    """A tuple of numbers that a function gives; runs of a traced call ask it anew."""
    trace = _trace.current()
    found = function()
    if trace is None:
        return found
    place = len(trace.effects)
    trace.effects.append(function)
    return tuple([Number(value, (place, part)) for part, value in enumerate(found)])


def fixed(value: Any) -> Any:
    """The value of a Number, which becomes structure; anything else as it is."""
    return value.look() if type(value) is Number else value


def applied(function: Callable[..., Any], *values: Any) -> Any:
    """``function(*values)``; a Number if one of the values is."""
    if not any(type(x) is Number for x in values):
        return function(*values)
    plain = [x.value if type(x) is Number else x for x in values]
    result = function(*plain)
    return Number(result, function=function, inputs=values) if type(result) in KINDS else result


def evaluated(number: Any, given: dict[Any, Any], known: dict[int, Any]) -> Any:
    """The value of a Number where its sources have the values `given`."""
    if type(number) is not Number:
        return number
    if number.function is None:
        return given[number.source]
    found = known.get(id(number))
    if found is None:
        parts = [evaluated(each, given, known) for each in number.inputs]
        found = known[id(number)] = number.function(*parts)
        if type(found) is not type(number.value):
            raise TypeError("a number has changed its type")
    return found


def _binary(function: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: Number, other: Any) -> Any:
        if type(other) is Number or type(other) in KINDS:
            return applied(function, self, other)
        return NotImplemented if not isinstance(other, bool) else function(self.look(), other)

    def backward(self: Number, other: Any) -> Any:
        if type(other) in KINDS:
            return applied(function, other, self)
        return NotImplemented if not isinstance(other, bool) else function(other, self.look())

    return forward, backward


def _looking(name: str) -> Callable[..., Any]:
    def method(self: Number, *args: Any) -> Any:
        return getattr(self.look(), name)(*[fixed(x) for x in args])

    return method


def _install(names: Iterable[str]) -> None:
    for name in names:
        forward, backward = _binary(getattr(operator, name))
        short = name.strip("_")
        setattr(Number, f"__{short}__", forward)
        setattr(Number, f"__r{short}__", backward)


def _unary(self: Number, function: Callable[..., Any]) -> Any:
    return applied(function, self)


_install(["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"])
for _name in ("neg", "pos"):
    setattr(Number, f"__{_name}__", functools.partialmethod(_unary, getattr(operator, _name)))
Number.__abs__ = lambda self: applied(abs, self)  # type: ignore[attr-defined]
for _name in (
    "eq", "ne", "lt", "le", "gt", "ge", "bool", "hash", "int", "float", "complex", "index", "round",
    "trunc", "floor", "ceil", "divmod", "rdivmod", "and", "rand", "or", "ror", "xor", "rxor",
    "lshift", "rlshift", "rshift", "rrshift", "invert",
):  # fmt: skip
    setattr(Number, f"__{_name}__", _looking(f"__{_name}__"))

_ir.install_number(Number)
