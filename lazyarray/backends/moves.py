"""Ops on whole arrays for which a GPU has kernels of our own: rows by index, scans, sums, pools."""

from __future__ import annotations

from math import prod

from lazyarray._ir import c_strides
from lazyarray.codegen import emit_cuda_moves as moves
from lazyarray.codegen.cuda import reduction
from lazyarray.codegen.emit_cuda_source import Bound, Machine
from lazyarray.dtypes import HALVES
from lazyarray.works import Whole

from .images import pooled

LINES = 4096  # of a scan, from which a thread for each is enough


def bound_of(work: Whole, machine: Machine) -> Bound | None:
    """What is launched for an op, on its operands in their order; None where the GPU has none."""
    shapes = [shape for shape, _, _ in work.layouts]
    kinds = [dtype for _, _, dtype in work.layouts]
    if any(strides != c_strides(shape, d.itemsize) for shape, strides, d in work.layouts):
        return None
    out, kind = shapes[-1], kinds[-1]
    name = work.label
    if name in ("take_rows", "take_axis"):
        x, (m,) = shapes[0], shapes[1]
        axis = work.attributes.get("axis", 0)
        row = prod(x[axis + 1 :]) * kind.itemsize
        return moves.take_axis(prod(x[:axis]), x[axis], m, row, kind.itemsize, machine)
    if name == "put_rows" and prod(shapes[0]) < 1 << 31:
        row = prod(out[1:]) * kind.itemsize
        return moves.put_rows(row, out[0], shapes[0][0], kind.itemsize, machine)
    if name in ("cumsum", "cumprod"):
        axis = work.attributes["axis"]
        outer, inner = prod(out[:axis]), prod(out[axis + 1 :])
        if outer * inner >= LINES or kind in HALVES:  # these are rounded at every step
            return moves.scan(name[3:], kinds[0].name, kind.name, outer, out[axis], inner, machine)
    reduces = getattr(work.op, "reduces", None)
    if reduces is not None:
        x, start, stop = shapes[0], work.attributes["start"], work.attributes["stop"]
        fold = prod(x[:start]), prod(x[start:stop]), prod(x[stop:])
        return reduction(reduces, kinds[0].name, kind.name, *fold, machine)
    return pooled(work, machine)
