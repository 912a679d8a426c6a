"""Plans: slots bound to buffers, operand pointers made, tasks pushed or run at once."""

# Design. A Plan is a lowered program in arrays that bind walks without making Python objects. A Frame is one run of it: the
# operand pointers, the numbers, and the lines where its ops were recorded; the engine keeps it until its last task has run.
# Nodes are issued before their tasks are pushed; the caller holds the runtime's lock, so nobody sees them in between.
# A plan that is cheap and whose buffers are idle runs on the thread that waits for it: a worker takes 9 us to wake.
# A task whose nodes ask for floating-point warnings clears the thread's flags before its kernel and reads them after. A flag
# counts where every node that could have raised it asks for it: what is not told apart must not warn. Tasks that have raised
# flags push themselves on `raised`, without the GIL; their Frame, which the engine keeps until then, takes them from there.

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF, Py_XINCREF
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from libcpp.vector cimport vector

import os
import threading

import numpy as np

from lazyarray import device as devices
from lazyarray import floats, tiers
from lazyarray._engine cimport (
    NativeFinish, VarState, is_naive, push_native, push_python, push_short, var_idle, var_poison, var_poisoned,
    var_readable, var_written, vars_begin, vars_end,
)
from lazyarray._floats cimport DIVIDE, INVALID, OVERFLOW, UNDERFLOW, Mode, drain, tell
from lazyarray._floats import KINDS, default, failure, forget
from lazyarray._ir cimport CONST, Node, issue, leaf_like, settle
from lazyarray._loops cimport KernelFinish, KernelRun, NativeKernel
from lazyarray._memory cimport Buffer, device_buffer, try_buffer
from lazyarray._memory import NoRoom, capacity_of, size_text
from lazyarray.errors import OutOfMemoryError
from lazyarray.lines import recorded
from lazyarray._walk cimport Walk

cimport numpy as cnp

cdef extern from "ndarray.hpp":
    object la_ndarray(object descr, int nd, const cnp.npy_intp* dims, const cnp.npy_intp* strides, void* data, int flags)

cdef extern from "flags.hpp" namespace "la" nogil:
    unsigned float_flags()
    void clear_float_flags()

cdef extern from "raised.hpp" namespace "la" nogil:
    cdef struct Raised:
        Raised* next
        void* frame
        int index
        unsigned flags
    void add_flags(Raised*, unsigned)
    cppclass RaisedStack:
        void push(Raised*)
        bint empty()
        Raised* take_all()
    RaisedStack& raised()

cnp.import_array()

cdef enum:
    FLOATS = 98                 # error code of a task whose flags are errors
    INLINE_COST = 40_000        # ns of kernel time that are cheaper to run here than to hand over (9 us) and wait for
    RELEASE_COST = 5_000        # ns from which an inline run lets go of the GIL
    PUSH_COST = 250             # ns that the engine takes for a task
    MANY = 32                   # tasks of a plan, from which nobody waits for them to be handed over that could have run
    SHORT_BYTES = 32_768        # in a plan whose host functions take no longer than to hand them over
    SHARE_COST = 10_000         # ns of work that are worth a worker's waking: what a thread takes at once of a kernel

# What the engine runs: one kernel with its pointers.
cdef struct Call:
    KernelRun run
    KernelFinish finish
    const void* params
    char** args
    unsigned wanted             # flags that are told of,
    unsigned raising            # and those of them that are errors
    bint shared                 # between threads: `finish` tells
    Py_ssize_t extent
    Py_ssize_t grain
    Raised raised

# What a plan takes itself, in bytes, beside its key: fitted to what forgetting plans of many kinds gives back to malloc,
# of which it is within a seventh (tests/test_plans.py).
cdef enum:
    PLAN_BYTES = 2900
    KERNEL_BYTES = 930
    STEP_BYTES = 300            # of a program of loops
    ARG_BYTES = 595             # of a task, with its slot
    STAGE_ARG_BYTES = 310       # of a sweep of stages, which share theirs
    NODE_BYTES = 110
    OUTLINE_BYTES = 4650        # of a program that reduces: its recipe keeps what compiled loops are made of

