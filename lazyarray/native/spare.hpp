// Room of objects that have gone, kept for the next of their class: `tp_alloc` and `tp_free` of classes whose objects are
// made and freed all the time, all of one size and out of the garbage collector. The GIL guards it.
#pragma once

#include <Python.h>

#include <cstring>

namespace la {

template <class Tag>
class Spare {
  public:
    static void serve(PyTypeObject* type) {
        type->tp_alloc = alloc;
        type->tp_free = release;
        size = static_cast<size_t>(type->tp_basicsize);
    }

  private:
    static PyObject* alloc(PyTypeObject* type, Py_ssize_t) {
        void* room = first;
        if (room) {
            first = *static_cast<void**>(room);
            --count;
        } else {
            room = PyObject_Malloc(size);
            if (!room) return PyErr_NoMemory();
        }
        std::memset(room, 0, size);
        return PyObject_Init(static_cast<PyObject*>(room), type);
    }
    static void release(void* room) {
        if (count == MOST) {
            PyObject_Free(room);
            return;
        }
        *static_cast<void**>(room) = first;
        first = room;
        ++count;
    }
    static constexpr int MOST = 4096;  // what a thread lets pend
    static inline void* first = nullptr;
    static inline int count = 0;
    static inline size_t size = 0;
};

}  // namespace la
