"""GPUs through CuPy: memory, streams and libraries are CuPy's, kernels our own.

All that computes goes to one stream, in the order in which it is issued; memory comes from a pool
of that stream, so that a block may be written again as soon as who had it before has issued its
last task. Copies from the GPU wait on an event, in a stream and on a lane of their own.
"""

from __future__ import annotations

import collections
import ctypes
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from lazyarray import device
from lazyarray._engine import Lane
from lazyarray._ir import c_strides
from lazyarray.codegen import nvrtc
from lazyarray.codegen.cuda import cuda_kernel
from lazyarray.codegen.emit_cuda import Machine
from lazyarray.codegen.emit_cuda_moves import add_rows, flat_index
from lazyarray.errors import ArrayIndexError, DeviceError, FallbackWarning, OutOfMemoryError, fail
from lazyarray.plan import Task
from lazyarray.works import Carry, Loops, Whole

from . import (
    driver,
    images,  # noqa: F401  (fills FUNCTIONS)
)
from .host import Host
from .library import FUNCTIONS
from .moves import bound_of

KIND = "gpu"
REMEDY = "pip install 'lazyarray-engine[cuda]' (CuPy for CUDA 12 or 13), or compute on la.cpu()."
STAGED = 1 << 20  # bytes up to which who records carries them over
NUMBERS = 4096  # that lie in a GPU's memory at a time
NUMBER_BYTES = 16


@cache
def cupy() -> Any:
    """CuPy, imported when a GPU is first named."""
    try:
        import cupy as found
    except ImportError as error:
        fail(DeviceError, KIND, f"a GPU needs CuPy, which cannot be imported: {error}", REMEDY)
    return found


def count() -> int:
    """How many GPUs there are; 0 without CuPy or a driver."""
    try:
        return int(cupy().cuda.runtime.getDeviceCount())
    except Exception:
        return 0


