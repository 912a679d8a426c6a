"""Asking for values, and waiting for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lazyarray._plan as _plan
from lazyarray import _engine, _handle, runtime
from lazyarray._record import ArrayBase


def evaluate(*arrays: Any) -> None:
    """Start computing arrays (or nested lists, tuples and dicts of them); return at once.

    One flush computes them together on the engine, so what they share is computed once.
    """
    if not _handle.start(arrays):
        runtime.flush([_handle.storage_node(a) for a in flatten(arrays)])


def flatten(tree: Any) -> Iterator[ArrayBase]:
    """The arrays in nested lists, tuples and dicts."""
    if isinstance(tree, ArrayBase):
        yield tree
    elif isinstance(tree, dict):
        for part in tree.values():
            yield from flatten(part)
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from flatten(part)


def wait_all(*trees: Any) -> None:
    """Wait for every array in nested lists, tuples and dicts.

    Without arguments, wait for all that this thread has recorded and that is still wanted, and for
    all that any thread of this process has handed to the engine.

    Raises
    ------
    BaseException
        What the computation of an array raised. Without arguments an ExceptionGroup of every
        failure that no wait has raised yet.
    """
    if not trees:
        _handle.cut()
        _engine.wait_all()
        _plan.warn_now()
        return
    found = tuple(flatten(trees))
    if not _handle.start(found, True):
        evaluate(*found)
    for each in found:
        each.wait()


def time(fn: Callable[[], Any], repeat: int = 5) -> float:
    """Return the median time of ``fn()`` in seconds, waiting for the arrays it returns.

    Parameters
    ----------
    fn : callable
        Takes nothing; the arrays in what it returns (nested lists, tuples, dicts) are waited for.
    repeat : int, default 5
        Counted runs, after one that is not.
    """
    wait_all(fn())
    return runtime.timed(fn, wait_all, repeat)
