// Reading, writing and adding rows by index, and combining index arrays into flat indices.
//
// Writes to the same row happen in the order of the indices however the work is split: units are either ranges of output
// rows, each unit's run going through all indices and touching its own rows only, or column segments of all rows.
#pragma once
#include <algorithm>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "simd.hpp"

namespace la {

constexpr int kOutOfBounds = 1;              // error codes from here: kOutOfBounds + axis
constexpr Py_ssize_t kSegmentBytes = 65536;  // of a long row, moved by one unit
constexpr Py_ssize_t kWideRow = 8192;        // bytes; rows from here are split by columns
constexpr Py_ssize_t kRanges = 64;           // units of output rows at most
constexpr Py_ssize_t kListed = 1024;         // indices looked through at once for those in a unit's range
constexpr Py_ssize_t kCached = 2097152;      // bytes of rows that a core's cache holds
constexpr Py_ssize_t kSmallRow = 256;        // bytes; to look for the indices of larger rows costs little

struct RowParams {
    Py_ssize_t row_bytes, n, m, segment, segments, units;
};

inline Made made_rows(KernelRun run, const RowParams& params, Py_ssize_t grain) {
    Made made;
    made.run = run;
    made.params = new RowParams(params);
    made.drop = drop_params<RowParams>;
    made.extent = params.units;
    made.grain = std::max<Py_ssize_t>(grain, 1);
    return made;
}

template <class T>
int take_items(const RowParams& p, const char* x, const int64_t* index, char* out, Py_ssize_t begin, Py_ssize_t end) {
    for (Py_ssize_t j = begin; j < end; j++) {
        if ((uint64_t)index[j] >= (uint64_t)p.n) return kOutOfBounds;
        __builtin_memcpy(out + j * (Py_ssize_t)sizeof(T), x + index[j] * (Py_ssize_t)sizeof(T), sizeof(T));
    }
    return 0;
}

// args: x (n, row), index (m), out (m, row)
inline int run_take_rows(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const RowParams& p = *static_cast<const RowParams*>(params);
    const int64_t* index = (const int64_t*)args[1];
    switch (p.row_bytes) {
    case 1: return take_items<uint8_t>(p, args[0], index, args[2], begin, end);
    case 2: return take_items<uint16_t>(p, args[0], index, args[2], begin, end);
    case 4: return take_items<uint32_t>(p, args[0], index, args[2], begin, end);
    case 8: return take_items<uint64_t>(p, args[0], index, args[2], begin, end);
    case 16: return take_items<Bytes16>(p, args[0], index, args[2], begin, end);
    }
    for (Py_ssize_t u = begin; u < end; u++) {
        Py_ssize_t j = u / p.segments, at = u % p.segments * p.segment;
        if ((uint64_t)index[j] >= (uint64_t)p.n) return kOutOfBounds;
        std::memcpy(args[2] + j * p.row_bytes + at, args[0] + index[j] * p.row_bytes + at,
                    (size_t)std::min(p.segment, p.row_bytes - at));
    }
    return 0;
}

inline Made make_take_rows(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m) {
    RowParams p{row_bytes, n, m, kSegmentBytes, 0, 0};
    p.segments = std::max<Py_ssize_t>((row_bytes + p.segment - 1) / p.segment, 1);
    p.units = row_bytes ? m * p.segments : 0;
    return made_rows(run_take_rows, p, 32768 / std::max<Py_ssize_t>(std::min(row_bytes, p.segment), 8));
}

// Lists which of m indices lie in [lo, lo + own), without a branch: which they are is not to be foreseen. Says whether one
// is outside of [0, n). `list` has room for m and 8 more.
inline bool list_any(const int64_t* index, Py_ssize_t m, int64_t n, int64_t lo, int64_t own, uint32_t* list,
                     Py_ssize_t* found) {
    uint64_t outside = 0;
    Py_ssize_t at = 0;
    for (Py_ssize_t j = 0; j < m; j++) {
        outside |= (uint64_t)index[j] >= (uint64_t)n;
        list[at] = (uint32_t)j;
        at += (uint64_t)(index[j] - lo) < (uint64_t)own;
    }
    *found = at;
    return outside;
}
#if defined(__x86_64__)
LA_V4 inline bool list_wide(const int64_t* index, Py_ssize_t m, int64_t n, int64_t lo, int64_t own, uint32_t* list,
                            Py_ssize_t* found) {
    __m512i first = _mm512_set1_epi64(lo), count = _mm512_set1_epi64(own), end = _mm512_set1_epi64(n);
    __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), step = _mm256_set1_epi32(8);
    unsigned outside = 0;
    Py_ssize_t at = 0, j = 0;
    for (; j + 8 <= m; j += 8) {
        __m512i row = _mm512_loadu_si512(index + j);
        __mmask8 own_row = _mm512_cmplt_epu64_mask(_mm512_sub_epi64(row, first), count);
        outside |= _mm512_cmpge_epu64_mask(row, end);
        _mm256_storeu_si256((__m256i*)(list + at), _mm256_maskz_compress_epi32(own_row, place));
        at += __builtin_popcount(own_row);
        place = _mm256_add_epi32(place, step);
    }
    Py_ssize_t rest = 0;
    if (list_any(index + j, m - j, n, lo, own, list + at, &rest)) outside = 1;
    for (Py_ssize_t k = 0; k < rest; k++) list[at + k] += (uint32_t)j;
    *found = at + rest;
    return outside != 0;
}
#endif
inline bool list_own(const int64_t* index, Py_ssize_t m, int64_t n, int64_t lo, int64_t own, uint32_t* list,
                     Py_ssize_t* found) {
#if defined(__x86_64__)
    if (cpu_level() == 2) return list_wide(index, m, n, lo, own, list, found);
#endif
    return list_any(index, m, n, lo, own, list, found);
}

