# Design. A Var is the queue of tasks that still want one buffer: readers of one version run together, a writer alone, in
# push order. A Task counts the Vars that have not granted it yet (`blocked`); at 0 it is ready, and a worker of its Lane runs it.
# One lock (`engine.lock`) guards queues, grants, poison, ready tasks, waiters and lanes, so a push on several Vars is atomic;
# its sections are tens of nanoseconds and make no system call (benchmarks/engine.py: locks per Var were not needed).
# Lock order: GIL, then engine.lock. The GIL is never taken, and no Python object touched, with the lock held.
# Counts that other threads poll (pending, pending_writes, version, poison) are written under the lock, with release stores.
# Turns: at most `limit` threads of a lane run tasks. A task that waits inside gives its turn away, a spare worker takes it, and
# on return it gets the next free turn before any new task. An outside thread that waits helps with native tasks if a turn is free.
# Memory: a busy Var holds one reference to its VarState. A finished Task and a dropped Poison are retired to a lock-free
# stack, because they own Python objects; Python threads free them in push, wait and admit, or in a pending call.
# Failures: a Poison is one failure. Tasks that read a poisoned Var do not run and pass it on; a plain write removes it.
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
cdef int PYTHON_BATCH = 64            # Python tasks in a row before a worker offers the GIL
cdef int MAX_ROOTS = 1024             # failures kept for wait_all; the rest are counted
cdef int DROPPED = -1                 # code of a task that was dropped at exit


# --- Data -------------------------------------------------------------------------------------------------------------

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

cdef struct VarState:
    int refs
    int pending                 # tasks that name it and are not done
    int pending_writes
    int readers                 # granted
    bint writing                # granted
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
    bint needed                 # must run even if the interpreter exits
    Link* links
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
    WRITTEN, ROOM, PASSED, QUIET, OPEN

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
    bint inside
    int listed
    int done                    # set last: then the Waiter may be gone
    int returned

# One for each task that runs on a thread, innermost first.
cdef struct Frame:
    Task* task
    Frame* outer
    LaneState* lane             # NULL: runs without a turn (naive)

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
    Py_ssize_t stuck            # of these, waiting for something that has not happened
    ReadyQueue[Task]* unblocked # naive: where the thread that holds the lock collects ready tasks
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


# --- Poison -----------------------------------------------------------------------------------------------------------

cdef Poison* new_poison(PyObject* error, PyObject* owner, int index, int code) noexcept nogil:
    """Takes over both references; the caller gets the first reference to the poison."""
    cdef Poison* poison = <Poison*>calloc(1, sizeof(Poison))
    poison.dead.first = error
    poison.dead.second = owner
    poison.index = index
    poison.code = code
    poison.refs = 1
    return poison


cdef void drop_poison(Poison* poison) noexcept nogil:
    if poison != NULL and add(&poison.refs, -1) == 0:
        engine.retired.push(&poison.dead)


cdef void set_poison(VarState* var, Poison* poison) noexcept nogil:
    cdef Poison* old = var.poison
    if poison == old:
        return
    if poison != NULL:
        add(&poison.refs, 1)
    store(&var.poison, poison)
    drop_poison(old)


cdef void add_root(Poison* poison) noexcept nogil:
    """Lock held. A failure that nobody has been told of yet."""
    if engine.n_roots >= MAX_ROOTS:
        engine.lost_roots += 1
        return
    add(&poison.refs, 1)
    poison.root = True
    poison.root_before = engine.last_root
    if engine.last_root != NULL:
        engine.last_root.root_after = poison
    else:
        engine.first_root = poison
    engine.last_root = poison
    engine.n_roots += 1


cdef void remove_root(Poison* poison) noexcept nogil:
    """Lock held; the caller has a reference of its own."""
    if not poison.root:
        return
    poison.root = False
    if poison.root_before != NULL:
        poison.root_before.root_after = poison.root_after
    else:
        engine.first_root = poison.root_after
    if poison.root_after != NULL:
        poison.root_after.root_before = poison.root_before
    else:
        engine.last_root = poison.root_before
    engine.n_roots -= 1
    drop_poison(poison)


cdef object error_of(Poison* poison):
    """The exception itself, made at the first call; the caller has a reference to the poison."""
    cdef object owner, error
    if poison == &dropped or poison.code == DROPPED:
        return EngineError("the engine dropped this task because the interpreter was exiting")
    if poison.dead.first == NULL:
        owner = <object>poison.dead.second
        try:
            error = owner.error(poison.index, poison.code)
            if not isinstance(error, BaseException):
                error = EngineError(f"a task failed with code {poison.code}, and its error() gave {error!r}")
        except BaseException as raised:
            error = raised
        # Another thread may have been first while error() ran.
        if poison.dead.first == NULL:
            set_error(poison, error)
    return <object>poison.dead.first


cdef int set_error(Poison* poison, object error) except -1:
    """Keeps an exception and where it came from, but no frame: frames may hold arrays that hold this poison."""
    cdef list todo = [error]
    cdef set seen = set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = bare_traceback(one.__traceback__)
        todo += (one.__cause__, one.__context__, *getattr(one, "exceptions", ()))
    trace = error.__traceback__
    Py_INCREF(error)
    poison.dead.first = <PyObject*>error
    if trace is not None:
        Py_INCREF(trace)
        poison.dead.third = <PyObject*>trace
    return 0


cdef object bare_traceback(object trace):
    """The same files, lines and names on frames without locals or functions."""
    cdef list entries = []
    cdef object bare = None
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    for entry in reversed(entries):
        frame = entry.tb_frame
        if frame.f_globals is globals():
            continue
        code = frame.f_code
        line = entry.tb_lineno or 0
        file = code.co_filename.encode(errors="replace")
        frame = la_bare_frame(file, code.co_name.encode(), line, frame.f_globals)
        bare = TracebackType(bare, frame, 0, line)
    return bare


HEAP_TYPE = 1 << 9      # Py_TPFLAGS_HEAPTYPE


