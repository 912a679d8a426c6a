"""Recorded operations as the NumPy code that a reader expects: operators, slices, calls."""

from __future__ import annotations

from typing import Any

from lazyarray._ir import c_strides

# How tightly an operator binds; larger is tighter.
BINARY = {
    "logical_or": ("|", 1),
    "bitwise_or": ("|", 1),
    "logical_xor": ("^", 2),
    "bitwise_xor": ("^", 2),
    "logical_and": ("&", 3),
    "bitwise_and": ("&", 3),
    "left_shift": ("<<", 4),
    "right_shift": (">>", 4),
    "add": ("+", 5),
    "subtract": ("-", 5),
    "multiply": ("*", 6),
    "divide": ("/", 6),
    "floor_divide": ("//", 6),
    "remainder": ("%", 6),
    "gemm": ("@", 6),
    "pow": ("**", 8),
    "equal": ("==", 0),
    "not_equal": ("!=", 0),
    "less": ("<", 0),
    "less_equal": ("<=", 0),
    "greater": (">", 0),
    "greater_equal": (">=", 0),
}
UNARY = {"negative": ("-", 7), "invert": ("~", 7)}
ATOM = 9
BOOLEAN = {"logical_or", "logical_and", "logical_xor"}  # written as operators of boolean operands
CALLS = {"absolute": "abs", "arcsin": "asin", "arccos": "acos", "arctan": "atan"}
NEAR = 4  # a slice that ends this near to the end is written from there


class Text(str):
    """Code of an expression, and how tightly its outermost operator binds."""

    binds: int

    def __new__(cls, code: str, binds: int = ATOM) -> Text:
        """Text that binds as tightly as a name unless told otherwise."""
        made = super().__new__(cls, code)
        made.binds = binds
        return made

    def inside(self, binds: int) -> str:
        """The code in brackets where it binds less tightly than its surroundings."""
        return f"({self})" if self.binds < binds else str(self)


def number(value: Any) -> Text:
    """A number that was recorded as data."""
    code = str(value)  # of a NumPy scalar: no more digits than its dtype needs
    return Text(code, 7 if code.startswith("-") else ATOM)


def operation(op: Any, attrs: Any, operands: list[Text], kind: Any) -> Text:
    """An op applied to operands; `kind` is the type of the result."""
    name = op.name.lstrip("_")
    if name in BINARY and len(operands) == 2 and not (name in BOOLEAN and kind.dtype.kind != "b"):
        sign, binds = BINARY[name]
        left, right = operands
        # Comparisons do not chain here, and a power's exponent is read from the right.
        first = binds + (binds in (0, 8))
        last = binds if binds == 8 else binds + 1
        return Text(f"{left.inside(first)} {sign} {right.inside(last)}", binds)
    if name in UNARY:
        sign, binds = UNARY[name]
        return Text(f"{sign}{operands[0].inside(binds)}", binds)
    if name == "cast":
        name = kind.dtype.name
    parts = [*operands, *arguments(attrs)]
    if name == "iota":
        return Text(
            f"arange({kind.size})" + (f".reshape{kind.shape}" if len(kind.shape) > 1 else "")
        )
    return Text(f"{CALLS.get(name, name)}({', '.join(parts)})")


def arguments(attrs: Any) -> list[str]:
    """The attributes of an op on whole arrays; a run of axes as NumPy names it."""
    named = dict(attrs or ())
    if named.keys() == {"start", "stop"}:
        start, stop = named["start"], named["stop"]
        return [f"axis={start if stop == start + 1 else tuple(range(start, stop))}"]
    return [f"{name}={value}" for name, value in named.items()]


# ---- views