class Gpu:
    """The backend of one GPU."""

    def __init__(self, index: int) -> None:
        xp = cupy()
        runtime = xp.cuda.runtime
        try:
            there = runtime.getDeviceCount()
        except runtime.CUDARuntimeError as error:
            fail(DeviceError, KIND, f"no GPU can be used: {error}", "Check the NVIDIA driver.")
        if not 0 <= index < there:
            fail(DeviceError, KIND, f"there is no GPU {index}", f"CUDA counts {there} here.")
        self.xp = xp
        self.index = index
        self.name = f"{KIND}:{index}"
        self.lane = Lane(self.name)
        self.copies = Lane(f"{self.name} copies")
        self.process = os.getpid()
        self.failure: str | None = None
        self.capturing: list[Any] | None = None  # memory that a graph keeps
        self.lock = threading.Lock()
        self.kernels: dict[str, driver.Kernels] = {}
        with xp.cuda.Device(index) as found:
            self.device = found
            self.capability = int(found.compute_capability)
            self.machine = Machine(multiprocessors=found.attributes["MultiProcessorCount"])
            self.stream = xp.cuda.Stream(non_blocking=True)
            self.out = xp.cuda.Stream(non_blocking=True)
            self.pool = xp.cuda.MemoryPool()
            self.numbers = Numbers(self)
        # Staging buffers of copies that may still be under way, oldest first.
        self.staged: collections.deque[tuple[Any, Any]] = collections.deque()

    # ---- errors

    def ready(self) -> None:
        """Raise where the GPU cannot be used any more."""
        if os.getpid() != self.process:
            fail(
                DeviceError,
                self.name,
                "a forked process cannot use the GPU that its parent has used",
                "Start it with multiprocessing's 'spawn'.",
            )
        if self.failure is not None:
            fail(
                DeviceError,
                self.name,
                f"the GPU's context was lost: {self.failure}",
                "Restart the process; arrays on the CPU are safe.",
            )

    def lost(self, error: Exception) -> None:
        """Note an error after which nothing works any more."""
        code = getattr(error, "code", getattr(error, "status", 0))
        if code in driver.LOST:
            self.failure = str(error)

    # ---- memory

    def allocate(self, nbytes: int) -> Any:
        """Return memory of the stream's pool; at need after giving up what lies unused."""
        self.ready()
        short = self.xp.cuda.memory.OutOfMemoryError
        try:
            return self.malloc(nbytes)
        except short:
            self.synchronize()
            with self.device:
                self.pool.free_all_blocks()
            try:
                return self.malloc(nbytes)
            except short as error:
                with self.device:
                    free, total = self.xp.cuda.runtime.memGetInfo()
                raise OutOfMemoryError(
                    f"{self.name}: no memory for {nbytes} bytes: {self.pool.used_bytes()} are in"
                    f" use by arrays, {free} of {total} free ({error})"
                ) from None

    def malloc(self, nbytes: int) -> Any:
        """Memory of the stream's pool; while a graph is captured, the graph keeps it."""
        with self.device, self.stream:
            found = self.pool.malloc(max(nbytes, 1))
        if self.capturing is not None:
            self.capturing.append(found)
        return found

    def write(self, memory: Any, data: bytes) -> None:
        """Let the stream put a few bytes there."""
        runtime = self.xp.cuda.runtime
        room = np.frombuffer(data, np.uint8)
        # From memory that is not pinned, so small: copied aside before the call returns.
        with self.device:
            runtime.memcpyAsync(
                *(memory.ptr, room.ctypes.data, len(data)),
                *(runtime.memcpyHostToDevice, self.stream.ptr),
            )

    def capture(self, issue: Callable[[], None]) -> Captured:
        """Return what `issue` issues as a CUDA graph."""
        held: list[Any] = []
        self.capturing = held
        try:
            with self.device, self.stream:
                self.stream.begin_capture()
                try:
                    issue()
                finally:
                    graph = self.stream.end_capture()
            return Captured(self, graph, held)
        finally:
            self.capturing = None

    def statistics(self) -> dict[str, int]:
        """Return memory in use and what is kept for later, in bytes."""
        with self.device:
            used, total = self.pool.used_bytes(), self.pool.total_bytes()
        return {"in_use": used, "pooled": total - used}

    def synchronize(self) -> None:
        """Wait until all that was issued is done."""
        self.ready()
        try:
            with self.device:
                self.stream.synchronize()
        except Exception as error:
            self.lost(error)
            raise DeviceError(f"{self.name}: what was issued before failed: {error}") from error

    def keep_staged(self, memory: Any, done: Any) -> None:
        """Keep a staging buffer until its copy is done."""
        with self.lock:
            while self.staged and self.staged[0][1].done:
                self.staged.popleft()
            self.staged.append((memory, done))

    def dlpack_device(self) -> tuple[int, int]:
        """Return DLPack's name of the device."""
        return (2, self.index)  # kDLCUDA

    # ---- tasks

    def prepare(self, task: Task) -> Any:
        """Return what issues a task."""
        work = task.work
        if isinstance(work, Carry):
            return Into(self, work) if work.source == 0 else OutOf(self, work)
        if isinstance(work, Loops):
            if not all(work.shape):
                return Nothing(self)
            with self.device:
                bound = cuda_kernel(work, self.machine)
            if bound is not None:
                return Launches(self, bound, cache(lambda: Detour(self, task)))
        elif work.label == "flat_index":
            return Checked(self, work)
        elif work.label == "add_rows":
            added = Added(self, work)
            if added.bound is not None:
                return added
        else:
            bound = bound_of(work, self.machine)
            if bound is not None:
                return Launches(self, bound, cache(lambda: Detour(self, task)))
            if work.label in FUNCTIONS:
                return Call(self, work)
        return Detour(self, task)

    def launch(self, bound: Any, addresses: list[int]) -> None:
        """Launch kernels of our own, the device being current."""
        kernels = self.kernel(bound.source)
        if bound.scratch:
            scratch = self.malloc(bound.scratch)  # the stream's: free again once this is issued
            addresses = [*addresses, scratch.ptr]
        block = bound.parameters(addresses)
        for each in bound.launches:
            function = kernels.function(each.kernel, each.shared)
            driver.launch(
                function, each.grid, each.block, each.shared, self.stream.ptr, block, each.kernel
            )

    @contextmanager
    def allocations(self) -> Iterator[None]:
        """Let CuPy take memory from the stream's pool."""
        cuda = self.xp.cuda
        before = cuda.get_allocator()
        cuda.set_allocator(self.malloc)
        try:
            yield
        finally:
            cuda.set_allocator(before)

    def kernel(self, source: Any) -> driver.Kernels:
        """The compiled kernels of a source."""
        with self.lock:
            found = self.kernels.get(source.name)
            if found is None:
                code = nvrtc.compiled(source.text, source.name, self.capability)
                found = self.kernels[source.name] = driver.Kernels(code, source.name)
            return found


class Captured:
    """A CUDA graph, with the memory that is its own."""

    def __init__(self, owner: Gpu, graph: Any, held: list[Any]) -> None:
        self.owner = owner
        self.graph = graph
        self.held = held

    def launch(self) -> None:
        """Let the stream run it."""
        self.owner.ready()
        try:
            with self.owner.device:
                self.graph.launch(self.owner.stream)
        except Exception as error:
            self.owner.lost(error)
            raise


