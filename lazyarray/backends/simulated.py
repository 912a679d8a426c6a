"""A device that is none: with memory, a stream and lanes of its own, it computes as the CPU does.

Programs are placed, copied, ordered and fail on it as on a GPU, so that what concerns devices is
tested where there is none. Its streams are threads that run what they are given in order and late:
one computes, two copy. Its memory goes back to its pool at once, to be written by what is issued
next; its addresses are none of the CPU's, so that a task which runs in the wrong place crashes.
"""

from __future__ import annotations

import ctypes
import gc
import queue
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from lazyarray import device
from lazyarray._engine import Lane
from lazyarray.errors import DeviceError, OutOfMemoryError, fail
from lazyarray.plan import Task
from lazyarray.works import Carry

from . import replay
from .host import host

KIND = "simulated"
FAR = 1 << 60  # added to addresses: no memory of the CPU's lies there
COUNT = 2
STAGED = 1 << 20  # bytes up to which who records carries them over
ASIDE = 1 << 6  # bytes from which a copy to the device overlaps what is computed there


class SimulatedMemory:
    """A block of the device's pool, to which it returns at once."""

    def __init__(self, owner: SimulatedDevice, nbytes: int) -> None:
        self.block = owner.take(nbytes)
        self.ptr = self.block.ctypes.data + FAR
        self.release = weakref.finalize(self, owner.give, self.block)
        self.release.atexit = False


class Stream:
    """A thread that does what it is given, in order."""

    def __init__(self, owner: SimulatedDevice, name: str) -> None:
        self.owner = owner
        self.name = name
        self.gate = threading.Event()  # closed: nothing runs, as on a device that is far behind
        self.gate.set()
        self.works: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None

    def put(self, work: Callable[[], None]) -> None:
        """Do it after what was put before."""
        with self.owner.lock:
            if self.thread is None or not self.thread.is_alive():
                name = f"{self.owner.name} {self.name}"
                self.thread = threading.Thread(target=self.serve, daemon=True, name=name)
                self.thread.start()
        self.works.put(work)

    def serve(self) -> None:
        """Do what is put."""
        while True:
            work = self.works.get()
            self.gate.wait()
            try:
                if self.owner.failure is None:
                    work()
            except BaseException as error:
                self.owner.failure = error

    def timed(self, work: Callable[[], None], kind: str, name: str, nbytes: int) -> None:
        """Do it now; the log keeps when."""
        start = time.monotonic_ns()
        try:
            work()
        finally:
            log = self.owner.log
            if log is not None:
                where = self.owner.name
                end = time.monotonic_ns()
                log.append(device.Event(kind, name, where, self.name, start, end, nbytes))


