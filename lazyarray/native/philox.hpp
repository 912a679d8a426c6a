// Keyed random numbers as pure loops: Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as
// easy as 1, 2, 3"). Element i depends on (key, counter, i) alone. A block of four 32-bit words is Philox of the counter
// words (block low, block high, counter low, counter high) under the key words (key low, key high).
// 32-bit results take word i % 4 of block i / 4; 64-bit results take words 2 * (i % 2) and the next of block i / 2, low
// word first. Uniforms are the upper 24 or 53 bits times 2**-24 or 2**-53. Normals are Box-Muller pairs (Box and Muller
// 1958), the even element the cosine: float64 elements 2b, 2b + 1 from the two 64-bit words of block b; float32 elements
// 4b + 2k, 4b + 2k + 1 from words 2k, 2k + 1 of block b, computed in double. The functions below use + - * / sqrt only, so
// every machine that rounds correctly gives the same bits.
#pragma once
#include <algorithm>
#include <cmath>

#include "simd.hpp"

namespace la {

struct Words { uint32_t w[4]; };

LA_INLINE Words philox(uint64_t block, uint64_t counter, uint64_t key) {
    uint32_t a = (uint32_t)block, b = (uint32_t)(block >> 32), c = (uint32_t)counter, d = (uint32_t)(counter >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)a * 0xD2511F53u, q = (uint64_t)c * 0xCD9E8D57u;
        uint32_t next_a = (uint32_t)(q >> 32) ^ b ^ k0, next_c = (uint32_t)(p >> 32) ^ d ^ k1;
        b = (uint32_t)q;
        d = (uint32_t)p;
        a = next_a;
        c = next_c;
        k0 += 0x9E3779B9u;  // the golden ratio
        k1 += 0xBB67AE85u;  // sqrt(3) - 1
    }
    return {{a, b, c, d}};
}

// Natural logarithm of a normal x > 0: x = 2**e * m, sqrt(1/2) <= m < sqrt(2), log m = 2 atanh(s), s = (m - 1) / (m + 1).
// s**2 < 0.0295, so eleven terms leave less than 2**-56 relative. ln 2 is split so that e * kLn2High is exact.
LA_INLINE double log_positive(double x) {
    constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;
    uint64_t bits = bits_as<uint64_t>(x) + (0x3ff0000000000000ull - 0x3fe6a09e667f3bcdull);
    int32_t e = (int32_t)(bits >> 52) - 1023;
    double m = bits_as<double>((bits & 0x000fffffffffffffull) + 0x3fe6a09e667f3bcdull);
    double f = m - 1.0, s = f / (2.0 + f), z = s * s;
    double p = 2.0 / 23;
    p = p * z + 2.0 / 21;
    p = p * z + 2.0 / 19;
    p = p * z + 2.0 / 17;
    p = p * z + 2.0 / 15;
    p = p * z + 2.0 / 13;
    p = p * z + 2.0 / 11;
    p = p * z + 2.0 / 9;
    p = p * z + 2.0 / 7;
    p = p * z + 2.0 / 5;
    p = p * z + 2.0 / 3;
    double n = (double)e;
    return n * kLn2High + (2.0 * s + (s * z * p + n * kLn2Low));
}

// cos and sin of 2 pi u, 0 <= u < 1: u = q / 4 + r with |r| <= 1/8, both exact; Taylor series, remainder below 2**-54.
LA_INLINE void cos_sin_turns(double u, double& cosine, double& sine) {
    int32_t q = (int32_t)(u * 4.0 + 0.5);
    double x = (u - 0.25 * (double)q) * 6.283185307179586, z = x * x;
    double s = 1.0 / 355687428096000.0;
    s = s * z - 1.0 / 1307674368000.0;
    s = s * z + 1.0 / 6227020800.0;
    s = s * z - 1.0 / 39916800.0;
    s = s * z + 1.0 / 362880.0;
    s = s * z - 1.0 / 5040.0;
    s = s * z + 1.0 / 120.0;
    s = s * z - 1.0 / 6.0;
    s = x + x * z * s;
    double c = 1.0 / 20922789888000.0;
    c = c * z - 1.0 / 87178291200.0;
    c = c * z + 1.0 / 479001600.0;
    c = c * z - 1.0 / 3628800.0;
    c = c * z + 1.0 / 40320.0;
    c = c * z - 1.0 / 720.0;
    c = c * z + 1.0 / 24.0;
    c = c * z - 0.5;
    c = 1.0 + z * c;
    bool swap = q & 1;
    double a = swap ? s : c, b = swap ? c : s;
    cosine = (q == 1) | (q == 2) ? -a : a;
    sine = q & 2 ? -b : b;
}

LA_INLINE void normal_pair(double open, double turn, double& even, double& odd) {
    double radius = std::sqrt(-2.0 * log_positive(open)), c, s;
    cos_sin_turns(turn, c, s);
    even = radius * c;
    odd = radius * s;
}

// A batch of blocks, word by word, so that the loops over blocks become vector code.
constexpr int kBatch = 64;
struct Batch {
    uint32_t w[4][kBatch];
    LA_INLINE void make(Batch& x, uint64_t block, uint64_t counter, uint64_t key) {
        for (int b = 0; b < kBatch; b++) {
            Words one = philox(block + (uint64_t)b, counter, key);
            for (int k = 0; k < 4; k++) x.w[k][b] = one.w[k];
        }
    }
    LA_INLINE uint64_t word64(const Batch& x, int half, int b) {
        return (uint64_t)x.w[2 * half + 1][b] << 32 | x.w[2 * half][b];
    }
};

