"""Which views are read in place, which nodes become one task, in which order tasks are pushed."""

from __future__ import annotations

import heapq
from dataclasses import replace
from math import prod
from typing import Any

from lazyarray._ir import c_strides

from . import passes
from .plan import ELEMENTWISE, EMPTY, IN_STEP, NATIVE, UPDATE, VIEW, Access, Graph, Group

GROUP_LIMIT = 48  # nodes in a group: registers of a block have to stay in cache
PANEL_BYTES = (
    1 << 18
)  # of a value's part that is reduced and read again: a few have to fit the cache
SPARE = 1 << 12  # bytes of a buffer that a kept view of its beginning may leave unused
CROSSWISE = 1 << 15  # elements from which an operand is better copied than read across its rows


class Lowering:
    """The passes `resolve`, `fuse` and `order` over one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        count = len(graph.ops)
        self.users: list[list[int]] = [[] for _ in range(count)]
        for place, inputs in enumerate(graph.inputs):
            for source in inputs:
                if source >= 0:
                    self.users[source].append(place)
        self.stored: list[bool] = [False] * count
        self.alias: dict[int, Access] = {}
        self.copied: dict[int, Access] = {}  # view nodes with a buffer of their own
        # By node, once views are resolved: how its operands are read, from which stored values.
        self.reading: list[list[Access]] = []
        self.reading_roots: list[list[int]] = []
        self.groups: list[Group] = []
        self.group_of: list[int] = [-1] * count
        self.reduced: dict[
            tuple[Access, int, int], int
        ] = {}  # what is reduced: its first reduction

    # ---- resolve

    def is_here(self, group: Group) -> bool:
        """Whether a group is computed by the CPU."""
        return bool(group.nodes) and self.graph.types[group.nodes[-1]].device == 0

    def type_of(self, source: int) -> Any:
        """Shape and dtype of a node's or a leaf's value."""
        return self.graph.types[source] if source >= 0 else self.graph.leaf_types[-source - 1]

    def is_const(self, source: int) -> bool:
        """Whether a source is a leaf that never changes."""
        return source < 0 and self.graph.leaf_const[-source - 1]

    def access(self, source: int) -> Access:
        """How the value of `source` is read."""
        found = self.alias.get(source)
        if found is None:
            kind = self.type_of(source)
            strides = c_strides(kind.shape, kind.itemsize)
            found = Access(source, kind.shape, strides, (), kind.itemsize, True)
            self.alias[source] = found
        return found

    def resolve(self) -> None:
        """Decide which views are read where their base is, and which are copied."""
        graph = self.graph
        for place, op in enumerate(graph.ops):
            if op.kind != VIEW:
                self.stored[place] = True
                continue
            seen = self.compose(place)
            if seen is None:
                self.store(graph.inputs[place][0])
                seen = self.compose(place)
                assert seen is not None
            self.alias[place] = seen
            if graph.kept[place] and not self.shares_buffer(place):
                self.store(place)
        for place, op in enumerate(graph.ops):
            if op.kind == NATIVE:
                self.settle_operands(place)
            elif op.kind == UPDATE:
                self.store_view(graph.inputs[place][0])
        self.reading = [self.resolved(place) for place in range(len(graph.ops))]
        self.reading_roots = [[seen.root for seen in found] for found in self.reading]

    def resolved(self, place: int) -> list[Access]:
        """How a node reads its operands, views being resolved."""
        copied = self.copied.get(place)
        if copied is not None:
            return [copied]
        return [self.access(source) for source in self.graph.inputs[place]]

    def shares_buffer(self, place: int) -> bool:
        """Whether a kept view needs no copy: it is a whole value, so both hold the same buffer."""
        seen = self.alias[place]
        if not seen.whole or seen.root < 0 or self.is_const(seen.root):
            return False
        spare = self.graph.types[seen.root].nbytes - self.graph.types[place].nbytes
        # A draw lies before the state after it.
        return spare == 0 or (spare <= SPARE and self.graph.ops[seen.root].kind == NATIVE)

    def store(self, source: int) -> None:
        """Let the value of a view be copied to a buffer of its own."""
        if source < 0 or self.stored[source]:
            return
        self.stored[source] = True
        self.copied[source] = self.alias.pop(source)

    def store_view(self, source: int) -> None:
        """Let a value be copied unless it is the whole of a stored one."""
        seen = self.access(source)
        # An empty view is whole, too, but not what it is a view of.
        same = seen.whole and self.type_of(seen.root).nbytes == self.type_of(source).nbytes
        if source >= 0 and (self.is_const(seen.root) or not (same or self.stored[source])):
            self.store(source)

    def compose(self, place: int) -> Access | None:
        """How a view is read from what its base is read from; None where the two do not compose."""
        graph = self.graph
        strides, moving = graph.attrs[place]
        kind = graph.types[place]
        base = self.access(graph.inputs[place][0])
        own = (place,) if moving else ()
        if base.strides == c_strides(base.shape, base.itemsize):
            offsets = base.offsets + own
            whole = not offsets and strides == c_strides(kind.shape, kind.itemsize)
            return Access(base.root, kind.shape, strides, offsets, kind.itemsize, whole)
        if kind.itemsize != base.itemsize or moving:
            return None
        steps = c_strides(base.shape, base.itemsize)
        axes = {step: axis for axis, step in enumerate(steps) if base.shape[axis] > 1}
        out = []
        for extent, stride in zip(kind.shape, strides, strict=True):
            if extent <= 1 or stride == 0:
                out.append(0)
            elif stride in axes and extent <= base.shape[axes[stride]]:
                out.append(base.strides[axes[stride]])
            elif all(s == 0 for s in base.strides):
                out.append(0)
            else:
                return None
        strides = tuple(out)
        whole = not base.offsets and strides == c_strides(kind.shape, kind.itemsize)
        return Access(base.root, kind.shape, strides, base.offsets, kind.itemsize, whole)

    def settle_operands(self, place: int) -> None:
        """Copy the inputs of an array op that it cannot read where they are."""
        graph = self.graph
        op = graph.ops[place]
        attrs = dict(graph.attrs[place] or ())
        for i, source in enumerate(graph.inputs[place]):
            if op.inplace and i == 0:
                self.store_view(source)
                continue
            seen = self.access(source)
            if (self.is_const(seen.root) and source >= 0 and seen.shape) or (
                not seen.whole and not self.takes(op, i, seen, attrs)
            ):
                self.store(source)

    def takes(self, op: Any, i: int, seen: Access, attrs: dict[str, Any]) -> bool:
        """Whether an array op can read input `i` where it is."""
        if seen.strides == c_strides(seen.shape, seen.itemsize):
            return True
        return op.accepts is not None and bool(
            op.accepts(i, seen.shape, seen.strides, seen.itemsize, **attrs)
        )

    # ---- fuse

    def fuse(self) -> None:
        """Put each stored node into a group."""
        graph = self.graph
        fuses, reduces = passes.enabled("fuse"), passes.enabled("reductions")
        for place, op in enumerate(graph.ops):
            if not self.stored[place] or op.kind == EMPTY:
                continue
            needs = self.sources(place)
            if op.kind == ELEMENTWISE:
                if fuses and not op.fallible and self.join_best(place, needs):
                    continue
            elif op.kind == UPDATE:
                if fuses and self.absorb(place, needs):
                    continue
            elif reduces and op.kind == NATIVE and self.reduce(place, needs):
                continue
            self.open_group(place, needs)

    def sources(self, place: int) -> set[int]:
        """The groups that compute what `place` reads."""
        group_of = self.group_of
        return {
            group_of[root]
            for root in self.reading_roots[place]
            if root >= 0 and group_of[root] >= 0
        }

    def reads(self, place: int) -> list[Access]:
        """How a node reads its operands."""
        return self.reading[place]

    def read_roots(self, place: int) -> list[int]:
        """The stored values that a node reads."""
        return self.reading_roots[place]

    def closure(self, groups: set[int]) -> int:
        """The bit set of these groups and all they need."""
        bits = 0
        for number in groups:
            bits |= self.groups[number].needs | (1 << number)
        return bits

    def open_group(self, place: int, needs: set[int]) -> None:
        """Start a group with one node."""
        op = self.graph.ops[place]
        kind = ELEMENTWISE if op.kind == VIEW else op.kind
        shape = self.graph.types[place].shape
        group = Group(
            len(self.groups),
            [place],
            shape,
            kind,
            needs=self.closure(needs),
        )
        if op.kind == UPDATE:
            group.update = place
            group.shape = self.graph.attrs[place][0]
        self.groups.append(group)
        self.group_of[place] = group.number

    def join_best(self, place: int, needs: set[int]) -> bool:
        """Let the largest group among a node's operands compute it as well."""
        shape = self.graph.types[place].shape
        best = None
        for number in needs:
            group = self.groups[number]
            if best is not None and len(group.nodes) <= len(best.nodes):
                continue
            line = is_line(group, shape)
            if line is None or not self.has_room(group) or not self.fits(place, line, group):
                continue
            if self.closure(needs - {number}) >> number & 1:
                continue
            # The reductions of a group do not wait for what only its lines need.
            later = [n for n in needs if n != number and not group.needs >> n & 1] if line else ()
            if all(self.mergeable(group, self.groups[n]) for n in later):
                best = group
        if best is None:
            return False
        if is_line(best, shape):
            best.lines.add(place)
        self.join(best, place, needs)
        return True

    def has_room(self, group: Group) -> bool:
        """Whether a group may take more nodes."""
        return (
            group.kind == ELEMENTWISE
            and group.update is None
            and len(group.nodes) < GROUP_LIMIT
            and not self.graph.ops[group.nodes[0]].fallible
        )

    def fits(self, place: int, line: bool, group: Group) -> bool:
        """Whether a node may read from registers all that it reads of a group's values."""
        for seen in self.reads(place):
            if self.reads_from(seen, group) and not self.in_register(
                seen, line, seen.root in group.lines, group
            ):
                return False
        return True

    def reads_from(self, seen: Access, group: Group) -> bool:
        """Whether an operand is a value of a group."""
        return seen.root >= 0 and self.group_of[seen.root] == group.number

    def in_register(self, seen: Access, line: bool, root_line: bool, group: Group) -> bool:
        """Whether an operand is a register of the kernel that computes it: whole, or a line spread.

        `line` says whether its reader reads lines, `root_line` whether it is one.
        """
        if root_line and not line:
            return self.turns_back(seen, group) and is_spread(seen, group)
        if line != root_line:
            return False
        kind = self.graph.types[seen.root]
        if not seen.whole or seen.itemsize != kind.itemsize:
            return False
        return seen.shape == kind.shape or (line and prod(seen.shape) == kind.size)

    def reads_lines(self, place: int, group: Group) -> bool:
        """Whether a node of a group reads lines: it computes with them, and does not make them."""
        return place in group.lines and self.graph.ops[place].kind != NATIVE

    def turns_back(self, seen: Access, group: Group) -> bool:
        """Whether what is reduced stays in cache until its lines are known."""
        _, red, inner = group.fold
        return red * inner * seen.itemsize <= PANEL_BYTES and passes.enabled("rows")

    def reduce(self, place: int, needs: set[int]) -> bool:
        """Let a reduction be computed with its operand, or with another reduction of that."""
        graph = self.graph
        if getattr(graph.ops[place], "reduces", None) is None:
            return False
        seen = self.access(graph.inputs[place][0])
        if 0 in seen.shape or not seen.shape:
            return False
        attrs = dict(graph.attrs[place])
        start, stop = attrs["start"], attrs["stop"]
        for number in needs:
            group = self.groups[number]
            axes = self.axes_in(group, seen, start, stop)
            if axes is not None and self.has_room(group) and not self.reads_across(group):
                group.axes = axes
                group.lines.add(place)
                self.join(group, place, needs)
                return True
        first = self.reduced.get((seen, start, stop))
        if first is not None and self.has_room(self.groups[self.group_of[first]]):
            group = self.groups[self.group_of[first]]
            group.nodes.append(place)
            self.group_of[place] = group.number
        else:
            self.open_group(place, needs)
            self.reduced[seen, start, stop] = place
            group = self.groups[-1]
            group.kind, group.shape, group.axes = ELEMENTWISE, seen.shape, (start, stop)
        group.lines.add(place)
        return True

    def axes_in(self, group: Group, seen: Access, start: int, stop: int) -> tuple[int, int] | None:
        """The axes of a group's shape that a reduction of one of its values goes over."""
        root = seen.root
        if root < 0 or self.group_of[root] != group.number or root in group.lines:
            return None
        kind = self.graph.types[root]
        if not seen.whole or seen.itemsize != kind.itemsize or prod(seen.shape) != kind.size:
            return None
        axes: tuple[int, int] | None = (start, stop)
        if seen.shape != group.shape:
            axes = same_axes(seen.shape, start, stop, group.shape)
        return axes if group.axes is None or group.axes == axes else None

    def reads_across(self, group: Group) -> bool:
        """Whether a group reads a large operand across its rows, which is done in tiles."""
        if prod(group.shape) < CROSSWISE:
            return False
        for place in group.nodes:
            for seen in self.reads(place):
                steps = [
                    abs(stride)
                    for extent, stride in zip(seen.shape, seen.strides, strict=True)
                    if extent > 1 and stride
                ]
                if len(steps) > 1 and steps[-1] != min(steps):
                    return True
        return False

    def join(self, group: Group, place: int, needs: set[int]) -> None:
        """Add a node to a group, and merge with it the other groups that the node reads."""
        self.grow(group, self.closure(needs - {group.number}))
        group.nodes.append(place)
        self.group_of[place] = group.number
        for number in sorted(needs - {group.number}):
            other = self.groups[number]
            if other.nodes and self.mergeable(group, other):
                self.merge(group, other)

    def mergeable(self, group: Group, other: Group) -> bool:
        """Whether one kernel can compute two groups."""
        if not self.has_room(other) or len(other.nodes) + len(group.nodes) > GROUP_LIMIT:
            return False
        if other.shape != group.shape:
            # The other one's elements may be the lines of this one.
            if other.axes is not None or not is_line(group, other.shape):
                return False
            lines = set(other.nodes)
        elif other.axes is None or group.axes is None or other.axes == group.axes:
            lines = other.lines
        else:
            return False
        if self.reachable(other, group):
            return False
        both = replace(group, axes=group.axes or other.axes)
        for place in group.nodes:
            line = self.reads_lines(place, group)
            for seen in self.reads(place):
                if self.reads_from(seen, other) and (
                    place in self.copied
                    or not self.in_register(seen, line, seen.root in lines, both)
                ):
                    return False
        return True

    def reachable(self, start: Group, end: Group) -> bool:
        """Whether `end` needs `start` through a third group, or `start` needs `end`."""
        if start.needs >> end.number & 1:
            return True
        for group in self.groups:
            if group.number in (start.number, end.number) or not group.nodes:
                continue
            if end.needs >> group.number & 1 and group.needs >> start.number & 1:
                return True
        return False

    def grow(self, group: Group, bits: int) -> None:
        """Add dependencies to a group, and to all that need it."""
        if not bits & ~group.needs:
            return
        group.needs |= bits
        for other in self.groups:
            if other.needs >> group.number & 1:
                other.needs |= bits

    def merge(self, group: Group, other: Group) -> None:
        """Move the nodes of one group to another."""
        group.lines |= other.lines if other.shape == group.shape else set(other.nodes)
        group.axes = group.axes or other.axes
        group.nodes = sorted(group.nodes + other.nodes)
        group.needs = (group.needs | other.needs) & ~(1 << other.number) & ~(1 << group.number)
        for place in other.nodes:
            self.group_of[place] = group.number
        other.nodes = []
        for each in self.groups:
            if each.needs >> other.number & 1:
                each.needs = (each.needs & ~(1 << other.number)) | 1 << group.number
            if each.needs >> group.number & 1:
                each.needs |= group.needs

    def absorb(self, place: int, needs: set[int]) -> bool:
        """Let the group that computes an update's value write it through the View.

        Only where nothing else wants the value.
        """
        graph = self.graph
        old, value = graph.inputs[place]
        if value < 0 or not self.stored[value] or graph.kept[value] or self.group_of[value] < 0:
            return False
        group = self.groups[self.group_of[value]]
        if not self.has_room(group) or graph.ops[value].kind != ELEMENTWISE:
            return False
        if is_line(group, graph.attrs[place][0]) is not (value in group.lines):
            return False
        if self.read_by_others(value, place):
            return False
        base = self.access(old).root
        if base >= 0 and self.group_of[base] == group.number:
            return False
        around = not self.reads_in_step(place, base, group)
        if around and base >= 0 and graph.ops[base].kind == EMPTY:
            return False
        if around and not self.worth_copying(place, group):
            return False
        if self.closure(needs - {group.number}) >> group.number & 1:
            return False
        self.grow(group, self.closure(needs - {group.number}))
        group.update = place
        group.around = around
        self.group_of[place] = group.number
        return True

    def reads_in_step(self, place: int, base: int, group: Group) -> bool:
        """Whether a group reads of an update's base only the elements that the update writes."""
        graph = self.graph
        shape, strides, moving, _, dtype = graph.attrs[place]
        for member in group.nodes:
            for seen in self.reads(member):
                if seen.root != base:
                    continue
                if member in group.lines or group.shape != shape or seen.shape != shape:
                    return False
                if seen.strides != strides or seen.itemsize != dtype.itemsize:
                    return False
                if moving:
                    views = [graph.inputs[view][0] for view in seen.offsets]
                    if moving != IN_STEP or views != [graph.inputs[place][0]]:
                        return False
                elif seen.offsets:
                    return False
        return True

    def worth_copying(self, place: int, group: Group) -> bool:
        """Whether an update is best computed into a second buffer, with what lies around it copied.

        Its runs along the last axis must be contiguous and ascend, and the part be no small one.
        """
        shape, strides, _, covers, dtype = self.graph.attrs[place]
        if group.axes is not None or group.product is not None or not passes.enabled("stencil"):
            return False
        if covers:
            return True
        size = dtype.itemsize
        if 2 * prod(shape) * size < self.graph.types[place].nbytes:
            return False
        for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
            if extent > 1:
                if stride < size or (size == dtype.itemsize and stride != size):
                    return False
                size = stride * extent
        return True

    def read_by_others(self, value: int, place: int) -> bool:
        """Whether the value of a node is read by anything but `place`, through views too."""
        todo = [value]
        while todo:
            for user in self.users[todo.pop()]:
                if user == place:
                    continue
                if self.graph.ops[user].kind == VIEW:
                    todo.append(user)
                    if self.graph.kept[user]:
                        return True
                else:
                    return True
        return False

    # ---- order

    def order(self) -> list[Group]:
        """Sort the groups, readers of a buffer before the update that may reuse it."""
        groups = [g for g in self.groups if g.nodes]
        needs = {g.number: self.direct_needs(g) for g in groups}
        readers: dict[int, list[Group]] = {}
        for group in groups:
            for root in {root for place in members(group) for root in self.read_roots(place)}:
                readers.setdefault(root, []).append(group)
        for group in groups:
            target = group.update if group.update is not None else self.inplace_node(group)
            if group.stages:
                target = group.stages[0].update
            if target is None:
                continue
            for reader in readers[self.access(self.graph.inputs[target][0]).root]:
                if reader is not group and not self.depends(reader, group):
                    self.grow(group, 1 << reader.number | reader.needs)
                    needs[group.number].add(reader.number)
        return self.sort(groups, needs)

    def direct_needs(self, group: Group) -> set[int]:
        """The groups whose values a group reads."""
        found = set()
        for place in members(group):
            found |= self.sources(place)
        return found - {group.number}

    def sort(self, groups: list[Group], needs: dict[int, set[int]]) -> list[Group]:
        """Sort groups so that each comes after those it needs, else as recorded."""
        waiting = {number: len(needed) for number, needed in needs.items()}
        users: dict[int, list[int]] = {}
        for number, needed in needs.items():
            for each in needed:
                users.setdefault(each, []).append(number)
        ready = [(self.rank(g), g.number) for g in groups if not waiting[g.number]]
        heapq.heapify(ready)
        done: list[Group] = []
        while ready:
            _, number = heapq.heappop(ready)
            done.append(self.groups[number])
            for user in users.get(number, ()):
                waiting[user] -= 1
                if not waiting[user]:
                    heapq.heappush(ready, (self.rank(self.groups[user]), user))
        assert len(done) == len(groups), "a cycle among groups"
        return done

    def rank(self, group: Group) -> int:
        """Where a group stood in the recording: at its last node."""
        return group.update if group.update is not None else group.nodes[-1]

    def inplace_node(self, group: Group) -> int | None:
        """The node of an array op whose result starts as its first input."""
        place = group.nodes[0]
        if group.kind == NATIVE and self.graph.ops[place].inplace:
            return place
        return None

    def depends(self, group: Group, other: Group) -> bool:
        """Whether `group` needs `other`."""
        return bool(group.needs >> other.number & 1)

    def kept_root(self, place: int) -> int:
        """The stored value behind a kept node."""
        return place if self.stored[place] else self.access(place).root

    def covers(self, place: int) -> bool:
        """Whether an update writes every element."""
        return bool(self.graph.attrs[place][3])


