"""Simplify: the recorded graph says the same with fewer nodes.

A pass is a function from a graph to a graph of the same length: places name nodes everywhere (what
is kept, whose offset is read, which line is blamed), so a node that is not needed stays in its
place, as a view of what replaces it or as an empty value that nobody reads.

No pass changes a bit of a result: none touches a rounding, a NaN or the sign of a zero. And none
drops what a value depends on, except where it depends on it twice: a result fails with everything
it was made of, so ``where(c, x, x)`` stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import passes
from lazyarray._ir import c_strides, registry
from lazyarray.dtypes import BFLOAT16

from .plan import ELEMENTWISE, EMPTY, NATIVE, VIEW, Graph
from .validate import alike, check

Pass = Callable[[Graph], Graph]

COPIES = {"positive", "stop_gradient"}
INVOLUTIONS = {"negative", "invert", "conjugate"}
IDEMPOTENT = {"absolute", "floor", "ceil", "trunc", "rint"}
CHOICES = {"maximum", "minimum", "fmax", "fmin", "bitwise_and", "bitwise_or"}  # of x and x: x
# Their operands may be exchanged without a change of bits. Maximum and minimum choose a zero by its
# place, and a complex product rounds its two halves differently.
COMMUTATIVE = {
    "add",
    "multiply",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "equal",
    "not_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
}
FOLDS = {"sum", "prod", "min", "max", "any", "all"}  # of one element: that element

DEBUG = os.environ.get("LAZYARRAY_DEBUG", "") not in ("", "0")


class Draft:
    """A copy of a graph that a pass rewrites, node after node."""

    def __init__(self, graph: Graph) -> None:
        self.before = graph
        self.ops = list(graph.ops)
        self.attrs = list(graph.attrs)
        self.types = graph.types
        self.inputs = list(graph.inputs)
        self.moved: dict[int, int] = {}  # places whose value is that of another source

    def type_of(self, source: int) -> Any:
        """Shape and dtype of a node's or a leaf's value."""
        return self.types[source] if source >= 0 else self.before.leaf_types[-source - 1]

    def visit(self, place: int) -> tuple[int, ...]:
        """Let a node read what has taken the place of its inputs; its inputs."""
        inputs = self.inputs[place]
        if self.moved and not self.moved.keys().isdisjoint(inputs):
            inputs = tuple([self.moved.get(source, source) for source in inputs])
            self.inputs[place] = inputs
        return inputs

    def see(self, place: int, source: int) -> None:
        """Let a node be another value of as many elements, seen in its own shape."""
        kind = self.types[place]
        if alike(kind, self.type_of(source)):
            self.moved[place] = source
        self.ops[place] = registry["view"]
        self.attrs[place] = (c_strides(kind.shape, kind.itemsize), False)
        self.inputs[place] = (source,)

    def graph(self) -> Graph:
        """The rewritten graph."""
        old = self.before
        return Graph(
            self.ops,
            self.attrs,
            self.types,
            self.inputs,
            old.kept,
            old.leaf_types,
            old.leaf_const,
            old.leaf_donatable,
        )


# ---- views


def views(graph: Graph) -> Graph:
    """Let a view of a view read what that one reads, and a view of everything be its base.

    Views that start anywhere are left alone: where they start is data.
    """
    draft = Draft(graph)
    for place, op in enumerate(graph.ops):
        inputs = draft.visit(place)
        if op.kind != VIEW or graph.attrs[place][1]:
            continue
        kind, base = graph.types[place], inputs[0]
        if base >= 0 and draft.ops[base].kind == VIEW and not draft.attrs[base][1]:
            strides = through(kind, draft.attrs[place][0], graph.types[base], draft.attrs[base][0])
            if strides is not None:
                base = draft.inputs[base][0]
                draft.attrs[place] = (strides, False)
                draft.inputs[place] = (base,)
        if alike(kind, draft.type_of(base)) and contiguous(kind, draft.attrs[place][0]):
            draft.see(place, base)
    return draft.graph()


def contiguous(kind: Any, strides: tuple[int, ...]) -> bool:
    """Whether strides are those of C order, where there is more than one step to take."""
    wanted = c_strides(kind.shape, kind.itemsize)
    return strides == wanted or all(
        stride == step
        for extent, stride, step in zip(kind.shape, strides, wanted, strict=True)
        if extent != 1
    )


def through(
    kind: Any, strides: tuple[int, ...], base: Any, base_strides: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The strides that see through two views at once; None where no strides do.

    `strides` step through the C-contiguous value of `base`, which is itself seen by `base_strides`.
    """
    if kind.itemsize != base.itemsize or 0 in kind.shape:
        return None
    axes = mergeable(base.shape, c_strides(base.shape, base.itemsize), base_strides)
    reach = [0] * len(axes)
    out = []
    for extent, stride in zip(kind.shape, strides, strict=True):
        if extent == 1 or stride == 0:
            out.append(stride)
            continue
        found = next((i for i, (_, step, _) in enumerate(axes) if 0 < step <= stride), None)
        if found is None or stride % axes[found][1]:
            return None
        count = stride // axes[found][1]
        reach[found] += (extent - 1) * count
        out.append(count * axes[found][2])
    if any(far >= axis[0] for far, axis in zip(reach, axes, strict=True)):
        return None
    return tuple(out)


def mergeable(
    shape: tuple[int, ...], steps: tuple[int, ...], strides: tuple[int, ...]
) -> list[tuple[int, int, int]]:
    """Axes as (extent, step, stride), those that one step walks through made one."""
    axes: list[tuple[int, int, int]] = []
    for extent, step, stride in zip(shape, steps, strides, strict=True):
        if extent == 1:
            continue
        if axes and axes[-1][2] == extent * stride:
            axes[-1] = (axes[-1][0] * extent, step, stride)
        else:
            axes.append((extent, step, stride))
    return axes


