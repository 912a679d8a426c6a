// Searching in a sorted row, counting and summing into bins, and picking by a mask. Counts are integers: sums of parts are
// exact, however the work is divided. Sums into bins are made of parts that depend on the extents alone.
#pragma once
#include <vector>

#include "flags.hpp"
#include "joins.hpp"
#include "sort.hpp"

namespace la {

constexpr int kOutsideBins = 1;            // error code
constexpr Py_ssize_t kMaskChunk = 65536;   // elements of a mask whose true ones are counted together
constexpr Py_ssize_t kTables = 16;         // of counters at most, one for each part of the elements
constexpr Py_ssize_t kFewBins = 1024;      // four counters for each of them fit the L1 cache
constexpr Py_ssize_t kBinGrain = 4096;     // bins that one unit adds up
constexpr Py_ssize_t kSparse = 16;         // elements of a mask for each true one: then zeros are passed over by words
constexpr Py_ssize_t kSearches = 32;       // side by side: their cache misses overlap

template <class P> Made made_of(KernelRun run, const P& params, Py_ssize_t extent, Py_ssize_t grain) {
    Made made;
    made.run = run;
    made.params = new P(params);
    made.drop = drop_params<P>;
    made.extent = extent;
    made.grain = std::max<Py_ssize_t>(grain, 1);
    return made;
}

// ---- places in a sorted row

struct SearchParams { Py_ssize_t n; bool right; };

template <class T> LA_INLINE bool stands_before(T a, T b) {
    if constexpr (is_complex<T>::value) return sorts_before(a, b);
    else return sort_key(a) < sort_key(b);
}
template <class T> LA_INLINE int64_t search_one(const T* row, Py_ssize_t n, T x, bool right) {
    const T* found = right ? std::upper_bound(row, row + n, x, [](T a, T b) { return stands_before(a, b); })
                           : std::lower_bound(row, row + n, x, [](T a, T b) { return stands_before(a, b); });
    return found - row;
}
template <class T> constexpr Py_ssize_t kMostPlaces = sizeof(T) == 4 ? (Py_ssize_t)0x7fffffff : (Py_ssize_t)1 << 62;
// args: row (n), sorted; x (m); out (m)
template <class T> struct Search {
    template <bool kRight> LA_INLINE bool passes(T element, T x) {
        if constexpr (is_half<T> || is_bool<T>) return kRight ? sort_key(element) <= sort_key(x) : sort_key(element) < sort_key(x);
        else return kRight ? element <= x : element < x;
    }
    template <bool kRight> LA_INLINE void several(const T* row, Py_ssize_t n, const T* x, int64_t* out) {
        // Places as wide as the elements, so that a vector of them is gathered at once; steps are added without a branch.
        using Place = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
        Place at[kSearches] = {};
        Py_ssize_t left = n;
        for (; left > 1; left -= left / 2) {
            Place half = (Place)(left / 2);
            const T* row_half = row + half - 1;
            for (Py_ssize_t k = 0; k < kSearches; k++) at[k] += half & -(Place)passes<kRight>(row_half[at[k]], x[k]);
        }
        for (Py_ssize_t k = 0; k < kSearches; k++) out[k] = (int64_t)at[k] + passes<kRight>(row[at[k]], x[k]);
        if constexpr (std::is_floating_point_v<T>)
            for (Py_ssize_t k = 0; k < kSearches; k++)
                if (x[k] != x[k]) out[k] = search_one(row, n, x[k], kRight);
    }
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const SearchParams*>(params);
        const T *row = (const T*)args[0], *x = (const T*)args[1];
        int64_t* out = (int64_t*)args[2];
        Py_ssize_t i = begin;
        if constexpr (!is_complex<T>::value)
            for (; p.n && p.n <= kMostPlaces<T> && i + kSearches <= end; i += kSearches) {
                if (p.right) several<true>(row, p.n, x + i, out + i);
                else several<false>(row, p.n, x + i, out + i);
            }
        for (; i < end; i++) out[i] = search_one(row, p.n, x[i], p.right);
        return 0;
    }
};
inline Made make_search(int type, Py_ssize_t n, Py_ssize_t m, bool right) {
    KernelRun run = with_type(type, [](auto x) { return pick_kernel<Search<decltype(x)>>(); });
    return made_of(run, SearchParams{n, right}, m, 1024);
}

