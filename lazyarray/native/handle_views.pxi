# Views that are made again and again, part of _handle.pyx: what NumPy, and the tables of types and signatures, said of them.

cdef Views* views = new Views()     # never freed: a process that ends has no Python for what it holds


@cython.final
@cython.no_gc
cdef class Seen:
    """A View of Storages of one type, and the nodes that read and write through it."""


cdef Seen known_view(Handle a, CallKey& key):
    """The view made like this before; None where there is none."""
    cdef PyObject* found = views.find(key)
    if found == NULL or (<Seen>found).base is not a.storage.node.type:
        return None
    return <Seen>found


cdef Seen new_view(Handle a, CallKey& key, object shadow, bint element):
    """A view whose shadow NumPy has made."""
    cdef Seen seen = Seen.__new__(Seen)
    cdef Handle out = view_of(a, shadow)
    cdef Type base = a.storage.node.type
    cdef tuple strides = out.shadow.strides
    cdef PyObject* shown = NULL
    seen.parent = a.shadow
    seen.shadow = out.shadow
    seen.offset = out.offset
    seen.moving = out.moving
    seen.element = element
    seen.base = base
    seen.type = type_of(out.shadow.shape, out.shadow.dtype)
    seen.same = (seen.type is base and (not seen.moving or seen.offset == 0)
                 and strides == contiguous(base.shape, base.itemsize))
    seen.attrs = (strides, seen.moving)
    seen.sig = signature(VIEW_NODE, seen.attrs, seen.type)
    seen.covers = covers(out)
    seen.update = (seen.type.shape, strides, seen.moving, seen.covers, seen.type.dtype)
    seen.update_sig = signature(UPDATE_NODE, seen.update, base)
    if seen.shadow is not base.shadow:
        shown = <PyObject*>seen.shadow
    views.add(key, <PyObject*>seen, shown)
    return seen


cdef int no_view(Handle a, CallKey& key) except -1:
    """Note that there is no such view: its `shadow` is None."""
    cdef Seen seen = Seen.__new__(Seen)
    seen.parent = a.shadow
    seen.base = a.storage.node.type
    views.add(key, <PyObject*>seen, NULL)
    return 0


cdef Handle look(Handle a, Seen seen):
    """The view of an array that is no scalar, while no call is traced."""
    cdef Handle out
    if seen.element:
        return wrap(seen_node(a.storage.node, seen), True)
    out = new_array()
    out.storage = a.storage
    out.shadow = seen.shadow
    out.offset = seen.offset
    out.moving = seen.moving
    return out


cdef inline Node seen_node(Node base, Seen seen):
    if seen.same:
        return base
    return make_signed(VIEW_NODE, (base,), seen.attrs, seen.type, seen.offset, seen.sig)


cdef inline Seen seen_by(Handle a):
    # The view that a handle is, where that was made by `look`.
    cdef PyObject* found = views.of(<PyObject*>a.shadow)
    return None if found == NULL or (<Seen>found).base is not a.storage.node.type else <Seen>found


cdef Node spread_over(Node number, Seen seen):
    """A number of the view's dtype, for each of its elements."""
    if seen.spread is None:
        seen.spread = ((0,) * seen.type.ndim, False)
        seen.spread_sig = signature(VIEW_NODE, seen.spread, seen.type)
    return make_signed(VIEW_NODE, (number,), seen.spread, seen.type, 0, seen.spread_sig)


cdef int write_seen(Handle a, Seen seen, Node value) except -1:
    """Write a value of the view's type through it; the Storage is not pinned, and no call is traced."""
    cdef Node node = a.storage.node
    set_node(a.storage, make_signed(UPDATE_NODE, (node, value), seen.update, node.type, seen.offset, seen.update_sig))
    return written(a.storage.node)
