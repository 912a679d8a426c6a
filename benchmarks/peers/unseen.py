"""Expressions that nobody has seen: another one at every call, the same ones in every lane."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any

from .frameworks import Framework

LEAVES = ("a", "b", "c", "d")
FUNCTIONS = ("sin({})", "cos({})", "tanh({})", "sqrt(abs({}) + 1)", "exp(-abs({}))")
JOINS = ("({} + {})", "({} - {})", "({} * {})")


def expression(seed: int) -> str:
    """Eight to twelve operations on four arrays."""
    random = Random(seed)
    text = random.choice(LEAVES)
    for _ in range(3):
        text = random.choice(FUNCTIONS).format(text)
        text = random.choice(JOINS).format(text, random.choice(LEAVES))
        text = random.choice(JOINS).format(text, f"{random.choice(LEAVES)} * 0.5")
    return text


def expressions(f: Framework) -> Callable[..., Any]:
    """A program that evaluates the next expression at every call."""
    seed = 0

    def run(a: Any, b: Any, c: Any, d: Any) -> Any:
        nonlocal seed
        seed += 1
        text = expression(seed)
        if f.family == "numexpr":
            return f.xp.evaluate(text, dict(a=a, b=b, c=c, d=d))
        called = re.sub(r"\b(sin|cos|tanh|sqrt|exp)\b", r"xp.\1", text)
        return f.compile(eval(f"lambda a, b, c, d: {called}", {"xp": f.xp}))(a, b, c, d)

    return run
