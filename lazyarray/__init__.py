"""lazyarray: NumPy that does not wait.

Operations are recorded, not run. When a value is needed, the recorded graph is planned and handed
to a dependency engine, which runs it on worker threads while Python goes on.
"""

import typing as _typing

import numpy as _np
from numpy import (
    bool_,
    can_cast,
    complex64,
    complex128,
    dtype,
    e,
    euler_gamma,
    finfo,
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
    result_type,
    uint8,
    uint16,
    uint32,
    uint64,
)

from lazyarray import (
    autograd,
    data,
    debug,
    functions,
    lift,
    memory,
    metric,
    nn,
    optim,
    random,
    symbol,
)
from lazyarray._engine import set_engine, set_workers
from lazyarray.array import Array, array, asarray, from_dlpack, time, wait_all
from lazyarray.array import evaluate as eval
from lazyarray.autograd import functional_grad as grad
from lazyarray.autograd import value_and_grad, vjp
from lazyarray.device import Device, cpu, devices, gpu
from lazyarray.explain import explain
from lazyarray.functions import *  # noqa: F403
from lazyarray.jit import jit
from lazyarray.observers import (
    allclose,
    argwhere,
    array_equal,
    bincount,
    flatnonzero,
    nonzero,
    searchsorted,
    unique,
)
from lazyarray.runtime import stats

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
    "bincount",
    "bool_",
    "can_cast",
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
    "finfo",
    "flatnonzero",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "gpu",
    "grad",
    "iinfo",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "jit",
    "memory",
    "metric",
    "nan",
    "newaxis",
    "nn",
    "nonzero",
    "optim",
    "pi",
    "promote_types",
    "random",
    "result_type",
    "searchsorted",
    "set_engine",
    "set_workers",
    "stats",
    "symbol",
    "time",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "unique",
    "value_and_grad",
    "vjp",
    "wait_all",
]

# Where an op and a function share a name, the function is the front end: it gives a view, or more.
_ops = {name: op for name, op in lift.LIFTED.items() if name not in functions.__all__}
globals().update(_ops)
__all__ += functions.__all__
__all__ += sorted(_ops)
__all__.sort()

if not _typing.TYPE_CHECKING:  # to a checker it would be any name there is

    def __getattr__(name: str) -> _typing.Any:
        if name.startswith("_") or name not in _np.__all__:
            raise AttributeError(f"module 'lazyarray' has no attribute {name!r}", name=name)
        theirs = getattr(_np, name)
        call = "(np.asarray(x), ...)" if callable(theirs) and not isinstance(theirs, type) else ""
        raise AttributeError(f"lazyarray has no {name} yet: use np.{name}{call}", name=name)
