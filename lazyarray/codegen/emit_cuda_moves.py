"""CUDA kernels that move data: copies across strides, rows by index.

Each function gives a `Bound` with the operands of the CPU's kernel of the same name. Indices are
known to be in bounds, as there. What has duplicates is deterministic: the last one wins, or they
are added in order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from math import prod

from .emit_cuda import elements_of
from .emit_cuda_program import NARROW, RAW, Described, Input, Output, joined
from .emit_cuda_scalars import alignment_of, cuda_type, device_function, size_of, stored_type
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

HEADER = "cuda_moves.hpp"
TILE, TILE_ROWS = 32, 8
LEAST = 16  # elements along both axes from which tiles pay
WIDE = 16  # bytes moved at once, at most
WORDS = {1: "uint8_t", 2: "uint16_t", 4: "uint32_t", 8: "uint64_t", 16: "Bytes16"}


class Mover:
    """The text of one kernel and the struct of its parameter: addresses, numbers, and what else."""

    def __init__(
        self,
        title: str,
        key: tuple[object, ...],
        arguments: int,
        numbers: int,
        more: str = "",
        header: str = HEADER,
    ) -> None:
        digest = sha256(repr(key).encode()).hexdigest()[:12]
        self.name = f"la_{title}_{digest}"
        self.header = header
        self.text = Text()
        fields = f"char* at[{arguments}];"
        if numbers:
            fields += f" la::int64_t n[{numbers}];"
        self.text.add(f"struct {self.name}_parameters {{ {fields}{more} }};")

    def open(self, threads: int = THREADS) -> Text:
        """Begin the kernel."""
        self.text.open(
            f'extern "C" __global__ void __launch_bounds__({threads})\n'
            f"{self.name}(const __grid_constant__ {self.name}_parameters p)"
        )
        self.text.add("using namespace la;")
        return self.text

    def kernel(self, *functions: object) -> Kernel:
        """The kernel."""
        self.text.close()
        return Kernel(self.name, str(self.text), functions, ("cuda_numbers.hpp", self.header))  # type: ignore[arg-type]


EACH = (
    "for (int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; e < {count}; "
    "e += (int64_t)gridDim.x * blockDim.x)"
)


def bound(
    made: CudaSource,
    operands: int,
    numbers: Sequence[int],
    launches: Sequence[Launch],
    alignments: tuple[int, ...],
    scratch: int = 0,
) -> Bound:
    """A source with its sizes; `alignments` are those of its operands' addresses."""
    block = bytes(8 * (operands + (scratch > 0))) + struct.pack(f"={len(numbers)}q", *numbers)
    return Bound(made, operands, block, tuple(launches), scratch, alignments)


def least(size: int) -> int:
    """The alignment of elements of so many bytes, at least."""
    return min(size, 8)


def word(width: int) -> str:
    """The type that is moved: what is wider than alignment grants, where addresses allow it."""
    return "Wide16" if width == WIDE else WORDS[width]


