"""Reductions of an array's columns with those of its rows: what both read passes by once.

A group that reduces lines reads them one by one. Where another group only reduces the same stored
value over the axes before, its reductions join what passes by to a lane for each column, see
native/panels.hpp; what is computed from them then waits for the kernel, in groups of its own.
"""

from __future__ import annotations

import os
from itertools import groupby
from math import prod

from . import passes
from .fuse import Lowering
from .plan import ELEMENTWISE, NATIVE, Access, Group

LEAST = 1 << 22  # bytes of what is read: less stays in the L2 cache for a second kernel
BLOCK = 1024  # lines of a unit of the kernel, a block of the tree of native/reduce.hpp
UNITS = 4  # least number of these: they are what workers share
LINE = 1 << 15  # bytes of a line: 32 of them, the lanes, stay in the L2 cache
# With several cores two sweeps are faster than one: 4.4 ms beside 7.1 of wall time on two, though
# one sweep takes less processor time, 12.6 ms beside 15.0.
ALONE = len(os.sched_getaffinity(0)) == 1
FOLDS = ("sum", "prod", "min", "max", "fmin", "fmax")


def cross(lowering: Lowering) -> None:
    """Let groups that reduce lines reduce across them, too, what they read."""
    if not (ALONE and passes.enabled("reductions") and passes.enabled("crossing")):
        return
    for group in list(lowering.groups):
        seen = reduced_columns(lowering, group) if lowering.is_here(group) else None
        if seen is None:
            continue
        for other in lowering.groups:
            if takes(lowering, other, group, seen):
                give(lowering, group, other)
                break


def reduced_columns(lowering: Lowering, group: Group) -> Access | None:
    """The stored value of which a group reduces the first axes, if it does nothing else with it."""
    if not group.nodes or group.axes is None or group.update is not None or group.across:
        return None
    outer, red, inner = group.fold
    if group.product is not None or outer != 1 or inner == 1 or red <= BLOCK * (UNITS - 1):
        return None
    graph = lowering.graph
    found = set()
    for place in group.nodes:
        if graph.ops[place].kind != NATIVE:
            if place not in group.lines or place in lowering.copied:
                return None
            continue
        (seen,) = lowering.reads(place)
        kind = graph.types[place]
        if graph.ops[place].reduces not in FOLDS or inner * max(8, kind.itemsize) > 2 * LINE:
            return None
        found.add(seen)
    if len(found) != 1:
        return None
    (seen,) = found
    inside = seen.root >= 0 and lowering.group_of[seen.root] == group.number
    large = prod(seen.shape) * seen.itemsize >= LEAST
    return seen if seen.whole and large and not inside else None


def takes(lowering: Lowering, other: Group, group: Group, seen: Access) -> bool:
    """Whether a group reads the same value line by line, and may wait and be waited for."""
    if other is group or not other.nodes or other.kind != ELEMENTWISE or other.axes is None:
        return False
    if other.update is not None or other.product is not None or other.across:
        return False
    rank = len(group.shape)
    assert group.axes is not None
    if other.shape != group.shape or other.axes != (group.axes[1], rank):
        return False
    if other.needs >> group.number & 1 or group.needs >> other.number & 1:
        return False
    return any(
        seen in lowering.reads(place)
        for place in other.nodes
        if not lowering.reads_lines(place, other)
    )


def give(lowering: Lowering, group: Group, other: Group) -> None:
    """Let `other` do the reductions of `group`; what is computed from them becomes other groups."""
    graph = lowering.graph
    moved = [place for place in group.nodes if graph.ops[place].kind == NATIVE]
    left = [place for place in group.nodes if graph.ops[place].kind != NATIVE]
    lowering.grow(other, group.needs)
    other.nodes = sorted(other.nodes + moved)
    other.across.update(moved)
    for place in moved:
        lowering.group_of[place] = other.number
    needs = other.needs | 1 << other.number
    group.nodes, group.lines, group.axes = [], set(), None
    after = 0
    for shape, run in groupby(left, key=lambda place: graph.types[place].shape):
        made = group
        if after:
            made = Group(len(lowering.groups), [], shape, ELEMENTWISE)
            lowering.groups.append(made)
        made.nodes, made.shape, made.needs = list(run), shape, needs | after
        for place in made.nodes:
            lowering.group_of[place] = made.number
        after |= 1 << made.number
    made_here = after
    for each in lowering.groups:
        if each.needs >> group.number & 1 and not made_here >> each.number & 1:
            each.needs = (each.needs & ~(1 << group.number)) | needs | after
