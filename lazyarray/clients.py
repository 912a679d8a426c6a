"""Packages that must be told of lazyarray's arrays: each is, once it is imported.

einops looks for subclasses of its backends, Dask in a register of the types its chunks may have,
Numba for the type of an argument and a way to its memory.
Others recognise arrays by NumPy's protocols and the array API standard.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

from lazyarray._handle import shadow

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


def tell_numba(numba: Any) -> None:
    """Let compiled functions take arrays as NumPy's, on their memory, and scalars as numbers."""
    types = importlib.import_module("numba.core.types")
    models = importlib.import_module("numba.core.datamodel.models")
    boxing = importlib.import_module("numba.core.boxing")
    extending = importlib.import_module("numba.extending")

    class LazyarrayType(types.Array):  # type: ignore[name-defined]
        """As the type of the array that `np.asarray` gives, which all that follows sees."""

        def __init__(self, numpys: Any) -> None:
            super().__init__(
                numpys.dtype,
                numpys.ndim,
                numpys.layout,
                readonly=not numpys.mutable,
                name=f"lazyarray({numpys.name})",
                aligned=numpys.aligned,
            )
            self.numpys = numpys

        def copy(self, *args: Any, **options: Any) -> Any:
            return self.numpys.copy(*args, **options)

        def can_convert_to(self, typing: Any, other: Any) -> Any:
            return self.numpys.can_convert_to(typing, other)

    extending.register_model(LazyarrayType)(models.ArrayModel)

    @extending.typeof_impl.register(Array)
    def type_of(value: Array, context: Any) -> Any:
        value.wait()  # what its computation raised is raised here
        if value.is_scalar and value.dtype.kind != "c":
            return numba.from_dtype(value.dtype)
        return LazyarrayType(numba.typeof(shadow(value)))

    @extending.unbox(LazyarrayType)
    def unbox(kind: Any, value: Any, c: Any) -> Any:
        convert = c.pyapi.unserialize(c.pyapi.serialize_object(np.asarray))
        memory = c.pyapi.call_function_objargs(convert, (value,))
        none = c.builder.icmp_unsigned("==", memory, c.pyapi.get_null_object())
        native = boxing.unbox_array(kind.numpys, c.builder.select(none, value, memory), c)
        c.pyapi.decref(memory)
        c.pyapi.decref(convert)
        return native


# By the module that has to be there.
TELL: dict[str, Callable[[Any], None]] = {
    "dask.array": tell_dask,
    "einops._backends": tell_einops,
    "numba": tell_numba,
}


def tell(module: ModuleType) -> None:
    """Tell one; a version that has no ear for it does as well without."""
    with contextlib.suppress(AttributeError, ImportError, KeyError, TypeError):
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
