# What tests and benchmarks push to see the native side, part of _engine.pyx; no program needs it.

cdef extern from *:
    """
    // splitmix64's finisher (Steele, Lea, Flood 2014).
    static inline uint64_t la_mix(uint64_t x) {
        x += 0x9e3779b97f4a7c15ull;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
        return x ^ (x >> 31);
    }
    """
    uint64_t mix "la_mix"(uint64_t) nogil

cdef enum:
    WRITER = 1 << 20      # above any count of readers


def _mix(x):
    """Return the hash that `_Cells` uses, for serial oracles."""
    return mix(x)


cdef struct CellsJob:
    uint64_t* values
    int* users                  # per cell: readers, plus WRITER for each writer
    int* overlaps
    int* units                  # how often each unit has run
    uint64_t tag
    int64_t spin_ns
    int code                    # failure at unit `fails_at`
    Py_ssize_t fails_at
    int n_reads
    int n_writes
    int* cells                  # reads, then writes
    uint64_t* depends           # for each read: the writes that depend on it


cdef bint also_written(CellsJob* job, int read) noexcept nogil:
    cdef int i
    for i in range(job.n_reads, job.n_reads + job.n_writes):
        if job.cells[i] == job.cells[read]:
            return True
    return False


cdef void enter_cells(CellsJob* job) noexcept nogil:
    cdef int i, before
    for i in range(job.n_reads + job.n_writes):
        if i >= job.n_reads:
            before = add(&job.users[job.cells[i]], <int>WRITER) - <int>WRITER
            if before:
                add(job.overlaps, 1)
        elif not also_written(job, i):
            before = add(&job.users[job.cells[i]], 1) - 1
            if before >= WRITER:
                add(job.overlaps, 1)


cdef void leave_cells(CellsJob* job) noexcept nogil:
    cdef int i
    for i in range(job.n_reads + job.n_writes):
        if i >= job.n_reads:
            add(&job.users[job.cells[i]], -<int>WRITER)
        elif not also_written(job, i):
            add(&job.users[job.cells[i]], -1)


cdef void busy(int64_t ns) noexcept nogil:
    cdef int64_t end = now_ns() + ns
    while now_ns() < end:
        pass


