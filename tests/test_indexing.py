"""NumPy's index expressions, read and written on Nodes, and the row ops beneath them."""

import random

import numpy as np
import pytest
from interpreter import evaluate

import lazyarray as la
from lazyarray import _ir
from lazyarray.errors import ArrayIndexError, OptionError, ShapeError
from lazyarray.ops import indexing, shaping
from lazyarray.ops.expressions import parse_index


def leaf(value, values):
    """A leaf node with a value."""
    value = np.array(value, order="C")
    node = _ir.placeholder(value.shape, value.dtype)
    values[node.serial] = value
    return node


def as_nodes(arrays, values):
    """Index arrays as nodes."""
    return [a if isinstance(a, _ir.Node) else leaf(np.asarray(a), values) for a in arrays]


def read(x, key):
    """What ``x[key]`` is by our parts."""
    values = {}
    index = parse_index(x.shape, x.strides, key)
    node = _ir.view(leaf(x, values), index.shape, index.strides, index.offset, True)
    if index.axes:
        arrays = as_nodes(index.arrays, values)
        node = indexing.gather_axes(node, index.axes, arrays, index.place)
    return evaluate([node], values)[0], index


def write(x, key, value):
    """`x` after ``x[key] = value`` by our parts."""
    values = {}
    index = parse_index(x.shape, x.strides, key)
    base, new = leaf(x, values), leaf(value, values)
    part = (index.shape, index.strides, index.offset, True)
    if index.axes:
        seen = _ir.view(base, *part)
        arrays = as_nodes(index.arrays, values)
        new = indexing.scatter_axes(seen, index.axes, arrays, index.place, new)
    else:
        new = indexing.value_for(new, index.shape)
    return evaluate([shaping.update(base, new, *part)], values)[0]


def random_item(rnd, rng, shape, axis):
    """One part of an index, and how many axes it takes."""
    extent = shape[axis] if axis < len(shape) else 3
    kind = rnd.choice(
        ["int", "slice", "slice", "new", "rest", "array", "array", "mask", "flag", "list", "scalar"]
    )
    if kind == "int":
        return rnd.randint(-extent, extent), 1
    if kind == "scalar":
        number = rnd.randint(-extent, max(extent - 1, 0))
        return rnd.choice([np.int32(number), np.array(number)]), 1
    if kind == "slice":
        ends = [rnd.choice([None, rnd.randint(-extent - 2, extent + 2)]) for _ in range(2)]
        return slice(*ends, rnd.choice([None, 1, 2, -1, -2, 3])), 1
    if kind == "new":
        return None, 0
    if kind == "rest":
        return Ellipsis, 0
    if kind == "array":
        size = rnd.choice([(2,), (2,), (1, 2), (3, 1), (1,), (0,), (2, 2)])
        return rng.integers(-extent, max(extent, 1), size), 1
    if kind == "list":
        return rng.integers(-extent, max(extent, 1), 2).tolist(), 1
    if kind == "mask":
        axes = rnd.choice([1, 1, 2])
        return rng.random(shape[axis : axis + axes] if axis < len(shape) else (3,)) < 0.5, axes
    return rnd.choice([True, False, np.True_]), 0


def random_index(rnd, rng, shape):
    """An index expression, often a valid one."""
    key, axis = [], 0
    for _ in range(rnd.randint(0, 5)):
        item, axes = random_item(rnd, rng, shape, axis)
        key.append(item)
        axis += axes
    return key[0] if len(key) == 1 and rnd.random() < 0.3 else tuple(key)


def attempt(function, *args):
    """The result of a call, or the IndexError that it raises."""
    try:
        return function(*args)
    except IndexError as error:
        return error


@pytest.mark.parametrize("seed", range(8))
def test_random_indices_read_and_write_as_numpy_does(seed):
    rnd, rng = random.Random(seed), np.random.default_rng(seed)
    for _ in range(400):
        extents = [0, 1, 2, 3, 4] if rnd.random() < 0.1 else [2, 3, 4]
        shape = tuple(rnd.choice(extents) for _ in range(rnd.randint(0, 4)))
        x = rng.integers(0, 100, shape)
        key = random_index(rnd, rng, shape)
        wanted, got = attempt(lambda x=x, key=key: x[key]), attempt(read, x, key)
        if isinstance(wanted, IndexError) or isinstance(got, IndexError):
            assert isinstance(wanted, IndexError) and isinstance(got, IndexError), (shape, key)
            continue
        got, index = got
        assert got.shape == np.shape(wanted), (shape, key)
        assert np.array_equal(got, wanted), (shape, key)
        if not index.axes:
            assert index.scalar == (not isinstance(wanted, np.ndarray)), (shape, key)
        if np.ndim(wanted) == 0:
            continue
        size = rnd.choice([got.shape, (1, *got.shape), got.shape[1:], ()])
        value = rng.integers(100, 200, size)
        after = x.copy()
        try:
            after[key] = value
        except TypeError as error:  # NumPy takes no 2-d value for a single mask
            assert "boolean array indexing" in str(error)
            continue
        assert np.array_equal(write(x, key, value), after), (shape, key)