def _copy_error(error, trace):
    """Equal exception that can be raised, or `error` itself if it cannot be copied faithfully.

    Raising adds the waiter's frames to an exception. On a shared one they would pile up, and keep the waiter's locals.
    """
    kind = type(error)
    try:
        builtin = next(base for base in kind.__mro__ if not base.__flags__ & HEAP_TYPE)
        args = builtin.__reduce__(error)[1]
        new = kind.__new__(kind, *args)
        builtin.__init__(new, *args)
        if any("__slots__" in vars(base) for base in kind.__mro__) or new.args != error.args:
            raise TypeError("not a faithful copy")
        vars(new).update(vars(error))
        if hasattr(error, "__notes__"):
            new.__notes__ = list(error.__notes__)
        if isinstance(error, ImportError):
            new.name, new.path = error.name, error.path
        elif isinstance(error, (NameError, AttributeError)):
            new.name = error.name
        if str(new) != str(error):
            raise TypeError("not a faithful copy")
    except Exception:
        new = error
    new.__cause__, new.__context__ = error.__cause__, error.__context__
    new.__suppress_context__ = error.__suppress_context__
    return new.with_traceback(trace)


cdef object raisable(Poison* poison):
    """An exception to raise for it, which gives one reference back."""
    cdef object error
    try:
        error = error_of(poison)
        return _copy_error(error, None if poison.dead.third == NULL else <object>poison.dead.third)
    finally:
        drop_poison(poison)


cdef void reap() noexcept:
    """Releases what finished tasks and overwritten failures own. Runs destructors: call it without any lock."""
    cdef Retired* dead
    cdef Retired* after
    if engine.retired.empty():
        return
    dead = engine.retired.take_all()
    while dead != NULL:
        after = dead.next
        Py_XDECREF(dead.first)
        Py_XDECREF(dead.second)
        Py_XDECREF(dead.third)
        free(dead)
        dead = after


cdef int reap_later(void* nothing) noexcept:
    store(&engine.reap_asked, 0)
    reap()
    return 0


# --- Vars -------------------------------------------------------------------------------------------------------------

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


# --- The tracker: every function here runs with the lock held ---------------------------------------------------------

cdef void make_ready(Task* task, Wakes* wakes) noexcept nogil:
    engine.n_ready += 1
    if engine.logging:
        log_task(READY, task)
    if engine.unblocked != NULL:
        engine.unblocked.put(task)
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


cdef void enqueue(Task* task, VarState** reads, int n_reads, VarState** writes, int n_writes) noexcept nogil:
    """Puts the task behind everything pushed before it, on all its Vars at once."""
    cdef int i, j
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
    for i in range(n_reads):
        if reads[i].mark != task.seq:
            add_link(task, reads[i], True, False)
        else:
            for j in range(task.n_links):
                if task.links[j].var == reads[i]:
                    task.links[j].read = True
                    break
    task.before = engine.last
    if engine.last != NULL:
        engine.last.after = task
    engine.last = task


cdef Poison* inherited(Task* task) noexcept nogil:
    """Why a ready task must not run, or NULL. Which failure it is depends on the order of its Vars, not on timing."""
    cdef int i
    if engine.dropping and not task.needed:
        return &dropped
    for i in range(task.n_links):
        if task.links[i].read and task.links[i].var.poison != NULL:
            return task.links[i].var.poison
    return NULL


cdef void release_vars(Task* task, Poison* poison, Wakes* wakes) noexcept nogil:
    cdef int i
    cdef Link* link
    cdef VarState* var
    for i in range(task.n_links):
        link = &task.links[i]
        var = link.var
        if link.write:
            set_poison(var, poison)
            var.writing = False
            store(&var.version, var.version + 1)
            store(&var.pending_writes, var.pending_writes - 1)
            if var.waiters != NULL:
                wake_satisfied(&var.waiters, wakes)
        else:
            var.readers -= 1
        grant(var, wakes)
        store(&var.pending, var.pending - 1)
        if var.pending == 0:
            var_release(var)


cdef void settle(Task* task, Poison* poison, Wakes* wakes) noexcept nogil:
    """The task is done, with `poison` (the caller's reference) or NULL."""
    cdef Epoch* epoch
    # Two of its Vars may hold the only other references to what it passes on.
    if poison != NULL:
        add(&poison.refs, 1)
    release_vars(task, poison, wakes)
    drop_poison(poison)
    store(&engine.pending, engine.pending - 1)
    store(&engine.pending_bytes, engine.pending_bytes - task.nbytes)
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


# --- Lanes and workers ------------------------------------------------------------------------------------------------

cdef Task* joinable(LaneState* lane) noexcept nogil:
    """Lock held. An open task with units left."""
    cdef Task* task = lane.open
    while task != NULL:
        if load(&task.cursor) < task.extent and not load(&task.failed):
            return task
        task = task.next
    return NULL


cdef bint has_work(LaneState* lane) noexcept nogil:
    return lane.returning != NULL or not lane.ready.empty() or (lane.open != NULL and joinable(lane) != NULL)


cdef void nudge(LaneState* lane, Wakes* wakes) noexcept nogil:
    """Lock held. There is work for one more thread; that thread nudges the next."""
    cdef Worker* worker
    if lane.running + lane.waking >= lane.limit:
        return
    if lane.spinning:
        store(&lane.hint, 1)
        return
    worker = lane.idle
    if worker != NULL:
        lane.idle = worker.next
        lane.waking += 1
        store(&worker.idle, 0)
        wakes.add(worker.parker)
    else:
        start_worker(lane)


cdef void start_worker(LaneState* lane) noexcept nogil:
    """Lock held. With all cores taken by tasks that wait inside, this is a spare one."""
    cdef Worker* worker = <Worker*>calloc(1, sizeof(Worker))
    worker.lane = lane
    worker.number = lane.threads
    lane.threads += 1
    lane.waking += 1
    worker.other = lane.workers
    lane.workers = worker
    engine.start_error = start_thread(worker_main, worker, lane.name, worker.number, &worker.thread)
    if engine.start_error:
        lane.threads -= 1
        lane.waking -= 1
        lane.workers = worker.other
        free(worker)


cdef bint serve_returning(LaneState* lane, Wakes* wakes) noexcept nogil:
    """Lock held. Hands a free turn to a task that has waited inside."""
    cdef Waiter* waiter = lane.returning
    cdef Parker* parker
    if waiter == NULL or lane.running >= lane.limit:
        return False
    lane.returning = waiter.next_returning
    lane.running += 1
    parker = waiter.parker
    store(&waiter.returned, 1)
    wakes.add(parker)
    return True


