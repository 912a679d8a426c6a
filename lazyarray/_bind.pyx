"""Flush: key the pending graph, find or lower its plan, bind slots to buffers, push the tasks."""

# Design. A flush collects the pending ancestors of its targets (borrowed pointers, in serial order), makes a key of
# interned integers that is compared in full, and binds the plan found under it. What is kept, and which leaves may be
# overwritten, follows from reference counts: a reference that is not from inside the flush is a live handle, a pending
# reader or a tape. Nodes are issued before their tasks are pushed.
# Guarded by `lock` (an RLock, taken with the GIL): from the walk to the last push. Lowering runs outside it; afterwards the
# flush starts again and finds its plan. Nothing waits on the engine while holding it. The cyclic collector is off inside.
# A Frame owns what its tasks point to: operand pointers and numbers. The engine keeps it until the last task has run.

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from libcpp.algorithm cimport sort as sort_pointers
from libcpp.vector cimport vector

import gc
import threading

import numpy as np

from lazyarray import _ir, schedule
from lazyarray._engine cimport (
    NativeFinish, VarState, admit, inside_task, is_naive, push_native, push_python, var_idle, var_poison, var_poisoned,
    var_readable, var_wait, var_written,
)
from lazyarray._ir cimport (
    CONST, EMPTY, ISSUED, PENDING, PLACEHOLDER, VIEW, Node, Recorder, Type, issue, leaf, recorder, settle,
)
from lazyarray._loops cimport KernelFinish, KernelRun, NativeKernel
from lazyarray._memory cimport Buffer, foreign_buffer, new_buffer

from lazyarray import _memory

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* o)
    void Py_INCREF(PyObject* o)
    void Py_DECREF(PyObject* o)
    int PyGC_Disable()
    int PyGC_Enable()

cimport numpy as cnp

cdef extern from "ndarray.hpp":
    object la_ndarray(object descr, int nd, const cnp.npy_intp* dims, const cnp.npy_intp* strides, void* data, int flags)

cnp.import_array()

cdef extern from *:
    """
    #include <vector>
    struct LazyWalk {
        std::vector<PyObject*> order, leaves;   // borrowed
        std::vector<int> internal, leaf_refs;   // references from inside the flush
    };
    """
    cdef cppclass Walk "LazyWalk":
        vector[PyObject*] order
        vector[PyObject*] leaves
        vector[int] internal
        vector[int] leaf_refs

cdef enum:
    INLINE_COST = 40_000        # ns of kernel time that are cheaper to run here than to hand over (9 us) and wait for
    RELEASE_COST = 5_000        # ns from which an inline run lets go of the GIL
    PLAN_LIMIT = 1024

cdef struct Arg:
    int slot
    int first_offset
    int n_offsets

cdef struct Spec:
    KernelRun run
    KernelFinish finish
    const void* params
    Py_ssize_t extent
    Py_ssize_t grain
    Py_ssize_t nbytes
    int first_arg
    int n_args
    int first_read
    int n_reads
    int first_write
    int n_writes
    int place
    bint python

cdef struct SlotSpec:
    Py_ssize_t nbytes
    int leaf
    bint const

cdef struct Kept:
    int place
    int slot

# What the engine runs: one kernel with its pointers.
cdef struct Call:
    KernelRun run
    KernelFinish finish
    const void* params
    char** args

cdef object lock = threading.RLock()
cdef dict plans = {}
cdef uint64_t epoch = 1
cdef uint64_t clock = 0
cdef Py_ssize_t n_flushes = 0, n_lowerings = 0, n_hits = 0, n_tasks = 0, n_inline = 0


