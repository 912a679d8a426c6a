"""jit: a function that records nothing when it is called again."""

from __future__ import annotations

import functools
import threading
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _ir, _jit, _trace, number
from lazyarray._jit import Call, Entry, Family, Variant
from lazyarray.errors import OptionError, require

from .tracer import Tracer

VARIANT_LIMIT = 16  # variants of one function past which it warns
TRACE_LIMIT = 128  # variants of one function that are kept
ATTEMPTS = 3  # calls that may fail to be traced, where a later one may do better


class Jitted(Entry):
    """What `jit` returns: the function, which records only what it has not seen.

    Attributes
    ----------
    stats : dict
        ``calls``, ``runs`` (calls that recorded nothing), ``traces``, ``plain`` (calls that were
        recorded for good) and ``reasons``, why they were.
    """

    live_names = frozenset(
        {"lock", "families", "count", "traces", "calls", "runs", "plain", "reasons", "warned"}
    )

    def __init__(self, fn: Callable[..., Any], static: tuple[int, ...], limit: int) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.static = frozenset(static)
        self.limit = limit
        self.lock = threading.RLock()
        self.families: OrderedDict[Any, Family] = OrderedDict()
        self.count = 0  # variants kept
        self.traces = self.plain = 0
        self.reasons: dict[str, int] = {}
        self.warned = False

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else types.MethodType(self, owner)

    def __repr__(self) -> str:
        return f"<jit of {getattr(self.fn, '__qualname__', self.fn)!r}>"

    def __reduce__(self) -> Any:
        return Jitted, (self.fn, tuple(self.static), self.limit)

    @property
    def stats(self) -> dict[str, Any]:
        """Counts, and why calls were recorded again."""
        return {
            "calls": self.calls,
            "runs": self.runs,
            "traces": self.traces,
            "plain": self.plain,
            "variants": self.count,
            "reasons": dict(self.reasons),
        }

    def clear(self) -> None:
        """Forget all that was traced."""
        with self.lock:
            self.families.clear()
            self.count = 0
            self.warned = False

    # ---- calling, for `Entry`

    def unseen(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function with arguments for which there is no variant."""
        family = self.families.get(call.skeleton)
        if family is not None and family.plain is not None:
            return self.recorded(family.plain, args, kwargs)
        return self.trace(call, args, kwargs)

    def prepared(
        self, variant: Variant, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a variant that needs numbers, or does something besides."""
        found = self.given(variant, call)
        if found is None:
            return self.recorded("a number is not what it was", args, kwargs)
        self.runs += 1
        numbers, given = found
        return variant.result.build(call, _jit.run(variant, call, numbers), given)

    def given(self, variant: Variant, call: Call) -> tuple[list[Any], dict[Any, Any]] | None:
        """The constants of a run; None where they cannot be computed as before."""
        given: dict[Any, Any] = dict(enumerate(call.numbers))
        if not variant.numbers:
            for effect in variant.effects:
                effect()
            return [], given
        if not variant.effects:
            try:
                return constants(variant, given), given
            except Exception:
                return None
        for place, effect in enumerate(variant.effects):
            found = effect()
            for part, value in enumerate(found or ()):
                given[(place, part)] = value
        return constants(variant, given), given

    def recorded(self, reason: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function as it is."""
        self.plain += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        return self.fn(*args, **kwargs)

    # ---- tracing

    def trace(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function, and keep what it records if that can be run again."""
        family = self.family(call)
        data = {i for i in range(len(call.numbers)) if i not in family.structural}
        if any(_jit.is_pinned(storage) for storage in call.storages):
            return self.recorded("an argument shares memory with NumPy", args, kwargs)
        self.traces += 1
        tracer = Tracer(self.fn, call, args, kwargs, data, self.static)
        result = tracer.call()
        tracer.finish()
        with self.lock:
            self.keep(family, call, tracer)
        tracer.start_deferred()
        return result

    def family(self, call: Call) -> Family:
        """The family of a call; integers that take a second value become data."""
        with self.lock:
            family = self.families.get(call.skeleton)
            if family is None:
                whole = {i for i, x in enumerate(call.numbers) if type(x) is int}
                family = self.families[call.skeleton] = Family(whole)
            self.families.move_to_end(call.skeleton)
            for place, value in enumerate(call.numbers):
                if type(value) is not int or place not in family.structural - family.proved:
                    continue
                if family.seen.setdefault(place, value) != value:
                    family.structural = family.structural - {place}
                    self.count -= sum(len(v) for v in family.variants.values())
                    family.variants = {}
        return family

    def keep(self, family: Family, call: Call, tracer: Tracer) -> None:
        """Add a variant, or note why there is none."""
        positions = {source for source in tracer.trace.seen if type(source) is int}
        if positions - family.structural:
            family.structural = family.structural | positions
            family.proved |= positions
            self.count -= sum(len(v) for v in family.variants.values())
            family.variants = {}
        if tracer.variant is None:
            reason = tracer.reason or "it cannot be run again"
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
            self.plain += 1
            family.failures += 1
            if not tracer.again or family.failures >= ATTEMPTS:
                family.plain = reason
            return
        family.failures = 0
        key = chosen(family.structural, call.numbers)
        family.variants.setdefault(key, []).insert(0, tracer.variant)
        self.count += 1
        if self.count > self.limit and not self.warned:
            self.warned = True
            warnings.warn(
                f"{self!r} has been traced for {self.count} different kinds of arguments, the last "
                f"called at {_trace.line()}; each costs a plan",
                RuntimeWarning,
                stacklevel=4,
            )
        while self.count > TRACE_LIMIT:
            self.drop()

    def drop(self) -> None:
        """Forget the variants used longest ago."""
        skeleton, family = next(iter(self.families.items()))
        if len(self.families) > 1:
            del self.families[skeleton]
            self.count -= sum(len(v) for v in family.variants.values())
            return
        key = next(iter(family.variants))
        self.count -= len(family.variants.pop(key))


def chosen(structural: set[int], numbers: list[Any]) -> tuple[Any, ...]:
    """The values of numbers that are part of the key."""
    if not structural:
        return ()
    # Text tells -0.0 from 0.0, and a NaN equals a NaN.
    return tuple(
        [x if type(x) is int else repr(x) for i, x in enumerate(numbers) if i in structural]
    )


def constants(variant: Variant, given: dict[Any, Any]) -> list[Any]:
    """The constant nodes of a run."""
    known: dict[int, Any] = {}
    return [
        scalar_of(number.evaluated(each, given, known), dtype) for each, dtype in variant.numbers
    ]


def scalar_of(value: Any, dtype: np.dtype) -> Any:
    """A constant node."""
    return _ir.scalar(np.uint64(value) if dtype.kind == "u" and value >= 0 else value, dtype)


def jit(
    fn: Callable[..., Any] | None = None,
    *,
    static_argnums: int | tuple[int, ...] = (),
    variants: int = VARIANT_LIMIT,
) -> Any:
    """Return the function, recorded once for each kind of arguments and then run without Python.

    Parameters
    ----------
    fn : callable
        Takes and returns arrays, numbers, and nested lists, tuples and dicts of them; other
        hashable arguments are part of what is keyed. It may read and write arrays from outside.
    static_argnums : int or tuple of int, optional
        Numbers among the positional arguments whose value is part of what is keyed.
    variants : int, default 16
        More kinds of arguments than this raise one RuntimeWarning.

    Returns
    -------
    callable
        Gives what `fn` gives. Its `stats` tell how often it recorded, and why.
    """
    if fn is None:
        return functools.partial(jit, static_argnums=static_argnums, variants=variants)
    require(callable(fn), OptionError, "jit", f"expected a function, got {type(fn).__name__}")
    static = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    return Jitted(fn, static, variants)
