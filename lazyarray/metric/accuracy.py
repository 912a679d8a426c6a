"""Metrics of classification."""

from __future__ import annotations

from typing import Any

from lazyarray.errors import OptionError, ShapeError, require
from lazyarray.metric.metric import Metric


class Accuracy(Metric):
    """The share of items whose class is predicted.

    `update` takes labels, shape (...), integer, and predictions, either classes of the same shape
    or scores with one more axis, of which the largest wins (the first of equals).

    Parameters
    ----------
    axis : int, default -1
        The axis of the scores that counts classes.
    name : str, default "accuracy"
        What `get` calls the value.

    Examples
    --------
    >>> metric = Accuracy()
    >>> metric.update([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> metric.get()
    ('accuracy', 0.6666666666666666)
    """

    def __init__(self, axis: int = -1, name: str = "accuracy") -> None:
        super().__init__(name)
        self.axis = axis

    def measure(self, label: Any, pred: Any) -> tuple[Any, int]:
        """Return the number of hits and of items."""
        classes = pred.argmax(axis=self.axis) if pred.ndim == label.ndim + 1 else pred
        _require_fit(self.name, label, classes, pred)
        return (classes == label).sum(), label.size


class TopKAccuracy(Metric):
    """The share of items whose class is among the `k` with the largest scores.

    `update` takes labels, shape (...), integer, and scores, shape (..., classes). Of equal scores
    the later class ranks higher.

    Parameters
    ----------
    k : int, default 5
        At least 1.
    name : str, optional
        What `get` calls the value; by default ``top_k_accuracy_`` and `k`.
    """

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        require(
            isinstance(k, int) and k >= 1,
            OptionError,
            "TopKAccuracy",
            f"k is {k!r}, expected an integer of at least 1.",
        )
        super().__init__(f"top_k_accuracy_{k}" if name is None else name)
        self.k = k

    def measure(self, label: Any, pred: Any) -> tuple[Any, int]:
        """Return the number of hits and of items."""
        require(
            pred.ndim == label.ndim + 1,
            ShapeError,
            self.name,
            f"labels are {label.shape}, scores are {pred.shape}, expected one more axis.",
        )
        best = pred.argsort(axis=-1, kind="stable")[..., -self.k :]
        _require_fit(self.name, label, best[..., 0], pred)
        return (best == label[..., None]).sum(), label.size


def _require_fit(name: str, label: Any, classes: Any, pred: Any) -> None:
    require(
        label.shape == classes.shape,
        ShapeError,
        name,
        f"labels are {label.shape}, predictions are {pred.shape}.",
        "Predictions are classes of the labels' shape, or scores with one more axis.",
    )
