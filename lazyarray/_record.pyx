"""Arrays: handles whose operations are recorded."""

# Design. Each operator takes the Nodes behind its operands, records one op and wraps the result in a new handle. Whole
# operands of known types take a path without Python calls; others are laid out as NumPy would first (K order). What needs
# Python (advanced indices, foreign operands) goes to the module that `install` names.
# Guarded by the GIL: everything here.

from cpython.object cimport Py_EQ, Py_GT, Py_LE, Py_LT, Py_NE, PyObject

cimport cython
from libc.stdint cimport uint64_t

import numpy as np

cimport numpy as cnp

from lazyarray import _floats, _ir
from lazyarray._handle cimport Handle, check_writeable, fits, k_order, node_of, peek, view_of, wait_for, wrap, write
from lazyarray._handle import from_numpy, same_view, seen, storage_node
from lazyarray._floats cimport mode_now
from lazyarray._ir cimport CONST, PENDING, ElementwiseOp, Node, Op, Recorder, Type, in_front, make, recorder, view_node
from lazyarray._trace cimport spoil, watching
from lazyarray.errors import ArrayIndexError, DTypeError, ShapeError, fail

cdef extern from "Python.h":
    ctypedef struct PyNumberMethods:
        pass
    ctypedef struct PyTypeObject:
        PyNumberMethods* tp_as_number

cnp.import_array()

cdef object silent = _floats.silent
cdef object hooks = None            # array.py: advanced indices, foreign operands
cdef dict operators = _ir.operators
cdef dict products = {}             # the types of two arrays -> (op, attributes, type) where their product is one node

cdef enum:
    PRODUCTS = 4096


def install(module):
    """Set the module that serves what this one hands over, and holds the class of arrays."""
    global hooks
    hooks = module
    # A class made by Python looks each operator up by name: 60 ns. Arrays go straight to those below; it has none itself.
    cdef PyTypeObject* cls = <PyTypeObject*><PyObject*>module.Array
    cls.tp_as_number[0] = (<PyTypeObject*><PyObject*>ArrayBase).tp_as_number[0]


# ---- operands

cdef object operand(object value):
    """A Node or a plain Python number; None where lazyarray does not know the type."""
    if isinstance(value, ArrayBase):
        return node_of(<ArrayBase>value)
    if type(value) is int or type(value) is float or type(value) is complex:
        return value
    return hooks.foreign_operand(value)


cdef bint falling(cnp.ndarray shadow) noexcept:
    # The steps do not grow from axis to axis: K order is C order.
    cdef int axis, ndim = cnp.PyArray_NDIM(shadow)
    cdef cnp.npy_intp step, last = -1
    for axis in range(ndim):
        if cnp.PyArray_DIM(shadow, axis) == 1:
            continue
        step = cnp.PyArray_STRIDE(shadow, axis)
        step = step if step >= 0 else -step
        if step == 0:
            continue
        if last >= 0 and step > last:
            return False
        last = step
    return True


cdef inline bint plain(object value):
    # Arrays in C order and numbers: no layout to be worked out.
    if isinstance(value, ArrayBase):
        shadow = (<ArrayBase>value).shadow
        return shadow is (<ArrayBase>value).storage.node.type.shadow or falling(<cnp.ndarray>shadow)
    return not cnp.PyArray_Check(value) or cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>value)


cdef object elementwise2(object op, object x, object y):
    cdef object a, b
    cdef Node out = None
    if not (plain(x) and plain(y)):
        return k_ordered(op, (x, y))
    a = operand(x)
    if a is None:
        return NotImplemented
    b = operand(y)
    if b is None:
        return NotImplemented
    if isinstance(op, ElementwiseOp):
        try:
            out = (<ElementwiseOp>op).apply2(a, b)
        except OverflowError:
            pass        # a comparison has an answer
    if out is None:
        last = newest()
        out = op(a, b)
        ask_since(last)
    return wrap(out, out.type.ndim == 0)


