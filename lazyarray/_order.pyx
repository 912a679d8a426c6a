# Design. Kernels that put elements in order and count them: sort, argsort, and the search, count and selection built on
# an order. The ABI is that of _loops. A factory may return a list of NativeKernels, the stages of one op: they run one
# after the other on the same operands and one scratch region, each divided over the workers.
# Invariants: a kernel is re-entrant, its params are read-only; results do not depend on how its extent is divided.
# Memory: `params` is a C++ object owned by a capsule.
# Without the GIL: run and finish. No Python object is touched there, no lock is taken. NumPy's sort functions are taken
# from its dtypes when this module is imported; those of numbers need no interpreter.
from libc.math cimport log2
from libc.stdint cimport uintptr_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector
cimport numpy as cnp

import numpy as np

from lazyarray import _loops
from lazyarray.errors import ArrayIndexError

from lazyarray._loops cimport Made, NativeKernel, wrap

cnp.import_array()

cdef extern from *:
    """
    static void* numpy_sort_of(PyArray_Descr* descr) { return (void*)PyDataType_GetArrFuncs(descr)->sort[NPY_QUICKSORT]; }
    """
    void* numpy_sort_of(cnp.dtype descr)

cdef extern from "buckets.hpp" namespace "la" nogil:
    ctypedef int (*SortFn)(void* start, Py_ssize_t n, void* array) noexcept nogil
    SortFn* numpy_sorts
    const int kSortStages
    cbool sorts_in_buckets(int type, Py_ssize_t outer, Py_ssize_t n)
    Made make_sort_rows(cbool indices, int type, Py_ssize_t outer, Py_ssize_t n) except +
    Made make_sort_stage(int stage, cbool indices, int type, Py_ssize_t outer, Py_ssize_t n, int workers) except +

cdef extern from "shorts.hpp" namespace "la" nogil:
    const int kShortStages
    cbool sorts_by_counts(int type, Py_ssize_t outer, Py_ssize_t n)
    Made make_short_stage(int stage, int type, Py_ssize_t outer, Py_ssize_t n) except +

cdef extern from "tally.hpp" namespace "la" nogil:
    const Py_ssize_t kMostValues
    const int kDistinctStages
    Made make_distinct(int stage, int type, Py_ssize_t n) except +

cdef extern from "count.hpp" namespace "la" nogil:
    const int kOutsideBins
    const Py_ssize_t kMaskChunk
    Made make_search(int type, Py_ssize_t n, Py_ssize_t m, cbool right) except +
    Made make_count_bins(int stage, int type, Py_ssize_t n, Py_ssize_t bins) except +
    Made make_sum_bins(int stage, int type, cbool wide, Py_ssize_t n, Py_ssize_t bins) except +
    Made make_count_between(int stage, int type, Py_ssize_t n, Py_ssize_t bins, cbool uniform) except +
    Made make_count_mask(Py_ssize_t n) except +
    Made make_take_masked(Py_ssize_t n, Py_ssize_t row_bytes) except +
    Made make_put_masked(Py_ssize_t n, Py_ssize_t row_bytes) except +
    Made make_mask_index(Py_ssize_t n) except +
    Made make_run_flags(int type, Py_ssize_t n) except +
    Made make_take_axis(Py_ssize_t outer, Py_ssize_t n, Py_ssize_t m, Py_ssize_t row_bytes) except +
    Made make_tell(Py_ssize_t n, Py_ssize_t item) except +
    Made make_tell_nan(int type, Py_ssize_t n) except +
    Made make_put_along(Py_ssize_t outer, Py_ssize_t n, Py_ssize_t m, Py_ssize_t inner, Py_ssize_t item, cbool one) except +

cdef extern from "deal.hpp" namespace "la" nogil:
    const int kDealStages
    cbool deals(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m)
    Made make_deal_put(int stage, Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m) except +
    Made make_deal_add(int stage, int type, Py_ssize_t n, Py_ssize_t m) except +

MASK_CHUNK = kMaskChunk
MOST_VALUES = kMostValues

cdef dict NUMBERS = {dtype: number for number, dtype in enumerate(_loops.DTYPES)}

for _dtype, _number in NUMBERS.items():
    numpy_sorts[_number] = <SortFn>numpy_sort_of(_dtype) if _dtype.isbuiltin == 1 else NULL


cdef int number_of(object dtype) except -1:
    return NUMBERS[np.dtype(dtype)]


def run_stages(list stages, *arrays, pieces=None, seed=0):
    """Run the stages of an op on NumPy arrays (inputs, then outputs), as NativeKernel.call does with one kernel."""
    cdef vector[char*] args
    cdef NativeKernel kernel
    cdef Py_ssize_t begin, end
    cdef int code = 0
    for array in arrays:
        args.push_back(<char*><uintptr_t>array.__array_interface__["data"][0])
    scratch = np.empty(max([kernel.scratch_bytes for kernel in stages]) + 64, np.uint8)
    args.push_back(<char*>((<uintptr_t>scratch.__array_interface__["data"][0] + 63) & ~<uintptr_t>63))
    for kernel in stages:
        for begin, end in [(0, kernel.extent)] if pieces is None else kernel.split(pieces, seed):
            with nogil:
                code = kernel.run(kernel.params, args.data(), begin, end)
            if code:
                break
        if not code and kernel.finish != NULL:
            with nogil:
                code = kernel.finish(kernel.params, args.data())
        if code:
            error, message = kernel.errors[code]
            raise error(message)


