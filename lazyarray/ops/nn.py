"""Layers' operations beside convolution: dense, normalisation, dropout, losses."""

from __future__ import annotations

from typing import Any

from lazyarray._ir import Node
from lazyarray.dtypes import is_float, is_inexact
from lazyarray.errors import DTypeError, OptionError, ShapeError, fail, require

from .define import composite, normalize_axes, normalize_axis
from .elementary import exp, log
from .elementwise import equal, sqrt, square, stop_gradient, where
from .indexing import flat_index
from .linalg import matmul
from .random import bernoulli
from .reduction import max, sum
from .shaping import expand_dims, full, positions, reshape, transpose
from .statistics import mean

# ---- dense layers, normalisation, dropout


@composite
def dense(x: Node, weight: Node, bias: Node | None = None) -> Node:
    """``x @ weight.T + bias``.

    Parameters
    ----------
    x : array, shape (..., in_units), floating
    weight : array, shape (units, in_units), same dtype as `x`
    bias : array, shape (units,), optional

    Returns
    -------
    array, shape (..., units)

    Raises
    ------
    ShapeError, DTypeError
        When shapes or dtypes do not fit.
    """
    if weight.ndim != 2:
        message = f"weight must have shape (units, in_units), got {weight.shape}"
        fail(ShapeError, "dense", message)
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        fail(
            ShapeError,
            "dense",
            f"x {x.shape} does not end in the in_units of weight {weight.shape}",
            "Flatten x, or make the weight (units, in_units).",
        )
    if x.dtype is not weight.dtype:
        fail(
            DTypeError,
            "dense",
            f"x is {x.dtype}, weight is {weight.dtype}",
            "Convert one with astype.",
        )
    out = matmul(x, transpose(weight))
    if bias is None:
        return out
    if bias.shape != weight.shape[:1]:
        fail(ShapeError, "dense", f"bias must have shape {weight.shape[:1]}, got {bias.shape}")
    return out + bias


def moments(x: Node, axes: tuple[int, ...]) -> tuple[Node, Node]:
    """Mean and variance over some axes, which stay with extent 1."""
    middle = mean(x, axis=axes, keepdims=True)
    return middle, mean(square(x - middle), axis=axes, keepdims=True)


def normalized(x: Node, middle: Node, variance: Node, eps: float) -> Node:
    """`x` shifted by its mean and scaled by its standard deviation."""
    return (x - middle) / sqrt(variance + eps)


@composite
def batch_norm(
    x: Node, gamma: Node, beta: Node, mean: Node, var: Node, axis: int = -1, eps: float = 1e-5
) -> Node:
    """``(x - mean) / sqrt(var + eps) * gamma + beta`` for each channel (Ioffe and Szegedy 2015).

    Parameters
    ----------
    x : array, any shape, floating
    gamma, beta, mean, var : array, shape (channels,)
        Scale, shift, and the statistics: of the batch (see `batch_moments`), or running ones.
    axis : int, default -1
        That of the channels.
    eps : float, default 1e-5

    Returns
    -------
    array, the shape of `x`
    """
    axis = normalize_axis(axis, x.ndim, "batch_norm")
    for name, each in (("gamma", gamma), ("beta", beta), ("mean", mean), ("var", var)):
        require(
            each.shape == x.shape[axis : axis + 1],
            ShapeError,
            "batch_norm",
            f"{name} must have shape {x.shape[axis : axis + 1]}, got {each.shape}",
        )
    shape = tuple(n if i == axis else 1 for i, n in enumerate(x.shape))
    scale = gamma / sqrt(var + eps)
    return (x - reshape(mean, shape)) * reshape(scale, shape) + reshape(beta, shape)


def batch_moments(x: Node, axis: int = -1) -> tuple[Node, Node]:
    """Mean and variance of each channel over all other axes, shape (channels,)."""
    axis = normalize_axis(axis, x.ndim, "batch_norm")
    middle, variance = moments(x, tuple(i for i in range(x.ndim) if i != axis))
    return reshape(middle, (x.shape[axis],)), reshape(variance, (x.shape[axis],))


