"""Sweeps as LLVM: a loop over contiguous elements around the steps of a scalar program.

The loop has the signature of NumPy's inner loops, ``void(char** args, const intp* n, ...)``. An
output may be an input's memory, from the same element on: each iteration is independent of all
others, and reads before it writes. That is what "llvm.loop.parallel_accesses" says; "noalias" would
let the compiler move a read behind a write. No flag allows another rounding than the program's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from .dialect import COMPARISONS, FLOATS, Scalar, Step, width
from .operations import X86
from .sweep import Sweep, composed

SYMBOL = "la_sweep"  # what loader.py looks up
CHUNK = 512  # elements computed, and perhaps computed again, at a time
# Vectors in flight: a polynomial is one chain of operations, and two of them at a time leave an
# AVX-512 core half idle (Black-Scholes: 3.4 ns an element with LLVM's choice of 1, 2.5 with 4).
INTERLEAVE = 4
INTERLEAVE_STEPS = 600  # more of them are enough to keep a core busy, and long to compile

WORD, BIT = ir.IntType(64), ir.IntType(1)
ZERO = ir.Constant(WORD, 0)
SIGNS = dict(zip(COMPARISONS, ("==", "!=", "<", "<=", ">", ">="), strict=True))
INTRINSICS = {
    "sqrt": "llvm.sqrt", "abs": "llvm.fabs", "floor": "llvm.floor", "ceil": "llvm.ceil",
    "trunc": "llvm.trunc", "rint": "llvm.rint", "fma": "llvm.fma",
}  # fmt: skip
LANES = 32  # of a block of the tree of a reduction, see native/reduce.hpp

Vectors = list[Any]  # by output, then by vector

BINARY = {
    "add": "add", "sub": "sub", "mul": "mul", "and": "and_", "or": "or_", "xor": "xor",
    "shl": "shl",
}  # fmt: skip


def value_type(kind: str) -> Any:
    """The LLVM type of a value."""
    if kind in FLOATS:
        return ir.FloatType() if kind == "float32" else ir.DoubleType()
    return BIT if kind == "bool" else ir.IntType(width(kind))


def stored_type(kind: str) -> Any:
    """The LLVM type of an element in memory."""
    return ir.IntType(8) if kind == "bool" else value_type(kind)


class Unlike(ir.values.MDValue):
    """A metadata node that is equal to no other; a loop's names itself first."""

    def __init__(self, module: Any, operands: tuple[Any, ...] = (), of_loop: bool = False) -> None:
        self.of_loop = of_loop
        super().__init__(module, operands, name=str(len(module.metadata)))

    def descr(self, buf: list[str]) -> None:
        """Append its text."""
        names = [each.get_reference() for each in self.operands]
        if self.of_loop:
            names.insert(0, self.get_reference())
        buf += ("distinct !{ ", ", ".join(names), " }\n")


def begun(name: str) -> tuple[Any, Any]:
    """Where the text of a loop begins, in a module of its own, and the loop's arguments."""
    pointers = WORD.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), (pointers, pointers, pointers, pointers))
    function = ir.Function(ir.Module(name), kind, SYMBOL)
    function.attributes.add("nounwind")
    return ir.IRBuilder(function.append_basic_block("entry")), function.args


def module_of(sweep: Sweep) -> Any:
    """The LLVM module of a sweep's loop."""
    builder, args = begun("sweep")
    LoopEmitter(builder, sweep).emit(composed(sweep), *args[:2])
    builder.ret_void()
    return builder.module


