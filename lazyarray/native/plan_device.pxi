# Tasks of devices, part of _plan.pyx. A task of a device is done when it has been issued: the device's stream keeps their
# order. What it reads being issued, the thread that binds issues it at once: a thread of the lane would wait for the GIL,
# which a busy main thread gives every 5 ms. What waits for a value from elsewhere is issued by the lane.

class DeviceCall:
    """The issue of a device's task on the memory of its slots: addresses, or the bytes of numbers."""

    __slots__ = ("args", "frame", "launch", "name", "site")

    def __init__(self, launch, args, name, site, frame):
        self.launch = launch
        self.args = args
        self.name = name
        self.site = site
        self.frame = frame          # holds the buffers until it has been issued

    def __call__(self):
        try:
            self.launch(self.args)
        except Exception as error:
            if self.site is not None and self.site[0] is not None:
                error.add_note(f"{self.name}: recorded at {line_of(self.site)}.")
            raise


cdef list device_args(Plan plan, Py_ssize_t index, char** pointers, char* numbers):
    # The operands of a task: addresses, or the bytes of numbers.
    cdef Spec* spec = &plan.tasks[index]
    cdef list args = []
    cdef Py_ssize_t i
    cdef int slot
    for i in range(spec.first_arg, spec.first_arg + spec.n_args):
        slot = plan.args[i].slot
        if plan.slots[slot].const:
            args.append((numbers + 16 * slot)[:16])
        else:
            args.append(<size_t>pointers[i])
    return args


cdef int issue_together(
    Plan plan, char** pointers, Frame frame, char* numbers, vector[VarState*]& slot_vars
) except -1:
    # What the device computes at once, between the copies to it and from it; where something else is to happen before,
    # one task after the other.
    cdef Py_ssize_t i, n = <Py_ssize_t>plan.tasks.size()
    cdef int turn
    cdef vector[VarState*] reads, writes
    cdef bint ready
    cdef list turns, args
    issue, turns = plan.together
    for turn in range(3):
        reads.clear()
        writes.clear()
        args = []
        for i in range(n):
            if turns[i] != turn:
                continue
            if turn != 1:
                reads.clear()
                writes.clear()
            add_vars(plan, i, slot_vars, reads, writes)
            if turn != 1:
                issue_on_device(plan, i, pointers, frame, numbers, reads, writes)
            else:
                args.append(device_args(plan, i, pointers, numbers))
        if turn != 1:
            continue
        ready = True
        for i in range(<Py_ssize_t>reads.size()):
            ready = ready and var_readable(reads[i]) and not var_poisoned(reads[i])
        for i in range(<Py_ssize_t>writes.size()):
            ready = ready and var_idle(writes[i]) and not var_poisoned(writes[i])
        if not ready:
            for i in range(n):
                if turns[i] == 1:
                    reads.clear()
                    writes.clear()
                    add_vars(plan, i, slot_vars, reads, writes)
                    issue_on_device(plan, i, pointers, frame, numbers, reads, writes)
            continue
        try:
            issue(args)
        except BaseException as error:
            for i in range(<Py_ssize_t>writes.size()):
                var_poison(writes[i], error)
            if not isinstance(error, Exception):
                raise
        else:
            for i in range(<Py_ssize_t>writes.size()):
                var_written(writes[i])
    return 0


cdef void add_vars(
    Plan plan, Py_ssize_t index, vector[VarState*]& slot_vars, vector[VarState*]& reads, vector[VarState*]& writes
) noexcept:
    # What a task reads and writes.
    cdef Spec* spec = &plan.tasks[index]
    cdef Py_ssize_t k
    for k in range(spec.first_read, spec.first_read + spec.n_reads):
        reads.push_back(slot_vars[plan.vars[k]])
    for k in range(spec.first_write, spec.first_write + spec.n_writes):
        writes.push_back(slot_vars[plan.vars[k]])


cdef int issue_on_device(
    Plan plan, Py_ssize_t index, char** pointers, Frame frame, char* numbers,
    vector[VarState*]& reads, vector[VarState*]& writes,
) except -1:
    cdef Spec* spec = &plan.tasks[index]
    cdef Py_ssize_t i
    cdef object call
    launch, name = plan.calls[index]
    call = DeviceCall(launch, device_args(plan, index, pointers, numbers), name, frame.site_of(index), frame)
    if launch.waits or not granted(reads, writes):
        push_python(
            call, reads.data(), <int>reads.size(), writes.data(), <int>writes.size(), spec.priority, launch.lane, 0, name,
        )
        return 0
    try:
        call()
    except BaseException as error:
        for i in range(<Py_ssize_t>writes.size()):
            var_poison(writes[i], error)
        if not isinstance(error, Exception):
            raise
    else:
        for i in range(<Py_ssize_t>writes.size()):
            var_written(writes[i])
    return 0


cdef bint granted(vector[VarState*]& reads, vector[VarState*]& writes) noexcept:
    # Nothing else is to happen first to what a task reads and writes.
    cdef size_t i
    for i in range(reads.size()):
        if not var_readable(reads[i]) or var_poisoned(reads[i]):
            return False
    for i in range(writes.size()):
        if not var_idle(writes[i]):
            return False
    return True


def run_kernel(NativeKernel kernel, list addresses):
    """Run a kernel of the CPU on memory at these addresses, by this thread."""
    cdef vector[char*] args
    cdef int code
    cdef Py_ssize_t extent = kernel.extent
    cdef KernelRun run = kernel.run
    cdef KernelFinish finish = kernel.finish
    cdef const void* params = kernel.params
    for each in addresses:
        args.push_back(<char*><size_t>each)
    with nogil:
        code = run(params, args.data(), 0, extent)
        if code == 0 and finish != NULL:
            code = finish(params, args.data())
    if code:
        kind, message = (kernel.errors or {}).get(code, (RuntimeError, f"kernel {kernel.label} failed with code {code}"))
        raise kind(message)
