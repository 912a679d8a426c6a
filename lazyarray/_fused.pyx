# Design. Kernels that fuse elementwise programs with what is around them: reductions in the middle of a program (panels), at
# its end (stream; columns, where results lie side by side), and an update's part of a buffer with the rest of it (around).
# The ABI is that of _loops.
# Invariants: a kernel's bits are those of its steps run one by one: each reduction follows the tree of native/reduce.hpp,
# and each loop sees contiguous blocks, as in the block driver. A kernel is re-entrant; its params are read-only.
# Memory: `params` is a C++ object that the kernel owns, beside the Loops whose data it calls.
# Without the GIL: run and finish. No Python object is touched there, no lock is taken.
# A step is (what, input registers, output registers). Registers hold elements, or lines: one value for each result of a
# reduction. `what` is a Loop (over elements), a LineLoop (over lines), a FoldStep (elements to lines), SPREAD (lines to
# elements) or an AcrossStep (elements to a result that no other step reads).
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from lazyarray import _loops

from lazyarray._loops cimport Loop, LoopFn, Made, wrap

include "native/specs.pxi"

cdef extern from "folds.hpp" namespace "la" nogil:
    cdef cppclass Fold:
        pass
    Fold make_fold(int op, int via, int acc, int out) except +

cdef extern from "panels.hpp" namespace "la" nogil:
    cdef enum StepKind:
        kElements
        kLines
        kFold
        kSpread
        kSwept
        kAcross
    cdef cppclass PanelStep:
        StepSpec step
        StepKind kind
        Fold fold
        vector[Fold] folds
        int target
    Made make_panels(const vector[Py_ssize_t]& shape, Py_ssize_t outer, Py_ssize_t red, Py_ssize_t inner,
                     const vector[OperandSpec]& inputs, const vector[OperandSpec]& outputs,
                     const vector[Py_ssize_t]& registers, const vector[PanelStep]& steps) except +

cdef extern from "columns.hpp" namespace "la" nogil:
    cdef enum Reach:
        pass
    cdef cppclass ColumnSpec:
        int arg
        Reach reach
        Py_ssize_t itemsize
        vector[Py_ssize_t] strides
    Made make_columns(const vector[Py_ssize_t]& lead, Py_ssize_t repeats, Py_ssize_t columns, Py_ssize_t rows,
                      const vector[ColumnSpec]& operands, LoopFn loop, const vector[Fold]& folds,
                      const vector[int]& sources, const vector[Py_ssize_t]& registers,
                      const vector[OperandSpec]& closing_inputs, const vector[OperandSpec]& closing_outputs,
                      const vector[StepSpec]& closing_steps) except +

cdef extern from "stream.hpp" namespace "la" nogil:
    cdef cppclass StreamFold:
        Fold fold
        int reg
    cdef cppclass Strips:
        LoopFn loop
        vector[Py_ssize_t] lead
        vector[ColumnSpec] operands
    Made make_stream(const vector[Py_ssize_t]& shape, Py_ssize_t outer, Py_ssize_t red, Py_ssize_t inner,
                     const vector[OperandSpec]& inputs, const vector[OperandSpec]& outputs,
                     const vector[Py_ssize_t]& registers, const vector[StepSpec]& steps,
                     const vector[StreamFold]& folds, const vector[OperandSpec]& closing_inputs,
                     const vector[OperandSpec]& closing_outputs, const vector[StepSpec]& closing_steps, int lines,
                     const Strips& strips) except +

cdef extern from "around.hpp" namespace "la" nogil:
    Made make_around(const vector[Py_ssize_t]& shape, const vector[OperandSpec]& inputs,
                     const vector[OperandSpec]& outputs, const vector[Py_ssize_t]& registers,
                     const vector[StepSpec]& steps, Py_ssize_t nbytes) except +

NUMBERS = {dtype: number for number, dtype in enumerate(_loops.DTYPES)}
FOLD_NS = 0.08      # joining one element


cdef class LineLoop:
    """A loop over lines."""

    cdef readonly Loop loop

    def __init__(self, Loop loop):
        self.loop = loop

    def __repr__(self):
        return f"<LineLoop {self.loop!r}>"