class Numbers:
    """Numbers in the GPU's memory: each is written once, until its place is wanted again."""

    def __init__(self, owner: Gpu) -> None:
        self.owner = owner
        self.memory = owner.malloc(NUMBERS * NUMBER_BYTES)
        self.place: dict[bytes, int] = {}
        self.held: list[bytes | None] = [None] * NUMBERS
        self.next = 0

    def address(self, number: bytes) -> int:
        """Where a number lies for what is issued next."""
        place = self.place.get(number)
        if place is None:
            place = self.next
            self.next = (place + 1) % NUMBERS
            before = self.held[place]
            if before is not None:
                del self.place[before]
            self.held[place] = number
            self.place[number] = place
            self.owner.write(Place(self.memory.ptr + NUMBER_BYTES * place), number)
        return int(self.memory.ptr) + NUMBER_BYTES * place


class Place(NamedTuple):
    """An address."""

    ptr: int


class Issue:
    """What issues a task on a GPU's stream."""

    waits = False
    turn = device.AMID

    def __init__(self, owner: Gpu) -> None:
        self.owner = owner
        self.lane = owner.lane

    def __call__(self, args: list[Any]) -> None:
        """Issue it from any thread."""
        owner = self.owner
        owner.ready()
        try:
            with owner.device, owner.stream:
                self.issue(args)
        except Exception as error:
            owner.lost(error)
            raise

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

    def __init__(self, owner: Gpu, bound: Any, detour: Callable[[], Detour]) -> None:
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

    def __init__(self, owner: Gpu, work: Whole) -> None:
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

    def __init__(self, owner: Gpu, work: Whole) -> None:
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

    def __init__(self, owner: Gpu, work: Whole) -> None:
        super().__init__(owner)
        self.work = work
        self.function = FUNCTIONS[work.label]
        self.waits = work.op.fallible

    def issue(self, args: list[Any]) -> None:
        """Call it."""
        owner = self.owner
        xp = owner.xp
        *arrays, out = [
            array_at(xp, owner.index, address, *layout)
            for address, layout in zip(self.addresses(args), self.work.layouts, strict=True)
        ]
        with owner.allocations():
            self.function(xp, *arrays, out=out, **self.work.attributes)


def array_at(xp: Any, index: int, address: int, shape: Any, strides: Any, dtype: Any) -> Any:
    """Memory of a GPU as CuPy's array."""
    extent = sum((n - 1) * abs(step) for n, step in zip(shape, strides, strict=True))
    nbytes = 0 if 0 in shape else extent + dtype.itemsize
    memory = xp.cuda.UnownedMemory(address, nbytes, None, index)
    return xp.ndarray(shape, dtype, xp.cuda.MemoryPointer(memory, 0), strides)


class Detour(Issue):
    """What only the CPU can do: its operands are carried over, and its result back."""

    waits = True

    def __init__(self, owner: Gpu, task: Task) -> None:
        super().__init__(owner)
        self.host = Host(task.work)
        self.label = task.label
        work = task.work
        if isinstance(work, Whole):
            self.extents = [extent_of(shape, strides, d) for shape, strides, d in work.layouts]
        else:
            both = [e[1:] for e in work.inputs if e[2] is not None], [e[1:] for e in work.outputs]
            entries = [both[which][index] for which, index in work.kernel_arguments()]
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
        low, nbytes = self.extents[-1]
        if nbytes:
            runtime.memcpyAsync(
                *(args[-1] + low, rooms[-1].ctypes.data, nbytes),
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
    """A copy from the CPU, through a pinned staging buffer."""

    turn = device.FIRST

    def __init__(self, owner: Gpu, work: Carry) -> None:
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
        runtime = xp.cuda.runtime
        stream = self.owner.stream
        runtime.memcpyAsync(target, staged.ptr, self.nbytes, runtime.memcpyHostToDevice, stream.ptr)
        # The pool would give it to the next one at once.
        done = xp.cuda.Event(disable_timing=True)
        done.record(stream)
        self.owner.keep_staged(staged, done)


def from_memory(room: np.ndarray, address: int) -> None:
    """Copy what lies at an address of the CPU."""
    ctypes.memmove(room.ctypes.data, address, room.nbytes)


class OutOf(Issue):
    """A copy to the CPU, or to another GPU."""

    waits = True
    turn = device.LAST

    def __init__(self, owner: Gpu, work: Carry) -> None:
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
        runtime.memcpyAsync(target, source, nbytes, kind, owner.out.ptr)
        owner.out.synchronize()
