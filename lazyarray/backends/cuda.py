"""GPUs through CuPy: memory, streams and libraries are CuPy's, kernels our own; see tasks.py.

All that computes goes to one stream, in the order in which it is issued; memory comes from a pool
of that stream, so that a block may be written again as soon as who had it before has issued its
last task. Copies have a stream for each direction and a lane of their own; events are recorded
where a value crosses.
"""

from __future__ import annotations

import collections
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lazyarray import device
from lazyarray._engine import Lane
from lazyarray.codegen import nvrtc
from lazyarray.codegen.cuda import cuda_kernel
from lazyarray.codegen.emit_cuda import Machine
from lazyarray.device import out_of_memory
from lazyarray.errors import DeviceError, OptionError, fail
from lazyarray.ops.custom import CustomOp, Typed
from lazyarray.plan import Task
from lazyarray.works import Biased, Carry, Loops

from . import (
    driver,
    epilogues,
    numerics,  # noqa: F401  (fills FUNCTIONS)
    products,
    replay,
)
from .arrivals import Arrivals
from .convolutions import convolution
from .library import function_of
from .moves import bound_of
from .tasks import Added, Call, Checked, Custom, Detour, Into, Launches, Nothing, OutOf, UserSource
from .turns import Turns

KIND = "gpu"
REMEDY = "pip install 'lazyarray-engine[cuda]' (CuPy for CUDA 12 or 13), or compute on la.cpu()."
NUMBERS = 4096  # that lie in a GPU's memory at a time
NUMBER_BYTES = 16
LEGACY, PER_THREAD = 1, 2  # CUDA's names of its default streams


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


def index_of(address: int) -> int:
    """Which GPU has an address."""
    return int(cupy().cuda.runtime.pointerGetAttributes(address).device)


