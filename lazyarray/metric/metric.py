"""What a metric is: a sum over batches, divided by a count when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lazyarray.errors import DTypeError, ShapeError, fail, require


class Metric:
    """The mean of something over all items seen since `reset`.

    A subclass defines `measure`. `update` keeps what that returns as it is: lazy arrays stay lazy,
    and `get` is the one place that waits.

    Parameters
    ----------
    name : str
        What `get` calls the value.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset()

    def reset(self) -> None:
        """Forget everything seen."""
        self._sum: Any = 0
        self._count = 0

    def update(self, labels: Any, preds: Any) -> None:
        """Add a batch.

        Parameters
        ----------
        labels : array_like, or list of arrays
            What is right.
        preds : array_like, or list of as many arrays
            What was predicted.

        Raises
        ------
        ShapeError
            When the lists have different lengths, or a pair does not fit.
        """
        for label, pred in _pairs(self.name, labels, preds):
            total, count = self.measure(label, pred)
            self._sum = self._sum + total
            self._count += count

    def measure(self, label: Any, pred: Any) -> tuple[Any, int]:
        """Return a batch's sum, a 0-d array that may be lazy, and its number of items."""
        raise NotImplementedError(f"{type(self).__name__} does not define measure")

    def get(self) -> tuple[str, float]:
        """Return the name and the mean, nan before the first update. Waits for lazy arrays."""
        if self._count == 0:
            return self.name, float("nan")
        self._sum = self._sum if isinstance(self._sum, int) else self._sum.item()
        return self.name, self._sum / self._count

    def get_name_value(self) -> list[tuple[str, float]]:
        """Return what `get` does, as a list of pairs."""
        return [self.get()]


class CompositeMetric:
    """Several metrics updated together.

    Parameters
    ----------
    metrics : iterable of Metric
        Kept in this order.
    """

    def __init__(self, metrics: Iterable[Metric | CompositeMetric]) -> None:
        self.metrics = list(metrics)
        for metric in self.metrics:
            if not isinstance(metric, (Metric, CompositeMetric)):
                kind = type(metric).__name__
                fail(DTypeError, "CompositeMetric", f"expected metrics, got a {kind}.")

    def reset(self) -> None:
        """Reset every metric."""
        for metric in self.metrics:
            metric.reset()

    def update(self, labels: Any, preds: Any) -> None:
        """Add a batch to every metric."""
        for metric in self.metrics:
            metric.update(labels, preds)

    def get(self) -> tuple[list[str], list[float]]:
        """Return the names and the values."""
        pairs = self.get_name_value()
        return [name for name, _ in pairs], [value for _, value in pairs]

    def get_name_value(self) -> list[tuple[str, float]]:
        """Return a (name, value) pair for each metric."""
        return [pair for metric in self.metrics for pair in metric.get_name_value()]


def _pairs(name: str, labels: Any, preds: Any) -> Iterable[tuple[Any, Any]]:
    """Match the arrays of two lists, or two arrays."""
    if not (_is_list_of_arrays(labels) and _is_list_of_arrays(preds)):
        return [(_as_array(labels), _as_array(preds))]
    require(
        len(labels) == len(preds),
        ShapeError,
        name,
        f"{len(labels)} arrays of labels for {len(preds)} of predictions.",
    )
    return zip(labels, preds, strict=True)


def _is_list_of_arrays(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(getattr(v, "ndim", 0) > 0 for v in value)


def _as_array(value: Any) -> Any:
    # Lazy arrays pass: looking at them would wait.
    return value if hasattr(value, "shape") else np.asarray(value)
