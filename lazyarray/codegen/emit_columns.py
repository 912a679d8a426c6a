"""Sweeps that end in reductions as LLVM: columns of results side by side.

A vector holds one element of each of several lines that are reduced. Lines never meet, so how many
there are side by side changes no bit. Of the form "columns", the tree of native/reduce.hpp, which
says what is joined with what, is walked with all its partial results in registers; of the form
"strips", some rows of one lane are joined to what it holds. The loops have the signature of NumPy's
inner loops. That of columns has

    args         inputs, then one row of accumulators for each output
    dimensions   columns (a vector's at least), rows of each line (a block of the tree at most),
                 repeats
    steps        for each operand, from row to row and from repeat to repeat, in bytes

and that of strips has

    args         inputs, then one row of accumulators for each output, which may hold a lane so far
    dimensions   columns, rows, whether the first row begins the lane
    steps        for each input, from row to row, in bytes

An input's reach says where it differs: from element to element (its columns are contiguous), from
row to row, from column to column, or only from repeat to repeat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from .dialect import Scalar, width
from .emit_llvm import (
    BIT,
    LANES,
    WORD,
    ZERO,
    Vectors,
    begun,
    counting,
    either,
    elements_at,
    join,
    merged,
    splat,
    steps,
    value_type,
    wide,
    word,
)
from .sweep import BY_COLUMN, BY_ROW, EVERYWHERE, Sweep, composed

INLINE_STEPS = 24  # of a program that stands in each of the lanes; a longer one is a function


def bytes_of_vectors(features: Any) -> int:
    """The width of a vector on a processor."""
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


def module_of(sweep: Sweep, vector: int) -> Any:
    """The LLVM module of a sweep that reduces."""
    builder, args = begun("columns")
    emitter = StripEmitter if sweep.form == "strips" else ColumnEmitter
    emitter(builder, sweep, vector).emit(*args[:3])
    builder.ret_void()
    return builder.module


def length(program: Scalar) -> int:
    """How many instructions a program has."""
    return sum(step.op not in ("input", "const") for step in program.steps)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a function's operands are: for inputs, their address in row 0, and their row step."""

    builder: Any
    bases: list[Any]
    row_steps: list[Any]
    rows: Any


