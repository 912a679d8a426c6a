"""Memory of devices shared with other libraries: DLPack, and ``__cuda_array_interface__``.

While anybody sees it, a Storage is pinned: what reads it is issued as it is recorded. A consumer's
stream waits for ours when it takes the memory. From then on lazyarray's stream and CUDA's default
streams wait for each other wherever lazyarray reads or writes what is shared.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import lazyarray._dlpack as _dlpack
from lazyarray import _handle, device
from lazyarray._ir import c_strides
from lazyarray._record import ArrayBase
from lazyarray.dtypes import BFLOAT16
from lazyarray.errors import DeviceError, DTypeError, fail

CUDA = 2  # DLPack's name
MANAGED = 13  # CUDA's memory that the CPU sees, too
OTHERS = (CUDA, MANAGED, 16)  # whose memory lazyarray can use: 16 is the simulated device's
HOST = (1, 0)


class Loan:
    """Keeps memory that others see, or that is theirs, until the device is done with it."""

    __slots__ = ("backend", "kept")

    def __init__(self, backend: Any, kept: Any) -> None:
        self.backend = backend
        self.kept = kept

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.backend.returned(self.kept)


# ---- ours for others


def capsule(
    a: ArrayBase,
    stream: int | None,
    max_version: tuple[int, int] | None,
    dl_device: tuple[int, int] | None,
    copy: bool | None,
) -> Any:
    """A DLPack capsule of an array on a device.

    Raises
    ------
    BufferError
        Where the memory cannot be shared as it is asked for.
    """
    backend = device.backend_of(_handle.device_of(a))
    home = backend.dlpack_device()
    if dl_device is not None and dl_device != home:
        raise BufferError(f"__dlpack__: the array lies on {home}, not on {dl_device}")
    if copy is False and a.is_scalar:
        raise BufferError("__dlpack__: a scalar's memory is not shared")
    copied = bool(copy or a.is_scalar)
    if copied:
        a = a.copy("K")
    address, loan = lent(a, stream)
    shadow = _handle.shadow(a)
    versioned = max_version is not None and max_version[0] >= 1
    return _dlpack.capsule(
        *(address, shadow.shape, shadow.strides, shadow.dtype, home, loan),
        *(shadow.flags.writeable, versioned, copied),
    )


def lent(a: ArrayBase, stream: int | None) -> tuple[int, Loan]:
    """Where an array begins, and what keeps it there."""
    backend = device.backend_of(_handle.device_of(a))
    address, keep = _handle.lend(a)
    backend.lent(stream)
    return address, Loan(backend, keep)


def cuda_interface(a: ArrayBase) -> dict[str, Any]:
    """What Numba and CuPy read of an array on a GPU; the memory is shared while the dict lives.

    Raises
    ------
    AttributeError
        Where the array lies elsewhere, or is bfloat16, which only DLPack can name.
    """
    number = _handle.device_of(a)
    backend = device.backends[number]
    if backend is None or backend.dlpack_device()[0] != CUDA:
        raise AttributeError(f"__cuda_array_interface__: the array lies on {a.device}")
    if a.dtype is BFLOAT16:
        raise AttributeError("__cuda_array_interface__: it has no bfloat16; DLPack has")
    if a.is_scalar:
        a = a.copy("K")
    address, loan = lent(a, -1)  # who reads it waits for `stream`
    shadow = _handle.shadow(a)
    whole = shadow.flags.c_contiguous
    return {
        "shape": shadow.shape,
        "strides": None if whole else shadow.strides,
        "typestr": shadow.dtype.str,
        "data": (address if shadow.size else 0, not shadow.flags.writeable),
        "version": 3,
        "stream": backend.dlpack_stream(),
        "owner": loan,
    }


# ---- theirs for us


def foreign(x: Any) -> bool:
    """Whether an object's memory is that of a device of DLPack's or CUDA's."""
    if isinstance(x, np.ndarray | list | tuple | int | float | complex):
        return False
    where = getattr(x, "__dlpack_device__", None)
    if where is not None:
        return where()[0] in OTHERS
    return hasattr(type(x), "__cuda_array_interface__")


def borrowed(x: Any, where: device.Device | None = None, copy: bool | None = None) -> Any:
    """An array on the memory of another library's array on a device.

    Raises
    ------
    ValueError
        Where the memory is not C-contiguous, unless it will be copied.
    """
    if hasattr(x, "__dlpack_device__"):
        return from_capsule(x, where, copy)
    return from_interface(x, where, copy)


def number_at(place: tuple[int, int], where: device.Device | None) -> int:
    """The number of lazyarray's device that DLPack calls `place`."""
    wished = [] if where is None else [device.number_of(where)]
    for number in (*wished, *range(1, len(device.backends))):
        backend = device.backends[number]
        if backend is not None and backend.dlpack_device() == place:
            return number
    if place[0] == CUDA:
        return device.number_of(device.gpu(place[1]))
    fail(DeviceError, "from_dlpack", f"there is no device that DLPack calls {place}")


