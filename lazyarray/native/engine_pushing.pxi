# Pushing tasks from Cython and from Python, part of _engine.pyx, and the rest of Python's view.

cdef bint is_naive() noexcept nogil:
    return engine.naive


cdef bint inside_task() noexcept nogil:
    return get_frame() != NULL


cdef Task* new_task(int n_links, int n_depends, int priority, object lane, Py_ssize_t nbytes) except NULL:
    cdef Task* task = <Task*>malloc(sizeof(Task) + n_links * sizeof(Link) + n_depends * sizeof(Dependence))
    if task == NULL:
        raise MemoryError("push: no memory for a task")
    memset(task, 0, sizeof(Task))
    task.links = <Link*>(task + 1)
    if n_depends:
        task.depends = <Dependence*>(task.links + n_links)
        memset(task.depends, 0, n_depends * sizeof(Dependence))
    task.priority = priority
    task.lane = engine.cpu if lane is None else (<Lane?>lane).state
    task.nbytes = nbytes
    task.grain = 1
    task.extent = -1
    return task


cdef int submit(
    Task* task, VarState** reads, int n_reads, VarState** writes, int n_writes, const uint64_t* depends,
) except -1:
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
        waiter.deaf = False
        block(&waiter)
    task.split = task.extent > task.grain and load(&task.lane.limit) > 1 and not engine.naive
    engine.lock.lock()
    enqueue(task, reads, n_reads, writes, n_writes, depends)
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
    """Runs a ready task on this thread, then as many as became ready through it."""
    cdef Py_ssize_t mine = 0
    cdef Wakes wakes
    cdef Frame frame
    cdef Frame* under = <Frame*>get_frame()
    cdef FloatEnvironment floats
    cdef Poison* poison
    cdef object interrupt = None
    wakes.n = 0
    engine.lock.lock()
    if under != NULL:
        hold(under)     # even if what it waits for happens meanwhile
    while task != NULL:
        engine.n_ready -= 1
        poison = inherited(task)
        if poison == NULL:
            engine.started += 1
            if engine.logging:
                log_task(START, task)
            engine.lock.unlock()
            if task.python:
                floats.enter()
                call_python(task, NULL)
                drop_callable(task, NULL)
                floats.leave()
                if task.poison != NULL and isinstance(<object>task.poison.dead.first, KeyboardInterrupt):
                    interrupt = <object>task.poison.dead.first
            else:
                with nogil:
                    frame.task = task
                    frame.lane = NULL
                    frame.held = 0
                    frame.outer = under
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
        mine -= engine.n_ready
        settle(task, poison, &wakes)
        mine += engine.n_ready
        task = NULL
        if mine:
            mine -= 1
            task = engine.naive_ready.take()
    if under != NULL:
        let_go(under)
    engine.lock.unlock()
    wakes.send()
    if interrupt is not None:
        raise interrupt
    return 0


cdef int help_naive(Waiter* waiter) except -1:
    """Runs tasks that other frames or threads are about to run, before this thread waits for them in vain."""
    cdef Task* task
    while True:
        engine.lock.lock()
        task = NULL
        if engine.naive and not waiter.done:
            task = engine.naive_ready.top()
            # Newer ones cannot be what it waits for, and might wait for it; but if nothing else moves, they are run.
            if task != NULL and task.seq > waiter.newest and engine.started != engine.stuck:
                task = NULL
            if task != NULL:
                engine.naive_ready.take()
        engine.lock.unlock()
        if task == NULL:
            return 0
        run_naive(task)


cdef int push_native(
    NativeRun run, NativeFinish finish, void* arg, Py_ssize_t extent, Py_ssize_t grain,
    object owner, int index, VarState** reads, int n_reads, VarState** writes, int n_writes,
    const uint64_t* depends, int priority, object lane, Py_ssize_t nbytes, const char* name,
) except -1:
    cdef int n_links = n_reads + n_writes
    cdef bint apart = depends != NULL and 0 < n_writes <= 64
    cdef Task* task = new_task(n_links, n_links if apart else 0, priority, lane, nbytes)
    task.run = run
    task.finish = finish
    task.arg = arg
    task.extent = extent
    task.grain = max(1, grain)
    task.index = index
    task.name = name
    Py_INCREF(owner)
    task.dead.first = <PyObject*>owner
    return submit(task, reads, n_reads, writes, n_writes, depends)


cdef Task* new_python_task(object fn, int n_links, int priority, object lane, Py_ssize_t nbytes, object name) except NULL:
    cdef const char* text = NULL
    cdef Task* task
    if name is None and engine.logging:
        name = getattr(fn, "__qualname__", None) or type(fn).__name__
    if name is not None:
        text = PyUnicode_AsUTF8(name)
    task = new_task(n_links, 0, priority, lane, nbytes)
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
    int priority, object lane, Py_ssize_t nbytes, object name,
) except -1:
    cdef Task* task = new_python_task(fn, n_reads + n_writes, priority, lane, nbytes, name)
    return submit(task, reads, n_reads, writes, n_writes, NULL)


cdef int push_short(
    object fn, VarState** reads, int n_reads, VarState** writes, int n_writes, Py_ssize_t nbytes, object name,
) except -1:
    cdef Task* task = new_python_task(fn, n_reads + n_writes, 0, None, nbytes, name)
    task.short = True
    return submit(task, reads, n_reads, writes, n_writes, NULL)


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
        submit(task, vars, n_reads, vars + n_reads, n_writes, NULL)
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
    waiter.deaf = False
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


cdef int wait_quiet(bint deaf) except -1:
    """Until nothing is pending. May take long when other threads go on pushing."""
    cdef Waiter waiter
    waiter.wish = QUIET
    waiter.deaf = deaf
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
        wait_quiet(False)
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
        store(&engine.cpu.limit, n)
        if has_work(engine.cpu):
            nudge(engine.cpu, &wakes)
        engine.lock.unlock()
        wakes.send()


def workers():
    """Return how many threads may run CPU tasks at once."""
    return load(&engine.cpu.limit)
