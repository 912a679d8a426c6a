"""Lowering: a recorded graph becomes a plan. Runs once per structure; plans are cached by key.

The passes, in order: `simplify` (nothing is computed twice, or for nobody), `resolve` (which views
are read in place, which are copied), `fuse` (elementwise nodes into groups, an update into the
group that computes its value), `attach` (a product of matrices into the group that reads it),
`cross` (reductions of an array's columns into the group that reduces its rows), `sweep` (steps of
a stencil into one), `order` (readers of a buffer before the update that reuses it),
`assign` (values to slots, by liveness and donation), `bundle` (small tasks that need nothing of
each other into one), `share` (large slots that are never needed together into one), `urge` (what
runs first where more is ready than there are workers).
Nothing here knows data: offsets and numbers arrive at bind.
"""

from __future__ import annotations

from .assign import Assignment
from .bundle import bundle
from .crossing import cross
from .fuse import Lowering
from .plan import Graph, Group, Program
from .products import attach
from .sharing import share
from .simplify import simplify
from .stencils import sweep
from .urgency import urge

__all__ = ["Graph", "Program", "grouped", "lower"]


def grouped(graph: Graph) -> tuple[Lowering, list[Group]]:
    """Decide what becomes one task, in which order."""
    lowering = Lowering(simplify(graph))
    lowering.resolve()
    lowering.fuse()
    attach(lowering)
    cross(lowering)
    sweep(lowering)
    return lowering, lowering.order()


def lower(graph: Graph) -> Program:
    """Make a plan for `graph`."""
    lowering, groups = grouped(graph)
    return urge(share(bundle(Assignment(lowering).assign(groups), graph)))
