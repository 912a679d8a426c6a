"""Floating-point warnings: what NumPy's errstate asks for, and what a kernel's flags say once it has run."""

# Design. A Mode is what an errstate asked for where an op was recorded; the Node holds it, None for NumPy's default. It is
# read from NumPy's own context variable: a few loads where no variable of the context has been set since the last look.
# A kernel that has raised flags is told of in `reports`; the next wait of a Python thread for a value issues them, outside of
# every lock, as the warnings module, the user's function or the user's log may run anything.
# Guarded by the GIL: everything here.

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF, Py_XINCREF

import contextvars
import sys
import warnings

import numpy as np

from lazyarray._engine cimport inside_task

cdef extern from *:
    """
    #include <string.h>
    // The beginning of CPython's context object: its variables are in an immutable map, so its address says what they are.
    struct la_context {
        PyObject_HEAD
        void* before;
        PyObject* variables;
    };
    #if PY_VERSION_HEX < 0x030E0000
    static inline PyObject* la_context_of_thread(void) { return PyThreadState_Get()->context; }
    static int la_context_known(PyObject* context) {
        PyObject* map = ((struct la_context*)context)->variables;
        return map && strcmp(Py_TYPE(map)->tp_name, "hamt") == 0;
    }
    #else
    static inline PyObject* la_context_of_thread(void) { return Py_None; }
    static int la_context_known(PyObject* context) { return 0; }
    #endif
    """
    ctypedef struct la_context:
        PyObject* variables
    PyObject* la_context_of_thread()
    bint la_context_known(object context)

cdef extern from "Python.h":
    int PyContextVar_Get(object var, PyObject* default, PyObject** value) except -1

cdef enum:
    KNOWN = 64          # modes that are remembered
    KEPT = 1024         # reports that nobody has waited for

cdef object variable = np._core.umath._extobj_contextvar
cdef dict known = {}
cdef object last_capsule = None     # both held: an address names them
cdef PyObject* last_variables = NULL
cdef Mode last_mode = None
cdef bint known_layout = la_context_known(contextvars.copy_context())
cdef list reports = []
cdef dict modules = {}              # file name -> (module name, registry of its warnings)

# In the order in which NumPy looks at them: flag, its name in errstate, its number there, what is said.
KINDS = (
    (DIVIDE, "divide", 1, "divide by zero"),
    (OVERFLOW, "over", 2, "overflow"),
    (UNDERFLOW, "under", 4, "underflow"),
    (INVALID, "invalid", 8, "invalid value"),
)


# Ops whose flag is a warning of NumPy's own, which no errstate asks for, and what they say.
TELLING = {
    "all_nan_slice": "All-NaN slice encountered",
    "mean_of_nothing": "Mean of empty slice",
    "no_freedom": "Degrees of freedom <= 0 for slice",
    "no_freedom_left": "Degrees of freedom <= 0 for slice.",
}
SAYINGS = frozenset(TELLING.values())


cdef class Mode:
    """What an errstate asks for."""

    def __init__(self, dict kinds, call):
        self.kinds = {flag: kinds[name] for flag, name, _, _ in KINDS}
        self.call = call
        self.asked = self.raising = self.exact = 0
        for flag, kind in self.kinds.items():
            if kind != "ignore":
                self.asked |= <int>flag
            if kind not in ("ignore", "warn"):
                self.exact |= <int>flag
            if kind == "raise":
                self.raising |= <int>flag


cdef Mode known_mode(dict kinds, object call):
    # The same object for the same errstate: traces are told apart by it.
    cdef Mode made = Mode(kinds, call)
    cdef tuple key
    if not made.asked:
        return silent
    if call is None and made.kinds == default.kinds:
        return None
    key = (*kinds.items(), id(call))
    found = known.get(key)
    if found is None:
        if len(known) >= KNOWN:
            known.clear()
        found = known[key] = made       # which keeps `call`, so that its address is not used again
    return found