class ColumnEmitter:
    """Writes the loop of one sweep that reduces."""

    def __init__(self, builder: Any, sweep: Sweep, vector: int) -> None:
        self.builder = builder
        self.sweep = sweep
        self.program = composed(sweep)
        sizes = [width(kind) // 8 for kind in sweep.types if kind != "bool"] or [1]
        self.lanes = vector // max(sizes)  # elements of a vector
        self.kinds = sweep.types[len(sweep.inputs) :]
        self.leaves: dict[tuple[bool, int], Any] = {}
        # So many vectors at a time that the tree's partial results stay in registers.
        few = 2 if vector < 64 else 4
        short = length(self.program) * len(self.kinds) <= INLINE_STEPS // 3
        self.unroll = max(1, (few if short else few // 2) // len(self.kinds))

    def wide(self, kind: Any) -> Any:
        """The type of a vector of elements."""
        return wide(kind, self.lanes)

    # ---- loops over columns and repeats

    def emit(self, args: Any, dimensions: Any, steps: Any) -> None:
        """All of it."""
        builder = self.builder
        operands = len(self.sweep.inputs) + len(self.kinds)

        columns, rows, repeats = (word(builder, dimensions, i) for i in range(3))
        bases = [word(builder, args, i) for i in range(operands)]
        row_steps = [word(builder, steps, 2 * i) for i in range(operands)]
        repeat_steps = [word(builder, steps, 2 * i + 1) for i in range(operands)]
        vector = ir.Constant(WORD, self.lanes)
        several = ir.Constant(WORD, self.lanes * self.unroll)
        whole = builder.sub(columns, builder.srem(columns, several))
        if self.unroll > 1:
            with counting(builder, ZERO, whole, several) as (column, _, _):
                self.columns(column, self.unroll, bases, row_steps, repeat_steps, rows, repeats)
        else:
            whole = ZERO
        with counting(builder, whole, columns, vector) as (column, _, _):
            # The last vector ends with the last column: it may compute some again.
            last = builder.sub(columns, vector)
            column = builder.select(builder.icmp_signed("<", column, last), column, last)
            self.columns(column, 1, bases, row_steps, repeat_steps, rows, repeats)

    def columns(
        self,
        column: Any,
        unroll: int,
        bases: list[Any],
        row_steps: list[Any],
        repeat_steps: list[Any],
        rows: Any,
        repeats: Any,
    ) -> None:
        """Some vectors of columns, in all repeats."""
        builder = self.builder
        kinds = [kind for kind, _ in self.sweep.inputs]
        reaches = [reach for _, reach in self.sweep.inputs]
        count = len(kinds)
        with counting(builder, ZERO, repeats, ir.Constant(WORD, 1)) as (repeat, _, _):
            here = []
            for i, base in enumerate(bases):
                at = builder.add(base, builder.mul(repeat, repeat_steps[i]))
                kind = kinds[i] if i < count else self.kinds[i - count]
                if i >= count or reaches[i] in (EVERYWHERE, BY_COLUMN):
                    size = ir.Constant(WORD, width(kind) // 8)
                    at = builder.add(at, builder.mul(column, size))
                here.append(at)
            place = Place(builder, here[:count], row_steps[:count], rows)
            self.store(flat(self.tree(place, unroll)), here[count:], unroll)

    def store(self, values: Vectors, targets: list[Any], unroll: int) -> None:
        """Write accumulators."""
        for i, value in enumerate(values):
            pointer = self.accumulator(targets, i, unroll)
            self.builder.store(value, pointer).align = width(self.kinds[i // unroll]) // 8

    def accumulator(self, targets: list[Any], i: int, unroll: int) -> Any:
        """Where vector `i` of the accumulators is."""
        kind = self.kinds[i // unroll]
        size = self.lanes * width(kind) // 8
        at = self.builder.add(targets[i // unroll], ir.Constant(WORD, i % unroll * size))
        return self.builder.inttoptr(at, self.wide(value_type(kind)).as_pointer())

    # ---- the tree

    def tree(self, place: Place, unroll: int) -> list[Vectors]:
        """The joined elements of some lines, by the full program where one of them is rare."""
        if self.program.full is None:
            return self.joined(place, self.program, unroll, False)[0]
        found, rare = self.joined(place, self.program, unroll, True)
        builder = place.builder
        again = self.any(builder, rare)
        full = self.program.full

        def exact() -> Vectors:
            return flat(self.joined(place, full, unroll, False)[0])

        return unflat(self.chosen(builder, again, exact, flat(found)), unroll)

    def any(self, builder: Any, mask: Any) -> Any:
        """Whether a mask holds anywhere."""
        if not self.lanes:
            return mask
        bits = builder.bitcast(mask, ir.IntType(self.lanes))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    def joined(
        self, place: Place, program: Scalar, unroll: int, rare: bool
    ) -> tuple[list[Vectors], Any]:
        """The joined elements, and a mask of the columns with rare ones."""
        builder = place.builder
        inline = length(program) <= INLINE_STEPS and not (self.program.full and not rare)

        def walk(leaf: Callable[[int], Vectors], checked: bool) -> Vectors:
            return self.node(place, leaf, 0, 1, checked, unroll)

        if not inline:
            values = walk(lambda lane: self.called(place, program, lane, unroll, rare), True)
        else:
            # Either each lane has several rows, or at most one.
            full = builder.icmp_signed(">=", place.rows, ir.Constant(WORD, LANES))

            def long() -> Vectors:
                return walk(lambda lane: self.leaf(place, program, lane, unroll, rare, True), False)

            def short() -> Vectors:
                return walk(lambda lane: self.leaf(place, program, lane, unroll, rare, False), True)

            values = either(builder, full, long, short)
        mask = values.pop() if rare else None
        return unflat(values, unroll), mask

    def chosen(
        self, builder: Any, condition: Any, make: Callable[[], Vectors], values: Vectors
    ) -> Vectors:
        """What `make` computes where a condition holds, else these values."""
        before = builder.block
        with builder.if_then(condition):
            other = make()
            end = builder.block
        return merged(builder, [(values, before), (other, end)])

    def node(
        self,
        place: Place,
        leaf: Callable[[int], Vectors],
        lane: int,
        distance: int,
        checked: bool,
        unroll: int,
    ) -> Vectors:
        """Lanes `lane`, `lane + distance`, and so on, joined as a block's are."""
        if distance == LANES:
            return leaf(lane)
        left = self.node(place, leaf, lane, 2 * distance, checked, unroll)

        def both() -> Vectors:
            right = self.node(place, leaf, lane + distance, 2 * distance, checked, unroll)
            return self.join(place.builder, left, right, unroll)

        if not checked:
            return both()
        there = place.builder.icmp_signed(">", place.rows, ir.Constant(WORD, lane + distance))
        return self.chosen(place.builder, there, both, left)

    def join(self, builder: Any, left: Vectors, right: Vectors, unroll: int) -> Vectors:
        """Two partial results as one; a mask of rare ones may come last."""
        found = []
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            root = i // unroll
            if root == len(self.kinds):
                found.append(builder.or_(a, b))
            else:
                found.append(join(builder, self.sweep.folds[root], self.kinds[root], a, b))
        return found

    # ---- elements

    def leaf(
        self, place: Place, program: Scalar, lane: int | Any, unroll: int, rare: bool, several: bool
    ) -> Vectors:
        """The rows of one lane, joined in order."""
        builder = place.builder
        start = ir.Constant(WORD, lane) if isinstance(lane, int) else lane
        values = self.elements(place, program, start, unroll, rare)
        if not several:
            return values
        step = ir.Constant(WORD, LANES)
        with counting(builder, builder.add(start, step), place.rows, step, values) as carried:
            row, before, new = carried
            more = self.elements(place, program, row, unroll, rare)
            new += self.join(builder, before, more, unroll)
        return before

    def elements(self, place: Place, program: Scalar, row: Any, unroll: int, rare: bool) -> Vectors:
        """A row of elements."""
        builder = place.builder
        shared: dict[int, Any] = {}
        for i, (kind, reach) in enumerate(self.sweep.inputs):
            if reach not in (EVERYWHERE, BY_COLUMN):
                at = self.address(place, i, row, reach, 0)
                shared[i] = splat(builder, elements_at(builder, at, kind), self.lanes)
        outputs: list[Vectors] = []
        mask = None
        for u in range(unroll):
            xs = []
            for i, (kind, reach) in enumerate(self.sweep.inputs):
                if i in shared:
                    xs.append(shared[i])
                    continue
                at = self.address(place, i, row, reach, u)
                xs.append(elements_at(builder, at, kind, self.lanes))
            values = steps(builder, program, xs, self.lanes)
            outputs.append([values[place_of] for place_of in program.outputs])
            if rare:
                assert program.rare is not None
                found = values[program.rare]
                mask = found if mask is None else builder.or_(mask, found)
        by_root = [vectors[root] for root in range(len(self.kinds)) for vectors in outputs]
        return [*by_root, mask] if rare else by_root

    def address(self, place: Place, i: int, row: Any, reach: int, u: int) -> Any:
        """Where an input's elements of a row are."""
        builder = place.builder
        at = place.bases[i]
        if reach in (EVERYWHERE, BY_ROW):
            at = builder.add(at, builder.mul(row, place.row_steps[i]))
        if u:
            size = self.lanes * width(self.sweep.inputs[i][0]) // 8
            at = builder.add(at, ir.Constant(WORD, u * size))
        return at

    # ---- lanes as a function, where the program is long

    def called(self, place: Place, program: Scalar, lane: int, unroll: int, rare: bool) -> Vectors:
        """The rows of one lane, joined by a function of their own."""
        builder = place.builder
        function = self.leaf_function(program, unroll, rare)
        kinds = [self.wide(value_type(kind)) for kind in self.kinds for _ in range(unroll)]
        if rare:
            kinds.append(self.wide(ir.IntType(8)))
        with builder.goto_entry_block():
            room = [builder.alloca(kind) for kind in kinds]
        start = ir.Constant(WORD, lane)
        builder.call(function, [start, place.rows, *place.bases, *place.row_steps, *room])
        values = [builder.load(each) for each in room]
        if rare:
            values[-1] = builder.trunc(values[-1], self.wide(BIT))
        return values

    def leaf_function(self, program: Scalar, unroll: int, rare: bool) -> Any:
        """The function of a lane: it leaves its vectors where it is told to."""
        found = self.leaves.get((rare, unroll))
        if found is not None:
            return found
        count = len(self.sweep.inputs)
        kinds = [self.wide(value_type(kind)) for kind in self.kinds for _ in range(unroll)]
        if rare:
            kinds.append(self.wide(ir.IntType(8)))
        arguments = [WORD] * (2 + 2 * count) + [kind.as_pointer() for kind in kinds]
        function = ir.Function(
            self.builder.module,
            ir.FunctionType(ir.VoidType(), arguments),
            f"lane_{len(self.leaves)}",
        )
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        self.leaves[rare, unroll] = function
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        start, rows, *others = function.args
        place = Place(builder, others[:count], others[count : 2 * count], rows)
        values = self.leaf(place, program, start, unroll, rare, True)
        if rare:
            values[-1] = builder.zext(values[-1], kinds[-1])
        for value, target in zip(values, others[2 * count :], strict=True):
            builder.store(value, target)
        builder.ret_void()
        return function


class StripEmitter(ColumnEmitter):
    """Writes the loop that joins some rows of a lane to what it holds."""

    def emit(self, args: Any, dimensions: Any, steps: Any) -> None:
        """All of it."""
        builder = self.builder
        count = len(self.sweep.inputs)

        columns, rows, begins = (word(builder, dimensions, i) for i in range(3))
        bases = [word(builder, args, i) for i in range(count + len(self.kinds))]
        row_steps = [word(builder, steps, i) for i in range(count)]
        begin = ZERO
        for lanes, unroll in ((self.lanes, self.unroll), (self.lanes, 1), (0, 1)):
            step = ir.Constant(WORD, max(lanes, 1) * unroll)
            end = builder.sub(columns, builder.srem(columns, step))
            self.lanes = lanes
            with counting(builder, begin, end, step) as (column, _, _):
                here = []
                for i, base in enumerate(bases):
                    kind, reach = self.sweep.inputs[i] if i < count else (self.kinds[i - count], 0)
                    if reach in (EVERYWHERE, BY_COLUMN):
                        size = ir.Constant(WORD, width(kind) // 8)
                        base = builder.add(base, builder.mul(column, size))
                    here.append(base)
                self.strip(
                    Place(builder, here[:count], row_steps, rows), here[count:], unroll, begins
                )
            begin = end

    def strip(self, place: Place, targets: list[Any], unroll: int, begins: Any) -> None:
        """Some vectors of columns, in all rows."""
        builder = self.builder
        rare = self.program.full is not None
        found = self.running(place, self.program, targets, unroll, begins, rare)
        if rare:
            again = self.any(builder, found.pop())
            full = self.program.full
            assert full is not None
            found = self.chosen(
                builder,
                again,
                lambda: self.running(place, full, targets, unroll, begins, False),
                found,
            )
        self.store(found, targets, unroll)

    def running(
        self,
        place: Place,
        program: Scalar,
        targets: list[Any],
        unroll: int,
        begins: Any,
        rare: bool,
    ) -> Vectors:
        """What the lane holds after these rows."""
        builder = self.builder

        def first() -> Vectors:
            return self.elements(place, program, ZERO, unroll, rare)

        def held() -> Vectors:
            values = []
            for i in range(len(self.kinds) * unroll):
                value = builder.load(self.accumulator(targets, i, unroll))
                value.align = width(self.kinds[i // unroll]) // 8
                values.append(value)
            if rare:
                kind = self.wide(BIT)
                values.append(ir.Constant(kind, None if self.lanes else 0))
            return values

        condition = builder.icmp_signed("!=", begins, ZERO)
        values = either(builder, condition, first, held)
        start = builder.select(condition, ir.Constant(WORD, 1), ZERO)
        step = ir.Constant(WORD, 1)
        with counting(builder, start, place.rows, step, values) as (row, before, new):
            more = self.elements(place, program, row, unroll, rare)
            new += self.join(builder, before, more, unroll)
        return before


def flat(vectors: list[Vectors]) -> Vectors:
    """The vectors of all outputs, one after the other."""
    return [value for each in vectors for value in each]


def unflat(values: Vectors, unroll: int) -> list[Vectors]:
    """The vectors of each output."""
    return [values[i : i + unroll] for i in range(0, len(values), unroll)]