// ---- counters: a table for each part of the elements, then their sums

struct CountParams {
    Py_ssize_t n, bins, tables, part;
    bool uniform;
    int64_t* table(char* scratch, Py_ssize_t t) const { return (int64_t*)scratch + t * bins; }
};
inline CountParams count_params(Py_ssize_t n, Py_ssize_t bins, bool uniform = false) {
    CountParams p{n, bins, 1, 0, uniform};
    p.tables = std::clamp<Py_ssize_t>(n / std::max<Py_ssize_t>(bins, 32768), 1, kTables);
    p.part = std::max<Py_ssize_t>((n + p.tables - 1) / p.tables, 1);
    return p;
}
// Calls count(bin) for each element of a part.
template <class Each> LA_INLINE int count_part(const CountParams& p, int64_t* table, Py_ssize_t t, Each each) {
    std::fill_n(table, p.bins, 0);
    Py_ssize_t lo = t * p.part, hi = std::min(lo + p.part, p.n);
    if (p.bins > kFewBins) {
        for (Py_ssize_t i = lo; i < hi; i++) {
            Py_ssize_t bin = each(i);
            if (bin == p.bins) continue;
            if ((size_t)bin > (size_t)p.bins) return kOutsideBins;
            table[bin]++;
        }
        return 0;
    }
    // Elements of one bin that follow each other do not wait for the store; the last bin is of those that do not count.
    uint32_t counters[4][kFewBins + 1];
    for (Py_ssize_t i = lo; i < hi;) {
        Py_ssize_t stop = std::min<Py_ssize_t>(hi, i + ((Py_ssize_t)1 << 31));
        for (auto& each_counter : counters) std::fill_n(each_counter, p.bins + 1, 0);
        for (; i < stop; i++) {
            Py_ssize_t bin = each(i);
            if ((size_t)bin > (size_t)p.bins) return kOutsideBins;
            counters[i & 3][bin]++;
        }
        for (auto& each_counter : counters)
            for (Py_ssize_t b = 0; b < p.bins; b++) table[b] += each_counter[b];
    }
    return 0;
}
// args: x (n), out (bins), scratch
template <class T> struct CountBins {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const CountParams*>(params);
        const T* x = (const T*)args[0];
        for (Py_ssize_t t = begin; t < end; t++) {
            int code = count_part(p, p.table(args[2], t), t, [&](Py_ssize_t i) __attribute__((always_inline)) {
                Py_ssize_t bin;
                if constexpr (is_bool<T>) bin = x[i].v != 0;
                else bin = (Py_ssize_t)x[i];
                return bin == p.bins ? (Py_ssize_t)-1 : bin;
            });
            if (code) return code;
        }
        return 0;
    }
};
// args: x (n), edges (bins + 1), rising; out (bins), scratch. The last bin includes its upper edge.
template <class T> struct CountBetween {
    LA_INLINE double number(T x) {
        if constexpr (is_bool<T>) return x.v != 0;
        else if constexpr (is_half<T>) return widened(x);
        else return (double)x;
    }
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const CountParams*>(params);
        const T* x = (const T*)args[0];
        const double* edge = (const double*)args[1];
        double first = edge[0], last = edge[p.bins], scale = (double)p.bins / (last - first);
        if (p.bins == 1 || !(scale < __builtin_inf())) scale = 0;
        auto uniform = [&](Py_ssize_t i) __attribute__((always_inline)) {
            double v = number(x[i]);
            if (!(v >= first && v <= last)) return p.bins;
            Py_ssize_t bin = std::clamp<Py_ssize_t>((Py_ssize_t)((v - first) * scale), 0, p.bins - 1);
            while (v < edge[bin]) bin--;
            while (bin < p.bins - 1 && v >= edge[bin + 1]) bin++;
            return bin;
        };
        auto search = [&](Py_ssize_t i) __attribute__((always_inline)) {
            double v = number(x[i]);
            if (!(v >= first && v <= last)) return p.bins;
            const double* at = edge;
            for (Py_ssize_t left = p.bins; left > 1; left -= left / 2) at += at[left / 2] <= v ? left / 2 : 0;
            return (Py_ssize_t)(at - edge);
        };
        for (Py_ssize_t t = begin; t < end; t++) {
            int64_t* table = p.table(args[3], t);
            if (p.uniform) count_part(p, table, t, uniform);
            else count_part(p, table, t, search);
        }
        return 0;
    }
};
// args: x (n), weights (n), out (bins), scratch. A table of sums for each part; where they are few, four of them take turns,
// so that elements of one bin that follow each other do not wait for each other.
template <class T, class W> int run_sum_bins(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const CountParams*>(params);
    const T* x = (const T*)args[0];
    const W* w = (const W*)args[1];
    auto bin = [&](Py_ssize_t i) __attribute__((always_inline)) {
        if constexpr (is_bool<T>) return (size_t)(x[i].v != 0);
        else return (size_t)x[i];
    };
    for (Py_ssize_t t = begin; t < end; t++) {
        Py_ssize_t lo = t * p.part, hi = std::min(lo + p.part, p.n), i = lo;
        double* sums = (double*)p.table(args[3], t);
        if (p.bins > kFewBins) {
            std::fill_n(sums, p.bins, 0.0);
            for (; i < hi; i++) {
                if (bin(i) >= (size_t)p.bins) return kOutsideBins;
                sums[bin(i)] += (double)w[i];
            }
            continue;
        }
        double turns[4][kFewBins];
        for (auto& turn : turns) std::fill_n(turn, p.bins, 0.0);
        for (; i + 4 <= hi; i += 4)
            for (int k = 0; k < 4; k++) {
                if (bin(i + k) >= (size_t)p.bins) return kOutsideBins;
                turns[k][bin(i + k)] += (double)w[i + k];
            }
        for (; i < hi; i++) {
            if (bin(i) >= (size_t)p.bins) return kOutsideBins;
            turns[0][bin(i)] += (double)w[i];
        }
        for (Py_ssize_t b = 0; b < p.bins; b++) sums[b] = (turns[0][b] + turns[1][b]) + (turns[2][b] + turns[3][b]);
    }
    return 0;
}
template <int kOut, class Cell> int add_tables(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const CountParams*>(params);
    Cell* out = (Cell*)args[kOut];
    std::memcpy((void*)(out + begin), p.table(args[kOut + 1], 0) + begin, (size_t)(end - begin) * 8);
    for (Py_ssize_t t = 1; t < p.tables; t++) {
        const Cell* table = (const Cell*)p.table(args[kOut + 1], t);
        for (Py_ssize_t b = begin; b < end; b++) out[b] += table[b];
    }
    return 0;
}
inline Made make_count_bins(int stage, int type, Py_ssize_t n, Py_ssize_t bins) {
    CountParams p = count_params(n, bins);
    KernelRun run = with_type(type, [](auto x) -> KernelRun {
        using T = decltype(x);
        if constexpr (std::is_integral_v<T> || is_bool<T>) return plain_kernel<CountBins<T>>();
        else return nullptr;
    });
    Made made = stage ? made_of(add_tables<1, int64_t>, p, bins, kBinGrain) : made_of(run, p, p.tables, 1);
    made.scratch_bytes = p.tables * bins * 8;
    return made;
}
inline Made make_sum_bins(int stage, int type, bool wide, Py_ssize_t n, Py_ssize_t bins) {
    CountParams p = count_params(n, bins);
    KernelRun run = with_type(type, [wide](auto x) -> KernelRun {
        using T = decltype(x);
        if constexpr (std::is_integral_v<T> || is_bool<T>) return wide ? run_sum_bins<T, double> : run_sum_bins<T, float>;
        else return nullptr;
    });
    Made made = stage ? made_of(add_tables<2, double>, p, bins, kBinGrain) : made_of(run, p, p.tables, 1);
    made.scratch_bytes = p.tables * bins * 8;
    return made;
}
inline Made make_count_between(int stage, int type, Py_ssize_t n, Py_ssize_t bins, bool uniform) {
    CountParams p = count_params(n, bins, uniform);
    KernelRun run = with_type(type, [](auto x) -> KernelRun {
        using T = decltype(x);
        if constexpr (is_complex<T>::value) return nullptr;
        else return plain_kernel<CountBetween<T>>();
    });
    Made made = stage ? made_of(add_tables<2, int64_t>, p, bins, kBinGrain) : made_of(run, p, p.tables, 1);
    made.scratch_bytes = p.tables * bins * 8;
    return made;
}

