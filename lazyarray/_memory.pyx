"""Buffers and the pool they come from."""

# Design. A Buffer owns one block of memory and the engine's Var for it. When the last reference to a Buffer goes, its
# block returns to the pool at once, pending tasks or not: the Var travels with the block, so whoever gets the block next
# writes it after those tasks (an allocator ordered by the engine, as CUDA's are by a stream). Idle blocks are preferred.
# Guarded by the GIL: everything here. Memory is given back to the system only from idle blocks.
# Blocks are 64-byte aligned; from 2 MiB on they are mapped on their own, aligned to, and asking for, huge pages: a fresh
# 40 MB result costs about 9,800 page faults without them, and malloc would keep what is freed.
# What lies unused is bounded by what was in use at the recent peak; beyond it the blocks longest unused go first.
# try_buffer never waits, so it may be called with the runtime's lock held; new_buffer waits, with the GIL released, until
# running tasks are done with blocks that nobody holds any more.

from libc.stdlib cimport free
from libc.stdint cimport uint64_t, uintptr_t
from libcpp.vector cimport vector

import gc
import os

from lazyarray._engine cimport VarState, var_idle, var_new, var_quiet, var_release
from lazyarray.errors import OutOfMemoryError

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** out, size_t alignment, size_t size)

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t length, int protection, int flags, int file, long offset)
    int munmap(void* address, size_t length)
    int madvise(void* address, size_t length, int advice)
    const int MADV_HUGEPAGE, PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS
    void* MAP_FAILED

cdef struct Block:
    char* ptr
    Py_ssize_t capacity
    VarState* var
    uint64_t freed          # when it came back, counted in returns

cdef enum:
    ALIGNMENT = 64
    HUGE = 2 << 20
    CLASSES = 256
    PROBES = 8              # free blocks looked at for an idle one
    PENDING_LIMIT = 4 << 20     # bytes of busy free blocks of a class beyond which they are reused, not added to
    LARGE = 64 << 10        # bytes from which an allocation counts for the window
    WINDOW = 4096           # large allocations over which the recent peak is taken

cdef Py_ssize_t LARGEST = <Py_ssize_t>1 << 46       # bytes: more than any machine has
cdef Py_ssize_t IDLE_FLOOR = 64 << 20               # bytes that may lie unused however little was in use

cdef vector[Block] free_blocks[CLASSES]
cdef Py_ssize_t bytes_in_use = 0        # in blocks that a Buffer owns
cdef Py_ssize_t bytes_pooled = 0        # in blocks that none does: unused, or busy with tasks pushed before
cdef Py_ssize_t bytes_peak = 0
cdef Py_ssize_t reserved_peak = 0
cdef Py_ssize_t bytes_huge = 0
cdef Py_ssize_t bytes_allocated = 0
cdef Py_ssize_t bytes_limit = LARGEST
cdef Py_ssize_t window_peak = 0         # of bytes in use, in this window and the one before
cdef Py_ssize_t earlier_peak = 0
cdef Py_ssize_t window_left = WINDOW
cdef Py_ssize_t n_buffers = 0
cdef Py_ssize_t n_blocks = 0
cdef Py_ssize_t allocations = 0
cdef Py_ssize_t system_allocations = 0
cdef uint64_t returns = 0
cdef object describe = None             # lines on the largest holders, given by a floor that knows arrays


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


# ---- the system's memory

cdef char* from_system(Py_ssize_t capacity) noexcept:
    global bytes_huge, n_blocks
    cdef void* ptr = NULL
    if capacity >= HUGE:
        ptr = mapped(capacity)
        if ptr != NULL:
            bytes_huge += capacity
    elif posix_memalign(&ptr, ALIGNMENT, capacity) != 0:
        ptr = NULL
    n_blocks += ptr != NULL
    return <char*>ptr


cdef void* mapped(Py_ssize_t capacity) noexcept nogil:
    # Aligned by mapping more and giving back both ends.
    cdef size_t length = capacity + HUGE, lead
    cdef char* raw = <char*>mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if raw == <char*>MAP_FAILED:
        return NULL
    lead = (HUGE - <uintptr_t>raw % HUGE) % HUGE
    if lead:
        munmap(raw, lead)
    if HUGE - lead:
        munmap(raw + lead + capacity, HUGE - lead)
    madvise(raw + lead, capacity, MADV_HUGEPAGE)
    return raw + lead


