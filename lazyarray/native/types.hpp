// The element types, and the one conversion between any two of them.
#pragma once
#include <Python.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#define LA_INLINE __attribute__((always_inline)) static inline

namespace la {

// Numbers are part of the interface to _loops.pyx.
enum Type { kBool, kI8, kI16, kI32, kI64, kU8, kU16, kU32, kU64, kF16, kF32, kF64, kC64, kC128, kBF16, kTypes };

struct Bool { uint8_t v; };
struct Half { uint16_t bits; };
struct Brain { uint16_t bits; };  // bfloat16: the upper half of a float
template <class R> struct Complex { R re, im; };
using C64 = Complex<float>;
using C128 = Complex<double>;
struct Bytes16 { uint64_t lo, hi; };

template <class T> struct is_complex : std::false_type {};
template <class R> struct is_complex<Complex<R>> : std::true_type {};
template <class T> constexpr bool is_bool = std::is_same_v<T, Bool>;
template <class T> constexpr bool is_brain = std::is_same_v<T, Brain>;
// Stored in two bytes, and computed with as float.
template <class T> constexpr bool is_half = std::is_same_v<T, Half> || is_brain<T>;

template <class To, class From> LA_INLINE To bits_as(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To y;
    __builtin_memcpy(&y, &x, sizeof y);
    return y;
}

// Selects instead of branches, so that a loop over it becomes vector code.
LA_INLINE float half_to_float(uint16_t h) {
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t rebias = magnitude >= 0x0f800000u ? 224u << 23 : 112u << 23;
    uint32_t subnormal = bits_as<uint32_t>((float)(int32_t)(h & 0x7fff) * 0x1p-24f);
    uint32_t bits = magnitude < 0x00800000u ? subnormal : magnitude + rebias;
    return bits_as<float>(bits | (uint32_t)(h & 0x8000) << 16);
}

// Round to nearest, ties to even. Adding 0.5 rounds a number below 2**-14 to a multiple of 2**-24 in hardware.
LA_INLINE uint16_t float_to_half(float f) {
    uint32_t all = bits_as<uint32_t>(f), x = all & 0x7fffffffu;
    uint32_t normal = (x + 0xfffu + ((x >> 13) & 1u) - (112u << 23)) >> 13;
    uint32_t small = bits_as<uint32_t>(bits_as<float>(x < 0x38800000u ? x : 0u) + 0.5f) - 0x3f000000u;
    uint32_t huge = x > 0x7f800000u ? 0x7e00u : 0x7c00u;
    uint32_t h = x < 0x38800000u ? small : x < 0x47800000u ? normal : huge;
    return (uint16_t)(h | (all >> 16 & 0x8000u));
}

// Through a float rounded to odd: its 24 bits are at least two more than half's 11, so the second rounding is exact
// (Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums", theorem 3).
LA_INLINE uint16_t double_to_half(double d) {
    uint64_t all = bits_as<uint64_t>(d), x = all & 0x7fffffffffffffffull;
    uint32_t sign = (uint32_t)(all >> 32) & 0x80000000u;
    uint64_t odd = (x >> 29) | ((x & 0x1fffffffull) != 0);
    uint32_t inside = (uint32_t)(odd - ((1023ull - 127ull) << 23));
    uint32_t huge = x > 0x7ff0000000000000ull ? 0x7fc00000u : 0x7f800000u;
    // 2**-30 lies below half of the smallest subnormal half, 2**16 above the largest half.
    uint32_t f = x < 0x3e10000000000000ull ? 0u : x < 0x40f0000000000000ull ? inside : huge;
    return float_to_half(bits_as<float>(f | sign));
}

// Round to nearest, ties to even; a NaN keeps its sign.
LA_INLINE uint16_t float_to_brain(float f) {
    uint32_t x = bits_as<uint32_t>(f);
    uint32_t rounded = (x + 0x7fffu + ((x >> 16) & 1u)) >> 16;
    uint32_t nan = (x >> 16 & 0x8000u) | 0x7fc0u;
    return (uint16_t)((x & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}
LA_INLINE float widened(Half x) { return half_to_float(x.bits); }
LA_INLINE float widened(Brain x) { return bits_as<float>((uint32_t)x.bits << 16); }
template <class T> LA_INLINE T narrowed(float f) {
    if constexpr (is_brain<T>) return Brain{float_to_brain(f)};
    else return Half{float_to_half(f)};
}

// Out of range the C conversion is undefined, and vector and scalar code would differ: the steps below are
// those that x86-64 compilers take, so that an element's bits do not depend on its place in a block.
template <class To, class From> LA_INLINE To float_to_int(From x) {
    if constexpr (std::is_same_v<To, int64_t>) {
        return (int64_t)x;
    } else if constexpr (std::is_same_v<To, uint64_t>) {
        return x >= (From)0x1p63 ? (uint64_t)(int64_t)(x - (From)0x1p63) ^ (1ull << 63) : (uint64_t)(int64_t)x;
    } else if constexpr (std::is_same_v<To, uint32_t>) {
        return x >= (From)0x1p31 ? (uint32_t)(int32_t)(x - (From)0x1p31) ^ (1u << 31) : (uint32_t)(int32_t)x;
    } else {
        return (To)(int32_t)x;
    }
}

template <class T> LA_INLINE bool truth(T x) {
    if constexpr (is_complex<T>::value) {
        return (x.re != 0) | (x.im != 0);
    } else if constexpr (is_bool<T>) {
        return x.v != 0;
    } else if constexpr (is_half<T>) {
        return (x.bits & 0x7fff) != 0;
    } else {
        return x != 0;
    }
}

template <class To, class From> LA_INLINE To convert(From x) {
    if constexpr (std::is_same_v<To, From> && !is_bool<To>) {
        return x;
    } else if constexpr (is_bool<To>) {
        return Bool{(uint8_t)truth(x)};
    } else if constexpr (is_complex<From>::value && is_complex<To>::value) {
        using R = decltype(To::re);
        return To{(R)x.re, (R)x.im};
    } else if constexpr (is_complex<From>::value) {
        return convert<To>(x.re);
    } else if constexpr (is_complex<To>::value) {
        return To{convert<decltype(To::re)>(x), 0};
    } else if constexpr (is_bool<From>) {
        return convert<To>((uint8_t)(x.v != 0));
    } else if constexpr (is_half<To>) {
        if constexpr (is_half<From>) return narrowed<To>(widened(x));
        else if constexpr (std::is_same_v<From, double> && !is_brain<To>) return Half{double_to_half(x)};
        else return narrowed<To>((float)x);  // ml_dtypes rounds a double twice
    } else if constexpr (is_half<From>) {
        if constexpr (std::is_same_v<To, uint32_t> && !is_brain<From>) return (To)(int64_t)widened(x);
        else return convert<To>(widened(x));
    } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
        return float_to_int<To>(x);
    } else {
        return (To)x;
    }
}

}  // namespace la
