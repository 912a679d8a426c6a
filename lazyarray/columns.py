"""Reductions with what they reduce as one compiled loop: results side by side, in tier 1.

Where results lie behind the reduced axis, rows are joined to what a lane of the tree holds, strip
by strip (native/stream.hpp). Where the last axis is reduced and the operands of a program repeat,
as in ``((x[:, None] - y) ** 2).sum(-1)``, one operand is turned once and serves many lines, so that
vectors run across results instead of along what is reduced (native/columns.hpp). `columns_of` finds
the axes and the sweep. Other lines are contiguous: loops over them compute, store and reduce in
one go what stands between programs of their results (native/panels.hpp).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lazyarray._fused as _fused
import lazyarray._loops as _loops
from lazyarray.codegen.fused import OPERANDS, Draft, fusable, read_later
from lazyarray.codegen.operations import lookup
from lazyarray.codegen.sweep import BY_COLUMN, BY_ROW, EVERYWHERE, NOWHERE, Sweep

Steps = Any  # of steps.py, which stands on this file

VECTOR = 64  # bytes of the widest vectors: there are at least so many columns
STRIP = 64  # columns from which a loop over strips of them pays
SHORTEST = 32  # elements of a line that is joined in lanes
LONGEST = 12  # steps of an operation's text that a loop over lines may hold several times
TURNS = 8  # repeats from which an operand is worth turning
BLOCK = 1024  # elements of a block of the tree, see native/reduce.hpp
FOLDS = ("sum", "prod", "min", "max", "fmin", "fmax")
POSITIONS = ("argmin", "argmax")
APART = (_fused.LineLoop, _fused.AcrossStep)  # steps that loops over lines stand between

# An axis: its extent, and the stride of each operand.
Axis = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A program's kernel but for its loops: those of `sweeps`."""

    sweeps: tuple[Sweep, ...]
    kernel: Callable[[list[Any]], Any]  # of the compiled loops


def compiled_of(program: Steps) -> Compiled | None:
    """How a program that reduces is done by compiled loops; None where that brings nothing."""
    if program.group.axes is None:
        return None
    return (None if program.group.across else columns_of(program)) or lines_of(program)


def columns_of(program: Steps) -> Compiled | None:
    """How a program's reductions are done across results."""
    group = program.group
    assert group.axes is not None
    elements = [entry for entry in program.inputs if entry[0] not in program.lines]
    folds = [step for step in program.steps if isinstance(step[0], _fused.FoldStep)]
    if not (elements and folds) or any(
        what is _fused.SPREAD or (isinstance(what, _fused.FoldStep) and not joins(what))
        for what, _, _ in program.steps
    ):
        return None
    if any(register not in program.lines for register, *_ in program.outputs):
        return None
    if any(strides is None for _, _, strides, _ in elements):
        return None
    across = group.fold[2] == 1
    axes = axes_of(program, elements)
    if axes is None or not (
        worth(axes, elements) if across else goes_in_strips(program, axes, elements)
    ):
        return None
    reaches = {entry[0]: reach_of(axes, i) for i, entry in enumerate(elements)}
    found = sweep_of(program, reaches, folds, "columns" if across else "strips")
    if found is None:
        return None
    sweep, registers = found
    operands = operands_of(program, axes, sweep, registers)
    kernel = (whole if across else in_strips)(program, axes, operands)
    return Compiled((sweep,), lambda loops: kernel(loops[0]))


def joins(fold: Any) -> bool:
    """Whether a reduction is a tree of joins, of what sweeps compute."""
    return fold.name in FOLDS and fold.source.kind in "iuf" and fold.result.kind in "iuf"


def finds(program: Steps, fold: Any) -> bool:
    """Whether a reduction finds a position in lines of one block of the tree."""
    found = fold.name in POSITIONS and fold.source.kind in "iuf" and fold.source.itemsize > 2
    return found and program.group.fold[1] <= BLOCK


def axes_of(program: Steps, elements: list[Any]) -> list[Axis] | None:
    """Axes before the reduced one, that of results side by side, and the reduced one, last.

    Neighbours are one axis where they are for all operands.
    """
    group = program.group
    assert group.axes is not None
    start, stop = group.axes
    strides = [entry[2] for entry in elements]
    outer = joined(group.shape[:start], [s[:start] for s in strides])
    rows = joined(group.shape[start:stop], [s[start:stop] for s in strides])
    behind = joined(group.shape[stop:], [s[stop:] for s in strides])
    if len(rows) > 1 or len(behind) > 1 or not (outer or behind):
        return None
    none = (0,) * len(elements)
    if not behind and len(outer) == 1:
        outer.insert(0, (1, none))
    return [*outer, *behind, *(rows or [(1, none)])]


