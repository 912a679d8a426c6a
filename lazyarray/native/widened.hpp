// Loops of bfloat16: those of float32 between two conversions, rounded once at the end; and the steps between neighbours,
// which float32 does not have. Operands of other types pass through.
#pragma once
#include <cmath>

#include "cast.hpp"

namespace la {

constexpr int kWidenedOperands = 6;
constexpr Py_ssize_t kWidenedBlock = 512;  // elements; their floats stay in the L1 cache

struct Widened {
    LoopFn fn;
    void* data;
    int nin, nargs;
    bool narrow[kWidenedOperands];  // which operands are bfloat16
    LoopFn widen, shorten;
};
inline void set_widened(Widened& loop, LoopFn fn, void* data, int nin, int nargs) {
    loop.fn = fn, loop.data = data, loop.nin = nin, loop.nargs = nargs;
    loop.widen = find_cast(kBF16, kF32), loop.shorten = find_cast(kF32, kBF16);
}
inline void run_widened(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void* data) {
    const Widened& loop = *static_cast<const Widened*>(data);
    alignas(64) float room[kWidenedOperands][kWidenedBlock];
    char* inner[kWidenedOperands];
    Py_ssize_t inner_steps[kWidenedOperands];
    for (Py_ssize_t done = 0; done < dimensions[0]; done += kWidenedBlock) {
        Py_ssize_t n = dimensions[0] - done < kWidenedBlock ? dimensions[0] - done : kWidenedBlock;
        for (int k = 0; k < loop.nargs; k++) {
            char* at = args[k] + done * steps[k];
            inner[k] = loop.narrow[k] ? reinterpret_cast<char*>(room[k]) : at;
            inner_steps[k] = loop.narrow[k] ? (Py_ssize_t)sizeof(float) : steps[k];
            if (!loop.narrow[k] || k >= loop.nin) continue;
            char* both[] = {at, inner[k]};
            Py_ssize_t apart[] = {steps[k], inner_steps[k]};
            loop.widen(both, &n, apart, nullptr);
        }
        loop.fn(inner, &n, inner_steps, loop.data);
        for (int k = loop.nin; k < loop.nargs; k++) {
            if (!loop.narrow[k]) continue;
            char* both[] = {inner[k], args[k] + done * steps[k]};
            Py_ssize_t apart[] = {inner_steps[k], steps[k]};
            loop.shorten(both, &n, apart, nullptr);
        }
    }
}

// The number after x in the direction of y.
LA_INLINE Brain next_brain(Brain x, Brain y) {
    float a = widened(x), b = widened(y);
    if (a != a || b != b) return Brain{0x7fc0};
    if (a == b) return y;
    if (a == 0) return Brain{(uint16_t)((y.bits & 0x8000) | 1)};
    return Brain{(uint16_t)((a < b) == (a > 0) ? x.bits + 1 : x.bits - 1)};
}
struct NextBrain {
    static Brain run(Brain x, Brain y) { return next_brain(x, y); }
};
// From x to the number behind it, with the sign of x.
struct BrainSpacing {
    static Brain run(Brain x, Brain) {
        float a = widened(x);
        if (a != a || a - a != 0) return Brain{0x7fc0};
        Brain next = {(uint16_t)(x.bits + 1)};
        return narrowed<Brain>(widened(next) - a);
    }
};
template <class Body, int nin> void run_brains(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
    for (Py_ssize_t i = 0; i < dimensions[0]; i++) {
        const Brain& x = *reinterpret_cast<const Brain*>(args[0] + i * steps[0]);
        const Brain& y = *reinterpret_cast<const Brain*>(args[nin - 1] + i * steps[nin - 1]);
        *reinterpret_cast<Brain*>(args[nin] + i * steps[nin]) = Body::run(x, y);
    }
}
inline LoopFn find_neighbour(bool spacing) { return spacing ? run_brains<BrainSpacing, 1> : run_brains<NextBrain, 2>; }

}  // namespace la
