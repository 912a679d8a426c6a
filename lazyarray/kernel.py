"""Kernels of users: `la.kernel`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazyarray import _ir, autodiff, device
from lazyarray._handle import from_node, to_node
from lazyarray._record import ArrayBase
from lazyarray.codegen import nvrtc
from lazyarray.dtypes import canonical, is_inexact
from lazyarray.errors import (
    DeviceError,
    DTypeError,
    GradientError,
    OptionError,
    ShapeError,
    fail,
    require,
)
from lazyarray.number import Number
from lazyarray.ops.custom import CustomOp, known_dtype, number_of, parsed, typed
from lazyarray.ops.shaping import full

from .array import asarray, node

ENTRY = re.compile(r"(?:__global__\s+void|void\s+__global__)\s+(\w+)\s*\(")
EXTERN = re.compile(r'extern\s*"C"')
# Texts stay, comments go; and so do what stands among the words of a declaration.
TEXT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
BOUNDS = re.compile(r"__(?:launch_bounds|cluster_dims|maxnreg)__\s*\((?:[^()]|\([^()]*\))*\)")


WEAK = (int, float, complex)  # bools and traced numbers are such, too


class Kernel:
    """An operation whose sources are the user's; made by `la.kernel`.

    Attributes
    ----------
    name : str
    signature : str
    """

    def __init__(self, op: CustomOp) -> None:
        self.op = op
        self.name = op.title
        self.signature = op.signature.text
        self.compiled: set[tuple[int, Any]] = set()  # device, dtypes
        self.rule: Callable[..., Any] | None = None

    def __repr__(self) -> str:
        return f"<kernel {self.name}({self.signature})>"

    def __copy__(self) -> Kernel:
        return self

    def __deepcopy__(self, memo: Any) -> Kernel:
        return self

    def __reduce__(self) -> Any:
        op = self.op
        made = {"cuda": op.cuda, "cpu": op.cpu, "name": self.name, "grid": op.grid}
        return again, (self.signature, made | {"options": op.options}, self.rule)

    def __call__(self, *inputs: Any, **more: Any) -> Any:
        """Record the operation.

        Parameters
        ----------
        *inputs : array_like or number
            As in the signature, by position or by name.

        Returns
        -------
        array or tuple of arrays
            One for each output.

        Raises
        ------
        DTypeError, ShapeError
            Where an operand is not what the signature says. Nothing is converted.
        DeviceError
            Where there is no source for the device of the operands.
        SourceError
            Where the CUDA source does not compile, with the compiler's message and the line.
        """
        arrays, numbers = self.bound(inputs, more)
        if len(self.op.signature.outputs) == 1:
            (result,) = self.op(arrays, numbers)
            self.ready(result)
            return from_node(result, False)
        with _ir.Scope(False, None):
            results = self.op(arrays, numbers)
        first = results[0]  # a view, unless the others are empty
        whole = first if first.op is self.op else first.inputs[0]
        self.ready(whole)
        pull = Pull(self, arrays, results, whole)
        found = autodiff.custom_call(arrays, results, pull, self.name)
        return tuple([from_node(each, False) for each in found])

    def bound(self, inputs: Sequence[Any], more: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        """The operands that are arrays, as Nodes, and the numbers."""
        declared = self.op.signature.inputs
        names = [each.name for each in declared]
        given = dict(zip(names, inputs, strict=False)) | more
        fits = len(inputs) <= len(names) and not set(names[: len(inputs)]) & set(more)
        if not fits or set(given) != set(names):
            what = f"takes {', '.join(names) or 'nothing'}, got {len(inputs)} operands"
            also = f" and {', '.join(sorted(more))} by name" if more else ""
            fail(DTypeError, self.name, what + also)
        numbers = [plain(given[each.name]) for each in self.op.signature.numbers]
        return self.arrays(given), numbers

    def arrays(self, given: dict[str, Any]) -> list[_ir.Node]:
        """The operands that are arrays.

        A Python number has the dtype that is declared, or that arrays tell, or that all such
        numbers have together.
        """
        declared = self.op.signature.arrays
        weak = {each.name for each in declared if isinstance(given[each.name], WEAK)}
        found = {each.name: node(given[each.name]) for each in declared if each.name not in weak}
        kinds: dict[str, np.dtype] = {}
        for each in declared:
            if each.name in found:
                kinds.setdefault(each.kind, found[each.name].dtype)
        for each in declared:
            if each.name in weak:
                dtype = known_dtype(each.kind) or kinds.get(each.kind)
                if dtype is None:
                    alike = [plain(given[one.name]) for one in declared if one.kind == each.kind]
                    dtype = canonical(np.result_type(*alike), self.name)
                found[each.name] = weakly(self.name, each.name, given[each.name], dtype)
        return [found[each.name] for each in declared]

    def ready(self, result: Any) -> None:
        """Raise unless the device of a result has what computes it."""
        backend = device.backends[result.device]
        call = dict(result.attrs)["call"]
        key = result.device, call.kinds
        if key in self.compiled:
            return
        if backend is not None and self.op.cuda is not None and backend.custom(self.op, call):
            self.compiled.add(key)
            return
        where = device.name_of(result.device)
        require(
            self.op.cpu is not None,
            DeviceError,
            self.name,
            f"has no source for {where}",
            "Give la.kernel a function as cpu=.",
        )

    def vjp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the gradient; to be used as a decorator.

        Parameters
        ----------
        rule : callable
            ``rule(g, y, *inputs)`` gets the cotangent of the output, the output, and the inputs
            (numbers too), and returns a cotangent for each input that is an array, or None. Where
            there are several outputs, `g` and `y` are tuples. What it computes on arrays is
            recorded, so gradients of gradients work where those operations have one. An output of
            integers or bools passes no gradient on: its `g` is None.

        Raises
        ------
        GradientError, ShapeError
            By the walk, where the rule returns another number of cotangents than there are inputs
            that are arrays, or one that does not have its input's shape.
        """

        def gradient(g: Any, y: Any, *inputs: Any, call: Any) -> Any:
            found = self.pulled(wrapped(g), wrapped(y), inputs, call)
            return found[0] if len(inputs) == 1 else found

        self.rule = rule
        self.op.vjp(gradient)
        return rule

    def pulled(self, g: Any, y: Any, inputs: Sequence[_ir.Node], call: Any) -> list[Any]:
        """The inputs' cotangents, by the user's rule."""
        assert self.rule is not None
        found = self.rule(g, y, *self.op.operands([wrapped(x) for x in inputs], call.values()))
        found = found if isinstance(found, tuple | list) else (found,)
        names = [each.name for each in self.op.signature.arrays]
        require(
            len(found) == len(names),
            GradientError,
            self.name,
            f"the rule returned {len(found)} cotangents, the arrays are {', '.join(names)}",
            "Return one for each of them, None where there is none.",
        )
        nodes = [None if each is None else to_node(asarray(each)) for each in found]
        for name, x, part in zip(names, inputs, nodes, strict=True):
            if part is not None and part.shape != x.shape:
                what = f"the rule's cotangent of {name} has shape {part.shape}, {name} {x.shape}"
                fail(ShapeError, self.name, what)
        return nodes

    def compile(self, *inputs: Any, capability: int = 90, **more: Any) -> bytes:
        """Compile the CUDA source for operands like these; no GPU is needed.

        Parameters
        ----------
        *inputs : array_like or number
            As in a call. Only their dtypes count.
        capability : int, default 90
            The compute capability to compile for, such as 80 or 90.

        Returns
        -------
        bytes
            Machine code, or PTX where the compiler is older than the capability.

        Raises
        ------
        SourceError
            Where it does not compile.
        """
        require(self.op.cuda is not None, OptionError, self.name, "has no CUDA source")
        call = typed(self.name, self.op.signature, *self.bound(inputs, more))
        try:
            return nvrtc.compiled(self.op.source(call), self.name, capability, own=self.op.options)
        except nvrtc.NvrtcError as error:
            nvrtc.refuse(self.name, error)


