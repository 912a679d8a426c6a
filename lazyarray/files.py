"""Files and buffers: NumPy's readers and writers, with lazyarray's arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lazyarray import _handle
from lazyarray.dtypes import canonical

from .array import Array, asarray
from .hosted import wrapped

__all__ = ["frombuffer", "load", "memmap"]


class Archive(Mapping[str, Any]):
    """The arrays of an ``.npz`` file by name, each read when it is asked for; as `numpy.load`."""

    def __init__(self, source: Any) -> None:
        self.source = source

    @property
    def files(self) -> list[str]:
        """The arrays' names."""
        return list(self.source.files)

    def __getitem__(self, name: str) -> Any:
        return wrapped(self.source[name], "load")

    def __iter__(self) -> Iterator[str]:
        return iter(self.source.files)

    def __len__(self) -> int:
        return len(self.source.files)

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def load(file: Any, mmap_mode: Any = None, **options: Any) -> Any:
    """Return the array of an ``.npy`` file, or the arrays of an ``.npz`` file; as `numpy.load`.

    With `mmap_mode` the array lies in the file's memory.
    """
    found = np.load(file, mmap_mode, **options)
    if isinstance(found, np.lib.npyio.NpzFile):
        return Archive(found)
    if isinstance(found, np.memmap) and found.flags.c_contiguous:
        return _handle.alias_numpy(np.asarray(found))
    return wrapped(found, "load")


def memmap(filename: Any, dtype: Any = np.uint8, mode: Any = "r+", **options: Any) -> Array:
    """Return an array that lies in a file's memory; as `numpy.memmap`."""
    found = np.memmap(filename, canonical(dtype, "memmap"), mode, **options)
    return _handle.alias_numpy(np.asarray(found))


def frombuffer(
    buffer: Any, dtype: Any = float, count: int = -1, offset: int = 0, *, like: Any = None
) -> Array:
    """Return an array on a buffer's memory, a read-only copy where that is read-only.

    As `numpy.frombuffer`.
    """
    found = np.frombuffer(buffer, canonical(dtype, "frombuffer"), count, offset)
    if found.flags.writeable:
        return _handle.alias_numpy(found)
    copied = asarray(found)
    copied.setflags(write=False)
    return copied


setattr(load, "runs", "file")  # noqa: B010  (functions have no such attribute to a checker)
