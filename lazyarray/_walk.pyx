"""What a flush runs: the pending graph in serial order, what of it is kept, and its key."""

# Design. A walk holds borrowed pointers; the GIL, and the caller's lock, keep the Nodes as they are while it is used.
# What is kept, and which leaves may be overwritten, follows from reference counts: a reference that is not from inside the
# flush is a live handle, a pending reader or a tape. So no function here may keep a reference to a Node of the walk while
# `judge` counts. A Node's `mark` is the epoch of the walk that saw it last, `place` its place there.
# The key is made of interned integers and is compared in full. Numbers are data, so `(a - 1) * (a - 1)` has two leaves. Where
# the same is done twice with equal numbers, one of them serves both: then, and only then, their equality is structure.

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memcpy
from libcpp.algorithm cimport sort as sort_pointers
from libcpp.vector cimport vector

import numpy as np

from lazyarray._ir cimport CONST, ISSUED, NATIVE, PENDING, PLACEHOLDER, UPDATE, VIEW, Node, Recorder, recorder
from lazyarray.dtypes import NUMBER
from lazyarray.plan import IN_STEP, Graph

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* o)
    PyObject* PyTuple_GET_ITEM(PyObject* t, Py_ssize_t i)
    Py_ssize_t PyTuple_GET_SIZE(PyObject* t)

cdef enum:
    SPARE_NODES = 1 << 16
    PART_BYTES = 1 << 12
    NEAR = 64       # nodes that are looked through for the views an update's value reads

cdef uint64_t epoch = 1
cdef int BYTE = NUMBER[np.dtype(np.uint8)]


cdef bint older(PyObject* a, PyObject* b) noexcept nogil:
    return (<Node>a).serial < (<Node>b).serial


cdef void collect(Walk* walk, list targets) noexcept:
    # The targets and their pending ancestors.
    cdef vector[PyObject*] stack
    for target in targets:
        if (<Node>target).state == PENDING:
            stack.push_back(<PyObject*>target)
    climb(walk, stack)


cdef void climb(Walk* walk, vector[PyObject*]& stack) noexcept:
    cdef PyObject* at
    cdef Node node
    while not stack.empty():
        at = stack.back()
        stack.pop_back()
        node = <Node>at
        if node.mark == epoch:
            continue
        node.mark = epoch
        walk.order.push_back(at)
        for each in node.inputs:
            if (<Node>each).state == PENDING and (<Node>each).mark != epoch:
                stack.push_back(<PyObject*>each)


cdef void number(Walk* walk) noexcept:
    # Serial order; leaves in the order of first use; references from inside the flush.
    cdef Py_ssize_t i, n = <Py_ssize_t>walk.order.size()
    cdef Node node, source
    cdef PyObject* at
    sort_pointers(walk.order.begin(), walk.order.end(), older)
    walk.leaves.clear()
    walk.leaf_refs.clear()
    walk.internal.assign(n, 0)
    for i in range(n):
        (<Node>walk.order[i]).place = i
    for i in range(n):
        at = walk.order[i]
        node = <Node>at
        for each in node.inputs:
            source = <Node>each
            if source.state == PENDING:
                if not node.taped or not source.op.dear:
                    walk.internal[source.place] += 1
                continue
            if source.mark != epoch:
                source.mark = epoch
                source.place = <Py_ssize_t>walk.leaves.size()
                walk.leaves.push_back(<PyObject*>source)
                walk.leaf_refs.push_back(0)
            if not node.taped:
                walk.leaf_refs[source.place] += 1


cdef bint add_readers(Walk* walk, Recorder rec) except -1:
    # Pending readers of a leaf that no handle holds any more join the flush, so that the leaf may be overwritten and
    # what they share with the flush need not be kept for them.
    cdef vector[int] outside
    cdef vector[char] abandoned
    cdef Py_ssize_t i, n = <Py_ssize_t>walk.leaves.size()
    cdef void* at = rec.oldest
    cdef Node node, source
    cdef bint any_abandoned = False, reads
    cdef list found = []
    if rec.count <= <Py_ssize_t>walk.order.size():
        return False
    outside.assign(n, 0)
    abandoned.assign(n, 0)
    while at != NULL:
        node = <Node>at
        if node.mark != epoch:
            for each in node.inputs:
                source = <Node>each
                if source.state == ISSUED and source.mark == epoch:
                    outside[source.place] += 1
        at = node.after
    for i in range(n):
        if outside[i] and (<Node>walk.leaves[i]).state == ISSUED:
            if Py_REFCNT(walk.leaves[i]) <= walk.leaf_refs[i] + outside[i]:
                abandoned[i] = 1
                any_abandoned = True
    node = None
    source = None
    if not any_abandoned:
        return False
    at = rec.oldest
    while at != NULL:
        node = <Node>at
        if node.mark != epoch:
            reads = False
            for each in node.inputs:
                source = <Node>each
                if source.state == ISSUED and source.mark == epoch and abandoned[source.place]:
                    reads = True
                elif source.state == PENDING and source in found:
                    reads = True
            if reads:
                found.append(node)
        at = node.after
    if not found:
        return False
    collect(walk, found)
    return True


