"""What a task of a device does, in terms that every backend can read.

A task of the CPU is a kernel already. A device's backend makes its own from one of these; `kernels`
are those that the CPU would run, in turn, on the same operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import lazyarray._loops as _loops

# (shape, byte strides, dtype)
Layout = tuple[tuple[int, ...], tuple[int, ...], Any]


@dataclass(slots=True)
class Loops:
    """A program of loops over the elements of a shape, and over lines of them where it reduces.

    Operands are the inputs that have strides, then the outputs; where the program reduces they are
    in the order of `order`: pairs (0, which input) or (1, which output).
    """

    shape: tuple[int, ...]
    # (register, shape, byte strides, item size); strides None: the flat index
    inputs: Sequence[tuple[int, tuple[int, ...], tuple[int, ...] | None, int]]
    outputs: Sequence[tuple[int, tuple[int, ...], tuple[int, ...], int]]
    registers: list[int]  # item sizes
    steps: Sequence[tuple[Any, tuple[int, ...], tuple[int, ...]]]
    label: str
    order: list[tuple[int, int]] | None = None
    axes: tuple[int, int] | None = None  # that its reductions go over
    lines: set[int] = field(default_factory=set)  # registers with one value a line
    make: Callable[[], Any] | None = None

    @property
    def group(self) -> Loops:
        """Whose shape and axes these are."""
        return self

    @property
    def stages(self) -> list[Any]:
        """The kernels of a product that it would follow."""
        return []

    @property
    def product(self) -> None:
        """The product that it would follow: a device's program follows none."""
        return

    @property
    def operand_registers(self) -> list[int]:
        """The registers of the inputs that are operands."""
        return [register for register, _, strides, _ in self.inputs if strides is not None]

    @property
    def fold(self) -> tuple[int, int, int]:
        """The extents before, in and behind the reduced axes."""
        assert self.axes is not None
        start, stop = self.axes
        return prod(self.shape[:start]), prod(self.shape[start:stop]), prod(self.shape[stop:])

    def kernel_arguments(self) -> list[tuple[int, int]]:
        """The operands in their order."""
        if self.order is not None:
            return self.order
        reads = [(0, index) for index in range(len(self.operand_registers))]
        return reads + [(1, index) for index in range(len(self.outputs))]

    def kernels(self) -> list[Any]:
        """What the CPU would run."""
        if self.make is not None:
            return [self.make()]
        reads = [(register, strides, size) for register, _, strides, size in self.inputs]
        writes = [(register, strides, size) for register, _, strides, size in self.outputs]
        return [
            _loops.elementwise(
                self.shape, reads, writes, self.registers, self.steps, label=self.label
            )
        ]


@dataclass(slots=True)
class Whole:
    """An op on whole arrays: its inputs (without the one it writes in place), then its result."""

    op: Any
    attributes: dict[str, Any]
    layouts: list[Layout]
    make: Callable[[], Any] | None  # the kernels of the CPU; None: it has a function

    @property
    def label(self) -> str:
        """The op's name."""
        return str(self.op.name)

    def kernels(self) -> list[Any]:
        """What the CPU would run; empty where it would call a function."""
        made = self.make() if self.make is not None else []
        if made is None:
            return []
        return made if isinstance(made, list) else [made]


@dataclass(slots=True)
class Biased:
    """A product of matrices to which a program adds a line, the same to each row of the result.

    Operands are the product's two, the line, and the result.
    """

    product: Whole
    program: Loops
    turned: bool  # the program reads the line first, then the product
    label: str = "gemm+add"

    def added(self, product: Any, line: Any, out: Any) -> list[Any]:
        """The operands of the program in its order."""
        return [line, product, out] if self.turned else [product, line, out]


@dataclass(slots=True)
class Carry:
    """Bytes from one device to another."""

    source: int
    target: int
    nbytes: int
    label: str = "transfer"
