"""lazyarray: NumPy that does not wait.

Operations are recorded, not run. When a value is needed, the recorded graph is planned and handed to a dependency engine,
which runs it on worker threads while Python goes on.
"""

from numpy import e, euler_gamma, inf, nan, newaxis, pi

from lazyarray import autograd, data, metric, nn, optim, random
from lazyarray._engine import set_engine, set_workers
from lazyarray.array import Array, array, asarray, time, wait_all
from lazyarray.array import evaluate as eval
from lazyarray.autograd import functional_grad as grad
from lazyarray.autograd import value_and_grad, vjp
from lazyarray.device import Device, cpu, devices, gpu
from lazyarray.lift import LIFTED
from lazyarray.runtime import stats

globals().update(LIFTED)

from lazyarray.functions import *  # noqa: E402, F403
from lazyarray.observers import (  # noqa: E402
    allclose,
    argwhere,
    array_equal,
    bincount,
    flatnonzero,
    nonzero,
    searchsorted,
    unique,
)
