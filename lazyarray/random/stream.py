"""A stream of NumPy's as a Storage that holds the bit generator's state: what draws are made of.

A draw is recorded: it replaces the state by the one after it, so draws follow one another in the
order of the program, whichever is read first, and none is lost. While somebody else holds the bit
generator, draws run at once, on the bit generator itself: both sides see each other's.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

import lazyarray._draw as _draw
from lazyarray import _handle, _ir, _trace
from lazyarray._handle import shadow, to_node
from lazyarray._ir import Node
from lazyarray._record import ArrayBase
from lazyarray._stream import Known, Recipe
from lazyarray.array import Array
from lazyarray.dtypes import canonical
from lazyarray.errors import DTypeError, ShapeError, fail
from lazyarray.number import Number
from lazyarray.ops import draw as ops
from lazyarray.ops.draw import BYTE, Input

from .fast import extents

FLOAT64 = np.dtype(np.float64)
INT64 = np.dtype(np.int64)
UINT64 = np.dtype(np.uint64)

known: dict[tuple[str, int], Known] = {}  # by family and kind of bit generator
trusted: dict[tuple[Any, ...], bool] = {}  # C functions that have been tried


class Stream:
    """What a Generator and a RandomState share: the state, and how to draw."""

    family = "Generator"
    live_names = frozenset({"_lock", "_known", "_seen"})

    def __init__(self, bits: Any, shared: bool) -> None:
        self._lock = threading.RLock()
        self._adopt(bits, shared)

    def _adopt(self, bits: Any, shared: bool) -> None:
        """Draw from this bit generator; `shared` says that others may hold it."""
        self._numpy = getattr(np.random, self.family)(bits)
        self._bits = bits
        self._kind = _draw.kind_of(bits)
        self._known = known.setdefault((self.family, self._kind), Known())
        self._state = _handle.from_data(np.zeros(1, BYTE))
        # While the bit generator leads, the state is exported, so that jit does not run on it.
        self._seen: Any = None
        if self._kind < 0:
            return
        if shared:
            _trace.cannot("it draws from a bit generator from outside", True)
        self._state = _handle.from_data(self._packed())
        if shared:
            self._seen = _handle.export_numpy(self._state)

    # ---- the bit generator, seen from outside

    def _packed(self) -> np.ndarray:
        """The state of the bit generator as bytes."""
        if self.family == "Generator":
            return np.frombuffer(_draw.read_state(self._kind, self._bits), BYTE)
        return np.frombuffer(ops.packed_legacy(self._numpy, self._kind), BYTE)

    def _expose(self) -> None:
        """Give the bit generator the state after all draws so far; from here on it leads."""
        with self._lock:
            if self._kind < 0 or self._seen is not None:
                return
            seen = _handle.export_numpy(self._state)
            if self.family == "Generator":
                _draw.write_state(self._kind, self._bits, seen)
            else:
                ops.load_legacy(self._numpy, self._kind, seen)
            self._seen = seen

    def _leads(self) -> bool:
        """Whether draws are to be recorded; takes over again what nobody else holds any more."""
        if self._seen is None:
            return self._kind >= 0
        if sys.getrefcount(self._bits) > OWN[self.family]:
            return False
        _trace.cannot("it goes on with a bit generator that was seen from outside", True)
        packed = _handle.from_data(self._packed())
        self._seen = None
        _handle.replace(self._state, to_node(packed))
        return True

    def _at_once(self, name: str, *args: Any, **options: Any) -> Any:
        """What NumPy's method gives when it is called now."""
        with self._lock:
            self._expose()
            _trace.cannot(f"{name} draws at once", True)
            args = tuple([read(each) for each in args])
            options = {key: read(each) for key, each in options.items()}
            return getattr(self._numpy, name)(*args, **options)

    def _refused(self, name: str, *args: Any, **options: Any) -> Array:
        """Let NumPy raise what it raises, the state being what it makes of it."""
        return self._wrapped(name, *args, **options)

    def _wrapped(self, name: str, *args: Any, **options: Any) -> Any:
        """What `_at_once` gives, as an array."""
        found = np.asarray(value := self._at_once(name, *args, **options))
        return _handle.from_numpy(found, not isinstance(value, np.ndarray))

    # ---- draws

    def _record(
        self,
        name: str,
        inputs: Sequence[Node],
        shape: tuple[int, ...],
        dtype: np.dtype,
        args: tuple[Any, ...],
        options: tuple[tuple[str, Any], ...],
        checked: bool,
        is_scalar: bool,
        native: tuple[str, str] = ("", ""),
    ) -> Array:
        """Record a call of NumPy's method; the caller holds the lock, and the state leads."""
        method = ops.method(
            self.family, self._kind, name, shape, dtype, args, options, checked, *native,
            self.family == "RandomState",
        )  # fmt: skip
        drawn: Array = Recipe(method, is_scalar, BYTE).record(self._state, list(inputs))
        return drawn

    def _native(
        self,
        name: str,
        size: Any,
        options: tuple[tuple[str, Any], ...],
        dtype: np.dtype,
        native: tuple[str, str],
    ) -> Recipe:
        """How NumPy's C function draws an array of that size."""
        recipe = self._known.recipe(name, size, options)
        if recipe is None:
            masked = self.family == "RandomState"
            shape = () if size is None else extents(size)
            method = ops.method(
                self.family, self._kind, name, shape, dtype, (), (), False, *native, masked
            )
            recipe = Recipe(method, size is None, BYTE)
            self._known.keep(name, size, options, recipe)
        return recipe

    def _trusts(
        self,
        name: str,
        params: tuple[Any, ...],
        options: dict[str, Any],
        numbers: Sequence[tuple[Any, np.dtype]],
        dtype: np.dtype,
        native: tuple[str, str],
    ) -> bool:
        """Whether the C function is there and draws what NumPy's method draws: it is tried once."""
        key = self.family, self._kind, name, dtype, native
        found = trusted.get(key)
        if found is None:
            found = trusted[key] = _draw.has(native[1]) and ops.same_draws(
                self.family, self._kind, name, params, options, numbers, dtype, native
            )
        return found

    def _sample(
        self,
        name: str,
        params: tuple[Any, ...],
        size: Any,
        dtype: np.dtype = FLOAT64,
        options: tuple[tuple[str, Any], ...] = (),
        native: tuple[str, str] | None = None,
    ) -> Array:
        """A draw whose parameters broadcast with each other and with `size`."""
        with self._lock:
            if not self._leads():
                return self._wrapped(name, *params, size=size, **dict(options))
            drawn = self._known.draw(self._state, name, params, size, options)
            if drawn is not None:
                return drawn
            numbers = self._known.accepted(name, params, options)
            if numbers is not None and native is not None:
                recipe = self._native(name, size, options, dtype, native)
                return recipe.draw(self._state, numbers)
            given = params
            params = tuple([parameter(each) for each in params])
            shapes = [each.shape for each in params if isinstance(each, ArrayBase | np.ndarray)]
            shape = fitted(name, size, shapes)
            if not accepts(self.family, name, params, options, shapes):
                return self._refused(name, *params, size=size, **dict(options))
            if native is not None and not shapes:
                numbers = converted(name, native[0], params)
                if self._trusts(name, params, dict(options), numbers, dtype, native):
                    self._known.accept(name, given, options, numbers)
                    recipe = self._native(name, size, options, dtype, native)
                    return recipe.draw(self._state, numbers)
            is_scalar = size is None and not shape
            lazy = any(isinstance(each, ArrayBase) for each in params)
            args = tuple([Input(i) for i in range(len(params))])
            named = (("size", None if size is None else shape), *options)
            inputs = [node_of(each) for each in params]
            return self._record(name, inputs, shape, dtype, args, named, lazy, is_scalar)

    def _general(
        self,
        name: str,
        args: tuple[Any, ...],
        options: dict[str, Any],
        shape: tuple[int, ...],
        dtype: np.dtype,
        is_scalar: bool = False,
    ) -> Array:
        """A draw by NumPy's method; it accepts whatever is not lazy."""
        inputs: list[Node] = []
        lazy = False
        parts = []
        for value in (*args, *options.values()):
            if isinstance(value, ArrayBase | np.ndarray):
                lazy = lazy or isinstance(value, ArrayBase)
                parts.append(Input(len(inputs)))
                inputs.append(node_of(value))
            else:
                parts.append(value)
        given = tuple(parts[: len(args)])
        named = tuple(zip(options, parts[len(args) :], strict=True))
        return self._record(name, inputs, shape, dtype, given, named, lazy, is_scalar)


