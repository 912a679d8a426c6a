# Design. Draws by NumPy's own C code, without the GIL: its distributions are found in the extension module that
# `numpy.random` has loaded, so they are those of the NumPy at hand; a function that is not there is None, and NumPy's Python
# method serves. A bit generator's state is packed into bytes: what the structs of NumPy's C code hold, without their
# pointers. A kernel unpacks a state on its stack, draws, and packs what it has become behind the sample, so a draw is a pure
# function of bytes and any number of them run at once. Each layout is tried against NumPy when it is first used.
# A kernel owns nothing; its parameters lie in a bytes object. One unit: a stream is drawn in one piece.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport log, sqrt
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np
from numpy.random import _generator

from lazyarray._loops cimport NativeKernel

cdef extern from "<dlfcn.h>" nogil:
    void* dlopen(const char* path, int flags)
    void* dlsym(void* library, const char* name)
    int RTLD_LAZY, RTLD_NOLOAD

cdef extern from "numpy/random/bitgen.h":
    ctypedef struct bitgen_t:
        void* state
        uint64_t (*next_uint64)(void* state) noexcept nogil
        uint32_t (*next_uint32)(void* state) noexcept nogil
        double (*next_double)(void* state) noexcept nogil
        uint64_t (*next_raw)(void* state) noexcept nogil


# ---- states, as NumPy's C code has them

cdef enum Kind:
    MT19937, PCG64, PCG64DXSM, PHILOX, SFC64

cdef struct Twister:
    uint32_t key[624]
    int pos

cdef struct Congruential:
    void* numbers           # state and increment, 128 bits each
    int has_uint32
    uint32_t uinteger

cdef struct Counter:
    void* counter
    void* key
    int buffer_pos
    uint64_t buffer[4]
    int has_uint32
    uint32_t uinteger

cdef struct Chaotic:
    uint64_t numbers[4]
    int has_uint32
    uint32_t uinteger

# One of them, with room for what it points to.
cdef struct Local:
    Twister twister
    Congruential congruential
    Counter counter
    Chaotic chaotic
    uint64_t numbers[8]

cdef Py_ssize_t* SIZES = [2504, 40, 40, 96, 40]
KINDS = {
    np.random.MT19937: MT19937, np.random.PCG64: PCG64, np.random.PCG64DXSM: PCG64DXSM, np.random.Philox: PHILOX,
    np.random.SFC64: SFC64,
}
CLASSES = {number: cls for cls, number in KINDS.items()}
cdef bitgen_t[5] generators     # their functions, once they have been tried
cdef dict tried = {}


cdef void gather(int kind, const void* state, char* out) noexcept nogil:
    # What a state holds, as bytes.
    cdef const Congruential* congruential = <const Congruential*>state
    cdef const Counter* counter = <const Counter*>state
    if kind == MT19937:
        memcpy(out, state, sizeof(Twister))
    elif kind == PCG64 or kind == PCG64DXSM:
        memcpy(out, congruential.numbers, 32)
        memcpy(out + 32, &congruential.has_uint32, 8)
    elif kind == PHILOX:
        memcpy(out, counter.counter, 32)
        memcpy(out + 32, counter.key, 16)
        memcpy(out + 48, counter.buffer, 32)
        memcpy(out + 80, &counter.buffer_pos, 4)
        memcpy(out + 84, &counter.has_uint32, 8)
    else:
        memcpy(out, state, sizeof(Chaotic))


cdef void scatter(int kind, const char* source, void* state) noexcept nogil:
    # The way back.
    cdef Congruential* congruential = <Congruential*>state
    cdef Counter* counter = <Counter*>state
    if kind == MT19937:
        memcpy(state, source, sizeof(Twister))
    elif kind == PCG64 or kind == PCG64DXSM:
        memcpy(congruential.numbers, source, 32)
        memcpy(&congruential.has_uint32, source + 32, 8)
    elif kind == PHILOX:
        memcpy(counter.counter, source, 32)
        memcpy(counter.key, source + 32, 16)
        memcpy(counter.buffer, source + 48, 32)
        memcpy(&counter.buffer_pos, source + 80, 4)
        memcpy(&counter.has_uint32, source + 84, 8)
    else:
        memcpy(state, source, sizeof(Chaotic))


