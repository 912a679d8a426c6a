"""The walk that makes gradients, on Nodes alone: rules are checked in test_every_op.py."""

import math

import numpy as np
import pytest
from interpreter import evaluate
from lazyarray._ir import registry

import lazyarray.ops.nn  # noqa: F401  (fills the registry)
from lazyarray import _ir
from lazyarray.autodiff import custom_call, gradients, sum_to
from lazyarray.errors import GradientError, ShapeError
from lazyarray.ops import elementary, elementwise, indexing, shaping
from lazyarray.ops.define import arrayop

VALUES: dict[int, np.ndarray] = {}


@pytest.fixture(autouse=True)
def recording():
    recorder = _ir.current()
    recorder.recording = True
    VALUES.clear()
    yield recorder
    recorder.recording = False


@pytest.fixture
def opaque():
    """An op without a gradient rule."""

    @arrayop()
    def opaque(x):
        return (x,), x.shape, x.dtype, {}

    @opaque.kernel
    def _(xp, x, out):
        out[...] = x

    yield opaque
    del registry["opaque"]


def leaf(value, variable=True):
    """A leaf with a value, which a gradient is wanted for."""
    value = np.asarray(value)
    node = _ir.placeholder(value.shape, value.dtype)
    VALUES[node.serial] = value
    if variable:
        node.variable = object()
    return node


def known(node):
    return evaluate([node], VALUES)[0]


def slopes(head, *wanted, cotangent=None, **options):
    """Values of the gradients by `wanted`, None where none arrives."""
    found = gradients([head], None if cotangent is None else [cotangent], wanted, **options)
    by_serial = {node.serial: known(g) for node, g in found}
    return [by_serial.get(node.serial) for node in wanted]


# ---- the walk


def test_a_head_starts_with_ones_of_its_shape():
    x = leaf(np.arange(3.0))
    assert slopes(x * x, x)[0].tolist() == [0, 2, 4]


def test_a_cotangent_weights_its_head():
    x = leaf(np.arange(3.0))
    (g,) = slopes(x * x, x, cotangent=leaf(np.array([1.0, 10, 100]), variable=False))
    assert g.tolist() == [0, 20, 400]


def test_several_heads_add_up():
    x = leaf(2.0)
    found = gradients([x * x, x * 3], None, [x])
    assert known(found[0][1]) == 7


def test_cotangents_add_up_from_the_last_use_to_the_first():
    # In float32 the order shows: (1 + 1e8) - 1e8 is 0, 1 + (1e8 - 1e8) is 1.
    x = leaf(np.float32(1))
    a, b, c = x * -1e8, x * 1e8, x * 1.0
    head = (c + b) + a
    (g,) = slopes(head, x)
    assert g.dtype == np.float32
    assert g == np.float32(1) + np.float32(1e8) + np.float32(-1e8)


def test_by_default_all_variables_get_a_gradient():
    x, w, other = leaf(2.0), leaf(3.0), leaf(4.0)
    found = gradients([x * w], None)
    assert {node.serial: float(known(g)) for node, g in found} == {x.serial: 3, w.serial: 2}
    assert other.serial not in {node.serial for node, _ in found}


def test_only_the_way_to_what_is_wanted_is_walked(opaque):
    blocked = leaf(np.arange(3.0))
    x = leaf(np.arange(3.0))
    head = x * opaque(blocked)
    assert slopes(head, x, retain=True)[0].tolist() == [0, 1, 2]
    with pytest.raises(GradientError, match="opaque has no gradient"):
        gradients([head], None)


def test_a_gradient_by_a_value_in_the_middle():
    x = leaf(3.0)
    y = x * x
    assert slopes(y * y, y, x) == [18, 108]


def test_a_broadcast_is_undone_by_a_sum():
    x, row, number = leaf(np.ones((2, 3))), leaf(np.ones((1, 3))), leaf(np.float64(2))
    g = slopes(x * row * number, x, row, number)
    assert [a.shape for a in g] == [(2, 3), (1, 3), ()]
    assert g[1].tolist() == [[4, 4, 4]]
    assert g[2] == 6


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (2, 1), (1, 1, 1), (2, 2, 3)])
def test_sum_to_sums_what_a_broadcast_repeats(shape):
    wide = np.broadcast_shapes((2, 2, 3), shape)
    g = np.arange(12.0).reshape(wide)
    axes = tuple(range(3 - len(shape)))
    wanted = g.sum(axes)
    for axis, n in enumerate(shape):
        if n == 1:
            wanted = wanted.sum(axis, keepdims=True)
    assert np.array_equal(known(sum_to(leaf(g), shape)), wanted)


