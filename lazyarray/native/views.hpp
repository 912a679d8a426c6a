// Views that have been made before, by what they were made of: NumPy works each out once.
#pragma once

#include "calls.hpp"

namespace la {

class Views {
  public:
    PyObject* find(const CallKey& key) const { return made.find(key); }
    // The view that has this shadow, if it is no Storage's own.
    PyObject* of(PyObject* shadow) const {
        auto at = shown.find(shadow);
        return at == shown.end() ? nullptr : at->second;
    }
    void add(const CallKey& key, PyObject* view, PyObject* shadow) {
        if (made.full()) {
            shown.clear();
            made.clear();
        }
        made.add(key, view);
        if (shadow) shown.emplace(shadow, view);
    }

  private:
    Calls made;
    std::unordered_map<PyObject*, PyObject*> shown;
};

}  // namespace la
