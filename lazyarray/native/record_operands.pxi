# Operands and what ops on them record, part of _record.pyx.

cdef object operand(object value):
    """A Node or a plain Python number; None where lazyarray does not know the type."""
    if isinstance(value, ArrayBase):
        return node_of(<ArrayBase>value)
    if type(value) is int or type(value) is float or type(value) is complex:
        return value
    return hooks.foreign_operand(value)


cdef bint falling(cnp.ndarray shadow) noexcept:
    # The steps do not grow from axis to axis: K order is C order.
    cdef int axis, ndim = cnp.PyArray_NDIM(shadow)
    cdef cnp.npy_intp step, last = -1
    for axis in range(ndim):
        if cnp.PyArray_DIM(shadow, axis) == 1:
            continue
        step = cnp.PyArray_STRIDE(shadow, axis)
        step = step if step >= 0 else -step
        if step == 0:
            continue
        if last >= 0 and step > last:
            return False
        last = step
    return True


cdef inline bint plain(object value):
    # Arrays in C order and numbers: no layout to be worked out.
    if isinstance(value, ArrayBase):
        shadow = (<ArrayBase>value).shadow
        return shadow is (<ArrayBase>value).storage.node.type.shadow or falling(<cnp.ndarray>shadow)
    return not cnp.PyArray_Check(value) or cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>value)


cdef inline bint quick(object value) noexcept:
    # An array that is all of its Storage, while no call is traced: its Node is its value.
    return (type(value) is array_class and not watching
            and (<ArrayBase>value).shadow is (<ArrayBase>value).storage.node.type.shadow)


cdef inline char letter(ArrayBase a) noexcept:
    # The kind of its dtype.
    return (<cnp.ndarray>a.shadow).descr.kind


cdef object recalled(object op, object x, object y):
    # What is made of ops looks at types and numbers only.
    recall = composites.get(op)
    if recall is None:
        recall = composites[op] = Recalled(op, True, True)
    return (<Recalled>recall).pair(x, y)


cdef object elementwise2(object op, object x, object y):
    cdef object a, b
    cdef Node out = None
    if quick(x) and type(op) is elementwise_class:
        if quick(y):
            out = (<ElementwiseOp>op).apply2((<ArrayBase>x).storage.node, (<ArrayBase>y).storage.node)
            return wrap(out, out.type.ndim == 0)
        if type(y) is float:
            out = (<ElementwiseOp>op).apply2((<ArrayBase>x).storage.node, y)
            return wrap(out, out.type.ndim == 0)
    elif type(op) is elementwise_class and type(x) is array_class and type(y) is array_class and plain(x) and plain(y):
        out = (<ElementwiseOp>op).apply2(node_of(<ArrayBase>x), node_of(<ArrayBase>y))
        return wrap(out, out.type.ndim == 0)
    if not isinstance(op, ElementwiseOp):
        found = recalled(op, x, y)
        if found is not NotImplemented:
            return found
    if not (plain(x) and plain(y)):
        return k_ordered(op, (x, y))
    a = operand(x)
    if a is None:
        return NotImplemented
    b = operand(y)
    if b is None:
        return NotImplemented
    if isinstance(op, ElementwiseOp):
        try:
            out = (<ElementwiseOp>op).apply2(a, b)
        except OverflowError:
            pass        # a comparison has an answer
    if out is None:
        last = newest()
        out = op(a, b)
        ask_since(last)
    return wrap(out, out.type.ndim == 0)


cdef object product(ArrayBase x, object y):
    # After a large product the caches hold none of Python's data: its rule, run again, would take 60 us instead of 3.
    cdef Node a, b, out
    cdef tuple found
    cdef object key
    if not isinstance(y, ArrayBase):
        return hooks.matmul(x, y)
    a = node_of(x)
    b = node_of(<ArrayBase>y)
    key = (a.type.id << 30) | b.type.id
    found = products.get(key)
    if found is not None:
        out = make(<Op>found[0], (a, b), found[1], <Type>found[2], 0)
    else:
        if products.get(key, b) is None:
            again = contractions.pair(x, y)
            if again is not NotImplemented:
                return again
        last = newest()
        out = operators["matmul"](a, b)
        ask_since(last)
        if len(products) >= PRODUCTS:
            products.clear()
        products[key] = None
        if out.state == PENDING and len(out.inputs) == 2 and out.inputs[0] is a and out.inputs[1] is b:
            products[key] = (out.op, out.attrs, out.type)
    return wrap(out, out.type.ndim == 0)


cdef object elementwise1(Op op, ArrayBase x):
    cdef Node out
    if quick(x):
        out = (<ElementwiseOp>op).apply1(x.storage.node)
    elif not plain(x):
        return k_ordered(op, (x,))
    else:
        out = (<ElementwiseOp>op).apply1(node_of(x))
    return wrap(out, out.type.ndim == 0)


def apply(op, *values):
    """An elementwise op on arrays and numbers, laid out as NumPy would."""
    cdef list operands = []
    cdef Node out
    for value in values:
        if isinstance(value, ArrayBase) and plain(value):
            operands.append(node_of(<ArrayBase>value))
        elif type(value) is int or type(value) is float:
            operands.append(value)
        else:
            return k_ordered(op, values)
    out = op(*operands)
    return wrap(out, out.type.ndim == 0)