cdef Task* take(LaneState* lane, Wakes* wakes, bint helping, uint64_t newest) noexcept nogil:
    """Lock held. A task and a turn for it, or NULL. A helper takes native tasks up to seq `newest` only."""
    cdef Task* task
    cdef Poison* poison
    while True:
        while serve_returning(lane, wakes):
            pass
        if lane.running >= lane.limit:
            return NULL
        task = lane.ready.top()
        if task != NULL and helping and (task.python or task.seq > newest):
            task = NULL
        if task == NULL:
            task = joinable(lane)
            if task == NULL or (helping and (task.python or task.seq > newest)):
                return NULL
            break
        lane.ready.take()
        engine.n_ready -= 1
        poison = inherited(task)
        if poison != NULL:
            settle(task, poison, wakes)
            continue
        if task.split:
            task.open = True
            task.next = lane.open
            lane.open = task
        break
    task.active += 1
    lane.running += 1
    engine.started += 1
    if engine.logging:
        log_task(START, task)
    if has_work(lane):
        nudge(lane, wakes)
    return task


cdef bint last_out(Task* task) noexcept nogil:
    """Lock held. This thread is done with the task; True if it was the last one in it."""
    cdef Task** place
    if engine.logging:
        log_task(END, task)
    if task.open:
        task.open = False
        place = &task.lane.open
        while place[0] != task:
            place = &place[0].next
        place[0] = task.next
    task.active -= 1
    return task.active == 0


