"""Layers: dense, convolution, pooling, normalisation, dropout, activations."""

from __future__ import annotations

import operator
from collections.abc import Callable
from numbers import Real
from typing import Any

from lazyarray import autograd, random
from lazyarray._handle import from_node, to_node
from lazyarray._ir import Node, registry
from lazyarray._record import ArrayBase
from lazyarray.array import Array
from lazyarray.errors import DTypeError, OptionError, ShapeError, fail, require
from lazyarray.ops import convolution, shaping
from lazyarray.ops import nn as ops
from lazyarray.ops.define import normalize_axis

from .module import Module
from .parameter import Buffer, Parameter

ACTIVATIONS = {
    "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "softrelu": "softplus",
    "softplus": "softplus", "softsign": "softsign", "gelu": "gelu", "silu": "silu", "swish": "silu",
    "elu": "elu", "leaky_relu": "leaky_relu",
}  # fmt: skip


def input_node(layer: Module, x: Any) -> Node:
    """The Node of a layer's input."""
    if isinstance(x, ArrayBase):
        return to_node(x)
    fail(
        DTypeError,
        type(layer).__name__,
        f"the input must be a lazyarray array, got {type(x).__name__}",
        "Convert it with la.asarray(x, dtype='float32').",
    )


def value(parameter: Parameter | None) -> Node | None:
    """The Node of a parameter's value."""
    return None if parameter is None else to_node(parameter.data())


def activation_named(name: str | None) -> Callable[[Node], Node] | None:
    """The op of an activation's name."""
    if name is None:
        return None
    known = ", ".join(sorted(ACTIVATIONS))
    require(
        name in ACTIVATIONS,
        OptionError,
        "Activation",
        f"{name!r} is unknown, expected one of {known}",
    )
    return registry[ACTIVATIONS[name]]


def activated(node: Node, activation: Callable[[Node], Node] | None) -> Array:
    """A layer's result."""
    return from_node(node if activation is None else activation(node), False)


def options(**given: Any) -> str:
    """Options as a call would write them."""
    return ", ".join(f"{name}={v!r}" for name, v in given.items() if v is not None)


def whole(layer: str, name: str, value: Any, least: int) -> int:
    """An option that counts something."""
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None:
        fail(OptionError, layer, f"{name} must be an integer, got {value!r}")
    require(found >= least, OptionError, layer, f"{name} must be at least {least}, got {found}")
    return found


class Dense(Module):
    """``activation(x @ weight.T + bias)``.

    Parameters
    ----------
    units : int
        Outputs.
    activation : str, optional
        The name of an activation, such as "relu".
    use_bias : bool, default True
    in_units : int, default 0
        Inputs; 0 lets the first batch say.
    dtype : dtype, default `default_dtype`
    weight_initializer, bias_initializer : initialiser, name or number

    Attributes
    ----------
    weight : Parameter, shape (units, in_units)
    bias : Parameter, shape (units,), or None

    Notes
    -----
    The input has shape (..., in_units), the output (..., units). Images go through `Flatten` first.
    """

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        in_units: int = 0,
        dtype: Any = None,
        weight_initializer: Any = "xavier",
        bias_initializer: Any = "zeros",
    ) -> None:
        self.units = whole("Dense", "units", units, 1)
        in_units = whole("Dense", "in_units", in_units or 0, 0)
        self.activation = activation
        self._activation = activation_named(activation)
        self.weight = Parameter((self.units, in_units), weight_initializer, dtype, axes=(1, 0))
        self.bias = Parameter((self.units,), bias_initializer, dtype) if use_bias else None

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        node = input_node(self, x)
        self.check_dtype(node, self.weight)
        if not self.weight.ready:
            require(
                node.ndim > 0,
                ShapeError,
                "Dense",
                "the input must have shape (..., in_units), got ()",
            )
            self.materialize(self.weight, (self.units, node.shape[-1]))
        if self.bias is not None:
            self.materialize(self.bias, (self.units,))
        return activated(ops.dense(node, value(self.weight), value(self.bias)), self._activation)

    def describe(self) -> str:
        """Its options."""
        rest = options(
            activation=self.activation, use_bias=None if self.bias is not None else False
        )
        return f"{self.weight.shape[1] or '?'} -> {self.units}" + (f", {rest}" if rest else "")


