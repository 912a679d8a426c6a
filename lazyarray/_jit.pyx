"""Programs that are run again: a traced call's graph on other leaves, and the way from arguments to results."""

# Design. A Template is the graph of one traced call, copied: its nodes are its own, and no recorder knows them. A run puts
# values in the place of its leaves. A Variant is a Template with its surroundings: which Storages give the leaves, which
# get the results, which handles are returned, and what has to be as it was (guards). A call that finds a Variant records
# nothing.
# Guarded by the GIL, and by the runtime's lock from the moment the leaves are read to the moment their Storages hold the
# results: in between a leaf may be overwritten, so nobody else may take hold of it.

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t, uintptr_t
from libcpp.vector cimport vector

import dataclasses

import numpy as np

cimport numpy as cnp

from lazyarray import _handle
from lazyarray._bind cimport Lock, bind_now, flush_nodes, inspecting, lowered_plan, make_room, raw_sites, runtime_lock
from lazyarray._engine cimport admit
from lazyarray._floats cimport mode_now
from lazyarray._handle cimport Handle, Storage, structure, wrap
from lazyarray._ir cimport CONST, ISSUED, PENDING, PLACEHOLDER, UPDATE, VIEW, Node, Recorder, constant, leaf, make, recorder
from lazyarray._memory cimport wait_busy
from lazyarray._memory import NoRoom
from lazyarray._trace cimport active
from lazyarray._plan cimport Plan, Taker
from lazyarray._walk cimport Walk, find_twins, gather_template, graph_of

cnp.import_array()

cdef extern from "ndarray.hpp":
    object la_ndarray(object descr, int nd, const cnp.npy_intp* dims, const cnp.npy_intp* strides, void* data, int flags)

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* o)
    PyObject* PyList_GET_ITEM(list x, Py_ssize_t i)
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
    out.floats = node.floats
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


cdef Node unlike_any(Node node):
    # A number whose value each run gives; here it has one that no other number has.
    cdef Node out = constant(0, node.type.dtype)
    cdef uint64_t* bits = <uint64_t*>out.number
    bits[0], bits[1] = node.serial, ~<uint64_t>0
    return out