# References to a bit generator that belong to a Stream and to the one who counts them.
OWN: dict[str, int] = {}
for _family in ("Generator", "RandomState"):

    class _Probe(Stream):
        family = _family

        def count(self) -> int:
            """What `_leads` counts when nobody else holds the bit generator."""
            return sys.getrefcount(self._bits)

    OWN[_family] = _Probe(np.random.PCG64(0), False).count()


# ---- parameters


def read(value: Any) -> Any:
    """An argument for NumPy."""
    if isinstance(value, ArrayBase):
        found = _handle.peek_numpy(value)
        return found[()] if value.is_scalar else found
    return value.look() if type(value) is Number else value


def parameter(value: Any) -> Any:
    """A lazy array or a number as it is; anything else as a NumPy array, or the number it holds."""
    if isinstance(value, ArrayBase):
        return value
    if type(value) is Number:
        value = value.look()
    if isinstance(value, int | float | complex | np.generic) or value is None:
        return value
    found = np.asarray(nested(value))
    return found if found.ndim else found[()]


def nested(value: Any) -> Any:
    """Lists of arrays as lists of NumPy's."""
    if isinstance(value, list | tuple):
        return [nested(part) for part in value]
    return read(value)


def constant(value: Any) -> Node:
    """A number as a Node."""
    data = np.asarray(value)
    return _ir.scalar(data[()], canonical(data.dtype, "random"))