class Conv2D(Module):
    """Two-dimensional convolution (cross-correlation) of channels-last images.

    Parameters
    ----------
    channels : int
        Outputs.
    kernel_size : int or (int, int)
        In pixels.
    strides, padding, dilation : int or (int, int), default 1, 0, 1
        In pixels.
    groups : int, default 1
    layout : {"NHWC"}, default "NHWC"
    activation : str, optional
    use_bias : bool, default True
    in_channels : int, default 0
        Inputs; 0 lets the first batch say.
    dtype : dtype, default `default_dtype`
    weight_initializer, bias_initializer : initialiser, name or number

    Attributes
    ----------
    weight : Parameter, shape (kh, kw, in_channels // groups, channels)
    bias : Parameter, shape (channels,), or None
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        layout: str = "NHWC",
        activation: str | None = None,
        use_bias: bool = True,
        in_channels: int = 0,
        dtype: Any = None,
        weight_initializer: Any = "xavier",
        bias_initializer: Any = "zeros",
    ) -> None:
        check_layout("Conv2D", layout)
        channels = whole("Conv2D", "channels", channels, 1)
        groups = whole("Conv2D", "groups", groups, 1)
        in_channels = whole("Conv2D", "in_channels", in_channels or 0, 0)
        require(
            channels % groups == 0 and in_channels % groups == 0,
            OptionError,
            "Conv2D",
            f"groups must divide channels and in_channels, got {groups}, {channels}, {in_channels}",
        )
        self.channels = channels
        self.kernel_size = convolution.pair(kernel_size, "Conv2D", "kernel_size", 1)
        self.strides = convolution.pair(strides, "Conv2D", "strides", 1)
        self.padding = convolution.pair(padding, "Conv2D", "padding", 0)
        self.dilation = convolution.pair(dilation, "Conv2D", "dilation", 1)
        self.groups = groups
        self.activation = activation
        self._activation = activation_named(activation)
        shape = (*self.kernel_size, in_channels // groups, channels)
        self.weight = Parameter(shape, weight_initializer, dtype, axes=(2, 3))
        self.bias = Parameter((channels,), bias_initializer, dtype) if use_bias else None

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        node = input_node(self, x)
        self.check_dtype(node, self.weight)
        if not self.weight.ready:
            convolution.check_image(node, "Conv2D")
            require(
                node.shape[3] % self.groups == 0,
                ShapeError,
                "Conv2D",
                f"the input has {node.shape[3]} channels, which {self.groups} groups do not divide",
            )
            inputs = node.shape[3] // self.groups
            self.materialize(self.weight, (*self.kernel_size, inputs, self.channels))
        if self.bias is not None:
            self.materialize(self.bias, (self.channels,))
        out = convolution.conv2d(
            node,
            value(self.weight),
            value(self.bias),
            self.strides,
            self.padding,
            self.dilation,
            self.groups,
        )
        return activated(out, self._activation)

    def describe(self) -> str:
        """Its options."""
        rest = options(
            kernel_size=self.kernel_size,
            strides=None if self.strides == (1, 1) else self.strides,
            padding=None if self.padding == (0, 0) else self.padding,
            dilation=None if self.dilation == (1, 1) else self.dilation,
            groups=None if self.groups == 1 else self.groups,
            activation=self.activation,
            use_bias=None if self.bias is not None else False,
        )
        return f"{self.weight.shape[2] * self.groups or '?'} -> {self.channels}, {rest}"


def check_layout(name: str, layout: str) -> None:
    """Raise unless images are channels-last."""
    require(
        layout == "NHWC",
        OptionError,
        name,
        f"layout {layout!r} is not supported, only 'NHWC' is",
        "Convert images with x.transpose(0, 2, 3, 1).",
    )


class Pool2D(Module):
    """What pooling layers share: windows over channels-last images."""

    def __init__(
        self, pool_size: Any = 2, strides: Any = None, padding: Any = 0, layout: str = "NHWC"
    ) -> None:
        name = type(self).__name__
        check_layout(name, layout)
        self.pool_size = convolution.pair(pool_size, name, "pool_size", 1)
        self.strides = (
            self.pool_size if strides is None else convolution.pair(strides, name, "strides", 1)
        )
        self.padding = convolution.pair(padding, name, "padding", 0)

    def describe(self) -> str:
        """Its options."""
        return options(pool_size=self.pool_size, strides=self.strides, padding=self.padding)


class MaxPool2D(Pool2D):
    """Maxima of windows.

    Parameters
    ----------
    pool_size : int or (int, int), default 2
        In pixels.
    strides : int or (int, int), optional
        By default windows touch.
    padding : int or (int, int), default 0
    layout : {"NHWC"}, default "NHWC"
    """

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        return from_node(
            convolution.max_pool2d(input_node(self, x), self.pool_size, self.strides, self.padding)
        )


class AvgPool2D(Pool2D):
    """Means of windows.

    Parameters
    ----------
    pool_size, strides, padding, layout
        As for `MaxPool2D`.
    count_include_pad : bool, default True
        Whether the zeros of the padding count.
    """

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = 0,
        layout: str = "NHWC",
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(pool_size, strides, padding, layout)
        self.count_include_pad = count_include_pad

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        return from_node(
            convolution.avg_pool2d(
                input_node(self, x),
                self.pool_size,
                self.strides,
                self.padding,
                self.count_include_pad,
            )
        )


class GlobalAvgPool2D(Module):
    """Means over height and width: shape (batch, channels)."""

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        return from_node(convolution.global_avg_pool2d(input_node(self, x)))


class Flatten(Module):
    """All axes but the first as one."""

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        node = input_node(self, x)
        require(
            node.ndim > 0, ShapeError, "Flatten", "the input must have a batch axis, got shape ()"
        )
        return from_node(shaping.reshape(node, (node.shape[0], -1)))


class Dropout(Module):
    """In training, zeroes elements with probability `rate`, scales others by ``1 / (1 - rate)``.

    Parameters
    ----------
    rate : float, default 0.5
        In [0, 1).

    Notes
    -----
    Which elements follows from `la.random.seed`, the number of the call and the position alone.
    """

    def __init__(self, rate: float = 0.5) -> None:
        good = isinstance(rate, Real) and 0 <= rate < 1
        require(good, OptionError, "Dropout", f"rate must be in [0, 1), got {rate!r}")
        self.rate = float(rate)

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        if not self.acts_as_in_training() or self.rate == 0:
            return x
        return from_node(ops.dropout(input_node(self, x), *random.fast.draw(), self.rate), False)

    def describe(self) -> str:
        """Its option."""
        return f"{self.rate:g}"


class BatchNorm(Module):
    """Normalises each channel over the batch (Ioffe and Szegedy 2015).

    Parameters
    ----------
    axis : int, default -1
        That of the channels.
    momentum : float, default 0.9
        The weight of the old running statistics.
    epsilon : float, default 1e-5
    center, scale : bool, default True
        Whether the shift and the scale are learnt.
    in_channels : int, default 0
        0 lets the first batch say.
    dtype : dtype, default `default_dtype`

    Attributes
    ----------
    gamma, beta : Parameter, shape (channels,)
    running_mean, running_var : Buffer, shape (channels,)
        Of the batches seen in training; used in prediction. The variance is the biased one, as the
        one that normalises.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        in_channels: int = 0,
        dtype: Any = None,
    ) -> None:
        self.axis = axis
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)
        shape = (in_channels,)
        self.gamma = Parameter(shape, 1.0, dtype, grad_req="write" if scale else "null")
        self.beta = Parameter(shape, 0.0, dtype, grad_req="write" if center else "null")
        self.running_mean = Buffer(shape, 0.0, dtype)
        self.running_var = Buffer(shape, 1.0, dtype)

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        node = input_node(self, x)
        self.check_dtype(node, self.gamma)
        if not self.running_var.ready or not self.gamma.ready:
            axis = normalize_axis(self.axis, node.ndim, "BatchNorm")
            for each in (self.gamma, self.beta, self.running_mean, self.running_var):
                self.materialize(each, (node.shape[axis],))
        if self.acts_as_in_training():
            mean, var = ops.batch_moments(node, self.axis)
            self.track(mean, var)
        else:
            mean, var = value(self.running_mean), value(self.running_var)
        out = ops.batch_norm(
            node, value(self.gamma), value(self.beta), mean, var, self.axis, self.epsilon
        )
        return from_node(out, False)

    def track(self, mean: Node, var: Node) -> None:
        """Move the running statistics towards those of the batch."""
        with autograd.pause():
            for running, batch in ((self.running_mean, mean), (self.running_var, var)):
                old = to_node(running.data())
                running.update(old * self.momentum + batch * (1.0 - self.momentum))

    def describe(self) -> str:
        """Its options."""
        return options(
            axis=self.axis,
            momentum=self.momentum,
            epsilon=self.epsilon,
            channels=self.gamma.shape[0] or "?",
        )


