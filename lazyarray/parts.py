"""A plan that memory is too small for, in parts: which values are computed first.

All slots of a plan are taken when it is bound. Where that is more than there is, its graph is run
as several plans, one after the other. What is stored in between (results that are wanted, values of
array ops and updates, and small parts of large ones) is put into an order in which little is held
at once; a part is the beginning of that order. Between parts only what a later part reads is held;
what is cheap is computed again by each part that reads it. Bits do not change: they depend on no
grouping.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .plan import ELEMENTWISE, EMPTY, UPDATE, VIEW, Graph

SMALLER = 4  # times: what is so much smaller than a value it is computed from is worth storing
WORTH = 1 << 16  # bytes of such a value


@dataclass(slots=True)
class Part:
    """The nodes that a part is asked for, and how many stored values it computes."""

    places: list[int]
    count: int


class Values:
    """The values of a graph that a part may end with, and who reads them.

    A value is a node, or below 0 a leaf as inputs name it. Sets of values are bit sets, by `bit`.
    """

    def __init__(self, graph: Graph, wanted: list[bool]) -> None:
        self.graph = graph
        self.wanted = wanted
        self.leaves = len(graph.leaf_types)
        self.places: list[int] = []
        self.reads: dict[int, int] = {}
        behind: list[int] = []  # by node: itself where it is stored, else what it is computed from
        for place, (op, inputs) in enumerate(zip(graph.ops, graph.inputs, strict=True)):
            found = 0
            for source in inputs:
                found |= behind[source] if source >= 0 else self.bit(source)
            array = op.kind not in (ELEMENTWISE, VIEW, EMPTY)
            if array or op.fallible or wanted[place] or self.shrinks(place, found):
                self.places.append(place)
                self.reads[place] = found
                found = self.bit(place)
            behind.append(found)
        self.only_needed()
        self.needs = {place: self.reads[place] >> self.leaves for place in self.places}
        self.after_readers()

    def bit(self, value: int) -> int:
        """The set of one value."""
        return 1 << (self.leaves + value)

    def those(self, values: int) -> Iterator[int]:
        """The members of a set."""
        while values:
            low = values & -values
            yield low.bit_length() - 1 - self.leaves
            values ^= low

    def nbytes(self, value: int) -> int:
        """Bytes of a value."""
        graph = self.graph
        if value >= 0:
            return int(graph.types[value].nbytes)
        return 0 if graph.leaf_const[-1 - value] else int(graph.leaf_types[-1 - value].nbytes)

    def shrinks(self, place: int, read: int) -> bool:
        """Whether storing a node's value may let go of a much larger one."""
        least = max(WORTH, SMALLER * self.nbytes(place))
        return any(
            self.nbytes(value) >= least and (value >= 0 or not self.stays(value))
            for value in self.those(read)
        )

    def overwrites(self, place: int) -> int | None:
        """The value that a node may be written over, or None."""
        op = self.graph.ops[place]
        if op.kind == UPDATE or getattr(op, "inplace", False):
            return self.graph.inputs[place][0]
        return None

    def only_needed(self) -> None:
        """Forget what nothing that is wanted is computed from: it stays pending."""
        needed = 0
        for place in reversed(self.places):
            if self.wanted[place] or self.bit(place) & needed:
                needed |= self.reads[place] | self.bit(place)
        self.places = [place for place in self.places if self.bit(place) & needed]

    def after_readers(self) -> None:
        """Let what is written over a value wait for those that were recorded as its readers."""
        readers: dict[int, int] = {}  # by value, of those met so far
        for place in self.places:
            base = self.overwrites(place)
            if base is not None:
                self.needs[place] |= readers.get(base, 0)
            for value in self.those(self.reads[place]):
                readers[value] = readers.get(value, 0) | 1 << place

    # ---- orders

    def depth_first(self) -> list[int]:
        """An order in which each value is computed shortly before it is read.

        Of what a value needs, that which takes most memory beyond its result comes first (Sethi
        and Ullman 1970, for trees).
        """
        most: dict[int, int] = {}
        sources: dict[int, list[int]] = {}
        for place in self.places:
            first = sorted(members(self.needs[place]), key=lambda s: (self.nbytes(s) - most[s], s))
            held = peak = 0
            for source in first:
                peak = max(peak, held + most[source])
                held += self.nbytes(source)
            most[place] = max(peak, held + self.nbytes(place))
            sources[place] = first
        done: list[int] = []
        seen: set[int] = set()
        for end in (place for place in self.places if self.wanted[place]):
            stack = [end]
            while stack:
                place = stack[-1]
                left = [] if place in seen else [s for s in sources[place] if s not in seen]
                if left:
                    stack.append(left[0])
                    continue
                stack.pop()
                if place not in seen:
                    seen.add(place)
                    done.append(place)
        return done

    def memory(self, order: list[int]) -> tuple[int, int]:
        """Bytes beyond those in use now: the most when all is done in that order, and at least."""
        last: dict[int, int] = {}
        for turn, place in enumerate(order):
            for value in self.those(self.reads[place]):
                last[value] = turn
        ends: dict[int, list[int]] = {}
        for value, turn in last.items():
            if not (self.wanted[value] if value >= 0 else self.stays(value)):
                ends.setdefault(turn, []).append(value)
        held = most = least = 0
        for turn, place in enumerate(order):
            size = self.nbytes(place)
            dying = ends.get(turn, ())
            over = self.overwrites(place)
            in_place = over in dying and self.nbytes(over) == size if over is not None else False
            most = max(most, held if in_place else held + size)
            held += size - sum(map(self.nbytes, dying))
            if place not in last and not self.wanted[place]:
                held -= size
            least = max(least, held)
        return most, least

    def stays(self, leaf: int) -> bool:
        """Whether a leaf is held by others too."""
        return not self.graph.leaf_donatable[-1 - leaf]

    def order(self) -> list[int]:
        """The better of two: as recorded, and depth first."""
        deep = self.depth_first()
        return min((self.places, deep), key=lambda order: self.memory(order)[0])


def members(places: int) -> Iterator[int]:
    """The members of a bit set."""
    while places:
        low = places & -places
        yield low.bit_length() - 1
        places ^= low


def first_part(graph: Graph, wanted: Iterable[bool], count: int, room: int) -> Part | None:
    """The part of a graph that is run first.

    Parameters
    ----------
    graph : Graph
    wanted : iterable of bool
        By node, whether its value is asked for.
    count : int
        How many of the stored values a part computes at most; below 1: half of them.
    room : int
        Bytes there are beyond what is in use.

    Returns
    -------
    Part or None
        None where no order fits into the room.
    """
    values = Values(graph, list(wanted))
    order = values.order()
    if values.memory(order)[1] > room:
        return None
    if count < 1:
        count = (len(order) + 1) // 2
    now, later = order[:count], order[count:]
    read_later = 0
    for place in later:
        read_later |= values.reads[place]
    places = [place for place in now if values.wanted[place] or values.bit(place) & read_later]
    return Part(places, len(now))