class SimulatedDevice:
    """A backend: a thread runs what is issued, in order."""

    def __init__(self, index: int) -> None:
        if not 0 <= index < COUNT:
            fail(DeviceError, KIND, f"there is no simulated device {index}", f"There are {COUNT}.")
        self.index = index
        self.name = f"{KIND}:{index}"
        self.lane = Lane(self.name)
        self.copies = Lane(f"{self.name} copies")
        self.capacity = 1 << 40  # bytes
        self.in_use = 0
        self.peak = 0
        self.spare: dict[int, list[np.ndarray]] = {}
        self.pooled = 0
        self.issued = 0
        self.captured: list[Callable[[], None]] | None = None
        self.failure: BaseException | None = None
        self.lock = threading.RLock()  # memory may be given back at any time
        self.log: list[device.Event] | None = None
        self.stream = Stream(self, "compute")
        self.into = Stream(self, "into")
        self.out = Stream(self, "out of")
        self.gate = self.stream.gate

    # ---- memory

    def allocate(self, nbytes: int) -> SimulatedMemory:
        """Return memory; where there is none, after what is kept for later is given up."""
        try:
            return SimulatedMemory(self, nbytes)
        except OutOfMemoryError:
            gc.collect()  # arrays in reference cycles
            self.synchronize()
            replay.forget(self)
            with self.lock:
                self.spare.clear()
                self.pooled = 0
        try:
            return SimulatedMemory(self, nbytes)
        except OutOfMemoryError as error:
            raise device.out_of_memory(self, str(error)) from None

    def take(self, nbytes: int) -> np.ndarray:
        """A block, from what has come back where there is one of its size."""
        size = max(512, -(-nbytes // 512) * 512)
        with self.lock:
            if self.spare.get(size):
                block = self.spare[size].pop()
                self.pooled -= size
            else:
                if self.in_use + self.pooled + size > self.capacity:
                    raise OutOfMemoryError(
                        f"{self.name}: no memory for {nbytes} bytes: {self.in_use} of"
                        f" {self.capacity} are in use"
                    )
                block = np.full(size, 0xA5, np.uint8)
            self.in_use += size
            self.peak = max(self.peak, self.in_use)
            return block

    def give(self, block: np.ndarray) -> None:
        """Take a block back."""
        with self.lock:
            self.in_use -= block.nbytes
            self.pooled += block.nbytes
            self.spare.setdefault(block.nbytes, []).append(block)

    def statistics(self) -> dict[str, int]:
        """Return memory in use, its peak and what is kept for later, in bytes."""
        return {"in_use": self.in_use, "peak": self.peak, "pooled": self.pooled}

    # ---- the streams

    def issue(self, work: Callable[[], None], name: str = "") -> None:
        """Let the stream run `work` after what was issued before; a kernel of that name."""
        if name:
            inner = work

            def work() -> None:
                self.stream.timed(inner, "kernel", name, 0)

        if self.captured is not None:
            self.captured.append(work)
            return
        with self.lock:
            self.issued += 1
        self.stream.put(work)

    def start_log(self) -> None:
        """Keep what streams do, and when."""
        self.log = []

    def stop_log(self) -> list[device.Event]:
        """Return what streams have done since `start_log`."""
        self.synchronize()
        found, self.log = self.log, None
        return found or []

    def write(self, memory: device.Memory, data: bytes) -> None:
        """Let the stream put a few bytes there."""
        at = near(memory.ptr)
        self.issue(lambda: move(at, data, len(data)))

    def capture(self, issue: Callable[[], None]) -> Captured:
        """Return what `issue` issues, which is not run now."""
        self.captured = []
        try:
            issue()
            return Captured(self, self.captured)
        finally:
            self.captured = None

    def wait(
        self, work: Callable[[], None], issue: Callable[[Callable[[], None]], None] | None = None
    ) -> None:
        """Issue `work` and wait until it is done; raise what it raised, or the stream before it."""
        done = threading.Event()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)
            finally:
                done.set()

        (issue or self.issue)(run)
        while not done.wait(0.01):
            if self.failure is not None:
                break
        if failed:
            raise failed[0]
        if self.failure is not None:
            raise DeviceError(f"{self.name}: the device has failed: {self.failure}")

    def synchronize(self) -> None:
        """Wait until all that was issued is done."""
        if self.issued:
            self.wait(lambda: None)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Let the stream copy within the device's memory."""
        self.issue(lambda: move(near(target), near(source), nbytes))

    def dlpack_device(self) -> tuple[int, int]:
        """Return DLPack's name of the device."""
        return (16, self.index)  # kDLExtDev

    # ---- memory that others see: on this stream, there is no other

    def dlpack_stream(self) -> int | None:
        """Return no stream: there is but one."""
        return None

    def lent(self, stream: int | None) -> None:
        """Hand memory over."""

    def borrowed(self) -> None:
        """Take memory."""

    def returned(self, kept: Any) -> None:
        """Let go of what has been kept when all that was issued is done."""
        self.issue(lambda: kept)

    def await_stream(self, other: int | None) -> None:
        """Wait for nobody."""

    def meet(self) -> None:
        """Wait for nobody."""

    def part(self) -> None:
        """Let nobody wait."""

    # ---- tasks

    def prepare(self, task: Task) -> Any:
        """Return what issues a task."""
        if isinstance(task.work, Carry):
            into = task.work.source == 0
            return Into(self, task.work) if into else OutOf(self, task.work)
        return Computation(self, task)

    def custom(self, op: Any, call: Any) -> bool:
        """Compile no CUDA: a user's function for the CPU computes here, too."""
        return False


class Captured:
    """Work that is issued as a whole."""

    def __init__(self, owner: SimulatedDevice, works: list[Callable[[], None]]) -> None:
        self.owner = owner
        self.works = works

    def launch(self) -> None:
        """Issue it."""
        self.owner.issue(self.run)

    def run(self) -> None:
        """Do it in order."""
        for work in self.works:
            work()


def move(target: int, source: Any, nbytes: int) -> None:
    """Copy bytes."""
    ctypes.memmove(target, source, nbytes)


def near(address: int) -> int:
    """Where a device's address lies in truth."""
    assert address >= FAR, "a device's task has got memory of the CPU"
    return address - FAR


@dataclass(slots=True)
class Into:
    """A copy to the device: from the CPU, through a staging buffer, or within devices."""

    owner: SimulatedDevice
    work: Carry
    lane: Any = None
    waits: bool = False
    turn: int = device.FIRST

    def __post_init__(self) -> None:
        self.lane = self.owner.copies
        self.waits = self.work.nbytes > STAGED

    @property
    def said(self) -> tuple[str, str, int]:
        """What the log says of it."""
        return "into", self.work.label, self.work.nbytes

    def __call__(self, args: list[Any]) -> None:
        """Issue it."""
        source, target = args
        owner, nbytes = self.owner, self.work.nbytes
        staged = source if isinstance(source, bytes) else ctypes.string_at(source, nbytes)
        at = near(target)
        if nbytes < ASIDE or owner.captured is not None:
            owner.issue(lambda: owner.stream.timed(lambda: move(at, staged, nbytes), *self.said))
            return
        # To memory of nobody else's; from there when all that used the target before is done.
        aside = SimulatedMemory(owner, nbytes)
        place = near(aside.ptr)
        arrived = threading.Event()

        def arrive() -> None:
            owner.into.timed(lambda: move(place, staged, nbytes), *self.said)
            arrived.set()

        def take() -> None:
            while not arrived.wait(0.01):
                if owner.failure is not None:
                    return
            move(at, place, nbytes)
            aside.release()

        owner.into.put(arrive)
        owner.issue(take)


@dataclass(slots=True)
class OutOf:
    """A copy from the device to the CPU, or to another device: waits until it has been made."""

    owner: SimulatedDevice
    work: Carry
    lane: Any = None
    waits: bool = True
    turn: int = device.LAST

    def __post_init__(self) -> None:
        self.lane = self.owner.copies

    def __call__(self, args: list[Any]) -> None:
        """Issue it."""
        source, target = args
        if self.work.target:
            # The other device's stream must be done with what it did in this memory before.
            device.backend_of(self.work.target).synchronize()
            target = near(target)
        if isinstance(source, bytes):
            ctypes.memmove(target, source, self.work.nbytes)
            return
        at = near(source)
        owner = self.owner

        def leave() -> None:
            said = "out of", self.work.label, self.work.nbytes
            owner.out.timed(lambda: move(target, at, self.work.nbytes), *said)

        # On a stream of its own, from where the other one is now.
        owner.wait(leave, lambda run: owner.issue(lambda: owner.out.put(run)))


class Computation:
    """What the CPU would run, on the stream."""

    turn = device.AMID

    def __init__(self, owner: SimulatedDevice, task: Task) -> None:
        self.owner = owner
        self.host = host(task.work)
        self.name = task.label
        self.lane = owner.lane
        # What can fail on data is looked at before what follows may begin.
        self.waits = task.op is not None and task.op.fallible

    def __call__(self, args: list[Any]) -> None:
        """Issue it."""
        kept = [ctypes.create_string_buffer(a, 16) for a in args if isinstance(a, bytes)]
        numbers = iter(kept)
        addresses = [
            ctypes.addressof(next(numbers)) if isinstance(a, bytes) else near(a) for a in args
        ]

        def run() -> None:
            self.host(addresses)
            kept.clear()

        if self.waits:
            self.owner.wait(run, lambda run: self.owner.issue(run, self.name))
        else:
            self.owner.issue(run, self.name)


@cache
def opened(index: int) -> SimulatedDevice:
    """The backend of a simulated device."""
    return SimulatedDevice(index)


def simulated(index: int = 0) -> device.Device:
    """Return a simulated device; see the head of this file.

    Parameters
    ----------
    index : int, default 0
        0 or 1.
    """
    return device.as_device(f"{KIND}:{index}")
