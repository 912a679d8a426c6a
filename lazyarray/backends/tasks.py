"""What issues a task on a GPU's stream: kernels, functions of the library, copies, detours."""

from __future__ import annotations

import ctypes
import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from lazyarray import device
from lazyarray._ir import c_strides
from lazyarray.codegen.emit_cuda_moves import add_rows, flat_index
from lazyarray.dtypes import BFLOAT16
from lazyarray.errors import ArrayIndexError, DeviceError, FallbackWarning, fail
from lazyarray.ops.custom import CustomOp, Typed
from lazyarray.ops.host import packing
from lazyarray.plan import Task
from lazyarray.works import Carry, Whole

from . import driver
from .host import Host

STAGED = 1 << 20  # bytes up to which who records carries them over
ASIDE = 1 << 16  # bytes from which a copy to the GPU overlaps what is computed there
BITS = np.dtype(np.uint16)  # of bfloat16, which CuPy need not know


class Issue:
    """What issues a task on a GPU's stream."""

    waits = False
    turn = device.AMID
    name = ""  # in the log

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.lane = owner.lane

    def __call__(self, args: list[Any]) -> None:
        """Issue it from any thread."""
        owner = self.owner
        owner.ready()
        try:
            with owner.turns, owner.device, owner.stream:
                self.logged(args)
        except Exception as error:
            owner.lost(error)
            raise

    def logged(self, args: list[Any]) -> None:
        """Issue it, and let the log say when it runs."""
        owner = self.owner
        with owner.timed(owner.stream, "compute", "kernel", self.name, 0):
            self.issue(args)

    def addresses(self, args: list[Any]) -> list[int]:
        """Addresses of the operands, those of numbers too."""
        find = self.owner.numbers.address
        return [find(each) if isinstance(each, bytes) else each for each in args]

    def issue(self, args: list[Any]) -> None:
        """Issue it, the device and the stream being current."""
        raise NotImplementedError


class Nothing(Issue):
    """A task without elements."""

    def issue(self, args: list[Any]) -> None:
        """Issue nothing."""


class Launches(Issue):
    """Kernels of our own; a view may make operands lie where they cannot be read: a detour then."""

    def __init__(self, owner: Any, bound: Any, detour: Callable[[], Detour]) -> None:
        super().__init__(owner)
        self.bound = bound
        self.detour = detour
        with owner.device:
            owner.kernel(bound.source)  # compiled now, while no lock is held

    def issue(self, args: list[Any]) -> None:
        """Launch them."""
        owner, bound = self.owner, self.bound
        addresses = self.addresses(args)
        if not bound.aligned(addresses):
            self.detour().issue(args)
            return
        owner.launch(bound, addresses)


class Checked(Issue):
    """An index that may be out of bounds: what reads it waits until that is known."""

    waits = True

    def __init__(self, owner: Any, work: Whole) -> None:
        super().__init__(owner)
        self.dims = work.attributes["dims"]
        self.error = work.attributes["error"]
        self.first = work.attributes["first"]
        self.bound = flat_index(self.dims, prod(work.layouts[-1][0]), owner.machine)

    def issue(self, args: list[Any]) -> None:
        """Launch it, and raise ArrayIndexError where an index is out of bounds."""
        owner = self.owner
        runtime = owner.xp.cuda.runtime
        status = owner.malloc(4)
        found = np.zeros(1, np.int32)
        runtime.memsetAsync(status.ptr, 0, 4, owner.stream.ptr)
        owner.launch(self.bound, [*self.addresses(args), status.ptr])
        runtime.memcpyAsync(
            *(found.ctypes.data, status.ptr, 4, runtime.memcpyDeviceToHost, owner.stream.ptr)
        )
        owner.stream.synchronize()
        if found[0]:
            axis = int(found[0]) - 1
            raise ArrayIndexError(self.error.format(axis=self.first + axis, extent=self.dims[axis]))


class Added(Issue):
    """Values added to rows in the order of the index, which a stable sort brings together."""

    def __init__(self, owner: Any, work: Whole) -> None:
        super().__init__(owner)
        self.layout = work.layouts[0]
        out, _, kind = work.layouts[-1]
        whole = all(s == c_strides(shape, d.itemsize) for shape, s, d in work.layouts)
        count = self.layout[0][0]
        self.bound = add_rows(kind.name, count, prod(out[1:]), owner.machine) if whole else None

    def issue(self, args: list[Any]) -> None:
        """Sort, and add."""
        owner = self.owner
        index, values, out = self.addresses(args)
        with owner.allocations():
            given = array_at(owner.xp, owner.index, index, *self.layout)
            order = owner.xp.argsort(given, kind="stable").astype(np.int64)
            ordered = given[order]
            owner.launch(self.bound, [address_of(ordered), address_of(order), values, out])


