"""Ops of users: a CUDA source, a function for the CPU, and a signature that both follow.

A signature reads ``"a: T[m, k], b: T[k, n], scale: float32 -> c: T[m, n]"``. What has brackets is
an array, in C order; what has none a number. A dtype that NumPy does not know, such as ``T``, is
the same wherever it stands, and so is an extent.
"""

from __future__ import annotations

import ast
import keyword
import operator
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from lazyarray import _ir
from lazyarray._ir import Node
from lazyarray.dtypes import canonical, kind_of
from lazyarray.errors import DTypeError, OptionError, ShapeError, fail

from .define import NATIVE, Differentiable
from .host import Result, packing, places, unpacked

SIZE = "size"  # what `...` is called where an extent is: the number of its elements
CUDA_TYPES = {
    "bool": "bool", "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int",
    "uint64": "unsigned long long", "float16": "__half", "bfloat16": "__nv_bfloat16",
    "float32": "float", "float64": "double", "complex64": "float2", "complex128": "double2",
}  # fmt: skip
HEADERS = {"float16": "cuda_fp16.h", "bfloat16": "cuda_bf16.h"}  # that have these types
# Names of C++ for types, which can stand for no dtype; NumPy's own are refused as well.
TAKEN = {"auto", "bfloat", "bf16", "char", "fp16", "fp32", "fp64", "signed", "unsigned", "void"}
LARGEST = (1 << 63) - 1  # of extents
PART = re.compile(r"\s*([A-Za-z_]\w*)\s*:\s*([A-Za-z_]\w*)\s*(?:\[([^\]]*)\])?\s*")
BETWEEN = re.compile(r",(?![^\[]*\])")
OPERATORS: dict[type[ast.AST], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
registering = threading.Lock()


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input or output."""

    name: str
    kind: str  # a dtype, or a name that stands for one
    extents: tuple[str, ...] | None  # None: a number


@dataclass(frozen=True, slots=True)
class Signature:
    """What goes in and what comes out."""

    text: str
    inputs: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]
    free: tuple[str, ...]  # names of extents, in order of first appearance among the inputs

    @property
    def arrays(self) -> tuple[Parameter, ...]:
        """The inputs that are arrays."""
        return tuple(each for each in self.inputs if each.extents is not None)

    @property
    def numbers(self) -> tuple[Parameter, ...]:
        """The inputs that are numbers."""
        return tuple(each for each in self.inputs if each.extents is None)


@dataclass(frozen=True, slots=True)
class Typed:
    """A signature's names in one call: hashable, a part of the plan's structure."""

    kinds: tuple[tuple[str, np.dtype], ...]
    extents: tuple[tuple[str, int], ...]
    numbers: tuple[tuple[np.dtype, bytes], ...]  # 0.0 and -0.0 are two, a NaN is itself
    results: tuple[Result, ...]

    def values(self) -> list[Any]:
        """The numbers, as NumPy's scalars."""
        return [np.frombuffer(value, dtype)[0] for dtype, value in self.numbers]


# ---- signatures


def parsed(text: str) -> Signature:
    """A signature from its text.

    Raises
    ------
    OptionError
        Where it is not one.
    """
    remedy = 'Write it like "x: float32[m, n], scale: float32 -> y: float32[n]".'
    before, arrow, after = text.partition("->")
    if not arrow or not after.strip():
        fail(OptionError, "kernel", f"the signature {text!r} has no outputs", remedy)
    inputs, outputs = parameters(before, remedy), parameters(after, remedy)
    names = [each.name for each in (*inputs, *outputs)]
    if len(set(names)) < len(names):
        fail(OptionError, "kernel", f"the signature {text!r} has a name twice", remedy)
    if any(each.extents is None for each in outputs):
        fail(OptionError, "kernel", f"an output of {text!r} has no shape", remedy)
    free: dict[str, None] = {}
    for each in inputs:
        for extent in each.extents or ():
            if extent == "...":
                free[SIZE] = None
            elif extent.isidentifier() and not keyword.iskeyword(extent):
                free[extent] = None
            elif not extent.isdecimal():
                fail(OptionError, "kernel", f"the extent {extent!r} of an input is no name", remedy)
    numbers = {each.name for each in inputs if each.extents is None}
    runs = any("..." in (each.extents or ()) for each in inputs)
    if runs and (SIZE in numbers or any(SIZE in (each.extents or ()) for each in inputs)):
        fail(OptionError, "kernel", f"{SIZE!r} is what ... is called: use another name in {text!r}")
    if not numbers.isdisjoint(free):
        name = sorted(numbers & set(free))[0]
        fail(OptionError, "kernel", f"{name!r} is a number and an extent in {text!r}", remedy)
    known = {*free, *numbers}
    for each in outputs:
        for extent in each.extents or ():
            missing = {SIZE if n == "..." else n for n in names_in(extent, remedy)} - known
            if missing:
                name = sorted(missing)[0]
                fail(OptionError, "kernel", f"nothing tells {name!r} in {text!r}", remedy)
    return Signature(text, inputs, outputs, tuple(free))


def parameters(text: str, remedy: str) -> tuple[Parameter, ...]:
    """One side of a signature."""
    found = []
    for part in BETWEEN.split(text) if text.strip() else ():
        match = PART.fullmatch(part)
        if match is None:
            fail(OptionError, "kernel", f"{part.strip()!r} is no name, dtype and shape", remedy)
        name, kind, inside = match.groups()
        extents = None
        if inside is not None:
            extents = tuple([each.strip() for each in inside.split(",")]) if inside.strip() else ()
        if extents is not None and extents.count("...") > 1:
            fail(OptionError, "kernel", f"{part.strip()!r} has ... twice", remedy)
        if taken(kind):
            what = f"{kind!r} of {name} is no dtype of ours, and no name that could stand for one"
            fail(OptionError, "kernel", what, f"Write one of {', '.join(CUDA_TYPES)}, or T.")
        found.append(Parameter(name, kind, extents))
    return tuple(found)


def taken(kind: str) -> bool:
    """Whether a name means a type elsewhere, such as float or int: one letter is free."""
    if kind in CUDA_TYPES or len(kind) == 1:
        return False
    try:
        np.dtype(kind)
    except TypeError:
        return kind in TAKEN or keyword.iskeyword(kind)
    return True


def names_in(extent: str, remedy: str) -> set[str]:
    """The names in an extent: sums, differences, products and quotients of names and integers."""
    if extent == "...":
        return {extent}
    try:
        tree = ast.parse(extent, mode="eval")
    except (SyntaxError, ValueError):
        tree = None
    known = (
        *(ast.Expression, ast.BinOp, ast.Name, ast.Load, ast.Constant),
        *OPERATORS,
    )
    parts = [] if tree is None else list(ast.walk(tree))
    plain = all(isinstance(each, known) for each in parts)
    constants = [each.value for each in parts if isinstance(each, ast.Constant)]
    if tree is None or not plain or any(type(each) is not int for each in constants):
        fail(OptionError, "kernel", f"the extent {extent!r} is none of +, -, * and //", remedy)
    return {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)}