cdef void* room(int kind, Local* local) noexcept nogil:
    # A state on the stack.
    if kind == MT19937:
        return &local.twister
    if kind == PHILOX:
        local.counter.counter = local.numbers
        local.counter.key = local.numbers + 4
        return &local.counter
    if kind == SFC64:
        return &local.chaotic
    local.congruential.numbers = local.numbers
    return &local.congruential


cdef bitgen_t* inside(object bits) except NULL:
    return <bitgen_t*>PyCapsule_GetPointer(bits.capsule, "BitGenerator")


def kind_of(object bits):
    """The number of a bit generator's kind, or -1 where its state is not known to be what this module takes it for."""
    cdef int kind
    found = KINDS.get(type(bits))
    if found is None:
        return -1
    kind = found
    if kind not in tried:
        tried[kind] = trial(kind)
        if tried[kind]:
            example = CLASSES[kind](0)      # alive while it is copied from
            generators[kind] = inside(example)[0]
            generators[kind].state = NULL
    return kind if tried[kind] else -1


cdef bint trial(int kind) except -1:
    # Whether a packed state is all that a bit generator goes by.
    one, other = CLASSES[kind](3), CLASSES[kind](4)
    np.random.Generator(one).integers(7, dtype=np.uint32)
    one.random_raw(5)
    np.random.Generator(one).integers(7, dtype=np.uint32)
    write_state(kind, other, packed(kind, one))
    same = repr(one.state) == repr(other.state)
    return same and (one.random_raw(1000) == other.random_raw(1000)).all() and repr(one.state) == repr(other.state)


def state_bytes(int kind):
    """The size of a packed state."""
    return SIZES[kind]


cdef bytes packed(int kind, object bits):
    cdef bytes out = PyBytes_FromStringAndSize(NULL, SIZES[kind])
    memset(PyBytes_AS_STRING(out), 0, SIZES[kind])
    gather(kind, inside(bits).state, PyBytes_AS_STRING(out))
    return out


def read_state(int kind, object bits):
    """The state of a bit generator, packed."""
    return packed(kind, bits)


def write_state(int kind, object bits, const uint8_t[::1] source):
    """Give a bit generator a packed state."""
    if source.shape[0] < SIZES[kind]:
        raise ValueError(f"a state of {source.shape[0]} bytes, expected {SIZES[kind]}")
    scatter(kind, <const char*>&source[0], inside(bits).state)


# ---- kernels

cdef enum Form:
    FILL, D0, D1, D2, D3, F1, L1, L2, L3, BINOMIAL, GAUSS0, GAUSS2, ORDER, ROWS, U8, U16, U32, U64, BOOL

ctypedef void (*Fill)(bitgen_t*, Py_ssize_t, void*) noexcept nogil
ctypedef double (*Fn0)(bitgen_t*) noexcept nogil
ctypedef double (*Fn1)(bitgen_t*, double) noexcept nogil
ctypedef double (*Fn2)(bitgen_t*, double, double) noexcept nogil
ctypedef double (*Fn3)(bitgen_t*, double, double, double) noexcept nogil
ctypedef float (*Fn1f)(bitgen_t*, float) noexcept nogil
ctypedef int64_t (*Int1)(bitgen_t*, double) noexcept nogil
ctypedef int64_t (*Int2)(bitgen_t*, double, double) noexcept nogil
ctypedef int64_t (*Int3)(bitgen_t*, int64_t, int64_t, int64_t) noexcept nogil
ctypedef int64_t (*Binomial)(bitgen_t*, double, int64_t, void*) noexcept nogil
ctypedef uint64_t (*Interval)(bitgen_t*, uint64_t) noexcept nogil
ctypedef void (*Bounded8)(bitgen_t*, uint8_t, uint8_t, Py_ssize_t, bint, void*) noexcept nogil
ctypedef void (*Bounded16)(bitgen_t*, uint16_t, uint16_t, Py_ssize_t, bint, void*) noexcept nogil
ctypedef void (*Bounded32)(bitgen_t*, uint32_t, uint32_t, Py_ssize_t, bint, void*) noexcept nogil
ctypedef void (*Bounded64)(bitgen_t*, uint64_t, uint64_t, Py_ssize_t, bint, void*) noexcept nogil

cdef struct Params:
    int kind
    int form
    int masked
    int n_numbers
    void* function
    Py_ssize_t count
    Py_ssize_t row              # of what is shuffled, in bytes
    Py_ssize_t state_at         # where the new state goes, in bytes from the sample's start
    Py_ssize_t state_size

