"""Views and joins on Nodes: what they are made of and refuse; values are in test_every_op.py."""

import numpy as np
import pytest
from lazyarray._ir import registry

from lazyarray import _ir
from lazyarray.errors import AxisError, OptionError, ShapeError
from lazyarray.ops import indexing, joining, shaping, sorting


def leaf(*shape, dtype=np.float64):
    """A leaf node without a value."""
    return _ir.placeholder(shape, np.dtype(dtype))


def names(node):
    """The names of the ops that a node is made of, from the last to the first."""
    found, todo = [], [node]
    while todo:
        node = todo.pop(0)
        if node.op is not None:
            found.append(node.op.name)
            todo += node.inputs
    return found


def test_what_changes_nothing_is_the_same_node():
    x = leaf(3, 4)
    assert shaping.reshape(x, (3, 4)) is x
    assert shaping.reshape(x, (-1, 4)) is x
    assert shaping.broadcast_to(x, (3, 4)) is x
    assert shaping.transpose(x, (0, 1)) is x
    assert shaping.slice_axis(x, 1, 0, 4) is x
    assert joining.pad(x, 0) is x
    assert joining.roll(x, 6, 0) is x
    assert joining.concatenate([x]) is x


@pytest.mark.parametrize(
    "call",
    [
        lambda x: shaping.reshape(x, (2, 6)),
        lambda x: shaping.transpose(x),
        lambda x: shaping.flip(x),
        lambda x: shaping.broadcast_to(x, (5, 3, 4)),
        lambda x: shaping.diagonal(x),
        lambda x: shaping.sliding_window_view(x, (2, 2)),
        lambda x: shaping.rot90(shaping.rot90(x), 3),
        lambda x: joining.split(x, 2, 1)[1],
    ],
)
def test_views_copy_nothing(call):
    assert set(names(call(leaf(3, 4)))) == {"view"}


def test_slices_at_other_places_are_the_same_structure():
    x = leaf(10)
    a, b = shaping.slice_axis(x, 0, 2, 3), shaping.slice_axis(x, 0, 5, 3)
    assert a.sig == b.sig
    assert (a.offset, b.offset) == (16, 40)


def test_joined_parts_are_written_into_one_new_value():
    parts = [leaf(2, 3), leaf(1, 3), leaf(4, 3)]
    assert names(joining.concatenate(parts)) == ["place", "place", "place", "empty"]


def test_the_size_of_a_shape_is_checked_for_overflow():
    with pytest.raises(ValueError, match="more elements than can be addressed"):
        shaping.broadcast_to(leaf(1), (1 << 40, 1 << 40))


BAD = [
    ("reshape", ((3, 4), (5, 2)), ShapeError, "cannot reshape array of size 12"),
    ("reshape", ((3, 4), (-1, -1)), ShapeError, "cannot reshape"),
    ("reshape", ((0, 3), (-1, 0)), ShapeError, "cannot reshape"),
    ("broadcast_to", ((3, 4), (3, 5)), ShapeError, r"\(3, 4\) does not broadcast to \(3, 5\)"),
    ("broadcast_to", ((3, 4), (4,)), ShapeError, "does not broadcast"),
    ("transpose", ((3, 4), (0,)), ShapeError, "do not match an array of 2 dimensions"),
    ("transpose", ((3, 4), (0, 0)), ShapeError, "repeat an axis"),
    ("transpose", ((3, 4), (0, 2)), AxisError, "out of bounds"),
    ("swapaxes", ((3, 4), 0, 2), AxisError, "out of bounds"),
    ("moveaxis", ((3, 4), (0, 1), 0), ShapeError, "source has 2 axes, destination 1"),
    ("moveaxis", ((3, 4), (0, 0), (0, 1)), ShapeError, "repeats an axis"),
    ("squeeze", ((3, 1), 0), ShapeError, "not of extent 1"),
    ("expand_dims", ((3,), (0, 0)), ValueError, "twice"),
    ("flip", ((3,), 1), AxisError, "out of bounds"),
    ("fliplr", ((3,),), ShapeError, "at least two dimensions"),
    ("diagonal", ((3,),), ShapeError, "at least two dimensions"),
    ("diagonal", ((3, 3), 0, 1, 1), ShapeError, "the same"),
    ("rot90", ((3, 3), 1, (0, 0)), ShapeError, "the same"),
    ("sliding_window_view", ((3,), 4), ShapeError, "larger than shape"),
    ("tril", ((),), ShapeError, "at least one dimension"),
    ("diag", ((2, 2, 2),), ShapeError, "one or two dimensions"),
    ("split", ((5,), 2), ShapeError, "does not divide into 2 equal parts"),
    ("array_split", ((5,), 0), OptionError, "must be positive"),
    ("vsplit", ((5,), 1), ShapeError, "at least two dimensions"),
    ("repeat", ((3,), -1), ShapeError, "negative"),
    ("repeat", ((3,), [1, 2]), ShapeError, "2 repeats for an axis of extent 3"),
    ("tile", ((3,), -1), ShapeError, "negative repeats"),
    ("pad", ((3,), -1), OptionError, "negative widths"),
    ("pad", ((3,), 1.5), TypeError, "integral"),
    ("pad", ((3,), 1, "median"), OptionError, "mode 'median' is not supported"),
    ("pad", ((0,), 1, "edge"), ShapeError, "empty axis 0"),
    ("diff", ((3,), -1), OptionError, "non-negative"),
]


@pytest.mark.parametrize(("name", "args", "error", "message"), BAD)
def test_bad_calls(name, args, error, message):
    with pytest.raises(error, match=message):
        registry[name](leaf(*args[0]), *args[1:])


@pytest.mark.parametrize(("name", "args", "error", "message"), BAD)
def test_messages_name_the_op_and_the_shape(name, args, error, message):
    if error is not ShapeError or name in ("reshape", "tile"):  # they name the size, the counts
        return
    with pytest.raises(error) as found:
        registry[name](leaf(*args[0]), *args[1:])
    assert str(found.value).startswith(f"{name}: ")
    assert str(args[0]) in str(found.value)


def test_where_0d_counts_as_1d():
    x = leaf()
    assert joining.repeat(x, 2, axis=0).shape == (2,)
    assert indexing.take(x, leaf(3, dtype=np.int64), axis=-1).shape == (3,)
    assert sorting.argsort(x, axis=0).shape == np.argsort(np.array(3), axis=0).shape
    for call in (
        lambda: joining.repeat(x, 2, axis=1),
        lambda: indexing.take(x, leaf(3, dtype=np.int64), axis=1),
        lambda: sorting.argsort(x, axis=1),
        lambda: sorting.sort(x, axis=0),
    ):
        with pytest.raises(AxisError):
            call()


@pytest.mark.parametrize(
    ("name", "shapes", "options", "message"),
    [
        ("concatenate", [], {}, "at least one array"),
        ("concatenate", [(), ()], {}, "zero-dimensional"),
        ("concatenate", [(2, 3), (2, 4)], {}, r"differ outside axis 0: \(2, 3\) and \(2, 4\)"),
        ("concatenate", [(2, 3), (2,)], {}, "differ outside axis 0"),
        ("stack", [(2,), (3,)], {}, "the same shape"),
        ("stack", [], {}, "at least one array"),
    ],
)
def test_bad_joins(name, shapes, options, message):
    with pytest.raises(ShapeError, match=message):
        registry[name]([leaf(*shape) for shape in shapes], **options)
