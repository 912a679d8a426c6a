"""Rows about what an operation costs apart from its arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .frameworks import Framework

CHAIN = 1000  # operations


def chain_of_operations(f: Framework) -> Callable[..., Any]:
    """A thousand dependent operations on ten elements."""

    def run(x: Any) -> Any:
        y = x
        for _ in range(CHAIN // 4):
            y = (y + x) * 0.5 - x * 0.25
        return y

    return f.compile(run)


def read_one(f: Framework) -> Callable[..., Any]:
    """A product, then its value as NumPy has it, a thousand times."""
    read = f.numpy

    def run(a: Any, b: Any) -> None:
        for _ in range(1000):
            read(a * b)

    return run


def record(f: Framework) -> Callable[..., Any]:
    """A thousand operations, not evaluated; the seconds it took, letting go of them not counted."""

    def run(a: Any, b: Any) -> float:
        begin = time.perf_counter()
        c = a
        for _ in range(1000):
            c = c + b
        return time.perf_counter() - begin

    return run


def control(f: Framework) -> Callable[..., Any]:
    """The seconds until Python goes on after it asked for a product; then it waits."""
    start = {"lazyarray": lambda x: f.xp.eval(x), "mlx": lambda x: f.xp.async_eval(x)}.get(
        f.family, lambda x: None
    )

    def run(a: Any, b: Any) -> float:
        begin = time.perf_counter()
        c = a @ b
        start(c)
        found = time.perf_counter() - begin
        f.ready(c)
        return found

    return run


def at_once(f: Framework) -> Callable[..., Any]:
    """A million turns of a loop whose result is asked for at its end only."""

    def run(x: Any) -> Any:
        y = x
        for _ in range(1_000_000):
            y = y * 0.5 + x
        return y

    return run


def untimed(value: Any) -> float | None:
    """The seconds of a program that times itself."""
    return value if isinstance(value, float) and not isinstance(value, np.floating) else None
