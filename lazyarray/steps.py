"""The registers and steps of one kernel: what a group of nodes becomes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import lazyarray._blas as _blas
import lazyarray._fused as _fused
import lazyarray._loops as _loops
from lazyarray._ir import c_strides

from .columns import compiled_of
from .fuse import Lowering
from .plan import NATIVE, VIEW, Access, Group, Recipe
from .works import Loops

STREAM = 4096  # elements from which a line that is not spread again is reduced block by block
FLAT_INDEX, COPY = "iota", "positive"

# An operand's elements: how it is read, and over which shape.
Operand = tuple[Access, tuple[int, ...]]
# How an operand is read, whether from a register, and whether from a line that is spread.
Reading = tuple[Access, bool, bool]


class Steps:
    """A program: operands are loaded into registers, each step computes registers from registers.

    A register holds elements or, where the group reduces, lines.
    """

    def __init__(self, lowering: Lowering, group: Group) -> None:
        self.lowering = lowering
        self.group = group
        self.graph = lowering.graph
        self.registers: list[int] = []
        self.lines: set[int] = set()  # registers
        self.feeds: list[int] = []  # by register: bit set of the operands its value depends on
        self.steps: list[Any] = []
        self.names: list[str] = []
        # (register, shape, strides, item size); strides None: the flat index
        self.inputs: list[tuple[int, tuple[int, ...], tuple[int, ...] | None, int]] = []
        self.outputs: list[tuple[int, tuple[int, ...], tuple[int, ...], int]] = []
        self.operands: list[Access] = []  # of the inputs that have strides
        self.operand_registers: list[int] = []
        self.targets: list[tuple[int, tuple[int, ...]]] = []  # of the outputs
        self.written: list[tuple[int, int]] = []  # stored nodes, and at which step
        self.register_of: dict[int, int] = {}
        self.spread_of: dict[int, int] = {}
        self.step_of: dict[int, int] = {}
        self.loaded: dict[Operand, int] = {}
        self.indices: dict[bool, int] = {}
        self.members = set(group.nodes)
        self.spare: dict[tuple[bool, int], list[int]] = {}
        self.folded: list[int] = []  # registers whose last reader was a reduction
        self.leaving: dict[int, bool] = {}
        self.reading: dict[int, list[Reading]] = {}
        self.uses = self.count_uses()
        self.stages: list[Any] = []  # kernels of the product: those before, and its own
        self.home = 0  # the operand of the program in whose memory the product is computed
        if group.product is not None:
            self.load_product(group.product)
        if group.axes is None:
            for node in group.nodes:
                if node not in (group.update, group.product):
                    self.compute(node)
        else:
            self.compute_in_phases()

    # ---- what is in which register

    def is_line(self, node: int) -> bool:
        """Whether a node computes lines."""
        return node in self.group.lines

    def reads(self, node: int) -> list[Reading]:
        """How a node reads its operands; whether that is a register, and one to be spread."""
        found = self.reading.get(node)
        if found is None:
            found = self.reading[node] = list(self.readings(node))
        return found

    def readings(self, node: int) -> Iterator[Reading]:
        """The same, worked out."""
        line = self.lowering.reads_lines(node, self.group)
        reduces = self.graph.ops[node].kind == NATIVE
        for seen in self.lowering.reads(node):
            inside = seen.root in self.members and node not in self.lowering.copied
            root_line = inside and self.is_line(seen.root)
            if inside and not reduces:
                inside = self.lowering.in_register(seen, line, root_line, self.group)
            yield seen, inside, inside and root_line and not line

    def count_uses(self) -> dict[tuple[int, bool], int]:
        """How often the group reads each register: that of a node, or that of its spread line."""
        uses: dict[tuple[int, bool], int] = {}
        for node in self.group.nodes:
            for seen, inside, spread in self.reads(node):
                if inside:
                    uses[seen.root, spread] = uses.get((seen.root, spread), 0) + 1
        for root, spread in list(uses):
            if spread:
                uses[root, False] = uses.get((root, False), 0) + 1
        return uses

    def leaves_group(self, node: int) -> bool:
        """Whether a value is wanted outside its group."""
        found = self.leaving.get(node)
        if found is None:
            found = self.leaving[node] = self.is_wanted(node)
        return found

    def is_wanted(self, node: int) -> bool:
        """Whether a value is kept, or read by what does not find it in a register."""
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
                elif user == self.group.update:
                    if node not in lowering.graph.inputs[user]:
                        return True
                elif user not in self.members or any(
                    seen.root == node and not inside for seen, inside, _ in self.reads(user)
                ):
                    return True
        return False

    def feeds_update(self, node: int) -> bool:
        """Whether the group's update writes the value of this node."""
        update = self.group.update
        return update is not None and self.graph.inputs[update][1] == node

    # ---- steps

    def compute_in_phases(self) -> None:
        """Compute what needs no reduction, reduce it, compute what needs these, and so on."""
        phase: dict[int, int] = {}
        order = []
        for node in self.group.nodes:
            if node == self.group.update:
                continue
            at = max(
                (phase[seen.root] for seen, inside, _ in self.reads(node) if inside), default=0
            )
            kind = self.graph.ops[node].kind
            rank = 3 if node in self.group.across else 2 if kind == NATIVE else 1
            order.append((at, 0 if rank == 1 and self.is_line(node) else rank, node))
            phase[node] = at + (kind == NATIVE)
        order.sort()
        last = (0, 0)
        for index, (at, rank, node) in enumerate(order):
            if (at, rank) != last:
                last = (at, rank)
                if rank == 1:
                    self.spread_for([n for a, r, n in order[index:] if (a, r) == last])
                if rank < 2:
                    self.release()
            if rank >= 2:
                self.fold(node)
            else:
                self.compute(node)

    def spread_for(self, nodes: list[int]) -> None:
        """Spread the lines that these nodes read as elements, all at once: loops stay together."""
        for node in nodes:
            for seen, _, spread in self.reads(node):
                root = seen.root
                if spread and root not in self.spread_of:
                    source = self.register_of[root]
                    out = self.take(self.graph.types[root].itemsize, False)
                    self.feeds[out] = self.feeds[source]
                    self.spread_of[root] = out
                    self.steps.append((_fused.SPREAD, (source,), (out,)))
                    self.drop(root, False)

    def compute(self, node: int) -> None:
        """Add the step of one node."""
        graph = self.graph
        op = graph.ops[node]
        kind = graph.types[node]
        line = self.is_line(node)
        space = kind.shape if line else self.group.shape
        if op.kind == VIEW:
            self.register_of[node] = self.load(self.lowering.copied[node], space, line)
            return
        if op.name == FLAT_INDEX:
            self.register_of[node] = self.load_index(line)
            return
        reads = self.reads(node)
        if op.name == COPY and self.is_strided(reads[0]):
            self.register_of[node] = self.load(reads[0][0], space, line)
            return
        sources = []
        feeds = 0
        for seen, inside, spread in reads:
            if not inside:
                source = self.load(seen, space, line)
            else:
                source = (self.spread_of if spread else self.register_of)[seen.root]
            feeds |= self.feeds[source]
            sources.append(source)
        loop = op.loop([self.lowering.type_of(s).dtype for s in graph.inputs[node]], kind.dtype)
        stays = self.leaves_group(node) or self.feeds_update(node)
        out = self.new(kind.itemsize, line) if stays else self.take(kind.itemsize, line)
        self.register_of[node] = out
        self.feeds[out] = feeds
        self.step_of[node] = len(self.steps)
        self.steps.append((_fused.LineLoop(loop) if line else loop, tuple(sources), (out,)))
        self.names.append(op.name)
        for seen, inside, spread in reads:
            if inside:
                self.drop(seen.root, spread)

    def is_strided(self, reading: Reading) -> bool:
        """Whether an operand is in memory and not contiguous: loading it makes a copy."""
        seen, inside, _ = reading
        return not inside and seen.strides != c_strides(seen.shape, seen.itemsize)

    def fold(self, node: int) -> None:
        """Add the steps of a reduction."""
        graph = self.graph
        op = graph.ops[node]
        ((seen, inside, _),) = self.reads(node)
        source = self.register_of[seen.root] if inside else self.load(seen, self.group.shape, False)
        kind, result = self.lowering.type_of(graph.inputs[node][0]).dtype, graph.types[node].dtype
        _, via, _ = _loops.reduce_types(op.reduces, kind, result)
        feeds = self.feeds[source]
        if via != kind:
            cast = self.take(via.itemsize, False)
            self.feeds[cast] = feeds
            self.steps.append((_loops.find_loop("cast", (kind, via)), (source,), (cast,)))
            self.folded.append(cast)
            source = cast
        what = _fused.FoldStep(op.reduces, via, result)
        if node in self.group.across:  # complete only when all elements have been read
            what, out = _fused.AcrossStep(what), self.new(0, False)
        else:
            out = self.new(result.itemsize, True)
            self.step_of[node] = len(self.steps)
        self.feeds[out] = feeds
        self.register_of[node] = out
        self.steps.append((what, (source,), (out,)))
        self.names.append(op.name)
        if inside:
            self.drop(seen.root, False, after_fold=True)

    # ---- registers

    def new(self, size: int, line: bool) -> int:
        """A register."""
        self.registers.append(size)
        self.feeds.append(0)
        if line:
            self.lines.add(len(self.registers) - 1)
        return len(self.registers) - 1

    def take(self, size: int, line: bool) -> int:
        """A register that nobody reads any more, else a new one."""
        spare = self.spare.get((line, size))
        return spare.pop() if spare else self.new(size, line)

    def drop(self, root: int, spread: bool, after_fold: bool = False) -> None:
        """Count one use of a value as done; after the last, its register is free."""
        self.uses[root, spread] -= 1
        if self.uses[root, spread]:
            return
        if spread:
            register = self.spread_of[root]
        elif (
            root not in self.step_of
            or self.graph.ops[root].kind == NATIVE
            or self.leaves_group(root)
            or self.feeds_update(root)
        ):
            return
        else:
            register = self.register_of[root]
        if after_fold:
            self.folded.append(register)
        else:
            self.free(register)

    def free(self, register: int) -> None:
        """Let a register be used again."""
        key = register in self.lines, self.registers[register]
        self.spare.setdefault(key, []).append(register)

    def release(self) -> None:
        """Free what the reductions before have read: they may run side by side, at their end."""
        for register in self.folded:
            self.free(register)
        self.folded.clear()

    # ---- operands

    def load(self, seen: Access, space: tuple[int, ...] | None = None, line: bool = False) -> int:
        """The register an operand is read into."""
        if space is None:
            space = self.group.shape
        found = self.loaded.get((seen, space))
        if found is None:
            found = self.new(seen.itemsize, line)
            self.feeds[found] = 1 << len(self.operands)
            strides = (0,) * (len(space) - len(seen.shape)) + tuple(
                0 if extent == 1 else stride
                for extent, stride in zip(seen.shape, seen.strides, strict=True)
            )
            self.inputs.append((found, space, strides, seen.itemsize))
            self.operands.append(seen)
            self.operand_registers.append(found)
            self.loaded[seen, space] = found
        return found

    def load_product(self, node: int) -> None:
        """Let the product of the group be its first input; what it is made of are operands."""
        kind = self.graph.types[node]
        register = self.register_of[node] = self.new(kind.itemsize, False)
        strides = c_strides(kind.shape, kind.itemsize)
        self.inputs.append((register, kind.shape, strides, kind.itemsize))
        self.names.append(self.graph.ops[node].name)
        layouts = []
        for seen in self.lowering.reads(node):
            self.feeds[register] |= 1 << len(self.operands)
            self.operands.append(seen)
            self.operand_registers.append(-1)
            flat = seen.strides == c_strides(seen.shape, seen.itemsize)
            layouts.append(None if flat else seen.strides)
        kinds = [self.lowering.type_of(source) for source in self.graph.inputs[node]]
        made = self.graph.ops[node].factory(kinds, kind, layouts)
        self.stages = made if isinstance(made, list) else [made]

    def load_index(self, line: bool) -> int:
        """The register of the flat index."""
        found = self.indices.get(line)
        if found is None:
            found = self.indices[line] = self.new(8, line)
            self.inputs.append((found, (), None, 8))
        return found

    def finish(self) -> None:
        """Add the outputs of a program without an update; those across lines come last."""
        for node in sorted(self.group.nodes, key=lambda node: (node in self.group.across, node)):
            if self.leaves_group(node):
                self.add_output(node)

    def add_output(self, node: int) -> None:
        """Store the value of a node."""
        kind = self.graph.types[node]
        register = self.register_of[node]
        strides = c_strides(kind.shape, kind.itemsize)
        self.outputs.append((register, kind.shape, strides, kind.itemsize))
        self.written.append((node, self.step_of.get(node, -1)))

    def safe_in_place(self, index: int, node: int, position: int) -> bool:
        """Whether a node written at step `position` may overwrite operand `index` of its shape."""
        register = self.operand_registers[index]
        if register < 0 or position < 0 or self.is_line(node) != (register in self.lines):
            return False
        root = self.operands[index].root
        for other, seen in enumerate(self.operands):
            if seen.root == root and other != index:
                return False
        return all(
            step <= position
            for step, (_, sources, _) in enumerate(self.steps)
            if register in sources
        )

    # ---- the kernel

    def label(self) -> str:
        """The names of the steps."""
        return "+".join(self.names) if self.names else "copy"

    def streams(self) -> bool:
        """Whether reductions end the program, and are done block by block."""
        _, red, inner = self.group.fold
        if self.group.across or any(what is _fused.SPREAD for what, _, _ in self.steps):
            return False
        return inner > 1 or red > STREAM

    def kernel_arguments(self) -> list[tuple[int, Any]]:
        """The operands in the kernel's order: (0, index of an operand) or (1, of a target)."""
        loads = enumerate(self.operand_registers)
        reads = [(0, i, register in self.lines) for i, register in loads]
        writes = [(1, i, entry[0] in self.lines) for i, entry in enumerate(self.outputs)]
        both = reads + writes
        if self.group.axes is not None and self.streams():
            both.sort(key=lambda entry: entry[2])
        return [(which, index) for which, index, _ in both]

    def work(self) -> Loops:
        """What a device does for the program."""
        order = self.kernel_arguments()
        make = (lambda: self.recipe().kernel()) if self.group.axes is not None else None
        return Loops(
            *(self.group.shape, self.inputs, self.outputs, self.registers, self.steps),
            *(self.label(), order, self.group.axes, self.lines, make),
        )

    def recipe(self) -> Recipe:
        """What the kernel is made of."""
        shape, inputs, outputs, lines = self.group.shape, self.inputs, self.outputs, self.lines
        label, update = self.label(), self.group.update
        if self.group.axes is not None:
            fold = self.group.fold
            factory = _fused.stream if self.streams() else _fused.panels

            def make(registers: list[int], steps: list[Any]) -> Any:
                return factory(shape, fold, inputs, outputs, registers, lines, steps, label)

        elif self.group.around and not self.lowering.covers(update or 0):
            nbytes = self.graph.types[update or 0].nbytes

            def make(registers: list[int], steps: list[Any]) -> Any:
                return _fused.around(shape, inputs, outputs, registers, steps, nbytes, label)

        else:
            stages, home = self.stages, self.home
            reads = [(register, strides, size) for register, _, strides, size in inputs]
            writes = [(register, strides, size) for register, _, strides, size in outputs]

            def make(registers: list[int], steps: list[Any]) -> Any:
                program = _loops.elementwise(shape, reads, writes, registers, steps, label=label)
                return _blas.follow(stages[-1], program, home) if stages else program

        results = [entry[0] for entry in outputs]
        uniform = [
            register
            for register, _, strides, _ in inputs
            if strides is not None and not any(strides) and register not in lines
        ]
        compiled = (
            cache(partial(compiled_of, Outline(self))) if self.group.axes is not None else None
        )
        return Recipe(self.registers, self.steps, results, make, uniform, compiled)


class Outline:
    """A program without the graph that it was made of: a plan holds it as long as it lives."""

    __slots__ = (
        "arguments", "group", "inputs", "lines", "operand_registers", "outputs", "registers",
        "steps", "stream", "text",
    )  # fmt: skip

    def __init__(self, program: Steps) -> None:
        self.group = program.group
        self.registers = program.registers
        self.lines = program.lines
        self.steps = program.steps
        self.inputs = program.inputs
        self.outputs = program.outputs
        self.operand_registers = program.operand_registers
        self.arguments = program.kernel_arguments()
        self.stream = program.streams()
        self.text = program.label()

    def kernel_arguments(self) -> list[tuple[int, Any]]:
        """As those of the program."""
        return self.arguments

    def streams(self) -> bool:
        """As that of the program."""
        return self.stream

    def label(self) -> str:
        """As that of the program."""
        return self.text
