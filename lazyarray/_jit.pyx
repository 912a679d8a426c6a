"""Programs that are run again: a traced call's graph on other leaves, and the way from arguments to results."""

# Design. A Template is the graph of one traced call, copied: its nodes are its own, and no recorder knows them. A run puts
# values in the place of its leaves. A Variant is a Template with its surroundings: which Storages give the leaves, which
# get the results, which handles are returned, and what has to be as it was (guards). A call that finds a Variant records
# nothing.
# Guarded by the GIL, and by the runtime's lock from the moment the leaves are read to the moment their Storages hold the
# results: in between a leaf may be overwritten, so nobody else may take hold of it.

from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from libc.stdint cimport uintptr_t
from libcpp.vector cimport vector

import dataclasses

import numpy as np

cimport numpy as cnp

from lazyarray import _handle
from lazyarray._bind cimport bind_now, flush_nodes, inspecting, lowered_plan, make_room, raw_sites, runtime_lock
from lazyarray._engine cimport admit
from lazyarray._handle cimport Handle, Storage, structure, wrap
from lazyarray._ir cimport CONST, ISSUED, PENDING, PLACEHOLDER, UPDATE, VIEW, Node, Recorder, constant, leaf, recorder
from lazyarray._memory import NoRoom
from lazyarray._plan cimport Plan
from lazyarray._walk cimport Walk, gather_template, graph_of

cnp.import_array()

cdef extern from "ndarray.hpp":
    object la_ndarray(object descr, int nd, const cnp.npy_intp* dims, const cnp.npy_intp* strides, void* data, int flags)

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* o)
    int PyGC_Disable()
    int PyGC_Enable()

cdef uintptr_t BASE = <uintptr_t>1 << 44    # as in _handle


class Unfit(Exception):
    """A traced call cannot be run again; says why."""


cdef Node copy_of(Node node, tuple inputs):
    cdef Node out = Node.__new__(Node)
    out.op = node.op
    out.inputs = inputs
    out.attrs = node.attrs
    out.type = node.type
    out.offset = node.offset
    out.sig = node.sig
    out.code = node.code
    out.lasti = node.lasti
    out.serial = node.serial
    out.released = node.released
    out.state = PENDING
    return out


cdef Node number_like(Node node):
    cdef Node out = constant(0, node.type.dtype)
    out.number = node.number
    return out


