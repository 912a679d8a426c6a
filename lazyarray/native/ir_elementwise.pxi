# Elementwise ops and what they resolve to, part of _ir.pyx.

# What ops on two operands resolved to last, found without making a key.
cdef struct Resolved:
    int op                      # numbers that are never given twice
    int64_t x
    int64_t y
    PyObject* found             # owned

cdef enum:
    RESOLVED_LAST = 1024        # a power of two

cdef Resolved[RESOLVED_LAST] resolved_last


cdef class ElementwiseOp(Op):
    """An op on each element of its broadcast inputs; dtypes by `ufunc`, or by `resolver(*dtypes) -> (inputs, output)`."""

    def __init__(self, str name, int nin, *, ufunc=None, resolver=None, bint dear=False, bint fallible=False):
        Op.__init__(self, name, ELEMENTWISE, dear=dear, fallible=fallible)
        self.nin = nin
        self.ufunc = ufunc
        self.resolver = resolver
        self.resolved = {}

    def __call__(self, *args):
        if len(args) != self.nin:
            raise TypeError(f"{self.name}: takes {self.nin} arrays, got {len(args)}")
        return self.apply(args)

    cdef Node apply1(self, Node a):
        cdef tuple found = self.resolved.get(a.type.id)
        if found is None:
            return self.apply((a,))
        if found[2] is not None:
            return self.apply((a,))
        return make_typed(self, (a,), <Type>found[0], <int64_t>found[1])

    cdef Node apply2(self, object a, object b):
        cdef int64_t x = type_number(a), y = type_number(b)
        cdef Resolved* entry
        cdef tuple found, wanted
        if x == 0 or y == 0:
            return self.apply((a, b))
        entry = &resolved_last[(self.id * 31 + x * 7 + y) & (RESOLVED_LAST - 1)]
        if entry.op != self.id or entry.x != x or entry.y != y:
            found = self.resolved.get((x << 30) | y)
            if found is None:
                return self.apply((a, b))
            Py_XDECREF(entry.found)
            entry.op, entry.x, entry.y, entry.found = self.id, x, y, <PyObject*>found
            Py_INCREF(found)
        found = <tuple>entry.found
        if found[2] is not None:
            wanted = <tuple>found[2]
            a = taken(a, wanted[0])
            b = taken(b, wanted[1])
        return make_typed(self, (a, b), <Type>found[0], <int64_t>found[1])

    cdef Node apply(self, tuple args):
        cdef list nodes = list(args)
        cdef int64_t key = 0, number
        cdef Py_ssize_t i
        cdef tuple found
        cdef object wide = None
        for i in range(len(nodes)):
            value = nodes[i]
            if type(value) is Node:
                number = (<Node>value).type.id
            elif type(value) is int:
                number = WEAK_INT
            elif type(value) is float:
                number = WEAK_FLOAT
            elif type(value) is complex:
                number = WEAK_COMPLEX
            elif type(value) is number_class:
                number = WEAK_INT if value.kind is int else WEAK_FLOAT if value.kind is float else WEAK_COMPLEX
            else:
                value = strong(self, value)
                nodes[i] = value
                number = (<Node>value).type.id
            if self.nin <= 2:
                key = (key << 30) | number
        if self.nin > 2:
            wide = tuple([n.type.id if type(n) is Node else weak_type(n) for n in nodes])
            found = self.resolved.get(wide)
        else:
            found = self.resolved.get(key)
        if found is None:
            found = resolve(self, nodes)
            if len(self.resolved) > TABLE_LIMIT:
                self.resolved.clear()
            self.resolved[key if wide is None else wide] = found
        if found[2] is not None:
            for i in range(len(nodes)):
                dtype = found[2][i]
                value = nodes[i]
                if type(value) is number_class:
                    nodes[i] = value.constant(dtype)
                elif type(value) is not Node:
                    nodes[i] = constant(value, dtype)
                elif dtype is not (<Node>value).type.dtype:
                    nodes[i] = cast(<Node>value, dtype)
        return make_typed(self, tuple(nodes), <Type>found[0], <int64_t>found[1])


