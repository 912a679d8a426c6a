"""Programs of elements as CUDA kernels.

What of a program decides the text is an `Elements`, sizes left out, so another shape finds the
kernel that is there; `elements_of` brings both together. Threads go over the elements in runs of
V, 16 bytes where they are contiguous, in a grid-stride loop. `together` lets one launch compute
the same program of several shapes, as an optimizer's step on all parameters. The bits are those of
the CPU (emit_cuda_scalars.py names the exceptions).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

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
    divisor,
    functions_of,
    joined,
    named,
    reach,
    title,
    weight,
)
from .emit_cuda_scalars import Device, alignment_of, cuda_type, size_of, stored_type
from .emit_cuda_source import (
    MACHINE,
    THREADS,
    WAVES,
    Bound,
    CudaSource,
    Kernel,
    Launch,
    Machine,
    Text,
    source,
)

PACKED = 16  # bytes that a thread loads or stores at once
PARAMETER = 4000  # bytes of a kernel's parameter, which may have 4096
BODY = 1500  # steps in a loop's body that a thread does for several elements
# How a run of elements lies along the innermost axis of a strided operand.
ALIGNED, STEPPED, SAME = "aligned", "stepped", "same"


@dataclass(frozen=True, slots=True)
class Form:
    """How an operand lies in memory, sizes left out."""

    form: str
    run: str = ""  # of a strided one


def packed_sizes(
    count: int, extents: Sequence[int], steps: Sequence[Sequence[int]], wide: bool
) -> bytes:
    """The parameters behind the addresses: count, axes, and the strides of strided operands."""
    block = struct.pack("=q", count)
    if wide:
        block += struct.pack(f"={len(extents)}q", *extents)
        block += b"".join(struct.pack(f"={len(s)}q", *s) for s in steps)
    else:
        block += b"".join(struct.pack("=4I", *divisor(n)) for n in extents)
        block += b"".join(struct.pack(f"={len(s)}i", *s) for s in steps)
    return block + bytes(-len(block) % 8)


# ---- the kernel


@dataclass(frozen=True, slots=True)
class Elements:
    """What a kernel of elements is known by."""

    inputs: tuple[tuple[str, int, Form], ...]  # kind, argument
    works: tuple[Work, ...]
    outputs: tuple[tuple[int, int, Form], ...]  # value, argument
    arguments: int
    rank: int
    wide: bool
    vector: int
    several: int = 0  # programs that one launch computes, at most; 0: it is of one

    def kind_of(self, value: int) -> str:
        """The type of a value."""
        count = len(self.inputs)
        return (
            self.inputs[value][0]
            if value < count
            else self.works[value - count].statement.types[-1]
        )


def vector_of(sizes: Sequence[int], works: Sequence[Work]) -> int:
    """How many elements a thread does at once."""
    vector = PACKED // max(sizes, default=PACKED)
    while vector > 1 and vector * weight(works) > BODY:
        vector //= 2
    return max(vector, 1)


def elements_of(program: Described, machine: Machine = MACHINE) -> Bound | None:
    """The kernel of a program that reduces nothing; None where a loop has no device function."""
    found = placed(program, machine)
    if found is None:
        return None
    work, count, sizes = found
    made = elements_source(work)
    block = bytes(8 * program.arguments) + sizes
    grid = launched(count, work.vector, machine)
    launches = (Launch(made.name, (grid, 1, 1), (THREADS, 1, 1)),) if count else ()
    return Bound(made, program.arguments, block, launches, alignments=program.alignments() or ())


def placed(program: Described, machine: Machine) -> tuple[Elements, int, bytes] | None:
    """What a program's kernel is known by, the count of elements, and the sizes as bytes."""
    if program.axes is not None or functions_of(program.works) is None:
        return None
    if program.alignments() is None:
        return None
    space = program.shape
    count = prod(space)
    entries: list[Input | Output] = [*program.inputs, *program.outputs]
    kinds = [i.kind for i in program.inputs] + [program.kind_of(o.value) for o in program.outputs]
    known = [e for e in entries if e.argument >= 0]
    extents, strides = joined(space, [broadcast(e.strides, e.shape, space) for e in known])
    lying = iter(strides)
    own = [next(lying) if e.argument >= 0 else None for e in entries]
    vector = vector_of(
        [size_of(k) for k, s in zip(kinds, own, strict=True) if s and any(s)], program.works
    )
    plain = [
        s is None or not any(s) or contiguous(extents, s, size_of(k))
        for k, s in zip(kinds, own, strict=True)
    ]
    strided = not all(plain)
    while strided and extents[-1] % vector:
        vector //= 2
    forms: list[Form] = []
    steps: list[list[int]] = []
    for kind, s, flat in zip(kinds, own, plain, strict=True):
        if s is None:
            forms.append(Form(INDEX))
        elif flat:
            forms.append(Form(UNIFORM if s and not any(s) else FLAT))
        else:
            forms.append(Form(STRIDED, run_of(s, size_of(kind), vector)))
            steps.append(s)
    threads = launched(count, vector, machine) * THREADS * vector
    wide = count + threads >= NARROW or any(reach(extents, s) >= NARROW for s in steps)
    first = len(program.inputs)
    work = Elements(
        tuple((e.kind, e.argument, f) for e, f in zip(program.inputs, forms, strict=False)),
        program.works,
        tuple(
            (e.value, e.argument, f) for e, f in zip(program.outputs, forms[first:], strict=True)
        ),
        program.arguments,
        len(extents) if strided else 0,
        wide,
        vector,
    )
    return work, count, packed_sizes(count, extents if strided else (), steps, wide)


