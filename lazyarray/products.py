"""Products of matrices with what is made of them: an elementwise group computes its product, too.

The rows of a product pass through the group's program while they are in cache, and are stored only
where somebody else wants them: bias, activation, residual, an optimiser's step on a gradient.
"""

from __future__ import annotations

from math import prod

from . import passes
from .fuse import Lowering
from .plan import ELEMENTWISE, NATIVE, Group

NODES = 24  # of a group: a bound on the operands of its kernel


def attach(lowering: Lowering) -> None:
    """Let groups compute the products they read, where that pays."""
    if not (passes.enabled("fuse") and passes.enabled("products")):
        return
    for group in list(lowering.groups):
        if group.nodes and takes_product(lowering, group):
            found = [
                other
                for number in sorted(lowering.direct_needs(group))
                if is_followed(lowering, other := lowering.groups[number])
                and fits(lowering, group, other.nodes[0])
                and not lowering.reachable(other, group)
            ]
            if found:
                best = max(found, key=lambda other: work(lowering, other.nodes[0]))
                group.product = best.nodes[0]
                lowering.merge(group, best)


def takes_product(lowering: Lowering, group: Group) -> bool:
    """Whether a group is a program of elements alone that might compute its product."""
    return (
        group.kind == ELEMENTWISE
        and lowering.is_here(group)
        and group.axes is None
        and group.product is None
        and not group.around
        and len(group.nodes) <= NODES
        and not lowering.graph.ops[group.nodes[0]].fallible
    )


def is_followed(lowering: Lowering, other: Group) -> bool:
    """Whether a group is one product that is best computed with what reads it."""
    graph = lowering.graph
    if other.kind != NATIVE or len(other.nodes) != 1:
        return False
    place = other.nodes[0]
    follows = getattr(graph.ops[place], "follows", None)
    kinds = [lowering.type_of(source) for source in graph.inputs[place]]
    return follows is not None and follows(kinds, graph.types[place])


def fits(lowering: Lowering, group: Group, product: int) -> bool:
    """Whether a group reads a product element by element, and writes nothing that it is made of."""
    if lowering.graph.types[product].shape != group.shape:
        return False
    operands = set(lowering.read_roots(product))
    for place in group.nodes:
        if place == group.update:
            return False  # a copy
        for seen in lowering.reads(place):
            if seen.root == product and not lowering.in_register(seen, False, False, group):
                return False
    if group.update is None:
        return True
    shape = lowering.graph.attrs[group.update][0]
    base = lowering.access(lowering.graph.inputs[group.update][0]).root
    number = lowering.group_of[product]
    later = any(
        base in lowering.read_roots(place) and each.needs >> number & 1
        for each in lowering.groups
        if each is not group
        for place in each.nodes
    )
    return shape == group.shape and base not in operands and base != product and not later


def work(lowering: Lowering, place: int) -> int:
    """Multiplications of a product."""
    kind = lowering.type_of(lowering.graph.inputs[place][0])
    return prod(kind.shape) * lowering.graph.types[place].shape[-1]
