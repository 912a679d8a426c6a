from libc.stdint cimport int64_t, uint64_t

from lazyarray._memory cimport Buffer

cdef enum State:
    PENDING = 0         # recorded; not run, or run without being kept
    ISSUED = 1          # has a buffer that pushed tasks fill
    CONST = 2           # a number, held in the node itself
    PLACEHOLDER = 3     # a typed leaf of a bound program

cdef enum Kind:
    ELEMENTWISE = 1
    VIEW = 2
    UPDATE = 3
    NATIVE = 4
    EMPTY = 5

cdef class Type:
    cdef readonly int64_t id
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef readonly int number            # of the dtype, in dtypes.SUPPORTED
    cdef readonly int ndim
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t itemsize
    cdef readonly Py_ssize_t nbytes
    cdef readonly int device            # where values lie; 0: the CPU
    cdef object shadow                  # an ndarray of this layout without data, made by _record

cdef Type type_of(tuple shape, object dtype)
cdef Type on_device(Type kind, int device)

cdef class Op:
    cdef readonly int id
    cdef readonly int kind
    cdef readonly str name
    cdef readonly bint dear             # kept for a gradient rather than recomputed
    cdef readonly bint fallible         # may fail on data: its own task
    cdef dict __dict__

cdef class ElementwiseOp(Op):
    cdef readonly int nin
    cdef readonly object ufunc
    cdef object resolver
    cdef dict resolved
    cdef Node apply1(self, Node a)
    cdef Node apply2(self, object a, object b)
    cdef Node apply(self, tuple args)

cdef class Node:
    cdef readonly Op op
    cdef readonly tuple inputs
    cdef readonly object attrs
    cdef readonly Type type
    cdef readonly Py_ssize_t offset     # of a view or update, in bytes: data, not structure
    cdef readonly int64_t sig
    cdef readonly int state
    cdef Buffer buffer
    cdef char number[16]
    cdef readonly bint taped            # recorded for a gradient: keeps its inputs after it has run
    cdef readonly bint released         # its tape has been walked and let go
    cdef bint loose                     # a leaf of foreign data that is nobody's array: goes where it is wanted
    cdef bint pinned                    # its buffer is exported; pending: reads a value that is
    cdef public object variable         # where backward leaves this node's gradient, or None
    cdef object floats                  # what errstate asked for where it was recorded (_floats.Mode); None: NumPy's default
    cdef object code                    # the user's code object and instruction
    cdef int lasti
    cdef readonly uint64_t serial
    cdef Recorder recorder
    cdef void* before
    cdef void* after
    cdef uint64_t mark                  # of the walk that saw it last, and its place there
    cdef Py_ssize_t place

cdef class Recorder:
    cdef void* oldest                   # pending nodes in the order of their recording; borrowed, they unlink themselves
    cdef void* newest
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t nbytes
    cdef readonly double flops
    cdef public bint recording
    cdef public bint training
    cdef public int device              # of what is made of nothing
    cdef public object site             # (code, lasti) to record instead of the caller's, or None
    cdef object cut_code
    cdef int cut_lasti
    cdef bint cut_known

cdef Recorder recorder()
cdef Node transfer_node(Node node, int device)
cdef Node at_home(Node value, int device, str op)
cdef Node make(Op op, tuple inputs, object attrs, Type type, Py_ssize_t offset)
cdef Node make_signed(Op op, tuple inputs, object attrs, Type type, Py_ssize_t offset, int64_t sig)
cdef int64_t signature(Op op, object attrs, Type type)
cdef Node constant(object value, object dtype)
cdef Node constant_like(Node node)
cdef Node leaf(Type type, Buffer buffer)
cdef Node leaf_like(Node node, Buffer buffer)
cdef void issue(Node node, Buffer buffer) noexcept
cdef void settle(Node node) noexcept
cdef void locate(Node node) noexcept
cdef bint in_front() except -1
cdef Node view_node(Node base, tuple shape, tuple strides, Py_ssize_t offset, bint moving, object dtype)
cdef tuple contiguous(tuple shape, Py_ssize_t itemsize)
cdef tuple broadcast(tuple a, tuple b)