def test_a_cotangent_takes_the_dtype_of_its_input():
    x = leaf(np.float32([1, 2]))
    w = leaf(np.float64([3, 4]))
    g = slopes(x * w, x, w)
    assert [a.dtype.name for a in g] == ["float32", "float64"]


def test_a_real_input_feels_the_real_part():
    x, z = leaf(np.array([1.0, 2.0])), leaf(np.array([1 + 2j, 3 - 1j]))
    g = slopes(registry["real"](x * z), x, z)
    assert g[0].tolist() == [1, 3]
    assert g[1].tolist() == [1, 2]


def test_parts_of_complex_numbers_differentiate_as_two_real_ones():
    z = leaf(np.array([1 + 2j, 3 - 1j]))
    (g,) = slopes(registry["real"](z) * registry["imag"](z), z)
    assert g.tolist() == [2 + 1j, -1 + 3j]


def test_third_derivative():
    x = leaf(2.0)
    y = x * x * x * x
    for _ in range(3):
        ((_, y),) = gradients([y], None, [x], retain=True)
    assert known(y) == 48


def test_nothing_is_taped_while_recording_is_off(recording):
    x = leaf(2.0)
    y = x * x
    recording.recording = False
    ((_, g),) = gradients([y], None, [x])
    assert not g.tracked


def test_gradient_nodes_carry_the_line_of_the_forward_op(recording):
    x = leaf(2.0)
    y = elementary.sin(x)
    line = y.where
    z = y * y
    ((_, g),) = gradients([z], None, [x])
    assert recording.site is None
    assert g.where == line  # the last node multiplies by cos(x): the line of sin
    assert (x * x).where != line


def test_the_site_is_restored_when_a_rule_fails(recording, opaque):
    x = leaf(np.arange(3.0))
    with pytest.raises(GradientError):
        gradients([opaque(x)], None, [x])
    assert recording.site is None


def test_a_walked_tape_is_released():
    x = leaf(2.0)
    y = x * x
    head = y * y
    gradients([head], None, [x])
    assert not y.taped
    with pytest.raises(GradientError, match="retain_graph=True"):
        gradients([head], None, [x])


def test_a_value_whose_tape_is_gone_is_no_constant():
    x = leaf(2.0)
    y = x * x
    gradients([y * y], None, [x])
    again = y * x
    with pytest.raises(GradientError, match=r"tape of multiply .*test_autodiff.py:\d+"):
        gradients([again], None, [x])
    assert slopes(registry["stop_gradient"](y) * x, x) == [4]


def test_a_retained_tape_can_be_walked_again():
    x = leaf(2.0)
    head = x * x
    assert slopes(head, x, retain=True) == [4]
    assert slopes(head, x) == [4]


def test_a_long_chain_needs_no_recursion():
    x = y = leaf(np.ones(()))
    for _ in range(100_000):
        y = y * 1.0
    ((_, g),) = gradients([y], None, [x])
    depth = 0
    while g.op is not None and g.op.name == "multiply":
        g = g.inputs[0]
        depth += 1
    assert depth == 100_000


def test_a_value_used_by_itself_twice_at_every_step_is_walked_once():
    x = y = leaf(np.float64(1))
    for _ in range(60):
        y = y + y
    assert slopes(y, x) == [2.0**60]


# ---- what has no gradient


def test_an_op_without_a_rule_names_itself_and_its_line(opaque):
    x = leaf(np.arange(3.0))
    y = opaque(x)
    with pytest.raises(GradientError, match=r"opaque has no gradient.*test_autodiff.py:\d+"):
        gradients([y * 2], None)


def test_integers_that_a_loss_is_made_of_are_an_error():
    x = leaf(np.array([3.0, 1.0, 2.0]))
    ranks = _ir.cast(registry["argsort"](x), x.dtype)
    with pytest.raises(GradientError, match=r"argsort has no gradient(.|\n)*stop_gradient"):
        gradients([ranks * x], None)
    assert slopes(registry["stop_gradient"](ranks) * x, x)[0].tolist() == [1, 2, 0]


def test_integers_that_only_index_are_no_error():
    x = leaf(np.array([3.0, 1.0, 2.0]))
    (g,) = slopes(indexing.take(x * x, registry["argsort"](x)), x)
    assert g.tolist() == [6, 2, 4]


