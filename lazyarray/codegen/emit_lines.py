"""Sweeps over contiguous lines as LLVM: elements are stored, reduced block by block, or both.

The loop has the signature of NumPy's inner loops, with

    args         inputs; then the outputs that are stored; then, of each that is reduced, the
                 totals of a line's blocks
    dimensions   lines, elements of a line
    steps        for each operand, from line to line, in bytes

An input differs from element to element, from line to line, or nowhere. A block is joined in the
lanes and folded as native/reduce.hpp says; what finds a position keeps, beside each lane's value,
where that was, and has lines of one block. As in emit_llvm.py an output may be an input's memory.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .dialect import FLOATS, width
from .emit_llvm import (
    LANES,
    WORD,
    ZERO,
    Vectors,
    begun,
    counting,
    either,
    elements_at,
    join,
    splat,
    steps,
    stored_type,
    value_type,
    wide,
    word,
)
from .sweep import EVERYWHERE, Sweep, composed

BLOCK = 1024  # elements of a block of the tree
TOGETHER = 2  # blocks, as the joins of one wait for each other
POSITIONS = ("argmin", "argmax")


def module_of(sweep: Sweep, vector: int) -> Any:
    """The LLVM module of a sweep over lines."""
    builder, args = begun("lines")
    LineEmitter(builder, sweep, vector).emit(*args[:3])
    builder.ret_void()
    return builder.module


class LineEmitter:
    """Writes the loop of one sweep over lines."""

    def __init__(self, builder: Any, sweep: Sweep, vector: int) -> None:
        self.builder = builder
        self.sweep = sweep
        self.program = composed(sweep)
        sizes = [width(kind) // 8 for kind in sweep.types if kind != "bool"] or [1]
        self.lanes = min(vector // max(sizes), LANES)
        self.count = len(sweep.inputs)
        self.kinds = sweep.types[self.count :]
        self.stored = len(self.kinds) - len(sweep.folds)
        # What each lane holds: of each output that is reduced a value, and perhaps its position.
        self.planes: list[tuple[int, Any]] = []
        for root, (fold, kind) in enumerate(
            zip(sweep.folds, self.kinds[self.stored :], strict=True)
        ):
            self.planes.append((root, value_type(kind)))
            if fold in POSITIONS:
                self.planes.append((root, ir.IntType(64 if width(kind) == 64 else 32)))
        self.parts = LANES // self.lanes
        self.bases: list[Any] = []
        self.shared: dict[int, Any] = {}

    def emit(self, args: Any, dimensions: Any, steps: Any) -> None:
        """All of it."""
        builder = self.builder

        lines, length = word(builder, dimensions, 0), word(builder, dimensions, 1)
        operands = self.count + len(self.kinds)
        bases = [word(builder, args, i) for i in range(operands)]
        line_steps = [word(builder, steps, i) for i in range(operands)]
        with counting(builder, ZERO, lines, ir.Constant(WORD, 1)) as (line, _, _):
            self.bases = [
                builder.add(base, builder.mul(line, step))
                for base, step in zip(bases, line_steps, strict=True)
            ]
            for i, (kind, reach) in enumerate(self.sweep.inputs):
                if reach != EVERYWHERE:
                    self.shared[i] = elements_at(builder, self.bases[i], kind)
            several = ir.Constant(WORD, BLOCK * TOGETHER)
            block = ir.Constant(WORD, BLOCK)
            whole = builder.sub(length, builder.srem(length, several))
            with counting(builder, ZERO, whole, several) as (first, _, _):
                self.whole_blocks(first)
            with counting(builder, whole, length, block) as (first, _, _):
                left = builder.sub(length, first)
                size = builder.select(builder.icmp_signed("<", block, left), block, left)
                self.part(first, size)

    # ---- blocks

    def whole_blocks(self, first: Any) -> None:
        """Some whole blocks at once."""
        builder = self.builder
        starts = [builder.add(first, ir.Constant(WORD, q * BLOCK)) for q in range(TOGETHER)]

        def stripe(offset: Any) -> Vectors:
            found: Vectors = []
            for start in starts:
                found += self.stripe(builder.add(start, offset))
            return found

        step = ir.Constant(WORD, LANES)
        values = stripe(ZERO)
        with counting(builder, step, ir.Constant(WORD, BLOCK), step, values) as carried:
            offset, before, new = carried
            new += self.joined(before, stripe(offset))
        each = len(before) // TOGETHER
        for q, start in enumerate(starts):
            self.store_totals(start, self.folded(before[q * each : (q + 1) * each]))

    def part(self, first: Any, size: Any) -> None:
        """One block, which may be short."""
        builder = self.builder
        step = ir.Constant(WORD, LANES)
        rest = builder.srem(size, step)
        striped = builder.sub(size, rest)
        rooms = []
        with builder.goto_entry_block():
            for _, kind in self.planes:
                rooms.append(builder.alloca(kind, LANES))
                rooms[-1].align = 64
        with builder.if_then(builder.icmp_signed(">", striped, ZERO)):
            values = self.stripe(first)
            with counting(builder, step, striped, step, values) as (offset, before, new):
                new += self.joined(before, self.stripe(builder.add(first, offset)))
            for i, value in enumerate(before):
                self.vector(rooms[i // self.parts], i % self.parts, store=value)
        with counting(builder, striped, size, ir.Constant(WORD, 1)) as (offset, _, _):
            xs = self.elements(builder.add(first, offset), 0)
            lane = builder.srem(offset, step)
            places = [builder.gep(room, [lane]) for room in rooms]
            with builder.if_else(builder.icmp_signed("<", offset, step)) as (begin, go_on):
                with begin:
                    for x, at in zip(xs, places, strict=True):
                        builder.store(x, at)
                with go_on:
                    held = [builder.load(at) for at in places]
                    for x, at in zip(self.joined(held, xs, 1), places, strict=True):
                        builder.store(x, at)
        if not rooms:
            return
        totals = either(
            builder,
            builder.icmp_signed(">=", size, step),
            lambda: self.folded([self.vector(r, p) for r in rooms for p in range(self.parts)]),
            lambda: self.folded_short(rooms, size),
        )
        self.store_totals(first, totals)

    def vector(self, room: Any, number: int, store: Any = None) -> Any:
        """A vector of a room of lanes, read or written."""
        builder = self.builder
        kind = ir.VectorType(room.type.pointee, self.lanes)
        at = builder.gep(room, [ir.Constant(WORD, number * self.lanes)])
        pointer = builder.bitcast(at, kind.as_pointer())
        found = builder.load(pointer) if store is None else builder.store(store, pointer)
        found.align = 8
        return found

    # ---- joins

    def joined(self, left: Vectors, right: Vectors, parts: int = 0) -> Vectors:
        """Lanes, blocks of them one after the other, joined with later ones."""
        parts = parts or self.parts
        found: Vectors = []
        for begin in range(0, len(left), max(len(self.planes) * parts, 1)):
            for part in range(begin, begin + parts):
                stop = begin + len(self.planes) * parts
                both = left[part:stop:parts], right[part:stop:parts]
                found += self.join(*both, later=True)
        return ordered(found, len(self.planes), parts)

    def join(self, left: Vectors, right: Vectors, later: bool = False) -> Vectors:
        """All planes of lanes joined with those of others, whose positions may all be later."""
        builder = self.builder
        found: Vectors = []
        for plane, (root, _) in enumerate(self.planes):
            fold, kind = self.sweep.folds[root], self.kinds[self.stored + root]
            a, b = left[plane], right[plane]
            if fold not in POSITIONS:
                found.append(join(builder, fold, kind, a, b))
            elif plane == 0 or self.planes[plane - 1][0] != root:
                # The first of equals is kept, and the first NaN.
                other = better(builder, fold, kind, b, a)
                if not later:
                    same = builder.not_(builder.or_(other, better(builder, fold, kind, a, b)))
                    before = builder.icmp_signed("<", right[plane + 1], left[plane + 1])
                    other = builder.or_(other, builder.and_(same, before))
                found.append(builder.select(other, b, a))
                found.append(builder.select(other, right[plane + 1], left[plane + 1]))
        return found

    def folded(self, lanes: Vectors) -> Vectors:
        """The totals of full lanes: of each plane."""
        builder = self.builder
        totals: Vectors = []
        for plane, (root, kind) in enumerate(self.planes):
            fold, of = self.sweep.folds[root], self.kinds[self.stored + root]
            parts = lanes[plane * self.parts : (plane + 1) * self.parts]
            if fold in POSITIONS:
                fold = fold[3:]
                if plane and self.planes[plane - 1][0] == root:
                    # The first of those that hold the extreme, or NaN.
                    values = lanes[(plane - 1) * self.parts : plane * self.parts]
                    extreme = splat(builder, totals[-1], self.lanes)
                    none = ir.Constant(wide(kind, self.lanes), [(1 << 31) - 1] * self.lanes)
                    parts = [
                        builder.select(holds(builder, of, value, extreme), part, none)
                        for value, part in zip(values, parts, strict=True)
                    ]
                    fold, of = "min", f"int{kind.width}"
            totals.append(self.total(fold, of, parts))
        return totals

    def total(self, fold: str, kind: str, parts: Vectors) -> Any:
        """The total of full lanes of one plane."""
        builder = self.builder
        while len(parts) > 1:
            half = len(parts) // 2
            pairs = zip(parts[:half], parts[half:], strict=True)
            parts = [join(builder, fold, kind, a, b) for a, b in pairs]
        value, count = parts[0], self.lanes
        while count > 1:
            count //= 2
            low, high = self.half(value, 0, count), self.half(value, count, count)
            value = join(builder, fold, kind, low, high)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    def half(self, value: Any, first: int, count: int) -> Any:
        """Some elements of a vector."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(first, first + count)))
        return self.builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)

    def folded_short(self, rooms: list[Any], used: Any) -> Vectors:
        """The totals of fewer than all lanes."""
        builder = self.builder
        half = LANES // 2
        while half:
            distance = ir.Constant(WORD, half)
            more = builder.sub(used, distance)
            with counting(builder, ZERO, more, ir.Constant(WORD, 1)) as (lane, _, _):
                here = [builder.gep(room, [lane]) for room in rooms]
                other = builder.add(lane, distance)
                there = [builder.load(builder.gep(room, [other])) for room in rooms]
                for value, at in zip(
                    self.join([builder.load(at) for at in here], there), here, strict=True
                ):
                    builder.store(value, at)
            used = builder.select(builder.icmp_signed("<", distance, used), distance, used)
            half //= 2
        return [builder.load(builder.gep(room, [ZERO])) for room in rooms]

    def store_totals(self, first: Any, totals: Vectors) -> None:
        """Write a block's totals."""
        builder = self.builder
        block = builder.sdiv(first, ir.Constant(WORD, BLOCK))
        for plane, total in enumerate(totals):
            root = self.planes[plane][0]
            base = self.bases[self.count + self.stored + root]
            if self.sweep.folds[root] in POSITIONS:
                if plane and self.planes[plane - 1][0] == root:
                    position = builder.sext(total, WORD) if total.type != WORD else total
                    builder.store(position, builder.inttoptr(base, WORD.as_pointer()))
                continue
            kind = self.kinds[self.stored + root]
            at = builder.add(base, builder.mul(block, ir.Constant(WORD, width(kind) // 8)))
            builder.store(total, builder.inttoptr(at, value_type(kind).as_pointer()))

    # ---- elements

    def stripe(self, index: Any) -> Vectors:
        """An element for each lane, by plane of what is reduced; the others are stored."""
        parts = [
            self.elements(self.builder.add(index, ir.Constant(WORD, k)), self.lanes)
            for k in range(0, LANES, self.lanes)
        ]
        return [part[plane] for plane in range(len(self.planes)) for part in parts]

    def elements(self, index: Any, lanes: int) -> Vectors:
        """One vector of elements, or one element: the planes of outputs that are reduced."""
        builder = self.builder
        xs = []
        for i, (kind, _) in enumerate(self.sweep.inputs):
            if i in self.shared:
                xs.append(splat(builder, self.shared[i], lanes))
                continue
            xs.append(elements_at(builder, self.place(i, kind, index), kind, lanes))
        values = steps(builder, self.program, xs, lanes)
        results = [values[place] for place in self.program.outputs]
        for i, (kind, value) in enumerate(zip(self.kinds, results[: self.stored], strict=False)):
            if kind == "bool":
                value = builder.zext(value, wide(stored_type(kind), lanes))
            at = self.place(self.count + i, kind, index)
            at = builder.inttoptr(at, value.type.as_pointer())
            builder.store(value, at).align = width(kind) // 8
        planes: Vectors = []
        for plane, (root, kind) in enumerate(self.planes):
            if not plane or self.planes[plane - 1][0] != root:
                planes.append(results[self.stored + root])
            else:
                planes.append(positions(builder, index, kind, lanes))
        return planes

    def place(self, operand: int, kind: str, index: Any) -> Any:
        """The address of an element."""
        builder = self.builder
        at = builder.mul(index, ir.Constant(WORD, width(kind) // 8))
        return builder.add(self.bases[operand], at)


def ordered(found: Vectors, planes: int, parts: int) -> Vectors:
    """Vectors by block, part and plane as by block, plane and part."""
    result: Vectors = []
    for begin in range(0, len(found), max(planes * parts, 1)):
        block = found[begin : begin + planes * parts]
        result += [value for plane in range(planes) for value in block[plane::planes]]
    return result


def positions(builder: Any, index: Any, kind: Any, lanes: int) -> Any:
    """The positions of elements from `index` on."""
    first = index if kind == WORD else builder.trunc(index, kind)
    if not lanes:
        return first
    return builder.add(
        splat(builder, first, lanes), ir.Constant(wide(kind, lanes), list(range(lanes)))
    )


def holds(builder: Any, kind: str, value: Any, extreme: Any) -> Any:
    """Whether a value is the extreme, or NaN where that is."""
    if kind not in FLOATS:
        return builder.icmp_unsigned("==", value, extreme)
    same = builder.fcmp_ordered("==", value, extreme)
    return builder.or_(same, builder.fcmp_unordered("uno", value, value))


def better(builder: Any, fold: str, kind: str, x: Any, best: Any) -> Any:
    """Whether a value is better than the best so far, see native/reduce.hpp."""
    sign = ">" if fold == "argmax" else "<"
    if kind not in FLOATS:
        compare = builder.icmp_signed if kind[0] == "i" else builder.icmp_unsigned
        return compare(sign, x, best)
    found = builder.or_(builder.fcmp_ordered(sign, x, best), builder.fcmp_unordered("uno", x, x))
    return builder.and_(found, builder.fcmp_ordered("ord", best, best))
