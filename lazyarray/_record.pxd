from lazyarray._handle cimport Handle

cdef class ArrayBase(Handle):
    pass