// ---- picking by a mask, given how many are true in each chunk of it

struct MaskParams {
    Py_ssize_t n, row_bytes;
    // The true elements before chunk c.
    LA_INLINE Py_ssize_t before(const int64_t* counts, Py_ssize_t c) {
        Py_ssize_t found = 0;
        for (Py_ssize_t i = 0; i < c; i++) found += counts[i];
        return found;
    }
};
inline Py_ssize_t mask_chunks(Py_ssize_t n) { return (n + kMaskChunk - 1) / kMaskChunk; }

// args: mask (n), out (chunks)
struct CountMask {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        Py_ssize_t n = static_cast<const MaskParams*>(params)->n;
        const uint8_t* mask = (const uint8_t*)args[0];
        for (Py_ssize_t c = begin; c < end; c++) {
            Py_ssize_t hi = std::min((c + 1) * kMaskChunk, n), total = 0;
            for (Py_ssize_t i = c * kMaskChunk; i < hi;) {
                Py_ssize_t stop = std::min<Py_ssize_t>(i + 128, hi);
                uint8_t part = 0;
                for (; i < stop; i++) part = (uint8_t)(part + (mask[i] != 0));
                total += part;
            }
            ((int64_t*)args[1])[c] = total;
        }
        return 0;
    }
};
// Calls pick(i, place) for the true elements i of chunks [begin, end), and for others what does not hurt: the place it is
// given is written again, or never past the chunk's own.
template <class Pick>
LA_INLINE void each_true(const MaskParams& p, const uint8_t* mask, const int64_t* counts, Py_ssize_t begin,
                         Py_ssize_t end, Pick pick) {
    Py_ssize_t at = MaskParams::before(counts, begin);
    for (Py_ssize_t c = begin; c < end; c++) {
        Py_ssize_t stop = at + counts[c], i = c * kMaskChunk;
        if (counts[c] < kMaskChunk / kSparse) {  // most words are zero, and are passed over
            while (at < stop) {
                if (uint64_t word = 0; i + 8 <= p.n) {
                    std::memcpy(&word, mask + i, 8);
                    if (!word) {
                        i += 8;
                        continue;
                    }
                }
                for (Py_ssize_t last = std::min(i + 8, p.n); i < last; i++)
                    if (mask[i]) pick(i, at++);
            }
            continue;
        }
        for (; at < stop; i++) {
            pick(i, at);
            at += mask[i] != 0;
        }
    }
}
// args: x (n, row), mask (n), counts (chunks), out (total, row)
template <class T> struct TakeMasked {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const MaskParams*>(params);
        constexpr Py_ssize_t w = sizeof(T);
        const char* x = args[0];
        char* out = args[3];
        each_true(p, (const uint8_t*)args[1], (const int64_t*)args[2], begin, end,
                  [&](Py_ssize_t i, Py_ssize_t at)
                      __attribute__((always_inline)) { __builtin_memcpy(out + at * w, x + i * w, w); });
        return 0;
    }
};
inline int take_masked_rows(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const MaskParams*>(params);
    const uint8_t* mask = (const uint8_t*)args[1];
    each_true(p, mask, (const int64_t*)args[2], begin, end, [&](Py_ssize_t i, Py_ssize_t at) {
        if (mask[i]) std::memcpy(args[3] + at * p.row_bytes, args[0] + i * p.row_bytes, (size_t)p.row_bytes);
    });
    return 0;
}
// args: mask (n), counts (chunks), values (total, row), out (n, row)
template <class T> struct PutMasked {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const MaskParams*>(params);
        constexpr Py_ssize_t w = sizeof(T);
        const uint8_t* mask = (const uint8_t*)args[0];
        const char* values = args[2];
        char* out = args[3];
        each_true(p, mask, (const int64_t*)args[1], begin, end,
                  [&](Py_ssize_t i, Py_ssize_t at) __attribute__((always_inline)) {
                      // The place itself is its own source where the mask is false: no branch is mispredicted.
                      const char* from = mask[i] ? values + at * w : out + i * w;
                      T value;
                      __builtin_memcpy(&value, from, w);
                      __builtin_memcpy(out + i * w, &value, w);
                  });
        return 0;
    }
};
inline int put_masked_rows(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const MaskParams*>(params);
    const uint8_t* mask = (const uint8_t*)args[0];
    each_true(p, mask, (const int64_t*)args[1], begin, end, [&](Py_ssize_t i, Py_ssize_t at) {
        if (mask[i]) std::memcpy(args[3] + i * p.row_bytes, args[2] + at * p.row_bytes, (size_t)p.row_bytes);
    });
    return 0;
}
// args: mask (n), counts (chunks), out (total)
struct MaskIndex {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const MaskParams*>(params);
        int64_t* out = (int64_t*)args[2];
        each_true(p, (const uint8_t*)args[0], (const int64_t*)args[1], begin, end,
                  [&](Py_ssize_t i, Py_ssize_t at) __attribute__((always_inline)) { out[at] = i; });
        return 0;
    }
};
// args: x (n), sorted; out (n): whether an element differs from the one before; all NaNs count as one.
template <class T> struct RunFlags {
    LA_INLINE bool differs(T a, T b) {
        if constexpr (is_complex<T>::value) {
            bool numbers = (a.re == a.re) & (a.im == a.im) & (b.re == b.re) & (b.im == b.im);
            bool nans = ((a.re != a.re) | (a.im != a.im)) & ((b.re != b.re) | (b.im != b.im));
            return numbers ? (a.re != b.re) | (a.im != b.im) : !nans;
        } else {
            return sort_key(a) != sort_key(b);
        }
    }
    LA_INLINE int run(const void*, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const T* x = (const T*)args[0];
        uint8_t* out = (uint8_t*)args[1];
        if (begin == 0) out[0] = 1;
        for (Py_ssize_t i = std::max<Py_ssize_t>(begin, 1); i < end; i++) out[i] = differs(x[i - 1], x[i]);
        return 0;
    }
};