# What an output is: a computed node, or else a value, or else a node that stays.
cdef struct Ending:
    Py_ssize_t place            # of the node, or -1
    Py_ssize_t value            # or -1


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
    cdef list order                     # own nodes
    cdef list owns                      # for each leaf an own node,
    cdef vector[Py_ssize_t] places_of   # and the value that takes its place, or -1
    cdef list returned                  # for each output an own node,
    cdef vector[Ending] endings         # and what it is
    cdef Plan plain                     # where no leaf may be overwritten
    cdef dict plans                     # by the leaves that may be
    cdef vector[char] pattern           # room for that; used under the lock
    cdef list shifted                   # (own node, offset as recorded, shift)
    cdef vector[char] written
    cdef vector[char] taped             # own nodes that were recorded for a gradient
    cdef readonly bint tracked          # an output is: then its gradient needs Nodes, and runs record them again
    cdef readonly set leaf_serials      # of the recorded leaves

    def __init__(self, list outputs, dict values, set written, dict moved, set literals):
        cdef dict copies = {}
        cdef set returned = set(), on_tape = set()
        cdef list nodes
        cdef Node node
        cdef Py_ssize_t i, place
        cdef char dies
        cdef Ending ending
        cdef bint marked = False
        self.shifted = []
        self.plans = {}
        self.order = []
        self.owns = []
        self.returned = nodes = []
        for node in ancestors(outputs, values):
            found = values.get(node.serial)
            if found is not None:
                if node.state == CONST:
                    copy = unlike_any(node)
                else:
                    copy = leaf(node.type, None)
                    (<Node>copy).state = PLACEHOLDER
            elif node.state == CONST:
                copy = number_like(node)
            elif node.state == PENDING:
                copy = copy_of(node, tuple([copies[(<Node>each).serial] for each in node.inputs]))
                self.shift(node, copy, moved)
                if node.taped:
                    on_tape.add(id(copy))
                marked = marked or node.variable is not None or node.released
            elif node.serial in literals:
                copy = node
            else:
                raise Unfit(f"it reads a value that jit does not see, recorded at {node.where}")
            copies[node.serial] = copy
        nodes.extend([copies[(<Node>each).serial] for each in outputs])
        self.tracked = any([id(each) in on_tape for each in nodes])
        if self.tracked and marked:
            raise Unfit("its result is recorded for a gradient, and so is a part of it")
        with runtime_lock():
            gather_template(&self.walk, nodes)
            find_twins(&self.walk)      # literals: numbers that every run may give anew equal no other
            self.order = [<object>self.walk.order[i] for i in range(<Py_ssize_t>self.walk.order.size())]
            for each in self.order:
                self.taped.push_back(id(each) in on_tape)
            own = {id(copy): values[serial] for serial, copy in copies.items() if serial in values}
            for each in nodes:
                node = <Node>each
                if node.state == PENDING:
                    self.walk.kept[node.place] = 1
                    ending.place, ending.value = node.place, -1
                else:
                    ending.place, ending.value = -1, own.get(id(node), -1)
                    returned.add(ending.value)
                self.endings.push_back(ending)
            for i in range(<Py_ssize_t>self.walk.leaves.size()):
                each = <object>self.walk.leaves[i]
                place = own.get(id(each), -1)
                self.places_of.push_back(place)
                self.owns.append(each)
                dies = place in written and place not in returned
                self.written.push_back(dies)
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
        cdef list values, substitutes, pending
        cdef Plan plan
        cdef Node node, own
        cdef Py_ssize_t i, place
        cdef int given_up = 0
        cdef object short
        cdef Taken taken = Taken.__new__(Taken)
        cdef Lock held = runtime_lock()
        cdef bytes key
        cdef bint collecting, written
        taken.template = self
        taken.variant = variant
        taken.storages = storages
        while True:
            pending = None
            for each in storages:
                if (<Storage>each).node.state == PENDING:
                    if pending is None:
                        pending = []
                    pending.append((<Storage>each).node)
            if pending is not None:
                flush_nodes(pending, False)
            pending = None
            admit(1, 0)
            short = None
            plan = None
            held.acquire()
            # A finalizer must not come in between either.
            collecting = PyGC_Disable()
            try:
                values = []
                for each in storages:
                    node = (<Storage>each).node
                    if node.state == PENDING:
                        short = node
                    values.append(node)
                node = None
                if short is not None:
                    continue
                values += numbers
                if not self.order:
                    taken.values = values
                    taken.take([])
                    return taken.results
                self.pattern.assign(self.places_of.size(), 0)
                written = False
                for i in range(<Py_ssize_t>self.places_of.size()):
                    if self.written[i] and donatable(PyList_GET_ITEM(values, self.places_of[i])):
                        self.pattern[i] = 1
                        written = True
                if written:
                    key = PyBytes_FromStringAndSize(self.pattern.data(), self.pattern.size())
                    plan = self.plans.get(key)
                else:
                    key = None
                    plan = self.plain
                if plan is not None:
                    substitutes = []
                    for i in range(<Py_ssize_t>self.places_of.size()):
                        place = self.places_of[i]
                        own = <Node>self.owns[i]
                        node = <Node>values[place] if place >= 0 else own
                        if node.state == CONST and own.state != CONST:
                            node = as_leaf(node)
                        substitutes.append(node)
                    node = own = None
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
                held.release()
            if plan is None:
                pattern = [bool(each) for each in key] if key is not None else [False] * self.places_of.size()
                plan = lowered_plan(dataclasses.replace(self.graph, leaf_donatable=pattern), raw_sites(&self.walk))
                if key is None:
                    self.plain = plan
                else:
                    self.plans[key] = plan
            elif given_up <= 2:
                given_up = make_room(short, given_up)
            elif not wait_busy():
                return self.replay(variant, storages, numbers, shifts)      # pending, it may run in parts

    cdef list replay(self, Variant variant, list storages, list numbers, list shifts):
        # The same, where a gradient will be asked for: each node is recorded again, with its own line, without Python.
        cdef list values = [(<Storage>each).node for each in storages]
        cdef list made = [], found = []
        cdef list read = []
        cdef tuple inputs
        cdef Recorder rec = recorder()
        cdef bint recording = rec.recording
        cdef Node own, node
        cdef Py_ssize_t i, place
        cdef Taken taken = Taken.__new__(Taken)
        values += numbers
        for each, offset, place in self.shifted:
            (<Node>each).offset = offset + <Py_ssize_t>shifts[place]
        for i in range(<Py_ssize_t>self.places_of.size()):
            place = self.places_of[i]
            own = <Node>self.owns[i]
            node = <Node>values[place] if place >= 0 else number_like(own) if own.state == CONST else own
            read.append(as_leaf(node) if node.state == CONST and own.state != CONST else node)
        try:
            for i in range(len(self.order)):
                own = <Node>self.order[i]
                inputs = tuple([made[place] if place >= 0 else read[-1 - place] for place in <tuple>self.graph.inputs[i]])
                rec.recording = self.taped[i]
                node = make(own.op, inputs, own.attrs, own.type, own.offset)
                node.code, node.lasti, node.floats = own.code, own.lasti, own.floats
                made.append(node)
                if self.walk.kept[i]:
                    found.append((i, node))
        finally:
            rec.recording = recording
        taken.template = self
        taken.variant = variant
        taken.storages = storages
        taken.values = values
        taken.take(found)
        return taken.results