def evaluated(node: Any, names: Mapping[str, Any]) -> int:
    """An extent's value."""
    if isinstance(node, str):
        return evaluated(ast.parse(node, mode="eval").body, names)
    if isinstance(node, ast.BinOp):
        left, right = evaluated(node.left, names), evaluated(node.right, names)
        return OPERATORS[type(node.op)](left, right)
    return operator.index(names[node.id] if isinstance(node, ast.Name) else node.value)


# ---- one call


def typed(op: str, signature: Signature, arrays: Sequence[Node], numbers: Sequence[Any]) -> Typed:
    """What the names of a signature stand for in a call.

    Raises
    ------
    DTypeError, ShapeError
        Where an operand is not what the signature says.
    """
    kinds: dict[str, np.dtype] = {}
    extents: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for parameter, node in zip(signature.arrays, arrays, strict=True):
        check_dtype(op, parameter, node.dtype, kinds)
        check_shape(op, parameter, node.shape, extents, shapes)
    given = [
        cast(op, parameter, value, dtype_of(op, parameter, kinds))
        for parameter, value in zip(signature.numbers, numbers, strict=True)
    ]
    names = {p.name: v for p, v in zip(signature.numbers, given, strict=True)} | extents
    results = []
    for parameter in signature.outputs:
        shape: tuple[int, ...] = ()
        dtype = dtype_of(op, parameter, kinds)
        for extent in parameter.extents or ():
            shape += shapes[extent] if extent == "..." else (extent_of(op, extent, names),)
        if any(n < 0 for n in shape) or prod(shape) * dtype.itemsize > LARGEST:
            fail(ShapeError, op, f"the output {parameter.name} would have shape {shape}")
        results.append(Result(shape, dtype))
    ordered = tuple((name, extents[name]) for name in signature.free)
    kept = tuple((each.dtype, each.tobytes()) for each in given)
    return Typed(tuple(kinds.items()), ordered, kept, tuple(results))


