"""Where copies to a GPU arrive, so that they overlap what is computed meanwhile.

What is computed frees memory in its stream's order: a copy that went straight to its target, on
another stream, would have to wait for all that has been issued. So it goes to a block that none but
copies have used; from there the stream takes it, at the speed of the GPU's own memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

KEPT = 1 << 29  # bytes, at most


@dataclass(slots=True, eq=False)
class Aside:
    """A block, and the event after which it may be written again."""

    memory: Any
    nbytes: int
    free: Any

    @property
    def ptr(self) -> int:
        """Where it begins."""
        return int(self.memory.ptr)


class Arrivals:
    """Blocks that copies have arrived in, to be used again. The owner's lock guards them."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.blocks: list[Aside] = []  # longest unused first

    @contextmanager
    def place(self, nbytes: int) -> Iterator[Aside]:
        """A block for a copy, which the stream has taken over at the end."""
        owner = self.owner
        found = self.taken(nbytes)
        owner.into.wait_event(found.free)
        yield found
        found.free = owner.stream.record(owner.xp.cuda.Event(disable_timing=True))
        with owner.lock:
            self.blocks.append(found)

    def taken(self, nbytes: int) -> Aside:
        """A block that is free or will be soon; a new one where none is free and there is room."""
        owner = self.owner
        with owner.lock:
            fitting = [each for each in self.blocks if nbytes <= each.nbytes <= 2 * nbytes]
            kept = sum(each.nbytes for each in self.blocks)
            free = next((each for each in fitting if each.free.done), None)
            if free is None and fitting and kept + nbytes > KEPT:
                free = fitting[0]
            if free is not None:
                self.blocks.remove(free)
                return free
            while self.blocks and kept + nbytes > KEPT:
                kept -= self.blocks.pop(0).nbytes
        memory = owner.malloc(nbytes)
        # Who had the memory before may still be at work.
        return Aside(memory, nbytes, owner.stream.record(owner.xp.cuda.Event(disable_timing=True)))

    def clear(self) -> None:
        """Give the blocks up."""
        with self.owner.lock:
            self.blocks.clear()