# ---- identities


def identities(graph: Graph) -> Graph:
    """Let a node that gives an earlier value back be that value."""
    draft = Draft(graph)
    for place, op in enumerate(graph.ops):
        inputs = draft.visit(place)
        if not inputs:
            continue
        if op.kind == ELEMENTWISE:
            source = given_back(draft, place, op.name, inputs)
        elif op.kind == NATIVE and op.name in FOLDS:
            source = inputs[0] if folds_nothing(draft, place, inputs[0]) else None
        else:
            continue
        if source is not None:
            draft.see(place, source)
    return draft.graph()


def given_back(draft: Draft, place: int, name: str, inputs: tuple[int, ...]) -> int | None:
    """The earlier value that an elementwise node equals, if there is one."""
    source = inputs[0]
    kind = draft.types[place]
    if name == "cast":
        return before_casts(draft, place, source)
    if name in COPIES:
        # A copy of a part gathers it once for all who read it.
        return source if plain(draft, source) and alike(kind, draft.type_of(source)) else None
    if name in CHOICES:
        if len(inputs) == 2 and inputs[1] == source and alike(kind, draft.type_of(source)):
            return source
        return None
    if source < 0 or draft.ops[source].name != name or not alike(kind, draft.types[source]):
        return None
    if name in IDEMPOTENT:
        return source
    if name in INVOLUTIONS and alike(kind, draft.type_of(draft.inputs[source][0])):
        return draft.inputs[source][0]
    return None


def plain(draft: Draft, source: int) -> bool:
    """Whether a value is read from the start of a buffer of its own."""
    return source < 0 or draft.ops[source].kind != VIEW


def before_casts(draft: Draft, place: int, source: int) -> int | None:
    """What a cast gives back; a second cast to a wider dtype comes straight from the first's."""
    kind, middle = draft.types[place], draft.type_of(source)
    if alike(kind, middle):
        return source
    if source < 0 or draft.ops[source].name != "cast":
        return None
    first = draft.inputs[source][0]
    start = draft.type_of(first)
    if start.shape != kind.shape or not holds(start.dtype, middle.dtype):
        return None
    if alike(kind, start):
        return first
    if holds(middle.dtype, kind.dtype):
        draft.inputs[place] = (first,)
    return None


def holds(narrow: np.dtype, wide: np.dtype) -> bool:
    """Whether every value of one dtype is exactly a value of the other."""
    if narrow == wide or narrow.kind == "b":
        return True
    small, large = narrow.itemsize, wide.itemsize
    if narrow is BFLOAT16 or wide is BFLOAT16:
        return wide.itemsize > 2 if wide.kind in "fc" else narrow.kind in "iu" and small == 1
    match narrow.kind + wide.kind:
        case "ii" | "uu" | "ff" | "cc":
            return small < large
        case "ui":
            return small < large
        case "fc":
            return 2 * small <= large
        case "if" | "uf":
            return 2 * small <= large  # 8 bits fit float16's 11, 16 float32's 24, 32 float64's 53
        case "ic" | "uc":
            return 4 * small <= large
    return False


def folds_nothing(draft: Draft, place: int, source: int) -> bool:
    """Whether a reduction has one element to each result, of the same dtype."""
    kind, whole = draft.types[place], draft.type_of(source)
    return bool(kind.size == whole.size > 0 and kind.dtype is whole.dtype)


# ---- common subexpressions, dead code


def common(graph: Graph) -> Graph:
    """Compute once what is computed twice.

    Left alone are views that start anywhere (equal offsets are a coincidence), values to be written
    to, what can fail (its line would be another's), and the flat index, which costs nothing.
    """
    draft = Draft(graph)
    first: dict[tuple[Any, ...], int] = {}
    for place, op in enumerate(graph.ops):
        inputs = draft.visit(place)
        kind = op.kind
        if not inputs or op.fallible:
            continue
        if kind == VIEW:
            if graph.attrs[place][1]:
                continue
        elif kind == ELEMENTWISE:
            if op.name in COMMUTATIVE and graph.types[place].dtype.kind != "c":
                inputs = tuple(sorted(inputs))
        elif kind != NATIVE or op.inplace:
            continue
        key = (op.id, graph.attrs[place], graph.types[place].id, inputs)
        found = first.setdefault(key, place)
        if found != place:
            draft.see(place, found)
    return draft.graph()


def dead(graph: Graph) -> Graph:
    """Leave out what nobody keeps or reads; what can fail still runs."""
    wanted = list(graph.kept)
    draft = Draft(graph)
    for place in range(len(graph.ops) - 1, -1, -1):
        op = graph.ops[place]
        if wanted[place] or op.fallible:
            for source in graph.inputs[place]:
                if source >= 0:
                    wanted[source] = True
        elif op.kind != EMPTY:
            draft.ops[place] = registry["empty"]
            draft.attrs[place] = None
            draft.inputs[place] = ()
    return draft.graph()


PASSES: dict[str, Pass] = {
    "identities": identities,
    "views": views,
    "common": common,
    "dead": dead,
}


needless = 0  # nodes taken out in this process


def simplify(graph: Graph) -> Graph:
    """Run the enabled passes."""
    global needless
    if DEBUG:
        check(graph, "recording")
    simple = graph
    for name, run in PASSES.items():
        if passes.enabled(name):
            before, simple = simple, run(simple)
            if DEBUG:
                check(simple, name, before)
    needless += sum(
        new is not old and old.kind != VIEW for old, new in zip(graph.ops, simple.ops, strict=True)
    )
    return simple


def counters() -> dict[str, float]:
    """Count what `stats` shows."""
    return {"needless": needless}
