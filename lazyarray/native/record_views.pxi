# Indexing and reshaping, part of _record.pyx: NumPy does it on the shadow, once for each way it is done.

cdef enum:
    INDEX, RESHAPE, TRANSPOSE, PERMUTE, SWAP, RAVEL, BY_FUNCTION    # what a view was made by
    AN_INT, A_SLICE, AN_AXIS, DOTS                  # in an index

cdef int64_t ABSENT = INT64_MIN
cdef int64_t SEVERAL = INT64_MIN + 1
cdef enum:
    LOOKED_AT = 1024        # indices that are looked at when they are used: less than a microsecond

cdef int64_t FEW_INTEGERS = 1 << 24     # up to which all floats have them


cdef inline bint lookable(ArrayBase a) noexcept:
    # Whether its views are found by what they were made of.
    return type(a) is array_class and not watching and not a.is_scalar


cdef inline void begin(CallKey& at, ArrayBase a, int what) noexcept:
    at.on = <PyObject*>a.shadow
    at.count = 0
    at.add(what)


cdef inline bint add_int(CallKey& at, object value) noexcept:
    # Python's own integers only: others may have to be computed first.
    cdef int far = 0
    cdef int64_t number
    if type(value) is not int:
        return False
    number = PyLong_AsLongLongAndOverflow(value, &far)
    return not far and number > SEVERAL and at.add(number)


cdef inline bint add_bound(CallKey& at, PyObject* value) noexcept:
    return at.add(ABSENT) if value == <PyObject*>None else add_int(at, <object>value)


cdef bint add_item(CallKey& at, object item) noexcept:
    cdef PySliceObject* part
    if type(item) is int:
        return at.add(AN_INT) and add_int(at, item)
    if type(item) is slice:
        part = <PySliceObject*>item
        return at.add(A_SLICE) and add_bound(at, part.start) and add_bound(at, part.stop) and add_bound(at, part.step)
    if item is None:
        return at.add(AN_AXIS)
    return item is Ellipsis and at.add(DOTS)


cdef bint add_index(CallKey& at, object key) noexcept:
    """Whether an index can be part of a key, to which it is added."""
    if type(key) is not tuple:
        return add_item(at, key)
    for item in <tuple>key:
        if not add_item(at, item):
            return False
    return True


cdef bint add_shape(CallKey& at, tuple shape) noexcept:
    if len(shape) == 1 and type(shape[0]) is tuple:
        shape = <tuple>shape[0]
        at.add(ABSENT)      # the same extents, which NumPy may take otherwise where there is one or none
    for extent in shape:
        if not add_int(at, extent):
            return False
    return True


cdef bint is_basic(object key):
    """Ints, slices, None and Ellipsis only."""
    if type(key) is tuple:
        for each in <tuple>key:
            if not basic(each):
                return False
        return True
    return basic(key)


cdef bint basic(object key):
    if isinstance(key, (bool, np.bool_)):
        return False
    return key is None or key is Ellipsis or isinstance(key, (int, slice, np.integer))


cdef object indexed(ArrayBase a, object key, bint* element):
    """The shadow at a basic index; `element` is set where that is an integer for each axis."""
    cdef tuple keys = key if type(key) is tuple else (key,)
    cdef bint dots = False, full = True
    for each in keys:
        if each is Ellipsis:
            dots = True
        elif each is None or isinstance(each, slice):
            full = False
    element[0] = full and not dots and len(keys) == cnp.PyArray_NDIM(<cnp.ndarray>a.shadow)
    try:
        return a.shadow[keys if dots else keys + (Ellipsis,)]
    except IndexError as error:
        raise ArrayIndexError(f"index: {error}, array has shape {a.shadow.shape}") from None


cdef bint in_bounds(ArrayBase a, ArrayBase places) noexcept:
    # Whether indices whose values are at hand, and few, are of elements of the first axis, counted from its start.
    cdef Node node = places.storage.node
    cdef const int64_t* index
    cdef int64_t extent
    cdef bint outside = False
    cdef Py_ssize_t i
    if (node.type.ndim == 0 or not 0 < node.type.size <= LOOKED_AT or node.type.dtype is not INT64
            or cnp.PyArray_NDIM(<cnp.ndarray>a.shadow) == 0 or not at_rest(node) or node.pinned or node.buffer.size_class < 0
            or node.buffer.owner is not None):
        return False
    extent = cnp.PyArray_DIM(<cnp.ndarray>a.shadow, 0)
    index = <const int64_t*>node.buffer.ptr
    for i in range(node.type.size):
        outside |= <uint64_t>index[i] >= <uint64_t>extent
    return not outside


cdef inline bint number_of(object value, object dtype, char* number) noexcept:
    # Whether a number is of the commonest ones; as `constant` has it.
    if type(value) is float:
        if dtype is FLOAT64:
            (<double*>number)[0] = <double>value
            return True
        if dtype is FLOAT32:
            (<float*>number)[0] = <float><double>value
            return True
    elif type(value) is int and -FEW_INTEGERS <= value <= FEW_INTEGERS:
        if dtype is INT64:
            (<int64_t*>number)[0] = <int64_t>value
            return True
        if dtype is FLOAT64:
            (<double*>number)[0] = <double><int64_t>value
            return True
        if dtype is FLOAT32:
            (<float*>number)[0] = <float><int64_t>value
            return True
    return False


cdef bint set_quickly(ArrayBase a, Seen seen, object value) except -1:
    """Whether a number, or an array of the view's type, has been written."""
    cdef ArrayBase source
    cdef Node node
    cdef char number[16]
    if isinstance(value, ArrayBase):
        source = <ArrayBase>value
        if source.storage is a.storage and source.shadow is seen.shadow and source.offset == seen.offset:
            return True         # `a[i] += v` writes what it sees
        if (not seen.covers and same_layout(<cnp.ndarray>source.shadow, <cnp.ndarray>seen.shadow)
                and copy_at_once(a, seen, source)):
            return True
        node = node_of(source)
        if node.type is not seen.type:
            return False
    elif seen.type.size and number_of(value, seen.type.dtype, number):
        if seen.covers:
            return False
        if write_at_once(a, seen, number):
            return True
        node = constant(value, seen.type.dtype)
        if seen.type.ndim:
            node = spread_over(node, seen)
    else:
        return False
    if seen.covers:
        return False
    write_seen(a, seen, node)
    return True
