"""Layers of symbols: functions on Nodes with parameters whose shapes follow from the data.

Images are channels-last.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lazyarray import _ir, autodiff
from lazyarray._ir import Node, operators, registry
from lazyarray.dtypes import is_float
from lazyarray.errors import DTypeError, OptionError, ShapeError, require
from lazyarray.ops.convolution import pair
from lazyarray.ops.nn import batch_moments
from lazyarray.ops.shaping import full

Shape = tuple[int, ...]
Rule = Callable[..., Any]
INT64 = np.dtype(np.int64)


class Layer:
    """A function on Nodes whose parameters a Symbol makes by itself, and states when it is bound.

    A random layer takes `draw`, which gives key and counter of a draw. One with auxiliary states
    returns their new values after its output.
    """

    def __init__(
        self, function: Rule, parameters: tuple[str, ...], auxiliary: tuple[str, ...]
    ) -> None:
        self.name = function.__name__
        self.function = function
        self.parameters = parameters  # made when they are not given, auxiliary ones included
        self.auxiliary = auxiliary
        self.initial: dict[str, float] = {}
        signature = inspect.signature(function)
        self.random = "draw" in signature.parameters
        self.signature = signature.replace(
            parameters=[p for p in signature.parameters.values() if p.name != "draw"]
        )
        self.defaults = {
            p.name: p.default
            for p in self.signature.parameters.values()
            if p.default is not p.empty
        }
        self.check: Rule | None = None
        self.absent: Rule | None = None
        self.stated: Rule | None = None
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Record the layer on Nodes."""
        return self.function(*args, **options)

    def checks(self, rule: Rule) -> Rule:
        """Set ``rule(**options)``, which raises for bad options when the layer is composed."""
        self.check = rule
        return rule

    def leaves_out(self, rule: Rule) -> Rule:
        """Set ``rule(**options)``: the parameters that these options do without."""
        self.absent = rule
        return rule

    def states(self, rule: Rule) -> Rule:
        """Set ``rule(data_shape, **options)``: the shapes of the parameters."""
        self.stated = rule
        return rule


LAYERS: dict[str, Any] = {}


def layer(
    parameters: tuple[str, ...] = (), auxiliary: tuple[str, ...] = (), **initial: float
) -> Rule:
    """Define a layer by its function on Nodes; `initial` gives starts that are not 0."""

    def define(function: Rule) -> Layer:
        made = Layer(function, parameters, auxiliary)
        made.initial = initial
        LAYERS[made.name] = made
        return made

    return define


def function_named(op: str) -> Rule | None:
    """What replays a call of this name, or None."""
    return OPERATORS.get(op) or LAYERS.get(op) or registry.get(op)


# `x ** 2` is a square, `power(x, 2)` is not: the operator is an op of its own.
OPERATORS = {"power_operator": operators["power"]}


# ---- options


