cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from lazyarray._ir cimport Node, Type

cdef extern from "calls.hpp" namespace "la":
    cppclass CallKey:
        PyObject* on
        int64_t count
        int64_t parts[40]
        bint add(int64_t part) noexcept
    cppclass Calls:
        PyObject* find(const CallKey& key) noexcept
        bint full() noexcept
        void add(const CallKey& key, PyObject* found) except +
        void clear() noexcept

    cppclass Met:
        Met() except +
        Py_ssize_t size() noexcept
        PyObject* at(Py_ssize_t i) noexcept
        void add(PyObject* value) except +

cdef extern from "views.hpp" namespace "la":
    void fill_view(char* at, int axes, const Py_ssize_t* extents, const Py_ssize_t* steps, const char* element,
                   size_t size) noexcept
    void copy_view(char* to, const Py_ssize_t* to_steps, const char* source, const Py_ssize_t* source_steps, int axes,
                   const Py_ssize_t* extents, size_t size) noexcept
    cppclass Views:
        PyObject* find(const CallKey& key) noexcept
        PyObject* of(PyObject* shadow) noexcept
        void add(const CallKey& key, PyObject* view, PyObject* shadow) except +

cdef class Storage:
    cdef Node node
    cdef Py_ssize_t pins
    cdef object variable
    cdef PyObject* before       # among all there are, none of them held by it
    cdef PyObject* after


@cython.no_gc
cdef class Handle:
    cdef readonly Storage storage
    cdef object shadow
    cdef Py_ssize_t offset
    cdef bint moving
    cdef readonly bint is_scalar
    cdef object __weakref__


@cython.final
@cython.no_gc
cdef class Seen:
    cdef object parent              # the shadow it was made from: its address is in the key
    cdef object shadow
    cdef Type base                  # of the Storage
    cdef Type type                  # of what is seen
    cdef Py_ssize_t offset
    cdef bint moving
    cdef bint element               # a scalar: one index for each axis
    cdef bint same                  # sees the base as it is
    cdef bint covers
    cdef tuple attrs                # of a view node,
    cdef int64_t sig
    cdef tuple update               # and of an update
    cdef int64_t update_sig
    cdef tuple spread               # of one number for all of it; None: not asked for yet
    cdef int64_t spread_sig

cdef Seen known_view(Handle a, CallKey& key)
cdef Seen new_view(Handle a, CallKey& key, object shadow, bint element)
cdef int no_view(Handle a, CallKey& key) except -1
cdef Handle look(Handle a, Seen seen)
cdef Node spread_over(Node number, Seen seen)
cdef bint at_rest(Node node) noexcept
cdef bint write_at_once(Handle a, Seen seen, const char* number) except -1
cdef bint copy_at_once(Handle a, Seen seen, Handle source) except -1
cdef int write_seen(Handle a, Seen seen, Node value) except -1
cdef int structure(Storage storage) noexcept
cdef Node node_of(Handle a)
cdef Handle wrap(Node node, bint is_scalar)
cdef Handle view_of(Handle a, object shadow)
cdef tuple k_order(list shadows, Py_ssize_t ndim)
cdef int check_writeable(Handle a, str op) except -1
cdef bint fits(tuple have, tuple shape)
cdef int write(Handle a, Node value, str op) except -1
cdef int wait_for(Handle a) except -1
cdef object peek(Handle a)