cdef Py_ssize_t n_tasks = 0, n_inline = 0, n_compiled = 0


cdef int run_call(void* arg, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef Call* call = <Call*>arg
    cdef unsigned flags
    cdef int code
    if not call.wanted:
        return call.run(call.params, call.args, begin, end)
    clear_float_flags()
    code = call.run(call.params, call.args, begin, end)
    flags = float_flags() & call.wanted
    if flags:
        add_flags(&call.raised, flags)
    if code == 0 and not call.shared:
        code = told(call)
    return code


cdef int finish_call(void* arg) noexcept nogil:
    cdef Call* call = <Call*>arg
    cdef unsigned flags
    cdef int code = 0
    if not call.wanted:
        return call.finish(call.params, call.args)
    if call.finish != NULL:
        clear_float_flags()
        code = call.finish(call.params, call.args)
        flags = float_flags() & call.wanted
        if flags:
            add_flags(&call.raised, flags)
    return told(call) if code == 0 else code


cdef inline int told(Call* call) noexcept nogil:
    # All units have run.
    if not call.raised.flags:
        return 0
    if call.raised.frame != NULL:
        raised().push(&call.raised)
    return FLOATS if call.raised.flags & call.raising else 0


cdef Py_ssize_t share_of(NativeKernel kernel) noexcept:
    # In multiples of its own grain, at which a kernel may be cut anywhere without a change of bits.
    cdef Py_ssize_t grains = (kernel.extent + kernel.grain - 1) // kernel.grain
    cdef double wanted = <double>grains * SHARE_COST / max(<double>kernel.cost, 1.0)
    return kernel.grain * <Py_ssize_t>max(1.0, min(wanted, <double>grains))


cdef void fill(Spec* spec, NativeKernel kernel) noexcept:
    spec.run = kernel.run
    spec.finish = kernel.finish
    spec.params = kernel.params
    spec.extent = kernel.extent
    spec.grain = share_of(kernel)


cdef int compiled_dull(NativeKernel kernel) noexcept:
    # Compiled loops that do not keep the flags of those they replace: they may find fault with a NaN, and with more in a
    # single element.
    return INVALID if kernel.extent > 1 else INVALID | DIVIDE | OVERFLOW | UNDERFLOW


@cython.final
cdef class Plan:
    """A lowered program in the form that bind reads."""

    def __init__(self, program, graph):
        cdef Spec spec, first
        cdef Arg arg
        cdef SlotSpec slot
        cdef Kept kept
        cdef NativeKernel kernel
        self.kernels = []
        self.calls = []
        self.labels = []
        self.names = []
        self.retired = []
        self.limit = tiers.first_heat(program)
        self.program = program
        self.inline = True
        for each in program.slots:
            slot.nbytes = each.nbytes
            slot.device = each.device
            slot.leaf = each.leaf
            slot.const = each.const
            self.slots.push_back(slot)
        self.is_written.assign(self.slots.size(), 0)
        for task in program.tasks:
            spec.place = task.place
            spec.priority = task.priority
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
            spec.first_depends = -1
            if task.depends is not None:
                spec.first_depends = <int>self.depends.size()
                for bits in task.depends:
                    self.depends.push_back(bits)
            spec.nbytes = 0
            for index in task.writes:
                self.vars.push_back(index)
                self.is_written[<int>index] = 1
                spec.nbytes += self.slots[<int>index].nbytes
            self.labels.append(task.label.encode())
            spec.python = task.kernel is None
            spec.device = task.device
            if spec.device:
                self.kernels.append(None)
                self.calls.append((devices.prepared(task), task.label))
                self.inline = False
            elif spec.python:
                function, attrs = task.function
                self.kernels.append(None)
                self.calls.append((function, attrs, task.arrays, task.op.name))
                self.inline = False
            else:
                kernel = task.kernel
                fill(&spec, kernel)
                self.cost += kernel.cost
                self.kernels.append(kernel)
                self.calls.append(None)
                self.n_compiled += task.tier
                self.fallible = self.fallible or graph.ops[task.place].fallible
            add_risks(self, &spec, task, graph)
            first = spec
            first.run = NULL
            if task.tier:
                kernel = task.recipe.kernel()
                self.retired.append(kernel)
                fill(&first, kernel)
                spec.dull |= 0 if task.exact else compiled_dull(kernel)
            self.cold.push_back(first)
            self.tasks.push_back(spec)
        if program.tasks and program.tasks[0].device:
            self.together = devices.together(program, [call[0] for call in self.calls if call is not None])
        for place, index in program.kept:
            kept.place = place
            kept.slot = index
            self.kept.push_back(kept)
        self.nbytes = PLAN_BYTES + NODE_BYTES * <Py_ssize_t>len(graph.ops)
        for task in program.tasks:
            self.nbytes += own_bytes(task)

    def swap(self, Py_ssize_t index, NativeKernel kernel):
        """Run a task's kernel in tier 1 from the next bind on; the caller holds the runtime's lock."""
        cdef Spec* spec = &self.tasks[index]
        task = self.program.tasks[index]
        self.retired.append(self.kernels[index])
        if self.cold[index].run == NULL:
            self.cold[index] = spec[0]
        spec.dull |= 0 if task.exact else compiled_dull(kernel)
        self.kernels[index] = task.kernel = kernel
        fill(spec, kernel)
        task.tier = 1
        self.n_compiled += 1

    @property
    def peak_bytes(self):
        """Memory that one run takes from the pool, in bytes: its results and its temporaries."""
        cdef Py_ssize_t i, total = 0
        for i in range(<Py_ssize_t>self.slots.size()):
            if self.slots[i].leaf < 0 and not self.slots[i].device:
                total += <Py_ssize_t>capacity_of(self.slots[i].nbytes)
        return total


cdef Py_ssize_t own_bytes(object task) except -1:
    # What a plan takes for a task, in bytes.
    cdef Py_ssize_t found = KERNEL_BYTES + (STAGE_ARG_BYTES if task.stages else ARG_BYTES) * <Py_ssize_t>len(task.args)
    if task.recipe is not None:
        found += STEP_BYTES * <Py_ssize_t>len(task.recipe.steps)
        found += OUTLINE_BYTES if task.recipe.compiled is not None else 0
    for each in task.parts or ():
        found += KERNEL_BYTES + ARG_BYTES * <Py_ssize_t>len(each.args)
        found += OUTLINE_BYTES if each.recipe is not None and each.recipe.compiled is not None else 0
    return found


# Where a node with a risk was recorded; both owned.
cdef struct Noted:
    PyObject* code
    PyObject* mode
    int lasti


cdef int add_risks(Plan plan, Spec* spec, object task, object graph) except -1:
    cdef Risk risk
    spec.first_risk = <int>plan.risks.size()
    spec.dull = 0
    for place in task.nodes:
        dtypes = [(graph.types[i] if i >= 0 else graph.leaf_types[-1 - i]).dtype for i in graph.inputs[place]]
        name, flags, dull = floats.flags_of(graph.ops[place], dtypes, graph.types[place].dtype)
        spec.dull |= <int>dull
        if flags:
            risk.place, risk.flags = place, flags
            plan.risks.push_back(risk)
            plan.names.append(name)
    spec.n_risks = <int>plan.risks.size() - spec.first_risk
    return 0


cdef class Taker:
    """What is done with new leaves, in the order of the plan's kept values, before anything runs."""

    cdef int take(self, list results) except -1:
        return 0


@cython.final
@cython.no_gc
cdef class Frame:
    """One run of a plan: operand pointers, numbers, and where its ops were recorded."""

    cdef char* memory
    cdef Plan plan
    cdef vector[Noted] lines    # by the tasks, where one may fail: where they were recorded
    cdef list foreign       # buffers of other owners, kept alive until the tasks have run
    cdef vector[Noted] noted    # by the plan's risks: where they were recorded, and under which mode

    def __dealloc__(self):
        cdef Py_ssize_t i
        if not raised().empty():
            collect_raised()
        for i in range(<Py_ssize_t>self.noted.size()):
            Py_XDECREF(self.noted[i].code)
            Py_XDECREF(self.noted[i].mode)
        for i in range(<Py_ssize_t>self.lines.size()):
            Py_XDECREF(self.lines[i].code)
        free(self.memory)

    cdef int note(self, Walk* walk) except -1:
        cdef Py_ssize_t i, n = <Py_ssize_t>self.plan.risks.size()
        cdef PyObject* raw
        cdef Noted noted
        self.noted.reserve(n)
        for i in range(n):
            raw = walk.order[self.plan.risks[i].place]
            noted.code, noted.mode = <PyObject*>(<Node>raw).code, <PyObject*>(<Node>raw).floats
            noted.lasti = (<Node>raw).lasti
            Py_XINCREF(noted.code)
            Py_XINCREF(noted.mode)
            self.noted.push_back(noted)
        return 0

    cdef int locate(self, Walk* walk) except -1:
        cdef Py_ssize_t i, n = <Py_ssize_t>self.plan.tasks.size()
        cdef PyObject* raw
        cdef Noted line
        line.mode = NULL
        self.lines.reserve(n)
        for i in range(n):
            raw = walk.order[self.plan.tasks[i].place]
            line.code, line.lasti = <PyObject*>(<Node>raw).code, (<Node>raw).lasti
            Py_XINCREF(line.code)
            self.lines.push_back(line)
        return 0

    cdef tuple site_of(self, Py_ssize_t index):
        return None if self.lines.empty() else (<object>self.lines[index].code, self.lines[index].lasti)

    cdef list notes_of(self, int index):
        # What `_floats.tell` wants to know of a task.
        cdef Spec* spec = &self.plan.tasks[index]
        cdef int i
        return [
            (self.plan.names[i], self.plan.risks[i].flags, <object>self.noted[i].code, self.noted[i].lasti,
             default if <object>self.noted[i].mode is None else <object>self.noted[i].mode)
            for i in range(spec.first_risk, spec.first_risk + spec.n_risks)
        ]

    def error(self, int index, int code):
        """The located exception for error `code` of task `index`."""
        cdef Call* calls = <Call*>(self.memory + 16 * self.plan.slots.size())
        if code == FLOATS:
            what, lines = failure(calls[index].raised.flags, self.notes_of(index))
            return FloatingPointError(f"{what}\n  Recorded at {lines}.")
        kernel = self.plan.kernels[index]
        known = kernel.errors or {}
        kind, message = known.get(code, (RuntimeError, f"kernel {kernel.label} failed with code {code}"))
        return located(kind, message, self.site_of(index))


include "native/plan_warnings.pxi"
include "native/plan_host.pxi"
include "native/plan_device.pxi"
include "native/plan_inline.pxi"


cdef object array_at(char* ptr, tuple shape, tuple strides, object dtype):
    cdef cnp.npy_intp dims[64]
    cdef cnp.npy_intp steps[64]
    cdef int i, n = <int>len(shape)
    for i in range(n):
        dims[i] = shape[i]
        steps[i] = strides[i]
    return la_ndarray(dtype, n, dims, steps, ptr, cnp.NPY_ARRAY_WRITEABLE)


cdef list bind(Plan plan, Walk* walk, list substitutes, bint waiting, Taker take):
    # With `substitutes` (leaf nodes for a template's leaves) the template stays as it is and new leaves are returned; before
    # anything runs, `take` gets them, if it is not None.
    global n_tasks, n_inline, n_compiled
    cdef Py_ssize_t n_slots = <Py_ssize_t>plan.slots.size(), n_args = <Py_ssize_t>plan.args.size()
    cdef Py_ssize_t n_calls = <Py_ssize_t>plan.tasks.size(), i, j, k
    cdef list buffers = [None] * n_slots
    cdef list order = [], results = None
    cdef Frame frame = Frame.__new__(Frame)
    cdef Call* calls
    cdef char** pointers
    cdef char* numbers
    cdef char** bases
    cdef vector[VarState*] slot_vars
    cdef Node node
    cdef Buffer buffer
    cdef Spec* spec
    cdef Arg* arg
    cdef char* at
    cdef PyObject* raw
    cdef Py_ssize_t begin = 0
    cdef bint watched = False, strict = False, here = False, begun = False
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
            if buffer.size_class < 0:       # the pool does not keep it until its readers are done
                if frame.foreign is None:
                    frame.foreign = []
                frame.foreign.append(buffer)
        elif plan.slots[i].device:
            buffer = device_buffer(devices.backend_of(plan.slots[i].device), plan.slots[i].nbytes)
            if frame.foreign is None:
                frame.foreign = []
            frame.foreign.append(buffer)
        else:
            buffer = try_buffer(plan.slots[i].nbytes)
            if buffer is None:
                raise no_room(plan, walk, i)
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
        calls[i].wanted = calls[i].raising = 0
        if spec.n_risks and not spec.python:
            spec = look_at_modes(plan, i, walk, &calls[i])
            calls[i].run, calls[i].finish, calls[i].params = spec.run, spec.finish, spec.params
            watched = watched or calls[i].wanted
            strict = strict or calls[i].raising
        calls[i].extent, calls[i].grain = spec.extent, spec.grain
        calls[i].shared = spec.extent > spec.grain
        calls[i].raised.frame = NULL
        calls[i].raised.index = <int>i
        calls[i].raised.flags = 0
        for j in range(spec.first_arg, spec.first_arg + spec.n_args):
            arg = &plan.args[j]
            at = bases[arg.slot]
            for k in range(arg.first_offset, arg.first_offset + arg.n_offsets):
                raw = walk.order[plan.offsets[k]]
                at += (<Node>raw).offset
            pointers[j] = at
    if plan.fallible or not plan.inline:
        frame.locate(walk)
    here = waiting or (n_calls >= MANY and plan.cost < n_calls * PUSH_COST)     # which would take longer
    here = here and plan.inline and plan.cost < INLINE_COST and not strict and not is_naive() and quiet(plan, slot_vars)
    if here and (plan.cost > RELEASE_COST or plan.fallible):
        # Other threads meet what it makes before it is there.
        here = begun = vars_begin(slot_vars.data(), plan.is_written.data(), n_slots)
    try:
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
                results.append((plan.kept[i].place, leaf_like(<Node>raw, <Buffer>buffers[plan.kept[i].slot])))
            if take is not None:
                take.take(results)
        n_tasks += n_calls
        n_compiled += plan.n_compiled
        if here:
            n_inline += 1
            begin = run_here(plan, walk, frame, calls, slot_vars, watched, &begun)
        if begin < n_calls:
            hand_over(plan, walk, frame, begin, numbers, slot_vars, watched, waiting and substitutes is None)
    finally:
        if begun:
            vars_end(slot_vars.data(), plan.is_written.data(), n_slots)
    return results


cdef int hand_over(
    Plan plan, Walk* walk, Frame frame, Py_ssize_t begin, char* numbers, vector[VarState*]& slot_vars, bint watched, bint waiting,
) except -1:
    # The tasks from `begin` on, to the engine or to devices.
    cdef Py_ssize_t n_slots = <Py_ssize_t>plan.slots.size(), n_calls = <Py_ssize_t>plan.tasks.size(), i, k
    cdef Call* calls = <Call*>(numbers + 16 * n_slots)
    cdef char** pointers = <char**>(calls + n_calls)
    cdef vector[VarState*] reads
    cdef vector[VarState*] writes
    cdef Spec* spec
    cdef NativeFinish finish
    cdef const uint64_t* depends
    cdef Py_ssize_t nbytes = 0
    cdef bint short = False
    if watched:
        if frame.noted.empty():
            frame.note(walk)
        for i in range(begin, n_calls):
            calls[i].raised.frame = <PyObject*>frame
    if waiting:
        for i in range(n_slots):
            nbytes += plan.slots[i].nbytes
        short = nbytes <= SHORT_BYTES
    if plan.together is not None:
        issue_together(plan, pointers, frame, numbers, slot_vars)
        return 0
    for i in range(begin, n_calls):
        spec = &plan.tasks[i]
        reads.clear()
        writes.clear()
        for k in range(spec.first_read, spec.first_read + spec.n_reads):
            reads.push_back(slot_vars[plan.vars[k]])
        for k in range(spec.first_write, spec.first_write + spec.n_writes):
            writes.push_back(slot_vars[plan.vars[k]])
        if spec.device:
            issue_on_device(plan, i, pointers, frame, numbers, reads, writes)
        elif spec.python and short:
            push_short(
                host_call(plan, i, pointers + spec.first_arg, frame, walk), reads.data(), spec.n_reads,
                writes.data(), spec.n_writes, spec.nbytes, plan.calls[i][3],
            )
        elif spec.python:
            push_python(
                host_call(plan, i, pointers + spec.first_arg, frame, walk), reads.data(), spec.n_reads,
                writes.data(), spec.n_writes, spec.priority, None, spec.nbytes, plan.calls[i][3],
            )
        else:
            finish = finish_call
            if calls[i].finish == NULL and not (calls[i].wanted and calls[i].shared):
                finish = NULL
                calls[i].shared = False
            depends = NULL
            if spec.first_depends >= 0:
                depends = plan.depends.data() + spec.first_depends
            push_native(
                run_call, finish, &calls[i], calls[i].extent, calls[i].grain,
                frame, <int>i, reads.data(), spec.n_reads, writes.data(), spec.n_writes, depends,
                spec.priority, None, spec.nbytes,
                <const char*>(<bytes>plan.labels[i]),
            )
    return 0


cdef inline Spec* look_at_modes(Plan plan, Py_ssize_t index, Walk* walk, Call* call) noexcept:
    # The task as it is to run. A flag that a node may raise and does not ask for is not told of: nobody knows which node it
    # was.
    cdef Spec* spec = &plan.tasks[index]
    cdef int i, asked, wanted = 0, silent = 0, raising = 0, exact = 0
    cdef PyObject* raw
    cdef PyObject* mode
    for i in range(spec.first_risk, spec.first_risk + spec.n_risks):
        raw = walk.order[plan.risks[i].place]
        mode = <PyObject*>(<Node>raw).floats
        asked = INVALID | DIVIDE | OVERFLOW
        if <object>mode is not None:
            asked = (<Mode>mode).asked
            raising |= (<Mode>mode).raising & plan.risks[i].flags
            exact |= (<Mode>mode).exact & plan.risks[i].flags
        wanted |= asked & plan.risks[i].flags
        silent |= plan.risks[i].flags & ~asked
    if exact & spec.dull & ~silent and plan.cold[index].run != NULL:
        spec = &plan.cold[index]
    call.wanted = <unsigned>(wanted & ~silent & ~spec.dull)
    call.raising = call.wanted & <unsigned>raising
    return spec


cdef object host_call(Plan plan, Py_ssize_t index, char** pointers, Frame frame, Walk* walk):
    function, attributes, layouts, name = plan.calls[index]
    cdef list arrays = []
    cdef Py_ssize_t i = 0
    cdef PyObject* raw = walk.order[plan.tasks[index].place]
    for shape, strides, dtype in layouts:
        arrays.append(array_at(pointers[i], shape, strides, dtype))
        i += 1
    return HostCall(function, dict(attributes, out=arrays.pop()), arrays, name, frame.site_of(index), frame, (<Node>raw).floats)


def counters():
    """Counts since the process started."""
    return {"tasks": n_tasks, "inline": n_inline, "compiled_tasks": n_compiled}
