# The engine and the process, part of _engine.pyx: settings, fork, exit.

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
        # An exception in a hook is printed and the fork done, so an interrupt must wait.
        wait_quiet(True)
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
    engine.gate = engine.draining = engine.inlining = 0
    engine.reap_asked = engine.start_error = 0
    engine.started = engine.stuck = engine.n_ready = 0
    engine.pending = engine.pending_bytes = 0
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
            wait_quiet(False)
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
    engine.naive_ready = new ReadyQueue[Task]()
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