def sort(dtype, Py_ssize_t outer, Py_ssize_t n, int workers=2):
    """A stable sort along the last axis, NaN last: its stages. Operands: x (outer, n), out (outer, n).

    A few workers divide a row into fewer buckets, and one alone sorts it as a whole, which is quicker for it.
    """
    cdef int type = number_of(dtype)
    cdef double elements = <double>outer * n
    if sorts_by_counts(type, outer, n):
        costs = (elements, 65536.0 * outer, elements * MOVE)
        return [wrap(make_short_stage(stage, type, outer, n), "sort", 2, costs[stage]) for stage in range(kShortStages)]
    return sort_stages("sort", False, type, outer, n, 5.0, workers)


def argsort(dtype, Py_ssize_t outer, Py_ssize_t n):
    """The indices of a stable sort along the last axis, NaN last: its stages.

    Operands: x (outer, n), out int64 (outer, n).
    """
    return sort_stages("argsort", True, number_of(dtype), outer, n, 8.0, 0)


# Nanoseconds per element of the stages that divide a long row: try, classify, scatter.
cdef double TRY = 1.0, CLASSIFY = 3.0, SCATTER = 3.0
# Nanoseconds of a short row, and of each element at each level of its sort.
cdef double ROW = 15.0, LEVEL = 0.4
cdef frozenset COMPLEX = frozenset([NUMBERS[np.dtype("complex64")], NUMBERS[np.dtype("complex128")]])


cdef list sort_stages(str label, bint indices, int type, Py_ssize_t outer, Py_ssize_t n, double cost, int workers):
    cdef double elements = <double>outer * n
    if not sorts_in_buckets(type, outer, n):
        each = ROW + LEVEL * n * log2(n + 1) * (6 if type in COMPLEX else 2 if indices else 1)
        return [wrap(make_sort_rows(indices, type, outer, n), label, 2, outer * each)]
    costs = (0.0, elements * TRY, elements * CLASSIFY, elements * SCATTER, elements * cost)
    return [wrap(make_sort_stage(stage, indices, type, outer, n, workers), label, 2, costs[stage])
            for stage in range(kSortStages)]


# Nanoseconds of one step of a binary search, of counting an element, of a byte moved.
cdef double STEP = 1.5, COUNT = 1.0, MOVE = 0.1
cdef dict BIN_ERRORS = {kOutsideBins: (ValueError, "bincount: an element is outside of the bins")}


cdef int bits_of(object n):
    return int(n).bit_length() + 1


def search(dtype, Py_ssize_t n, Py_ssize_t m, bint right):
    """Where elements stand in a sorted row. Operands: row (n), x (m), out int64 (m)."""
    return wrap(make_search(number_of(dtype), n, m, right), "searchsorted", 3, m * STEP * bits_of(n))


def count_bins(dtype, Py_ssize_t n, Py_ssize_t bins):
    """How often each of 0, 1, .. bins - 1 occurs: its stages. Operands: x (n), integers or bools, out int64 (bins)."""
    costs = n * COUNT, bins * MOVE
    return [wrap(make_count_bins(stage, number_of(dtype), n, bins), "bincount", 2, costs[stage], BIN_ERRORS)
            for stage in range(2)]


def sum_bins(dtype, weights, Py_ssize_t n, Py_ssize_t bins):
    """Sums of the weights at each of 0, 1, .. bins - 1: its stages.

    Operands: x (n), integers or bools; weights (n), float32 or float64; out float64 (bins). The order of additions depends
    on n and bins alone.
    """
    costs = 1.5 * n * COUNT, bins * MOVE
    return [wrap(make_sum_bins(stage, number_of(dtype), np.dtype(weights) == np.float64, n, bins), "bincount", 3,
                 costs[stage], BIN_ERRORS) for stage in range(2)]


def count_between(dtype, Py_ssize_t n, Py_ssize_t bins, bint uniform):
    """How many elements lie between each edge and the next: its stages.

    Operands: x (n), real; edges float64 (bins + 1), rising, and almost evenly if `uniform`; out int64 (bins).
    """
    costs = 3 * n * COUNT, bins * MOVE
    return [wrap(make_count_between(stage, number_of(dtype), n, bins, uniform), "histogram", 3, costs[stage])
            for stage in range(2)]


def count_mask(Py_ssize_t n):
    """How many are true in each MASK_CHUNK elements. Operands: mask (n), out int64 (chunks)."""
    return wrap(make_count_mask(n), "count_mask", 2, n * MOVE)


