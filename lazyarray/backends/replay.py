"""Plans that come again: what a device did for one is captured once, and then launched as a whole.

A captured graph has the addresses of its operands in it. Memory comes from a pool, so a loop that
does the same at every turn soon gets the same memory at every turn, or at every second one; a plan
keeps a graph for each set of addresses that it has met twice. Nothing is copied for that, and
nothing is kept: between two launches the memory may be anybody's, as long as the plan is given it
again. Numbers are data: they lie in a block of the plan's own, which is written when they change.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

GRAPHS = int(os.environ.get("LAZYARRAY_GRAPHS", "8"))  # that a plan keeps; 0: none
MEETINGS = 64  # sets of addresses that a plan remembers
NUMBER_BYTES = 16

captured = launched = 0
every: weakref.WeakSet[Replay] = weakref.WeakSet()


class Uncapturable(Exception):
    """Some task of a plan cannot be in a graph."""


class Replay:
    """What issues all tasks of a plan on one device."""

    def __init__(self, backend: Any, launches: Sequence[Any]) -> None:
        self.backend = backend
        self.launches = launches
        self.met: OrderedDict[tuple[int, ...], Any] = OrderedDict()  # None: once, not captured
        self.block: Any = None  # memory of the numbers
        self.numbers = b""  # that it holds
        self.capturable = True
        every.add(self)

    def __call__(self, args: list[list[Any]]) -> None:
        """Issue the tasks: each one's addresses, or the bytes of its numbers."""
        global captured, launched
        key = tuple([a for own in args for a in own if not isinstance(a, bytes)])
        if key not in self.met or not GRAPHS or not self.capturable:
            self.meet(key)
            self.issue(args)
            return
        self.met.move_to_end(key)
        placed = self.write(args)
        graph = self.met.get(key)
        if graph is None:
            self.forget()
            try:
                graph = self.met[key] = self.backend.capture(lambda: self.issue(placed))
            except Uncapturable:
                self.capturable = False
            if graph is None:
                self.issue(placed)
                return
            captured += 1
        graph.launch()
        launched += 1

    def issue(self, args: list[list[Any]]) -> None:
        """Issue one task after the other."""
        for launch, own in zip(self.launches, args, strict=True):
            launch(own)

    def meet(self, key: tuple[int, ...]) -> None:
        """Remember a set of addresses."""
        self.met[key] = None
        if len(self.met) > MEETINGS:
            self.met.popitem(last=False)

    def forget(self) -> None:
        """Make room for one more graph: those launched longest ago go."""
        kept = [key for key, graph in self.met.items() if graph is not None]
        for key in kept[: max(0, len(kept) - GRAPHS + 1)]:
            self.met[key] = None

    def write(self, args: list[list[Any]]) -> list[list[Any]]:
        """Put the numbers in their places; the operands with these places for them."""
        found = [a for own in args for a in own if isinstance(a, bytes)]
        if not found:
            return args
        numbers = b"".join(found)
        if self.block is None:
            self.block = self.backend.allocate(len(numbers))
        if numbers != self.numbers:
            self.backend.write(self.block, numbers)
            self.numbers = numbers
        place = iter(range(self.block.ptr, self.block.ptr + len(numbers), NUMBER_BYTES))
        return [[next(place) if isinstance(a, bytes) else a for a in own] for own in args]


def forget(backend: Any) -> None:
    """Give up the graphs of a device, which keep memory; they are captured again."""
    for each in list(every):
        if each.backend is backend:
            each.met.clear()


def counters() -> dict[str, float]:
    """Graphs captured, and launched, in this process."""
    return {"captured": captured, "replayed": launched}
