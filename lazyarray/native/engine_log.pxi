# The event log, part of _engine.pyx.

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
