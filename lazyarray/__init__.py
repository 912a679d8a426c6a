"""lazyarray: NumPy that does not wait.

Operations are recorded, not run. When a value is needed, the recorded graph is planned and handed
to a dependency engine, which runs it on worker threads while Python goes on.
"""

import typing as _typing

import numpy as _np
from numpy import (
    bool_,
    complex64,
    complex128,
    dtype,
    e,
    euler_gamma,
    float16,
    float32,
    float64,
    iinfo,
    inf,
    int8,
    int16,
    int32,
    int64,
    nan,
    newaxis,
    pi,
    promote_types,
    uint8,
    uint16,
    uint32,
    uint64,
)

from lazyarray import (  # noqa: F401  (dispatch and methods give arrays their protocols)
    autograd,
    backends,
    catalog,
    classes,
    clients,
    composed,
    data,
    debug,
    dispatch,
    edges,
    elements,
    fft,
    files,
    functions,
    grids,
    iteration,
    lib,
    lift,
    linalg,
    memory,
    methods,
    metric,
    names,
    namespace,
    nn,
    optim,
    random,
    reductions,
    signatures,
    symbol,
    testing,
    writers,
)
from lazyarray._engine import set_engine, set_workers
from lazyarray.array import Array, array, asarray, from_dlpack
from lazyarray.array import Array as ndarray
from lazyarray.autograd import functional_grad as grad
from lazyarray.autograd import value_and_grad, vjp
from lazyarray.device import Device, cpu, devices, gpu, use
from lazyarray.dtypes import bfloat16, finfo
from lazyarray.explain import explain
from lazyarray.functions import *  # noqa: F403
from lazyarray.jit import jit
from lazyarray.kernel import kernel
from lazyarray.observers import (
    allclose,
    argwhere,
    array_equal,
    bincount,
    flatnonzero,
    histogram,
    nonzero,
    unique,
)
from lazyarray.runtime import stats
from lazyarray.ufunc import ufunc
from lazyarray.waiting import evaluate as eval
from lazyarray.waiting import time, wait_all

__version__ = "0.1.0"

__all__ = [
    "Array",
    "Device",
    "allclose",
    "argwhere",
    "array",
    "array_equal",
    "asarray",
    "autograd",
    "bfloat16",
    "bincount",
    "bool_",
    "complex64",
    "complex128",
    "cpu",
    "data",
    "debug",
    "devices",
    "dtype",
    "e",
    "euler_gamma",
    "eval",
    "explain",
    "fft",
    "finfo",
    "flatnonzero",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "gpu",
    "grad",
    "histogram",
    "iinfo",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "jit",
    "kernel",
    "lib",
    "linalg",
    "memory",
    "metric",
    "nan",
    "ndarray",
    "newaxis",
    "nn",
    "nonzero",
    "optim",
    "pi",
    "promote_types",
    "random",
    "set_engine",
    "set_workers",
    "stats",
    "symbol",
    "testing",
    "time",
    "ufunc",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "unique",
    "use",
    "value_and_grad",
    "vjp",
    "wait_all",
]

# Where an op and a function share a name, the function is the front end: it gives a view, or more.
_front = {*functions.__all__, *__all__}
_ops: dict[str, _typing.Any] = {name: op for name, op in lift.LIFTED.items() if name not in _front}
_ops |= lift.UFUNCS
# What NumPy has more than ops, made of them or of NumPy's functions.
_more = (
    catalog.CATALOG
    | names.NAMES
    | {
        name: getattr(module, name)
        for module in (
            classes,
            composed,
            edges,
            elements,
            files,
            grids,
            iteration,
            reductions,
            writers,
        )
        for name in module.__all__
    }
)
_ops |= {name: value for name, value in _more.items() if name not in __all__}
_ops["emath"] = lib.scimath
globals().update(_ops)
__all__ += functions.__all__
__all__ += sorted(_ops)
__all__.sort()
# With NumPy's parameters, where they have fewer.
_known = {name: value for name, value in globals().items() if name in __all__}
globals().update(signatures.complete(_known, lift.LIFTED, _np))
__array_api_version__ = namespace.VERSION
__array_namespace_info__ = namespace.ArrayNamespaceInfo

if not _typing.TYPE_CHECKING:  # to a checker it would be any name there is

    def __getattr__(name: str) -> _typing.Any:
        if name.startswith("_") or name not in _np.__all__:
            raise AttributeError(f"module 'lazyarray' has no attribute {name!r}", name=name)
        text = f"lazyarray has no {name}: keep such data in NumPy, np.{name}"
        raise AttributeError(text, name=name)
