# Memory of other devices that other libraries see, too, part of _handle.pyx. Such a Storage is pinned as on the CPU: what
# reads it is issued as it is recorded, what is written to it lands in its own buffer. Where the CPU waits, streams do:
# `devices.meet` lets ours wait for what others have issued, `devices.part` theirs for ours.

def lend(Handle a):
    """Where the handle's value begins on its device, and what pins its Storage while it lives."""
    cdef Storage storage = a.storage
    cdef Node node = storage.node, fresh
    cdef Export keep
    if watching:
        spoil("it shares memory with another library")
    if node.state == PENDING:
        flush_nodes([node], True)
        node = storage.node
    var_wait(node.buffer.var)       # until it has been issued; raises what failed in it
    if storage.pins == 0:
        if Py_REFCNT(<PyObject*>node) > 2 or Py_REFCNT(<PyObject*>node.buffer) > 1:
            fresh = leaf_like(node, copied(node))
            fresh.variable = storage.variable
            storage.node = fresh
            node = fresh
        else:
            settle_buffer(node.buffer)
        node.pinned = True
        node.buffer.owner = EXPORTED
    keep = Export.__new__(Export)
    keep.storage = storage
    keep.buffer = node.buffer
    storage.pins += 1
    return <uintptr_t>node.buffer.ptr + <uintptr_t>a.offset, keep


def borrow(uintptr_t address, tuple shape, dtype, int device, object owner, bint writeable):
    """An array on memory of a device that `owner` keeps: both sides see each other's writes."""
    if watching:
        spoil("it shares memory with another library")
    cdef Type kind = on_device(type_of(shape, canonical(dtype, "from_dlpack")), device)
    cdef Node node = leaf(kind, foreign_buffer(<void*>address, kind.nbytes, owner))
    cdef Handle array = wrap(node, False)
    node.pinned = True
    array.storage.pins = 1          # for as long as the array lives
    if not writeable:
        shadow = array.shadow.view()
        shadow.flags.writeable = False
        array.shadow = shadow
    return array


cdef Buffer copied_on_device(Node node):
    # A copy by the device's stream.
    backend = devices.backend_of(node.type.device)
    cdef Buffer buffer = device_buffer(backend, node.type.nbytes)
    settle_buffer(node.buffer)
    backend.copy(<uintptr_t>buffer.ptr, <uintptr_t>node.buffer.ptr, node.type.nbytes)
    return buffer


cdef int write_lent(Handle a, Node node, Node value) except -1:
    # Computed beside, then copied over; in its place where that is free.
    cdef Node old, new
    devices.meet()
    if a.shadow is node.type.shadow:
        new = value
    else:
        old = leaf_like(node, node.buffer)
        new = make(
            UPDATE_NODE, (old, value), (a.shadow.shape, a.shadow.strides, a.moving, covers(a), a.shadow.dtype), node.type,
            a.offset,
        )
        new.pinned = False
    if new.state != ISSUED:
        if new.state == CONST:
            new = _ir.operators["positive"](transfer_node(new, node.type.device))
        flush_nodes([new], True)
    var_wait(new.buffer.var)
    settle_buffer(node.buffer)
    if new.buffer.ptr != node.buffer.ptr:
        devices.backend_of(node.type.device).copy(
            <uintptr_t>node.buffer.ptr, <uintptr_t>new.buffer.ptr, node.type.nbytes
        )
    devices.part()
    return 0
