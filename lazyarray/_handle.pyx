"""Handles on storages: what an array is, before it has operations."""

# Design. An Array is a Storage and a View. The View is a *shadow*: an ndarray with the View's shape, strides and dtype over
# an address that is never read. Every basic index, reshape and transpose is done by NumPy on the shadow, so NumPy's rules
# for what aliases what hold by construction. The Storage holds the current Node; writing replaces it, reading goes
# through it. A handle whose shadow is its node type's own is whole: it reads the Node itself.
# Guarded by the GIL: everything here. A Storage whose buffer has been exported is pinned: what reads it runs as it is
# recorded, what is written to it lands in the exported buffer before the call returns.

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy

import warnings
import weakref

import numpy as np
from numpy.exceptions import ComplexWarning

cimport numpy as cnp

from lazyarray import _ir
from lazyarray import device as devices
from lazyarray._bind cimport flush_live, flush_nodes, numpy_view, observe_node
from lazyarray._engine cimport var_idle, var_poisoned, var_settle, var_wait, var_written
from lazyarray._ir cimport (
    CONST, ISSUED, PENDING, Node, Op, Recorder, Type, at_home, constant, contiguous, leaf, leaf_like, locate, make,
    make_signed, on_device, recorder, signature, transfer_node, type_of, view_node,
)
from lazyarray._memory cimport Buffer, device_buffer, foreign_buffer, new_buffer
from lazyarray._trace cimport active, alive, spoil, watching
from lazyarray.dtypes import canonical
from lazyarray.errors import ShapeError, fail

cnp.import_array()

cdef extern from "ndarray.hpp":
    object la_ndarray(object descr, int nd, const cnp.npy_intp* dims, const cnp.npy_intp* strides, void* data, int flags)

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* o)
    ctypedef object (*newfunc)(type cls, object args, PyObject* kwargs)
    ctypedef struct PyTypeObject:
        newfunc tp_new
        unsigned long tp_flags
        void* tp_traverse
        void* tp_clear
        void (*tp_free)(void*)
    const unsigned long Py_TPFLAGS_HAVE_GC
    void PyType_Modified(PyTypeObject*)

cdef extern from *:
    """
    #include "spare.hpp"
    struct la_storage_tag;
    struct la_array_tag;
    using la_spare_storages = la::Spare<la_storage_tag>;
    using la_spare_arrays = la::Spare<la_array_tag>;
    """
    cppclass SpareStorages "la_spare_storages":
        @staticmethod
        void serve(PyTypeObject* type) noexcept
    cppclass SpareArrays "la_spare_arrays":
        @staticmethod
        void serve(PyTypeObject* type) noexcept

cdef enum:
    NODE_LIMIT = 4096               # pending work of a thread past which it is flushed: nodes,
    TRACE_LIMIT = 100_000           # nodes of a traced call past which it is no trace any more

cdef Py_ssize_t BYTE_LIMIT = <Py_ssize_t>1 << 30     # bytes of values,
cdef double FLOP_LIMIT = 4e9        # and floating-point operations (about 20 ms on two cores)
cdef uintptr_t BASE = <uintptr_t>1 << 44     # where shadows pretend to lie
cdef object array_class = None
cdef object cut_short = None        # a weak reference to the array whose wait for a buffer Ctrl-C ended
cdef tuple NO_ARGUMENTS = ()
cdef Op VIEW_NODE = _ir.registry["view"]
cdef Op UPDATE_NODE = None          # which ops/ defines: see `install`
cdef object EXPORTED = True         # the owner of a buffer that may have been written from outside


def install(cls):
    """Set the class of new arrays."""
    global array_class, UPDATE_NODE
    cdef PyTypeObject* kind = <PyTypeObject*>cls
    array_class = cls
    UPDATE_NODE = _ir.registry["update"]
    # A class made by Python is the collector's, at a tenth of what an array costs, even if its instances hold nothing but
    # what its base holds: here a Storage, which leads back to no handle.
    if not cls.__dictoffset__ and kind.tp_flags & Py_TPFLAGS_HAVE_GC:
        kind.tp_flags &= ~Py_TPFLAGS_HAVE_GC
        kind.tp_traverse = kind.tp_clear = NULL
        SpareArrays.serve(kind)
        PyType_Modified(kind)


