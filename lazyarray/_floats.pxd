from cpython.object cimport PyObject

cdef enum:
    INVALID = 1
    DIVIDE = 4
    OVERFLOW = 8
    UNDERFLOW = 16

cdef class Mode:
    cdef readonly int asked             # flags that are not ignored
    cdef readonly int raising           # flags that are errors
    cdef readonly int exact             # flags of which each must be told: more than a warning
    cdef readonly dict kinds            # by flag: "warn", "raise", ...
    cdef readonly object call           # for "call" and "log"

cdef PyObject* mode_now() noexcept
cdef int tell(int flags, list notes) except -1
cdef int drain() except -1
