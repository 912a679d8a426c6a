"""What convolution, pooling and the layers' operations refuse; values are in test_every_op.py."""

import numpy as np
import pytest
import references
from interpreter import evaluate
from lazyarray._handle import to_node
from lazyarray._ir import registry

import lazyarray as la
from lazyarray import _ir, runtime
from lazyarray.errors import DTypeError, OptionError, ShapeError
from lazyarray.ops import convolution, nn


def leaf(*shape, dtype=np.float32):
    """A leaf node without a value."""
    return _ir.placeholder(shape, np.dtype(dtype))


X, K = (2, 8, 8, 4), (3, 3, 4, 6)


@pytest.mark.parametrize(
    ("x", "kernel", "options", "error", "message"),
    [
        (X[1:], K, {}, ShapeError, r"\(batch, height, width, channels\), got \(8, 8, 4\)"),
        (X, K[1:], {}, ShapeError, "kernel must have shape"),
        (X, (3, 3, 5, 6), {}, ShapeError, "does not fit x"),
        (X, K, {"groups": 2}, ShapeError, "in 2 groups"),
        (X, (3, 3, 2, 5), {"groups": 2}, ShapeError, "in 2 groups"),
        (X, (9, 3, 4, 6), {}, ShapeError, "a window of .9, 3. does not fit an image of .8, 8."),
        (X, K, {"dilation": 4}, ShapeError, "does not fit an image"),
        (X, K, {"stride": 0}, OptionError, "stride must be at least 1"),
        (X, K, {"pad": -1}, OptionError, "pad must be at least 0"),
        (X, K, {"pad": "same"}, OptionError, "pad must be an int or two, got 'same'"),
        (X, K, {"stride": (1, 2, 3)}, OptionError, "stride must be an int or two"),
        (X, K, {"groups": 0}, OptionError, "groups must be at least 1"),
    ],
)
def test_bad_convolutions(x, kernel, options, error, message):
    with pytest.raises(error, match=message):
        registry["conv2d"](leaf(*x), leaf(*kernel), **options)


def test_dtypes_must_agree():
    with pytest.raises(DTypeError, match="x is float32, kernel is float64"):
        registry["conv2d"](leaf(*X), leaf(*K, dtype=np.float64))
    with pytest.raises(DTypeError, match="x must be floating, got int64"):
        registry["conv2d"](leaf(*X, dtype=np.int64), leaf(*K, dtype=np.int64))
    with pytest.raises(DTypeError, match="x is float32, weight is float64"):
        nn.dense(leaf(2, 3), leaf(4, 3, dtype=np.float64))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_that_reach_a_kernel_are_summed_in_float32(dtype):
    """Recorded for a device that has kernels of them, and computed here: the same bits."""
    rng = np.random.default_rng(5)
    x, kernel, g = (
        la.array(rng.standard_normal(shape), dtype=dtype)
        for shape in ((2, 8, 8, 4), (3, 3, 4, 6), (2, 6, 6, 6))
    )
    options = {"stride": (1, 1), "pad": (0, 0), "dilation": (1, 1), "groups": 1}
    for name, arrays, more in (
        ("correlate2d", (x, kernel), {}),
        ("conv2d_data_grad", (g, kernel), {"extents": (8, 8)}),
        ("conv2d_weight_grad", (x, g), {"window": (3, 3)}),
    ):
        whole = registry[name](*map(to_node, arrays), **more, **options)
        wide = registry[name](*(to_node(a.astype("f4")) for a in arrays), **more, **options)
        found = np.array(runtime.value(whole))
        assert found.dtype == x.dtype
        assert found.tobytes() == np.array(runtime.value(wide)).astype(x.dtype).tobytes()


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"window": 0}, OptionError, "window must be at least 1"),
        ({"window": 9}, ShapeError, "does not fit an image"),
        ({"window": 2, "pad": 2}, OptionError, r"pad \(2, 2\) must be smaller than the window"),
        ({"stride": 0}, OptionError, "stride must be at least 1"),
    ],
)
def test_bad_pools(name, options, error, message):
    with pytest.raises(error, match=message):
        registry[name](leaf(*X), **options)


