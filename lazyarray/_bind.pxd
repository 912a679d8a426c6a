from lazyarray._ir cimport Node, Recorder

cdef int flush_nodes(list targets, bint waiting) except -1
cdef int flush_live(Recorder rec) except -1
cdef int wait_node(Node node) except -1
cdef object numpy_view(Node node)
