"""`la.explain`: the plan of a pending computation as code to read."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lazyarray import _bind, _handle, passes, schedule
from lazyarray._ir import Node
from lazyarray.array import Array
from lazyarray.fuse import GROUP_LIMIT, members
from lazyarray.notation import Text, number, operation, seen
from lazyarray.plan import ELEMENTWISE, EMPTY, NATIVE, UPDATE, VIEW, Graph, Group, Task

CONST = 2
WIDTH = 72  # characters of a statement, from which on it is cut in two
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))


@dataclass(slots=True)
class Statement:
    """A named value of a kernel, and the code that gives it."""

    name: str
    code: str
    node: Node


@dataclass(slots=True)
class Kernel:
    """One kernel of a plan.

    Attributes
    ----------
    number : int
        Its place in the plan, from 1.
    label : str
        The operations in it.
    shape : tuple of int
    statements : list of Statement
        What it computes, an expression for each named value.
    bytes_in, bytes_out : int
        What it reads from memory and writes there, in bytes; each element counted once.
    operations : int
        Arithmetic operations on elements, a multiplication and an addition being two.
    nanoseconds : int
        Estimated time on one core.
    tier : int
        0: prepared loops; 1: loops compiled for it.
    updates : int
        How many it does in place in one sweep; 0 where it does none that way.
    stores : list of (str, str, str)
        Name, type and purpose of each value that it leaves in memory.
    apart : list of (int, str)
        An earlier kernel whose result it reads, and why they are not one kernel.
    """

    number: int
    label: str
    shape: tuple[int, ...]
    statements: list[Statement] = field(default_factory=list)
    bytes_in: int = 0
    bytes_out: int = 0
    operations: int = 0
    nanoseconds: int = 0
    tier: int = 0
    copies: int = 0
    bundle: int = 0
    updates: int = 0
    stores: list[tuple[str, str, str]] = field(default_factory=list)
    apart: list[tuple[int, str]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The kernel as text."""
        yield f"kernel {self.number}: {self.label} {shaped(self.shape)}"
        line = None
        for each in self.statements:
            if each.node.site != line and each.node.site is not None:
                line = each.node.site
                yield f"    # {source(line)}"
            yield f"    {each.name} = {each.code}"
        for name, kind, why in self.stores:
            yield f"  stores {name}, {kind}: {why}"
        for other, why in self.apart:
            yield f"  not in kernel {other}: {why}"
        if self.copies:
            yield f"  after {self.copies} cop{'ies' if self.copies > 1 else 'y'} of what it updates"
        if self.updates:
            several = f", {self.updates} updates in one sweep" if self.updates > 1 else ""
            yield f"  in place, behind a copy of the rows that are still read{several}"
        if self.bundle:
            yield f"  pushed together with others (bundle {self.bundle})"
        costs = [f"{size(self.bytes_in)} in", f"{size(self.bytes_out)} out"]
        if self.operations:
            costs.append(f"{metric(self.operations)}op")
        if self.nanoseconds:
            costs.append(f"about {metric(self.nanoseconds / 1e9)}s of one core")
        yield f"  {', '.join(costs)}, tier {self.tier}"


