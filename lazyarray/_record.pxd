from lazyarray._ir cimport Node

cdef class Storage:
    cdef Node node
    cdef Py_ssize_t pins
    cdef object variable

cdef class ArrayBase:
    cdef readonly Storage storage
    cdef object shadow
    cdef Py_ssize_t offset
    cdef bint moving
    cdef readonly bint is_scalar
    cdef object __weakref__

cdef Node node_of(ArrayBase a)
cdef ArrayBase wrap(Node node, bint is_scalar)
