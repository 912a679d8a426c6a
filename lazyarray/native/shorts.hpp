// Long rows of integers of 16 bits: how often each number occurs, which is all there is to know of them.
#pragma once
#include <algorithm>
#include <numeric>
#include <utility>

#include "keys.hpp"

namespace la {

constexpr Py_ssize_t kNumbers = 65536;         // of 16 bits
constexpr Py_ssize_t kShortRow = 131072;       // elements from which a row is counted; below, NumPy's sort is as fast
constexpr Py_ssize_t kShortPart = 262144;      // elements of a table at least
constexpr Py_ssize_t kShortTables = 8;         // of a row at most
constexpr Py_ssize_t kShortRanges = 64;        // of numbers, whose counts are added up together
constexpr Py_ssize_t kShortChunk = 65536;      // elements that one unit writes
constexpr Py_ssize_t kRange = kNumbers / kShortRanges;

struct ShortParams {
    Py_ssize_t outer, n, tables, part, chunks;
    uint32_t* table(char* scratch, Py_ssize_t o, Py_ssize_t t) const {
        return (uint32_t*)scratch + (o * tables + t) * kNumbers;
    }
    // Of each range: how many elements it has, then where its first goes.
    int64_t* starts(char* scratch, Py_ssize_t o) const {
        return (int64_t*)table(scratch, outer, 0) + o * kShortRanges;
    }
};

template <class T> struct CountShorts {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const ShortParams*>(params);
        for (Py_ssize_t u = begin; u < end; u++) {
            Py_ssize_t o = u / p.tables, t = u % p.tables;
            uint32_t* table = p.table(args[2], o, t);
            std::fill_n(table, kNumbers, 0u);
            const T* x = (const T*)args[0] + o * p.n;
            for (Py_ssize_t i = t * p.part; i < std::min((t + 1) * p.part, p.n); i++) table[(uint16_t)sort_key(x[i])]++;
        }
        return 0;
    }
};
struct AddShorts {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const ShortParams*>(params);
        for (Py_ssize_t u = begin; u < end; u++) {
            Py_ssize_t o = u / kShortRanges, r = u % kShortRanges;
            uint32_t* sums = p.table(args[2], o, 0) + r * kRange;
            for (Py_ssize_t t = 1; t < p.tables; t++) {
                const uint32_t* other = p.table(args[2], o, t) + r * kRange;
                for (Py_ssize_t k = 0; k < kRange; k++) sums[k] += other[k];
            }
            p.starts(args[2], o)[r] = std::accumulate(sums, sums + kRange, (int64_t)0);
        }
        return 0;
    }
};
inline int find_short_starts(const void* params, char** args) {
    const auto& p = *static_cast<const ShortParams*>(params);
    for (Py_ssize_t o = 0; o < p.outer; o++) {
        int64_t *starts = p.starts(args[2], o), at = 0;
        for (Py_ssize_t r = 0; r < kShortRanges; r++) at += std::exchange(starts[r], at);
    }
    return 0;
}
template <class T> struct FillShorts {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        constexpr Py_ssize_t width = 16;
        const auto& p = *static_cast<const ShortParams*>(params);
        for (Py_ssize_t u = begin; u < end; u++) {
            Py_ssize_t o = u / p.chunks, lo = u % p.chunks * kShortChunk, hi = std::min(lo + kShortChunk, p.n);
            const int64_t* starts = p.starts(args[2], o);
            const uint32_t* counts = p.table(args[2], o, 0);
            Py_ssize_t r = std::upper_bound(starts, starts + kShortRanges, lo) - starts - 1, k = r * kRange;
            int64_t at = starts[r];
            while (at + counts[k] <= lo) at += counts[k++];
            T* out = (T*)args[1] + o * p.n;
            for (Py_ssize_t i = lo; i < hi; k++) {
                T value = (T)sort_key((T)k);
                Py_ssize_t stop = at + counts[k];
                at = stop;
                if (stop + width <= hi) {  // by whole words: what is too much is written again
                    for (Py_ssize_t j = i; j < stop; j += width)
                        for (Py_ssize_t lane = 0; lane < width; lane++) out[j + lane] = value;
                } else {
                    std::fill(out + i, out + std::min(stop, hi), value);
                }
                i = std::min(stop, hi);
            }
        }
        return 0;
    }
};

inline bool sorts_by_counts(int type, Py_ssize_t outer, Py_ssize_t n) {
    return (type == kI16 || type == kU16) && outer < 8 && n >= kShortRow && n <= (Py_ssize_t)0xffffffff;
}
constexpr int kShortStages = 3;
inline Made make_short_stage(int stage, int type, Py_ssize_t outer, Py_ssize_t n) {
    ShortParams p{outer, n, std::clamp<Py_ssize_t>(n / kShortPart, 1, kShortTables), 0, (n + kShortChunk - 1) / kShortChunk};
    p.part = (n + p.tables - 1) / p.tables;
    bool sign = type == kI16;
    Made made;
    switch (stage) {
    case 0: made.run = sign ? plain_kernel<CountShorts<int16_t>>() : plain_kernel<CountShorts<uint16_t>>(); break;
    case 1: made.run = pick_kernel<AddShorts>(); break;
    default: made.run = sign ? pick_kernel<FillShorts<int16_t>>() : pick_kernel<FillShorts<uint16_t>>();
    }
    if (stage == 1) made.finish = find_short_starts;
    made.params = new ShortParams(p);
    made.drop = drop_params<ShortParams>;
    made.extent = outer * (stage == 0 ? p.tables : stage == 1 ? kShortRanges : p.chunks);
    made.scratch_bytes = outer * (p.tables * kNumbers * 4 + kShortRanges * 8);
    return made;
}

}  // namespace la