def check_count(value: Any, op: str, name: str, least: int = 1) -> None:
    """Raise unless `value` is an integer of at least `least`."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    require(whole and value >= least, OptionError, op,
            f"{name} must be an integer of at least {least}, got {value!r}")  # fmt: skip


def check_choice(value: Any, op: str, name: str, choices: Any) -> None:
    """Raise unless `value` is one of `choices`."""
    known = isinstance(value, str) and value in choices
    require(known, OptionError, op, f"{name} is {value!r}, expected one of {', '.join(choices)}")


def channels_last(x: Node, layout: str) -> Node:
    """Images in either layout as (batch, height, width, channels)."""
    return x if layout == "NHWC" else registry["transpose"](x, (0, 2, 3, 1))


def in_layout(x: Node, layout: str) -> Node:
    """What `channels_last` undoes."""
    return x if layout == "NHWC" else registry["transpose"](x, (0, 3, 1, 2))


def unrecorded(function: Callable[[], Any]) -> Any:
    """What `function()` gives while nothing is recorded for a gradient."""
    with _ir.Scope(False, None):
        return function()


# ---- dense and convolutional layers


@layer(parameters=("weight", "bias"))
def FullyConnected(
    data: Node, num_hidden: int, weight: Node = None, bias: Node | None = None,
    no_bias: bool = False, flatten: bool = True,
) -> Any:  # fmt: skip
    """``data @ weight.T + bias``.

    Parameters
    ----------
    data : Symbol, shape (batch, ...), floating
    num_hidden : int
        Units.
    weight : Symbol, shape (num_hidden, inputs), optional
    bias : Symbol, shape (num_hidden,), optional
    no_bias : bool, default False
    flatten : bool, default True
        Take all axes of `data` but the first as inputs; otherwise the last one.

    Returns
    -------
    Symbol, shape (batch, num_hidden), or (..., num_hidden) without `flatten`
    """
    return registry["dense"](rows(data) if flatten else data, weight, bias)


def rows(x: Node) -> Node:
    """One row for each element of the batch."""
    require(x.ndim > 0, ShapeError, "Flatten", "needs a batch axis, got shape ()")
    return x if x.ndim == 2 else registry["reshape"](x, (x.shape[0], math.prod(x.shape[1:])))


@FullyConnected.checks
def _(num_hidden: int, **options: Any) -> None:
    check_count(num_hidden, "FullyConnected", "num_hidden")


@FullyConnected.leaves_out
def _(no_bias: bool, **options: Any) -> Any:
    return ("bias",) if no_bias else ()


@FullyConnected.states
def _(data: Shape, num_hidden: int, flatten: bool, **options: Any) -> dict[str, Shape]:
    require(len(data) > 0, ShapeError, "", "needs a batch axis, got data of shape ()")
    inputs = math.prod(data[1:]) if flatten else data[-1]
    return {"weight": (num_hidden, inputs), "bias": (num_hidden,)}


LAYOUTS = ("NHWC", "NCHW")


@layer(parameters=("weight", "bias"))
def Convolution(
    data: Node, kernel: Any, num_filter: int, stride: Any = 1, pad: Any = 0, dilate: Any = 1,
    num_group: int = 1, no_bias: bool = False, layout: str = "NHWC", weight: Node = None,
    bias: Node | None = None,
) -> Any:  # fmt: skip
    """Two-dimensional convolution (cross-correlation) of images.

    Parameters
    ----------
    data : Symbol, shape (batch, height, width, channels), floating
    kernel : int or (int, int)
        Height and width of the window, in pixels.
    num_filter : int
        Output channels.
    stride, dilate : int or (int, int), default 1
    pad : int or (int, int), default 0
    num_group : int, default 1
    no_bias : bool, default False
    layout : {"NHWC", "NCHW"}, default "NHWC"
        With "NCHW", data and result are (batch, channels, height, width), and `weight` is
        (num_filter, channels // num_group, kh, kw).
    weight : Symbol, shape (kh, kw, channels // num_group, num_filter), optional
    bias : Symbol, shape (num_filter,), optional

    Returns
    -------
    Symbol, shape (batch, oh, ow, num_filter)
        ``oh = (height + 2*pad - dilate*(kh-1) - 1) // stride + 1``
    """
    if layout == "NCHW":
        weight = registry["transpose"](weight, (2, 3, 1, 0))
    found = registry["conv2d"](
        channels_last(data, layout), weight, bias, stride, pad, dilate, num_group
    )
    return in_layout(found, layout)


@Convolution.checks
def _(kernel: Any, num_filter: int, stride: Any, pad: Any, dilate: Any, num_group: int,
      layout: str, **options: Any) -> None:  # fmt: skip
    for name, value in (("kernel", kernel), ("stride", stride), ("dilate", dilate)):
        pair(value, "Convolution", name, 1)
    pair(pad, "Convolution", "pad", 0)
    check_count(num_filter, "Convolution", "num_filter")
    check_count(num_group, "Convolution", "num_group")
    check_choice(layout, "Convolution", "layout", LAYOUTS)


@Convolution.leaves_out
def _(no_bias: bool, **options: Any) -> Any:
    return ("bias",) if no_bias else ()


@Convolution.states
def _(data: Shape, kernel: Any, num_filter: int, num_group: int, layout: str,
      **options: Any) -> dict[str, Shape]:  # fmt: skip
    images = len(data) == 4
    require(images, ShapeError, "", f"data must have 4 axes ({layout}), got {data}")
    channels = data[3] if layout == "NHWC" else data[1]
    fits = channels % num_group == 0 and num_filter % num_group == 0
    require(fits, ShapeError, "",
            f"{channels} channels, {num_filter} filters do not fit {num_group} groups")  # fmt: skip
    window = pair(kernel, "Convolution", "kernel", 1)
    if layout == "NHWC":
        weight = (*window, channels // num_group, num_filter)
    else:
        weight = (num_filter, channels // num_group, *window)
    return {"weight": weight, "bias": (num_filter,)}


# ---- layers without parameters

ACTIVATIONS = {
    "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "softrelu": "softplus",
    "softsign": "softsign",
}  # fmt: skip


@layer()
def Activation(data: Node, act_type: str) -> Any:
    """An activation: "relu", "sigmoid", "tanh", "softrelu" (softplus) or "softsign".

    Parameters
    ----------
    data : Symbol, any shape, floating
    act_type : str

    Returns
    -------
    Symbol, the shape of `data`
    """
    return registry[ACTIVATIONS[act_type]](data)


@Activation.checks
def _(act_type: str) -> None:
    check_choice(act_type, "Activation", "act_type", ACTIVATIONS)


@layer()
def Pooling(
    data: Node, kernel: Any = None, pool_type: str = "max", stride: Any = 1, pad: Any = 0,
    global_pool: bool = False, count_include_pad: bool = True, layout: str = "NHWC",
) -> Any:  # fmt: skip
    """Maxima, means or sums of windows.

    Parameters
    ----------
    data : Symbol, shape (batch, height, width, channels), floating
    kernel : int or (int, int)
        The window, in pixels; not needed with `global_pool`.
    pool_type : {"max", "avg", "sum"}, default "max"
    stride : int or (int, int), default 1
    pad : int or (int, int), default 0
    global_pool : bool, default False
        Take the whole image as one window; the result has extents of 1.
    count_include_pad : bool, default True
        Whether the zeros of `pad` count in a mean.
    layout : {"NHWC", "NCHW"}, default "NHWC"

    Returns
    -------
    Symbol, shape (batch, oh, ow, channels)
        ``oh = (height + 2*pad - kernel) // stride + 1``
    """
    x = channels_last(data, layout)
    if global_pool:
        images = x.ndim == 4
        require(images, ShapeError, "", f"data must have 4 axes ({layout}), got {data.shape}")
        kernel, stride, pad = x.shape[1:3], 1, 0
    if pool_type == "max":
        return in_layout(registry["max_pool2d"](x, kernel, stride, pad), layout)
    if pool_type == "avg":
        return in_layout(registry["avg_pool2d"](x, kernel, stride, pad, count_include_pad), layout)
    area = math.prod(pair(kernel, "Pooling", "kernel", 1))
    return in_layout(registry["avg_pool2d"](x, kernel, stride, pad) * area, layout)


@Pooling.checks
def _(kernel: Any, pool_type: str, stride: Any, pad: Any, global_pool: bool, layout: str,
      **options: Any) -> None:  # fmt: skip
    require(global_pool or kernel is not None, OptionError, "Pooling", "kernel is missing",
            "Give kernel=(height, width), or global_pool=True.")  # fmt: skip
    for name, value, least in (("kernel", kernel, 1), ("stride", stride, 1), ("pad", pad, 0)):
        if value is not None:
            pair(value, "Pooling", name, least)
    check_choice(pool_type, "Pooling", "pool_type", ("max", "avg", "sum"))
    check_choice(layout, "Pooling", "layout", LAYOUTS)


@layer()
def Flatten(data: Node) -> Any:
    """All axes but the first as one.

    Parameters
    ----------
    data : Symbol, shape (batch, ...)

    Returns
    -------
    Symbol, shape (batch, size)
    """
    return rows(data)


@layer()
def Dropout(data: Node, p: float = 0.5, mode: str = "training", draw: Any = None) -> Any:
    """Zero elements with probability `p` and scale the rest by ``1 / (1 - p)``, in training.

    Each training pass draws anew from `la.random.fast`.

    Parameters
    ----------
    data : Symbol, any shape, floating
    p : float, default 0.5
        In [0, 1).
    mode : {"training", "always"}, default "training"
        "always" drops in prediction, too.

    Returns
    -------
    Symbol, the shape of `data`
    """
    active = p > 0 and (mode == "always" or _ir.current().training)
    return registry["dropout"](data, *draw(), float(p)) if active else data


@Dropout.checks
def _(p: float, mode: str) -> None:
    inside = isinstance(p, int | float) and 0 <= p < 1
    require(inside, OptionError, "Dropout", f"p must be in [0, 1), got {p!r}")
    check_choice(mode, "Dropout", "mode", ("training", "always"))


# ---- normalisation


@layer(parameters=("gamma", "beta", "moving_mean", "moving_var"),
       auxiliary=("moving_mean", "moving_var"), gamma=1.0, moving_var=1.0)  # fmt: skip
def BatchNorm(
    data: Node, gamma: Node = None, beta: Node = None, moving_mean: Node = None,
    moving_var: Node = None, eps: float = 1e-3, momentum: float = 0.9, fix_gamma: bool = True,
    use_global_stats: bool = False, axis: int = -1,
) -> Any:  # fmt: skip
    """Normalise each channel by mean and variance, then scale and shift (Ioffe and Szegedy 2015).

    Parameters
    ----------
    data : Symbol, any shape, floating
    gamma, beta : Symbol, shape (channels,), optional
        Scale and shift.
    moving_mean, moving_var : Symbol, shape (channels,), optional
        Auxiliary states: the statistics used in prediction. A training pass moves them to
        ``momentum * moving + (1 - momentum) * batch``.
    eps : float, default 1e-3
    momentum : float, default 0.9
    fix_gamma : bool, default True
        Scale by 1, whatever `gamma` holds.
    use_global_stats : bool, default False
        Use the moving statistics in training, too.
    axis : int, default -1
        That of the channels.

    Returns
    -------
    Symbol, the shape of `data`
    """
    scale = full(gamma.shape, 1, gamma.dtype) if fix_gamma else gamma
    if use_global_stats or not _ir.current().training:
        found = registry["batch_norm"](data, scale, beta, moving_mean, moving_var, axis, eps)
        return found, moving_mean, moving_var
    mean, var = batch_moments(data, axis)
    found = registry["batch_norm"](data, scale, beta, mean, var, axis, eps)
    pairs = ((moving_mean, mean), (moving_var, var))
    moved = unrecorded(lambda: [old * momentum + new * (1 - momentum) for old, new in pairs])
    return found, *moved


@BatchNorm.checks
def _(eps: float, momentum: float, axis: int, **options: Any) -> None:
    positive = isinstance(eps, int | float) and eps >= 0
    require(positive, OptionError, "BatchNorm", f"eps must be at least 0, got {eps!r}")
    inside = isinstance(momentum, int | float) and 0 <= momentum <= 1
    require(inside, OptionError, "BatchNorm", f"momentum must be in [0, 1], got {momentum!r}")
    whole = hasattr(axis, "__index__")
    require(whole, OptionError, "BatchNorm", f"axis must be an integer, got {axis!r}")


@BatchNorm.states
def _(data: Shape, axis: int, **options: Any) -> dict[str, Shape]:
    inside = -len(data) <= axis < len(data)
    require(inside, ShapeError, "", f"data of shape {data} has no axis {axis}")
    return dict.fromkeys(("gamma", "beta", "moving_mean", "moving_var"), (data[axis],))


# ---- outputs: layers that are a loss, and ignore the gradient that comes from above


def with_gradient(
    data: Node, label: Node | None, value: Node, gradient: Callable[[], Node], name: str
) -> Node:
    """`value`, whose gradient by `data` is ``gradient()`` whatever depends on it."""
    inputs = [data] if label is None else [data, label]

    def backward(heads: list[Node | None]) -> list[Node | None]:
        return [gradient(), *[None] * (len(inputs) - 1)]

    return autodiff.custom_call(inputs, [value], backward, name)[0]


NORMALIZATIONS = ("null", "batch", "valid")


@layer(parameters=("label",))
def SoftmaxOutput(
    data: Node, label: Node = None, grad_scale: float = 1.0, ignore_label: int = -1,
    use_ignore: bool = False, normalization: str = "null",
) -> Any:  # fmt: skip
    """Softmax, with the gradient of the cross-entropy.

    Parameters
    ----------
    data : Symbol, shape (..., classes), floating
        Logits.
    label : Symbol, shape (...), integer or whole numbers, optional
    grad_scale : float, default 1.0
    ignore_label : int, default -1
        With `use_ignore`, elements with this label get no gradient.
    use_ignore : bool, default False
    normalization : {"null", "batch", "valid"}, default "null"
        Divide the gradient by nothing, by the extent of the first axis, or by the number of labels
        that are not ignored.

    Returns
    -------
    Symbol, the shape of `data`
        Probabilities. Backward, ``(softmax - one_hot(label)) * grad_scale``. A label that is no
        class raises IndexError when a gradient is waited for.
    """
    require(label.shape == data.shape[:-1], ShapeError, "",
            f"data {data.shape} needs label {data.shape[:-1]}, got {label.shape}")  # fmt: skip
    found = unrecorded(lambda: registry["softmax"](data))

    def gradient() -> Node:
        target = _ir.cast(label, INT64)
        ignored = registry["equal"](target, ignore_label) if use_ignore else None
        if ignored is not None:
            target = registry["where"](ignored, 0, target)
        error = (
            f"SoftmaxOutput: a label is out of bounds, the classes are 0 to {data.shape[-1] - 1}"
        )
        target = registry["flat_index"](target, dims=data.shape[-1:], error=error)
        g = found - registry["one_hot"](target, data.shape[-1], data.dtype)
        if ignored is not None:
            g = registry["where"](registry["expand_dims"](ignored, -1), 0, g)
        return scaled(g, label, grad_scale, normalization, ignored)

    return with_gradient(data, label, found, gradient, "SoftmaxOutput")


def scaled(g: Node, label: Node, scale: float, normalization: str, ignored: Node | None) -> Node:
    """A gradient scaled as `SoftmaxOutput` says."""
    if normalization == "batch" and label.ndim:
        scale = scale / max(label.shape[0], 1)
    elif normalization == "valid":
        if ignored is not None:
            valid = registry["sum"](registry["logical_not"](ignored))
            return g * scale / _ir.cast(registry["maximum"](valid, 1), g.dtype)
        scale = scale / max(label.type.size, 1)
    return g if scale == 1 else g * float(scale)


@SoftmaxOutput.checks
def _(grad_scale: float, ignore_label: int, normalization: str, **options: Any) -> None:
    check_scale(grad_scale, "SoftmaxOutput")
    check_count(ignore_label, "SoftmaxOutput", "ignore_label", -(1 << 62))
    check_choice(normalization, "SoftmaxOutput", "normalization", NORMALIZATIONS)


@SoftmaxOutput.states
def _(data: Shape, **options: Any) -> dict[str, Shape]:
    require(len(data) > 0, ShapeError, "", "data needs an axis of classes, got shape ()")
    return {"label": data[:-1]}


def check_scale(value: Any, op: str) -> None:
    """Raise unless a gradient can be scaled by `value`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    require(number, OptionError, op, f"grad_scale must be a number, got {value!r}")


def regression(
    name: str, doc: str, forward: Callable[[Node], Node], slope: Callable[[Node, Node], Node]
) -> Layer:
    """Define an output that is compared with a label of its own shape."""

    def function(data: Node, label: Node = None, grad_scale: float = 1.0) -> Any:
        require(is_float(data.dtype), DTypeError, "", f"data must be floating, got {data.dtype}")
        found = unrecorded(lambda: forward(data))
        width = max(math.prod(data.shape[1:]), 1)

        def gradient() -> Node:
            g = slope(found, _ir.cast(label, data.dtype))
            return g if grad_scale == width else g * (grad_scale / width)

        return with_gradient(data, label, found, gradient, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    made: Layer = layer(parameters=("label",))(function)
    made.checks(lambda grad_scale: check_scale(grad_scale, name))
    made.states(lambda data, **options: {"label": data})
    return made


REGRESSION = """{head}

    Parameters
    ----------
    data : Symbol, shape (batch, ...), floating
    label : Symbol, the shape of `data`, optional
    grad_scale : float, default 1.0

    Returns
    -------
    Symbol, the shape of `data`
        {value}. Backward, ``{slope} * grad_scale / width``, where `width` is the size of one
        element of the batch.
    """

LinearRegressionOutput = regression(
    "LinearRegressionOutput",
    REGRESSION.format(
        head="The data, with the gradient of the squared error.",
        value="`data`",
        slope="(data - label)",
    ),
    lambda x: x,
    lambda y, label: y - label,
)
LogisticRegressionOutput = regression(
    "LogisticRegressionOutput",
    REGRESSION.format(
        head="The logistic function, with the gradient of the binary cross-entropy.",
        value="``sigmoid(data)``",
        slope="(sigmoid(data) - label)",
    ),
    lambda x: registry["sigmoid"](x),
    lambda y, label: y - label,
)
MAERegressionOutput = regression(
    "MAERegressionOutput",
    REGRESSION.format(
        head="The data, with the gradient of the absolute error.",
        value="`data`",
        slope="sign(data - label)",
    ),
    lambda x: x,
    lambda y, label: registry["sign"](y - label),
)


@layer()
def MakeLoss(data: Node, grad_scale: float = 1.0) -> Any:
    """The data as a loss: its gradient is `grad_scale`, whatever depends on it.

    Parameters
    ----------
    data : Symbol, any shape, floating
    grad_scale : float, default 1.0

    Returns
    -------
    Symbol, the shape of `data`
    """
    return with_gradient(
        data, None, data, lambda: full(data.shape, grad_scale, data.dtype), "MakeLoss"
    )


@MakeLoss.checks
def _(grad_scale: float) -> None:
    check_scale(grad_scale, "MakeLoss")


@layer()
def BlockGrad(data: Node) -> Any:
    """The data, through which no gradient passes.

    Parameters
    ----------
    data : Symbol, any shape

    Returns
    -------
    Symbol, the shape of `data`
    """
    return registry["stop_gradient"](data)
