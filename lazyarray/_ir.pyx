"""Nodes: the typed, immutable values that programs are recorded as."""

# Design. A Node is an op applied to Nodes, with attributes (structure) and at most one byte offset (data). Nodes are never
# changed, only issued: given the buffer that pushed tasks will fill, after which the inputs are dropped unless a tape wants
# them. They make no cycles, so they stay out of the garbage collector; long chains are freed by a loop (see `dying`).
# Types (shape, dtype) and signatures (op, attributes, type) are interned to integers, of which plan keys are made; an
# integer is never used twice, so a table may be emptied when it grows too large: that costs plan hits only.
# Guarded by the GIL: everything here. Each thread records into its own Recorder, which links that thread's pending nodes
# in order, borrowed: a node unlinks itself when it is issued or freed.

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.math cimport INFINITY, fabs, fabsf
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy
from libcpp.vector cimport vector

import os
import threading

import numpy as np

from lazyarray import _floats
from lazyarray._floats cimport mode_now
from lazyarray._memory cimport Buffer
from lazyarray._trace cimport active, watching
from lazyarray.dtypes import BFLOAT16, NUMBER, canonical, loop_dtypes
from lazyarray.errors import DeviceError, DTypeError, ShapeError, fail

cdef extern from *:
    """
    static thread_local PyObject* la_recorder = nullptr;
    """
    PyObject* la_recorder

cdef extern from "frames.hpp" namespace "la":
    cppclass Frames:
        Frames() except +
        bint there() noexcept
        PyCodeObject* code() noexcept
        int lasti() noexcept
        void up() noexcept
    cppclass KnownCode:
        int kind(PyCodeObject* code) noexcept
        void set(PyCodeObject* code, int kind) noexcept

cdef extern from *:
    """
    #include "spare.hpp"
    struct la_node_tag;
    using la_spare_nodes = la::Spare<la_node_tag>;
    """
    cppclass SpareNodes "la_spare_nodes":
        @staticmethod
        void serve(PyTypeObject* type) noexcept

cdef extern from "Python.h":
    ctypedef struct PyTypeObject
    ctypedef struct PyCodeObject:
        PyObject* co_filename
    int PyCode_Addr2Line(PyCodeObject* code, int lasti)
    Py_ssize_t Py_REFCNT(PyObject* o)
    PyObject* PyTuple_GET_ITEM(tuple t, Py_ssize_t i)

cdef enum:
    TABLE_LIMIT = 200_000
    REPEATED = 64           # ops that computing a value again may take
    WEAK_INT = 1
    WEAK_FLOAT = 2
    WEAK_COMPLEX = 3

cdef dict types = {}
cdef dict signatures = {}
cdef int64_t next_type = 16         # below: weak Python numbers
cdef int64_t next_signature = 1
cdef uint64_t next_serial = 1
cdef int next_op = 1
cdef KnownCode known_code           # whose it is
cdef str home = os.path.dirname(os.path.abspath(__file__)) + os.sep
FRONT = {
    "array.py", "composed.py", "device.py", "edges.py", "functions.py", "hosted.py", "lift.py", "linalg.py", "methods.py",
    "reductions.py", "signatures.py", "ufunc.py", "ufunc_calls.py", "writers.py",
}
cdef object threads = threading.local()

registry = {}                       # op name -> Op or composite function; ops/ fills it
operators = {}                      # Python operator name -> op; ops/ fills it
cdef object silent = _floats.silent
cdef object number_class = None     # of numbers that are data while a call is traced
cdef Py_ssize_t records = 0
cdef Py_ssize_t tape_bytes = 0      # of values that have run and that a tape holds


# ---- types and signatures

@cython.final
@cython.no_gc
cdef class Type:
    """A shape and a dtype."""

    def __repr__(self):
        return f"{self.dtype}{list(self.shape)}"


