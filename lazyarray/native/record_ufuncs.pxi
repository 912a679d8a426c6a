# Ufuncs as they are called, part of _record.pyx: arrays in, an op recorded.

cdef class UfuncBase:
    """A function that records an op on its inputs; calls with options go to the subclass's `call`."""

    cdef readonly object op
    cdef readonly int nin
    cdef void* entry            # of calls whose arguments are not put into a tuple

    def __cinit__(self):
        cdef type cls = type(self)
        cdef PyTypeObject* kind = <PyTypeObject*>cls
        self.entry = <void*>called
        # Python's classes do not inherit this way in; those with a `__call__` of their own do without.
        if kind.tp_call == (<PyTypeObject*>UfuncBase).tp_call:
            kind.tp_vectorcall_offset = <char*>&self.entry - <char*><PyObject*>self
            kind.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL

    def __init__(self, op, int nin):
        self.op = op
        self.nin = nin

    def __call__(self, *inputs, **options):
        cdef object result = NotImplemented
        if len(options) == 0 and len(inputs) == self.nin:
            result = self.pair(inputs[0], inputs[1]) if self.nin == 2 else self.some(inputs)
        return result if result is not NotImplemented else self.slow(inputs, options)

    cdef object slow(self, tuple inputs, dict options):
        cdef uint64_t before = newest()
        result = self.call(inputs, options)
        ask_since(before)
        return result

    cdef object pair(self, object x, object y):
        return NotImplemented if self.op is None else elementwise2(self.op, x, y)

    cdef object some(self, tuple inputs):
        if self.nin == 1 and isinstance(inputs[0], ArrayBase) and isinstance(self.op, ElementwiseOp):
            return elementwise1(<Op>self.op, <ArrayBase>inputs[0])
        return NotImplemented if self.op is None else k_ordered(self.op, inputs)


cdef object into(UfuncBase function, PyObject** args, Py_ssize_t count):
    """A call with an array of the result's type to write to; NotImplemented where it is something else."""
    cdef object out = <object>args[count], result
    if not quick(out) or (<ArrayBase>out).is_scalar or function.op is None or count > 2:
        return NotImplemented
    if not quick(<object>args[0]) or type(function.op) is not elementwise_class:
        return NotImplemented
    check_writeable(<ArrayBase>out, "out")
    if count == 2:
        result = function.pair(<object>args[0], <object>args[1])
        if result is NotImplemented:
            return result
    else:
        result = elementwise1(<Op>function.op, <ArrayBase><object>args[0])
    store_result(<ArrayBase>out, <ArrayBase>result, (<Op>function.op).name)
    return out


cdef object called(object raw, PyObject** args, size_t flags, PyObject* names):
    cdef UfuncBase function = <UfuncBase>raw
    cdef Py_ssize_t i, count = PyVectorcall_NARGS(flags)
    cdef object result = NotImplemented
    cdef tuple keys
    if names != NULL and count == function.nin and <tuple>names == OUT:
        result = into(function, args, count)
        if result is not NotImplemented:
            return result
    if names == NULL and count == function.nin:
        if count == 2:
            result = function.pair(<object>args[0], <object>args[1])
        elif count == 1 and quick(<object>args[0]) and type(function.op) is elementwise_class:
            return elementwise1(<Op>function.op, <ArrayBase><object>args[0])
        else:
            result = function.some(tuple([<object>args[i] for i in range(count)]))
        if result is not NotImplemented:
            return result
    inputs = tuple([<object>args[i] for i in range(count)])
    options = {}
    if names != NULL:
        keys = <tuple>names
        options = {keys[i]: <object>args[count + i] for i in range(len(keys))}
    return function.slow(inputs, options)


cdef class ProductBase(UfuncBase):
    """The same of the matrix product."""

    cdef object pair(self, object x, object y):
        return product(<ArrayBase>x, y) if isinstance(x, ArrayBase) else hooks.matmul(x, y)
