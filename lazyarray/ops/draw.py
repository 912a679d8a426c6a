"""Draws from NumPy's own streams: state -> (sample, state), a pure op.

A state is the packed state of a bit generator (see `_draw.pyx`), behind it what a `RandomState` has
besides: whether it keeps a normal number, and the number. A draw's result is bytes: the sample,
from the next multiple of 64 on the new state, and where a parameter's value is not known when the
draw is recorded, a message. NumPy's state is sound after it has refused parameters, so such a draw
never fails; taking its sample does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import lazyarray._draw as _draw
from lazyarray import _ir
from lazyarray._ir import Node

from .define import arrayop

BYTE = np.dtype(np.uint8)
ALIGNMENT = 64  # bytes
EXTRA = 16  # bytes of a RandomState: an int64 and a float64
TRIAL = 100  # numbers by which a C function is compared with NumPy's method
MESSAGE = 512  # bytes: the class of the error and its text
METHOD_LIMIT = 50_000
ERRORS = {cls.__name__: cls for cls in (ValueError, TypeError, OverflowError, MemoryError)}


@dataclass(frozen=True, slots=True)
class Input:
    """Where input `index` of a draw stands in the call of NumPy's method."""

    index: int


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """What is drawn: structure. Equal ones are one object, which is quick to compare."""

    family: str  # Generator or RandomState
    kind: int  # of the bit generator
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    args: tuple[Any, ...]  # of NumPy's method, arrays and numbers as Inputs
    options: tuple[tuple[str, Any], ...]
    checked: bool  # NumPy may refuse the parameters
    form: str  # of the C function, or ""
    function: str
    masked: bool = False
    # In bytes: the sample, where the state lies, how long it is, all.
    sample: int = field(init=False)
    state_at: int = field(init=False)
    state_size: int = field(init=False)
    total: int = field(init=False)
    after: tuple[int, ...] = field(init=False)  # the shape of the state
    strides: tuple[int, ...] = field(init=False)  # in bytes, of the sample

    def __post_init__(self) -> None:
        sample = math.prod(self.shape) * self.dtype.itemsize
        at = sample + -sample % ALIGNMENT
        size = _draw.state_bytes(self.kind) + (EXTRA if self.family == "RandomState" else 0)
        for name, value in (
            ("sample", sample),
            ("state_at", at),
            ("state_size", size),
            ("total", at + size + (MESSAGE if self.checked else 0)),
            ("after", (size,)),
            ("strides", _ir.c_strides(self.shape, self.dtype.itemsize)),
        ):
            object.__setattr__(self, name, value)


methods: dict[tuple[Any, ...], Method] = {}


def method(*parts: Any) -> Method:
    """The Method of these parts."""
    found = methods.get(parts)
    if found is None:
        if len(methods) > METHOD_LIMIT:
            methods.clear()
        found = methods[parts] = Method(*parts)
    return found


@arrayop()
def _draw_bytes(state: Node, *numbers: Node, method: Method) -> Any:
    """A sample and the state after it, as bytes."""
    return (state, *numbers), (method.total,), BYTE, {"method": method}


@_draw_bytes.native
def _(inputs: Any, out: Any, layouts: Any, method: Method) -> Any:
    if not method.form:
        return None
    in_rows = method.form in ("order", "rows")
    count = method.shape[0] if in_rows else math.prod(method.shape)
    return _draw.draw(
        method.kind,
        method.form,
        method.function,
        count,
        method.state_at,
        method.state_size,
        method.masked,
        COST.get(method.name, 30),
        method.sample // max(count, 1) if in_rows else 0,
    )


# Nanoseconds for a number; others take about 30.
COST = {
    "random": 3.0,
    "random_sample": 3.0,
    "uniform": 4.0,
    "integers": 4.0,
    "standard_normal": 9.0,
}


@_draw_bytes.kernel
def _(xp: Any, state: Any, *arrays: Any, out: Any, method: Method) -> None:
    after = out[method.state_at : method.state_at + method.state_size]
    pool = pools.setdefault((method.family, method.kind), [])
    tool = pool.pop() if pool else new_tool(method.family, method.kind)
    try:
        load(tool, method, state)
        found = called(tool, method, arrays)
        out[: method.sample].view(method.dtype).reshape(method.shape)[...] = found
        save(tool, method, after)
    except Exception as error:
        if not method.checked:
            raise
        out[: method.sample] = 0
        save(tool, method, after)
        text = f"{type(error).__name__}\n{method.name}: {error}".encode()[:MESSAGE]
    else:
        text = b""
    finally:
        pool.append(tool)
    if method.checked:
        out[-MESSAGE:] = np.frombuffer(text.ljust(MESSAGE, b"\0"), BYTE)


