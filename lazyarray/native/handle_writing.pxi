# Writing through a handle, part of _handle.pyx: what an array that is written, and its Storage, become.

cdef int set_node(Storage storage, Node node) except -1:
    cdef Recorder rec = recorder()
    if storage.variable is not None and not rec.recording:
        # A write outside a recording starts a new variable: the tape must not grow through a parameter.
        if node.state != PENDING or node.variable is not None:
            node = _ir.operators["positive"](node)
        node.taped = False
        node.variable = storage.variable
    storage.node = unpinned(node)
    if watching and active() is not None:
        active().wrote(storage, storage.node.serial)
    return 0


cdef enum:
    AT_ONCE_BYTES = 65536           # of a Storage whose parts are written at once; single elements are of any
    MEND_BYTES = 4096               # of a Storage that is computed first
    MEND_AFTER = 4                  # writes to it that wait,
    MEND_DEPTH = 3                  # and ops before those


cdef bint at_rest(Node node) noexcept:
    # Its value is there, and nothing uses it: no task, no thread that runs a plan by itself and holds the buffer meanwhile.
    return (node.state == ISSUED and not node.type.device and node.buffer is not None and var_idle(node.buffer.var)
            and not var_poisoned(node.buffer.var) and Py_REFCNT(<PyObject*>node.buffer) == 1)


cdef bint write_at_once(Handle a, Seen seen, const char* number) except -1:
    """Whether a number, in the view's dtype, has been written to memory that nobody else looks at."""
    cdef cnp.ndarray shadow = <cnp.ndarray>seen.shadow
    if not is_own(a.storage, seen):
        return False
    fill_view(a.storage.node.buffer.ptr + seen.offset, cnp.PyArray_NDIM(shadow), <const Py_ssize_t*>cnp.PyArray_DIMS(shadow),
              <const Py_ssize_t*>cnp.PyArray_STRIDES(shadow), number, seen.type.itemsize)
    var_written(a.storage.node.buffer.var)
    return True


cdef bint copy_at_once(Handle a, Seen seen, Handle source) except -1:
    """The same of what another handle, of the view's shape and dtype, sees of a Storage of its own."""
    cdef Node node
    cdef cnp.ndarray shadow = <cnp.ndarray>seen.shadow
    if source.storage is a.storage or not is_own(a.storage, seen):
        return False
    node = source.storage.node
    if not at_rest(node) or node.pinned:
        return False
    copy_view(a.storage.node.buffer.ptr + seen.offset, <const Py_ssize_t*>cnp.PyArray_STRIDES(shadow),
              node.buffer.ptr + source.offset, <const Py_ssize_t*>cnp.PyArray_STRIDES(<cnp.ndarray>source.shadow),
              cnp.PyArray_NDIM(shadow), <const Py_ssize_t*>cnp.PyArray_DIMS(shadow), seen.type.itemsize)
    var_written(a.storage.node.buffer.var)
    return True


cdef bint is_own(Storage storage, Seen seen) except -1:
    # Whether the value is in memory that nobody else looks at: a write that is small lands there, and is no task. The value
    # there is the one that the task would have been given.
    cdef Node node = storage.node
    if node.type.nbytes > AT_ONCE_BYTES and seen.type.size > 1:
        return False
    if node.state == PENDING:
        if node.op is not UPDATE_NODE or node.type.nbytes > MEND_BYTES or node.type.device or not mendable(node):
            return False
        flush_nodes([node], True)
        node = storage.node
    # Held by this function and the Storage.
    if (not at_rest(node) or node.pinned or node.taped or node.released or node.variable is not None
            or storage.variable is not None or Py_REFCNT(<PyObject*>node) > 2 or node.buffer.size_class < 0
            or node.buffer.owner is not None or len(node.inputs)):
        return False
    return not recorder().recording


cdef bint mendable(Node node) noexcept:
    # What is there has been written in a row to what is there, or a step away: it costs less to have it than to record more.
    cdef int count = 0
    cdef Node value
    while node.state == PENDING and node.op is UPDATE_NODE and len(node.inputs) == 2:
        value = <Node>node.inputs[1]
        if value.state == PENDING and value.op is VIEW_NODE:
            value = <Node>value.inputs[0]
        if value.state != CONST and not at_rest(value):
            return False
        count += 1
        if count > 2 * MEND_AFTER:
            return False
        node = <Node>node.inputs[0]
    return count >= MEND_AFTER and soon(node, MEND_DEPTH)


cdef bint soon(Node node, int depth) noexcept:
    # Whether a value takes a few small ops on what is there.
    if node.state != PENDING:
        return node.state == CONST or at_rest(node)
    if depth == 0 or node.type.nbytes > MEND_BYTES or node.op.dear or node.op.fallible:
        return False
    for each in node.inputs:
        if not soon(<Node>each, depth - 1):
            return False
    return True


cdef int check_writeable(Handle a, str op) except -1:
    if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>a.shadow):
        raise ValueError(f"{op}: assignment destination is read-only")
    return 0


