"""The functions that a GPU's library runs, on NumPy, against the CPU's kernels."""

import itertools

import numpy as np
import pytest
from lazyarray._handle import to_node

import lazyarray as la
from lazyarray import _ir, runtime
from lazyarray.backends import images  # noqa: F401  (fills FUNCTIONS)
from lazyarray.backends.library import FUNCTIONS

CONVOLUTIONS = [
    {"stride": s, "pad": p, "dilation": d, "groups": g}
    for s, p, d, g in [
        ((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 2), (1, 1), 1), ((1, 2), (2, 1), (2, 1), 2),
        ((3, 2), (0, 1), (1, 2), 2),
    ]
]  # fmt: skip
POOLS = [
    {"window": w, "stride": s, "pad": p}
    for w, s, p in [((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 1)), ((2, 3), (3, 1), (1, 2))]
]


def both(name, *arrays, **attributes):
    """What the library's function and the CPU's kernel give."""
    node = _ir.registry[name](*[to_node(la.array(x)) for x in arrays], **attributes)
    cpu = np.array(runtime.value(node))
    out = np.full(cpu.shape, 77, cpu.dtype)
    FUNCTIONS[name](np, *arrays, out=out, **dict(node.attrs))
    return out, cpu


def drawn(*shapes, dtype="f8"):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_convolutions(options):
    x, kernel = drawn((2, 9, 8, 4), (3, 2, 4 // options["groups"], 6))
    ours, cpu = both("correlate2d", x, kernel, **options)
    np.testing.assert_allclose(ours, cpu, rtol=1e-12, atol=1e-12)
    (g,) = drawn(cpu.shape)
    for name, arrays, more in (
        ("conv2d_data_grad", (g, kernel), {"extents": (9, 8)}),
        ("conv2d_weight_grad", (x, g), {"window": (3, 2)}),
    ):
        ours, cpu = both(name, *arrays, **more, **options)
        np.testing.assert_allclose(ours, cpu, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("options", POOLS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_pools(options, dtype):
    (x,) = drawn((2, 7, 9, 3), dtype=dtype)
    x = np.round(x)  # so that windows have several maxima
    x[0, 2, 3] = np.nan
    ours, cpu = both("max_pool2d", x, **options)
    np.testing.assert_array_equal(ours, cpu)
    (g,) = drawn(cpu.shape, dtype=dtype)
    ours, cpu = both("max_pool2d_grad", x, g, **options)
    np.testing.assert_allclose(ours, cpu, rtol=1e-6, atol=1e-6)  # windows in another order
    close = 1e-5 if dtype == "f4" else 1e-13
    for counted in (True, False):
        ours, cpu = both("avg_pool2d", x, **options, count_include_pad=counted)
        np.testing.assert_allclose(ours, cpu, rtol=close, atol=close)
        ours, cpu = both("avg_pool2d_grad", g, extents=(7, 9), **options, count_include_pad=counted)
        np.testing.assert_allclose(ours, cpu, rtol=close, atol=close)


def test_products_and_scans():
    for a, b in itertools.product(((3, 4), (2, 3, 0)), ((4, 5), (2, 0, 5))):
        if a[-1] == b[-2] and len(a) == len(b):
            ours, cpu = both("gemm", *drawn(a, b))
            np.testing.assert_allclose(ours, cpu, rtol=1e-13)
    (x,) = drawn((4, 5))
    for name in ("cumsum", "cumprod"):
        ours, cpu = both(name, x, axis=1)
        np.testing.assert_array_equal(ours, cpu)
