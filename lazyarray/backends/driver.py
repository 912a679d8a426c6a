"""The few functions of the CUDA driver that launch kernels, through ctypes: without the GIL."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

from lazyarray.errors import DeviceError

SUCCESS = 0
# The context is lost after these (cuda.h): illegal address, launch timeout, assert, hardware stack
# error, illegal instruction, misaligned address, invalid address space, invalid pc, launch failed.
LOST = frozenset({700, 702, 710, 714, 715, 716, 717, 718, 719})
SHARED_SIZE_ATTRIBUTE = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
SHARED_BYTES = 48 << 10  # of a block, without asking for more


class DriverError(DeviceError):
    """What the CUDA driver answered."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@cache
def library() -> Any:
    """The driver."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DeviceError(
            f"gpu: there is no CUDA driver ({error})\n  Install NVIDIA's, version 525 or newer."
        ) from None


def check(code: int, what: str) -> None:
    """Raise DriverError for a code that is no success."""
    if code != SUCCESS:
        text = ctypes.c_char_p()
        library().cuGetErrorString(code, ctypes.byref(text))
        raise DriverError(code, f"{what}: {(text.value or b'unknown error').decode()} ({code})")


class Kernels:
    """The kernels of one compiled source, loaded into the calling thread's context."""

    def __init__(self, code: bytes, name: str) -> None:
        self.name = name
        self.module = ctypes.c_void_p()
        check(library().cuModuleLoadData(ctypes.byref(self.module), code), f"{name}: load")
        self.functions: dict[str, ctypes.c_void_p] = {}

    def function(self, name: str, shared: int) -> ctypes.c_void_p:
        """A kernel by its name."""
        found = self.functions.get(name)
        if found is None:
            found = ctypes.c_void_p()
            check(
                library().cuModuleGetFunction(ctypes.byref(found), self.module, name.encode()), name
            )
            self.functions[name] = found
        if shared > SHARED_BYTES:
            check(library().cuFuncSetAttribute(found, SHARED_SIZE_ATTRIBUTE, shared), name)
        return found


def launch(
    function: ctypes.c_void_p,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    shared: int,
    stream: int,
    parameters: Sequence[bytes],
    name: str,
) -> None:
    """Launch a kernel on parameters by value."""
    rooms = [ctypes.create_string_buffer(each, len(each)) for each in parameters]
    places = (ctypes.c_void_p * len(rooms))(*map(ctypes.addressof, rooms))
    gx, gy, gz = (*grid, 1, 1)[:3]
    bx, by, bz = (*block, 1, 1)[:3]
    check(
        library().cuLaunchKernel(
            function, gx, gy, gz, bx, by, bz, shared, ctypes.c_void_p(stream), places, None
        ),
        name,
    )
