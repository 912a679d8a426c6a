// Choosing and assembling: loops that move bytes and compute nothing.
#pragma once
#include "simd.hpp"

namespace la {

template <class T> struct Where {
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        constexpr Py_ssize_t w = sizeof(T);
        Py_ssize_t n = dimensions[0];
        if (steps[0] == 1 && steps[1] == w && steps[2] == w && steps[3] == w) {
            const uint8_t* c = (const uint8_t*)args[0];
            const T *a = (const T*)args[1], *b = (const T*)args[2];
            T* y = (T*)args[3];
            for (Py_ssize_t i = 0; i < n; i++) {
                T p = a[i], q = b[i];
                y[i] = c[i] ? p : q;
            }
            return;
        }
        for (Py_ssize_t i = 0; i < n; i++) {
            bool first = args[0][i * steps[0]] != 0;
            const char* from = first ? args[1] + i * steps[1] : args[2] + i * steps[2];
            __builtin_memmove(args[3] + i * steps[3], from, sizeof(T));
        }
    }
};

template <class T> struct Copy {
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        for (Py_ssize_t i = 0; i < dimensions[0]; i++)
            __builtin_memmove(args[1] + i * steps[1], args[0] + i * steps[0], sizeof(T));
    }
};

// (real, imaginary) -> complex
template <class R> struct Assemble {
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        for (Py_ssize_t i = 0; i < dimensions[0]; i++) {
            Complex<R> z{*(const R*)(args[0] + i * steps[0]), *(const R*)(args[1] + i * steps[1])};
            *(Complex<R>*)(args[2] + i * steps[2]) = z;
        }
    }
};

template <template <class> class Body> LoopFn by_itemsize(Py_ssize_t itemsize) {
    switch (itemsize) {
    case 1: return pick_loop<Body<uint8_t>>();
    case 2: return pick_loop<Body<uint16_t>>();
    case 4: return pick_loop<Body<uint32_t>>();
    case 8: return pick_loop<Body<uint64_t>>();
    case 16: return pick_loop<Body<Bytes16>>();
    }
    return nullptr;
}
inline LoopFn find_where(Py_ssize_t itemsize) { return by_itemsize<Where>(itemsize); }
inline LoopFn find_copy(Py_ssize_t itemsize) { return by_itemsize<Copy>(itemsize); }
inline LoopFn find_assemble(int real) {
    return real == kF32 ? plain_loop<Assemble<float>>() : real == kF64 ? plain_loop<Assemble<double>>() : nullptr;
}

}  // namespace la
