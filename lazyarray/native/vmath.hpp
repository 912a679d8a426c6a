// Loops over the scalar programs that codegen/emit_c.py writes: vector code, once per instruction-set level.
#pragma once
#include <cfenv>
#include <vector>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "simd.hpp"

namespace la {

struct VectorLoop {
    const char *name, *types;
    LoopFn fn;
};

// The thread's floating-point flags.
#if defined(__x86_64__)
using FloatFlags = unsigned;
LA_INLINE FloatFlags float_flags() { return _mm_getcsr(); }
LA_INLINE void set_float_flags(FloatFlags flags) { _mm_setcsr(flags); }
#else
using FloatFlags = fexcept_t;
LA_INLINE FloatFlags float_flags() {
    fexcept_t flags;
    fegetexceptflag(&flags, FE_ALL_EXCEPT);
    return flags;
}
LA_INLINE void set_float_flags(FloatFlags flags) { fesetexceptflag(&flags, FE_ALL_EXCEPT); }
#endif

// A block of contiguous elements. A result may lie on an argument; nothing is carried from one element to the next.
template <class E> struct Vector {
    using X = typename E::X;
    using R = typename E::R;

    static constexpr int nin = E::inputs;

    LA_INLINE void each(const X* x0, const X* x1, R* y, Py_ssize_t n) {
#pragma GCC ivdep
        for (Py_ssize_t i = 0; i < n; i++) {
            if constexpr (E::some_rare && nin == 2) y[i] = E::full(x0[i], x1[i]);
            else if constexpr (E::some_rare) y[i] = E::full(x0[i]);
            else if constexpr (nin == 2) y[i] = E::value(x0[i], x1[i]);
            else y[i] = E::value(x0[i]);
        }
    }

    // By the short program; whether an element was rare.
    LA_INLINE bool quick(const X* x0, const X* x1, R* y, Py_ssize_t n) {
        std::conditional_t<sizeof(X) == 8, uint64_t, uint32_t> any = 0;
#pragma GCC ivdep
        for (Py_ssize_t i = 0; i < n; i++) {
            bool rare;
            if constexpr (nin == 2) y[i] = E::value(x0[i], x1[i], rare);
            else y[i] = E::value(x0[i], rare);
            any |= -(decltype(any))rare;
        }
        return any != 0;
    }

    static constexpr Py_ssize_t block = 512;  // elements that stay in the L1 cache

    // Block by block, and a block with rare elements again by the full program. Without those, all at a time.
    LA_INLINE void contiguous(const X* x0, const X* x1, R* y, Py_ssize_t n) {
        // After the first block results lie in whole cache lines: NumPy's arrays begin 16 bytes behind one.
        Py_ssize_t m = block - ((uintptr_t)y & 63) / sizeof(R);
        for (Py_ssize_t at = 0; at < n; at += m, m = E::some_rare ? block : n - at) {
            if (n - at < m) m = n - at;
            if constexpr (E::some_rare) careful(x0 + at, x1 + at, y + at, m);
            else each(x0 + at, x1 + at, y + at, m);
        }
    }

    // What is overwritten is copied first, and the flags that the short program set on rare elements are taken back.
    LA_INLINE void careful(const X* x0, const X* x1, R* y, Py_ssize_t n) {
        X kept[nin][block];
        const X* in[2] = {x0, x1};
        for (int a = 0; a < nin; a++)
            if ((const void*)in[a] == (const void*)y) {
                __builtin_memcpy(kept[a], in[a], n * sizeof(X));
                in[a] = kept[a];
            }
        FloatFlags before = float_flags();
        if (quick(in[0], in[1], y, n)) {
            set_float_flags(before);
            each(in[0], in[1], y, n);
        }
    }

    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        Py_ssize_t n = dimensions[0];
        bool dense = steps[0] == sizeof(X) && steps[nin - 1] == sizeof(X) && steps[nin] == sizeof(R);
        if (dense)
            return contiguous((const X*)args[0], (const X*)args[nin - 1], (R*)args[nin], n);
        constexpr Py_ssize_t block = 64;
        X in[2][block];
        R out[block];
        for (Py_ssize_t at = 0; at < n; at += block) {
            Py_ssize_t m = n - at < block ? n - at : block;
            for (int a = 0; a < nin; a++)
                for (Py_ssize_t i = 0; i < m; i++)
                    __builtin_memcpy(&in[a][i], args[a] + (at + i) * steps[a], sizeof(X));
            contiguous(in[0], in[nin - 1], out, m);
            for (Py_ssize_t i = 0; i < m; i++)
                __builtin_memcpy(args[nin] + (at + i) * steps[nin], &out[i], sizeof(R));
        }
    }
};

}  // namespace la