cdef void find_twins(Walk* walk) noexcept:
    """Let one of two equal numbers, with which the same is done, serve both."""
    # Numbers the values: `first` of a node is the first that computes the same, equal numbers being equal.
    cdef Py_ssize_t i, k, count, n = <Py_ssize_t>walk.order.size(), m = <Py_ssize_t>walk.leaves.size(), size = 16
    cdef int numbers = 0, found
    cdef uint64_t hash
    cdef int* first
    cdef int* table
    cdef PyObject* at
    cdef PyObject* inputs
    cdef PyObject* other
    walk.twins.clear()
    for i in range(m):
        numbers += (<Node>walk.leaves[i]).state == CONST
    if numbers < 2 or n < 2:
        return
    walk.twins.resize(m)
    for i in range(m):
        walk.twins[i] = <int>i
    while size < 2 * n:
        size *= 2
    walk.table.assign(size, 0)
    walk.first.resize(n)
    first, table = walk.first.data(), walk.table.data()
    for i in range(n):
        first[i] = <int>i
        at = walk.order[i]
        inputs = <PyObject*>(<Node>at).inputs
        count = PyTuple_GET_SIZE(inputs)
        if (<Node>at).offset or (<Node>at).op.kind == UPDATE or not count:
            continue
        hash = <uint64_t>(<Node>at).sig
        for k in range(count):
            hash = (hash ^ value_of(first, PyTuple_GET_ITEM(inputs, k))) * <uint64_t>0x9E3779B97F4A7C15
        k = <Py_ssize_t>(hash >> 32) & (size - 1)
        found = table[k]
        while found:
            other = walk.order[found - 1]
            if same(first, at, other):
                first[i] = found - 1
                for k in range(count):
                    unite(walk, PyTuple_GET_ITEM(<PyObject*>(<Node>other).inputs, k), PyTuple_GET_ITEM(inputs, k))
                break
            k = (k + 1) & (size - 1)
            found = table[k]
        else:
            table[k] = <int>i + 1


cdef inline uint64_t value_of(int* first, PyObject* at) noexcept:
    cdef uint64_t bits
    if (<Node>at).state == PENDING:
        return <uint64_t>first[(<Node>at).place]
    if (<Node>at).state != CONST:
        return ~<uint64_t>(<Node>at).place
    memcpy(&bits, (<Node>at).number, 8)
    return bits + <uint64_t>(<Node>at).type.id


cdef inline bint same(int* first, PyObject* node, PyObject* other) noexcept:
    # Whether two nodes compute the same, as far as equal numbers are equal.
    cdef PyObject* inputs = <PyObject*>(<Node>node).inputs
    cdef PyObject* others = <PyObject*>(<Node>other).inputs
    cdef PyObject* a
    cdef PyObject* b
    cdef Py_ssize_t k, count = PyTuple_GET_SIZE(inputs)
    if (<Node>node).sig != (<Node>other).sig or count != PyTuple_GET_SIZE(others):
        return False
    for k in range(count):
        a, b = PyTuple_GET_ITEM(inputs, k), PyTuple_GET_ITEM(others, k)
        if a == b:
            continue
        if (<Node>a).state != (<Node>b).state:
            return False
        if (<Node>a).state == CONST:
            if (<Node>a).type is not (<Node>b).type or memcmp((<Node>a).number, (<Node>b).number, 16):
                return False
        elif (<Node>a).state != PENDING or first[(<Node>a).place] != first[(<Node>b).place]:
            return False
    return True


cdef inline void unite(Walk* walk, PyObject* to, PyObject* at) noexcept:
    # The twin of a twin is the first of them.
    if to != at and (<Node>at).state == CONST:
        walk.twins[(<Node>at).place] = walk.twins[(<Node>to).place]


cdef inline Py_ssize_t leaf_place(Walk* walk, Node leaf) noexcept:
    # Below 0, as inputs name leaves.
    return -1 - (walk.twins[leaf.place] if not walk.twins.empty() else leaf.place)


