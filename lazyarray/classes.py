"""NumPy's classes that call functions of a user, or hold a polynomial."""

from __future__ import annotations

from typing import Any

import numpy as np

from .composed import polyval
from .hosted import mapped, observe, viewed

__all__ = ["poly1d", "vectorize"]


class vectorize(np.vectorize):
    """A function of numbers as one of arrays, called for each element; as `numpy.vectorize`.

    It reads its arguments at once.
    """

    runs = "waits"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function for each element."""
        if self.pyfunc is np._NoValue:  # a decorator with options
            return super().__call__(*args, **options)

        def vectorized(*args: Any, **options: Any) -> Any:
            return np.vectorize.__call__(self, *args, **options)

        return observe(vectorized, args, options)


class poly1d(np.poly1d):
    """A polynomial of one variable; as `numpy.poly1d`, with values that are recorded."""

    def __init__(self, c_or_r: Any, r: bool = False, variable: str | None = None) -> None:
        super().__init__(mapped(c_or_r, viewed), r, variable)

    def __call__(self, val: Any) -> Any:
        """Return the values at `val`."""
        return super().__call__(val) if isinstance(val, np.poly1d) else polyval(self.coeffs, val)
