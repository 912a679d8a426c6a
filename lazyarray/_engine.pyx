# Design. A Var is the queue of tasks that still want one buffer: readers of one version run together, a writer alone, in
# push order. A Task counts the Vars that have not granted it yet (`blocked`); at 0 it is ready, and a worker of its Lane runs it.
# One lock (`engine.lock`) guards queues, grants, poison, ready tasks, waiters and lanes, so a push on several Vars is atomic;
# its sections are tens of nanoseconds and make no system call (benchmarks/engine.py: locks per Var were not needed).
# Lock order: GIL, then engine.lock. The GIL is never taken, and no Python object touched, with the lock held.
# Counts that other threads poll (pending, pending_writes, version, poison) are written under the lock, with release stores.
# Turns: at most `limit` threads of a lane run tasks. A task that waits inside gives its turn away, a spare worker takes it, and
# on return it gets the next free turn before any new task. A waiting outside thread helps with native tasks if a turn is free,
# and runs a short Python task itself if that is what it waits for.
# Memory: a busy Var holds one reference to its VarState. A finished Task and a dropped Poison are retired to a lock-free
# stack, because they own Python objects; Python threads free them in push, wait and admit, or in a pending call.
# Failures: a Poison is one failure. Tasks that read a poisoned Var do not run and pass it on, unless they say which writes
# depend on it: then these alone inherit it. A plain write removes it.
# Forks: `before` closes the gate for other threads' pushes once nothing is pending, so the child has an idle engine.

import atexit
import os
from collections import namedtuple
from types import TracebackType

from libc.stdint cimport int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset, strcmp
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetString

from lazyarray.errors import EngineError


cdef extern from "Python.h":
    ctypedef struct PyThreadState
    ctypedef struct PyFrameObject
    ctypedef struct PyCodeObject
    ctypedef int (*AuditHook)(const char* event, PyObject* args, void* data)
    ctypedef enum PyGILState_STATE:
        pass
    PyGILState_STATE PyGILState_Ensure() nogil
    void PyGILState_Release(PyGILState_STATE) nogil
    PyThreadState* PyEval_SaveThread() nogil
    void PyEval_RestoreThread(PyThreadState*) nogil
    PyFrameObject* PyEval_GetFrame()
    PyCodeObject* PyFrame_GetCode(PyFrameObject*)
    int PyFrame_GetLasti(PyFrameObject*)
    int PyCode_Addr2Line(PyCodeObject*, int)
    const char* PyUnicode_AsUTF8(object) except NULL
    int PySys_AddAuditHook(AuditHook, void*)
    int Py_AddPendingCall(int (*func)(void*), void* arg) nogil


cdef extern from *:
    """
    #include <frameobject.h>
    static PyObject* la_bare_frame(const char* file, const char* name, int line, PyObject* globals) {
        PyCodeObject* code = PyCode_NewEmpty(file, name, line);
        if (!code) return NULL;
        PyObject* frame = (PyObject*)PyFrame_New(PyThreadState_Get(), code, globals, NULL);
        Py_DECREF(code);
        return frame;
    }
    """
    object la_bare_frame(const char*, const char*, int, object)


cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_join(pthread_t, void**)