cdef class Template:
    """A graph that is run on other leaves.

    Parameters
    ----------
    outputs : list of Node
        As recorded, not run yet.
    values : dict from int to int
        By the serial number of a recorded leaf: which value takes its place.
    written : set of int
        Values that nobody holds after a run, so that they may be overwritten.
    moved : dict from int to int
        By the serial number of a version of a Storage: which of a run's shifts its Views get.
    literals : set of int
        Serial numbers of leaves that stay as they are.
    """

    cdef Walk walk
    cdef object graph
    cdef list order, sources            # own nodes; for each leaf the value, or -1 and a node of its own
    cdef list places                    # for each output (place or -1, value or -1, own node)
    cdef dict plans                     # by the leaves that may be overwritten
    cdef list shifted                   # (own node, offset as recorded, shift)
    cdef vector[char] written
    cdef readonly set leaf_serials      # of the recorded leaves

    def __init__(self, list outputs, dict values, set written, dict moved, set literals):
        cdef dict copies = {}
        cdef list nodes
        cdef Node node
        cdef Py_ssize_t i
        self.shifted = []
        self.plans = {}
        self.order = []
        for node in ancestors(outputs, values):
            found = values.get(node.serial)
            if found is not None:
                if node.state == CONST:
                    copy = number_like(node)
                else:
                    copy = leaf(node.type, None)
                    (<Node>copy).state = PLACEHOLDER
            elif node.state == CONST:
                copy = number_like(node)
            elif node.state == PENDING:
                copy = copy_of(node, tuple([copies[(<Node>each).serial] for each in node.inputs]))
                self.shift(node, copy, moved)
            elif node.serial in literals:
                copy = node
            else:
                raise Unfit(f"it reads a value that jit does not see, recorded at {node.where}")
            copies[node.serial] = copy
        nodes = [copies[(<Node>each).serial] for each in outputs]
        with runtime_lock():
            gather_template(&self.walk, nodes)
            self.order = [<object>self.walk.order[i] for i in range(<Py_ssize_t>self.walk.order.size())]
            self.places = []
            own = {id(copy): values[serial] for serial, copy in copies.items() if serial in values}
            for each in nodes:
                node = <Node>each
                if node.state == PENDING:
                    self.walk.kept[node.place] = 1
                    self.places.append((node.place, -1, node))
                else:
                    self.places.append((-1, own.get(id(node), -1), node))
            returned = {value for _, value, _ in self.places}
            self.sources = []
            for i in range(<Py_ssize_t>self.walk.leaves.size()):
                each = <object>self.walk.leaves[i]
                place = own.get(id(each), -1)
                self.sources.append((place, each))
                dies = place in written and place not in returned
                self.written.push_back(1 if dies else 0)
            self.graph = graph_of(&self.walk)
        self.leaf_serials = {serial for serial in copies if serial in values}

    def shift(self, Node node, Node copy, dict moved):
        """Let a View of an argument move with the argument."""
        if node.op.kind == VIEW:
            moving = node.attrs[1]
        elif node.op.kind == UPDATE:
            moving = node.attrs[2]
        else:
            return
        found = moved.get((<Node>node.inputs[0]).serial)
        if found is not None and moving:
            self.shifted.append((copy, node.offset, found))

    cdef list run(self, Variant variant, list storages, list numbers, list shifts):
        # The Nodes of the outputs, which the Storages hold by then.
        cdef list values, substitutes, pending, pattern
        cdef Plan plan
        cdef Node node
        cdef Py_ssize_t i, place
        cdef int given_up = 0
        cdef object short
        cdef Taken taken = Taken.__new__(Taken)
        cdef bytes key
        cdef bint collecting
        taken.template = self
        taken.variant = variant
        taken.storages = storages
        pattern = []
        while True:
            pending = [(<Storage>each).node for each in storages if (<Storage>each).node.state == PENDING]
            if pending:
                flush_nodes(pending, False)
            pending = None
            admit(1, 0)
            short = None
            with runtime_lock():
                # A finalizer must not come in between either.
                collecting = PyGC_Disable()
                try:
                    values = []
                    for each in storages:
                        node = (<Storage>each).node
                        if node.state == PENDING:
                            short = node
                        values.append(node)
                    if short is not None:
                        continue
                    values += numbers
                    if not self.order:
                        taken.values = values
                        taken([])
                        return taken.results
                    pattern = [0] * len(self.sources)
                    node = None
                    for i in range(len(self.sources)):
                        place = self.sources[i][0]
                        if place >= 0 and self.written[i] and donatable(<PyObject*>values[place]):
                            pattern[i] = 1
                    key = bytes(pattern)
                    plan = self.plans.get(key)
                    if plan is not None:
                        substitutes = []
                        for place, each in self.sources:
                            node = <Node>(values[place] if place >= 0 else each)
                            if node.state == CONST and (<Node>each).state != CONST:
                                node = as_leaf(node)
                            substitutes.append(node)
                        node = None
                        for each, offset, place in self.shifted:
                            (<Node>each).offset = offset + <Py_ssize_t>shifts[place]
                        taken.values = values
                        try:
                            bind_now(plan, &self.walk, substitutes, True, taken)
                            return taken.results
                        except NoRoom as error:
                            short = error
                        substitutes = taken.values = None
                    values = None
                finally:
                    if collecting:
                        PyGC_Enable()
            if plan is None:
                graph = dataclasses.replace(self.graph, leaf_donatable=[bool(each) for each in pattern])
                self.plans[key] = lowered_plan(graph, raw_sites(&self.walk))
            else:
                given_up = make_room(short, given_up)