cdef object product(ArrayBase x, object y):
    # After a large product the caches hold none of Python's data: its rule, run again, would take 60 us instead of 3.
    cdef Node a, b, out
    cdef tuple found
    cdef object key
    if not isinstance(y, ArrayBase):
        return hooks.matmul(x, y)
    a = node_of(x)
    b = node_of(<ArrayBase>y)
    key = (a.type.id << 30) | b.type.id
    found = products.get(key)
    if found is not None:
        out = make(<Op>found[0], (a, b), found[1], <Type>found[2], 0)
    else:
        last = newest()
        out = operators["matmul"](a, b)
        ask_since(last)
        if out.state == PENDING and len(out.inputs) == 2 and out.inputs[0] is a and out.inputs[1] is b:
            if len(products) >= PRODUCTS:
                products.clear()
            products[key] = (out.op, out.attrs, out.type)
    return wrap(out, out.type.ndim == 0)


cdef object elementwise1(Op op, ArrayBase x):
    cdef Node out
    if not plain(x):
        return k_ordered(op, (x,))
    out = (<ElementwiseOp>op).apply1(node_of(x))
    return wrap(out, out.type.ndim == 0)


def apply(op, *values):
    """An elementwise op on arrays and numbers, laid out as NumPy would."""
    cdef list operands = []
    cdef Node out
    for value in values:
        if isinstance(value, ArrayBase) and plain(value):
            operands.append(node_of(<ArrayBase>value))
        elif type(value) is int or type(value) is float:
            operands.append(value)
        else:
            return k_ordered(op, values)
    out = op(*operands)
    return wrap(out, out.type.ndim == 0)


cdef object k_ordered(object op, tuple values):
    # NumPy's K order: axes sorted by the operands' strides. Operands are permuted first, so that the result's Node is
    # C-contiguous under a transposing View.
    cdef list operands = []
    cdef list shadows = []
    cdef Py_ssize_t ndim = 0
    cdef tuple order
    cdef Node out, node
    cdef ArrayBase a, result
    for value in values:
        if cnp.PyArray_CheckExact(value) or (cnp.PyArray_Check(value) and not hooks.overrides(value)):
            ndim = max(ndim, value.ndim)
            shadows.append(value)
            operands.append(from_numpy(value))
            continue
        if not isinstance(value, ArrayBase):
            value = operand(value)
            if value is None:
                return NotImplemented
            if type(value) is Node:
                value = wrap(value, (<Node>value).type.ndim == 0)
        operands.append(value)
        if isinstance(value, ArrayBase):
            ndim = max(ndim, (<ArrayBase>value).shadow.ndim)
            shadows.append((<ArrayBase>value).shadow)
    order = k_order(shadows, ndim)
    if order is None:
        out = op(*[node_of(<ArrayBase>v) if isinstance(v, ArrayBase) else v for v in operands])
        return wrap(out, out.type.ndim == 0)
    nodes = []
    for value in operands:
        if isinstance(value, ArrayBase):
            a = value
            shadow = a.shadow
            if cnp.PyArray_NDIM(<cnp.ndarray>shadow) == ndim:
                shadow = shadow.transpose(order)
            elif cnp.PyArray_NDIM(<cnp.ndarray>shadow):
                shadow = shadow[(None,) * (ndim - shadow.ndim)].transpose(order)
            node = storage_node(a)
            nodes.append(view_node(node, shadow.shape, shadow.strides, a.offset, a.moving, shadow.dtype))
        else:
            nodes.append(value)
    out = op(*nodes)
    result = wrap(out, False)
    return view_of(result, result.shadow.transpose(inverse(order)))


cdef tuple inverse(tuple order):
    cdef list back = [0] * len(order)
    cdef Py_ssize_t place, axis
    for place, axis in enumerate(order):
        back[axis] = place
    return tuple(back)


cdef object basic(object key):
    # 1: ints, slices, None and Ellipsis only; 2: an int for every axis may give a scalar.
    if isinstance(key, (bool, np.bool_)):
        return False
    return key is None or key is Ellipsis or isinstance(key, (int, slice, np.integer))


