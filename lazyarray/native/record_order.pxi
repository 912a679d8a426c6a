# Operands that are not in C order, part of _record.pyx.

cdef object k_ordered(object op, tuple values):
    # NumPy's K order: axes sorted by the operands' strides. Operands are permuted first, so that the result's Node is
    # C-contiguous under a transposing View.
    cdef list operands = []
    cdef list shadows = []
    cdef Py_ssize_t ndim = 0
    cdef tuple order, back
    cdef bint ours = True
    cdef Node out, node
    cdef ArrayBase a, result
    for value in values:
        if cnp.PyArray_CheckExact(value) or (cnp.PyArray_Check(value) and not hooks.overrides(value)):
            ours = False
            ndim = max(ndim, value.ndim)
            shadows.append(value)
            operands.append(from_numpy(value))
            continue
        if not isinstance(value, ArrayBase):
            value = operand(value)
            if value is None:
                return NotImplemented
            if type(value) is Node:
                value = wrap(value, (<Node>value).type.ndim == 0)
        operands.append(value)
        if isinstance(value, ArrayBase):
            ndim = max(ndim, (<ArrayBase>value).shadow.ndim)
            shadows.append((<ArrayBase>value).shadow)
    order, back = known_order(shadows, ndim) if ours else unknown_order(shadows, ndim)
    if order is None:
        out = op(*[node_of(<ArrayBase>v) if isinstance(v, ArrayBase) else v for v in operands])
        return wrap(out, out.type.ndim == 0)
    nodes = []
    for value in operands:
        if isinstance(value, ArrayBase):
            a = value
            shadow = a.shadow
            if lookable(a) and cnp.PyArray_NDIM(<cnp.ndarray>shadow) == ndim:
                nodes.append(permuted(a, order))
                continue
            if cnp.PyArray_NDIM(<cnp.ndarray>shadow) == ndim:
                shadow = shadow.transpose(order)
            elif cnp.PyArray_NDIM(<cnp.ndarray>shadow):
                shadow = shadow[(None,) * (ndim - shadow.ndim)].transpose(order)
            node = storage_node(a)
            nodes.append(view_node(node, shadow.shape, shadow.strides, a.offset, a.moving, shadow.dtype))
        else:
            nodes.append(value)
    out = op(*nodes)
    result = wrap(out, False)
    if lookable(result):
        return look(result, permutation(result, back))
    return view_of(result, result.shadow.transpose(back))


cdef Seen permutation(ArrayBase a, tuple order):
    cdef CallKey at
    cdef Seen seen
    begin(at, a, PERMUTE)
    for axis in order:
        add_int(at, axis)
    seen = known_view(a, at)
    return new_view(a, at, a.shadow.transpose(order), False) if seen is None else seen


cdef Node permuted(ArrayBase a, tuple order):
    return node_of(look(a, permutation(a, order)))


cdef Calls* orders = new Calls()    # never freed: a process that ends has no Python for what it holds


cdef tuple unknown_order(list shadows, Py_ssize_t ndim):
    cdef tuple order = k_order(shadows, ndim)
    return order, None if order is None else inverse(order)


cdef tuple known_order(list shadows, Py_ssize_t ndim):
    # The order of arrays with these shadows, and its inverse: looked at once.
    cdef CallKey at
    cdef PyObject* found
    cdef tuple made
    at.count = 0
    for shadow in shadows:
        if not at.add(<int64_t><PyObject*>shadow):
            return unknown_order(shadows, ndim)
    at.on = NULL
    found = orders.find(at)
    if found != NULL:
        return (<tuple>found)[0]
    made = unknown_order(shadows, ndim)
    if orders.full():
        orders.clear()
    held = (made, shadows)
    orders.add(at, <PyObject*>held)
    return made


cdef tuple inverse(tuple order):
    cdef list back = [0] * len(order)
    cdef Py_ssize_t place, axis
    for place, axis in enumerate(order):
        back[axis] = place
    return tuple(back)
