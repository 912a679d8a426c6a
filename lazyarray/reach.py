"""Where the arrays and numbers stand that a function reads from outside."""

from __future__ import annotations

import dis
import functools
import threading
import types
from typing import Any

import numpy as np

from lazyarray import _handle, _jit
from lazyarray._jit import Unfit
from lazyarray._record import ArrayBase, Remembered, Viewed

OBJECT_LIMIT = 200_000  # objects that are searched
IN_DICT, IN_SEQUENCE, IN_CELL, ATTRIBUTE, LENGTH, EQUAL, VARIABLE = range(7)  # as in _jit
MISSING = _jit.MISSING
SCALARS = (bool, int, float, complex, str, bytes, type(None))


class Search:
    """The ways from a function to the arrays and numbers outside that it reads."""

    def __init__(self, fn: Any, objects: list[Any], arrays: list[Any], targets: set[int]) -> None:
        self.targets = targets
        self.edges: dict[int, list[tuple[int, tuple[Any, ...]]]] = {}  # to -> (from, guard)
        self.lengths: dict[int, tuple[Any, ...]] = {}
        self.names: set[str] = set()
        self.seen: dict[int, Any] = {}
        self.found: set[int] = set()
        self.reached: list[int] = []
        self.scalars: list[tuple[Any, ...]] = []
        self.cells: list[tuple[Any, ...]] = []
        self.stored: set[str] = set()
        self.methods: list[tuple[str, types.FunctionType]] = []
        self.todo: list[Any] = []
        self.own = {id(a) for a in arrays}
        for root in (fn, *objects, *arrays):
            self.visit(root)
        while self.todo:
            if len(self.seen) > OBJECT_LIMIT:
                raise Unfit("what it can reach is too much to search")
            self.expand(self.todo.pop(0))
            if not self.todo:
                self.follow_methods()

    def visit(self, x: Any) -> bool:
        """Look at an object once; whether it is worth a way."""
        if isinstance(x, (*SCALARS, type, np.ndarray, np.generic, np.dtype)):
            return False
        if isinstance(x, types.ModuleType) and x.__name__.partition(".")[0] in SKIPPED:
            return False
        if isinstance(x, types.FunctionType | types.BuiltinFunctionType | Remembered | Viewed):
            name = getattr(x, "__module__", None) or ""
            if name.partition(".")[0] in SKIPPED:
                return False
        if id(x) not in self.seen:
            self.seen[id(x)] = x
            self.todo.append(x)
            if isinstance(x, ArrayBase) and id(x.storage) in self.targets and id(x) not in self.own:
                self.found.add(id(x.storage))
                self.reached.append(id(x))
        return True

    def edge(self, parent: Any, guard: tuple[Any, ...]) -> None:
        """Follow one way from an object."""
        child = guard[3]
        if self.visit(child):
            self.edges.setdefault(id(child), []).append((id(parent), guard))

    def expand(self, x: Any) -> None:
        """Follow all ways from an object."""
        if isinstance(x, types.FunctionType):
            self.expand_function(x)
        elif isinstance(x, types.MethodType):
            self.edge(x, (ATTRIBUTE, x, "__func__", x.__func__))
            self.edge(x, (ATTRIBUTE, x, "__self__", x.__self__))
        elif isinstance(x, functools.partial):
            for name in ("func", "args", "keywords"):
                self.edge(x, (ATTRIBUTE, x, name, getattr(x, name)))
        elif isinstance(x, IGNORED):
            pass
        elif isinstance(x, types.ModuleType):
            for name in self.names & vars(x).keys():
                self.item(x, vars(x), name)
        elif isinstance(x, list | tuple):
            self.lengths[id(x)] = (LENGTH, x, len(x), None)
            for i, part in enumerate(x):
                self.edge(x, (IN_SEQUENCE, x, i, part))
        elif isinstance(x, dict):
            self.lengths[id(x)] = (LENGTH, x, len(x), None)
            for name in x:
                self.edge(x, (IN_DICT, x, name, x[name]))
        elif isinstance(x, ArrayBase):
            variable = _handle.variable_of(x)
            if variable is not None:
                self.edge(x, (VARIABLE, x, None, variable))
        else:
            self.expand_object(x)

    def item(self, parent: Any, names: dict[str, Any], name: str, every: bool = False) -> None:
        """Follow a name: to an object, or to a number that may be read by that name."""
        value = names[name]
        if isinstance(value, SCALARS):
            self.scalars.append((EQUAL, names, name, value, every))
            return
        self.edge(parent, (IN_DICT, names, name, value))

    def expand_object(self, x: Any) -> None:
        """Follow the attributes of an object."""
        kind = type(x)
        for base in kind.__mro__:
            if base.__module__.partition(".")[0] in SKIPPED:
                continue
            for name, method in vars(base).items():
                function = method
                for inside in ("fget", "__func__", "fn"):
                    function = getattr(function, inside, function)
                if isinstance(function, types.FunctionType):
                    self.methods.append((name, function))
        inner = getattr(x, "__dict__", None)
        if isinstance(inner, dict):
            live = getattr(kind, "live_names", ())
            ours = kind.__module__.partition(".")[0] == "lazyarray"
            for name in list(inner):
                if name not in live:
                    self.item(x, inner, name, ours)
        for base in kind.__mro__:
            for name in slots_of(base):
                value = getattr(x, name, MISSING)
                if value is not MISSING and not name.startswith("__"):
                    self.edge(x, (ATTRIBUTE, x, name, value))
        if hasattr(kind, "training"):
            self.cells.append((ATTRIBUTE, x, "training", x.training))

    def follow_methods(self) -> None:
        """Follow those methods of the objects met so far that somebody may call."""
        for name, function in self.methods:
            if name in self.names or name in CALLED:
                self.visit(function)

    def expand_function(self, x: types.FunctionType) -> None:
        """Follow what a function closes over, its globals and its defaults."""
        names = self.code(x.__code__)
        for cell in x.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:
                value = MISSING
            if isinstance(value, SCALARS):
                self.cells.append((IN_CELL, cell, None, value))
            else:
                self.edge(x, (IN_CELL, cell, None, value))
        for name in names:
            if name in x.__globals__:
                self.item(x, x.__globals__, name)
        for name in ("__defaults__", "__kwdefaults__"):
            if getattr(x, name):
                self.edge(x, (ATTRIBUTE, x, name, getattr(x, name)))

    def code(self, code: types.CodeType) -> set[str]:
        """The names that code uses, with those of the functions inside it."""
        names = set(code.co_names)
        for step in dis.get_instructions(code):
            if step.opname in ("STORE_ATTR", "STORE_GLOBAL", "DELETE_ATTR", "DELETE_GLOBAL") or (
                step.opname == "STORE_DEREF" and step.argval in code.co_freevars
            ):
                self.stored.add(step.argval)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                names |= self.code(constant)
        self.names |= names
        return names

    def guards(self, needed: set[int]) -> list[tuple[Any, ...]]:
        """What has to be as it was for the same arrays to be met."""
        if needed - self.found:
            raise Unfit("it reads an array that jit cannot find again")
        guards: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        todo, done = list(self.reached), set(self.reached)
        while todo:
            here = todo.pop()
            for parent, guard in self.edges.get(here, ()):
                guards[(guard[0], id(guard[1]), guard[2])] = guard
                if parent in self.lengths:
                    guards[(LENGTH, parent)] = self.lengths[parent]
                if parent not in done:
                    done.add(parent)
                    todo.append(parent)
        for kind, where, name, value, every in self.scalars:
            if name in self.names or every:
                if name in self.stored:
                    raise Unfit(f"it changes {name}")
                guards[(EQUAL, id(where), name)] = (kind, where, name, value)
        return [*guards.values(), *self.cells]


IGNORED = (type(threading.Lock()), type(threading.RLock()), types.FrameType, types.CodeType)
SKIPPED = {"lazyarray", "numpy", "builtins", "functools", "itertools", "math", "collections"}


CALLED = {"__call__", "forward", "__getitem__", "__len__", "__iter__", "__getattr__"}


def slots_of(kind: type) -> tuple[str, ...]:
    """The names of a class's slots."""
    found = kind.__dict__.get("__slots__", ())
    return (found,) if isinstance(found, str) else tuple(found)