cdef bint claim(Task* task, Py_ssize_t* begin, Py_ssize_t* end) noexcept nogil:
    """The next units: a share of what is left that shrinks towards one grain, so that all end together."""
    cdef Py_ssize_t at = load(&task.cursor), grains, stop
    while at < task.extent and not load(&task.failed):
        grains = (task.extent - at + task.grain - 1) // task.grain
        if task.split:
            grains = max(1, grains // (4 * task.lane.limit))
        stop = min(task.extent, at + grains * task.grain)
        if replace(&task.cursor, at, stop):
            begin[0] = at
            end[0] = stop
            return True
        at = load(&task.cursor)
    return False


cdef void note_failure(Task* task, Py_ssize_t at, int code, Poison* poison) noexcept nogil:
    """Units are claimed in order, so the first failure in unit order is always among those that ran."""
    engine.lock.lock()
    if not task.failed or at < task.failed_at:
        task.failed_at = at
        task.code = code
        task.poison, poison = poison, task.poison
    store(&task.failed, 1)
    engine.lock.unlock()
    drop_poison(poison)


cdef void run_units(Task* task) noexcept nogil:
    cdef Py_ssize_t begin = 0, end = 0
    cdef int code
    while claim(task, &begin, &end):
        code = task.run(task.arg, begin, end)
        if code:
            note_failure(task, begin, code, NULL)


cdef void finish_native(Task* task) noexcept nogil:
    cdef int code = task.finish(task.arg)
    if task.code == 0:
        task.code = code


cdef void end_turn(Task* task, LaneState* lane, bint last, Wakes* wakes) noexcept nogil:
    """Lock held."""
    lane.running -= 1
    engine.started -= 1
    if last:
        settle(task, failure_of(task), wakes)


cdef void native_turn(Task* task, LaneState* lane, Wakes* wakes) noexcept nogil:
    """Comes without the lock and leaves with it."""
    cdef Frame frame
    cdef bint last
    frame.task = task
    frame.lane = lane
    frame.outer = <Frame*>get_frame()
    set_frame(&frame)
    run_units(task)
    if task.finish != NULL:
        engine.lock.lock()
        last = last_out(task)
        engine.lock.unlock()
        if last:
            finish_native(task)
        set_frame(frame.outer)
        engine.lock.lock()
    else:
        set_frame(frame.outer)
        engine.lock.lock()
        last = last_out(task)
    end_turn(task, lane, last, wakes)


cdef void call_python(Task* task, LaneState* lane) noexcept:
    """Runs a callable, or its units, with the GIL."""
    cdef Frame frame
    cdef Py_ssize_t begin = 0, end = 0
    cdef object fn = <object>task.dead.first
    cdef Poison* poison
    frame.task = task
    frame.lane = lane
    frame.outer = <Frame*>get_frame()
    set_frame(&frame)
    try:
        if task.extent < 0:
            fn()
        else:
            while claim(task, &begin, &end):
                fn(begin, end)
    except BaseException as raised:
        error = note_site(task, raised)
        poison = new_poison(NULL, NULL, 0, 0)
        set_error(poison, error)
        with nogil:
            note_failure(task, begin, 0, poison)
    set_frame(frame.outer)


cdef object note_site(Task* task, object error):
    """A copy that names the line that pushed the task: its traceback begins in the callable."""
    cdef object name = "a task" if task.dead.second == NULL else <object>task.dead.second
    cdef object code
    cdef int line
    # Not on the exception itself, which the callable may raise again and again.
    error = _copy_error(error, error.__traceback__)
    if task.dead.third != NULL:
        code = <object>task.dead.third
        line = PyCode_Addr2Line(<PyCodeObject*>task.dead.third, task.lasti)
        error.add_note(f"In {name}, pushed at {code.co_filename}:{line}.")
    return error


cdef void drop_callable(Task* task) noexcept:
    """Its closure may hold arrays: let them go now, not when a Python thread next pushes or waits."""
    cdef PyObject* fn = task.dead.first
    task.dead.first = NULL
    Py_XDECREF(fn)


cdef Task* python_turns(Task* task, LaneState* lane, Wakes* wakes) noexcept nogil:
    """Runs Python tasks while there are any ready: a busy main thread gives the GIL only every 5 ms."""
    cdef bint last
    cdef int left = PYTHON_BATCH
    with gil:
        while task != NULL and task.python and left:
            left -= 1
            call_python(task, lane)
            if not task.split:
                drop_callable(task)
            engine.lock.lock()
            last = last_out(task)
            if last and task.split:
                engine.lock.unlock()
                drop_callable(task)
                engine.lock.lock()
            end_turn(task, lane, last, wakes)
            task = take(lane, wakes, False, 0)
            if task == NULL:
                lane.waking += 1    # about to look again
            engine.lock.unlock()
            wakes.send()
    return task


cdef void* worker_main(void* arg) noexcept nogil:
    cdef Worker* worker = <Worker*>arg
    cdef LaneState* lane = worker.lane
    cdef Task* task = NULL
    cdef Wakes wakes
    wakes.n = 0
    default_float_environment()
    worker.parker = my_parker()
    engine.lock.lock()
    lane.waking -= 1
    while True:
        task = take(lane, &wakes, False, 0)
        while task != NULL:
            engine.lock.unlock()
            wakes.send()
            if task.python:
                keep_thread_state(worker)
                task = python_turns(task, lane, &wakes)
                default_float_environment()
                engine.lock.lock()
                if task == NULL:
                    lane.waking -= 1
                    task = take(lane, &wakes, False, 0)
            else:
                native_turn(task, lane, &wakes)
                task = take(lane, &wakes, False, 0)
        if lane.quit:
            break
        idle(worker, lane, &wakes)
    engine.lock.unlock()
    wakes.send()
    if worker.knows_python:
        PyEval_RestoreThread(worker.python)
        PyGILState_Release(worker.state)
    return NULL


cdef void keep_thread_state(Worker* worker) noexcept nogil:
    """One Python thread state for the worker's life: thread locals stay, and a task need not make one."""
    if not worker.knows_python:
        worker.knows_python = True
        worker.state = PyGILState_Ensure()
        worker.python = PyEval_SaveThread()


cdef void idle(Worker* worker, LaneState* lane, Wakes* wakes) noexcept nogil:
    """Comes and leaves with the lock. Spins a little, as waking costs more, then sleeps until a nudge."""
    if not lane.spinning and lane.running + lane.waking < lane.limit:
        lane.spinning = 1
        store(&lane.hint, 0)
        engine.lock.unlock()
        wakes.send()
        spin(&lane.hint, WORKER_SPIN)
        engine.lock.lock()
        lane.spinning = 0
        if lane.quit or (lane.running < lane.limit and has_work(lane)):
            return
    if not engine.retired.empty() and not load(&engine.reap_asked) and not engine.stopped:
        # Nobody may push or wait for a long time, and what the finished tasks own can be large.
        store(&engine.reap_asked, 1)
        if Py_AddPendingCall(reap_later, NULL):
            store(&engine.reap_asked, 0)
    worker.next = lane.idle
    lane.idle = worker
    store(&worker.idle, 1)
    engine.lock.unlock()
    wakes.send()
    while load(&worker.idle):
        worker.parker.park(-1)
    engine.lock.lock()
    lane.waking -= 1


# --- Waiting ----------------------------------------------------------------------------------------------------------

cdef bint satisfied(Waiter* waiter) noexcept nogil:
    """Lock held."""
    cdef Py_ssize_t most
    if waiter.wish == WRITTEN:
        return waiter.var.version >= waiter.target
    if waiter.wish == PASSED:
        return engine.oldest.number > waiter.target
    if waiter.wish == QUIET:
        return engine.pending == 0
    if waiter.wish == OPEN:
        return engine.gate == 0
    if engine.draining:
        return False
    if engine.pending == 0:
        return True
    # Once blocked, a pusher sleeps until a quarter of the bound is free, not for every task anew.
    most = engine.max_tasks - (engine.max_tasks // 4 if waiter.listed else 0)
    return engine.pending + waiter.tasks <= most and engine.pending_bytes + waiter.nbytes <= engine.max_bytes


cdef void wake_satisfied(Waiter** place, Wakes* wakes) noexcept nogil:
    """Lock held."""
    cdef Waiter* waiter
    cdef Parker* parker
    while place[0] != NULL:
        waiter = place[0]
        if not satisfied(waiter):
            place = &waiter.next
            continue
        place[0] = waiter.next
        waiter.listed = False
        if waiter.inside:
            engine.stuck -= 1
        parker = waiter.parker
        store(&waiter.done, 1)
        wakes.add(parker)


cdef void begin_wait(Waiter* waiter) noexcept nogil:
    cdef Frame* frame = <Frame*>get_frame()
    cdef Waiter** list
    cdef Wakes wakes
    wakes.n = 0
    waiter.parker = my_parker()
    waiter.inside = frame != NULL
    waiter.turn = NULL
    waiter.done = waiter.listed = waiter.returned = 0
    engine.lock.lock()
    if waiter.wish == WRITTEN:
        waiter.target = waiter.var.version + waiter.var.pending_writes
        waiter.newest = waiter.var.last_writer
    elif waiter.wish == PASSED:
        waiter.target = engine.newest.number
        if engine.newest.open or engine.oldest != engine.newest:
            new_epoch()
        else:
            waiter.target -= 1
        waiter.newest = engine.seq
    else:
        waiter.newest = engine.seq if waiter.wish == QUIET else 0
    if satisfied(waiter):
        waiter.done = 1
    else:
        waiter.listed = True
        list = &waiter.var.waiters if waiter.wish == WRITTEN else &engine.waiters
        waiter.next = list[0]
        list[0] = waiter
        if waiter.inside:
            engine.stuck += 1
            waiter.turn = frame.lane
            if frame.lane != NULL:
                frame.lane.running -= 1
                serve_returning(frame.lane, &wakes)
                if has_work(frame.lane):
                    nudge(frame.lane, &wakes)
    engine.lock.unlock()
    wakes.send()


cdef void new_epoch() noexcept nogil:
    """Lock held."""
    cdef Epoch* epoch = <Epoch*>calloc(1, sizeof(Epoch))
    epoch.number = engine.newest.number + 1
    engine.newest.next = epoch
    engine.newest = epoch
    while engine.oldest.open == 0 and engine.oldest != engine.newest:
        epoch = engine.oldest
        engine.oldest = epoch.next
        free(epoch)


cdef bint sit(Waiter* waiter) noexcept nogil:
    """Helps, spins, sleeps. True when satisfied, False after a tick."""
    if load(&waiter.done):
        return True
    if not waiter.inside and waiter.newest:
        help(waiter)
    if spin(&waiter.done, WAIT_SPIN):
        return True
    waiter.parker.park(TICK)
    return load(&waiter.done) != 0


cdef void help(Waiter* waiter) noexcept nogil:
    """Takes turns of sleeping workers for native tasks that are older than what it waits for."""
    cdef LaneState* lane = engine.cpu
    cdef FloatEnvironment floats
    cdef Wakes wakes
    cdef Task* task
    wakes.n = 0
    engine.lock.lock()
    if load(&waiter.done) == 0 and not engine.naive:
        task = take(lane, &wakes, True, waiter.newest)
        if task != NULL:
            floats.enter()
            while task != NULL:
                engine.lock.unlock()
                wakes.send()
                native_turn(task, lane, &wakes)
                if load(&waiter.done):
                    break
                task = take(lane, &wakes, True, waiter.newest)
            floats.leave()
            if has_work(lane):
                nudge(lane, &wakes)
    engine.lock.unlock()
    wakes.send()


cdef void end_wait(Waiter* waiter) noexcept nogil:
    """Also after an exception: leaves the list, and gets a turn again if it gave one away."""
    cdef Waiter** place
    cdef LaneState* lane = waiter.turn
    if load(&waiter.done) and lane == NULL:
        return
    engine.lock.lock()
    if waiter.listed:
        place = &waiter.var.waiters if waiter.wish == WRITTEN else &engine.waiters
        while place[0] != waiter:
            place = &place[0].next
        place[0] = waiter.next
        if waiter.inside:
            engine.stuck -= 1
    if lane == NULL:
        engine.lock.unlock()
        return
    if lane.running < lane.limit:
        lane.running += 1
        engine.lock.unlock()
        return
    waiter.next_returning = NULL
    if lane.returning == NULL:
        lane.returning = waiter
    else:
        lane.returning_tail.next_returning = waiter
    lane.returning_tail = waiter
    engine.lock.unlock()
    while not load(&waiter.returned):
        waiter.parker.park(-1)


cdef object hopeless(Waiter* waiter):
    """Why a wait can never end, or None. Pending tasks depend only on earlier ones: if none runs, none ever will."""
    cdef bint circle, helpless
    cdef int error
    cdef LaneState* lane
    cdef Wakes wakes
    wakes.n = 0
    with nogil:
        engine.lock.lock()
        circle = waiter.inside and waiter.listed and engine.started == engine.stuck and engine.n_ready == 0
        helpless = False
        error = 0
        lane = engine.lanes
        while lane != NULL and engine.start_error:
            if has_work(lane):
                error = engine.start_error
                nudge(lane, &wakes)
                helpless = engine.start_error and lane.running + lane.waking + lane.spinning == 0
            lane = lane.next
        engine.lock.unlock()
        wakes.send()
    if circle:
        return EngineError("wait: what this task waits for can only be done after the task itself\n"
                           "  Wait outside of tasks, or name the array in the task's reads.")
    if helpless:
        return EngineError(f"wait: no worker thread could be started: {os.strerror(error)}")
    return None


cdef int block(Waiter* waiter) except -1:
    """Waits with the GIL released; looks for signals at every tick."""
    cdef bint done
    with nogil:
        begin_wait(waiter)
        done = sit(waiter)
    try:
        while not done:
            PyErr_CheckSignals()
            reason = hopeless(waiter)
            if reason is not None:
                raise reason
            with nogil:
                done = sit(waiter)
    finally:
        with nogil:
            end_wait(waiter)
    return 0


cdef bint own_var(VarState* var) noexcept nogil:
    """Whether the running task names it: what it may see of it is there already."""
    cdef Frame* frame = <Frame*>get_frame()
    cdef int i
    if frame != NULL:
        for i in range(frame.task.n_links):
            if frame.task.links[i].var == var:
                return True
    return False


cdef int var_wait(VarState* var) except -1:
    cdef Waiter waiter
    cdef Poison* poison
    if load(&var.pending_writes) and not own_var(var):
        waiter.wish = WRITTEN
        waiter.var = var
        block(&waiter)
    reap()
    if load(&var.poison) == NULL or own_var(var):
        return 0
    with nogil:
        engine.lock.lock()
        poison = var.poison
        if poison != NULL:
            add(&poison.refs, 1)
            remove_root(poison)
        engine.lock.unlock()
    if poison != NULL:
        raise raisable(poison)
    return 0


cdef int admit(Py_ssize_t tasks, Py_ssize_t nbytes) except -1:
    cdef Waiter waiter
    reap()
    if inside_task():
        return 0
    if (load(&engine.pending) + tasks <= engine.max_tasks
            and load(&engine.pending_bytes) + nbytes <= engine.max_bytes and not load(&engine.draining)):
        return 0
    waiter.wish = ROOM
    waiter.tasks = tasks
    waiter.nbytes = nbytes
    block(&waiter)
    return 0


# --- Pushing ----------------------------------------------------------------------------------------------------------

cdef bint is_naive() noexcept nogil:
    return engine.naive


cdef bint inside_task() noexcept nogil:
    return get_frame() != NULL


cdef Task* new_task(int n_links, int priority, object lane, Py_ssize_t nbytes) except NULL:
    cdef Task* task = <Task*>malloc(sizeof(Task) + n_links * sizeof(Link))
    if task == NULL:
        raise MemoryError("push: no memory for a task")
    memset(task, 0, sizeof(Task))
    task.links = <Link*>(task + 1)
    task.priority = priority
    task.lane = engine.cpu if lane is None else (<Lane?>lane).state
    task.nbytes = nbytes
    task.grain = 1
    task.extent = -1
    return task


cdef int submit(Task* task, VarState** reads, int n_reads, VarState** writes, int n_writes) except -1:
    """Owns the task from here on, also when it raises."""
    cdef Wakes wakes
    cdef bint ready
    cdef Waiter waiter
    wakes.n = 0
    if engine.broken:
        retire(task)
        raise EngineError("push: this process was forked from inside a task and cannot run any")
    while load(&engine.gate) and engine.gatekeeper != thread_number() and not inside_task():
        waiter.wish = OPEN
        block(&waiter)
    task.split = task.extent > task.grain and task.lane.limit > 1 and not engine.naive
    engine.lock.lock()
    enqueue(task, reads, n_reads, writes, n_writes)
    if engine.logging:
        log_push(task)
    ready = task.blocked == 0
    if not engine.naive:
        if ready:
            make_ready(task, &wakes)
        engine.lock.unlock()
        wakes.send()
        return 0
    if ready:
        engine.n_ready += 1
        if engine.logging:
            log_task(READY, task)
    engine.lock.unlock()
    if ready:
        run_naive(task)
    return 0


cdef int run_naive(Task* task) except -1:
    """Runs a ready task on this thread, then what became ready through it."""
    cdef ReadyQueue[Task] unblocked
    cdef Wakes wakes
    cdef Frame frame
    cdef FloatEnvironment floats
    cdef Poison* poison
    cdef object interrupt = None
    wakes.n = 0
    engine.lock.lock()
    while task != NULL:
        engine.n_ready -= 1
        poison = inherited(task)
        if poison == NULL:
            engine.started += 1
            if engine.logging:
                log_task(START, task)
            engine.lock.unlock()
            if task.python:
                call_python(task, NULL)
                drop_callable(task)
                if task.poison != NULL and isinstance(<object>task.poison.dead.first, KeyboardInterrupt):
                    interrupt = <object>task.poison.dead.first
            else:
                with nogil:
                    frame.task = task
                    frame.lane = NULL
                    frame.outer = <Frame*>get_frame()
                    set_frame(&frame)
                    floats.enter()
                    run_units(task)
                    if task.finish != NULL:
                        finish_native(task)
                    floats.leave()
                    set_frame(frame.outer)
            engine.lock.lock()
            engine.started -= 1
            if engine.logging:
                log_task(END, task)
            poison = failure_of(task)
        engine.unblocked = &unblocked
        settle(task, poison, &wakes)
        engine.unblocked = NULL
        task = unblocked.take()
    engine.lock.unlock()
    wakes.send()
    if interrupt is not None:
        raise interrupt
    return 0


cdef int push_native(
    NativeRun run, NativeFinish finish, void* arg, Py_ssize_t extent, Py_ssize_t grain,
    object owner, int index, VarState** reads, int n_reads, VarState** writes, int n_writes,
    int priority, object lane, Py_ssize_t nbytes, const char* name) except -1:
    cdef Task* task = new_task(n_reads + n_writes, priority, lane, nbytes)
    task.run = run
    task.finish = finish
    task.arg = arg
    task.extent = extent
    task.grain = max(1, grain)
    task.index = index
    task.name = name
    Py_INCREF(owner)
    task.dead.first = <PyObject*>owner
    return submit(task, reads, n_reads, writes, n_writes)


cdef Task* new_python_task(object fn, int n_links, int priority, object lane, Py_ssize_t nbytes, object name) except NULL:
    cdef const char* text = NULL
    cdef Task* task
    if name is None and engine.logging:
        name = getattr(fn, "__qualname__", None) or type(fn).__name__
    if name is not None:
        text = PyUnicode_AsUTF8(name)
    task = new_task(n_links, priority, lane, nbytes)
    task.python = True
    task.name = text
    Py_INCREF(fn)
    task.dead.first = <PyObject*>fn
    if name is not None:
        Py_INCREF(name)
        task.dead.second = <PyObject*>name
    return task


cdef int push_python(
    object fn, VarState** reads, int n_reads, VarState** writes, int n_writes,
    int priority, object lane, Py_ssize_t nbytes, object name) except -1:
    cdef Task* task = new_python_task(fn, n_reads + n_writes, priority, lane, nbytes, name)
    return submit(task, reads, n_reads, writes, n_writes)


# --- Python's view ----------------------------------------------------------------------------------------------------

cdef class Var:
    """The engine's cell for one buffer: the queue of the tasks that read or write it."""

    def __cinit__(self):
        self.state = var_new()

    def __dealloc__(self):
        if self.state != NULL:
            var_release(self.state)

    @property
    def version(self):
        """Number of writes completed, failed ones included."""
        return var_version(self.state)

    @property
    def number(self):
        """Its name in the event log."""
        return self.state.id

    @property
    def idle(self):
        """Whether no pending task reads or writes it."""
        return var_idle(self.state)

    @property
    def readable(self):
        """Whether no pending task writes it."""
        return var_readable(self.state)

    @property
    def poisoned(self):
        """Whether the last completed write failed, or read what had failed."""
        return var_poisoned(self.state)

    def __repr__(self):
        state = "idle" if self.idle else "pending"
        return f"<Var {self.number} version {self.version} {state}{' poisoned' if self.poisoned else ''}>"


cdef class Lane:
    """A device's queue and workers.

    Parameters
    ----------
    name : str
        Shown in the event log and in the threads' names.
    workers : int, default 1
        How many threads run its tasks.

    Notes
    -----
    A lane lives until the process ends; its threads start with its first task.
    """

    cdef LaneState* state

    def __cinit__(self, str name not None, int workers=1):
        if workers < 1:
            raise EngineError(f"Lane: workers must be at least 1, got {workers}")
        self.state = new_lane(name.encode(), workers)

    @property
    def name(self):
        """As given."""
        return self.state.name.decode()

    @property
    def workers(self):
        """How many tasks it runs at once."""
        return self.state.limit


cdef LaneState* new_lane(bytes name, int workers):
    cdef LaneState* lane = <LaneState*>calloc(1, sizeof(LaneState))
    snprintf(lane.name, sizeof(lane.name), b"%s", <const char*>name)
    lane.limit = workers
    lane.ready = new ReadyQueue[Task]()
    engine.lock.lock()
    lane.next = engine.lanes
    engine.lanes = lane
    engine.lock.unlock()
    return lane


def push(fn, reads=(), writes=(), int priority=0, lane=None, str name=None, *,
         Py_ssize_t nbytes=0, extent=None, Py_ssize_t grain=1, bint effects=False):
    """Push a task and return at once.

    Parameters
    ----------
    fn : callable
        Called without arguments on a worker, or with ``extent`` as ``fn(begin, end)``.
    reads, writes : sequence of Var
        What it reads and writes. A Var in both is a partial update. Duplicates are allowed.
    priority : int, default 0
        Among ready tasks, higher ones tend to start first.
    lane : Lane, optional
        Whose workers run it; the CPU's by default.
    name : str, optional
        For the event log and for errors.
    nbytes : int, default 0
        Memory that stays busy until it is done, in bytes; counts against the bound.
    extent : int, optional
        Units of work, split over idle workers in multiples of `grain`.
    grain : int, default 1
        Fewest units in one call.
    effects : bool, default False
        It acts outside of the program (writes a file, say): it runs even if the interpreter exits before.

    Raises
    ------
    EngineError
        When this process was forked from inside a task.

    Notes
    -----
    Waits first while too many tasks or bytes are pending, unless called inside a task. If `fn` raises, every `wait` on its
    `writes`, and on what depends on them, raises that exception until the Var is overwritten.
    """
    cdef VarState* few[32]
    cdef VarState** vars = few
    cdef Py_ssize_t n_reads = len(reads), n_writes = len(writes), i = 0
    cdef PyFrameObject* caller
    cdef Task* task
    if not callable(fn):
        raise TypeError(f"push: fn must be callable, got {type(fn).__name__}")
    if extent is not None and (extent < 0 or grain < 1):
        raise ValueError(f"push: extent must be at least 0 and grain at least 1, got {extent} and {grain}")
    if nbytes < 0:
        raise ValueError(f"push: nbytes must be at least 0, got {nbytes}")
    admit(1, nbytes)
    if n_reads + n_writes > 32:
        vars = <VarState**>malloc((n_reads + n_writes) * sizeof(VarState*))
        if vars == NULL:
            raise MemoryError("push: no memory for a task")
    try:
        for var in reads:
            vars[i] = (<Var?>var).state
            i += 1
        for var in writes:
            vars[i] = (<Var?>var).state
            i += 1
        task = new_python_task(fn, n_reads + n_writes, priority, lane, nbytes, name)
        task.effects = effects
        if extent is not None:
            task.extent = extent
            task.grain = grain
        caller = PyEval_GetFrame()
        if caller != NULL:
            task.dead.third = <PyObject*>PyFrame_GetCode(caller)
            task.lasti = PyFrame_GetLasti(caller)
        submit(task, vars, n_reads, vars + n_reads, n_writes)
    finally:
        if vars != few:
            free(vars)


def wait(*vars):
    """Wait until all tasks pushed so far that write these Vars are done.

    Raises
    ------
    BaseException
        What a task that wrote one of them raised, or one that it depends on: each time, until the Var is overwritten.
    EngineError
        Inside a task, when what it waits for cannot be done before the task itself.
    """
    for var in vars:
        var_wait((<Var?>var).state)


def wait_all():
    """Wait until all tasks pushed so far are done, and report all failures not reported yet.

    Raises
    ------
    ExceptionGroup
        The exceptions of tasks that failed themselves, oldest first, that no wait has raised yet. A ``BaseExceptionGroup``
        if one of them is not an ``Exception``.
    EngineError
        Inside a task, which cannot wait for itself.
    """
    cdef Waiter waiter
    if inside_task():
        raise EngineError("wait_all: a task cannot wait for all tasks, itself included\n  Wait for Vars instead.")
    waiter.wish = PASSED
    block(&waiter)
    reap()
    errors, lost = unreported()
    if errors:
        more = f" ({lost} more are not kept)" if lost else ""
        raise BaseExceptionGroup(f"{len(errors)} failed{more}", errors)


cdef tuple unreported():
    """Takes the failures that no wait has raised, in push order."""
    cdef Poison* poison
    cdef Py_ssize_t lost
    cdef list errors = []
    while True:
        with nogil:
            engine.lock.lock()
            poison = engine.first_root
            if poison != NULL:
                add(&poison.refs, 1)
                remove_root(poison)
            lost = engine.lost_roots
            engine.lost_roots = 0 if poison == NULL else lost
            engine.lock.unlock()
        if poison == NULL:
            break
        errors.append((poison.seq, len(errors), raisable(poison)))
    return [error for _, _, error in sorted(errors)], lost


cdef int wait_quiet() except -1:
    """Until nothing is pending. May take long when other threads go on pushing."""
    cdef Waiter waiter
    waiter.wish = QUIET
    block(&waiter)
    return 0


cdef void tell_waiters() noexcept nogil:
    """After a change of what they wait for."""
    cdef Wakes wakes
    wakes.n = 0
    engine.lock.lock()
    wake_satisfied(&engine.waiters, &wakes)
    engine.lock.unlock()
    wakes.send()


def set_bounds(Py_ssize_t tasks, Py_ssize_t nbytes):
    """Bound the pending tasks and the bytes they keep busy; `push` waits when a bound is reached.

    A task larger than the bound is admitted when nothing else is pending.
    """
    if tasks < 1 or nbytes < 1:
        raise EngineError(f"set_bounds: both bounds must be at least 1, got {tasks} tasks and {nbytes} bytes")
    engine.lock.lock()
    engine.max_tasks = tasks
    engine.max_bytes = nbytes
    engine.lock.unlock()
    tell_waiters()


def bounds():
    """Return the bounds on pending tasks and bytes."""
    return engine.max_tasks, engine.max_bytes


def pending():
    """Return how many tasks are pending, and how many bytes they keep busy."""
    return load(&engine.pending), load(&engine.pending_bytes)


def set_engine(str kind not None):
    """Choose how tasks run: ``"threaded"``, or ``"naive"``: at the push, on the pushing thread."""
    if kind not in ("naive", "threaded"):
        raise EngineError(f"set_engine: expected 'naive' or 'threaded', got {kind!r}")
    if inside_task():
        raise EngineError("set_engine: not possible inside a task")
    while engine.naive != (kind == "naive") and not engine.stopped:
        wait_quiet()
        engine.lock.lock()
        if engine.pending == 0:
            engine.naive = kind == "naive"
        engine.lock.unlock()


def engine_kind():
    """Return ``"naive"`` or ``"threaded"``."""
    return "naive" if engine.naive else "threaded"


def set_workers(int n):
    """Let at most `n` threads run CPU tasks at once."""
    cdef Wakes wakes
    if n < 1:
        raise EngineError(f"set_workers: expected at least 1, got {n}")
    wakes.n = 0
    with nogil:
        engine.lock.lock()
        engine.cpu.limit = n
        if has_work(engine.cpu):
            nudge(engine.cpu, &wakes)
        engine.lock.unlock()
        wakes.send()


def workers():
    """Return how many threads may run CPU tasks at once."""
    return engine.cpu.limit


# --- The event log ----------------------------------------------------------------------------------------------------

Event = namedtuple("Event", "kind time task thread name reads writes")
Event.__doc__ = """What happened to a task.

kind is "push", "ready", "start" or "end"; time is in ns, as time.monotonic_ns(); task is its serial number; thread is the
native id of the thread where it happened; reads and writes are tuples of (Var.number, version), in "push" and "start" only.
A task in units has a start and an end for each thread that took part."""


cdef void log_task(EventKind kind, Task* task) noexcept nogil:
    """Lock held."""
    cdef int i
    cdef VarState* var
    if engine.log.add(kind, task.seq, task.name) and kind == START:
        for i in range(task.n_links):
            var = task.links[i].var
            if task.links[i].read:
                engine.log.use(var.id, var.version, False)
            if task.links[i].write:
                engine.log.use(var.id, var.version + 1, True)


cdef void log_push(Task* task) noexcept nogil:
    """Lock held. The versions it will see, as all its Vars already count it."""
    cdef int i
    cdef uint64_t version
    if engine.log.add(PUSH, task.seq, task.name):
        for i in range(task.n_links):
            version = task.links[i].var.version + task.links[i].var.pending_writes
            if task.links[i].read:
                engine.log.use(task.links[i].var.id, version - task.links[i].write, False)
            if task.links[i].write:
                engine.log.use(task.links[i].var.id, version, True)


def start_log(Py_ssize_t limit=4_000_000):
    """Start recording events; at most `limit` are kept (48 bytes each, and 24 for each Var of a task)."""
    cdef EventLog* log = new EventLog(max(0, limit))
    engine.lock.lock()
    engine.log, log = log, engine.log
    engine.logging = True
    engine.lock.unlock()
    del log


def stop_log():
    """Stop recording and return the events, oldest first."""
    cdef EventLog* log
    cdef LogEvent* event
    cdef VarUse* used
    cdef size_t i, j
    cdef list events = [], reads, writes
    engine.lock.lock()
    engine.logging = False
    log = engine.log
    engine.log = NULL
    engine.lock.unlock()
    if log == NULL:
        return events
    kinds = ("push", "ready", "start", "end")
    try:
        for i in range(log.size()):
            event = log.event_at(i)
            reads = []
            writes = []
            for j in range(event.uses, event.uses + event.n_uses):
                used = log.use_at(j)
                (writes if used.write else reads).append((used.var, used.version))
            events.append(Event(kinds[<int>event.kind], event.time, event.task, event.thread, event.name.decode(),
                                tuple(reads), tuple(writes)))
    finally:
        del log
    return events


# --- Fork and exit ----------------------------------------------------------------------------------------------------

cdef int refuse_fork(const char* event, PyObject* args, void* data) noexcept:
    """An audit hook, because an exception in a before-fork hook would be printed and the fork done."""
    if event[0] == b"o" and inside_task() and (strcmp(event, b"os.fork") == 0 or strcmp(event, b"os.forkpty") == 0):
        PyErr_SetString(EngineError, b"fork: not possible inside a task, the child would be in the middle of it")
        return -1
    return 0


def _before_fork():
    # Reached inside a task only by subprocess with preexec_fn, whose child has no use for the engine.
    if inside_task():
        return
    engine.lock.lock()
    store(&engine.draining, engine.draining + 1)
    engine.lock.unlock()
    while True:
        wait_quiet()
        engine.lock.lock()
        if engine.pending == 0:
            break
        engine.lock.unlock()
    engine.gatekeeper = thread_number()
    store(&engine.gate, engine.gate + 1)
    engine.lock.unlock()


def _after_fork_in_parent():
    if inside_task():
        return
    engine.lock.lock()
    store(&engine.gate, engine.gate - 1)
    store(&engine.draining, engine.draining - 1)
    engine.lock.unlock()
    tell_waiters()


def _after_fork_in_child():
    """This thread is the only one, and unless the fork came from inside a task nothing was pending."""
    cdef LaneState* lane = engine.lanes
    forget_thread_number()
    parkers().after_fork()
    engine.lock.reset()
    engine.broken = inside_task() or engine.broken
    set_frame(NULL)
    engine.gate = engine.draining = 0
    engine.reap_asked = engine.start_error = 0
    engine.started = engine.stuck = engine.n_ready = 0
    engine.waiters = NULL
    while lane != NULL:
        lane.running = lane.waking = lane.spinning = lane.threads = 0
        lane.idle = lane.workers = NULL
        lane.open = NULL
        lane.returning = NULL
        lane = lane.next


cdef void mark_needed() noexcept nogil:
    """Lock held. Marks pending tasks with effects outside, and those whose values they need."""
    cdef Task* task = engine.last
    cdef VarState* var
    cdef int i
    while task != NULL:
        task.needed = task.effects
        for i in range(task.n_links):
            task.needed = task.needed or (task.links[i].write and task.links[i].var.needed)
        for i in range(task.n_links):
            var = task.links[i].var
            if task.links[i].read:
                var.needed = var.needed or task.needed
            elif task.links[i].write:
                var.needed = False      # older values are overwritten
        task = task.before


def _finish_at_exit():
    """Ends what runs, runs what has effects outside, drops the rest, joins the workers; from then on the engine is naive."""
    engine.lock.lock()
    mark_needed()
    engine.dropping = True
    engine.lock.unlock()
    try:
        while True:
            wait_quiet()
            engine.lock.lock()
            if engine.pending == 0:
                break
            engine.lock.unlock()
        engine.stopped = engine.naive = True
        engine.lock.unlock()
        join_workers()
        engine.dropping = False
        reap()
    finally:
        report_at_exit()


cdef int join_workers() except -1:
    cdef LaneState* lane
    cdef Worker* worker
    cdef Wakes wakes
    wakes.n = 0
    with nogil:
        engine.lock.lock()
        lane = engine.lanes
        while lane != NULL:
            lane.quit = True
            store(&lane.hint, 1)
            while lane.idle != NULL:
                worker = lane.idle
                lane.idle = worker.next
                lane.waking += 1
                store(&worker.idle, 0)
                wakes.add(worker.parker)
            lane = lane.next
        engine.lock.unlock()
        wakes.send()
        lane = engine.lanes
        while lane != NULL:
            while lane.workers != NULL:
                worker = lane.workers
                lane.workers = worker.other
                pthread_join(worker.thread, NULL)
                free(worker)
            lane = lane.next
    return 0


cdef int report_at_exit() except -1:
    errors, lost = unreported()
    if errors:
        import sys
        import traceback
        print(f"lazyarray: {len(errors) + lost} task(s) failed and nobody waited for them; the first:", file=sys.stderr)
        traceback.print_exception(errors[0])
    return 0


cdef int start_engine() except -1:
    kind = os.environ.get("LAZYARRAY_ENGINE", "threaded")
    if kind not in ("naive", "threaded"):
        raise EngineError(f"LAZYARRAY_ENGINE: expected naive or threaded, got {kind!r}")
    count = os.environ.get("LAZYARRAY_WORKERS", "")
    if count and not (count.isdecimal() and int(count) > 0):
        raise EngineError(f"LAZYARRAY_WORKERS: expected a number above 0, got {count!r}")
    engine.lock = new Mutex()
    engine.retired = new Stack[Retired]()
    engine.naive = kind == "naive"
    engine.max_tasks = 20_000
    engine.max_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    engine.oldest = engine.newest = <Epoch*>calloc(1, sizeof(Epoch))
    engine.newest.number = 1
    dropped.refs = 1
    dropped.code = DROPPED
    engine.cpu = new_lane(b"cpu", int(count) if count else len(os.sched_getaffinity(0)))
    if PySys_AddAuditHook(refuse_fork, NULL):
        raise EngineError("the interpreter refuses audit hooks")
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
    atexit.register(_finish_at_exit)
    return 0


start_engine()

include "_engine_probe.pxi"