cdef extern from "engine.hpp" namespace "la" nogil:
    T load[T](const T*)
    void store[T, V](T*, V)
    T add[T, V](T*, V)
    bint replace[T](T*, T, T)
    bint spin(const int*, int64_t)
    int64_t now_ns()
    void default_float_environment()
    cppclass FloatEnvironment:
        void enter()
        void leave()
    cppclass Mutex:
        void reset()
        void lock()
        void unlock()
    cppclass Parker:
        void unpark()
        bint park(int64_t)
    cppclass ParkerPool:
        void after_fork()
    ParkerPool& parkers()
    Parker* my_parker()
    cppclass Wakes:
        int n
        void add(Parker*)
        void send()
    void* get_frame()
    void set_frame(void*)
    uint64_t thread_number()
    void forget_thread_number()
    int start_thread(void* (*)(void*) noexcept nogil, void*, const char*, int, pthread_t*)
    cppclass Stack[T]:
        void push(T*)
        bint empty()
        T* take_all()
    cppclass ReadyQueue[T]:
        bint empty()
        void put(T*)
        T* top()
        T* take()
    enum EventKind:
        PUSH, READY, START, END
    cppclass VarUse:
        uint64_t var, version
        bint write
    cppclass LogEvent:
        EventKind kind
        int64_t time
        uint64_t task, thread
        const char* name
        size_t uses, n_uses
    cppclass EventLog:
        size_t lost
        EventLog(size_t)
        bint add(EventKind, uint64_t, const char*)
        void use(uint64_t, uint64_t, bint)
        size_t size()
        LogEvent* event_at(size_t)
        VarUse* use_at(size_t)


cdef int64_t TICK = 50_000_000        # ns between looks at signals in a wait
cdef int64_t WORKER_SPIN = 20_000     # ns, about twice what a wake costs
cdef int64_t WAIT_SPIN = 10_000       # ns
cdef int64_t HELPED_SPIN = 50_000     # ns, where others are in the last units of what this thread helped with
cdef int PYTHON_BATCH = 64            # Python tasks in a row before a worker offers the GIL
cdef int MAX_ROOTS = 1024             # failures kept for wait_all; the rest are counted
cdef int DROPPED = -1                 # code of a task that was dropped at exit


# --- Data ---------------------------------------------------------------------------------------------------------------

# What a Task and a Poison begin with: the Python objects to release before the memory.
cdef struct Retired:
    Retired* next
    PyObject* first
    PyObject* second
    PyObject* third

cdef struct Poison:
    Retired dead                # first: the exception, or NULL until second.error(index, code) is asked for it
    int refs
    int index
    int code
    uint64_t seq                # of the task that failed
    bint root                   # listed in engine.roots, which holds one reference
    Poison* root_before
    Poison* root_after

# A task's place in one Var's queue.
cdef struct Link:
    Task* task
    VarState* var
    Link* next
    bint read
    bint write

# What a native task says of one of its links, so that a poisoned read spoils no more than what depends on it.
cdef struct Dependence:
    uint64_t spoils             # a read: the writes that depend on it
    uint64_t writes             # a write: which ones it is
    Poison* poison              # a write, while the task is released: what it inherits

cdef struct VarState:
    int refs
    int pending                 # tasks that name it and are not done
    int pending_writes
    int readers                 # granted
    bint writing                # granted
    int held                    # between vars_begin and vars_end, to be written
    uint64_t id
    uint64_t version            # writes completed
    uint64_t mark               # the last push that named it, to find duplicates
    bint needed                 # at exit, by a later task
    uint64_t last_writer        # seq of the newest task that writes it
    Poison* poison
    Link* head                  # not granted yet
    Link* tail
    Waiter* waiters

# Tasks pushed between two wait_all calls.
cdef struct Epoch:
    uint64_t number
    Py_ssize_t open
    Epoch* next

cdef struct Task:
    Retired dead                # native: the owner; python: the callable, its name, the code that pushed it
    Task* next                  # in a ready queue or among the open tasks of a lane
    uint64_t seq
    int priority
    int blocked                 # links not granted
    int n_links
    bint python
    bint effects
    bint short                  # Python: takes less time than to hand it over
    bint needed                 # must run even if the interpreter exits
    Link* links
    Dependence* depends         # of each link; NULL: every write depends on every read
    LaneState* lane
    Epoch* epoch
    Py_ssize_t nbytes
    const char* name
    NativeRun run
    NativeFinish finish
    void* arg
    Py_ssize_t extent           # < 0: not in units
    Py_ssize_t grain
    Py_ssize_t cursor           # first unit nobody has claimed
    bint split                  # several workers may share it
    bint open                   # listed in lane.open
    int active                  # workers in it
    int failed                  # polled by the other workers
    Py_ssize_t failed_at        # begin of the first failed units: which failure counts does not depend on timing
    int code
    int index
    Poison* poison
    int lasti
    Task* before
    Task* after