class Pull:
    """The gradient of one call with several outputs."""

    __slots__ = ("inputs", "kernel", "outputs", "whole")

    def __init__(self, kernel: Kernel, inputs: Any, outputs: Any, whole: _ir.Node) -> None:
        self.kernel = kernel
        self.inputs = inputs
        self.outputs = outputs
        self.whole = whole

    def __call__(self, cotangents: list[_ir.Node | None]) -> list[_ir.Node | None]:
        """Return the inputs' cotangents."""
        kernel, outputs = self.kernel, self.outputs
        if kernel.rule is None:
            autodiff.refuse(self.whole)
        if _ir.current().recording:  # outputs by which this can be differentiated again
            outputs = autodiff.custom_call(self.inputs, outputs, self, kernel.name)
        given = [
            None if not is_inexact(y.dtype) else full(y.shape, 0, y.dtype) if g is None else g
            for g, y in zip(cotangents, outputs, strict=True)
        ]
        g = tuple([None if each is None else wrapped(each) for each in given])
        call = dict(self.whole.attrs)["call"]
        return kernel.pulled(g, tuple(map(wrapped, outputs)), self.inputs, call)


def again(signature: str, made: dict[str, Any], rule: Callable[..., Any] | None) -> Kernel:
    """A kernel that was pickled."""
    found = kernel(signature, **made)
    if rule is not None:
        found.vjp(rule)
    return found


