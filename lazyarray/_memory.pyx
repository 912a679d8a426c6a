"""Buffers and the pool they come from."""

# Design. A Buffer owns one block of memory and the engine's Var for it. When the last reference to a Buffer goes, its
# block returns to the pool at once, pending tasks or not: the Var travels with the block, so whoever gets the block next
# writes it after those tasks (an allocator ordered by the engine, as CUDA's are by a stream). Idle blocks are preferred.
# Guarded by the GIL: everything here. Memory is given back to the system only from idle blocks.
# Blocks are 64-byte aligned; from 2 MiB on they are aligned to, and ask for, huge pages: a fresh 40 MB result costs
# about 9,800 page faults without them.

from libc.stdlib cimport free
from libc.stdint cimport uintptr_t
from libcpp.vector cimport vector

from lazyarray._engine cimport VarState, var_idle, var_new, var_release

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** out, size_t alignment, size_t size)

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void* address, size_t length, int advice)
    const int MADV_HUGEPAGE

cdef struct Block:
    char* ptr
    Py_ssize_t capacity
    VarState* var

cdef enum:
    ALIGNMENT = 64
    HUGE = 2 << 20
    CLASSES = 256
    PROBES = 8              # free blocks looked at for an idle one
    PENDING_LIMIT = 4 << 20     # bytes of busy free blocks of a class beyond which they are reused, not added to

cdef vector[Block] free_blocks[CLASSES]
cdef Py_ssize_t bytes_in_use = 0
cdef Py_ssize_t bytes_pooled = 0
cdef Py_ssize_t bytes_peak = 0
cdef Py_ssize_t bytes_allocated = 0
cdef Py_ssize_t allocations = 0
cdef Py_ssize_t system_allocations = 0


cdef int class_of(Py_ssize_t nbytes, Py_ssize_t* capacity) noexcept nogil:
    # 64-byte steps up to 1 KiB, then four classes an octave: at most a quarter is lost.
    cdef int octave = 0
    cdef Py_ssize_t step, steps
    if nbytes <= 1024:
        steps = (nbytes + 63) // 64 if nbytes > 0 else 1
        capacity[0] = steps * 64
        return <int>(steps - 1)
    while (<Py_ssize_t>2048 << octave) < nbytes:
        octave += 1
    step = <Py_ssize_t>256 << octave
    steps = (nbytes + step - 1) // step
    capacity[0] = steps * step
    return 16 + octave * 4 + <int>(steps - 5)


cdef char* from_system(Py_ssize_t capacity) noexcept nogil:
    cdef void* ptr = NULL
    if posix_memalign(&ptr, HUGE if capacity >= HUGE else ALIGNMENT, capacity) != 0:
        return NULL
    if capacity >= HUGE:
        madvise(ptr, capacity, MADV_HUGEPAGE)
    return <char*>ptr


cdef class Buffer:
    """Memory with the engine's Var for it."""

    def __dealloc__(self):
        global bytes_in_use, bytes_pooled
        cdef Block block
        if self.ptr == NULL or self.size_class < 0:
            if self.var != NULL:
                var_release(self.var)
            return
        block.ptr = self.ptr
        block.capacity = self.capacity
        block.var = self.var
        bytes_in_use -= self.capacity
        bytes_pooled += self.capacity
        free_blocks[self.size_class].push_back(block)

    @property
    def address(self):
        return <uintptr_t>self.ptr

    @property
    def foreign(self):
        return self.size_class < 0


cdef bint take_block(int size_class, Block* found) noexcept:
    # The most recently freed idle block is the warmest; a busy one only when many are waiting.
    cdef vector[Block]* blocks = &free_blocks[size_class]
    cdef Py_ssize_t count = <Py_ssize_t>blocks.size()
    cdef Py_ssize_t i, chosen = -1
    for i in range(count - 1, max(-1, count - 1 - PROBES), -1):
        if var_idle(blocks[0][i].var):
            chosen = i
            break
    if chosen < 0:
        if count == 0 or count * blocks[0][0].capacity < PENDING_LIMIT:
            return False
        chosen = 0
    found[0] = blocks[0][chosen]
    blocks.erase(blocks.begin() + chosen)
    return True


cdef Buffer new_buffer(Py_ssize_t nbytes):
    global bytes_in_use, bytes_pooled, bytes_peak, bytes_allocated, allocations, system_allocations
    cdef Buffer buffer = Buffer.__new__(Buffer)
    cdef Py_ssize_t capacity = 0
    cdef int size_class
    cdef Block block
    if nbytes > (<Py_ssize_t>1 << 46):
        raise MemoryError(f"array of {nbytes} bytes is larger than any memory")
    size_class = class_of(nbytes, &capacity)
    if take_block(size_class, &block):
        bytes_pooled -= capacity
    else:
        block.ptr = from_system(capacity)
        if block.ptr == NULL:
            release()
            block.ptr = from_system(capacity)
        if block.ptr == NULL:
            raise MemoryError(
                f"no memory for an array of {nbytes} bytes; {bytes_in_use} bytes are held by live arrays"
            )
        block.capacity = capacity
        block.var = var_new()
        system_allocations += 1
    buffer.ptr = block.ptr
    buffer.var = block.var
    buffer.nbytes = nbytes
    buffer.capacity = capacity
    buffer.size_class = size_class
    bytes_in_use += capacity
    bytes_allocated += nbytes
    allocations += 1
    if bytes_in_use > bytes_peak:
        bytes_peak = bytes_in_use
    return buffer


cdef Buffer foreign_buffer(void* ptr, Py_ssize_t nbytes, object owner):
    cdef Buffer buffer = Buffer.__new__(Buffer)
    buffer.ptr = <char*>ptr
    buffer.nbytes = nbytes
    buffer.capacity = nbytes
    buffer.size_class = -1
    buffer.var = var_new()
    buffer.owner = owner
    return buffer


def release():
    """Give idle pooled blocks back to the system; return how many bytes."""
    global bytes_pooled
    cdef Py_ssize_t given = 0, i, keep
    cdef int size_class
    cdef vector[Block]* blocks
    for size_class in range(CLASSES):
        blocks = &free_blocks[size_class]
        keep = 0
        for i in range(<Py_ssize_t>blocks.size()):
            if var_idle(blocks[0][i].var):
                var_release(blocks[0][i].var)
                free(blocks[0][i].ptr)
                given += blocks[0][i].capacity
            else:
                blocks[0][keep] = blocks[0][i]
                keep += 1
        blocks.resize(keep)
    bytes_pooled -= given
    return given


def reset_peak():
    """Start measuring the peak anew."""
    global bytes_peak
    bytes_peak = bytes_in_use


def stats():
    """Bytes in use, pooled, at the peak and allocated in total, and counts of allocations."""
    return {
        "in_use": bytes_in_use,
        "pooled": bytes_pooled,
        "peak": bytes_peak,
        "allocated": bytes_allocated,
        "allocations": allocations,
        "system_allocations": system_allocations,
    }


def buffer_of(Py_ssize_t nbytes):
    """A fresh Buffer of `nbytes` bytes, for tests and Python code that fills one."""
    return new_buffer(nbytes)
