"""What a fused group's program (steps.Steps) computes: values instead of registers.

`described` reads it, with every shape and stride. What is below that, axes and strides, is for
the emitters, which divide a program into what decides its text and what is a size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import Any

import lazyarray._fused as _fused
from lazyarray._loops import Loop

from .emit_cuda_scalars import Device, alignment_of, device_function, size_of
from .operations import lookup
from .sweep import Statement, Sweep
from .sweep import expression as expression_of

NARROW = 1 << 31  # from here on places take 64 bits
# Elements of bytes that no loop reads as a type.
RAW = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64", 16: "complex128"}
# How an operand lies: contiguous, one element for all, no memory but the flat index, else.
FLAT, UNIFORM, INDEX, STRIDED = "flat", "uniform", "index", "strided"


@dataclass(frozen=True, slots=True)
class Input:
    """A value that is read: from an argument, or (of none) the flat index."""

    kind: str
    argument: int  # -1: the index
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes
    line: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """A value that is stored."""

    value: int
    argument: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    line: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """A statement and where it stands: of elements, or of lines; or it reduces these to those."""

    statement: Statement
    line: bool = False
    fold: bool = False


@dataclass(frozen=True, slots=True)
class Described:
    """A program over a shape: values 0, 1, ... are the inputs, then each statement makes one."""

    shape: tuple[int, ...]
    inputs: tuple[Input, ...]
    works: tuple[Work, ...]
    outputs: tuple[Output, ...]
    arguments: int
    axes: tuple[int, int] | None = None  # the reduced ones, from and to

    @property
    def fold(self) -> tuple[int, int, int] | None:
        """The extents before, in and behind the reduced axes."""
        if self.axes is None:
            return None
        start, stop = self.axes
        return prod(self.shape[:start]), prod(self.shape[start:stop]), prod(self.shape[stop:])

    def kind_of(self, value: int) -> str:
        """The type of a value."""
        count = len(self.inputs)
        if value < count:
            return self.inputs[value].kind
        return self.works[value - count].statement.types[-1]

    def alignments(self) -> tuple[int, ...] | None:
        """What each argument's address is a multiple of; None where strides step off that."""
        found = [1] * self.arguments
        entries: list[tuple[Input | Output, str]] = [(i, i.kind) for i in self.inputs]
        entries += [(o, self.kind_of(o.value)) for o in self.outputs]
        for entry, kind in entries:
            own = alignment_of(kind)
            if entry.argument >= 0:
                found[entry.argument] = max(found[entry.argument], own)
                if any(s % own for n, s in zip(entry.shape, entry.strides, strict=True) if n > 1):
                    return None
        return tuple(found)


def described(program: Any) -> Described | None:
    """What a fused group's program (a `steps.Steps`) computes; None where some step is no loop.

    Where the group begins with a product of matrices, that is one argument more, the last.
    """
    arguments = {entry: number for number, entry in enumerate(program.kernel_arguments())}
    operands = {r: arguments[0, i] for i, r in enumerate(program.operand_registers) if r >= 0}
    sources = {entry[0]: entry for entry in program.inputs}
    total = len(arguments)
    if program.group.product is not None:
        operands[program.register_of[program.group.product]] = total
        total += 1
    inputs: list[Input] = []
    works: list[Work] = []
    made: dict[int, int] = {}  # register: the work that made its value, or the spread line's
    loaded: dict[tuple[int, str], int] = {}

    def read(register: int, kind: str) -> int | None:
        # Inputs have negative numbers until all are known.
        if register in made:
            work = works[made[register]]
            return made[register] if work.statement.types[-1] == kind else None
        if (register, kind) not in loaded:
            _, shape, strides, size = sources[register]
            if size != size_of(kind):
                return None
            line = register in program.lines
            if strides is None:
                shape = program.group.shape if not line else line_shape(program)
            inputs.append(
                Input(kind, operands.get(register, -1), tuple(shape), tuple(strides or ()), line)
            )
            loaded[register, kind] = -len(inputs)
        return loaded[register, kind]

    for what, reads, writes in program.steps:
        step = meaning(what)
        if step is None or len(writes) != 1:
            return None
        name, types, line, fold = step
        if name == "spread":
            if reads[0] not in made:
                return None
            made[writes[0]] = made[reads[0]]
            continue
        args = [read(register, kind) for register, kind in zip(reads, types, strict=False)]
        if None in args:
            return None
        works.append(
            Work(Statement(name, types, tuple(a for a in args if a is not None)), line, fold)
        )
        made[writes[0]] = len(works) - 1
    outputs = []
    for number, (register, shape, strides, size) in enumerate(program.outputs):
        value = made.get(register)
        if value is None:
            known = [kind for (r, kind) in loaded if r == register]
            value = read(register, known[0] if known else RAW[size])
            if value is None:
                return None
        line = register in program.lines
        outputs.append(Output(value, arguments[1, number], tuple(shape), tuple(strides), line))
    count = len(inputs)

    def place(value: int) -> int:
        return value + count if value >= 0 else -value - 1

    moved = tuple(
        Work(
            Statement(w.statement.name, w.statement.types, tuple(map(place, w.statement.args))),
            w.line,
            w.fold,
        )
        for w in works
    )
    stored = tuple(Output(place(o.value), o.argument, o.shape, o.strides, o.line) for o in outputs)
    group = program.group
    return Described(tuple(group.shape), tuple(inputs), moved, stored, total, group.axes)