def wrapped(value: _ir.Node) -> Any:
    """An array of a Node."""
    return from_node(value, False)


def weakly(op: str, name: str, value: Any, dtype: np.dtype) -> _ir.Node:
    """A Python number as an array, of a dtype that holds it."""
    if type(value) is Number and (dtype.kind == "c" or (is_inexact(dtype) and value.kind is float)):
        return value.constant(dtype)
    return node(np.asarray(number_of(op, name, plain(value), dtype), dtype))


def plain(value: Any) -> Any:
    """What is given for a number; an array, which none is, as a Node."""
    if isinstance(value, ArrayBase):
        return to_node(value)
    return value.look() if type(value) is Number else value


def kernel(
    signature: str,
    *,
    cuda: str | None = None,
    cpu: Callable[..., Any] | None = None,
    name: str | None = None,
    grid: Callable[..., Any] | None = None,
    options: Sequence[str] = (),
) -> Kernel:
    """Make an operation of a CUDA source, a function for the CPU, or both.

    Calls record it as any other operation: Python does not wait, what it reads comes first, and the
    results lie where the inputs do.

    Parameters
    ----------
    signature : str
        Inputs and outputs: ``"x: T[n, k], scale: float32 -> y: T[n]"``. What has brackets is an
        array, in C order, with these extents; ``[]`` is one of no axes, ``...`` any axes, the same
        wherever it stands. What has no brackets is a number. A dtype that has no such name (T) is
        the same everywhere, and the source can use it. An output's extents may be sums,
        differences, products and quotients (//) of what the inputs tell.
    cuda : str, optional
        CUDA C++ with an ``extern "C" __global__ void`` function of that name. It takes the inputs
        in order (``const T*``, or a number by value), the outputs (``T*``), then a ``long long``
        for each name among the inputs' extents, in order of appearance; for ``...`` the number of
        its elements.
    cpu : callable, optional
        ``cpu(*inputs, *outputs)`` writes to the outputs. It gets NumPy's arrays, of which the
        inputs are read-only; a function compiled by Numba will do, without a signature of its own.
        GPUs fall back on it where there is no CUDA source.
    name : str, optional
        Default: that of the CUDA function, or of `cpu`.
    grid : callable, optional
        ``grid(**extents_and_numbers)`` returns the grid and the block, each an int or a tuple, and
        perhaps the bytes of dynamic shared memory. Default: blocks of 256 threads, one thread for
        each element of the first output.
    options : sequence of str, optional
        For NVRTC, such as "--use_fast_math" or "-Iinclude". CUDA's own headers are found where
        nvidia-cuda-runtime or a toolkit is installed; a source that uses float16 or bfloat16 has
        theirs already. What includes headers is compiled anew in each process.

    Returns
    -------
    Kernel
        A function of arrays; ``.vjp`` gives it a gradient.

    Raises
    ------
    OptionError
        Where the signature, the name or the sources are none.

    Notes
    -----
    Inputs must not be written to. A copy of a kernel is the kernel itself; to be pickled, what it
    is made of must be. Numbers are part of the program: another number makes another
    plan. What changes at every step is better declared as an array, ``float32[]``, and may be given
    as a Python number, too.

    Examples
    --------
    >>> axpy = la.kernel(
    ...     "a: float64, x: T[n], y: T[n] -> z: T[n]",
    ...     cpu=lambda a, x, y, z: np.add(a * x, y, out=z),
    ...     name="axpy",
    ... )
    >>> axpy(2, la.arange(3.0), la.ones(3)).tolist()
    [1.0, 3.0, 5.0]
    """
    found = parsed(signature)
    if cuda is None and cpu is None:
        fail(OptionError, "kernel", "there is neither a CUDA source nor a function for the CPU")
    if cuda is not None:
        bare = BOUNDS.sub(" ", TEXT.sub(lambda m: m[0] if m[0][0] == '"' else " ", cuda))
        entries = list(dict.fromkeys(ENTRY.findall(bare)))
        remedy = 'Write extern "C" __global__ void NAME(...), and name= where there are several.'
        if name is None and len(entries) == 1:
            (name,) = entries
        if EXTERN.search(bare) is None or name not in entries:
            missing = name or "__global__"
            fail(OptionError, "kernel", f"the source has no function {missing}", remedy)
    title = name or str(getattr(cpu, "__name__", ""))
    if not title.isidentifier():
        fail(OptionError, "kernel", f"{title!r} is no name", "Pass one as name=.")
    op = CustomOp(title, found, cuda=cuda, cpu=cpu, grid=grid, options=tuple(options))
    return Kernel(op)
