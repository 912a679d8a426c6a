"""The user's lines in warnings that NumPy's functions and lazyarray's own give."""

from __future__ import annotations

import builtins
import contextvars
import functools
import os
import sys
import warnings
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from lazyarray._floats import line_of, module_of

HOME = os.path.dirname(__file__) + os.sep
NUMPYS = os.path.dirname(np.__file__) + os.sep
Site = tuple[CodeType | None, int]  # a function's code and the place in it

# Where the task that runs here was recorded.
recorded: contextvars.ContextVar[Site | None] = contextvars.ContextVar("recorded", default=None)


def user_line() -> tuple[str, int]:
    """File and line of the innermost frame outside lazyarray and NumPy."""
    frame: Any = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith((HOME, NUMPYS)):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def warn(text: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn on the user's line."""
    file, line = user_line()
    module, registry = module_of(file)
    warnings.warn_explicit(text, category, file, line, module=module, registry=registry)


def from_user(function: Callable[..., Any], args: Any, options: Any) -> Any:
    """Call `function`; its caller's line is the user's."""
    return caller(*user_line())(function, args, options)


def call(function: Callable[..., Any], args: Any, options: Any) -> Any:
    """Call `function`; its caller's line is that where the task was recorded.

    NumPy's functions warn on their caller's line, and the warnings module shows each line once.
    """
    site = recorded.get()
    if site is None or site[0] is None:
        return function(*args, **options)
    return caller(*line_of(("", 0, *site)))(function, args, options)


@functools.lru_cache(256)
def caller(file: str, line: int) -> Callable[..., Any]:
    """A function on a line of the user's file that calls what it is given."""
    module, registry = module_of(file)
    where = {
        **{"__name__": module or "<unknown>", "__file__": file, "__warningregistry__": registry},
        "__builtins__": builtins,
    }
    # Its first line is its last: the line may be a file's first.
    code = (lambda function, args, options: function(*args, **options)).__code__
    return FunctionType(code.replace(co_filename=file, co_firstlineno=max(line, 1)), where)
