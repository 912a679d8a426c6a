# What memory is too small for in one plan, run as several (see parts.py). Part of _bind.pyx.

cdef enum:
    SPLITS = 256                # graphs whose first part is remembered
    POSTPONED = 4096            # nodes that stay pending where there is no room for what nobody waits for

cdef dict splits = {}           # key of a graph -> (room it did not fit into, NoRoom, its first part)
cdef Py_ssize_t n_parts = 0
cdef Py_ssize_t postponed = 0    # nodes that found no room at the bound, the bytes one of them wanted, and the room there was
cdef Py_ssize_t postponed_bytes = 0
cdef Py_ssize_t postponed_room = 0
cdef Py_ssize_t always = 0       # stored values of a part, where every flush is to go in parts: for tests


cdef object known_split(bytes key):
    # What is known of a graph that went in parts when there was as much room as now.
    cdef tuple found = splits.get(key)
    if found is None or _memory.room() > found[0] + found[0] // 16:
        return None
    return found


cdef list asked_for(Walk* walk, list targets, bint live):
    # By node, whether its value is held after the flush whatever it costs. With `live`, ends of chains are asked for.
    cdef Py_ssize_t i, n = <Py_ssize_t>walk.order.size()
    cdef Node node
    cdef list wanted = [live and walk.kept[i] for i in range(n)]
    if live:
        for i in range(n):
            for each in (<Node>walk.order[i]).inputs:
                if (<Node>each).state == PENDING:
                    wanted[(<Node>each).place] = False
    for i in range(n):
        node = <Node>walk.order[i]
        if walk.kept[i] and (node.op.dear or node.op.fallible):
            wanted[i] = True
    for target in targets:
        if (<Node>target).state == PENDING:
            wanted[(<Node>target).place] = True
    return wanted


cdef int flush_in_parts(list targets, Recorder live, bint together, object short) except -1:
    # No lock is held, and no task is under way whose end would make room. Each turn walks what is left: other threads may
    # have run some of it.
    global n_parts
    cdef Walk walk
    cdef list part
    cdef bytes key
    cdef object found, known
    cdef Py_ssize_t count = always, room = 0, i
    cdef bint collecting
    while True:
        part = None             # whose references would count as handles
        with lock:
            collecting = PyGC_Disable()
            try:
                if not gather(&walk, targets, live, together):
                    return 0
                key = key_of(&walk)
                room = _memory.room()
                known = known_split(key) if not count else None
                if known is not None:
                    found = known[2]
                else:
                    found = parts.first_part(graph_of(&walk), asked_for(&walk, targets, live is not None), count, room)
                if found is not None:
                    part = [<object>walk.order[i] for i in found.places]
                    if not part:
                        settle_all(&walk)
                        return 0
            finally:
                if collecting:
                    PyGC_Enable()
        if found is not None:
            try:
                flush_now(part, None, False, False, True)
            except NoRoom as error:
                if found.count > 1:
                    count = (found.count + 1) // 2
                    continue
                short = error
                found = None
        if found is None:
            if live is None or not postpone(live, short.nbytes):
                raise no_memory(short.what, short.where)
            return 0
        n_parts += 1
        if known is None and short is not None and _memory.limit() is not None:
            if len(splits) >= SPLITS:
                splits.clear()
            splits[key] = room, short, found
        count = found.count


cdef bint postpone(Recorder live, Py_ssize_t nbytes) except -1:
    # Nobody waits: it is computed when it is wanted, and by then perhaps no more than a small part of it. False where that
    # is much already.
    global postponed, postponed_bytes, postponed_room
    cdef Walk walk
    cdef bint collecting
    with lock:
        collecting = PyGC_Disable()
        try:
            if not gather(&walk, [], live, False):
                return True
            if <Py_ssize_t>walk.order.size() > POSTPONED:
                return False
            postponed = <Py_ssize_t>walk.order.size()
            postponed_bytes = nbytes
            postponed_room = _memory.room()
            settle_all(&walk)
        finally:
            if collecting:
                PyGC_Enable()
    return True


cdef bint still_no_room(Recorder live) except -1:
    # Whether what is pending at the bound is still postponed: it is tried again when it is twice as much, or there is room,
    # or what wanted so much is gone.
    global postponed
    cdef Walk walk
    cdef bint collecting, few, large = False
    cdef Py_ssize_t i
    with lock:
        collecting = PyGC_Disable()
        try:
            if not gather(&walk, [], live, False):
                return True
            for i in range(<Py_ssize_t>walk.order.size()):
                large = large or (<Node>walk.order[i]).type.nbytes >= postponed_bytes
            few = <Py_ssize_t>walk.order.size() < 2 * postponed
            if large and few and _memory.room() <= postponed_room + postponed_room // 16:
                settle_all(&walk)
                return True
        finally:
            if collecting:
                PyGC_Enable()
    postponed = 0
    return False


def set_parts(Py_ssize_t count):
    """Let every flush go in parts of so many stored values, whether there is memory or not; 0: as usual. For tests."""
    global always
    always = count


cdef int settle_all(Walk* walk) except -1:
    # What nobody asks for is pending work no more; it is computed when it is wanted.
    cdef list order = [<object>walk.order[i] for i in range(<Py_ssize_t>walk.order.size())]
    for each in order:
        settle(<Node>each)
    return 0
