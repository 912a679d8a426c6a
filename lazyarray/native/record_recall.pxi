# Calls like one before, part of _record.pyx: their nodes are made again without running a rule.

cdef enum:
    FEW = 64                    # integers up to which there are few of an argument, and arguments in a sequence
    MISSES = 512                # of calls with other arguments
    # What stands in a key before something, or for it.
    AN_ARRAY, THE_SAME, NOTHING, IS_TRUE, IS_FALSE, INTEGER, REAL, OBJECT, IN_LIST, IN_TUPLE, OPTION


@cython.final
cdef class Step:
    """A node of a template: its inputs by their places among the arguments and the nodes before, or as numbers."""

    cdef Op op
    cdef object attrs
    cdef Type type
    cdef int64_t sig
    cdef Py_ssize_t offset
    cdef int place              # of its only input; -1: see `places`
    cdef tuple places


@cython.final
cdef class Template:
    """What a call records."""

    cdef list steps
    cdef tuple held             # what the call's key names


@cython.final
cdef class Recalled:
    """A rule that only looks at types and plain arguments: called alike, it is not run again.

    A call with arrays, sequences of them, numbers, texts, types and tuples of such records what it recorded before on nodes of
    the same types. Other calls are NotImplemented, and those whose result is no Node or array.

    Parameters
    ----------
    rule : callable
        Takes Nodes in place of arrays.
    warns : bool, default False
        Whether the nodes warn as the errstate of the call says.
    pointwise : bool, default False
        Whether the result has the arrays' memory order: those in C order are taken only.
    scalars : bool, default True
        Whether results without axes are scalars.
    alone, of_parts : bool, default False
        Whether the first argument is the only one, and no array.
    most : int, optional
        Arrays among the arguments.
    """

    cdef object rule
    cdef Calls known                # Template or None: nothing that could be recorded again
    cdef bint warns
    cdef bint pointwise
    cdef bint scalars
    cdef bint alone
    cdef bint of_parts
    cdef Py_ssize_t most
    cdef Py_ssize_t found
    cdef Py_ssize_t missed          # with arguments of which there are many

    def __init__(self, rule, bint warns=False, bint pointwise=False, bint scalars=True, *, bint alone=False,
                 bint of_parts=False, Py_ssize_t most=FEW):
        self.rule = rule
        self.warns = warns
        self.pointwise = pointwise
        self.scalars = scalars
        self.alone = alone
        self.of_parts = of_parts
        self.most = most

    def __call__(self, tuple args, dict options=None):
        cdef CallKey key
        cdef list given = []
        cdef PyObject* raw
        cdef Node out
        cdef bint wide = False
        cdef uint64_t last
        key.on = NULL
        key.count = 0
        for each in args:
            if not self.add(key, given, each, &wide):
                return NotImplemented
        if self.of_parts and args and isinstance(args[0], ArrayBase):
            return NotImplemented
        if options:
            for name, each in options.items():
                if name == "out":
                    if each is None:
                        continue
                    return NotImplemented
                if self.alone or not (
                        key.add(OPTION) and key.add(<int64_t><PyObject*>name) and self.add(key, given, each, &wide)):
                    return NotImplemented
        if (self.alone and len(args) > 1) or len(given) > self.most or not simple(given) or not add_pattern(key, given):
            return NotImplemented
        if wide and self.missed > MISSES and self.found < self.missed:
            return NotImplemented       # a number that is another one at every call
        raw = self.known.find(key)
        if raw == <PyObject*>None:
            return NotImplemented
        last = newest() if self.warns else 0
        if raw != NULL:
            self.found += wide
            out = replayed(<Template>raw, given, wide)
        else:
            self.missed += wide
            out = self.learned(key, args, options or {}, given)
            if out is None:
                return NotImplemented
        if self.warns:
            ask_since(last)
        return wrap(out, self.scalars and out.type.ndim == 0)

    cdef bint add(self, CallKey& key, list given, object value, bint* wide) except -1:
        # False where a call with such an argument is not known again.
        cdef double number
        cdef int64_t bits
        if isinstance(value, ArrayBase):
            if self.pointwise and not plain(value):
                return False
            given.append(node_of(<ArrayBase>value))
            return key.add(AN_ARRAY) and key.add((<Node>given[len(given) - 1]).type.id)
        if value is None:
            return key.add(NOTHING)
        if value is True or value is False:
            return key.add(IS_TRUE if value else IS_FALSE)
        if type(value) is int:
            if not (key.add(INTEGER) and add_int(key, value)):
                return False
            wide[0] = wide[0] or not -FEW <= value <= FEW
            return True
        if type(value) is float:
            number = value
            memcpy(&bits, &number, sizeof(bits))    # -0.0 is another number than 0.0
            wide[0] = True
            return key.add(REAL) and key.add(bits)
        if type(value) is tuple or type(value) is list:
            if not (len(value) <= FEW and key.add(IN_LIST if type(value) is list else IN_TUPLE) and key.add(len(value))):
                return False
            for each in value:
                if not self.add(key, given, each, wide):
                    return False
            return True
        if type(value) is str or isinstance(value, (type, np.dtype)):
            return key.add(OBJECT) and key.add(<int64_t><PyObject*>value)
        return False

    cdef Node learned(self, CallKey& key, tuple args, dict options, list given):
        cdef list left = given[::-1]
        cdef object made = None
        cdef Template template = None
        try:
            made = self.rule(*[on_nodes(each, left) for each in args],
                             **{name: on_nodes(each, left) for name, each in options.items() if name != "out"})
        except (TypeError, AttributeError):
            pass                    # the long way says what is wrong
        if type(made) is array_class and (<ArrayBase>made).shadow is (<ArrayBase>made).storage.node.type.shadow:
            made = (<ArrayBase>made).storage.node
        if type(made) is Node:
            template = template_of(<Node>made, given)
        if self.known.full():
            self.known.clear()
        if template is not None:
            template.held = (held(args), *options, *held(tuple(options.values())))
            self.known.add(key, <PyObject*>template)
        else:
            self.known.add(key, <PyObject*>None)
        return <Node>made if type(made) is Node else None


