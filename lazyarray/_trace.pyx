"""Traces: what a thread touches, makes and writes while jit watches it."""

# Design. A function is traced by running it as it is: the front end tells the thread's Trace which Storages it reads and
# writes, which it makes, and what cannot be done again without Python. `jit` makes a program of that afterwards.
# A Trace holds Storages and handles, never Nodes: an extra reference to a Node would change what is copied and kept.
# Guarded by the GIL. Each thread has at most one Trace; `watching` counts them all, so that without one a hook costs a load.

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

import os
import sys

cdef extern from *:
    """
    static thread_local PyObject* la_trace = nullptr;
    """
    PyObject* la_trace              # borrowed: `with` holds it

cdef int watching = 0
cdef str home = os.path.dirname(os.path.abspath(__file__)) + os.sep


cdef class Trace:
    """What one call touches; a `with` block that watches this thread."""

    def __cinit__(self):
        self.touched = {}
        self.handles = set()
        self.storages = {}
        self.versions = {}
        self.effects = []
        self.deferred = []
        self.literals = set()
        self.numbers = {}
        self.proxies = []
        self.seen = set()
        self.kinds = {}
        self.conditions = {}

    def __enter__(self):
        global la_trace, watching
        la_trace = <PyObject*>self
        watching += 1
        return self

    def __exit__(self, *exception):
        global la_trace, watching
        la_trace = NULL
        watching -= 1

    cdef void touch(self, object storage, object handle, uint64_t serial, int kind) except *:
        cdef list entry
        if id(storage) in self.storages:
            return
        entry = self.touched.get(id(storage))
        if entry is None:
            entry = self.meet(storage, serial, kind)
        elif serial != (entry[3] or entry[1]):
            self.spoil("another thread writes what it reads", True)
        if handle is not None and id(handle) not in self.handles:
            entry[2][id(handle)] = handle

    cdef void wrote(self, object storage, uint64_t serial) except *:
        entry = self.touched.get(id(storage))
        if entry is not None:
            entry[3] = serial
            self.version(storage, serial)

    def meet(self, storage, uint64_t serial, int kind):
        """Note a Storage from outside."""
        cdef list entry = [storage, serial, {}, 0]      # the node met first, handles, the node written last
        self.touched[id(storage)] = entry
        self.kinds[id(storage)] = kind
        self.version(storage, serial)
        return entry

    def version(self, storage, uint64_t serial):
        """Note that a Storage from outside holds that node."""
        if self.versions.setdefault(serial, id(storage)) != id(storage):
            self.versions[serial] = None

    def spoil(self, reason, again=False):
        """Say why this trace cannot be used; the first reason counts."""
        if self.reason is None:
            self.reason = f"{reason} at {line()}"
            self.again = again

    def refuse(self, reason, again=False):
        """Say why this trace cannot be used, where no line is to blame."""
        self.reason, self.again = reason, again

    def looked(self, uint64_t serial):
        """Note that Python asks for the number that a node holds."""
        if serial in self.numbers:
            self.numbers[serial][0].look()
        elif serial in self.versions:
            self.spoil("it looks at a value")

    def made(self, handle, storage):
        """Note a new handle, and its Storage if that is new."""
        self.handles.add(id(handle))
        if storage is not None:
            self.storages[id(storage)] = storage


cdef Trace active():
    """The Trace of this thread, or None."""
    return None if la_trace == NULL else <Trace><object>la_trace


cdef bint alive():
    """Whether this thread is traced, so far with success."""
    return la_trace != NULL and (<Trace><object>la_trace).reason is None


cdef void spoil(str reason) except *:
    if la_trace != NULL:
        (<Trace><object>la_trace).spoil(reason)


def current():
    """The Trace of this thread, or None."""
    return active()


def cannot(reason, again=False):
    """Say that what this thread does now cannot be done again without Python; with `again` it is not done every time."""
    if la_trace != NULL:
        (<Trace><object>la_trace).spoil(reason, again)


def line():
    """'file:line' of the innermost frame outside lazyarray."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(home):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