@dataclass(slots=True)
class Explanation:
    """The plan of a pending computation. Its text is what `print` shows.

    Attributes
    ----------
    kernels : list of Kernel
        In the order in which they are pushed.
    inputs : list of (str, str)
        Name and type of each array that is there already.
    recorded, computed : int
        Operations as recorded, and as left after simplification; views are not counted.
    ran_before : bool
        Whether the plan is cached.
    """

    kernels: list[Kernel]
    inputs: list[tuple[str, str]]
    recorded: int
    computed: int
    ran_before: bool
    done: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = list(self.done)
        if self.kernels:
            simplified = f", {self.recorded - self.computed} of them needless"
            lines.append(
                f"{plural(len(self.kernels), 'kernel')} for {plural(self.recorded, 'operation')}"
                f"{simplified * (self.computed < self.recorded)}"
                f" (plan {'known' if self.ran_before else 'new'})"
            )
            lines += [f"  {name} = {kind}" for name, kind in self.inputs]
        for kernel in self.kernels:
            lines += ["", *kernel.lines()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def explain(what: Any, *args: Any, **kwargs: Any) -> Explanation:
    """Show how pending arrays will be computed, without computing them.

    Parameters
    ----------
    what : array, function, or nested tuples, lists and dicts of arrays
        A function is called with the other arguments; what it returns is explained. Where it looks
        at values it runs what they need, as always.
    *args, **kwargs
        The arguments of a function.

    Returns
    -------
    Explanation
        Print it. Its ``kernels`` hold the same as data.

    Raises
    ------
    TypeError
        When there is no array in `what`.

    Notes
    -----
    Names: ``x`` are arrays that are there already, ``t`` values on the way, ``y`` what was asked
    for. Numbers are shown as they are now; other numbers use the same plan.

    Examples
    --------
    >>> x = la.ones((3, 4)).wait()
    >>> plan = la.explain(la.exp(x - 1) * 2)
    >>> [kernel.label for kernel in plan.kernels]
    ['subtract+exp+multiply']
    >>> plan.kernels[0].statements[0].code
    'exp(x0 - 1.0) * 2.0'
    """
    if callable(what) and not isinstance(what, Array):
        what = getattr(what, "__wrapped__", what)(*args, **kwargs)
    arrays = list(arrays_in(what))
    if not arrays:
        fail_type(what)
    targets = [_handle.storage_node(array) for array in arrays]
    done = [
        f"{kind_of(node.type)} is computed; recorded as {node.op.name} at {node.where}"
        if node.op is not None
        else f"{kind_of(node.type)} is there"
        for node in targets
        if node.state != 0
    ]
    found = _bind.sketch(targets)
    if found is None:
        return Explanation([], [], 0, 0, True, done)
    graph, nodes, leaves, plan = found
    asked = {node.serial for node in targets}
    made = Reader(graph, nodes, leaves, asked).read(plan)
    made.done = done
    return made


def fail_type(what: Any) -> None:
    """Say what can be explained."""
    raise TypeError(
        f"explain: expected arrays, or a function that returns some, got {type(what).__name__}"
    )


def arrays_in(what: Any) -> Iterator[Array]:
    """The arrays in nested containers."""
    if isinstance(what, Array):
        yield what
    elif isinstance(what, dict):
        for each in what.values():
            yield from arrays_in(each)
    elif isinstance(what, list | tuple | set):
        for each in what:
            yield from arrays_in(each)


class Reader:
    """What is known of one plan while it is put into words."""

    def __init__(
        self, graph: Graph, nodes: list[Node], leaves: list[Node], asked: set[int]
    ) -> None:
        self.recorded = graph
        self.nodes = nodes
        self.leaves = leaves
        self.lowering, self.groups = schedule.grouped(graph)
        self.graph = self.lowering.graph
        self.turn = {group.number: turn for turn, group in enumerate(self.groups, 1)}
        self.asked = {place for place, node in enumerate(nodes) if node.serial in asked}
        self.readers: dict[int, list[int]] = {}  # the groups that read a stored value, in order
        for group in self.groups:
            for place in members(group):
                for root in self.lowering.read_roots(place):
                    readers = self.readers.setdefault(root, [])
                    if group.number not in readers:
                        readers.append(group.number)
        self.held = {self.home(place) for place, kept in enumerate(self.graph.kept) if kept}
        self.names: dict[int, str] = {}
        self.texts: dict[int, Text] = {}
        self.uses: dict[int, int] = {}
        for place, inputs in enumerate(self.graph.inputs):
            if self.lowering.stored[place] or self.graph.kept[place]:
                for given in inputs:
                    self.uses[self.root(given)] = self.uses.get(self.root(given), 0) + 1
        self.label()

    # ---- names

    def label(self) -> None:
        """Name the results; other names are given where they are first used."""
        results = sorted({self.home(place) for place in self.asked})
        for turn, place in enumerate(each for each in results if each >= 0):
            self.names[place] = f"y{turn}" if len(results) > 1 else "y"

    def home(self, place: int) -> int:
        """The stored value behind a kept one."""
        return self.lowering.kept_root(place)

    def root(self, source: int) -> int:
        """The node, or leaf, that a value is computed by, behind its views."""
        while source >= 0 and self.graph.ops[source].kind == VIEW and not self.stored(source):
            source = self.graph.inputs[source][0]
        return source

    def stored(self, place: int) -> bool:
        """Whether a kernel computes this node, rather than seeing it through a view."""
        return self.lowering.stored[place]

    def name(self, place: int) -> str:
        """The name of a value or of an input (below 0); a new one where it has none."""
        if place not in self.names:
            letter = "t" if place >= 0 else "x"
            taken = sum(name.startswith(letter) for name in self.names.values())
            self.names[place] = f"{letter}{taken + (place >= 0)}"
        return self.names[place]

    def is_named(self, place: int, group: Group) -> bool:
        """Whether a value gets a statement of its own, rather than a place in its reader's."""
        outside = any(reader != group.number for reader in self.readers.get(place, ()))
        if place in self.names or outside or place in self.held:
            return True
        if self.uses.get(place, 0) != 1 or self.graph.ops[place].kind == UPDATE:
            return True
        readers = [p for p in members(group) if place in map(self.root, self.graph.inputs[p])]
        return not readers or self.nodes[readers[0]].site != self.nodes[place].site

    # ---- code

    def operand(self, source: int, broadcasts: bool) -> Text:
        """The code of a value as an operand."""
        if source in self.texts:
            return self.texts[source]
        if source < 0:
            leaf = self.leaves[-source - 1]
            return number(leaf.value) if leaf.state == CONST else Text(self.name(source))
        if self.graph.ops[source].kind == VIEW and not self.stored(source):
            return self.view(source, broadcasts)
        return Text(self.name(source))

    def view(self, place: int, broadcasts: bool) -> Text:
        """The code of a view."""
        graph = self.graph
        base = graph.inputs[place][0]
        strides, moving = graph.attrs[place]
        offset = self.nodes[place].offset if moving else 0
        whole = self.lowering.type_of(base)
        return seen(
            self.operand(base, False), whole, graph.types[place], strides, offset, broadcasts
        )

    def code(self, place: int) -> Text:
        """The code of one node, its operands named or written out."""
        op, inputs = self.graph.ops[place], self.graph.inputs[place]
        if op.kind == VIEW:
            return Text(f"copy({self.view(place, False)})")
        if op.kind == UPDATE:
            return self.update(place)
        operands = [self.operand(source, op.kind == ELEMENTWISE) for source in inputs]
        return operation(op, self.graph.attrs[place], operands, self.graph.types[place])

    def update(self, place: int) -> Text:
        """The code of an update: its base, where it is written, and what is written there."""
        graph = self.graph
        shape, strides, moving, covers, dtype = graph.attrs[place]
        base, value = graph.inputs[place]
        kind = self.lowering.type_of(base)
        part = Part(shape, dtype)
        offset = self.nodes[place].offset if moving else 0
        index = seen(Text(""), kind, part, strides, offset, False)
        written = self.operand(value, True)
        if covers or (base >= 0 and graph.ops[self.root(base)].kind == EMPTY):
            return Text(f"empty with {index or '[...]'} = {written}")
        return Text(f"{self.operand(base, False)} with {index or '[...]'} = {written}")

    def statements(self, group: Group) -> list[Statement]:
        """What a group computes."""
        out = []
        for place in members(group):
            text = self.code(place)
            if not self.is_named(place, group) and len(text) <= WIDTH:
                self.texts[place] = text
                continue
            out.append(Statement(self.name(place), text, self.nodes[place]))
        return out

    # ---- kernels

    def read(self, plan: Any) -> Explanation:
        """Put the plan into words."""
        program = plan.program if plan is not None else schedule.lower(self.recorded)
        tasks: dict[int, list[Task]] = {}
        bundles: dict[int, int] = {}
        for task in program.tasks:
            parts = getattr(task, "parts", None)
            if parts:
                count = 1 + len(set(bundles.values()))
                bundles.update((self.lowering.group_of[part.place], count) for part in parts)
            for part in parts or [task]:
                tasks.setdefault(self.lowering.group_of[part.place], []).append(part)
        kernels = []
        for group in self.groups:
            kernel = self.kernel(group, tasks.get(group.number, []))
            kernel.bundle = bundles.get(group.number, 0)
            kernels.append(kernel)
        inputs = [
            (name, kind_of(self.lowering.type_of(place)))
            for place, name in self.names.items()
            if place < 0
        ]
        return Explanation(
            kernels, inputs, computations(self.recorded), computations(self.graph), plan is not None
        )

    def kernel(self, group: Group, tasks: list[Task]) -> Kernel:
        """One kernel."""
        places = members(group)
        names = [self.graph.ops[place].name for place in places]
        names = ["copy" if name == "view" else name.lstrip("_") for name in names]
        kernel = Kernel(self.turn[group.number], "+".join(names), group.shape)
        kernel.statements = self.statements(group)
        main = tasks[-1] if tasks else None
        kernel.copies = sum(task.label == "copy" for task in tasks[:-1])
        kernel.tier = getattr(main, "tier", 0) if main is not None else 0
        kernel.updates = main.stages if main is not None else 0
        kernel.nanoseconds = sum(getattr(task.kernel, "cost", 0) for task in tasks)
        kernel.operations = sum(self.work(place) for place in places)
        kernel.bytes_in = self.bytes_read(group)
        for place in places:
            if self.leaves_memory(place, group):
                kind = self.graph.types[place]
                kernel.bytes_out += self.bytes_written(place)
                kernel.stores.append((self.name(place), kind_of(kind), self.why(place, group)))
        kernel.apart = list(self.apart(group))
        return kernel

    def leaves_memory(self, place: int, group: Group) -> bool:
        """Whether a value is stored."""
        if place in self.held or place == group.update:
            return True
        if self.graph.ops[place].kind == UPDATE:
            return False  # one of several in a sweep
        return any(reader != group.number for reader in self.readers.get(place, ()))

    def why(self, place: int, group: Group) -> str:
        """Why a value is stored."""
        reasons = []
        if any(self.home(each) == place for each in self.asked):
            reasons.append("asked for")
        elif place in self.held:
            reasons.append("held by a live array")
        others = [self.turn[n] for n in self.readers.get(place, ()) if n != group.number]
        if others:
            several = "s" * (len(others) > 1)
            reasons.append(f"read by kernel{several} {', '.join(map(str, sorted(others)))}")
        return " and ".join(reasons) or "written in place"

    def bytes_read(self, group: Group) -> int:
        """What a group reads from memory, each element of a value at most once."""
        own = set(members(group))
        amounts: dict[int, int] = {}
        for place in members(group):
            copied = self.lowering.copied.get(place)
            if copied is not None:
                found = [copied]
            elif self.graph.ops[place].kind == UPDATE:
                found = [self.lowering.access(self.graph.inputs[place][1])]
            else:
                found = [self.lowering.access(s) for s in self.graph.inputs[place]]
            for seen_as in found:
                if seen_as.root in own or self.lowering.is_const(seen_as.root):
                    continue
                count = seen_as.itemsize
                for extent, stride in zip(seen_as.shape, seen_as.strides, strict=True):
                    count *= extent if stride or extent == 0 else 1
                whole = self.lowering.type_of(seen_as.root).nbytes
                amounts[seen_as.root] = min(whole, amounts.get(seen_as.root, 0) + count)
        return sum(amounts.values())

    def bytes_written(self, place: int) -> int:
        """What storing a value writes: an update its part."""
        if self.graph.ops[place].kind != UPDATE:
            return int(self.graph.types[place].nbytes)
        shape, _, _, _, dtype = self.graph.attrs[place]
        return int(Part(shape, dtype).nbytes)

    def work(self, place: int) -> int:
        """Arithmetic operations of one node; 0 where it only moves data."""
        op, kind = self.graph.ops[place], self.graph.types[place]
        if op.kind == ELEMENTWISE:
            return 0 if op.name in ("iota", "cast", "positive", "stop_gradient") else kind.size
        if op.kind != NATIVE:
            return 0
        first = self.lowering.type_of(self.graph.inputs[place][0])
        if op.name == "gemm":
            return int(2 * kind.size * first.shape[-1])
        return int(max(kind.size, first.size))

    # ---- why not one kernel

    def apart(self, group: Group) -> Iterator[tuple[int, str]]:
        """For each kernel whose result this one reads, why it is another."""
        told = set()
        for place in members(group):
            for source in self.graph.inputs[place]:
                root = self.lowering.access(source).root
                maker = self.lowering.group_of[root] if root >= 0 else -1
                if maker < 0 or maker == group.number or maker in told:
                    continue
                told.add(maker)
                yield self.turn[maker], self.reason(group, place, source, root)

    def reason(self, group: Group, place: int, source: int, root: int) -> str:
        """Why the node at `place` is not computed together with what it reads."""
        graph, lowering = self.graph, self.lowering
        maker = lowering.groups[lowering.group_of[root]]
        mine, other = graph.ops[place], graph.ops[root]
        for name, each in ((mine.name, mine), (other.name, other)):
            if each.fallible:
                return f"{name.lstrip('_')} can fail on data, and fails alone"
        if not passes.enabled("fuse"):
            return "the pass 'fuse' is switched off"
        lines = [
            each for p in members(group) for each in lowering.read_roots(p) if each in maker.lines
        ]
        if lines:
            return f"{self.name(lines[0])} is complete only when all it reduces has been read"
        if other.kind == NATIVE:
            return f"{self.name(root)} is complete only when {other.name} is"
        if mine.kind == NATIVE:
            return f"{mine.name} reads its operands from memory"
        if other.kind == UPDATE or maker.update is not None:
            return f"{self.name(root)} is written in place, and complete only then"
        if mine.kind == UPDATE and source == graph.inputs[place][0]:
            return f"it overwrites a part of {self.operand(source, False)}"
        if mine.kind == UPDATE:
            base = lowering.access(graph.inputs[place][0]).root
            if any(base in lowering.read_roots(each) for each in maker.nodes):
                return f"what it writes to, {self.operand(base, False)}, is read there"
            return "the value is wanted elsewhere, too"
        if not lowering.access(source).whole:
            return f"it reads {self.operand(source, True)}, not the elements in step"
        if maker.shape != group.shape:
            return f"the shapes differ, {shaped(maker.shape)} there"
        if len(maker.nodes) + len(group.nodes) > GROUP_LIMIT:
            return f"together they have more than {GROUP_LIMIT} operations"
        if any(n not in (maker.number, group.number) for n in self.readers.get(root, ())):
            return "what else it needs is computed in between"
        return "another kernel between them needs the one and is needed by the other"


@dataclass(frozen=True, slots=True)
class Part:
    """The type of what is seen through a View."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return int(self.dtype.itemsize)

    @property
    def size(self) -> int:
        """Number of elements."""
        out = 1
        for extent in self.shape:
            out *= extent
        return out

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize


# ---- words


def computations(graph: Graph) -> int:
    """How many nodes compute something."""
    return sum(op.kind not in (VIEW, EMPTY) for op in graph.ops)


def kind_of(kind: Any) -> str:
    """A type as text."""
    return f"{kind.dtype} {shaped(kind.shape)}"


def shaped(shape: tuple[int, ...]) -> str:
    """A shape as text."""
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count} {noun}{'s' * (count != 1)}"


def metric(count: float) -> str:
    """A count with a metric prefix."""
    for unit, sign in UNITS:
        if count >= unit:
            return f"{count / unit:.3g} {sign}"
    return f"{count:g} "


def size(nbytes: int) -> str:
    """Bytes with a metric prefix."""
    return f"{metric(nbytes)}B"


def source(site: tuple[str, int]) -> str:
    """A line of the user's, with its text where it is known."""
    file, line = site
    text = linecache.getline(file, line).strip()
    place = f"{os.path.basename(file)}:{line}"
    return f"{place}: {text}" if text else place
