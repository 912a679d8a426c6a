"""CUDA kernels of windows over images, channels last: see native/cuda_images.hpp.

Pooling and its gradients are one launch each, with the CPU's bits. Convolutions are products of
matrices: here is what makes rows of windows, and images of rows again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from .emit_cuda_moves import Mover, aligned, grid_of, one
from .emit_cuda_program import NARROW, divisor
from .emit_cuda_scalars import cuda_type, size_of
from .emit_cuda_source import MACHINE, THREADS, Bound, CudaSource, Launch, Machine

Pair = tuple[int, int]

HEADER = "cuda_images.hpp"
FLOATS = ("float16", "bfloat16", "float32", "float64")
ACCESS = 16  # bytes that a thread reads or writes at once, at most
UNROLLED = 9  # pixels of a window up to which its loops are written out
WORDS = {2: "uint16_t", 4: "uint32_t", 8: "uint64_t"}
# Operands of each kernel, and which of them the threads own.
OPERANDS = {
    "max_pool": 2,
    "avg_pool": 2,
    "max_pool_back": 3,
    "max_pool_back_apart": 3,
    "avg_pool_back": 2,
    "windows_to_rows": 2,
    "rows_to_images": 2,
}
PLAIN = ("avg_pool_back", "windows_to_rows", "rows_to_images")  # have no loops to write out


@dataclass(frozen=True, slots=True)
class Images:
    """A batch of images, and the windows over them."""

    shape: tuple[int, int, int, int]  # batch, height, width, channels
    extents: Pair  # how many windows there are along height and width
    window: Pair
    stride: Pair
    pad: Pair
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def count(self) -> int:
        """How many windows there are."""
        return self.shape[0] * self.extents[0] * self.extents[1]

    @property
    def apart(self) -> bool:
        """Whether no two windows have a pixel in common."""
        return self.stride[0] >= self.window[0] and self.stride[1] >= self.window[1]

    @property
    def row(self) -> int:
        """How many elements of a group a window has."""
        return prod(self.window) * (self.shape[3] // self.groups)

    @property
    def narrow(self) -> bool:
        """Whether all extents are numbers of 32 bits."""
        pairs = self.extents, self.window, self.stride, self.pad, self.dilation
        return max(*self.shape[1:], *(n for pair in pairs for n in pair)) < NARROW

    def packed(self, count: int, counted: bool) -> bytes:
        """The struct Windows, for threads that own so many elements."""
        batch, *image = self.shape
        pairs = (self.extents, self.window, self.stride, self.pad, self.dilation)
        numbers = [*image, *(n for pair in pairs for n in pair)]
        return struct.pack("=2q16i", count, batch, *numbers, counted, self.apart, self.groups)


def wide_of(channels: int, size: int) -> int:
    """How many channels are read at once."""
    return next(v for v in (8, 4, 2, 1) if v * size <= ACCESS and channels % v == 0)


def images_kernel(
    name: str,
    kind: str,
    on: Images,
    count: int,
    divisors: tuple[int, ...],
    counted: bool = False,
    machine: Machine = MACHINE,
) -> Bound | None:
    """One launch for `count` elements, whose places are told by these divisors of what is packed.

    None where an extent is no number of 32 bits.
    """
    if not on.narrow:
        return None
    channels = on.shape[3] // on.groups
    wide = wide_of(channels, size_of(kind))
    narrow = max(count, prod(on.shape), on.count * prod(on.window) * on.shape[3]) < NARROW
    window = on.window if prod(on.window) <= UNROLLED and name not in PLAIN else (0, 0)
    made = images_source(name, kind, wide, window, len(divisors) + 1, narrow)
    operands = OPERANDS[name]
    block = bytes(8 * operands) + on.packed(count, counted)
    for packs in (channels // wide, channels):
        for extent in (packs, *divisors):
            block += struct.pack("=4I", *divisor(extent)) if narrow else struct.pack("=q", extent)
    grid = grid_of(count // wide, machine)
    launches = (Launch(made.name, grid, (THREADS, 1, 1)),) if count else ()
    own = (min(size_of(kind), 8),) * operands
    return Bound(made, operands, block, launches, 0, own)


@lru_cache(256)
def images_source(
    name: str, kind: str, wide: int, window: Pair, divisors: int, narrow: bool
) -> CudaSource:
    """The source of a kernel that reads `wide` channels at once where all lies aligned."""
    operands = OPERANDS[name]
    more = f" la::Windows g; la::{'Divisor' if narrow else 'int64_t'} d[{2 * divisors}];"
    key = (name, kind, wide, window, divisors, narrow)
    mover = Mover(name, key, operands, 0, more, HEADER)
    text = mover.open()
    own = WORDS[size_of(kind)] if name == "windows_to_rows" else type_of(kind)
    text.add(f"typedef {own} T;")
    written = "" if name in PLAIN else f", {window[0]}, {window[1]}"
    index = "uint32_t" if narrow else "int64_t"
    given = ", ".join(f"(const T*)p.at[{i}]" for i in range(operands - 1))
    if wide > 1:
        aligned(text, range(operands), wide * size_of(kind))
    for at_once, condition, first in ((wide, "if (aligned) ", 0), (1, "else ", divisors)):
        call = f"{name}<{index}, T, {at_once}{written}>"
        text.add(
            f"{condition if wide > 1 else ''}"
            f"{call}(p.g, p.d + {first}, {given}, (T*)p.at[{operands - 1}]);"
        )
        if wide == 1:
            break
    return one(mover.kernel())


def type_of(kind: str) -> str:
    """The type of an element: bfloat16 is not just its bits here."""
    return "Brain" if kind == "bfloat16" else cuda_type(kind)


# ---- pooling


def pooling(
    name: str, kind: str, on: Images, counted: bool = True, machine: Machine = MACHINE
) -> Bound | None:
    """The kernel of an op, as `_blas`'s of that name; operands as there."""
    if kind not in FLOATS:
        return None
    height, width, channels = on.shape[1:]
    pooled = on.count * channels
    windows = on.extents[1], on.extents[0]
    if name in ("max_pool2d", "avg_pool2d"):
        return images_kernel(name[:-2], kind, on, pooled, windows, counted, machine)
    if name == "max_pool2d_grad" and on.apart:
        return images_kernel("max_pool_back_apart", kind, on, pooled, windows, False, machine)
    pixels = (width, height)
    name = name.replace("2d_grad", "_back")
    return images_kernel(name, kind, on, prod(on.shape), pixels, counted, machine)


# ---- convolution


def windows_to_rows(kind: str, on: Images, machine: Machine = MACHINE) -> Bound | None:
    """Windows as rows of matrices, one for each group. Operands: images, (groups, windows, row)."""
    divisors = (on.window[1], on.window[0], on.extents[1], on.extents[0], on.shape[0])
    count = on.count * on.row * on.groups
    return images_kernel("windows_to_rows", kind, on, count, divisors, False, machine)


def rows_to_images(kind: str, on: Images, machine: Machine = MACHINE) -> Bound | None:
    """The sums of what windows hold of each pixel. Operands: (groups, windows, row), images."""
    divisors = (on.groups, on.shape[2], on.shape[1])
    count = prod(on.shape)
    return images_kernel("rows_to_images", kind, on, count, divisors, False, machine)
