"""What kernels that reduce are known by, and the phases of their programs.

A program goes in phases: elements are computed and reduced to lines, lines are computed from
these, and spread over the elements of the next phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazyarray._loops import reduce_types

from .emit_cuda_program import Work
from .emit_cuda_scalars import Device, cuda_type, device_function, size_of

HEADER = "cuda_folds.hpp"

OPERATIONS = {
    "sum": "Add", "prod": "Multiply", "min": "Extreme<false>", "max": "Extreme<true>",
    "fmin": "Known<false>", "fmax": "Known<true>", "argmin": "Position<false>",
    "argmax": "Position<true>",
}  # fmt: skip
POSITIONS = ("argmin", "argmax")
LANES = 32  # of a block of the tree, see native/reduce.hpp

UNIT, SAME, STEPPED = "unit", "same", "stepped"


@dataclass(frozen=True, slots=True)
class Fold:
    """A reduction: of what value, by which join, in which type; what converts its total."""

    work: int  # its place among the works
    value: int
    join: str
    via: str
    accumulator: str  # in CUDA C++
    size: int  # bytes of that
    result: str
    convert: str = ""  # a device function


@dataclass(frozen=True, slots=True)
class Element:
    """How an operand of elements is read or written: its axes before, in and behind the reduced."""

    kind: str
    argument: int
    form: str  # INDEX, or STRIDED
    run: str = ""  # along the reduced axes (of rows), or the axes behind (of columns)


@dataclass(frozen=True, slots=True)
class Line:
    """How an operand of lines is read or written."""

    kind: str
    argument: int
    form: str
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Shaped:
    """What a kernel that reduces is known by."""

    inputs: tuple[Element | Line, ...]
    works: tuple[Work, ...]
    outputs: tuple[tuple[int, Element | Line], ...]
    arguments: int
    ranks: tuple[int, int, int]  # of the axes of elements
    wide: bool
    form: str  # "rows", or "columns"
    threads: int  # of rows: how many take a line; of columns: across the reduced axis
    held: int  # elements of a line that a thread keeps; 0: it reads them again
    run: int  # elements that a thread loads before it computes
    rounds: bool  # of rows: a line takes the threads several turns
    parts: bool

    def kind_of(self, value: int) -> str:
        """The type of a value."""
        count = len(self.inputs)
        if value < count:
            return self.inputs[value].kind
        return self.works[value - count].statement.types[-1]


# ---- phases


class Phases:
    """Which values a program computes in which phase, and from what."""

    def __init__(
        self, inputs: Sequence[Any], works: Sequence[Work], outputs: Sequence[int]
    ) -> None:
        self.count = len(inputs)
        self.works = works
        self.line = [isinstance(i, Line) for i in inputs] + [w.line for w in works]
        self.phase = [0] * (self.count + len(works))
        for number, work in enumerate(works, self.count):
            at = max((self.phase[a] for a in work.statement.args), default=0)
            self.phase[number] = at + work.fold
        self.outputs = outputs
        self.last = max(
            [
                self.phase[n] - w.fold
                for n, w in enumerate(works, self.count)
                if w.fold or not w.line
            ]
            + [self.phase[o] for o in outputs if not self.line[o]],
            default=0,
        )

    def work(self, value: int) -> Work | None:
        """The statement that makes a value; None for an input."""
        return self.works[value - self.count] if value >= self.count else None

    def elements(self, phase: int, held: bool) -> list[int]:
        """The values of elements that a phase reduces or stores."""
        found = []
        for number, work in enumerate(self.works, self.count):
            if work.fold and self.phase[number] == phase + 1:
                found.append(work.statement.args[0])
        for value in self.outputs:
            if not self.line[value]:
                # What is read again may lie in memory that is overwritten: it is stored last.
                at = self.phase[value] if held else self.last
                if at == phase:
                    found.append(value)
        return list(dict.fromkeys(found))

    def closure(self, values: Sequence[int], known: set[int]) -> list[int]:
        """The values of elements that these depend on, in order, without known ones."""
        found: set[int] = set()
        todo = [v for v in values if v not in known]
        while todo:
            value = todo.pop()
            if value in found or self.line[value]:
                continue
            found.add(value)
            work = self.work(value)
            if work is not None:
                todo += [a for a in work.statement.args if a not in known]
        return sorted(found)


def folds_of(works: Sequence[Work], count: int) -> list[Fold] | None:
    """The reductions of a program; None where one has no join here."""
    found = []
    for number, work in enumerate(works):
        if not work.fold:
            continue
        name, (kind, result) = work.statement.name, work.statement.types
        op, via, acc = reduce_types(name, np.dtype(kind), np.dtype(result))
        if op not in OPERATIONS or str(via) != kind:
            return None
        accumulator, size = cuda_type(str(acc)), size_of(str(acc))
        convert = ""
        if op in POSITIONS:
            accumulator, size = f"Best<{cuda_type(kind) if kind != 'bool' else 'uint8_t'}>", 16
            size = 24 if kind == "complex128" else 16
        elif result != kind:
            function = device_function("cast", (kind, result))
            if function is None:
                return None
            convert = function.name
        value = work.statement.args[0]
        found.append(Fold(number, value, OPERATIONS[op], kind, accumulator, size, result, convert))
    return found


def conversions(works: Sequence[Work]) -> list[Device]:
    """The device functions that convert totals."""
    found = []
    for work in works:
        kind, result = work.statement.types[0], work.statement.types[-1]
        if work.fold and work.statement.name not in POSITIONS and kind != result:
            function = device_function("cast", (kind, result))
            if function is not None:
                found.append(function)
    return found


def held_values(phases: Phases) -> dict[int, tuple[int, int]]:
    """The values of elements that a later phase reads: by which phase made, and last read."""
    made: dict[int, int] = {}
    read: dict[int, int] = {}
    for phase in range(phases.last + 1):
        wanted = phases.elements(phase, held=True)
        new = phases.closure(wanted, set(made))
        used = list(wanted)
        for value in new:
            work = phases.work(value)
            if work is not None:
                used += work.statement.args
        read.update((value, phase) for value in used if value in made)
        made.update((value, phase) for value in new)
    return {value: (made[value], read[value]) for value in sorted(read)}