def extent_of(op: str, extent: str, names: Mapping[str, Any]) -> int:
    """The extent of an output."""
    try:
        return evaluated(extent, names)
    except ZeroDivisionError:
        fail(ShapeError, op, f"the extent {extent} of an output divides by 0")
    except TypeError:
        fail(DTypeError, op, f"the extent {extent} of an output has a number that is no integer")


def dtype_of(op: str, parameter: Parameter, kinds: Mapping[str, np.dtype]) -> np.dtype:
    """The dtype of a number or an output."""
    found = kinds.get(parameter.kind) or known_dtype(parameter.kind)
    if found is None:
        fail(DTypeError, op, f"no array tells which dtype {parameter.kind} of {parameter.name} is")
    return found


def known_dtype(kind: str) -> np.dtype | None:
    """A dtype by its name, or None."""
    return canonical(kind) if kind in CUDA_TYPES else None


def check_dtype(op: str, parameter: Parameter, dtype: np.dtype, kinds: dict[str, np.dtype]) -> None:
    """Raise DTypeError unless an array has the dtype that the signature says."""
    wanted = known_dtype(parameter.kind) or kinds.setdefault(parameter.kind, dtype)
    if dtype != wanted:
        fail(
            DTypeError,
            op,
            f"{parameter.name} is {dtype}, the signature says {parameter.kind}"
            + ("" if parameter.kind == wanted.name else f", which is {wanted} here"),
            f"Convert it with {parameter.name}.astype('{wanted}').",
        )


def check_shape(
    op: str,
    parameter: Parameter,
    shape: tuple[int, ...],
    extents: dict[str, int],
    shapes: dict[str, tuple[int, ...]],
) -> None:
    """Raise ShapeError unless an array has the shape that the signature says."""
    wanted = list(parameter.extents or ())
    said = f"{parameter.name} has shape {shape}, the signature says [{', '.join(wanted)}]"
    rest = len(shape) - len(wanted) + 1
    if "..." in wanted and rest >= 0:
        at = wanted.index("...")
        run = shape[at : at + rest]
        if shapes.setdefault("...", run) != run:
            fail(ShapeError, op, f"{said}, where ... is {shapes['...']}")
        extents[SIZE] = prod(run)
        shape = shape[:at] + shape[at + rest :]
        del wanted[at]
    if len(shape) != len(wanted):
        fail(ShapeError, op, said)
    for name, extent in zip(wanted, shape, strict=True):
        if (int(name) if name.isdecimal() else extents.setdefault(name, extent)) != extent:
            more = "" if name.isdecimal() else f", where {name} is {extents[name]}"
            fail(ShapeError, op, said + more)


def cast(op: str, parameter: Parameter, value: Any, dtype: np.dtype) -> Any:
    """A number as the signature says."""
    name, kind = parameter.name, parameter.kind
    remedy = f"Declare it as {name}: {kind}[] to pass an array, whose value is data."
    if isinstance(value, Node) or np.ndim(value):
        fail(DTypeError, op, f"{parameter.name} is a number, got an array", remedy)
    return number_of(op, name, value, dtype, remedy)