def line_shape(program: Any) -> tuple[int, ...]:
    """The shape of a program's lines."""
    start, stop = program.group.axes
    shape = tuple(program.group.shape)
    return shape[:start] + shape[stop:]


def meaning(what: Any) -> tuple[str, tuple[str, ...], bool, bool] | None:
    """A step's name and types; whether it is of lines, and whether it reduces elements to them."""
    if what is _fused.SPREAD:
        return "spread", (), False, False
    if isinstance(what, _fused.FoldStep):
        return what.name, (str(what.source), str(what.result)), True, True
    line = isinstance(what, _fused.LineLoop)
    loop = what.loop if line else what
    if not isinstance(loop, Loop) or loop.nout != 1:
        return None
    return loop.name, tuple(str(d) for d in loop.dtypes), line, False


def functions_of(works: Sequence[Work]) -> list[Device] | None:
    """The device functions of these statements; None where one has none."""
    found = []
    for work in works:
        if not work.fold:
            function = device_function(work.statement.name, work.statement.types)
            if function is None:
                return None
            found.append(function)
    return found


def weight(works: Sequence[Work]) -> int:
    """About how many steps the statements take."""
    total = 0
    for work in works:
        scalar = lookup(work.statement.name, work.statement.types)
        total += len(scalar.steps) if scalar is not None else 20
    return total


def named(works: Sequence[Work], work: Any) -> str:
    """A kernel's name: its first operations, and a digest of what it is known by."""
    names = "_".join(w.statement.name for w in works[:3]) or "copy"
    return f"la_{names}_{sha256(repr(work).encode()).hexdigest()[:12]}"


def title(work: Any) -> str:
    """What a kernel computes, as one line of text."""
    inputs = tuple((work.kind_of(i), 0) for i in range(len(work.inputs)))
    outputs = tuple(dict.fromkeys(entry[0] for entry in work.outputs))
    return expression_of(Sweep(inputs, tuple(w.statement for w in work.works), outputs))


# ---- axes


def joined(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """Axes without those of one element, neighbours being one where they are for all operands."""
    extents: list[int] = []
    out: list[list[int]] = [[] for _ in strides]
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        if extents and all(
            s[-1] == extent * own[axis] for s, own in zip(out, strides, strict=True)
        ):
            extents[-1] *= extent
            for s, own in zip(out, strides, strict=True):
                s[-1] = own[axis]
        else:
            extents.append(extent)
            for s, own in zip(out, strides, strict=True):
                s.append(own[axis])
    return extents, out


def broadcast(strides: Sequence[int], shape: Sequence[int], space: Sequence[int]) -> list[int]:
    """Strides of an operand over the whole space."""
    lead = len(space) - len(shape)
    return [0] * lead + [0 if n == 1 else s for n, s in zip(shape, strides, strict=True)]


def contiguous(extents: Sequence[int], strides: Sequence[int], size: int) -> bool:
    """Whether elements follow each other without a gap."""
    for extent, stride in zip(reversed(extents), reversed(strides), strict=True):
        if stride != size:
            return False
        size *= extent
    return True


def reach(extents: Sequence[int], strides: Sequence[int]) -> int:
    """The distance between the first and the farthest element, at most, in bytes."""
    return sum((n - 1) * abs(s) for n, s in zip(extents, strides, strict=True))


def divisor(extent: int) -> tuple[int, int, int, int]:
    """What `quotient` needs, see native/cuda_numbers.hpp."""
    extent = max(extent, 1)
    shift = (extent - 1).bit_length()
    return extent, ((1 << 32) * ((1 << shift) - extent)) // extent + 1, shift, 0