def grid_of(count: int, machine: Machine) -> tuple[int, int, int]:
    """Blocks for so many elements, one for each thread."""
    return max(min(-(-count // THREADS), machine.multiprocessors * WAVES), 1), 1, 1


def one(kernel: Kernel) -> CudaSource:
    """A source of one kernel."""
    return CudaSource(kernel.name, source((kernel,)), (kernel,))


# ---- copies


def copy(
    shape: Sequence[int],
    size: int,
    source_strides: Sequence[int],
    target_strides: Sequence[int],
    machine: Machine = MACHINE,
) -> Bound | None:
    """Copy elements of `size` bytes; strides in bytes. Operands: from, to.

    None where strides step off the elements' alignment.
    """
    extents, (given, wanted) = joined(shape, [source_strides, target_strides])
    count = prod(shape)
    narrow = count < NARROW
    across = [i for i, s in enumerate(given) if s == size]
    along = [i for i, s in enumerate(wanted) if s == size]
    steady = not any(s % least(size) for s in (*given, *wanted))
    if count and across and along and across != along and narrow and steady:
        a, b = across[-1], along[-1]
        if min(extents[a], extents[b]) >= LEAST:
            return turned(extents, size, given, wanted, a, b, machine)
    kind = RAW[size]
    return elements_of(
        Described(
            tuple(shape),
            (Input(kind, 0, tuple(shape), tuple(source_strides)),),
            (),
            (Output(0, 1, tuple(shape), tuple(target_strides)),),
            2,
        ),
        machine,
    )


def turned(
    extents: list[int],
    size: int,
    given: list[int],
    wanted: list[int],
    a: int,
    b: int,
    machine: Machine,
) -> Bound:
    """Copy by tiles: axis `a` is contiguous in the source, axis `b` in the target."""
    others = [i for i in range(len(extents)) if i not in (a, b)]
    made = turned_source(size, len(others))
    tiles = -(-extents[a] // TILE), -(-extents[b] // TILE)
    units = tiles[0] * tiles[1] * prod(extents[i] for i in others)
    numbers = [units, extents[a], extents[b], given[b], wanted[a], *tiles]
    for i in others:
        numbers += [extents[i], given[i], wanted[i]]
    grid = min(units, machine.multiprocessors * WAVES), 1, 1
    launch = Launch(made.name, grid, (TILE, TILE_ROWS, 1))
    return bound(made, 2, numbers, [launch], (least(size),) * 2)


@lru_cache(256)
def turned_source(size: int, others: int) -> CudaSource:
    """The source of a copy by tiles, with so many other axes."""
    mover = Mover("turned", ("turned", size, others), 2, 7 + 3 * others)
    text = mover.open(TILE * TILE_ROWS)
    text.add(f"__shared__ {WORDS[size]} tile[kTile][kTile + 1];")
    text.open("for (int64_t unit = blockIdx.x; unit < p.n[0]; unit += gridDim.x)")
    text.add("const int64_t x = unit % p.n[5] * kTile, y = unit / p.n[5] % p.n[6] * kTile;")
    text.add("int64_t rest = unit / p.n[5] / p.n[6];")
    text.add(f"const char* from = p.at[0] + y * p.n[3] + x * {size};")
    text.add(f"char* to = p.at[1] + x * p.n[4] + y * {size};")
    for i in range(others - 1, -1, -1):
        at = 7 + 3 * i
        index = f"rest % p.n[{at}]" if i else "rest"
        text.add(f"from += {index} * p.n[{at + 1}];", f"to += {index} * p.n[{at + 2}];")
        if i:
            text.add(f"rest /= p.n[{at}];")
    text.add("const int width = (int)(p.n[1] - x < kTile ? p.n[1] - x : kTile);")
    text.add("const int height = (int)(p.n[2] - y < kTile ? p.n[2] - y : kTile);")
    text.add("turn_tile(from, p.n[3], to, p.n[4], width, height, tile);")
    text.close()
    return one(mover.kernel())


def fill(
    pattern: bytes, count: int, machine: Machine = MACHINE, operand: int = 0, operands: int = 1
) -> Bound:
    """Set `count` elements to the bytes of one. What is set is one of so many operands."""
    size = len(pattern)
    made = fill_source(size, operand, operands)
    words = struct.unpack("=2q", pattern.ljust(16, b"\0"))
    launches = [Launch(made.name, grid_of(count, machine), (THREADS, 1, 1))] if count else []
    own = tuple(least(size) if i == operand else 1 for i in range(operands))
    return bound(made, operands, [count, *words], launches, own)


@lru_cache(8)
def fill_source(size: int, operand: int, operands: int) -> CudaSource:
    """The source of `fill`."""
    mover = Mover("fill", ("fill", size, operand, operands), operands, 3)
    text = mover.open()
    text.add(f"typedef {WORDS[size]} Word;")
    text.add("const Word word = *(const Word*)&p.n[1];")
    text.add(f"{EACH.format(count='p.n[0]')} ((Word*)p.at[{operand}])[e] = word;")
    return one(mover.kernel())


# ---- rows by index


def widths(row_bytes: int, size: int) -> tuple[int, int]:
    """Bytes moved at once where all rows are aligned to that, and otherwise."""
    wide = next(w for w in (WIDE, 8, 4, 2, 1) if row_bytes % w == 0)
    return max(wide, least(size)), least(size)


def take_axis(
    outer: int, n: int, m: int, row_bytes: int, size: int, machine: Machine = MACHINE
) -> Bound:
    """Rows of (outer, n, row) by index; elements of `size` bytes. Operands: x, index, out."""
    wide, narrow = widths(row_bytes, size)
    made = take_source(wide, narrow)
    count = outer * m * row_bytes
    grid = grid_of(count // wide, machine)
    launches = [Launch(made.name, grid, (THREADS, 1, 1))] if count else []
    return bound(made, 3, [outer * m, m, n, row_bytes], launches, (least(size), 8, least(size)))


def take_rows(row_bytes: int, n: int, m: int, size: int, machine: Machine = MACHINE) -> Bound:
    """Rows of (n, row) by index. Operands: x, index, out."""
    return take_axis(1, n, m, row_bytes, size, machine)


def aligned(text: Text, operands: Sequence[int], wide: int) -> None:
    """Say whether operands lie so that `wide` bytes can be moved at once."""
    places = " | ".join(f"(uint64_t)p.at[{i}]" for i in operands)
    text.add(f"const bool aligned = ({places}) % {wide} == 0;")


def by_rows(
    text: Text, operands: Sequence[int], widths: tuple[int, int], row: str, count: str, body: str
) -> None:
    """A loop over the words of `count` rows of so many bytes: wide ones where all lies aligned.

    The body is told `e`, the word, `line`, its row, and `k`, its place there.
    """
    wide, narrow = widths
    if wide > narrow:
        aligned(text, operands, wide)
    for width in sorted({wide, narrow}, reverse=True):
        text.open("" if wide == narrow else "if (aligned)" if width == wide else "if (!aligned)")
        text.add(f"typedef {word(width)} Word;", f"const int64_t row = {row} / {width};")
        text.open(EACH.format(count=f"{count} * row"))
        text.add("const int64_t line = e / row, k = e - line * row;")
        text.add(*body.splitlines())
        text.close()
        text.close()


@lru_cache(64)
def take_source(wide: int, narrow: int) -> CudaSource:
    """The source of `take_axis`."""
    mover = Mover("take_axis", ("take_axis", wide, narrow), 3, 4)
    text = mover.open()
    text.add("const int64_t* index = (const int64_t*)p.at[1];")
    body = """const int64_t o = line / p.n[1], from = o * p.n[2] + index[line - o * p.n[1]];
((Word*)p.at[2])[e] = ((const Word*)p.at[0])[from * row + k];"""
    by_rows(text, (0, 2), (wide, narrow), "p.n[3]", "p.n[0]", body)
    return one(mover.kernel())


def put_rows(row_bytes: int, n: int, m: int, size: int, machine: Machine = MACHINE) -> Bound:
    """Write rows by index, the last duplicate wins. Operands: index, values, out.

    The scratch memory holds for each row which of the values it gets.
    """
    if m >= NARROW:
        raise ValueError(f"put_rows: {m} rows at once")
    wide, narrow = widths(row_bytes, size)
    made = put_source(wide, narrow)
    grids = (grid_of(m, machine), grid_of(m, machine), grid_of(m * row_bytes // wide, machine))
    launches = [
        Launch(kernel.name, grid, (THREADS, 1, 1))
        for kernel, grid in zip(made.kernels, grids, strict=True)
    ]
    launches = launches if m * row_bytes else []
    own = 8, least(size), least(size)
    return bound(made, 3, [m, row_bytes], launches, own, 4 * n + 16)


@lru_cache(64)
def put_source(wide: int, narrow: int) -> CudaSource:
    """The source of `put_rows`: rows to be written have no winner, then the last one, then it."""
    kernels = []
    for title, statement in (
        ("clear", "winner[index[e]] = -1;"),
        ("last", "atomicMax(&winner[index[e]], (int)e);"),
    ):
        mover = Mover(f"put_rows_{title}", ("put_rows", title), 4, 2)
        text = mover.open()
        text.add("const int64_t* index = (const int64_t*)p.at[0];", "int* winner = (int*)p.at[3];")
        text.add(f"{EACH.format(count='p.n[0]')} {statement}")
        kernels.append(mover.kernel())
    mover = Mover("put_rows", ("put_rows", wide, narrow), 4, 2)
    text = mover.open()
    text.add("const int64_t* index = (const int64_t*)p.at[0];")
    text.add("const int* winner = (const int*)p.at[3];")
    body = """const int64_t to = index[line];
if (winner[to] == (int)line) ((Word*)p.at[2])[to * row + k] = ((const Word*)p.at[1])[e];"""
    by_rows(text, (1, 2), (wide, narrow), "p.n[1]", "p.n[0]", body)
    kernels.append(mover.kernel())
    return CudaSource(kernels[-1].name, source(kernels), tuple(kernels))


def add_rows(kind: str, m: int, row: int, machine: Machine = MACHINE) -> Bound | None:
    """Add rows by index, in order. Operands: sorted index, its order, values, out.

    `order` is that of a stable sort of the index: which value comes at each place. The bits are
    those of adding one after the other.
    """
    made = add_source(kind)
    if made is None:
        return None
    launches = [Launch(made.name, grid_of(m * row, machine), (THREADS, 1, 1))] if m * row else []
    own = alignment_of(kind)
    return bound(made, 4, [m, row], launches, (8, 8, own, own))


@lru_cache(16)
def add_source(kind: str) -> CudaSource | None:
    """The source of `add_rows`."""
    function = device_function("add", (kind, kind, kind))
    if function is None or size_of(kind) not in WORDS:
        return None
    own = cuda_type(kind)
    mover = Mover("add_rows", ("add_rows", kind), 4, 2)
    text = mover.open()
    text.add("const int64_t* index = (const int64_t*)p.at[0];")
    text.add("const int64_t* order = (const int64_t*)p.at[1];")
    text.add(f"const {own}* values = (const {own}*)p.at[2];", f"{own}* out = ({own}*)p.at[3];")
    text.open(EACH.format(count="p.n[0] * p.n[1]"))
    text.add("const int64_t first = e / p.n[1], k = e - first * p.n[1], row = index[first];")
    text.add("if (first && index[first - 1] == row) continue;")
    text.add(f"{own} sum = out[row * p.n[1] + k];")
    text.open("for (int64_t j = first; j < p.n[0] && index[j] == row; j++)")
    text.add(f"sum = {function.name}(sum, values[order[j] * p.n[1] + k]);")
    text.close()
    text.add("out[row * p.n[1] + k] = sum;")
    text.close()
    return one(mover.kernel(function))


def flat_index(dims: Sequence[int], count: int, machine: Machine = MACHINE) -> Bound:
    """The flat index that several form; negative ones count from the end.

    Operands: an index for each extent, int64, the result, and an int32 that was 0: where an index
    is out of bounds, it becomes one more than the axis.
    """
    made = flat_source(len(dims))
    launches = [Launch(made.name, grid_of(count, machine), (THREADS, 1, 1))] if count else []
    own = (*(8 for _ in dims), 8, 4)
    return bound(made, len(dims) + 2, [count, *dims], launches, own)


@lru_cache(64)
def flat_source(axes: int) -> CudaSource:
    """The source of `flat_index`."""
    mover = Mover("flat_index", ("flat_index", axes), axes + 2, 1 + axes)
    text = mover.open()
    text.open(EACH.format(count="p.n[0]"))
    text.add("int64_t flat = 0;", "int wrong = 0;")
    for axis in range(axes):
        size = f"p.n[{axis + 1}]"
        text.open("")
        text.add(f"int64_t i = ((const int64_t*)p.at[{axis}])[e];")
        text.add(f"if (i < 0) i += {size};")
        text.add(f"if ((uint64_t)i >= (uint64_t){size} && !wrong) wrong = {axis + 1};")
        text.add(f"flat = flat * {size} + i;")
        text.close()
    text.add(f"((int64_t*)p.at[{axes}])[e] = wrong ? 0 : flat;")
    text.add(f"if (wrong) atomicMax((int*)p.at[{axes + 1}], wrong);")
    text.close()
    return one(mover.kernel())


# ---- scans


def scan(
    name: str,
    source_kind: str,
    kind: str,
    outer: int,
    n: int,
    inner: int,
    machine: Machine = MACHINE,
) -> Bound | None:
    """The running "sum" or "prod" of (outer, n, inner), as `_loops.scan`. Operands: x, out.

    A thread adds one line, element after element, as NumPy does: so with its bits, and slow where
    there are few lines.
    """
    made = scan_source(name, source_kind, kind)
    if made is None:
        return None
    lines = outer * inner
    launches = [Launch(made.name, grid_of(lines, machine), (THREADS, 1, 1))] if lines * n else []
    own = alignment_of(source_kind), alignment_of(kind)
    return bound(made, 2, [lines, n, inner], launches, own)


@lru_cache(64)
def scan_source(name: str, given: str, kind: str) -> CudaSource | None:
    """The source of `scan`."""
    join = device_function({"sum": "add", "prod": "multiply"}[name], (kind, kind, kind))
    cast = device_function("cast", (given, kind))
    if join is None or cast is None or kind == "bool":
        return None
    mover = Mover(f"scan_{name}", ("scan", name, given, kind), 2, 3)
    text = mover.open()
    text.open(EACH.format(count="p.n[0]"))
    text.add("const int64_t o = e / p.n[2], first = o * p.n[1] * p.n[2] + (e - o * p.n[2]);")
    text.add(f"const {stored_type(given)}* x = (const {stored_type(given)}*)p.at[0] + first;")
    text.add(f"{cuda_type(kind)}* out = ({cuda_type(kind)}*)p.at[1] + first;")
    value = "x[k * p.n[2]] != 0" if given == "bool" else "x[k * p.n[2]]"
    text.add(f"{cuda_type(kind)} total{{}};")
    text.open("for (int64_t k = 0; k < p.n[1]; k++)")
    text.add(f"const {cuda_type(kind)} next = {cast.name}({value});")
    text.add(f"total = k ? {join.name}(total, next) : next;", "out[k * p.n[2]] = total;")
    text.close()
    text.close()
    return one(mover.kernel(join, cast))
