# Operands that are not in C order, part of _record.pyx.

cdef object k_ordered(object op, tuple values):
    # NumPy's K order: axes sorted by the operands' strides. Operands are permuted first, so that the result's Node is
    # C-contiguous under a transposing View.
    cdef list operands = []
    cdef list shadows = []
    cdef Py_ssize_t ndim = 0
    cdef tuple order
    cdef Node out, node
    cdef ArrayBase a, result
    for value in values:
        if cnp.PyArray_CheckExact(value) or (cnp.PyArray_Check(value) and not hooks.overrides(value)):
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
    order = k_order(shadows, ndim)
    if order is None:
        out = op(*[node_of(<ArrayBase>v) if isinstance(v, ArrayBase) else v for v in operands])
        return wrap(out, out.type.ndim == 0)
    nodes = []
    for value in operands:
        if isinstance(value, ArrayBase):
            a = value
            shadow = a.shadow
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
    return view_of(result, result.shadow.transpose(inverse(order)))


cdef tuple inverse(tuple order):
    cdef list back = [0] * len(order)
    cdef Py_ssize_t place, axis
    for place, axis in enumerate(order):
        back[axis] = place
    return tuple(back)