class Gpu:
    """The backend of one GPU."""

    halves = True  # convolutions take 16-bit floats as they are

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
        self.lock = threading.RLock()  # memory of others may be let go of at any time
        self.shared = 0  # pieces of memory that others see
        self.later: list[Any] = []  # that came back while a graph was captured
        self.kernels: dict[str, driver.Kernels] = {}
        self.products: products.Blas | None = None
        self.workspace: Any = None  # of captured convolutions, and its bytes
        self.cudnn: Any = None
        with xp.cuda.Device(index) as found:
            self.device = found
            self.capability = int(found.compute_capability)
            self.machine = Machine(multiprocessors=found.attributes["MultiProcessorCount"])
            self.stream = xp.cuda.Stream(non_blocking=True)
            self.into = xp.cuda.Stream(non_blocking=True)
            self.out = xp.cuda.Stream(non_blocking=True)
            self.pool = xp.cuda.MemoryPool()
            self.arrivals = Arrivals(self)
            self.turns = Turns()
            self.log: list[tuple[Any, ...]] | None = None  # kind, name, stream, two events, bytes
            self.clock: tuple[Any, int] | None = None  # an event, and when it was
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
        """Return memory of the stream's pool; at need after giving up what lies unused, once."""
        self.ready()
        short = self.xp.cuda.memory.OutOfMemoryError
        try:
            return self.malloc(nbytes)
        except short:
            gc.collect()  # arrays in reference cycles
            self.synchronize()
            self.arrivals.clear()
            self.workspace = None
            replay.forget(self)
            with self.device:
                self.pool.free_all_blocks()
            try:
                return self.malloc(nbytes)
            except short as error:
                with self.device:
                    free, total = self.xp.cuda.runtime.memGetInfo()
                text = (
                    f"{self.name}: no memory for {nbytes} bytes: {self.pool.used_bytes()} are in"
                    f" use by arrays, {free} of {total} free ({error})"
                )
                raise out_of_memory(self, text) from None

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
        with self.turns, self.device:
            runtime.memcpyAsync(
                *(memory.ptr, room.ctypes.data, len(data)),
                *(runtime.memcpyHostToDevice, self.stream.ptr),
            )

    def capture(self, issue: Callable[[], None]) -> Captured | None:
        """Return what `issue` issues as a CUDA graph; None while other threads issue.

        Raises
        ------
        Uncapturable
            Where a library does what no graph can have, such as waiting for the stream.
        """
        held: list[Any] = []
        if not self.turns.begin_alone():
            return None
        self.capturing = held
        try:
            with self.device, self.stream:
                self.stream.begin_capture()
                try:
                    issue()
                except Exception:
                    with suppress(Exception):  # of what was refused there is no graph
                        self.stream.end_capture()
                    raise
                graph = self.stream.end_capture()
            return Captured(self, graph, held)
        except Exception as error:
            raise replay.Uncapturable(f"{self.name}: {error}") from error
        finally:
            self.capturing = None
            self.turns.end_alone()
            while self.later:
                self.returned(self.later.pop())

    def statistics(self) -> dict[str, int]:
        """Return memory in use and what is kept for later, in bytes."""
        with self.device:
            used, total = self.pool.used_bytes(), self.pool.total_bytes()
        return {"in_use": used, "pooled": total - used}

    def synchronize(self) -> None:
        """Wait until all that was issued is done."""
        self.ready()
        try:
            with self.turns, self.device:
                self.stream.synchronize()
        except Exception as error:
            self.lost(error)
            raise DeviceError(f"{self.name}: what was issued before failed: {error}") from error
        self.drop_staged()

    # ---- times

    def start_log(self) -> None:
        """Keep what streams do, and when."""
        self.synchronize()
        with self.device:
            start = self.stream.record(self.xp.cuda.Event())
            self.stream.synchronize()
        self.clock = start, time.monotonic_ns()
        self.log = []

    def stop_log(self) -> list[device.Event]:
        """Return what streams have done since `start_log`, which is waited for."""
        found, self.log = self.log, None
        if found is None or self.clock is None:
            return []
        start, zero = self.clock
        with self.device:
            for stream in (self.stream, self.into, self.out):
                stream.synchronize()

        def at(event: Any) -> int:
            return zero + round(1e6 * self.xp.cuda.get_elapsed_time(start, event))

        return [
            device.Event(kind, name, self.name, where, at(begin), at(end), nbytes)
            for kind, name, where, begin, end, nbytes in found
        ]

    @contextmanager
    def timed(self, stream: Any, where: str, kind: str, name: str, nbytes: int) -> Iterator[None]:
        """Let the log say when a stream does what is issued inside."""
        log = self.log
        if log is None or self.capturing is not None:
            yield
            return
        begin = stream.record(self.xp.cuda.Event())
        yield
        log.append((kind, name, where, begin, stream.record(self.xp.cuda.Event()), nbytes))

    def keep_staged(self, memory: Any, done: Any) -> None:
        """Keep a staging buffer until its copy is done."""
        self.drop_staged()
        with self.lock:
            self.staged.append((memory, done))

    def drop_staged(self) -> None:
        """Let go of what copies that are done have been reading."""
        with self.lock:
            while self.staged and self.staged[0][1].done:
                self.staged.popleft()

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Let the stream copy within the device's memory."""
        self.ready()
        runtime = self.xp.cuda.runtime
        with self.turns, self.device:
            runtime.memcpyAsync(
                target, source, nbytes, runtime.memcpyDeviceToDevice, self.stream.ptr
            )

    # ---- memory that others see

    def dlpack_device(self) -> tuple[int, int]:
        """Return DLPack's name of the device."""
        return (2, self.index)  # kDLCUDA

    def dlpack_stream(self) -> int | None:
        """Return the stream that has to wait for others, as DLPack names it."""
        return int(self.stream.ptr)

    def lent(self, stream: int | None) -> None:
        """Hand memory over: `stream` waits for ours; None is the default stream, -1 none."""
        self.ready()
        if stream == 0:
            remedy = "1 is the legacy default stream, 2 that of the thread."
            fail(OptionError, "__dlpack__", "stream 0 may be either default stream", remedy)
        self.shared += 1
        if stream == -1 or stream == self.stream.ptr:
            return
        with self.turns, self.device:
            done = self.stream.record(self.xp.cuda.Event(disable_timing=True))
            self.xp.cuda.ExternalStream(LEGACY if stream is None else stream).wait_event(done)

    def borrowed(self) -> None:
        """Take memory of others, for which ours waits already."""
        self.shared += 1

    def returned(self, kept: Any) -> None:
        """End what began with `lent` or `borrowed`; `kept` is let go when the stream is done."""
        if self.failure is not None or os.getpid() != self.process:
            return
        if self.turns.alone == threading.get_ident():  # what is captured has no part in this
            self.later.append(kept)
            return
        self.meet()
        self.part()
        self.shared -= 1
        if kept is not None:
            with self.turns, self.device:
                self.keep_staged(kept, self.stream.record(self.xp.cuda.Event(disable_timing=True)))

    def await_stream(self, other: int | None) -> None:
        """Let the stream wait for what has been issued to another one; None: for nothing."""
        self.ready()
        if other is not None and other != self.stream.ptr:
            with self.turns, self.device:
                found = self.xp.cuda.ExternalStream(other)
                self.stream.wait_event(found.record(self.xp.cuda.Event(disable_timing=True)))

    def meet(self) -> None:
        """Let the stream wait for what others have issued to the default streams."""
        if not self.shared:
            return
        for each in (LEGACY, PER_THREAD):
            self.await_stream(each)

    def part(self) -> None:
        """Let the default streams wait for what has been issued."""
        if not self.shared:
            return
        self.ready()
        with self.turns, self.device:
            done = self.stream.record(self.xp.cuda.Event(disable_timing=True))
            for each in (LEGACY, PER_THREAD):
                self.xp.cuda.ExternalStream(each).wait_event(done)

    # ---- tasks

    def prepare(self, task: Task) -> Any:
        """Return what issues a task."""
        found = self.launch_of(task)
        found.name = task.label
        return found

    def launch_of(self, task: Task) -> Any:
        """What issues a task, without its name in the log."""
        work = task.work
        detour = cache(lambda: Detour(self, task))
        if isinstance(work, Carry):
            return Into(self, work) if work.source == 0 else OutOf(self, work)
        if isinstance(work, Biased):
            return epilogues.added(self, task, work)
        if isinstance(work, Loops):
            if not all(work.shape):
                return Nothing(self)
            with self.device:
                bound = cuda_kernel(work, self.machine)
            if bound is not None:
                return Launches(self, bound, detour)
        elif isinstance(work.op, CustomOp):
            if work.op.cuda is not None:
                return Custom(self, work)
        elif work.label == "flat_index":
            return Checked(self, work)
        elif work.label == "add_rows":
            added = Added(self, work)
            if added.bound is not None:
                return added
        else:
            bound = bound_of(work, self.machine)
            if bound is not None:
                return Launches(self, bound, detour)
            product = products.multiply(self, work, detour) if work.label == "gemm" else None
            product = product or convolution(self, work, detour)
            if product is not None:
                return product
            function = function_of(work)
            if function is not None:
                return Call(self, work, function)
        return detour()

    def blas(self) -> products.Blas:
        """cuBLAS, for the stream."""
        if self.products is None:
            with self.device:
                made = products.Blas(self)  # it asks for memory: no lock is held
            with self.lock:
                self.products = self.products or made
        return self.products

    def custom(self, op: CustomOp, call: Typed) -> bool:
        """Compile a user's source for the dtypes of a call."""
        self.ready()
        with self.device:
            self.kernel(UserSource.of(op, call))
        return True

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
                function, each.grid, each.block, each.shared, self.stream.ptr, (block,), each.kernel
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
                code = source_code(source, self.capability)
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
            owner, stream = self.owner, self.owner.stream
            with owner.turns, owner.device, owner.timed(stream, "compute", "graph", "plan", 0):
                self.graph.launch(stream)
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


def source_code(source: Any, capability: int) -> bytes:
    """The machine code of a source."""
    if not isinstance(source, UserSource):
        return nvrtc.compiled(source.text, source.name, capability)
    try:
        return nvrtc.compiled(source.text, source.title, capability, own=source.options)
    except nvrtc.NvrtcError as error:
        nvrtc.refuse(source.title, error)
