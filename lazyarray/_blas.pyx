# Design. Factories of NativeKernels for products of matrices, convolutions and pooling windows. A kernel's parameters
# are one plain struct inside a bytes object, read-only while the kernel lives; run functions are re-entrant, hold no
# GIL and touch no Python object. Packed operands live in grow-only memory of the worker thread (native/micro.hpp).
# Bits: routine, tiles and splits depend on op, dtypes and shapes alone. A long k that few rows and columns meet is cut into
# parts, which are joined in pairs. The microkernel sums each element
# in fixed pieces of k, whatever its tiles of rows and columns. A BLAS call's bits depend on its m, n, k, so its tiles of
# rows are fixed by the shape, and it gets no product small enough for OpenBLAS's small-matrix or vector paths, which
# give transposed operands other bits. A real product with one row or column is a dot product in 64-byte lanes.
# SciPy's own OpenBLAS is set to one thread by the first product that needs it; NumPy's copy is another library and keeps
# its threads (docs/decisions).

import ctypes
import math

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from lazyarray._loops cimport KernelFinish, KernelRun, NativeKernel


cdef extern from "conv.hpp" namespace "la" nogil:
    cppclass Micro:
        const char* name
    const Micro* micro_named(const char* name) noexcept
    cppclass C64 "la::Complex<float>":
        pass
    cppclass C128 "la::Complex<double>":
        pass
    cppclass Bool "la::Bool":
        pass
    ctypedef void (*BlasGemm)()
    cdef enum Route:
        BLOCKED, VECTOR, BLAS, PACKED
    int MAX_BATCH_DIMS
    cdef cppclass GemmParams:
        const Micro* micro
        BlasGemm blas
        Route route
        int batch_dims
        Py_ssize_t* batch
        Py_ssize_t* a_batch
        Py_ssize_t* b_batch
        Py_ssize_t batches, m, n, k, a_row, a_col, b_row, b_col, tiles_m, tiles_n, unit_rows, panel_elements
        Py_ssize_t splits
        bint spread
    Py_ssize_t STAGE_ROWS, COLUMNS
    int run_gemm_panels[T](const void*, char**, Py_ssize_t, Py_ssize_t) noexcept
    int run_gemm_shared[T](const void*, char**, Py_ssize_t, Py_ssize_t) noexcept
    cdef cppclass FollowParams:
        GemmParams gemm
        KernelRun run
        const void* program
        int operands, home
    int FOLLOW_OPERANDS
    int run_follow[T](const void*, char**, Py_ssize_t, Py_ssize_t) noexcept
    int run_gemm[T](const void*, char**, Py_ssize_t, Py_ssize_t) noexcept
    cppclass Half "la::Half":
        pass
    cppclass Brain "la::Brain":
        pass
    int run_gemm_half[T](const void*, char**, Py_ssize_t, Py_ssize_t) noexcept
    int finish_gemm[T](const void*, char**) noexcept
    KernelFinish finish_gemm_half "(la::finish_gemm<la::Half, float>)"
    KernelFinish finish_gemm_bf16 "(la::finish_gemm<la::Brain, float>)"
    cdef cppclass ConvParams:
        const Micro* micro
        Py_ssize_t n, h, w, c, kh, kw, cg, o, og, groups, oh, ow, sh, sw, ph, pw, dh, dw
        Py_ssize_t image_parts, row_parts, splits, tap_parts, output_parts, rows_at_once
        bint gather, outer
    Py_ssize_t RESIDENT_BYTES
    int run_conv2d[T](const void*, char**, Py_ssize_t, Py_ssize_t) noexcept
    int run_conv2d_data_grad[T](const void*, char**, Py_ssize_t, Py_ssize_t) noexcept
    int run_conv2d_weight_grad[T](const void*, char**, Py_ssize_t, Py_ssize_t) noexcept
    int finish_conv2d_weight_grad[T](const void*, char**) noexcept