// ---- elements along an axis

struct AxisParams { Py_ssize_t n, m, row_bytes, blocks; };
constexpr Py_ssize_t kAxisBlock = 4096;  // indices that one unit follows

// args: x (outer, n, row), index (m), out (outer, m, row). Fails with code 1 at an index outside of [0, n).
template <class T>
int take_axis_items(const AxisParams& p, char** args, Py_ssize_t o, Py_ssize_t lo, Py_ssize_t hi) {
    constexpr Py_ssize_t w = sizeof(T);
    const int64_t* index = (const int64_t*)args[1];
    const char* x = args[0] + o * p.n * w;
    char* out = args[2] + o * p.m * w;
    for (Py_ssize_t j = lo; j < hi; j++) {
        if ((uint64_t)index[j] >= (uint64_t)p.n) return kOutsideBins;
        __builtin_memcpy(out + j * w, x + index[j] * w, w);
    }
    return 0;
}
inline int run_take_axis(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const AxisParams*>(params);
    for (Py_ssize_t u = begin; u < end; u++) {
        Py_ssize_t o = u / p.blocks, lo = u % p.blocks * kAxisBlock, hi = std::min(lo + kAxisBlock, p.m);
        int code = 0;
        switch (p.row_bytes) {
        case 1: code = take_axis_items<uint8_t>(p, args, o, lo, hi); break;
        case 2: code = take_axis_items<uint16_t>(p, args, o, lo, hi); break;
        case 4: code = take_axis_items<uint32_t>(p, args, o, lo, hi); break;
        case 8: code = take_axis_items<uint64_t>(p, args, o, lo, hi); break;
        case 16: code = take_axis_items<Bytes16>(p, args, o, lo, hi); break;
        default:
            for (Py_ssize_t j = lo; j < hi; j++) {
                int64_t i = ((const int64_t*)args[1])[j];
                if ((uint64_t)i >= (uint64_t)p.n) return kOutsideBins;
                std::memcpy(args[2] + (o * p.m + j) * p.row_bytes, args[0] + (o * p.n + i) * p.row_bytes,
                            (size_t)p.row_bytes);
            }
        }
        if (code) return code;
    }
    return 0;
}
inline Made make_take_axis(Py_ssize_t outer, Py_ssize_t n, Py_ssize_t m, Py_ssize_t row_bytes) {
    AxisParams p{n, m, row_bytes, std::max<Py_ssize_t>((m + kAxisBlock - 1) / kAxisBlock, 1)};
    return made_of(run_take_axis, p, outer * p.blocks, std::max<Py_ssize_t>(4096 / std::max<Py_ssize_t>(m, 1), 1));
}

