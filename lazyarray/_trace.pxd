from libc.stdint cimport uint64_t

cdef int watching               # traces under way in this process: 0 lets every hook pass at once

cdef class Trace:
    cdef readonly object reason         # why what was recorded cannot be run again, or None
    cdef readonly bint again            # ...though another call may do
    cdef readonly dict touched          # id -> [Storage, serial number of its node then, handles from outside, written]
    cdef readonly set handles           # ids of the handles made meanwhile
    cdef readonly dict storages         # Storages made meanwhile, by id
    cdef readonly dict versions         # serial number -> id of the Storage that held it; None: several
    cdef readonly list effects          # what every run does besides, in order
    cdef readonly set literals          # serial numbers of leaves made of data that is the same at every call
    cdef readonly list deferred         # flushes that were asked for
    cdef readonly dict numbers          # serial number of a constant -> (Number, dtype)
    cdef readonly list proxies          # all Numbers
    cdef readonly set seen              # sources of Numbers that are structure
    cdef object outer

    cdef readonly dict conditions       # what else has to be as it was: (object, attribute) -> value
    cdef readonly dict kinds            # id of a Storage from outside -> what of it was structure, as it was met

    cdef void touch(self, object storage, object handle, uint64_t serial, int kind) except *
    cdef void wrote(self, object storage, uint64_t serial) except *

cdef Trace active()
cdef bint alive()
cdef void spoil(str reason) except *
