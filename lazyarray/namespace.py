"""The Python array API standard: an array's namespace, and what it tells of itself."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from lazyarray.dtypes import BOOL, COMPLEXES, FLOATS, INTEGERS
from lazyarray.errors import OptionError, fail

from .array import Array
from .device import Device, as_device, current_device, devices

VERSION = "2024.12"
VERSIONS = ("2021.12", "2022.12", "2023.12", VERSION)
REAL, COMPLEX = FLOATS[1:], COMPLEXES  # float16 is none of the standard's
KINDS = {
    "bool": (BOOL,),
    "signed integer": INTEGERS[:4],
    "unsigned integer": INTEGERS[4:],
    "integral": INTEGERS,
    "real floating": REAL,
    "complex floating": COMPLEX,
    "numeric": (*INTEGERS, *REAL, *COMPLEX),
}


class ArrayNamespaceInfo:
    """What lazyarray can do, as ``__array_namespace_info__`` of the array API standard."""

    def capabilities(self) -> dict[str, Any]:
        """Return whether masks index, whether shapes may depend on values, and the most axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """Return where arrays are made unless a device is given."""
        return current_device()

    def devices(self) -> list[Device]:
        """Return the devices that there are, and the default one, if not counted."""
        return list(dict.fromkeys([*devices(), current_device()]))

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        """Return the dtypes that Python's numbers, and indices, become."""
        as_device(device)
        return {
            "real floating": np.dtype(np.float64),
            "complex floating": np.dtype(np.complex128),
            "integral": np.dtype(np.int64),
            "indexing": np.dtype(np.int64),
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        """Return the dtypes of one kind, of several or of all, by name."""
        as_device(device)
        kinds = KINDS if kind is None else kind if isinstance(kind, tuple) else (kind,)
        for each in kinds:
            if each not in KINDS:
                fail(OptionError, "dtypes", f"unsupported kind: {each!r}", f"Known: {[*KINDS]}.")
        return {dtype.name: dtype for each in kinds for dtype in KINDS[each]}


def array_namespace(self: Array, /, *, api_version: str | None = None) -> Any:
    """Return lazyarray, as the array API standard wants it.

    Raises
    ------
    ValueError
        For a version of the standard that lazyarray does not know.
    """
    if api_version not in (None, *VERSIONS):
        text = f"version {api_version!r} of the array API standard is not supported"
        fail(OptionError, "__array_namespace__", text, f"Ask for {VERSION}.")
    return sys.modules["lazyarray"]


Array.__array_namespace__ = array_namespace
