"""What holds for every graph that lowering works on, checked after each pass in debug mode."""

from __future__ import annotations

from typing import Any, NoReturn

from lazyarray import _ir

from .plan import ELEMENTWISE, EMPTY, NATIVE, UPDATE, VIEW, Graph


def check(graph: Graph, after: str, before: Graph | None = None) -> None:
    """Raise AssertionError unless `graph` is well formed.

    Parameters
    ----------
    graph : Graph
    after : str
        The pass that made it.
    before : Graph, optional
        What the pass was given: the result must keep the same values, of the same types.
    """
    count = len(graph.ops)
    if {len(graph.attrs), len(graph.types), len(graph.inputs), len(graph.kept)} != {count}:
        fail(after, 0, "the lists of a graph differ in length")
    if before is not None:
        check_promises(graph, before, after)
    for place in range(count):
        if before is None or changed(graph, before, place):
            check_node(graph, place, after)


def changed(graph: Graph, before: Graph, place: int) -> bool:
    """Whether a pass has touched a node; it may not touch types."""
    return (
        graph.ops[place] is not before.ops[place]
        or graph.inputs[place] != before.inputs[place]
        or graph.attrs[place] != before.attrs[place]
    )


def fail(after: str, place: int, message: str) -> NoReturn:
    """Name the pass and the node."""
    raise AssertionError(f"after {after}: node {place}: {message}")


def check_promises(graph: Graph, before: Graph, after: str) -> None:
    """What a pass must leave as it was: places, types, what is kept, and what can fail."""
    if len(graph.ops) != len(before.ops):
        fail(after, 0, "the graph has another length")
    if graph.kept != before.kept:
        fail(after, 0, "other values are kept")
    for name in ("leaf_types", "leaf_const", "leaf_donatable"):
        if getattr(graph, name) != getattr(before, name):
            fail(after, 0, f"other {name}")
    for place, op in enumerate(graph.ops):
        old = before.ops[place]
        if not alike(graph.types[place], before.types[place]):
            fail(after, place, "another type")
        if op is old:
            continue
        if old.fallible:
            fail(after, place, f"{old.name} can fail and is gone")
        if moves(graph, place):
            fail(after, place, "its offset is not that of the node recorded here")
        if op.kind == EMPTY and graph.kept[place]:
            fail(after, place, "is kept but not computed")


def moves(graph: Graph, place: int) -> bool:
    """Whether a node has an offset that is data."""
    kind = graph.ops[place].kind
    return bool(
        (kind == VIEW and graph.attrs[place][1]) or (kind == UPDATE and graph.attrs[place][2])
    )


def check_node(graph: Graph, place: int, after: str) -> None:
    """Inputs before users, and the type that the op gives."""
    op, inputs, kind = graph.ops[place], graph.inputs[place], graph.types[place]
    for source in inputs:
        if not -len(graph.leaf_types) <= source < place:
            fail(after, place, f"reads node {source} too early")
    types = [graph.types[s] if s >= 0 else graph.leaf_types[-s - 1] for s in inputs]
    if op.kind == ELEMENTWISE:
        shape = _ir.broadcast_shapes(*[t.shape for t in types]) if types else kind.shape
        if shape != kind.shape:
            fail(after, place, f"{op.name} of {types} has shape {kind.shape}")
        if op.name != "iota" and op.loop([t.dtype for t in types], kind.dtype) is None:
            fail(after, place, f"{op.name} has no loop from {types} to {kind.dtype}")
    elif op.kind == VIEW:
        if len(types) != 1:
            fail(after, place, "a view of nothing")
        strides, moving = graph.attrs[place]
        check_reach(kind.shape, strides, kind.itemsize, moving, types[0], after, place)
    elif op.kind == UPDATE:
        check_update(graph, place, types, after)
    elif op.kind == NATIVE and op.inplace and not alike(types[0], kind):
        fail(after, place, f"{op.name} writes to a {types[0]}")


def alike(kind: Any, other: Any) -> bool:
    """Whether two types are equal; equal ones may be two objects."""
    return kind is other or (
        kind.dtype is other.dtype and kind.shape == other.shape and kind.device == other.device
    )


def check_update(graph: Graph, place: int, types: list[Any], after: str) -> None:
    """An update keeps its base's type and writes a value of its View's."""
    kind = graph.types[place]
    shape, strides, moving, _, dtype = graph.attrs[place]
    base, value = types
    if not alike(base, kind):
        fail(after, place, f"updates a {base}")
    if value.shape != shape or value.dtype is not dtype:
        fail(after, place, f"writes {value} to {shape}")
    check_reach(shape, strides, dtype.itemsize, moving, base, after, place)


def check_reach(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    itemsize: int,
    moving: bool,
    base: Any,
    after: str,
    place: int,
) -> None:
    """A View lies inside its base."""
    if len(shape) != len(strides):
        fail(after, place, f"{len(strides)} strides for shape {shape}")
    if 0 in shape:
        return
    steps = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    if not moving and min(steps, default=0) < 0:
        fail(after, place, "reaches before its base")
    span = sum(abs(step) for step in steps) + itemsize
    if span > base.nbytes:
        fail(after, place, f"{span} bytes seen of {base}")
