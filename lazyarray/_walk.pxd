from cpython.object cimport PyObject
from libcpp.vector cimport vector

from lazyarray._ir cimport Node, Recorder

cdef extern from "walk.hpp":
    cdef cppclass Walk "LazyWalk":
        vector[PyObject*] order
        vector[PyObject*] leaves
        vector[int] internal
        vector[int] leaf_refs
        vector[char] kept
        vector[char] donatable
        vector[int] twins
        vector[int] first
        vector[int] table

    void swap "std::swap"(Walk& a, Walk& b) noexcept

cdef void lend(Walk* walk) noexcept
cdef void take_back(Walk* walk) noexcept
cdef bint gather(Walk* walk, list targets, Recorder live, bint together) except -1
cdef bint gather_alone(Walk* walk, list targets) except -1
cdef void forgo(Walk* walk, list targets, bint live) noexcept
cdef int gather_template(Walk* walk, list outputs) except -1
cdef void find_twins(Walk* walk) noexcept
cdef bytes key_of(Walk* walk)
cdef object graph_of(Walk* walk)
