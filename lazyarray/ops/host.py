"""Ops without a kernel of their own: NumPy computes them, as Python tasks.

`host` takes NumPy's function and a rule, which says shape and dtype of the results from those of
the inputs. Where a rule returns None they depend on values: an array front end then reads its
inputs and calls NumPy at once. Failures on data come from NumPy and belong to the task.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazyarray import _engine, _ir, lines
from lazyarray._ir import Node
from lazyarray.dtypes import BFLOAT16, canonical
from lazyarray.errors import (
    DTypeError,
    fail,
)
from lazyarray.number import Number

from .define import NATIVE, Differentiable, normalize_axes
from .shaping import Shape

FLOAT64 = np.dtype(np.float64)
BYTE = np.dtype(np.uint8)
ALIGNMENT = 16  # bytes: the largest itemsize
PART = 1 << 17  # multiplications and additions of a batch from which a part is worth a worker
PIECES = 16  # of a batch, at most
# NumPy's sorts of bfloat16 leave NaNs anywhere: what sorts does so in float32.
ORDERING = {
    "argpartition", "lexsort", "median", "nanargmax", "nanargmin", "nanmedian", "nanpercentile",
    "nanquantile", "partition", "percentile", "quantile",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slot:
    """Where input `index` of a node stands in the arguments of a call."""

    index: int


@dataclass(frozen=True, slots=True)
class Result:
    """Shape and dtype of a result."""

    shape: Shape
    dtype: np.dtype


class ValuesNeededError(DTypeError):
    """The shape or dtype of a result depends on values."""


def frozen(value: Any, inputs: list[Node]) -> Any:
    """`value` as structure: Nodes, which go to `inputs`, as Slots, lists as tuples."""
    if type(value) is Node:
        inputs.append(value)
        return Slot(len(inputs) - 1)
    if isinstance(value, list | tuple):
        return tuple([frozen(part, inputs) for part in value])
    return value.look() if type(value) is Number else value


def thawed(value: Any, arrays: Sequence[np.ndarray]) -> Any:
    """What `frozen` took apart, with arrays for Slots."""
    if type(value) is Slot:
        return arrays[value.index]
    if type(value) is tuple:
        return tuple([thawed(part, arrays) for part in value])
    return value


class HostOp(Differentiable, _ir.Op):
    """An op that a NumPy function computes.

    Several results lie in one value side by side: its dtype is theirs (a real dtype counts as part
    of its complex one), else bytes, which have no gradient. Where NumPy's dtype depends on values,
    the op `casts` to that of the rule. With `batched`, it computes each matrix of the first input,
    its only array, for itself.
    """

    inplace = False
    factory: Callable[..., Any] | None = None
    accepts = None

    def __init__(
        self,
        name: str,
        compute: Callable[..., Any],
        rule: Callable[..., Any],
        outputs: Callable[[Mapping[str, Any]], int] = lambda arguments: 1,
        casts: bool = False,
        batched: bool = False,
    ) -> None:
        super().__init__(name, NATIVE, dear=True, fallible=True)
        self.outputs = outputs
        self.casts = casts
        self.batched = batched
        self.compute = compute
        self.rule = rule
        self.function = self.run
        self.__doc__ = rule.__doc__ or f"As `{compute.__module__}.{compute.__name__}`."
        self.__signature__ = inspect.signature(rule)

    def vjp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the gradient rule; `arguments` gives it what the op was called with."""
        self.gradient = lambda g, y, *inputs, **attributes: rule(g, y, *inputs)
        return rule

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Record the op."""
        bound = self.__signature__.bind(*args, **options)
        found = self.rule(*bound.args, **bound.kwargs)
        if found is None:
            remedy = "Call it on arrays, which are read then."
            fail(ValuesNeededError, self.name, "the result's type depends on values", remedy)
        inputs: list[Node] = []
        first, *rest = bound.arguments.items()
        call = (frozen(first[1], inputs),), frozen(rest, inputs)
        try:
            hash(call)
        except TypeError:
            fail(ValuesNeededError, self.name, f"the arguments {call} are no plain structure")
        if isinstance(found, Result):
            return self.node(tuple(inputs), found.shape, found.dtype, (("call", call),))
        return self.packed(inputs, call, found)

    def packed(self, inputs: list[Node], call: Any, results: Sequence[Result]) -> tuple[Node, ...]:
        """Record the op, and views of its results."""
        dtype, _, total = packing(tuple(results))
        attrs = (("call", call), ("results", tuple(results)))
        whole = self.node(tuple(inputs), (total // dtype.itemsize,), dtype, attrs)
        return unpacked(whole, results)

    def run(
        self, xp: Any, *arrays: Any, out: Any, call: Any, results: Sequence[Result] | None = None
    ) -> None:
        """Compute the results, as a task."""
        rooms = places(out, results)
        if self.batched and len(arrays) == 1 and worth_parts(arrays[0]):
            in_parts(
                len(arrays[0]),
                lambda a, b: self.fill([arrays[0][a:b]], call, [room[a:b] for room in rooms]),
            )
        else:
            self.fill(arrays, call, rooms)

    def fill(self, arrays: Sequence[np.ndarray], call: Any, places: list[np.ndarray]) -> None:
        """Compute the results, and write them to their places."""
        args, options = call
        wider = self.name in ORDERING and any(a.dtype is BFLOAT16 for a in arrays)
        if wider:
            arrays = [a.astype(np.float32) if a.dtype is BFLOAT16 else a for a in arrays]
        found = lines.call(self.compute, thawed(args, arrays), dict(thawed(options, arrays)))
        if len(places) == 1 and not isinstance(found, tuple | list):
            found = (np.asarray(found, places[0].dtype) if self.casts or wider else found,)
        for part, place in zip(found, places, strict=True):
            written(place, part, self.name)


def worth_parts(a: np.ndarray) -> bool:
    """Whether a batch of matrices is divided over workers."""
    return a.ndim > 2 and len(a) > 1 and a.size * min(a.shape[-2:]) >= PART


def in_parts(extent: int, part: Callable[[int, int], None]) -> None:
    """Call ``part(begin, end)`` for ranges of units, by idle workers; raises the first failure.

    They run under the errstate of the caller.
    """
    context = contextvars.copy_context()

    def run(begin: int, end: int) -> None:
        context.copy().run(part, begin, end)

    done = _engine.Var()
    _engine.push(run, (), (done,), extent=extent, grain=-(-extent // PIECES), name="part")
    _engine.wait(done)


def written(out: np.ndarray, found: Any, name: str) -> None:
    """Write a result to its place; the rule must have said what it is."""
    found = np.asarray(found)
    if found.shape != out.shape or found.dtype != out.dtype:
        raise RuntimeError(
            f"{name}: NumPy gave {found.dtype} {found.shape}, not {out.dtype} {out.shape}"
        )
    out[...] = found


@functools.cache
def packing(results: tuple[Result, ...]) -> tuple[np.dtype, list[int], int]:
    """How results lie in one value: its dtype, their offsets and its size in bytes."""
    dtypes = [each.dtype for each in results]
    dtype = max(dtypes, key=lambda each: each.itemsize)
    if any(each not in (dtype, np.empty(0, dtype).real.dtype) for each in dtypes):
        dtype = BYTE
    offsets, total = [], 0
    for each in results:
        offsets.append(total)
        total += math.prod(each.shape) * each.dtype.itemsize
        total += -total % ALIGNMENT
    return dtype, offsets, total


def places(out: Any, results: Sequence[Result] | None) -> list[Any]:
    """Where results go in the memory of a value that holds them; None: it is the only one."""
    if results is None:
        return [out]
    memory, found = out.view(BYTE), []
    for kind, start in zip(results, packing(tuple(results))[1], strict=True):
        room = memory[start : start + math.prod(kind.shape) * kind.dtype.itemsize]
        found.append(room.view(kind.dtype).reshape(kind.shape))
    return found


def unpacked(whole: Node, results: Sequence[Result]) -> tuple[Node, ...]:
    """Views of the results that a value holds side by side."""
    _, offsets, _ = packing(tuple(results))
    found = []
    for each, start in zip(results, offsets, strict=True):
        steps = _ir.c_strides(each.shape, each.dtype.itemsize)
        offset = start if math.prod(each.shape) else 0
        found.append(_ir.view(whole, each.shape, steps, offset, offset != 0, each.dtype))
    return tuple(found)


def parts(g: Node, y: Node) -> tuple[Node, ...]:
    """The results' cotangents, in a gradient rule of an op with several."""
    return unpacked(g, dict(y.attrs)["results"])


