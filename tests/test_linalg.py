"""Products on Nodes: their layout, and what they refuse; values are in test_every_op.py."""

import numpy as np
import pytest
from lazyarray._ir import registry

from lazyarray import _ir
from lazyarray.errors import AxisError, OptionError, ShapeError
from lazyarray.ops import linalg, shaping


def leaf(*shape, dtype=np.float64):
    """A leaf node without a value."""
    return _ir.placeholder(shape, np.dtype(dtype))


def accepted(shape, strides):
    """Whether the kernel reads an operand with these strides, in elements, where it lies."""
    return linalg.gemm.accepts(0, shape, tuple(8 * s for s in strides), 8)


def test_transposed_and_sliced_operands_are_read_where_they_lie():
    assert accepted((3, 4), (4, 1))
    assert accepted((3, 4), (1, 3))
    assert accepted((3, 4), (9, 1))
    assert accepted((3, 4), (1, 9))
    assert accepted((5, 3, 4), (0, 1, 3))


def test_operands_without_a_contiguous_axis_are_copied_first():
    assert not accepted((3, 4), (8, 2))
    assert not accepted((3, 4), (-4, 1))
    assert not accepted((3, 4), (0, 1))
    assert not accepted((3, 4), (2, 1))  # overlapping windows


def test_a_stack_of_rows_is_one_tall_product():
    out = linalg.matmul(leaf(5, 3, 4), leaf(4, 2))
    assert out.shape == (5, 3, 2)
    assert out.inputs[0].op is linalg.gemm
    assert out.inputs[0].shape == (15, 2)


def test_a_contraction_by_letters_is_a_product():
    out = linalg.einsum("ij,kj->ik", leaf(3, 4), leaf(5, 4))
    assert out.op is linalg.gemm
    assert {x.op.name for x in out.inputs if x.op is not None} == {"view"}


def test_only_the_wanted_gradient_is_recorded():
    recorder = _ir.current()
    recorder.recording = True
    a, b = leaf(3, 4), leaf(4, 5)
    b.variable = object()
    y = linalg.gemm(a, b)
    recorder.recording = False
    ga, gb = linalg.gemm.gradient(leaf(3, 5), y, a, b)
    assert ga is None
    assert gb.shape == (4, 5)


def test_the_message_names_the_operand_to_transpose():
    with pytest.raises(ShapeError) as caught:
        linalg.matmul(leaf(32, 784), leaf(10, 784))
    assert str(caught.value) == (
        "matmul: inner dimensions differ: a is (32, 784), b is (10, 784)\n  b.T would fit."
    )


@pytest.mark.parametrize(
    ("name", "shapes", "options", "error", "message"),
    [
        ("matmul", [(3,), ()], {}, ShapeError, "at least one dimension"),
        ("matmul", [(3, 4), (3, 4)], {}, ShapeError, "inner dimensions differ"),
        ("matmul", [(2, 3, 4), (5, 4, 3)], {}, ShapeError, "leading axes do not broadcast"),
        ("dot", [(3, 4), (3, 4)], {}, ShapeError, "not aligned: 4 != 3"),
        ("dot", [(3, 4), (2, 3, 4)], {}, ShapeError, "do not match"),
        ("inner", [(3, 4), (3, 5)], {}, ShapeError, "last extents differ"),
        ("vdot", [(3,), (4,)], {}, ShapeError, "sizes differ"),
        ("vecdot", [(3,), (4,)], {}, ShapeError, "extents along axis -1 differ"),
        ("tensordot", [(3, 4), (3, 4)], {"axes": 1}, ShapeError, "do not match"),
        ("tensordot", [(3, 4), (3, 4)], {"axes": ((0, 1), 0)}, ShapeError, "do not match"),
        ("tensordot", [(3,), (3,)], {"axes": ((1,), (0,))}, AxisError, "out of bounds"),
        ("norm", [(3, 4)], {"ord": "nuc"}, OptionError, "'nuc' is not supported for matrices"),
        ("norm", [(3, 4)], {"ord": 2}, OptionError, "2 is not supported for matrices"),
        ("norm", [(3,)], {"ord": "fro"}, OptionError, "invalid norm order"),
        ("norm", [(3, 4, 5)], {"ord": 1}, ShapeError, "improper number of dimensions"),
        ("norm", [(3, 4)], {"axis": (0, 0)}, ValueError, "twice"),
    ],
)
def test_bad_calls(name, shapes, options, error, message):
    with pytest.raises(error, match=message):
        registry[name](*[leaf(*shape) for shape in shapes], **options)


@pytest.mark.parametrize(
    ("text", "shapes", "error", "message"),
    [
        ("ij,jk", [(2, 3)], ShapeError, "names 2 operands, got 1"),
        ("ijk", [(2, 3)], ShapeError, "does not fit an operand of 2 dimensions"),
        ("ij,jk->ik", [(2, 3), (4, 2)], ShapeError, "extent 4 for 'j', another has 3"),
        ("ij->iz", [(2, 3)], ShapeError, "repeats or invents"),
        ("ij->ii", [(2, 3)], ShapeError, "repeats or invents"),
        ("i1", [(2, 3)], OptionError, "invalid subscripts"),
        ("...i->i", [(2, 3)], ShapeError, "must have the ellipsis"),
    ],
)
def test_bad_subscripts(text, shapes, error, message):
    with pytest.raises(error, match=message):
        linalg.einsum(text, *[leaf(*shape) for shape in shapes])
    with pytest.raises(ValueError):
        np.einsum(text, *[np.zeros(shape) for shape in shapes])


def test_an_empty_contraction_is_zeros():
    assert linalg.matmul(leaf(2, 0), leaf(0, 3)).shape == (2, 3)


def test_transposed_weights_stay_views():
    out = linalg.matmul(leaf(2, 3), shaping.transpose(leaf(4, 3)))
    assert out.inputs[1].op.name == "view"
