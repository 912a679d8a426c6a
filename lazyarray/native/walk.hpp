// A pending graph in the order of its recording.
#pragma once

#include <Python.h>

#include <vector>

struct LazyWalk {
    std::vector<PyObject*> order, leaves;  // borrowed Nodes
    std::vector<int> internal, leaf_refs;  // how many references to each come from inside the flush
    std::vector<char> kept, donatable;     // by place in order, and in leaves
    std::vector<int> twins;                // by leaf: the one that is read instead; empty: each itself
    std::vector<int> first, table;         // room for finding them
};