cdef Type type_of(tuple shape, object dtype):
    global next_type
    cdef tuple key = (shape, dtype)
    cdef Type found = types.get(key)
    cdef Py_ssize_t extent, size = 1
    if found is not None:
        return found
    if len(types) > TABLE_LIMIT:
        types.clear()
    found = Type.__new__(Type)
    found.id = next_type
    next_type += 1
    found.shape = shape
    found.dtype = dtype
    found.number = NUMBER[dtype]
    found.ndim = <int>len(shape)
    for extent in shape:
        if extent and size > (<Py_ssize_t>1 << 60) // extent:
            raise ShapeError(f"shape {shape} has more elements than can be addressed")
        size *= extent
    found.size = size
    found.itemsize = dtype.itemsize
    found.nbytes = size * found.itemsize
    types[key] = found
    return found


cdef inline Type scalar_type(object dtype):
    # Of numbers, which are made all the time.
    if dtype is not scalar_last.dtype:
        return other_scalar_type(dtype)
    return scalar_last


cdef Type other_scalar_type(object dtype):
    global scalar_last
    scalar_last = type_of((), dtype)
    return scalar_last


cdef int64_t signature(Op op, object attrs, Type type):
    global next_signature
    cdef tuple key = (op.id, attrs, type.id)
    found = signatures.get(key)
    if found is not None:
        return found
    if len(signatures) > TABLE_LIMIT:
        signatures.clear()
    next_signature += 1
    signatures[key] = next_signature
    return next_signature


cdef object FLOAT32 = canonical("f4"), FLOAT64 = canonical("f8"), INT64 = canonical("i8")
cdef Type scalar_last = type_of((), FLOAT64)    # the type of the number made last


# ---- ops

cdef class Op:
    """The record of an operation. `ops/` makes one for each, and hangs kernel, gradient and docstring on it."""

    def __init__(self, str name, int kind, *, bint dear=False, bint fallible=False):
        global next_op
        if name in registry:
            raise ValueError(f"op {name!r} is defined twice")
        self.id = next_op
        next_op += 1
        self.kind = kind
        self.name = name
        self.dear = dear
        self.fallible = fallible
        registry[name] = self

    def __repr__(self):
        return f"<op {self.name}>"

    def __reduce__(self):
        return named, (self.name,)

    def node(self, tuple inputs, tuple shape, object dtype, object attrs=None):
        """Record this op on `inputs` with the given result type."""
        return make(self, inputs, attrs, type_of(shape, dtype), 0)


def named(str name):
    """The registered op or composite of that name."""
    return registry[name]


include "native/ir_elementwise.pxi"
include "native/ir_devices.pxi"


# ---- nodes

cdef inline bint any_dies(tuple inputs) noexcept:
    # Whether letting go of these may free one of them, which frees others.
    cdef Py_ssize_t i, n = len(inputs)
    for i in range(n):
        if Py_REFCNT(PyTuple_GET_ITEM(inputs, i)) <= n:
            return True
    return False


cdef vector[PyObject*] dying
cdef bint draining = False


cdef void drop_inputs(Node node) noexcept:
    # Frees a graph by a loop: a chain of a million nodes must not use the C stack.
    global draining
    Py_INCREF(node.inputs)
    dying.push_back(<PyObject*>node.inputs)
    node.inputs = ()
    if draining:
        return
    draining = True
    cdef PyObject* next_dead
    while not dying.empty():
        next_dead = dying.back()
        dying.pop_back()
        Py_XDECREF(next_dead)
    draining = False