@pytest.mark.parametrize(
    ("name", "shapes", "options", "error", "message"),
    [
        ("dense", [(2, 3), (4, 5)], {}, ShapeError, "does not end in the in_units"),
        ("dense", [(2, 3), (4, 3), (5,)], {}, ShapeError, r"bias must have shape \(4,\)"),
        ("dense", [(2, 3), (3,)], {}, ShapeError, "weight must have shape"),
        ("conv2d", [X, K, (4,)], {}, ShapeError, r"bias must have shape \(6,\)"),
        ("batch_norm", [(2, 3), *[(2,)] * 4], {}, ShapeError, r"gamma must have shape \(3,\)"),
        ("layer_norm", [(2, 3), (3,), (2,)], {}, ShapeError, r"beta must have shape \(3,\)"),
        (
            "dropout",
            [(2,)],
            {"key": 1, "counter": 1, "p": 1},
            OptionError,
            r"p must be in \[0, 1\)",
        ),
        ("softmax_cross_entropy", [(2, 3), (2,)], {}, DTypeError, "labels must be integers"),
        ("l2_loss", [(2, 3), (2, 1)], {}, ShapeError, r"prediction is \(2, 3\), target \(2, 1\)"),
        ("l2_loss", [(), ()], {}, ShapeError, "batch axis"),
    ],
)
def test_bad_layers(name, shapes, options, error, message):
    with pytest.raises(error, match=message):
        registry[name](*[leaf(*shape) for shape in shapes], **options)


def test_labels_need_the_shape_of_the_logits_without_classes():
    labels = leaf(3, dtype=np.int64)
    with pytest.raises(ShapeError, match=r"logits \(2, 3\) need labels of shape \(2,\)"):
        nn.softmax_cross_entropy(leaf(2, 3), labels)


def test_a_label_that_is_no_class_is_found_when_it_runs():
    logits, labels = leaf(2, 3), leaf(2, dtype=np.int64)
    values = {
        logits.serial: np.zeros((2, 3), np.float32),
        labels.serial: np.array([0, 3]),
    }
    with pytest.raises(IndexError, match="out of bounds"):
        evaluate([nn.softmax_cross_entropy(logits, labels)], values)


def test_large_logits_do_not_overflow():
    logits, labels = leaf(2, 2), leaf(2, dtype=np.int64)
    values = {
        logits.serial: np.float32([[1e30, -1e30], [3e38, 3e38]]),
        labels.serial: np.array([0, 1]),
    }
    (loss,) = evaluate([nn.softmax_cross_entropy(logits, labels)], values)
    assert loss.tolist() == [0, np.log(np.float32(2))]


def test_no_float64_in_a_float32_network():
    recorder = _ir.current()
    recorder.recording = True
    parameters = [leaf(3, 3, 4, 6), leaf(6), leaf(10, 54), leaf(10), leaf(6), leaf(6)]
    for node in parameters:
        node.variable = object()
    h = registry["conv2d"](leaf(*X), *parameters[:2])
    middle, variance = nn.batch_moments(h)
    h = nn.batch_norm(h, *parameters[4:], middle, variance)
    h = registry["max_pool2d"](registry["relu"](nn.dropout(h, 1, 2, 0.5)))
    h = nn.dense(registry["reshape"](h, (2, -1)), *parameters[2:4])
    loss = registry["mean"](nn.softmax_cross_entropy(h, leaf(2, dtype=np.int64)))
    recorder.recording = False
    from lazyarray.autodiff import gradients

    found = gradients([loss], None, retain=True)
    assert len(found) == len(parameters)
    todo, seen = [loss, *(g for _, g in found)], set()
    while todo:
        node = todo.pop()
        if node.serial not in seen:
            seen.add(node.serial)
            assert node.dtype != np.float64, node
            todo += node.inputs


def test_a_gradient_that_nobody_wants_is_not_computed():
    recorder = _ir.current()
    recorder.recording = True
    x, kernel = leaf(*X), leaf(*K)
    kernel.variable = object()
    y = registry["conv2d"](x, kernel)
    recorder.recording = False
    options = dict(y.attrs)
    dx, dk = convolution.correlate2d.gradient(leaf(*y.shape), y, x, kernel, **options)
    assert dx is None
    assert dk.shape == K


def test_the_first_of_equal_maxima_gets_the_gradient():
    x = np.zeros((1, 2, 2, 1), np.float32)
    g = np.ones((1, 1, 1, 1), np.float32)
    node_x, node_g = leaf(*x.shape), leaf(*g.shape)
    out = registry["max_pool2d_grad"](node_x, node_g, (2, 2), (2, 2), (0, 0))
    (found,) = evaluate([out], {node_x.serial: x, node_g.serial: g})
    assert np.array_equal(found, references.max_pooled_back(x, g))
    assert found[0, 0, 0, 0] == 1