@cython.no_gc
cdef class ArrayBase(Handle):
    """The recorded part of an array; `lazyarray.array` adds NumPy's protocols."""

    __array_priority__ = 1000.0

    @property
    def shape(self):
        """Extents; writing changes the handle's, where no copy is needed."""
        return self.shadow.shape

    @shape.setter
    def shape(self, value):
        hooks.set_shape(self, value)

    @property
    def dtype(self):
        """The NumPy dtype; writing sees the same memory as another."""
        return self.shadow.dtype

    @dtype.setter
    def dtype(self, value):
        hooks.set_dtype(self, value)

    @property
    def ndim(self):
        """Number of axes."""
        return self.shadow.ndim

    @property
    def size(self):
        """Number of elements."""
        return self.shadow.size

    @property
    def itemsize(self):
        """Bytes of an element."""
        return self.shadow.itemsize

    @property
    def nbytes(self):
        """Bytes of all elements."""
        return self.shadow.nbytes

    @property
    def strides(self):
        """Byte steps along each axis."""
        return self.shadow.strides

    @property
    def flags(self):
        """NumPy's memory-layout flags; writable through `setflags`."""
        return self.shadow.flags

    @property
    def T(self):
        """The transposed view."""
        return seen(self, self.shadow.T)

    def __len__(self):
        return len(self.shadow)

    def __bool__(self):
        return bool(peek(self))

    def __int__(self):
        return int(peek(self))

    def __float__(self):
        return float(peek(self))

    def __complex__(self):
        return complex(peek(self))

    def __index__(self):
        return peek(self).__index__()

    def item(self, *args):
        """One element as a Python number."""
        return peek(self).item(*args)

    def tolist(self):
        """Nested lists of Python numbers."""
        return peek(self).tolist()

    def numpy(self):
        """A NumPy copy of the value."""
        return peek(self).copy()

    def wait(self):
        """Wait until the value is computed; raises what its computation raised. Returns the array."""
        wait_for(self)
        return self

    def __getitem__(self, key):
        cdef bint full
        if type(key) is slice and (<ArrayBase>self).shadow.ndim:
            return view_of(self, (<ArrayBase>self).shadow[key])
        if type(key) is tuple:
            for each in key:
                if not basic(each):
                    return hooks.advanced_read(self, key)
            if any([each is Ellipsis for each in key]):
                return view_of(self, index_shadow(self, key))
            full = len(key) == self.shadow.ndim and not any([each is None or isinstance(each, slice) for each in key])
            shadow = index_shadow(self, key + (Ellipsis,))
        else:
            if not basic(key):
                return hooks.advanced_read(self, key)
            if key is Ellipsis:
                return view_of(self, self.shadow[...])
            full = self.shadow.ndim == 1 and key is not None and not isinstance(key, slice)
            shadow = index_shadow(self, (key, Ellipsis))
        if full:
            return wrap(node_of(view_of(self, shadow)), True)
        return view_of(self, shadow)

    def __setitem__(self, key, value):
        cdef ArrayBase target
        cdef Node node
        cdef bint element
        if self.is_scalar and not hooks.is_flag(key):
            raise TypeError(f"'{self.dtype.name}' scalar does not support item assignment")
        check_writeable(self, "setitem")
        keys = key if type(key) is tuple else (key,)
        for each in keys:
            if not basic(each):
                hooks.advanced_write(self, key, value)
                return
        element = len(keys) == self.shadow.ndim and not any([each is None or isinstance(each, slice) for each in keys])
        if any([each is Ellipsis for each in keys]):
            element = False
        else:
            keys = keys + (Ellipsis,)
        target = view_of(self, index_shadow(self, keys))
        if isinstance(value, ArrayBase) and same_view(target, value):
            return
        node = hooks.value_node(value, target.shadow.dtype)
        if element and node.type.ndim:
            raise ShapeError(f"setitem: setting an array element with a sequence of shape {node.type.shape}")
        write(target, node, "setitem")

    # Arithmetic. Each slot records one op; a foreign operand that we do not know gets its turn.

    def __add__(self, other):
        return elementwise2(operators["add"], self, other)

    def __radd__(self, other):
        return elementwise2(operators["add"], other, self)

    def __sub__(self, other):
        return elementwise2(operators["subtract"], self, other)

    def __rsub__(self, other):
        return elementwise2(operators["subtract"], other, self)

    def __mul__(self, other):
        return elementwise2(operators["multiply"], self, other)

    def __rmul__(self, other):
        return elementwise2(operators["multiply"], other, self)

    def __truediv__(self, other):
        return elementwise2(operators["divide"], self, other)

    def __rtruediv__(self, other):
        return elementwise2(operators["divide"], other, self)

    def __floordiv__(self, other):
        return elementwise2(operators["floor_divide"], self, other)

    def __rfloordiv__(self, other):
        return elementwise2(operators["floor_divide"], other, self)

    def __mod__(self, other):
        return elementwise2(operators["remainder"], self, other)

    def __rmod__(self, other):
        return elementwise2(operators["remainder"], other, self)

    def __divmod__(self, other):
        return self // other, self % other

    def __rdivmod__(self, other):
        return other // self, other % self

    def __pow__(self, other, modulo):
        if modulo is not None:
            return NotImplemented
        return elementwise2(operators["power"], self, other)

    def __rpow__(self, other, modulo):
        return elementwise2(operators["power"], other, self)

    def __matmul__(self, other):
        return product(self, other)

    def __rmatmul__(self, other):
        return hooks.matmul(other, self)

    def __and__(self, other):
        return elementwise2(operators["bitwise_and"], self, other)

    def __rand__(self, other):
        return elementwise2(operators["bitwise_and"], other, self)

    def __or__(self, other):
        return elementwise2(operators["bitwise_or"], self, other)

    def __ror__(self, other):
        return elementwise2(operators["bitwise_or"], other, self)

    def __xor__(self, other):
        return elementwise2(operators["bitwise_xor"], self, other)

    def __rxor__(self, other):
        return elementwise2(operators["bitwise_xor"], other, self)

    def __lshift__(self, other):
        return elementwise2(operators["left_shift"], self, other)

    def __rlshift__(self, other):
        return elementwise2(operators["left_shift"], other, self)

    def __rshift__(self, other):
        return elementwise2(operators["right_shift"], self, other)

    def __rrshift__(self, other):
        return elementwise2(operators["right_shift"], other, self)

    def __neg__(self):
        return elementwise1(operators["negative"], self)

    def __pos__(self):
        return elementwise1(operators["positive"], self)

    def __abs__(self):
        return elementwise1(operators["absolute"], self)

    def __invert__(self):
        return elementwise1(operators["invert"], self)

    def __richcmp__(self, other, int kind):
        if (kind == Py_EQ or kind == Py_NE) and (other is None or isinstance(other, (str, bytes))):
            return hooks.everywhere(self, kind == Py_NE)    # no element is None, or text
        if kind == Py_EQ:
            return elementwise2(operators["equal"], self, other)
        if kind == Py_NE:
            return elementwise2(operators["not_equal"], self, other)
        if kind == Py_LT:
            return elementwise2(operators["less"], self, other)
        if kind == Py_LE:
            return elementwise2(operators["less_equal"], self, other)
        if kind == Py_GT:
            return elementwise2(operators["greater"], self, other)
        return elementwise2(operators["greater_equal"], self, other)

    def __hash__(self):
        if not self.is_scalar:
            raise TypeError(f"unhashable type: '{type(self).__name__}'")
        return hash(peek(self)[()])

    def __iadd__(self, other):
        return inplace("add", self, other)

    def __isub__(self, other):
        return inplace("subtract", self, other)

    def __imul__(self, other):
        return inplace("multiply", self, other)

    def __itruediv__(self, other):
        return inplace("divide", self, other)

    def __ifloordiv__(self, other):
        return inplace("floor_divide", self, other)

    def __imod__(self, other):
        return inplace("remainder", self, other)

    def __ipow__(self, other):
        return inplace("power", self, other)

    def __iand__(self, other):
        return inplace("bitwise_and", self, other)

    def __ior__(self, other):
        return inplace("bitwise_or", self, other)

    def __ixor__(self, other):
        return inplace("bitwise_xor", self, other)

    def __ilshift__(self, other):
        return inplace("left_shift", self, other)

    def __irshift__(self, other):
        return inplace("right_shift", self, other)

    def __imatmul__(self, other):
        result = product(self, other)
        store_result(self, result, "matmul")
        return self


