"""Gradients on Nodes: one iterative walk from the results back to what they were computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from lazyarray import _ir
from lazyarray._ir import Node, registry, view
from lazyarray.dtypes import is_inexact
from lazyarray.errors import GradientError, ShapeError, fail, require
from lazyarray.ops.define import Elementwise
from lazyarray.ops.indexing import add_rows as ADD_ROWS
from lazyarray.ops.reduction import sum as SUM
from lazyarray.ops.shaping import UPDATE, VIEW, Shape, broadcast_to, full, reshape, update

CONST = 2  # _ir.State

Cotangents = Sequence[Node | None]


@dataclass(frozen=True, slots=True)
class CustomCall:
    """A function with a gradient of the user's own: it takes the cotangents of all outputs."""

    inputs: tuple[Node, ...]
    outputs: tuple[int, ...]  # serial numbers
    backward: Callable[[list[Node | None]], Cotangents]
    name: str


@dataclass(frozen=True, slots=True)
class CustomOutput:
    """Hangs on a node as its `variable`: it is an output of a custom call."""

    call: CustomCall


def custom_call(
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    backward: Callable[[list[Node | None]], Cotangents],
    name: str = "Function",
) -> list[Node]:
    """Give values a gradient of their own.

    Parameters
    ----------
    inputs : sequence of Node
    outputs : sequence of Node
        Computed from `inputs` while nothing was recorded for a gradient.
    backward : callable
        Takes a list with the cotangent of each output, None where the loss does not depend on it;
        returns one cotangent (or None) for each input.
    name : str, optional
        For messages.

    Returns
    -------
    list of Node
        The outputs; where a tape is being recorded and an input is tracked, they are tracked too.
    """
    if not _ir.current().recording or not any(x.tracked for x in inputs):
        return list(outputs)
    with _ir.Scope(False, None):
        # A node of its own for each output: one may be an input that was passed through.
        found = [alias(x) for x in outputs]
    call = CustomCall(tuple(inputs), tuple(x.serial for x in found), backward, name)
    for node in found:
        if is_inexact(node.dtype):
            node.variable = CustomOutput(call)
    return found


def alias(x: Node) -> Node:
    """A view node of the whole of `x`."""
    return VIEW.node((x,), x.shape, x.dtype, (_ir.c_strides(x.shape, x.dtype.itemsize), False))


def gradients(
    heads: Sequence[Node],
    cotangents: Sequence[Node | None] | None = None,
    wanted: Sequence[Node] | None = None,
    *,
    retain: bool = False,
) -> list[tuple[Node, Node]]:
    """Record the gradients of `heads`, each weighted by its cotangent.

    Parameters
    ----------
    heads : sequence of Node, floating or complex
    cotangents : sequence of Node or None, each of its head's shape
        None stands for ones.
    wanted : sequence of Node, optional
        The nodes to differentiate by; by default all with a `variable` that the heads depend on.
    retain : bool, default False
        Keep the tape, so that it can be walked again.

    Returns
    -------
    list of (Node, Node)
        Each wanted node that a gradient reaches, with its gradient: same shape and dtype. Several
        cotangents are summed from left to right, in the order in which they are met.

    Raises
    ------
    GradientError
        When a head was not recorded or its tape is gone, is not floating, or depends on a wanted
        node through an op without a gradient.
    ShapeError
        When a cotangent does not have its head's shape.

    Notes
    -----
    Whether the walk itself is recorded for a further gradient is up to the caller: it is when the
    thread's recorder is recording.
    """
    given = [None] * len(heads) if cotangents is None else list(cotangents)
    found: dict[int, Node] = {}  # by serial number
    for head, cotangent in zip(heads, given, strict=True):
        deposit(found, head, head_cotangent(head, cotangent))
    order = tape(heads)
    if wanted is None:
        needed = None
        wanted = [
            x for x in order if x.variable is not None and type(x.variable) is not CustomOutput
        ]
    else:
        needed = leading_to(order, wanted)
    targets = {x.serial for x in wanted}
    walk(order, found, targets, needed)
    if not retain:
        for node in order:
            _ir.release_tape(node)
            if type(node.variable) is CustomOutput:
                node.variable = None
    return [
        (node, _ir.settled(found[node.serial], node.device, "backward"))
        for node in wanted
        if node.serial in found
    ]


