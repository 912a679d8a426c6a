# Functions of arrays whose calls go straight to what is remembered of them, part of _record.pyx.

@cython.final
cdef class Remembered:
    """A function of arrays whose calls like one before are recorded without running it; a method where it is a class's.

    Parameters
    ----------
    function : callable
        What other calls run.
    recall : Recalled
    most : int, optional
        Positional arguments that `recall` takes as `function` does.
    """

    cdef object function
    cdef readonly Recalled recall
    cdef Py_ssize_t most
    cdef void* entry            # of calls whose arguments are not put into a tuple
    cdef dict __dict__
    cdef object __weakref__

    def __cinit__(self):
        self.entry = <void*>remembered

    def __init__(self, function, Recalled recall, Py_ssize_t most=FEW):
        self.function = function
        self.recall = recall
        self.most = most

    def __call__(self, *args, **options):
        if len(args) <= self.most:
            found = self.recall(args, options)
            if found is not NotImplemented:
                return found
        return self.function(*args, **options)

    def __get__(self, instance, owner):
        return self if instance is None else MethodType(self, instance)

    def __repr__(self):
        return f"<function {self.__name__}>"

    def __reduce__(self):
        return self.__qualname__


cdef object remembered(object raw, PyObject** args, size_t flags, PyObject* names):
    cdef Remembered self = <Remembered>raw
    cdef Py_ssize_t count = PyVectorcall_NARGS(flags)
    cdef object found
    if count <= self.most:
        found = self.recall.call(args, count, None if names == NULL else <tuple>names)
        if found is not NotImplemented:
            return found
    return PyObject_Vectorcall(self.function, args, flags, names)


@cython.final
cdef class Viewed:
    """A function that gives a view of an array, which NumPy makes of the shadow; once for each way it is called.

    Parameters
    ----------
    numpy : callable
        NumPy's function: it looks at the shadow's layout, Python's integers and None only.
    function : callable
        What other calls run.
    """

    cdef object numpy
    cdef object function
    cdef void* entry            # of calls whose arguments are not put into a tuple
    cdef dict __dict__
    cdef object __weakref__

    def __cinit__(self, numpy, function):
        self.entry = <void*>viewed
        self.numpy = numpy
        self.function = function

    def __call__(self, *args, **options):
        return self.function(*args, **options)

    def __get__(self, instance, owner):
        return self if instance is None else MethodType(self, instance)

    def __repr__(self):
        return f"<function {self.__name__}>"

    def __reduce__(self):
        return self.__qualname__

    cdef object view(self, PyObject** args, Py_ssize_t count):
        # NotImplemented where it takes more than a look.
        cdef CallKey at
        cdef Seen found
        cdef ArrayBase a
        cdef Py_ssize_t i
        if count == 0 or not isinstance(<object>args[0], ArrayBase) or not lookable(<ArrayBase>args[0]):
            return NotImplemented
        a = <ArrayBase>args[0]
        if cnp.PyArray_NDIM(<cnp.ndarray>a.shadow) == 0:
            return NotImplemented           # NumPy may read the element
        begin(at, a, BY_FUNCTION)
        at.add(<int64_t><PyObject*>self)
        for i in range(1, count):
            if not add_place(at, <object>args[i]):
                return NotImplemented
        found = known_view(a, at)
        if found is None:
            try:
                made = self.numpy(a.shadow, *[<object>args[i] for i in range(1, count)])
            except (TypeError, ValueError):
                return NotImplemented       # the long way says what is wrong
            if made is a.shadow:
                return a
            found = new_view(a, at, made, False)
        return look(a, found)


cdef bint add_place(CallKey& at, object value) noexcept:
    # An axis or several, an extent.
    if value is None:
        return at.add(ABSENT)
    if type(value) is tuple:
        if not (at.add(SEVERAL) and at.add(len(<tuple>value))):
            return False
        for each in <tuple>value:
            if not add_int(at, each):
                return False
        return True
    return add_int(at, value)


cdef object viewed(object raw, PyObject** args, size_t flags, PyObject* names):
    cdef Viewed self = <Viewed>raw
    cdef object found
    if names == NULL:
        found = self.view(args, PyVectorcall_NARGS(flags))
        if found is not NotImplemented:
            return found
    return PyObject_Vectorcall(self.function, args, flags, names)


cdef void enter_at(PyTypeObject* kind, object function, void* entry):
    # Calls go straight to what stands in the object there, those of a method as well.
    kind.tp_vectorcall_offset = <char*>entry - <char*><PyObject*>function
    kind.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR


cdef void enter_functions():
    cdef Remembered one = Remembered.__new__(Remembered)
    cdef Viewed two = Viewed.__new__(Viewed, None, None)
    enter_at(<PyTypeObject*>Remembered, one, &one.entry)
    enter_at(<PyTypeObject*>Viewed, two, &two.entry)


enter_functions()