def address_of(array: Any) -> int:
    """Where an array of the library's begins."""
    return int(array.data.ptr)


class Call(Issue):
    """A function of CuPy's."""

    def __init__(self, owner: Any, work: Whole, function: Callable[..., None]) -> None:
        super().__init__(owner)
        self.work = work
        self.function = function
        self.waits = work.op.fallible
        self.layouts = [
            (shape, strides, BITS if dtype == BFLOAT16 else dtype)
            for shape, strides, dtype in work.layouts
        ]

    def issue(self, args: list[Any]) -> None:
        """Call it."""
        owner = self.owner
        xp = owner.xp
        *arrays, out = [
            array_at(xp, owner.index, address, *layout)
            for address, layout in zip(self.addresses(args), self.layouts, strict=True)
        ]
        with owner.allocations():
            self.function(xp, *arrays, out=out, **self.work.attributes)


@dataclass(frozen=True, slots=True)
class UserSource:
    """A source of a user's for certain dtypes."""

    name: str  # of the text: another text has another one
    title: str
    text: str
    options: tuple[str, ...]

    @classmethod
    def of(cls, op: CustomOp, call: Typed) -> UserSource:
        """The source for a call."""
        text = op.source(call)
        key = hashlib.sha256("\0".join([text, *op.options]).encode()).hexdigest()[:16]
        return cls(f"{op.title}_{key}", op.title, text, op.options)


class Custom(Issue):
    """A user's kernel."""

    def __init__(self, owner: Any, work: Whole) -> None:
        super().__init__(owner)
        op, call = work.op, work.attributes["call"]
        self.entry = op.title
        self.source = UserSource.of(op, call)
        self.grid, self.block, self.shared = op.launch_of(call)
        self.offsets = packing(call.results)[1] if len(call.results) > 1 else [0]
        # By value: numbers between the addresses of arrays, and the extents behind all.
        values = iter(call.numbers)
        self.inputs = [
            None if each.extents is not None else next(values)[1] for each in op.signature.inputs
        ]
        self.extents = [np.int64(extent).tobytes() for _, extent in call.extents]
        with owner.device:
            owner.kernel(self.source)

    def issue(self, args: list[Any]) -> None:
        """Launch it."""
        owner = self.owner
        *arrays, out = self.addresses(args)
        given = iter(arrays)
        inputs = [address(next(given)) if each is None else each for each in self.inputs]
        outputs = [address(out + offset) for offset in self.offsets]
        function = owner.kernel(self.source).function(self.entry, self.shared)
        driver.launch(
            *(function, self.grid, self.block, self.shared, owner.stream.ptr),
            *((*inputs, *outputs, *self.extents), self.entry),
        )


def address(at: int) -> bytes:
    """A pointer, as a kernel's parameter."""
    return at.to_bytes(8, "little")


def array_at(xp: Any, index: int, address: int, shape: Any, strides: Any, dtype: Any) -> Any:
    """Memory of a GPU as CuPy's array."""
    extent = sum((n - 1) * abs(step) for n, step in zip(shape, strides, strict=True))
    nbytes = 0 if 0 in shape else extent + dtype.itemsize
    memory = xp.cuda.UnownedMemory(address, nbytes, None, index)
    return xp.ndarray(shape, dtype, xp.cuda.MemoryPointer(memory, 0), strides)


class Detour(Issue):
    """What only the CPU can do: its operands are carried over, and its result back."""

    waits = True

    def __init__(self, owner: Any, task: Task) -> None:
        super().__init__(owner)
        self.host = Host(task.work)
        self.label = task.label
        work = task.work
        if isinstance(work, Whole):
            self.extents = [extent_of(shape, strides, d) for shape, strides, d in work.layouts]
            self.written = [len(self.extents) - 1]
        else:
            both = [e[1:] for e in work.inputs if e[2] is not None], [e[1:] for e in work.outputs]
            order = work.kernel_arguments()
            self.written = [place for place, (which, _) in enumerate(order) if which == 1]
            entries = [both[which][index] for which, index in order]
            self.extents = [
                extent_of(shape, strides, np.dtype((np.void, size)))
                for shape, strides, size in entries
            ]
        fallback = os.environ.get("LAZYARRAY_FALLBACK", "")
        text = f"{task.label}: has no kernel for {owner.name}; the CPU computes it"
        if fallback == "error":
            fail(DeviceError, task.label, text, "Unset LAZYARRAY_FALLBACK.")
        if fallback == "warn":
            warnings.warn(text, FallbackWarning, stacklevel=2)

    def issue(self, args: list[Any]) -> None:
        """Carry, compute, carry back: what the CPU does not write comes back as it was."""
        owner = self.owner
        runtime = owner.xp.cuda.runtime
        stream = owner.stream
        rooms, addresses = [], []
        for arg, (low, nbytes) in zip(args, self.extents, strict=True):
            if isinstance(arg, bytes):
                room = np.frombuffer(arg, np.uint8).copy()
                low = 0
            else:
                room = np.empty(nbytes, np.uint8)
                if nbytes:
                    runtime.memcpyAsync(
                        *(room.ctypes.data, arg + low, nbytes),
                        *(runtime.memcpyDeviceToHost, stream.ptr),
                    )
            rooms.append(room)
            addresses.append(room.ctypes.data - low)
        stream.synchronize()
        self.host(addresses)
        for place in self.written:
            low, nbytes = self.extents[place]
            if nbytes:
                runtime.memcpyAsync(
                    *(args[place] + low, rooms[place].ctypes.data, nbytes),
                    *(runtime.memcpyHostToDevice, stream.ptr),
                )
        stream.synchronize()