cdef int write(Handle a, Node value, str op) except -1:
    """Replace what the handle sees by `value`, broadcast and cast."""
    if watching:
        touch(a)
    cdef Node node = a.storage.node, new
    cdef tuple shape
    cdef bint whole
    cdef Seen seen
    check_writeable(a, op)
    if a.shadow is node.type.shadow:
        if value.type is node.type and not a.storage.pins:
            set_node(a.storage, value)
            return written(a.storage.node)
    else:
        seen = seen_by(a)
        if seen is not None and value.type is seen.type and not seen.covers and not a.storage.pins:
            return write_seen(a, seen, value)
    shape = a.shadow.shape
    value = fit(value, shape, a.shadow.dtype, op)
    if value.type.device != node.type.device:
        value = at_home(value, node.type.device, op)
    node = a.storage.node       # another thread may have written while those ran
    if a.storage.pins:
        return write_pinned(a, value)
    if a.shadow is node.type.shadow:
        set_node(a.storage, value)
    else:
        whole = covers(a)
        if whole and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>a.shadow):
            new = view_node(value, node.type.shape, contiguous(node.type.shape, node.type.itemsize), 0, False, node.type.dtype)
        else:
            if whole and node.state == PENDING:     # nobody needs to compute what is overwritten
                node = make(_ir.registry["empty"], (), None, node.type, 0)
            new = make(
                _ir.registry["update"], (node, value),
                (shape, a.shadow.strides, a.moving, whole, a.shadow.dtype), node.type, a.offset,
            )
        set_node(a.storage, new)
    return written(a.storage.node)


cdef inline int written(Node node) except -1:
    # What follows when a Storage has got a new value.
    if node.recorder is not None:
        if node.pinned:
            run_now(node)
        elif node.recorder.count > NODE_LIMIT or node.recorder.nbytes > BYTE_LIMIT or node.recorder.flops > FLOP_LIMIT:
            relieve(node.recorder, node, True)
    return 0


def warn_of_parts(level):
    """NumPy's warning where a cast forgets imaginary parts; `level` frames up."""
    warnings.warn("Casting complex values to real discards the imaginary part", ComplexWarning, stacklevel=level)


cdef Node fit(Node value, tuple shape, object dtype, str op):
    cdef tuple have = value.type.shape
    cdef Py_ssize_t lead = len(have) - len(shape)
    if value.type.dtype is not dtype:
        if value.type.dtype.kind == "c" and dtype.kind not in "cb":
            warn_of_parts(1)
        value = _ir.cast(value, dtype)
    if have == shape:
        return value
    if lead > 0 and all([extent == 1 for extent in have[:lead]]):
        have = have[lead:]
        value = view_node(value, have, contiguous(have, value.type.itemsize), 0, False, dtype)
    if fits(have, shape):
        return stretch(value, shape)
    fail(ShapeError, op, f"could not broadcast input array from shape {value.type.shape} into shape {shape}",
         "Extents must be equal or 1, counted from the last axis.")


cdef bint fits(tuple have, tuple shape):
    # Whether `have` broadcasts to `shape`.
    cdef Py_ssize_t i, lead = len(shape) - len(have)
    if lead < 0:
        return False
    for i in range(len(have)):
        if have[i] != shape[lead + i] and have[i] != 1:
            return False
    return True


cdef Node stretch(Node value, tuple shape):
    cdef tuple have = value.type.shape, steps
    cdef Py_ssize_t lead = len(shape) - len(have), i
    if have == shape:
        return value
    steps = contiguous(have, value.type.itemsize)
    strides = [0] * lead
    for i in range(len(have)):
        strides.append(0 if have[i] == 1 else steps[i])
    return view_node(value, shape, tuple(strides), 0, False, value.type.dtype)


cdef int write_pinned(Handle a, Node value) except -1:
    # Into the exported buffer, before the call returns; if the old value has other holders it moves out first.
    cdef Storage storage = a.storage
    cdef Node node, fresh
    data = None
    if not storage.node.type.device:
        observe_node(value)
        data = numpy_view(value).copy()
    node = storage.node
    if Py_REFCNT(<PyObject*>node) > 2:      # this variable and the Storage
        fresh = leaf_like(node, node.buffer)
        node.buffer = copied(node)
        node.buffer.owner = EXPORTED
        fresh.pinned = True
        node.pinned = False
        fresh.variable = storage.variable
        storage.node = fresh
        node = fresh
    if node.type.device:
        return write_lent(a, node, value)
    settle_buffer(node.buffer)
    real_view(a, node)[...] = data
    return 0


cdef Buffer copied(Node node):
    if node.type.device:
        return copied_on_device(node)
    cdef Buffer buffer = new_buffer(node.type.nbytes)
    settle_buffer(node.buffer)
    settle_free(buffer)
    memcpy(buffer.ptr, node.buffer.ptr, node.type.nbytes)
    return buffer


cdef int settle_free(Buffer buffer) except -1:
    # A block from the pool may still be used by tasks of its last owner; their errors are not ours.
    if not var_idle(buffer.var):
        try:
            settle_buffer(buffer)
        except Exception:  # not KeyboardInterrupt
            pass
    var_written(buffer.var)
    return 0


cdef object real_view(Handle a, Node node):
    """The handle's View as an ndarray on the node's memory; the caller keeps the buffer alive."""
    cdef cnp.ndarray shadow = a.shadow
    array = la_ndarray(
        a.shadow.dtype, cnp.PyArray_NDIM(shadow), cnp.PyArray_DIMS(shadow), cnp.PyArray_STRIDES(shadow),
        node.buffer.ptr + a.offset, cnp.NPY_ARRAY_WRITEABLE | cnp.NPY_ARRAY_ALIGNED,
    )
    cnp.PyArray_UpdateFlags(<cnp.ndarray>array, cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_F_CONTIGUOUS)
    return array
