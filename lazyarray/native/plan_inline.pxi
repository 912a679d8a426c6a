# Plans that the waiting thread runs itself, and what is done where memory or a task of theirs fails. Part of _plan.pyx.

cdef object no_room(Plan plan, Walk* walk, Py_ssize_t slot):
    # Blames the op that writes the slot first.
    cdef Py_ssize_t i, k, needed = plan.peak_bytes, nbytes = plan.slots[slot].nbytes
    cdef Spec* spec
    cdef Node node
    for i in range(<Py_ssize_t>plan.tasks.size()):
        spec = &plan.tasks[i]
        for k in range(spec.first_write, spec.first_write + spec.n_writes):
            if plan.vars[k] == slot:
                node = <Node>walk.order[spec.place]
                what = f"{node.op.name}: no memory for {size_text(nbytes)} on the way to {node.type!r}"
                if needed > nbytes:
                    what += f" ({size_text(needed)} with all that runs with it)"
                return NoRoom(what, node.where, nbytes, needed)
    return NoRoom(f"no memory for {size_text(nbytes)}", None, nbytes, needed)


cdef int out_of_memory(Plan plan, Walk* walk, Py_ssize_t failed, vector[VarState*]& slot_vars) except -1:
    # An op that cannot fail on data has failed for want of memory; all that the plan writes is poisoned.
    cdef Py_ssize_t i
    cdef Node node = <Node>walk.order[plan.tasks[failed].place]
    message = f"no memory for the working storage of {plan.labels[failed].decode()} on the way to {node.type!r}"
    error = located(OutOfMemoryError, message, node.raw_site)
    for i in range(<Py_ssize_t>slot_vars.size()):
        if slot_vars[i] != NULL and plan.is_written[i]:
            var_poison(slot_vars[i], error)
    return 0


cdef bint stop_at(Plan plan, Frame frame, Py_ssize_t failed, int code, vector[VarState*]& slot_vars) except -1:
    # Whether a task has failed on data: what it writes is poisoned.
    cdef Spec* spec = &plan.tasks[failed]
    cdef NativeKernel kernel = plan.kernels[failed]
    cdef int k
    if not kernel.errors or code not in kernel.errors:
        return False
    error = frame.error(<int>failed, code)
    for k in range(spec.first_write, spec.first_write + spec.n_writes):
        var_poison(slot_vars[plan.vars[k]], error)
    return True


cdef bint quiet(Plan plan, vector[VarState*]& slot_vars) noexcept:
    # Nothing that this plan reads or writes is still being worked on.
    cdef Py_ssize_t i
    cdef VarState* var
    for i in range(<Py_ssize_t>slot_vars.size()):
        var = slot_vars[i]
        if var == NULL:
            continue
        if plan.slots[i].leaf < 0:
            if not var_idle(var):
                return False
        elif not var_idle(var) or var_poisoned(var):
            return False
    return True


cdef Py_ssize_t run_here(
    Plan plan, Walk* walk, Frame frame, Call* calls, vector[VarState*]& slot_vars, bint watched, bint* begun,
) except -1:
    # Runs the tasks of a plan up to one that fails; how many that was. With `begun` others are kept out, and wait.
    cdef Py_ssize_t i, failed, n_slots = <Py_ssize_t>plan.slots.size(), n_calls = <Py_ssize_t>plan.tasks.size()
    cdef int code = 0
    if plan.cost > RELEASE_COST:
        with nogil:
            failed = run_inline(plan, calls, &code)
    else:
        failed = run_inline(plan, calls, &code)
    if failed >= 0 and not begun[0]:
        # So far nobody else has had a turn; from here on Python runs.
        begun[0] = vars_begin(slot_vars.data(), plan.is_written.data(), n_slots)
    for i in range(n_slots):
        if slot_vars[i] != NULL and plan.is_written[i]:
            var_written(slot_vars[i])
    if failed >= 0 and not stop_at(plan, frame, failed, code, slot_vars):
        out_of_memory(plan, walk, failed, slot_vars)
        failed = -1
    if watched:
        for i in range(n_calls):
            if calls[i].raised.flags:
                if frame.noted.empty():
                    frame.note(walk)
                tell(<int>calls[i].raised.flags, frame.notes_of(<int>i))
    # What follows a failure is handed over: what does not need its value has one.
    return n_calls if failed < 0 else failed + 1


cdef Py_ssize_t run_inline(Plan plan, Call* calls, int* found) noexcept nogil:
    cdef Py_ssize_t i
    cdef int code
    for i in range(<Py_ssize_t>plan.tasks.size()):
        code = run_call(&calls[i], 0, calls[i].extent)
        if code == 0 and calls[i].finish != NULL:
            code = finish_call(&calls[i])
        if code != 0:
            found[0] = code
            return i
    return -1