def extent_of(shape: Any, strides: Any, dtype: Any) -> tuple[int, int]:
    """Where memory begins, from an operand's first element, and how many bytes there are."""
    if 0 in shape:
        return 0, 0
    low = sum(min(0, (n - 1) * step) for n, step in zip(shape, strides, strict=True))
    high = sum(max(0, (n - 1) * step) for n, step in zip(shape, strides, strict=True))
    return low, high - low + dtype.itemsize


class Into(Issue):
    """A copy from the CPU, through a pinned staging buffer.

    Where it is large it goes by a stream of its own to memory aside, and overlaps what the GPU
    computes meanwhile.
    """

    turn = device.FIRST

    def __init__(self, owner: Any, work: Carry) -> None:
        super().__init__(owner)
        self.lane = owner.copies
        self.waits = work.nbytes > STAGED
        self.nbytes = work.nbytes

    def issue(self, args: list[Any]) -> None:
        """Copy aside, then let the stream copy over."""
        source, target = args
        xp = self.owner.xp
        if not self.nbytes:
            return
        staged = xp.cuda.alloc_pinned_memory(self.nbytes)
        room = np.frombuffer(staged, np.uint8, self.nbytes)
        if isinstance(source, bytes):
            room[:] = np.frombuffer(source, np.uint8, self.nbytes)
        else:
            from_memory(room, source)
        owner = self.owner
        runtime = xp.cuda.runtime
        stream = owner.stream
        down, within = runtime.memcpyHostToDevice, runtime.memcpyDeviceToDevice
        if self.nbytes < ASIDE:
            with owner.timed(stream, "compute", "into", self.name, self.nbytes):
                runtime.memcpyAsync(target, staged.ptr, self.nbytes, down, stream.ptr)
            # The pool would give it to the next one at once.
            owner.keep_staged(staged, stream.record(xp.cuda.Event(disable_timing=True)))
            return
        into = owner.into
        with owner.arrivals.place(self.nbytes) as aside:
            with owner.timed(into, "into", "into", self.name, self.nbytes):
                runtime.memcpyAsync(aside.ptr, staged.ptr, self.nbytes, down, into.ptr)
            arrived = into.record(xp.cuda.Event(disable_timing=True))
            owner.keep_staged(staged, arrived)
            stream.wait_event(arrived)
            runtime.memcpyAsync(target, aside.ptr, self.nbytes, within, stream.ptr)

    logged = issue


def from_memory(room: np.ndarray, address: int) -> None:
    """Copy what lies at an address of the CPU."""
    ctypes.memmove(room.ctypes.data, address, room.nbytes)


class OutOf(Issue):
    """A copy to the CPU, or to another GPU."""

    waits = True
    turn = device.LAST

    def __init__(self, owner: Any, work: Carry) -> None:
        super().__init__(owner)
        self.lane = owner.copies
        self.work = work

    def issue(self, args: list[Any]) -> None:
        """Let a stream of its own copy once what was issued before is done, and wait for it."""
        source, target = args
        owner, nbytes = self.owner, self.work.nbytes
        if not nbytes:
            return
        if self.work.target:
            device.backend_of(self.work.target).synchronize()
        xp = owner.xp
        runtime = xp.cuda.runtime
        if isinstance(source, bytes):
            source = owner.numbers.address(source)
        owner.out.wait_event(owner.stream.record(xp.cuda.Event(disable_timing=True)))
        kind = runtime.memcpyDefault if self.work.target else runtime.memcpyDeviceToHost
        with owner.timed(owner.out, "out of", "out of", self.name, nbytes):
            runtime.memcpyAsync(target, source, nbytes, kind, owner.out.ptr)
        done = owner.out.record(xp.cuda.Event(disable_timing=True))
        done.synchronize()

    logged = issue
