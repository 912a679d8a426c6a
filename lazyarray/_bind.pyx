"""Flush and wait: gather the pending graph, find or lower its plan, bind it."""

# Design. A flush gathers what is pending, makes its key, and binds the plan found under it.
# Guarded by `lock` (an RLock, taken with the GIL): from the walk to the last push. Lowering is plain Python and runs outside
# it; afterwards the flush starts again and finds its plan. Nothing waits on the engine while holding it: admission comes
# first. The cyclic collector is off inside, or a finalizer could flush in the middle of a walk.

cimport cython
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

import os
import threading

import numpy as np

from lazyarray import _ir, _plan, schedule
from lazyarray._engine cimport admit, var_wait
from lazyarray._ir cimport CONST, ISSUED, PENDING, PLACEHOLDER, Node, Recorder, Type, leaf, recorder, settle
from lazyarray._memory cimport foreign_buffer
from lazyarray._plan cimport Plan, array_at, bind
from lazyarray._walk cimport Walk, gather, gather_template, graph_of, key_of

cimport numpy as cnp

cdef extern from "Python.h":
    int PyGC_Disable()
    int PyGC_Enable()

cnp.import_array()

cdef enum:
    PLAN_LIMIT = 1024

cdef object lock = threading.RLock()
cdef dict plans = {}
cdef uint64_t clock = 0
cdef Py_ssize_t n_flushes = 0, n_lowerings = 0, n_hits = 0


def fresh_lock():
    """In a forked child: the thread that held the lock is gone."""
    global lock
    lock = threading.RLock()


os.register_at_fork(after_in_child=fresh_lock)