// Calls write(j, row, first byte, bytes) in the order of j for what units [begin, end) own.
template <class Write>
LA_INLINE int each_write(const RowParams& p, const int64_t* index, Py_ssize_t begin, Py_ssize_t end, Write write) {
    if (p.segments > 1) {
        Py_ssize_t at = begin * p.segment, bytes = std::min(end * p.segment, p.row_bytes) - at;
        for (Py_ssize_t j = 0; j < p.m; j++) {
            if ((uint64_t)index[j] >= (uint64_t)p.n) return kOutOfBounds;
            write(j, index[j], at, bytes);
        }
        return 0;
    }
    Py_ssize_t lo = begin * p.segment, own = std::min(end * p.segment, p.n) - lo;
    uint32_t list[kListed + 8];
    for (Py_ssize_t first = 0; first < p.m; first += kListed) {
        Py_ssize_t m = std::min(kListed, p.m - first), found;
        if (list_own(index + first, m, p.n, lo, own, list, &found)) return kOutOfBounds;
        for (Py_ssize_t k = 0; k < found; k++) {
            Py_ssize_t j = first + list[k];
            write(j, index[j], 0, p.row_bytes);
        }
    }
    return 0;
}

// args: index (m), values (m, row), out (n, row)
inline int run_put_rows(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const RowParams& p = *static_cast<const RowParams*>(params);
    const char* values = args[1];
    char* out = args[2];
    auto fixed = [&](auto item) {
        return each_write(p, (const int64_t*)args[0], begin, end, [&](Py_ssize_t j, int64_t row, Py_ssize_t, Py_ssize_t) {
            __builtin_memcpy(out + row * (Py_ssize_t)sizeof item, values + j * (Py_ssize_t)sizeof item, sizeof item);
        });
    };
    switch (p.row_bytes) {
    case 1: return fixed(uint8_t{});
    case 2: return fixed(uint16_t{});
    case 4: return fixed(uint32_t{});
    case 8: return fixed(uint64_t{});
    case 16: return fixed(Bytes16{});
    }
    return each_write(p, (const int64_t*)args[0], begin, end, [&](Py_ssize_t j, int64_t row, Py_ssize_t at, Py_ssize_t bytes) {
        std::memcpy(out + row * p.row_bytes + at, values + j * p.row_bytes + at, (size_t)bytes);
    });
}

