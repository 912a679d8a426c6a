"""Where a wrong number came from: `la.debug.nans`. What ran when: `la.debug.timeline`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import lazyarray._plan as _plan
from lazyarray import _bind, _engine, _handle, device
from lazyarray._ir import Node
from lazyarray.dtypes import is_inexact
from lazyarray.errors import NanError, fail

PENDING, CONST = 0, 2
ELEMENTWISE = 1


@contextmanager
def nans() -> Iterator[None]:
    """Raise at the first operation that makes a NaN out of operands without one.

    Inside the block operations run one by one instead of as fused kernels, and each result is
    looked at: it is slow, and for finding the line. The bits are the same. What was recorded
    before the block is looked at, too, when it runs inside; what the block has recorded and still
    wants runs at its end.

    Raises
    ------
    NanError
        A `FloatingPointError`: it names the operation, the shapes and the line where it was
        recorded, and for elementwise operations the first operands that gave a NaN. It comes from
        where the value was asked for, or from the end of the block.

    Notes
    -----
    A NaN that is in the data counts for nothing, nor does what is made of it. Applies to all
    threads while any is inside such a block.

    Examples
    --------
    >>> x = la.array([4.0, 1.0, 0.0])
    >>> with la.debug.nans():
    ...     y = la.sqrt(x - 1) * 2
    ...     y.wait()
    Traceback (most recent call last):
        ...
    lazyarray.errors.NanError: sqrt: made 1 NaN of 3 numbers, float64(3,) from float64(3,)
      The first at index (2,): sqrt(-1.0).  Recorded at ...
    """
    before = _bind.set_inspector(inspect)
    try:
        yield
        _handle.cut()
    finally:
        _bind.set_inspector(before)


@contextmanager
def timeline() -> Iterator[list[device.Event]]:
    """Keep what runs inside the block, and when, on the CPU and on all devices, on one clock.

    Yields
    ------
    list of Event
        Filled at the end of the block, which waits for the devices; by start. Each has ``kind``
        ("task" on the CPU; "kernel", "graph", "into" or "out of" on a device), ``name``,
        ``device``, ``stream`` (on the CPU, the native id of the thread), ``start`` and ``end`` in
        ns, as `time.monotonic_ns`, and ``nbytes`` of a copy. A device's times are its own: they say
        when its streams have worked, not when they were told to.

    Notes
    -----
    For one thread at a time. What is a graph's counts as one; see `la.stats`.

    Examples
    --------
    >>> with la.debug.timeline() as events:
    ...     la.wait_all([la.tanh(la.ones((500, 500))) @ la.ones((500, 500))])
    >>> all(event.start <= event.end for event in events)
    True
    """
    events: list[device.Event] = []
    opened = [backend for backend in device.backends if backend is not None]
    _engine.start_log()
    for backend in opened:
        backend.start_log()
    try:
        yield events
    finally:
        try:
            for backend in opened:
                events += backend.stop_log()
        finally:
            events += tasks(_engine.stop_log())
            events.sort(key=lambda event: event.start)


def tasks(log: list[Any]) -> Iterator[device.Event]:
    """The tasks of the engine's log: those that the CPU ran."""
    begun: dict[tuple[int, int], Any] = {}
    for event in log:
        key = event.task, event.thread
        if event.kind == "start":
            begun[key] = event
        elif event.kind == "end" and key in begun:
            start = begun.pop(key)
            where = str(event.thread)
            yield device.Event("task", start.name, "cpu", where, start.time, event.time, 0)


def set_nans(on: bool) -> None:
    """Do from now on what `nans` does inside its block, or stop it."""
    _bind.set_inspector(inspect if on else None)


def inspect(nodes: list[Node]) -> None:
    """Run pending nodes one by one, oldest last in the list; raise at the first new NaN."""
    # References of our own to the operands keep what reads them from writing to their buffers.
    work = [(node, list(node.inputs)) for node in nodes]
    nodes.clear()
    tainted: set[int] = set()
    while work:
        node, inputs = work.pop()
        if node.state == PENDING:
            _bind.flush_uninspected([node])
        bad = spoiled(node)
        if bad is None:
            continue
        tainted.add(node.serial)
        if not any(each.serial in tainted or spoiled(each) is not None for each in inputs):
            report(node, inputs, bad)


def spoiled(node: Node) -> np.ndarray | None:
    """Which elements of a value are NaN; None where none is, or where it has failed."""
    if not is_inexact(node.dtype):
        return None
    try:
        found = np.isnan(_bind.value(node))
    except Exception:  # it is raised to whoever asks for the value
        return None
    return found if found.any() else None


def report(node: Node, inputs: list[Node], bad: np.ndarray) -> None:
    """Raise the error that names the op, its operands and its line."""
    _plan.hush()  # the error says it better
    count = int(bad.sum())
    of = ", ".join(typed(each) for each in inputs if each.state != CONST)
    made = f"made {count} NaN{'s' * (count > 1)} of {bad.size} numbers, {typed(node)}"
    place = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
    where = f"The first at index {place}" if place else "It is"
    if node.op.kind == ELEMENTWISE and inputs:
        given = [element(each, node.shape, place) for each in inputs]
        where += f"{':' * bool(place)} {node.op.name}({', '.join(given)})"
    fail(
        NanError,
        node.op.name,
        f"{made} from {of}" if of else made,
        f"{where}.  Recorded at {node.where}.",
    )


def typed(node: Node) -> str:
    """The dtype and shape of a value."""
    return f"{node.dtype}{node.shape}"


def element(node: Node, shape: tuple[int, ...], place: tuple[int, ...]) -> Any:
    """One element of an operand, as text."""
    return repr(np.broadcast_to(_bind.value(node), shape)[place].item())