@cython.no_gc
cdef class Handle:
    """A Storage and a View."""

    def __getbuffer__(self, Py_buffer* view, int flags):
        global cut_short
        cut_short = None
        if self.is_scalar and flags & PyBUF_WRITABLE:
            raise BufferError("buffer: a scalar is read-only")
        if self.storage.node.type.device:
            raise BufferError("buffer: the array's memory is not the CPU's; take a copy with .numpy()")
        try:
            array = export(self)
        except KeyboardInterrupt:
            cut_short = weakref.ref(self)
            raise
        Py_DECREF(None)     # the None that Cython put there: the buffer is the ndarray's
        PyObject_GetBuffer(array, view, flags)


# ---- shadows

cdef object shadow_of(Type kind):
    cdef cnp.npy_intp dims[64]
    cdef cnp.npy_intp steps[64]
    cdef int i
    cdef tuple strides
    if kind.shadow is None:
        strides = contiguous(kind.shape, kind.itemsize)
        for i in range(kind.ndim):
            dims[i] = kind.shape[i]
            steps[i] = strides[i]
        kind.shadow = la_ndarray(
            kind.dtype, kind.ndim, dims, steps, <void*>BASE, cnp.NPY_ARRAY_WRITEABLE | cnp.NPY_ARRAY_ALIGNED
        )
        cnp.PyArray_UpdateFlags(
            <cnp.ndarray>kind.shadow, cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_F_CONTIGUOUS
        )
    return kind.shadow


@cython.final
@cython.no_gc
cdef class Storage:
    """The cell that an array and its views share."""

    def __cinit__(self):
        global newest
        self.after = newest
        if newest != NULL:
            (<Storage>newest).before = <PyObject*>self
        newest = <PyObject*>self

    def __dealloc__(self):
        global newest
        if self.before == NULL:
            newest = self.after
        else:
            (<Storage>self.before).after = self.after
        if self.after != NULL:
            (<Storage>self.after).before = self.before


SpareStorages.serve(<PyTypeObject*>Storage)

cdef PyObject* newest = NULL        # Storage: the first of the list, which the GIL guards


def held_nodes():
    """The values of all arrays there are."""
    cdef list found = []
    cdef PyObject* at = newest
    while at != NULL:       # nothing in between that frees an array
        found.append(<Storage>at)
        at = (<Storage>at).after
    return [(<Storage>storage).node for storage in found if (<Storage>storage).node is not None]


@cython.final
@cython.no_gc
cdef class Export:
    """Keeps a Storage pinned while memory of it is seen from outside."""

    cdef Storage storage
    cdef Buffer buffer

    def __dealloc__(self):
        self.storage.pins -= 1
        if self.storage.pins == 0 and self.storage.node is not None and self.storage.node.state == ISSUED:
            self.storage.node.pinned = False


cdef inline Handle new_array():
    # Not through array_class(): that is for users, and raises.
    cdef type cls = <type>array_class
    return <Handle>(<PyTypeObject*>cls).tp_new(cls, NO_ARGUMENTS, NULL)


cdef Handle wrap(Node node, bint is_scalar):
    """A new array with a Storage of its own."""
    cdef Storage storage = Storage.__new__(Storage)
    cdef Handle array = new_array()
    cdef Recorder rec
    storage.node = node = unpinned(node)
    node.loose = False
    array.storage = storage
    array.shadow = shadow_of(node.type)
    array.is_scalar = is_scalar
    if watching:
        made(array, storage)
    if node.recorder is not None:
        if node.pinned:
            run_now(node)
        else:
            rec = node.recorder
            if rec.count > NODE_LIMIT or rec.nbytes > BYTE_LIMIT or rec.flops > FLOP_LIMIT:
                relieve(rec, node, False)
    return array


cdef int touch(Handle a) except -1:
    # A trace on this thread hears of the Storages it reads and writes,
    if active() is not None:
        active().touch(a.storage, a, a.storage.node.serial, structure(a.storage))
    return 0


cdef int structure(Storage storage) noexcept:
    # What of a Storage decides how a call is recorded, besides its type.
    cdef Node node = storage.node
    return ((node.state == CONST) + 2 * (storage.variable is not None) + 8 * node.pinned + 4 * (
        node.taped or node.released or (node.variable is not None and storage.variable is None)))


cdef int made(Handle a, Storage storage) except -1:
    # and of those it makes.
    if active() is not None:
        active().made(a, storage)
    return 0


cdef inline Node unpinned(Node node):
    # No Storage takes over memory that is also seen from outside.
    if node.pinned and node.state == ISSUED:
        return leaf_like(node, copied(node))
    return node


