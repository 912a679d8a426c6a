cimport cython
from cpython.object cimport PyObject

from lazyarray._ir cimport Node

cdef class Storage:
    cdef Node node
    cdef Py_ssize_t pins
    cdef object variable
    cdef PyObject* before       # among all there are, none of them held by it
    cdef PyObject* after


@cython.no_gc
cdef class Handle:
    cdef readonly Storage storage
    cdef object shadow
    cdef Py_ssize_t offset
    cdef bint moving
    cdef readonly bint is_scalar
    cdef object __weakref__

cdef int structure(Storage storage) noexcept
cdef Node node_of(Handle a)
cdef Handle wrap(Node node, bint is_scalar)
cdef Handle view_of(Handle a, object shadow)
cdef tuple k_order(list shadows, Py_ssize_t ndim)
cdef int check_writeable(Handle a, str op) except -1
cdef bint fits(tuple have, tuple shape)
cdef int write(Handle a, Node value, str op) except -1
cdef int wait_for(Handle a) except -1
cdef object peek(Handle a)
