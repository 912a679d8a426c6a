"""Arrays: handles whose operations are recorded."""

# Design. Each operator takes the Nodes behind its operands, records one op and wraps the result in a new handle. Whole
# operands of known types take a path without Python calls; others are laid out as NumPy would first (K order). What needs
# Python (advanced indices, foreign operands) goes to the module that `install` names. What is done again and again is known by
# a key of integers: views (record_views.pxi), and what a rule recorded for arrays of some types (record_recall.pxi).
# Guarded by the GIL: everything here.

from cpython.object cimport Py_EQ, Py_GT, Py_LE, Py_LT, Py_NE, PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM

cimport cython
from libc.stdint cimport INT64_MIN, int64_t, uint64_t
from libc.string cimport memcmp, memcpy
from libcpp.vector cimport vector

from types import MethodType

import numpy as np

cimport numpy as cnp

from lazyarray import _floats, _ir
from lazyarray._handle cimport (
    CallKey, Calls, Handle, Met, Seen, at_rest, check_writeable, copy_at_once, fits, k_order, known_view, look, new_view, no_view,
    node_of, peek, spread_over, view_of, wait_for, wrap, write, write_at_once, write_seen,
)
from lazyarray._handle import from_numpy, same_view, storage_node
from lazyarray._handle import seen as seen_as
from lazyarray._floats cimport mode_now
from lazyarray._ir cimport (
    CONST, PENDING, ElementwiseOp, Node, Op, Recorder, Type, constant, constant_like, in_front, make, make_signed, recorder,
    view_node,
)
from lazyarray._trace cimport spoil, watching
from lazyarray.dtypes import canonical
from lazyarray.errors import ArrayIndexError, DTypeError, ShapeError, fail

cdef extern from "Python.h":
    ctypedef struct PySliceObject:
        PyObject* start
        PyObject* stop
        PyObject* step
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) noexcept
    ctypedef struct PyNumberMethods:
        pass
    ctypedef struct PyTypeObject:
        PyNumberMethods* tp_as_number
        void* tp_call
        Py_ssize_t tp_vectorcall_offset
        unsigned long tp_flags
    const unsigned long Py_TPFLAGS_HAVE_VECTORCALL
    const unsigned long Py_TPFLAGS_METHOD_DESCRIPTOR
    Py_ssize_t PyVectorcall_NARGS(size_t flags)
    object PyObject_Vectorcall(object function, PyObject** args, size_t flags, PyObject* names)
    PyObject* Py_True
    PyObject* Py_False
    bint PyLong_CheckExact(PyObject* value) noexcept
    bint PyFloat_CheckExact(PyObject* value) noexcept
    bint PyTuple_CheckExact(PyObject* value) noexcept
    bint PyList_CheckExact(PyObject* value) noexcept
    bint PyUnicode_CheckExact(PyObject* value) noexcept
    PyObject* PyTuple_GET_ITEM(tuple values, Py_ssize_t i) noexcept
    PyObject* PyList_GET_ITEM(list values, Py_ssize_t i) noexcept

cnp.import_array()

cdef object FLOAT64 = canonical("f8"), FLOAT32 = canonical("f4"), INT64 = canonical("i8")
cdef str C_ORDER = "C", K_ORDER = "K"

cdef object silent = _floats.silent
cdef object hooks = None            # array.py: advanced indices, foreign operands
cdef dict operators = _ir.operators
cdef tuple OPERATORS = ()           # those of NAMES, by the numbers below
cdef object array_class = None
cdef object elementwise_class = None
cdef class Recalled
cdef Recalled contractions = None   # what records again what was recorded for arrays of the same types: products of two,
cdef Recalled gathers = None        # reads at one array of indices,
cdef Recalled picks = None          # at one that is known to be in bounds,
cdef Recalled reshapes = None       # copies in another shape,
cdef Recalled casts = None          # and in another dtype
cdef dict composites = {}           # what is made of ops -> the Recalled of it
cdef dict products = {}             # the types of two arrays -> (op, attributes, type) where their product is one node

