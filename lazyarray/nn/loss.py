"""Losses: one number for each element of the batch, to be summed or averaged by the caller."""

from __future__ import annotations

from typing import Any

from lazyarray._handle import from_node, to_node
from lazyarray._ir import Node, cast
from lazyarray.array import Array, asarray
from lazyarray.errors import DTypeError, ShapeError, require
from lazyarray.ops.activation import softplus
from lazyarray.ops.elementary import log
from lazyarray.ops.elementwise import absolute, maximum, negative, square, where
from lazyarray.ops.indexing import take_along_axis
from lazyarray.ops.nn import softmax_cross_entropy
from lazyarray.ops.reduction import sum
from lazyarray.ops.shaping import expand_dims, reshape
from lazyarray.ops.statistics import log_softmax, mean

from .layers import input_node
from .module import Module


class Loss(Module):
    """What losses share: weights, and the mean over all axes but the batch's.

    Parameters
    ----------
    weight : float, default 1
        A factor of the loss.
    batch_axis : int, default 0
    """

    def __init__(self, weight: float = 1.0, batch_axis: int = 0) -> None:
        self.weight = float(weight)
        self.batch_axis = batch_axis

    def measure(self, prediction: Node, target: Node) -> Node:
        """The loss of each element."""
        raise NotImplementedError(f"{type(self).__name__} does not define measure")

    def forward(self, prediction: Array, label: Any, sample_weight: Any = None) -> Array:
        """Compute the losses, shape (batch,).

        Parameters
        ----------
        prediction : array
        label : array_like
        sample_weight : array_like, optional
            Factors that broadcast to the elements' losses.
        """
        node = input_node(self, prediction)
        loss = self.measure(node, to_node(asarray(label)))
        if sample_weight is not None:
            loss = loss * to_node(asarray(sample_weight, loss.dtype))
        if self.weight != 1.0:
            loss = loss * self.weight
        if loss.ndim < 2:
            return from_node(loss, False)
        axis = self.batch_axis % loss.ndim
        return from_node(mean(loss, axis=tuple(i for i in range(loss.ndim) if i != axis)), False)

    def fitted(self, prediction: Node, target: Node) -> Node:
        """The target in the prediction's dtype and shape; axes of extent 1 may differ."""
        kept = [tuple(n for n in node.shape if n != 1) for node in (prediction, target)]
        require(
            kept[0] == kept[1],
            ShapeError,
            type(self).__name__,
            f"the prediction is {prediction.shape}, the label {target.shape}",
            "They have one element for each other.",
        )
        return reshape(cast(target, prediction.dtype), prediction.shape)


class SoftmaxCrossEntropyLoss(Loss):
    """The negative logarithm of the softmax at the labels.

    Parameters
    ----------
    axis : int, default -1
        That of the classes.
    sparse_label : bool, default True
        Labels are class numbers, shape (batch, ...), integer; otherwise probabilities of the
        prediction's shape.
    from_logits : bool, default False
        The prediction is the logarithm of the softmax already.
    weight, batch_axis
        As for `Loss`.
    """

    def __init__(
        self,
        axis: int = -1,
        sparse_label: bool = True,
        from_logits: bool = False,
        weight: float = 1.0,
        batch_axis: int = 0,
    ) -> None:
        super().__init__(weight, batch_axis)
        self.axis = axis
        self.sparse_label = sparse_label
        self.from_logits = from_logits

    def measure(self, prediction: Node, target: Node) -> Node:
        """The loss of each item."""
        if not self.sparse_label:
            logs = prediction if self.from_logits else log_softmax(prediction, axis=self.axis)
            return negative(sum(logs * self.fitted(prediction, target), axis=self.axis))
        if not self.from_logits:
            return softmax_cross_entropy(prediction, target, axis=self.axis)
        require(
            target.dtype.kind in "iu",
            DTypeError,
            "SoftmaxCrossEntropyLoss",
            f"labels must be integers, got {target.dtype}",
        )
        return negative(
            reshape(
                take_along_axis(prediction, expand_dims(target, self.axis), self.axis), target.shape
            )
        )


SoftmaxCELoss = SoftmaxCrossEntropyLoss


class L2Loss(Loss):
    """``weight / 2 * (prediction - label)**2``, averaged over all axes but the batch's."""

    def measure(self, prediction: Node, target: Node) -> Node:
        """The loss of each element."""
        return square(prediction - self.fitted(prediction, target)) * 0.5


class L1Loss(Loss):
    """``weight * abs(prediction - label)``, averaged over all axes but the batch's."""

    def measure(self, prediction: Node, target: Node) -> Node:
        """The loss of each element."""
        return absolute(prediction - self.fitted(prediction, target))


class HuberLoss(Loss):
    """Quadratic below `rho`, linear above (Huber 1964), averaged over all axes but the batch's."""

    def __init__(self, rho: float = 1.0, weight: float = 1.0, batch_axis: int = 0) -> None:
        super().__init__(weight, batch_axis)
        self.rho = float(rho)

    def measure(self, prediction: Node, target: Node) -> Node:
        """The loss of each element."""
        far = absolute(prediction - self.fitted(prediction, target))
        return where(far > self.rho, far - 0.5 * self.rho, square(far) * (0.5 / self.rho))


class SigmoidBinaryCrossEntropyLoss(Loss):
    """The cross-entropy of yes-or-no labels, averaged over all axes but the batch's.

    Parameters
    ----------
    from_sigmoid : bool, default False
        The prediction is a probability already, not a number before the sigmoid.
    weight, batch_axis
        As for `Loss`.
    """

    def __init__(
        self, from_sigmoid: bool = False, weight: float = 1.0, batch_axis: int = 0
    ) -> None:
        super().__init__(weight, batch_axis)
        self.from_sigmoid = from_sigmoid

    def measure(self, prediction: Node, target: Node) -> Node:
        """The loss of each element."""
        label = self.fitted(prediction, target)
        if self.from_sigmoid:
            tiny = 1e-12
            return negative(
                log(prediction + tiny) * label + log(1.0 - prediction + tiny) * (1.0 - label)
            )
        # max(x, 0) - x*label + log(1 + exp(-|x|)): nothing overflows.
        return (
            maximum(prediction, 0.0) - prediction * label + softplus(negative(absolute(prediction)))
        )


SigmoidBCELoss = SigmoidBinaryCrossEntropyLoss