def full_like(node: Node, value: float) -> Node:
    """A number broadcast to the shape of a node, of its dtype and on its device."""
    return numbers(node.shape, value, node.dtype, node.device)


def numbers(shape: Shape, value: float, dtype: np.dtype, device: int) -> Node:
    """A number broadcast to a shape, on a device."""
    if not device:
        return full(shape, value, dtype)
    # A view also of shape (): a number alone would have to be copied there.
    made = VIEW.node((_ir.scalar(value, dtype),), shape, dtype, ((0,) * len(shape), False))
    return _ir.settled(made, device, "full")


def head_cotangent(head: Node, cotangent: Node | None) -> Node:
    """The cotangent that the walk starts with."""
    if not is_inexact(head.dtype):
        fail(
            GradientError,
            "backward",
            f"a gradient starts at a floating value, got dtype {head.dtype}",
            "Convert the loss with astype inside the recorded part.",
        )
    if not head.tracked:
        fail(
            GradientError,
            "backward",
            f"the value recorded at {head.where} does not depend on an array with a gradient, "
            "or its tape has been released",
            "Compute it inside autograd.record() from arrays with attach_grad(); "
            "retain_graph=True keeps a tape for a second walk.",
        )
    if cotangent is None:
        return full_like(head, 1)
    require(
        cotangent.shape == head.shape,
        ShapeError,
        "backward",
        f"the head has shape {head.shape}, its gradient {cotangent.shape}",
    )
    return match_dtype(cotangent, head)


def sources(node: Node) -> tuple[Node, ...]:
    """What a node was computed from, as far as gradients are concerned."""
    variable = node.variable
    if variable is not None and type(variable) is CustomOutput:
        return variable.call.inputs
    return node.inputs if node.taped else ()


def tape(heads: Sequence[Node]) -> list[Node]:
    """The tracked nodes that `heads` depend on, in the order of their recording."""
    seen = {head.serial: head for head in heads}
    todo = list(seen.values())
    while todo:
        for source in sources(todo.pop()):
            if source.tracked:
                number = source.serial
                if number not in seen:
                    seen[number] = source
                    todo.append(source)
    return [seen[number] for number in sorted(seen)]


def leading_to(order: Sequence[Node], wanted: Sequence[Node]) -> set[int]:
    """The serial numbers of wanted nodes, and of those of `order` that depend on one.

    A node whose tape is gone counts: it may depend on one.
    """
    needed = {x.serial for x in wanted}
    for node in order:
        if node.released or any(x.serial in needed for x in sources(node)):
            needed.add(node.serial)
    return needed


def walk(
    order: Sequence[Node], found: dict[int, Node], targets: set[int], needed: set[int] | None
) -> None:
    """Pass cotangents from each node to what it was computed from."""
    recorder = _ir.current()
    outer = recorder.site
    called: set[tuple[int, ...]] = set()
    try:
        for node in reversed(order):
            number = node.serial
            custom = node.variable if type(node.variable) is CustomOutput else None
            if custom is not None and custom.call.outputs not in called:
                called.add(custom.call.outputs)
                recorder.site = node.raw_site
                call_backward(custom.call, found)
            g = found.get(number) if number in targets else found.pop(number, None)
            if g is None or custom is not None:
                continue
            if not node.taped:
                require_tape(node)
                continue
            if needed is None or number in needed:
                # What a rule records is blamed on the line of the forward op.
                recorder.site = node.raw_site
                pass_on(node, g, found, needed)
    finally:
        recorder.site = outer


def require_tape(node: Node) -> None:
    """Raise where a gradient reaches a value whose tape an earlier backward has let go."""
    if node.released and node.variable is None:
        fail(
            GradientError,
            "backward",
            f"the tape of {node.op.name} (recorded at {node.where}) was released by an earlier "
            "backward",
            "Pass retain_graph=True to that one, or cut the value off with la.stop_gradient.",
        )


def pass_on(node: Node, g: Node, found: dict[int, Node], needed: set[int] | None) -> None:
    """Apply the gradient rule of one node."""
    op, inputs, attrs = node.op, node.inputs, node.attrs
    if getattr(op, "constant", False):
        return
    rule = getattr(op, "gradient", None)
    if rule is None:
        refuse(node)
    if attrs and op not in PLAIN:
        parts = rule(g, node, *inputs, **dict(attrs))
    else:
        parts = rule(g, node, *inputs)
    if type(parts) is Node or not isinstance(parts, tuple | list):
        parts = (parts,)
    for source, part in zip(inputs, parts, strict=True):
        if (
            part is None
            or not source.tracked
            or (needed is not None and source.serial not in needed)
        ):
            continue
        if not is_inexact(source.dtype):
            require_stop(source)
            continue
        if part.shape != node.shape and isinstance(op, Elementwise):
            part = broadcast_to(part, node.shape)
        deposit(found, source, match_dtype(sum_to(part, source.shape), source))


