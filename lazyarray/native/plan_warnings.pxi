# What has been noted in tasks and is said with the GIL, with the lines that recorded it. Part of _plan.pyx.

cdef void collect_raised() noexcept:
    # With the GIL: the frames named there are alive, or in their __dealloc__. Latest first.
    cdef Raised* each = raised().take_all()
    cdef list found = []
    cdef PyObject* raw
    while each != NULL:
        raw = <PyObject*>each.frame
        found.append((<int>each.flags, (<Frame><object>raw).notes_of(each.index)))
        each = each.next
    for flags, notes in reversed(found):
        tell(flags, notes)


cdef int speak() except -1:
    if not raised().empty():
        collect_raised()
    return drain()


def warn_now():
    """Issue the floating-point warnings of what has run."""
    speak()


def hush():
    """Forget the floating-point warnings of what has run."""
    if not raised().empty():
        collect_raised()
    forget()


def located(kind, message, site):
    """An exception that names the line where the failing op was recorded."""
    if site is not None and site[0] is not None:
        line = line_of(site)
        message = f"{message}\n  Recorded at {line}."
    return kind(message)


def line_of(site):
    """'file:line' of a raw site."""
    code, lasti = site
    for start, end, line in code.co_lines():
        if start <= lasti < end:
            return f"{code.co_filename}:{line}"
    return f"{code.co_filename}:{code.co_firstlineno}"