cdef class Taken:
    # What is done with results before anything runs: the Storages hold them.
    cdef Template template
    cdef Variant variant
    cdef list storages, values, results

    def __call__(self, list found):
        cdef dict by_place = dict(found)
        cdef list results = []
        cdef Py_ssize_t i
        cdef Storage storage
        cdef Node node
        for place, value, each in self.template.places:
            if place >= 0:
                node = <Node>by_place[place]
                node.released = (<Node>each).released
                results.append(node)
            elif value >= 0:
                results.append(self.values[value])
            elif (<Node>each).state == CONST:
                results.append(number_like(<Node>each))
            else:
                results.append(each)
        self.results = results
        self.values = None
        for i, place in self.variant.stores:
            storage = <Storage>self.storages[i]
            node = <Node>results[place]
            if storage.variable is not None:
                node.variable = storage.variable
            storage.node = node


cdef bint donatable(PyObject* at) noexcept:
    # Held by its Storage and by the values of this run alone.
    cdef Node node = <Node>at
    if node.state != ISSUED or node.pinned or node.taped:
        return False
    # The reference of `node` here is the third.
    return Py_REFCNT(at) == 3 and node.buffer.size_class >= 0 and Py_REFCNT(<PyObject*>node.buffer) == 1


cdef Node as_leaf(Node number):
    cdef object array = _handle.from_data(np.frombuffer(number.number[:number.type.itemsize], number.type.dtype))
    return leaf(number.type, (<Handle>array).storage.node.buffer)


cdef list ancestors(list outputs, dict values):
    # In the order of their recording.
    cdef dict found = {}
    cdef list todo = list(outputs)
    cdef Node node
    while todo:
        node = todo.pop()
        if node.serial in found:
            continue
        found[node.serial] = node
        if node.state == PENDING and node.serial not in values:
            todo.extend(node.inputs)
    return [found[serial] for serial in sorted(found)]


# ---- arguments

cdef class Call:
    """The arguments of one call, taken apart."""

    cdef readonly list arrays           # handles, as they come
    cdef readonly list storages         # theirs, each once
    cdef readonly list offsets          # of the first handle of each
    cdef readonly list numbers          # Python numbers
    cdef readonly list containers       # lists and dicts
    cdef readonly list objects          # other things
    cdef readonly list key
    cdef readonly object skeleton       # the key as a tuple
    cdef readonly str refusal           # why there is no key

    def __init__(self, tuple args, dict kwargs, static):
        cdef Recorder rec = recorder()
        self.arrays = []
        self.storages = []
        self.offsets = []
        self.numbers = []
        self.containers = []
        self.objects = []
        self.key = [rec.recording * 2 + rec.training, len(args)]
        cdef Py_ssize_t i = 0
        for each in args:
            if static and i in static:
                # Text tells -0.0 from 0.0.
                self.key.append((type(each), repr(each) if type(each) in (float, complex) else each))
            else:
                self.add(each)
            i += 1
        for name, each in kwargs.items():
            self.key.append(name)
            self.add(each)
        self.skeleton = tuple(self.key)

    cdef int add(self, object x) except -1:
        cdef type kind = type(x)
        if isinstance(x, Handle):
            return self.add_array(<Handle>x)
        if kind is float or kind is int or kind is complex:
            self.numbers.append(x)
            self.key.append(kind)
        elif kind is tuple or kind is list:
            if kind is list:
                self.containers.append(x)
            self.key.append(kind)
            self.key.append(len(x))
            for each in x:
                self.add(each)
        elif kind is dict:
            self.containers.append(x)
            self.key.append(dict)
            self.key.append(len(x))
            for name, each in (<dict>x).items():
                self.key.append(type(name))
                self.key.append(name)
                self.add(each)
        elif issubclass(kind, tuple):
            self.key.append(kind)
            self.key.append(len(x))
            for each in x:
                self.add(each)
        elif isinstance(x, np.ndarray):
            self.refusal = "it takes a NumPy array"
        elif isinstance(x, np.generic):
            self.key.append(kind)
            self.key.append(x.tobytes())
        else:
            self.objects.append(x)
            self.key.append(kind)
            self.key.append(x)
        return 0

    cdef int add_array(self, Handle a) except -1:
        cdef Storage storage = a.storage
        cdef Node node = storage.node
        cdef Py_ssize_t index = -1, i
        for i in range(len(self.storages)):
            if self.storages[i] is storage:
                index = i
                break
        if index < 0:
            index = len(self.storages)
            self.storages.append(storage)
            self.offsets.append(a.offset)
        for i in range(len(self.arrays)):
            if self.arrays[i] is a:
                break
        else:
            i = -1
        self.arrays.append(a)
        self.key.append(node.type.id)
        self.key.append(((index * 2 + (node.state == CONST)) * 2 + a.is_scalar) * 2 + (storage.variable is not None))
        self.key.append(i)
        if node.taped or node.released or (node.variable is not None and storage.variable is None):
            self.key.append("tape")
        if a.shadow is not node.type.shadow:
            view = a.shadow
            self.key.append(view.shape)
            self.key.append(view.strides)
            self.key.append(view.dtype)
            self.key.append(bool(cnp.PyArray_ISWRITEABLE(<cnp.ndarray>view)))
            self.key.append(a.moving)
            self.key.append(a.offset - <Py_ssize_t>self.offsets[index])
        return 0