class LoopEmitter:
    """Writes the loop of one sweep."""

    def __init__(self, builder: Any, sweep: Sweep) -> None:
        self.builder = builder
        self.inputs = sweep.inputs
        self.outputs = sweep.types[len(sweep.inputs) :]
        self.group = Unlike(builder.module)
        self.once: dict[int, Any] = {}  # the inputs that are one element for all

    def emit(self, program: Scalar, args: Any, count: Any) -> None:
        """All of it: one pass over the elements, or chunk by chunk where some may be rare."""
        builder = self.builder
        count = builder.load(count)
        sources = [self.pointer(args, i, kind) for i, (kind, _) in enumerate(self.inputs)]
        targets = [
            self.pointer(args, len(sources) + i, kind) for i, kind in enumerate(self.outputs)
        ]
        with builder.if_then(builder.icmp_signed(">", count, ZERO)):
            for i, (kind, uniform) in enumerate(self.inputs):
                if uniform:
                    self.once[i] = self.load(sources[i], ZERO, kind)
            if program.full is None:
                self.elements(program, count, sources, targets, len(program.steps))
            else:
                self.chunks(program, count, sources, targets)

    def pointer(self, args: Any, index: int, kind: str) -> Any:
        """The address of an operand's first element."""
        at = self.builder.load(self.builder.gep(args, [ir.Constant(WORD, index)]))
        return self.builder.inttoptr(at, stored_type(kind).as_pointer())

    def load(self, at: Any, index: Any, kind: str) -> Any:
        """One element."""
        value = self.builder.load(self.builder.gep(at, [index]))
        value.set_metadata("llvm.access.group", self.group)
        return self.builder.icmp_unsigned("!=", value, value.type(0)) if kind == "bool" else value

    def store(self, value: Any, at: Any, index: Any, kind: str) -> None:
        """Write one element."""
        if kind == "bool":
            value = self.builder.zext(value, stored_type(kind))
        stored = self.builder.store(value, self.builder.gep(at, [index]))
        stored.set_metadata("llvm.access.group", self.group)

    def elements(
        self, program: Scalar, count: Any, sources: list[Any], targets: list[Any], length: int
    ) -> Any:
        """Compute `count` elements; whether one was rare. `length` as in `counted`."""
        with self.counted(count, length) as (index, carried):
            xs = [
                self.once[i] if i in self.once else self.load(sources[i], index, kind)
                for i, (kind, _) in enumerate(self.inputs)
            ]
            values = steps(self.builder, program, xs)
            for place, at, kind in zip(program.outputs, targets, self.outputs, strict=True):
                self.store(values[place], at, index, kind)
            if program.rare is not None:
                carried.append(self.builder.or_(carried[0], values[program.rare]))
        return carried[-1]

    @contextmanager
    def counted(self, count: Any, length: int = 0) -> Iterator[tuple[Any, list[Any]]]:
        """A loop from 0 to `count`, at least once, whose iterations may run at the same time.

        It carries a bit: the body gets it as the list's first item, and may append its new value.
        With a length in steps, several vectors are in flight.
        """
        builder = self.builder
        before = builder.block
        body = builder.append_basic_block("element")
        after = builder.append_basic_block("done")
        builder.branch(body)
        builder.position_at_end(body)
        index, bit = builder.phi(WORD), builder.phi(BIT)
        index.add_incoming(ZERO, before)
        bit.add_incoming(ir.Constant(BIT, 0), before)
        carried = [bit]
        yield index, carried
        following = builder.add(index, ir.Constant(WORD, 1), flags=["nsw", "nuw"])
        index.add_incoming(following, builder.block)
        bit.add_incoming(carried[-1], builder.block)
        back = builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        module = builder.module
        text = ir.MetaDataString(module, "llvm.loop.parallel_accesses")
        wishes = [module.add_metadata([text, self.group])]
        if 0 < length <= INTERLEAVE_STEPS:
            text = ir.MetaDataString(module, "llvm.loop.interleave.count")
            wishes.append(module.add_metadata([text, ir.Constant(ir.IntType(32), INTERLEAVE)]))
        back.set_metadata("llvm.loop", Unlike(module, tuple(wishes), of_loop=True))
        builder.position_at_end(after)

    def chunks(self, program: Scalar, count: Any, sources: list[Any], targets: list[Any]) -> None:
        """Compute by the short program, and a chunk with rare elements again by the full one.

        What is overwritten is copied first.
        """
        builder = self.builder
        shared = {
            i: self.overlaps(at, targets) for i, at in enumerate(sources) if i not in self.once
        }
        rooms = {}
        with builder.goto_entry_block():
            for i in shared:
                rooms[i] = builder.alloca(stored_type(self.inputs[i][0]), CHUNK)
                rooms[i].align = 64
        with self.stepped(count) as (start, size):
            here = list(sources)
            for i, each in shared.items():
                here[i] = self.kept(builder.gep(sources[i], [start]), rooms[i], size, each)
            there = [builder.gep(at, [start]) for at in targets]
            flags = self.flags()
            rare = self.elements(program, size, here, there, len(program.steps))
            with builder.if_then(rare, likely=False):
                assert program.full is not None
                # Those that the short program set are taken back.
                self.set_flags(flags)
                self.elements(program.full, size, here, there, 0)

    def flags(self) -> Any:
        """The thread's floating-point flags."""
        builder = self.builder
        if not X86:
            return builder.asm(ir.FunctionType(WORD, []), "mrs $0, fpsr", "=r", [], True)
        with builder.goto_entry_block():
            room = builder.alloca(ir.IntType(32))
        builder.call(self.control("stmxcsr"), [room])
        return room

    def set_flags(self, flags: Any) -> None:
        """What `flags` found."""
        builder = self.builder
        if X86:
            builder.call(self.control("ldmxcsr"), [flags])
        else:
            kind = ir.FunctionType(ir.VoidType(), [WORD])
            builder.asm(kind, "msr fpsr, $0", "r,~{memory}", [flags], True)

    def control(self, name: str) -> Any:
        """The function that reads or writes the register with the flags."""
        signature = ir.FunctionType(ir.VoidType(), [ir.IntType(32).as_pointer()])
        return self.builder.module.declare_intrinsic(f"llvm.x86.sse.{name}", (), signature)

    @contextmanager
    def stepped(self, count: Any) -> Iterator[tuple[Any, Any]]:
        """A loop over chunks: where each starts, and its size."""
        builder = self.builder
        step = ir.Constant(WORD, CHUNK)
        before = builder.block
        body = builder.append_basic_block("chunk")
        after = builder.append_basic_block("end")
        builder.branch(body)
        builder.position_at_end(body)
        start = builder.phi(WORD)
        start.add_incoming(ZERO, before)
        left = builder.sub(count, start)
        size = builder.select(builder.icmp_signed("<", step, left), step, left)
        yield start, size
        following = builder.add(start, size)
        start.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        builder.position_at_end(after)

    def overlaps(self, source: Any, targets: list[Any]) -> Any:
        """Whether an input is the memory of an output."""
        builder = self.builder
        found = ir.Constant(BIT, 0)
        at = builder.ptrtoint(source, WORD)
        for target in targets:
            same = builder.icmp_unsigned("==", at, builder.ptrtoint(target, WORD))
            found = builder.or_(found, same)
        return found

    def kept(self, source: Any, room: Any, size: Any, needed: Any) -> Any:
        """Where a chunk of an input can be read after outputs are written."""
        builder = self.builder
        with builder.if_then(needed, likely=False), self.counted(size) as (index, _):
            value = builder.load(builder.gep(source, [index]))
            builder.store(value, builder.gep(room, [index]))
        return builder.select(needed, room, source)


