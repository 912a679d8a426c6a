"""The functions that a GPU's library runs, on NumPy, against the CPU's kernels."""

import itertools

import numpy as np
from lazyarray._handle import to_node

import lazyarray as la
from lazyarray import _ir, runtime
from lazyarray.backends.library import FUNCTIONS


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


def test_products_and_scans():
    for a, b in itertools.product(((3, 4), (2, 3, 0)), ((4, 5), (2, 0, 5))):
        if a[-1] == b[-2] and len(a) == len(b):
            ours, cpu = both("gemm", *drawn(a, b))
            np.testing.assert_allclose(ours, cpu, rtol=1e-13)
    (x,) = drawn((4, 5))
    for name in ("cumsum", "cumprod"):
        ours, cpu = both(name, x, axis=1)
        np.testing.assert_array_equal(ours, cpu)
