"""The CPU's way to do a device's task, on memory of the CPU."""

from __future__ import annotations

import ctypes

import numpy as np

import lazyarray._plan as _plan
from lazyarray.works import Biased, Loops, Whole


def host(work: Loops | Whole | Biased) -> Host | BiasedHost:
    """The CPU's way to do a task."""
    return BiasedHost(work) if isinstance(work, Biased) else Host(work)


class BiasedHost:
    """Computes a product, then what is added to it."""

    def __init__(self, work: Biased) -> None:
        self.work = work
        self.first, self.then = Host(work.product), Host(work.program)

    def __call__(self, addresses: list[int]) -> None:
        """Run on operands at these addresses."""
        a, b, line, out = addresses
        shape, _, dtype = self.work.product.layouts[-1]
        product = np.empty(shape, dtype)
        self.first([a, b, product.ctypes.data])
        self.then(self.work.added(product.ctypes.data, line, out))


class Host:
    """Runs the kernels, or the function, that the CPU would run for a task."""

    def __init__(self, work: Loops | Whole) -> None:
        self.kernels = work.kernels()
        self.work = work
        self.scratch_bytes = max([kernel.scratch_bytes for kernel in self.kernels], default=0)

    def __call__(self, addresses: list[int]) -> None:
        """Run on operands at these addresses."""
        if not self.kernels:
            assert isinstance(self.work, Whole)
            *arrays, out = [
                array_at(address, *layout)
                for address, layout in zip(addresses, self.work.layouts, strict=True)
            ]
            with np.errstate(all="ignore"):
                self.work.op.function(np, *arrays, out=out, **self.work.attributes)
            return
        scratch = np.empty(self.scratch_bytes + 64, np.uint8)
        at = -(-scratch.ctypes.data // 64) * 64
        for kernel in self.kernels:
            _plan.run_kernel(kernel, [*addresses, at])


def array_at(
    address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    """Memory of the CPU as an array."""
    low = sum(min(0, (n - 1) * step) for n, step in zip(shape, strides, strict=True))
    high = sum(max(0, (n - 1) * step) for n, step in zip(shape, strides, strict=True))
    extent = 0 if 0 in shape else high - low + dtype.itemsize
    room = (ctypes.c_char * extent).from_address(address + low)
    return np.ndarray(shape, dtype, memoryview(room), -low if extent else 0, strides)
