"""NumPy's functions on arrays: as tasks where the result's type is known, else read and run.

`observed` makes a function that waits for its arguments, calls NumPy on views of their memory and
returns arrays; `deferred` one that records a task where it can. ``LAZYARRAY_FALLBACK=warn`` (or
``error``) tells where a program waits like this.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _handle, _record, device
from lazyarray._record import ArrayBase
from lazyarray.dtypes import kind_of
from lazyarray.errors import DTypeError, FallbackError, FallbackWarning, OptionError, fail, require
from lazyarray.lines import from_user, user_line
from lazyarray.number import Number
from lazyarray.ops.host import HostOp, ValuesNeededError

from .lift import as_argument, as_result, named, stored
from .waiting import evaluate, flatten

CHOICES = ("", "warn", "error")

fallback = os.environ.get("LAZYARRAY_FALLBACK", "")
require(
    fallback in CHOICES,
    OptionError,
    "LAZYARRAY_FALLBACK",
    f"{fallback!r} is unknown",
    "Set it to warn or error, or not at all.",
)
reported: set[tuple[str, int]] = set()


def report(name: str) -> None:
    """Say, once a line, that a function waits for its arguments and runs NumPy."""
    site = user_line()
    text = f"{name} waits for its arguments and runs NumPy's function"
    if fallback == "error":
        fail(FallbackError, "", f"{text}, at {site[0]}:{site[1]}", "Unset LAZYARRAY_FALLBACK.")
    if site not in reported:
        reported.add(site)
        warnings.warn_explicit(text, FallbackWarning, *site)


def mapped(tree: Any, convert: Callable[[Any], Any]) -> Any:
    """A nest of lists, tuples and dicts with its arrays converted."""
    if isinstance(tree, ArrayBase):
        return convert(tree)
    kind = type(tree)
    if kind is list or kind is tuple:
        return kind([mapped(part, convert) for part in tree])
    if kind is dict:
        return {key: mapped(part, convert) for key, part in tree.items()}
    if kind is Number:
        return tree.look()
    if kind is slice:
        return slice(*[mapped(part, convert) for part in (tree.start, tree.stop, tree.step)])
    return tree


def viewed(a: Any) -> Any:
    """The value, read-only: a NumPy array on the same memory, of a scalar a NumPy scalar."""
    view = _handle.peek_numpy(a)
    if a.is_scalar:
        return view[()]
    view.flags.writeable = False
    return view


def wrapped(found: Any, name: str) -> Any:
    """What NumPy returned, with arrays for its arrays and scalars."""
    if isinstance(found, np.ndarray | np.generic):
        if kind_of(found.dtype) not in "biufc" or found.dtype.itemsize > 16:
            remedy = f"Keep such data in NumPy: np.{name}(np.asarray(x), ...)."
            if name == "load" and found.dtype == "V2":  # what NumPy's files make of it
                remedy = "If it was saved as bfloat16: la.asarray(np.load(file).view(la.bfloat16))."
            fail(DTypeError, name, f"the result has dtype {found.dtype}", remedy)
        made = _handle.from_numpy(np.asarray(found), isinstance(found, np.generic))
        home = device.number_of(device.current_device())
        return _handle.placed(made, home) if home else made
    if isinstance(found, tuple):
        made = [wrapped(part, name) for part in found]
        return type(found)(*made) if hasattr(found, "_fields") else type(found)(made)
    if type(found) is list:
        return [wrapped(part, name) for part in found]
    return found


def title(function: Callable[..., Any]) -> str:
    """A function's name as it is written after ``np.``."""
    module = getattr(function, "__module__", None) or "numpy"
    name = getattr(function, "__name__", str(function))
    return f"{module}.{name}".removeprefix("numpy.")


