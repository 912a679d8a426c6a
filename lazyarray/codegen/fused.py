"""Runs of a kernel's loops are put together to sweeps, one loop each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lazyarray._loops import Loop

from .dialect import stored
from .operations import lookup
from .sweep import Statement, Sweep

OPERANDS = 32  # of one loop: what the block driver passes, see native/driver.hpp

# (loop, input registers, output registers)
Move = tuple[Any, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Run:
    """A sweep in a kernel: the registers it reads and writes, and the steps it replaces."""

    sweep: Sweep
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    steps: tuple[Move, ...]


def fusable(step: Move) -> bool:
    """Whether a step of a kernel is a loop with a scalar program."""
    loop = step[0]
    return isinstance(loop, Loop) and loop.nout == 1 and lookup(loop.name, loop.dtypes) is not None


def compress(
    steps: list[Move], results: Collection[int], uniform: Collection[int] = ()
) -> list[Move | Run]:
    """Put maximal runs of steps with scalar programs together; what is left stays as it is.

    Parameters
    ----------
    steps : list of (what, input registers, output registers)
    results : collection of int
        Registers that are read when all steps are done.
    uniform : collection of int
        Registers that hold the same element throughout, as long as no step writes them.
    """
    wanted = read_later(steps, results)
    found: list[Move | Run] = []
    written: set[int] = set()
    begin = 0
    while begin < len(steps):
        end = begin
        draft = Draft(set(uniform) - written)
        while (
            end < len(steps)
            and fusable(steps[end])
            and draft.add(steps[end])
            and draft.operands(wanted[end]) <= OPERANDS
        ):
            end += 1
        if end - begin < 2:  # one loop alone is as fast as it was
            end = begin + 1
            found.append(steps[begin])
        else:
            draft = Draft(set(uniform) - written)
            for step in steps[begin:end]:
                draft.add(step)
            found.append(draft.run(wanted[end - 1], steps[begin:end]))
        written.update(register for step in steps[begin:end] for register in step[2])
        begin = end
    return found


def read_later(steps: list[Move], results: Collection[int]) -> list[set[int]]:
    """For each step, the registers that are read after it before they are written."""
    wanted = set(results)
    found = []
    for _, reads, writes in reversed(steps):
        found.append(set(wanted))
        wanted.difference_update(writes)
        wanted.update(reads)
    return found[::-1]


class Draft:
    """The sweep of the steps seen so far; inputs have negative numbers until it is done."""

    def __init__(self, uniform: Collection[int]) -> None:
        self.uniform = uniform
        self.inputs: list[tuple[int, str]] = []  # register, type
        self.number: dict[tuple[int, str], int] = {}
        self.current: dict[int, tuple[int, str]] = {}  # register: value, type
        self.statements: list[Statement] = []

    def add(self, step: Move) -> bool:
        """Add a step; False where it reads a value as another type than it was made."""
        loop, reads, writes = step
        types = tuple(str(dtype) for dtype in loop.dtypes)
        args = []
        for register, kind in zip(reads, types[:-1], strict=True):
            made = self.current.get(register)
            if made is None:
                args.append(self.load(register, kind))
            elif made[1] == kind:
                args.append(made[0])
            else:
                return False
        self.current[writes[0]] = len(self.statements), types[-1]
        self.statements.append(Statement(loop.name, types, tuple(args)))
        return True

    def load(self, register: int, kind: str) -> int:
        """The number of an input."""
        found = self.number.get((register, kind))
        if found is None:
            self.inputs.append((register, kind))
            found = self.number[register, kind] = -len(self.inputs)
        return found

    def stored(self, wanted: Collection[int]) -> list[int]:
        """The registers whose values are read when the run is over."""
        return [register for register in self.current if register in wanted]

    def operands(self, wanted: Collection[int]) -> int:
        """How many operands the loop has if the run ends here."""
        return len(self.inputs) + len(self.stored(wanted))

    def run(self, wanted: Collection[int], steps: list[Move]) -> Run:
        """The run of the steps that were added."""
        stored = self.stored(wanted)
        reaches = {register: register in self.uniform for register, _ in self.inputs}
        sweep = self.sweep([self.current[register][0] for register in stored], reaches)
        reads = tuple(register for register, _ in self.inputs)
        return Run(sweep, reads, tuple(stored), tuple(steps))

    def sweep(
        self,
        outputs: Iterable[int],
        reaches: Mapping[int, int],
        folds: tuple[str, ...] = (),
        form: str = "",
    ) -> Sweep:
        """The sweep of the steps that were added, with what its inputs' registers reach."""
        count = len(self.inputs)

        def place(value: int) -> int:
            return value + count if value >= 0 else -value - 1

        inputs = tuple((stored(kind), reaches[register]) for register, kind in self.inputs)
        statements = tuple(
            Statement(s.name, s.types, tuple(place(a) for a in s.args)) for s in self.statements
        )
        return Sweep(inputs, statements, tuple(place(value) for value in outputs), folds, form)