cdef tuple held(tuple values):
    # What a key has by its address.
    return tuple([
        held(tuple(each)) if type(each) is tuple or type(each) is list else each
        for each in values if not isinstance(each, ArrayBase)
    ])


cdef object on_nodes(object value, list left):
    # Arguments as the rule takes them; `left` are the nodes for its arrays, the next one last.
    if isinstance(value, ArrayBase):
        return left.pop()
    if type(value) is tuple:
        return tuple([on_nodes(each, left) for each in <tuple>value])
    return [on_nodes(each, left) for each in <list>value] if type(value) is list else value


cdef bint add_pattern(CallKey& key, list given) noexcept:
    # Which of the arrays are the same.
    cdef Py_ssize_t i, k
    for i in range(1, len(given)):
        for k in range(i):
            if <PyObject*>given[k] == <PyObject*>given[i]:
                if not (key.add(THE_SAME) and key.add(i) and key.add(k)):
                    return False
                break
    return True


cdef bint simple(list given):
    # A rule may look at a number's value, and at whether there is anything.
    cdef Node node
    for node in given:
        if node.state == CONST or node.type.size == 0:
            return False
    return True


cdef Node replayed(Template template, list made, bint fresh):
    # With `fresh`, numbers are nodes of this call's own: those of two calls may be equal by chance, which is no structure.
    cdef Step step
    cdef Node out = <Node>made[0] if made else None
    for step in template.steps:
        if step.place >= 0:
            inputs = (made[step.place],)
        else:
            inputs = tuple([
                made[place] if type(place) is int else constant_like(<Node>place) if fresh else place for place in step.places
            ])
        out = make_signed(step.op, inputs, step.attrs, step.type, step.offset, step.sig)
        made.append(out)
    return out


cdef Template template_of(Node out, list given):
    # None where it is a number, or a node has other inputs than `given`, numbers and nodes made of them.
    cdef dict places = {}
    cdef dict found = {}
    cdef list todo = [out]
    cdef Template template = Template.__new__(Template)
    cdef Node node
    cdef Step step
    cdef int i
    if out.state == CONST:
        return None
    for i in range(len(given)):
        places[(<Node>given[i]).serial] = i
    template.steps = []
    if out.serial in places:
        return template if len(given) == 1 else None
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
        step.sig = node.sig
        step.offset = node.offset
        step.places = tuple([each if (<Node>each).state == CONST else places[(<Node>each).serial] for each in node.inputs])
        step.place = step.places[0] if len(step.places) == 1 and type(step.places[0]) is int else -1
        template.steps.append(step)
    return template