# ---- what else has to be as it was

cdef enum:
    IN_DICT = 0             # a[b] is c
    IN_SEQUENCE = 1         # a[b] is c, an integer b
    IN_CELL = 2             # a.cell_contents is c
    ATTRIBUTE = 3           # a.b is c
    LENGTH = 4              # len(a) is b
    EQUAL = 5               # a[b] == c, of the same type
    VARIABLE = 6            # where backward leaves the gradient of array a is c

MISSING = object()
cdef tuple NUMBERS = (int, float, complex, str, bytes)


def holds(tuple guard):
    """Whether something is as it was when a call was traced."""
    cdef int kind = guard[0]
    cdef PyObject* found
    a, b, c = guard[1], guard[2], guard[3]
    if kind == IN_DICT:
        found = PyDict_GetItem(a, b)
        return found == <PyObject*>c
    if kind == EQUAL:
        found = PyDict_GetItem(a, b)
        if found == <PyObject*>c:
            return True
        return found != NULL and type(<object>found) is type(c) and repr(<object>found) == repr(c)
    if kind == IN_SEQUENCE:
        return b < len(a) and a[b] is c
    if kind == LENGTH:
        return len(a) == b
    if kind == IN_CELL:
        try:
            now = a.cell_contents
        except ValueError:
            return c is MISSING
        return now is c or (type(now) is type(c) and isinstance(c, NUMBERS) and repr(now) == repr(c))
    if kind == VARIABLE:
        return (<Handle>a).storage.variable is c
    return getattr(a, b, MISSING) is c


cdef class Variant:
    """A Template, what it reads and writes, and when it may be run."""

    cdef readonly Template template
    cdef public list guards
    cdef public list closed             # Storages from outside the arguments
    cdef public list closed_types       # (type id, a number?, a variable?)
    cdef public dict tied               # argument Storages that are met outside: index -> (Storage, offset)
    cdef public list numbers            # (Number, dtype) of each
    cdef public list effects
    cdef public list stores             # (Storage, output): pairs of indices
    cdef public list shapes             # of new handles
    cdef public list moving             # by shift: (argument Storage, its offset as traced)
    cdef public object result           # how the result is put together
    cdef public bint bare               # there are no numbers and no effects

    def __init__(self, Template template):
        self.template = template

    cdef bint fits(self, Call call) except -1:
        cdef Storage storage
        cdef Py_ssize_t i
        for i, (expected, offset) in self.tied.items():
            if call.storages[i] is not expected or call.offsets[i] != offset:
                return False
        for i in range(len(self.closed)):
            storage = <Storage>self.closed[i]
            if storage.pins or structure(storage) != self.closed_types[i]:
                return False
            for each in call.storages:
                if each is storage:
                    return False
        for each in call.storages:
            if (<Storage>each).pins or (<Storage>each).node.pinned:
                return False
        for guard in self.guards:
            if not holds(<tuple>guard):
                return False
        return True

    cdef object run(self, Call call, list given):
        cdef list shifts = []
        cdef list results
        for index, offset in self.moving:
            shifts.append(<Py_ssize_t>call.offsets[index] - <Py_ssize_t>offset)
        storages = call.storages + self.closed
        results = self.template.run(self, storages, given, shifts)
        return results


