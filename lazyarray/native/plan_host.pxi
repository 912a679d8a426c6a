# Host functions as tasks, part of _plan.pyx: under one BLAS thread, and under the recorded errstate.

class OneThread:
    """Holds NumPy's BLAS at one thread a call while a host function runs: the workers are threads enough, and its bits must
    not depend on how many cores there are. SciPy's copy is set for good by `_blas.load_blas`."""

    def __init__(self):
        self.lock = threading.Lock()    # ctypes lets go of the GIL
        self.inside = 0
        self.libraries = None
        self.before = []

    def __enter__(self):
        with self.lock:
            self.inside += 1
            if self.inside > 1:
                return
            if self.libraries is None:
                from threadpoolctl import ThreadpoolController

                self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
            self.before = [(library, library.get_num_threads()) for library in self.libraries]
            for library, count in self.before:
                if count != 1:
                    set_threads(library, 1)

    def __exit__(self, *exception):
        with self.lock:
            self.inside -= 1
            if self.inside:
                return
            for library, count in self.before:
                if count != 1:
                    set_threads(library, count)


def set_threads(library, count):
    """Set how many threads a call of a library has, whichever thread has set that before."""
    free = getattr(library, "clear_controlling_thread", None)   # newer versions listen to one thread only
    if free is not None:
        free(force=True)
    library.set_num_threads(count)
    if free is not None:
        free(force=True)


# Host functions that call BLAS, by the beginnings of their names.
BLAS_USERS = ("linalg.", "einsum", "dot", "inner", "vdot", "tensordot", "cov", "corrcoef", "polyfit")
single_threaded = OneThread()


def fresh_blas_hold():
    """In a forked child: the thread that held the lock is gone."""
    global single_threaded
    single_threaded = OneThread()


os.register_at_fork(after_in_child=fresh_blas_hold)


class HostCall:
    """A Python task: an op's NumPy function on the memory of its slots."""

    __slots__ = ("arrays", "attributes", "frame", "function", "mode", "name", "site")

    def __init__(self, function, attributes, arrays, name, site, frame, mode=None):
        self.function = function
        self.attributes = attributes
        self.arrays = arrays
        self.name = name
        self.site = site
        self.mode = default if mode is None else mode   # of floating-point warnings
        self.frame = frame          # whose memory holds the numbers

    def __call__(self):
        cdef int flags = 0
        if not (<Mode>self.mode).asked:
            with np.errstate(all="ignore"):
                return self.compute()
        seen = set()
        with np.errstate(**listening(self.mode), call=lambda kind, number: seen.add(number)):
            self.compute()
        if not seen:
            return
        for flag, _, number, _ in KINDS:
            if number in seen:
                flags |= <int>flag
        notes = [(self.name, flags, *(self.site or (None, 0)), self.mode)]
        found = failure(flags, notes)
        if found is not None:
            raise FloatingPointError(f"{found[0]}\n  Recorded at {found[1]}.")
        tell(flags, notes)

    def compute(self):
        token = recorded.set(self.site)
        try:
            if self.name.startswith(BLAS_USERS):
                with single_threaded:
                    self.function(np, *self.arrays, **self.attributes)
            else:
                self.function(np, *self.arrays, **self.attributes)
        except Exception as error:
            if self.site is not None and self.site[0] is not None:
                error.add_note(f"{self.name}: recorded at {line_of(self.site)}.")
            raise
        finally:
            recorded.reset(token)


def listening(Mode mode):
    """The arguments of an errstate that calls for what a mode asks for."""
    return {name: "call" if mode.asked & <int>flag else "ignore" for flag, name, _, _ in KINDS}