cdef struct Worker:
    Worker* next                # among the idle ones
    Worker* other               # among all of the lane
    LaneState* lane
    Parker* parker
    int idle
    bint knows_python
    PyThreadState* python
    PyGILState_STATE state
    pthread_t thread
    int number

cdef struct LaneState:
    LaneState* next
    char name[16]
    int number
    int limit
    int running
    int waking
    int spinning
    int hint                    # polled by the spinning worker
    int threads
    bint quit
    ReadyQueue[Task]* ready
    Task* open                  # tasks in units that idle workers may join
    Worker* idle
    Worker* workers
    Waiter* returning           # tasks that have waited inside and want a turn
    Waiter* returning_tail

ctypedef enum Wish:
    WRITTEN, UNUSED, ROOM, PASSED, QUIET, OPEN

cdef struct Waiter:
    Waiter* next
    Waiter* next_returning
    Wish wish
    VarState* var
    uint64_t target             # WRITTEN: version, PASSED: epoch
    uint64_t newest             # helps with tasks up to this seq
    Py_ssize_t tasks
    Py_ssize_t nbytes
    Parker* parker
    LaneState* turn             # lane whose turn it gave away
    Frame* frame                # of the task that waits, or NULL
    bint deaf                   # leaves signals to later
    int listed
    int done                    # set last: then the Waiter may be gone
    int returned

# One for each task that runs on a thread, innermost first.
cdef struct Frame:
    Task* task
    Frame* outer
    LaneState* lane             # NULL: runs without a turn (naive)
    int held                    # why it cannot go on by itself: it waits, or lies under other frames of its thread

cdef struct Engine:
    Mutex* lock
    Stack[Retired]* retired
    EventLog* log
    bint logging
    bint naive
    bint dropping               # at exit: tasks that are not needed end without running
    bint stopped
    bint broken                 # child of a fork inside a task
    int draining                # forks that wait for quiet
    int gate                    # forks under way
    int inlining                # threads between vars_begin and vars_end
    uint64_t gatekeeper         # thread that forks
    int reap_asked
    int start_error             # errno of the last thread that could not be started
    uint64_t seq
    uint64_t var_ids
    Py_ssize_t pending
    Py_ssize_t pending_bytes
    Py_ssize_t max_tasks
    Py_ssize_t max_bytes
    Py_ssize_t n_ready
    Py_ssize_t started          # frames with a task
    Py_ssize_t stuck            # of these, held: when all are, none moves before another task does
    ReadyQueue[Task]* naive_ready   # tasks that a thread has made ready and will run, unless one that waits does first
    Epoch* oldest
    Epoch* newest
    Waiter* waiters             # all but those for a Var
    Poison* first_root
    Poison* last_root
    Py_ssize_t n_roots
    Py_ssize_t lost_roots
    Task* last                  # of all pending tasks, in push order
    LaneState* lanes
    LaneState* cpu

cdef Engine engine
cdef Poison dropped


# --- Vars ---------------------------------------------------------------------------------------------------------------

cdef VarState* var_new() noexcept nogil:
    cdef VarState* var = <VarState*>calloc(1, sizeof(VarState))
    var.refs = 1
    var.id = add(&engine.var_ids, 1)
    return var


cdef void var_release(VarState* var) noexcept nogil:
    if add(&var.refs, -1) == 0:
        drop_poison(var.poison)
        free(var)


cdef bint var_idle(VarState* var) noexcept nogil:
    return load(&var.pending) == 0


cdef bint var_readable(VarState* var) noexcept nogil:
    return load(&var.pending_writes) == 0


cdef bint var_poisoned(VarState* var) noexcept nogil:
    return load(&var.poison) != NULL


cdef uint64_t var_version(VarState* var) noexcept nogil:
    return load(&var.version)


