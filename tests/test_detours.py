"""Which ops a GPU leaves to the CPU: the list in docs/devices.md is that of the sources."""

import types
import warnings

import ml_dtypes
import numpy as np
import pytest
import stand_in
from lazyarray._handle import from_node, to_node
from samples import SAMPLES
from test_every_op import NAMES, as_list, recorded

import lazyarray as la
from lazyarray import device
from lazyarray.backends import cuda, driver
from lazyarray.errors import DTypeError, FallbackWarning

ALWAYS = {
    "_padded", "_ufunc_at", "_ufunc_method", "all_nan_slice", "choose", "convolve", "correlate",
    "count_between", "digamma", "histogram", "histogram_bin_edges", "i0", "interp",
    "mean_of_nothing", "no_freedom", "no_freedom_left", "put_along", "run_flags", "sum_bins",
    "tally", "zeta",
}  # fmt: skip
OF = {
    "float32": ALWAYS | {"linalg.cond", "linalg.pinv"},
    "float16": ALWAYS | {"nextafter", "spacing"},
    "bfloat16": (ALWAYS | {"nextafter", "spacing"}) - {"histogram", "histogram_bin_edges"},
}


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """A GPU that computes nothing, and tells what it would leave to the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in.install(patch, tmp_path_factory.mktemp("kernels"))
        kernels = types.SimpleNamespace(function=lambda name, shared: None)
        patch.setattr(cuda.Gpu, "kernel", lambda self, source: kernels)
        patch.setattr(driver, "launch", lambda *arguments: None)
        patch.setitem(device.openers, "idlegpu", cuda.Gpu)
        patch.setenv("LAZYARRAY_FALLBACK", "warn")
        yield device.as_device("idlegpu:0")


@pytest.mark.parametrize("dtype", OF)
def test_what_is_left_to_the_cpu(gpu, dtype):
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    left = set()
    for name in NAMES:
        for number, sample in enumerate(SAMPLES[name]):
            if sample.shapes and "f" not in sample.kinds:
                continue
            drawn = sample.draw(np.dtype("f4"), seed=number)
            with warnings.catch_warnings(record=True) as told, gpu:
                warnings.simplefilter("always")
                arrays = [la.array(x.astype(kind) if x.dtype == "f4" else x) for x in drawn]
                la.eval(*arrays)
                try:
                    nodes = as_list(recorded(name, sample, [to_node(a) for a in arrays]))
                except (DTypeError, TypeError):
                    continue
                la.eval(*[from_node(node) for node in nodes])
            if any(issubclass(each.category, FallbackWarning) for each in told):
                left.add(name)
    left.discard("unpackbits")  # of bytes, whatever the dtype: planned once
    assert left == OF[dtype]