def number_of(op: str, name: str, value: Any, dtype: np.dtype, remedy: str = "") -> Any:
    """A number in a dtype.

    Raises
    ------
    DTypeError
        Where it is none, or loses more than a float's rounding.
    """
    what = f"{name} must be a {dtype}, got {value!r}"
    if isinstance(value, str | bytes) or (np.iscomplexobj(value) and dtype.kind != "c"):
        fail(DTypeError, op, what, remedy)
    try:
        wide = kind_of(dtype) == "f" and isinstance(value, int)
        found = dtype.type(float(value) if wide else value)
    except (TypeError, ValueError, OverflowError) as error:
        fail(DTypeError, op, f"{what} ({error})", remedy)
    if dtype.kind in "iub" and found != value:
        fail(DTypeError, op, what)
    return found


# ---- the op


class CustomOp(Differentiable, _ir.Op):
    """An op that a user's sources compute: results lie in one value, side by side."""

    inplace = False
    factory: Callable[..., Any] | None = None
    accepts = None

    def __init__(
        self,
        name: str,
        signature: Signature,
        *,
        cuda: str | None,
        cpu: Callable[..., Any] | None,
        grid: Callable[..., Any] | None,
        options: tuple[str, ...],
    ) -> None:
        label = f"kernel {name}"
        with registering:
            super().__init__(label, NATIVE, dear=True, fallible=True)
            # It belongs to who made it: another one may have its name.
            del _ir.registry[label]
        self.title = name
        self.signature = signature
        self.cuda = cuda
        self.cpu = cpu
        self.grid = grid
        self.options = options
        self.function = self.run

    def __reduce__(self) -> Any:
        remedy = "Pickle what la.kernel returned, or an array's values."
        fail(OptionError, self.title, "what a kernel records cannot be pickled", remedy)

    def __call__(self, arrays: Sequence[Node], numbers: Sequence[Any]) -> tuple[Node, ...]:
        """Record the op; a Node for each output."""
        call = typed(self.title, self.signature, arrays, numbers)
        if len(call.results) == 1:
            (only,) = call.results
            return (self.node(tuple(arrays), only.shape, only.dtype, (("call", call),)),)
        dtype, _, total = packing(call.results)
        attrs = (("call", call), ("results", call.results))
        whole = self.node(tuple(arrays), (total // dtype.itemsize,), dtype, attrs)
        return unpacked(whole, call.results)

    def operands(self, arrays: Sequence[Any], numbers: Sequence[Any]) -> list[Any]:
        """Arrays and numbers in the order of the signature."""
        left, right = iter(arrays), iter(numbers)
        return [next(right if each.extents is None else left) for each in self.signature.inputs]

    def run(self, xp: Any, *arrays: Any, out: Any, call: Typed, results: Any = None) -> None:
        """Compute the results by the CPU's function, as a task."""
        assert self.cpu is not None
        arrays = tuple([x.view() for x in arrays])
        for x in arrays:
            x.flags.writeable = False  # they are others' values
        self.cpu(*self.operands(arrays, call.values()), *places(out, results))

    def source(self, call: Typed) -> str:
        """The CUDA source for the dtypes of a call; its lines have the user's numbers."""
        assert self.cuda is not None
        named = [f"using {name} = {CUDA_TYPES[d.name]};" for name, d in call.kinds]
        both = (*self.signature.inputs, *self.signature.outputs)
        used = {d.name for _, d in call.kinds} | {each.kind for each in both}
        headers = [f"#include <{header}>" for dtype, header in HEADERS.items() if dtype in used]
        return "\n".join([*headers, *named, f'#line 1 "{self.title}.cu"', self.cuda])

    def launch_of(self, call: Typed) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Grid, block and bytes of shared memory."""
        if self.grid is None:
            threads = 256
            return (max(1, -(-prod(call.results[0].shape) // threads)),), (threads,), 0
        names = [each.name for each in self.signature.numbers]
        given = dict(call.extents) | dict(zip(names, call.values(), strict=True))
        grid, block, *shared = self.grid(**given)
        return whole(grid), whole(block), int(shared[0]) if shared else 0


def whole(extents: Any) -> tuple[int, ...]:
    """One to three extents of a grid or block."""
    found = tuple(map(int, extents)) if isinstance(extents, tuple | list) else (int(extents),)
    if not 1 <= len(found) <= 3 or any(n < 1 for n in found):
        fail(OptionError, "kernel", f"a grid or block has one to three extents, not {extents!r}")
    return found