cdef void var_written(VarState* var) noexcept nogil:
    if load(&var.poison) != NULL:
        engine.lock.lock()
        set_poison(var, NULL)
        engine.lock.unlock()
    add(&var.version, 1)


cdef int var_poison(VarState* var, object error) except -1:
    cdef Poison* poison = new_poison(NULL, NULL, 0, 0)
    set_error(poison, error)
    with nogil:
        engine.lock.lock()
        poison.seq = engine.seq
        add_root(poison)
        set_poison(var, poison)
        engine.lock.unlock()
        add(&var.version, 1)
        drop_poison(poison)
    return 0


# --- The tracker: every function here runs with the lock held -----------------------------------------------------------

cdef void make_ready(Task* task, Wakes* wakes) noexcept nogil:
    engine.n_ready += 1
    if engine.logging:
        log_task(READY, task)
    if engine.naive:
        engine.naive_ready.put(task)
    else:
        task.lane.ready.put(task)
        nudge(task.lane, wakes)


cdef void grant(VarState* var, Wakes* wakes) noexcept nogil:
    """Lets the head of the queue in: one writer, or readers up to the next writer."""
    cdef Link* link
    while var.head != NULL and not var.writing:
        link = var.head
        if link.write:
            if var.readers:
                return
            var.writing = True
        else:
            var.readers += 1
        var.head = link.next
        link.task.blocked -= 1
        if link.task.blocked == 0:
            make_ready(link.task, wakes)


cdef void add_link(Task* task, VarState* var, bint read, bint write) noexcept nogil:
    cdef Link* link = &task.links[task.n_links]
    task.n_links += 1
    link.task = task
    link.var = var
    link.next = NULL
    link.read = read
    link.write = write
    var.mark = task.seq
    if var.pending == 0:
        add(&var.refs, 1)
    store(&var.pending, var.pending + 1)
    if write:
        store(&var.pending_writes, var.pending_writes + 1)
        var.last_writer = task.seq
    if var.head == NULL and not var.writing and not (write and var.readers):
        if write:
            var.writing = True
        else:
            var.readers += 1
        return
    task.blocked += 1
    if var.head == NULL:
        var.head = link
    else:
        var.tail.next = link
    var.tail = link


cdef int last_link(Task* task, VarState* var) noexcept nogil:
    """The place of a Var's link; the newest is found at once."""
    cdef int i = task.n_links - 1
    while task.links[i].var != var:
        i -= 1
    return i


cdef void enqueue(
    Task* task, VarState** reads, int n_reads, VarState** writes, int n_writes, const uint64_t* depends,
) noexcept nogil:
    """Puts the task behind everything pushed before it, on all its Vars at once."""
    cdef int i
    cdef Frame* frame = <Frame*>get_frame()
    engine.seq += 1
    task.seq = engine.seq
    store(&engine.pending, engine.pending + 1)
    store(&engine.pending_bytes, engine.pending_bytes + task.nbytes)
    # What a task pushes belongs to the waits that wait for the task.
    task.epoch = engine.newest if frame == NULL else frame.task.epoch
    task.epoch.open += 1
    for i in range(n_writes):
        if writes[i].mark != task.seq:
            add_link(task, writes[i], False, True)
        if task.depends != NULL:
            task.depends[last_link(task, writes[i])].writes |= <uint64_t>1 << i
    for i in range(n_reads):
        if reads[i].mark != task.seq:
            add_link(task, reads[i], True, False)
        else:
            task.links[last_link(task, reads[i])].read = True
        if task.depends != NULL:
            task.depends[last_link(task, reads[i])].spoils |= depends[i]
    task.before = engine.last
    if engine.last != NULL:
        engine.last.after = task
    engine.last = task


cdef Poison* cause(Task* task, uint64_t writes) noexcept nogil:
    """What these writes inherit, or NULL. Which failure it is depends on the order of the Vars, not on timing."""
    cdef int i
    for i in range(task.n_links):
        if task.links[i].read and task.links[i].var.poison != NULL:
            if task.depends == NULL or task.depends[i].spoils & writes:
                return task.links[i].var.poison
    return NULL