// args: x, whether each element is sound (n), out. Copies x, and raises the flag of a division by zero where one is not.
struct TellParams { Py_ssize_t item; };
inline int run_tell(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    Py_ssize_t item = static_cast<const TellParams*>(params)->item;
    std::memcpy(args[2] + begin * item, args[0] + begin * item, (size_t)((end - begin) * item));
    uint8_t sound = 1;
    for (Py_ssize_t i = begin; i < end; i++) sound &= (uint8_t)args[1][i];
    if (!sound) raise_float_flags(kDivide);
    return 0;
}
// args: x (n), out. The same where x is sound unless it is NaN.
template <class T> int run_tell_nan(const void*, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const T* x = (const T*)args[0];
    if (x != (const T*)args[1])
        std::memcpy(args[1] + begin * (Py_ssize_t)sizeof(T), x + begin, (size_t)(end - begin) * sizeof(T));
    bool found = false;
    for (Py_ssize_t i = begin; i < end; i++) {
        if constexpr (is_half<T>) found |= is_nan(widened(x[i]));
        else if constexpr (is_complex<T>::value || std::is_floating_point_v<T>) found |= is_nan(x[i]);
    }
    if (found) raise_float_flags(kDivide);
    return 0;
}
inline Made make_tell_nan(int type, Py_ssize_t n) {
    return made_of(with_type(type, [](auto x) -> KernelRun { return run_tell_nan<decltype(x)>; }), TellParams{0}, n, 65536);
}
inline Made make_tell(Py_ssize_t n, Py_ssize_t item) { return made_of(run_tell, TellParams{item}, n, 65536); }

