"""Small tasks that need nothing of each other become one: the update of all parameters, for one.

A task costs what it takes to push it and to hand it to a worker, so a hundred small ones cost more
than their work. A bundle waits for all that its members read, and whoever reads a member waits for
all of it. Hence the two conditions: no member is large, and by estimated times nobody who reads a
member starts noticeably later than without the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lazyarray._bundle as _bundle
from lazyarray import passes

from .plan import Graph, Program, Recipe, Task

# Nanoseconds. A task of its own costs about as much: its push, and the turn of a worker.
TASK_NS = 2_000
# Larger tasks gain nothing noticeable; the two cores of a small machine share this one in 50 us.
MEMBER_NS = 100_000
HOST_NS = 50_000  # of a Python function, whose work nobody has estimated
MEMBERS = 64
WRITES = 64  # the engine's limit on writes that fail apart
OPEN = 8  # bundles that a later task may still join
END = "end of a member"


@dataclass(slots=True)
class Bundle:
    """Tasks that may become one, where a task stood among the others."""

    members: list[Task]
    reads: int  # bit sets of slots
    writes: int
    starts: int  # estimated nanoseconds from the plan's beginning
    deadline: int  # when the first task that waits for a member would start without the bundle
    place: int
    cost: int = 0
    reads_after: int = 0  # what is read and written by tasks that stand after it
    writes_after: int = 0

    def clashes(self, reads: int, writes: int) -> bool:
        """Whether its order with a task that reads and writes these matters."""
        return bool(self.writes & (reads | writes) or self.reads & writes)

    def can_move(self) -> bool:
        """Whether it may stand after everything met so far."""
        return not self.clashes(self.reads_after, self.writes_after)

    def take(self, task: Bundle) -> None:
        """Add the task of a bundle of one."""
        self.members += task.members
        self.reads |= task.reads
        self.writes |= task.writes
        self.starts = max(self.starts, task.starts)
        self.deadline = min(self.deadline, task.deadline)
        self.cost += task.cost

    def passed_by(self, other: Bundle) -> None:
        """Let the other one stand after it."""
        self.reads_after |= other.reads
        self.writes_after |= other.writes


def bundle(program: Program, graph: Graph) -> Program:
    """Bundle what may be among the tasks of `program`."""
    if len(program.tasks) > 1 and passes.enabled("bundle"):
        program.tasks = bundled(program, graph)
    return program


def bundled(program: Program, graph: Graph) -> list[Task]:
    """The tasks, those of a bundle in one place."""
    tasks = program.tasks
    may = [is_small(task, graph) for task in tasks]
    if sum(may) < 2:
        return tasks
    starts, deadlines = times(tasks, len(program.slots))
    found: dict[int, Bundle] = {}
    opened: list[Bundle] = []
    for place, task in enumerate(tasks):
        one = Bundle(
            [task], bits(task.reads), bits(task.writes), starts[place], deadlines[place], place
        )
        one.cost = cost_of(task)
        home = next((o for o in reversed(opened) if joins(one, o)), None) if may[place] else None
        if home is None:
            home = found[place] = one
            if may[place]:
                opened = [*opened[-OPEN + 1 :], one]
        elif home.can_move():
            home.take(one)
            found[place] = found.pop(home.place)
            for each in opened:
                if home.place < each.place:
                    each.passed_by(home)
            home.place = place
            home.reads_after = home.writes_after = 0
        else:
            home.take(one)
        for each in opened:
            if each.place < home.place:
                each.passed_by(one)
    return [
        each.members[0] if len(each.members) == 1 else together(each.members)
        for _, each in sorted(found.items())
    ]


def joins(one: Bundle, home: Bundle) -> bool:
    """Whether a task may be a member of a bundle that stands before it."""
    size = len(home.members)
    end = max(home.starts, one.starts) + home.cost + one.cost
    return (
        size < MEMBERS
        and (home.writes | one.writes).bit_count() <= WRITES
        and end <= min(home.deadline, one.deadline) + size * TASK_NS
        and not home.clashes(one.reads, one.writes)
        and (home.can_move() or not one.clashes(home.reads_after, home.writes_after))
    )


def bits(slots: list[int]) -> int:
    """The bit set of these slots."""
    found = 0
    for slot in slots:
        found |= 1 << slot
    return found


def is_small(task: Task, graph: Graph) -> bool:
    """Whether a task may be a member: little work, and nothing in its data that makes it fail."""
    kernel = task.kernel
    return (
        kernel is not None
        and kernel.cost <= MEMBER_NS
        and len(task.writes) <= WRITES
        and not graph.ops[task.place].fallible
        and _bundle.fails_for_memory_only(kernel)
    )


def cost_of(task: Task) -> int:
    """Estimated nanoseconds of a task on one core."""
    return task.kernel.cost if task.kernel is not None else HOST_NS


def times(tasks: list[Task], slots: int) -> tuple[list[int], list[int]]:
    """For each task when it starts, and when the first that waits for it has to start.

    Both with as many cores as there are tasks; the second so that none of the tasks after it ends
    later than the plan must last. Nobody waits for a task whose results leave the plan.
    """
    written, read = [0] * slots, [0] * slots  # when the newest writer, all readers are done
    starts = []
    for task in tasks:
        begin = 0
        for slot in task.reads:
            begin = max(begin, written[slot])
        for slot in task.writes:
            begin = max(begin, written[slot], read[slot])
        end = begin + cost_of(task) + TASK_NS
        for slot in task.reads:
            read[slot] = max(read[slot], end)
        for slot in task.writes:
            written[slot] = end
            read[slot] = 0
        starts.append(begin)
    last = max(map(max, zip(written, read, strict=True)))
    never = 2 * last + MEMBER_NS * MEMBERS
    # Backwards: the latest starts of the next reader of a slot and of its next writer.
    reader, writer = [never] * slots, [never] * slots
    deadlines = [never] * len(tasks)
    for place in range(len(tasks) - 1, -1, -1):
        task = tasks[place]
        deadline = never
        for slot in task.reads:
            deadline = min(deadline, writer[slot])
        for slot in task.writes:
            deadline = min(deadline, reader[slot], writer[slot])
        deadlines[place] = deadline
        begin = min(deadline, last) - cost_of(task) - TASK_NS
        for slot in task.writes:
            writer[slot] = begin
            reader[slot] = never
        for slot in task.reads:
            reader[slot] = min(reader[slot], begin)
    return starts, deadlines


def together(members: list[Task]) -> Task:
    """One task for these."""
    reads = sorted({slot for task in members for slot in task.reads})
    writes = sorted({slot for task in members for slot in task.writes})
    number = {slot: place for place, slot in enumerate(writes)}
    spoils = dict.fromkeys(reads, 0)
    for task in members:
        own = [1 << number[slot] for slot in task.writes]
        for place, slot in enumerate(task.reads):
            if task.depends is None:
                spoils[slot] |= sum(own)
            else:
                spoils[slot] |= sum(b for w, b in enumerate(own) if task.depends[place] >> w & 1)
    label = label_of(members)
    return Task(
        _bundle.bundle([task.kernel for task in members], label),
        None,
        [arg for task in members for arg in task.args],
        reads,
        writes,
        members[-1].place,
        label,
        depends=[spoils[slot] for slot in reads],
        recipe=recipe_of(members, label),
        parts=members,
        nodes=[place for task in members for place in task.nodes],
    )


def label_of(members: list[Task]) -> str:
    """What they run, each once."""
    counts: dict[str, int] = {}
    for task in members:
        counts[task.label] = counts.get(task.label, 0) + 1
    return ", ".join(f"{n} x {label}" if n > 1 else label for label, n in counts.items())


def recipe_of(members: list[Task], label: str) -> Recipe | None:
    """What the members' programs of loops are made of, one after the other.

    A step that is no loop stands behind each program, so that none is computed together with the
    next one, and says where to cut.
    """
    registers: list[int] = []
    steps: list[Any] = []
    results: list[int] = []
    uniform: list[int] = []
    firsts: list[int] = []
    for task in members:
        first = len(registers)
        firsts.append(first)
        if task.recipe is not None:
            registers += task.recipe.registers
            steps += shifted(task.recipe.steps, first)
            results += [first + register for register in task.recipe.results]
            uniform += [first + register for register in task.recipe.uniform]
        steps.append((END, (), ()))
    if not registers:
        return None

    def make(registers: list[int], steps: list[Any]) -> Any:
        kernels = []
        begin = 0
        for task, first in zip(members, firsts, strict=True):
            end = next(i for i in range(begin, len(steps)) if steps[i][0] is END)
            kernels.append(task.kernel)
            if task.recipe is not None:
                own = registers[first : first + len(task.recipe.registers)]
                kernels[-1] = task.recipe.make(own, shifted(steps[begin:end], -first))
            begin = end + 1
        return _bundle.bundle(kernels, label)

    return Recipe(registers, steps, results, make, uniform=uniform)


def shifted(steps: list[Any], by: int) -> list[Any]:
    """The same steps on registers whose numbers are larger by so much."""
    return [
        (what, tuple(r + by for r in inputs), tuple(r + by for r in outputs))
        for what, inputs, outputs in steps
    ]