# A thread that has set nothing has what NumPy starts with. What lazyarray records by itself says nothing.
default = Mode({"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}, None)
silent = Mode(dict.fromkeys(("divide", "over", "under", "invalid"), "ignore"), None)


cdef PyObject* mode_now() noexcept:
    """What is asked for on this thread now; None for NumPy's default. Borrowed until the next call."""
    cdef PyObject* context = la_context_of_thread()
    if context == NULL:
        return <PyObject*>None
    if known_layout and (<la_context*>context).variables == last_variables:
        return <PyObject*>last_mode
    try:
        look(context)
    except Exception:       # nothing that a program can do
        pass
    return <PyObject*>last_mode


cdef int look(PyObject* context) except -1:
    global last_capsule, last_mode, last_variables
    cdef PyObject* raw = NULL
    cdef bint same
    PyContextVar_Get(variable, NULL, &raw)
    same = raw == <PyObject*>last_capsule
    if not same:
        last_capsule = <object>raw
        last_mode = known_mode(np.geterr(), np.geterrcall())
    Py_XDECREF(raw)
    if known_layout:
        raw = last_variables
        last_variables = (<la_context*>context).variables
        Py_XINCREF(last_variables)
        Py_XDECREF(raw)
    return 0


def current():
    """What this thread's errstate asks for; None for NumPy's default. Equal ones are the same object."""
    return <object>mode_now()


cdef int tell(int flags, list notes) except -1:
    """Keep for the next wait what a kernel raised; `notes` are (op's name, flags it can raise, code, instruction, mode)."""
    if len(reports) >= KEPT:        # nobody waits
        del reports[0]
    reports.append((flags, notes))
    return 0


cdef int drain() except -1:
    """Issue what has been told."""
    if len(reports) and not inside_task():
        issue_all()
    return 0


cdef int issue_all() except -1:
    cdef list todo
    while reports:
        flags, notes = reports.pop(0)
        todo = list(spoken(flags, notes))
        while todo:
            act, args = todo.pop(0)
            try:
                act(*args)
            except BaseException:
                if todo:        # a filter made it an error: the others stay
                    reports.insert(0, (0, todo))
                raise
    return 0


def forget():
    """Issue nothing of what has been told so far."""
    reports.clear()


def spoken(flags, notes):
    """What is to be done about a kernel's flags, as (function, arguments)."""
    if not flags:
        yield from notes
        return
    # As NumPy does, a call is told of all that was raised.
    number = sum([one for bit, _, one, _ in KINDS if flags & bit])
    for flag, _, _, text in KINDS:
        if not flags & flag:
            continue
        asking = {}
        for note in notes:
            if note[1] & flag and note[4].asked & flag:
                asking.setdefault((note[4].kinds[flag], id(note[4].call)), []).append(note)
        for (kind, _), some in asking.items():
            some = likely_first(some, flag)
            what = some[0][0] if some[0][0] in SAYINGS else f"{text} encountered in {named(some)}"
            if kind == "warn":
                yield warn, (what, some)
            elif kind == "call":
                yield some[0][4].call, (text, number)
            elif kind == "print":
                yield print_line, (f"Warning: {what}\n",)
            elif kind == "log":
                yield some[0][4].call.write, (f"Warning: {what}\n",)


# What seldom makes a NaN or an infinity by itself, but may have been given one.
PASSING = {"add": 2, "subtract": 2, "negative": 2, "multiply": 1, "square": 1, "reduce": 3, "accumulate": 3, "matmul": 3}


def likely_first(notes, flag):
    """The ops, those first that are the likely cause."""
    if flag == UNDERFLOW or flag == OVERFLOW:
        return notes
    return sorted(notes, key=lambda note: PASSING.get(note[0], 0))


def named(notes):
    """The ops' names, each once."""
    return ", ".join(dict.fromkeys(note[0] for note in notes))


def line_of(note):
    """(file, line) where an op was recorded."""
    code, lasti = note[2], note[3]
    if code is None:
        return "<unknown>", 0
    for start, end, line in code.co_lines():
        if start <= lasti < end and line is not None:
            return code.co_filename, line
    return code.co_filename, code.co_firstlineno


def where(notes):
    """The lines of some ops, each once, as they are said in a message."""
    return ", ".join(dict.fromkeys(f"{file}:{line}" for file, line in map(line_of, notes)))


def warn(what, notes):
    """NumPy's warning, on the line where the op was recorded."""
    file, line = line_of(notes[0])
    name, registry = module_of(file)
    warnings.warn_explicit(
        f"{what}\n  Recorded at {where(notes)}.", RuntimeWarning, file, line, module=name, registry=registry
    )


def module_of(file):
    """The name of the module that a file is, and where it keeps which warnings it has shown."""
    found = modules.get(file)
    if found is None:
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) == file:
                found = name, vars(module).setdefault("__warningregistry__", {})
                break
        else:
            main = sys.modules.get("__main__")
            if main is not None and not hasattr(main, "__file__"):      # a console, or a string
                found = "__main__", vars(main).setdefault("__warningregistry__", {})
            else:
                found = None, {}
        if len(modules) > 1024:
            modules.clear()
        modules[file] = found
    return found


def print_line(text):
    sys.stderr.write(text)


def failure(flags, notes):
    """(message, site) of the FloatingPointError for a kernel's flags, None where no mode asks for one."""
    for flag, _, _, text in KINDS:
        some = [note for note in notes
                if flags & flag and note[1] & flag and note[4].raising & flag]
        if some:
            some = likely_first(some, flag)
            return f"{text} encountered in {named(some)}", where(some)
    return None