struct AlongParams { Py_ssize_t n, m, inner, blocks; bool one; };
constexpr Py_ssize_t kAlongBlock = 512;  // columns of one unit

// args: index (outer, m, inner), values (outer, m, inner) or one, out (outer, n, inner). In the order of the index; fails with
// code 1 at an index outside of [0, n).
template <class T> struct PutAlong {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const AlongParams*>(params);
        for (Py_ssize_t u = begin; u < end; u++) {
            Py_ssize_t o = u / p.blocks, first = u % p.blocks * kAlongBlock;
            Py_ssize_t width = std::min(kAlongBlock, p.inner - first);
            const int64_t* index = (const int64_t*)args[0] + o * p.m * p.inner + first;
            const T* values = (const T*)args[1] + (p.one ? 0 : o * p.m * p.inner + first);
            T* out = (T*)args[2] + o * p.n * p.inner + first;
            for (Py_ssize_t j = 0; j < p.m; j++, index += p.inner)
                for (Py_ssize_t k = 0; k < width; k++) {
                    if ((uint64_t)index[k] >= (uint64_t)p.n) return kOutsideBins;
                    __builtin_memcpy(out + index[k] * p.inner + k, p.one ? values : values + j * p.inner + k, sizeof(T));
                }
        }
        return 0;
    }
};
// An item has 1, 2, 4, 8 or 16 bytes.
inline Made make_put_along(Py_ssize_t outer, Py_ssize_t n, Py_ssize_t m, Py_ssize_t inner, Py_ssize_t item, bool one) {
    AlongParams p{n, m, inner, std::max<Py_ssize_t>((inner + kAlongBlock - 1) / kAlongBlock, 1), one};
    KernelRun run = item == 1   ? plain_kernel<PutAlong<uint8_t>>()
                    : item == 2 ? plain_kernel<PutAlong<uint16_t>>()
                    : item == 4 ? plain_kernel<PutAlong<uint32_t>>()
                    : item == 8 ? plain_kernel<PutAlong<uint64_t>>()
                                : plain_kernel<PutAlong<Bytes16>>();
    Py_ssize_t each = std::max<Py_ssize_t>(m * std::min(inner, kAlongBlock), 1);
    return made_of(run, p, m && inner ? outer * p.blocks : 0, std::max<Py_ssize_t>(16384 / each, 1));
}