def test_comparisons_and_rounding_end_a_gradient_silently():
    x = leaf(np.array([1.5, -0.5]))
    sign = _ir.cast(x > 0, x.dtype)
    whole = _ir.cast(_ir.cast(x, np.dtype(np.int64)), x.dtype)
    (g,) = slopes(sign * x + elementwise.floor(x) + whole, x)
    assert g.tolist() == [1, 0]


def test_an_integer_head_is_an_error():
    x = leaf(np.array([1.5]))
    with pytest.raises(GradientError, match="starts at a floating value, got dtype int64"):
        gradients([registry["argsort"](x)], None)


def test_a_head_that_depends_on_no_variable_is_an_error():
    with pytest.raises(GradientError, match="does not depend on an array with a gradient"):
        gradients([leaf(1.0, variable=False) * 2], None)


def test_a_cotangent_of_another_shape_is_an_error():
    x = leaf(np.ones(3))
    with pytest.raises(ShapeError, match=r"shape \(3,\), its gradient \(2,\)"):
        gradients([x * x], [leaf(np.ones(2), variable=False)])


def test_stopped_values_are_constants():
    x = leaf(3.0)
    assert slopes(registry["stop_gradient"](x) * x, x) == [3]


# ---- updates and views


def test_an_overwritten_part_gets_no_gradient_and_its_value_does():
    x, v = leaf(np.arange(4.0)), leaf(np.array([5.0, 6.0]))
    written = shaping.update(x * x, v, (2,), (8,), 8, True)
    g = slopes(written * written, x, v)
    assert g[0].tolist() == [0, 0, 0, 4 * 27]
    assert g[1].tolist() == [10, 12]


def test_a_covering_update_drops_the_old_value():
    x, v = leaf(np.arange(2.0)), leaf(np.array([5.0, 6.0]))
    written = shaping.update(x, v, (2,), (8,), covers=True)
    assert slopes(written, x, v)[0] is None


def test_overlapping_windows_add_up():
    x = leaf(np.arange(4.0))
    (g,) = slopes(shaping.sliding_window_view(x, 2), x)
    assert g.tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((3, 4), (32, 8), 0),
        ((4, 3), (8, 32), 0),
        ((3, 4), (-32, -8), 88),
        ((2, 2), (64, 16), 8),
        ((5, 3), (0, 32), 16),
        ((3, 3), (8, 32), 0),
        ((3, 2), (8, 8), 40),
        ((0, 3), (8, 8), 0),
        ((), (), 24),
        ((2, 6), (48, 8), 0),
        ((1, 12, 1), (99, 8, 77), 0),
        ((2, 2, 2), (8, 0, 16), 8),
    ],
)
def test_the_gradient_of_any_view_counts_its_readers(shape, strides, offset):
    x = leaf(np.zeros((3, 4)))
    y = _ir.view(x, shape, strides, offset, offset != 0)
    weight = np.random.default_rng(1).integers(1, 100, shape).astype(float)
    wanted = np.zeros(12)
    for place in np.ndindex(*shape):
        at = (offset + sum(i * s for i, s in zip(place, strides, strict=True))) // 8
        wanted[at] += weight[place]
    (g,) = slopes(y, x, cotangent=leaf(weight, variable=False))
    assert np.array_equal(g, wanted.reshape(3, 4))


def test_bits_read_as_another_number_have_no_gradient():
    x = leaf(np.zeros(4))
    y = _ir.view(x, (8,), (4,), 0, False, np.dtype(np.float32))
    with pytest.raises(GradientError, match="bits of float64 read as float32"):
        gradients([y], None)


def test_joined_values_are_read_back_without_copies():
    x, y = leaf(np.ones((2, 2))), leaf(np.ones((3, 2)))
    head = registry["concatenate"]([x * x, y * y, x])
    for _, g in gradients([head], None, retain=True):
        assert "update" not in names_below(g)
        assert "place" not in names_below(g)


def names_below(node):
    """The names of the ops that a node is made of."""
    todo, names, seen = [node], [], set()
    while todo:
        node = todo.pop()
        if node.op is not None and node.serial not in seen:
            seen.add(node.serial)
            names.append(node.op.name)
            todo += node.inputs
    return names


