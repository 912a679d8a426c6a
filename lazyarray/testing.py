"""NumPy's assertions on arrays: what `numpy.testing` has, for lazyarray's arrays, too.

Arrays are waited for, and compared as NumPy's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy.testing as theirs

from lazyarray.hosted import mapped, viewed


def comparing(function: Callable[..., Any]) -> Callable[..., Any]:
    """An assertion on the values of arrays."""

    @functools.wraps(function)
    def check(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        return function(*mapped(args, viewed), **mapped(options, viewed))

    return check


# Those that call what they are given get no arrays of their own.
CALLING = ("assert_no_gc_cycles", "assert_no_warnings", "assert_raises", "assert_raises_regex",
           "assert_warns")  # fmt: skip

__all__ = sorted(theirs.__all__)

for _name in __all__:
    _found = getattr(theirs, _name)
    if _name.startswith("assert_") and _name not in CALLING:
        _found = comparing(_found)
    globals()[_name] = _found