@cython.final
@cython.no_gc
cdef class Node:
    """An immutable typed value."""

    def __dealloc__(self):
        global tape_bytes
        if self.taped and self.state == ISSUED:
            tape_bytes -= self.type.nbytes
        if self.recorder is not None:
            unlink(self)
        if self.inputs is not None and any_dies(self.inputs):
            drop_inputs(self)

    @property
    def shape(self):
        return self.type.shape

    @property
    def dtype(self):
        return self.type.dtype

    @property
    def ndim(self):
        return self.type.ndim

    @property
    def device(self):
        """The number of the device where its value lies."""
        return self.type.device

    @property
    def size(self):
        return self.type.size

    @property
    def tracked(self):
        """Whether a gradient is wanted through this node."""
        return self.taped or self.variable is not None or self.released

    @property
    def site(self):
        """(file, line) where it was recorded, or None."""
        if self.code is None:
            return None
        return self.code.co_filename, PyCode_Addr2Line(<PyCodeObject*>self.code, self.lasti)

    @property
    def where(self):
        """The site as the text 'file:line'."""
        site = self.site
        return "?" if site is None else f"{site[0]}:{site[1]}"

    @property
    def raw_site(self):
        return self.code, self.lasti

    @property
    def value(self):
        """The number a constant node holds, as a NumPy scalar."""
        if self.state != CONST:
            return None
        if watching and active() is not None:
            active().looked(self.serial)
        return np.frombuffer(self.number[:self.type.itemsize], self.type.dtype)[0]

    def __repr__(self):
        name = self.op.name if self.op is not None else ("constant", "leaf")[self.state == ISSUED]
        return f"<{name} {self.type!r}>"

    def __add__(self, other):
        return operators["add"](self, other)

    def __radd__(self, other):
        return operators["add"](other, self)

    def __sub__(self, other):
        return operators["subtract"](self, other)

    def __rsub__(self, other):
        return operators["subtract"](other, self)

    def __mul__(self, other):
        return operators["multiply"](self, other)

    def __rmul__(self, other):
        return operators["multiply"](other, self)

    def __truediv__(self, other):
        return operators["divide"](self, other)

    def __rtruediv__(self, other):
        return operators["divide"](other, self)

    def __pow__(self, other, modulo):
        return operators["power"](self, other)

    def __rpow__(self, other, modulo):
        return operators["power"](other, self)

    def __matmul__(self, other):
        return operators["matmul"](self, other)

    def __neg__(self):
        return operators["negative"](self)

    def __lt__(self, other):
        return operators["less"](self, other)

    def __le__(self, other):
        return operators["less_equal"](self, other)

    def __gt__(self, other):
        return operators["greater"](self, other)

    def __ge__(self, other):
        return operators["greater_equal"](self, other)


SpareNodes.serve(<PyTypeObject*>Node)


cdef inline void unlink(Node node) noexcept:
    cdef Recorder rec = node.recorder
    if node.before != NULL:
        (<Node>node.before).after = node.after
    else:
        rec.oldest = node.after
    if node.after != NULL:
        (<Node>node.after).before = node.before
    else:
        rec.newest = node.before
    rec.count -= 1
    rec.nbytes -= value_bytes(node)
    rec.flops -= work(node)
    node.recorder = None
    node.before = NULL
    node.after = NULL


cdef inline Py_ssize_t value_bytes(Node node) noexcept:
    # An update counts its value, not its Storage.
    if node.op.kind == UPDATE and len(node.inputs) == 2:
        return (<Node>node.inputs[1]).type.nbytes
    if node.op.kind == VIEW:
        return 0
    return node.type.nbytes


cdef inline double work(Node node) noexcept:
    cdef Type a
    if node.op.dear and len(node.inputs):
        a = (<Node>node.inputs[0]).type
        if len(node.inputs) > 1 and a.ndim:      # as a contraction over the last axis
            return 2.0 * node.type.size * <Py_ssize_t>a.shape[a.ndim - 1]
        return max(node.type.size, a.size)
    return node.type.size


include "native/ir_places.pxi"


cdef Node make(Op op, tuple inputs, object attrs, Type type, Py_ssize_t offset):
    return make_signed(op, inputs, attrs, type, offset, signature(op, attrs, type))


cdef inline Node make_typed(ElementwiseOp op, tuple inputs, Type type, int64_t sig):
    return make_signed(op, inputs, None, type, 0, sig)


