"""Lowering: a recorded graph becomes a plan. Runs once per structure; plans are cached by key.

The passes, in order: `resolve` (which views are read in place, which are copied), `fuse` (elementwise nodes into groups,
an update into the group that computes its value), `order` (readers of a buffer before the update that reuses it),
`assign` (values to slots, by liveness and donation). Nothing here knows data: offsets and numbers arrive at bind.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

from lazyarray import _loops
from lazyarray._ir import c_strides

ELEMENTWISE, VIEW, UPDATE, NATIVE, EMPTY = 1, 2, 3, 4, 5
GROUP_LIMIT = 48  # nodes in a group: registers of a block have to stay in cache


@dataclass(slots=True)
class Graph:
    """A recorded graph as `_bind` sees it: nodes in serial order; input -i-1 is leaf i."""

    ops: list[Any]
    attrs: list[Any]
    types: list[Any]
    inputs: list[tuple[int, ...]]
    kept: list[bool]
    leaf_types: list[Any]
    leaf_const: list[bool]
    leaf_donatable: list[bool]


@dataclass(frozen=True, slots=True)
class Access:
    """How an operand is read: the value that is stored, strides in bytes, and the nodes whose offsets are added."""

    root: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offsets: tuple[int, ...]
    itemsize: int

    @property
    def whole(self) -> bool:
        """Whether it is C-contiguous from the start of the root."""
        return not self.offsets and self.strides == c_strides(self.shape, self.itemsize)


@dataclass(slots=True)
class Group:
    """What becomes one task: nodes of an elementwise program, or a single other node."""

    number: int
    nodes: list[int]
    shape: tuple[int, ...]
    kind: int
    update: int | None = None
    needs: int = 0  # bit set of the groups it depends on, transitively


@dataclass(slots=True)
class Task:
    """One push: a kernel with its operands, or a Python function."""

    kernel: Any
    function: Any
    args: list[tuple[int, tuple[int, ...]]]  # (slot, places of the nodes whose offsets are added)
    reads: list[int]
    writes: list[int]
    place: int  # the node it is blamed on
    label: str
    arrays: list[tuple[tuple[int, ...], tuple[int, ...], Any]] | None = None
    op: Any = None


@dataclass(slots=True)
class Slot:
    """A buffer's place in a plan: a leaf's, a constant's, a donated leaf's, or a fresh one."""

    nbytes: int
    leaf: int = -1
    const: bool = False


@dataclass(slots=True)
class Program:
    """A lowered plan: tasks in push order, the slot table, and where kept values end up."""

    slots: list[Slot]
    tasks: list[Task]
    kept: list[tuple[int, int]] = field(default_factory=list)  # (node place, slot)


def lower(graph: Graph) -> Program:
    """Make a plan for `graph`."""
    return Lowering(graph).run()


class Lowering:
    """The state of one lowering."""

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
        self.groups: list[Group] = []
        self.group_of: list[int] = [-1] * count
        self.slots: list[Slot] = []
        self.slot_of: dict[int, int] = {}

    def run(self) -> Program:
        """Apply the passes."""
        self.resolve()
        self.fuse()
        return self.assign(self.order())

    # ---- resolve

    def type_of(self, source: int) -> Any:
        return self.graph.types[source] if source >= 0 else self.graph.leaf_types[-source - 1]

    def is_const(self, source: int) -> bool:
        return source < 0 and self.graph.leaf_const[-source - 1]

    def access(self, source: int) -> Access:
        """How the value of `source` is read."""
        found = self.alias.get(source)
        if found is None:
            kind = self.type_of(source)
            found = Access(
                source, kind.shape, c_strides(kind.shape, kind.itemsize), (), kind.itemsize
            )
            self.alias[source] = found
        return found

    def resolve(self) -> None:
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

    def shares_buffer(self, place: int) -> bool:
        # A kept view of a whole value needs no copy: both nodes hold the same buffer.
        seen = self.alias[place]
        return seen.whole and not self.is_const(seen.root) and seen.root >= 0 and (
            self.type_of(seen.root).nbytes == self.graph.types[place].nbytes
        )

    def store(self, source: int) -> None:
        """Let the value of a view be copied to a buffer of its own."""
        if source < 0 or self.stored[source]:
            return
        self.stored[source] = True
        self.copied[source] = self.alias.pop(source)

    def store_view(self, source: int) -> None:
        if source >= 0 and not self.stored[source] and not self.access(source).whole:
            self.store(source)
        elif self.is_const(self.access(source).root) and source >= 0:
            self.store(source)

    def compose(self, place: int) -> Access | None:
        """The access of a view node through what its base is read from, or None where the two do not compose."""
        graph = self.graph
        strides, moving = graph.attrs[place]
        kind = graph.types[place]
        base = self.access(graph.inputs[place][0])
        own = (place,) if moving else ()
        if base.strides == c_strides(base.shape, base.itemsize):
            return Access(base.root, kind.shape, strides, base.offsets + own, kind.itemsize)
        if kind.itemsize != base.itemsize or moving:
            return None
        steps = c_strides(base.shape, base.itemsize)
        axes = {
            step: axis
            for axis, step in enumerate(steps)
            if base.shape[axis] > 1
        }
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
        return Access(base.root, kind.shape, tuple(out), base.offsets, kind.itemsize)

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
            if self.is_const(seen.root) and source >= 0 and seen.shape:
                self.store(source)
            elif not seen.whole and not self.takes(op, i, seen, attrs):
                self.store(source)

    def takes(self, op: Any, i: int, seen: Access, attrs: dict[str, Any]) -> bool:
        if seen.strides == c_strides(seen.shape, seen.itemsize):
            return True
        return op.accepts is not None and bool(
            op.accepts(i, seen.shape, seen.strides, seen.itemsize, **attrs)
        )

    # ---- fuse

    def fuse(self) -> None:
        graph = self.graph
        for place, op in enumerate(graph.ops):
            if not self.stored[place] or op.kind == EMPTY:
                continue
            needs = self.sources(place)
            if op.kind == ELEMENTWISE and not op.fallible:
                group = self.joinable(place, needs)
                if group is not None:
                    self.join(group, place, needs)
                    continue
            elif op.kind == UPDATE and self.absorb(place, needs):
                continue
            self.open_group(place, needs)

    def sources(self, place: int) -> set[int]:
        """The groups that compute what `place` reads."""
        found = set()
        for source in self.read_roots(place):
            if source >= 0 and self.group_of[source] >= 0:
                found.add(self.group_of[source])
        return found

    def read_roots(self, place: int) -> list[int]:
        copied = self.copied.get(place)
        if copied is not None:
            return [copied.root]
        return [self.access(source).root for source in self.graph.inputs[place]]

    def closure(self, groups: set[int]) -> int:
        bits = 0
        for number in groups:
            bits |= self.groups[number].needs | (1 << number)
        return bits

    def open_group(self, place: int, needs: set[int]) -> None:
        op = self.graph.ops[place]
        kind = ELEMENTWISE if op.kind == VIEW else op.kind
        shape = self.graph.types[place].shape
        group = Group(len(self.groups), [place], shape, kind, needs=self.closure(needs))
        if op.kind == UPDATE:
            group.update = place
            group.shape = self.graph.attrs[place][0]
        self.groups.append(group)
        self.group_of[place] = group.number

    def joinable(self, place: int, needs: set[int]) -> Group | None:
        shape = self.graph.types[place].shape
        best = None
        for source in self.graph.inputs[place]:
            if source < 0 or self.group_of[source] < 0 or not self.stored[source]:
                continue
            group = self.groups[self.group_of[source]]
            if not self.can_take(group, shape):
                continue
            others = self.closure(needs - {group.number})
            if others >> group.number & 1 or self.looks_into([place], group):
                continue
            if best is None or len(group.nodes) > len(best.nodes):
                best = group
        return best

    def looks_into(self, places: list[int], group: Group) -> bool:
        """Whether one of `places` reads a value of `group` through a view, which asks for the stored value."""
        for place in places:
            for source in self.graph.inputs[place]:
                root = self.access(source).root
                if root != source and root >= 0 and self.group_of[root] == group.number:
                    return True
            if place in self.copied:
                root = self.copied[place].root
                if root >= 0 and self.group_of[root] == group.number:
                    return True
        return False

    def can_take(self, group: Group, shape: tuple[int, ...]) -> bool:
        return (
            group.kind == ELEMENTWISE
            and group.update is None
            and group.shape == shape
            and len(group.nodes) < GROUP_LIMIT
            and not self.graph.ops[group.nodes[0]].fallible
        )

    def join(self, group: Group, place: int, needs: set[int]) -> None:
        self.grow(group, self.closure(needs - {group.number}))
        group.nodes.append(place)
        self.group_of[place] = group.number
        for number in sorted(needs - {group.number}):
            other = self.groups[number]
            if not self.can_take(other, group.shape) or not other.nodes:
                continue
            if len(other.nodes) + len(group.nodes) > GROUP_LIMIT:
                continue
            if not self.reachable(other, group) and not self.looks_into(group.nodes, other):
                self.merge(group, other)

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
        """Let the group that computes an update's value write it through the View, where nothing else wants it."""
        graph = self.graph
        old, value = graph.inputs[place]
        if value < 0 or not self.stored[value] or graph.kept[value] or self.group_of[value] < 0:
            return False
        group = self.groups[self.group_of[value]]
        if not self.can_take(group, graph.attrs[place][0]) or graph.ops[value].kind != ELEMENTWISE:
            return False
        if self.read_by_others(value, place):
            return False
        base = self.access(old).root
        for member in group.nodes:
            if base in self.read_roots(member):
                return False
        if self.closure(needs - {group.number}) >> group.number & 1:
            return False
        self.grow(group, self.closure(needs - {group.number}))
        group.update = place
        self.group_of[place] = group.number
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
        groups = [g for g in self.groups if g.nodes]
        for group in groups:
            target = group.update if group.update is not None else self.inplace_node(group)
            if target is None:
                continue
            base = self.access(self.graph.inputs[target][0]).root
            for reader in groups:
                if reader is not group and self.reads(reader, base) and not self.depends(reader, group):
                    self.grow(group, 1 << reader.number | reader.needs)
        waiting = {}
        ready: list[tuple[int, int]] = []
        for group in groups:
            waiting[group.number] = group.needs
            if not group.needs:
                heapq.heappush(ready, (self.rank(group), group.number))
        done: list[Group] = []
        while ready:
            _, number = heapq.heappop(ready)
            group = self.groups[number]
            done.append(group)
            for other, needs in waiting.items():
                if needs >> number & 1:
                    waiting[other] = needs & ~(1 << number)
                    if not waiting[other]:
                        heapq.heappush(ready, (self.rank(self.groups[other]), other))
        assert len(done) == len(groups), "a cycle among groups"
        return done

    def rank(self, group: Group) -> int:
        return group.update if group.update is not None else group.nodes[-1]

    def inplace_node(self, group: Group) -> int | None:
        place = group.nodes[0]
        if group.kind == NATIVE and self.graph.ops[place].inplace:
            return place
        return None

    def reads(self, group: Group, root: int) -> bool:
        return any(root in self.read_roots(place) for place in group.nodes)

    def depends(self, group: Group, other: Group) -> bool:
        return bool(group.needs >> other.number & 1)

    # ---- assign

    def assign(self, groups: list[Group]) -> Program:
        graph = self.graph
        self.free: dict[int, list[int]] = {}
        self.last_use: dict[int, int] = {}
        self.tasks: list[Task] = []
        for turn, group in enumerate(groups):
            for place in self.members(group):
                for root in self.read_roots(place):
                    self.last_use[root] = turn
        for place in range(len(graph.ops)):
            if graph.kept[place]:
                self.last_use[self.kept_root(place)] = len(groups)
        self.detours = 0
        for leaf in range(len(graph.leaf_types)):
            self.slot_of[-leaf - 1] = self.new_slot(
                Slot(graph.leaf_types[leaf].nbytes, leaf, graph.leaf_const[leaf])
            )
        for turn, group in enumerate(groups):
            self.emit(group, turn)
            self.retire(group, turn)
        program = Program(self.slots, self.tasks)
        for place in range(len(graph.ops)):
            if graph.kept[place]:
                root = self.kept_root(place)
                if root not in self.slot_of:  # an empty value nobody wrote
                    self.slot_of[root] = self.fresh(self.type_of(root).nbytes)
                program.kept.append((place, self.slot_of[root]))
        return program

    def kept_root(self, place: int) -> int:
        return place if self.stored[place] else self.access(place).root

    def members(self, group: Group) -> list[int]:
        return group.nodes + ([group.update] if group.update not in (None, group.nodes[0]) else [])

    def new_slot(self, slot: Slot) -> int:
        self.slots.append(slot)
        return len(self.slots) - 1

    def fresh(self, nbytes: int) -> int:
        spare = self.free.get(nbytes)
        if spare:
            return spare.pop()
        return self.new_slot(Slot(nbytes))

    def slot(self, root: int) -> int:
        """The slot of a stored value; an empty value gets one when it is first wanted."""
        if root not in self.slot_of:
            self.slot_of[root] = self.fresh(self.type_of(root).nbytes)
        return self.slot_of[root]

    def owned(self, root: int) -> bool:
        """Whether this plan may overwrite the slot of `root` once nobody reads it."""
        slot = self.slots[self.slot(root)]
        if slot.leaf >= 0:
            return not slot.const and self.graph.leaf_donatable[slot.leaf]
        return True

    def retire(self, group: Group, turn: int) -> None:
        for root in {r for place in self.members(group) for r in self.read_roots(place)}:
            if self.last_use[root] == turn and root in self.slot_of and self.owned(root):
                slot = self.slot_of[root]
                if self.taken.get(root) is None:
                    self.free.setdefault(self.slots[slot].nbytes, []).append(slot)

    def dies(self, root: int, turn: int) -> bool:
        return self.last_use[root] == turn and self.owned(root)

    def emit(self, group: Group, turn: int) -> None:
        self.taken: dict[int, int] = {}  # values whose slot this task's results took over
        if group.kind == NATIVE:
            self.emit_native(group.nodes[0], turn)
        else:
            self.emit_elementwise(group, turn)

    def begin_update(self, place: int, base: int, turn: int, covers: bool) -> int:
        """The slot an update writes: its base's, where that dies here, else a copy."""
        root = self.access(base).root
        wanted = self.graph.types[place].nbytes
        if self.dies(root, turn) and self.slots[self.slot(root)].nbytes == wanted:
            self.taken[root] = place
            return self.slot(root)
        out = self.fresh(wanted)
        empty = root >= 0 and self.graph.ops[root].kind == EMPTY
        if not covers and not empty:
            self.tasks.append(self.copy_task(root, out, place))
        return out

    def copy_task(self, root: int, out: int, place: int) -> Task:
        kind = self.type_of(root)
        strides = (kind.itemsize,)
        operand = (0, strides, kind.itemsize)
        kernel = _loops.elementwise(
            (kind.size,), [operand], [operand], [kind.itemsize], [], label="copy"
        )
        source = self.slot(root)
        return Task(
            kernel, None, [(source, ()), (out, ())], self.vars([source]), [out], place, "copy"
        )

    def vars(self, slots: list[int]) -> list[int]:
        return sorted({s for s in slots if not self.slots[s].const})

    def emit_elementwise(self, group: Group, turn: int) -> None:
        program = ElementwiseProgram(self, group)
        if group.update is not None:
            self.emit_update(program, group, turn)
        else:
            program.finish()
            self.place_outputs(program, turn)
        args = [(self.slot(a.root), a.offsets) for a in program.operands]
        args += program.targets
        if group.shape and 0 in group.shape:
            return
        kernel = _loops.elementwise(
            group.shape, program.inputs, program.outputs, program.registers, program.steps,
            label=program.label(),
        )  # fmt: skip
        reads = self.vars([slot for slot, _ in args[: len(program.operands)]])
        writes = sorted({slot for slot, _ in program.targets})
        if group.update is not None and not graph_covers(self.graph, group.update):
            reads = sorted({*reads, *writes})
        self.tasks.append(
            Task(kernel, None, args, reads, writes, group.nodes[-1], program.label())
        )

    def emit_update(self, program: ElementwiseProgram, group: Group, turn: int) -> None:
        place = group.update
        assert place is not None
        shape, strides, moving, covers, dtype = self.graph.attrs[place]
        old, value = self.graph.inputs[place]
        if group.nodes[0] == place:
            seen = self.access(value)
            if seen.root == self.access(old).root:
                # What it reads may overlap what it writes: through a buffer of its own.
                seen = self.detour(seen, place)
            register = program.load(seen)
        else:
            register = program.register_of[value]
        out = self.begin_update(place, old, turn, covers)
        self.slot_of[place] = out
        program.outputs.append((register, strides, dtype.itemsize))
        program.targets.append((out, (place,) if moving else ()))
        for node in group.nodes:
            if node != value and node != place and program.leaves_group(node):
                program.add_output(node)
        self.place_outputs(program, turn, skip=1)

    def detour(self, seen: Access, place: int) -> Access:
        size = seen.itemsize
        strides = c_strides(seen.shape, size)
        nbytes = size
        for extent in seen.shape:
            nbytes *= extent
        out = self.fresh(nbytes)
        kernel = _loops.elementwise(
            seen.shape, [(0, seen.strides, size)], [(0, strides, size)], [size], [], label="copy"
        )
        source = self.slot(seen.root)
        self.tasks.append(
            Task(
                kernel, None, [(source, seen.offsets), (out, ())], self.vars([source]), [out],
                place, "copy",
            )  # fmt: skip
        )
        self.detours += 1
        root = -len(self.graph.leaf_types) - self.detours
        self.slot_of[root] = out
        return Access(root, seen.shape, strides, (), size)

    def place_outputs(self, program: ElementwiseProgram, turn: int, skip: int = 0) -> None:
        """Give each result a slot: that of an input which dies here and is read in step with it, else a fresh one."""
        for node, position in program.written:
            kind = self.graph.types[node]
            slot = None
            for index, seen in enumerate(program.operands):
                if (
                    seen.whole
                    and seen.root in self.last_use
                    and seen.root not in self.taken
                    and self.dies(seen.root, turn)
                    and seen.itemsize == kind.itemsize
                    and self.slots[self.slot(seen.root)].nbytes == kind.nbytes
                    and seen.shape == kind.shape
                    and program.safe_in_place(index, seen, position)
                ):
                    slot = self.slot(seen.root)
                    self.taken[seen.root] = node
                    break
            if slot is None:
                slot = self.fresh(kind.nbytes)
            self.slot_of[node] = slot
            program.targets.append((slot, ()))

    def emit_native(self, place: int, turn: int) -> None:
        graph = self.graph
        op = graph.ops[place]
        kind = graph.types[place]
        attrs = dict(graph.attrs[place] or ())
        sources = graph.inputs[place]
        accesses = [self.access(s) for s in sources]
        if op.inplace:
            out = self.begin_update(place, sources[0], turn, covers=False)
            accesses = accesses[1:]
        else:
            out = self.fresh(kind.nbytes)
        self.slot_of[place] = out
        if 0 in kind.shape:
            return
        args = [(self.slot(a.root), a.offsets) for a in accesses]
        reads = self.vars([slot for slot, _ in args] + ([out] if op.inplace else []))
        args.append((out, ()))
        kernel, arrays = None, None
        if op.factory is not None:
            layouts = [
                None if a.strides == c_strides(a.shape, a.itemsize) else a.strides for a in accesses
            ]
            if op.inplace:
                layouts.insert(0, None)
            kernel = op.factory([self.type_of(s) for s in sources], kind, layouts, **attrs)
        writes = [out]
        if kernel is None:
            types = [self.type_of(s) for s in sources][1 if op.inplace else 0 :]
            arrays = [
                (a.shape, a.strides, t.dtype) for a, t in zip(accesses, types, strict=True)
            ]
            arrays.append((kind.shape, c_strides(kind.shape, kind.itemsize), kind.dtype))
        elif kernel.scratch_bytes:
            scratch = self.fresh(kernel.scratch_bytes)
            args.append((scratch, ()))
            writes.append(scratch)
            self.free.setdefault(kernel.scratch_bytes, []).append(scratch)
        self.tasks.append(
            Task(
                kernel, None if kernel is not None else op.function, args, reads, writes, place,
                op.name, arrays, op,
            )  # fmt: skip
        )
        if kernel is None:
            self.tasks[-1].function = (op.function, attrs)


