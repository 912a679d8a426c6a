"""Measures of how well predictions fit, summed over batches."""

from lazyarray.metric.accuracy import Accuracy, TopKAccuracy
from lazyarray.metric.loss import Loss
from lazyarray.metric.metric import CompositeMetric, Metric

__all__ = ["Accuracy", "CompositeMetric", "Loss", "Metric", "TopKAccuracy"]