cdef int relieve(Recorder rec, Node node, bint written) except -1:
    # A loop is cut at the same place in every turn, so that it finds its plan: behind a write, where there is one, since no
    # expression is then under way.
    if watching and alive():
        if rec.count < TRACE_LIMIT:
            return 0
        spoil("it records too much")
    if rec.count < 2 * NODE_LIMIT and rec.nbytes < 2 * BYTE_LIMIT and rec.flops < 2 * FLOP_LIMIT:
        if rec.cut_known:
            if node.code is not rec.cut_code or node.lasti != rec.cut_lasti:
                return 0
        elif not written and rec.count <= NODE_LIMIT and rec.flops <= FLOP_LIMIT:
            return 0        # large values are often on their way into a small one, and then never stored
    rec.cut_known = True
    rec.cut_code = node.code
    rec.cut_lasti = node.lasti
    flush_live(rec)
    return 0


def cut():
    """Run all that this thread has recorded and that is still wanted, as at the bound."""
    flush_live(recorder())


cdef int run_now(Node node) except -1:
    # It reads memory that is also seen from outside.
    if watching:
        spoil("it reads memory that is shared with NumPy")
    node.pinned = False
    devices.meet()
    flush_nodes([node], True)
    settle_buffer(node.buffer)
    devices.part()
    return 0


cdef int settle_buffer(Buffer buffer) except -1:
    # Waits for readers as well as writers.
    return var_settle(buffer.var)


cdef Node node_of(Handle a):
    """The value seen through the handle."""
    cdef Node node = a.storage.node
    cdef Seen seen
    if watching:
        touch(a)
        node = a.storage.node
    if a.shadow is node.type.shadow:
        return node
    seen = seen_by(a)
    if seen is not None:
        return seen_node(node, seen)
    return view_node(node, a.shadow.shape, a.shadow.strides, a.offset, a.moving, a.shadow.dtype)


cdef Handle view_of(Handle a, object shadow):
    """A second handle on the same Storage."""
    cdef Handle out = new_array()
    cdef Type kind = a.storage.node.type
    cdef uintptr_t at = <uintptr_t>cnp.PyArray_DATA(<cnp.ndarray>shadow)
    out.storage = a.storage
    if watching:
        touch(a)
    if a.is_scalar:
        # Like a NumPy scalar, it has no memory that a view could share.
        out.storage = Storage.__new__(Storage)
        out.storage.node = a.storage.node
    if watching:
        made(out, out.storage if a.is_scalar else None)
    cdef cnp.ndarray view = <cnp.ndarray>shadow
    out.offset = <Py_ssize_t>(at - BASE)
    if cnp.PyArray_SIZE(view) == 0:
        out.offset = 0
    if (out.offset == 0 and cnp.PyArray_IS_C_CONTIGUOUS(view) and cnp.PyArray_ISWRITEABLE(view)
            and cnp.PyArray_SIZE(view) == kind.size and shadow.shape == kind.shape and shadow.dtype is kind.dtype):
        out.shadow = shadow_of(kind)
        return out
    out.shadow = shadow
    out.moving = is_moving(view, kind)
    return out


cdef bint is_moving(cnp.ndarray shadow, Type kind):
    # A part of a Storage can start anywhere; what covers it with forward strides starts at 0.
    cdef Py_ssize_t reach = cnp.PyArray_ITEMSIZE(shadow), extent, stride
    cdef int axis
    for axis in range(cnp.PyArray_NDIM(shadow)):
        extent = cnp.PyArray_DIM(shadow, axis)
        stride = cnp.PyArray_STRIDE(shadow, axis)
        if extent == 0:
            return False
        if stride < 0:
            return True
        reach += (extent - 1) * stride
    return reach != kind.nbytes


cdef bint covers(Handle a):
    # Every element of the Storage is seen once: the strides are those of C order, permuted and perhaps negative.
    cdef Type kind = a.storage.node.type
    cdef Py_ssize_t extent, step, reach = kind.itemsize
    if a.shadow.dtype is not kind.dtype or a.shadow.size != kind.size:
        return False
    for step, extent in sorted([(abs(s), n) for s, n in zip(a.shadow.strides, a.shadow.shape) if n != 1]):
        if step != reach:
            return False
        reach *= extent
    return True


