# Calls like one before, part of _record.pyx: their nodes are made again without running a rule.

cdef tuple OUT = ("out",)

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
    cdef vector[int] places     # of its inputs; below 0, numbers: the first one is -1
    cdef tuple numbers


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
    elsewhere : tuple of str, default ("out",)
        Options that say where the result goes: None is as good as nothing.
    """

    cdef object rule
    cdef Calls known                # Template or None: nothing that could be recorded again
    cdef bint warns
    cdef bint pointwise
    cdef bint scalars
    cdef bint alone
    cdef bint of_parts
    cdef Py_ssize_t most
    cdef tuple elsewhere
    cdef Py_ssize_t found
    cdef Py_ssize_t missed          # with arguments of which there are many

    def __init__(self, rule, bint warns=False, bint pointwise=False, bint scalars=True, *, bint alone=False,
                 bint of_parts=False, Py_ssize_t most=FEW, tuple elsewhere=OUT):
        self.rule = rule
        self.warns = warns
        self.pointwise = pointwise
        self.scalars = scalars
        self.alone = alone
        self.of_parts = of_parts
        self.most = most
        self.elsewhere = elsewhere

    def __call__(self, tuple args, dict options=None):
        cdef list values = list(args)
        cdef tuple names = None
        cdef Py_ssize_t i
        cdef vector[PyObject*] raw
        if options:
            names = tuple(options)
            values.extend(options.values())
        for i in range(len(values)):
            raw.push_back(PyList_GET_ITEM(values, i))
        return self.call(raw.data(), len(args), names)

    cdef object pair(self, object x, object y):
        cdef PyObject* args[2]
        args[0] = <PyObject*>x
        args[1] = <PyObject*>y
        return self.call(args, 2, None)

    cdef object call(self, PyObject** args, Py_ssize_t count, tuple names):
        # The values of `names` are behind the arguments.
        cdef CallKey key
        cdef Met given
        cdef PyObject* raw
        cdef Node out
        cdef bint wide = False
        cdef uint64_t last
        cdef Py_ssize_t i
        key.on = NULL
        key.count = 0
        for i in range(count):
            if not self.add(key, given, args[i], &wide):
                return NotImplemented
        if self.of_parts and count and isinstance(<object>args[0], ArrayBase):
            return NotImplemented
        if names is not None:
            for i in range(len(names)):
                name = names[i]
                if name in self.elsewhere:
                    if args[count + i] == <PyObject*>None:
                        continue
                    return NotImplemented
                if self.alone or not (
                        key.add(OPTION) and key.add(<int64_t><PyObject*>name) and self.add(key, given, args[count + i], &wide)):
                    return NotImplemented
        if (self.alone and count > 1) or given.size() > self.most or not simple(given) or not add_pattern(key, given):
            return NotImplemented
        if wide and self.missed > MISSES and self.found < self.missed:
            return NotImplemented       # a number that is another one at every call
        raw = self.known.find(key)
        if raw == <PyObject*>None:
            return NotImplemented
        last = newest() if self.warns else 0
        if raw != NULL:
            self.found += wide
            out = replayed(<Template>raw, given, wide, not self.warns)
        else:
            self.missed += wide
            args_given = tuple([<object>args[i] for i in range(count)])
            options = {} if names is None else {names[i]: <object>args[count + i] for i in range(len(names))}
            out = self.learned(key, args_given, options, given)
            if out is None:
                return NotImplemented
        if self.warns:
            ask_since(last)
        return wrap(out, self.scalars and out.type.ndim == 0)

    cdef bint add(self, CallKey& key, Met& given, PyObject* raw, bint* wide) except -1:
        # False where a call with such an argument is not known again.
        cdef double number
        cdef int64_t bits
        cdef Node node
        cdef Py_ssize_t i
        if isinstance(<object>raw, ArrayBase):
            if self.pointwise and not plain(<object>raw):
                return False
            node = node_of(<ArrayBase>raw)
            given.add(<PyObject*>node)
            return key.add(AN_ARRAY) and key.add(node.type.id)
        if raw == <PyObject*>None:
            return key.add(NOTHING)
        if raw == Py_True or raw == Py_False:
            return key.add(IS_TRUE if raw == Py_True else IS_FALSE)
        if PyLong_CheckExact(raw):
            value = <object>raw
            if not (key.add(INTEGER) and add_int(key, value)):
                return False
            if not wide[0]:
                wide[0] = not -FEW <= <int64_t>key.parts[key.count - 1] <= FEW
            return True
        if PyFloat_CheckExact(raw):
            number = <double><object>raw
            memcpy(&bits, &number, sizeof(bits))    # -0.0 is another number than 0.0
            wide[0] = True
            return key.add(REAL) and key.add(bits)
        if PyTuple_CheckExact(raw):
            if not (len(<tuple>raw) <= FEW and key.add(IN_TUPLE) and key.add(len(<tuple>raw))):
                return False
            for i in range(len(<tuple>raw)):
                if not self.add(key, given, PyTuple_GET_ITEM(<tuple>raw, i), wide):
                    return False
            return True
        if PyList_CheckExact(raw):
            if not (len(<list>raw) <= FEW and key.add(IN_LIST) and key.add(len(<list>raw))):
                return False
            for i in range(len(<list>raw)):
                if not self.add(key, given, PyList_GET_ITEM(<list>raw, i), wide):
                    return False
            return True
        if PyUnicode_CheckExact(raw) or isinstance(<object>raw, (type, cnp.dtype)):
            return key.add(OBJECT) and key.add(<int64_t>raw)
        return False

    cdef Node learned(self, CallKey& key, tuple args, dict options, Met& given):
        cdef list left = [<object>given.at(i) for i in range(given.size() - 1, -1, -1)]
        cdef object made = None
        cdef Py_ssize_t i
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


cdef bint add_pattern(CallKey& key, Met& given) noexcept:
    # Which of the arrays are the same.
    cdef Py_ssize_t i, k
    for i in range(1, given.size()):
        for k in range(i):
            if given.at(k) == given.at(i):
                if not (key.add(THE_SAME) and key.add(i) and key.add(k)):
                    return False
                break
    return True


cdef bint simple(Met& given) noexcept:
    # A rule may look at a number's value, and at whether there is anything.
    cdef Node node
    cdef Py_ssize_t i
    for i in range(given.size()):
        node = <Node>given.at(i)
        if node.state == CONST or node.type.size == 0:
            return False
    return True


cdef Node replayed(Template template, Met& made, bint fresh, bint quiet):
    # With `fresh`, numbers are nodes of this call's own: those of two calls may be equal by chance, which is no structure.
    # With `quiet` no node warns.
    cdef Step step
    cdef Node out = <Node>made.at(0) if made.size() else None
    cdef tuple inputs
    cdef object number
    cdef Py_ssize_t i, n, at, count = len(template.steps)
    cdef int place
    for at in range(count):
        step = <Step>PyList_GET_ITEM(template.steps, at)
        n = <Py_ssize_t>step.places.size()
        inputs = PyTuple_New(n)
        for i in range(n):
            place = step.places[i]
            if place >= 0:
                number = <object>made.at(place)
            else:
                number = <object>PyTuple_GET_ITEM(step.numbers, -1 - place)
                if fresh:
                    number = constant_like(<Node>number)
            Py_INCREF(number)
            PyTuple_SET_ITEM(inputs, i, number)
        out = make_signed(step.op, inputs, step.attrs, step.type, step.offset, step.sig)
        if quiet:
            out.floats = silent
        if at < count - 1:
            made.add(<PyObject*>out)
    return out


cdef Template template_of(Node out, Met& given):
    # None where it is a number, or a node has other inputs than `given`, numbers and nodes made of them.
    cdef dict places = {}
    cdef dict found = {}
    cdef list todo = [out]
    cdef Template template = Template.__new__(Template)
    cdef Node node
    cdef Step step
    cdef list numbers
    cdef int i
    if out.state == CONST:
        return None
    for i in range(given.size()):
        places[(<Node>given.at(i)).serial] = i
    template.steps = []
    if out.serial in places:
        return template if given.size() == 1 else None
    while todo:
        node = todo.pop()
        if node.serial in places or node.serial in found or node.state == CONST:
            continue
        if node.state != PENDING or node.op is None:
            return None
        found[node.serial] = node
        todo.extend(node.inputs)
    for i, serial in enumerate(sorted(found), given.size()):
        node = found[serial]
        places[serial] = i
        step = Step.__new__(Step)
        step.op = node.op
        step.attrs = node.attrs
        step.type = node.type
        step.sig = node.sig
        step.offset = node.offset
        numbers = []
        for each in node.inputs:
            if (<Node>each).state == CONST:
                numbers.append(each)
                step.places.push_back(-<int>len(numbers))
            else:
                step.places.push_back(<int>places[(<Node>each).serial])
        step.numbers = tuple(numbers)
        template.steps.append(step)
    return template
