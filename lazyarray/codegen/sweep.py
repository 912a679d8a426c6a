"""Sweeps: what one loop over elements computes in place of several.

A `Sweep` is what such a loop is known by: element types, which inputs are one element for all, the
operations by name, and which values are stored. It names no size and no datum, so another shape
finds the loop that is there. `composed` puts the scalar programs of its operations together, and
the emitters see one program. Only this folder's files are imported: the helper process loads them
without lazyarray.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .dialect import FLOATS, Scalar, Trace, Value, inlined, pruned, stored
from .operations import lookup


@dataclass(frozen=True, slots=True)
class Statement:
    """One operation: its loop's name and dtypes, inputs then result, and the values it reads."""

    name: str
    types: tuple[str, ...]
    args: tuple[int, ...]


# Where an input of a sweep that reduces differs: between elements, nowhere, between the rows of a
# line, between lines.
EVERYWHERE, NOWHERE, BY_ROW, BY_COLUMN = 0, 1, 2, 3
REACHES = {NOWHERE: "one element for all", BY_ROW: "one for a row", BY_COLUMN: "one for a line"}


@dataclass(frozen=True, slots=True)
class Sweep:
    """One pass over elements: values 0, 1, ... are the inputs, then each statement makes one."""

    # Type; whether it is one element for all or, of a sweep that reduces, where it differs.
    inputs: tuple[tuple[str, int], ...]
    statements: tuple[Statement, ...]
    outputs: tuple[int, ...]
    folds: tuple[str, ...] = ()  # what each output is reduced by, "sum"; none: it is stored
    form: str = ""  # of a sweep that reduces: "columns", "strips" (emit_columns.py), or of lines

    def type_of(self, value: int) -> str:
        """The element type of a value."""
        count = len(self.inputs)
        if value < count:
            return self.inputs[value][0]
        return stored(self.statements[value - count].types[-1])

    @property
    def types(self) -> tuple[str, ...]:
        """The element types of inputs and outputs, in the order of the loop's operands."""
        return (*(kind for kind, _ in self.inputs), *(self.type_of(v) for v in self.outputs))


# What raises the same flags in a vector, for what is left of one, and moved out of a loop. From
# tests of bits compilers make comparisons of numbers, which find fault with NaN.
PLAIN = {
    "input", "const", "add", "sub", "mul", "div", "neg", "sqrt", "abs", "fma", "floor", "ceil",
    "trunc", "rint",
}  # fmt: skip


def keeps_flags(sweep: Sweep) -> bool:
    """Whether its loop raises the floating-point flags that its operations raise one by one."""
    for statement in sweep.statements:
        scalar = lookup(statement.name, statement.types)
        if scalar is None or any(
            step.op not in PLAIN and not (step.op == "convert" and step.type in FLOATS)
            for step in scalar.steps
        ):
            return False
    return True


# ---- from sweeps to programs


def composed(sweep: Sweep) -> Scalar:
    """The one program of all statements, with the rare elements of each."""
    exact = together(sweep, full=True)
    short = together(sweep, full=False)
    if short.rare is None:
        return exact
    return Scalar(
        short.name, short.inputs, short.results, short.steps, short.outputs, short.rare, exact
    )


def together(sweep: Sweep, full: bool) -> Scalar:
    """The statements' programs, the full ones or the short ones, as one."""
    trace = Trace()
    kinds = tuple(kind for kind, _ in sweep.inputs)
    values = [trace.step("input", kind, (), i) for i, kind in enumerate(kinds)]
    rare: Value | None = None
    for statement in sweep.statements:
        scalar = lookup(statement.name, statement.types)
        assert scalar is not None
        if full and scalar.full is not None:
            scalar = scalar.full
        copies = inlined(trace, scalar.steps, [values[a] for a in statement.args])
        values.append(copies[scalar.outputs[0]])
        if scalar.rare is not None:
            rare = copies[scalar.rare] if rare is None else rare | copies[scalar.rare]
    outputs = tuple(values[o].place for o in sweep.outputs)
    steps = tuple(trace.steps)
    if rare is None:
        return pruned("sweep", kinds, steps, outputs)
    both = pruned("sweep", kinds, steps, (*outputs, rare.place))
    return Scalar(
        "sweep", kinds, both.results[:-1], both.steps, both.outputs[:-1], both.outputs[-1]
    )


