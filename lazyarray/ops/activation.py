"""Activations: composites of elementwise ops, stable for every finite input."""

from __future__ import annotations

import math

from lazyarray._ir import Node, cast
from lazyarray.dtypes import is_float

from .define import composite
from .elementary import erf, exp, expit, expm1, log1p, tanh
from .elementwise import absolute, less_equal, where


@composite
def relu(x: Node) -> Node:
    """`x` where it is positive, otherwise 0. The gradient at 0 is 0.

    Parameters
    ----------
    x : array_like, any shape, floating

    Returns
    -------
    array, the shape and dtype of `x`
        NaN stays NaN.
    """
    return where(less_equal(x, 0), 0, x)


@composite
def leaky_relu(x: Node, slope: float = 0.01) -> Node:
    """`x` where it is positive, otherwise ``slope * x``.

    Parameters
    ----------
    x : array_like, any shape, floating
    slope : float, default 0.01

    Returns
    -------
    array, the shape and dtype of `x`
        The gradient at 0 is `slope`.
    """
    return where(less_equal(x, 0), x * slope, x)


@composite
def elu(x: Node, alpha: float = 1.0) -> Node:
    """`x` where it is positive, otherwise ``alpha * (exp(x) - 1)``.

    Parameters
    ----------
    x : array_like, any shape, floating
    alpha : float, default 1.0

    Returns
    -------
    array, the shape and dtype of `x`

    Notes
    -----
    Clevert et al. 2016, equation 15.
    """
    low = less_equal(x, 0)
    # The exponential sees no positive x, where it could overflow and spoil the gradient.
    return where(low, expm1(where(low, x, 0)) * alpha, x)


@composite
def softplus(x: Node) -> Node:
    """``log(1 + exp(x))``, without overflow.

    Parameters
    ----------
    x : array_like, any shape, floating

    Returns
    -------
    array, the shape and dtype of `x`
    """
    low = less_equal(x, 0)
    # Written so that the derivative at 0 comes out as 1/2 from both sides, to all orders.
    return where(low, log1p(exp(where(low, x, 0))), x + log1p(exp(where(low, 0, -x))))


@composite
def sigmoid(x: Node) -> Node:
    """The logistic function ``1 / (1 + exp(-x))``: `expit`, but float16 stays float16.

    Parameters
    ----------
    x : array_like, any shape, floating

    Returns
    -------
    array, the shape and dtype of `x`
    """
    return cast(expit(x), x.dtype) if is_float(x.dtype) else expit(x)


@composite
def silu(x: Node) -> Node:
    """``x * expit(x)``, also called swish (Elfwing et al. 2018).

    Parameters
    ----------
    x : array_like, any shape, floating

    Returns
    -------
    array, the shape and dtype of `x`
    """
    return x * sigmoid(x)


@composite
def softsign(x: Node) -> Node:
    """``x / (1 + abs(x))``.

    Parameters
    ----------
    x : array_like, any shape, floating

    Returns
    -------
    array, the shape and dtype of `x`
    """
    return x / (1 + absolute(x))


@composite
def gelu(x: Node, approximate: bool = False) -> Node:
    """``x * Phi(x)`` with the normal distribution function Phi (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    x : array_like, any shape, floating
    approximate : bool, default False
        Use their formula with tanh, whose absolute error is below 5e-4.

    Returns
    -------
    array, the shape and dtype of `x`
    """
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
        return 0.5 * x * (1 + tanh(inner))
    return 0.5 * x * (1 + cast(erf(x * math.sqrt(0.5)), x.dtype))