def kind_of(Storage storage):
    """What of a Storage is structure."""
    return structure(storage)


def node_in(Storage storage):
    """The Node that a Storage holds."""
    return storage.node


def part(Storage storage):
    """Let a Storage have a Node of its own, if its value is shared."""
    cdef Node node = storage.node
    if node.state == ISSUED and not node.taped and not node.pinned:
        storage.node = leaf(node.type, node.buffer)
        storage.node.variable = node.variable


def variable_in(Storage storage):
    """Where backward leaves the gradient of a Storage, or None."""
    return storage.variable


def is_pinned(Storage storage):
    """Whether memory of a Storage is seen from outside."""
    return storage.pins != 0 or storage.node.pinned


def offset_of(Handle a):
    """Where a View starts, in bytes."""
    return a.offset


def is_moving(Handle a):
    """Whether the offset of a View is data."""
    return a.moving


def is_whole(Handle a):
    """Whether a handle sees its Storage as it is."""
    return a.shadow is a.storage.node.type.shadow


def debugging():
    """Whether each flush is looked into."""
    return inspecting() is not None


def select(list variants, Call call):
    """The Variant that may be run."""
    cdef Variant variant
    for each in variants:
        variant = <Variant>each
        if variant.fits(call):
            return variant
    return None


def run(Variant variant, Call call, list numbers):
    """Run it; its new handles."""
    cdef list nodes = variant.run(call, numbers)
    cdef list made = []
    for shape in variant.shapes:
        output, is_scalar = shape.output, shape.is_scalar
        if output >= 0 and shape.whole:
            made.append(wrap(<Node>nodes[output], is_scalar))
        else:
            made.append(shape.handle(nodes, call.storages + variant.closed, made, variant, call))
    return made


def find(families, Call call):
    """The Variant for a call, or None."""
    try:
        family = families.get(call.skeleton)
    except TypeError as error:
        raise Unfit(f"an argument cannot be part of a key ({error})") from None
    if family is None or family.plain is not None:
        return None
    if family.structural:
        chosen = tuple([
            x if type(x) is int else repr(x) for i, x in enumerate(call.numbers) if i in family.structural
        ])
    else:
        chosen = ()
    found = family.variants.get(chosen)
    return None if found is None else select(found, call)


def new_handle(Node node, bint is_scalar):
    """A handle with a Storage of its own."""
    return wrap(node, is_scalar)


def handle_on(Storage storage, object shadow, Py_ssize_t offset, Py_ssize_t shift, bint moving, bint is_scalar):
    """A handle like one that was traced."""
    cdef cnp.npy_intp dims[64]
    cdef cnp.npy_intp steps[64]
    cdef int i
    cdef Handle out = wrap(storage.node, is_scalar)
    out.storage = storage
    out.offset = offset + shift
    out.moving = moving
    if shift:
        for i in range(shadow.ndim):
            dims[i] = shadow.shape[i]
            steps[i] = shadow.strides[i]
        made = la_ndarray(
            shadow.dtype, shadow.ndim, dims, steps, <void*>(BASE + <uintptr_t>(offset + shift)),
            (cnp.NPY_ARRAY_WRITEABLE if shadow.flags.writeable else 0) | cnp.NPY_ARRAY_ALIGNED,
        )
        cnp.PyArray_UpdateFlags(<cnp.ndarray>made, cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_F_CONTIGUOUS)
        shadow = made
    out.shadow = shadow
    return out
