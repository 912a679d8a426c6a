# In-place operators and `out=`, and what array.py writes with, part of _record.pyx.

cdef object inplace(int number, ArrayBase a, object other):
    op = OPERATORS[number]
    if a.is_scalar:
        return elementwise2(op, a, other)
    check_writeable(a, <str>NAMES[number])
    result = elementwise2(op, a, other)
    if result is NotImplemented:
        return hooks.inplace_foreign(NAMES[number], a, other)
    store_result(a, result, <str>NAMES[number])
    return a


cdef inline bint same_layout(cnp.ndarray a, cnp.ndarray b) noexcept:
    # Whether what is seen has the same shape and dtype.
    cdef int axes = cnp.PyArray_NDIM(a)
    if a.descr is not b.descr or axes != cnp.PyArray_NDIM(b):
        return False
    return axes == 0 or memcmp(cnp.PyArray_DIMS(a), cnp.PyArray_DIMS(b), axes * sizeof(cnp.npy_intp)) == 0


cdef inline bint whole_view(ArrayBase a) noexcept:
    return a.shadow is a.storage.node.type.shadow


cdef int store_result(ArrayBase a, ArrayBase result, str op) except -1:
    """What `out=` does: the result must broadcast to the shape, and have a dtype that may be cast within its kind."""
    check_writeable(a, op)
    if not same_layout(<cnp.ndarray>a.shadow, <cnp.ndarray>result.shadow):
        check_output(a.shadow, result.shadow, op)
    write(a, node_of(result), op)
    return 0


def check_output(out, result, str op):
    """Raise what NumPy raises where an `out` of that shape and dtype cannot take the result."""
    if not fits(result.shape, out.shape):
        fail(ShapeError, op, f"non-broadcastable output operand with shape {out.shape} doesn't match the broadcast "
             f"shape {result.shape}", "Write to an array of the result's shape.")
    if not np.can_cast(result.dtype, out.dtype, "same_kind"):
        fail(DTypeError, op, f"cannot cast output from {result.dtype!r} to {out.dtype!r} with casting rule "
             "'same_kind'", "Use an output array of that dtype, or astype.")


def writeable(ArrayBase a, str op):
    """Raise ValueError for a read-only View."""
    check_writeable(a, op)


def store(ArrayBase a, ArrayBase result, str op):
    """Write `result` to `a` as `out=` does."""
    store_result(a, result, op)


def become(ArrayBase a, ArrayBase b):
    """Let a handle see what another one sees; those on the same Storage stay as they are."""
    if watching:
        spoil("it changes the shape or dtype of an array in place")
    a.storage = b.storage
    a.shadow = b.shadow
    a.offset = b.offset
    a.moving = b.moving
    a.is_scalar = b.is_scalar


def whole(ArrayBase a):
    """A handle on all of the Storage, in C order."""
    return view_of(a, a.storage.node.type.shadow)
