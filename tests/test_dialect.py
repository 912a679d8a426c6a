"""The scalar dialect: programs have the bits of the loops they stand for, and say what is wrong."""

import itertools

import numpy as np
import pytest
from loops import apply, same_bits, sample

from lazyarray import _loops
from lazyarray.codegen import emit_c, loader, operations, sweep, worker
from lazyarray.codegen.dialect import (
    FLOATS,
    INTEGERS,
    TYPES,
    Step,
    fma,
    program,
    rounded,
    rounding,
    select,
    sqrt,
)

UNARY = (*operations.FLOATING, "negative", "absolute", "square", "sign", "positive", "conjugate",
         "copy", "invert", *operations.TESTS, "logical_not", *operations.FUNCTIONS)  # fmt: skip
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "fmax", "fmin",
          "copysign", "power", "float_power", *operations.BITWISE, *operations.NAMES.values(),
          "logical_and", "logical_or", "logical_xor")  # fmt: skip


def candidates(kind):
    """Names and dtypes of loops that take this type."""
    for count, names in ((1, UNARY), (2, BINARY)):
        for name, result in itertools.product(dict.fromkeys(names), {kind, "bool"}):
            yield name, (*(kind,) * count, result)
    yield "where", ("bool", kind, kind, kind)
    yield from (("cast", (kind, target)) for target in TYPES)


@pytest.fixture(scope="module")
def compiled():
    """What makes a loop of one operation through the other emitter, LLVM's."""
    compiler = worker.load()

    def make(name, types):
        inputs = tuple((kind, False) for kind in types[:-1])
        places = tuple(range(len(inputs)))
        alone = sweep.Sweep(inputs, (sweep.Statement(name, types, places),), (len(inputs),))
        code = compiler({"sweep": sweep.plain(alone)})
        return loader.load(code, name, types, len(inputs))

    return make


SLOW = ("int8", "int16", "uint16", "uint32", "uint64")


@pytest.mark.parametrize(
    "kind", [pytest.param(t, marks=[pytest.mark.slow] if t in SLOW else []) for t in TYPES]
)
def test_bits_of_every_program(compiled, kind):
    """Each is, in LLVM, what the loop of this name and these dtypes gives: NumPy's or ours."""
    tried = set()
    for name, types in candidates(kind):
        if operations.lookup(name, types) is None:
            continue
        loop = _loops.find_loop(name, types)
        if loop is None:
            continue  # NumPy has none either: the operation converts first
        rng = np.random.default_rng(len(tried))
        xs = [sample(rng, np.dtype(t), 1500) for t in types[:-1]]
        assert same_bits(apply(compiled(name, types), *xs), apply(loop, *xs)), (name, types)
        tried.add(name)
    assert len(tried) >= 19, sorted(tried)


def test_lookup_gives_none_where_there_is_no_program():
    lookup = operations.lookup
    assert lookup("add", ("float16",) * 3) is None
    assert lookup("exp", ("complex64",) * 2) is None
    assert lookup("add", ("float32", "float64", "float64")) is None
    assert lookup("add", ("float32", "float32", "bool")) is None
    assert lookup("no_such_loop", ("float32",) * 2) is None
    assert lookup("divide", ("int32",) * 3) is None
    assert lookup("subtract", ("bool",) * 3) is None
    assert lookup("exp", ("int32",) * 2) is None
    assert lookup("exp", ("float32",) * 3) is None
    assert lookup("less", ("float32", "bool")) is None
    assert lookup("iota", ("int64",)) is None
    assert lookup("exp", (np.dtype("f4"),) * 2) is lookup("exp", (np.dtype("f4"),) * 2)


def trace(*inputs):
    """The function that makes a program of a function."""
    return lambda function: program("f", inputs, function)


