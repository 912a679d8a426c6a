// Integer power, division and shifts with numpy's values, and no path that needs the interpreter.
#pragma once
#include <cfenv>
#include <limits>

#include "simd.hpp"

namespace la {

template <class T> LA_INLINE T wrap_multiply(T a, T b) {
    return (T)((uint64_t)a * (uint64_t)b);
}

struct IntegerFlags { bool zero_division = false, overflow = false; };

struct Power {
    // A negative exponent is refused by check_power before this runs; here it only must not loop.
    template <class T> LA_INLINE T apply(T base, T exponent, IntegerFlags&) {
        if (exponent < 0) return 0;
        T result = 1;
        for (;;) {
            if (exponent & 1) result = wrap_multiply(result, base);
            exponent = (T)(exponent >> 1);
            if (!exponent) return result;
            base = wrap_multiply(base, base);
        }
    }
};

template <class T> LA_INLINE bool overflows(T a, T b) {
    return std::is_signed_v<T> && a == std::numeric_limits<T>::min() && b == (T)-1;
}

struct FloorDivide {
    template <class T> LA_INLINE T apply(T a, T b, IntegerFlags& flags) {
        if (b == 0) {
            flags.zero_division = true;
            return 0;
        }
        if (overflows(a, b)) {
            flags.overflow = true;
            return a;
        }
        T q = (T)(a / b);
        if (std::is_signed_v<T> && (a < 0) != (b < 0) && (T)(q * b) != a) q = (T)(q - 1);
        return q;
    }
};

struct Remainder {
    template <class T> LA_INLINE T apply(T a, T b, IntegerFlags& flags) {
        if (b == 0) {
            flags.zero_division = true;
            return 0;
        }
        if (overflows(a, b)) return 0;
        T r = (T)(a % b);
        return std::is_signed_v<T> && r != 0 && (r < 0) != (b < 0) ? (T)(r + b) : r;
    }
};

struct Fmod {
    template <class T> LA_INLINE T apply(T a, T b, IntegerFlags& flags) {
        if (b == 0) {
            flags.zero_division = true;
            return 0;
        }
        return overflows(a, b) ? (T)0 : (T)(a % b);
    }
};

// A shift by the width or more, or by a negative count, gives zero, or the sign for signed right shifts.
struct LeftShift {
    template <class T> LA_INLINE T apply(T a, T b, IntegerFlags&) {
        using U = std::make_unsigned_t<T>;
        return (U)b < sizeof(T) * 8 ? (T)((uint64_t)(U)a << ((U)b & 63)) : (T)0;
    }
};
struct RightShift {
    template <class T> LA_INLINE T apply(T a, T b, IntegerFlags&) {
        using U = std::make_unsigned_t<T>;
        return (U)b < sizeof(T) * 8 ? (T)(a >> ((U)b & (sizeof(T) * 8 - 1))) : a < 0 ? (T)-1 : (T)0;
    }
};

inline void raise_flags(const IntegerFlags& flags) {
    if (flags.zero_division) std::feraiseexcept(FE_DIVBYZERO);
    if (flags.overflow) std::feraiseexcept(FE_OVERFLOW);
}

template <class Op, class T> struct IntegerLoop {
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        Py_ssize_t n = dimensions[0];
        constexpr Py_ssize_t w = sizeof(T);
        const char *a = args[0], *b = args[1];
        char* y = args[2];
        IntegerFlags flags;
        if (steps[0] == w && steps[1] == w && steps[2] == w) {
            const T *p = (const T*)a, *q = (const T*)b;
            T* out = (T*)y;
            for (Py_ssize_t i = 0; i < n; i++) out[i] = Op::apply(p[i], q[i], flags);
        } else {
            for (Py_ssize_t i = 0; i < n; i++)
                *(T*)(y + i * steps[2]) = Op::apply(*(const T*)(a + i * steps[0]), *(const T*)(b + i * steps[1]), flags);
        }
        raise_flags(flags);
    }
};

template <class T> struct DivmodLoop {
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        IntegerFlags flags;
        for (Py_ssize_t i = 0; i < dimensions[0]; i++) {
            T a = *(const T*)(args[0] + i * steps[0]), b = *(const T*)(args[1] + i * steps[1]);
            *(T*)(args[2] + i * steps[2]) = FloorDivide::apply(a, b, flags);
            *(T*)(args[3] + i * steps[3]) = Remainder::apply(a, b, flags);
        }
        raise_flags(flags);
    }
};

enum IntegerOp { kPower, kFloorDivide, kRemainder, kFmod, kLeftShift, kRightShift, kDivmod };

inline LoopFn find_integer(int op, int type) {
    return with_type(type, [op](auto x) -> LoopFn {
        using T = decltype(x);
        if constexpr (std::is_integral_v<T>) {
            switch (op) {
            case kPower: return plain_loop<IntegerLoop<Power, T>>();
            case kFloorDivide: return plain_loop<IntegerLoop<FloorDivide, T>>();
            case kRemainder: return plain_loop<IntegerLoop<Remainder, T>>();
            case kFmod: return plain_loop<IntegerLoop<Fmod, T>>();
            case kLeftShift: return pick_loop<IntegerLoop<LeftShift, T>>();
            case kRightShift: return pick_loop<IntegerLoop<RightShift, T>>();
            case kDivmod: return plain_loop<DivmodLoop<T>>();
            }
        }
        return nullptr;
    });
}

}  // namespace la
