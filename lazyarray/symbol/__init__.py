"""Symbols: programs composed before there is data, bound to shapes, trained through executors."""

from lazyarray.symbol.executor import Executor
from lazyarray.symbol.ops import LIFTED
from lazyarray.symbol.symbol import Group, Symbol, Variable, load, load_json

globals().update(LIFTED)

__all__ = ["Executor", "Group", "Symbol", "Variable", "load", "load_json", *LIFTED]
