"""lazyarray: NumPy that does not wait.

Operations are recorded, not run. When a value is needed, the recorded graph is planned and handed
to a dependency engine, which runs it on worker threads while Python goes on.
"""

from numpy import e, euler_gamma, inf, nan, newaxis, pi

from lazyarray import autograd, data, functions, lift, metric, nn, optim, random
from lazyarray._engine import set_engine, set_workers
from lazyarray.array import Array, array, asarray, time, wait_all
from lazyarray.array import evaluate as eval
from lazyarray.autograd import functional_grad as grad
from lazyarray.autograd import value_and_grad, vjp
from lazyarray.device import Device, cpu, devices, gpu
from lazyarray.functions import *  # noqa: F403
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
    "cpu",
    "data",
    "devices",
    "e",
    "euler_gamma",
    "eval",
    "flatnonzero",
    "gpu",
    "grad",
    "inf",
    "metric",
    "nan",
    "newaxis",
    "nn",
    "nonzero",
    "optim",
    "pi",
    "random",
    "searchsorted",
    "set_engine",
    "set_workers",
    "stats",
    "time",
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
