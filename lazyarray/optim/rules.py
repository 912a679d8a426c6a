"""The update rules: SGD, Adam and AdamW."""

from __future__ import annotations

import math
from typing import Any

from lazyarray._ir import Node, registry
from lazyarray.errors import OptionError, require
from lazyarray.number import applied

from .optimizer import Optimizer, require_number


class SGD(Optimizer):
    """Stochastic gradient descent.

    Parameters
    ----------
    params : iterable of Parameter or array, or a mapping to them
    lr : float, default 0.01
    momentum : float, default 0
        In [0, 1).
    weight_decay : float, default 0
    nesterov : bool, default False
        Look ahead by one step of momentum (Sutskever et al. 2013).
    clip_gradient : float, optional
    lr_scheduler : callable, optional
        The last two as for `Optimizer`.

    Notes
    -----
    With ``d = gradient + weight_decay * w``: ``v = momentum * v - lr * d``, then ``w += v``, with
    `nesterov` ``w += momentum * v - lr * d``.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        clip_gradient: float | None = None,
        lr_scheduler: Any = None,
    ) -> None:
        super().__init__(params, lr, weight_decay, clip_gradient, lr_scheduler)
        require_number("SGD", "momentum", momentum, 0.0)
        require(momentum < 1, OptionError, "SGD", f"momentum must be in [0, 1), got {momentum}")
        require(
            momentum > 0 or not nesterov, OptionError, "SGD", "nesterov needs a momentum above 0"
        )
        self.momentum = float(momentum)
        self.nesterov = nesterov
        self.states = ("velocity",) if momentum else ()

    def rule(self, w: Node, g: Node, state: list[Node], lr: float, decay: float) -> list[Node]:
        """The new parameter and velocity."""
        if decay:
            g = g + w * decay
        if not self.momentum:
            return [w - g * lr]
        v = state[0] * self.momentum - g * lr
        return [w + v * self.momentum - g * lr if self.nesterov else w + v, v]


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1); `weight_decay` is added to the gradient.

    Parameters
    ----------
    params : iterable of Parameter or array, or a mapping to them
    lr : float, default 0.001
    beta1, beta2 : float, default 0.9, 0.999
        Decay of the mean and of the square mean of the gradient, in [0, 1).
    epsilon : float, default 1e-8
    weight_decay : float, default 0
    clip_gradient : float, optional
    lr_scheduler : callable, optional
        The last two as for `Optimizer`.
    """

    states = ("mean", "square")

    def __init__(
        self,
        params: Any,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        clip_gradient: float | None = None,
        lr_scheduler: Any = None,
    ) -> None:
        super().__init__(params, lr, weight_decay, clip_gradient, lr_scheduler)
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            require(
                0 <= beta < 1,
                OptionError,
                type(self).__name__,
                f"{name} must be in [0, 1), got {beta}",
            )
        require_number(type(self).__name__, "epsilon", epsilon, 0.0)
        self.beta1, self.beta2, self.epsilon = float(beta1), float(beta2), float(epsilon)

    def rule(self, w: Node, g: Node, state: list[Node], lr: float, decay: float) -> list[Node]:
        """The new parameter, mean and square mean."""
        if decay:
            g = g + w * decay
        return self.moved(w, g, state, lr)

    def moved(self, w: Node, g: Node, state: list[Node], lr: float) -> list[Node]:
        """One step of Adam; the corrections of both biases are numbers."""
        mean = state[0] * self.beta1 + g * (1.0 - self.beta1)
        square = state[1] * self.beta2 + g * g * (1.0 - self.beta2)
        rate = lr / (1.0 - self.beta1**self.number)
        spread = 1.0 / applied(math.sqrt, 1.0 - self.beta2**self.number)
        return [w - mean * rate / (registry["sqrt"](square) * spread + self.epsilon), mean, square]


class AdamW(Adam):
    """Adam whose weight decay acts on the parameter (Loshchilov and Hutter 2019, algorithm 2)."""

    def rule(self, w: Node, g: Node, state: list[Node], lr: float, decay: float) -> list[Node]:
        """The new parameter, mean and square mean."""
        if decay:
            w = w * (1.0 - lr * decay)
        return self.moved(w, g, state, lr)