cdef Node make_signed(Op op, tuple inputs, object attrs, Type type, Py_ssize_t offset, int64_t sig):
    global next_serial, records
    cdef PyObject* rec = la_recorder if la_recorder != NULL else first_recorder()
    cdef Node node = Node.__new__(Node)
    cdef PyObject* each
    cdef PyObject* mode
    cdef Py_ssize_t i
    if several_devices and op is not TRANSFER:
        inputs, type, node.loose = placed(op, inputs, type, <Recorder>rec)
        sig = signature(op, attrs, type)
    node.op = op
    node.inputs = inputs
    node.attrs = attrs
    node.type = type
    node.offset = offset
    node.sig = sig
    node.state = PENDING
    node.serial = next_serial
    next_serial += 1
    records += 1
    for i in range(len(inputs)):
        each = PyTuple_GET_ITEM(inputs, i)
        if (<Node>each).pinned:
            node.pinned = True
        if (<Recorder>rec).recording and ((<Node>each).taped or (<Node>each).variable is not None or (<Node>each).released):
            node.taped = True
    # The user's own ops warn as NumPy's; what lazyarray records on its way to something else does not.
    if not capture(node, <Recorder>rec):
        node.floats = silent
    else:
        mode = mode_now()
        if mode != <PyObject*>None:
            node.floats = <object>mode
    link(node, <Recorder>rec)
    return node


cdef inline void link(Node node, Recorder rec) noexcept:
    # As the newest.
    cdef void* last = rec.newest
    node.recorder = rec
    node.before = last
    rec.newest = <void*>node
    if last != NULL:
        (<Node>last).after = <void*>node
    else:
        rec.oldest = <void*>node
    rec.count += 1
    rec.nbytes += value_bytes(node)
    rec.flops += work(node)


cdef Node constant(object value, object dtype):
    global next_serial
    cdef Node node = Node.__new__(Node)
    node.inputs = ()
    node.type = scalar_type(dtype)
    node.state = CONST
    node.serial = next_serial
    next_serial += 1
    # The common dtypes by hand: the way through NumPy takes a microsecond.
    if dtype is FLOAT32 and (type(value) is float or (type(value) is int and -16777216 <= value <= 16777216)):
        (<float*>node.number)[0] = <float><double>value
        if fabsf((<float*>node.number)[0]) == INFINITY and fabs(<double>value) != INFINITY:
            np.array(value, dtype)      # which warns of the overflow
        return node
    if dtype is FLOAT64:
        (<double*>node.number)[0] = value
        return node
    if dtype is INT64 and type(value) is int:
        (<int64_t*>node.number)[0] = value
        return node
    if dtype is BFLOAT16 and type(value) is int:
        value = float(value)            # ml_dtypes takes integers of 64 bits only
    cdef bytes raw = np.array(value, dtype).tobytes()
    memcpy(node.number, <char*>raw, len(raw))
    return node


cdef Node constant_like(Node node):
    """Another node for the same number."""
    global next_serial
    cdef Node out = Node.__new__(Node)
    out.inputs = ()
    out.type = node.type
    out.state = CONST
    out.serial = next_serial
    next_serial += 1
    memcpy(out.number, node.number, 16)
    return out


cdef Node leaf(Type type, Buffer buffer):
    global next_serial
    cdef Node node = Node.__new__(Node)
    node.inputs = ()
    node.type = type
    node.state = ISSUED
    node.buffer = buffer
    node.serial = next_serial
    next_serial += 1
    return node


cdef Node leaf_like(Node node, Buffer buffer):
    """A leaf of the same type, from the same line."""
    cdef Node out = leaf(node.type, buffer)
    out.code = node.code
    out.lasti = node.lasti
    return out


def placeholder(tuple shape, dtype, int device=0):
    """A typed leaf without a value, for programs that are bound later."""
    cdef Node node = leaf(on_device(type_of(shape, canonical(dtype)), device), None)
    node.state = PLACEHOLDER
    return node


cdef void settle(Node node) noexcept:
    # It has been through a flush: not pending work any more, whether or not it was kept.
    if node.recorder is not None:
        unlink(node)
    if not node.taped and node.state == ISSUED:
        if len(node.inputs):
            drop_inputs(node)


cdef void issue(Node node, Buffer buffer) noexcept:
    global tape_bytes
    if node.taped:
        tape_bytes += node.type.nbytes
    node.buffer = buffer
    node.state = ISSUED
    settle(node)


