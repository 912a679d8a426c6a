// Numbers in generated CUDA C++: element types, their conversions, loads and stores of several elements at once, division by
// an extent. Read by NVRTC, which has no headers, as a part of each source (codegen/emit_cuda.py), and by the host compiler
// of the tests, which run the same source on the CPU. The values are those of types.hpp.
#pragma once
#ifndef __CUDACC_RTC__
#include <cstdint>
#endif

namespace la {

#ifdef __CUDACC_RTC__
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#define INT64_MIN (-9223372036854775807ll - 1)
#else
using ::int8_t, ::int16_t, ::int32_t, ::int64_t, ::uint8_t, ::uint16_t, ::uint32_t, ::uint64_t;
#endif
#define LA_DEVICE __device__ __forceinline__
#define LA_INLINE LA_DEVICE  // in headers that the CPU's loops share

template <class To, class From> LA_DEVICE To bits_as(From x) { return __builtin_bit_cast(To, x); }

struct Half { uint16_t bits; };
template <class R> struct Complex { R re, im; };
typedef Complex<float> C64;
typedef Complex<double> C128;

template <class T> struct Parts { static constexpr bool complex = false; typedef T part; };
template <class R> struct Parts<Complex<R>> { static constexpr bool complex = true; typedef R part; };
template <class T> constexpr bool is_floating = false;
template <> constexpr bool is_floating<float> = true;
template <> constexpr bool is_floating<double> = true;
template <class A, class B> constexpr bool same_type = false;
template <class A> constexpr bool same_type<A, A> = true;
template <class T> constexpr bool is_signed_type = (T)-1 < (T)0;
template <class T> struct Unsigned { typedef T type; };
template <> struct Unsigned<int8_t> { typedef uint8_t type; };
template <> struct Unsigned<int16_t> { typedef uint16_t type; };
template <> struct Unsigned<int32_t> { typedef uint32_t type; };
template <> struct Unsigned<int64_t> { typedef uint64_t type; };

LA_DEVICE float not_a_number(float) { return bits_as<float>(0x7fc00000u); }
LA_DEVICE double not_a_number(double) { return bits_as<double>((uint64_t)0x7ff8000000000000ull); }

// ---- half precision: stored, and computed with as float

LA_DEVICE float half_to_float(uint16_t h) {
#ifdef __CUDACC_RTC__
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
#else
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t rebias = magnitude >= 0x0f800000u ? 224u << 23 : 112u << 23;
    uint32_t subnormal = bits_as<uint32_t>((float)(int32_t)(h & 0x7fff) * 0x1p-24f);
    uint32_t bits = magnitude < 0x00800000u ? subnormal : magnitude + rebias;
    return bits_as<float>(bits | (uint32_t)(h & 0x8000) << 16);
#endif
}
LA_DEVICE uint16_t float_to_half(float f) {
#ifdef __CUDACC_RTC__
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
#else
    uint32_t all = bits_as<uint32_t>(f), x = all & 0x7fffffffu;
    uint32_t normal = (x + 0xfffu + ((x >> 13) & 1u) - (112u << 23)) >> 13;
    uint32_t small = bits_as<uint32_t>(bits_as<float>(x < 0x38800000u ? x : 0u) + 0.5f) - 0x3f000000u;
    uint32_t huge = x > 0x7f800000u ? 0x7e00u : 0x7c00u;
    uint32_t h = x < 0x38800000u ? small : x < 0x47800000u ? normal : huge;
    return (uint16_t)(h | (all >> 16 & 0x8000u));
#endif
}
// Through a float rounded to odd, see types.hpp.
LA_DEVICE uint16_t double_to_half(double d) {
    uint64_t all = bits_as<uint64_t>(d), x = all & 0x7fffffffffffffffull;
    uint32_t sign = (uint32_t)(all >> 32) & 0x80000000u;
    uint64_t odd = (x >> 29) | ((x & 0x1fffffffull) != 0);
    uint32_t inside = (uint32_t)(odd - ((1023ull - 127ull) << 23));
    uint32_t huge = x > 0x7ff0000000000000ull ? 0x7fc00000u : 0x7f800000u;
    uint32_t f = x < 0x3e10000000000000ull ? 0u : x < 0x40f0000000000000ull ? inside : huge;
    return float_to_half(bits_as<float>(f | sign));
}
LA_DEVICE float as_float(Half x) { return half_to_float(x.bits); }
LA_DEVICE Half as_half(float x) { return Half{float_to_half(x)}; }
// bfloat16 is its bits: the upper half of a float.
LA_DEVICE float brain_to_float(uint16_t x) { return bits_as<float>((uint32_t)x << 16); }
LA_DEVICE uint16_t float_to_brain(float f) {
    const uint32_t x = bits_as<uint32_t>(f);
    const uint32_t rounded = (x + 0x7fffu + ((x >> 16) & 1u)) >> 16;
    return (uint16_t)((x & 0x7fffffffu) > 0x7f800000u ? (x >> 16 & 0x8000u) | 0x7fc0u : rounded);
}

// ---- several elements at once

template <class T, int V> struct alignas(V * sizeof(T)) Pack { T of[V]; };

// `there` of the V elements at `from` exist; `packed` holds where all do and lie aligned.
template <class T, int V> LA_DEVICE void load(const T* from, T (&to)[V], bool packed, int there) {
    if (packed) {
        const Pack<T, V> pack = *(const Pack<T, V>*)from;
#pragma unroll
        for (int v = 0; v < V; v++) to[v] = pack.of[v];
    } else {
#pragma unroll
        for (int v = 0; v < V; v++) to[v] = v < there ? from[v] : T{};
    }
}
template <class T, int V> LA_DEVICE void store(T* to, const T (&from)[V], bool packed, int there) {
    if (packed) {
        Pack<T, V> pack;
#pragma unroll
        for (int v = 0; v < V; v++) pack.of[v] = from[v];
        *(Pack<T, V>*)to = pack;
    } else {
#pragma unroll
        for (int v = 0; v < V; v++)
            if (v < there) to[v] = from[v];
    }
}

// ---- places

// A count of elements below 2**31 over an extent (Granlund and Montgomery 1994, "Division by invariant integers").
struct Divisor { uint32_t extent, magic, shift, unused; };
LA_DEVICE uint32_t quotient(uint32_t n, const Divisor& d) { return (__umulhi(n, d.magic) + n) >> d.shift; }
LA_DEVICE uint32_t extent_of(const Divisor& d) { return d.extent; }
LA_DEVICE int64_t quotient(int64_t n, const int64_t& d) { return n / d; }
LA_DEVICE int64_t extent_of(const int64_t& d) { return d; }

}  // namespace la
