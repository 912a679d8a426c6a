# The kernel ABI: what _loops and _blas make, and what _bind pushes; and how what a native factory made becomes a kernel.
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_GetPointer, PyCapsule_New, PyCapsule_SetContext
from libc.stdint cimport int64_t

# A compiled loop over one block: NumPy's inner-loop signature.
ctypedef void (*LoopFn)(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void* data) noexcept nogil

# Runs units [begin, end) of a kernel. `args` holds one pointer per operand (inputs, then outputs, offsets already added),
# then, if scratch_bytes > 0, a scratch region shared by all units. 0, or a positive error code.
ctypedef int (*KernelRun)(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) noexcept nogil
# Once after all units have run; may be NULL.
ctypedef int (*KernelFinish)(const void* params, char** args) noexcept nogil

cdef class Loop:
    cdef LoopFn fn
    cdef void* data
    cdef readonly int nin
    cdef readonly int nout
    cdef readonly str name
    cdef readonly tuple dtypes
    cdef object owner               # keeps data alive

cdef class NativeKernel:
    cdef KernelRun run
    cdef KernelFinish finish
    cdef void* params
    cdef object owned               # keeps what params points into alive
    cdef readonly Py_ssize_t extent     # units of work; results do not depend on how [0, extent) is split at multiples of grain
    cdef readonly Py_ssize_t grain
    cdef readonly Py_ssize_t cost       # estimated nanoseconds for the whole extent on one core
    cdef readonly int n_args            # operands, without the scratch region
    cdef readonly Py_ssize_t scratch_bytes
    cdef readonly dict errors           # error code -> (exception class, message)
    cdef readonly str label             # what it runs, for the event log and explain

cdef extern from "simd.hpp" namespace "la" nogil:
    cdef struct Made:
        KernelRun run
        KernelFinish finish
        void* params
        void (*drop)(void*) noexcept nogil
        Py_ssize_t extent
        Py_ssize_t grain
        Py_ssize_t scratch_bytes
    const int kNoMemory

cdef inline void drop_params(object owned) noexcept:
    (<void (*)(void*) noexcept nogil>PyCapsule_GetContext(owned))(PyCapsule_GetPointer(owned, NULL))

cdef inline NativeKernel wrap(Made made, str label, int n_args, double cost, dict errors=None, object also=None):
    """A kernel that owns its params, and keeps `also` alive."""
    cdef NativeKernel kernel = NativeKernel.__new__(NativeKernel)
    cdef object owned = None
    if made.params != NULL and made.drop != NULL:
        owned = PyCapsule_New(made.params, NULL, drop_params)
        PyCapsule_SetContext(owned, <void*>made.drop)
    kernel.owned = (owned, also)
    kernel.run = made.run
    kernel.finish = made.finish
    kernel.params = made.params
    kernel.extent = made.extent
    kernel.grain = max(made.grain, 1)
    kernel.scratch_bytes = made.scratch_bytes
    kernel.n_args = n_args
    kernel.cost = <Py_ssize_t>cost
    kernel.errors = {kNoMemory: (MemoryError, "no memory for a kernel's working storage"), **(errors or {})}
    kernel.label = label
    return kernel