inline Made make_count_mask(Py_ssize_t n) {
    return made_of(pick_kernel<CountMask>(), MaskParams{n, 1}, mask_chunks(n), 1);
}
template <template <class> class Body> KernelRun by_row_bytes(Py_ssize_t row_bytes, KernelRun rows) {
    switch (row_bytes) {
    case 1: return plain_kernel<Body<uint8_t>>();
    case 2: return plain_kernel<Body<uint16_t>>();
    case 4: return plain_kernel<Body<uint32_t>>();
    case 8: return plain_kernel<Body<uint64_t>>();
    case 16: return plain_kernel<Body<Bytes16>>();
    }
    return rows;
}
inline Made make_take_masked(Py_ssize_t n, Py_ssize_t row_bytes) {
    return made_of(by_row_bytes<TakeMasked>(row_bytes, take_masked_rows), MaskParams{n, row_bytes}, mask_chunks(n), 1);
}
inline Made make_put_masked(Py_ssize_t n, Py_ssize_t row_bytes) {
    return made_of(by_row_bytes<PutMasked>(row_bytes, put_masked_rows), MaskParams{n, row_bytes}, mask_chunks(n), 1);
}
inline Made make_mask_index(Py_ssize_t n) {
    return made_of(plain_kernel<MaskIndex>(), MaskParams{n, 8}, mask_chunks(n), 1);
}
inline Made make_run_flags(int type, Py_ssize_t n) {
    return made_of(with_type(type, [](auto x) { return pick_kernel<RunFlags<decltype(x)>>(); }), MaskParams{n, 1}, n, 65536);
}

}  // namespace la
