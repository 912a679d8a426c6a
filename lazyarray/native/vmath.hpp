// Loops over the scalar programs that codegen/emit_c.py writes: vector code, once per instruction-set level.
#pragma once
#include <vector>

#include "simd.hpp"

namespace la {

struct VectorLoop {
    const char *name, *types;
    LoopFn fn;
};

// A block of contiguous elements. A result may lie on an argument; nothing is carried from one element to the next.
template <class E> struct Vector {
    using X = typename E::X;
    using R = typename E::R;

    template <int which> LA_INLINE void each(const X* x0, const X* x1, R* y, Py_ssize_t n) {
#pragma GCC ivdep
        for (Py_ssize_t i = 0; i < n; i++) {
            if constexpr (E::inputs == 2) y[i] = E::value(x0[i], x1[i]);
            else if constexpr (which == 0) y[i] = E::value(x0[i]);
            else y[i] = E::full(x0[i]);
        }
    }

    LA_INLINE void contiguous(const X* x0, const X* x1, R* y, Py_ssize_t n) {
        if constexpr (E::some_rare) {
            constexpr Py_ssize_t block = 512;  // looked at first: it stays in the L1 cache
            for (Py_ssize_t at = 0; at < n; at += block) {
                Py_ssize_t m = n - at < block ? n - at : block;
                using Flags = std::conditional_t<sizeof(X) == 8, uint64_t, uint32_t>;
                Flags rare = 0;
                for (Py_ssize_t i = 0; i < m; i++) rare |= E::rare(x0[at + i]) ? 1 : 0;
                if (rare) each<1>(x0 + at, nullptr, y + at, m);
                else each<0>(x0 + at, nullptr, y + at, m);
            }
        } else {
            each<0>(x0, x1, y, n);
        }
    }

    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        Py_ssize_t n = dimensions[0];
        constexpr int nin = E::inputs;
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