def test_parts_read_one_by_one_are_added_where_they_were_read():
    x = leaf(np.arange(20.0).reshape(5, 4))
    parts = [shaping.slice_axis(x, 0, i, 1) for i in (0, 2, 3, 2)]
    head = parts[0]
    for part in parts[1:]:
        head = head * part
    head = registry["sum"](head) + registry["sum"](x * x)
    ((_, g),) = gradients([head], None, [x], retain=True)
    wanted = 2 * VALUES[x.serial]
    a, b, c = VALUES[x.serial][[0, 2, 3]]
    wanted[[0, 2, 3]] += [b * b * c, 2 * a * b * c, a * b * b]
    assert np.array_equal(known(g), wanted)
    whole = [n for n in names_below(g) if n in ("view", "update")]
    assert whole.count("update") == 4


def test_rows_taken_twice_are_added_to_one_value():
    x = leaf(np.ones((5, 4)))
    first = indexing.take(x, leaf(np.array([1, 1, 3]), variable=False), 0)
    second = indexing.take(x, leaf(np.array([1, 0]), variable=False), 0)
    head = registry["sum"](first) + registry["sum"](second * 3.0)
    ((_, g),) = gradients([head], None, [x])
    assert known(g)[:, 0].tolist() == [3, 5, 0, 1, 0]
    assert "add" not in names_below(g)


# ---- custom functions


def doubled(*inputs, backward, count=1):
    """Outputs of a custom call: the inputs' sum times 1, 2, ..."""
    recorder = _ir.current()
    recorder.recording = False
    total = inputs[0]
    for x in inputs[1:]:
        total = total + x
    outputs = [total * float(i + 1) for i in range(count)]
    recorder.recording = True
    return custom_call(inputs, outputs, backward, "Doubled")


def test_a_custom_backward_replaces_the_rule():
    x, y = leaf(2.0), leaf(3.0)
    (out,) = doubled(x * x, y, backward=lambda heads: [heads[0] * 10.0, heads[0] * 100.0])
    assert known(out) == 7
    assert slopes(out * 3.0, x, y) == [120, 300]


def test_a_custom_backward_gets_all_cotangents_at_once():
    seen = []

    def backward(heads):
        seen.append([None if g is None else float(known(g)) for g in heads])
        return [heads[0] + heads[2]]

    x = leaf(2.0)
    a, _, c = doubled(x, backward=backward, count=3)
    assert slopes(c * 5.0 + a * c, x) == [6.0 + (5 + 2)]
    assert seen == [[6.0, None, 7.0]]


def test_custom_calls_nest_in_a_chain():
    x = y = leaf(1.0)
    for _ in range(50):
        (y,) = doubled(y, backward=lambda heads: heads[0] * 2.0)
    assert slopes(y, x) == [2.0**50]


def test_a_custom_call_that_returns_its_input():
    x = leaf(2.0)
    y = x * x
    (out,) = custom_call([y], [y], lambda heads: [heads[0] * 7.0])
    assert slopes(out + y, x) == [32]


def test_a_custom_call_outside_of_recording_is_nothing(recording):
    recording.recording = False
    x = leaf(2.0)
    y = x * x
    assert custom_call([x], [y], lambda heads: heads)[0] is y


def test_a_custom_backward_of_a_custom_backward():
    x = leaf(3.0)

    def cube(node):
        recorder = _ir.current()
        before, recorder.recording = recorder.recording, False
        value = node * node * node
        recorder.recording = before
        return custom_call([node], [value], lambda heads: [heads[0] * 3.0 * node * node])[0]

    ((_, g),) = gradients([cube(x)], None, [x], retain=True)
    assert known(g) == 27
    assert slopes(g, x) == [18]


@pytest.mark.parametrize(
    ("backward", "error", "message"),
    [
        (lambda heads: [heads[0], heads[0]], GradientError, "2 gradients for 1 inputs"),
        (lambda heads: [shaping.reshape(heads[0], (1,))], ShapeError, r"shape \(1,\) for an input"),
    ],
)
def test_a_wrong_custom_backward_is_named(backward, error, message):
    x = leaf(2.0)
    (out,) = doubled(x, backward=backward)
    with pytest.raises(error, match=f"Doubled: backward returned {message}"):
        gradients([out], None)


def test_an_empty_array_has_an_empty_gradient():
    x = leaf(np.ones((0, 3)))
    assert slopes(registry["sum"](x * x), x)[0].shape == (0, 3)


def test_the_gradient_of_a_norm_at_zero_is_zero():
    x = leaf(np.zeros(3))
    assert slopes(registry["norm"](x), x)[0].tolist() == [0, 0, 0]
    assert math.isfinite(known(registry["norm"](x)))