cdef void remember(bytes key, Plan plan):
    cdef list ages
    if len(plans) >= PLAN_LIMIT:
        ages = sorted([((<Plan>p).used, k) for k, p in plans.items()])
        for _, old in ages[:PLAN_LIMIT // 2]:
            del plans[old]
    plans[key] = plan


cdef int flush_nodes(list targets, bint waiting) except -1:
    return flush_from(targets, None, waiting, False)


cdef int flush_live(Recorder rec) except -1:
    # All that the thread has recorded; what is kept is what a live handle, or a tape, still holds.
    return flush_from([], rec, False, False)


cdef int flush_from(list targets, Recorder live, bint waiting, bint together) except -1:
    global clock, n_flushes, n_lowerings, n_hits
    cdef Walk walk
    cdef Plan plan = None
    cdef bytes key
    cdef object graph
    cdef bint lowered = False, collecting
    admit(1, 0)
    while True:
        with lock:
            collecting = PyGC_Disable()
            try:
                if not gather(&walk, targets, live, together):
                    return 0
                key = key_of(&walk)
                plan = plans.get(key)
                if plan is not None:
                    n_flushes += 1
                    if not lowered:
                        n_hits += 1
                    clock += 1
                    plan.used = clock
                    bind(plan, &walk, None, waiting)
                    return 0
                graph = graph_of(&walk)
            finally:
                if collecting:
                    PyGC_Enable()
        plan = Plan(schedule.lower(graph), graph)
        n_lowerings += 1
        lowered = True
        with lock:
            remember(key, plan)


cdef int wait_node(Node node) except -1:
    if node.state == PENDING:
        flush_nodes([node], True)
    if node.state == ISSUED:
        var_wait(node.buffer.var)
    elif node.state == PLACEHOLDER:
        raise RuntimeError("an unbound Variable has no value; bind the Symbol first")
    return 0


cdef object numpy_view(Node node):
    # The waited-for value as an ndarray on its buffer, which it keeps alive.
    cdef object array
    if node.state == CONST:
        return np.frombuffer(node.number[:node.type.itemsize], node.type.dtype)[0:1].reshape(())
    array = array_at(
        node.buffer.ptr, node.type.shape, _ir.c_strides(node.type.shape, node.type.itemsize), node.type.dtype
    )
    cnp.set_array_base(array, node.buffer)
    return array


def flush(list targets, waiting=False):
    """Run the pending nodes among `targets` and what they need; `waiting` says that they are read next."""
    flush_nodes(targets, waiting)


def flush_step(list targets):
    """Run the pending nodes among `targets`, what they need, and what this thread has recorded on top of that."""
    flush_from(targets, None, False, True)


def wait(Node node):
    """Flush and wait for one node; raises what its computation raised."""
    wait_node(node)


def value(Node node):
    """The value of a node as an ndarray that shares its memory."""
    wait_node(node)
    return numpy_view(node)


def counters():
    """Counts since the process started."""
    return {
        "flushes": n_flushes, "lowerings": n_lowerings, "plan_hits": n_hits, "plans": len(plans), **_plan.counters(),
    }


def clear_plans():
    """Forget all plans."""
    plans.clear()


@cython.final
cdef class Compiled:
    """A program kept as it was recorded, to be run again on other leaves: replay records nothing.

    A call gives a value for each of `parameters`: typed placeholders, numbers (which stay numbers), and pending nodes, at
    which the program is cut. It is lowered at its first call.
    """

    cdef Walk walk
    cdef Plan plan
    cdef object graph
    cdef list order
    cdef list leaves                    # (leaf, place among the parameters or -1)
    cdef list outputs                   # (place of a computed node or -1, place among the parameters or -1, node)

    def __init__(self, list outputs, list parameters):
        cdef Py_ssize_t i
        cdef Node node
        cdef list cut = [each for each in parameters if (<Node>each).state == PENDING]
        cdef dict given = {(<Node>parameters[i]).serial: i for i in range(len(parameters))}
        with lock:
            for each in cut:
                (<Node>each).state = PLACEHOLDER
            try:
                gather_template(&self.walk, outputs)
                self.outputs = []
                for each in outputs:
                    node = <Node>each
                    if node.state == PENDING:
                        self.walk.kept[node.place] = 1
                        self.outputs.append((node.place, -1, node))
                    else:
                        self.outputs.append((-1, given.get(node.serial, -1), node))
                self.graph = graph_of(&self.walk)
                self.order = [<object>self.walk.order[i] for i in range(<Py_ssize_t>self.walk.order.size())]
                self.leaves = []
                for i in range(<Py_ssize_t>self.walk.leaves.size()):
                    node = <Node>self.walk.leaves[i]
                    self.leaves.append((node, given.get(node.serial, -1)))
            finally:
                for each in cut:
                    (<Node>each).state = PENDING
            for each in self.order:
                settle(<Node>each)

    def __call__(self, list values):
        """Run with `values` in place of the parameters; the nodes of the outputs."""
        cdef list substitutes = []
        cdef list results, targets
        cdef Node node
        cdef bint pinned = False
        if self.plan is None:
            self.plan = Plan(schedule.lower(self.graph), self.graph)
            self.graph = None
        targets = [each for each in values if (<Node>each).state == PENDING]
        if targets:
            flush_nodes(targets, False)
        for each, place in self.leaves:
            node = substitute(<Node>each, <Node>(values[place] if place >= 0 else each))
            pinned = pinned or node.pinned
            substitutes.append(node)
        admit(1, 0)
        with lock:
            found = dict(bind(self.plan, &self.walk, substitutes, False))
        results = [
            found[computed] if computed >= 0 else values[place] if place >= 0 else each
            for computed, place, each in self.outputs
        ]
        if pinned:
            # Its memory is also seen from outside, where it may be written as soon as this returns.
            for each in found.values():
                var_wait((<Node>each).buffer.var)
        return results


def withdraw(uint64_t serial):
    """Take what this thread has recorded after number `serial` off its pending work: it depends on placeholders."""
    cdef void* at = recorder().newest
    cdef Node node
    while at != NULL and (<Node>at).serial > serial:
        node = <Node>at
        at = node.before
        settle(node)


def is_pinned(Node node):
    """Whether the node's memory is also seen from outside."""
    return node.pinned


cdef Node substitute(Node leaf_node, Node value):
    # The value a compiled program reads instead of a leaf of the recorded one.
    cdef Type kind = leaf_node.type
    if value.type is not kind and (value.type.shape != kind.shape or value.type.dtype is not kind.dtype):
        raise RuntimeError(f"a compiled program that takes {kind!r} got {value.type!r}")
    if value.state == PLACEHOLDER:
        raise RuntimeError(f"a compiled program got no value for a parameter of type {kind!r}")
    if leaf_node.state == CONST and value.state != CONST:
        raise RuntimeError(f"a compiled program got {value!r} for a number")
    if value.state == CONST and leaf_node.state != CONST:
        memory = np.empty(16, np.uint8)
        memcpy(cnp.PyArray_DATA(<cnp.ndarray>memory), value.number, 16)
        return leaf(kind, foreign_buffer(cnp.PyArray_DATA(<cnp.ndarray>memory), kind.nbytes, memory))
    return value
