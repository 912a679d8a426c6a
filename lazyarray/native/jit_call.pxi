# The arguments of a call and its key, part of _jit.pyx.

cdef class Call:
    """The arguments of one call, taken apart."""

    cdef readonly list arrays           # handles, as they come
    cdef readonly list storages         # theirs, each once
    cdef readonly list offsets          # of the first handle of each
    cdef readonly list numbers          # Python numbers
    cdef readonly list containers       # lists and dicts
    cdef readonly list objects          # other things
    cdef readonly list key
    cdef readonly object skeleton       # the key as a tuple
    cdef readonly str refusal           # why there is no key

    def __cinit__(self, tuple args, dict kwargs, static):
        cdef Recorder rec = recorder()
        cdef bint fixed = len(static) > 0
        self.arrays = []
        self.storages = []
        self.offsets = []
        self.numbers = []
        self.containers = []
        self.objects = []
        self.key = [rec.recording * 2 + rec.training, <object>mode_now(), len(args)]
        cdef Py_ssize_t i = 0
        for each in args:
            if fixed and i in static:
                # Text tells -0.0 from 0.0.
                self.key.append((type(each), repr(each) if type(each) in (float, complex) else each))
            else:
                self.add(each)
            i += 1
        for name, each in kwargs.items():
            self.key.append(name)
            self.add(each)
        self.skeleton = tuple(self.key)

    cdef int add(self, object x) except -1:
        cdef type kind = type(x)
        if isinstance(x, Handle):
            return self.add_array(<Handle>x)
        if kind is float or kind is int or kind is complex:
            self.numbers.append(x)
            self.key.append(kind)
        elif kind is tuple or kind is list:
            if kind is list:
                self.containers.append(x)
            self.key.append(kind)
            self.key.append(len(x))
            for each in x:
                self.add(each)
        elif kind is dict:
            self.containers.append(x)
            self.key.append(dict)
            self.key.append(len(x))
            for name, each in (<dict>x).items():
                self.key.append(type(name))
                self.key.append(name)
                self.add(each)
        elif issubclass(kind, tuple):
            self.key.append(kind)
            self.key.append(len(x))
            for each in x:
                self.add(each)
        elif isinstance(x, np.ndarray):
            self.refusal = "it takes a NumPy array"
        elif isinstance(x, np.generic):
            self.key.append(kind)
            self.key.append(x.tobytes())
        else:
            self.objects.append(x)
            self.key.append(kind)
            self.key.append(x)
        return 0

    cdef int add_array(self, Handle a) except -1:
        cdef Storage storage = a.storage
        cdef Node node = storage.node
        cdef Py_ssize_t index = -1, i, met
        for i in range(len(self.storages)):
            if PyList_GET_ITEM(self.storages, i) == <PyObject*>storage:
                index = i
                break
        if index < 0:
            index = len(self.storages)
            self.storages.append(storage)
            self.offsets.append(a.offset)
        for i in range(len(self.arrays)):
            if PyList_GET_ITEM(self.arrays, i) == <PyObject*>a:
                break
        else:
            i = -1
        self.arrays.append(a)
        self.key.append(node.type.id)
        met = ((index * 2 + (node.state == CONST)) * 2 + a.is_scalar) * 2 + (storage.variable is not None)
        self.key.append(met * 2 + (i >= 0))
        if i >= 0:
            self.key.append(i)
        if node.taped or node.released or (node.variable is not None and storage.variable is None):
            self.key.append("tape")
        if a.shadow is not node.type.shadow:
            view = a.shadow
            self.key.append(view.shape)
            self.key.append(view.strides)
            self.key.append(view.dtype)
            self.key.append(bool(cnp.PyArray_ISWRITEABLE(<cnp.ndarray>view)))
            self.key.append(a.moving)
            self.key.append(a.offset - <Py_ssize_t>self.offsets[index])
        return 0
