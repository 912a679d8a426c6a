# Design. The floor of kernels: Loop (one inner loop over contiguous blocks), and NativeKernel (a function over units
# [begin, end) of a plan's operands, made once per plan and run many times).
# Invariants: a kernel is re-entrant, its params are read-only after the factory returns; working memory is a growing
# buffer per thread, or the scratch region that the caller passes behind the operands. Bits do not depend on how the
# extent is split, on the thread, or on the instruction-set level (LAZYARRAY_SIMD=0|1|2 is an upper limit on it).
# Memory: `params` is a C++ object owned by a capsule in `owned`, beside the Loops whose data the kernel calls.
# Without the GIL: run and finish. No Python object is touched there, nothing raises; a positive code names an entry
# of `errors`. No lock is taken anywhere in this module.
# NumPy's and SciPy's inner loops come from the PyUFuncObject tables, by the exact dtypes; object loops never. Loops
# of NumPy that may take the GIL to raise (integer power) or differ in splitting are replaced by ours (find_loop).
# The templates are in native/*.hpp, one subject each; this file names dtypes, checks arguments and wraps.
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libcpp cimport bool as cbool
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libcpp.vector cimport vector
cimport numpy as cnp

from itertools import pairwise

import numpy as np

from lazyarray.dtypes import BFLOAT16, SUPPORTED
from lazyarray.errors import ArrayIndexError

cnp.import_array()
cnp.import_ufunc()

cdef extern from "simd.hpp" namespace "la" nogil:
    int cpu_level()

cdef extern from "flags.hpp" namespace "la" nogil:
    cdef struct Guarded:
        LoopFn fn
        void* data
        cbool silent
    void run_guarded(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void* data) noexcept

cdef extern from "cast.hpp" namespace "la" nogil:
    LoopFn find_cast(int source, int target)

cdef extern from "widened.hpp" namespace "la" nogil:
    const int kWidenedOperands
    cdef struct Widened:
        cbool* narrow
    void set_widened(Widened& loop, LoopFn fn, void* data, int nin, int nargs)
    void run_widened(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void* data) noexcept
    LoopFn find_neighbour(cbool spacing)

cdef extern from "integer.hpp" namespace "la" nogil:
    LoopFn find_integer(int op, int type)

cdef extern from "select.hpp" namespace "la" nogil:
    LoopFn find_where(Py_ssize_t itemsize)
    LoopFn find_copy(Py_ssize_t itemsize)
    LoopFn find_clip(int type)
    LoopFn find_frexp(int type, cbool exponent)
    LoopFn find_assemble(int real)

include "native/specs.pxi"

cdef extern from "driver.hpp" namespace "la" nogil:
    const int kOperands
    Made make_elementwise(const vector[Py_ssize_t]& shape, const vector[OperandSpec]& inputs,
                          const vector[OperandSpec]& outputs, const vector[Py_ssize_t]& registers,
                          const vector[StepSpec]& steps) except +

cdef extern from "reduce.hpp" namespace "la" nogil:
    Made make_reduce(int op, int source, int via, int acc, int out, Py_ssize_t outer, Py_ssize_t red,
                     Py_ssize_t inner) except +
    Made make_empty_reduce(Py_ssize_t out_size, Py_ssize_t results, const char* identity) except +

cdef extern from "scan.hpp" namespace "la" nogil:
    Made make_scan(cbool product, int source, int out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, LoopFn join,
                   void* join_data) except +

cdef extern from "index.hpp" namespace "la" nogil:
    const int kOutOfBounds
    Made make_take_rows(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m) except +
    Made make_put_rows(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m) except +
    Made make_add_rows(int type, Py_ssize_t n, Py_ssize_t m, Py_ssize_t row) except +
    Made make_flat_index(const vector[Py_ssize_t]& dims, Py_ssize_t m) except +
    Made make_check_sign(int type, Py_ssize_t n) except +

cdef extern from "philox.hpp" namespace "la" nogil:
    LoopFn find_philox(int kind, int type)
    cdef struct Words:
        uint32_t w[4]
    Words philox(uint64_t block, uint64_t counter, uint64_t key)

