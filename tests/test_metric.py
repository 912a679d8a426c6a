"""Metrics, against direct computation; lazy arrays stay lazy until `get`."""

import math

import numpy as np
import pytest

from lazyarray.errors import DTypeError, OptionError, ShapeError
from lazyarray.metric import Accuracy, CompositeMetric, Loss, Metric, TopKAccuracy

RNG = np.random.default_rng(0)
BATCHES = [
    (RNG.integers(0, 7, n), RNG.integers(0, 4, (n, 7)).astype(np.float32)) for n in (5, 1, 0, 8)
]


class Lazy:
    """Records like a lazy array: anything that looks at values outside `item` fails."""

    def __init__(self, value):
        self._value = value
        self.shape, self.ndim, self.size = value.shape, value.ndim, value.size
        self.looked = 0

    def _unwrapped(self, other):
        return other._value if isinstance(other, Lazy) else other

    def __array__(self, *args, **kwargs):
        raise AssertionError("looked at")

    __bool__ = __float__ = __int__ = __array__
    __array_ufunc__ = None

    def __getitem__(self, key):
        return Lazy(np.asarray(self._value[key]))

    def __eq__(self, other):
        return Lazy(np.asarray(self._value == self._unwrapped(other)))

    def __add__(self, other):
        return Lazy(np.asarray(self._value + self._unwrapped(other)))

    __radd__ = __add__

    def argmax(self, axis):
        return Lazy(np.asarray(self._value.argmax(axis)))

    def argsort(self, axis, kind):
        return Lazy(self._value.argsort(axis, kind=kind))

    def sum(self):
        return Lazy(np.asarray(self._value.sum()))

    def detach(self):
        return self

    def item(self):
        return self._value.item()


def expected_top(k):
    """The share of labels among the k best, by counting who ranks higher."""
    hits = 0
    for labels, scores in BATCHES:
        for label, row in zip(labels, scores, strict=True):
            higher = (row > row[label]).sum() + (row[label + 1 :] == row[label]).sum()
            hits += higher < k
    return hits / sum(len(labels) for labels, _ in BATCHES)


@pytest.mark.parametrize("wrap", [np.asarray, Lazy, np.ndarray.tolist])
@pytest.mark.parametrize("k", [1, 2, 5, 7, 9])
def test_top_k(wrap, k):
    metric = TopKAccuracy(k)
    for labels, scores in BATCHES:
        if wrap is np.ndarray.tolist and not len(labels):
            continue  # an empty list of rows has lost its number of classes
        metric.update(wrap(labels), wrap(scores))
    assert metric.get() == (f"top_k_accuracy_{k}", expected_top(k))


@pytest.mark.parametrize("wrap", [np.asarray, Lazy])
def test_accuracy(wrap):
    by_scores, by_classes, by_lists = Accuracy(), Accuracy(name="mine"), Accuracy()
    hits = sum((scores.argmax(-1) == labels).sum() for labels, scores in BATCHES)
    for labels, scores in BATCHES:
        by_scores.update(wrap(labels), wrap(scores))
        by_classes.update(wrap(labels), wrap(scores.argmax(-1)))
    by_lists.update([wrap(lb) for lb, _ in BATCHES], [wrap(s) for _, s in BATCHES])
    assert by_scores.get() == by_lists.get() == ("accuracy", hits / 14)
    assert by_classes.get() == ("mine", hits / 14)
    by_scores.update(wrap(BATCHES[0][0]), wrap(BATCHES[0][1]))
    more = (BATCHES[0][1].argmax(-1) == BATCHES[0][0]).sum()
    assert by_scores.get_name_value() == [("accuracy", (hits + more) / 19)]


def test_accuracy_of_images():
    labels = RNG.integers(0, 3, (2, 4, 4))
    scores = RNG.random((2, 3, 4, 4))
    metric = Accuracy(axis=1)
    metric.update(labels, scores)
    assert metric.get()[1] == (scores.argmax(1) == labels).mean()


@pytest.mark.parametrize("wrap", [np.asarray, Lazy])
def test_loss(wrap):
    metric = Loss()
    metric.update(None, wrap(np.array([1.0, 2.5], np.float32)))
    metric.update(None, wrap(np.array(4.0, np.float32)))
    assert metric.get() == ("loss", 2.5)
    metric.reset()
    assert math.isnan(metric.get()[1])


def test_composite():
    both = CompositeMetric([Accuracy(), CompositeMetric([TopKAccuracy(2)])])
    for labels, scores in BATCHES:
        both.update(labels, scores)
    names, values = both.get()
    assert names == ["accuracy", "top_k_accuracy_2"]
    assert values[1] == expected_top(2) and values[0] < values[1]
    assert both.get_name_value() == list(zip(names, values, strict=True))
    both.reset()
    assert all(math.isnan(value) for value in both.get()[1])
    with pytest.raises(DTypeError, match="expected metrics, got a str"):
        CompositeMetric(["accuracy"])


def test_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"accuracy: labels are \(3,\), predictions are \(2, 4\)"):
        Accuracy().update(np.zeros(3), np.zeros((2, 4)))
    with pytest.raises(ShapeError, match=r"labels are \(3,\), predictions are \(3, 4, 5\)"):
        Accuracy().update(np.zeros(3), np.zeros((3, 4, 5)))
    with pytest.raises(ShapeError, match=r"scores are \(3,\), expected one more axis"):
        TopKAccuracy(2).update(np.zeros(3), np.zeros(3))
    with pytest.raises(ShapeError, match=r"labels are \(3,\), predictions are \(2, 4\)"):
        TopKAccuracy(2).update(np.zeros(3), np.zeros((2, 4)))
    with pytest.raises(ShapeError, match="1 arrays of labels for 2 of predictions"):
        Accuracy().update([np.zeros(3)], [np.zeros(3), np.zeros(3)])
    for k in (0, -1, 1.5, None):
        with pytest.raises(OptionError, match="k is"):
            TopKAccuracy(k)
    with pytest.raises(NotImplementedError, match="Metric does not define measure"):
        Metric("mine").update(np.zeros(1), np.zeros(1))