def take_masked(Py_ssize_t n, Py_ssize_t row_bytes):
    """The rows where a mask is true. Operands: x (n, row), mask (n), its counts (chunks), out (total, row)."""
    return wrap(make_take_masked(n, row_bytes), "take_masked", 4, n * (COUNT + row_bytes * MOVE))


def put_masked(Py_ssize_t n, Py_ssize_t row_bytes):
    """Rows written where a mask is true. Operands: mask (n), its counts (chunks), values (total, row), out (n, row)."""
    return wrap(make_put_masked(n, row_bytes), "put_masked", 4, n * (COUNT + row_bytes * MOVE))


def mask_index(Py_ssize_t n):
    """The places where a mask is true. Operands: mask (n), its counts (chunks), out int64 (total)."""
    return wrap(make_mask_index(n), "mask_index", 3, n * COUNT)


def run_flags(dtype, Py_ssize_t n):
    """Whether an element of a sorted row differs from the one before. Operands: x (n), out bool (n)."""
    return wrap(make_run_flags(number_of(dtype), n), "run_flags", 2, n * COUNT)


def tally(dtype, Py_ssize_t n):
    """The distinct values of a row where they are few: its stages.

    Operands: x (n), real, not empty; out int64 (3, MOST_VALUES + 1): how many, or -1 for many, and the bits of each; from the
    second column on, how often each is there, and where first.
    """
    return [wrap(make_distinct(stage, number_of(dtype), n), "tally", 2, stage * n * COUNT) for stage in range(kDistinctStages)]


def take_axis(Py_ssize_t outer, Py_ssize_t n, Py_ssize_t m, Py_ssize_t row_bytes):
    """out[:, j] = x[:, index[j]]. Operands: x (outer, n, row), index int64 (m) in [0, n), out (outer, m, row)."""
    errors = {kOutsideBins: (ArrayIndexError, f"index is out of bounds for an axis of size {n}")}
    return wrap(make_take_axis(outer, n, m, row_bytes), "take_axis", 3, outer * m * (COUNT + row_bytes * MOVE), errors)


def tell(str label, Py_ssize_t n, Py_ssize_t itemsize):
    """A copy that raises the flag of a division by zero where an element is not sound.

    Operands: x (n), whether sound bool (n), out (n).
    """
    return wrap(make_tell(n, itemsize), label, 3, n * (itemsize * MOVE + MOVE))


def tell_nan(str label, dtype, Py_ssize_t n):
    """The same where an element is NaN. Operands: x (n), out (n)."""
    return wrap(make_tell_nan(number_of(dtype), n), label, 2, n)


def put_along(Py_ssize_t outer, Py_ssize_t n, Py_ssize_t m, Py_ssize_t inner, Py_ssize_t itemsize, bint one):
    """out[o, index[o, j, k], k] = values[o, j, k], the last duplicate wins.

    Operands: index int64 (outer, m, inner) in [0, n), values (outer, m, inner) or one, out (outer, n, inner).
    """
    errors = {kOutsideBins: (ArrayIndexError, f"index is out of bounds for an axis of size {n}")}
    return wrap(make_put_along(outer, n, m, inner, itemsize, one), "put_along", 3, outer * m * inner * 2 * COUNT, errors)


# Nanoseconds of an element's ways: to its range, and from there to its row.
cdef tuple DEAL_COSTS = (1.0, 3.0, 2.0)


cdef NativeKernel at_once(NativeKernel kernel):
    # In one piece, as each piece looks at all indices: a worker alone takes two thirds of the time of dealing them.
    kernel.grain = max(kernel.extent, 1)
    return kernel


def put_rows(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m, bint alone=False):
    """out[index[j]] = values[j], the last duplicate wins: its stages, or None where `_loops.put_rows` is as fast.

    Operands: index int64 (m) in [0, n), values (m, row), out (n, row).
    """
    if not deals(row_bytes, n, m):
        return None
    if alone:
        return at_once(_loops.put_rows(row_bytes, n, m))
    return [wrap(make_deal_put(stage, row_bytes, n, m), "put_rows", 3, m * <double>DEAL_COSTS[stage], _loops.row_errors(n))
            for stage in range(kDealStages)]


def add_rows(dtype, Py_ssize_t n, Py_ssize_t m, Py_ssize_t row, bint alone=False):
    """out[index[j]] += values[j] in the order of j: its stages, or None where `_loops.add_rows` is as fast.

    Operands: index int64 (m) in [0, n), values (m, row), out (n, row).
    """
    cdef Py_ssize_t itemsize = np.dtype(dtype).itemsize
    if row != 1 or not deals(itemsize, n, m):
        return None
    if alone:
        return at_once(_loops.add_rows(dtype, n, m, row))
    return [wrap(make_deal_add(stage, number_of(dtype), n, m), "add_rows", 3, m * <double>DEAL_COSTS[stage],
                 _loops.row_errors(n)) for stage in range(kDealStages)]
