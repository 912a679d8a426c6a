from lazyarray._engine cimport VarState

cdef class Buffer:
    cdef char* ptr
    cdef readonly Py_ssize_t nbytes
    cdef Py_ssize_t capacity
    cdef int size_class         # -1: foreign memory, kept alive by owner; -2: a device's, which `memory` holds
    cdef VarState* var
    cdef object memory
    cdef object owner           # of foreign memory; not None: its content may be written unseen

cdef Buffer new_buffer(Py_ssize_t nbytes)
cdef Buffer try_buffer(Py_ssize_t nbytes)
cdef Buffer foreign_buffer(void* ptr, Py_ssize_t nbytes, object owner)
cdef Buffer device_buffer(object device, Py_ssize_t nbytes)
cdef bint wait_busy() except -1
cdef bint fits_limit(Py_ssize_t nbytes) noexcept
cdef object no_memory(str what, str where)
