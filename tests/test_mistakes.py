"""Programs with a typical mistake each: the class that NumPy raises, and our whole message."""

import re
import warnings

import numpy as np
import pytest

import lazyarray as la

# What is wrong, the program, and the message; the class is NumPy's own answer to the program.
MISTAKES = [
    (
        "shapes that do not broadcast",
        "a = np.ones((3, 4))\na + np.ones(3)",
        "add: shapes (3, 4), (3,) do not broadcast\n"
        "  Extents must be equal or 1, counted from the last axis.",
    ),
    (
        "a matrix product the wrong way round",
        "np.ones((2, 3)) @ np.ones((2, 3))",
        "matmul: inner dimensions differ: a is (2, 3), b is (2, 3)\n  b.T would fit.",
    ),
    (
        "a product with a vector of another length",
        "np.dot(np.ones((2, 3)), np.ones(2))",
        "dot: shapes (2, 3) and (2,) not aligned: 3 != 2",
    ),
    (
        "subscripts that give an axis two extents",
        "np.einsum('ij,jk->ik', np.ones((2, 3)), np.ones((2, 3)))",
        "einsum: operand (2, 3) has extent 2 for 'j', another has 3",
    ),
    (
        "a shape for another number of elements",
        "np.arange(6).reshape(4, 2)",
        "reshape: cannot reshape array of size 6 into shape (4,2)",
    ),
    (
        "an axis that is not there",
        "np.ones((2, 3)).sum(axis=2)",
        "sum: axis 2 is out of bounds for array of dimension 2",
    ),
    (
        "an axis named twice",
        "np.ones((2, 3)).transpose(0, 0)",
        "transpose: repeated axis in transpose, array has shape (2, 3)",
    ),
    (
        "an axis of another extent squeezed out",
        "np.ones((2, 3)).squeeze(0)",
        "squeeze: cannot select an axis to squeeze out which has size not equal to one, "
        "array has shape (2, 3)",
    ),
    (
        "arrays joined that differ elsewhere",
        "np.concatenate([np.ones((2, 3)), np.ones((2, 4))])",
        "concatenate: shapes differ outside axis 0: (2, 3) and (2, 4)",
    ),
    (
        "arrays joined without a list",
        "np.concatenate(np.ones(2), np.ones(2))",
        "concatenate: the axis is an array of shape (2,)\n  Put the arrays into one list.",
    ),
    (
        "arrays of unequal shapes stacked",
        "np.stack([np.ones(2), np.ones(3)])",
        "stack: all arrays must have the same shape, got [(2,), (3,)]",
    ),
    (
        "parts of unequal lengths",
        "np.split(np.arange(5), 2)",
        "split: array split does not result in an equal division: 2 parts of shape (5,)\n"
        "  Use array_split for parts that differ.",
    ),
    (
        "a view with a shape that does not fit",
        "np.broadcast_to(np.ones(3), (2, 4))",
        "broadcast_to: an array of shape (3,) does not fit shape (2, 4)\n"
        "  Extents must be equal or 1, counted from the last axis.",
    ),
    (
        "a negative extent",
        "np.zeros((2, -1))",
        "zeros: negative dimensions are not allowed: (2, -1)",
    ),
    (
        "a shape that is not in parentheses",
        "np.zeros(2, 3)",
        "zeros: 3 is not a data type (Cannot interpret '3' as a data type)",
    ),
    (
        "a dtype misspelt",
        "np.zeros(3, 'flaot32')",
        "zeros: 'flaot32' is not a data type (data type 'flaot32' not understood)",
    ),
    (
        "rows of unequal lengths",
        "np.array([[1, 2], [3]])",
        "setting an array element with a sequence. The requested array has an inhomogeneous shape "
        "after 1 dimensions. The detected shape was (2,) + inhomogeneous part.",
    ),
    (
        "an array as a condition",
        "a = np.arange(3)\nif a > 1:\n    pass",
        "The truth value of an array with more than one element is ambiguous. "
        "Use a.any() or a.all()",
    ),
    (
        "an array as a number",
        "float(np.ones(2))",
        "only 0-dimensional arrays can be converted to Python scalars",
    ),
    (
        "an index out of bounds",
        "a = np.arange(3)\na[5]",
        "index: index 5 is out of bounds for axis 0 with size 3, array has shape (3,)",
    ),
    (
        "an index too many",
        "a = np.arange(3)\na[1, 2]",
        "index: too many indices for array: array is 1-dimensional, but 2 were indexed, "
        "array has shape (3,)",
    ),
    (
        "an index that is no integer",
        "np.arange(3)[1.0]",
        "index: only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer "
        "or boolean arrays are valid indices",
    ),
    (
        "a mask of another length",
        "np.arange(3)[np.array([True, False])]",
        "index: boolean index did not match indexed array along axis 0; size of axis is 3 but size "
        "of corresponding boolean axis is 2",
    ),
    (
        "an index out of bounds, seen when it is computed",
        "i = np.arange(3) + 1\na = np.arange(3)[i]\nb = a * 2\nprint(b)",
        "index: an index is out of bounds for an axis of size 3\n  Recorded at <program>:2.",
    ),
    (
        "elements taken from beyond the end",
        "a = np.arange(3)\nb = np.take(a, 7)\nprint(b)",
        "take: an index is out of bounds for axis 0 with size 3\n  Recorded at <program>:2.",
    ),
    (
        "a row assigned that does not fit",
        "a = np.zeros((2, 3))\na[0] = np.ones(2)",
        "setitem: could not broadcast input array from shape (2,) into shape (3,)\n"
        "  Extents must be equal or 1, counted from the last axis.",
    ),
    (
        "a sequence assigned to one element",
        "a = np.zeros(3)\na[0] = [1, 2]",
        "setitem: setting an array element with a sequence of shape (2,)",
    ),
    (
        "NaN assigned to integers",
        "a = np.zeros(3, int)\na[0] = np.nan",
        "setitem: cannot convert float NaN to integer: the array has dtype int64",
    ),
    (
        "a write to a read-only view",
        "a = np.broadcast_to(np.arange(3), (2, 3))\na[0] = 1",
        "setitem: assignment destination is read-only",
    ),
    (
        "a fraction added to integers in place",
        "a = np.arange(3)\na += 0.5",
        "add: cannot cast output from dtype('float64') to dtype('int64') with casting rule "
        "'same_kind'\n  Use an output array of that dtype, or astype.",
    ),
    (
        "an output of another shape",
        "np.add(np.ones(3), 1, out=np.zeros(2))",
        "add: non-broadcastable output operand with shape (2,) doesn't match the broadcast shape "
        "(3,)\n  Write to an array of the result's shape.",
    ),
    (
        "a number that the dtype has not",
        "np.zeros(3, np.uint8) + 300",
        "Python integer 300 out of bounds for uint8",
    ),
    (
        "a difference of truth values",
        "np.array([True]) - np.array([False])",
        "subtract: not defined for dtypes bool, bool (numpy boolean subtract, the `-` operator, is "
        "not supported, use the bitwise_xor, the `^` operator, or the logical_xor function "
        "instead.)\n  Convert with astype first.",
    ),
    (
        "a negative power of integers, seen when it is computed",
        "n = np.arange(3) - 1\na = np.arange(1, 4) ** n\nprint(a.sum())",
        "power: Integers to negative integer powers are not allowed.\n  Recorded at <program>:2.",
    ),
    (
        "the maximum of nothing",
        "np.array([]).max()",
        "max: zero-size array to reduction operation maximum which has no identity: (0,)\n"
        "  Check the size first.",
    ),
    (
        "a loop over a number",
        "for _ in np.array(1):\n    pass",
        "iteration over a 0-d array",
    ),
    (
        "an argument misspelt",
        "np.sum(np.ones(2), axes=0)",
        "sum() got an unexpected keyword argument 'axes'",
    ),
    (
        "the inverse of what is not square",
        "np.linalg.inv(np.ones((2, 3)))",
        "inv: the last 2 dimensions of the array must be square, got (2, 3)",
    ),
    (
        "the inverse of a singular matrix, seen when it is computed",
        "a = np.zeros((2, 2))\nb = np.linalg.inv(a)\nprint(b @ b)",
        "Singular matrix\nlinalg.inv: recorded at <program>:2.",
    ),
    (
        "weights that sum to zero",
        "np.average(np.ones(3), weights=[0, 0, 0])",
        "average: weights sum to zero, can't be normalized",
    ),
]


