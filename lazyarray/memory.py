"""What memory is used for: figures, a limit, and who holds most of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

import lazyarray._bind as _bind
import lazyarray._memory as _memory
from lazyarray import _ir, schedule
from lazyarray import device as devices
from lazyarray._handle import held_nodes, storage_node
from lazyarray._ir import Node
from lazyarray._record import ArrayBase
from lazyarray.device import as_device, backend_of, number_of
from lazyarray.errors import DTypeError, OptionError, fail

__all__ = ["Holder", "Limit", "holders", "limit", "needed", "peak", "release", "stats"]

SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]i?)?B\s*")
UNITS = {None: 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
         "ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}  # fmt: skip


# ---- figures


def stats(device: Any = None) -> dict[str, int | None]:
    """Return what memory is used for, in bytes, and two counts.

    Parameters
    ----------
    device : Device or str, optional
        Of another device than the CPU: the memory that arrays have there, and what its pool keeps
        besides, as ``in_use`` and ``pooled``.

    Returns
    -------
    dict
        ``in_use``: held by values; ``busy``: held by nobody, but used by tasks that have not
        ended; ``idle``: kept for the next values; ``reserved``: the three together, which is what
        the system has given. ``peak`` and ``reserved_peak``: the most that was in use, and
        reserved, since `peak` was last reset. ``tapes``: the part of ``in_use`` that is held for
        gradients. ``recorded``: the size of the values that this thread has recorded and not run.
        ``limit``: as set, or None. ``huge_pages``: what the system says this process has in huge
        pages, NumPy's memory included, or None where it does not say. ``buffers`` and ``blocks``:
        the number of values in memory, and of pieces that the system has given.

    Notes
    -----
    Sizes are those of the pool's blocks: a value's size, rounded up by at most a quarter. Memory
    that belongs to NumPy or to another library is not counted, and neither is a kernel's scratch.

    Examples
    --------
    >>> before = la.memory.stats()["in_use"]
    >>> x = la.ones((1024, 1024)).wait()
    >>> la.memory.stats()["in_use"] - before
    8388608
    """
    if device is not None and (number := number_of(as_device(device))):
        return {**backend_of(number).statistics()}
    pool = _memory.stats()
    return {
        "in_use": pool["in_use"],
        "busy": pool["busy"],
        "idle": pool["pooled"] - pool["busy"],
        "reserved": pool["in_use"] + pool["pooled"],
        "peak": pool["peak"],
        "reserved_peak": pool["reserved_peak"],
        "tapes": _ir.counters()["tape_bytes"],
        "recorded": _ir.current().nbytes,
        "limit": _memory.limit(),
        "huge_pages": huge_pages(),
        "buffers": pool["buffers"],
        "blocks": pool["blocks"],
    }


def huge_pages() -> int | None:
    """Bytes of this process in huge pages, by the system's account."""
    try:
        with open("/proc/self/smaps_rollup") as file:
            found = re.search(r"AnonHugePages:\s*(\d+) kB", file.read())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def peak(reset: bool = False) -> int:
    """Return the most bytes that were in use at once since the last reset.

    Parameters
    ----------
    reset : bool, default False
        Start measuring anew, from what is in use now.
    """
    found: int = _memory.stats()["peak"]
    if reset:
        _memory.reset_peak()
    return found


def release() -> int:
    """Give memory that is kept for the next values back to the system; return the bytes."""
    return _memory.release()


def needed(*arrays: Any) -> int:
    """Return how many bytes evaluating `arrays` would add to what is in use, at its peak.

    Nothing is run. What is held afterwards is less: temporaries go. Where there is not so much
    (see `limit`), it may still be evaluated, more slowly.

    Parameters
    ----------
    *arrays : array

    Examples
    --------
    >>> x = la.ones(1 << 20).wait()
    >>> la.memory.needed((x + 1) * 2)
    8388608
    """
    for x in arrays:
        if not isinstance(x, ArrayBase):
            fail(DTypeError, "needed", f"expected arrays, got {type(x).__name__}")
    found = _bind.sketch([storage_node(x) for x in arrays])
    if found is None:
        return 0
    graph, _, _, plan = found
    if plan is not None:
        return int(plan.peak_bytes)
    slots = schedule.lower(graph).slots
    return sum(_memory.capacity_of(slot.nbytes) for slot in slots if slot.leaf < 0)


# ---- who holds it


@dataclass(frozen=True, slots=True)
class Holder:
    """A value in memory.

    Attributes
    ----------
    nbytes : int
        Bytes of the pool, or of foreign memory.
    shape : tuple of int
    dtype : numpy.dtype
    where : str
        The line that recorded it, as "file:line", or "?".
    held_by : tuple of str
        "array": a live array; "pending": work that is recorded and not run; "tape": the gradients
        of something recorded; "export": seen from outside, as by `np.asarray`.
    """

    nbytes: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    where: str
    held_by: tuple[str, ...]

    def __str__(self) -> str:
        size, by = _memory.size_text(self.nbytes), " and ".join(self.held_by)
        return f"{size:>9}  {self.dtype}{list(self.shape)}, held by {by}, from {self.where}"


