from lazyarray._ir cimport Node, Recorder
from lazyarray._plan cimport Plan
from lazyarray._walk cimport Walk

cdef int flush_nodes(list targets, bint waiting) except -1
cdef list bind_now(Plan plan, Walk* walk, list substitutes, bint waiting, object take)
cdef list raw_sites(Walk* walk)
cdef Plan lowered_plan(object graph, list sites)
cdef int make_room(object short, int given_up) except -1
cdef object runtime_lock()
cdef object inspecting()
cdef int flush_live(Recorder rec) except -1
cdef int wait_node(Node node) except -1
cdef object numpy_view(Node node)