cdef int hash_cells(void* arg, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Each written cell becomes a hash of the tag and all read cells."""
    cdef CellsJob* job = <CellsJob*>arg
    cdef uint64_t h = job.tag
    cdef int i
    enter_cells(job)
    for i in range(job.n_reads):
        h = mix(h ^ job.values[job.cells[i]])
    if job.spin_ns:
        busy(job.spin_ns)
    for i in range(job.n_writes):
        job.values[job.cells[job.n_reads + i]] = mix(h + <uint64_t>i)
    leave_cells(job)
    return job.code


cdef int hash_cells_apart(void* arg, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Each written cell becomes a hash of the tag and the read cells that it depends on."""
    cdef CellsJob* job = <CellsJob*>arg
    cdef uint64_t hashes[64]
    cdef int i, w
    enter_cells(job)
    for w in range(job.n_writes):
        hashes[w] = job.tag
        for i in range(job.n_reads):
            if job.depends[i] >> w & 1:
                hashes[w] = mix(hashes[w] ^ job.values[job.cells[i]])
    if job.spin_ns:
        busy(job.spin_ns)
    for w in range(job.n_writes):
        job.values[job.cells[job.n_reads + w]] = mix(hashes[w] + <uint64_t>w)
    leave_cells(job)
    return job.code


cdef int count_units(void* arg, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef CellsJob* job = <CellsJob*>arg
    cdef Py_ssize_t i
    for i in range(begin, end):
        add(&job.units[i], 1)
        if job.spin_ns:
            busy(job.spin_ns)
        if i == job.fails_at:
            return job.code
    return 0


cdef int count_done(void* arg) noexcept nogil:
    """Seals the written cell with how many units ran, so a finish that comes early or twice shows."""
    cdef CellsJob* job = <CellsJob*>arg
    job.values[job.cells[0]] = job.values[job.cells[0]] * 1000003 + <uint64_t>job.units[0]
    return 0


cdef class _Job:
    cdef CellsJob job
    cdef object owner

    def __dealloc__(self):
        free(self.job.cells)
        free(self.job.units)
        free(self.job.depends)

    def error(self, index, code):
        """As the engine asks for it: the exception for a failure."""
        return ValueError(f"cell {index} failed with {code}")


cdef class _Cells:
    """Numbers, each under its own Var, that native tasks hash into each other while they check that access is exclusive."""

    cdef uint64_t* values
    cdef int* users
    cdef int overlaps
    cdef Py_ssize_t n
    cdef readonly list vars
    cdef object __weakref__

    def __cinit__(self, Py_ssize_t n):
        if n < 1:
            raise ValueError("at least one cell")
        self.n = n
        self.values = <uint64_t*>calloc(n, sizeof(uint64_t))
        self.users = <int*>calloc(n, sizeof(int))
        self.vars = [Var() for _ in range(n)]

    def __dealloc__(self):
        free(self.values)
        free(self.users)

    cdef _Job job(self, list cells, int n_reads):
        cdef _Job made = _Job()
        cdef int i
        made.owner = self
        made.job.values = self.values
        made.job.users = self.users
        made.job.overlaps = &self.overlaps
        made.job.n_reads = n_reads
        made.job.n_writes = <int>len(cells) - n_reads
        made.job.cells = <int*>malloc(max(1, len(cells)) * sizeof(int))
        for i in range(len(cells)):
            if not 0 <= cells[i] < self.n:
                raise IndexError(cells[i])
            made.job.cells[i] = cells[i]
        return made

    def push(self, list reads, list writes, uint64_t tag, *, int64_t spin_ns=0, int code=0, int priority=0,
             Py_ssize_t nbytes=0, lane=None, list depends=None):
        """Push one native hashing task; with a code it fails after its writes.

        `depends` has a bit set for each read: at most 64 writes, which depend on it.
        """
        cdef _Job job = self.job(reads + writes, <int>len(reads))
        cdef Py_ssize_t i
        job.job.tag = tag
        job.job.spin_ns = spin_ns
        job.job.code = code
        if depends is not None:
            if len(depends) != len(reads) or len(writes) > 64:
                raise ValueError("a bit set for each read, of at most 64 writes")
            job.job.depends = <uint64_t*>calloc(max(1, len(reads)), sizeof(uint64_t))
            for i in range(len(reads)):
                job.job.depends[i] = depends[i]
        admit(1, nbytes)
        self.push_job(job, hash_cells if depends is None else hash_cells_apart, NULL, 1, 1, len(reads), priority, nbytes,
                      lane)

    def push_units(self, int cell, Py_ssize_t extent, Py_ssize_t grain, *, int64_t spin_ns=0, int code=0,
                   Py_ssize_t fails_at=-1):
        """Push one native task in units that writes `cell`; returns a function that gives the units' counts."""
        cdef _Job job = self.job([cell], 0)
        job.job.units = <int*>calloc(extent + 1, sizeof(int))
        job.job.spin_ns = spin_ns
        job.job.code = code
        job.job.fails_at = fails_at
        admit(1, 0)
        self.push_job(job, count_units, count_done, extent, grain, 0, 0, 0, None)
        return lambda: [job.job.units[i] for i in range(extent)]

    cdef int push_job(self, _Job job, NativeRun run, NativeFinish finish, Py_ssize_t extent, Py_ssize_t grain,
                      int n_reads, int priority, Py_ssize_t nbytes, object lane) except -1:
        cdef int n = job.job.n_reads + job.job.n_writes, i
        cdef VarState** vars = <VarState**>malloc(max(1, n) * sizeof(VarState*))
        try:
            for i in range(n):
                vars[i] = (<Var>self.vars[job.job.cells[i]]).state
            return push_native(run, finish, &job.job, extent, grain, job, job.job.cells[0], vars, n_reads,
                               vars + n_reads, n - n_reads, job.job.depends, priority, lane, nbytes, b"cells")
        finally:
            free(vars)

    def settle(self, int cell):
        """Wait until no task reads or writes a cell."""
        var_settle((<Var>self.vars[cell]).state)

    def value(self, int cell):
        """Wait for a cell and return its number."""
        var_wait((<Var>self.vars[cell]).state)
        return self.values[cell]

    @property
    def clashes(self):
        """How often a task met another in a cell where one of them writes."""
        return load(&self.overlaps)


cdef int nothing(void* arg, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    return 0


def _push_nothing(Py_ssize_t n, list reads=None, list writes=None):
    """Push `n` empty native tasks that read and write the given Vars."""
    cdef VarState* vars[32]
    cdef int i = 0
    reads = reads or []
    writes = writes or []
    cdef Py_ssize_t k
    if len(reads) + len(writes) > 32:
        raise ValueError("at most 32 Vars")
    for var in (*reads, *writes):
        vars[i] = (<Var?>var).state
        i += 1
    for k in range(n):
        admit(1, 0)
        push_native(nothing, NULL, NULL, 1, 1, None, 0, vars, <int>len(reads), vars + len(reads), <int>len(writes),
                    NULL, 0, None, 0, b"nothing")


cdef int spin_units(void* arg, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    busy((end - begin) * <int64_t>arg)
    return 0


def _push_busy(int64_t ns, list reads=None, list writes=None, Py_ssize_t extent=1, Py_ssize_t grain=1):
    """Push a native task that keeps a core busy for `ns` nanoseconds per unit."""
    cdef VarState* vars[32]
    cdef int i = 0
    reads = reads or []
    writes = writes or []
    if len(reads) + len(writes) > 32:
        raise ValueError("at most 32 Vars")
    for var in (*reads, *writes):
        vars[i] = (<Var?>var).state
        i += 1
    admit(1, 0)
    push_native(spin_units, NULL, <void*>ns, extent, grain, None, 0, vars, <int>len(reads), vars + len(reads),
                <int>len(writes), NULL, 0, None, 0, b"busy")