# Ops whose attributes are positional; their rules read them from the node.
PLAIN = tuple(registry[name] for name in ("view", "update", "place", "empty"))


def require_stop(source: Node) -> None:
    """Raise unless it is plain that an integer value has no gradient: rounded, cast, compared."""
    op = source.op
    if op is None or getattr(op, "gradient", None) or getattr(op, "constant", False):
        return
    if not isinstance(op, Elementwise):
        refuse(source)


def refuse(node: Node) -> NoReturn:
    """Raise for a node whose op has no gradient."""
    fail(
        GradientError,
        "",
        f"{node.op.name} has no gradient, and the loss depends on an array through it "
        f"(recorded at {node.where}).",
        "Stop it there on purpose with la.stop_gradient.",
    )


def call_backward(call: CustomCall, found: dict[int, Node]) -> None:
    """Pass on what the backward of a custom call returns.

    Its outputs were recorded one after the other: when the walk meets one of them, the cotangents
    of all are complete.
    """
    heads = [found.get(number) for number in call.outputs]
    if all(g is None for g in heads):
        return
    parts = call.backward(heads)
    parts = list(parts) if isinstance(parts, tuple | list) else [parts]
    require(
        len(parts) == len(call.inputs),
        GradientError,
        call.name,
        f"backward returned {len(parts)} gradients for {len(call.inputs)} inputs",
    )
    for source, part in zip(call.inputs, parts, strict=True):
        if part is None or not source.tracked or not is_inexact(source.dtype):
            continue
        require(
            part.shape == source.shape,
            ShapeError,
            call.name,
            f"backward returned shape {part.shape} for an input of shape {source.shape}",
        )
        deposit(found, source, match_dtype(part, source))


def deposit(found: dict[int, Node], node: Node, g: Node) -> None:
    """Add a cotangent to those of `node`."""
    if g.device != node.device and g.state != CONST:
        g = _ir.settled(g, node.device, "backward")
    known = found.get(node.serial)
    found[node.serial] = g if known is None else added(known, g)


def added(known: Node, g: Node) -> Node:
    """The sum of two cotangents.

    One that is zero but for a part is added to that part alone: reading a long sequence step by
    step would otherwise cost the square of its length.
    """
    for whole, part in ((known, g), (g, known)):
        if part.op is UPDATE and is_zero(part.inputs[0]):
            shape, strides, moving, _, dtype = part.attrs
            there = view(whole, shape, strides, part.offset, moving, dtype)
            value = there + part.inputs[1]
            return update(whole, value, shape, strides, part.offset, moving, False, dtype)
        if part.op is ADD_ROWS and is_zero(part.inputs[0]):
            return ADD_ROWS(whole, *part.inputs[1:])
    return known + g


def is_zero(node: Node) -> bool:
    """Say whether a node is the number 0, broadcast."""
    return node.op is VIEW and node.inputs[0].state == CONST and node.inputs[0].value == 0


def match_dtype(g: Node, node: Node) -> Node:
    """`g` in the dtype of `node`; of a complex cotangent, a real input feels the real part."""
    if g.dtype is node.dtype:
        return g
    if g.dtype.kind == "c" and node.dtype.kind != "c":
        g = registry["real"](g)
    return _ir.cast(g, node.dtype)


def sum_to(g: Node, shape: tuple[int, ...]) -> Node:
    """Undo a broadcast from `shape`: sum over the axes that it added or stretched."""
    if g.shape == shape:
        return g
    lead = g.ndim - len(shape)
    if lead < 0:
        return broadcast_to(g, shape)
    if lead and g.shape[lead:] == shape:
        return SUM.along(g, 0, lead, g.dtype)
    axes = tuple(
        [i for i, n in enumerate(g.shape) if i < lead or (shape[i - lead] == 1 and n != 1)]
    )
    if axes:
        g = SUM(g, axis=axes, keepdims=True)
    if lead:
        g = reshape(g, g.shape[lead:])
    return broadcast_to(g, shape)