DTYPES = SUPPORTED      # in the order of types.hpp
cdef dict NUMBERS = {dtype: number for number, dtype in enumerate(DTYPES)}
cdef object FLOAT16 = np.dtype(np.float16), FLOAT32 = np.dtype(np.float32)
cdef list TYPE_NUMBERS = [-1] * 256     # NumPy's type number -> ours
for _char in "?bhilqBHILQefdFD":
    TYPE_NUMBERS[np.dtype(_char).num] = NUMBERS[np.dtype(_char)]

INTEGER_OPS = {"power": 0, "floor_divide": 1, "remainder": 2, "fmod": 3, "left_shift": 4, "right_shift": 5,
               "divmod": 6}
PHILOX = {"philox_bits": 0, "philox_uniform": 1, "philox_normal": 2}
# Nanoseconds per element on one core of a 2.3 GHz server; what is not named costs STEP_NS.
STEP_NS = 0.3
LOOP_NS = {
    "exp": 0.6, "exp2": 0.6, "expm1": 0.6, "expit": 0.8, "log": 1.0, "log2": 1.0, "log10": 1.0, "log1p": 1.0,
    "sin": 0.8, "cos": 0.8, "tan": 1.1, "tanh": 0.9, "sinh": 0.8, "cosh": 0.7, "erf": 1.3, "power": 3.0,
    "arcsin": 5.0, "arccos": 5.0, "arctan": 5.0, "arcsinh": 8.0, "arccosh": 8.0, "arctanh": 8.0, "arctan2": 8.0,
    "float_power": 3.0, "floor_divide": 3.0, "remainder": 5.0, "fmod": 5.0, "divmod": 6.0, "sqrt": 0.7, "divide": 0.7,
    "cbrt": 8.0, "hypot": 4.0, "logaddexp": 10.0, "gamma": 30.0, "gammaln": 20.0, "philox_uniform": 2.0,
    "philox_normal": 5.0, "philox_bits": 1.5,
}
BYTES_PER_NS = 28.0     # in and out of the last-level cache
# What NumPy answers for integers without a look at them.
CERTAIN = {"isnan", "isinf", "isfinite"}
# NumPy's loops that leave the thread's floating-point flags to what the arithmetic does,
ARITHMETIC = {"add", "subtract", "multiply", "divide"}
# and those whose flags mean nothing.
SILENT = {
    "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "maximum", "minimum", "fmax", "fmin", "sign",
    "isnan", "isinf", "isfinite", "signbit", "copysign", "absolute", "fabs", "floor", "ceil", "trunc", "rint",
    "logical_and", "logical_or", "logical_xor", "logical_not", "heaviside", "negative", "positive", "conjugate",
}


cdef int number_of(object dtype) except -1:
    dtype = np.dtype(dtype)
    number = NUMBERS.get(dtype)
    if number is None or not dtype.isnative:
        raise TypeError(f"no loops for dtype {dtype}")
    return number


cdef class Loop:
    """An inner loop: NumPy's calling convention, exact dtypes of inputs and outputs."""

    def __init__(self):
        raise TypeError("Loop: use find_loop, ufunc_loop or own_loop")

    def __repr__(self):
        return f"<Loop {self.name} {', '.join(map(str, self.dtypes[:self.nin]))} -> " \
               f"{', '.join(map(str, self.dtypes[self.nin:]))}>"


cdef Loop make_loop(LoopFn fn, void* data, int nin, int nout, str name, tuple dtypes, object owner):
    cdef Loop loop = Loop.__new__(Loop)
    loop.fn = fn
    loop.data = data
    loop.nin = nin
    loop.nout = nout
    loop.name = name
    loop.dtypes = dtypes
    loop.owner = owner
    return loop


def ufunc_loop(cnp.ufunc ufunc, dtypes):
    """The inner loop of a NumPy or SciPy ufunc for exactly these dtypes, inputs then outputs; None if it has none."""
    cdef int nargs = ufunc.nin + ufunc.nout, t, a
    dtypes = tuple(np.dtype(d) for d in dtypes)
    if len(dtypes) != nargs:
        raise ValueError(f"{ufunc.__name__}: {nargs} dtypes expected, inputs then outputs, not {len(dtypes)}")
    if ufunc.signature is not None:
        return None
    numbers = [NUMBERS.get(d, -2) for d in dtypes]
    for t in range(ufunc.ntypes):
        for a in range(nargs):
            kind = <unsigned char>ufunc.types[t * nargs + a]
            if TYPE_NUMBERS[kind] != numbers[a]:
                break
        else:
            if ufunc.functions == NULL or ufunc.functions[t] == NULL:
                continue
            data = NULL if ufunc.data == NULL else <void*>ufunc.data[t]
            if ufunc.__name__ not in ARITHMETIC and any([d.kind in "fc" for d in dtypes]):
                return guarded_loop(<LoopFn><void*>ufunc.functions[t], data, ufunc, dtypes)
            return make_loop(<LoopFn><void*>ufunc.functions[t], data, ufunc.nin, ufunc.nout, ufunc.__name__, dtypes,
                             ufunc)
    return None