def joined(shape: Sequence[int], strides: list[tuple[int, ...]]) -> list[Axis]:
    """Axes without those of one element, neighbours being one where they are for all operands."""
    axes: list[Axis] = []
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        own = tuple(each[axis] for each in strides)
        if axes and all(a == extent * b for a, b in zip(axes[-1][1], own, strict=True)):
            axes[-1] = (axes[-1][0] * extent, own)
        else:
            axes.append((extent, own))
    return axes


def reach_of(axes: list[Axis], operand: int) -> int:
    """Where an operand differs."""
    column, row = axes[-2][1][operand], axes[-1][1][operand]
    if column:
        return EVERYWHERE if row else BY_COLUMN
    return BY_ROW if row else NOWHERE


def worth(axes: list[Axis], elements: list[Any]) -> bool:
    """Whether what is turned serves many lines."""
    (repeats, again), (columns, across), _ = axes[-3:]
    if columns < VECTOR // min(entry[3] for entry in elements):
        return False
    for i, entry in enumerate(elements):
        reach, turned = reach_of(axes, i), again[i] or repeats < TURNS
        if reach == EVERYWHERE and turned:
            return False
        if reach == BY_COLUMN and across[i] != entry[3] and turned:
            return False
    return True


def goes_in_strips(program: Steps, axes: list[Axis], elements: list[Any]) -> bool:
    """Whether results lie side by side in every operand, and are many enough."""
    columns, across = axes[-2]
    if not program.streams() or columns < STRIP:
        return False
    return all(a in (0, entry[3]) for a, entry in zip(across, elements, strict=True))


def sweep_of(
    program: Steps, reaches: dict[int, int], folds: list[Any], form: str
) -> tuple[Sweep, tuple[int, ...]] | None:
    """The sweep of what is reduced, and the registers it reads."""
    draft = Draft(())
    for step in program.steps:
        if isinstance(step[0], _loops.Loop) and not (fusable(step) and draft.add(step)):
            return None
    outputs = []
    for what, (source,), _ in folds:
        kind = str(what.source)
        value, made = draft.current.get(source, (None, kind))
        if made != kind:
            return None
        outputs.append(draft.load(source, kind) if value is None else value)
    sweep = draft.sweep(outputs, reaches, tuple(what.name for what, _, _ in folds), form)
    if len(sweep.types) > OPERANDS:
        return None
    return sweep, tuple(register for register, _ in draft.inputs)


def operands_of(
    program: Steps, axes: list[Axis], sweep: Sweep, registers: tuple[int, ...]
) -> list[Any]:
    """The loop's inputs: which of the kernel's operands, reach, item size, strides."""
    place = {entry: number for number, entry in enumerate(program.kernel_arguments())}
    operand = {r: place[0, i] for i, r in enumerate(program.operand_registers)}
    elements = [entry[0] for entry in program.inputs if entry[0] not in program.lines]
    found = []
    for register, (_, reach) in zip(registers, sweep.inputs, strict=True):
        which = elements.index(register)
        strides = tuple(own[which] for _, own in axes)
        found.append((operand[register], reach, program.registers[register], strides))
    return found


def whole(program: Steps, axes: list[Axis], operands: list[Any]) -> Callable[[Any], Any]:
    """A kernel that turns operands and walks the whole tree."""
    place = {entry: number for number, entry in enumerate(program.kernel_arguments())}
    operand = {r: place[0, i] for i, r in enumerate(program.operand_registers)}
    inputs, outputs = program.inputs, program.outputs
    lines = [entry for entry in inputs if entry[0] in program.lines]
    fold, registers, label = program.group.fold, program.registers, program.label()
    arguments = (
        tuple(extent for extent, _ in axes),
        operands,
        [step for step in program.steps if not isinstance(step[0], _loops.Loop)],
        lines,
        [operand[entry[0]] for entry in lines if entry[2] is not None],
        outputs,
        [place[1, i] for i in range(len(outputs))],
        registers,
        len(place),
        _fused.cost_of(fold, inputs, outputs, program.lines, program.steps),
        label,
    )
    return lambda loop: _fused.columns(loop, *arguments)


def in_strips(program: Steps, axes: list[Axis], operands: list[Any]) -> Callable[[Any], Any]:
    """A kernel that joins rows to the lanes of columns."""
    lead = [extent for extent, _ in axes[:-2]]
    # Rows come before columns there.
    turned = [(arg, reach, size, (*s[:-2], s[-1], s[-2])) for arg, reach, size, s in operands]
    group, label = program.group, program.label()
    arguments = (group.shape, group.fold, program.inputs, program.outputs, program.registers)
    lines, steps = program.lines, program.steps
    return lambda loop: _fused.stream(*arguments, lines, steps, label, (loop, lead, turned))


# ---- lines


