# Where in the user's program an operation was recorded, part of _ir.pyx.

cdef enum:
    USERS = 0
    OURS = 1
    FRONT_END = 2               # ours, with NumPy's functions


cdef inline int kind_of(PyCodeObject* code) except -1:
    cdef int kind = known_code.kind(code)
    return kind if kind >= 0 else look_at(code)


cdef int look_at(PyCodeObject* code) except -1:
    cdef str name = <str>code.co_filename
    cdef int kind = USERS
    if name.startswith(home):
        kind = FRONT_END if name[len(home):] in FRONT else OURS
    known_code.set(code, kind)
    return kind


cdef inline bint capture(Node node, Recorder rec):
    # The innermost frame outside lazyarray; whether it is the innermost of all.
    cdef Frames at
    cdef bint innermost = True
    if rec.site is not None:
        node.code = rec.site[0]
        node.lasti = rec.site[1]
        return False
    while at.there():
        if kind_of(at.code()) == USERS:
            node.code = <object>at.code()
            node.lasti = at.lasti()
            break
        at.up()
        innermost = False
    return innermost


cdef bint in_front() except -1:
    """Whether the innermost frame outside of the front end, which has NumPy's functions, is the user's."""
    cdef Frames at
    cdef int kind = USERS
    while at.there():
        kind = kind_of(at.code())
        if kind != FRONT_END:
            break
        at.up()
    return kind == USERS