cdef tuple k_order(list shadows, Py_ssize_t ndim):
    # As nditer sorts its axes: an insertion sort from the last axis, ties and conflicts keep C order. None for C order.
    cdef list perm, strides
    cdef Py_ssize_t i, j, place, lead
    cdef bint ambiguous, swap
    if ndim < 2:
        return None
    strides = []
    for shadow in shadows:
        lead = ndim - shadow.ndim
        strides.append([
            0 if k < lead or shadow.shape[k - lead] == 1 else abs(shadow.strides[k - lead])
            for k in range(ndim)
        ])
    perm = list(range(ndim - 1, -1, -1))
    for i in range(1, ndim):
        place = i
        axis = perm[i]
        for j in range(i - 1, -1, -1):
            ambiguous = True
            swap = False
            for step in strides:
                if step[axis] != 0 and step[perm[j]] != 0:
                    if step[perm[j]] <= step[axis]:
                        swap = False
                    elif ambiguous:
                        swap = True
                    ambiguous = False
            if not ambiguous:
                if swap:
                    place = j
                else:
                    break
        if place != i:
            perm.insert(place, perm.pop(i))
    perm.reverse()
    return None if perm == list(range(ndim)) else tuple(perm)


def memory_order(view):
    """The axes by falling stride, as copies keep them; None for C order."""
    order = sorted(range(view.ndim), key=lambda axis: -abs(view.strides[axis]))
    return None if order == list(range(view.ndim)) else tuple(order)


include "native/handle_views.pxi"


# ---- writing

include "native/handle_writing.pxi"


# ---- reading

include "native/handle_reading.pxi"


def from_numpy(object source, bint is_scalar=False):
    """A new array with a copy of an ndarray's data, in its memory order."""
    if watching:
        spoil("it takes values from NumPy")
    return from_data(source, is_scalar)


def from_data(object source, bint is_scalar=False):
    """`from_numpy` of data that nobody else has, and that is the same at every turn."""
    cdef Type kind
    cdef Buffer buffer
    cdef Handle array
    if not source.dtype.isnative:
        source = source.astype(source.dtype.newbyteorder("="))
    dtype = canonical(source.dtype, "array")
    if source.ndim == 0:
        return wrap(constant(source[()], dtype), is_scalar)
    if source.ndim > 1 and not source.flags.c_contiguous:
        order = memory_order(source)
        if order is not None:
            array = from_data(np.ascontiguousarray(source.transpose(order), dtype))
            return view_of(array, array.shadow.transpose(np.argsort(order)))
    kind = type_of(source.shape, dtype)
    buffer = new_buffer(kind.nbytes)
    settle_free(buffer)
    array = wrap(leaf(kind, buffer), False)
    array.storage.node.loose = True
    if watching and active() is not None:
        active().literals.add(array.storage.node.serial)
    locate(array.storage.node)
    real_view(array, array.storage.node)[...] = source
    return array


include "native/handle_lending.pxi"


def alias_numpy(object source):
    """An array on an ndarray's own memory: both sides see each other's writes."""
    if watching:
        spoil("it shares memory with NumPy")
    cdef Type kind = type_of(source.shape, canonical(source.dtype, "asarray"))
    cdef Node node
    cdef Handle array
    if not source.flags.c_contiguous:
        raise ValueError("asarray: only C-contiguous memory can be shared; pass copy=None")
    node = leaf(kind, foreign_buffer(cnp.PyArray_DATA(<cnp.ndarray>source), kind.nbytes, source))
    array = wrap(node, False)
    node.pinned = True
    array.storage.pins = 1          # for as long as the array lives
    if not source.flags.writeable:
        shadow = array.shadow.view()
        shadow.flags.writeable = False
        array.shadow = shadow
    return array


# ---- what array.py builds on

def start(tuple arrays, bint waiting=False):
    """Compute arrays together, to be read next if `waiting`; False where one is something else, or a trace has to hear of it."""
    cdef list nodes = []
    if watching:
        return False
    for each in arrays:
        if not isinstance(each, Handle):
            return False
        if (<Handle>each).storage.node.state == PENDING:
            nodes.append((<Handle>each).storage.node)
    if nodes:
        flush_nodes(nodes, waiting)
    return True


def to_node(Handle a):
    """The value seen through the handle, as a Node."""
    return node_of(a)


def storage_node(Handle a):
    """The Node of the whole Storage behind the handle."""
    if watching:
        touch(a)
    return a.storage.node


def from_node(Node node, is_scalar=None):
    """A new array that holds `node`; a scalar where it has no axes."""
    return wrap(node, node.type.ndim == 0 if is_scalar is None else is_scalar)


def seen(Handle a, shadow):
    """A view of `a` with another shadow (made by NumPy from `a`'s); of a scalar, one that has axes is no scalar."""
    cdef Handle out = view_of(a, shadow)
    out.is_scalar = a.is_scalar and out.shadow.ndim == 0
    return out


