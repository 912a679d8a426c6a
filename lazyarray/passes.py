"""Which passes of lowering run: `LAZYARRAY_PASSES` leaves some out, so that a bug can be bisected.

``LAZYARRAY_PASSES=-common`` leaves one out, ``common,dead`` runs these two only, ``none`` runs none
of them. What every plan needs is no pass: without any of these a plan is slower, and its bits are
the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import OptionError, fail

NAMES = {
    "views": "a view of a view becomes one view; a view of everything is its base",
    "identities": "what gives its operand back is that operand",
    "common": "what is computed twice is computed once",
    "dead": "what nobody wants is not computed",
    "fuse": "elementwise operations share a kernel, and an update is written by it",
    "products": "what is made of a product of matrices is computed with it",
    "reductions": "a reduction computes its operand as it reads it",
    "rows": "reductions of rows and what is made of them share a kernel",
    "crossing": "reductions of rows and of columns of one array share a kernel",
    "stencil": "an update that reads its base is computed into a second buffer",
    "rolling": "such an update is done in place, together with those that follow it",
    "bundle": "small tasks that need nothing of each other become one",
    "share": "large temporaries that are never needed together share a buffer",
    "urgency": "of tasks that are ready, those that most of the plan waits for run first",
}

disabled: frozenset[str] | None = None  # None: not read yet


def parse(text: str) -> frozenset[str]:
    """Return the passes that a value of `LAZYARRAY_PASSES` leaves out.

    Raises
    ------
    OptionError
        When it names no pass, or both passes to run and passes to leave out.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["none"]:
        return frozenset(NAMES)
    out = {word[1:] for word in words if word.startswith("-")}
    only = {word for word in words if not word.startswith("-")}
    unknown = (out | only) - NAMES.keys()
    if unknown or (out and only):
        wrong = f"no pass is called {min(unknown)!r}" if unknown else f"{text!r} mixes both forms"
        remedy = f"Name passes to run, or -passes to leave out, or none: {', '.join(NAMES)}."
        fail(OptionError, "LAZYARRAY_PASSES", wrong, remedy)
    return frozenset(NAMES.keys() - only) if only else frozenset(out)


def enabled(name: str) -> bool:
    """Whether the pass of that name runs."""
    global disabled
    if disabled is None:
        disabled = parse(os.environ.get("LAZYARRAY_PASSES", ""))
    return name not in disabled


@contextmanager
def chosen(text: str) -> Iterator[None]:
    """Lower as with that value of `LAZYARRAY_PASSES` inside the block. Cached plans stay."""
    global disabled
    before, disabled = disabled, parse(text)
    try:
        yield
    finally:
        disabled = before
