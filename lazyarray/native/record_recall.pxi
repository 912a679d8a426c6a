# Calls like one before, part of _record.pyx: their nodes are made again without running a rule.

cdef enum:
    RECALLED = 4096             # templates of a rule
    FEW = 64                    # integers up to which an argument is part of a template's key


@cython.final
cdef class Step:
    """A node of a template: its inputs by their places among the arguments and the nodes before, or as numbers."""

    cdef Op op
    cdef object attrs
    cdef Type type
    cdef Py_ssize_t offset
    cdef int place              # of its only input; -1: see `places`
    cdef tuple places


@cython.final
cdef class Recalled:
    """A rule on Nodes that only looks at types and small arguments: called alike, it is not run again.

    A call with arrays, or a sequence of them, then None, truth values and integers records what it recorded before on nodes
    of the same types. Other calls are NotImplemented, and those whose result is no Node.
    """

    cdef object rule
    cdef dict known
    cdef bint warns             # as the errstate of the call says

    def __init__(self, rule, bint warns=False):
        self.rule = rule
        self.warns = warns
        self.known = {}

    def __call__(self, tuple args):
        cdef Py_ssize_t count = len(args), arrays = 0
        cdef object first = args[0] if count else None
        cdef list given = [], steps
        cdef bint one = isinstance(first, ArrayBase)
        cdef object key, found, out
        cdef uint64_t last = newest() if self.warns else 0
        if one:
            while arrays < count and isinstance(args[arrays], ArrayBase):
                given.append(node_of(<ArrayBase>args[arrays]))
                arrays += 1
        elif (type(first) is list or type(first) is tuple) and 0 < len(first) <= FEW:
            arrays = 1
            for each in first:
                if not isinstance(each, ArrayBase):
                    return NotImplemented
                given.append(node_of(<ArrayBase>each))
        else:
            return NotImplemented
        if one and arrays == 1:
            key = (<Node>given[0]).type.id
        else:
            key = (one, pattern(given))
        if count > arrays:
            key = key_of(key, args, arrays)
            if key is None:
                return NotImplemented
        if not simple(given):
            return NotImplemented
        found = self.known.get(key, self)
        if found is None:
            return NotImplemented
        if found is not self:
            out = replayed(<list>found, given)
        else:
            out = self.rule(*given, *args[arrays:]) if one else self.rule(list(given), *args[1:])
            if len(self.known) >= RECALLED:
                self.known.clear()
            if type(out) is not Node:
                self.known[key] = None
                return NotImplemented
            steps = template_of(<Node>out, given)
            if steps is not None:
                self.known[key] = steps
        if self.warns:
            ask_since(last)
        return wrap(<Node>out, (<Node>out).type.ndim == 0)


cdef object key_of(object types, tuple args, Py_ssize_t first):
    # 1 and True are equal, so truth values count from beyond the integers.
    cdef list key = [types]
    cdef Py_ssize_t i
    for i in range(first, len(args)):
        each = args[i]
        if each is None:
            key.append(None)
        elif each is True or each is False:
            key.append(FEW + 1 + (each is True))
        elif type(each) is int and -FEW <= each <= FEW:
            key.append(each)
        else:
            return None
    return tuple(key)


cdef tuple pattern(list given):
    # Their types, or which one before it is.
    cdef list found = []
    cdef Py_ssize_t i, k
    for i in range(len(given)):
        for k in range(i):
            if given[k] is given[i]:
                found.append(-1 - k)
                break
        else:
            found.append((<Node>given[i]).type.id)
    return tuple(found)


cdef bint simple(list given):
    # A rule may look at a number's value, and at whether there is anything.
    cdef Node node
    for node in given:
        if node.state == CONST or node.type.size == 0:
            return False
    return True


cdef Node replayed(list steps, list given):
    cdef list made = given
    cdef Step step
    cdef Node out = <Node>given[0]
    for step in steps:
        if step.place >= 0:
            out = make(step.op, (made[step.place],), step.attrs, step.type, step.offset)
        else:
            inputs = tuple([made[place] if type(place) is int else place for place in step.places])
            out = make(step.op, inputs, step.attrs, step.type, step.offset)
        made.append(out)
    return out


cdef list template_of(Node out, list given):
    # None where a node has other inputs than `given`, numbers and nodes made of them.
    cdef dict places = {}
    cdef dict found = {}
    cdef list todo = [out], steps = []
    cdef Node node
    cdef Step step
    cdef int i
    for i in range(len(given)):
        places[(<Node>given[i]).serial] = i
    if out.serial in places:
        return [] if len(given) == 1 else None
    while todo:
        node = todo.pop()
        if node.serial in places or node.serial in found or node.state == CONST:
            continue
        if node.state != PENDING or node.op is None:
            return None
        found[node.serial] = node
        todo.extend(node.inputs)
    for i, serial in enumerate(sorted(found), len(given)):
        node = found[serial]
        places[serial] = i
        step = Step.__new__(Step)
        step.op = node.op
        step.attrs = node.attrs
        step.type = node.type
        step.offset = node.offset
        step.places = tuple([each if (<Node>each).state == CONST else places[(<Node>each).serial] for each in node.inputs])
        step.place = step.places[0] if len(step.places) == 1 and type(step.places[0]) is int else -1
        steps.append(step)
    return steps
