from libc.stdint cimport uint64_t
from libcpp.vector cimport vector

from lazyarray._loops cimport KernelFinish, KernelRun
from lazyarray._walk cimport Walk

# A node of a task whose op may raise floating-point flags.
cdef struct Risk:
    int place
    int flags                   # that it can raise

cdef struct Arg:
    int slot
    int first_offset
    int n_offsets

cdef struct Spec:
    KernelRun run
    KernelFinish finish
    const void* params
    Py_ssize_t extent
    Py_ssize_t grain
    Py_ssize_t nbytes
    int first_arg
    int n_args
    int first_read
    int n_reads
    int first_write
    int first_depends           # one for each read, or -1: all it writes depends on all it reads
    int n_writes
    int place
    int priority
    int first_risk
    int n_risks
    int dull                    # flags that its loops raise where NumPy does not warn
    bint python
    int device                  # where it runs; 0: on the CPU's workers

cdef struct SlotSpec:
    Py_ssize_t nbytes
    int device
    int leaf
    bint const

cdef struct Kept:
    int place
    int slot

cdef class Plan:
    cdef vector[Spec] tasks
    cdef vector[Arg] args
    cdef vector[int] offsets
    cdef vector[int] vars
    cdef vector[uint64_t] depends       # by read: bit w stands for the task's write w
    cdef vector[SlotSpec] slots
    cdef vector[Kept] kept
    cdef vector[char] is_written        # by slot
    cdef vector[Risk] risks
    cdef list names                     # of their ops, as warnings say them
    cdef vector[Spec] cold              # tasks in tier 1 as they were in tier 0; those without a function still are
    cdef readonly list kernels
    cdef readonly list calls            # (function, attributes, arrays, op name) of Python tasks
    cdef readonly list labels           # bytes, for the event log
    cdef readonly object program
    cdef readonly Py_ssize_t cost
    cdef readonly Py_ssize_t nbytes     # that the plan itself takes, as estimated
    cdef list retired                   # kernels that were replaced: frames may still run them
    cdef Py_ssize_t heat                # ns that its kernels have taken, as estimated
    cdef Py_ssize_t limit               # the heat at which tiers.py hears of it
    cdef Py_ssize_t runs
    cdef Py_ssize_t n_compiled          # tasks in tier 1
    cdef bint fallible                  # a native task may fail on data
    cdef bint inline
    cdef object together                # issues all tasks on their one device, or None
    cdef uint64_t used

cdef class Taker:
    cdef int take(self, list results) except -1

# Issue the warnings of what has run.
cdef int speak() except -1
cdef list bind(Plan plan, Walk* walk, list substitutes, bint waiting, Taker take)
cdef object array_at(char* ptr, tuple shape, tuple strides, object dtype)
