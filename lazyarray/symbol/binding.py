"""Binding: what is known of a Symbol's inputs, and what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lazyarray._record import ArrayBase
from lazyarray.array import Array, array, asarray
from lazyarray.dtypes import is_inexact
from lazyarray.errors import DTypeError, OptionError, fail, require

from .layers import Layer, function_named
from .program import Call, Entry, Input, Output, Shape
from .replay import Replay, check_dtype

REQUESTS = ("write", "add", "null")


class Types:
    """Shape and dtype of every argument and auxiliary state, in order."""

    __slots__ = ("arguments", "auxiliary")

    def __init__(self, replay: Replay, entries: Sequence[Entry]) -> None:
        aux = auxiliary_names(entries)
        self.arguments: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        self.auxiliary: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        for entry in entries:
            if isinstance(entry, Input):
                node = replay.leaves[entry.name]
                group = self.auxiliary if entry.name in aux else self.arguments
                group[entry.name] = (node.shape, node.dtype)


def auxiliary_names(entries: Sequence[Entry]) -> set[str]:
    """The inputs that layers take as auxiliary states."""
    found: dict[int, Call] = {}
    others: dict[int, Call] = {}
    for call in entries:
        if isinstance(call, Call):
            function = function_named(call.op)
            aux = function.auxiliary if isinstance(function, Layer) else ()
            places = {call.arguments[name].source for name in aux}
            for place, (entry, _) in enumerate(call.sources):
                (found if place in places else others).setdefault(id(entry), call)
    names = set()
    for entry in entries:
        if id(entry) in found and isinstance(entry, Input):
            if id(entry) in others:
                state, argument = found[id(entry)], others[id(entry)]
                fail(OptionError, entry.name,
                     f"is an auxiliary state of {state} and an argument of {argument}",
                     "Give each a Variable of its own.")  # fmt: skip
            names.add(entry.name)
    return names


def starts(entries: Sequence[Entry]) -> dict[str, float]:
    """The numbers that parameters start from, where that is not 0."""
    return {
        e.name: e.init
        for e in entries
        if isinstance(e, Input) and isinstance(e.init, int | float) and not isinstance(e.init, bool)
    }


def parameter_names(entries: Sequence[Entry]) -> set[str]:
    """The inputs that a layer states, labels excepted."""
    found = set()
    for call in entries:
        function = function_named(call.op) if isinstance(call, Call) else None
        if isinstance(function, Layer):
            for name in function.parameters:
                if name != "label" and name in call.arguments:  # type: ignore[union-attr]
                    found.add(call.sources[call.arguments[name].source][0].name)  # type: ignore[union-attr]
    return found


def found_types(
    entries: Sequence[Entry], heads: Sequence[Output], shapes: Mapping[str, Shape],
    dtypes: Mapping[str, np.dtype],
) -> Types:  # fmt: skip
    """The types of all inputs, from what is known of some."""
    replay = Replay(dict(shapes), dict(dtypes))
    replay.run(entries, heads)
    for entry in entries:
        if isinstance(entry, Input):
            check_dtype(entry, replay.leaves[entry.name].dtype)
    return Types(replay, entries)


def by_name(op: str, given: Any, names: Sequence[str]) -> dict[str, Any]:
    """Values by name, from a dict or from a sequence in order."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            fail(
                OptionError,
                op,
                f"there is no argument {unknown[0]!r}",
                f"Known are {', '.join(names)}.",
            )
        return dict(given)
    values = list(given)
    require(len(values) == len(names), OptionError, op,
            f"{len(values)} values for {len(names)} names: {', '.join(names)}")  # fmt: skip
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def is_shape(value: Any) -> bool:
    """Whether `value` says a shape, not an array."""
    return isinstance(value, tuple) or (hasattr(value, "__index__") and not hasattr(value, "shape"))


def held(value: Any) -> Array:
    """The array itself, which the executor shares; what is no array yet is copied."""
    return asarray(value) if isinstance(value, ArrayBase) else array(value)


def as_requests(grad_req: Any, types: Types) -> dict[str, str]:
    """What is done with the gradient of each argument."""
    names = list(types.arguments)
    if isinstance(grad_req, str):
        found = dict.fromkeys(names, grad_req)
    else:
        found = dict.fromkeys(names, "null") | by_name("bind", grad_req, names)
    for name, request in found.items():
        require(request in REQUESTS, OptionError, "bind",
                f"grad_req of {name} is {request!r}, expected {' or '.join(REQUESTS)}")  # fmt: skip
        dtype = types.arguments[name][1]
        if not is_inexact(dtype):
            asked = request != "null" and not isinstance(grad_req, str)
            require(not asked, DTypeError, "bind",
                    f"only floating arguments have gradients, {name} is {dtype}",
                    "Leave it out of grad_req.")  # fmt: skip
            found[name] = "null"
    return found