def answer(program, module):
    """The exception that a program ends with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec(compile(program, "<program>", "exec"), {"np": module})
        except Exception as error:
            return error
    raise AssertionError("no mistake")


@pytest.mark.parametrize(
    ("program", "message"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES]
)
def test_class_and_message(program, message, capsys):
    theirs, ours = answer(program, np), answer(program, la)
    builtin = next(
        c
        for c in type(theirs).__mro__
        if c.__module__ in ("builtins", "numpy.exceptions", "numpy.linalg")
    )
    assert isinstance(ours, builtin)
    assert "\n".join([str(ours), *getattr(ours, "__notes__", [])]) == message
    assert capsys.readouterr().out == ""


def test_table():
    assert len(MISTAKES) >= 30
    assert len({row[0] for row in MISTAKES}) == len({row[1] for row in MISTAKES}) == len(MISTAKES)
    assert sum("ecorded at <program>:2." in row[2] for row in MISTAKES) >= 4


@pytest.mark.parametrize("row", MISTAKES, ids=[row[0] for row in MISTAKES])
def test_the_line_is_that_of_the_mistake(row):
    """The traceback, or the message, leads to the line that NumPy's traceback ends at."""
    theirs, ours = answer(row[1], np), answer(row[1], la)
    lines = []
    for error in (theirs, ours):
        frame, found = error.__traceback__, []
        while frame is not None:
            if frame.tb_frame.f_code.co_filename == "<program>":
                found.append(frame.tb_lineno)
            frame = frame.tb_next
        lines.append(found[-1])
    told = re.search(r"<program>:(\d+)", "\n".join([str(ours), *getattr(ours, "__notes__", [])]))
    assert lines[0] == (int(told[1]) if told else lines[1])