def lines_of(program: Steps) -> Compiled | None:
    """How a program over contiguous lines is done, with loops over elements between its lines'."""
    _, red, inner = program.group.fold
    if inner != 1 or red < SHORTEST or program.streams():
        return None
    runs = runs_of(program)
    if runs is None:
        return None
    sweeps = tuple(run.sweep for run in runs if isinstance(run, Lines))
    used = {r for run in runs for r in (run.reads + run.writes if isinstance(run, Lines) else ())}
    used.update(r for run in runs if not isinstance(run, Lines) for r in (*run[1], *run[2]))
    used.update(entry[0] for entry in (*program.inputs, *program.outputs))
    sizes = [size if r in used else 0 for r, size in enumerate(program.registers)]
    group, lines, label = program.group, program.lines, program.label()
    inputs, outputs = program.inputs, program.outputs

    def kernel(loops: list[Any]) -> Any:
        left = iter(loops)
        steps = [
            (_fused.LinesStep(next(left), run.folds), run.reads, run.writes)
            if isinstance(run, Lines)
            else run
            for run in runs
        ]
        return _fused.panels(group.shape, group.fold, inputs, outputs, sizes, lines, steps, label)

    return Compiled(sweeps, kernel)


@dataclass(frozen=True, slots=True)
class Lines:
    """Steps that one loop over lines does: the registers it reads, and those it writes."""

    sweep: Sweep
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    folds: tuple[Any, ...]


def runs_of(program: Steps) -> list[Any] | None:
    """The steps, those between programs of lines put together; None where that cannot be."""
    steps = unspread(program)
    if steps is None:
        return None
    wanted = read_later(steps, [entry[0] for entry in program.outputs])
    uniform = {r for r, _, strides, _ in program.inputs if strides is not None and not any(strides)}
    runs: list[Any] = []
    begin = 0
    while begin < len(steps):
        if apart(steps[begin]):
            runs.append(steps[begin])
            uniform.difference_update(steps[begin][2])
            begin += 1
            continue
        end = begin
        totals: set[int] = set()
        while end < len(steps) and not (apart(steps[end]) or totals.intersection(steps[end][1])):
            if isinstance(steps[end][0], _fused.FoldStep):
                totals.update(steps[end][2])
            end += 1
        run = lines_run(program, steps[begin:end], wanted[end - 1], uniform)
        if run is None:
            return None
        runs.append(run)
        uniform.difference_update(r for step in steps[begin:end] for r in step[2])
        begin = end
    return runs


def unspread(program: Steps) -> list[Any] | None:
    """The steps without spreads: what reads a spread line reads the line."""
    spread: dict[int, int] = {}
    steps: list[Any] = []
    for what, reads, writes in program.steps:
        if what is _fused.SPREAD:
            spread[writes[0]] = reads[0]
            continue
        if isinstance(what, _fused.FoldStep):
            if not (joins(what) or finds(program, what)) or reads[0] in spread:
                return None
        elif (
            isinstance(what, _loops.Loop)
            and apart((what, reads, writes))
            and any(register in spread for register in reads)
        ):
            return None
        steps.append((what, tuple(spread.get(r, r) for r in reads), writes))
        for register in writes:
            if register in spread.values():
                return None  # its line is gone, and it may be read again
            spread.pop(register, None)
    if any(entry[0] in spread for entry in program.outputs):
        return None
    return steps


def apart(step: Any) -> bool:
    """Whether loops over lines stand between a step and the next one.

    They do where it is over lines itself, and where its text has rare elements or is too long to
    stand in several places: that one's loop goes over the elements that the one before stored.
    """
    what = step[0]
    if not isinstance(what, _loops.Loop):
        return isinstance(what, APART)
    scalar = lookup(what.name, what.dtypes) if fusable(step) else None
    return scalar is None or scalar.full is not None or len(scalar.steps) > LONGEST


def lines_run(
    program: Steps, steps: list[Any], wanted: set[int], uniform: set[int]
) -> Lines | None:
    """Some steps as one loop over lines."""
    draft = Draft(())
    folds, totals = [], []
    for step in steps:
        if not isinstance(step[0], _fused.FoldStep):
            if not draft.add(step):
                return None
            continue
        what, (source,), _ = step
        kind = str(what.source)
        value, made = draft.current.get(source, (None, kind))
        if made != kind:
            return None
        folds.append(step)
        totals.append(draft.load(source, kind) if value is None else value)
    stored = [register for register in draft.current if register in wanted]
    values = [draft.current[register][0] for register in stored] + totals
    reaches = {
        r: BY_COLUMN if r in program.lines else NOWHERE if r in uniform else EVERYWHERE
        for r, _ in draft.inputs
    }
    names = tuple(what.name for what, _, _ in folds)
    sweep = draft.sweep(values, reaches, names, "lines")
    if len(sweep.types) > OPERANDS:
        return None
    reads = tuple(register for register, _ in draft.inputs)
    writes = (*stored, *(step[2][0] for step in folds))
    return Lines(sweep, reads, writes, tuple(what for what, _, _ in folds))
