# Design. Kernels that update a part of a buffer in place from shifted views of it, several times in one sweep; how it is done
# is told in native/rolling.hpp. The ABI is that of _loops.
# Invariants: a kernel's bits are those of its stages run one by one into buffers of their own, however its units are split and
# ordered, once `borders` has run on the same operands. A kernel is re-entrant; its params are read-only.
# Memory: `params` is a C++ object that the kernel owns, beside the Loops whose data it calls; `borders` shares it.
# Without the GIL: run. No Python object is touched there, no lock is taken.
from libc.stdint cimport uintptr_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from lazyarray import _loops

from lazyarray._loops cimport Loop, LoopFn, Made, NativeKernel, wrap

include "native/specs.pxi"

cdef extern from "rolling.hpp" namespace "la" nogil:
    const int kStages
    Made make_rolling(const vector[Py_ssize_t]& shape, const vector[OperandSpec]& inputs,
                      const vector[OperandSpec]& outputs, const vector[Py_ssize_t]& registers,
                      const vector[StepSpec]& steps, const vector[int]& rolled, int stages, Py_ssize_t nbytes,
                      Py_ssize_t units) except +
    Made make_borders(const void* params)

STAGES = kStages    # at most


cdef OperandSpec operand(object entry) except *:
    cdef OperandSpec spec
    spec.reg, strides, spec.itemsize = entry
    spec.index = strides is None
    if strides is not None:
        spec.strides = strides
    return spec


cdef double cost_of(object inputs, object outputs, object steps):
    # Of an element, in nanoseconds.
    cdef double cost = 0
    for _, strides, itemsize in (*inputs, *outputs):
        cost += itemsize / _loops.BYTES_PER_NS if strides is not None and any(strides) else 0
    for loop, _, _ in steps:
        # A loop that stands for several is named by all of them.
        cost += sum(_loops.LOOP_NS.get(name, _loops.STEP_NS) for name in loop.name.split("+"))
    return cost


def rolling(shape, inputs, outputs, registers, steps, rolled, int stages, Py_ssize_t nbytes, Py_ssize_t units, label=""):
    """An elementwise program that updates a part of a buffer in place, several times.

    Parameters
    ----------
    shape, inputs, outputs, registers, steps
        As for `_loops.elementwise`. The first output is the part: contiguous along the last axis, ascending in memory.
    rolled : list of int
        The inputs, counted as operands, that are views of the buffer with the part's strides.
    stages : int
        How often; more than once only with one output.
    nbytes : int
        The size of the buffer.
    units : int
        Into about how many pieces the work is cut.

    Returns
    -------
    NativeKernel
        Its operands: for each stage those of the program, then the buffer. With more than one unit, `borders` has to
        run before it, on the same operands and the same scratch.
    """
    cdef vector[Py_ssize_t] c_shape = shape, c_registers = registers
    cdef vector[OperandSpec] c_inputs, c_outputs
    cdef vector[StepSpec] c_steps
    cdef vector[int] c_rolled = rolled
    cdef double elements = 1
    if not 1 <= stages <= STAGES or (stages > 1 and len(outputs) > 1):
        raise ValueError(f"rolling: {stages} stages of {len(outputs)} outputs")
    for extent in shape:
        elements *= extent
    for entry in inputs:
        c_inputs.push_back(operand(entry))
    for entry in outputs:
        c_outputs.push_back(operand(entry))
    for what, ins, outs in steps:
        c_steps.push_back(step_of(what, ins, outs, registers))
    cdef Made made = make_rolling(c_shape, c_inputs, c_outputs, c_registers, c_steps, c_rolled, stages, nbytes, units)
    n_args = stages * (sum(entry[1] is not None for entry in inputs) + len(outputs)) + 1
    cost = stages * elements * cost_of(inputs, outputs, steps)
    return wrap(made, label, n_args, cost, None, [loop for loop, _, _ in steps])


def borders(NativeKernel kernel):
    """What has to run before the units of a kernel of `rolling`: it copies what they overwrite for each other."""
    cdef double cost = kernel.scratch_bytes / _loops.BYTES_PER_NS
    return wrap(make_borders(kernel.params), "borders", kernel.n_args, cost, None, kernel)


def call(NativeKernel kernel, spans, *arrays):
    """Run what has to run before, then these spans of units in this order, on NumPy arrays; see `NativeKernel.call`."""
    cdef vector[char*] args
    cdef Py_ssize_t begin, end
    cdef int code = 0
    cdef const void* params = kernel.params
    if len(arrays) != kernel.n_args:
        raise ValueError(f"{kernel.label}: {kernel.n_args} operands expected, not {len(arrays)}")
    for array in arrays:
        args.push_back(<char*><uintptr_t>array.__array_interface__["data"][0])
    halo = bytearray(kernel.scratch_bytes + 1)
    args.push_back(<char*>halo)
    cdef NativeKernel before = borders(kernel)
    with nogil:
        code = before.run(params, args.data(), 0, before.extent)
    for begin, end in spans:
        with nogil:
            code = code or kernel.run(params, args.data(), begin, end)
    if code:
        raise MemoryError(f"{kernel.label} failed with code {code}")
