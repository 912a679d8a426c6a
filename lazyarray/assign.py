"""Slots and kernels: the last step of lowering."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

import lazyarray._loops as _loops
import lazyarray._rolling as _rolling
from lazyarray._ir import c_strides
from lazyarray.dtypes import INTP
from lazyarray.ops.device import transfer

from . import passes
from .fuse import Lowering, members
from .plan import EMPTY, NATIVE, Access, Group, Program, Slot, Task
from .sharing import LARGE
from .steps import Steps
from .works import Biased, Carry, Loops, Whole

APART = 8  # tasks after which a slot's last user is surely done

# A slot that is free, since which turn and group.
Spare = tuple[int, int, Group]


class Assignment:
    """Values to slots, by liveness and donation; groups to tasks."""

    def __init__(self, lowering: Lowering) -> None:
        self.lowering = lowering
        self.graph = lowering.graph
        self.slots: list[Slot] = []
        self.slot_of: dict[int, int] = {}
        self.free: dict[
            tuple[int, int], list[Spare]
        ] = {}  # by device and size, as they became free
        self.device = 0  # of the current group
        self.last_use: dict[int, int] = {}
        self.tasks: list[Task] = []
        self.taken: dict[int, int] = {}  # values whose slot the current task's results took over
        self.detours = 0

    def assign(self, groups: list[Group]) -> Program:
        """Make the plan's tasks, in the order of `groups`."""
        graph = self.graph
        for turn, group in enumerate(groups):
            for place in members(group):
                for root in self.lowering.read_roots(place):
                    self.last_use[root] = turn
        for place in range(len(graph.ops)):
            if graph.kept[place]:
                self.last_use[self.lowering.kept_root(place)] = len(groups)
        for leaf in range(len(graph.leaf_types)):
            self.slot_of[-leaf - 1] = self.new_slot(
                Slot(
                    graph.leaf_types[leaf].nbytes,
                    leaf,
                    graph.leaf_const[leaf],
                    graph.leaf_types[leaf].device,
                )
            )
        for turn, group in enumerate(groups):
            self.turn, self.group = turn, group
            self.device = graph.types[members(group)[-1]].device
            self.emit(group, turn)
            self.retire(group, turn)
        program = Program(self.slots, self.tasks)
        for place in range(len(graph.ops)):
            if graph.kept[place]:
                root = self.lowering.kept_root(place)
                if root not in self.slot_of:  # an empty value nobody wrote
                    self.device = graph.types[place].device
                    self.slot_of[root] = self.fresh(self.lowering.type_of(root).nbytes)
                    self.tasks.append(self.zero_task(root, place))
                program.kept.append((place, self.slot_of[root]))
        return program

    def new_slot(self, slot: Slot) -> int:
        """Add a slot, and return its number."""
        self.slots.append(slot)
        return len(self.slots) - 1

    def fresh(self, nbytes: int, device: int | None = None) -> int:
        """A slot of that size that nobody reads any more, else a new one.

        Its next user waits for the last: large ones are worth that, others where it waits anyway.
        """
        if device is None:
            device = self.device
        spares = self.free.get((device, nbytes))
        if spares:
            for place in range(len(spares) - 1, max(-1, len(spares) - 1 - APART), -1):
                slot, _, group = spares[place]
                if (
                    nbytes >= LARGE
                    or group is self.group
                    or self.lowering.depends(self.group, group)
                ):
                    del spares[place]
                    return slot
            if self.turn - spares[0][1] >= APART:
                return spares.pop(0)[0]
        return self.new_slot(Slot(nbytes, device=device))

    def spare(self, slot: int) -> None:
        """Let a slot be used again once the current group is done."""
        key = self.slots[slot].device, self.slots[slot].nbytes
        self.free.setdefault(key, []).append((slot, self.turn, self.group))

    def scratch(self, nbytes: int) -> int:
        """A slot for the current task alone."""
        slot = self.fresh(nbytes)
        self.spare(slot)
        return slot

    def slot(self, root: int) -> int:
        """The slot of a stored value; an empty value gets one when it is first wanted."""
        if root not in self.slot_of:
            kind = self.lowering.type_of(root)
            self.slot_of[root] = self.fresh(kind.nbytes, kind.device)
        return self.slot_of[root]

    def owned(self, root: int) -> bool:
        """Whether this plan may overwrite the slot of `root` once nobody reads it."""
        slot = self.slots[self.slot(root)]
        if slot.leaf >= 0:
            return not slot.const and self.graph.leaf_donatable[slot.leaf]
        return True

    def retire(self, group: Group, turn: int) -> None:
        """Free the slots that nobody reads after this group."""
        for root in {r for place in members(group) for r in self.lowering.read_roots(place)}:
            if self.last_use[root] == turn and root in self.slot_of and self.owned(root):
                slot = self.slot_of[root]
                if self.taken.get(root) is None:
                    self.spare(slot)

    def dies(self, root: int, turn: int) -> bool:
        """Whether `root` is read for the last time and its slot may be overwritten."""
        return self.last_use[root] == turn and self.owned(root)

    def emit(self, group: Group, turn: int) -> None:
        """Make the tasks of a group."""
        self.taken = {}
        if self.graph.ops[group.nodes[0]].kind == NATIVE and members(group) == group.nodes[:1]:
            self.emit_native(group.nodes[0], turn)
        else:
            self.emit_steps(group, turn)

    def begin_update(
        self, place: int, base: int, turn: int, covers: bool, also: tuple[int, ...] = ()
    ) -> int:
        """The slot an update writes: its base's where that dies here, else a copy.

        What the task reads besides is in `also`: such a base is copied, too.
        """
        root = self.lowering.access(base).root
        wanted = self.graph.types[place].nbytes
        if (
            root not in also
            and self.dies(root, turn)
            and self.slots[self.slot(root)].nbytes == wanted
        ):
            self.taken[root] = place
            return self.slot(root)
        out = self.fresh(wanted)
        if not covers and not self.on_empty(place):
            self.tasks.append(self.copy_task(root, out, place))
        return out

    def on_empty(self, place: int) -> bool:
        """Whether an update is the first write to an empty value: nothing there is worth a copy."""
        root = self.lowering.access(self.graph.inputs[place][0]).root
        return root >= 0 and self.graph.ops[root].kind == EMPTY

    def copy_task(self, root: int, out: int, place: int) -> Task:
        """The task that copies a stored value to slot `out`."""
        kind = self.lowering.type_of(root)
        strides = (kind.itemsize,)
        operand = (0, (kind.size,), strides, kind.itemsize)
        work = Loops((kind.size,), [operand], [operand], [kind.itemsize], [], "copy")
        source = self.slot(root)
        args: list[tuple[int, tuple[int, ...]]] = [(source, ()), (out, ())]
        return self.task(work, args, self.vars([source]), [out], place)

    def task(
        self,
        work: Loops,
        args: list[tuple[int, tuple[int, ...]]],
        reads: list[int],
        writes: list[int],
        place: int,
    ) -> Task:
        """The task of a program of loops, on the device of the current group."""
        if self.device:
            return Task(
                None, None, args, reads, writes, place, work.label, device=self.device, work=work
            )
        (kernel,) = work.kernels()
        return Task(kernel, None, args, reads, writes, place, work.label)

    def zero_task(self, root: int, place: int) -> Task:
        """The task that sets what nobody wrote: bits must not depend on a block's last owner."""
        kind = self.lowering.type_of(root)
        index, number, out = 0, 1, 2
        steps = [
            (_loops.find_loop(np.subtract, (INTP, INTP, INTP)), (index, index), (number,)),
            (_loops.find_loop("cast", (INTP, kind.dtype)), (number,), (out,)),
        ]
        work = Loops(
            (kind.size,),
            [(index, (), None, INTP.itemsize)],
            [(out, (kind.size,), (kind.itemsize,), kind.itemsize)],
            [INTP.itemsize, INTP.itemsize, kind.itemsize],
            steps,
            "zero",
        )
        slot = self.slot(root)
        return self.task(work, [(slot, ())], [], [slot], place)

    def vars(self, slots: list[int]) -> list[int]:
        """The slots among these that the engine has to order; constants never change."""
        return sorted({s for s in slots if not self.slots[s].const})

    def emit_steps(self, group: Group, turn: int) -> None:
        """Make the task of a program of steps."""
        if group.stages and self.emit_sweep(group, turn):
            return
        program = Steps(self.lowering, group)
        if group.update is not None:
            self.emit_update(program, group, turn)
        else:
            program.finish()
            self.place_outputs(program, turn)
        if 0 in group.shape and group.update is not None:
            return
        operands = [(self.slot(a.root), a.offsets) for a in program.operands]
        both = operands, program.targets
        args = [both[which][index] for which, index in program.kernel_arguments()]
        if self.device:
            self.emit_on_device(program, group, args, turn)
            return
        if group.product is not None:
            program.home = self.home(program, group.product)
        recipe = program.recipe()
        kernel = recipe.kernel()
        read_by = self.readers(program)
        written = {slot for slot, _ in program.targets}
        if group.update is not None and not (
            self.lowering.covers(group.update) or self.on_empty(group.update)
        ):
            out = self.slot_of[group.update]
            base = self.slot(self.lowering.access(self.graph.inputs[group.update][0]).root)
            if group.around:
                args += [(base, ()), (out, ())]
            else:
                base = out
            if not self.slots[base].const:
                read_by.setdefault(base, set()).add(out)
        if kernel.scratch_bytes:
            scratch = self.scratch(kernel.scratch_bytes)
            args.append((scratch, ()))
            written.add(scratch)
            for stage in program.stages[:-1]:
                own = [*args[:2], args[1], (scratch, ())]
                feeds = self.vars([slot for slot, _ in own[:2]])
                self.tasks.append(Task(stage, None, own, feeds, [scratch], group.nodes[-1], "pack"))
        reads, writes = sorted(read_by), sorted(written)
        task = Task(
            kernel, None, args, reads, writes, group.nodes[-1], program.label(), recipe=recipe
        )
        task.nodes = list(group.nodes)
        if any(len(read_by[read]) < len(writes) for read in reads):
            task.depends = [sum(1 << writes.index(w) for w in read_by[read]) for read in reads]
        self.tasks.append(task)

    def emit_sweep(self, group: Group, turn: int) -> bool:
        """Make the task of updates in place; False where a second buffer is needed anyway."""
        stages = group.stages
        first, last = stages[0].update, stages[-1].update
        nbytes = self.graph.types[last].nbytes
        base = stages[0].base
        own = self.dies(base, turn) and self.slots[self.slot(base)].nbytes == nbytes
        if len(stages) == 1 and not own:
            return False
        out = self.begin_update(first, self.graph.inputs[first][0], turn, covers=False)
        args: list[tuple[int, tuple[int, ...]]] = []
        read_by: dict[int, set[int]] = {}
        for stage in stages:
            self.slot_of[stage.update] = out
            self.taken[stage.update] = last
            program = stage.program
            program.targets.append((out, stage.offsets))
            for node in stage.others:
                program.add_output(node)
            self.place_outputs(program, turn)
            for slot, users in self.readers(program).items():
                read_by.setdefault(slot, set()).update(users)
            args += [
                (out if i in stage.rolled else self.slot(seen.root), seen.offsets)
                for i, seen in enumerate(program.operands)
            ]
            args += program.targets
        args.append((out, ()))
        read_by.setdefault(out, set()).add(out)
        writes = sorted({slot for slot, _ in stages[0].program.targets})
        recipe = stages[0].recipe(len(stages), nbytes)
        kernel = recipe.kernel()
        label = stages[0].program.label()
        place = stages[-1].nodes[-1]
        if kernel.scratch_bytes:
            halo = self.scratch(kernel.scratch_bytes)
            args.append((halo, ()))
            self.tasks.append(
                Task(_rolling.borders(kernel), None, args, [out], [halo], place, "borders")
            )
            read_by[halo] = set(writes)
        reads = sorted(read_by)
        task = Task(kernel, None, args, reads, writes, place, label, recipe=recipe)
        task.nodes = [node for stage in stages for node in stage.nodes]
        task.stages = len(stages)
        if any(len(read_by[read]) < len(writes) for read in reads):
            task.depends = [sum(1 << writes.index(w) for w in read_by[read]) for read in reads]
        self.tasks.append(task)
        return True

    def emit_on_device(
        self, program: Steps, group: Group, args: list[tuple[int, tuple[int, ...]]], turn: int
    ) -> None:
        """Make the task of a program on another device: what an update leaves is there before."""
        written = {slot for slot, _ in program.targets}
        reads = set(self.vars([self.slot(seen.root) for seen in program.operands]))
        if group.update is not None and not (
            self.lowering.covers(group.update) or self.on_empty(group.update)
        ):
            out = self.slot_of[group.update]
            if group.around:
                root = self.lowering.access(self.graph.inputs[group.update][0]).root
                self.tasks.append(self.copy_task(root, out, group.update))
            reads.add(out)
        work: Any = program.work()
        place = group.nodes[-1]
        index = self.adds_to_product(program, group, turn)
        if index is not None:
            before = self.tasks.pop()
            work = Biased(before.work, work, index == 1)
            args = [*before.args[:-1], args[1 - index], args[2]]
            reads = {*before.reads, *self.vars([args[2][0]])}
        self.tasks.append(self.task(work, args, sorted(reads), sorted(written), place))

    def adds_to_product(self, program: Steps, group: Group, turn: int) -> int | None:
        """Which operand of a sum is the product that the last task computes for nobody else.

        The other one is a line along its rows. None where a program is anything else.
        """
        node, before = group.nodes[0], self.tasks[-1] if self.tasks else None
        if (
            not (passes.enabled("fuse") and passes.enabled("products"))
            or before is None
            or (before.label, before.device) != ("gemm", self.device)
            or len(group.nodes) > 1
            or (self.graph.ops[node].name, len(program.steps)) != ("add", 1)
        ):
            return None
        place, kind = before.place, self.graph.types[node]
        roots = [seen.root for seen in program.operands]
        if len(roots) != 2 or roots.count(place) != 1:
            return None
        index = roots.index(place)
        seen, line = program.operands[index], program.operands[1 - index]
        types = [self.lowering.type_of(source) for source in self.graph.inputs[node]]
        fits = (
            all(each.dtype == kind.dtype for each in types)
            and seen.whole
            and seen.shape == kind.shape == self.graph.types[place].shape
            and line.shape[-1:] == kind.shape[-1:] == (prod(line.shape),)
            and line.strides[-1] == kind.itemsize
            and self.dies(place, turn)
            and program.targets[0][0] not in [slot for slot, _ in before.args[:-1]]
        )
        return index if fits else None

    def home(self, program: Steps, product: int) -> int:
        """The operand of a program, an output, where its product may be computed; 0 for none."""
        kind = self.graph.types[product]
        read = {self.slot(seen.root) for seen in program.operands}
        for index, (slot, offsets) in enumerate(program.targets):
            _, shape, strides, size = program.outputs[index]
            same = shape == kind.shape and strides == c_strides(shape, size)
            if same and size == kind.itemsize and not offsets and slot not in read:
                return len(program.operands) - 1 + index
        return 0

    def readers(self, program: Steps) -> dict[int, set[int]]:
        """For each slot that a program reads, the slots whose values depend on it."""
        slots = [self.slot(seen.root) for seen in program.operands]
        found: dict[int, set[int]] = {slot: set() for slot in self.vars(slots)}
        for (register, *_), (target, _) in zip(program.outputs, program.targets, strict=True):
            for index, slot in enumerate(slots):
                if slot in found and program.feeds[register] >> index & 1:
                    found[slot].add(target)
        return found

    def emit_update(self, program: Steps, group: Group, turn: int) -> None:
        """Let an update's value be written through its View."""
        place = group.update
        assert place is not None
        shape, strides, moving, covers, dtype = self.graph.attrs[place]
        old, value = self.graph.inputs[place]
        base = self.lowering.access(old).root
        if not (group.around or covers or self.on_empty(place) or self.dies(base, turn)):
            # The old value lives on: what the update leaves of it is copied.
            group.around = self.lowering.worth_copying(place, group)
        if group.nodes[0] == place:
            seen = self.lowering.access(value)
            if seen.root == base and not (group.around or self.on_empty(place)):
                group.around = self.lowering.worth_copying(place, group)
            if seen.root == base and not group.around:
                # What it reads may overlap what it writes: through a buffer of its own.
                seen = self.detour(seen, place)
            register = program.load(seen)
        else:
            register = program.register_of[value]
        if group.around:
            out = self.fresh(self.graph.types[place].nbytes)
        else:
            out = self.begin_update(place, old, turn, covers)
        self.slot_of[place] = out
        program.outputs.append((register, shape, strides, dtype.itemsize))
        program.targets.append((out, (place,) if moving else ()))
        for node in group.nodes:
            if node != value and node != place and program.leaves_group(node):
                program.add_output(node)
        self.place_outputs(program, turn)

    def detour(self, seen: Access, place: int) -> Access:
        """How an operand is read after a copy to a slot of its own."""
        size = seen.itemsize
        strides = c_strides(seen.shape, size)
        nbytes = size
        for extent in seen.shape:
            nbytes *= extent
        out = self.fresh(nbytes)
        reads = [(0, seen.shape, seen.strides, size)]
        work = Loops(seen.shape, reads, [(0, seen.shape, strides, size)], [size], [], "copy")
        source = self.slot(seen.root)
        args = [(source, seen.offsets), (out, ())]
        self.tasks.append(self.task(work, args, self.vars([source]), [out], place))
        self.detours += 1
        root = -len(self.graph.leaf_types) - self.detours
        self.slot_of[root] = out
        return Access(root, seen.shape, strides, (), size, True)

    def place_outputs(self, program: Steps, turn: int) -> None:
        """Give each result a slot.

        It is that of an input which dies here and is read in step with it, else a fresh one.
        """
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
                    and program.safe_in_place(index, node, position)
                ):
                    slot = self.slot(seen.root)
                    self.taken[seen.root] = node
                    break
            if slot is None:
                slot = self.fresh(kind.nbytes)
            self.slot_of[node] = slot
            program.targets.append((slot, ()))

    def emit_native(self, place: int, turn: int) -> None:
        """Make the task of an array op."""
        graph = self.graph
        op = graph.ops[place]
        kind = graph.types[place]
        attrs = dict(graph.attrs[place] or ())
        sources = graph.inputs[place]
        accesses = [self.lowering.access(s) for s in sources]
        if op.inplace:
            accesses = accesses[1:]
            also = tuple(seen.root for seen in accesses)
            out = self.begin_update(place, sources[0], turn, covers=False, also=also)
        else:
            out = self.fresh(kind.nbytes)
        self.slot_of[place] = out
        args = [(self.slot(a.root), a.offsets) for a in accesses]
        reads = self.vars([slot for slot, _ in args] + ([out] if op.inplace else []))
        carried = op is transfer
        if 0 in kind.shape and not carried:
            self.tasks.append(self.empty_task(reads, out, place, op.name))
            return
        args.append((out, ()))
        if carried:
            source = self.lowering.type_of(sources[0]).device
            carry = Carry(source, kind.device, kind.nbytes)
            self.tasks.append(
                Task(
                    *(None, None, args, reads, [out], place, "transfer"),
                    device=source or kind.device,
                    work=carry,
                )
            )
            return
        kinds = [self.lowering.type_of(s) for s in sources]
        types = kinds[1 if op.inplace else 0 :]
        arrays = [(a.shape, a.strides, t.dtype) for a, t in zip(accesses, types, strict=True)]
        arrays.append((kind.shape, c_strides(kind.shape, kind.itemsize), kind.dtype))
        layouts = [
            None if a.strides == c_strides(a.shape, a.itemsize) else a.strides for a in accesses
        ]
        if op.inplace:
            layouts.insert(0, None)

        def make() -> Any:
            return op.factory(kinds, kind, layouts, **attrs)

        if self.device:
            work = Whole(op, attrs, arrays, None if op.factory is None else make)
            self.tasks.append(
                Task(
                    *(None, None, args, reads, [out], place, op.name, arrays, op),
                    device=self.device,
                    work=work,
                )
            )
            return
        kernel = make() if op.factory is not None else None
        stages = kernel if isinstance(kernel, list) else [kernel]
        kernel = stages[-1]
        writes = [out]
        if kernel is not None and kernel.scratch_bytes:
            scratch = self.scratch(kernel.scratch_bytes)
            args.append((scratch, ()))
            writes.append(scratch)
        function = (op.function, attrs) if kernel is None else None
        shown = arrays if kernel is None else None
        for stage in stages:
            self.tasks.append(Task(stage, function, args, reads, writes, place, op.name, shown, op))
            # The next one goes on with what this one leaves, failures included.
            reads = sorted({*reads, *writes})
        self.tasks[-1].nodes = [place]

    def empty_task(self, reads: list[int], out: int, place: int, label: str) -> Task:
        """A task without work: an empty result still fails with what it depends on."""
        nothing = (0, (0,), (1,), 1)
        work = Loops((0,), [nothing], [nothing], [1], [], label)
        return self.task(work, [(out, ()), (out, ())], reads, [out], place)
