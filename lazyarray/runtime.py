"""Flush, wait and statistics, for everything above."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import lazyarray._bind as _bind
import lazyarray._memory as _memory
from lazyarray import _ir, simplify, tiers
from lazyarray._ir import Node

flush = _bind.flush
flush_step = _bind.flush_step
wait = _bind.wait
value = _bind.value
Compiled = _bind.Compiled

# What `stats` counts; a floor above adds a function of its own.
providers: list[Callable[[], dict[str, float]]] = [
    _ir.counters,
    _bind.counters,
    simplify.counters,
    tiers.counters,
]


def start(nodes: Iterable[Node]) -> None:
    """Let the engine compute these values; returns at once."""
    flush(list(nodes))


def stats() -> dict[str, float]:
    """Count what has happened in this process.

    Returns
    -------
    dict
        ``records`` (ops recorded), ``flushes``, ``lowerings`` (plans made), ``needless`` (ops that
        lowering left out), ``plan_hits`` (flushes that found their plan), ``plans`` (cached),
        ``plan_bytes`` (that these take), ``plan_evictions`` (plans forgotten to make room),
        ``parts`` (flushes that memory was too small for, but for a part),
        ``tasks`` (bound), ``inline`` (plans run by the thread that waited), ``compiled_tasks``
        (bound with compiled loops), ``compiled`` (loops made by the helper process),
        ``compile_seconds`` (of its processor time), ``compile_failures``, ``cache_hits`` (loops
        found on disk), ``swaps`` (kernels that got compiled loops while in use),
        ``bytes_allocated`` (in total), ``bytes_in_use``,
        ``bytes_peak``, ``bytes_pooled``, ``tape_bytes`` (held by tapes).
    """
    memory = _memory.stats()
    counts = {name: count for provider in providers for name, count in provider().items()}
    return {
        **counts,
        "bytes_allocated": memory["allocated"],
        "bytes_in_use": memory["in_use"],
        "bytes_peak": memory["peak"],
        "bytes_pooled": memory["pooled"],
    }


def timed(fn: Callable[[], Any], finish: Callable[[Any], Any], repeat: int) -> float:
    """Return the median seconds of `fn()` followed by `finish(result)`."""
    spans = []
    for _ in range(repeat):
        begin = time.perf_counter()
        finish(fn())
        spans.append(time.perf_counter() - begin)
    return sorted(spans)[len(spans) // 2]
