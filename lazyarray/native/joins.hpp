// What reductions join two elements by, and which of two is better.
#pragma once
#include <limits>

#include "cast.hpp"

namespace la {

enum ReduceOp { kSum, kProd, kMin, kMax, kArgmin, kArgmax, kFmin, kFmax };

struct Add {
    static constexpr bool has_numbers = false;
    template <class T> LA_INLINE T join(T a, T b) {
        if constexpr (is_complex<T>::value) return T{a.re + b.re, a.im + b.im};
        else return a + b;
    }
};
struct Multiply {
    static constexpr bool has_numbers = false;
    template <class T> LA_INLINE T join(T a, T b) {
        if constexpr (is_complex<T>::value) return T{a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
        else return a * b;
    }
};

template <class T> LA_INLINE bool is_nan(T x) {
    if constexpr (is_complex<T>::value) return (x.re != x.re) | (x.im != x.im);
    else return x != x;
}
template <class T> LA_INLINE bool less(T a, T b) {
    if constexpr (is_complex<T>::value) return a.re < b.re || (a.re == b.re && a.im < b.im);
    else return a < b;
}
// The first of equals is kept, and the first NaN.
template <bool kMaximum> struct Extreme {
    static constexpr bool maximum = kMaximum, has_numbers = true;
    struct Numbers {  // of two that are no NaN
        template <class T> LA_INLINE T join(T a, T b) { return (kMaximum ? b > a : b < a) ? b : a; }
    };
    template <class T> LA_INLINE bool better(T x, T best) {
        return ((kMaximum ? less(best, x) : less(x, best)) | is_nan(x)) & !is_nan(best);
    }
    template <class T> LA_INLINE T join(T a, T b) {
        if constexpr (is_complex<T>::value) return better(b, a) ? b : a;
        else if constexpr (std::is_floating_point_v<T>) return ((kMaximum ? a >= b : a <= b) | (a != a)) ? a : b;
        else return (kMaximum ? a >= b : a <= b) ? a : b;
    }
};

// The same where numbers are better than NaN: what is left out of a lane is the identity of `Numbers`.
template <bool kMaximum> struct Known {
    static constexpr bool has_numbers = true;
    using Numbers = typename Extreme<kMaximum>::Numbers;
    template <class T> static constexpr T nothing() {
        return kMaximum ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::infinity();
    }
    template <class T> LA_INLINE T join(T a, T b) {
        if constexpr (is_complex<T>::value) return is_nan(b) || !(is_nan(a) || (kMaximum ? less(a, b) : less(b, a))) ? a : b;
        else return ((kMaximum ? a >= b : a <= b) | (b != b)) ? a : b;
    }
};
template <class Op> constexpr bool leaves_out = false;
template <bool kMaximum> constexpr bool leaves_out<Known<kMaximum>> = true;

}  // namespace la
