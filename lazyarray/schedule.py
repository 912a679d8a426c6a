"""Lowering: a recorded graph becomes a plan. Runs once per structure; plans are cached by key.

The passes, in order: `resolve` (which views are read in place, which are copied), `fuse`
(elementwise nodes into groups, an update into the group that computes its value), `order` (readers
of a buffer before the update that reuses it), `assign` (values to slots, by liveness and donation).
Nothing here knows data: offsets and numbers arrive at bind.
"""

from __future__ import annotations

from .assign import Assignment
from .fuse import Lowering
from .plan import Graph, Program

__all__ = ["Graph", "Program", "lower"]


def lower(graph: Graph) -> Program:
    """Make a plan for `graph`."""
    lowering = Lowering(graph)
    lowering.resolve()
    lowering.fuse()
    return Assignment(lowering).assign(lowering.order())