def holders(n: int = 10, device: Any = None) -> list[Holder]:
    """Return the largest values in memory, with the lines they come from and who holds them.

    Parameters
    ----------
    n : int, default 10
        How many.
    device : Device or str, optional
        In whose memory; default: the CPU's.

    Examples
    --------
    >>> x = la.zeros((3000, 3000)).wait()
    >>> la.memory.holders(1)[0].shape
    (3000, 3000)
    """
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool):
        fail(DTypeError, "holders", f"n is a count, got {type(n).__name__}")
    if n < 0:
        fail(OptionError, "holders", f"n is a count, got {n}")
    number = 0 if device is None else number_of(as_device(device))
    return found_holders(number)[:n]


def found_holders(number: int) -> list[Holder]:
    """All values in the memory of a device, by its number, the largest first."""
    found: dict[int, tuple[Node, set[str]]] = {}
    for node, why in values():
        buffer = _bind.buffer_of(node) if node.device == number else None
        if buffer is not None:
            found.setdefault(buffer.address, (node, set()))[1].add(why)
            if _bind.is_pinned(node):
                found[buffer.address][1].add("export")
    result = []
    for node, by in found.values():
        buffer = _bind.buffer_of(node)
        if buffer is not None:
            nbytes = buffer.held or buffer.nbytes
            result.append(Holder(nbytes, node.shape, node.dtype, node.where, tuple(sorted(by))))
    return sorted(result, key=lambda each: -each.nbytes)


def values() -> Iterator[tuple[Node, str]]:
    """All values that arrays lead to, each with what holds it; some more than once."""
    todo: list[tuple[Node, str]] = []
    todo.extend((node, "array") for node in held_nodes())
    seen: set[tuple[int, str]] = set()
    while todo:
        node, why = todo.pop()
        if (node.serial, why) in seen:
            continue
        seen.add((node.serial, why))
        yield node, why
        reader = "tape" if node.taped else "pending"
        todo.extend((source, reader) for source in node.inputs)


def largest() -> list[str]:
    """Lines for an OutOfMemoryError."""
    try:
        found = holders(5)
    except MemoryError:
        return []
    if not found:
        return []
    lines = ["  The largest values in memory:"]
    lines += [f"    {each}" for each in found]
    rest = _memory.stats()["in_use"] - sum(each.nbytes for each in found)
    if rest > 0:
        lines.append(f"    {_memory.size_text(rest):>9}  in smaller ones, or held by programs")
    return lines


def largest_on(number: int) -> list[str]:
    """Lines for an OutOfMemoryError of another device than the CPU, by its number."""
    found = found_holders(number)[:5]
    return ["  The largest values in its memory:", *(f"    {each}" for each in found)] * bool(found)


def forget_values(nbytes: int) -> None:
    """Give up at least so many bytes of what tapes hold and can be computed again, if possible."""
    found = {node.serial: node for node, _ in values() if node.taped}
    for node in sorted(found.values(), key=lambda each: -each.size * each.dtype.itemsize):
        if nbytes <= 0:
            break
        nbytes -= _ir.forget_value(node)


# ---- the limit


class Limit:
    """A limit that has been set; as a `with` block, what was before comes back at its end."""

    __slots__ = ("before", "nbytes")

    def __init__(self, nbytes: int | None, before: int | None) -> None:
        self.nbytes = nbytes
        self.before = before

    def __enter__(self) -> Limit:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _memory.set_limit(self.before)

    def __repr__(self) -> str:
        return f"Limit({self.nbytes})"


def limit(size: str | int | None) -> Limit:
    """Limit the memory that lazyarray takes from the system.

    The limit holds for all threads, from now on, or for a `with` block.

    Parameters
    ----------
    size : str, int or None
        "2GB" (2e9 bytes), "512MiB", "1.5GB", a number of bytes, or None for no limit.

    Returns
    -------
    Limit
        For `with`; it may be dropped.

    Raises
    ------
    OptionError
        When the size is not positive, or is not written like one.
    DTypeError
        When it is neither text nor a whole number.

    Notes
    -----
    Near the limit, in this order: memory that lies unused goes back to the system; whoever asks
    for a value waits for running tasks; values that are cheap to compute again (elementwise, and
    views) and that were not asked for themselves are not stored, but computed again when they are
    wanted, those held for gradients too; what was to run together runs in parts, in an order in
    which less is held at once; then `OutOfMemoryError`, which is a `MemoryError`, names the largest
    values. Nothing that can be seen has changed then: drop some arrays, and ask again.

    Examples
    --------
    >>> with la.memory.limit("64MB"):
    ...     la.zeros(10_000_000).wait()
    Traceback (most recent call last):
        ...
    lazyarray.errors.OutOfMemoryError: ...
    """
    nbytes = parsed(size)
    return Limit(nbytes, _memory.set_limit(nbytes))


def parsed(size: object) -> int | None:
    """A limit in bytes."""
    remedy = 'Write it like "2GB", "512MiB", 2_000_000_000 or None.'
    if size is None:
        return None
    if isinstance(size, str):
        match = SIZE.fullmatch(size)
        if match is None:
            fail(OptionError, "limit", f"{size!r} is not a size", remedy)
        nbytes = int(float(match[1]) * UNITS[match[2]])
    elif isinstance(size, (int, np.integer)) and not isinstance(size, bool):
        nbytes = int(size)
    else:
        fail(DTypeError, "limit", f"expected a size, got {type(size).__name__}", remedy)
    if nbytes <= 0:
        fail(OptionError, "limit", f"the limit is {nbytes} bytes, expected more", remedy)
    return nbytes


_memory.set_describe(largest)
devices.describe_holders = largest_on
_bind.set_forget_values(forget_values)
