"""CUDA kernels of fused groups: what is launched for a program with its sizes.

`cuda_kernel` is the way in. Programs of elements are placed by emit_cuda.py; this file places
those that reduce, by the CPU's tree (native/cuda_folds.hpp), so with its bits. Kernels of `rows`
reduce the last axis: some threads of a warp, a warp or a block take a line; where a line fits
their registers it is read once. Kernels of `columns` reduce an axis before others: threads lie
side by side across results. Where there are few long lines of one phase, both do parts of them,
and a second kernel joins these. Each part is a node of the tree: their number changes no bits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from lazyarray._loops import IDENTITIES, reduce_types

from .emit_cuda import elements_of
from .emit_cuda_columns import Columns
from .emit_cuda_folds import (
    LANES,
    SAME,
    STEPPED,
    UNIT,
    Element,
    Fold,
    Line,
    Phases,
    Shaped,
    folds_of,
    held_values,
)
from .emit_cuda_moves import copy, fill
from .emit_cuda_program import (
    FLAT,
    INDEX,
    NARROW,
    STRIDED,
    UNIFORM,
    Described,
    Input,
    Output,
    Work,
    broadcast,
    contiguous,
    described,
    divisor,
    functions_of,
    joined,
    reach,
    weight,
)
from .emit_cuda_rows import Parts, Rows
from .emit_cuda_scalars import size_of
from .emit_cuda_source import MACHINE, THREADS, Bound, CudaSource, Launch, Machine, source
from .sweep import Statement

BLOCK = 1024  # elements of a block of the tree, see native/reduce.hpp
WARPS = 16  # of a block that takes a line together
HELD = 256  # bytes of a line's elements that a thread keeps from one phase to the next
RUN = 16  # elements that a thread loads before it computes
HEAVY = 200  # steps of a program from which that are fewer
SPARE = 1 << 16  # elements by which an index may pass the end of a line
FEWER = 8  # the same, where blocks take parts of a line
PARTS = 2048  # of a line, at most


def cuda_kernel(program: Any, machine: Machine = MACHINE) -> Bound | None:
    """The CUDA kernels of a fused group's program.

    Parameters
    ----------
    program : steps.Steps
    machine : Machine
        What the launches are for.

    Returns
    -------
    Bound or None
        None where the program has a loop that no device function stands for.
    """
    found = described(program)
    if found is None:
        return None
    if found.axes is not None:
        return folds_kernel(found, machine)
    if not found.works and len(found.inputs) == len(found.outputs) == 1:
        (given,), (wanted,) = found.inputs, found.outputs
        if given.argument == 0 and wanted.argument == 1:
            strides = broadcast(given.strides, given.shape, found.shape)
            return copy(found.shape, size_of(given.kind), strides, wanted.strides, machine)
    return elements_of(found, machine)


def reduction(
    name: str,
    source: str,
    target: str,
    outer: int,
    red: int,
    inner: int,
    machine: Machine = MACHINE,
) -> Bound | None:
    """The kernels of one reduction, as `_loops.reduce`: operands (outer, red, inner), results.

    None where there is something to reduce, but no kernel for it.
    """
    if red == 0 or outer * inner == 0:
        identity = np.array(IDENTITIES.get(name, 0)).astype(target)
        return fill(identity.tobytes(), outer * inner, machine, operand=1, operands=2)
    _, via, _ = reduce_types(name, np.dtype(source), np.dtype(target))
    shape, size = (outer, red, inner), size_of(source)
    works = []
    if str(via) != source:
        works.append(Work(Statement("cast", (source, str(via)), (0,))))
    place = len(works)
    works.append(Work(Statement(name, (str(via), target), (place,)), line=True, fold=True))
    wide = size_of(target)
    return folds_kernel(
        Described(
            shape,
            (Input(source, 0, shape, (red * inner * size, inner * size, size)),),
            tuple(works),
            (Output(place + 1, 1, (outer, inner), (inner * wide, wide), line=True),),
            2,
            (1, 2),
        ),
        machine,
    )


# ---- programs that reduce


def folds_kernel(program: Described, machine: Machine = MACHINE) -> Bound | None:
    """The kernels of a program that reduces; None where one has no device function."""
    if program.fold is None or functions_of(program.works) is None:
        return None
    outer, red, inner = program.fold
    count = len(program.inputs)
    folds = folds_of(program.works, count)
    alignments = program.alignments()
    if folds is None or alignments is None or not prod(program.shape):
        return None
    assert program.axes is not None
    start, stop = program.axes
    bounds = ((0, start), (start, stop), (stop, len(program.shape)))
    entries: list[Any] = [*program.inputs, *program.outputs]
    kinds = [program.kind_of(i) for i in range(count)]
    kinds += [program.kind_of(o.value) for o in program.outputs]
    elements = [i for i, e in enumerate(entries) if not e.line and e.argument >= 0]
    spread = [broadcast(entries[i].strides, entries[i].shape, program.shape) for i in elements]
    groups = [joined(program.shape[a:b], [s[a:b] for s in spread]) for a, b in bounds]
    ranks = len(groups[0][0]), len(groups[1][0]), len(groups[2][0])
    wide = max(outer * inner, red) + SPARE >= NARROW or any(
        reach(extents, s) >= NARROW for extents, strides in groups[1:] for s in strides
    )
    numbers: list[int] = [outer, red, inner]
    divisors: list[int] = []
    if inner > 1:
        divisors.append(inner)
    for extents, _ in groups:
        divisors += extents[1:]
    forms: list[Element | Line] = []
    rows = inner == 1
    for i, (entry, kind) in enumerate(zip(entries, kinds, strict=True)):
        if entry.line:
            form, extents, strides = line_form(entry, kind)
            forms.append(form)
            divisors += extents[1:]
            numbers += strides
        elif entry.argument < 0:
            forms.append(Element(kind, -1, INDEX))
        else:
            own = [strides[elements.index(i)] for _, strides in groups]
            forms.append(Element(kind, entry.argument, STRIDED, run(own[1 if rows else 2], kind)))
            for each in own:
                numbers += each
    outputs = tuple((o.value, f) for o, f in zip(program.outputs, forms[count:], strict=True))
    phases = Phases(forms[:count], program.works, [o.value for o in program.outputs])
    shape = Chosen(program, phases, folds, machine)
    work = Shaped(
        tuple(forms[:count]),
        program.works,
        outputs,
        program.arguments,
        ranks,
        wide,
        "rows" if rows else "columns",
        shape.threads,
        shape.held,
        shape.run,
        shape.rounds,
        shape.parts > 1,
    )
    numbers += [shape.length, shape.parts]
    scratch = 0
    if shape.parts > 1:
        for fold in folds:
            numbers.append(scratch)
            scratch += -(-outer * inner * shape.parts * fold.size // 16) * 16
    made = folds_source(work)
    block = bytes(8 * (program.arguments + (shape.parts > 1)))
    block += struct.pack(f"={len(numbers)}q", *numbers)
    for extent in divisors:
        block += struct.pack("=q", extent) if wide else struct.pack("=4I", *divisor(extent))
    launches = [Launch(made.kernels[0].name, (shape.grid, 1, 1), shape.block)]
    if shape.parts > 1:
        blocks = min(-(-outer * inner // (THREADS // LANES)), machine.multiprocessors * 32)
        launches.append(Launch(made.kernels[1].name, (blocks, 1, 1), (THREADS, 1, 1)))
    return Bound(made, program.arguments, block, tuple(launches), scratch, alignments)


def run(strides: Sequence[int], kind: str) -> str:
    """How elements lie along some axes."""
    if not any(strides):
        return SAME
    return UNIT if len(strides) == 1 and strides[0] == size_of(kind) else STEPPED


def line_form(entry: Any, kind: str) -> tuple[Line, list[int], list[int]]:
    """How an operand of lines lies; its axes and strides where it is strided."""
    if entry.argument < 0:
        return Line(kind, -1, INDEX), [], []
    extents, (strides,) = joined(entry.shape, [entry.strides])
    strides = [0 if n == 1 else s for n, s in zip(extents, strides, strict=True)]
    if contiguous(extents, strides, size_of(kind)):
        return Line(kind, entry.argument, FLAT), [], []
    if not any(strides):
        return Line(kind, entry.argument, UNIFORM), [], []
    return Line(kind, entry.argument, STRIDED, len(extents)), extents, strides


class Chosen:
    """How the lines of a program are shared among threads."""

    def __init__(
        self, program: Described, phases: Phases, folds: list[Fold], machine: Machine
    ) -> None:
        assert program.fold is not None
        outer, red, inner = program.fold
        lines = outer * inner
        self.held = 0
        self.run = RUN if weight(program.works) < HEAVY else 4
        self.rounds = False
        self.parts, self.length = 1, red
        blocks = -(-red // BLOCK)
        several = phases.last > 0
        if inner > 1:
            self.of_columns(red, lines, blocks, several, machine)
            return
        if red <= BLOCK:
            self.threads = min(1 << (red - 1).bit_length(), LANES)
            each = THREADS // self.threads
            self.block = (THREADS, 1, 1)
            self.grid = min(-(-outer // each), machine.multiprocessors * 64)
        else:
            warps = min(1 << (blocks - 1).bit_length(), WARPS)
            wanted = machine.multiprocessors * 4
            parted = not several and blocks > warps and outer < wanted
            if parted:
                warps = FEWER
            self.threads = warps * LANES
            self.rounds = blocks > warps
            self.block = (self.threads, 1, 1)
            self.grid = min(outer, machine.multiprocessors * 64)
            if parted:
                self.in_parts(outer, red, blocks, warps, wanted)
        each = -(-min(red, BLOCK) // min(self.threads, LANES))
        each = 1 << (each - 1).bit_length()
        self.run = min(self.run, each)
        if several and not self.rounds and each * held_bytes(phases, program) <= HELD:
            self.run = self.held = each

    def in_parts(self, outer: int, red: int, blocks: int, warps: int, wanted: int) -> None:
        """Cut lines into parts, each so many turns of a block's warps: a power of two."""
        turns = 1
        while (
            outer * -(-blocks // (2 * warps * turns)) >= wanted
            or -(-blocks // (warps * turns)) > PARTS
        ):
            turns *= 2
        length = warps * turns * BLOCK
        if length < red:
            self.length, self.parts = length, -(-red // length)
            self.rounds = turns > 1
        self.grid = min(outer * self.parts, 1 << 30)

    def of_columns(
        self, red: int, lines: int, blocks: int, several: bool, machine: Machine
    ) -> None:
        """Threads side by side across results."""
        if red <= LANES // 2:
            self.threads, across = 1, 128
        elif lines <= 8:
            self.threads, across = 32, lines
        elif lines < LANES:
            self.threads, across = 16, lines
        else:
            self.threads, across = 8, LANES
        tiles = -(-lines // across)
        self.block = (across, self.threads, 1)
        wanted = machine.multiprocessors * 8
        if not several and blocks > 1 and tiles < wanted:
            turns = 1 << (max(blocks // -(-wanted // tiles), 1).bit_length() - 1)
            while -(-blocks // turns) > PARTS:
                turns *= 2
            self.length = turns * BLOCK
            self.parts = -(-red // self.length)
            if self.parts == 1:
                self.length = red
        self.rounds = min(self.length, red) > BLOCK
        self.grid = min(tiles * self.parts, 1 << 30)


def held_bytes(phases: Phases, program: Described) -> int:
    """The bytes of an element that are kept at once, at most."""
    spans = held_values(phases)
    return max(
        sum(size_of(program.kind_of(v)) for v, (made, read) in spans.items() if made <= p < read)
        for p in range(phases.last)
    )


@lru_cache(4096)
def folds_source(work: Shaped) -> CudaSource:
    """The source of a program that reduces."""
    first = (Rows if work.form == "rows" else Columns)(work).kernel()
    kernels = (first, Parts(work).kernel()) if work.parts else (first,)
    ulp = max((f.ulp for kernel in kernels for f in kernel.functions), default=0)
    return CudaSource(kernels[0].name, source(kernels), kernels, ulp)