cdef object index_shadow(ArrayBase a, tuple key):
    try:
        return a.shadow[key]
    except IndexError as error:
        raise ArrayIndexError(f"index: {error}, array has shape {a.shadow.shape}") from None


cdef object inplace(str name, ArrayBase a, object other):
    op = operators[name]
    if a.is_scalar:
        return elementwise2(op, a, other)
    check_writeable(a, name)
    result = elementwise2(op, a, other)
    if result is NotImplemented:
        return hooks.inplace_foreign(name, a, other)
    store_result(a, result, name)
    return a


cdef inline bint whole_view(ArrayBase a) noexcept:
    return a.shadow is a.storage.node.type.shadow


cdef int store_result(ArrayBase a, ArrayBase result, str op) except -1:
    """What `out=` does: the result must broadcast to the shape, and have a dtype that may be cast within its kind."""
    check_writeable(a, op)
    if a.storage.node.type is not result.storage.node.type or not (whole_view(a) and whole_view(result)):
        check_output(a.shadow, result.shadow, op)
    write(a, node_of(result), op)
    return 0


def check_output(out, result, str op):
    """Raise what NumPy raises where an `out` of that shape and dtype cannot take the result."""
    if not fits(result.shape, out.shape):
        fail(ShapeError, op, f"non-broadcastable output operand with shape {out.shape} doesn't match the broadcast "
             f"shape {result.shape}", "Write to an array of the result's shape.")
    if not np.can_cast(result.dtype, out.dtype, "same_kind"):
        fail(DTypeError, op, f"cannot cast output from {result.dtype!r} to {out.dtype!r} with casting rule "
             "'same_kind'", "Use an output array of that dtype, or astype.")