def release_tape(Node node):
    """Forget that `node` was recorded for a gradient."""
    global tape_bytes
    if node.taped and node.state == ISSUED:
        tape_bytes -= node.type.nbytes
    node.released = node.taped or node.released
    node.taped = False
    if node.state == ISSUED:
        settle(node)


cdef void locate(Node node) noexcept:
    """Note the user's line as that of a value which no op has made."""
    capture(node, recorder())


cdef bint repeatable(Node node) noexcept:
    # Whether its value can be computed again, cheaply, to the same bits.
    cdef vector[PyObject*] todo
    cdef Node at, source
    cdef int left = REPEATED
    todo.push_back(<PyObject*>node)
    while not todo.empty():
        at = <Node>todo.back()
        todo.pop_back()
        left -= 1
        if left < 0 or at.op is None or at.op.dear or at.op.fallible:
            return False
        for each in at.inputs:
            source = <Node>each
            if source.state == PENDING:
                todo.push_back(<PyObject*>source)
            elif source.state == PLACEHOLDER:
                return False
            elif source.state == ISSUED and (source.buffer.size_class == -1 or source.buffer.owner is not None):
                return False        # seen from outside, where it may have been written since
    return True


def forget_value(Node node):
    """Give up a value that a tape holds and that is computed again when it is wanted; bytes that this frees."""
    global tape_bytes
    cdef Py_ssize_t freed
    if (node.state != ISSUED or not node.taped or node.pinned or node.variable is not None or len(node.inputs) == 0
            or node.buffer.size_class < 0 or Py_REFCNT(<PyObject*>node.buffer) != 1 or not repeatable(node)):
        return 0
    freed = node.buffer.capacity
    tape_bytes -= node.type.nbytes
    node.state = PENDING
    node.buffer = None
    return freed


# ---- views

cdef tuple contiguous(tuple shape, Py_ssize_t itemsize):
    cdef Py_ssize_t stride = itemsize, extent
    cdef list out = []
    if len(shape) == 1:
        return (itemsize,)
    for extent in reversed(shape):
        out.append(stride)
        stride *= extent if extent > 1 else 1
    out.reverse()
    return tuple(out)


def c_strides(tuple shape, Py_ssize_t itemsize):
    """Byte strides of a C-contiguous array."""
    return contiguous(shape, itemsize)


cdef Op VIEW_OP = Op("view", VIEW)
cdef Op CAST_OP = None


cdef Node view_node(Node base, tuple shape, tuple strides, Py_ssize_t offset, bint moving, object dtype):
    if (shape == base.type.shape and dtype is base.type.dtype
            and (not moving or offset == 0) and strides == contiguous(shape, base.type.itemsize)):
        return base
    return make(VIEW_OP, (base,), (strides, moving), type_of(shape, dtype), offset)


def view(Node base, tuple shape, tuple strides, Py_ssize_t offset=0, moving=False, dtype=None):
    """The value seen through a View: byte `strides` and `offset` into C-contiguous `base`.

    `moving` says that the offset is data, which the plan reads anew at every turn; otherwise it must be 0.
    """
    return view_node(base, shape, strides, offset, moving, base.type.dtype if dtype is None else dtype)


def cast(Node node, dtype):
    """`node` converted to `dtype`; itself where it has it already."""
    global CAST_OP
    if node.type.dtype is dtype:
        return node
    if CAST_OP is None:
        CAST_OP = registry["cast"]
    return make(CAST_OP, (node,), None, type_of(node.type.shape, dtype), 0)


def scalar(value, dtype):
    """A constant node: a number of the given dtype. Numbers are data, never structure."""
    return constant(value, canonical(dtype))


def offset_node(Op op, tuple inputs, tuple shape, dtype, attrs, Py_ssize_t offset):
    """Record an op that carries a byte offset as data."""
    return make(op, inputs, attrs, type_of(shape, dtype), offset)


include "native/ir_recorders.pxi"


def counters():
    """Nodes recorded in this process, and bytes of values held by tapes."""
    return {"records": records, "tape_bytes": tape_bytes}