cdef extern from "pool.hpp" namespace "la" nogil:
    cdef cppclass PoolParams:
        const Micro* micro
        Py_ssize_t n, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw
        bint count_pad, apart, covered
        Py_ssize_t image_parts, row_parts
    KernelRun max_f16 "(la::run_pool<la::Half, true>)"
    KernelRun max_bf16 "(la::run_pool<la::Brain, true>)"
    KernelRun max_f32 "(la::run_pool<float, true>)"
    KernelRun max_f64 "(la::run_pool<double, true>)"
    KernelRun mean_f16 "(la::run_pool<la::Half, false>)"
    KernelRun mean_bf16 "(la::run_pool<la::Brain, false>)"
    KernelRun mean_f32 "(la::run_pool<float, false>)"
    KernelRun mean_f64 "(la::run_pool<double, false>)"
    KernelRun max_grad_f16 "(la::run_pool_grad<la::Half, true>)"
    KernelRun max_grad_bf16 "(la::run_pool_grad<la::Brain, true>)"
    KernelRun max_grad_f32 "(la::run_pool_grad<float, true>)"
    KernelRun max_grad_f64 "(la::run_pool_grad<double, true>)"
    KernelRun mean_grad_f16 "(la::run_pool_grad<la::Half, false>)"
    KernelRun mean_grad_bf16 "(la::run_pool_grad<la::Brain, false>)"
    KernelRun mean_grad_f32 "(la::run_pool_grad<float, false>)"
    KernelRun mean_grad_f64 "(la::run_pool_grad<double, false>)"

cdef enum:
    MAX_POOL, MAX_POOL_GRAD, AVG_POOL, AVG_POOL_GRAD

cdef KernelRun[4][4] POOLS
POOLS[MAX_POOL] = [max_f16, max_f32, max_f64, max_bf16]
POOLS[MAX_POOL_GRAD] = [max_grad_f16, max_grad_f32, max_grad_f64, max_grad_bf16]
POOLS[AVG_POOL] = [mean_f16, mean_f32, mean_f64, mean_bf16]
POOLS[AVG_POOL_GRAD] = [mean_grad_f16, mean_grad_f32, mean_grad_f64, mean_grad_bf16]

MEMORY_ERROR = {1: (MemoryError, "no memory for a kernel's packed operands")}
LONGEST = 2**31 - 1  # Fortran integers of SciPy's BLAS
# Work that one unit should have at least: waking a worker for it costs about 9 us.
UNIT_FLOPS = 4_000_000  # 30 us of float32 with AVX-512
UNIT_NS = 40_000
# OpenBLAS's small-matrix path ends at m*n*k = 100**3; no call is below twice that.
BLAS_FLOPS = 4_000_000
# A product whose B is packed once, before: it has to be large, and meet enough rows. Its units are whole rows.
SHARED_FLOPS = 50_000_000
SHARED_ROWS = 384
SHARED_BYTES = 128 << 20    # of a packed B
UNIT_ROWS = 60              # at most; of fewer rows, a unit waits more for B
# A k whose product has few units of its own is cut into parts: of this many elements or more, since joining costs too.
SPLIT_UNITS = 32
SPLIT_K = 1024
SPLIT_BYTES = 512 << 10     # of A and B, in one part: about as long as UNIT_FLOPS

cdef const Micro* micro = micro_named(NULL)


def isa():
    """Name of the instruction set that new kernels are made for."""
    return micro.name.decode()


def use_isa(name):
    """Make kernels for `name` ("plain", "avx2", "avx512"; None: the widest here) from now on. For tests.

    Returns
    -------
    bool
        False, and nothing changes, where this processor lacks it.
    """
    global micro
    cdef bytes text = b"" if name is None else name.encode()
    cdef const char* wanted = NULL
    if name is not None:
        wanted = text
    cdef const Micro* found = micro_named(wanted)
    if found == NULL:
        return False
    micro = found
    return True


cdef object make(
    KernelRun run, KernelFinish finish, bytes params, Py_ssize_t extent, int n_args, double cost, object label
):
    cdef NativeKernel kernel = NativeKernel.__new__(NativeKernel)
    kernel.run = run
    kernel.finish = finish
    kernel.params = PyBytes_AS_STRING(params)
    kernel.owned = params
    kernel.extent = extent
    kernel.grain = 1
    kernel.cost = <Py_ssize_t>min(max(cost, 1.0), 1e18)
    kernel.n_args = n_args
    kernel.scratch_bytes = 0
    kernel.errors = MEMORY_ERROR
    kernel.label = label
    return kernel


cdef bytes blank(Py_ssize_t size):
    cdef bytes params = PyBytes_FromStringAndSize(NULL, size)
    memset(PyBytes_AS_STRING(params), 0, size)
    return params


