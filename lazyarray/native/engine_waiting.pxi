# Waiting, part of _engine.pyx: for a version, for room, for all tasks, for a fork to end.

cdef bint satisfied(Waiter* waiter) noexcept nogil:
    """Lock held."""
    cdef Py_ssize_t most
    if waiter.wish == WRITTEN:
        return waiter.var.version >= waiter.target
    if waiter.wish == UNUSED:
        return waiter.var.pending == 0
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
        if waiter.frame != NULL:
            let_go(waiter.frame)
        parker = waiter.parker
        store(&waiter.done, 1)
        wakes.add(parker)


cdef void hold(Frame* frame) noexcept nogil:
    """Lock held."""
    frame.held += 1
    if frame.held == 1:
        engine.stuck += 1


cdef void let_go(Frame* frame) noexcept nogil:
    """Lock held."""
    frame.held -= 1
    if frame.held == 0:
        engine.stuck -= 1


cdef Waiter** list_of(Waiter* waiter) noexcept nogil:
    return &waiter.var.waiters if waiter.wish == WRITTEN or waiter.wish == UNUSED else &engine.waiters


cdef void begin_wait(Waiter* waiter) noexcept nogil:
    cdef Frame* frame = <Frame*>get_frame()
    cdef Waiter** list
    cdef Wakes wakes
    wakes.n = 0
    waiter.parker = my_parker()
    waiter.frame = frame
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
        waiter.newest = engine.seq if waiter.wish == QUIET or waiter.wish == UNUSED else 0
    if satisfied(waiter):
        waiter.done = 1
    else:
        waiter.listed = True
        list = list_of(waiter)
        waiter.next = list[0]
        list[0] = waiter
        if frame != NULL:
            hold(frame)
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
    cdef bint helped = False
    if load(&waiter.done):
        return True
    if waiter.frame == NULL and waiter.newest:
        helped = help(waiter)
    if spin(&waiter.done, HELPED_SPIN if helped else WAIT_SPIN):
        return True
    waiter.parker.park(TICK)
    return load(&waiter.done) != 0


cdef bint help(Waiter* waiter) noexcept nogil:
    """Takes turns of sleeping workers for native tasks that are older than what it waits for. Whether there were any."""
    cdef LaneState* lane = engine.cpu
    cdef FloatEnvironment floats
    cdef Wakes wakes
    cdef Task* task
    cdef bint helped = False
    wakes.n = 0
    engine.lock.lock()
    if load(&waiter.done) == 0 and not engine.naive:
        task = take(lane, &wakes, True, waiter.newest)
        helped = task != NULL
        if helped:
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
    return helped


cdef bint repeatable(Task* task) noexcept nogil:
    """Whether it reads nothing that it writes."""
    cdef int i
    for i in range(task.n_links):
        if task.links[i].write and task.links[i].read:
            return False
    return True


cdef bint interrupted(Task* task) noexcept:
    """Whether Ctrl-C ended it; then it is as if it had not run."""
    cdef Poison* poison = task.poison
    if poison == NULL or not isinstance(<object>poison.dead.first, KeyboardInterrupt):
        return False
    task.poison = NULL
    task.failed = 0
    drop_poison(poison)
    return True


cdef int help_short(Waiter* waiter) except -1:
    """Runs short Python tasks up to what it waits for, unless a worker has: two threads would hand the GIL to and fro."""
    cdef bint stopped = False
    while waiter.frame == NULL and waiter.newest and not load(&waiter.done) and not stopped:
        if not run_short(waiter.newest, &stopped):
            return 0
    if stopped:
        raise KeyboardInterrupt
    return 0


cdef bint run_short(uint64_t newest, bint* stopped) except -1:
    cdef LaneState* lane = engine.cpu
    cdef FloatEnvironment floats
    cdef Task* task = NULL
    cdef Wakes wakes
    wakes.n = 0
    engine.lock.lock()
    if not engine.naive and lane.returning == NULL:
        task = lane.ready.top()
        if task != NULL and (not task.short or task.seq > newest or not repeatable(task) or inherited(task) != NULL):
            task = NULL
        if task != NULL:
            task = take(lane, &wakes, False, 0)
    engine.lock.unlock()
    wakes.send()
    if task == NULL:
        return False
    floats.enter()
    call_python(task, lane)
    if interrupted(task):
        stopped[0] = True
        call_python(task, lane)     # the wait ends, not the task
    drop_callable(task, lane)
    floats.leave()
    engine.lock.lock()
    end_turn(task, lane, last_out(task), &wakes)
    if has_work(lane):
        nudge(lane, &wakes)
    engine.lock.unlock()
    wakes.send()
    return True


cdef void end_wait(Waiter* waiter) noexcept nogil:
    """Also after an exception: leaves the list, and gets a turn again if it gave one away."""
    cdef Waiter** place
    cdef LaneState* lane = waiter.turn
    if load(&waiter.done) and lane == NULL:
        return
    engine.lock.lock()
    if waiter.listed:
        place = list_of(waiter)
        while place[0] != waiter:
            place = &place[0].next
        place[0] = waiter.next
        if waiter.frame != NULL:
            let_go(waiter.frame)
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
        circle = waiter.frame != NULL and waiter.listed and engine.started == engine.stuck and engine.n_ready == 0 \
            and engine.inlining == 0
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
    try:
        help_naive(waiter)
        help_short(waiter)
        with nogil:
            done = sit(waiter)
        while not done:
            if not waiter.deaf:
                PyErr_CheckSignals()
            reason = hopeless(waiter)
            if reason is not None:
                raise reason
            help_naive(waiter)
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
    cdef bint held
    while load(&var.pending_writes):
        held = load(&var.held) != 0
        wait_for(var, WRITTEN)
        if not held:    # else there may be tasks now that take up what was begun there
            break
    return end_var_wait(var)


cdef int var_settle(VarState* var) except -1:
    if load(&var.pending):
        wait_for(var, UNUSED)
    return end_var_wait(var)


cdef int var_quiet(VarState* var) except -1:
    if load(&var.pending):
        wait_for(var, UNUSED)
    reap()
    return 0


cdef int wait_for(VarState* var, Wish wish) except -1:
    cdef Waiter waiter
    if own_var(var):
        return 0
    waiter.wish = wish
    waiter.deaf = False
    waiter.var = var
    return block(&waiter)


cdef int end_var_wait(VarState* var) except -1:
    """Raises the sticky error, if there is one."""
    cdef Poison* poison
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
    waiter.deaf = False
    waiter.tasks = tasks
    waiter.nbytes = nbytes
    block(&waiter)
    return 0