def members(group: Group) -> list[int]:
    """The nodes of a group, the update at its end among them."""
    if group.update is None or group.update == group.nodes[0]:
        return group.nodes
    return [*group.nodes, group.update]


def is_line(group: Group, shape: tuple[int, ...]) -> bool | None:
    """Whether a node of this shape computes lines of a group, or elements; None: neither."""
    if shape == group.shape:
        return False
    if group.axes is not None:
        outer, _, inner = group.fold
        if prod(shape) == outer * inner:
            return True
    return None


def is_spread(seen: Access, group: Group) -> bool:
    """Whether an operand is a line repeated along the reduced axes of a group's shape."""
    assert group.axes is not None
    start, stop = group.axes
    shape = group.shape
    steps = c_strides(shape[:start] + shape[stop:], seen.itemsize)
    wanted = steps[:start] + (0,) * (stop - start) + steps[start:]
    rank = len(shape)
    given = (0,) * (rank - len(seen.shape)) + tuple(
        0 if extent == 1 else stride
        for extent, stride in zip(seen.shape, seen.strides, strict=True)
    )
    return not seen.offsets and all(
        extent == 1 or have == want for extent, have, want in zip(shape, given, wanted, strict=True)
    )


def same_axes(
    shape: tuple[int, ...], start: int, stop: int, other: tuple[int, ...]
) -> tuple[int, int] | None:
    """The axes of another shape of as many elements that are `start` to `stop` of this one."""
    outer, red = prod(shape[:start]), prod(shape[start:stop])
    for begin in range(len(other)):
        if prod(other[:begin]) == outer:
            for end in range(begin + 1, len(other) + 1):
                if prod(other[begin:end]) == red:
                    return begin, end
    return None
