"""One traced call: what it recorded becomes a program that is run again."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazyarray import _handle, _jit, _trace, number, runtime
from lazyarray._handle import shadow
from lazyarray._jit import Call, Template, Unfit, Variant
from lazyarray._record import ArrayBase
from lazyarray.autodiff import CustomOutput
from lazyarray.number import Number
from lazyarray.random.legacy import state as old_stream

from .reach import ATTRIBUTE, SCALARS, Search


class Tracer:
    """One traced call, and what becomes of it."""

    def __init__(
        self, fn: Callable[..., Any], call: Call, args: tuple[Any, ...], kwargs: dict[str, Any],
        data: set[int], static: frozenset[int],
    ) -> None:  # fmt: skip
        self.static = static
        self.fn = fn
        self.given = call
        self.args = args
        self.kwargs = kwargs
        self.data = data
        self.trace = _trace.Trace()
        self.variant: Variant | None = None
        self.reason: str | None = None
        self.again = False
        self.result: Any = None

    def call(self) -> Any:
        """Call the function while this thread is watched."""
        for storage in self.given.storages:
            self.trace.meet(storage, _jit.node_in(storage).serial, _jit.kind_of(storage))
        with self.trace:
            numbers = iter(range(len(self.given.numbers)))
            args = [
                x if i in self.static else self.as_data(x, numbers) for i, x in enumerate(self.args)
            ]
            kwargs = {name: self.as_data(x, numbers) for name, x in self.kwargs.items()}
            result = self.fn(*args, **kwargs)
            del args, kwargs
        self.result = result
        return plain_numbers(result)

    def as_data(self, x: Any, places: Iterator[int]) -> Any:
        """An argument whose numbers are data; those in lists and dicts stay as they are."""
        kind = type(x)
        if kind in number.KINDS:
            place = next(places)
            if place not in self.data:
                return x
            with_source = Number(x, place)
            return with_source
        if kind is tuple:
            return tuple([self.as_data(part, places) for part in x])
        for place in numbers_in(x, places):
            self.trace.seen.add(place)
        return x

    def finish(self) -> None:
        """Make a variant of what was recorded, or say why there is none."""
        trace = self.trace
        if trace.reason is None:
            try:
                self.variant = self.made()
            except Unfit as error:
                trace.refuse(str(error))
            except Again as error:
                trace.refuse(str(error), True)
        self.reason, self.again = trace.reason, trace.again
        if any(type(source) is tuple for source in trace.seen):
            self.variant, self.reason = None, self.reason or "it looks at a number of its own"
        self.result = None

    def start_deferred(self) -> None:
        """Start what was asked to be started meanwhile."""
        for targets, together in self.trace.deferred:
            (runtime.flush_step if together else runtime.flush)(targets)

    def made(self) -> Variant:
        """The variant of this call."""
        trace, call = self.trace, self.given
        again = Call(self.args, self.kwargs, self.static)
        if again.skeleton != call.skeleton or any(
            a is not b for a, b in zip(again.arrays, call.arrays, strict=False)
        ):
            raise Unfit("it changes a container that it is given")
        index = {id(storage): i for i, storage in enumerate(call.storages)}
        closed = [e for key, e in trace.touched.items() if key not in index]
        self.places = dict(index)
        for i, entry in enumerate(closed):
            self.places[id(entry[0])] = len(call.storages) + i
        self.shapes: list[Shape] = []
        self.new: dict[int, int] = {}  # handle -> place in shapes
        self.outputs: list[Any] = []
        self.owners: dict[int, int] = {}  # new Storage -> its first shape
        self.built: list[Any] = []
        result = self.part(self.result)
        self.check_escapes()
        stores = []
        written = set()
        for entry in trace.touched.values():
            storage, first = entry[0], entry[1]
            node = _jit.node_in(storage)
            if node.serial != (entry[3] or first):
                raise Again("another thread writes what it reads")
            if entry[3] and node.serial != first:
                self.check_tape(node, _jit.variable_in(storage))
                stores.append((self.places[id(storage)], len(self.outputs)))
                written.add(self.places[id(storage)])
                self.outputs.append(node)
        self.check_tapes()
        values, moved, moving = self.values_and_shifts(call, trace, closed)
        numbers: list[Any] = []
        for serial, (each, dtype) in trace.numbers.items():
            values[serial] = len(self.places) + len(numbers)
            numbers.append((each, dtype))
        template = Template(self.outputs, values, written, moved, trace.literals)
        for serial, owner in trace.versions.items():
            if owner is None and serial in template.leaf_serials:
                for entry in trace.touched.values():
                    _jit.part(entry[0])
                raise Again("two arrays hold one value")
        variant = Variant(template)
        variant.numbers = numbers
        variant.bare = not numbers and not trace.effects
        variant.effects = list(trace.effects)
        variant.stores = stores
        variant.shapes = self.shapes
        variant.result = result
        variant.single, variant.scalar = -1, False
        if type(result) is New and len(self.shapes) == 1:
            shape = self.shapes[0]
            if shape.output >= 0 and shape.whole:
                variant.single, variant.scalar = shape.output, shape.is_scalar
        variant.moving = moving
        variant.closed = [entry[0] for entry in closed]
        variant.closed_types = [trace.kinds[id(entry[0])] for entry in closed]
        variant.tied = self.tied(call, trace, index)
        own = [a for a in call.arrays if _handle.variable_of(a) is not None]
        if closed:
            for i, storage in enumerate(call.storages):
                if _jit.variable_in(storage) is not None:
                    variant.tied[i] = (storage, call.offsets[i])
        targets = {id(entry[0]) for entry in closed}
        targets |= {id(storage) for storage, _ in variant.tied.values()}
        roots = call.objects
        if id(old_stream._state.storage) in targets:
            roots = [*roots, old_stream]  # which functions of a module draw from
        search = Search(self.fn, roots, own, targets | index.keys())
        for i, storage in enumerate(call.storages):
            if id(storage) in search.found:
                variant.tied[i] = (storage, call.offsets[i])
        variant.guards = search.guards(targets - {id(a.storage) for a in own})
        for (_, name), (holder, value) in trace.conditions.items():
            variant.guards.append((ATTRIBUTE, holder, name, value))
        return variant

    def values_and_shifts(
        self, call: Call, trace: Any, closed: list[Any]
    ) -> tuple[dict[int, int], dict[int, int], list[tuple[int, int]]]:
        """Which values take the place of leaves, and which Views move with an argument."""
        values = {}
        for entry in trace.touched.values():
            values[entry[1]] = self.places[id(entry[0])]
        movable = {}
        for i, storage in enumerate(call.storages):
            handles = [a for a in call.arrays if a.storage is storage]
            if all(_jit.is_moving(a) for a in handles):
                movable[id(storage)] = (i, call.offsets[i])
        moved: dict[int, int] = {}
        moving: list[tuple[int, int]] = []
        shift_of: dict[int, int] = {}
        for serial, owner in trace.versions.items():
            if owner in movable:
                if owner not in shift_of:
                    shift_of[owner] = len(moving)
                    moving.append(movable[owner])
                moved[serial] = shift_of[owner]
        self.shift_of = {movable[owner][0]: place for owner, place in shift_of.items()}
        return values, moved, moving

    def tied(self, call: Call, trace: Any, index: dict[int, int]) -> dict[int, tuple[Any, int]]:
        """Argument Storages that the function also reaches another way."""
        own = {id(a) for a in call.arrays}
        found = {}
        for key, i in index.items():
            entry = trace.touched[key]
            if any(handle not in own for handle in entry[2]):
                found[i] = (entry[0], call.offsets[i])
        shared = [owner for owner in trace.versions.values() if owner is None]
        if shared:
            for key, i in index.items():
                found.setdefault(i, (trace.touched[key][0], call.offsets[i]))
        return found

    # ---- results

    def part(self, x: Any) -> Any:
        """How a part of the result is put together."""
        if isinstance(x, ArrayBase):
            for i, given in enumerate(self.given.arrays):
                if x is given:
                    return Given(i)
            if id(x) not in self.trace.handles:
                return Same(x)
            return New(self.shape_of(x))
        if type(x) is Number:
            return Computed(x)
        kind = type(x)
        if kind in (list, dict) and any(x is each for each in self.given.containers):
            raise Unfit("it returns a container that it is given")
        if kind in (tuple, list):
            return Group(kind, [self.part(each) for each in x])
        if kind is dict:
            return Mapped(list(x), [self.part(each) for each in x.values()])
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return Group(kind._make, [self.part(each) for each in x])
        if isinstance(x, (*SCALARS, np.generic, np.dtype, slice, type(...), type)):
            return Same(x)
        raise Unfit(f"it returns an object of type {kind.__name__}")

    def shape_of(self, x: Any) -> int:
        """The place of a handle among the new ones."""
        found = self.new.get(id(x))
        if found is not None:
            return found
        storage = x.storage
        place = self.new[id(x)] = len(self.shapes)
        moving = _jit.is_moving(x)
        view = (shadow(x), _jit.offset_of(x), moving, x.is_scalar, _jit.is_whole(x))
        self.built.append(x)
        if id(storage) in self.places:
            self.shapes.append(Shape(-1, self.places[id(storage)], -1, *view))
        elif id(storage) in self.owners:
            self.shapes.append(Shape(-1, -1, self.owners[id(storage)], *view))
        else:
            if _jit.variable_in(storage) is not None:
                raise Unfit("it returns an array with attach_grad")
            self.owners[id(storage)] = place
            self.shapes.append(Shape(len(self.outputs), -1, -1, *view))
            self.outputs.append(_jit.node_in(storage))
        return place

    def check_tapes(self) -> None:
        """Refuse results whose gradient is a function of the user's."""
        for node in self.outputs:
            if type(node.variable) is CustomOutput:
                raise Unfit("its result has a gradient of its own")

    def check_tape(self, node: Any, variable: Any) -> None:
        """Refuse a written array that a gradient would go through."""
        if node.taped or (node.variable is not None and node.variable is not variable and variable):
            raise Unfit("what it writes is recorded for a gradient")
        if type(node.variable) is CustomOutput:
            raise Unfit("what it writes is recorded for a gradient")

    def check_escapes(self) -> None:
        """Refuse when something that was made is held by more than the result."""
        if self.escaped():
            gc.collect()
            if self.escaped():
                raise Again("it keeps an array that it makes")

    def escaped(self) -> bool:
        """Whether a new Storage is held by more than the handles that are returned."""
        held: dict[int, int] = {}
        for x in self.built:
            held[id(x.storage)] = held.get(id(x.storage), 0) + 1
        storages = self.trace.storages
        # Held by the dict of Storages and by the call of getrefcount.
        return any(sys.getrefcount(storages[key]) - 2 > held.get(key, 0) for key in list(storages))