def steps(builder: Any, program: Scalar, inputs: list[Any], lanes: int = 0) -> list[Any]:
    """The values of a program's steps: of elements, or of vectors with so many lanes."""
    values: list[Any] = []
    for step in program.steps:
        args = [values[a] for a in step.args]
        kinds = [program.steps[a].type for a in step.args]
        known = step.op == "input"
        values.append(inputs[step.value] if known else one(builder, step, args, kinds, lanes))
    return values


def one(builder: Any, step: Step, args: list[Any], kinds: list[str], lanes: int = 0) -> Any:
    """The value of one step: of an element, or of a vector with so many lanes."""
    op, kind = step.op, wide(value_type(step.type), lanes)
    floating = bool(kinds) and kinds[0] in FLOATS
    if op == "const":
        return ir.Constant(kind, [step.value] * lanes if lanes else step.value)
    if op == "select":
        return builder.select(*args)
    if op in INTRINSICS:
        signature = ir.FunctionType(kind, [kind] * len(args))
        name = INTRINSICS[op] + (f".v{lanes}" if lanes else ".") + f"f{width(step.type)}"
        return builder.call(builder.module.declare_intrinsic(name, (), signature), args)
    if op == "bits":
        return builder.bitcast(args[0], kind)
    if op == "convert":
        return converted(builder, args[0], kinds[0], step.type, lanes)
    if op in COMPARISONS:
        if not floating:
            compare = builder.icmp_signed if kinds[0][0] == "i" else builder.icmp_unsigned
        else:
            compare = builder.fcmp_unordered if op == "ne" else builder.fcmp_ordered
        return compare(SIGNS[op], *args)
    if op == "neg":
        if floating:
            return builder.fneg(args[0])
        return builder.sub(ir.Constant(kind, None if lanes else 0), args[0])
    if op == "not":
        return builder.not_(args[0])
    if op == "div":
        return builder.fdiv(*args)
    if op == "shr":
        return builder.ashr(*args) if kinds[0][0] == "i" else builder.lshr(*args)
    return getattr(builder, f"f{op}" if floating else BINARY[op])(*args)


