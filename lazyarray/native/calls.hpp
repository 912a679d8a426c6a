// Calls as integers, and what is known of them.
#pragma once

#include <Python.h>

#include <cstdint>
#include <unordered_map>
#include <vector>

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

// Objects in the order in which they are met, which it holds. What it returns is borrowed.
class Met {
  public:
    Met() = default;
    Met(const Met&) = delete;
    Met& operator=(const Met&) = delete;
    ~Met() {
        for (Py_ssize_t i = 0; i < count; ++i) Py_DECREF(at(i));
    }
    Py_ssize_t size() const { return count; }
    PyObject* at(Py_ssize_t i) const { return i < FEW ? few[i] : more[i - FEW]; }
    void add(PyObject* object) {
        Py_INCREF(object);
        if (count < FEW) few[count] = object;
        else more.push_back(object);
        ++count;
    }

  private:
    static constexpr Py_ssize_t FEW = 12;
    Py_ssize_t count = 0;
    PyObject* few[FEW];
    std::vector<PyObject*> more;
};

// What is known of calls: objects, which it holds. What it returns is borrowed.
class Calls {
  public:
    Calls() = default;
    Calls(const Calls&) = delete;
    Calls& operator=(const Calls&) = delete;
    ~Calls() { clear(); }
    PyObject* find(const CallKey& key) {
        const size_t hash = CallHash()(key);
        Entry*& last = recent[(hash ^ hash >> 20) % RECENT];     // spares the map's division
        if (last && last->first == key) return last->second;
        auto at = known.find(key);
        if (at == known.end()) return nullptr;
        last = &*at;
        return at->second;
    }
    bool full() const { return known.size() >= MOST; }
    // Whether it is kept: another thread may have been faster.
    bool add(const CallKey& key, PyObject* found) {
        bool kept = known.emplace(key, found).second;
        if (kept) Py_INCREF(found);
        return kept;
    }
    void clear() {
        std::unordered_map<CallKey, PyObject*, CallHash> gone;
        for (Entry*& each : recent) each = nullptr;
        gone.swap(known);
        for (auto& each : gone) Py_DECREF(each.second);
    }

  private:
    using Entry = std::pair<const CallKey, PyObject*>;
    static constexpr size_t MOST = 4096, RECENT = 32;
    std::unordered_map<CallKey, PyObject*, CallHash> known;
    Entry* recent[RECENT] = {};
};

}  // namespace la
