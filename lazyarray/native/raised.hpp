// Tasks whose kernels have raised floating-point flags, until a thread that holds the GIL takes them.
#pragma once

namespace la {

struct Raised {
    Raised* next;
    void* frame;  // borrowed: it outlives its tasks, and takes its own out of the stack before it goes
    int index;
    unsigned flags;
};

// Units of one task may run on several threads.
inline void add_flags(Raised* raised, unsigned flags) { __atomic_fetch_or(&raised->flags, flags, __ATOMIC_RELAXED); }

class RaisedStack {
    Raised* top_ = nullptr;

  public:
    bool empty() const { return !__atomic_load_n(&top_, __ATOMIC_ACQUIRE); }
    void push(Raised* one) {
        one->next = __atomic_load_n(&top_, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&top_, &one->next, one, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
        }
    }
    Raised* take_all() { return __atomic_exchange_n(&top_, static_cast<Raised*>(nullptr), __ATOMIC_ACQUIRE); }
};
inline RaisedStack& raised() {
    static RaisedStack stack;
    return stack;
}

}  // namespace la