@composite
def layer_norm(x: Node, gamma: Node, beta: Node, axis: int = -1, eps: float = 1e-5) -> Node:
    """Normalise along one axis, then scale and shift (Ba et al. 2016).

    Parameters
    ----------
    x : array, any shape, floating
    gamma, beta : array, shape (x.shape[axis],)
    axis : int, default -1
    eps : float, default 1e-5

    Returns
    -------
    array, the shape of `x`
    """
    axis = normalize_axis(axis, x.ndim, "layer_norm")
    for name, each in (("gamma", gamma), ("beta", beta)):
        require(
            each.shape == x.shape[axis : axis + 1],
            ShapeError,
            "layer_norm",
            f"{name} must have shape {x.shape[axis : axis + 1]}, got {each.shape}",
        )
    shape = tuple(n if i == axis else 1 for i, n in enumerate(x.shape))
    return normalized(x, *moments(x, (axis,)), eps) * reshape(gamma, shape) + reshape(beta, shape)


@composite
def dropout(x: Node, key: Any, counter: Any, p: float = 0.5) -> Node:
    """Zero elements with probability `p`, and scale the rest by ``1 / (1 - p)``.

    Parameters
    ----------
    x : array, any shape, floating
    key, counter : int or array, shape (), uint64
        Of the keyed random numbers; each call needs a counter of its own.
    p : float, default 0.5

    Returns
    -------
    array, the shape and dtype of `x`

    Raises
    ------
    OptionError
        When `p` is not in [0, 1).
    """
    require(0 <= p < 1, OptionError, "dropout", f"p must be in [0, 1), got {p}")
    if not is_inexact(x.dtype):
        fail(DTypeError, "dropout", f"x must be floating, got {x.dtype}")
    dropped = bernoulli(key, counter, x.shape, float(p))
    return where(dropped, 0, x * (1.0 / (1.0 - p)))


# ---- losses


@composite
def softmax_cross_entropy(logits: Node, labels: Node, axis: int = -1) -> Node:
    """The negative logarithm of the softmax at the labels.

    Parameters
    ----------
    logits : array, shape (..., classes), floating
    labels : array, shape (...), integer
        Negative ones count from the last class.
    axis : int, default -1
        That of the classes.

    Returns
    -------
    array, shape (...), dtype of `logits`
        One loss for each label, at least 0.

    Raises
    ------
    ArrayIndexError
        When the loss is waited for and a label is not a class.
    ShapeError, DTypeError
        When shapes or dtypes do not fit.

    Notes
    -----
    The maximum is taken off first, so that nothing overflows. The gradient is
    ``softmax - one_hot``.
    """
    name = "softmax_cross_entropy"
    axis = normalize_axis(axis, logits.ndim, name)
    classes = logits.shape[axis]
    rest = (*logits.shape[:axis], *logits.shape[axis + 1 :])
    if not is_float(logits.dtype):
        fail(DTypeError, name, f"logits must be floating, got {logits.dtype}")
    if labels.dtype.kind not in "iu":
        fail(
            DTypeError,
            name,
            f"labels must be integers, got {labels.dtype}",
            "Convert them with astype('int64').",
        )
    if labels.shape != rest:
        message = f"logits {logits.shape} need labels of shape {rest}, got {labels.shape}"
        fail(ShapeError, name, message)
    require(classes > 0, ShapeError, name, "there are no classes")
    shifted = logits - stop_gradient(max(logits, axis=axis, keepdims=True))
    error = f"{name}: a label is out of bounds, the classes are 0 to {classes - 1}"
    target = expand_dims(flat_index(labels, dims=(classes,), error=error), axis)
    column = (classes, *(1,) * (logits.ndim - axis - 1))
    # A comparison instead of a gather: its gradient is fused with the softmax, which is dense.
    chosen = where(equal(target, positions(column)), shifted, full((), 0, logits.dtype))
    return log(sum(exp(shifted), axis=axis)) - sum(chosen, axis=axis)


@composite
def l2_loss(prediction: Node, target: Node) -> Node:
    """Half the mean square of the difference, for each element of the batch.

    Parameters
    ----------
    prediction, target : arrays of one shape, (batch, ...), floating

    Returns
    -------
    array, shape (batch,)
    """
    require(
        prediction.shape == target.shape,
        ShapeError,
        "l2_loss",
        f"prediction is {prediction.shape}, target {target.shape}",
    )
    require(prediction.ndim > 0, ShapeError, "l2_loss", "needs a batch axis")
    half = 0.5 * square(prediction - target)
    axes = normalize_axes(tuple(range(1, half.ndim)), half.ndim, "l2_loss")
    return mean(half, axis=axes) if axes else half