# ---------------------------------------------------------------------------------------------------- products

cdef dict ROUTINES = {}


def load_blas():
    """Load SciPy's BLAS and set it to one thread a call: the engine is the only thread pool.

    Called by the first product that needs it; whoever calls SciPy's linear algebra from tasks calls it first, too.
    """
    if ROUTINES:
        return
    import scipy.linalg.cython_blas as cython_blas
    from threadpoolctl import ThreadpoolController

    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        if serves(library, cython_blas.__file__):
            library.set_num_threads(1)
    for char, name in zip("fdFD", ("sgemm", "dgemm", "cgemm", "zgemm"), strict=True):
        ROUTINES[char] = cython_blas.__pyx_capi__[name]


cdef bint serves(library, file) except -1:
    """Whether a module calls this copy of a library: NumPy's wheel, for one, brings another copy than SciPy's."""
    module = ctypes.CDLL(file)      # finds what the module's own dependencies define
    for symbol in library.check_symbols:
        if hasattr(module, symbol) and hasattr(library.dynlib, symbol):
            mine, its = (ctypes.cast(getattr(each, symbol), ctypes.c_void_p).value for each in (module, library.dynlib))
            if mine == its:
                return True
    return False


cdef BlasGemm routine(object dtype) except *:
    """SciPy's gemm for `dtype`, by its exported function pointer: building needs no SciPy."""
    load_blas()
    capsule = ROUTINES[dtype.char]
    return <BlasGemm>PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))


cdef struct Sums:
    KernelRun run
    KernelFinish finish


cdef Sums sums_of(object dtype) except *:
    """What multiplies matrices of a dtype, and what joins the parts of k."""
    kind, size = dtype.kind, dtype.itemsize
    if dtype.char == "f":
        return Sums(run_gemm[float], finish_gemm[float])
    if dtype.char == "d":
        return Sums(run_gemm[double], finish_gemm[double])
    if dtype.char == "F":
        return Sums(run_gemm[C64], finish_gemm[C64])
    if dtype.char == "D":
        return Sums(run_gemm[C128], finish_gemm[C128])
    if dtype.char == "e":
        return Sums(run_gemm_half[Half], finish_gemm_half)
    if dtype.char == "E":
        return Sums(run_gemm_half[Brain], finish_gemm_bf16)
    if kind == "b":
        return Sums(run_gemm[Bool], finish_gemm[Bool])
    if kind in "iu" and size == 1:
        return Sums(run_gemm[uint8_t], finish_gemm[uint8_t])
    if kind in "iu" and size == 2:
        return Sums(run_gemm[uint16_t], finish_gemm[uint16_t])
    if kind in "iu" and size == 4:
        return Sums(run_gemm[uint32_t], finish_gemm[uint32_t])
    if kind in "iu" and size == 8:
        return Sums(run_gemm[uint64_t], finish_gemm[uint64_t])
    raise ValueError(f"gemm: no kernel for dtype {dtype}")


