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

// The smaller of `high` and the greater of x and `low`, with the bits of NumPy's two loops: of equal ones the second, of
// NaNs the first. A step of 0 means a single limit.
template <class T> struct Clip {
    template <bool kLow, bool kHigh>
    LA_INLINE void each(const T* x, const T* low, const T* high, T* y, Py_ssize_t n) {
        T lowest = low[0], highest = high[0];
#pragma GCC ivdep
        for (Py_ssize_t i = 0; i < n; i++) {
            T a = x[i], b = kLow ? low[i] : lowest, c = kHigh ? high[i] : highest;
            T at_least = a > b ? a : b;
            at_least = a != a ? a : at_least;
            T at_most = at_least < c ? at_least : c;
            y[i] = at_least != at_least ? at_least : at_most;
        }
    }
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        const T *x = (const T*)args[0], *low = (const T*)args[1], *high = (const T*)args[2];
        T* y = (T*)args[3];
        Py_ssize_t n = dimensions[0];
        if (!steps[0]) return each_of_one(x, low, high, y, n, steps);
        if (steps[1]) return steps[2] ? each<true, true>(x, low, high, y, n) : each<true, false>(x, low, high, y, n);
        return steps[2] ? each<false, true>(x, low, high, y, n) : each<false, false>(x, low, high, y, n);
    }
    // One number between limits that are rows.
    LA_INLINE void each_of_one(const T* x, const T* low, const T* high, T* y, Py_ssize_t n, const Py_ssize_t* steps) {
        for (Py_ssize_t i = 0; i < n; i++)
            each<true, true>(x, low + (steps[1] ? i : 0), high + (steps[2] ? i : 0), y + i, 1);
    }
};

// The two results of frexp: x = mantissa * 2**exponent with 0.5 <= |mantissa| < 1; of what is not finite, x and 0.
template <class T, bool kExponent> struct Frexp {
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t*, void*) {
        using U = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
        constexpr U digits = sizeof(T) == 8 ? 52 : 23;
        constexpr U top = sizeof(T) == 8 ? 0x7ff : 0xff, half = top / 2 - 1, one = (top / 2) << digits;
        constexpr T scale = (T)((uint64_t)1 << digits);
        const T* x = (const T*)args[0];
        const Py_ssize_t n = dimensions[0];
#pragma GCC ivdep
        for (Py_ssize_t i = 0; i < n; i++) {
            // By masks: a choice between products would be a branch.
            U bits = bits_as<U>(x[i]), sign = bits & ((U)1 << (sizeof(T) * 8 - 1)), rest = bits ^ sign;
            U small = (U)0 - (U)((rest >> digits) == 0), zero = (U)0 - (U)(rest == 0);
            U scaled = bits_as<U>(bits_as<T>((rest & small) | (one & ~small)) * scale);
            U number = (scaled & small) | (rest & ~small);
            U as_is = zero | ((U)0 - (U)((number >> digits) == (U)top));
            U exponent = (number >> digits) - (U)half - (small & digits);
            U mantissa = (number & (((U)1 << digits) - 1)) | ((U)half << digits) | sign;
            if constexpr (kExponent) ((int32_t*)args[1])[i] = (int32_t)(exponent & ~as_is);
            else ((U*)args[1])[i] = (bits & as_is) | (mantissa & ~as_is);
        }
    }
};

inline LoopFn find_frexp(int type, bool exponent) {
    if (type == kF32) return exponent ? pick_loop<Frexp<float, true>>() : pick_loop<Frexp<float, false>>();
    if (type == kF64) return exponent ? pick_loop<Frexp<double, true>>() : pick_loop<Frexp<double, false>>();
    return nullptr;
}

inline LoopFn find_clip(int type) {
    return with_type(type, [](auto x) -> LoopFn {
        using T = decltype(x);
        if constexpr (std::is_arithmetic_v<T>) return pick_loop<Clip<T>>();
        else return nullptr;
    });
}

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
