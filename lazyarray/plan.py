"""What lowering works on: the recorded graph, how operands are read, groups, tasks and slots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

ELEMENTWISE, VIEW, UPDATE, NATIVE, EMPTY = 1, 2, 3, 4, 5
# For `moving` in an update's attributes: all views of its base so far begin where it does.
IN_STEP = 2


@dataclass(slots=True)
class Graph:
    """A recorded graph as `_bind` sees it: nodes in serial order; input -i-1 is leaf i."""

    ops: list[Any]
    attrs: list[Any]
    types: list[Any]
    inputs: list[tuple[int, ...]]
    kept: list[bool]
    leaf_types: list[Any]
    leaf_const: list[bool]
    leaf_donatable: list[bool]


class Access(NamedTuple):
    """How an operand is read: from which stored value, with which strides in bytes, from where.

    It begins at the sum of the `offsets` that its nodes get when a plan is bound.
    """

    root: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offsets: tuple[int, ...]
    itemsize: int
    whole: bool  # C-contiguous from the start of the root


@dataclass(slots=True)
class Group:
    """What becomes one task: nodes of a program over a shape, or a single other node.

    A program computes elements. With `axes` it also reduces them to lines, computes with those,
    and spreads them over the elements again.
    """

    number: int
    nodes: list[int]
    shape: tuple[int, ...]
    kind: int
    update: int | None = None
    needs: int = 0  # bit set of the groups it depends on, transitively
    axes: tuple[int, int] | None = None  # from, to: what its reductions go over
    lines: set[int] = field(default_factory=set)  # nodes with one value for each line of `axes`
    # Reductions over the axes before `axes`, which no node of the group reads; see crossing.py.
    across: set[int] = field(default_factory=set)
    around: bool = False  # the update is computed into a second buffer
    product: int | None = None  # the node of `nodes` that is no program: a product of matrices
    stages: list[Any] = field(default_factory=list)  # updates done in one sweep; see stencils.py

    @property
    def fold(self) -> tuple[int, int, int]:
        """The extents before, in and behind the reduced axes."""
        assert self.axes is not None
        start, stop = self.axes
        return prod(self.shape[:start]), prod(self.shape[start:stop]), prod(self.shape[stop:])


@dataclass(slots=True)
class Recipe:
    """What a kernel with a program of loops is made of, so that it can be made of faster ones.

    A step is (what, input registers, output registers); where `what` is a `Loop` the step may be
    computed together with its neighbours, anything else stays where it is.
    """

    registers: list[int]  # item sizes
    steps: list[Any]
    results: list[int]  # registers that are read when all steps are done
    make: Callable[[list[int], list[Any]], Any]  # (registers, steps) -> NativeKernel
    uniform: list[int] = field(default_factory=list)  # registers of one element throughout
    # How compiled loops do more than runs of its loops at once, see columns.py.
    compiled: Callable[[], Any] | None = None

    def kernel(self) -> Any:
        """Make the kernel of these very steps."""
        return self.make(self.registers, self.steps)


@dataclass(slots=True)
class Task:
    """One push: a kernel with its operands, or a Python function."""

    kernel: Any
    function: Any
    args: list[tuple[int, tuple[int, ...]]]  # (slot, places of the nodes whose offsets are added)
    reads: list[int]
    writes: list[int]
    place: int  # the node it is blamed on
    label: str
    arrays: list[tuple[tuple[int, ...], tuple[int, ...], Any]] | None = None
    op: Any = None
    # for each read a bit set of the writes that depend on it; None: all on all
    depends: list[int] | None = None
    recipe: Recipe | None = None
    tier: int = 0  # 1: the kernel has compiled loops
    priority: int = 0  # among ready tasks; see urgency.py
    parts: list[Task] | None = None  # what a bundle runs; see bundle.py
    nodes: list[int] = field(default_factory=list)  # whose floating-point flags its kernel raises
    exact: bool = True  # compiled loops raise the flags that those they replace raise
    stages: int = 0  # updates that it does in place in one sweep; see stencils.py
    device: int = 0  # where it runs; the CPU's tasks have a kernel or a function, others `work`
    work: Any = None


@dataclass(slots=True)
class Slot:
    """A buffer's place in a plan: a leaf's, a constant's, a donated leaf's, or a fresh one."""

    nbytes: int
    leaf: int = -1
    const: bool = False
    device: int = 0


@dataclass(slots=True)
class Program:
    """A lowered plan: tasks in push order, the slot table, and where kept values end up."""

    slots: list[Slot]
    tasks: list[Task]
    kept: list[tuple[int, int]] = field(default_factory=list)  # (node place, slot)