def graph_covers(graph: Graph, place: int) -> bool:
    """Whether an update writes every element."""
    return bool(graph.attrs[place][3])


class ElementwiseProgram:
    """The registers and steps of one elementwise kernel."""

    def __init__(self, lowering: Lowering, group: Group) -> None:
        self.lowering = lowering
        self.group = group
        self.graph = lowering.graph
        self.inputs: list[tuple[int, tuple[int, ...] | None, int]] = []
        self.outputs: list[tuple[int, tuple[int, ...], int]] = []
        self.registers: list[int] = []
        self.steps: list[Any] = []
        self.operands: list[Access] = []
        self.targets: list[tuple[int, tuple[int, ...]]] = []
        self.written: list[tuple[int, int]] = []
        self.register_of: dict[int, int] = {}
        self.loaded: dict[Access, int] = {}
        self.step_of: dict[int, int] = {}
        self.names: list[str] = []
        self.index_register: int | None = None
        self.members = set(group.nodes)
        self.spare: dict[int, list[int]] = {}
        self.uses = self.count_uses()
        for node in group.nodes:
            if node != group.update:
                self.compute(node)

    def count_uses(self) -> dict[int, int]:
        uses: dict[int, int] = {}
        for node in self.group.nodes:
            for source in self.graph.inputs[node]:
                uses[source] = uses.get(source, 0) + 1
        return uses

    def label(self) -> str:
        return "+".join(self.names) if self.names else "copy"

    def leaves_group(self, node: int) -> bool:
        """Whether a value is wanted outside its group."""
        lowering = self.lowering
        if lowering.graph.kept[node]:
            return True
        todo = [node]
        while todo:
            for user in lowering.users[todo.pop()]:
                if lowering.graph.ops[user].kind == VIEW:
                    if lowering.stored[user] or lowering.graph.kept[user]:
                        return True
                    todo.append(user)
                elif user not in self.members and user != self.group.update:
                    return True
                elif node not in lowering.graph.inputs[user]:
                    return True
        return False

    def load(self, seen: Access) -> int:
        """The register an operand is read into."""
        found = self.loaded.get(seen)
        if found is None:
            found = len(self.registers)
            self.registers.append(seen.itemsize)
            rank = len(self.group.shape)
            strides = (0,) * (rank - len(seen.shape)) + tuple(
                0 if extent == 1 else stride
                for extent, stride in zip(seen.shape, seen.strides, strict=True)
            )
            self.inputs.append((found, strides, seen.itemsize))
            self.operands.append(seen)
            self.loaded[seen] = found
        return found

    def compute(self, node: int) -> None:
        graph = self.graph
        op = graph.ops[node]
        if op.kind == VIEW:
            self.register_of[node] = self.load(self.lowering.copied[node])
            return
        if op.name == "iota":
            self.register_of[node] = self.load_index()
            return
        sources = []
        for source in graph.inputs[node]:
            if source in self.register_of and source in self.members:
                sources.append(self.register_of[source])
            else:
                sources.append(self.load(self.lowering.access(source)))
        kinds = [self.lowering.type_of(s).dtype for s in graph.inputs[node]]
        loop = op.loop(kinds, graph.types[node].dtype)
        out = self.take_register(node)
        self.register_of[node] = out
        self.step_of[node] = len(self.steps)
        self.steps.append((loop, tuple(sources), (out,)))
        self.names.append(op.name)
        for source in graph.inputs[node]:
            self.drop(source)

    def load_index(self) -> int:
        if self.index_register is None:
            self.index_register = len(self.registers)
            self.registers.append(8)
            self.inputs.append((self.index_register, None, 8))
        return self.index_register

    def take_register(self, node: int) -> int:
        size = self.graph.types[node].itemsize
        spare = self.spare.get(size)
        if spare and not self.leaves_group(node) and not self.feeds_update(node):
            return spare.pop()
        self.registers.append(size)
        return len(self.registers) - 1

    def feeds_update(self, node: int) -> bool:
        update = self.group.update
        return update is not None and self.graph.inputs[update][1] == node

    def drop(self, source: int) -> None:
        if source not in self.step_of:
            return
        self.uses[source] -= 1
        if not self.uses[source] and not self.leaves_group(source) and not self.feeds_update(source):
            size = self.graph.types[source].itemsize
            self.spare.setdefault(size, []).append(self.register_of[source])

    def finish(self) -> None:
        for node in self.group.nodes:
            if self.leaves_group(node):
                self.add_output(node)

    def add_output(self, node: int) -> None:
        kind = self.graph.types[node]
        strides = c_strides(kind.shape, kind.itemsize)
        self.outputs.append((self.register_of[node], strides, kind.itemsize))
        self.written.append((node, self.step_of.get(node, -1)))

    def safe_in_place(self, index: int, seen: Access, position: int) -> bool:
        """Whether a result written at step `position` may overwrite operand `index`."""
        if position < 0:
            return False
        for other in self.operands:
            if other.root == seen.root and other is not seen:
                return False
        register = self.loaded[seen]
        return all(
            step <= position
            for step, (_, sources, _) in enumerate(self.steps)
            if register in sources
        )
