# The engine's C interface. Everything above this floor pushes through it.
from libc.stdint cimport uint64_t

# Runs units [begin, end) of a task; 0 or a positive error code. Never touches Python.
ctypedef int (*NativeRun)(void* arg, Py_ssize_t begin, Py_ssize_t end) noexcept nogil
# Called once after all units have run (after a failure too, but not for a task that never ran because of what it reads),
# before the task's Vars are released; may be NULL.
ctypedef int (*NativeFinish)(void* arg) noexcept nogil

cdef struct VarState

cdef class Var:
    cdef VarState* state

# A new VarState with one reference / give one reference back. Any thread, no GIL needed, never blocks.
cdef VarState* var_new() noexcept nogil
cdef void var_release(VarState* var) noexcept nogil
# No pending task reads or writes it.
cdef bint var_idle(VarState* var) noexcept nogil
# No pending task writes it: its value may be read now.
cdef bint var_readable(VarState* var) noexcept nogil
cdef bint var_poisoned(VarState* var) noexcept nogil
cdef uint64_t var_version(VarState* var) noexcept nogil
# For work done inline by the caller on idle Vars: marks a completed write (clears poison, version + 1).
cdef void var_written(VarState* var) noexcept nogil
# Same, for a write that failed. wait_all, and the exit of the program, report it unless a wait on the Var has.
cdef int var_poison(VarState* var, object error) except -1
# For the same without the GIL: keeps others from idle Vars (NULL ones are skipped), of which those with a mark are written.
# False where that may not begin: one is not idle any more, or a fork is under way. A push by the caller waits until it ends.
cdef bint vars_begin(VarState** vars, const char* written, Py_ssize_t n) noexcept nogil
cdef void vars_end(VarState** vars, const char* written, Py_ssize_t n) noexcept nogil
# Waits (GIL released) until no pending write is left; raises the sticky error if poisoned. GIL held by the caller.
cdef int var_wait(VarState* var) except -1
# Same, until no pending task reads or writes it.
cdef int var_settle(VarState* var) except -1
# Same, but a failure is left for whoever waits for its value.
cdef int var_quiet(VarState* var) except -1

# Waits, holding no lock, until the pending bounds (tasks, bytes) admit `tasks` more tasks of `nbytes` together.
# Called with the GIL, before any runtime lock is taken. Inside a task it returns at once.
cdef int admit(Py_ssize_t tasks, Py_ssize_t nbytes) except -1

# Pushes a native task. `extent` units are run as run(arg, begin, end) with begin a multiple of `grain`, split over idle
# workers; then finish(arg). A failure poisons `writes`; the located exception is made once, with the GIL, at the first wait
# by owner.error(index, code) -> BaseException. `owner` is kept alive until the task is done and a Python thread reaps it;
# `name` must live as long.
# A Var in both lists is a partial update: it stays poisoned if it was. Does not wait for admission.
# `depends` says for each read which writes depend on it: bit w of depends[i] stands for write w. Then a poisoned Var poisons
# no other writes, and the task runs if one of them is left: `run` must bear any value in what it reads. A partial update has
# to name itself. NULL, or more than 64 writes: every write depends on every read, and the task does not run.
cdef int push_native(
    NativeRun run, NativeFinish finish, void* arg, Py_ssize_t extent, Py_ssize_t grain,
    object owner, int index, VarState** reads, int n_reads, VarState** writes, int n_writes,
    const uint64_t* depends, int priority, object lane, Py_ssize_t nbytes, const char* name) except -1

# Pushes fn() (called with the GIL on a worker); an exception raised by fn poisons `writes` with it.
cdef int push_python(
    object fn, VarState** reads, int n_reads, VarState** writes, int n_writes,
    int priority, object lane, Py_ssize_t nbytes, object name) except -1

# The same of one that takes less time than to hand it over, and may run twice if it reads nothing that it writes: the thread
# that waits for what it writes runs it, unless a worker was faster.
cdef int push_short(
    object fn, VarState** reads, int n_reads, VarState** writes, int n_writes, Py_ssize_t nbytes, object name) except -1

cdef bint is_naive() noexcept nogil
# True on a thread that is running a task right now.
cdef bint inside_task() noexcept nogil
