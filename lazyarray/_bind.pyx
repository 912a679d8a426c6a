"""Flush and wait: gather the pending graph, find or lower its plan, bind it."""

# Design. A flush gathers what is pending, makes its key, and binds the plan found under it.
# Guarded by `lock` (re-entrant, taken with the GIL): from the walk to the last push. Lowering is plain Python and runs outside
# it; afterwards the flush starts again and finds its plan. Nothing waits on the engine while holding it: admission comes
# first. The cyclic collector is off inside, or a finalizer could flush in the middle of a walk.

cimport cython
from cpython.pythread cimport (
    NOWAIT_LOCK, WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_get_thread_ident,
    PyThread_release_lock,
)
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

import gc
import os
import warnings

import numpy as np

from lazyarray import _ir, _memory, _plan, parts, schedule, tiers
from lazyarray import device as devices
from lazyarray._engine cimport admit, var_wait
from lazyarray._ir cimport CONST, ISSUED, PENDING, PLACEHOLDER, Node, Recorder, Type, leaf, make, recorder, settle, transfer_node
from lazyarray._memory cimport Buffer, fits_limit, foreign_buffer, no_memory, wait_busy
from lazyarray._memory import NoRoom
from lazyarray._plan cimport Plan, Taker, array_at, bind, speak
from lazyarray._trace cimport active, alive, spoil, watching
from lazyarray._walk cimport Walk, forgo, gather, gather_alone, gather_template, graph_of, key_of, lend, take_back

cimport numpy as cnp

cdef extern from "Python.h":
    int PyGC_Disable()
    int PyGC_Enable()

cnp.import_array()

cdef enum:
    LINES = 1024                # whose variants are counted


@cython.final
cdef class Lock:
    """A re-entrant lock. Waiting for it lets go of the GIL; taking it when it is free makes no Python object."""

    def __cinit__(self):
        self.inner = PyThread_allocate_lock()
        if self.inner == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyThread_free_lock(self.inner)

    cdef void acquire(self) noexcept:
        cdef long me = PyThread_get_thread_ident()
        cdef PyThread_type_lock inner = self.inner
        if not self.depth or self.owner != me:
            if not PyThread_acquire_lock(inner, NOWAIT_LOCK):
                with nogil:
                    PyThread_acquire_lock(inner, WAIT_LOCK)
            self.owner = me
        self.depth += 1

    cdef void release(self) noexcept:
        self.depth -= 1
        if not self.depth:
            PyThread_release_lock(self.inner)

    def __enter__(self):
        self.acquire()

    def __exit__(self, *exception):
        self.release()


cdef Lock lock = Lock()
cdef object forget_values = None    # memory.py: gives up values that can be computed again
cdef int frugal = 0
cdef dict plans = {}                # key -> Plan; at most so many, which take at most so many bytes:
cdef Py_ssize_t max_plans = int(os.environ.get("LAZYARRAY_PLANS", "1024"))
cdef Py_ssize_t max_plan_bytes = int(os.environ.get("LAZYARRAY_PLAN_BYTES", str(256 << 20)))
cdef Py_ssize_t plan_bytes = 0      # with their keys
cdef dict variants = {}             # line -> plans made for what was recorded up to there
cdef int VARIANTS = int(os.environ.get("LAZYARRAY_VARIANTS", "256"))   # of a line, past which it warns; 0: it does not
cdef uint64_t clock = 0
cdef Py_ssize_t n_flushes = 0, n_lowerings = 0, n_hits = 0, n_evicted = 0
cdef Py_ssize_t NO_HEAT = tiers.NO_HEAT
cdef object inspector = None        # debug.py: runs the nodes of a flush one by one


def fresh_lock():
    """In a forked child: the thread that held the lock is gone."""
    global lock
    lock = Lock()


os.register_at_fork(after_in_child=fresh_lock)


cdef int remember(bytes key, Plan plan) except -1:
    # The caller holds the lock.
    global clock, plan_bytes
    if key in plans:
        return 0        # another thread was faster
    plans[key] = plan
    plan_bytes += plan.nbytes + len(key)
    clock += 1
    plan.used = clock
    if len(plans) > max_plans or plan_bytes > max_plan_bytes:
        forget_plans()
    return 0