cdef class FoldStep:
    """A reduction of elements to lines: of `source`, whose dtype reduce_types gives, to `result`."""

    cdef readonly str name
    cdef readonly object source
    cdef readonly object result
    cdef int op, via, acc, out

    def __init__(self, str name, source, result):
        op, via, acc = _loops.reduce_types(name, source, result)
        if via != source:
            raise TypeError(f"{name} to {result} is joined in {via}, not in {source}")
        self.name = name
        self.source = source
        self.result = result
        self.op = _loops.REDUCE_OPS[op]
        self.via = NUMBERS[via]
        self.acc = NUMBERS[acc]
        self.out = NUMBERS[result]

    def __repr__(self):
        return f"<FoldStep {self.name} {self.source} -> {self.result}>"


cdef class AcrossStep:
    """A reduction of elements at the same place of all lines."""

    cdef readonly FoldStep fold

    def __init__(self, FoldStep fold):
        self.fold = fold

    def __repr__(self):
        return f"<AcrossStep {self.fold!r}>"


cdef class LinesStep:
    """A compiled loop over lines; `folds` are the reductions of its last outputs."""

    cdef readonly Loop loop
    cdef readonly tuple folds

    def __init__(self, Loop loop, folds):
        self.loop = loop
        self.folds = folds

    def __repr__(self):
        return f"<LinesStep {self.loop!r}>"


class Spread:
    """The step from lines to elements: each line's value at all the elements that it stands for."""

    def __repr__(self):
        return "<Spread>"


SPREAD = Spread()


cdef OperandSpec operand(object entry, object lines) except *:
    cdef OperandSpec spec
    reg, shape, strides, itemsize = entry
    spec.reg = reg
    spec.itemsize = itemsize
    spec.index = strides is None
    spec.line = reg in lines
    if strides is not None:
        for extent, stride in zip(shape, strides, strict=True):
            spec.shape.push_back(extent)
            spec.strides.push_back(stride)
        if not shape:
            spec.shape.push_back(1)
            spec.strides.push_back(0)
    return spec


cdef double loop_ns(object what):
    return _loops.LOOP_NS.get(what.name, _loops.STEP_NS)


def cost_of(fold, inputs, outputs, lines, steps):
    """Nanoseconds on one core."""
    cdef double elements = 0, results = 0
    cdef double size = fold[0] * fold[1] * fold[2], n = fold[0] * fold[2]
    across = {outs[0] for what, _, outs in steps if isinstance(what, AcrossStep)}
    for reg, _, strides, itemsize in (*inputs, *outputs):
        if strides is None or not any(strides) or reg in across:
            continue
        if reg in lines:
            results += itemsize / _loops.BYTES_PER_NS
        else:
            elements += itemsize / _loops.BYTES_PER_NS
    for what, _, _ in steps:
        if isinstance(what, LineLoop):
            results += loop_ns(what.loop)
        elif isinstance(what, LinesStep):
            elements += sum(_loops.LOOP_NS.get(name, _loops.STEP_NS) for name in what.loop.name.split("+"))
        elif isinstance(what, Loop):
            elements += loop_ns(what)
        else:
            elements += FOLD_NS
    return size * elements + n * results


def panels(shape, fold, inputs, outputs, registers, lines, steps, label=""):
    """A program with reductions in the middle, over panels that fit a cache.

    Parameters
    ----------
    shape : tuple of int
        The iteration space, of outer * red * inner elements in C order.
    fold : (int, int, int)
        outer, red, inner: a reduction goes over the middle axis. A unit of the kernel is one outer index.
    inputs, outputs : list of (register, shape, strides, itemsize)
        As for `elementwise`, each with a shape of its own of as many elements, or of as many lines (outer * inner).
    registers : list of int
        Item sizes in bytes.
    lines : set of int
        The registers that hold lines.
    steps : list of (what, input registers, output registers)
        The results of AcrossSteps are the last outputs.

    Returns
    -------
    NativeKernel
        Its operands: the inputs that have strides, in order, then the outputs.
    """
    cdef vector[Py_ssize_t] c_shape, c_registers
    cdef vector[OperandSpec] c_inputs, c_outputs
    cdef vector[PanelStep] c_steps
    cdef PanelStep step
    cdef FoldStep folding
    cdef LinesStep swept
    registers = list(registers)
    for extent in shape:
        c_shape.push_back(extent)
    for itemsize in registers:
        c_registers.push_back(itemsize)
    for entry in inputs:
        c_inputs.push_back(operand(entry, lines))
    across = {outs[0] for what, _, outs in steps if isinstance(what, AcrossStep)}
    results = [entry[0] for entry in outputs if entry[0] in across]
    for entry in outputs[:len(outputs) - len(results)]:
        c_outputs.push_back(operand(entry, lines))
    also = []
    for what, ins, outs in steps:
        step.folds.clear()
        if isinstance(what, LinesStep):
            step.kind = kSwept
            step.step = plain_step(ins, outs)
            swept = what
            step.step.fn = swept.loop.fn
            for folding in swept.folds:
                step.folds.push_back(make_fold(folding.op, folding.via, folding.acc, folding.out))
        elif isinstance(what, FoldStep):
            folding = what
            step.kind = kFold
            step.step = plain_step(ins, outs)
            step.fold = make_fold(folding.op, folding.via, folding.acc, folding.out)
        elif isinstance(what, AcrossStep):
            folding = what.fold
            step.kind = kAcross
            step.step = plain_step(ins, ())
            step.fold = make_fold(folding.op, folding.via, folding.acc, folding.out)
            step.target = results.index(outs[0])
        elif what is SPREAD:
            step.kind = kSpread
            step.step = plain_step(ins, outs)
        elif isinstance(what, LineLoop):
            step.kind = kLines
            step.step = step_of(what.loop, ins, outs, registers)
        else:
            step.kind = kElements
            step.step = step_of(what, ins, outs, registers)
        c_steps.push_back(step)
        also.append(what)
    cdef Made made = make_panels(c_shape, fold[0], fold[1], fold[2], c_inputs, c_outputs, c_registers, c_steps)
    n_args = sum(entry[2] is not None for entry in inputs) + len(outputs)
    return wrap(made, label, n_args, cost_of(fold, inputs, outputs, lines, steps), None, also)


