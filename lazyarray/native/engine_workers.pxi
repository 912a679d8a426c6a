# Lanes and their workers, part of _engine.pyx: who runs a ready task, and how a task in units is shared.

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
            grains = max(1, grains // (4 * load(&task.lane.limit)))
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
    frame.held = 0
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
    frame.held = 0
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


cdef void drop_callable(Task* task, LaneState* lane) noexcept:
    """Its closure may hold arrays: let them go now, not when a Python thread next pushes or waits."""
    cdef PyObject* fn = task.dead.first
    cdef Frame frame        # destructors are still inside the task: they may wait
    task.dead.first = NULL
    frame.task = task
    frame.lane = lane
    frame.held = 0
    frame.outer = <Frame*>get_frame()
    set_frame(&frame)
    Py_XDECREF(fn)
    set_frame(frame.outer)


cdef Task* python_turns(Task* task, LaneState* lane, Wakes* wakes) noexcept nogil:
    """Runs Python tasks while there are any ready: a busy main thread gives the GIL only every 5 ms."""
    cdef bint last
    cdef int left = PYTHON_BATCH
    with gil:
        while task != NULL and task.python and left:
            left -= 1
            call_python(task, lane)
            if not task.split:
                drop_callable(task, lane)
            default_float_environment()
            engine.lock.lock()
            last = last_out(task)
            if last and task.split:
                engine.lock.unlock()
                drop_callable(task, lane)
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
