"""Replay: a Symbol's program run through the op functions on typed leaves."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

import lazyarray._bind as _bind
from lazyarray import _ir
from lazyarray._ir import Node, registry
from lazyarray.errors import DTypeError, LazyArrayError, ShapeError, fail, require
from lazyarray.ops.define import Elementwise, as_node

from .layers import Layer, function_named
from .program import Call, Entry, Input, Output, Reference, Shape, mapped, merged, shown

FLOAT32 = np.dtype(np.float32)
UINT64 = np.dtype(np.uint64)


class Unstated(ShapeError):
    """A value of which too little is known to go on."""


@contextmanager
def apart(recording: bool, training: bool) -> Iterator[Any]:
    """Record what never runs as it is: it is no pending work of this thread."""
    recorder = _ir.current()
    outer = recorder.recording, recorder.training, recorder.site
    start = _ir.placeholder((), FLOAT32).serial
    recorder.recording, recorder.training = recording, training
    try:
        yield recorder
    finally:
        recorder.recording, recorder.training, recorder.site = outer
        _bind.withdraw(start)


@dataclass(slots=True)
class Replay:
    """One replay: what is known of the inputs, and what was found on the way.

    A training replay is recorded for gradients by the inputs in `wanted`.
    """

    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, np.dtype]
    training: bool = False
    wanted: frozenset[str] = frozenset()
    partial: bool = False  # pass over what cannot be known, instead of raising
    leaves: dict[str, Node] = field(default_factory=dict)  # by input name
    updates: dict[str, Node] = field(default_factory=dict)  # new values of auxiliary states
    draws: list[tuple[Node, Node]] = field(default_factory=list)  # key and counter
    values: dict[int, tuple[Node | None, ...]] = field(default_factory=dict)  # by entry

    def run(self, entries: Sequence[Entry], heads: Sequence[Output]) -> list[Node | None]:
        """The Nodes of `heads`."""
        with apart(bool(self.wanted), self.training) as recorder:
            outer = recorder.site
            for entry in entries:
                recorder.site = entry.site or outer
                if isinstance(entry, Input):
                    self.values[id(entry)] = (self.leaf(entry),)
                else:
                    self.values[id(entry)] = self.outputs(entry)
            return [self.values[id(entry)][place] for entry, place in heads]

    def leaf(self, entry: Input) -> Node | None:
        """The typed leaf of an input, if its shape is known."""
        shape = known_shape(entry, self.shapes.get(entry.name))
        if shape is None or None in shape:
            return None
        return self.placed(entry, shape, self.dtypes.get(entry.name) or entry.dtype or FLOAT32)

    def placed(self, entry: Input, shape: Shape, dtype: np.dtype) -> Node:
        """A new leaf."""
        node = _ir.placeholder(shape, dtype, _ir.current().device)
        if entry.name in self.wanted:
            node.variable = entry.name
        self.leaves[entry.name] = node
        self.values[id(entry)] = (node,)
        return node

    def draw(self) -> tuple[Node, Node]:
        """Key and counter of a draw: numbers, which every run of the program replaces."""
        pair = (_ir.scalar(0, UINT64), _ir.scalar(0, UINT64))
        self.draws.append(pair)
        return pair

    def outputs(self, call: Call) -> tuple[Node | None, ...]:
        """The Nodes that a call records."""
        function = function_named(call.op)
        found: tuple[Node | None, ...]
        try:
            if isinstance(function, Layer):
                self.state_parameters(call, function)
            for entry, place in call.sources:
                if self.values[id(entry)][place] is None:
                    unstated(call, entry)
            found = self.replayed(call, function)
        except Unstated:
            if not self.partial:
                raise
            return (None,) * call.outputs
        except LazyArrayError as error:
            raise named(error, call) from error
        except Exception as error:
            error.add_note(f"In symbol {call}.")
            raise
        if len(found) != call.outputs:
            fail(ShapeError, str(call), f"gave {len(found)} outputs instead of {call.outputs}")
        return found

    def replayed(self, call: Call, function: Any) -> tuple[Node, ...]:
        """Call the function with Nodes in place of references."""
        nodes = [self.values[id(entry)][place] for entry, place in call.sources]

        def filled(value: Any) -> Any:
            return nodes[value.source] if type(value) is Reference else value

        arguments = {name: mapped(value, filled) for name, value in call.arguments.items()}
        if isinstance(function, Elementwise):
            return (function(*arguments["inputs"]),)
        if isinstance(function, Layer):
            return self.layer_outputs(call, function, arguments)
        signature = inspect.signature(function)
        for name, value in arguments.items():
            arguments[name] = as_argument(signature.parameters[name], value)
        bound = inspect.BoundArguments(signature, OrderedDict(arguments))
        found = function(*bound.args, **bound.kwargs)
        return (found,) if isinstance(found, Node) else tuple(found)

    def layer_outputs(
        self, call: Call, layer: Layer, arguments: dict[str, Any]
    ) -> tuple[Node, ...]:
        """The output of a layer; its auxiliary states are put aside."""
        if layer.random:
            arguments["draw"] = self.draw
        found = layer(**arguments)
        if not layer.auxiliary:
            return (found,)
        for name, new in zip(layer.auxiliary, found[1:], strict=True):
            entry, _ = call.sources[call.arguments[name].source]
            if new is not self.values[id(entry)][0]:
                self.updates[entry.name] = new
        return (found[0],)

    # ---- parameters

    def state_parameters(self, call: Call, layer: Layer) -> None:
        """State, or check, the shapes of a layer's parameters."""
        if layer.stated is None:
            return
        data = self.source(call, "data")
        if data is None:
            unstated(call, call.sources[call.arguments["data"].source][0])
        options = {
            name: value
            for name, value in (layer.defaults | call.arguments).items()
            if type(value) is not Reference and name not in layer.parameters
        }
        shapes = layer.stated(data.shape, **options)
        for name in layer.parameters:
            reference = call.arguments.get(name)
            if reference is not None:
                self.state(call, name, call.sources[reference.source], shapes[name], data.dtype)

    def source(self, call: Call, name: str) -> Node | None:
        """The Node given for a parameter."""
        entry, place = call.sources[call.arguments[name].source]
        return self.values[id(entry)][place]

    def state(
        self, call: Call, name: str, source: Output, shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        """State the type of one parameter, or compare it with what is known."""
        entry, place = source
        node = self.values[id(entry)][place]
        if node is not None:
            found = f"got {entry.name} of shape {node.shape}"
            require(node.shape == shape, ShapeError, "", f"{name} must have shape {shape}, {found}")
            return
        if not isinstance(entry, Input):
            unstated(call, entry)
        known = known_shape(entry, self.shapes.get(entry.name))
        try:
            whole = merged(known, shape, entry.name)
        except ValueError as error:
            raise ShapeError(f"{name} must have shape {shape}, but {error}") from None
        self.placed(entry, whole, self.dtypes.get(entry.name) or entry.dtype or dtype)


def known_shape(entry: Input, given: Shape | None) -> Shape | None:
    """What is declared and given of an input's shape."""
    if given is None:
        return entry.shape
    try:
        return merged(entry.shape, given, entry.name)
    except ValueError as error:
        remedy = "Give it the declared shape, or compose without one."
        raise ShapeError(f"bind: {error}\n  {remedy}") from None


def unstated(call: Call, entry: Entry) -> NoReturn:
    """Raise for a source that is not known when a call needs it."""
    if isinstance(entry, Call):
        raise Unstated(f"{call}: the shape of {entry} is not known")
    name = entry.name
    shape = "no shape" if entry.shape is None else f"shape {shown(entry.shape)}"
    raise Unstated(
        f"{call}: Variable {name!r} has {shape}, and only a layer that takes it as a parameter "
        f"states one\n  Give it to bind or infer_shape, as {name}=(...), or to the Variable."
    )


def named(error: LazyArrayError, call: Call) -> LazyArrayError:
    """The same error, saying in which symbol."""
    site = ""
    if call.site is not None:
        code, offset = call.site
        line = next((n for a, b, n in code.co_lines() if a <= offset < b), code.co_firstlineno)
        site = f"  Composed at {code.co_filename}:{line}."
    return type(error)(f"{call}: {error}" + (f"\n{site}" if site else ""))


def as_argument(parameter: inspect.Parameter, value: Any) -> Any:
    """Numbers as Nodes where only Nodes are taken."""
    kind = str(parameter.annotation)
    if parameter.kind is parameter.VAR_POSITIONAL or kind.startswith("Sequence[Node]"):
        return type(value)(as_node(part) for part in value)
    if kind == "Node" or (kind == "Node | None" and value is not None):
        return as_node(value)
    return value


def copied(node: Node) -> Node:
    """A value of its own for an output that is a leaf."""
    kind = "stop_gradient" if node.dtype.kind == "b" else "positive"
    return registry[kind](node)


def check_dtype(entry: Input, dtype: np.dtype) -> None:
    """Raise when a value has not the dtype that the input declares."""
    declared = entry.dtype
    require(declared is None or declared == dtype, DTypeError, "bind",
            f"{entry.name} is declared {declared}, got {dtype}", "Convert it first.")  # fmt: skip
