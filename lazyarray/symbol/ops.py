"""Functions that make symbols: every registered op, and the layers."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from lazyarray._ir import registry
from lazyarray.errors import OptionError, fail, require
from lazyarray.lift import ALIASES, HIDDEN, named
from lazyarray.ops.define import Elementwise
from lazyarray.ops.host import HostOp

from .layers import LAYERS, Layer
from .making import Variable
from .program import fresh_name
from .symbol import Symbol, recorded

SCALARS = (
    "int",
    "float",
    "str",
    "bool",
    "int | None",
    "str | None",
    "bool | None",
    "Shape",
    "Pair",
)


def lifted_elementwise(op: Elementwise) -> Callable[..., Symbol]:
    """An elementwise op on Symbols and numbers."""

    def function(
        *inputs: Any, name: str | None = None, attr: Mapping[str, str] | None = None
    ) -> Symbol:
        if len(inputs) != op.nin:
            raise TypeError(f"{op.name}() takes {op.nin} symbols, got {len(inputs)}")
        require_symbol(op.name, inputs)
        return recorded(op.name, {"inputs": inputs}, 1, name, attr)

    return published(named(function, op.name, op.__doc__))


def lifted_function(op: Any) -> Callable[..., Symbol]:
    """Another op: Symbols stand where Nodes do."""
    signature = inspect.signature(op)
    label = getattr(op, "name", None) or op.__name__
    fixed = [p.name for p in signature.parameters.values() if str(p.annotation) in SCALARS]

    def function(
        *args: Any, name: str | None = None, attr: Mapping[str, str] | None = None, **options: Any
    ) -> Symbol:
        try:
            bound = signature.bind(*args, **options)
        except TypeError as error:
            raise TypeError(f"{label}() {error}") from None
        for key in fixed:
            if isinstance(bound.arguments.get(key), Symbol):
                raise TypeError(f"{label}: {key} is an attribute, not a Symbol")
        require_symbol(label, bound.arguments.values())
        count = output_count(op, label, bound.arguments)
        return recorded(label, bound.arguments, count, name, attr)

    function.__signature__ = with_name(signature)  # type: ignore[attr-defined]
    return published(named(function, label, op.__doc__))


def require_symbol(op: str, values: Any) -> None:
    """Raise unless a Symbol is among the values."""
    found = []

    def walk(value: Any) -> None:
        if isinstance(value, list | tuple):
            for part in value:
                walk(part)
        elif isinstance(value, Symbol):
            found.append(value)

    walk(list(values))
    if not found:
        raise TypeError(f"{op}: expected a Symbol among the arguments\n  For values, use la.{op}.")


def output_count(op: Any, name: str, arguments: Mapping[str, Any]) -> int:
    """How many outputs a call has."""
    if isinstance(op, HostOp):
        return op.outputs(arguments)
    kind = str(inspect.signature(op).return_annotation)
    if kind in ("Node", "Any"):
        return 1
    if re.fullmatch(r"tuple\[Node(, Node)*\]", kind):
        return kind.count("Node")
    if kind == "tuple[Node, ...]":
        return len(arguments["arrays"])
    if "indices_or_sections" in arguments:
        sections = arguments["indices_or_sections"]
        return int(sections) if hasattr(sections, "__index__") else len(tuple(sections)) + 1
    raise TypeError(f"{name}: the number of its outputs is not known before it is bound")


# ---- layers


def lifted_layer(layer: Layer) -> Callable[..., Symbol]:
    """A layer: parameters that are not given become Variables named after it."""
    signature = layer.signature
    takes = [
        p.name
        for p in signature.parameters.values()
        if str(p.annotation) in ("Node", "Node | None")
    ]

    def function(
        *args: Any, name: str | None = None, attr: Mapping[str, str] | None = None, **options: Any
    ) -> Symbol:
        try:
            bound = signature.bind(*args, **options)
        except TypeError as error:
            raise TypeError(f"{layer.name}() {error}") from None
        bound.apply_defaults()
        arguments = bound.arguments
        structure = {key: value for key, value in arguments.items() if key not in takes}
        if layer.check is not None:
            layer.check(**structure)
        absent = () if layer.absent is None else layer.absent(**structure)
        label = name or fresh_name(layer.name)
        for key in takes:
            arguments[key] = parameter(layer, label, key, arguments[key], absent)
        present = {key: value for key, value in arguments.items() if value is not None}
        return recorded(layer.name, present, 1, label, attr)

    function.__signature__ = with_name(signature)  # type: ignore[attr-defined]
    return published(named(function, layer.name, layer.__doc__))


def parameter(layer: Layer, label: str, key: str, given: Any, absent: Any) -> Symbol | None:
    """A layer's argument: what is given, or a Variable of its own."""
    if given is not None:
        if not isinstance(given, Symbol):
            raise TypeError(f"{label}: {key} must be a Symbol, got {type(given).__name__}")
        require(key not in absent, OptionError, label, f"{layer.name} without {key} was given one")
        return given
    if key in absent:
        return None
    if key not in layer.parameters:
        fail(OptionError, label, f"{layer.name} needs {key}")
    return Variable(f"{label}_{key}", init=layer.initial.get(key))


def with_name(signature: inspect.Signature) -> inspect.Signature:
    """A signature with `name` and `attr` added, which every symbol takes."""
    extra = [
        inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, default=None)
        for each in ("name", "attr")
    ]
    parts = list(signature.parameters.values())
    return signature.replace(parameters=[*parts, *extra], return_annotation="Symbol")


def published(function: Any) -> Any:
    """The function as one of `la.symbol`."""
    function.__module__ = "lazyarray.symbol"
    return function


OPS = {
    name: op
    for name, op in registry.items()
    if name not in HIDDEN and "." not in name and not name.startswith(("_", "philox"))
}
NAMES = [*OPS, *(alias for alias, name in ALIASES.items() if name in OPS), *LAYERS]


@functools.cache
def lifted(name: str) -> Callable[..., Symbol]:
    """The function of that name; made at its first use, because reading signatures is slow.

    Raises
    ------
    KeyError
        When there is none.
    """
    if name in LAYERS:
        return lifted_layer(LAYERS[name])
    op = OPS[ALIASES.get(name, name) if name not in OPS else name]
    return lifted_elementwise(op) if isinstance(op, Elementwise) else lifted_function(op)