cdef int forget_plans() except -1:
    # Those used longest ago, an eighth more than must go: sorting then costs nothing. The newest stays, whatever it takes.
    global plan_bytes, n_evicted
    cdef bytes key
    cdef Plan plan
    cdef Py_ssize_t count = max_plans - max_plans // 8, nbytes = max_plan_bytes - max_plan_bytes // 8
    cdef list ages = sorted([((<Plan>p).used, k) for k, p in plans.items()])
    ages.pop()
    for _, key in ages:
        if len(plans) <= count and plan_bytes <= nbytes:
            break
        plan = plans.pop(key)
        plan_bytes -= plan.nbytes + len(key)
        n_evicted += 1
    return 0


cdef list complaints = tiers.complaints


cdef int complain() except -1:
    # The compiling thread's warnings, given by a thread of the user's.
    while complaints:
        message, site = complaints.pop()
        file, _, line = (_plan.line_of(site) if site[0] is not None else "<unknown>:0").rpartition(":")
        warnings.warn_explicit(message, RuntimeWarning, file, int(line))
    return 0


cdef list raw_sites(Walk* walk):
    # Where each node was recorded.
    cdef Py_ssize_t i
    return [(<Node>walk.order[i]).raw_site for i in range(<Py_ssize_t>walk.order.size())]


cdef list sites_of(Walk* walk, object program):
    # Where the ops that a program's tasks are blamed on were recorded.
    cdef list sites = raw_sites(walk)
    return [sites[task.place] for task in program.tasks]


cdef Plan lowered_plan(object graph, list sites):
    # No lock is held: with LAZYARRAY_TIER=1 it waits for the compiler.
    program = schedule.lower(graph)
    tiers.improve(program, [sites[task.place] for task in program.tasks])
    return Plan(program, graph)


cdef int warm(Plan plan, Walk* walk) except -1:
    # Before a run of a plan that has not been reported as hot; the caller holds the lock.
    plan.heat += plan.cost + 1
    if plan.heat >= plan.limit:
        plan.limit = tiers.heated(plan.program, sites_of(walk, plan.program), plan.heat, swapper(plan))
    elif not plan.runs:
        plan.limit = tiers.HEAT
        if plan.cost >= tiers.LOOK_HEAT:
            tiers.look(plan.program, sites_of(walk, plan.program), swapper(plan))
    plan.runs += 1
    return 0


def swapper(Plan plan):
    """The function that gives a plan another kernel."""
    def swap(index, kernel):
        with lock:
            plan.swap(index, kernel)
    return swap


cdef int flush_nodes(list targets, bint waiting) except -1:
    return flush_from(targets, None, waiting, False)


cdef int flush_live(Recorder rec) except -1:
    # All that the thread has recorded; what is kept is what a live handle, or a tape, still holds.
    if postponed and still_no_room(rec):
        return 0
    return flush_from([], rec, False, False)


cdef int flush_from(list targets, Recorder live, bint waiting, bint together) except -1:
    if inspector is not None:
        return inspect_nodes(targets, live, together)
    return flush_now(targets, live, waiting, together, False)


cdef int inspect_nodes(list targets, Recorder live, bint together) except -1:
    # The inspector gets what would run, oldest last, and has it run by `flush_uninspected`.
    cdef Walk walk
    cdef list nodes = []
    cdef Py_ssize_t i
    cdef bint collecting
    with lock:
        collecting = PyGC_Disable()
        try:
            if gather(&walk, targets, live, together):
                nodes = [<object>walk.order[i] for i in range(<Py_ssize_t>walk.order.size() - 1, -1, -1)]
        finally:
            if collecting:
                PyGC_Enable()
    if nodes:
        inspector(nodes)
    return 0


cdef int flush_now(list targets, Recorder live, bint waiting, bint together, bint alone) except -1:
    # `alone`: with nothing that need not be, keeping little; raises NoRoom.
    global clock, n_flushes, n_lowerings, n_hits
    cdef Walk walk
    cdef Plan plan = None
    cdef bytes key
    cdef object graph, short, split
    cdef bint lowered = False, collecting
    cdef int given_up = frugal or alone
    cdef Lock held = lock
    if complaints:
        complain()
    admit(1, 0)
    if always and not alone:
        return flush_in_parts(targets, live, together, None)
    while True:
        short = None
        held.acquire()
        collecting = PyGC_Disable()
        lend(&walk)
        try:
            if not (gather_alone(&walk, targets) if alone else gather(&walk, targets, live, together)):
                return 0
            if given_up:
                forgo(&walk, targets, live is not None)
            key = key_of(&walk)
            plan = plans.get(key)
            split = known_split(key) if splits and not given_up else None
            if split is not None:
                short = split[1]
            elif plan is not None:
                n_flushes += 1
                if not lowered:
                    n_hits += 1
                clock += 1
                plan.used = clock
                if plan.limit != NO_HEAT:
                    warm(plan, &walk)
                try:
                    bind(plan, &walk, None, waiting, None)
                    return 0
                except NoRoom as error:
                    short = error
            else:
                graph = graph_of(&walk)
                sites = raw_sites(&walk)
        finally:
            take_back(&walk)
            if collecting:
                PyGC_Enable()
            held.release()
        if short is not None:
            if split is None and not alone and given_up <= 2:
                given_up = make_room(short, given_up)
            elif split is not None or not wait_busy():
                if alone:
                    raise short
                return flush_in_parts(targets, live, together, short)
            continue
        plan = lowered_plan(graph, sites)
        n_lowerings += 1
        lowered = True
        count_variant(sites[len(sites) - 1])
        with lock:
            remember(key, plan)