cdef Loop guarded_loop(LoopFn fn, void* data, cnp.ufunc ufunc, tuple dtypes):
    # NumPy's loops may clear flags at their end, those that the loops before them in a kernel have raised included.
    cdef bytes room = PyBytes_FromStringAndSize(NULL, sizeof(Guarded))
    cdef Guarded* guarded = <Guarded*><void*>PyBytes_AS_STRING(room)
    guarded.fn = fn
    guarded.data = data
    guarded.silent = ufunc.__name__ in SILENT and not any([d.kind == "c" for d in dtypes])
    return make_loop(run_guarded, guarded, ufunc.nin, ufunc.nout, ufunc.__name__, dtypes, (ufunc, room))


cdef Loop widened_loop(object op, tuple dtypes):
    # A loop of bfloat16 by that of float32.
    cdef bytes room
    cdef Widened* widened
    cdef int i
    name = op if isinstance(op, str) else op.__name__
    if name in ("nextafter", "spacing"):
        return make_loop(find_neighbour(name == "spacing"), NULL, len(dtypes) - 1, 1, name, dtypes, None)
    cdef Loop inner = find_loop(op, tuple([FLOAT32 if d == BFLOAT16 else d for d in dtypes]))
    if inner is None or len(dtypes) > kWidenedOperands:
        return None
    room = PyBytes_FromStringAndSize(NULL, sizeof(Widened))
    widened = <Widened*><void*>PyBytes_AS_STRING(room)
    set_widened(widened[0], inner.fn, inner.data, inner.nin, len(dtypes))
    for i in range(len(dtypes)):
        widened.narrow[i] = dtypes[i] == BFLOAT16
    return make_loop(run_widened, widened, inner.nin, inner.nout, inner.name, dtypes, (inner, room))


def own_loop(str name, dtypes):
    """Our own C loop of this name for exactly these dtypes, inputs then outputs; None if there is none.

    ``cast`` (any, any); ``where`` (bool, T, T, T); ``copy`` (T, T); ``complex`` (real, imaginary, complex); of
    float32 and float64 ``mantissa`` (T, T) and ``exponent`` (T, int32), the two results of frexp; for integers
    ``power`` (a negative exponent gives 0, see `check_power`), ``floor_divide``, ``remainder``, ``fmod``, ``divmod``,
    ``left_shift``, ``right_shift``.
    Random numbers, a pure function of (flat index int64, key uint64, counter uint64): ``philox_bits`` (uint32, uint64),
    ``philox_uniform`` in [0, 1) and ``philox_normal`` (float32, float64), see native/philox.hpp.
    """
    cdef LoopFn fn = NULL
    cdef int nin = len(dtypes) - 1
    dtypes = tuple(np.dtype(d) for d in dtypes)
    same = len(set(dtypes)) == 1
    if name == "cast":
        if len(dtypes) == 2:
            fn = find_cast(number_of(dtypes[0]), number_of(dtypes[1]))
    elif name == "where":
        if len(dtypes) == 4 and dtypes[0] == np.bool_ and len(set(dtypes[1:])) == 1:
            fn = find_where(dtypes[1].itemsize)
    elif name == "copy":
        if len(dtypes) == 2 and same:
            fn = find_copy(dtypes[0].itemsize)
    elif name == "complex":
        if len(dtypes) == 3 and dtypes[0] == dtypes[1] and dtypes[2].kind == "c":
            if dtypes[2].itemsize == 2 * dtypes[0].itemsize:
                fn = find_assemble(number_of(dtypes[0]))
    elif name in ("mantissa", "exponent"):
        if len(dtypes) == 2 and dtypes[1] == (np.int32 if name == "exponent" else dtypes[0]):
            fn = find_frexp(number_of(dtypes[0]), name == "exponent")
    elif name in PHILOX:
        if len(dtypes) == 4 and dtypes[:3] == (np.int64, np.uint64, np.uint64):
            fn = find_philox(PHILOX[name], number_of(dtypes[3]))
    elif name in INTEGER_OPS:
        nin = 2
        if len(dtypes) == (4 if name == "divmod" else 3) and same and dtypes[0].kind in "iu":
            fn = find_integer(INTEGER_OPS[name], number_of(dtypes[0]))
    if fn == NULL:
        return None
    return make_loop(fn, NULL, nin, len(dtypes) - nin, name, dtypes, None)