def test_a_program_is_what_its_result_needs():
    @trace("float32", "float32")
    def scalar(x, y):
        _ = sqrt(y) / x  # unused
        return fma(x, 2.0, x * x) + x * x

    ops = [step.op for step in scalar.steps]
    assert ops == ["input", "input", "mul", "const", "fma", "add"]
    assert scalar.steps[3] == Step("const", "float32", (), 2.0)
    assert scalar.inputs == ("float32", "float32") and scalar.results == ("float32",)
    assert scalar.label == "f_float32_float32_float32"


def test_constants_that_are_equal_are_not_the_same():
    scalar = trace("float64")(lambda x: select(x < 0, -0.0, x) + select(x > 1, 0.0, x))
    assert [repr(s.value) for s in scalar.steps if s.op == "const"] == ["0.0", "-0.0", "1.0"]


def test_rare_elements_have_a_program_of_their_own():
    scalar = operations.lookup("sin", ("float32", "float32"))
    assert scalar.steps[scalar.rare].type == "bool" and scalar.full.rare is None
    assert scalar.full.inputs == scalar.inputs and scalar.full.results == scalar.results
    assert len(scalar.only((scalar.rare,)).steps) < 7 < len(scalar.steps) < len(scalar.full.steps)
    assert operations.lookup("exp", ("float32", "float32")).full is None


@pytest.mark.parametrize(
    ("inputs", "function", "message"),
    [
        (("float32", "float64"), lambda x, y: x + y, "add: float32 and float64"),
        (("float32",), lambda x: x & 1, "and of float32"),
        (("int32",), lambda x: x / 2, "div of int32"),
        (("bool",), lambda x: x + 1, "add of bool"),
        (("float32",), lambda x: x if x > 0 else -x, "no branches"),
        (("float32",), lambda x: x.bits("uint64"), "bits of float32 as uint64"),
        (("bool",), lambda x: x.bits("uint8"), "bits of bool"),
        (("int32",), lambda x: select(x, x, 0), "select of int32"),
        (("float32", "float64"), lambda x, y: fma(x, x, y), "fma of float32"),
    ],
)
def test_wrong_types_are_named(inputs, function, message):
    with pytest.raises(TypeError, match=message):
        program("f", inputs, function)


def test_a_value_belongs_to_one_program():
    values = []
    trace("float32")(lambda x: values.append(x) or x)
    with pytest.raises(ValueError, match="two programs"):
        trace("float32")(lambda x: x + values[0])


@pytest.mark.parametrize("kind", INTEGERS)
def test_constants_wrap(kind):
    info = np.iinfo(kind)
    assert rounded(int(info.max) + 1, kind) == info.min
    assert rounded(int(info.min) - 1, kind) == info.max
    assert rounded(info.max, kind) == info.max


def test_c_is_one_statement_a_step():
    """Golden: what people see."""

    @trace("float32", "int32")
    def scalar(x, n):
        shifted = (x.bits("int32") + (n << 23)).bits("float32")
        return select(x == 0, x, rounding("floor", shifted) * 0.1)

    lines, results = emit_c.statements(scalar)
    assert "\n".join(lines) == (
        "const int32_t t0 = bits_as<int32_t>(x0);\n"
        "const int32_t t1 = (int32_t)((uint32_t)x1 << (uint32_t)(int32_t)23);\n"
        "const int32_t t2 = (int32_t)((uint32_t)t0 + (uint32_t)t1);\n"
        "const float t3 = bits_as<float>(t2);\n"
        "const bool t4 = x0 == 0x0.0p+0f;\n"
        "const float t5 = __builtin_floorf(t3);\n"
        "const float t6 = t5 * 0x1.99999a0000000p-4f;\n"
        "const float t7 = t4 ? x0 : t6;"
    )
    assert results == ["t7"]


def test_the_package_compiles_every_vector_function():
    names = {(s.name, s.inputs[0]) for s in operations.compiled()}
    wanted = set(itertools.product((*operations.FUNCTIONS, "fmax", "fmin"), FLOATS))
    assert names == wanted | {("float_power", "float64")}
    text = emit_c.source(operations.compiled())
    assert text == emit_c.source(operations.compiled())  # nothing that changes from run to run
