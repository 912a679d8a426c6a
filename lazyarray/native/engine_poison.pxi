# Failures, part of _engine.pyx: one Poison is one failure, shared by all Vars that depend on it.

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
