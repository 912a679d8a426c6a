"""Stencils: an update of a part of an array that reads views shifted against the part.

Such an update is done in place, row by row, behind a copy of the few rows that are still read.
Several that follow each other with the same program, a hundred steps of a simulation, become stages
of one sweep: the array comes from memory once for all of them. See native/rolling.hpp.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lazyarray._rolling as _rolling

from . import passes
from .fuse import Lowering
from .plan import ELEMENTWISE, EMPTY, UPDATE, VIEW, Access, Group, Recipe
from .steps import Steps

STAGES = 4  # of a sweep: with more, memory is no longer what limits it, and the borders cost more
# Of all that a sweep keeps around where it stands: it has to stay in the L2 cache of a core.
WINDOW_BYTES = 3 << 18
PIECE_BYTES = 20 << 10  # elements: what a stage's window holds besides its reach, about
REACH_BYTES = 1 << 18  # by which views may be shifted against each other
UNIT_BYTES = 1 << 18  # of the array, the least that a unit of work covers,
BORDER = 8  # and how many times what its stages read beyond it


class Stage:
    """One update as a program whose first output is the part."""

    def __init__(self, lowering: Lowering, group: Group) -> None:
        graph = lowering.graph
        assert group.update is not None
        self.update = group.update
        self.nodes = list(group.nodes)
        shape, strides, moving, _, dtype = graph.attrs[self.update]
        self.base, value = (lowering.access(source).root for source in graph.inputs[self.update])
        # Its group grows when it is merged with others.
        self.program = program = Steps(lowering, replace(group, nodes=self.nodes))
        if self.nodes[0] == self.update:
            register = program.load(lowering.access(graph.inputs[self.update][1]))
        else:
            register = program.register_of[value]
        program.outputs.append((register, shape, strides, dtype.itemsize))
        self.offsets: tuple[int, ...] = (self.update,) if moving else ()
        self.rolled = [i for i, seen in enumerate(program.operands) if seen.root == self.base]
        self.others = [
            node
            for node in self.nodes
            if node not in (value, self.update) and program.leaves_group(node)
        ]

    def key(self) -> tuple[Any, ...]:
        """What it has in common with a stage that the same kernel computes."""
        program = self.program
        steps = [(loop.name, loop.dtypes, reads, writes) for loop, reads, writes in program.steps]
        return program.registers, program.inputs, program.outputs, self.rolled, steps

    def recipe(self, stages: int, nbytes: int) -> Recipe:
        """What a kernel of so many stages like this one is made of."""
        program, rolled = self.program, self.rolled
        shape, label = program.group.shape, program.label()
        reads = [(register, strides, size) for register, _, strides, size in program.inputs]
        writes = [(register, strides, size) for register, _, strides, size in program.outputs]
        units = units_of(stages, reach(program.outputs[0], nbytes), nbytes)

        def make(registers: list[int], steps: list[Any]) -> Any:
            return _rolling.rolling(
                shape, reads, writes, registers, steps, rolled, stages, nbytes, units, label=label
            )

        results = [register for register, _, _ in writes]
        uniform = [
            register for register, strides, _ in reads if strides is not None and not any(strides)
        ]
        return Recipe(program.registers, program.steps, results, make, uniform)


def reach(part: tuple[int, tuple[int, ...], tuple[int, ...], int], nbytes: int) -> int:
    """By how much views of a part's form may be shifted against each other in a buffer."""
    _, shape, strides, size = part
    steps = ((n - 1) * stride for n, stride in zip(shape, strides, strict=True) if n > 1)
    return nbytes - sum(steps) - size


