// Calls as integers, and what is known of them.
#pragma once

#include <Python.h>

#include <cstdint>
#include <unordered_map>

namespace la {

// What is called on what, in integers that mean the same from call to call: who keeps one also keeps what its addresses name.
struct CallKey {
    static constexpr int MOST = 40;
    PyObject* on;
    int64_t count;
    int64_t parts[MOST];

    bool add(int64_t part) {
        if (count == MOST) return false;
        parts[count++] = part;
        return true;
    }
    bool operator==(const CallKey& other) const {
        if (on != other.on || count != other.count) return false;
        for (int64_t i = 0; i < count; ++i)
            if (parts[i] != other.parts[i]) return false;
        return true;
    }
};

struct CallHash {
    size_t operator()(const CallKey& key) const {
        uint64_t hash = reinterpret_cast<uintptr_t>(key.on) >> 4;
        for (int64_t i = 0; i < key.count; ++i) {
            hash = (hash ^ static_cast<uint64_t>(key.parts[i])) * 0x9E3779B97F4A7C15ull;
            hash ^= hash >> 29;
        }
        return static_cast<size_t>(hash);
    }
};

// What is known of calls: objects, which it holds. What it returns is borrowed.
class Calls {
  public:
    Calls() = default;
    Calls(const Calls&) = delete;
    Calls& operator=(const Calls&) = delete;
    ~Calls() { clear(); }
    PyObject* find(const CallKey& key) const {
        auto at = known.find(key);
        return at == known.end() ? nullptr : at->second;
    }
    bool full() const { return known.size() >= MOST; }
    void add(const CallKey& key, PyObject* found) {
        if (known.emplace(key, found).second) Py_INCREF(found);
    }
    void clear() {
        std::unordered_map<CallKey, PyObject*, CallHash> gone;
        gone.swap(known);
        for (auto& each : gone) Py_DECREF(each.second);
    }

  private:
    static constexpr size_t MOST = 4096;
    std::unordered_map<CallKey, PyObject*, CallHash> known;
};

}  // namespace la