def loop_at(uintptr_t address, str name, dtypes, int nin, owner=None):
    """The inner loop at an address, which `owner` keeps there; `dtypes` are those of its `nin` inputs, then outputs."""
    dtypes = tuple(np.dtype(d) for d in dtypes)
    return make_loop(<LoopFn>address, NULL, nin, len(dtypes) - nin, name, dtypes, owner)


cdef dict added = {}


def add_loop(Loop loop):
    """Let `find_loop` give this loop for its name and dtypes from now on."""
    added[loop.name, loop.dtypes] = loop


def find_loop(op, dtypes):
    """Our loop if there is one, else NumPy's or SciPy's; `op` is a ufunc or a name. None if there is none.

    Of bfloat16: that of float32, rounded.
    """
    name = op if isinstance(op, str) else op.__name__
    loop = added.get((name, tuple(np.dtype(d) for d in dtypes)))
    if loop is None:
        loop = own_loop(name, dtypes)
    if loop is not None:
        return loop
    if BFLOAT16 in dtypes:
        return widened_loop(op, tuple([np.dtype(d) for d in dtypes]))
    if isinstance(op, str):
        op = getattr(np, op, None)
    return ufunc_loop(op, dtypes) if isinstance(op, np.ufunc) else None


cdef class NativeKernel:
    """A function over the units of a plan's operands. Made by the factories of this module."""

    def __init__(self):
        raise TypeError("NativeKernel: use a factory such as elementwise or reduce")

    def __repr__(self):
        return f"<NativeKernel {self.label}: {self.extent} units>"

    def call(self, *arrays, pieces=None, seed=0):
        """Run on NumPy arrays (inputs, then outputs), each operand's base being the array's first element.

        With ``pieces=k`` the extent is cut in up to k pieces at multiples of the grain, which run in shuffled order.
        """
        self.call_spans([(0, self.extent)] if pieces is None else self.split(pieces, seed), *arrays)

    def call_spans(self, spans, *arrays):
        """Run these spans of units in this order, then finish."""
        if len(arrays) != self.n_args:
            raise ValueError(f"{self.label}: {self.n_args} operands expected, not {len(arrays)}")
        cdef vector[char*] args
        for array in arrays:
            args.push_back(<char*><uintptr_t>array.__array_interface__["data"][0])
        scratch = np.empty(self.scratch_bytes + 64, np.uint8)
        cdef uintptr_t at = scratch.__array_interface__["data"][0]
        args.push_back(<char*>((at + 63) & ~<uintptr_t>63))
        cdef Py_ssize_t begin, end
        cdef int code = 0
        for begin, end in spans:
            with nogil:
                code = self.run(self.params, args.data(), begin, end)
            if code:
                break
        if not code and self.finish != NULL:
            with nogil:
                code = self.finish(self.params, args.data())
        if code:
            error, message = self.errors.get(code, (RuntimeError, f"{self.label} failed with code {code}"))
            raise error(message)

    def split(self, pieces, seed):
        """Spans that cover the extent, cut at multiples of the grain, shuffled."""
        grains = (self.extent + self.grain - 1) // self.grain
        rng = np.random.default_rng(seed)
        cuts = np.unique(np.concatenate([[0, grains], rng.integers(0, grains + 1, pieces - 1)])) * self.grain
        cuts = np.minimum(cuts, self.extent).tolist()
        spans = list(pairwise(cuts))
        rng.shuffle(spans)
        return spans


