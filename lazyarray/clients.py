"""Packages that must be told of lazyarray's arrays: each is, once it is imported.

einops looks for subclasses of its backends, Dask in a register of the types its chunks may have.
Others recognise arrays by NumPy's protocols and the array API standard.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

from .array import Array, asarray


def tell_einops(backends: Any) -> None:
    """Make einops a backend: NumPy's, with lazyarray's functions."""

    class LazyarrayBackend(backends.NumpyBackend):
        framework_name = "lazyarray"

        def __init__(self) -> None:
            self.np = sys.modules["lazyarray"]

        def is_appropriate_type(self, tensor: Any) -> bool:
            return isinstance(tensor, Array)

        def from_numpy(self, x: np.ndarray) -> Array:
            return asarray(x)

        def to_numpy(self, x: Array) -> np.ndarray:
            return np.asarray(x)

    backends.LazyarrayBackend = LazyarrayBackend  # subclasses are only known while they live


def tell_dask(dask_array: Any) -> None:
    """Let Dask's arrays be made of ours, so that operators on both give one of Dask's."""
    dask_array.register_chunk_type(Array)
    percentile = sys.modules["dask.array.dispatch"].percentile_lookup
    percentile.register(Array, percentile.dispatch(np.ndarray))


# By the module that has to be there.
TELL: dict[str, Callable[[Any], None]] = {
    "dask.array": tell_dask,
    "einops._backends": tell_einops,
}


def tell(module: ModuleType) -> None:
    """Tell one; a version that has no ear for it does as well without."""
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        TELL[module.__name__](module)


class Finder(MetaPathFinder):
    """Finds nothing itself: it has `tell` run after the import of the modules above."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find, with a loader that does more."""
        if fullname not in TELL:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                break
        else:
            return None
        load = getattr(spec.loader, "exec_module", None)
        if load is not None:

            def exec_module(module: ModuleType) -> None:
                load(module)
                tell(module)

            spec.loader.exec_module = exec_module  # type: ignore[union-attr, method-assign]
        return spec


def watch() -> None:
    """Tell those that are imported, and from now on each that will be."""
    for name in TELL:
        if name in sys.modules:
            tell(sys.modules[name])
    if not any(type(finder) is Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


watch()