class Again(Exception):
    """A traced call cannot be run again, but the next may."""


def plain_numbers(x: Any) -> Any:
    """A result whose Numbers are Python's again."""
    kind = type(x)
    if kind is Number:
        return x.value
    if kind in (tuple, list) and any(type(y) in (Number, tuple, list, dict) for y in x):
        if kind is tuple:
            return tuple([plain_numbers(part) for part in x])
        x[:] = [plain_numbers(part) for part in x]
    elif kind is dict:
        for name, part in x.items():
            x[name] = plain_numbers(part)
    return x


def numbers_in(x: Any, places: Iterator[int]) -> Iterator[int]:
    """The places of the numbers in lists, dicts and named tuples."""
    if type(x) in number.KINDS:
        yield next(places)
    elif isinstance(x, dict):
        for part in x.values():
            yield from numbers_in(part, places)
    elif isinstance(x, list | tuple):
        for part in x:
            yield from numbers_in(part, places)


@dataclass(frozen=True, slots=True)
class Shape:
    """A handle that a call makes: on a new Storage, on one it was given, or beside another one."""

    output: int
    storage: int
    owner: int
    view: Any
    offset: int
    moving: bool
    is_scalar: bool
    whole: bool

    def handle(
        self, nodes: list[Any], storages: list[Any], made: list[Any], variant: Variant, call: Call
    ) -> Any:
        """Make it."""
        if self.output >= 0:
            first = _jit.new_handle(nodes[self.output], self.is_scalar)
            if self.whole:
                return first
            return _jit.handle_on(
                first.storage, self.view, self.offset, 0, self.moving, self.is_scalar
            )
        shift = 0
        if self.storage >= 0:
            storage = storages[self.storage]
            if self.moving:
                for index, offset in variant.moving:
                    if index == self.storage:
                        shift = call.offsets[index] - offset
        else:
            storage = made[self.owner].storage
        return _jit.handle_on(storage, self.view, self.offset, shift, self.moving, self.is_scalar)


