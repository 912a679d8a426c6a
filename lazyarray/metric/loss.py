"""The mean of a loss."""

from __future__ import annotations

from typing import Any

from lazyarray.metric.metric import Metric


class Loss(Metric):
    """The mean of losses that were computed already.

    `update` takes the losses as `preds`, of any shape, and does not look at `labels`. Lazy losses
    are added in their own dtype, and the sum keeps no tape alive.

    Parameters
    ----------
    name : str, default "loss"
        What `get` calls the value.

    Examples
    --------
    >>> metric = Loss()
    >>> metric.update(None, [1.0, 2.0])
    >>> metric.update(None, [6.0])
    >>> metric.get()
    ('loss', 3.0)
    """

    def __init__(self, name: str = "loss") -> None:
        super().__init__(name)

    def measure(self, label: Any, pred: Any) -> tuple[Any, int]:
        """Return the sum and the number of losses."""
        losses = pred.detach() if hasattr(pred, "detach") else pred
        return losses.sum(), losses.size