cdef OperandSpec operand(object entry, object shape, list registers) except *:
    cdef OperandSpec spec
    reg, strides, itemsize = entry
    if not 0 <= reg < len(registers) or registers[reg] != itemsize:
        raise ValueError(f"register {reg} does not hold items of {itemsize} bytes")
    spec.reg = reg
    spec.itemsize = itemsize
    spec.index = strides is None
    if strides is None:
        if itemsize != 8:
            raise ValueError("the flat index is an int64")
        return spec
    if len(strides) != len(shape):
        raise ValueError(f"{len(strides)} strides for {len(shape)} axes")
    for stride in strides:
        spec.strides.push_back(stride)
    return spec


cdef StepSpec program_step(object entry, list registers, set written) except *:
    cdef StepSpec spec
    loop, ins, outs = entry
    cdef Loop inner = loop
    if len(ins) != inner.nin or len(outs) != inner.nout or inner.nin + inner.nout > kOperands:
        raise ValueError(f"{loop!r} takes {inner.nin} and gives {inner.nout} registers")
    for reg in ins:
        if reg not in written:
            raise ValueError(f"{loop!r} reads register {reg}, which nothing has written")
    spec = step_of(loop, ins, outs, registers)
    # Not a compiled loop, which may have this name.
    spec.scalars = inner.name == CLIP and inner.fn == find_clip(number_of(inner.dtypes[0]))
    written.update(outs)
    return spec


def elementwise(shape, inputs, outputs, registers, steps, label=""):
    """A program of loops over an iteration space, run block by block.

    Parameters
    ----------
    shape : tuple of int
        The iteration space. A unit of the kernel is one element, in C order.
    inputs, outputs : list of (register, strides, itemsize)
        One stride in bytes per axis, 0 where broadcast. An input with strides None is the flat index, an int64
        without an operand. An output may be an input's memory if the strides are the same.
    registers : list of int
        Item sizes in bytes.
    steps : list of (Loop, input registers, output registers)
        Without steps: a strided or broadcasting copy.

    Returns
    -------
    NativeKernel
        Its operands: the inputs that have strides, in order, then the outputs.
    """
    cdef vector[Py_ssize_t] c_shape, c_registers
    cdef vector[OperandSpec] c_inputs, c_outputs
    cdef vector[StepSpec] c_steps
    registers = list(registers)
    if not inputs:
        raise ValueError("elementwise: at least one input expected")
    if len(shape) > 64:
        raise ValueError("elementwise: at most 64 axes")
    for extent in shape:
        c_shape.push_back(extent)
    for itemsize in registers:
        c_registers.push_back(itemsize)
    for entry in inputs:
        c_inputs.push_back(operand(entry, shape, registers))
    written = {entry[0] for entry in inputs}
    if len(written) != len(inputs):
        raise ValueError("elementwise: two inputs share a register")
    for entry in steps:
        program_step(entry, registers, written)
    for entry in clipped(steps, [entry[0] for entry in outputs]):
        c_steps.push_back(program_step(entry, registers, written))
    for entry in outputs:
        if entry[0] not in written or entry[1] is None:
            raise ValueError(f"elementwise: output register {entry[0]} was not written")
        c_outputs.push_back(operand(entry, shape, registers))
    cdef Made made = make_elementwise(c_shape, c_inputs, c_outputs, c_registers, c_steps)
    cdef int n_args = len(outputs)
    cdef double per_element = 0
    asked = [(loop, ins) for loop, ins, _ in steps if loop.name not in CERTAIN or loop.dtypes[0].kind not in "biu"]
    read = {reg for _, ins in asked for reg in ins} if steps else {entry[0] for entry in inputs}
    for reg, strides, itemsize in inputs:
        n_args += strides is not None
        per_element += itemsize / BYTES_PER_NS if reg in read and strides is not None and any(strides) else 0
    per_element += sum(itemsize for _, _, itemsize in outputs) / BYTES_PER_NS
    # A loop that stands for several is named by all of them.
    per_element += sum(LOOP_NS.get(name, STEP_NS) for loop, _ in asked for name in loop.name.split("+"))
    label = label or "+".join(loop.name for loop, _, _ in steps) or "copy"
    return wrap(made, label, n_args, made.extent * per_element, None, [loop for loop, _, _ in steps])


cdef str CLIP = "maximum+minimum"


