"""The UCI handwritten digits, bundled with the package."""

from __future__ import annotations

import importlib.resources

import numpy as np

from lazyarray.data.dataset import ArrayDataset
from lazyarray.errors import OptionError, require

_SIDE = 8  # pixels of an original image
_FULL = 16  # dots in a pixel's 4 x 4 block of the scan


class Digits(ArrayDataset):
    """The 1797 test digits of the UCI set, 8 x 8 pixels, always there and small.

    The split is fixed: of each digit's images every fifth is for testing, so 1442 are for
    training and 355 for testing.

    Parameters
    ----------
    train : bool, default True
        The training images or the test images.
    size : {8, 28}, default 8
        Pixels a side; 28, as MNIST has, is enlarged by bilinear interpolation.

    Attributes
    ----------
    images : numpy.ndarray, shape (n, size, size, 1), float32
        Brightness, 0 (paper) to 1 (ink).
    labels : numpy.ndarray, shape (n,), int64
        The digit, 0 to 9.

    Raises
    ------
    OptionError
        When `size` is neither 8 nor 28.

    Notes
    -----
    E. Alpaydin, C. Kaynak (1998): Optical Recognition of Handwritten Digits. UCI Machine Learning
    Repository, https://doi.org/10.24432/C50P49, licence CC BY 4.0
    (https://creativecommons.org/licenses/by/4.0/). This is the set's testing half, stored as
    uint8 in NumPy's format, otherwise unchanged.

    Examples
    --------
    >>> digits = Digits(train=False, size=28)
    >>> digits.images.shape
    (355, 28, 28, 1)
    """

    def __init__(self, train: bool = True, size: int = 8) -> None:
        require(
            size in (8, 28),
            OptionError,
            "Digits",
            f"size is {size!r}, expected 8 or 28.",
        )
        file = importlib.resources.files("lazyarray.data") / "digits.npz"
        with file.open("rb") as handle, np.load(handle) as stored:
            pixels, labels = stored["images"], stored["labels"].astype(np.int64)
        keep = _testing(labels) != train
        images = np.divide(pixels[keep], np.float32(_FULL), dtype=np.float32)
        super().__init__(_enlarge(images, size)[..., None], labels[keep])

    @property
    def images(self) -> np.ndarray:
        """All images, shape (n, size, size, 1), float32 in [0, 1]."""
        return self.arrays[0]

    @property
    def labels(self) -> np.ndarray:
        """All labels, shape (n,), int64."""
        return self.arrays[1]


def _testing(labels: np.ndarray) -> np.ndarray:
    """Mark every fifth image of each digit, shape (n,), bool."""
    mask = np.zeros(labels.shape, bool)
    for digit in range(10):
        mask[np.flatnonzero(labels == digit)[4::5]] = True
    return mask


def _enlarge(images: np.ndarray, size: int) -> np.ndarray:
    """Interpolate (n, 8, 8) to (n, size, size); pixels are areas, the border repeats."""
    if size == _SIDE:
        return images
    at = (np.arange(size, dtype=np.float32) + 0.5) * (_SIDE / size) - 0.5
    low = np.floor(at).astype(np.intp)
    part = (at - low).astype(np.float32)
    near, far = np.clip(low, 0, _SIDE - 1), np.clip(low + 1, 0, _SIDE - 1)
    rows = images[:, near] * (1 - part)[:, None] + images[:, far] * part[:, None]
    return rows[:, :, near] * (1 - part) + rows[:, :, far] * part
