// An ndarray over memory that somebody else owns.
#pragma once

#include <Python.h>

#include "numpy/arrayobject.h"

static inline PyObject* la_ndarray(PyObject* descr, int ndim, const npy_intp* dims, const npy_intp* strides, void* data,
                                   int flags) {
    Py_INCREF(descr);  // stolen by NewFromDescr
    return PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr*)descr, ndim, dims, strides, data, flags, nullptr);
}
