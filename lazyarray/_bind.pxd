from cpython.pythread cimport PyThread_type_lock

from lazyarray._ir cimport Node, Recorder
from lazyarray._plan cimport Plan, Taker
from lazyarray._walk cimport Walk

cdef class Lock:
    cdef PyThread_type_lock inner
    cdef long owner
    cdef Py_ssize_t depth
    cdef void acquire(self) noexcept
    cdef void release(self) noexcept

cdef int flush_nodes(list targets, bint waiting) except -1
cdef list bind_now(Plan plan, Walk* walk, list substitutes, bint waiting, Taker take)
cdef list raw_sites(Walk* walk)
cdef Plan lowered_plan(object graph, list sites)
cdef int make_room(object short, int given_up) except -1
cdef Lock runtime_lock()
cdef object inspecting()
cdef int flush_live(Recorder rec) except -1
cdef int wait_node(Node node) except -1
cdef int observe_node(Node node) except -1
cdef object numpy_view(Node node)
