"""NumPy's parameters for functions that have fewer, or call them otherwise.

A call that the function takes goes straight to it. Another is bound to NumPy's signature: names
are translated, options at their defaults dropped, and what then is still unknown runs NumPy's
function on the values.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

import numpy as np

from lazyarray._record import ArrayBase, Remembered

from .hosted import observe
from .lift import RECALLS

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
# The functions with fewer parameters than NumPy's.
FEWER = (
    "append", "arange", "argmax", "argmin", "argsort", "around", "array", "asarray", "clip",
    "column_stack", "concat", "concatenate", "cumprod", "cumsum", "diag", "dot", "dstack", "empty",
    "empty_like", "eye", "full", "full_like", "hstack", "linspace", "ones", "ones_like", "outer",
    "ptp", "roll", "round", "row_stack", "size", "sort", "stack", "take", "take_along_axis",
    "tile", "trace", "tril", "triu", "vstack", "zeros", "zeros_like",
)  # fmt: skip
# What is only a wish, or has no meaning here.
IGNORED = {"like", "subok", "optimize"}
RENAMED = {"clip": {"min": "a_min", "max": "a_max"}}
# Arguments that decide a shape, or what is read: arrays among them are read.
READ = {"roll": ("shift", "axis"), "tile": ("reps",)}
# What NumPy takes as ``**kwargs``.
EXTRA = {"clip": {"casting", "dtype", "where"}}
LIFTED_ALL = {"out"}  # what every lifted op takes besides


def parameters(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    """A function's parameters, none where it does not tell."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def translation(
    ours: Mapping[str, Parameter], theirs: Mapping[str, Parameter]
) -> tuple[int, dict[str, str]]:
    """How many leading parameters are the same, and those of NumPy's with another name here."""
    mine = [name for name, each in ours.items() if each.kind in POSITIONAL]
    limit, names = 0, {}
    for name in (name for name, each in theirs.items() if each.kind in POSITIONAL):
        if limit == len(mine):
            break
        own = mine[limit]
        if name != own:
            if name in ours or own in theirs:
                break
            names[name] = own
        limit += 1
    return limit, names


def lacking(ours: Callable[..., Any], theirs: Callable[..., Any]) -> set[str]:
    """NumPy's parameters that a function does not have by their names."""
    if inspect.isclass(theirs) or isinstance(theirs, np.ufunc):
        return set()
    named, wanted = parameters(ours), parameters(theirs)
    if not named or any(each.kind == Parameter.VAR_KEYWORD for each in named.values()):
        return set()
    named = {k: each for k, each in named.items() if each.kind not in VARIADIC}
    return {k for k, each in wanted.items() if k not in named and each.kind not in VARIADIC} - {
        "like",
        "subok",
    }


def completed(
    name: str, ours: Callable[..., Any], theirs: Callable[..., Any], takes_out: bool
) -> Callable[..., Any]:
    """The function with NumPy's parameters."""
    mine, wanted = parameters(ours), inspect.signature(theirs)
    limit, names = translation(mine, wanted.parameters)
    names |= RENAMED.get(name, {})
    known = frozenset(mine) | (LIFTED_ALL if takes_out else set())
    variadic = any(each.kind == Parameter.VAR_POSITIONAL for each in mine.values())
    count = float("inf") if variadic else limit

    places = [i for i, each in enumerate(mine) if names_back(names, each) in READ.get(name, ())]

    def call(*args: Any, **options: Any) -> Any:
        for i in places:
            if i < len(args) and isinstance(args[i], ArrayBase):
                args = (*args[:i], counted(args[i]), *args[i + 1 :])
        if len(args) <= count and options.keys() <= known:
            return ours(*args, **options)
        given = {names.get(k, k): v for k, v in options.items() if k not in IGNORED}
        if len(args) <= count and given.keys() <= known:
            return ours(*args, **given)
        strange = options.keys() - known - wanted.parameters.keys() - EXTRA.get(name, set())
        try:
            bound = wanted.bind(*args, **options)
        except TypeError:
            strange = options.keys() | {"arguments"}
        if strange:
            return ours(*args, **options)  # which says what is wrong
        if not variadic:
            chosen = {}
            for key, value in bound.arguments.items():
                if value is not wanted.parameters[key].default and key not in IGNORED:
                    chosen[names.get(key, key)] = value
            if chosen.keys() <= known:
                return ours(**chosen)
        return observe(theirs, args, options)

    made: Any = call
    if takes_out and ours.__name__ in RECALLS:
        made = Remembered(call, RECALLS[ours.__name__])
    elif isinstance(ours, Remembered):
        made = Remembered(call, ours.recall, limit)
    functools.update_wrapper(made, ours)
    made.__name__ = made.__qualname__ = name
    made.__module__ = "lazyarray"
    made.ours = ours
    made.__signature__ = merged(mine, wanted)
    return made


def counted(a: Any) -> Any:
    """The values of an array as Python's numbers, truth values as 0 and 1."""
    return (a.astype(np.int64) if a.dtype.kind == "b" else a).tolist()


def names_back(names: Mapping[str, str], own: str) -> str:
    """NumPy's name of a parameter."""
    return next((theirs for theirs, ours in names.items() if ours == own), own)


def merged(mine: Mapping[str, Parameter], wanted: inspect.Signature) -> inspect.Signature:
    """NumPy's signature, with the keywords that there are besides."""
    found = dict(wanted.parameters)
    last = [each for each in found.values() if each.kind == Parameter.VAR_KEYWORD]
    extra = [
        each.replace(kind=Parameter.KEYWORD_ONLY, annotation=Parameter.empty)
        for name, each in mine.items()
        if name not in found and each.kind == Parameter.KEYWORD_ONLY
    ]
    first = [each for each in found.values() if each.kind != Parameter.VAR_KEYWORD]
    return inspect.Signature([*first, *extra, *last])


def complete(functions: Mapping[str, Any], lifted: Mapping[str, Any], space: Any) -> dict[str, Any]:
    """Those functions of a namespace that have fewer parameters than NumPy's, completed."""
    return {
        name: completed(name, ours, getattr(space, name), ours is lifted.get(name))
        for name in FEWER
        if lacking(ours := functions[name], getattr(space, name))
    }
