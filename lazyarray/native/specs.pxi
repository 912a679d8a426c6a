# How the kernels of programs are told what they do, part of _loops.pyx, _fused.pyx and _rolling.pyx.

cdef extern from "driver.hpp" namespace "la" nogil:
    cdef cppclass OperandSpec:
        int reg
        cbool index
        vector[Py_ssize_t] strides
        Py_ssize_t itemsize
        vector[Py_ssize_t] shape
        cbool line
    cdef cppclass StepSpec:
        LoopFn fn
        void* data
        vector[int] inputs "in"
        vector[int] outputs "out"
        cbool scalars


cdef StepSpec step_of(object what, object inputs, object outputs, list registers) except *:
    cdef StepSpec spec
    cdef Loop loop = what
    for reg, dtype in zip((*inputs, *outputs), loop.dtypes, strict=True):
        if registers[reg] != dtype.itemsize:
            raise ValueError(f"{loop!r}: register {reg} holds items of {registers[reg]} bytes")
    spec.inputs = inputs
    spec.outputs = outputs
    spec.fn = loop.fn
    spec.data = loop.data
    return spec
