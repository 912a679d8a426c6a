"""How an op is defined: `elementwise`, `arrayop`, `composite`, and what decorates them.

A gradient rule is ``rule(g, y, *inputs, **attributes)`` on Nodes: `g` is the cotangent of the
result `y`. It returns one cotangent for each input (a single Node where there is one input), None
where there is none; broadcasting is undone by the walker. A rule is made of ops, so gradients of
gradients work.
"""

from __future__ import annotations

import inspect
import operator as operations
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import lazyarray._loops as _loops
import lazyarray._vmath  # noqa: F401  (find_loop gives its loops in place of NumPy's)
from lazyarray._ir import ElementwiseOp, Node, Op, operators, registry, scalar
from lazyarray.dtypes import loop_dtypes
from lazyarray.errors import AxisError, DTypeError, fail

NATIVE = 4

Rule = Callable[..., Any]


class Differentiable:
    """The gradient side of an op."""

    gradient: Rule | None = None
    constant = False

    def vjp(self, rule: Rule) -> Rule:
        """Set the gradient rule."""
        self.gradient = rule
        return rule


class Elementwise(Differentiable, ElementwiseOp):
    """An op on each element of its broadcast inputs."""

    def __init__(
        self,
        name: str,
        nin: int,
        *,
        loop: str | None = None,
        fallible: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(name, nin, fallible=fallible, **options)
        self.loop_name = loop
        self.loops: dict[tuple[np.dtype, ...], Any] = {}  # found so far

    def loop(self, wanted: Sequence[np.dtype], result: np.dtype) -> Any:
        """Return the inner loop for these dtypes, or None."""
        dtypes = (*wanted, result)
        found = self.loops.get(dtypes)
        if found is None:
            source = self.loop_name if self.loop_name is not None else self.ufunc
            found = self.loops[dtypes] = _loops.find_loop(source, dtypes)
        return found

    def check(self, wanted: Sequence[np.dtype], result: np.dtype) -> None:
        """Raise DTypeError unless there is a loop."""
        if self.loop(wanted, result) is None:
            names = ", ".join(d.name for d in wanted)
            fail(
                DTypeError,
                self.name,
                f"not defined for dtypes {names}",
                "Convert with astype first.",
            )


def elementwise(
    ufunc: np.ufunc | None = None,
    *,
    name: str | None = None,
    nin: int | None = None,
    loop: str | None = None,
    resolver: Rule | None = None,
    operator: str | None = None,
    doc: str = "",
    fallible: bool = False,
) -> Elementwise:
    """Define an elementwise op by a ufunc, or by one of our own loops and a `resolver(*dtypes)`."""
    if ufunc is not None:
        name = name or ufunc.__name__
        nin = ufunc.nin
    assert name is not None and nin is not None
    op = Elementwise(name, nin, loop=loop, ufunc=ufunc, resolver=resolver, fallible=fallible)
    op.__doc__ = doc
    if operator:
        operators[operator] = op
    return op


def result_dtype(*dtypes: Any) -> np.dtype:
    """Return the promoted dtype; Python's int, float and complex are weak, as in NumPy 2."""
    if len(dtypes) == 1:
        return np.dtype(dtypes[0])
    return loop_dtypes(np.add, dtypes)[2]


def as_node(value: Any) -> Node:
    """Return a Node as it is, a number as a constant."""
    if type(value) is Node:
        return value
    return scalar(value, np.result_type(value))


class ArrayOp(Differentiable, Op):
    """An op on whole arrays.

    Its body is the type rule: it returns (inputs, shape, dtype, attributes).
    """

    def __init__(self, body: Rule, *, inplace: bool, dear: bool, fallible: bool) -> None:
        super().__init__(body.__name__, NATIVE, dear=dear, fallible=fallible)
        self.body = body
        self.inplace = inplace
        self.factory: Rule | None = None
        self.function: Rule | None = None
        self.accepts: Rule | None = None
        self.__doc__ = body.__doc__
        self.__signature__ = inspect.signature(body)

    def __call__(self, *args: Any, **attributes: Any) -> Node:
        """Record the op."""
        inputs, shape, dtype, attrs = self.body(*args, **attributes)
        return self.node(tuple(inputs), tuple(shape), dtype, tuple(attrs.items()))

    def native(self, factory: Rule) -> Rule:
        """Set the path without the GIL.

        ``factory(inputs, out, layouts, **attributes)`` returns a NativeKernel. `inputs` and `out`
        are Types; ``layouts[i]`` is None for C-contiguous data, else the byte strides of input i.
        """
        self.factory = factory
        return factory

    def kernel(self, function: Rule) -> Rule:
        """Set the path as a Python task, for NumPy and CuPy alike.

        It calls ``function(xp, *inputs, out, **attributes)``.
        """
        self.function = function
        return function

    def layouts(self, accepts: Rule) -> Rule:
        """Set whether input i may be strided.

        ``accepts(i, shape, strides, itemsize, **attributes)`` returns a bool.
        """
        self.accepts = accepts
        return accepts


def arrayop(
    *, inplace: bool = False, dear: bool = True, fallible: bool = False, operator: str | None = None
) -> Rule:
    """Define an op on whole arrays by its type rule.

    With `inplace`, the result starts as input 0, and kernels get ``(*inputs[1:], out)``.
    """

    def define(body: Rule) -> ArrayOp:
        op = ArrayOp(body, inplace=inplace, dear=dear, fallible=fallible)
        if operator:
            operators[operator] = op
        return op

    return define


def composite(function: Rule) -> Rule:
    """Register a function over Nodes by name. It records its body; a Symbol records the call."""
    name = function.__name__
    if name in registry:
        raise ValueError(f"op {name!r} is defined twice")
    registry[name] = function
    return function


def zero_gradient(*ops: Elementwise) -> None:
    """Say that these ops are flat wherever they have a derivative."""
    for op in ops:
        op.constant = True


def attributes(node: Node) -> dict[str, Any]:
    """Return the attributes of an array op's node by name."""
    return dict(node.attrs or ())


def as_index(value: Any, what: str, op: str) -> int:
    """Return an integer as an int.

    Raises
    ------
    DTypeError
        When it is none. `what` names it.
    """
    array = type(value) is Node
    try:
        return operations.index(value.value if array else value)
    except TypeError:
        got = f"an array of shape {value.shape}" if array else type(value).__name__
        remedy = "Read it with int() first." if array and value.shape == () else ""
        fail(DTypeError, op, f"{what} must be an integer, got {got}", remedy)


def normalize_axis(axis: int, ndim: int, op: str) -> int:
    """Return `axis` counted from the front.

    Raises
    ------
    AxisError
        When it is out of bounds.
    DTypeError
        When it is no integer.
    """
    if type(axis) is not int:
        axis = as_index(axis, "axis", op)
    if not -ndim <= axis < ndim:
        raise AxisError(axis, ndim, op)
    return axis + ndim if axis < 0 else axis


def normalize_axes(axis: Any, ndim: int, op: str) -> tuple[int, ...]:
    """Return sorted axes for None, an int or a tuple; repeats raise ValueError."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, tuple | list):
        return (normalize_axis(axis, ndim, op),)
    found = tuple([normalize_axis(a, ndim, op) for a in axis])
    if len(set(found)) != len(found):
        raise ValueError(f"{op}: axis {axis} names an axis twice")
    return tuple(sorted(found))