class LayerNorm(Module):
    """Normalises along one axis, then scales and shifts (Ba et al. 2016).

    Parameters
    ----------
    axis : int, default -1
    epsilon : float, default 1e-5
    in_channels : int, default 0
        The extent of that axis; 0 lets the first batch say.
    dtype : dtype, default `default_dtype`
    """

    def __init__(
        self, axis: int = -1, epsilon: float = 1e-5, in_channels: int = 0, dtype: Any = None
    ) -> None:
        self.axis = axis
        self.epsilon = float(epsilon)
        self.gamma = Parameter((in_channels,), 1.0, dtype)
        self.beta = Parameter((in_channels,), 0.0, dtype)

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        node = input_node(self, x)
        self.check_dtype(node, self.gamma)
        if not self.gamma.ready or not self.beta.ready:
            axis = normalize_axis(self.axis, node.ndim, "LayerNorm")
            for each in (self.gamma, self.beta):
                self.materialize(each, (node.shape[axis],))
        out = ops.layer_norm(node, value(self.gamma), value(self.beta), self.axis, self.epsilon)
        return from_node(out, False)

    def describe(self) -> str:
        """Its options."""
        return options(axis=self.axis, epsilon=self.epsilon, channels=self.gamma.shape[0] or "?")


class Embedding(Module):
    """Rows of a table by number.

    Parameters
    ----------
    input_dim : int
        Rows.
    output_dim : int
        Numbers in a row.
    dtype : dtype, default `default_dtype`
    weight_initializer : initialiser, name or number

    Attributes
    ----------
    weight : Parameter, shape (input_dim, output_dim)
    """

    def __init__(
        self, input_dim: int, output_dim: int, dtype: Any = None, weight_initializer: Any = "normal"
    ) -> None:
        shape = (
            whole("Embedding", "input_dim", input_dim, 1),
            whole("Embedding", "output_dim", output_dim, 1),
        )
        self.weight = Parameter(shape, weight_initializer, dtype, axes=(0, 1))

    def forward(self, x: Array) -> Array:
        """Look up rows: integers of shape (...) give (..., output_dim)."""
        node = input_node(self, x)
        require(
            node.dtype.kind in "iu",
            DTypeError,
            "Embedding",
            f"row numbers are integers, got {node.dtype}",
            "Convert them with astype('int64').",
        )
        self.materialize(self.weight, self.weight.shape)
        return from_node(registry["take"](value(self.weight), node, axis=0), False)

    def describe(self) -> str:
        """Its shape."""
        return f"{self.weight.shape[0]} -> {self.weight.shape[1]}"