def seen(
    base: Text, whole: Any, kind: Any, strides: tuple[int, ...], offset: int, broadcasts: bool
) -> Text:
    """A view of `base`, a value of type `whole`, as an index or a method.

    With `broadcasts` the reader's rules repeat what has one element, so that is not written out.
    """
    code = base.inside(ATOM)
    if kind.itemsize != whole.itemsize:
        return Text(f"{code}.view({kind.dtype.name})")
    if offset == 0 and kind.size == whole.size and strides == c_strides(kind.shape, kind.itemsize):
        if kind.shape == whole.shape:
            return base if kind.dtype is whole.dtype else Text(f"{code}.view({kind.dtype.name})")
        if squeezed(kind.shape) != squeezed(whole.shape) or 1 in whole.shape:
            return Text(f"{code}.reshape{kind.shape}")
    found = indexed(whole, kind, strides, offset, broadcasts)
    if found is None:
        return Text(f"as_strided({base}, {kind.shape}, {strides}, offset={offset})")
    index, order, repeats = found
    out = code
    if any(part != ":" for part in index):
        while index and index[-1] == ":":
            index.pop()
        out = f"{code}[{', '.join(index)}]"
    if order != sorted(order):
        reverse = order == sorted(order, reverse=True) and len(order) == len(kind.shape)
        out += ".T" if reverse else f".transpose{tuple(order)}"
    if repeats and not broadcasts:
        return Text(f"broadcast_to({out}, {kind.shape})")
    return Text(out, base.binds if out == code and not code.startswith("(") else ATOM)


def squeezed(shape: tuple[int, ...]) -> list[int]:
    """The extents that are not 1."""
    return [extent for extent in shape if extent != 1]


def indexed(
    whole: Any, kind: Any, strides: tuple[int, ...], offset: int, broadcasts: bool
) -> tuple[list[str], list[int], bool] | None:
    """A view as (index, order of its axes, whether it repeats elements); None if it is no index.

    New axes of one element stand for repeated ones; those that broadcasting adds are left out.
    """
    if kind.size == 0 or whole.size == 0:
        return None
    steps = c_strides(whole.shape, whole.itemsize)
    starts, rest = [], offset
    for step in steps:
        starts.append(rest // step)
        rest %= step
    source: list[int | None] = []  # for each axis of the view, that of the base
    taken: dict[int, str] = {}
    for extent, stride in zip(kind.shape, strides, strict=True):
        axis = None
        if extent > 1 and stride:
            axis = next(
                (i for i, s in enumerate(steps) if whole.shape[i] > 1 and s <= abs(stride)), None
            )
            if axis is None or axis in taken or stride % steps[axis]:
                return None
            text = sliced(starts[axis], stride // steps[axis], extent, whole.shape[axis])
            if text is None:
                return None
            taken[axis] = text
        source.append(axis)
    repeats = any(n > 1 and not s for n, s in zip(kind.shape, strides, strict=True))
    lead = 0
    while (repeats or broadcasts) and lead < len(source) and source[lead] is None:
        lead += 1
    return *arranged(source[lead:], taken, starts, whole.shape), repeats


def sliced(start: int, step: int, count: int, extent: int) -> str | None:
    """A slice of `count` elements; None where it leaves the axis."""
    last = start + step * (count - 1)
    if not (0 <= last < extent and 0 <= start < extent):
        return None
    begin = "" if start == (0 if step > 0 else extent - 1) else str(start)
    stop = last + (1 if step > 0 else -1)
    end = str(stop - extent) if 0 < extent - stop < NEAR and step == 1 else str(stop)
    if not 0 <= last + step < extent:
        end = ""
    return f"{begin}:{end}" + ("" if step == 1 else f":{step}")


def arranged(
    source: list[int | None], taken: dict[int, str], starts: list[int], shape: tuple[int, ...]
) -> tuple[list[str], list[int]]:
    """The index, and the order in which the view has the axes that it gives."""
    index: list[str] = []
    if [axis for axis in source if axis is not None] == sorted(taken):
        at = 0
        for axis in source:
            upto = at if axis is None else axis
            if axis is None:  # an axis of one element of the base, if there is one here
                while upto < len(shape) and upto not in taken and shape[upto] != 1:
                    upto += 1
                if upto == len(shape) or upto in taken:
                    index += [str(start) for start in starts[at:upto]] + ["None"]
                    at = upto
                    continue
            index += [str(start) for start in starts[at:upto]]
            index.append(":" if axis is None else taken[axis])
            at = upto + 1
        return index + [str(start) for start in starts[at:]], []
    index = [taken.get(axis, str(start)) for axis, start in enumerate(starts)]
    place = {axis: i for i, axis in enumerate(sorted(taken))}
    order = []
    for axis in source:
        if axis is None:
            index.append("None")
        order.append(len(taken) + index.count("None") - 1 if axis is None else place[axis])
    return index, order