cdef enum:
    PRODUCTS = 4096

# Operators by number: a look at a dict of names for each takes 5 ns.
cdef enum:
    ADD, SUBTRACT, MULTIPLY, DIVIDE, FLOOR_DIVIDE, REMAINDER, POWER, AND, OR, XOR, LEFT_SHIFT, RIGHT_SHIFT, NEGATIVE, POSITIVE,
    ABSOLUTE, INVERT, LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, GREATER, GREATER_EQUAL, SQUARE

cdef tuple NAMES = (
    "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "power", "bitwise_and", "bitwise_or", "bitwise_xor",
    "left_shift", "right_shift", "negative", "positive", "absolute", "invert", "less", "less_equal", "equal", "not_equal",
    "greater", "greater_equal", "square",
)


def install(module):
    """Set the module that serves what this one hands over, and holds the class of arrays."""
    global hooks, array_class
    hooks = module
    array_class = module.Array
    # A class made by Python looks each operator up by name: 60 ns. Arrays go straight to those below; it has none itself.
    cdef PyTypeObject* cls = <PyTypeObject*><PyObject*>module.Array
    cls.tp_as_number[0] = (<PyTypeObject*><PyObject*>ArrayBase).tp_as_number[0]


def install_operators():
    """Take Python's operators from the registry, once all are defined."""
    global OPERATORS, casts, contractions, elementwise_class, gathers, picks, reshapes
    elementwise_class = type(operators["add"])
    contractions = Recalled(operators["matmul"], True)
    gathers = Recalled(hooks.gathered)
    picks = Recalled(hooks.picked)
    reshapes = Recalled(hooks.layouts.reshaped)
    casts = Recalled(hooks.layouts.converted, True, True)
    OPERATORS = tuple([operators[name] if name in operators else _ir.registry[name] for name in NAMES])


include "native/record_operands.pxi"
include "native/record_order.pxi"
include "native/record_views.pxi"


cdef object number(Handle a):
    """The value of one element, to be made a number: a complex scalar gives its real part and warns, an array refuses."""
    cdef object found = peek(a)
    if a.is_scalar and cnp.PyArray_ISCOMPLEX(<cnp.ndarray>found):
        return found[()]
    return found


