// The order of the elements of arrays: of the numbers, NaN last, complex numbers lexicographic as in NumPy. Every element has
// an unsigned key with that order (equal for 0.0 and -0.0, largest for NaN; of a complex number that of its real part).
#pragma once
#include <algorithm>

#include "simd.hpp"

namespace la {

typedef int (*SortFn)(void* start, Py_ssize_t n, void* array);
// NumPy's sort of each type, set when the module is imported; null: none.
inline SortFn numpy_sorts[kTypes];

template <int bytes> struct KeyBits { using type = uint64_t; };
template <> struct KeyBits<1> { using type = uint8_t; };
template <> struct KeyBits<2> { using type = uint16_t; };
template <> struct KeyBits<4> { using type = uint32_t; };

template <class T, class U> constexpr U infinity_bits =
    is_brain<T> ? (U)0x7f80 : is_half<T> ? (U)0x7c00 : sizeof(T) == 4 ? (U)0x7f800000u : (U)0x7ff0000000000000ull;
template <class T> LA_INLINE auto sort_key(T x) {
    if constexpr (is_complex<T>::value) {
        using U = decltype(sort_key(x.re));
        // A number with NaN in either part follows all without.
        return x.im != x.im ? (U)~(U)0 : sort_key(x.re);
    } else {
        using U = typename KeyBits<sizeof(T)>::type;
        constexpr U top = (U)((U)1 << (sizeof(T) * 8 - 1));
        U bits = bits_as<U>(x);
        if constexpr (is_bool<T> || std::is_unsigned_v<T>) {
            return bits;
        } else if constexpr (std::is_integral_v<T>) {
            return (U)(bits ^ top);
        } else {
            constexpr U infinity = infinity_bits<T, U>;
            U magnitude = bits & (U)~top;
            U key = magnitude == 0 ? top : bits & top ? (U)~bits : (U)(bits | top);
            return magnitude > infinity ? (U)~(U)0 : key;
        }
    }
}
template <class T> using Key = decltype(sort_key(T{}));
template <class T> constexpr int number_of_type =
    is_bool<T> ? kBool : is_brain<T> ? kBF16 : is_half<T> ? kF16 : std::is_same_v<T, float> ? kF32 : std::is_same_v<T, double> ? kF64
    : (std::is_signed_v<T> ? kI8 : kU8) + (sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3);

// Elements whose bits say more than their key.
enum Special : int { kNoSpecials, kNegativeZero = 1, kNaN = 2 };

// NaNs follow all numbers in the order: (real, NaN), (NaN, real), (NaN, NaN).
template <class R> LA_INLINE bool real_less(R a, R b) { return a < b || (b != b && a == a); }
template <class R> LA_INLINE bool sorts_before(Complex<R> a, Complex<R> b) {
    if (a.re < b.re) return a.im == a.im || b.im != b.im;
    if (a.re > b.re) return b.im != b.im && a.im == a.im;
    if (a.re == b.re || (a.re != a.re && b.re != b.re)) return real_less(a.im, b.im);
    return b.re != b.re;
}

template <class T> void sort_by_numpy(T* x, Py_ssize_t n) {
    if constexpr (is_brain<T>) {  // by NumPy's sort of their keys, from which all but zeros and NaN are had back
        uint16_t* keys = reinterpret_cast<uint16_t*>(x);
        for (Py_ssize_t i = 0; i < n; i++) keys[i] = sort_key(x[i]);
        sort_by_numpy(keys, n);
        for (Py_ssize_t i = 0; i < n; i++) keys[i] = (uint16_t)(keys[i] & 0x8000 ? keys[i] ^ 0x8000 : ~keys[i]);
        return;
    }
    if (SortFn sort = numpy_sorts[number_of_type<T>]; sort && n > 1) sort(x, n, nullptr);
    else std::sort(x, x + n, [](T a, T b) { return sort_key(a) < sort_key(b); });
}

}  // namespace la