cdef list clipped(list steps, list outputs):
    # A maximum that only the minimum after it reads is one loop with it: two passes take 1.6 times as long.
    cdef list found = []
    cdef Py_ssize_t i
    for i in range(len(steps)):
        last = found[len(found) - 1] if found else None
        if last and is_clip(last, steps[i]) and not is_read(steps[i][2][0], last[2][0], steps[i + 1:], outputs):
            low, (x, bottom), _ = found.pop()
            loop, (_, top), out = steps[i]
            dtypes = (*low.dtypes, loop.dtypes[2])
            made = make_loop(find_clip(number_of(low.dtypes[0])), NULL, 3, 1, CLIP, dtypes, (low, loop))
            found.append((made, (x, bottom, top), out))
        else:
            found.append(steps[i])
    return found


cdef bint is_clip(tuple first, tuple second) except -1:
    if first[0].name != "maximum" or second[0].name != "minimum" or first[0].dtypes != second[0].dtypes:
        return False
    if first[0].dtypes[0].kind not in "fiu" or find_clip(number_of(first[0].dtypes[0])) == NULL:
        return False
    return second[1][0] == first[2][0] and second[1][1] != first[2][0]


cdef bint is_read(int out, int register, list steps, list outputs) except -1:
    # Whether what is in a register, once `out` has been written, is wanted later.
    if out == register:
        return False
    for _, sources, results in steps:
        if register in sources:
            return True
        if register in results:
            return False
    return register in outputs


REDUCE_OPS = {"sum": 0, "prod": 1, "min": 2, "max": 3, "argmin": 4, "argmax": 5, "fmin": 6, "fmax": 7}
IDENTITIES = {"sum": 0, "prod": 1, "any": False, "all": True}


def reduce_types(str name, source, target):
    """(op, the dtype elements are converted to, the dtype whose arithmetic joins them)."""
    if name in ("any", "all") or (target == np.bool_ and name in ("sum", "prod")):
        return ("max" if name in ("any", "sum") else "min"), np.dtype(np.bool_), np.dtype(np.uint8)
    via = target if name in ("sum", "prod") else source
    if via == FLOAT16 or via == BFLOAT16:
        via = FLOAT32
    if name in ("fmin", "fmax") and via.kind not in "fc":
        name = name[1:]     # nothing to leave out
    acc = via
    if via == np.bool_:
        acc = np.dtype(np.uint8)
    elif via.kind == "i" and name in ("sum", "prod"):
        acc = np.dtype(f"u{via.itemsize}")      # wraps, where signed overflow would be undefined
    return name, via, acc


def reduce(str name, in_dtype, out_dtype, Py_ssize_t outer, Py_ssize_t red, Py_ssize_t inner):
    """A reduction of (outer, red, inner), C-contiguous, over its middle axis.

    Parameters
    ----------
    name : {"sum", "prod", "min", "max", "fmin", "fmax", "any", "all", "argmin", "argmax"}
    out_dtype : dtype
        Elements are converted to it first; int64 for argmin and argmax, bool for any and all, `in_dtype` for min and
        max. float16 and bfloat16 accumulate in float32.

    Returns
    -------
    NativeKernel
        Operands: x (outer, red, inner), out (outer, inner). The order of joins depends on `red` alone, see
        native/reduce.hpp. NaN is propagated by min and max, and left out by fmin and fmax; argmin and argmax give the first
        NaN or the first extreme.
    """
    source, target = np.dtype(in_dtype), np.dtype(out_dtype)
    if red == 0:
        if name not in IDENTITIES:
            raise ValueError(f"{name}: an empty axis has no {name}")
        return wrap(make_empty_reduce(target.itemsize, outer * inner,
                                      np.array(IDENTITIES[name]).astype(target).tobytes()), name, 2, outer * inner)
    if name in ("argmin", "argmax") and target != np.int64:
        raise TypeError(f"{name} gives int64, not {target}")
    if name in ("min", "max", "fmin", "fmax") and target != source:
        raise TypeError(f"{name} keeps the dtype {source}, it does not give {target}")
    op, via, acc = reduce_types(name, source, target)
    cdef Made made = make_reduce(REDUCE_OPS[op], number_of(source), number_of(via), number_of(acc), number_of(target),
                                 outer, red, inner)
    if made.run == NULL:
        raise TypeError(f"no {name} of {source} to {target}")
    cdef double elements = <double>outer * red * inner
    return wrap(made, name, 2, elements * (source.itemsize / BYTES_PER_NS + (STEP_NS if source != via else 0.05)))