cdef bint in_step(Walk* walk, Py_ssize_t place):
    # Whether an update's base is read, shortly before it, only through views that begin where the update does.
    cdef Node node = <Node>walk.order[place]
    cdef Node other, root
    cdef Node base = node.inputs[0]
    cdef bint found = False
    cdef Py_ssize_t i, first = place - NEAR if place > NEAR else 0
    if not node.attrs[2]:
        return False
    for i in range(place - 1, first - 1, -1):
        other = <Node>walk.order[i]
        if other is base:
            return found
        if other.op.kind != VIEW:
            continue
        root = other.inputs[0]
        while root is not base and root.state == PENDING and root.op.kind == VIEW:
            root = root.inputs[0]
        if root is base:
            if other.offset != node.offset or other.inputs[0] is not base:
                return False
            found = True
    return found and first == 0


cdef bytes key_of(Walk* walk):
    """The structure of the graph as bytes."""
    cdef vector[int64_t] key
    cdef Py_ssize_t i
    cdef Node node
    cdef PyObject* at
    key.reserve(walk.order.size() * 4 + walk.leaves.size() + 1)
    key.push_back(<int64_t>walk.order.size())
    for i in range(<Py_ssize_t>walk.order.size()):
        at = walk.order[i]
        node = <Node>at
        key.push_back((node.sig * 2 + walk.kept[i]) * 2 + (node.op.kind == UPDATE and in_step(walk, i)))
        for each in node.inputs:
            if (<Node>each).state == PENDING:
                key.push_back((<Node>each).place)
            else:
                key.push_back(leaf_place(walk, <Node>each))
    for i in range(<Py_ssize_t>walk.leaves.size()):
        at = walk.leaves[i]
        node = <Node>at
        key.push_back(node.type.id * 4 + walk.donatable[i] * 2 + (node.state == CONST))
    return PyBytes_FromStringAndSize(<char*>key.data(), key.size() * sizeof(int64_t))


cdef void judge(Walk* walk, list targets) noexcept:
    # Reference counts say what is held from outside.
    cdef Py_ssize_t i
    cdef PyObject* at
    walk.kept.assign(walk.order.size(), 0)
    walk.donatable.assign(walk.leaves.size(), 0)
    for i in range(<Py_ssize_t>walk.order.size()):
        walk.kept[i] = Py_REFCNT(walk.order[i]) > walk.internal[i]
    for target in targets:
        if (<Node>target).state == PENDING:
            walk.kept[(<Node>target).place] = 1
    for i in range(<Py_ssize_t>walk.leaves.size()):
        at = walk.leaves[i]
        walk.donatable[i] = Py_REFCNT(at) <= walk.leaf_refs[i] and can_donate(at)


cdef bint can_donate(PyObject* at) noexcept:
    cdef Node node = <Node>at
    if node.state != ISSUED or node.pinned:
        return False
    return node.buffer.size_class != -1 and Py_REFCNT(<PyObject*>node.buffer) == 1


cdef object graph_of(Walk* walk):
    """The graph in the form that lowering reads."""
    cdef list ops = [], attrs = [], kinds = [], inputs = [], leaf_types = [], leaf_const = []
    cdef Py_ssize_t i
    cdef Node node
    cdef PyObject* at
    for i in range(<Py_ssize_t>walk.order.size()):
        at = walk.order[i]
        node = <Node>at
        ops.append(node.op)
        if node.op.kind == UPDATE and in_step(walk, i):
            shape, strides, _, covers, dtype = node.attrs
            attrs.append((shape, strides, IN_STEP, covers, dtype))
        else:
            attrs.append(node.attrs)
        kinds.append(node.type)
        inputs.append(tuple([
            (<Node>each).place if (<Node>each).state == PENDING else leaf_place(walk, <Node>each)
            for each in node.inputs
        ]))
    for i in range(<Py_ssize_t>walk.leaves.size()):
        at = walk.leaves[i]
        node = <Node>at
        leaf_types.append(node.type)
        leaf_const.append(node.state == CONST)
    return Graph(
        ops, attrs, kinds, inputs, [bool(k) for k in walk.kept], leaf_types, leaf_const,
        [bool(d) for d in walk.donatable],
    )


cdef int add_dependants(Walk* walk, Recorder rec) except -1:
    # What is pending on a value of this flush joins it: the loss of a step, running statistics, sums of a metric.
    cdef void* at = rec.oldest
    cdef Node node
    while at != NULL:
        node = <Node>at
        at = node.after
        if node.mark != epoch:
            for each in node.inputs:
                if (<Node>each).state == PENDING and (<Node>each).mark == epoch:
                    collect(walk, [node])
                    break
    return 0


cdef int add_parts(Walk* walk, Recorder rec) except -1:
    # Small parts of bytes that hold several values join the flush: pending, they would keep the whole.
    cdef void* at = rec.oldest
    cdef Node node, whole
    cdef Py_ssize_t i
    cdef bint packed = False
    if rec.count <= <Py_ssize_t>walk.order.size():
        return 0
    for i in range(<Py_ssize_t>walk.order.size()):
        packed = packed or is_packed(<Node>walk.order[i])
    if not packed:
        return 0
    while at != NULL:
        node = <Node>at
        at = node.after
        if node.op.kind == VIEW and node.mark != epoch and node.type.nbytes <= PART_BYTES:
            whole = node.inputs[0]
            if whole.state == PENDING and whole.mark == epoch and is_packed(whole):
                collect(walk, [node])
    return 0


