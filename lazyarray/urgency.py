"""Which of the ready tasks run first: those that most of the plan waits for.

The engine decides at every moment by what is ready: as many tasks as workers run on one core each,
and only where fewer are ready is one shared by several, in pieces that are worth a worker's waking
(`share_of` in `_plan.pyx`, from the kernels' estimated times). Ready tasks run in the order in
which they were recorded. That is best where all of them can be shared, and nearly so in most other
plans. Where a long chain of tasks stands behind many that need nothing of each other, the chain
would begin too late: then tasks get priorities, by the time from their start to the plan's end.
"""

from __future__ import annotations

import heapq

import lazyarray._engine as _engine
from lazyarray import passes

from .bundle import TASK_NS, cost_of
from .plan import Program, Task

PIECE_NS = 10_000  # of a kernel's time, which one worker more is worth
WORTH_NS = 100_000  # of a whole plan: what orders less cannot gain
GAIN = 0.97  # of the time in the order of recording, from which priorities are set
UNIT_NS = 1_000  # of a priority


def urge(program: Program) -> Program:
    """Give the tasks of `program` priorities, where that ends it noticeably earlier."""
    tasks = program.tasks
    workers = _engine.workers()
    if len(tasks) <= workers or workers < 2 or not passes.enabled("urgency"):
        return program
    costs = [cost_of(task) + TASK_NS for task in tasks]
    if sum(costs) < WORTH_NS or all(width_of(task) >= workers for task in tasks):
        return program
    users = successors(tasks, len(program.slots))
    left = tails(users, costs)
    ranks = [tail // UNIT_NS for tail in left]
    if len(set(ranks)) > 1:
        as_recorded = makespan(tasks, users, costs, [0] * len(tasks), workers)
        if makespan(tasks, users, costs, ranks, workers) < GAIN * as_recorded:
            for task, rank in zip(tasks, ranks, strict=True):
                task.priority = min(rank, 1 << 30)
    return program


def width_of(task: Task) -> int:
    """By how many workers a task may be shared."""
    kernel = task.kernel
    if kernel is None or kernel.extent <= kernel.grain:
        return 1
    return int(min(-(-kernel.extent // kernel.grain), max(1, kernel.cost // PIECE_NS)))


def successors(tasks: list[Task], slots: int) -> list[list[int]]:
    """For each task those that wait for it."""
    users: list[list[int]] = [[] for _ in tasks]
    writer = [-1] * slots
    readers: list[list[int]] = [[] for _ in range(slots)]
    for place, task in enumerate(tasks):
        needed = {writer[slot] for slot in task.reads}
        for slot in task.writes:
            needed.add(writer[slot])
            needed.update(readers[slot])
        needed.discard(-1)
        for each in needed:
            users[each].append(place)
        for slot in task.reads:
            readers[slot].append(place)
        for slot in task.writes:
            writer[slot] = place
            readers[slot] = []
    return users


def tails(users: list[list[int]], costs: list[int]) -> list[int]:
    """For each task the longest time from its start to the end of the last that waits for it."""
    found = [0] * len(costs)
    for place in range(len(costs) - 1, -1, -1):
        found[place] = costs[place] + max((found[user] for user in users[place]), default=0)
    return found


def makespan(
    tasks: list[Task], users: list[list[int]], costs: list[int], ranks: list[int], workers: int
) -> float:
    """The plan's estimated nanoseconds when ready tasks run by rank, then as recorded."""
    waiting = [0] * len(tasks)
    for each in users:
        for user in each:
            waiting[user] += 1
    ready = [(-ranks[place], place) for place in range(len(tasks)) if not waiting[place]]
    heapq.heapify(ready)
    running: list[tuple[float, int, int]] = []  # (end, task, workers it has)
    now, free = 0.0, workers
    while ready or running:
        while ready and free:
            _, place = heapq.heappop(ready)
            # Workers for whom no other task is ready share it.
            share = min(width_of(tasks[place]), max(1, free - len(ready)))
            heapq.heappush(running, (now + costs[place] / share, place, share))
            free -= share
        now, place, share = heapq.heappop(running)
        free += share
        for user in users[place]:
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, (-ranks[user], user))
    return now
