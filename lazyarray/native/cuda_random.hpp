// Keyed random numbers in generated CUDA C++: each thread makes the block of its element, see philox.hpp. The bits are the CPU's.
#pragma once
#include "cuda_numbers.hpp"
#include "words.hpp"

namespace la {

LA_DEVICE uint64_t word64(const Words& x, int half) { return (uint64_t)x.w[2 * half + 1] << 32 | x.w[2 * half]; }

// The last argument says of which type.
LA_DEVICE uint32_t keyed_bits(uint64_t i, uint64_t key, uint64_t counter, uint32_t) {
    return philox(i / 4, counter, key).w[i % 4];
}
LA_DEVICE uint64_t keyed_bits(uint64_t i, uint64_t key, uint64_t counter, uint64_t) {
    return word64(philox(i / 2, counter, key), (int)(i % 2));
}
LA_DEVICE float keyed_uniform(uint64_t i, uint64_t key, uint64_t counter, float) {
    return (float)(int32_t)(philox(i / 4, counter, key).w[i % 4] >> 8) * 0x1p-24f;
}
LA_DEVICE double keyed_uniform(uint64_t i, uint64_t key, uint64_t counter, double) {
    return (double)(int64_t)(word64(philox(i / 2, counter, key), (int)(i % 2)) >> 11) * 0x1p-53;
}
LA_DEVICE float keyed_normal(uint64_t i, uint64_t key, uint64_t counter, float) {
    const Words x = philox(i / 4, counter, key);
    const int k = (int)(i % 4 / 2);
    double even, odd;
    normal_pair(((double)x.w[2 * k] + 0.5) * 0x1p-32, (double)x.w[2 * k + 1] * 0x1p-32, even, odd);
    return (float)(i % 2 ? odd : even);
}
LA_DEVICE double keyed_normal(uint64_t i, uint64_t key, uint64_t counter, double) {
    const Words x = philox(i / 2, counter, key);
    double even, odd;
    normal_pair(((double)(int64_t)(word64(x, 0) >> 12) + 0.5) * 0x1p-52, (double)(int64_t)(word64(x, 1) >> 11) * 0x1p-53, even,
                odd);
    return i % 2 ? odd : even;
}

}  // namespace la