cdef class Taken(Taker):
    # The Storages hold the results before anything runs.
    cdef Template template
    cdef Variant variant
    cdef list storages, values, results

    cdef int take(self, list found) except -1:
        cdef list results = []
        cdef Py_ssize_t i, place
        cdef Storage storage
        cdef Node node, own
        cdef Ending* ending
        for i in range(<Py_ssize_t>self.template.endings.size()):
            ending = &self.template.endings[i]
            own = <Node>self.template.returned[i]
            if ending.place >= 0:
                node = of_place(found, ending.place)
                if own.released:
                    node.released = True
                results.append(node)
            elif ending.value >= 0:
                results.append(self.values[ending.value])
            elif own.state == CONST:
                results.append(number_like(own))
            else:
                results.append(own)
        self.results = results
        self.values = None
        for i, place in self.variant.stores:
            storage = <Storage>self.storages[i]
            node = <Node>results[place]
            if storage.variable is not None:
                node.variable = storage.variable
            storage.node = node
        return 0


cdef Node of_place(list found, Py_ssize_t place):
    # The value of a kept node; they come in the order of their places.
    cdef Py_ssize_t low = 0, high = len(found), middle
    while low < high - 1:
        middle = (low + high) >> 1
        if <Py_ssize_t>(<tuple>found[middle])[0] <= place:
            low = middle
        else:
            high = middle
    return <Node>(<tuple>found[low])[1]


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


include "native/jit_call.pxi"
include "native/jit_guards.pxi"


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
    cdef public Py_ssize_t single       # the output that is all of the result, as a new whole array, or -1
    cdef public bint scalar             # whether that array is one

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

    cdef list run(self, Call call, list given):
        cdef list shifts = []
        cdef list storages = call.storages
        for index, offset in self.moving:
            shifts.append(<Py_ssize_t>call.offsets[index] - <Py_ssize_t>offset)
        if len(self.closed):
            storages = storages + self.closed
        if self.template.tracked:
            return self.template.replay(self, storages, given, shifts)
        return self.template.run(self, storages, given, shifts)


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


cdef class Family:
    """The variants for arguments of the same types."""

    cdef public set structural          # numbers whose value is part of the key
    cdef public set proved              # of these, those that a trace has asked for
    cdef public dict seen               # first value of each integer
    cdef public dict variants           # by the values of the structural numbers: a list of Variants
    cdef public Py_ssize_t failures
    cdef public object plain            # why calls are recorded every time, or None

    def __init__(self, set structural):
        self.structural = structural
        self.proved = set()
        self.seen = {}
        self.variants = {}


cdef Variant find(object families, Call call):
    # The Variant for a call, or None.
    cdef Family family
    cdef object chosen = (), found
    try:
        family = families.get(call.skeleton)
    except TypeError as error:
        raise Unfit(f"an argument cannot be part of a key ({error})") from None
    if family is None or family.plain is not None:
        return None
    if len(family.structural):
        chosen = tuple([
            x if type(x) is int else repr(x) for i, x in enumerate(call.numbers) if i in family.structural
        ])
    found = family.variants.get(chosen)
    if found is not None:
        for each in <list>found:
            if (<Variant>each).fits(call):
                return <Variant>each
    return None


cdef class Entry:
    """What a jitted function does at every call; `jit` adds what it does when it has not seen the like."""

    cdef public object fn
    cdef public object static           # places of arguments whose value is part of the key
    cdef public object families         # by the key of a call
    cdef public Py_ssize_t calls
    cdef public Py_ssize_t runs         # calls that recorded nothing

    def __call__(self, *args, **kwargs):
        cdef Call call
        cdef Variant variant
        cdef list results
        self.calls += 1
        if active() is not None or inspecting() is not None:
            return self.fn(*args, **kwargs)
        call = Call.__new__(Call, args, kwargs, self.static)
        if call.refusal is not None:
            return self.recorded(call.refusal, args, kwargs)
        try:
            variant = find(self.families, call)
        except Unfit as error:
            return self.recorded(str(error), args, kwargs)
        if variant is None:
            return self.unseen(call, args, kwargs)
        if not variant.bare:
            return self.prepared(variant, call, args, kwargs)
        self.runs += 1
        if variant.single < 0:
            return variant.result.build(call, run(variant, call, []), None)
        results = variant.run(call, [])
        return wrap(<Node>results[variant.single], variant.scalar)


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