def newest():
    """The serial number of what this thread has recorded last and not run; 0 where there is nothing."""
    cdef Recorder rec = recorder()
    return 0 if rec.newest == NULL else (<Node>rec.newest).serial


def ask_since(uint64_t last):
    """Let what was recorded after `last` warn as this moment's errstate says, if the user called this function."""
    cdef Recorder rec = recorder()
    cdef PyObject* at = <PyObject*>rec.newest
    cdef object wanted
    if at == NULL or (<Node>at).serial <= last or not in_front():
        return
    wanted = <object>mode_now()
    if wanted is silent:
        return
    while at != NULL and (<Node>at).serial > last:
        if (<Node>at).floats is silent:
            (<Node>at).floats = wanted
        at = <PyObject*>(<Node>at).before


def writeable(ArrayBase a, str op):
    """Raise ValueError for a read-only View."""
    check_writeable(a, op)


def store(ArrayBase a, ArrayBase result, str op):
    """Write `result` to `a` as `out=` does."""
    store_result(a, result, op)


def become(ArrayBase a, ArrayBase b):
    """Let a handle see what another one sees; those on the same Storage stay as they are."""
    if watching:
        spoil("it changes the shape or dtype of an array in place")
    a.storage = b.storage
    a.shadow = b.shadow
    a.offset = b.offset
    a.moving = b.moving
    a.is_scalar = b.is_scalar


def whole(ArrayBase a):
    """A handle on all of the Storage, in C order."""
    return view_of(a, a.storage.node.type.shadow)


# ---- calls like one before

include "native/record_recall.pxi"


# ---- functions

cdef class UfuncBase:
    """A function that records an op on its inputs; calls with options go to the subclass's `call`."""

    cdef readonly object op
    cdef readonly int nin

    def __init__(self, op, int nin):
        self.op = op
        self.nin = nin

    def __call__(self, *inputs, **options):
        cdef object result = NotImplemented
        cdef object op = self.op
        if len(options) == 0 and len(inputs) == self.nin:
            if self.nin == 2:
                result = self.pair(inputs[0], inputs[1])
            elif isinstance(inputs[0], ArrayBase) and isinstance(op, ElementwiseOp):
                return elementwise1(<Op>op, <ArrayBase>inputs[0])
            elif op is not None:
                result = k_ordered(op, inputs)
            if result is not NotImplemented:
                return result
        before = newest()
        result = self.call(inputs, options)
        ask_since(before)
        return result

    cdef object pair(self, object x, object y):
        return NotImplemented if self.op is None else elementwise2(self.op, x, y)


cdef class ProductBase(UfuncBase):
    """The same of the matrix product."""

    cdef object pair(self, object x, object y):
        return product(<ArrayBase>x, y) if isinstance(x, ArrayBase) else hooks.matmul(x, y)