def route_of(dtype, batches, m, n, k):
    """Which routine a product takes, and its tiles along M and N: a function of dtype and extents alone."""
    flops = 2 * m * n * k
    batches = max(batches, 1)
    if dtype.char in "fd":
        if m == 1 or n == 1:
            return VECTOR, tiles(max(m, n), flops * 8 / UNIT_FLOPS, 128), 1
        if flops <= BLAS_FLOPS or max(n, k) > LONGEST or isa() != "plain":
            # Tiles of 256 rows and 768 columns or less, and where there is work for them, 16 or more. 64 columns are the
            # widest panel of AVX-512. A unit packs its panels of B for itself: more units along N pack no more of it.
            count = min(flops / UNIT_FLOPS, 16 / batches)
            rows = max(1, -(-m // 256))
            columns = max(-(-n // 768), tiles(n, count / rows, 64))
            return BLOCKED, max(rows, tiles(m, count / columns, 48)), columns
    elif dtype.char in "eE":
        # A unit widens and packs all of B: few units, of many rows.
        return BLOCKED, max(-(-m // 256), tiles(m, min(flops * 2 / UNIT_FLOPS, 16 / batches), 8)), 1
    elif dtype.char not in "FD" or m == 1 or n == 1 or flops <= BLAS_FLOPS or max(n, k) > LONGEST:
        count = flops * 2 / UNIT_FLOPS
        rows = tiles(m, count, 8)
        return PACKED, rows, tiles(n, count / rows, 256)
    # Each call packs all of B: no more calls than 16 workers need, none below twice the small path's bound.
    count = max(1, min(-(-16 // batches), m // 96, flops // BLAS_FLOPS))
    return BLAS, max(count, -(-m // LONGEST)), 1


def panel_bytes(dtype, batches, m, n, k):
    """Bytes of a B that is packed in a stage before the product; 0: the units pack what they need."""
    width = -(-n // COLUMNS) * COLUMNS
    nbytes = batches * k * width * dtype.itemsize
    large = m >= SHARED_ROWS and n >= 256 and k >= 64 and 2 * m * n * k >= SHARED_FLOPS and nbytes <= SHARED_BYTES
    return nbytes if large and route_of(dtype, batches, m, n, k)[0] == BLOCKED and dtype.char in "fd" else 0


def splits_of(dtype, m, n, k):
    """How many parts of k are summed apart: a function of dtype and extents alone, and not of the batch.

    Parts are worth a unit's while, so many that they and the tiles of rows and columns are `SPLIT_UNITS` at most, and so
    long that joining them, m * n additions each, is little beside making them.
    """
    if not m or not n:
        return 1
    own = max(m, n) // 128 if m == 1 or n == 1 else max(1, m // 48) * max(1, n // 64)
    least = max(SPLIT_K, 16 * min(m, n))
    if own >= SPLIT_UNITS // 2 or k < 2 * least:
        return 1
    flops = 2 * m * n * k
    if dtype.kind == "c" and min(m, n) > 1 and flops > BLAS_FLOPS:
        # Parts stay large enough for BLAS.
        return max(1, min(SPLIT_UNITS // max(own, 1), k // least, flops // BLAS_FLOPS))
    work = max(flops // UNIT_FLOPS, k * (m + n) * dtype.itemsize // SPLIT_BYTES)
    return max(1, min(SPLIT_UNITS // max(own, 1), k // least, work))


cdef object tiles(object extent, object wanted, object least):
    """How many nearly equal tiles: `wanted`, but none below `least`."""
    return max(1, min(math.ceil(wanted), extent // least))


def gemm(dtype, batch, m, n, k, a, b, label="", bint stages=False):
    """Kernel for products of matrices: args A, B, out.

    Parameters
    ----------
    dtype : numpy.dtype
        Of A, B and out. float16 and bfloat16 sum in float32 and round once; integers wrap; bool is the or of ands.
    batch : tuple of int
        Extents of the batch, at most 64.
    m, n, k : int
        A is (m, k), B is (k, n), out is C-contiguous (batch..., m, n). ``k == 0`` gives zeros.
    a, b : (tuple of int, int, int)
        Strides in elements: along the batch, rows and columns. Real operands that are not contiguous along their rows
        are packed tile by tile; fast where they are along their columns.
    stages : bool, default False
        Return a list of kernels that run one after the other, where a large B is best packed before: all take the same
        operands and one scratch region.

    Raises
    ------
    ValueError
        For an extent below 0, a dtype without a kernel, or a leading stride beyond 32 bits that BLAS would need.

    Notes
    -----
    The bits of a result depend on dtype and extents, never on strides or on how the units are split.
    """
    dtype = np.dtype(dtype)
    batch = tuple(batch)
    if min((m, n, k) + batch) < 0 or len(batch) > MAX_BATCH_DIMS:
        raise ValueError(f"gemm: bad extents: batch {batch}, m {m}, n {n}, k {k}.")
    if len(a[0]) != len(batch) or len(b[0]) != len(batch):
        raise ValueError(f"gemm: batch {batch} needs as many batch strides, not {a[0]} and {b[0]}.")
    cdef bytes params = blank(sizeof(GemmParams))
    cdef GemmParams* g = <GemmParams*><void*>PyBytes_AS_STRING(params)
    cdef int d
    batches = math.prod(batch)
    splits = splits_of(dtype, m, n, k)
    # Enough products are units as they are, each with all its parts; their sums are the same.
    cdef bint spread = splits > 1 and batches < SPLIT_UNITS
    route, tiles_m, tiles_n = route_of(dtype, splits, m, n, -(-k // splits)) if splits > 1 else route_of(dtype, batches, m, n, k)
    g.splits, g.spread = splits, spread
    g.micro = micro
    g.route = <Route><int>route
    g.batch_dims = len(batch)
    for d in range(g.batch_dims):
        g.batch[d], g.a_batch[d], g.b_batch[d] = batch[d], a[0][d], b[0][d]
    g.batches, g.m, g.n, g.k = batches, m, n, k
    g.a_row, g.a_col, g.b_row, g.b_col = a[1], a[2], b[1], b[2]
    g.tiles_m, g.tiles_n = tiles_m, tiles_n
    if route == BLAS:
        g.blas = routine(dtype)
        if max(a[1], a[2], b[1], b[2]) > LONGEST:
            raise ValueError(f"gemm: strides {a[1:]} and {b[1:]} exceed BLAS's 32 bits; copy the operand first.")
    cdef Py_ssize_t extent = batches if m and n else 0
    if splits == 1 or spread:
        extent *= splits * tiles_m * tiles_n
    rate = {"f": 100.0, "d": 50.0, "F": 100.0, "D": 50.0, "e": 60.0, "E": 60.0}.get(dtype.char, 20.0 / dtype.itemsize)
    cost = 2.0 * m * n * k * (4 if dtype.kind == "c" else 1) / rate
    cost = batches * (max(cost, k * (m + n) * dtype.itemsize / 20.0) + m * n * 0.2)  # vectors and few rows wait for memory
    label = label or f"gemm {dtype.name} {m}x{n}x{k}"
    shared = panel_bytes(dtype, batches, m, n, k) if stages else 0
    cdef Sums sums = sums_of(dtype)
    cdef NativeKernel kernel
    if not shared:
        kernel = make(sums.run, sums.finish if spread else NULL, params, extent, 3, cost, label)
        if spread:
            kernel.scratch_bytes = batches * splits * m * n * (4 if dtype.char in "eE" else dtype.itemsize)
        return kernel
    cdef bint single = dtype.char == "f"
    # Some 24 units where there are rows enough, or the last ones leave workers idle. Tiles have 6 rows.
    g.unit_rows = 6 * max(6, min(UNIT_ROWS // 6, m // 144))
    g.panel_elements = shared // dtype.itemsize // batches
    cdef Py_ssize_t packs = batches * (-(-k // STAGE_ROWS))
    cdef NativeKernel first = make(
        run_gemm_panels[float] if single else run_gemm_panels[double], NULL, params, packs, 3, shared / 6.0, f"{label}: pack"
    )
    cdef NativeKernel second = make(
        run_gemm_shared[float] if single else run_gemm_shared[double], NULL, params,
        batches * (-(-m // g.unit_rows)), 3, cost, label,
    )
    first.scratch_bytes = second.scratch_bytes = shared
    return [first, second]


def follow(NativeKernel product, NativeKernel program, int home=0):
    """Kernel for a product and an elementwise program that reads it.

    Parameters
    ----------
    product : NativeKernel
        From `gemm`: real, and of whole rows (see `follows`). With stages, the last; the kernel takes its scratch region.
    program : NativeKernel
        From `_loops.elementwise`, over the shape of the product. Its first operand is the product.
    home : int, optional
        The number of an output of the program, with the product's dtype, contiguous, no other operand's memory: the product is
        computed there. By default it is in the thread's working memory.

    Returns
    -------
    NativeKernel
        Its operands: A, B, and those of the program without the first.
    """
    cdef Py_ssize_t units, wanted
    cdef bint single = product.run == <KernelRun>run_gemm[float] or product.run == <KernelRun>run_gemm_shared[float]
    cdef bytes params = blank(sizeof(FollowParams))
    cdef FollowParams* f = <FollowParams*><void*>PyBytes_AS_STRING(params)
    cdef const GemmParams* g = <const GemmParams*>product.params
    if g.route != BLOCKED or g.splits > 1 or g.tiles_n != 1 and not g.panel_elements or program.n_args > FOLLOW_OPERANDS:
        raise ValueError(f"follow: {product!r} cannot be followed by {program!r}.")
    memcpy(&f.gemm, g, sizeof(GemmParams))
    if not g.panel_elements:
        # Where the program is most of the work, its share says how many units are worth it.
        wanted = max(g.tiles_m, min(64 // g.batches, program.cost // UNIT_NS // g.batches, g.m // 12))
        f.gemm.unit_rows = (g.m + wanted - 1) // wanted
    f.run, f.program, f.operands, f.home = program.run, program.params, program.n_args, home
    units = g.batches * ((g.m + f.gemm.unit_rows - 1) // f.gemm.unit_rows)
    cdef NativeKernel kernel = make(
        run_follow[float] if single else run_follow[double], NULL, params, units, program.n_args + 1,
        product.cost + program.cost, f"{product.label}, {program.label}",
    )
    kernel.owned = (params, program)
    kernel.errors = {**product.errors, **program.errors}
    kernel.scratch_bytes = product.scratch_bytes
    return kernel


def follows(dtype, batches, m, n, k):
    """Whether what reads a product is best computed with it: real ones whose units are whole rows."""
    if dtype.char not in "fd" or min(m, n) < 2 or k < 32 or not batches or splits_of(dtype, m, n, k) > 1:
        return False
    route, _, columns = route_of(dtype, batches, m, n, k)
    return route == BLOCKED and (columns == 1 or panel_bytes(dtype, batches, m, n, k) > 0)


# ------------------------------------------------------------------------------------------------ convolutions

def conv_extents(x_shape, k_shape, stride, pad, dilation, groups=1):
    """``(oh, ow)`` of a convolution; ValueError where the shapes do not fit."""
    (_, h, w, c), (kh, kw, cg, o) = x_shape, k_shape
    if groups < 1 or c != cg * groups or o % groups:
        raise ValueError(f"conv2d: {groups} groups do not fit {c} channels and kernel {tuple(k_shape)}.")
    if min((kh, kw) + tuple(stride) + tuple(dilation)) < 1 or min(pad) < 0:
        raise ValueError(f"conv2d: bad kernel {kh, kw}, stride {stride}, pad {pad} or dilation {dilation}.")
    spans = [e + 2 * p - d * (t - 1) - 1 for e, p, d, t in zip((h, w), pad, dilation, (kh, kw), strict=True)]
    if min(spans) < 0:
        raise ValueError(f"conv2d: kernel {kh, kw} exceeds the padded image of {tuple(x_shape)}.")
    return spans[0] // stride[0] + 1, spans[1] // stride[1] + 1


cdef class Convolution:
    """Parameters and work of one convolution, before its units are chosen."""
    cdef bytes params
    cdef ConvParams* g
    cdef object dtype
    cdef double flops, cost
    cdef bint single

    def __init__(self, dtype, x_shape, k_shape, stride, pad, dilation, groups):
        self.dtype = np.dtype(dtype)
        if self.dtype.char not in "fd":
            raise ValueError(f"conv2d: float32 or float64 expected, not {self.dtype}.")
        self.single = self.dtype.char == "f"
        oh, ow = conv_extents(x_shape, k_shape, stride, pad, dilation, groups)
        self.params = blank(sizeof(ConvParams))
        self.g = <ConvParams*><void*>PyBytes_AS_STRING(self.params)
        cdef ConvParams* g = self.g
        g.micro = micro
        g.n, g.h, g.w, g.c = x_shape
        g.kh, g.kw, g.cg, g.o = k_shape
        g.groups, g.og, g.oh, g.ow = groups, g.o // groups, oh, ow
        (g.sh, g.sw), (g.ph, g.pw), (g.dh, g.dw) = stride, pad, dilation
        g.outer = g.kh * g.kw * g.cg * g.o * self.dtype.itemsize > RESIDENT_BYTES
        self.flops = 2.0 * g.n * g.oh * g.ow * g.kh * g.kw * g.cg * g.o
        self.cost = self.flops / (100.0 if self.single else 50.0)

    cdef units(self, Py_ssize_t rows, Py_ssize_t least):
        """Units along images first, then along `rows` in bands of `least` or more."""
        wanted = min(64, max(1, math.ceil(self.flops / UNIT_FLOPS)))
        self.g.image_parts = max(1, min(self.g.n, wanted))
        self.g.row_parts = tiles(rows, wanted / self.g.image_parts, least)
        self.g.output_parts = 1

    cdef passes(self, Py_ssize_t h, Py_ssize_t w, Py_ssize_t c):
        """How many pixels of the result (n, h, w, c) pass while a piece of the kernel stays in cache."""
        cdef ConvParams* g = self.g
        g.rows_at_once = max(1, (32 << 10) // max(1, w * c * self.dtype.itemsize))
        if g.outer and h * w < 256:  # small images: several in a unit, and then units along channels
            g.row_parts = 1
            g.image_parts = max(1, min(g.n, g.n * h * w // 256))
            if g.groups == 1:
                g.output_parts = tiles(c, 16 / g.image_parts, 128)


def conv2d(dtype, x_shape, k_shape, stride=(1, 1), pad=(0, 0), dilation=(1, 1), groups=1):
    """Kernel for a convolution, channels last: args x, kernel, out.

    Parameters
    ----------
    dtype : numpy.dtype
        float32 or float64.
    x_shape : (n, h, w, channels)
    k_shape : (kh, kw, channels // groups, outputs)
    stride, pad, dilation : (int, int), in pixels
    groups : int
        Group i takes channels ``i * channels // groups ...`` to outputs ``i * outputs // groups ...``.

    Notes
    -----
    out is (n, oh, ow, outputs), ``oh = (h + 2*pad - dilation*(kh-1) - 1) // stride + 1``; each element sums
    over (kh, kw, channels) in order, in even pieces of at most 128 products. All arrays are C-contiguous.
    """
    cdef Convolution conv = Convolution(dtype, x_shape, k_shape, stride, pad, dilation, groups)
    cdef ConvParams* g = conv.g
    conv.units(g.oh, 4)
    conv.passes(g.oh, g.ow, g.o)
    cdef Py_ssize_t extent = g.image_parts * g.row_parts * g.output_parts if g.n and g.o else 0
    cdef KernelRun run = run_conv2d[float] if conv.single else run_conv2d[double]
    return make(run, NULL, conv.params, extent, 3, conv.cost, f"conv2d {x_shape} {k_shape}")


def conv2d_data_grad(dtype, x_shape, k_shape, stride=(1, 1), pad=(0, 0), dilation=(1, 1), groups=1):
    """Kernel for the gradient of `conv2d` by its images: args g, kernel, dx."""
    cdef Convolution conv = Convolution(dtype, x_shape, k_shape, stride, pad, dilation, groups)
    cdef ConvParams* g = conv.g
    # As a convolution of g it needs no additions in memory, but multiplies the padding of g by zero.
    vector = 64 // conv.dtype.itemsize
    g.gather = (
        groups == 1 and g.sh == g.sw == 1 and g.ph <= (g.kh - 1) * g.dh and g.pw <= (g.kw - 1) * g.dw
        and g.h * g.w * -(-g.c // vector) * vector * 8 <= 9 * g.oh * g.ow * g.c
    )
    conv.units(g.h, 8)
    g.image_parts = min(g.image_parts, 16)  # each unit transposes the kernel
    if g.image_parts == 16:
        g.row_parts = 1
    if g.gather:
        conv.passes(g.h, g.w, g.c)
    cdef Py_ssize_t extent = g.image_parts * g.row_parts * g.output_parts if g.n and g.c else 0
    cdef KernelRun run = run_conv2d_data_grad[float] if conv.single else run_conv2d_data_grad[double]
    return make(run, NULL, conv.params, extent, 3, conv.cost, f"conv2d_data_grad {x_shape} {k_shape}")


def conv2d_weight_grad(dtype, x_shape, k_shape, stride=(1, 1), pad=(0, 0), dilation=(1, 1), groups=1):
    """Kernel for the gradient of `conv2d` by its kernel: args x, g, dw.

    Notes
    -----
    Images are summed in up to 16 parts, a number fixed by the shapes, and the parts joined in pairs.
    """
    cdef Convolution conv = Convolution(dtype, x_shape, k_shape, stride, pad, dilation, groups)
    cdef ConvParams* g = conv.g
    cdef Py_ssize_t size = g.kh * g.kw * g.cg * g.o * conv.dtype.itemsize
    # Joining a part costs as much as some 500 outputs; the parts' memory is bounded, 16 MiB.
    parts = min(16, g.n, g.n * g.oh * g.ow // 512, (16 << 20) // max(size, 1), int(conv.flops / UNIT_FLOPS))
    g.splits = max(1, parts)
    g.tap_parts = 1 if g.splits >= 8 else tiles(g.kh * g.kw, min(16 // g.splits, conv.flops / UNIT_FLOPS), 1)
    cdef KernelRun run = run_conv2d_weight_grad[float] if conv.single else run_conv2d_weight_grad[double]
    cdef KernelFinish finish = finish_conv2d_weight_grad[float] if conv.single else finish_conv2d_weight_grad[double]
    cdef Py_ssize_t extent = g.splits * g.tap_parts if size else 0
    cdef NativeKernel kernel = make(
        run, finish if g.splits > 1 else NULL, conv.params, extent, 3, conv.cost, f"conv2d_weight_grad {x_shape} {k_shape}"
    )
    kernel.scratch_bytes = size * g.splits if g.splits > 1 else 0
    return kernel


# ----------------------------------------------------------------------------------------------------- pooling

cdef object pool(int kind, str name, object dtype, object x_shape, object window, object stride, object pad, bint count_pad):
    dtype = np.dtype(dtype)
    if dtype.char not in "efdE":
        raise ValueError(f"{name}: a floating dtype expected, not {dtype}.")
    if min(tuple(window) + tuple(stride)) < 1 or min(pad) < 0 or pad[0] >= window[0] or pad[1] >= window[1]:
        raise ValueError(f"{name}: bad window {window}, stride {stride} or pad {pad}; a pad is smaller than its window.")
    cdef bytes params = blank(sizeof(PoolParams))
    cdef PoolParams* g = <PoolParams*><void*>PyBytes_AS_STRING(params)
    g.micro = micro
    g.n, g.h, g.w, g.c = x_shape
    (g.kh, g.kw), (g.sh, g.sw), (g.ph, g.pw) = window, stride, pad
    g.oh, g.ow = conv_extents(x_shape, (*window, g.c, 1), stride, pad, (1, 1))
    g.count_pad = count_pad
    g.apart = g.sh >= g.kh and g.sw >= g.kw
    g.covered = g.sh == g.kh and g.sw == g.kw and g.oh * g.kh >= g.h + g.ph and g.ow * g.kw >= g.w + g.pw
    cdef bint grad = kind == MAX_POOL_GRAD or kind == AVG_POOL_GRAD
    # Measured, one core: about 0.1 ns a tap and channel in float32, more in other types as bytes go.
    cost = 0.1 * g.n * g.oh * g.ow * g.c * (g.kh * g.kw + 1) * (2 if grad else 1)
    cost *= {"f": 1, "d": 2, "e": 2, "E": 2}.get(dtype.char, 1)
    wanted = min(64, max(1, math.ceil(cost / 25_000)))
    g.image_parts = max(1, min(g.n, wanted))
    g.row_parts = 1 if grad else tiles(g.oh, wanted / g.image_parts, 4)
    cdef Py_ssize_t extent = g.image_parts * g.row_parts if g.n and g.c else 0
    n_args = 3 if kind == MAX_POOL_GRAD else 2
    label = f"{name} {tuple(x_shape)} {window}"
    return make(POOLS[kind]["efdE".index(dtype.char)], NULL, params, extent, n_args, cost, label)


def max_pool2d(dtype, x_shape, window, stride, pad=(0, 0)):
    """Kernel for the maximum of windows, channels last: args x (n, h, w, c), out (n, oh, ow, c). A NaN wins."""
    return pool(MAX_POOL, "max_pool2d", dtype, x_shape, window, stride, pad, False)


def max_pool2d_grad(dtype, x_shape, window, stride, pad=(0, 0)):
    """Kernel for the gradient of `max_pool2d`: args x, g, dx. It goes to the first maximum of each window."""
    return pool(MAX_POOL_GRAD, "max_pool2d_grad", dtype, x_shape, window, stride, pad, False)


def avg_pool2d(dtype, x_shape, window, stride, pad=(0, 0), count_include_pad=True):
    """Kernel for the mean of windows, channels last: args x, out. Padding counts as zeros, or not at all."""
    return pool(AVG_POOL, "avg_pool2d", dtype, x_shape, window, stride, pad, count_include_pad)


def avg_pool2d_grad(dtype, x_shape, window, stride, pad=(0, 0), count_include_pad=True):
    """Kernel for the gradient of `avg_pool2d`: args g, dx."""
    return pool(AVG_POOL_GRAD, "avg_pool2d_grad", dtype, x_shape, window, stride, pad, count_include_pad)
