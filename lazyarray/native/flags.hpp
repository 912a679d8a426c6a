// The thread's floating-point flags: cleared before a kernel and read after it.
#pragma once

#include <Python.h>

#include <cfenv>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace la {

// Bits as x86 has them.
enum FloatFlag : unsigned { kInvalid = 1, kDivide = 4, kOverflow = 8, kUnderflow = 16, kFlags = 29 };

#if defined(__x86_64__)
// Software that raises a flag by hand does so in the old unit's status word.
inline unsigned old_flags() {
    unsigned short status;
    __asm__ __volatile__("fnstsw %0" : "=a"(status));
    return status & kFlags;
}
inline unsigned float_flags() { return (_mm_getcsr() & kFlags) | old_flags(); }
inline void clear_float_flags() {
    const unsigned control = _mm_getcsr();
    if (control & kFlags) _mm_setcsr(control & ~unsigned(kFlags));
    if (old_flags()) __asm__ __volatile__("fnclex");
}
inline void raise_float_flags(unsigned flags) { _mm_setcsr(_mm_getcsr() | flags); }
#else
inline unsigned float_flags() {
    const int raised = std::fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW);
    return (raised & FE_INVALID ? kInvalid : 0u) | (raised & FE_DIVBYZERO ? kDivide : 0u) |
           (raised & FE_OVERFLOW ? kOverflow : 0u) | (raised & FE_UNDERFLOW ? kUnderflow : 0u);
}
inline void clear_float_flags() {
    if (float_flags()) std::feclearexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW);
}
inline void raise_float_flags(unsigned flags) {
    std::feraiseexcept((flags & kInvalid ? FE_INVALID : 0) | (flags & kDivide ? FE_DIVBYZERO : 0) |
                       (flags & kOverflow ? FE_OVERFLOW : 0) | (flags & kUnderflow ? FE_UNDERFLOW : 0));
}
#endif

// A loop of somebody else's in a kernel: the flags raised before it stay, and a silent one adds none.
struct Guarded {
    void (*fn)(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void* data);
    void* data;
    bool silent;
};
inline void run_guarded(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void* data) {
    const Guarded* loop = static_cast<const Guarded*>(data);
    const unsigned before = float_flags();
    loop->fn(args, dimensions, steps, loop->data);
    const unsigned after = float_flags();
    if (after == before) return;
    if (loop->silent && after & ~before) clear_float_flags();
    raise_float_flags(before);
}

}  // namespace la
