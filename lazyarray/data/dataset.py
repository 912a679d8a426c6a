"""What a dataset is, and the one made of arrays in memory."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from lazyarray.errors import DTypeError, ShapeError, fail, require

Sample = tuple[Any, ...]


@runtime_checkable
class Dataset(Protocol):
    """Anything with a length whose items are tuples of arrays or numbers.

    Items ``0 .. len - 1`` have the same number of parts, of the same shapes and dtypes. A loader
    calls ``__getitem__`` from several threads at once. A dataset that can gather many items faster
    than one by one also has ``take(indices)``, which returns the tuple of stacked parts.
    """

    def __len__(self) -> int:
        """Count the items."""

    def __getitem__(self, index: int, /) -> Sample:
        """Return one item."""


class ArrayDataset:
    """The items of several arrays, side by side.

    Parameters
    ----------
    *arrays : array_like, shape (n, ...)
        At least one. Kept without a copy where they are NumPy arrays.

    Raises
    ------
    ShapeError
        When there is no array, one has no dimension, or the lengths differ.

    Examples
    --------
    >>> pairs = ArrayDataset([[1.0, 2.0], [3.0, 4.0]], [0, 1])
    >>> len(pairs)
    2
    >>> pairs[1]
    (array([3., 4.]), np.int64(1))
    """

    def __init__(self, *arrays: ArrayLike) -> None:
        self.arrays = tuple(np.asarray(a) for a in arrays)
        shapes = ", ".join(str(a.shape) for a in self.arrays)
        require(
            len(self.arrays) > 0 and all(a.ndim for a in self.arrays),
            ShapeError,
            "ArrayDataset",
            f"needs arrays with a first dimension, got {shapes or 'none'}.",
        )
        require(
            len({len(a) for a in self.arrays}) == 1,
            ShapeError,
            "ArrayDataset",
            f"the arrays have different lengths: {shapes}.",
            "Every array has one row for each item.",
        )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> Sample:
        return tuple(a[index] for a in self.arrays)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """Gather items: one array, shape (len(indices), ...), for each of `arrays`."""
        return tuple(a[indices] for a in self.arrays)


def stack(dataset: Dataset, indices: np.ndarray) -> tuple[np.ndarray, ...]:
    """Gather items one by one and stack their parts."""
    samples = [dataset[int(i)] for i in indices]
    for sample in samples:
        if not isinstance(sample, tuple):
            kind = type(sample).__name__
            fail(
                DTypeError,
                "DataLoader",
                f"{type(dataset).__name__}[i] is a {kind}, expected a tuple of arrays.",
                "Return (value,) where there is only one part.",
            )
    sizes = {len(sample) for sample in samples}
    if len(sizes) > 1:
        found = f"{type(dataset).__name__}[i] has {sorted(sizes)} parts"
        fail(ShapeError, "DataLoader", f"{found}, expected the same number for every i.")
    columns = zip(*samples, strict=True)
    return tuple(_stacked(dataset, part, column) for part, column in enumerate(columns))


def _stacked(dataset: Dataset, part: int, column: Sample) -> np.ndarray:
    arrays = [np.asarray(value) for value in column]
    shapes = sorted({a.shape for a in arrays})
    if len(shapes) > 1:
        found = f"part {part} of {type(dataset).__name__}[i] has shapes {shapes}"
        fail(
            ShapeError,
            "DataLoader",
            f"{found} in one batch, expected one shape.",
            "Crop or pad the items to one shape in the dataset.",
        )
    return np.stack(arrays)
