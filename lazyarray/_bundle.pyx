# Design. A bundle is a NativeKernel that runs several kernels which need nothing of each other: one task, one wake of a
# worker, and units enough for all of them. Its arguments are those of the first kernel, then those of the second, and so on,
# a scratch region among them as one more argument.
# A unit is a grain of one of the kernels, so each kernel is cut where it would be cut alone: bits cannot differ.
# Its parameters are one Bundle inside a bytes object, read-only while the kernel lives; the kernels are kept alive beside it.
# Without the GIL: run and finish. A failure, which can only be want of memory, fails the whole bundle.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from lazyarray._loops cimport KernelFinish, KernelRun, NativeKernel

cdef extern from "bundle.hpp" namespace "la" nogil:
    cdef cppclass Bundled:
        KernelRun run
        KernelFinish finish
        const void* params
        Py_ssize_t extent, grain, first_unit, first_arg
    cdef cppclass Bundle:
        Py_ssize_t count
        Bundled* parts()
    int run_bundle(const void*, char**, Py_ssize_t, Py_ssize_t) noexcept
    int finish_bundle(const void*, char**) noexcept


def bundle(kernels, str label=""):
    """Kernel that runs these kernels, in any order and interleaved.

    Parameters
    ----------
    kernels : sequence of NativeKernel
        At least one. None may read or write what another one writes, nor fail on data.
    label : str
        What it runs, for the event log.

    Returns
    -------
    NativeKernel
        Its operands are those of `kernels`, one after the other, each with its scratch region behind it if it wants one.
    """
    cdef list parts = list(kernels)
    cdef bytes params = PyBytes_FromStringAndSize(NULL, sizeof(Bundle) + len(parts) * sizeof(Bundled))
    cdef Bundle* made = <Bundle*><void*>PyBytes_AS_STRING(params)
    cdef Bundled* part = made.parts()
    cdef NativeKernel kernel, result = NativeKernel.__new__(NativeKernel)
    cdef Py_ssize_t units = 0, args = 0, cost = 0
    if not parts:
        raise ValueError("bundle: at least one kernel expected")
    made.count = len(parts)
    result.errors = {}
    result.finish = NULL
    for each in parts:
        kernel = each
        if not fails_for_memory_only(kernel):
            raise ValueError(f"bundle: {kernel!r} may fail on data")
        part.run = kernel.run
        part.finish = kernel.finish
        part.params = kernel.params
        part.extent = kernel.extent
        part.grain = kernel.grain
        part.first_unit = units
        part.first_arg = args
        part += 1
        units += (kernel.extent + kernel.grain - 1) // kernel.grain
        args += kernel.n_args + (kernel.scratch_bytes > 0)
        cost += kernel.cost
        result.errors.update(kernel.errors)
        if kernel.finish != NULL:
            result.finish = finish_bundle
    result.run = run_bundle
    result.params = <void*>made
    result.owned = (params, parts)
    result.extent = units
    result.grain = 1
    result.cost = cost
    result.n_args = <int>args
    result.scratch_bytes = 0
    result.label = label or ", ".join([each.label for each in parts])
    return result


def fails_for_memory_only(NativeKernel kernel):
    """Whether a kernel fails for want of memory only."""
    return all(issubclass(kind, MemoryError) for kind, _ in kernel.errors.values())