cdef void to_system(Block* block) noexcept:
    global bytes_huge, n_blocks
    var_release(block.var)
    if block.capacity >= HUGE:
        munmap(block.ptr, block.capacity)
        bytes_huge -= block.capacity
    else:
        free(block.ptr)
    n_blocks -= 1


# ---- buffers

cdef class Buffer:
    """Memory with the engine's Var for it."""

    def __dealloc__(self):
        global bytes_in_use, bytes_pooled, n_buffers, returns
        cdef Block block
        if self.ptr == NULL or self.size_class < 0:
            if self.var != NULL:
                var_release(self.var)
            return
        returns += 1
        block.ptr = self.ptr
        block.capacity = self.capacity
        block.var = self.var
        block.freed = returns
        bytes_in_use -= self.capacity
        bytes_pooled += self.capacity
        n_buffers -= 1
        free_blocks[self.size_class].push_back(block)

    @property
    def address(self):
        return <uintptr_t>self.ptr

    @property
    def foreign(self):
        return self.size_class == -1

    @property
    def held(self):
        """Bytes of the pool that it holds: its size, rounded up."""
        return 0 if self.size_class < 0 else self.capacity


cdef bint take_block(int size_class, bint busy, Block* found) noexcept:
    # The most recently freed idle block is the warmest; a busy one only when many are waiting, or where `busy` says so.
    cdef vector[Block]* blocks = &free_blocks[size_class]
    cdef Py_ssize_t count = <Py_ssize_t>blocks.size()
    cdef Py_ssize_t i, chosen = -1
    for i in range(count - 1, max(-1, count - 1 - PROBES), -1):
        if var_idle(blocks[0][i].var):
            chosen = i
            break
    if chosen < 0:
        if count == 0 or not (busy or count * blocks[0][0].capacity >= PENDING_LIMIT):
            return False
        chosen = 0
    found[0] = blocks[0][chosen]
    blocks.erase(blocks.begin() + chosen)
    return True


cdef bint new_block(Py_ssize_t capacity, Block* block) noexcept:
    # A block from the system, within the limit; unused ones of other sizes are given up for it.
    global system_allocations
    cdef Py_ssize_t room = bytes_limit - bytes_in_use - bytes_pooled
    if room < capacity and room + trim(capacity - room) < capacity:
        return False
    block.ptr = from_system(capacity)
    if block.ptr == NULL:
        trim(bytes_pooled)
        block.ptr = from_system(capacity)
        if block.ptr == NULL:
            return False
    block.capacity = capacity
    block.var = var_new()
    system_allocations += 1
    return True


cdef Buffer try_buffer(Py_ssize_t nbytes):
    """A buffer, or None where neither the limit nor the system leaves room. Never waits."""
    global bytes_in_use, bytes_pooled, bytes_peak, reserved_peak, bytes_allocated, allocations, n_buffers
    cdef Buffer buffer
    cdef Py_ssize_t capacity = 0
    cdef int size_class
    cdef Block block
    if nbytes > LARGEST:
        return None
    size_class = class_of(nbytes, &capacity)
    if bytes_in_use + bytes_pooled > bytes_limit:       # blocks that were busy when the limit was set
        trim(bytes_in_use + bytes_pooled - bytes_limit)
    if bytes_in_use + capacity > bytes_limit:
        return None
    if take_block(size_class, False, &block):
        bytes_pooled -= capacity
    elif not new_block(capacity, &block):
        if not take_block(size_class, True, &block):
            return None
        bytes_pooled -= capacity
    buffer = Buffer.__new__(Buffer)
    buffer.ptr = block.ptr
    buffer.var = block.var
    buffer.nbytes = nbytes
    buffer.capacity = capacity
    buffer.size_class = size_class
    bytes_in_use += capacity
    bytes_allocated += nbytes
    allocations += 1
    n_buffers += 1
    if bytes_in_use > bytes_peak:
        bytes_peak = bytes_in_use
    if bytes_in_use + bytes_pooled > reserved_peak:
        reserved_peak = bytes_in_use + bytes_pooled
    if capacity >= LARGE:
        watch()
    return buffer


