# What a handle's value is, in memory, part of _handle.pyx.

cdef Node settled(Storage storage):
    """The Storage's value, waited for. Other threads may write meanwhile: it is what is there when this returns."""
    cdef Node node
    while True:
        node = storage.node
        observe_node(node)
        if storage.node is node and node.state != PENDING:
            return node


cdef int materialise(Storage storage) except -1:
    """Wait for the Storage's value, in a buffer that no other Node shares."""
    cdef Node node, fresh
    cdef Buffer buffer
    while True:
        node = settled(storage)
        if node.state != CONST:
            return 0
        buffer = new_buffer(node.type.nbytes)
        settle_free(buffer)
        if storage.node is not node:
            continue
        memcpy(buffer.ptr, node.number, node.type.nbytes)
        fresh = leaf_like(node, buffer)
        fresh.variable = storage.variable
        storage.node = fresh
        return 0


cdef int wait_for(Handle a) except -1:
    """Wait for the whole Storage."""
    return observe_node(a.storage.node)


cdef object peek(Handle a):
    """The handle's value as an ndarray that the caller neither keeps nor writes."""
    cdef Node node = a.storage.node
    if node.type.device:
        if node.pinned:
            devices.meet()
        node = transfer_node(node, 0)
        observe_node(node)
    else:
        observe_node(node)
        while node.state == PENDING:
            observe_node(node)
    if node.state == CONST:
        number = numpy_view(node)
        return np.ndarray(a.shadow.shape, a.shadow.dtype, number, a.offset, a.shadow.strides)
    array = real_view(a, node)
    cnp.set_array_base(array, node.buffer)
    return array


cdef object export(Handle a):
    """The handle's value as an ndarray on the same memory; pins the Storage while it lives."""
    cdef Storage storage = a.storage
    cdef Node node, fresh
    cdef Export keep
    if a.is_scalar:
        return peek(a).copy()
    if storage.node.type.device:    # memory that only the device can read: a copy, which nobody shares
        array = peek(a)
        if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>a.shadow):
            array.flags.writeable = False
        return array
    while True:
        materialise(storage)
        node = storage.node
        if storage.pins:
            break
        if Py_REFCNT(<PyObject*>node) > 2 or Py_REFCNT(<PyObject*>node.buffer) > 1:
            fresh = leaf_like(node, copied(node))
            if storage.node is not node or storage.pins:
                continue        # another thread has been here meanwhile
            fresh.variable = storage.variable
            storage.node = node = fresh
        else:
            settle_buffer(node.buffer)
            if storage.node is not node or storage.pins or Py_REFCNT(<PyObject*>node) > 2:
                continue
        node.pinned = True
        node.buffer.owner = EXPORTED
        break
    keep = Export.__new__(Export)
    keep.storage = storage
    keep.buffer = node.buffer
    storage.pins += 1
    array = real_view(a, node)
    cnp.set_array_base(array, keep)
    if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>a.shadow):
        array.flags.writeable = False
    return array
