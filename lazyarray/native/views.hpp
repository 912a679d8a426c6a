// Views that have been made before, by what they were made of: NumPy works each out once.
#pragma once

#include <cstring>

#include "calls.hpp"

namespace la {

// Writes one element to all of a view of some axes.
inline void fill_view(char* at, int axes, const Py_ssize_t* extents, const Py_ssize_t* steps, const char* element, size_t size) {
    if (axes == 0) {
        std::memcpy(at, element, size);
        return;
    }
    for (Py_ssize_t i = 0; i < *extents; ++i, at += *steps)
        fill_view(at, axes - 1, extents + 1, steps + 1, element, size);
}

// Copies elements from one view to another of the same extents, by steps of each; what one writes the other must not read.
inline void copy_view(char* to, const Py_ssize_t* to_steps, const char* from, const Py_ssize_t* from_steps, int axes,
                      const Py_ssize_t* extents, size_t size) {
    if (axes == 0) {
        std::memcpy(to, from, size);
        return;
    }
    for (Py_ssize_t i = 0; i < *extents; ++i, to += *to_steps, from += *from_steps)
        copy_view(to, to_steps + 1, from, from_steps + 1, axes - 1, extents + 1, size);
}

class Views {
  public:
    PyObject* find(const CallKey& key) { return made.find(key); }
    // The view that has this shadow, if it is no Storage's own.
    PyObject* of(PyObject* shadow) {
        auto& last = recent[(reinterpret_cast<uintptr_t>(shadow) >> 4) % RECENT];
        if (last.first == shadow) return last.second;
        auto at = shown.find(shadow);
        if (at == shown.end()) return nullptr;
        last = *at;
        return at->second;
    }
    void add(const CallKey& key, PyObject* view, PyObject* shadow) {
        if (made.full()) {
            for (auto& each : recent) each = {};
            shown.clear();
            made.clear();
        }
        if (made.add(key, view) && shadow) shown.emplace(shadow, view);
    }

  private:
    static constexpr size_t RECENT = 64;
    Calls made;
    std::pair<PyObject*, PyObject*> recent[RECENT] = {};
    std::unordered_map<PyObject*, PyObject*> shown;
};

}  // namespace la
