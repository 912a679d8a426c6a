// The frames that Python is in, innermost first. Where their layout is known they are read as they are: the API makes an
// object for each, and a record asks for one every time.
#pragma once

#include <Python.h>

#if PY_VERSION_HEX < 0x030C0000
#include "internal/pycore_frame.h"
#define LA_KNOWN_FRAMES 1
#else
#define LA_KNOWN_FRAMES 0
#endif

namespace la {

#if LA_KNOWN_FRAMES

class Frames {
  public:
    Frames() : at(whole(PyThreadState_Get()->cframe->current_frame)) {}
    bool there() const { return at != nullptr; }
    PyCodeObject* code() const { return at->f_code; }
    int lasti() const { return _PyInterpreterFrame_LASTI(at) * static_cast<int>(sizeof(_Py_CODEUNIT)); }
    void up() { at = whole(at->previous); }

  private:
    static _PyInterpreterFrame* whole(_PyInterpreterFrame* frame) {
        while (frame && _PyFrame_IsIncomplete(frame)) frame = frame->previous;
        return frame;
    }
    _PyInterpreterFrame* at;
};

#else

class Frames {
  public:
    Frames() : at(PyEval_GetFrame()) { Py_XINCREF(at); }
    Frames(const Frames&) = delete;
    Frames& operator=(const Frames&) = delete;
    ~Frames() { Py_XDECREF(at); }
    bool there() const { return at != nullptr; }
    PyCodeObject* code() const {
        PyCodeObject* found = PyFrame_GetCode(at);
        Py_DECREF(found);  // the frame holds it
        return found;
    }
    int lasti() const { return PyFrame_GetLasti(at); }
    void up() {
        PyFrameObject* back = PyFrame_GetBack(at);
        Py_DECREF(at);
        at = back;
    }

  private:
    PyFrameObject* at;
};

#endif

// What is known of code objects: a small table by address, which holds them.
class KnownCode {
  public:
    // Below 0: nothing.
    int kind(PyCodeObject* code) const {
        const Entry& entry = entries[place(code)];
        return entry.code == code ? entry.kind : -1;
    }
    void set(PyCodeObject* code, int kind) {
        Entry& entry = entries[place(code)];
        PyCodeObject* before = entry.code;
        Py_INCREF(code);
        entry.code = code;
        entry.kind = kind;
        Py_XDECREF(before);
    }

  private:
    struct Entry {
        PyCodeObject* code;
        int kind;
    };
    static size_t place(PyCodeObject* code) {
        size_t address = reinterpret_cast<size_t>(code);
        return (address >> 4 ^ address >> 12) % COUNT;
    }
    static constexpr size_t COUNT = 256;
    Entry entries[COUNT] = {};
};

}  // namespace la