def observe(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Wait for the arguments, call `function` on their values, and return arrays."""
    name = title(function)
    options = dict(options)
    out = options.pop("out", None)
    if options.get("overwrite_input"):  # a permission, not a wish
        options["overwrite_input"] = False
    arrays = list(flatten((args, options)))
    if arrays and fallback:
        report(name)
    if len(arrays) > 1:
        evaluate(*arrays)
    args, options = mapped(args, viewed), mapped(options, viewed)
    if out is None:
        found = from_user(function, args, options)
        with place_of(arrays):
            return wrapped(found, name)
    return written(function, args, options, out, name)


def place_of(arrays: list[Any]) -> Any:
    """Where what has been computed of arrays goes: where the first one lies."""
    return device.known[_handle.device_of(arrays[0])] if arrays else device.current_device()


def written(
    function: Callable[..., Any], args: Any, options: dict[str, Any], out: Any, name: str
) -> Any:
    """Call `function` with ``out=``, and write what it left there through lazyarray's handle."""
    single = not isinstance(out, tuple)
    handles = (out,) if single else out
    memory = tuple(
        np.array(_handle.peek_numpy(x)) if isinstance(x, ArrayBase) else x for x in handles
    )
    found = function(*args, **options, out=memory[0] if single else memory)
    for handle, data in zip(handles, memory, strict=True):
        if isinstance(handle, ArrayBase):
            stored(handle, _handle.from_numpy(data), name)
    return out if single or found is memory else handles


def observed(function: Callable[..., Any], runs: str = "waits") -> Callable[..., Any]:
    """NumPy's function as one of arrays, which reads them at once."""

    def call(*args: Any, **options: Any) -> Any:
        return observe(function, args, options)

    return published(call, function, described(function), runs)


def unmarked(result: Any) -> Any:
    """An array of no axes that is no scalar."""
    if isinstance(result, ArrayBase) and not result.ndim:
        return _handle.from_node(_handle.to_node(result), False)
    return result


def deferred(
    op: HostOp,
    function: Callable[..., Any],
    arrays: Callable[[Any], bool] = lambda options: False,
) -> Callable[..., Any]:
    """NumPy's function as one of arrays, a task or a kernel where its result's type is known.

    `arrays` says of which options a result without axes is no scalar.
    """
    known = inspect.signature(op)
    kinds = {name: str(each.annotation) for name, each in known.parameters.items()}
    recall = _record.Recalled(op, True)

    def call(*args: Any, **options: Any) -> Any:
        out = options.pop("out", None)
        options.pop("overwrite_input", None)  # a permission, not a wish
        try:
            last = _record.newest()
            if out is None and not options:
                found = recall(args)
                if found is not NotImplemented:
                    _record.ask_since(last)
                    return unmarked(found) if arrays(options) else found
            bound = known.bind(*args, **options)
            for key, value in bound.arguments.items():
                bound.arguments[key] = as_argument(kinds[key], value)
            result = as_result(op(*bound.args, **bound.kwargs))
            _record.ask_since(last)
        except (TypeError, ValuesNeededError) as error:
            if isinstance(error, DTypeError) and not isinstance(error, ValuesNeededError):
                raise
            given = options if out is None else {**options, "out": out}
            return observe(function, args, given)
        if out is not None:
            return stored(out, result, op.name)
        return unmarked(result) if arrays(options) else result

    return published(call, function, described(function), "task" if op.factory is None else "own")


def stand_in(a: Any) -> np.ndarray:
    """Zeros of an array's shape and dtype that take no memory."""
    return np.broadcast_to(np.zeros((), a.dtype), a.shape)


def shaped(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function as one of arrays that looks at shapes and dtypes alone: nothing is read."""

    def call(*args: Any, **options: Any) -> Any:
        return function(*mapped(args, stand_in), **mapped(options, stand_in))

    return published(call, function, described(function), "types")


def described(function: Callable[..., Any]) -> str:
    """A docstring: NumPy's first sentence, and where to read the rest."""
    head = (inspect.getdoc(function) or "").strip().split("\n\n")
    lines = [part for part in head if part and "(" not in part.split("\n")[0].split(" ")[0]]
    first = " ".join(lines[0].split()) if lines else ""
    return f"{first}\n\nAs `numpy.{title(function)}`; arrays in it are lazyarray's.".strip()


def published(call: Any, function: Callable[..., Any], doc: str, runs: str = "own") -> Any:
    """Give a function of arrays NumPy's name and signature.

    `runs` says who computes: lazyarray itself ("own"), NumPy as a "task", after a wait for arrays
    ("waits"), on numbers ("made"), files ("file"), or shapes and dtypes ("types").
    """
    call.__wrapped__ = function  # whose signature it has
    call.numpy_function = function
    call.runs = runs
    return named(call, getattr(function, "__name__", "function"), doc)