def together(
    programs: Sequence[Described], machine: Machine = MACHINE
) -> list[tuple[Bound, list[int]]] | None:
    """Kernels of programs that do not read what another one of them writes.

    Those that differ in their sizes alone share a launch, as long as its parameter has room.

    Returns
    -------
    list of (Bound, list of int), or None
        What is launched, and the numbers of the programs that it computes: its addresses are
        those of their arguments, one program after the other. None where a loop has no device
        function.
    """
    alike: dict[Elements, list[tuple[int, int]]] = {}
    bounds: list[tuple[Bound, list[int]]] = []
    for number, program in enumerate(programs):
        found = placed(program, machine)
        if found is None:
            return None
        work, count, _ = found
        if work.rank or work.wide or not count:
            single = elements_of(program, machine)
            assert single is not None
            bounds.append((single, [number]))
        else:
            alike.setdefault(work, []).append((number, count))
    for work, members in alike.items():
        most = max(PARAMETER // (8 * work.arguments + 12), 1)
        for begin in range(0, len(members), most):
            some = members[begin : begin + most]
            bounds.append((shared(work, some, most, machine), [number for number, _ in some]))
    return bounds


def shared(
    work: Elements, members: Sequence[tuple[int, int]], most: int, machine: Machine
) -> Bound:
    """One launch of these programs, each with its number and its count of elements."""
    room = min(1 << (len(members) - 1).bit_length(), most)  # few sizes of the struct
    made = elements_source(replace(work, several=room))
    spare = room - len(members)
    first = [0]
    for _, count in members:
        blocks = -(-count // (work.vector * THREADS))
        first.append(first[-1] + min(blocks, machine.multiprocessors * WAVES))
    operands = len(members) * work.arguments
    kinds = [(argument, kind) for kind, argument, _ in work.inputs]
    kinds += [(argument, work.kind_of(value)) for value, argument, _ in work.outputs]
    each = [1] * work.arguments
    for argument, kind in kinds:
        if argument >= 0:
            each[argument] = max(each[argument], alignment_of(kind))
    counts = [count for _, count in members] + [0] * spare
    block = bytes(8 * room * work.arguments) + struct.pack(f"={room}q", *counts)
    block += struct.pack(f"={room + 1}I", *first, *[first[-1]] * spare)
    launch = Launch(made.name, (first[-1], 1, 1), (THREADS, 1, 1))
    block += bytes(-len(block) % 8)
    return Bound(made, operands, block, (launch,), alignments=tuple(each) * len(members))


def run_of(strides: Sequence[int], size: int, vector: int) -> str:
    """How a run of elements lies."""
    if strides[-1] == 0:
        return SAME
    packed = strides[-1] == size and not any(s % (vector * size) for s in strides[:-1])
    return ALIGNED if packed else STEPPED


def launched(count: int, vector: int, machine: Machine) -> int:
    """The blocks of a grid."""
    needed = -(-count // (vector * THREADS))
    return max(min(needed, machine.multiprocessors * WAVES), 1)


@lru_cache(4096)
def elements_source(work: Elements) -> CudaSource:
    """The source of a kernel of elements."""
    kernel = elements_kernel(work)
    ulp = max((f.ulp for f in kernel.functions), default=0)
    return CudaSource(kernel.name, source((kernel,)), (kernel,), ulp)


def places(text: Text, index: str, strided: Sequence[int], rank: int, wide: bool) -> None:
    """Declare the byte offsets `o0`, `o1`, ... of strided operands at an element."""
    if not strided:
        return
    kind, place = ("int64_t", "int64_t") if wide else ("uint32_t", "int32_t")
    text.add(f"{kind} rest = {index};")
    text.add(*(f"{place} o{number} = 0;" for number in range(len(strided))))
    for axis in range(rank - 1, -1, -1):
        at = "rest"
        if axis:
            text.add(f"const {kind} q{axis} = quotient(rest, p.axes[{axis}]);")
            at = f"(rest - q{axis} * extent_of(p.axes[{axis}]))"
        for number in range(len(strided)):
            text.add(f"o{number} += ({place}){at} * p.steps[{number}][{axis}];")
        if axis:
            text.add(f"rest = q{axis};")


def parameter_struct(
    name: str, arguments: int, rank: int, strided: int, wide: bool, several: int = 0
) -> str:
    """The struct of a kernel's parameter; `packed_sizes` fills it, or `shared`."""
    if several:
        text = f"char* at[{several * arguments}]; la::int64_t count[{several}]; "
        return f"struct {name}_parameters {{ {text}la::uint32_t first[{several + 1}]; }};\n"
    fields = [f"char* at[{arguments}];"] if arguments else []
    fields.append("la::int64_t count;")
    if rank:
        fields.append(f"la::{'int64_t' if wide else 'Divisor'} axes[{rank}];")
    if strided:
        fields.append(f"la::{'int64_t' if wide else 'int32_t'} steps[{strided}][{rank}];")
    return f"struct {name}_parameters {{ {' '.join(fields)} }};\n"


def elements_kernel(work: Elements) -> Kernel:
    """The text of a kernel of elements."""
    functions = functions_of(work.works)
    assert functions is not None
    name = named(work.works, work)
    forms = [entry[-1] for entry in (*work.inputs, *work.outputs)]
    strided = [i for i, form in enumerate(forms) if form.form == STRIDED]
    number = {which: i for i, which in enumerate(strided)}
    index, count = ("int64_t" if work.wide else "uint32_t"), len(work.inputs)
    text = Text()
    text.add(f"// {title(work)}")
    declared = parameter_struct(
        name, work.arguments, work.rank, len(strided), work.wide, work.several
    )
    text.add(declared.rstrip())
    text.open(
        f'extern "C" __global__ void __launch_bounds__({THREADS})\n'
        f"{name}(const __grid_constant__ {name}_parameters p)"
    )
    text.add("using namespace la;", f"constexpr int V = {work.vector};")
    place, blocks, block, length = "", "gridDim.x", "blockIdx.x", "p.count"
    if work.several:
        find_program(text, work.several, work.arguments)
        place, blocks, block, length = "base + ", "blocks", "block", "p.count[own]"
    used = []
    for i, (kind, argument, form) in enumerate(work.inputs):
        if form.form == INDEX:
            continue
        kind = stored_type(kind)
        text.add(f"const {kind}* a{i} = (const {kind}*)p.at[{place}{argument}];")
        if form.form == UNIFORM:
            text.add(f"const {kind} x{i} = *a{i};")
        elif form.form == FLAT or form.run == ALIGNED:
            used.append((f"a{i}", work.inputs[i][0]))
    for i, (value, argument, form) in enumerate(work.outputs):
        kind = stored_type(work.kind_of(value))
        text.add(f"{kind}* b{i} = ({kind}*)p.at[{place}{argument}];")
        if form.form == FLAT or form.run == ALIGNED:
            used.append((f"b{i}", work.kind_of(value)))
    runs = [
        (at, work.vector * size_of(kind))
        for at, kind in used
        if work.vector * size_of(kind) > alignment_of(kind)
    ]
    aligned = " && ".join(f"(uint64_t){at} % {size} == 0" for at, size in runs)
    text.add(f"const bool aligned = {aligned or 'true'};")
    text.add(f"const {index} count = ({index}){length};")
    text.add(f"const {index} step = ({index}){blocks} * blockDim.x * V;")
    text.open(
        f"for ({index} first = (({index}){block} * blockDim.x + threadIdx.x) * V; "
        "first < count; first += step)"
    )
    text.add(f"const int there = count - first < ({index})V ? (int)(count - first) : V;")
    text.add("const bool packed = aligned && there == V;")
    places(text, "first", strided, work.rank, work.wide)
    for i, (kind, _, form) in enumerate(work.inputs):
        fetch(text, i, kind, form, number.get(i, -1), work.rank)
    for i, (value, _, _) in enumerate(work.outputs):
        text.add(f"{stored_type(work.kind_of(value))} y{i}[V];")
    text.add("#pragma unroll")
    text.open("for (int v = 0; v < V; v++)")
    values = [read_value(i, kind, form, "[v]") for i, (kind, _, form) in enumerate(work.inputs)]
    body(text, work.works, functions, values)
    for i, (value, _, _) in enumerate(work.outputs):
        text.add(f"y{i}[v] = {values[value]};")
    text.close()
    for i, (value, _, form) in enumerate(work.outputs):
        put(text, i, stored_type(work.kind_of(value)), form, number.get(count + i, -1), work.rank)
    text.close()
    text.close()
    return Kernel(name, str(text), tuple(functions))


def find_program(text: Text, several: int, arguments: int) -> None:
    """Find which of several programs a block computes, and which of its blocks it is."""
    text.add("int own = 0;", "#pragma unroll")
    half = (1 << (several - 1).bit_length()) // 2
    text.add(f"for (int half = {half}; half; half /= 2)")
    text.add(f"    if (own + half < {several} && blockIdx.x >= p.first[own + half]) own += half;")
    text.add(f"const int base = own * {arguments};")
    text.add("const uint32_t block = blockIdx.x - p.first[own];")
    text.add("const uint32_t blocks = p.first[own + 1] - p.first[own];")


def fetch(text: Text, i: int, kind: str, form: Form, number: int, rank: int) -> None:
    """Load a run of an input."""
    if form.form in (INDEX, UNIFORM):
        return
    kind = stored_type(kind)
    if form.form == STRIDED and form.run == SAME:
        text.add(f"const {kind} x{i} = *(const {kind}*)((const char*)a{i} + o{number});")
        return
    text.add(f"{kind} x{i}[V];")
    if form.form == FLAT:
        text.add(f"load(a{i} + first, x{i}, packed, there);")
    elif form.run == ALIGNED:
        text.add(f"load((const {kind}*)((const char*)a{i} + o{number}), x{i}, packed, there);")
    else:
        text.add("#pragma unroll")
        at = f"(const char*)a{i} + o{number} + v * p.steps[{number}][{rank - 1}]"
        text.add(f"for (int v = 0; v < V; v++) x{i}[v] = *(const {kind}*)({at});")


def read_value(i: int, kind: str, form: Form, run: str) -> str:
    """The value of an input in a run."""
    if form.form == INDEX:
        return "(int64_t)(first + v)"
    name = f"x{i}" if form.form == UNIFORM or form.run == SAME else f"x{i}{run}"
    return f"({name} != 0)" if kind == "bool" else name


def body(text: Text, works: Sequence[Work], functions: Sequence[Device], values: list[str]) -> None:
    """The statements of one element; appends their values' names."""
    for number, (work, function) in enumerate(zip(works, functions, strict=True)):
        given = ", ".join(values[a] for a in work.statement.args)
        text.add(
            f"const {cuda_type(work.statement.types[-1])} t{number} = {function.name}({given});"
        )
        values.append(f"t{number}")


def put(text: Text, i: int, kind: str, form: Form, number: int, rank: int) -> None:
    """Store a run of an output."""
    if form.form in (FLAT, UNIFORM):
        text.add(f"store(b{i} + first, y{i}, packed, there);")
    elif form.run == ALIGNED:
        text.add(f"store(({kind}*)((char*)b{i} + o{number}), y{i}, packed, there);")
    else:
        text.add("#pragma unroll")
        at = f"(char*)b{i} + o{number} + v * p.steps[{number}][{rank - 1}]"
        text.add(f"for (int v = 0; v < V; v++) *({kind}*)({at}) = y{i}[v];")
