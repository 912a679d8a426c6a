// The numbers of one block of a keyed generator, see philox.hpp: for the CPU's loops and for CUDA (cuda_random.hpp), so that
// both give the same bits. What includes this has defined LA_INLINE and bits_as, and has a square root.
#pragma once

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
    double radius = sqrt(-2.0 * log_positive(open)), c, s;
    cos_sin_turns(turn, c, s);
    even = radius * c;
    odd = radius * s;
}

}  // namespace la