cdef int count_variant(tuple site) except -1:
    # Warns once of a line whose work needs ever new plans: its shapes change, or its structure.
    cdef object count
    if VARIANTS <= 0 or site[0] is None:
        return 0
    if len(variants) > LINES:
        variants.clear()
    count = variants[site] = variants.get(site, 0) + 1
    if count == VARIANTS + 1:
        file, _, line = _plan.line_of(site).rpartition(":")
        warnings.warn_explicit(
            f"what ends here has been planned in {count} variants; each new shape or structure costs a plan"
            " (LAZYARRAY_VARIANTS sets from how many on this is said)",
            RuntimeWarning, file, int(line),
        )
    return 0


cdef int make_room(object short, int given_up) except -1:
    # No lock is held. Tasks that end are waited for; then what is cheap to compute again is not kept, then no more held
    # for gradients; then arrays in reference cycles go. Returns how far it had to go.
    if wait_busy():
        return given_up
    if given_up == 1 and forget_values is not None and fits_limit(short.nbytes):
        forget_values(short.needed)
    elif given_up == 2:
        gc.collect()
    elif given_up > 2:
        raise no_memory(short.what, short.where)
    return given_up + 1


include "native/bind_parts.pxi"


cdef list bind_now(Plan plan, Walk* walk, list substitutes, bint waiting, Taker take):
    # The caller holds the lock.
    if plan.limit != NO_HEAT:
        warm(plan, walk)
    return bind(plan, walk, substitutes, waiting, take)


cdef Lock runtime_lock():
    return lock


cdef object inspecting():
    return inspector


cdef list bind_again(Plan plan, Walk* walk, list substitutes):
    # A compiled program on other leaves, once there is room for it; None where there is not.
    cdef int given_up = 0
    while True:
        try:
            with lock:
                return bind_now(plan, walk, substitutes, False, None)
        except NoRoom as error:
            short = error
        if given_up <= 2:
            given_up = make_room(short, given_up)
        elif not wait_busy():
            return None


def set_frugal(bint on):
    """Keep as little as for want of memory, whether there is any or not: for tests."""
    global frugal
    frugal = on


def set_forget_values(function):
    """Let `function(nbytes)` give up so many bytes of values that can be computed again."""
    global forget_values
    forget_values = function


cdef int wait_node(Node node) except -1:
    cdef Buffer buffer
    if watching:
        spoil("it looks at a value")
    if node.state == PENDING:
        flush_nodes([node], True)
    if node.state == ISSUED:
        buffer = node.buffer        # held, so that its value is not given up meanwhile
        var_wait(buffer.var)
        if node.type.device:        # so far it has been issued
            devices.backend_of(node.type.device).synchronize()
    elif node.state == PLACEHOLDER:
        raise RuntimeError("an unbound Variable has no value; bind the Symbol first")
    return 0


cdef int observe_node(Node node) except -1:
    """Wait for a value that the user wants to see; floating-point warnings are issued now."""
    wait_node(node)
    return speak()


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
    if watching and alive():
        active().deferred.append((targets, False))
        return
    flush_nodes(targets, waiting)


def flush_step(list targets):
    """Run the pending nodes among `targets`, what they need, and what this thread has recorded on top of that."""
    if watching and alive():
        active().deferred.append((targets, True))
        return
    flush_from(targets, None, False, True)


def flush_uninspected(list targets):
    """Run what is pending among `targets` and what they need, whoever inspects."""
    flush_now(targets, None, True, False, False)


def set_inspector(function):
    """Let `function(nodes)` run the pending nodes of each flush, oldest last; None: as usual. Returns the one before."""
    global inspector
    before, inspector = inspector, function
    return before