template <class T> LA_INLINE T add_element(T a, T b) {
    if constexpr (is_half<T>) return narrowed<T>(widened(a) + widened(b));
    else if constexpr (is_bool<T>) return Bool{(uint8_t)(a.v | b.v)};
    else if constexpr (is_complex<T>::value) return T{a.re + b.re, a.im + b.im};
    else if constexpr (std::is_integral_v<T>) return (T)((uint64_t)a + (uint64_t)b);
    else return a + b;
}
template <class T> struct AddRows {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const RowParams& p = *static_cast<const RowParams*>(params);
        const T* values = (const T*)args[1];
        T* out = (T*)args[2];
        constexpr Py_ssize_t w = sizeof(T);
        return each_write(p, (const int64_t*)args[0], begin, end,
                          [&](Py_ssize_t j, int64_t row, Py_ssize_t at, Py_ssize_t bytes) __attribute__((always_inline)) {
                              T* y = out + (row * p.row_bytes + at) / w;
                              const T* x = values + (j * p.row_bytes + at) / w;
                              for (Py_ssize_t k = 0; k < bytes / w; k++) y[k] = add_element(y[k], x[k]);
                          });
    }
};

inline RowParams write_params(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m) {
    RowParams p{row_bytes, n, m, 0, 0, 0};
    if (row_bytes >= kWideRow) {
        p.segment = 1024;
        p.segments = p.units = (row_bytes + p.segment - 1) / p.segment;
    } else {
        p.segments = 1;
        p.segment = std::max<Py_ssize_t>((n + kRanges - 1) / kRanges, 1);
        p.units = row_bytes ? (n + p.segment - 1) / p.segment : 0;
    }
    if (!m) p.units = 0;
    return p;
}
// Every run reads all indices, so a piece must be worth that: writes that miss the cache cost ten times as much.
inline Py_ssize_t write_grain(const RowParams& p) {
    if (p.m * p.row_bytes < 262144) return std::max<Py_ssize_t>(p.units, 1);
    Py_ssize_t pieces = p.row_bytes >= kSmallRow ? kRanges : p.n * p.row_bytes > kCached ? 4 : 2;
    return std::max<Py_ssize_t>((p.units + pieces - 1) / pieces, 1);
}
inline Made make_put_rows(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m) {
    RowParams p = write_params(row_bytes, n, m);
    return made_rows(run_put_rows, p, write_grain(p));
}
inline Made make_add_rows(int type, Py_ssize_t n, Py_ssize_t m, Py_ssize_t row) {
    RowParams p = write_params(row * type_size(type), n, m);
    KernelRun run = with_type(type, [](auto x) { return plain_kernel<AddRows<decltype(x)>>(); });
    return made_rows(run, p, write_grain(p));
}

struct FlatIndexParams { std::vector<Py_ssize_t> dims; };

// args: one index array (m) per axis, out (m). Nothing may be read through `out` if this fails.
inline int run_flat_index(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& dims = static_cast<const FlatIndexParams*>(params)->dims;
    size_t axes = dims.size();
    int64_t* out = (int64_t*)args[axes];
    for (size_t d = 0; d < axes; d++) {
        const int64_t* index = (const int64_t*)args[d];
        int64_t extent = dims[d];
        bool outside = false;
        for (Py_ssize_t j = begin; j < end; j++) {
            int64_t i = index[j] + (index[j] < 0 ? extent : 0);
            outside |= (uint64_t)i >= (uint64_t)extent;
            out[j] = d ? (int64_t)((uint64_t)out[j] * (uint64_t)extent + (uint64_t)i) : i;
        }
        if (outside) return kOutOfBounds + (int)d;
    }
    return 0;
}
inline Made make_flat_index(const std::vector<Py_ssize_t>& dims, Py_ssize_t m) {
    Made made;
    made.run = run_flat_index;
    made.params = new FlatIndexParams{dims};
    made.drop = drop_params<FlatIndexParams>;
    made.extent = m;
    made.grain = 16384;
    return made;
}

// args: x (n). Fails with code 1 if an element is negative.
template <class T> int run_check_sign(const void*, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const T* x = (const T*)args[0];
    bool negative = false;
    for (Py_ssize_t i = begin; i < end; i++) negative |= x[i] < 0;
    return negative;
}
inline Made make_check_sign(int type, Py_ssize_t n) {
    Made made;
    made.run = type == kI8 ? run_check_sign<int8_t> : type == kI16 ? run_check_sign<int16_t>
             : type == kI32 ? run_check_sign<int32_t> : type == kI64 ? run_check_sign<int64_t> : nullptr;
    made.extent = n;
    made.grain = 65536;
    return made;
}

}  // namespace la
