"""DLPack capsules: memory described for other libraries, and theirs for us."""

# Design. A capsule owns a managed tensor, ours with its extents behind it in one block and a reference to `owner`, which
# keeps the memory. Whoever takes a capsule renames it to "used_..." and calls the deleter when he is done, from any thread,
# with or without the GIL. A Tensor is a capsule that has been taken: it calls the deleter when it goes.
# Layout of the structures: dlpack.h, version 1.0 (and 0.8, without version and flags).

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_New, PyCapsule_SetName
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #include <stdint.h>
    struct la_dl_tensor {
        void* data; int32_t device_type, device_id; int32_t ndim; uint8_t code, bits; uint16_t lanes;
        int64_t* shape; int64_t* strides; uint64_t byte_offset;
    };
    struct la_dl_old { la_dl_tensor tensor; void* context; void (*deleter)(la_dl_old*); };
    struct la_dl_new {
        uint32_t major, minor; void* context; void (*deleter)(la_dl_new*); uint64_t flags; la_dl_tensor tensor;
    };
    """
    struct DLTensor "la_dl_tensor":
        void* data
        int32_t device_type
        int32_t device_id
        int32_t ndim
        uint8_t code
        uint8_t bits
        uint16_t lanes
        int64_t* shape
        int64_t* strides
        uint64_t byte_offset
    struct Old "la_dl_old":
        DLTensor tensor
        void* context
        void (*deleter)(Old*) noexcept
    struct New "la_dl_new":
        uint32_t major
        uint32_t minor
        void* context
        void (*deleter)(New*) noexcept
        uint64_t flags
        DLTensor tensor

cdef enum:
    READ_ONLY = 1
    IS_COPIED = 2
    MAJOR = 1

cdef const char* OLD = "dltensor"
cdef const char* NEW = "dltensor_versioned"
# DLDataTypeCode, by NumPy's kinds; 4 is bfloat16.
CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
KINDS = {code: kind for kind, code in CODES.items()}


cdef void delete_old(Old* own) noexcept with gil:
    Py_DECREF(<object>own.context)
    free(own)


cdef void delete_new(New* own) noexcept with gil:
    Py_DECREF(<object>own.context)
    free(own)


cdef void drop(object capsule) noexcept:
    # A capsule that nobody has taken.
    cdef Old* old
    cdef New* new
    if PyCapsule_IsValid(capsule, OLD):
        old = <Old*>PyCapsule_GetPointer(capsule, OLD)
        if old.deleter != NULL:
            old.deleter(old)
    elif PyCapsule_IsValid(capsule, NEW):
        new = <New*>PyCapsule_GetPointer(capsule, NEW)
        if new.deleter != NULL:
            new.deleter(new)


cdef void describe(
    DLTensor* tensor, int64_t* extents, uintptr_t address, tuple shape, tuple steps, int code, int bits, tuple device
) except *:
    cdef int i, ndim = <int>len(shape)
    for i in range(ndim):
        extents[i] = shape[i]
        extents[ndim + i] = steps[i]
    tensor.data = <void*>address
    tensor.device_type, tensor.device_id = device
    tensor.ndim = ndim
    tensor.code, tensor.bits, tensor.lanes = <uint8_t>code, <uint8_t>bits, 1
    tensor.shape, tensor.strides = extents, extents + ndim
    tensor.byte_offset = 0


def capsule(
    uintptr_t address, tuple shape, tuple strides, dtype, tuple device, object owner, bint writeable, bint versioned,
    bint copied=False
):
    """A capsule of memory that `owner` keeps, made for it where it is `copied`; strides in bytes."""
    cdef Py_ssize_t size = dtype.itemsize, extents = 16 * max(1, len(shape))
    cdef int code = CODES.get(dtype.kind, -1) if dtype.name != "bfloat16" else 4
    cdef tuple steps = tuple([step // size for step in strides])
    cdef Old* old
    cdef New* new
    if code < 0:
        raise BufferError(f"__dlpack__: DLPack has no {dtype}")
    if not versioned and not writeable:
        raise BufferError("__dlpack__: a read-only array needs a version of DLPack of at least 1.0")
    if versioned:
        new = <New*>malloc(sizeof(New) + extents)
        if new == NULL:
            raise MemoryError()
        describe(&new.tensor, <int64_t*>(new + 1), address, shape, steps, code, <int>(8 * size), device)
        new.major, new.minor = MAJOR, 0
        new.flags = (0 if writeable else READ_ONLY) | (IS_COPIED if copied else 0)
        new.context = <void*>owner
        new.deleter = delete_new
        Py_INCREF(owner)
        return PyCapsule_New(new, NEW, drop)
    old = <Old*>malloc(sizeof(Old) + extents)
    if old == NULL:
        raise MemoryError()
    describe(&old.tensor, <int64_t*>(old + 1), address, shape, steps, code, <int>(8 * size), device)
    old.context = <void*>owner
    old.deleter = delete_old
    Py_INCREF(owner)
    return PyCapsule_New(old, OLD, drop)


cdef class Tensor:
    """Memory of another library's, from its capsule."""

    cdef Old* old
    cdef New* new
    cdef readonly tuple device
    cdef readonly tuple shape
    cdef readonly tuple strides         # in bytes; None: C order
    cdef readonly str dtype
    cdef readonly uintptr_t address
    cdef readonly bint writeable
    cdef readonly bint copied           # for us alone

    def __cinit__(self, capsule):
        cdef DLTensor* tensor
        cdef int i
        self.writeable = True
        if PyCapsule_IsValid(capsule, NEW):
            self.new = <New*>PyCapsule_GetPointer(capsule, NEW)
            if self.new.major != MAJOR:
                self.new = NULL
                raise BufferError("from_dlpack: the capsule has a version of DLPack that is not known")
            PyCapsule_SetName(capsule, "used_dltensor_versioned")
            tensor = &self.new.tensor
            self.writeable = not self.new.flags & READ_ONLY
            self.copied = (self.new.flags & IS_COPIED) != 0
        elif PyCapsule_IsValid(capsule, OLD):
            self.old = <Old*>PyCapsule_GetPointer(capsule, OLD)
            PyCapsule_SetName(capsule, "used_dltensor")
            tensor = &self.old.tensor
        else:
            raise BufferError("from_dlpack: the capsule holds no tensor, or has been taken before")
        self.device = (tensor.device_type, tensor.device_id)
        self.shape = tuple([tensor.shape[i] for i in range(tensor.ndim)])
        self.address = <uintptr_t>tensor.data + <uintptr_t>tensor.byte_offset
        if tensor.strides != NULL:
            self.strides = tuple([tensor.strides[i] * (tensor.bits // 8) for i in range(tensor.ndim)])
        if tensor.lanes != 1 or tensor.bits % 8 or (tensor.code != 4 and tensor.code not in KINDS):
            raise BufferError(f"from_dlpack: no dtype has {tensor.bits} bits of DLPack's kind {tensor.code}")
        self.dtype = "bfloat16" if tensor.code == 4 else f"{KINDS[tensor.code]}{tensor.bits // 8}"

    def __dealloc__(self):
        if self.old != NULL and self.old.deleter != NULL:
            self.old.deleter(self.old)
        if self.new != NULL and self.new.deleter != NULL:
            self.new.deleter(self.new)