cdef void watch() noexcept:
    # Keeps what lies unused below the recent peak of what was in use.
    global window_peak, earlier_peak, window_left
    cdef Py_ssize_t most
    if bytes_in_use > window_peak:
        window_peak = bytes_in_use
    window_left -= 1
    if window_left == 0:
        window_left = WINDOW
        earlier_peak = window_peak
        window_peak = bytes_in_use
    most = max(IDLE_FLOOR, max(window_peak, earlier_peak))
    if bytes_pooled > most:
        trim(bytes_pooled - most)


cdef Py_ssize_t trim(Py_ssize_t nbytes) noexcept:
    # Gives up at least so many bytes of idle blocks where there are any, those longest unused first; how many it gave.
    global bytes_pooled
    cdef Py_ssize_t given = 0, i, keep, half, count, chosen
    cdef vector[Block]* blocks
    cdef Block block
    cdef uint64_t oldest
    cdef bint spent[CLASSES]
    for i in range(CLASSES):
        spent[i] = free_blocks[i].empty()
    while given < nbytes:
        chosen = -1
        oldest = 0
        for i in range(CLASSES):
            if not spent[i] and (chosen < 0 or free_blocks[i][0].freed < oldest):
                chosen = i
                oldest = free_blocks[i][0].freed
        if chosen < 0:
            break
        # Half of a class at a time: moving the rest up costs no more than what is freed.
        blocks = &free_blocks[chosen]
        count = <Py_ssize_t>blocks.size()
        half = (count + 1) // 2
        keep = 0
        for i in range(count):
            block = blocks[0][i]
            if i - keep < half and given < nbytes and var_idle(block.var):
                given += block.capacity
                bytes_pooled -= block.capacity
                to_system(&block)
            else:
                blocks[0][keep] = block
                keep += 1
        blocks.resize(keep)
        spent[chosen] = keep == 0 or keep == count
    return given


cdef bint wait_busy() except -1:
    """Wait, with the GIL released, for tasks that use a block nobody holds; False where there is no such block."""
    cdef Buffer buffer
    cdef Py_ssize_t i, k
    global bytes_in_use, bytes_pooled, n_buffers
    for i in range(CLASSES - 1, -1, -1):
        for k in range(<Py_ssize_t>free_blocks[i].size()):
            if not var_idle(free_blocks[i][k].var):
                # Owned meanwhile, or another thread could give it away.
                buffer = Buffer.__new__(Buffer)
                buffer.ptr = free_blocks[i][k].ptr
                buffer.capacity = buffer.nbytes = free_blocks[i][k].capacity
                buffer.var = free_blocks[i][k].var
                buffer.size_class = <int>i
                free_blocks[i].erase(free_blocks[i].begin() + k)
                bytes_in_use += buffer.capacity
                bytes_pooled -= buffer.capacity
                n_buffers += 1
                var_quiet(buffer.var)
                return True
    return False


cdef bint fits_limit(Py_ssize_t nbytes) noexcept:
    """Whether a buffer of that size could exist at all."""
    cdef Py_ssize_t capacity = 0
    if nbytes > LARGEST:
        return False
    class_of(nbytes, &capacity)
    return capacity <= bytes_limit


cdef Buffer new_buffer(Py_ssize_t nbytes):
    """A buffer; waits for running tasks where that makes room. No lock may be held."""
    cdef Buffer buffer = try_buffer(nbytes)
    cdef bint collected = False
    while buffer is None:
        if not fits_limit(nbytes):
            raise no_memory(f"no memory for an array of {size_text(nbytes)}", None)
        if not wait_busy():
            if collected:
                raise no_memory(f"no memory for an array of {size_text(nbytes)}", None)
            gc.collect()        # arrays in reference cycles
            collected = True
        buffer = try_buffer(nbytes)
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


