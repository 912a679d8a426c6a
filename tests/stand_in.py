"""A module in the place of CuPy, on memory of the CPU, for the code that would drive a GPU.

It answers at once and in order. Nothing that it shows holds for a GPU but this: that the calls are
those which CuPy has, and that the right memory, kernels and numbers are handed on.
"""

import contextlib
import ctypes
import threading
import time
import types

import blas_stand_in
import cuda_loops
import numpy as np

from lazyarray.backends import cuda, driver, epilogues, products, tasks

MEMORY = 1 << 30
PLACE = 7  # the GPU that has all memory, for those who ask
STREAM = threading.RLock()  # does one thing at a time, whoever issued it
LOG = []  # of events: ("record", stream) and ("wait", stream, for which)


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class Current(contextlib.AbstractContextManager):
    """Something that is made current."""

    def __exit__(self, *exception):
        return None


class Device(Current):
    """As CuPy's."""

    compute_capability = "90"

    def __init__(self, index):
        self.id = index
        self.attributes = {"MultiProcessorCount": 4}


class Event:
    """As CuPy's."""

    done = True

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.stream = None

    def record(self, stream=None):
        self.stream = stream
        self.time = time.perf_counter()
        LOG.append(("record", stream.ptr))

    def synchronize(self):
        pass


class Stream(Current):
    """As CuPy's."""

    made = 100  # 1 and 2 are the default streams

    def __init__(self, null=False, non_blocking=False):
        Stream.made += 1
        self.ptr = Stream.made

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        assert isinstance(event, Event)
        LOG.append(("wait", self.ptr, event.stream.ptr))

    def synchronize(self):
        pass

    def begin_capture(self, mode=None):
        Graph.recording = Graph()

    def end_capture(self):
        graph, Graph.recording = Graph.recording, None
        return graph


class ExternalStream(Stream):
    """As CuPy's: a stream of somebody else's."""

    def __init__(self, ptr, device_id=-1):
        self.ptr = ptr


class Graph:
    """As CuPy's: what was issued while it was captured."""

    recording = None

    def __init__(self):
        self.works = []

    def launch(self, stream=None):
        with STREAM:
            for work in self.works:
                work()


def issued(work):
    """Do it, or let the graph that is captured have it."""
    if Graph.recording is not None:
        Graph.recording.works.append(work)
    else:
        with STREAM:
            work()


def late(issue):
    """The issue of a task that the stand-in's library would do at once."""
    return lambda self, args: issued(lambda: issue(self, args))


class Block:
    """Memory of a pool."""

    def __init__(self, pool, nbytes):
        if pool.used + nbytes > pool.limit:
            raise OutOfMemoryError(f"{nbytes} bytes")
        self.pool, self.nbytes = pool, nbytes
        self.room = np.full(nbytes + 256, 0xA5, np.uint8)
        self.ptr = -(-self.room.ctypes.data // 256) * 256
        pool.used += nbytes

    def __del__(self):
        if hasattr(self, "nbytes"):
            self.pool.used -= self.nbytes


class MemoryPool:
    """As CuPy's."""

    def __init__(self):
        self.used, self.limit = 0, MEMORY

    def malloc(self, nbytes):
        return Block(self, nbytes)

    def free_all_blocks(self, stream=None):
        pass

    def used_bytes(self):
        return self.used

    def total_bytes(self):
        return self.used


class Pinned(bytearray):
    """Pinned memory, a buffer as CuPy's."""

    @property
    def ptr(self):
        return ctypes.addressof((ctypes.c_char * len(self)).from_buffer(self))


def ndarray(shape, dtype, memptr, strides):
    """As CuPy's, on the CPU."""
    address, nbytes = memptr
    room = (ctypes.c_char * nbytes).from_address(address)
    return np.ndarray(shape, dtype, room, 0, strides).view(Found)


class Found(np.ndarray):
    """An array of the library's own: it knows where it begins."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)


def argsort(x, axis=-1, kind=None):
    return np.argsort(x, axis=axis, kind=kind).view(Found)


def memset_async(target, value, nbytes, stream):
    issued(lambda: ctypes.memset(target, value, nbytes))


def memcpy_async(target, source, nbytes, kind, stream):
    issued(lambda: ctypes.memmove(target, source, nbytes))


def stand_in():
    """The module."""
    runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 1,
        memGetInfo=lambda: (0, MEMORY),
        memcpyAsync=memcpy_async,
        memsetAsync=memset_async,
        memcpyDeviceToHost=2,
        memcpyHostToDevice=1,
        memcpyDeviceToDevice=3,
        memcpyDefault=4,
        pointerGetAttributes=lambda address: types.SimpleNamespace(device=PLACE),
    )
    found = types.ModuleType("numpy")  # the library's functions are NumPy's
    found.__dict__.update(np.__dict__)
    found.ndarray = ndarray
    found.argsort = argsort
    found.cuda = types.SimpleNamespace(
        runtime=runtime,
        Device=Device,
        Stream=Stream,
        ExternalStream=ExternalStream,
        Event=Event,
        MemoryPool=MemoryPool,
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        alloc_pinned_memory=Pinned,
        UnownedMemory=lambda ptr, nbytes, owner, index: (ptr, nbytes),
        MemoryPointer=lambda memory, offset: memory,
        get_allocator=lambda: None,
        set_allocator=lambda allocator=None: None,
        get_elapsed_time=lambda a, b: 1e3 * (b.time - a.time),
    )
    return found


class Kernels:
    """A source's kernels, compiled for the CPU."""

    def __init__(self, folder, source):
        self.users = isinstance(source, tasks.UserSource)
        if self.users:
            self.library = cuda_loops.compiled_source(folder, source.text, source.title)
        else:
            self.library = cuda_loops.Shim(folder, source.kernels).library

    def function(self, name, shared):
        found = getattr(self.library, f"run_{name}")
        return (
            (lambda own, *sizes: found(pointers(own), *sizes))
            if self.users
            else (lambda own, *sizes: found(*own, *sizes))
        )


def pointers(parameters):
    """The places of parameters, as the driver takes them."""
    rooms = [ctypes.create_string_buffer(each, len(each)) for each in parameters]
    found = (ctypes.c_void_p * len(rooms))(*map(ctypes.addressof, rooms))
    found.rooms = rooms
    return found


def launch(function, grid, block, shared, stream, parameters, name):
    sizes = [(ctypes.c_uint * 3)(*(*each, 1, 1)[:3]) for each in (grid, block)]
    issued(lambda: function(parameters, *sizes))


def install(monkeypatch, folder):
    """Let GPU 0 be the stand-in's."""
    module = stand_in()
    monkeypatch.setattr(cuda, "cupy", lambda: module)
    monkeypatch.setattr(driver, "launch", launch)
    module.blas = blas_stand_in.Blas(issued)
    module.light = blas_stand_in.Lt(issued)
    monkeypatch.setattr(products, "library", lambda: module.blas)
    monkeypatch.setattr(epilogues, "library", lambda: module.light)
    for each in (tasks.Call, tasks.Added):  # the library's functions are in a graph, too
        monkeypatch.setattr(each, "issue", late(each.issue))
    known = {}

    def kernel(self, source):
        if source.name not in known:
            known[source.name] = Kernels(folder, source)
        return known[source.name]

    monkeypatch.setattr(cuda.Gpu, "kernel", kernel)
    return module