def wide(kind: Any, lanes: int) -> Any:
    """The type of a vector with so many lanes, or of an element."""
    return ir.VectorType(kind, lanes) if lanes else kind


def converted(builder: Any, x: Any, source: str, target: str, lanes: int = 0) -> Any:
    """A number as another type."""
    kind = wide(value_type(target), lanes)
    signed = source[0] == "i"
    if source in FLOATS:
        if target in FLOATS:
            return builder.fpext(x, kind) if target == "float64" else builder.fptrunc(x, kind)
        return builder.fptosi(x, kind) if target[0] == "i" else builder.fptoui(x, kind)
    if target in FLOATS:
        return builder.sitofp(x, kind) if signed else builder.uitofp(x, kind)
    before, after = value_type(source).width, value_type(target).width
    if after < before:
        return builder.trunc(x, kind)
    if after == before:
        return x
    return builder.sext(x, kind) if signed else builder.zext(x, kind)


@contextmanager
def counting(
    builder: Any, start: Any, end: Any, step: Any, carried: list[Any] | None = None
) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """A loop from `start` to `end`, perhaps never.

    It carries values: the body gets them, and fills a list with the new ones; afterwards the
    first of these lists holds what came out.
    """
    carried = carried or []
    before = builder.block
    head = builder.append_basic_block("head")
    body = builder.append_basic_block("body")
    after = builder.append_basic_block("after")
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(WORD)
    index.add_incoming(start, before)
    values = []
    for value in carried:
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        values.append(phi)
    builder.cbranch(builder.icmp_signed("<", index, end), body, after)
    builder.position_at_end(body)
    new: list[Any] = []
    yield index, values, new
    index.add_incoming(builder.add(index, step), builder.block)
    for phi, value in zip(values, new, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)


def splat(builder: Any, value: Any, lanes: int) -> Any:
    """A vector that holds one value throughout, or the value."""
    if not lanes:
        return value
    empty = ir.Constant(wide(value.type, lanes), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, empty, mask)


# ---- what loops that reduce have in common


def word(builder: Any, pointer: Any, index: int) -> Any:
    """A loop's operand, dimension or step."""
    return builder.load(builder.gep(pointer, [ir.Constant(WORD, index)]))


def elements_at(builder: Any, at: Any, kind: str, lanes: int = 0) -> Any:
    """The elements of a vector, or one, from their address."""
    value = builder.load(builder.inttoptr(at, wide(stored_type(kind), lanes).as_pointer()))
    if lanes:
        value.align = width(kind) // 8
    if kind != "bool":
        return value
    return builder.icmp_unsigned("!=", value, ir.Constant(value.type, None if lanes else 0))


def either(
    builder: Any, condition: Any, one: Callable[[], Vectors], two: Callable[[], Vectors]
) -> Vectors:
    """The values of one or of the other."""
    found = []
    with builder.if_else(condition) as (then, otherwise):
        for branch, make in ((then, one), (otherwise, two)):
            with branch:
                values = make()
                found.append((values, builder.block))
    return merged(builder, found)


def merged(builder: Any, found: list[tuple[Vectors, Any]]) -> Vectors:
    """Values that come from one of several blocks."""
    merged = []
    for which, value in enumerate(found[0][0]):
        phi = builder.phi(value.type)
        for values, block in found:
            phi.add_incoming(values[which], block)
        merged.append(phi)
    return merged


def join(builder: Any, name: str, kind: str, a: Any, b: Any) -> Any:
    """Two accumulators as one, see native/reduce.hpp."""
    floating = kind in FLOATS
    if name == "sum":
        return builder.fadd(a, b) if floating else builder.add(a, b)
    if name == "prod":
        return builder.fmul(a, b) if floating else builder.mul(a, b)
    sign = ">=" if name in ("max", "fmax") else "<="
    if floating:
        odd = b if name in ("fmin", "fmax") else a  # which NaN gives way, or is kept
        first = builder.or_(
            builder.fcmp_ordered(sign, a, b), builder.fcmp_unordered("uno", odd, odd)
        )
    elif kind[0] == "i":
        first = builder.icmp_signed(sign, a, b)
    else:
        first = builder.icmp_unsigned(sign, a, b)
    return builder.select(first, a, b)
