"""Sources of CUDA C++, and what is launched of them.

A kernel has one parameter, a struct: the addresses of its operands first, then extents and
strides. A `CudaSource` names no sizes; a `Bound` adds them: the bytes of the parameter and the
launches.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .emit_cuda_scalars import Device, definitions

THREADS = 256  # of a block, usually
WAVES = 32  # blocks for each multiprocessor, at most: a kernel's loop goes over the rest


@dataclass(frozen=True, slots=True)
class Machine:
    """What launches depend on, of a GPU."""

    multiprocessors: int = 132
    shared: int = 48 << 10  # bytes that a block may use without being asked


MACHINE = Machine()


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a kernel."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int = 0  # bytes


@dataclass(frozen=True, slots=True)
class Kernel:
    """The text of one kernel, and the device functions it calls."""

    name: str
    text: str
    functions: tuple[Device, ...] = ()
    headers: tuple[str, ...] = ("cuda_numbers.hpp",)


@dataclass(frozen=True, slots=True)
class CudaSource:
    """CUDA C++ to be compiled with `nvrtc.OPTIONS`, or those of `nvrtc.options`.

    `ulp` is how far results may lie from the CPU's, in units in the last place of one operation;
    0: the same bits.
    """

    name: str
    text: str
    kernels: tuple[Kernel, ...]
    ulp: float = 0


@dataclass(frozen=True, slots=True)
class Bound:
    """A source with sizes: what is launched, in this order on one stream.

    Every kernel takes one parameter: the bytes of `parameters(addresses)`. There are `operands`
    addresses, those of a task's arguments; with scratch memory, one more for that.
    """

    source: CudaSource
    operands: int
    block: bytes
    launches: tuple[Launch, ...]
    scratch: int = 0  # bytes, aligned as memory from an allocator is
    alignments: tuple[int, ...] = ()  # what each operand's address is a multiple of, in bytes

    def aligned(self, addresses: Sequence[int]) -> bool:
        """Whether operands can be read where they are: else they are copied first, or the CPU's."""
        return not any(a % n for a, n in zip(addresses, self.alignments, strict=False))

    def parameters(self, addresses: Sequence[int]) -> bytes:
        """The parameter of each kernel; addresses include the views' offsets."""
        count = self.operands + (self.scratch > 0)
        if len(addresses) != count:
            raise ValueError(f"{self.source.name}: {count} addresses, not {len(addresses)}")
        return struct.pack(f"={count}Q", *addresses) + self.block[8 * count :]


class Text:
    """Lines of code, indented."""

    def __init__(self, depth: int = 0) -> None:
        self.lines: list[str] = []
        self.depth = depth

    def add(self, *lines: str) -> None:
        """Append lines."""
        self.lines += [("    " * self.depth + line).rstrip() for line in lines]

    def open(self, line: str) -> None:
        """Begin a block."""
        self.add(f"{line} {{".lstrip())
        self.depth += 1

    def close(self, end: str = "}") -> None:
        """End a block."""
        self.depth -= 1
        self.add(end)

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"


# ---- texts


NATIVE = Path(__file__).parent.parent / "native"


@cache
def header(name: str) -> tuple[tuple[str, ...], str]:
    """The headers that a header of the folder native includes, and its text without that."""
    lines = (NATIVE / name).read_text().splitlines()
    included = [line.split('"')[1] for line in lines if line.startswith('#include "')]
    kept = [line for line in lines if not line.startswith(('#include "', "#pragma once"))]
    return tuple(included), "\n".join(kept) + "\n"


def headers_of(names: Sequence[str]) -> list[str]:
    """These headers and what they include, each once, in order."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        for each in header(name)[0]:
            visit(each)
        found[name] = None

    for name in names:
        visit(name)
    return list(found)


def source(kernels: Sequence[Kernel]) -> str:
    """One text of kernels, with all they need."""
    headers, texts = definitions([f for kernel in kernels for f in kernel.functions])
    own = [name for kernel in kernels for name in kernel.headers]
    text = "\n".join(header(name)[1] for name in headers_of([*own, *headers]))
    if texts:
        text += "\nnamespace la {\n\n" + "\n".join(texts) + "\n}  // namespace la\n"
    return text + "\n" + "\n".join(dict.fromkeys(kernel.text for kernel in kernels))