cdef StepSpec plain_step(object inputs, object outputs) except *:
    cdef StepSpec spec
    spec.fn = NULL
    spec.data = NULL
    for reg in inputs:
        spec.inputs.push_back(reg)
    for reg in outputs:
        spec.outputs.push_back(reg)
    return spec


cdef ColumnSpec column_of(object entry) except *:
    cdef ColumnSpec spec
    cdef int number
    spec.arg, number, spec.itemsize, strides = entry
    spec.reach = <Reach>number
    spec.strides = strides
    return spec


def stream(shape, fold, inputs, outputs, registers, lines, steps, label="", strips=None):
    """A program with reductions at its end, and programs of lines after them; nothing is spread.

    Parameters
    ----------
    shape, fold, inputs, outputs, registers, lines, steps
        As for `panels`.
    strips : (Loop, lead, operands), optional
        A compiled loop for all steps but those of lines, see codegen/emit_columns.py; the extents before the reduced
        axis, and the loop's inputs as for `columns`, with strides for these extents, rows and columns.

    Returns
    -------
    NativeKernel
        Its operands: the inputs of elements that have strides, the outputs of elements, then those of lines.
    """
    cdef vector[Py_ssize_t] c_shape, c_registers
    cdef vector[OperandSpec] c_inputs, c_outputs, end_inputs, end_outputs
    cdef vector[StepSpec] c_steps, end_steps
    cdef vector[StreamFold] c_folds
    cdef StreamFold folded
    cdef FoldStep folding
    cdef int n_lines = 0
    registers = list(registers)
    results = (fold[0] * fold[2],)
    for extent in shape:
        c_shape.push_back(extent)
    for itemsize in registers:
        c_registers.push_back(itemsize)
    for entry in inputs:
        if entry[0] in lines:
            n_lines += entry[2] is not None
            end_inputs.push_back(operand(entry, ()))
        else:
            c_inputs.push_back(operand(entry, ()))
    for entry in outputs:
        if entry[0] in lines:
            end_outputs.push_back(operand(entry, ()))
        else:
            c_outputs.push_back(operand(entry, ()))
    also = []
    cdef Strips c_strips
    cdef Loop loop
    if strips is not None:
        loop, lead, operands = strips
        c_strips.loop = loop.fn
        c_strips.lead = lead
        for entry in operands:
            c_strips.operands.push_back(column_of(entry))
        also.append(loop)
    for what, ins, outs in steps:
        if isinstance(what, FoldStep):
            folding = what
            folded.fold = make_fold(folding.op, folding.via, folding.acc, folding.out)
            folded.reg = ins[0]
            c_folds.push_back(folded)
            size = registers[outs[0]]
            end_inputs.push_back(operand((outs[0], results, (size,), size), ()))
        elif isinstance(what, LineLoop):
            end_steps.push_back(step_of(what.loop, ins, outs, registers))
        else:
            c_steps.push_back(step_of(what, ins, outs, registers))
        also.append(what)
    cdef Made made = make_stream(c_shape, fold[0], fold[1], fold[2], c_inputs, c_outputs, c_registers, c_steps, c_folds,
                                 end_inputs, end_outputs, end_steps, n_lines, c_strips)
    n_args = sum(entry[2] is not None for entry in inputs) + len(outputs)
    return wrap(made, label, n_args, cost_of(fold, inputs, outputs, lines, steps), None, also)