@arrayop(dear=True, fallible=True)
def _drawn(drawn: Node, method: Method) -> Any:
    """The sample of a draw; raises what NumPy says about its parameters."""
    return (drawn,), method.shape, method.dtype, {"method": method}


@_drawn.kernel
def _(xp: Any, drawn: Any, out: Any, method: Method) -> None:
    text = drawn[-MESSAGE:].tobytes().rstrip(b"\0").decode(errors="replace")
    if text:
        name, _, message = text.partition("\n")
        raise ERRORS.get(name, RuntimeError)(message)
    out[...] = drawn[: method.sample].view(method.dtype).reshape(method.shape)


# ---- NumPy's generators, to which states are lent

pools: dict[tuple[str, int], list[Any]] = {}


def new_tool(family: str, kind: int) -> Any:
    """A generator of NumPy's; its own state does not matter."""
    return getattr(np.random, family)(_draw.CLASSES[kind](0))


def load(tool: Any, method: Method, state: np.ndarray) -> None:
    """Give a generator a state."""
    if method.family == "Generator":
        _draw.write_state(method.kind, tool.bit_generator, state)
    else:
        load_legacy(tool, method.kind, state)


def save(tool: Any, method: Method, out: np.ndarray) -> None:
    """Write a generator's state to `out`."""
    if method.family == "Generator":
        out[...] = np.frombuffer(_draw.read_state(method.kind, tool.bit_generator), BYTE)
    else:
        out[...] = np.frombuffer(packed_legacy(tool, method.kind), BYTE)


def load_legacy(tool: Any, kind: int, state: np.ndarray) -> None:
    """Give a RandomState a state."""
    size = _draw.state_bytes(kind)
    kept = state[size:].tobytes()
    has, number = np.frombuffer(kept, np.int64)[0], np.frombuffer(kept, np.float64)[1]
    _draw.write_state(kind, tool._bit_generator, state)
    full = tool.get_state(legacy=False)
    if full["has_gauss"] != has or full["gauss"] != number:
        tool.set_state({**full, "has_gauss": int(has), "gauss": float(number)})


def packed_legacy(tool: Any, kind: int) -> bytes:
    """The packed state of a RandomState."""
    full = tool.get_state(legacy=False)
    kept = np.int64(full["has_gauss"]).tobytes() + np.float64(full["gauss"]).tobytes()
    return bytes(_draw.read_state(kind, tool._bit_generator)) + kept


def same_draws(
    family: str,
    kind: int,
    name: str,
    params: tuple[Any, ...],
    options: dict[str, Any],
    numbers: Any,
    dtype: np.dtype,
    native: tuple[str, str],
) -> bool:
    """Whether a C function and NumPy's method draw the same, and leave the same state."""
    tool = new_tool(family, kind)
    arrays = [np.array(value, wanted) for value, wanted in numbers]
    if native[0] in ("order", "rows"):
        params, options, arrays = (TRIAL,), {}, [np.arange(TRIAL)][: native[0] == "rows"]
    else:
        options = {**options, "size": TRIAL}
    masked = family == "RandomState"
    trial = method(family, kind, name, (TRIAL,), dtype, (), (), False, *native, masked)
    state, out = np.empty(trial.state_size, BYTE), np.zeros(trial.total, BYTE)
    save(tool, trial, state)
    _draw_bytes.factory((), None, (), trial).call(state, *arrays, out)
    wanted = np.asarray(getattr(tool, name)(*params, **options), dtype)
    save(tool, trial, state)
    same = out[: trial.sample].tobytes() == wanted.tobytes()
    return same and out[trial.state_at :].tobytes() == state.tobytes()


def called(tool: Any, method: Method, arrays: tuple[np.ndarray, ...]) -> Any:
    """What NumPy's method gives."""
    args = [taken(each, arrays) for each in method.args]
    options = {name: taken(each, arrays) for name, each in method.options}
    if method.name == "shuffle":
        copied = args[0].copy()
        tool.shuffle(copied, *args[1:], **options)
        return copied
    found = getattr(tool, method.name)(*args, **options)
    return np.frombuffer(found, BYTE) if type(found) is bytes else found


def taken(value: Any, arrays: tuple[np.ndarray, ...]) -> Any:
    """An argument; numbers as NumPy's scalars."""
    return arrays[value.index][()] if type(value) is Input else value