cdef Poison* inherited(Task* task) noexcept nogil:
    """Why a ready task must not run, or NULL."""
    cdef int i
    cdef Poison* first
    if engine.dropping and not task.needed:
        return &dropped
    first = cause(task, ~<uint64_t>0)
    if first != NULL and task.depends != NULL:
        for i in range(task.n_links):
            if task.links[i].write and cause(task, task.depends[i].writes) == NULL:
                return NULL
    return first


cdef void share_poison(Task* task, Poison* poison) noexcept nogil:
    """Finds what each write gets before the first one changes: what it inherits, else `poison`.

    Nobody else writes what the task reads before it is released, so it is what `inherited` saw.
    """
    cdef int i
    cdef Dependence* each
    for i in range(task.n_links):
        each = &task.depends[i]
        each.poison = NULL
        if task.links[i].write:
            each.poison = cause(task, each.writes)
            if each.poison == NULL:
                each.poison = poison
        if each.poison != NULL:
            add(&each.poison.refs, 1)


cdef void release_vars(Task* task, Poison* poison, Wakes* wakes) noexcept nogil:
    """Lets the next tasks in, then wakes who waits, to whom the whole task must look done."""
    cdef int i
    cdef Link* link
    cdef VarState* var
    if task.depends != NULL:
        share_poison(task, poison)
    for i in range(task.n_links):
        link = &task.links[i]
        var = link.var
        store(&var.pending, var.pending - 1)
        if link.write:
            set_poison(var, poison if task.depends == NULL else task.depends[i].poison)
            var.writing = False
            store(&var.version, var.version + 1)
            store(&var.pending_writes, var.pending_writes - 1)
        else:
            var.readers -= 1
        grant(var, wakes)
    for i in range(task.n_links):
        var = task.links[i].var
        if var.waiters != NULL:
            wake_satisfied(&var.waiters, wakes)
        if var.pending == 0:
            var_release(var)
        if task.depends != NULL:
            drop_poison(task.depends[i].poison)


cdef void settle(Task* task, Poison* poison, Wakes* wakes) noexcept nogil:
    """The task is done, with `poison` (the caller's reference) or NULL."""
    cdef Epoch* epoch
    # Two of its Vars may hold the only other references to what it passes on.
    if poison != NULL:
        add(&poison.refs, 1)
    store(&engine.pending, engine.pending - 1)
    store(&engine.pending_bytes, engine.pending_bytes - task.nbytes)
    release_vars(task, poison, wakes)
    drop_poison(poison)
    task.epoch.open -= 1
    while engine.oldest.open == 0 and engine.oldest != engine.newest:
        epoch = engine.oldest
        engine.oldest = epoch.next
        free(epoch)
    if task.before != NULL:
        task.before.after = task.after
    if task.after != NULL:
        task.after.before = task.before
    else:
        engine.last = task.before
    if engine.waiters != NULL:
        wake_satisfied(&engine.waiters, wakes)
    retire(task)


cdef void retire(Task* task) noexcept nogil:
    drop_poison(task.poison)
    if task.dead.first == NULL and task.dead.second == NULL and task.dead.third == NULL:
        free(task)
    else:
        engine.retired.push(&task.dead)


cdef Poison* failure_of(Task* task) noexcept nogil:
    """The poison of a task that ran (its own reference), or NULL."""
    if task.poison == NULL and task.code != 0:
        # The owner outlives the task: it is asked for the exception at the first wait.
        task.poison = new_poison(NULL, task.dead.first, task.index, task.code)
        task.dead.first = NULL
    if task.poison != NULL:
        task.poison.seq = task.seq
        add_root(task.poison)
    return task.poison


include "native/engine_poison.pxi"
include "native/engine_inline.pxi"
include "native/engine_workers.pxi"
include "native/engine_waiting.pxi"
include "native/engine_pushing.pxi"
include "native/engine_log.pxi"
include "native/engine_process.pxi"
include "native/engine_probe.pxi"