def install_number(cls):
    """Set the class of numbers that are data while a call is traced."""
    global number_class
    number_class = cls


cdef object weak_type(object value):
    return value.kind if type(value) is number_class else type(value)


cdef inline int64_t type_number(object value) noexcept:
    # What resolves an operand; 0 where that takes more.
    if type(value) is Node:
        return (<Node>value).type.id
    if type(value) is float:
        return WEAK_FLOAT
    if type(value) is int:
        return WEAK_INT
    return WEAK_COMPLEX if type(value) is complex else 0


cdef inline Node taken(object value, object dtype):
    # An operand in the dtype that an op wants.
    if type(value) is not Node:
        return constant(value, dtype)
    return <Node>value if dtype is (<Node>value).type.dtype else cast(<Node>value, dtype)


cdef Node strong(Op op, object value):
    if isinstance(value, (bool, np.generic)) or (isinstance(value, np.ndarray) and value.ndim == 0):
        if isinstance(value, (int, float, complex)) and not isinstance(value, (bool, np.generic)):
            value = value + 0
        array = np.asarray(value)
        return constant(array[()], canonical(array.dtype, op.name))
    if isinstance(value, (int, float, complex)):        # subclasses, such as IntEnum
        return constant(value, np.result_type(value))
    raise TypeError(f"{op.name}: expected a node or a number, got {type(value).__name__}")


cdef tuple resolve(ElementwiseOp op, list values):
    # (result type, signature, input dtypes or None where nothing has to be cast)
    cdef tuple shape = ()
    cdef list dtypes = []
    cdef bint same = True
    cdef Py_ssize_t i
    for value in values:
        if type(value) is Node:
            dtypes.append((<Node>value).type.dtype)
            try:
                shape = broadcast(shape, (<Node>value).type.shape)
            except ShapeError:
                shapes = ", ".join([str(n.type.shape) for n in values if type(n) is Node])
                fail(ShapeError, op.name, f"shapes {shapes} do not broadcast",
                     "Extents must be equal or 1, counted from the last axis.")
        else:
            dtypes.append(weak_type(value))
    try:
        if op.resolver is not None:
            wanted, result = op.resolver(*dtypes)
        else:
            answer = loop_dtypes(op.ufunc, tuple(dtypes))
            wanted, result = answer[:op.nin], answer[op.nin]
    except DTypeError:
        raise
    except TypeError as error:
        names = ", ".join([getattr(d, "__name__", str(d)) for d in dtypes])
        fail(DTypeError, op.name, f"not defined for dtypes {names} ({str(error).splitlines()[0]})",
             "Convert with astype first.")
    wanted = tuple([canonical(d, op.name) for d in wanted])
    result = canonical(result, op.name)
    op.check(wanted, result)
    for i in range(len(values)):
        if type(values[i]) is not Node or (<Node>values[i]).type.dtype is not wanted[i]:
            same = False
    found = type_of(shape, result)
    return found, signature(op, None, found), None if same else wanted


cdef tuple broadcast(tuple a, tuple b):
    cdef Py_ssize_t i, n, lead, x, y
    cdef list out
    if a == b or len(b) == 0:
        return a
    if len(a) == 0:
        return b
    if len(a) < len(b):
        a, b = b, a
    n = len(a)
    lead = n - len(b)
    out = list(a)
    for i in range(lead, n):
        x = a[i]
        y = b[i - lead]
        if x != y:
            if x == 1:
                out[i] = y
            elif y != 1:
                raise ShapeError(f"shapes {a} and {b} do not broadcast")
    return tuple(out)


def broadcast_shapes(*shapes):
    """The shape that all `shapes` broadcast to."""
    cdef tuple out = ()
    for shape in shapes:
        out = broadcast(out, shape)
    return out