class Activation(Module):
    """A function of each element, by name.

    Parameters
    ----------
    activation : str
        relu, sigmoid, tanh, softrelu (or softplus), softsign, gelu, silu (or swish), elu,
        leaky_relu.
    """

    name: str | None = None

    def __init__(self, activation: str | None = None) -> None:
        self.activation = activation or self.name
        require(
            self.activation is not None,
            OptionError,
            "Activation",
            "needs the name of an activation",
        )
        self._activation = activation_named(self.activation)

    def forward(self, x: Array) -> Array:
        """Apply the function."""
        return activated(input_node(self, x), self._activation)

    def describe(self) -> str:
        """Its name, where the class does not say it."""
        return "" if self.name else repr(self.activation)


class ReLU(Activation):
    """``max(x, 0)``."""

    name = "relu"


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``."""

    name = "sigmoid"


class Tanh(Activation):
    """Hyperbolic tangent."""

    name = "tanh"


class GELU(Activation):
    """``x * Phi(x)`` with the normal distribution function (Hendrycks and Gimpel 2016)."""

    name = "gelu"


class SiLU(Activation):
    """``x * sigmoid(x)``."""

    name = "silu"


class LeakyReLU(Module):
    """`x` where it is positive, ``alpha * x`` elsewhere."""

    def __init__(self, alpha: float = 0.01) -> None:
        self.alpha = float(alpha)

    def forward(self, x: Array) -> Array:
        """Apply the function."""
        return from_node(registry["leaky_relu"](input_node(self, x), self.alpha), False)

    def describe(self) -> str:
        """Its slope."""
        return f"{self.alpha:g}"


class Lambda(Module):
    """A function without parameters as a layer."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        """Apply the function."""
        return self.function(*inputs)

    def describe(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", repr(self.function))
