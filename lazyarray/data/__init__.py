"""Datasets, and the loader that turns them into batches."""

from lazyarray.data.dataset import ArrayDataset, Dataset
from lazyarray.data.digits import Digits
from lazyarray.data.idx import read_idx
from lazyarray.data.loader import DataLoader
from lazyarray.data.mnist import MNIST

__all__ = ["MNIST", "ArrayDataset", "DataLoader", "Dataset", "Digits", "read_idx"]