// Each kind fills the results of a batch, per_block<T> for every block.
template <class T> constexpr int per_block = 16 / (int)sizeof(T);
struct PhiloxBits {
    template <class T> LA_INLINE void fill(const Batch& x, T* y) {
        for (int b = 0; b < kBatch; b++)
            for (int k = 0; k < per_block<T>; k++) {
                if constexpr (sizeof(T) == 4) y[per_block<T> * b + k] = (T)x.w[k][b];
                else y[per_block<T> * b + k] = (T)Batch::word64(x, k, b);
            }
    }
};
struct PhiloxUniform {
    template <class T> LA_INLINE void fill(const Batch& x, T* y) {
        for (int b = 0; b < kBatch; b++)
            for (int k = 0; k < per_block<T>; k++) {
                if constexpr (sizeof(T) == 4) y[4 * b + k] = (float)(int32_t)(x.w[k][b] >> 8) * 0x1p-24f;
                else y[2 * b + k] = (double)(int64_t)(Batch::word64(x, k, b) >> 11) * 0x1p-53;
            }
    }
};
struct PhiloxNormal {
    // The radius needs a number in (0, 1): half a unit above a multiple of it is never 0.
    LA_INLINE void fill(const Batch& x, float* y) {
        for (int k = 0; k < 2; k++)
            for (int b = 0; b < kBatch; b++) {
                double even, odd;
                normal_pair(((double)x.w[2 * k][b] + 0.5) * 0x1p-32, (double)x.w[2 * k + 1][b] * 0x1p-32, even, odd);
                y[4 * b + 2 * k] = (float)even;
                y[4 * b + 2 * k + 1] = (float)odd;
            }
    }
    LA_INLINE void fill(const Batch& x, double* y) {
        for (int b = 0; b < kBatch; b++) {
            double open = ((double)(int64_t)(Batch::word64(x, 0, b) >> 12) + 0.5) * 0x1p-52;
            double turn = (double)(int64_t)(Batch::word64(x, 1, b) >> 11) * 0x1p-53;
            normal_pair(open, turn, y[2 * b], y[2 * b + 1]);
        }
    }
};

// args: index int64, key uint64, counter uint64, out.
template <class Kind, class T> struct PhiloxLoop {
    LA_INLINE Py_ssize_t run_length(char** args, const Py_ssize_t* steps, Py_ssize_t i, Py_ssize_t n) {
        const int64_t first = *(const int64_t*)(args[0] + i * steps[0]) - i;
        const uint64_t key = *(const uint64_t*)(args[1] + i * steps[1]), counter = *(const uint64_t*)(args[2] + i * steps[2]);
        uint64_t different = 0;
        for (Py_ssize_t j = i; j < n; j++)
            different |= (uint64_t)(*(const int64_t*)(args[0] + j * steps[0]) - j - first) |
                         (*(const uint64_t*)(args[1] + j * steps[1]) ^ key) |
                         (*(const uint64_t*)(args[2] + j * steps[2]) ^ counter);
        return different ? 1 : n - i;
    }
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        constexpr int per = per_block<T>;
        Py_ssize_t n = dimensions[0], contiguous[] = {8, 8, 8};
        bool packed = steps[0] == 8 && steps[1] == 8 && steps[2] == 8;
        Batch words;
        T buffer[kBatch * per];
        for (Py_ssize_t i = 0, length; i < n; i += length) {
            int64_t first = *(const int64_t*)(args[0] + i * steps[0]);
            uint64_t block = (uint64_t)first / per;
            Py_ssize_t skip = (Py_ssize_t)((uint64_t)first % per);
            length = std::min<Py_ssize_t>(n - i, kBatch * per - skip);
            // Elements that do not follow each other are made one at a time: right, but wasteful.
            length = run_length(args, packed ? contiguous : steps, i, i + length);
            Batch::make(words, block, *(const uint64_t*)(args[2] + i * steps[2]), *(const uint64_t*)(args[1] + i * steps[1]));
            Kind::fill(words, buffer);
            for (Py_ssize_t j = 0; j < length; j++) *(T*)(args[3] + (i + j) * steps[3]) = buffer[skip + j];
        }
    }
};

inline LoopFn find_philox(int kind, int type) {
    if (kind == 0 && type == kU32) return pick_loop<PhiloxLoop<PhiloxBits, uint32_t>>();
    if (kind == 0 && type == kU64) return pick_loop<PhiloxLoop<PhiloxBits, uint64_t>>();
    if (kind == 1 && type == kF32) return pick_loop<PhiloxLoop<PhiloxUniform, float>>();
    if (kind == 1 && type == kF64) return pick_loop<PhiloxLoop<PhiloxUniform, double>>();
    if (kind == 2 && type == kF32) return pick_loop<PhiloxLoop<PhiloxNormal, float>>();
    if (kind == 2 && type == kF64) return pick_loop<PhiloxLoop<PhiloxNormal, double>>();
    return nullptr;
}

}  // namespace la