def window(Handle a, tuple shape, tuple strides, Py_ssize_t offset):
    """A view of `a` with byte strides of its own, `offset` bytes from its start."""
    cdef cnp.npy_intp dims[64]
    cdef cnp.npy_intp steps[64]
    cdef int i
    for i in range(len(shape)):
        dims[i] = shape[i]
        steps[i] = strides[i]
    shadow = la_ndarray(
        a.shadow.dtype, <int>len(shape), dims, steps, <char*>cnp.PyArray_DATA(<cnp.ndarray>a.shadow) + offset,
        (cnp.NPY_ARRAY_WRITEABLE if cnp.PyArray_ISWRITEABLE(<cnp.ndarray>a.shadow) else 0) | cnp.NPY_ARRAY_ALIGNED,
    )
    cnp.PyArray_UpdateFlags(<cnp.ndarray>shadow, cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_F_CONTIGUOUS)
    return view_of(a, shadow)


def set_writeable(Handle a, bint write):
    """Make a handle read-only, or writable again."""
    if watching:
        spoil("it makes an array read-only, or writable")
    shadow = a.shadow.view()
    shadow.flags.writeable = write
    a.shadow = shadow


def shadow(Handle a):
    """The View of `a`, as an ndarray without data. Never read its elements."""
    return a.shadow


def assign(Handle a, Node value, str op="setitem"):
    """Write `value` (broadcast, cast) through the handle."""
    write(a, value, op)


def replace(Handle a, Node value):
    """Let the handle's whole Storage hold another value of the same type."""
    if watching:
        touch(a)
    if value.type.shape != a.storage.node.type.shape or value.type.dtype is not a.storage.node.type.dtype:
        raise ShapeError(f"replace: a {value.type!r} cannot take the place of a {a.storage.node.type!r}")
    if a.storage.pins:
        write_pinned(a, value)
    else:
        set_node(a.storage, value)


def same_view(Handle a, Handle b):
    """Whether both handles see the same elements of one Storage in the same order."""
    return (a.storage is b.storage and a.offset == b.offset and a.shadow.shape == b.shadow.shape
            and a.shadow.strides == b.shadow.strides and a.shadow.dtype is b.shadow.dtype)


def peek_numpy(Handle a):
    """The value as an ndarray on the same memory, for reading at once."""
    return peek(a)


def export_numpy(Handle a):
    """The value as an ndarray that shares memory with the array while it lives."""
    global cut_short
    # NumPy asks for a buffer first, and forgets what that raised.
    stopped, cut_short = cut_short, None
    if stopped is not None and stopped() is a:
        raise KeyboardInterrupt
    return export(a)


def variable_of(Handle a):
    """Where backward leaves the gradient of this array, or None."""
    return a.storage.variable


def set_variable(Handle a, variable):
    """Mark the array's Storage as a variable (or not, with None)."""
    if watching and active() is not None and id(a.storage) not in active().storages:
        spoil("it asks for the gradient of an array from outside")
    cdef Node node = a.storage.node
    a.storage.variable = variable
    cdef bint shared = node.variable is not None or Py_REFCNT(<PyObject*>node) > 2      # by more than this and the Storage
    if variable is not None and (node.taped or node.state == CONST or shared):
        node = own_leaf(a.storage)
        node.pinned = a.storage.node.pinned
        a.storage.node = node
    node.variable = variable


cdef Node own_leaf(Storage storage):
    # The Storage's value as a leaf whose buffer nobody else holds.
    cdef Node node = storage.node
    if node.type.device:
        node = _ir.operators["positive"](node)
        node.taped = False
        flush_nodes([node], False)
        return node
    materialise(storage)
    node = storage.node
    return leaf_like(node, copied(node))


def placed(Handle a, int device):
    """`a`, made of foreign data, on a device, where it stays."""
    cdef Node node = _ir.settle_down(a.storage.node, device)
    if node is not a.storage.node:
        if a.shadow is a.storage.node.type.shadow:
            a.shadow = shadow_of(node.type)
        a.storage.node = node
    return a


def carried(Handle a, int device):
    """A new array with the value of `a` on another device; what `a` shares with others, the copy does not."""
    cdef Handle out = wrap(transfer_node(node_of(a), device), a.is_scalar)
    return out


def device_of(Handle a):
    """The number of the device where the value lies."""
    return a.storage.node.type.device
