"""Symbols: programs composed before there is data, bound to shapes, trained through executors."""

from typing import Any

from lazyarray.symbol.executor import Executor
from lazyarray.symbol.making import Group, Variable, load
from lazyarray.symbol.ops import NAMES, lifted
from lazyarray.symbol.symbol import Symbol, load_json

__all__ = ["Executor", "Group", "Symbol", "Variable", "load", "load_json", *NAMES]


def __getattr__(name: str) -> Any:
    """The op or layer of that name on Symbols."""
    try:
        return lifted(name)
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return __all__
