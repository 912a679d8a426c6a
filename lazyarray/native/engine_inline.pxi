# Work that the caller does itself on idle Vars, part of _engine.pyx: to everybody else it is a task that has begun.

cdef bint vars_begin(VarState** vars, const char* written, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef VarState* var
    engine.lock.lock()
    if engine.gate or engine.broken:
        engine.lock.unlock()
        return False
    for i in range(n):
        if vars[i] != NULL and vars[i].pending:
            engine.lock.unlock()
            return False
    for i in range(n):
        var = vars[i]
        if var == NULL:
            continue
        if var.pending == 0:
            add(&var.refs, 1)
        store(&var.pending, var.pending + 1)
        if written[i]:
            store(&var.pending_writes, var.pending_writes + 1)
            var.last_writer = engine.seq
            var.writing = True
            store(&var.held, 1)
        else:
            var.readers += 1
    store(&engine.pending, engine.pending + 1)
    engine.inlining += 1
    engine.lock.unlock()
    return True


cdef void vars_end(VarState** vars, const char* written, Py_ssize_t n) noexcept nogil:
    """One buffer may be behind several of the Vars: all counts are put back before anybody is let in."""
    cdef Py_ssize_t i
    cdef VarState* var
    cdef Wakes wakes
    wakes.n = 0
    engine.lock.lock()
    engine.inlining -= 1
    store(&engine.pending, engine.pending - 1)
    for i in range(n):
        var = vars[i]
        if var == NULL:
            continue
        if written[i]:
            var.writing = False
            store(&var.held, 0)
            store(&var.version, var.version + 1)
            store(&var.pending_writes, var.pending_writes - 1)
        else:
            var.readers -= 1
    for i in range(n):
        if vars[i] != NULL:
            grant(vars[i], &wakes)
    for i in range(n):
        var = vars[i]
        if var == NULL:
            continue
        store(&var.pending, var.pending - 1)
        if var.waiters != NULL:
            wake_satisfied(&var.waiters, &wakes)
        if var.pending == 0:
            var_release(var)
    if engine.waiters != NULL:
        wake_satisfied(&engine.waiters, &wakes)
    engine.lock.unlock()
    wakes.send()