def units_of(stages: int, shift: int, nbytes: int) -> int:
    """Into how many pieces the work on a buffer is cut."""
    return max(1, nbytes // max(UNIT_BYTES, BORDER * stages * shift))


def most_stages(stage: Stage, nbytes: int) -> int:
    """How many stages like this one a sweep may have; 0: it is too long-ranged for a sweep."""
    part = stage.program.outputs[0]
    shift = reach(part, nbytes)
    if shift > REACH_BYTES:
        return 0
    if stage.others:
        return 1
    return max(1, min(STAGES, WINDOW_BYTES // (shift + PIECE_BYTES * part[3])))


# ---- the pass


def sweep(lowering: Lowering) -> None:
    """Find the groups that are stencils, and let those that follow each other be one."""
    if not (passes.enabled("stencil") and passes.enabled("rolling")):
        return
    found = [g for g in lowering.groups if lowering.is_here(g) and is_stencil(lowering, g)]
    chain: list[Group] = []
    for group in sorted(found, key=lambda group: group.update or 0):
        stage = Stage(lowering, group)
        most = most_stages(stage, lowering.graph.types[stage.update].nbytes)
        if not most:
            continue
        group.stages = [stage]
        if chain and not follows(lowering, stage, group, chain[-1]):
            join(lowering, chain)
            chain = []
        chain.append(group)
    join(lowering, chain)


def is_stencil(lowering: Lowering, group: Group) -> bool:
    """Whether a group updates a part of a value from views that are shifted against the part."""
    graph, place = lowering.graph, group.update
    if not group.nodes or place is None or group.axes is not None or group.product is not None:
        return False
    shape, strides, _, covers, dtype = graph.attrs[place]
    base = lowering.access(graph.inputs[place][0]).root
    if covers or 0 in shape or group.shape != shape:
        return False
    if base >= 0 and graph.ops[base].kind == EMPTY:
        return False
    if group.nodes[0] == place:
        seen = lowering.access(graph.inputs[place][1])
        if seen.root != base or not lowering.worth_copying(place, group):
            return False
    elif not group.around:
        return False
    part = Access(base, shape, strides, (), dtype.itemsize, False)
    for node in group.nodes:
        if graph.ops[node].fallible or graph.ops[node].kind not in (ELEMENTWISE, VIEW, UPDATE):
            return False
        reads = lowering.reads(node)[1:] if node == place else lowering.reads(node)
        if any(seen.root == base and form(seen) != form(part) for seen in reads):
            return False
    return True


def form(seen: Access) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """What all views have in common that are shifted against each other."""
    strides = tuple(0 if n == 1 else s for n, s in zip(seen.shape, seen.strides, strict=True))
    return seen.shape, strides, seen.itemsize


def follows(lowering: Lowering, stage: Stage, group: Group, before: Group) -> bool:
    """Whether a stage does the same as the one before, and nobody else wants that one's result."""
    graph = lowering.graph
    (last,) = before.stages
    if stage.base != last.update or stage.others or last.others or stage.key() != last.key():
        return False
    nbytes = graph.types[last.update].nbytes
    if graph.kept[last.update] or graph.types[stage.update].nbytes != nbytes:
        return False
    todo = [last.update]
    while todo:
        for user in lowering.users[todo.pop()]:
            if graph.ops[user].kind == VIEW and not lowering.stored[user]:
                if graph.kept[user]:
                    return False
                todo.append(user)
            elif lowering.group_of[user] != group.number:
                return False
    return True


def join(lowering: Lowering, chain: list[Group]) -> None:
    """Make sweeps of groups that follow each other, of about as many stages each."""
    if not chain:
        return
    (stage,) = chain[0].stages
    most = most_stages(stage, lowering.graph.types[stage.update].nbytes)
    count = -(-len(chain) // most)
    for number in range(count):
        merge(lowering, chain[number * len(chain) // count : (number + 1) * len(chain) // count])


def merge(lowering: Lowering, groups: list[Group]) -> None:
    """Make one group of several."""
    first = groups[0]
    for other in groups[1:]:
        assert first.update is not None and other.update is not None
        if first.update not in first.nodes:
            first.nodes.append(first.update)
        first.stages += other.stages
        lowering.merge(first, other)
        first.update = other.update
        lowering.group_of[other.update] = first.number
        if first.update in first.nodes:
            first.nodes.remove(first.update)