def columns(Loop loop, axes, operands, steps, lines, line_args, outputs, output_args, registers, Py_ssize_t n_args,
            double cost, label=""):
    """A program whose reductions over the last axis are done for columns of results side by side.

    Parameters
    ----------
    loop : Loop
        Of a sweep that reduces, see codegen/emit_columns.py.
    axes : tuple of int
        The extents: any number of leading axes, repeats, columns, rows; rows are reduced.
    operands : list of (argument, reach, item size, strides)
        The loop's inputs, with a stride for each axis. One that differs between elements is the same in all repeats.
    steps : list of (what, input registers, output registers)
        Reductions, in the order of the loop's outputs, and programs of lines.
    lines, outputs : list of (register, shape, strides, item size)
        What programs of lines read, and what is stored.
    line_args, output_args : list of int
        Their numbers among the kernel's operands.

    Returns
    -------
    NativeKernel
    """
    cdef vector[Py_ssize_t] c_lead, c_registers
    cdef vector[ColumnSpec] c_operands
    cdef vector[OperandSpec] end_inputs, end_outputs
    cdef vector[StepSpec] end_steps
    cdef vector[Fold] c_folds
    cdef vector[int] sources
    cdef FoldStep folding
    *lead, repeats, width, rows = axes
    results = repeats * width
    for extent in lead:
        results *= extent
        c_lead.push_back(extent)
    for itemsize in registers:
        c_registers.push_back(itemsize)
    for entry in operands:
        c_operands.push_back(column_of(entry))
    for entry in lines:
        end_inputs.push_back(operand(entry, ()))
    for arg in line_args:
        sources.push_back(arg)
    also = [loop]
    for what, ins, outs in steps:
        if isinstance(what, FoldStep):
            folding = what
            c_folds.push_back(make_fold(folding.op, folding.via, folding.acc, folding.out))
            sources.push_back(-<int>c_folds.size())
            size = registers[outs[0]]
            end_inputs.push_back(operand((outs[0], (results,), (size,), size), ()))
        else:
            end_steps.push_back(step_of(what.loop, ins, outs, registers))
        also.append(what)
    for entry, arg in zip(outputs, output_args, strict=True):
        end_outputs.push_back(operand(entry, ()))
        sources.push_back(arg)
    cdef Made made = make_columns(c_lead, repeats, width, rows, c_operands, loop.fn, c_folds, sources, c_registers,
                                  end_inputs, end_outputs, end_steps)
    return wrap(made, label, n_args, cost, None, also)


def around(shape, inputs, outputs, registers, steps, Py_ssize_t nbytes, label=""):
    """An elementwise program whose first output is part of a new buffer; the rest is copied from the old one.

    Parameters
    ----------
    shape, registers, steps
        As for `elementwise`.
    inputs, outputs : list of (register, shape, strides, itemsize)
        The first output is contiguous along the last axis, and its runs ascend in memory.
    nbytes : int
        The size of either buffer.

    Returns
    -------
    NativeKernel
        Its operands: the inputs that have strides, the outputs, the old buffer, the new buffer.
    """
    cdef vector[Py_ssize_t] c_shape, c_registers
    cdef vector[OperandSpec] c_inputs, c_outputs
    cdef vector[StepSpec] c_steps
    registers = list(registers)
    for extent in shape:
        c_shape.push_back(extent)
    for itemsize in registers:
        c_registers.push_back(itemsize)
    for entry in inputs:
        c_inputs.push_back(operand(entry, ()))
    for entry in outputs:
        c_outputs.push_back(operand(entry, ()))
    for what, ins, outs in steps:
        c_steps.push_back(step_of(what, ins, outs, registers))
    cdef Made made = make_around(c_shape, c_inputs, c_outputs, c_registers, c_steps, nbytes)
    n_args = sum(entry[2] is not None for entry in inputs) + len(outputs) + 2
    cost = cost_of((1, made.extent, 1), inputs, outputs, (), steps)
    return wrap(made, label, n_args, cost, None, [what for what, _, _ in steps])