def arguments(y: Node) -> dict[str, Any]:
    """What a host op was called with, defaults included, in its gradient rule."""
    args, options = dict(y.attrs)["call"]
    bound = y.op.__signature__.bind(*args, **dict(options))
    bound.apply_defaults()
    return bound.arguments


def host(
    compute: Callable[..., Any], name: str | None = None, **options: Any
) -> Callable[..., HostOp]:
    """Define an op that `compute` runs, by its rule.

    ``outputs=`` says how many results a call with given arguments has, where it is not one.

    The rule takes what is supported without looking at values, arrays being annotated Node, and
    returns a Result, a list of them, or None where only values tell.
    """

    def define(rule: Callable[..., Any]) -> HostOp:
        return HostOp(name or np_name(compute), compute, rule, **options)

    return define


def np_name(compute: Callable[..., Any]) -> str:
    """How a function is called after ``np.``."""
    return f"{compute.__module__}.{compute.__name__}".removeprefix("numpy.")


def like(a: Node, dtype: Any = None) -> Result:
    """A result of the shape of `a`, and of its dtype unless another is given."""
    return Result(a.shape, a.dtype if dtype is None else np.dtype(dtype))


@functools.cache
def probed(
    compute: Callable[..., Any], kinds: tuple[tuple[int, np.dtype], ...], options: tuple[Any, ...]
) -> np.dtype:
    """NumPy's own answer, from arrays of one element."""
    ones = [np.ones((1,) * ndim, dtype) for ndim, dtype in kinds]
    with np.errstate(all="ignore"):
        found = compute(*ones, **dict(options))
    return canonical(np.asarray(found).dtype)


def dtype_of(compute: Callable[..., Any], *arrays: Node, **options: Any) -> np.dtype:
    """The dtype of what `compute` makes of arrays of these dtypes and ranks."""
    kinds = tuple((each.ndim, each.dtype) for each in arrays)
    return probed(compute, kinds, tuple(options.items()))


def without(shape: Shape, axis: Any, keepdims: bool, op: str) -> Shape:
    """A shape after a reduction over `axis`."""
    axes = normalize_axes(axis, len(shape), op)
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)
