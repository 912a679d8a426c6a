# What has to be as it was when a call was traced, besides its arguments. Part of _jit.pyx.

cdef enum:
    IN_DICT = 0             # a[b] is c
    IN_SEQUENCE = 1         # a[b] is c, an integer b
    IN_CELL = 2             # a.cell_contents is c
    ATTRIBUTE = 3           # a.b is c
    LENGTH = 4              # len(a) is b
    EQUAL = 5               # a[b] == c, of the same type
    VARIABLE = 6            # where backward leaves the gradient of array a is c

MISSING = object()
cdef tuple NUMBERS = (int, float, complex, str, bytes)


def holds(tuple guard):
    """Whether something is as it was when a call was traced."""
    cdef int kind = guard[0]
    cdef PyObject* found
    a, b, c = guard[1], guard[2], guard[3]
    if kind == IN_DICT:
        found = PyDict_GetItem(a, b)
        return found == <PyObject*>c
    if kind == EQUAL:
        found = PyDict_GetItem(a, b)
        if found == <PyObject*>c:
            return True
        return found != NULL and type(<object>found) is type(c) and repr(<object>found) == repr(c)
    if kind == IN_SEQUENCE:
        return b < len(a) and a[b] is c
    if kind == LENGTH:
        return len(a) == b
    if kind == IN_CELL:
        try:
            now = a.cell_contents
        except ValueError:
            return c is MISSING
        return now is c or (type(now) is type(c) and isinstance(c, NUMBERS) and repr(now) == repr(c))
    if kind == VARIABLE:
        return (<Handle>a).storage.variable is c
    return getattr(a, b, MISSING) is c
