"""What NumPy keeps in `numpy.lib`: views by strides, functions with complex results, and more."""

from typing import Any

import numpy as np
from numpy.lib import NumpyVersion, add_docstring, array_utils, format, introspect, mixins, npyio

from . import scimath, stride_tricks

Arrayterator: Any = np.lib.Arrayterator

__all__ = [
    "Arrayterator",
    "NumpyVersion",
    "add_docstring",
    "array_utils",
    "format",
    "introspect",
    "mixins",
    "npyio",
    "scimath",
    "stride_tricks",
]
