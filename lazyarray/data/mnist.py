"""MNIST: found on disk or downloaded, and checked in any case."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from lazyarray.data.dataset import Sample
from lazyarray.data.idx import REMEDY, decode_idx, read_plain
from lazyarray.errors import DataError, FileError, fail, require

# MD5 of the uncompressed files.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
TIMEOUT = 10  # seconds without an answer, then the next mirror
_SUBFOLDERS = ("", "mnist", "MNIST/raw")


class MNIST:
    """The MNIST digits: 60,000 training and 10,000 test images of 28 x 28 pixels.

    The files are looked for in `root`, in the folder that the environment variable
    ``LAZYARRAY_DATA`` names (in each also in its subfolder ``mnist``), and in the cache
    (``$XDG_CACHE_HOME/lazyarray/mnist``, by default below ``~/.cache``). What is nowhere is
    downloaded into the cache. The bytes are compared with their known MD5 every time.

    Parameters
    ----------
    root : path-like, optional
        A folder to look in first.
    train : bool, default True
        The training images or the test images.

    Attributes
    ----------
    images : numpy.ndarray, shape (n, 28, 28, 1), float32
        Brightness, 0 (paper) to 1 (ink). Made when it is first asked for; a loader makes one
        batch at a time.
    labels : numpy.ndarray, shape (n,), int64
        The digit, 0 to 9.

    Raises
    ------
    FileError
        When `root` is no folder, or a file is nowhere and cannot be downloaded.
    DataError
        When a file is truncated, is no IDX file or has a wrong checksum.

    Notes
    -----
    LeCun, Bottou, Bengio, Haffner (1998): Gradient-based learning applied to document
    recognition.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, train: bool = True) -> None:
        split = "train" if train else "t10k"
        folders = _folders(root)
        self.pixels = _load(f"{split}-images-idx3-ubyte", folders)[..., None]
        self.labels = _load(f"{split}-labels-idx1-ubyte", folders).astype(np.int64)

    @functools.cached_property
    def images(self) -> np.ndarray:
        """All images, shape (n, 28, 28, 1), float32 in [0, 1]."""
        return _brightness(self.pixels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return _brightness(self.pixels[index]), self.labels[index]

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """Gather images, shape (len(indices), 28, 28, 1), and labels, shape (len(indices),)."""
        return _brightness(self.pixels[indices]), self.labels[indices]


def _brightness(pixels: np.ndarray) -> np.ndarray:
    return np.divide(pixels, np.float32(255), dtype=np.float32)


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "lazyarray" / "mnist"


def _folders(root: str | os.PathLike[str] | None) -> list[Path]:
    """Where to look, first to last; the last is the cache."""
    roots = [("root", root), ("LAZYARRAY_DATA", os.environ.get("LAZYARRAY_DATA") or None)]
    for name, folder in roots:
        require(
            folder is None or Path(folder).is_dir(),
            FileError,
            "MNIST",
            f"{name} is {folder}, which is no folder.",
            "Name the folder that holds the four files, plain or as .gz.",
        )
    given = [Path(folder) / sub for _, folder in roots if folder for sub in _SUBFOLDERS]
    return [*given, _cache()]


def _load(name: str, folders: list[Path]) -> np.ndarray:
    candidates = [folder / (name + end) for folder in folders for end in ("", ".gz")]
    path = next((p for p in candidates if p.is_file()), None)
    if path is None:
        path = _download(name, folders)
    data = read_plain(path)
    array = decode_idx(data, path)
    _verify(name, data, path)
    return array


def _verify(name: str, data: bytes, path: Path | str) -> None:
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    require(
        found == MD5[name],
        DataError,
        "MNIST",
        f"{path} has the checksum {found} uncompressed, expected {MD5[name]}.",
        f"{REMEDY} Other data in this format is read by la.data.read_idx.",
    )


def _download(name: str, looked: list[Path]) -> Path:
    """Fetch one file into the cache, from the first mirror that has it whole."""
    target = looked[-1] / f"{name}.gz"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=f"{name}.part")
    except OSError as error:
        fail(
            FileError,
            "MNIST",
            f"cannot write to the cache {target.parent}: {error.strerror}.",
            "Set XDG_CACHE_HOME to a folder that can be written, "
            "or LAZYARRAY_DATA to one that holds the files.",
        )
    problems = []
    with os.fdopen(handle, "wb") as file:
        try:
            for mirror in MIRRORS:
                try:
                    raw = _fetch(f"{mirror}{name}.gz")
                    file.seek(0)
                    file.truncate()
                    file.write(raw)
                    file.flush()
                    _verify(name, read_plain(part), f"{mirror}{name}.gz")
                    os.replace(part, target)
                    return target
                except (OSError, DataError) as error:
                    problems.append(f"{mirror}: {str(error).splitlines()[0]}")
        finally:
            Path(part).unlink(missing_ok=True)
    places = ", ".join(dict.fromkeys(str(p) for p in looked if p.is_dir()))
    fail(
        FileError,
        "MNIST",
        f"{name} is not in {places}, and could not be downloaded: {'; '.join(problems)}.",
        "Put the four files into a folder and set LAZYARRAY_DATA to it, "
        "or train on la.data.Digits, which is always there.",
    )


def _fetch(url: str) -> bytes:
    # Imported here: urllib.request costs as much as the rest of this package together.
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=TIMEOUT) as answer:
            return answer.read()
    except HTTPException as error:
        raise OSError(f"the answer broke off: {error!r}") from error
