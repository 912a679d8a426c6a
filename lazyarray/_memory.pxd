from lazyarray._engine cimport VarState

cdef class Buffer:
    cdef char* ptr
    cdef readonly Py_ssize_t nbytes
    cdef Py_ssize_t capacity
    cdef int size_class         # -1: foreign memory, kept alive by owner
    cdef VarState* var
    cdef object owner

cdef Buffer new_buffer(Py_ssize_t nbytes)
cdef Buffer foreign_buffer(void* ptr, Py_ssize_t nbytes, object owner)