@cython.no_gc
cdef class ArrayBase(Handle):
    """The recorded part of an array; `lazyarray.array` adds NumPy's protocols."""

    __array_priority__ = 1000.0

    @property
    def shape(self):
        """Extents; writing changes the handle's, where no copy is needed."""
        return self.storage.node.type.shape if whole_view(self) else self.shadow.shape

    @shape.setter
    def shape(self, value):
        hooks.set_shape(self, value)

    @property
    def dtype(self):
        """The NumPy dtype; writing sees the same memory as another."""
        return (<cnp.ndarray>self.shadow).descr

    @dtype.setter
    def dtype(self, value):
        hooks.set_dtype(self, value)

    @property
    def ndim(self):
        """Number of axes."""
        return cnp.PyArray_NDIM(<cnp.ndarray>self.shadow)

    @property
    def size(self):
        """Number of elements."""
        return cnp.PyArray_SIZE(<cnp.ndarray>self.shadow)

    @property
    def itemsize(self):
        """Bytes of an element."""
        return cnp.PyArray_ITEMSIZE(<cnp.ndarray>self.shadow)

    @property
    def nbytes(self):
        """Bytes of all elements."""
        return cnp.PyArray_NBYTES(<cnp.ndarray>self.shadow)

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
        cdef CallKey at
        cdef Seen known
        if lookable(self):
            begin(at, self, TRANSPOSE)
            known = known_view(self, at)
            if known is None:
                known = new_view(self, at, self.shadow.T, False)
            return look(self, known)
        return seen_as(self, self.shadow.T)

    def reshape(self, *shape, order="C", copy=None):
        """Return the elements in another shape: a view where NumPy gives one, else a copy."""
        cdef CallKey at
        cdef Seen seen
        cdef object found
        if copy is None and order is C_ORDER and lookable(self):
            begin(at, self, RESHAPE)
            if add_shape(at, shape):
                seen = known_view(self, at)
                if seen is not None and seen.shadow is not None:
                    return look(self, seen)
                wanted = shape[0] if len(shape) == 1 else shape
                if seen is None:
                    view = hooks.layouts.reshaped_view(self.shadow, wanted)
                    if view is not None:
                        return look(self, new_view(self, at, view, False))
                    no_view(self, at)
                found = reshapes.pair(self, wanted)
                if found is not NotImplemented:
                    return found
        return hooks.layouts.reshape(self, shape, order, copy)

    def transpose(self, *axes):
        """Return a view with permuted axes."""
        cdef CallKey at
        cdef Seen seen
        if lookable(self):
            begin(at, self, PERMUTE)
            if (len(axes) == 1 and axes[0] is None) or add_shape(at, axes):
                seen = known_view(self, at)
                if seen is None:
                    seen = new_view(self, at, hooks.layouts.permuted_view(self.shadow, axes), False)
                return look(self, seen)
        return seen_as(self, hooks.layouts.permuted_view(self.shadow, axes))

    def swapaxes(self, axis1, axis2):
        """Return a view with two axes interchanged."""
        cdef CallKey at
        cdef Seen seen
        if lookable(self):
            begin(at, self, SWAP)
            if add_int(at, axis1) and add_int(at, axis2):
                seen = known_view(self, at)
                if seen is None:
                    seen = new_view(self, at, hooks.layouts.swapped_view(self.shadow, axis1, axis2), False)
                return look(self, seen)
        return seen_as(self, hooks.layouts.swapped_view(self.shadow, axis1, axis2))

    def ravel(self, order="C"):
        """Return the elements in one axis: a view of contiguous data, else a copy."""
        cdef CallKey at
        cdef Seen seen
        if order is C_ORDER and lookable(self):
            begin(at, self, RAVEL)
            seen = known_view(self, at)
            if seen is not None:
                return look(self, seen)
            if cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>self.shadow):
                return look(self, new_view(self, at, self.shadow.reshape(-1), False))
        if order is C_ORDER and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>self.shadow):
            return self.reshape(-1)
        return hooks.layouts.ravel(self, order)

    def copy(self, order="C"):
        """Return a copy in C or Fortran order, or with ``order="K"`` in this array's own.

        'A' is Fortran order where the array has that and not C order.
        """
        if order is C_ORDER and quick(self) and self.storage.node.type.ndim and letter(self) != c"b":
            return elementwise1(OPERATORS[POSITIVE], self)
        return hooks.layouts.copy(self, order)

    def astype(self, dtype, order="K", casting="unsafe", subok=True, copy=True):
        """Return the elements converted to `dtype`, in the memory order asked for.

        Raises
        ------
        TypeError
            Where `casting` does not allow the conversion.
        """
        if order is K_ORDER and casting == "unsafe" and quick(self) and self.storage.node.type.ndim:
            found = casts.pair(self, dtype)
            if found is not NotImplemented:
                return found
        return hooks.layouts.astype(self, dtype, order, casting, subok, copy)

    def __len__(self):
        if cnp.PyArray_NDIM(<cnp.ndarray>self.shadow) == 0:
            raise TypeError("len() of unsized object")
        return cnp.PyArray_DIM(<cnp.ndarray>self.shadow, 0)

    def __bool__(self):
        return bool(peek(self))

    def __int__(self):
        return int(number(self))

    def __float__(self):
        return float(number(self))

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
        cdef CallKey at
        cdef Seen seen
        cdef bint element = False
        if type(key) is array_class:
            if quick(self) and quick(key) and letter(<ArrayBase>key) in (c"i", c"u"):
                found = (picks if in_bounds(self, <ArrayBase>key) else gathers).pair(self, key)
                if found is not NotImplemented:
                    return found
        elif lookable(self):
            begin(at, self, INDEX)
            if add_index(at, key):
                seen = known_view(self, at)
                if seen is None:
                    shadow = indexed(self, key, &element)
                    seen = new_view(self, at, shadow, element)
                return look(self, seen)
        if not is_basic(key):
            return hooks.advanced_read(self, key)
        shadow = indexed(self, key, &element)
        return wrap(node_of(view_of(self, shadow)), True) if element else view_of(self, shadow)

    def __setitem__(self, key, value):
        cdef ArrayBase target
        cdef CallKey at
        cdef Seen seen
        cdef Node node
        cdef bint element = False
        if self.is_scalar and not hooks.is_flag(key):
            raise TypeError(f"'{self.dtype.name}' scalar does not support item assignment")
        check_writeable(self, "setitem")
        if type(self) is array_class and not watching and not self.storage.pins:
            begin(at, self, INDEX)
            if add_index(at, key):
                seen = known_view(self, at)
                if seen is None:
                    shadow = indexed(self, key, &element)
                    seen = new_view(self, at, shadow, element)
                if set_quickly(self, seen, value):
                    return
        if not is_basic(key):
            hooks.advanced_write(self, key, value)
            return
        target = view_of(self, indexed(self, key, &element))
        if isinstance(value, ArrayBase) and same_view(target, value):
            return
        node = hooks.value_node(value, target.shadow.dtype)
        if element and node.type.ndim:
            raise ShapeError(f"setitem: setting an array element with a sequence of shape {node.type.shape}")
        write(target, node, "setitem")

    # Arithmetic. Each slot records one op; a foreign operand that we do not know gets its turn.

    def __add__(self, other):
        return elementwise2(OPERATORS[ADD], self, other)

    def __radd__(self, other):
        return elementwise2(OPERATORS[ADD], other, self)

    def __sub__(self, other):
        return elementwise2(OPERATORS[SUBTRACT], self, other)

    def __rsub__(self, other):
        return elementwise2(OPERATORS[SUBTRACT], other, self)

    def __mul__(self, other):
        return elementwise2(OPERATORS[MULTIPLY], self, other)

    def __rmul__(self, other):
        return elementwise2(OPERATORS[MULTIPLY], other, self)

    def __truediv__(self, other):
        return elementwise2(OPERATORS[DIVIDE], self, other)

    def __rtruediv__(self, other):
        return elementwise2(OPERATORS[DIVIDE], other, self)

    def __floordiv__(self, other):
        return elementwise2(OPERATORS[FLOOR_DIVIDE], self, other)

    def __rfloordiv__(self, other):
        return elementwise2(OPERATORS[FLOOR_DIVIDE], other, self)

    def __mod__(self, other):
        return elementwise2(OPERATORS[REMAINDER], self, other)

    def __rmod__(self, other):
        return elementwise2(OPERATORS[REMAINDER], other, self)

    def __divmod__(self, other):
        return self // other, self % other

    def __rdivmod__(self, other):
        return other // self, other % self

    def __pow__(self, other, modulo):
        if modulo is not None:
            return NotImplemented
        if quick(self) and (type(other) is int or (type(other) is float and letter(self) == c"f")):
            if other == 2 and letter(self) in (c"i", c"u", c"f"):      # as the operator's rule has it
                return elementwise1(OPERATORS[SQUARE], self)
        return elementwise2(OPERATORS[POWER], self, other)

    def __rpow__(self, other, modulo):
        return elementwise2(OPERATORS[POWER], other, self)

    def __matmul__(self, other):
        return product(self, other)

    def __rmatmul__(self, other):
        return hooks.matmul(other, self)

    def __and__(self, other):
        return elementwise2(OPERATORS[AND], self, other)

    def __rand__(self, other):
        return elementwise2(OPERATORS[AND], other, self)

    def __or__(self, other):
        return elementwise2(OPERATORS[OR], self, other)

    def __ror__(self, other):
        return elementwise2(OPERATORS[OR], other, self)

    def __xor__(self, other):
        return elementwise2(OPERATORS[XOR], self, other)

    def __rxor__(self, other):
        return elementwise2(OPERATORS[XOR], other, self)

    def __lshift__(self, other):
        return elementwise2(OPERATORS[LEFT_SHIFT], self, other)

    def __rlshift__(self, other):
        return elementwise2(OPERATORS[LEFT_SHIFT], other, self)

    def __rshift__(self, other):
        return elementwise2(OPERATORS[RIGHT_SHIFT], self, other)

    def __rrshift__(self, other):
        return elementwise2(OPERATORS[RIGHT_SHIFT], other, self)

    def __neg__(self):
        return elementwise1(OPERATORS[NEGATIVE], self)

    def __pos__(self):
        return elementwise1(OPERATORS[POSITIVE], self)

    def __abs__(self):
        return elementwise1(OPERATORS[ABSOLUTE], self)

    def __invert__(self):
        return elementwise1(OPERATORS[INVERT], self)

    def __richcmp__(self, other, int kind):
        if (kind == Py_EQ or kind == Py_NE) and (other is None or isinstance(other, (str, bytes))):
            return hooks.everywhere(self, kind == Py_NE)    # no element is None, or text
        if kind == Py_EQ:
            return elementwise2(OPERATORS[EQUAL], self, other)
        if kind == Py_NE:
            return elementwise2(OPERATORS[NOT_EQUAL], self, other)
        if kind == Py_LT:
            return elementwise2(OPERATORS[LESS], self, other)
        if kind == Py_LE:
            return elementwise2(OPERATORS[LESS_EQUAL], self, other)
        if kind == Py_GT:
            return elementwise2(OPERATORS[GREATER], self, other)
        return elementwise2(OPERATORS[GREATER_EQUAL], self, other)

    def __hash__(self):
        if not self.is_scalar:
            raise TypeError(f"unhashable type: '{type(self).__name__}'")
        return hash(peek(self)[()])

    def __iadd__(self, other):
        return inplace(ADD, self, other)

    def __isub__(self, other):
        return inplace(SUBTRACT, self, other)

    def __imul__(self, other):
        return inplace(MULTIPLY, self, other)

    def __itruediv__(self, other):
        return inplace(DIVIDE, self, other)

    def __ifloordiv__(self, other):
        return inplace(FLOOR_DIVIDE, self, other)

    def __imod__(self, other):
        return inplace(REMAINDER, self, other)

    def __ipow__(self, other):
        return inplace(POWER, self, other)

    def __iand__(self, other):
        return inplace(AND, self, other)

    def __ior__(self, other):
        return inplace(OR, self, other)

    def __ixor__(self, other):
        return inplace(XOR, self, other)

    def __ilshift__(self, other):
        return inplace(LEFT_SHIFT, self, other)

    def __irshift__(self, other):
        return inplace(RIGHT_SHIFT, self, other)

    def __imatmul__(self, other):
        result = product(self, other)
        store_result(self, result, "matmul")
        return self


include "native/record_writing.pxi"


cpdef uint64_t newest():
    """The serial number of what this thread has recorded last and not run; 0 where there is nothing."""
    cdef Recorder rec = recorder()
    return 0 if rec.newest == NULL else (<Node>rec.newest).serial


cpdef int ask_since(uint64_t last) except -1:
    """Let what was recorded after `last` warn as this moment's errstate says, if the user called this function."""
    cdef Recorder rec = recorder()
    cdef PyObject* at = <PyObject*>rec.newest
    cdef object wanted
    if at == NULL or (<Node>at).serial <= last or not in_front():
        return 0
    wanted = <object>mode_now()
    if wanted is silent:
        return 0
    while at != NULL and (<Node>at).serial > last:
        if (<Node>at).floats is silent:
            (<Node>at).floats = wanted
        at = <PyObject*>(<Node>at).before
    return 0


# ---- calls like one before

include "native/record_recall.pxi"
include "native/record_functions.pxi"


# ---- functions

include "native/record_ufuncs.pxi"