FORMS = {
    "fill": (FILL, 0), "d0": (D0, 0), "d1": (D1, 1), "d2": (D2, 2), "d3": (D3, 3), "f1": (F1, 1), "l1": (L1, 1),
    "l2": (L2, 2), "l3": (L3, 3), "binomial": (BINOMIAL, 2), "gauss0": (GAUSS0, 0), "gauss2": (GAUSS2, 2),
    "order": (ORDER, 0), "rows": (ROWS, 1), "u8": (U8, 2), "u16": (U16, 2), "u32": (U32, 2),
    "u64": (U64, 2), "bool": (BOOL, 2),
}

cdef void* library = dlopen((<str>_generator.__file__).encode(), RTLD_LAZY | RTLD_NOLOAD)
cdef dict found_functions = {}


def has(str name):
    """Whether NumPy's C function of that name can be called."""
    found = found_functions.get(name)
    if found is None:
        found = library != NULL and (name == LEGACY_GAUSS or dlsym(library, name.encode()) != NULL)
        found_functions[name] = found
    return found


cdef str LEGACY_GAUSS = "legacy_gauss"      # which NumPy does not show: ours, for as long as it gives the same bits


# What a RandomState has besides its bit generator: every second number of the polar method.
cdef struct Kept:
    int64_t has
    double number


cdef inline double polar(bitgen_t* bits, Kept* kept) noexcept nogil:
    # Marsaglia's polar method, in the order of NumPy's `legacy_gauss`, whose stream is fixed for good.
    cdef double x = 0, y = 0, r = 0, f
    if kept.has:
        f = kept.number
        kept.has = 0
        kept.number = 0
        return f
    while r >= 1 or r == 0:
        x = 2.0 * bits.next_double(bits.state) - 1.0
        y = 2.0 * bits.next_double(bits.state) - 1.0
        r = x * x + y * y
    f = sqrt(-2.0 * log(r) / r)
    kept.number = f * x
    kept.has = 1
    return f * y


cdef void exchange(char* a, char* b, Py_ssize_t size) noexcept nogil:
    cdef char[256] spare
    cdef Py_ssize_t n
    while size > 0:
        n = size if size < 256 else 256
        memcpy(spare, a, n)
        memcpy(a, b, n)
        memcpy(b, spare, n)
        a += n
        b += n
        size -= n


cdef void shuffle(const Params* p, bitgen_t* bits, char* rows) noexcept nogil:
    # Fisher and Yates from the last row down, as NumPy.
    cdef Py_ssize_t i, j
    cdef int64_t* wide = <int64_t*>rows
    cdef Interval below = <Interval>p.function
    if p.row == 8:
        for i in range(p.count - 1, 0, -1):
            j = <Py_ssize_t>below(bits, i)
            wide[i], wide[j] = wide[j], wide[i]
        return
    for i in range(p.count - 1, 0, -1):
        j = <Py_ssize_t>below(bits, i)
        if j != i:
            exchange(rows + i * p.row, rows + j * p.row, p.row)