cdef int run_call(void* arg, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef Call* call = <Call*>arg
    return call.run(call.params, call.args, begin, end)


cdef int finish_call(void* arg) noexcept nogil:
    cdef Call* call = <Call*>arg
    return call.finish(call.params, call.args)


@cython.final
cdef class Plan:
    """A lowered program in the form that bind reads."""

    cdef vector[Spec] tasks
    cdef vector[Arg] args
    cdef vector[int] offsets
    cdef vector[int] vars
    cdef vector[SlotSpec] slots
    cdef vector[Kept] kept
    cdef vector[char] is_written        # by slot
    cdef readonly list kernels
    cdef readonly list calls            # (function, attributes, arrays, op name) of Python tasks
    cdef readonly list labels           # bytes, for the event log
    cdef readonly object program
    cdef Py_ssize_t cost
    cdef bint inline
    cdef uint64_t used

    def __init__(self, program, graph):
        cdef Spec spec
        cdef Arg arg
        cdef SlotSpec slot
        cdef Kept kept
        cdef NativeKernel kernel
        self.kernels = []
        self.calls = []
        self.labels = []
        self.program = program
        self.inline = True
        for each in program.slots:
            slot.nbytes = each.nbytes
            slot.leaf = each.leaf
            slot.const = each.const
            self.slots.push_back(slot)
        self.is_written.assign(self.slots.size(), 0)
        for task in program.tasks:
            spec.place = task.place
            spec.first_arg = <int>self.args.size()
            spec.n_args = <int>len(task.args)
            for index, places in task.args:
                arg.slot = index
                arg.first_offset = <int>self.offsets.size()
                arg.n_offsets = <int>len(places)
                for place in places:
                    self.offsets.push_back(place)
                self.args.push_back(arg)
            spec.first_read = <int>self.vars.size()
            spec.n_reads = <int>len(task.reads)
            for index in task.reads:
                self.vars.push_back(index)
            spec.first_write = <int>self.vars.size()
            spec.n_writes = <int>len(task.writes)
            spec.nbytes = 0
            for index in task.writes:
                self.vars.push_back(index)
                self.is_written[<int>index] = 1
                spec.nbytes += self.slots[<int>index].nbytes
            self.labels.append(task.label.encode())
            spec.python = task.kernel is None
            if spec.python:
                function, attrs = task.function
                self.kernels.append(None)
                self.calls.append((function, attrs, task.arrays, task.op.name))
                self.inline = False
            else:
                kernel = task.kernel
                spec.run = kernel.run
                spec.finish = kernel.finish
                spec.params = kernel.params
                spec.extent = kernel.extent
                spec.grain = kernel.grain
                self.cost += kernel.cost
                self.kernels.append(kernel)
                self.calls.append(None)
                if graph.ops[task.place].fallible:
                    self.inline = False
            self.tasks.push_back(spec)
        for place, index in program.kept:
            kept.place = place
            kept.slot = index
            self.kept.push_back(kept)


@cython.final
cdef class Frame:
    """One run of a plan: operand pointers, numbers, and where its ops were recorded."""

    cdef char* memory
    cdef Plan plan
    cdef list sites         # raw sites of the tasks that may fail
    cdef list foreign       # buffers of other owners, kept alive until the tasks have run

    def __dealloc__(self):
        free(self.memory)

    def error(self, int index, int code):
        """The located exception for error `code` of task `index`."""
        kernel = self.plan.kernels[index]
        known = kernel.errors or {}
        kind, message = known.get(code, (RuntimeError, f"kernel {kernel.label} failed with code {code}"))
        return located(kind, message, self.sites[index] if self.sites is not None else None)


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


class HostCall:
    """A Python task: an op's NumPy function on the memory of its slots."""

    __slots__ = ("arrays", "attributes", "function", "name", "site")

    def __init__(self, function, attributes, arrays, name, site):
        self.function = function
        self.attributes = attributes
        self.arrays = arrays
        self.name = name
        self.site = site

    def __call__(self):
        try:
            self.function(np, *self.arrays, **self.attributes)
        except Exception as error:
            if self.site is not None and self.site[0] is not None:
                error.add_note(f"{self.name}: recorded at {line_of(self.site)}.")
            raise


cdef object array_at(char* ptr, tuple shape, tuple strides, object dtype):
    cdef cnp.npy_intp dims[64]
    cdef cnp.npy_intp steps[64]
    cdef int i, n = <int>len(shape)
    for i in range(n):
        dims[i] = shape[i]
        steps[i] = strides[i]
    return la_ndarray(dtype, n, dims, steps, ptr, cnp.NPY_ARRAY_WRITEABLE)


# ---- the walk

cdef bint older(PyObject* a, PyObject* b) noexcept nogil:
    return (<Node>a).serial < (<Node>b).serial


cdef void collect(Walk* walk, list targets) noexcept:
    # Pending ancestors of the targets.
    cdef vector[PyObject*] stack
    cdef PyObject* at
    cdef Node node
    for target in targets:
        if (<Node>target).state == PENDING:
            stack.push_back(<PyObject*>target)
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


cdef bytes key_of(Walk* walk, vector[char]* kept, vector[char]* donatable):
    cdef vector[int64_t] key
    cdef Py_ssize_t i
    cdef Node node
    cdef PyObject* at
    key.reserve(walk.order.size() * 4 + walk.leaves.size() + 1)
    key.push_back(<int64_t>walk.order.size())
    for i in range(<Py_ssize_t>walk.order.size()):
        at = walk.order[i]
        node = <Node>at
        key.push_back(node.sig * 2 + kept[0][i])
        for each in node.inputs:
            if (<Node>each).state == PENDING:
                key.push_back((<Node>each).place)
            else:
                key.push_back(-1 - (<Node>each).place)
    for i in range(<Py_ssize_t>walk.leaves.size()):
        at = walk.leaves[i]
        node = <Node>at
        key.push_back(node.type.id * 4 + donatable[0][i] * 2 + (node.state == CONST))
    return PyBytes_FromStringAndSize(<char*>key.data(), key.size() * sizeof(int64_t))


cdef void judge(Walk* walk, list targets, vector[char]* kept, vector[char]* donatable) noexcept:
    # Reference counts say what is held from outside.
    cdef Py_ssize_t i
    cdef PyObject* at
    kept.assign(walk.order.size(), 0)
    donatable.assign(walk.leaves.size(), 0)
    for i in range(<Py_ssize_t>walk.order.size()):
        kept[0][i] = Py_REFCNT(walk.order[i]) > walk.internal[i]
    for target in targets:
        if (<Node>target).state == PENDING:
            kept[0][(<Node>target).place] = 1
    for i in range(<Py_ssize_t>walk.leaves.size()):
        at = walk.leaves[i]
        donatable[0][i] = Py_REFCNT(at) <= walk.leaf_refs[i] and can_donate(at)


cdef bint can_donate(PyObject* at) noexcept:
    cdef Node node = <Node>at
    if node.state != ISSUED or node.pinned:
        return False
    return node.buffer.size_class >= 0 and Py_REFCNT(<PyObject*>node.buffer) == 1


cdef object graph_of(Walk* walk, vector[char]* kept, vector[char]* donatable):
    cdef list ops = [], attrs = [], kinds = [], inputs = [], leaf_types = [], leaf_const = []
    cdef Py_ssize_t i
    cdef Node node
    cdef PyObject* at
    for i in range(<Py_ssize_t>walk.order.size()):
        at = walk.order[i]
        node = <Node>at
        ops.append(node.op)
        attrs.append(node.attrs)
        kinds.append(node.type)
        inputs.append(tuple([
            (<Node>each).place if (<Node>each).state == PENDING else -1 - (<Node>each).place
            for each in node.inputs
        ]))
    for i in range(<Py_ssize_t>walk.leaves.size()):
        at = walk.leaves[i]
        node = <Node>at
        leaf_types.append(node.type)
        leaf_const.append(node.state == CONST)
    return schedule.Graph(
        ops, attrs, kinds, inputs, [bool(k) for k in kept[0]], leaf_types, leaf_const,
        [bool(d) for d in donatable[0]],
    )


cdef void remember(bytes key, Plan plan):
    cdef list ages
    if len(plans) >= PLAN_LIMIT:
        ages = sorted([((<Plan>p).used, k) for k, p in plans.items()])
        for _, old in ages[:PLAN_LIMIT // 2]:
            del plans[old]
    plans[key] = plan


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


cdef int flush_nodes(list targets, bint waiting) except -1:
    return flush_from(targets, None, waiting, False)


cdef int flush_live(Recorder rec) except -1:
    # All that the thread has recorded; what is kept is what a live handle, or a tape, still holds.
    return flush_from([], rec, False, False)


cdef void collect_live(Walk* walk, Recorder rec) noexcept:
    cdef void* at = rec.oldest
    while at != NULL:
        (<Node>at).mark = epoch
        walk.order.push_back(<PyObject*>at)
        at = (<Node>at).after


cdef int flush_from(list targets, Recorder live, bint waiting, bint together) except -1:
    global epoch, clock, n_flushes, n_lowerings, n_hits
    cdef Walk walk
    cdef vector[char] kept, donatable
    cdef Plan plan = None
    cdef bytes key
    cdef object graph
    cdef bint lowered = False, collecting
    admit(1, 0)
    while True:
        with lock:
            collecting = PyGC_Disable()
            try:
                epoch += 1
                walk.order.clear()
                if live is not None:
                    collect_live(&walk, live)
                collect(&walk, targets)
                if walk.order.empty():
                    return 0
                if together:
                    add_dependants(&walk, recorder())
                number(&walk)
                if add_readers(&walk, recorder()):
                    epoch += 1
                    renumber(&walk)
                judge(&walk, targets, &kept, &donatable)
                check_bound(&walk)
                key = key_of(&walk, &kept, &donatable)
                plan = plans.get(key)
                if plan is not None:
                    n_flushes += 1
                    if not lowered:
                        n_hits += 1
                    clock += 1
                    plan.used = clock
                    bind(plan, &walk, None, waiting)
                    return 0
                graph = graph_of(&walk, &kept, &donatable)
            finally:
                if collecting:
                    PyGC_Enable()
        plan = Plan(schedule.lower(graph), graph)
        n_lowerings += 1
        lowered = True
        with lock:
            remember(key, plan)


cdef void renumber(Walk* walk) noexcept:
    cdef Py_ssize_t i
    for i in range(<Py_ssize_t>walk.order.size()):
        (<Node>walk.order[i]).mark = epoch
    number(walk)


cdef int check_bound(Walk* walk) except -1:
    cdef Py_ssize_t i
    for i in range(<Py_ssize_t>walk.leaves.size()):
        if (<Node>walk.leaves[i]).state == PLACEHOLDER:
            raise RuntimeError("a value that depends on an unbound Variable was asked for; bind the Symbol first")
    return 0


# ---- bind and push

cdef list bind(Plan plan, Walk* walk, list substitutes, bint waiting):
    # With `substitutes` (leaf nodes for a template's leaves) the template stays as it is and new leaves are returned.
    global n_tasks, n_inline
    cdef Py_ssize_t n_slots = <Py_ssize_t>plan.slots.size(), n_args = <Py_ssize_t>plan.args.size()
    cdef Py_ssize_t n_calls = <Py_ssize_t>plan.tasks.size(), i, j, k, n
    cdef list buffers = [None] * n_slots
    cdef list order = [], results = None
    cdef Frame frame = Frame.__new__(Frame)
    cdef Call* calls
    cdef char** pointers
    cdef char* numbers
    cdef char** bases
    cdef vector[VarState*] slot_vars
    cdef vector[VarState*] reads
    cdef vector[VarState*] writes
    cdef Node node
    cdef Buffer buffer
    cdef Spec* spec
    cdef Arg* arg
    cdef char* at
    cdef PyObject* raw
    cdef Py_ssize_t failed = -1
    cdef NativeFinish finish
    frame.plan = plan
    frame.memory = <char*>malloc(
        n_calls * sizeof(Call) + (n_args + n_slots) * sizeof(char*) + 16 * n_slots + 16
    )
    if frame.memory == NULL:
        raise MemoryError()
    numbers = frame.memory
    calls = <Call*>(numbers + 16 * n_slots)
    pointers = <char**>(calls + n_calls)
    bases = pointers + n_args
    slot_vars.assign(n_slots, NULL)
    for i in range(n_slots):
        if plan.slots[i].leaf >= 0:
            if substitutes is not None:
                node = <Node>substitutes[plan.slots[i].leaf]
            else:
                raw = walk.leaves[plan.slots[i].leaf]
                node = <Node>raw
            if node.state == CONST:
                memcpy(numbers + 16 * i, node.number, 16)
                bases[i] = numbers + 16 * i
                continue
            buffer = node.buffer
            if buffer.size_class < 0:
                if frame.foreign is None:
                    frame.foreign = []
                frame.foreign.append(buffer)
        else:
            buffer = new_buffer(plan.slots[i].nbytes)
            if var_poisoned(buffer.var) and var_idle(buffer.var):
                var_written(buffer.var)     # the failure of the block's last owner
        buffers[i] = buffer
        bases[i] = buffer.ptr
        slot_vars[i] = buffer.var
    node = None
    j = 0
    for i in range(n_calls):
        spec = &plan.tasks[i]
        calls[i].run = spec.run
        calls[i].finish = spec.finish
        calls[i].params = spec.params
        calls[i].args = pointers + spec.first_arg
        for j in range(spec.first_arg, spec.first_arg + spec.n_args):
            arg = &plan.args[j]
            at = bases[arg.slot]
            for k in range(arg.first_offset, arg.first_offset + arg.n_offsets):
                raw = walk.order[plan.offsets[k]]
                at += (<Node>raw).offset
            pointers[j] = at
    if not plan.inline:
        frame.sites = []
        for i in range(n_calls):
            raw = walk.order[plan.tasks[i].place]
            frame.sites.append((<Node>raw).raw_site)
    if substitutes is None:
        for i in range(<Py_ssize_t>walk.order.size()):
            order.append(<object>walk.order[i])
        for i in range(<Py_ssize_t>plan.kept.size()):
            issue(<Node>order[plan.kept[i].place], <Buffer>buffers[plan.kept[i].slot])
        for node in order:
            settle(node)
            node.pinned = False
        node = None
    else:
        results = []
        for i in range(<Py_ssize_t>plan.kept.size()):
            raw = walk.order[plan.kept[i].place]
            results.append((plan.kept[i].place, leaf((<Node>raw).type, <Buffer>buffers[plan.kept[i].slot])))
    n_tasks += n_calls
    if waiting and plan.inline and plan.cost < INLINE_COST and not is_naive() and quiet(plan, slot_vars):
        n_inline += 1
        if plan.cost > RELEASE_COST:
            with nogil:
                failed = run_inline(plan, calls)
        else:
            failed = run_inline(plan, calls)
        for i in range(n_slots):
            if slot_vars[i] != NULL and plan.is_written[i]:
                var_written(slot_vars[i])
        if failed >= 0:
            out_of_memory(plan, failed, slot_vars)
        return results
    for i in range(n_calls):
        spec = &plan.tasks[i]
        reads.clear()
        writes.clear()
        for k in range(spec.first_read, spec.first_read + spec.n_reads):
            reads.push_back(slot_vars[plan.vars[k]])
        for k in range(spec.first_write, spec.first_write + spec.n_writes):
            writes.push_back(slot_vars[plan.vars[k]])
        if spec.python:
            push_python(
                host_call(plan, i, pointers + spec.first_arg, frame.sites[i]), reads.data(), spec.n_reads,
                writes.data(), spec.n_writes, 0, None, spec.nbytes, plan.calls[i][3],
            )
        else:
            finish = finish_call
            if spec.finish == NULL:
                finish = NULL
            push_native(
                run_call, finish, &calls[i], spec.extent, spec.grain,
                frame, <int>i, reads.data(), spec.n_reads, writes.data(), spec.n_writes, 0, None, spec.nbytes,
                <const char*>(<bytes>plan.labels[i]),
            )
    return results


cdef object host_call(Plan plan, Py_ssize_t index, char** pointers, object site):
    function, attributes, layouts, name = plan.calls[index]
    cdef list arrays = []
    cdef Py_ssize_t i = 0
    for shape, strides, dtype in layouts:
        arrays.append(array_at(pointers[i], shape, strides, dtype))
        i += 1
    return HostCall(function, dict(attributes, out=arrays.pop()), arrays, name, site)


cdef int out_of_memory(Plan plan, Py_ssize_t failed, vector[VarState*]& slot_vars) except -1:
    # An op that cannot fail on data has failed for want of memory; all that the plan writes is poisoned.
    cdef Py_ssize_t i
    error = MemoryError(f"no memory for the working storage of {plan.labels[failed].decode()}")
    for i in range(<Py_ssize_t>slot_vars.size()):
        if slot_vars[i] != NULL and plan.is_written[i]:
            var_poison(slot_vars[i], error)
    return 0


cdef bint quiet(Plan plan, vector[VarState*]& slot_vars) noexcept:
    # Nothing that this plan reads or writes is still being worked on.
    cdef Py_ssize_t i
    cdef VarState* var
    for i in range(<Py_ssize_t>slot_vars.size()):
        var = slot_vars[i]
        if var == NULL:
            continue
        if plan.slots[i].leaf < 0:
            if not var_idle(var):
                return False
        elif not var_idle(var) or var_poisoned(var):
            return False
    return True


cdef Py_ssize_t run_inline(Plan plan, Call* calls) noexcept nogil:
    cdef Py_ssize_t i
    cdef int code
    for i in range(<Py_ssize_t>plan.tasks.size()):
        code = calls[i].run(calls[i].params, calls[i].args, 0, plan.tasks[i].extent)
        if code == 0 and calls[i].finish != NULL:
            code = calls[i].finish(calls[i].params, calls[i].args)
        if code != 0:
            return i
    return -1


cdef int wait_node(Node node) except -1:
    if node.state == PENDING:
        flush_nodes([node], True)
    if node.state == ISSUED:
        var_wait(node.buffer.var)
    elif node.state == PLACEHOLDER:
        raise RuntimeError("an unbound Variable has no value; bind the Symbol first")
    return 0


cdef object numpy_view(Node node):
    # The waited-for value as an ndarray on its buffer, which it keeps alive.
    cdef object array
    if node.state == CONST:
        return np.frombuffer(node.number[:node.type.itemsize], node.type.dtype)[0:1].reshape(())
    array = array_at(
        node.buffer.ptr, node.type.shape, _ir.c_strides(node.type.shape, node.type.itemsize), node.type.dtype
    )
    cnp.set_array_base(array, node.buffer)
    return array


def flush(list targets, waiting=False):
    """Run the pending nodes among `targets` and what they need; `waiting` says that they are read next."""
    flush_nodes(targets, waiting)


def flush_step(list targets):
    """Run the pending nodes among `targets`, what they need, and what this thread has recorded on top of that."""
    flush_from(targets, None, False, True)


def wait(Node node):
    """Flush and wait for one node; raises what its computation raised."""
    wait_node(node)


def value(Node node):
    """The value of a node as an ndarray that shares its memory."""
    wait_node(node)
    return numpy_view(node)


def counters():
    """Counts since the process started."""
    return {
        "flushes": n_flushes, "lowerings": n_lowerings, "plan_hits": n_hits, "tasks": n_tasks,
        "inline": n_inline, "plans": len(plans),
    }


def clear_plans():
    """Forget all plans."""
    plans.clear()


@cython.final
cdef class Compiled:
    """A program kept as it was recorded, to be run again on other leaves: replay records nothing.

    A call gives a value for each of `parameters`: typed placeholders, numbers (which stay numbers), and pending nodes, at
    which the program is cut. It is lowered at its first call.
    """

    cdef Walk walk
    cdef Plan plan
    cdef object graph
    cdef list order
    cdef list leaves                    # (leaf, place among the parameters or -1)
    cdef list outputs                   # (place of a computed node or -1, place among the parameters or -1, node)

    def __init__(self, list outputs, list parameters):
        global epoch
        cdef vector[char] kept, donatable
        cdef Py_ssize_t i
        cdef Node node
        cdef list cut = [each for each in parameters if (<Node>each).state == PENDING]
        cdef dict given = {(<Node>parameters[i]).serial: i for i in range(len(parameters))}
        with lock:
            for each in cut:
                (<Node>each).state = PLACEHOLDER
            try:
                epoch += 1
                collect(&self.walk, outputs)
                number(&self.walk)
                kept.assign(self.walk.order.size(), 0)
                donatable.assign(self.walk.leaves.size(), 0)
                self.outputs = []
                for each in outputs:
                    node = <Node>each
                    if node.state == PENDING:
                        kept[node.place] = 1
                        self.outputs.append((node.place, -1, node))
                    else:
                        self.outputs.append((-1, given.get(node.serial, -1), node))
                self.graph = graph_of(&self.walk, &kept, &donatable)
                self.order = [<object>self.walk.order[i] for i in range(<Py_ssize_t>self.walk.order.size())]
                self.leaves = []
                for i in range(<Py_ssize_t>self.walk.leaves.size()):
                    node = <Node>self.walk.leaves[i]
                    self.leaves.append((node, given.get(node.serial, -1)))
            finally:
                for each in cut:
                    (<Node>each).state = PENDING
            for each in self.order:
                settle(<Node>each)

    def __call__(self, list values):
        """Run with `values` in place of the parameters; the nodes of the outputs."""
        cdef list substitutes = []
        cdef list results, targets
        cdef Node node
        cdef bint pinned = False
        if self.plan is None:
            self.plan = Plan(schedule.lower(self.graph), self.graph)
            self.graph = None
        targets = [each for each in values if (<Node>each).state == PENDING]
        if targets:
            flush_nodes(targets, False)
        for each, place in self.leaves:
            node = substitute(<Node>each, <Node>(values[place] if place >= 0 else each))
            pinned = pinned or node.pinned
            substitutes.append(node)
        admit(1, 0)
        with lock:
            found = dict(bind(self.plan, &self.walk, substitutes, False))
        results = [
            found[computed] if computed >= 0 else values[place] if place >= 0 else each
            for computed, place, each in self.outputs
        ]
        if pinned:
            # Its memory is also seen from outside, where it may be written as soon as this returns.
            for each in found.values():
                var_wait((<Node>each).buffer.var)
        return results


def withdraw(uint64_t serial):
    """Take what this thread has recorded after number `serial` off its pending work: it depends on placeholders."""
    cdef void* at = recorder().newest
    cdef Node node
    while at != NULL and (<Node>at).serial > serial:
        node = <Node>at
        at = node.before
        settle(node)


def is_pinned(Node node):
    """Whether the node's memory is also seen from outside."""
    return node.pinned


cdef Node substitute(Node leaf_node, Node value):
    # The value a compiled program reads instead of a leaf of the recorded one.
    cdef Type kind = leaf_node.type
    if value.type is not kind and (value.type.shape != kind.shape or value.type.dtype is not kind.dtype):
        raise RuntimeError(f"a compiled program that takes {kind!r} got {value.type!r}")
    if value.state == PLACEHOLDER:
        raise RuntimeError(f"a compiled program got no value for a parameter of type {kind!r}")
    if leaf_node.state == CONST and value.state != CONST:
        raise RuntimeError(f"a compiled program got {value!r} for a number")
    if value.state == CONST and leaf_node.state != CONST:
        memory = np.empty(16, np.uint8)
        memcpy(cnp.PyArray_DATA(<cnp.ndarray>memory), value.number, 16)
        return leaf(kind, foreign_buffer(cnp.PyArray_DATA(<cnp.ndarray>memory), kind.nbytes, memory))
    return value