cdef inline bint is_packed(Node node) noexcept:
    return node.op.kind == NATIVE and node.type.number == BYTE and node.type.ndim == 1


cdef void collect_live(Walk* walk, Recorder rec) noexcept:
    # Also what has been through a flush without being kept, where something recorded since wants it again.
    cdef vector[PyObject*] stack
    cdef void* at = rec.oldest
    while at != NULL:
        stack.push_back(<PyObject*>at)
        at = (<Node>at).after
    climb(walk, stack)


cdef void renumber(Walk* walk) noexcept:
    cdef Py_ssize_t i
    for i in range(<Py_ssize_t>walk.order.size()):
        (<Node>walk.order[i]).mark = epoch
    number(walk)


cdef void forgo(Walk* walk, list targets, bint live) noexcept:
    """Keep less: what is cheap stays pending, to be computed again when it is wanted. With `live`, ends of chains are kept."""
    cdef Py_ssize_t i, n = <Py_ssize_t>walk.order.size()
    cdef vector[char] wanted, costly, stays
    cdef Node node
    wanted.assign(n, live)
    costly.assign(n, 0)         # to compute again, together with what it reads
    stays.assign(n, 0)
    if live:
        for i in range(n):
            for each in (<Node>walk.order[i]).inputs:
                if (<Node>each).state == PENDING:
                    wanted[(<Node>each).place] = 0
    for target in targets:
        if (<Node>target).state == PENDING:
            wanted[(<Node>target).place] = 1
    for i in range(n):
        node = <Node>walk.order[i]
        costly[i] = node.op.dear or node.op.fallible
        for each in node.inputs:
            if (<Node>each).state == PENDING and costly[(<Node>each).place]:
                costly[i] = 1
        if walk.kept[i] and (costly[i] or wanted[i]):
            costly[i] = 0
        elif walk.kept[i]:
            walk.kept[i] = 0
            stays[i] = 1
    for i in range(n - 1, -1, -1):      # what stays pending reads its leaves again
        if stays[i]:
            for each in (<Node>walk.order[i]).inputs:
                if (<Node>each).state != PENDING:
                    walk.donatable[(<Node>each).place] = 0
                elif not walk.kept[(<Node>each).place]:
                    stays[(<Node>each).place] = 1


cdef int check_bound(Walk* walk) except -1:
    cdef Py_ssize_t i
    for i in range(<Py_ssize_t>walk.leaves.size()):
        if (<Node>walk.leaves[i]).state == PLACEHOLDER:
            raise RuntimeError("a value that depends on an unbound Variable was asked for; bind the Symbol first")
    return 0


cdef Walk spare                 # room of the last walk, for the next one


cdef void lend(Walk* walk) noexcept:
    """Give a new walk room; one within another gets none, and makes its own."""
    swap(walk[0], spare)


cdef void take_back(Walk* walk) noexcept:
    """Keep a walk's room, unless it is much."""
    if walk.order.capacity() <= SPARE_NODES:
        swap(walk[0], spare)


cdef bint gather(Walk* walk, list targets, Recorder live, bint together) except -1:
    """Collect what is pending among the targets and what they need; False where nothing is."""
    global epoch
    epoch += 1
    walk.order.clear()
    if live is not None:
        collect_live(walk, live)
    collect(walk, targets)
    if walk.order.empty():
        return False
    if together:
        add_dependants(walk, recorder())
    add_parts(walk, recorder())
    number(walk)
    if add_readers(walk, recorder()):
        epoch += 1
        renumber(walk)
    judge(walk, targets)
    find_twins(walk)
    check_bound(walk)
    return True


cdef bint gather_alone(Walk* walk, list targets) except -1:
    """Collect the targets and what they need, and nobody else who reads it."""
    global epoch
    epoch += 1
    walk.order.clear()
    collect(walk, targets)
    if walk.order.empty():
        return False
    add_parts(walk, recorder())
    number(walk)
    judge(walk, targets)
    find_twins(walk)
    check_bound(walk)
    return True


cdef int gather_template(Walk* walk, list outputs) except -1:
    """Collect a program that is run again and again: only its outputs are kept, and no leaf is overwritten."""
    global epoch
    epoch += 1
    collect(walk, outputs)
    number(walk)
    walk.twins.clear()
    walk.kept.assign(walk.order.size(), 0)
    walk.donatable.assign(walk.leaves.size(), 0)
    return 0