def sketch(list targets):
    """What a flush of `targets` would run: (graph, nodes, leaves, cached plan or None), or None. Nothing runs or changes."""
    cdef Walk walk
    cdef Py_ssize_t i
    cdef bint collecting
    with lock:
        collecting = PyGC_Disable()
        try:
            if not gather(&walk, targets, None, False):
                return None
            return (
                graph_of(&walk),
                [<object>walk.order[i] for i in range(<Py_ssize_t>walk.order.size())],
                [<object>walk.leaves[i] for i in range(<Py_ssize_t>walk.leaves.size())],
                plans.get(key_of(&walk)),
            )
        finally:
            if collecting:
                PyGC_Enable()


def wait(Node node):
    """Flush and wait for one node; raises what its computation raised."""
    wait_node(node)


def value(Node node):
    """The value of a node as an ndarray that shares its memory; of one on another device, on a copy."""
    node = transfer_node(node, 0)
    wait_node(node)
    return numpy_view(node)


def counters():
    """Counts since the process started."""
    return {
        "flushes": n_flushes, "lowerings": n_lowerings, "plan_hits": n_hits, "plans": len(plans),
        "plan_bytes": plan_bytes, "plan_evictions": n_evicted, "parts": n_parts, **_plan.counters(),
    }


def clear_plans():
    """Forget all plans."""
    global plan_bytes
    with lock:
        plans.clear()
        plan_bytes = 0


def bound_plans(Py_ssize_t count, Py_ssize_t nbytes):
    """Keep at most so many plans, which take at most about so many bytes themselves. Returns the bounds before.

    LAZYARRAY_PLANS and LAZYARRAY_PLAN_BYTES set them in the environment.
    """
    global max_plans, max_plan_bytes
    with lock:
        before = max_plans, max_plan_bytes
        max_plans, max_plan_bytes = max(1, count), max(0, nbytes)
        if len(plans) > max_plans or plan_bytes > max_plan_bytes:
            forget_plans()
    return before


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
            self.plan = lowered_plan(self.graph, raw_sites(&self.walk))
            self.graph = None
        targets = [each for each in values if (<Node>each).state == PENDING]
        if targets:
            flush_nodes(targets, False)
        if inspector is not None:
            return self.inspected(values)
        for each, place in self.leaves:
            node = substitute(<Node>each, <Node>(values[place] if place >= 0 else each))
            pinned = pinned or node.pinned
            substitutes.append(node)
        admit(1, 0)
        if pinned:
            devices.meet()
        made = bind_again(self.plan, &self.walk, substitutes)
        if made is None:
            results = self.inspected(values)    # recorded once more, it may run in parts
            if pinned:
                for each in results:
                    wait_node(<Node>each)
            return results
        found = dict(made)
        results = [
            found[computed] if computed >= 0 else values[place] if place >= 0 else each
            for computed, place, each in self.outputs
        ]
        if pinned:
            # Its memory is also seen from outside, where it may be written as soon as this returns.
            for each in found.values():
                var_wait((<Node>each).buffer.var)
            devices.part()
        return results

    cdef list inspected(self, list values):
        # Recorded once more, each op with its own line, for the inspector to run one by one.
        cdef Recorder rec = recorder()
        cdef bint recording = rec.recording
        cdef dict made = {}
        cdef Node node, new
        cdef list results
        for each, place in self.leaves:
            made[(<Node>each).serial] = substitute(<Node>each, <Node>(values[place] if place >= 0 else each))
        rec.recording = False
        try:
            for each in self.order:
                node = each
                new = make(node.op, tuple([made[(<Node>n).serial] for n in node.inputs]), node.attrs, node.type, node.offset)
                new.code = node.code
                new.lasti = node.lasti
                made[node.serial] = new
        finally:
            rec.recording = recording
        results = [
            made[(<Node>each).serial] if computed >= 0 else values[place] if place >= 0 else each
            for computed, place, each in self.outputs
        ]
        made = node = new = None        # references that would count as handles
        flush_nodes(results, False)
        return results


def withdraw(uint64_t serial):
    """Take what this thread has recorded after number `serial` off its pending work: it depends on placeholders."""
    cdef void* at = recorder().newest
    cdef Node node
    while at != NULL and (<Node>at).serial > serial:
        node = <Node>at
        at = node.before
        settle(node)


def buffer_of(Node node):
    """The Buffer of an issued node, or None."""
    return node.buffer


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