def node_of(value: Any) -> Node:
    """An array or a number as a Node; a NumPy array is copied."""
    if isinstance(value, ArrayBase):
        return to_node(value)
    if isinstance(value, np.ndarray):
        return to_node(_handle.from_numpy(value))
    return constant(value)


def fitted(name: str, size: Any, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of a draw: `size`, to which the parameters must broadcast, or what they make."""
    if not shapes:
        return () if size is None else extents(size)
    try:
        both = np.broadcast_shapes(*shapes)
    except ValueError:
        shown = " ".join(map(str, shapes))
        fail(ShapeError, name, f"parameters of shapes {shown} do not broadcast")
    if size is None:
        return both
    shape = extents(size)
    try:
        fits = np.broadcast_shapes(shape, both) == shape
    except ValueError:
        fits = False
    if not fits:
        fail(
            ShapeError,
            name,
            f"Output size {shape} is not compatible with broadcast dimensions of inputs {both}.",
        )
    return shape


def accepts(
    family: str,
    name: str,
    params: tuple[Any, ...],
    options: tuple[tuple[str, Any], ...],
    shapes: Sequence[tuple[int, ...]],
) -> bool:
    """Whether NumPy takes parameters: the dtypes of lazy ones, the values of others."""
    if not shapes:
        return succeeds(getattr(spare(family), name), *params, size=0, **dict(options))
    lazy = any(isinstance(each, ArrayBase) for each in params)
    given = [
        np.full((1,) * shadow(each).ndim, HALF.get(each.dtype.kind, 1), each.dtype)
        if isinstance(each, ArrayBase)
        else each
        for each in params
    ]
    both = np.broadcast_shapes(*[np.shape(each) for each in given])
    try:
        getattr(spare(family), name)(*given, size=(0, *both) if both else 0, **dict(options))
    except ValueError:
        # What lazy arrays hold is not known yet.
        return lazy
    except Exception:
        if lazy:
            raise
        return False
    return True


def succeeds(function: Any, *args: Any, **options: Any) -> bool:
    """Whether a function takes its arguments."""
    try:
        function(*args, **options)
    except Exception:
        return False
    return True


HALF = {"f": 0.5}  # what most parameters may be


def converted(name: str, form: str, params: tuple[Any, ...]) -> list[tuple[Any, np.dtype]]:
    """Numbers as the C function takes them."""
    if form == "l3":
        return [(int(each), INT64) for each in params]
    if form == "binomial":
        return [(int(params[0]), INT64), (float(params[1]), FLOAT64)]
    if name == "uniform":
        low, high = float(params[0]), float(params[1])
        return [(low, FLOAT64), (high - low, FLOAT64)]
    return [(float(each), FLOAT64) for each in params]


spares: dict[tuple[str, int], Any] = {}


def spare(family: str) -> Any:
    """A generator of NumPy's for this thread, to try parameters on; its numbers are not used."""
    key = family, threading.get_ident()
    found = spares.get(key)
    if found is None:
        if len(spares) > 256:
            spares.clear()
        bits = np.random.MT19937(0) if family == "RandomState" else np.random.PCG64(0)
        found = spares[key] = getattr(np.random, family)(bits)
    return found


# ---- where samples go


def stored(out: Any, name: str, dtype: np.dtype, size: Any) -> tuple[int, ...]:
    """The shape of a sample that goes to `out`, by NumPy's rules."""
    if not isinstance(out, ArrayBase):
        fail(DTypeError, name, f"out must be a lazyarray array, got {type(out).__name__}")
    if out.dtype != dtype:
        fail(
            DTypeError,
            name,
            f"Supplied output array has the wrong type. Expected {dtype}, got {out.dtype}",
        )
    flags = shadow(out).flags
    if not flags.writeable or not (flags.c_contiguous or flags.f_contiguous):
        fail(ShapeError, name, "Supplied output array is not contiguous, writable or aligned.")
    if size is not None and extents(size) != out.shape:
        fail(ShapeError, name, "size must match out.shape when used together")
    return out.shape


def in_memory_order(out: Any) -> Any:
    """A view of `out` whose C order is that of its memory."""
    return out if shadow(out).flags.c_contiguous else out.T