@dataclass(frozen=True, slots=True)
class Given:
    """An array that was an argument."""

    place: int

    def build(self, call: Call, made: list[Any], given: dict[Any, Any]) -> Any:
        """Take it."""
        return call.arrays[self.place]


@dataclass(frozen=True, slots=True)
class Same:
    """Something that every call returns."""

    value: Any

    def build(self, call: Call, made: list[Any], given: dict[Any, Any]) -> Any:
        """Take it."""
        return self.value


@dataclass(frozen=True, slots=True)
class New:
    """A new array."""

    place: int

    def build(self, call: Call, made: list[Any], given: dict[Any, Any]) -> Any:
        """Take it."""
        return made[self.place]


@dataclass(frozen=True, slots=True)
class Computed:
    """A Python number that was computed from others."""

    number: Number

    def build(self, call: Call, made: list[Any], given: dict[Any, Any]) -> Any:
        """Compute it."""
        return number.evaluated(self.number, given, {})


@dataclass(frozen=True, slots=True)
class Group:
    """A tuple or list."""

    kind: Any
    parts: list[Any]

    def build(self, call: Call, made: list[Any], given: dict[Any, Any]) -> Any:
        """Build it."""
        return self.kind([part.build(call, made, given) for part in self.parts])


@dataclass(frozen=True, slots=True)
class Mapped:
    """A dict."""

    names: list[Any]
    parts: list[Any]

    def build(self, call: Call, made: list[Any], given: dict[Any, Any]) -> Any:
        """Build it."""
        return {
            name: part.build(call, made, given)
            for name, part in zip(self.names, self.parts, strict=True)
        }