def test_open_grids_read_and_write_as_numpy_does():
    rng = np.random.default_rng(5)
    x = rng.integers(0, 1000, (7, 9, 8))
    i, j, k = (rng.integers(-n, n, 20) for n in x.shape)
    grids = (np.ix_(i, j), np.ix_(i, j, k), (slice(None), *np.ix_(j, k)), (i[:, None], j, 3),
             (..., *np.ix_(j, k)), (i[:, None], slice(1, 5), k))  # fmt: skip
    for key in grids:
        wanted = x[key]
        assert np.array_equal(read(x, key)[0], wanted)
        value = rng.integers(1000, 2000, wanted.shape)
        after = x.copy()
        after[key] = value
        assert np.array_equal(write(x, key, value), after)
        for bad in (9, -10):
            i[3] = j[3] = bad
            with pytest.raises(IndexError):
                read(x, key)
            i[3] = j[3] = 0


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ((0, 0, 0), "too many indices for array: array is 2-dimensional, but 3 were indexed"),
        (3, "index 3 is out of bounds for axis 0 with size 3"),
        ((0, -5), "index -5 is out of bounds for axis 1 with size 4"),
        ((..., ...), "an index can only have a single ellipsis"),
        (1.5, "only integers, slices"),
        ("a", "only integers, slices"),
        (np.array([1.0]), "arrays used as indices must be of integer"),
        (np.ones(4, bool), "size of axis is 3 but size of corresponding boolean axis is 4"),
    ],
)
def test_bad_indices_say_what_numpy_says(key, message):
    x = np.zeros((3, 4))
    with pytest.raises(IndexError, match=message):
        parse_index(x.shape, x.strides, key)
    with pytest.raises(IndexError, match=message):
        x[key]


def test_index_arrays_that_do_not_broadcast():
    values = {}
    x = leaf(np.zeros((3, 4)), values)
    i, j = leaf(np.zeros(2, int), values), leaf(np.zeros(3, int), values)
    with pytest.raises(ArrayIndexError, match=r"could not be broadcast together .*\(2,\) \(3,\)"):
        indexing.gather(x, [i, j])


def test_an_index_out_of_bounds_is_found_when_it_runs():
    values = {}
    node = indexing.take(leaf(np.zeros(3), values), leaf(np.array([0, 3]), values))
    with pytest.raises(IndexError, match="out of bounds"):
        evaluate([node], values)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, i: la.take(x, i, 1), "take: .* out of bounds for axis 1 with size 4"),
        (lambda x, i: la.take_along_axis(x, i[None], 1), "take_along_axis: .* for axis 1 with"),
        (lambda x, i: x[0, i], "index: .* out of bounds for an axis of size 4"),
        (lambda x, i: x[:, i], "index: .* out of bounds for an axis of size 4"),
        (
            lambda x, i: la.scatter_add(x, (i * 0, i), la.ones(1)),
            "scatter_add: .* out of bounds for axis 1 with size 4",
        ),
        (
            lambda x, i: la.softmax_cross_entropy(x[:1], i),
            "softmax_cross_entropy: a label is out of bounds, the classes are 0 to 3",
        ),
    ],
)
def test_what_runs_out_of_bounds_names_the_op_and_the_extent(call, message):
    x, i = la.ones((3, 4)), la.array([2]) + 7
    with pytest.raises(ArrayIndexError, match=message):
        call(x, i).wait()


def test_a_value_that_does_not_broadcast_to_what_is_indexed():
    values = {}
    x = leaf(np.zeros((3, 4)), values)
    with pytest.raises(
        ShapeError, match=r"value array of shape \(3,\) .* result of shape \(2, 4\)"
    ):
        indexing.scatter(x, [leaf(np.array([0, 1]), values)], leaf(np.zeros(3), values))


def test_a_mode_that_does_not_exist():
    values = {}
    with pytest.raises(OptionError, match="mode 'round' is not one of raise, wrap, clip"):
        indexing.take(leaf(np.zeros(3), values), leaf(np.array([0]), values), mode="round")


def test_of_equal_indices_the_last_value_stays():
    values = {}
    x = leaf(np.zeros((4, 2)), values)
    idx = leaf(np.array([1, 3, 1]), values)
    node = indexing.put_rows(x, idx, leaf(np.arange(6.0).reshape(3, 2), values))
    assert evaluate([node], values)[0].tolist() == [[0, 0], [4, 5], [0, 0], [2, 3]]


def test_values_are_added_in_the_order_of_the_index():
    # In float32, 1 + 1e8 - 1e8 is 0 from left to right.
    values = {}
    x = leaf(np.float32([1]), values)
    idx = leaf(np.zeros(2, int), values)
    node = indexing.add_rows(x, idx, leaf(np.float32([1e8, -1e8]), values))
    assert evaluate([node], values)[0] == 0


def test_rows_behind_an_inner_axis_are_read_without_turning_the_array():
    values = {}
    x = leaf(np.zeros((5, 6, 7)), values)
    node = indexing.take(x, leaf(np.array([0, 5]), values), 1)
    rows = node.inputs[0] if node.op.name == "view" else node
    assert rows.op is indexing.take_axis
    assert rows.inputs[0].shape == (5, 6, 7)