def scan(str name, in_dtype, out_dtype, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner):
    """The running "sum" or "prod" along the middle axis of (outer, n, inner), with the bits of np.cumsum or cumprod.

    Operands: x (outer, n, inner), out (outer, n, inner) of `out_dtype`, to which elements are converted first.
    """
    if name not in ("sum", "prod"):
        raise ValueError(f"scan: sum or prod expected, not {name!r}")
    source, target = np.dtype(in_dtype), np.dtype(out_dtype)
    cdef Loop join = None
    cdef LoopFn join_fn = NULL
    cdef void* join_data = NULL
    if name == "prod" and target.kind == "c":
        join = ufunc_loop(np.multiply, (target,) * 3)
        join_fn, join_data = join.fn, join.data
    cdef Made made = make_scan(name == "prod", number_of(source), number_of(target), outer, n, inner,
                               join_fn, join_data)
    cdef double elements = <double>outer * n * inner
    cdef double per_element = (source.itemsize + target.itemsize) / BYTES_PER_NS + 1.0
    return wrap(made, f"cum{name}", 2, elements * per_element, None, join)


def take_rows(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m):
    """out[j] = x[index[j]]. Operands: x (n, row), index int64 (m) in [0, n), out (m, row)."""
    return wrap(make_take_rows(row_bytes, n, m), "take_rows", 3, m * (2.0 + row_bytes / 4.0), row_errors(n))


def put_rows(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m):
    """out[index[j]] = values[j], the last duplicate wins. Operands: index int64 (m), values (m, row), out (n, row)."""
    return wrap(make_put_rows(row_bytes, n, m), "put_rows", 3, m * (2.0 + row_bytes / 4.0), row_errors(n))


def add_rows(dtype, Py_ssize_t n, Py_ssize_t m, Py_ssize_t row):
    """out[index[j]] += values[j] in the order of j. Operands: index int64 (m), values (m, row), out (n, row)."""
    return wrap(make_add_rows(number_of(dtype), n, m, row), "add_rows", 3,
                m * (2.0 + row * np.dtype(dtype).itemsize / 4.0), row_errors(n))


def row_errors(n):
    """The indices of these kernels come from `flat_index`; an index that does not is caught, not followed."""
    return {kOutOfBounds: (ArrayIndexError, f"index is out of bounds for axis 0 with size {n}")}


def flat_index(dims, Py_ssize_t m, str error="index is out of bounds for axis {axis} with size {extent}", int first=0):
    """Index arrays combined to flat C-order indices into an array of shape `dims`.

    Negative indices count from the end. Operands: one int64 (m) array per axis, out int64 (m). An index out of bounds
    fails with code 1 + axis (ArrayIndexError, the text `error`, where the axes are counted from `first`).
    """
    cdef vector[Py_ssize_t] c_dims
    for extent in dims:
        c_dims.push_back(extent)
    if c_dims.empty():
        raise ValueError("flat_index: at least one axis expected")
    errors = {kOutOfBounds + axis: (ArrayIndexError, error.format(axis=first + axis, extent=extent))
              for axis, extent in enumerate(dims)}
    return wrap(make_flat_index(c_dims, m), "flat_index", len(dims) + 1, m * 1.5 * len(dims), errors)


def check_power(dtype, Py_ssize_t n):
    """Fails with ValueError if one of n integer exponents is negative. Operands: exponents (n)."""
    cdef Made made = make_check_sign(number_of(dtype), n)
    if made.run == NULL:
        raise TypeError(f"check_power: a signed integer dtype expected, not {np.dtype(dtype)}")
    return wrap(made, "check_power", 1, n * 0.3,
                {1: (ValueError, "power: Integers to negative integer powers are not allowed.")})


def philox_words(uint64_t block, uint64_t counter, uint64_t key):
    """The four 32-bit words of one Philox 4x32-10 block, for tests against the published vectors."""
    cdef Words words = philox(block, counter, key)
    return words.w[0], words.w[1], words.w[2], words.w[3]


def simd_level():
    """0, 1 (AVX2) or 2 (AVX-512): the level of the loops compiled here."""
    return cpu_level()