cdef int run_draw(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef const Params* p = <const Params*>params
    cdef Local local
    cdef bitgen_t bits = generators[p.kind]
    cdef char* out = args[1 + p.n_numbers]
    cdef Py_ssize_t i, n = p.count
    cdef double* d = <double*>out
    cdef float* f = <float*>out
    cdef int64_t* whole = <int64_t*>out
    cdef void* fn = p.function
    cdef double a = 0, b = 0, c = 0
    cdef int64_t x = 0, y = 0, z = 0
    cdef uint64_t off = 0, span = 0
    cdef char[256] binomial             # NumPy's binomial_t: what it derives from n and p
    cdef Kept kept
    if end <= begin:
        return 0
    bits.state = room(p.kind, &local)
    scatter(p.kind, args[0], bits.state)
    if p.form >= U8:
        off = (<uint64_t*>args[1])[0]
        span = (<uint64_t*>args[2])[0]
    elif p.form == L3:
        x, y, z = (<int64_t*>args[1])[0], (<int64_t*>args[2])[0], (<int64_t*>args[3])[0]
    elif p.form == BINOMIAL:
        x = (<int64_t*>args[1])[0]
        b = (<double*>args[2])[0]
    elif p.form != ROWS:
        if p.n_numbers > 0:
            a = (<double*>args[1])[0]
        if p.n_numbers > 1:
            b = (<double*>args[2])[0]
        if p.n_numbers > 2:
            c = (<double*>args[3])[0]
    # What a RandomState has besides lies behind the bit generator's part.
    memcpy(out + p.state_at, args[0], p.state_size)
    if p.form == FILL:
        (<Fill>fn)(&bits, n, out)
    elif p.form == D0:
        for i in range(n):
            d[i] = (<Fn0>fn)(&bits)
    elif p.form == D1:
        for i in range(n):
            d[i] = (<Fn1>fn)(&bits, a)
    elif p.form == D2:
        for i in range(n):
            d[i] = (<Fn2>fn)(&bits, a, b)
    elif p.form == D3:
        for i in range(n):
            d[i] = (<Fn3>fn)(&bits, a, b, c)
    elif p.form == F1:
        for i in range(n):
            f[i] = (<Fn1f>fn)(&bits, <float>a)
    elif p.form == L1:
        for i in range(n):
            whole[i] = (<Int1>fn)(&bits, a)
    elif p.form == L2:
        for i in range(n):
            whole[i] = (<Int2>fn)(&bits, a, b)
    elif p.form == L3:
        for i in range(n):
            whole[i] = (<Int3>fn)(&bits, x, y, z)
    elif p.form == BINOMIAL:
        memset(binomial, 0, 256)
        for i in range(n):
            whole[i] = (<Binomial>fn)(&bits, b, x, binomial)
    elif p.form == GAUSS0 or p.form == GAUSS2:
        memcpy(&kept, args[0] + SIZES[p.kind], sizeof(Kept))
        if p.form == GAUSS0:
            for i in range(n):
                d[i] = polar(&bits, &kept)
        else:
            for i in range(n):
                d[i] = a + b * polar(&bits, &kept)
        memcpy(out + p.state_at + SIZES[p.kind], &kept, sizeof(Kept))
    elif p.form == ORDER:
        for i in range(n):
            whole[i] = i
        shuffle(p, &bits, out)
    elif p.form == ROWS:
        memcpy(out, args[1], n * p.row)
        shuffle(p, &bits, out)
    elif p.form == U8 or p.form == BOOL:
        (<Bounded8>fn)(&bits, <uint8_t>off, <uint8_t>span, n, p.masked, out)
    elif p.form == U16:
        (<Bounded16>fn)(&bits, <uint16_t>off, <uint16_t>span, n, p.masked, out)
    elif p.form == U32:
        (<Bounded32>fn)(&bits, <uint32_t>off, <uint32_t>span, n, p.masked, out)
    else:
        (<Bounded64>fn)(&bits, off, span, n, p.masked, out)
    gather(p.kind, bits.state, out + p.state_at)
    return 0


def draw(int kind, str form, str function, Py_ssize_t count, Py_ssize_t state_at, Py_ssize_t state_size, bint masked,
         double cost, Py_ssize_t row):
    """A kernel that draws `count` numbers, or shuffles `count` rows of so many bytes.

    Its operands are the state, the distribution's parameters (float64; of integers uint64, the lowest and the span; the
    rows) and the result: the sample, and from byte `state_at` the new state. `masked` is for NumPy's integers of old, `cost`
    in nanoseconds an element.
    """
    cdef bytes memory = PyBytes_FromStringAndSize(NULL, sizeof(Params))
    cdef Params* p = <Params*>PyBytes_AS_STRING(memory)
    cdef NativeKernel kernel = NativeKernel.__new__(NativeKernel)
    memset(p, 0, sizeof(Params))
    p.kind = kind
    p.form, p.n_numbers = FORMS[form]
    p.masked = masked
    p.function = dlsym(library, function.encode())
    p.count = count
    p.row = row
    p.state_at = state_at
    p.state_size = state_size
    if p.function == NULL and function != LEGACY_GAUSS:
        raise ValueError(f"NumPy has no function {function}")
    kernel.run = run_draw
    kernel.finish = NULL
    kernel.params = p
    kernel.owned = memory
    kernel.extent = 1
    kernel.grain = 1
    kernel.cost = <Py_ssize_t>(100 + cost * count)
    kernel.n_args = 2 + p.n_numbers
    kernel.scratch_bytes = 0
    kernel.errors = {}
    kernel.label = function
    return kernel
