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
#include "words.hpp"

namespace la {

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
