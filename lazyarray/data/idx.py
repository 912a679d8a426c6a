"""The IDX format of the MNIST files: a header with a type and a shape, then the elements."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from lazyarray.errors import DataError, FileError, fail

# Third byte of the magic number -> element type, big-endian.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 64  # NumPy's limit
_GZIP = b"\x1f\x8b"

REMEDY = "Delete the file and get it again; an interrupted download leaves such files."


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file.

    Parameters
    ----------
    path : path-like
        The file, plain or compressed with gzip (told by its content, not by its name).

    Returns
    -------
    numpy.ndarray
        Shape and dtype as the header says, native byte order, read-only.

    Raises
    ------
    FileError
        When the file is missing or cannot be read.
    DataError
        When it is truncated, is not an IDX file, or holds more than its header says.

    Notes
    -----
    The magic number is ``00 00 type ndim``; `ndim` extents follow as big-endian uint32
    (LeCun, Cortes, Burges: The MNIST database of handwritten digits).
    """
    return decode_idx(read_plain(path), path)


def read_plain(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file, uncompressed if it is gzip."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        fail(FileError, "read_idx", f"cannot read {os.fspath(path)}: {error.strerror}.")
    if not raw.startswith(_GZIP):
        return raw
    try:
        return gzip.decompress(raw)
    except EOFError:
        fail(DataError, "read_idx", f"{os.fspath(path)} is a truncated gzip file.", REMEDY)
    except (gzip.BadGzipFile, zlib.error) as error:
        fail(DataError, "read_idx", f"{os.fspath(path)} is damaged: {error}.", REMEDY)


def decode_idx(data: bytes, path: str | os.PathLike[str]) -> np.ndarray:
    """Make the array of an IDX file's uncompressed bytes; `path` is for the errors."""
    name = os.fspath(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or data[3] > _MOST_DIMENSIONS:
        types = ", ".join(f"{t:02x}" for t in _TYPES)
        fail(
            DataError,
            "read_idx",
            f"{name} is no IDX file: it starts with {data[:4].hex(' ') or 'nothing'}, "
            f"expected 00 00, a type ({types}) and the number of dimensions.",
            REMEDY,
        )
    dtype, ndim = np.dtype(_TYPES[data[2]]), data[3]
    start = 4 + 4 * ndim
    if len(data) < start:
        fail(DataError, "read_idx", f"{name} ends inside its header.", REMEDY)
    shape = struct.unpack(f">{ndim}I", data[4:start])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        fail(
            DataError,
            "read_idx",
            f"{name} has {len(data)} bytes uncompressed, expected {expected} for shape {shape}.",
            REMEDY,
        )
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    native = array.astype(dtype.newbyteorder("="), copy=False)
    native.flags.writeable = False
    return native
