"""Large temporaries share buffers, of whatever size, when one is done with before the next begins.

`assign` reuses a slot for a value of the same size as it goes; this pass sees whole lifetimes. The
order of tasks stays; that a buffer's next user waits for the last one costs nothing noticeable,
because large tasks are split over all cores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lazyarray import passes

from .plan import Program, Task

LARGE = 256 << 10  # bytes: smaller ones are worth less than the freedom to run at any time
HOSTS = 64  # buffers that are tried for each slot


@dataclass(slots=True)
class Host:
    """A slot with those that share its buffer."""

    slot: int
    spans: list[tuple[int, int]] = field(default_factory=list)  # first and last task, each

    def takes(self, first: int, last: int) -> bool:
        """Whether nobody uses the buffer from task `first` to task `last`."""
        return all(end < first or last < begin for begin, end in self.spans)


def share(program: Program) -> Program:
    """Let large slots of disjoint lifetimes be one."""
    slots = program.slots
    large = [s for s, slot in enumerate(slots) if slot.leaf < 0 and slot.nbytes >= LARGE]
    if len(large) < 2 or not passes.enabled("share"):
        return program
    spans = lifetimes(program, set(large))
    kept = {slot for _, slot in program.kept}
    hosts: list[Host] = []
    home: dict[int, int] = {}
    # Largest first, so that each fits in all hosts; of equal ones what is kept, which joins none.
    for slot in sorted(spans, key=lambda s: (-slots[s].nbytes, s not in kept, spans[s])):
        host = None
        if slot not in kept:
            device = slots[slot].device
            host = next(
                (
                    h
                    for h in reversed(hosts[-HOSTS:])
                    if slots[h.slot].device == device and h.takes(*spans[slot])
                ),
                None,
            )
        if host is None:
            host = Host(slot)
            hosts.append(host)
        host.spans.append(spans[slot])
        home[slot] = host.slot
    if len(hosts) < len(spans):
        rename(program, home)
    return program


def lifetimes(program: Program, large: set[int]) -> dict[int, tuple[int, int]]:
    """The first and the last task that touch each of the slots; of those that are first written."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for turn, task in enumerate(program.tasks):
        for slot in large.intersection(task.reads):
            last[slot] = turn
            if slot not in first:  # starts as what its memory holds
                large.discard(slot)
        for slot in large.intersection(task.writes):
            first.setdefault(slot, turn)
            last[slot] = turn
        for slot, _ in task.args:
            if slot in first:
                last[slot] = turn
    for _, slot in program.kept:
        last[slot] = len(program.tasks)
    return {slot: (first[slot], last[slot]) for slot in large if slot in first}


def rename(program: Program, home: dict[int, int]) -> None:
    """Give every slot that is left its new number, here and in the tasks."""
    left = [s for s in range(len(program.slots)) if home.get(s, s) == s]
    number = {slot: place for place, slot in enumerate(left)}
    for slot, host in home.items():
        number[slot] = number[host]
    program.slots = [program.slots[s] for s in left]
    program.kept = [(place, number[slot]) for place, slot in program.kept]
    todo: list[Task] = list(program.tasks)
    while todo:
        task = todo.pop()
        task.args = [(number[slot], places) for slot, places in task.args]
        task.reads = [number[slot] for slot in task.reads]
        task.writes = [number[slot] for slot in task.writes]
        todo += task.parts or ()