def from_capsule(x: Any, where: device.Device | None, copy: bool | None) -> Any:
    """`borrowed`, by DLPack."""
    kind, index = x.__dlpack_device__()
    number = number_at((CUDA if kind == MANAGED else int(kind), int(index)), where)
    backend = device.backend_of(number)
    stream = backend.dlpack_stream()
    try:
        found = x.__dlpack__(stream=stream, max_version=(1, 0))
    except TypeError:  # from before 1.0
        found = x.__dlpack__(stream=stream)
    tensor = _dlpack.Tensor(found)
    steps = tensor.strides
    return taken(
        *(number, tensor.address, tensor.shape, steps, np.dtype(tensor.dtype)),
        *(tensor, tensor.writeable, copy),
    )


def from_interface(x: Any, where: device.Device | None, copy: bool | None) -> Any:
    """`borrowed`, by the CUDA array interface; `x` is waited for by the stream."""
    found = x.__cuda_array_interface__
    if found.get("mask") is not None:
        fail(DTypeError, "asarray", "masked arrays cannot be shared")
    address, read_only = found["data"]
    number = number_at((CUDA, device.locators["gpu"](address) if address else 0), where)
    device.backend_of(number).await_stream(found.get("stream"))
    dtype = np.dtype(found["typestr"])
    return taken(
        *(number, address or 0, tuple(found["shape"]), found.get("strides"), dtype),
        *((x, found), not read_only, copy),
    )


def taken(
    number: int,
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    dtype: np.dtype,
    owner: Any,
    writeable: bool,
    copy: bool | None = None,
) -> Any:
    """An array on memory that `owner` keeps; what will be copied may lie in any order."""
    if strides is not None and not in_order(shape, tuple(strides), dtype.itemsize):
        if copy and not any(step % dtype.itemsize for step in strides):
            return spread(number, address, shape, tuple(strides), dtype, owner)
        raise ValueError(
            "from_dlpack: only C-contiguous memory can be shared\n  Hand on a contiguous copy."
        )
    backend = device.backend_of(number)
    backend.borrowed()
    loan = Loan(backend, owner)
    return _handle.borrow(address, shape, dtype, number, loan, writeable)


def spread(
    number: int,
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: np.dtype,
    owner: Any,
) -> Any:
    """A view of memory that `owner` keeps, from its first element to its last."""
    ends = [(n - 1) * step for n, step in zip(shape, strides, strict=True)]
    low, high = sum(min(0, end) for end in ends), sum(max(0, end) for end in ends)
    count = (high - low) // dtype.itemsize + 1
    whole = taken(number, address + low, (count,), None, dtype, owner, False)
    first = _handle.shadow(whole)[-low // dtype.itemsize :]
    return _handle.seen(whole, np.lib.stride_tricks.as_strided(first, shape, strides))


# ---- on the CPU, bfloat16, which NumPy's DLPack has not


class Lent:
    """A tensor of two-byte elements, as NumPy can see it."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor
        self.__array_interface__ = {
            "shape": tensor.shape,
            "strides": tensor.strides,
            "typestr": "<u2",
            "data": (tensor.address, not tensor.writeable),
            "version": 3,
        }


def of_host(
    exported: np.ndarray,
    max_version: tuple[int, int] | None,
    dl_device: tuple[int, int] | None,
    copy: bool | None,
) -> Any:
    """A DLPack capsule of an array that NumPy has on the CPU."""
    if dl_device not in (None, HOST):
        raise BufferError(f"__dlpack__: the array lies on the CPU, not on {dl_device}")
    if copy:
        exported = exported.copy()
    versioned = max_version is not None and max_version[0] >= 1
    return _dlpack.capsule(
        *(exported.ctypes.data, exported.shape, exported.strides, exported.dtype, HOST, exported),
        *(exported.flags.writeable, versioned, bool(copy)),
    )


def is_bfloat16(x: Any) -> bool:
    """Whether another library's array has elements of bfloat16."""
    if isinstance(x, np.ndarray | np.generic) or not hasattr(x, "__dlpack__"):
        return False
    return str(getattr(x, "dtype", "")).endswith("bfloat16")


def on_host(x: Any, copy: bool | None) -> np.ndarray:
    """Another library's array on the CPU, as NumPy's."""
    if not is_bfloat16(x):
        return np.from_dlpack(x, copy=copy)
    try:
        found = x.__dlpack__(max_version=(1, 0))
    except TypeError:  # from before 1.0
        found = x.__dlpack__()
    data = np.asarray(Lent(_dlpack.Tensor(found))).view(BFLOAT16)
    return data.copy() if copy else data


def in_order(shape: tuple[int, ...], strides: tuple[int, ...], size: int) -> bool:
    """Whether elements lie in C order without gaps; strides of extents of 1 say nothing."""
    wanted = c_strides(shape, size)
    return 0 in shape or all(
        n == 1 or have == want for n, have, want in zip(shape, strides, wanted, strict=True)
    )
