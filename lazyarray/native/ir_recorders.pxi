# What each thread has recorded, part of _ir.pyx.

cdef class Recorder:
    """What one thread has recorded and not yet run, and how it is recording."""

    def __cinit__(self):
        self.training = False
        self.recording = False
        self.device = first_device

    def pending(self):
        """The pending nodes, oldest first."""
        cdef list out = []
        cdef void* at = self.oldest
        while at != NULL:
            out.append(<object>(<PyObject*>at))
            at = (<Node>at).after
        return out


cdef PyObject* first_recorder() except NULL:
    global la_recorder
    cdef Recorder made = Recorder()
    threads.recorder = made         # dies with its thread
    la_recorder = <PyObject*>made
    return la_recorder


cdef Recorder recorder():
    return <Recorder><object>(la_recorder if la_recorder != NULL else first_recorder())


def current():
    """This thread's Recorder."""
    return recorder()


@cython.final
@cython.no_gc
cdef class Scope:
    """A `with` block that sets how this thread records, and puts it back afterwards."""

    # Compiled, as a lock's methods are: interrupts are raised between bytecodes, so none comes between setting the flags and
    # entering the block, or between leaving it and putting them back.
    cdef int recording, training        # 0, 1, or below 0: as outside
    cdef list outer                     # what to put back; the innermost entry last

    def __init__(self, recording, training):
        self.recording = -1 if recording is None else bool(recording)
        self.training = -1 if training is None else bool(training)
        self.outer = []

    def __enter__(self):
        cdef Recorder rec = recorder()
        self.outer.append((rec.recording, rec.training))
        if self.recording >= 0:
            rec.recording = self.recording
        if self.training >= 0:
            rec.training = self.training
        return self

    def __exit__(self, *exception):
        cdef Recorder rec = recorder()
        rec.recording, rec.training = self.outer.pop()