# ---- for people and processes

SIGNS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "less": "<", "less_equal": "<=",
    "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip


def expression(sweep: Sweep, longest: int = 300) -> str:
    """What a sweep computes, as one line of text."""
    count = len(sweep.inputs)
    uses = [0] * (count + len(sweep.statements))
    for statement in sweep.statements:
        for arg in statement.args:
            uses[arg] += 1
    texts = [f"x{i}" for i in range(count)]
    lines = []
    for number, statement in enumerate(sweep.statements, count):
        args = [texts[a] for a in statement.args]
        sign = SIGNS.get(statement.name)
        if sign and len(args) == 2:
            text = f"({args[0]} {sign} {args[1]})"
        else:
            kind = f".{statement.types[-1]}" if statement.name == "cast" else ""
            text = f"{statement.name}{kind}({', '.join(args)})"
        if uses[number] > 1 or (uses[number] and number in sweep.outputs):
            lines.append(f"t{number - count} = {bare(text)}")
            text = f"t{number - count}"
        texts.append(text)
    if sweep.folds:
        lines += [f"{f}({bare(texts[o])})" for f, o in zip(sweep.folds, sweep.outputs, strict=True)]
    else:
        lines += [bare(texts[o]) for o in sweep.outputs if not uses[o]]
    whole = "; ".join(lines)
    return whole if len(whole) <= longest else whole[: longest - 4] + " ..."


def bare(text: str) -> str:
    """A text without the parentheses around all of it."""
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth and at < len(text) - 1:
            return text
    return text[1:-1] if text.startswith("(") else text


def plain(sweep: Sweep) -> list[Any]:
    """A sweep as lists, for JSON."""
    statements = [[s.name, list(s.types), list(s.args)] for s in sweep.statements]
    inputs = [list(each) for each in sweep.inputs]
    return [inputs, statements, list(sweep.outputs), list(sweep.folds), sweep.form]


def parsed(lists: list[Any]) -> Sweep:
    """The sweep that `plain` wrote."""
    inputs, statements, outputs, folds, form = lists
    return Sweep(
        tuple((kind, reach) for kind, reach in inputs),
        tuple(Statement(n, tuple(t), tuple(a)) for n, t, a in statements),
        tuple(outputs),
        tuple(folds),
        form,
    )


def listing(sweep: Sweep) -> str:
    """What a sweep computes, one statement a line, as a function of elements."""
    count = len(sweep.inputs)
    names = [f"x{i}" for i in range(count)]
    params = [f"{n}: {kind}" for n, (kind, _) in zip(names, sweep.inputs, strict=True)]
    lines = [f"# {expression(sweep)}", f"def sweep({', '.join(params)}):"]
    for reach, text in REACHES.items():
        same = [name for name, (_, own) in zip(names, sweep.inputs, strict=True) if own == reach]
        if same:
            lines.append(f"    # {text}: {', '.join(same)}")
    for number, statement in enumerate(sweep.statements, count):
        stored = number in sweep.outputs
        names.append(f"{'y' if stored else 't'}{number - count}")
        args = ", ".join(names[a] for a in statement.args)
        name = f"{statement.name}[{', '.join(dict.fromkeys(statement.types))}]"
        lines.append(f"    {names[-1]} = {name}({args})")
    results = [names[o] for o in sweep.outputs]
    if sweep.folds:
        results = [f"{fold}({o})" for fold, o in zip(sweep.folds, results, strict=True)]
    lines.append(f"    return {', '.join(results)}")
    return "\n".join(lines) + "\n"
