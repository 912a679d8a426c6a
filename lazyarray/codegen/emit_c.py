"""C++ loops over scalar programs, compiled when the package is built (see setup.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .dialect import FLOATS, Scalar, Step

TYPES = {"bool": "bool", "float32": "float", "float64": "double"}
BINARY = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^",
    "shl": "<<", "shr": ">>", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
CALLS = {"fma", "sqrt", "floor", "ceil", "trunc", "rint"}
WRAPPING = ("add", "sub", "mul", "shl")


def c_type(kind: str) -> str:
    """The C type of a type."""
    return TYPES.get(kind, f"{kind}_t")


def literal(step: Step) -> str:
    """A constant in C."""
    if step.type == "bool":
        return "true" if step.value else "false"
    if step.type in FLOATS:
        suffix = "f" if step.type == "float32" else ""
        if math.isnan(step.value):
            return f'__builtin_nan{suffix}("")'
        if math.isinf(step.value):
            return f"{'-' if step.value < 0 else ''}__builtin_inf{suffix}()"
        return step.value.hex() + suffix
    if step.value == -(1 << 63):
        return "INT64_MIN"
    unsigned = "u" if step.type[0] == "u" else ""
    return f"({c_type(step.type)}){step.value}{unsigned}{'ll' if abs(step.value) >> 31 else ''}"


def expression(step: Step, names: Sequence[str], types: Sequence[str]) -> str:
    """The right side of a step's statement."""
    args = [names[a] for a in step.args]
    kind, result = step.type, c_type(step.type)
    if step.op == "select":
        return f"{args[0]} ? {args[1]} : {args[2]}"
    if step.op in CALLS:
        return f"__builtin_{step.op}{'f' if kind == 'float32' else ''}({', '.join(args)})"
    if step.op == "abs":
        return f"__builtin_fabs{'f' if kind == 'float32' else ''}({args[0]})"
    if step.op == "bits":
        return f"bits_as<{result}>({args[0]})"
    if step.op == "convert":
        return f"({result}){args[0]}"
    integer = kind not in FLOATS and kind != "bool"
    if step.op == "neg":
        return f"({result})(0u - (u{result.lstrip('u')}){args[0]})" if integer else f"-{args[0]}"
    if step.op == "not":
        return f"!{args[0]}" if kind == "bool" else f"({result})~{args[0]}"
    sign = BINARY[step.op]
    if integer and step.op in WRAPPING:
        # Without a sign and at least as wide as int, so that nothing overflows.
        wide = "uint64_t" if kind.endswith("64") else "uint32_t"
        return f"({result})(({wide}){args[0]} {sign} ({wide}){args[1]})"
    if integer and types[step.args[0]] == kind:
        return f"({result})({args[0]} {sign} {args[1]})"
    return f"{args[0]} {sign} {args[1]}"


def statements(scalar: Scalar) -> tuple[list[str], list[str]]:
    """One statement for each step, and the names of the outputs; last, of what is rare."""
    names: list[str] = []
    types = [step.type for step in scalar.steps]
    lines = []
    count = 0
    for step in scalar.steps:
        if step.op == "input":
            names.append(f"x{step.value}")
        elif step.op == "const":
            names.append(literal(step))
        else:
            name = f"t{count}"
            count += 1
            lines.append(f"const {c_type(step.type)} {name} = {expression(step, names, types)};")
            names.append(name)
    places = scalar.outputs if scalar.rare is None else (*scalar.outputs, scalar.rare)
    return lines, [names[o] for o in places]


def function(name: str, scalar: Scalar) -> str:
    """An inline function of one element, with one result; it says whether the element is rare."""
    lines, results = statements(scalar)
    params = [f"{c_type(kind)} x{i}" for i, kind in enumerate(scalar.inputs)]
    if scalar.rare is not None:
        params.append("bool& rare")
        lines.append(f"rare = {results.pop()};")
    result = c_type(scalar.results[0])
    lines.append(f"return {results[0]};")
    body = "".join(f"        {line}\n" for line in lines)
    return f"    LA_INLINE {result} {name}({', '.join(params)}) {{\n{body}    }}\n"


def element(scalar: Scalar) -> str:
    """A struct with the function of one program, `value`, and `full` where elements are rare."""
    text = f"// {scalar.name} of {', '.join(scalar.inputs)}\nstruct {scalar.label} {{\n"
    kinds = (*scalar.inputs, *scalar.results)
    for letter, kind in zip("XYZ", scalar.inputs, strict=False):
        text += f"    using {letter} = {c_type(kind)};\n"
    text += f"    using R = {c_type(kinds[-1])};\n"
    text += f"    static constexpr int inputs = {len(scalar.inputs)};\n"
    text += f"    static constexpr bool some_rare = {str(scalar.full is not None).lower()};\n"
    text += function("value", scalar)
    if scalar.full is not None:
        text += function("full", scalar.full)
    return text + "};\n"


def source(scalars: Sequence[Scalar]) -> str:
    """The header of all loops, and the table that _vmath.pyx registers."""
    text = "// Generated from lazyarray/codegen/scalars.py.\n#pragma once\n"
    text += '#include "vmath.hpp"\n\nnamespace la {\n\n'
    text += "\n".join(element(scalar) for scalar in scalars)
    text += "\ninline const std::vector<VectorLoop>& vector_loops() {\n"
    text += "    static const std::vector<VectorLoop> all = {\n"
    for scalar in scalars:
        kinds = " ".join((*scalar.inputs, *scalar.results))
        text += f'        {{"{scalar.name}", "{kinds}", pick_loop<Vector<{scalar.label}>>()}},\n'
    return text + "    };\n    return all;\n}\n\n}  // namespace la\n"