cdef Buffer device_buffer(object device, Py_ssize_t nbytes):
    """Memory of a device, which `memory` keeps; its backend raises OutOfMemoryError where it has no more."""
    cdef Buffer buffer = Buffer.__new__(Buffer)
    buffer.memory = device.allocate(nbytes)
    buffer.ptr = <char*><uintptr_t>buffer.memory.ptr
    buffer.nbytes = nbytes
    buffer.capacity = nbytes
    buffer.size_class = -2
    buffer.var = var_new()
    return buffer


class NoRoom(Exception):
    """What a plan wanted memory for and did not get, before anything has been changed."""

    def __init__(self, what, where, nbytes, needed):
        self.what = what
        self.where = where
        self.nbytes = nbytes        # of the one buffer
        self.needed = needed        # by the whole plan


cdef object no_memory(str what, str where):
    """The exception for want of memory: what it was wanted for, what is in use, and who holds most of it."""
    cdef list lines
    if bytes_limit < LARGEST:
        state = f"{size_text(bytes_in_use)} of the limit of {size_text(bytes_limit)} are in use"
        remedy = "Drop arrays that are not needed any more, or raise the limit with la.memory.limit."
    else:
        state = f"{size_text(bytes_in_use)} are in use"
        remedy = "Drop arrays that are not needed any more."
    if where is not None:
        remedy += f"  Recorded at {where}."
    lines = [f"{what}: {state}", f"  {remedy}"]
    if describe is not None:
        lines += describe()
    return OutOfMemoryError("\n".join(lines))


# ---- Python's view

def size_text(nbytes):
    """A number of bytes for people: '40.0 MB'."""
    size = float(nbytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            break
        size /= 1000
    else:
        unit = "TB"
    return f"{nbytes} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def set_describe(function):
    """Let `function()` give the lines on who holds memory that an OutOfMemoryError ends with."""
    global describe
    describe = function


def release():
    """Give idle pooled blocks back to the system; return how many bytes."""
    return trim(bytes_pooled)


os.register_at_fork(after_in_child=release)     # the parent's unused blocks: each write to them would copy a page


def set_limit(nbytes):
    """Bound what the pool takes from the system, in bytes, or with None no longer; return the bound before."""
    global bytes_limit
    cdef object before = limit()
    bytes_limit = LARGEST if nbytes is None else min(<Py_ssize_t>nbytes, LARGEST)
    if bytes_in_use + bytes_pooled > bytes_limit:
        trim(bytes_in_use + bytes_pooled - bytes_limit)
    return before


def limit():
    """The bound in bytes, or None."""
    return None if bytes_limit == LARGEST else bytes_limit


def room():
    """Bytes there are beyond what is in use, by the limit."""
    return bytes_limit - bytes_in_use


def reset_peak():
    """Start measuring the peaks anew."""
    global bytes_peak, reserved_peak
    bytes_peak = bytes_in_use
    reserved_peak = bytes_in_use + bytes_pooled


def capacity_of(Py_ssize_t nbytes):
    """Bytes of the block that a buffer of `nbytes` bytes gets."""
    cdef Py_ssize_t capacity = 0
    class_of(nbytes, &capacity)
    return capacity


def stats():
    """Bytes in use, pooled, at the peak and allocated in total, and counts of allocations."""
    cdef Py_ssize_t busy = 0, i, k
    for i in range(CLASSES):
        for k in range(<Py_ssize_t>free_blocks[i].size()):
            if not var_idle(free_blocks[i][k].var):
                busy += free_blocks[i][k].capacity
    return {
        "in_use": bytes_in_use,
        "pooled": bytes_pooled,
        "busy": busy,
        "peak": bytes_peak,
        "reserved_peak": reserved_peak,
        "huge": bytes_huge,
        "allocated": bytes_allocated,
        "buffers": n_buffers,
        "blocks": n_blocks,
        "allocations": allocations,
        "system_allocations": system_allocations,
    }


def buffer_of(Py_ssize_t nbytes):
    """A fresh Buffer of `nbytes` bytes, for tests and Python code that fills one."""
    return new_buffer(nbytes)
