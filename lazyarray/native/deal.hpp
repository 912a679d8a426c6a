// Writes and sums by index where the rows written are more than a core's cache holds: elements are dealt to ranges of rows
// first, in their order, then each range is written by one unit, in its core's cache. What a row gets, and in which order,
// does not depend on how the work is divided.
#pragma once
#include "count.hpp"
#include "index.hpp"

namespace la {

constexpr Py_ssize_t kDealBytes = 262144;   // of rows in one range, at least
constexpr Py_ssize_t kDealRanges = 64;      // at most, about: more streams miss the TLB (docs/decisions/0008)
constexpr Py_ssize_t kDealChunk = 65536;    // elements that one unit deals
constexpr Py_ssize_t kDealLeast = 131072;   // elements from which it pays
constexpr Py_ssize_t kDealCached = 2097152; // bytes of rows up to which writing at once is as fast

struct DealParams {
    Py_ssize_t n, m, chunks, ranges;
    int shift;               // a range is 2^shift rows
    Py_ssize_t starts, items;  // where in the scratch region

    // Of a chunk: first how many elements each range gets, then where its first goes.
    int64_t* count(char* scratch, Py_ssize_t c) const { return (int64_t*)scratch + c * ranges; }
    int64_t* start(char* scratch) const { return (int64_t*)(scratch + starts); }
};
template <class T> struct Dealt {
    std::conditional_t<sizeof(T) >= 8, uint64_t, uint32_t> row;  // within its range
    T value;
};

inline bool deals(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m) {
    bool one = row_bytes == 1 || row_bytes == 2 || row_bytes == 4 || row_bytes == 8 || row_bytes == 16;
    return one && m >= kDealLeast && n * row_bytes > kDealCached && n <= m * 32;
}
inline DealParams deal_params(Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m) {
    DealParams p{};
    p.n = n;
    p.m = m;
    p.chunks = (m + kDealChunk - 1) / kDealChunk;
    while ((row_bytes << p.shift) < kDealBytes || n >> p.shift >= kDealRanges) p.shift++;
    p.ranges = (n >> p.shift) + 1;
    p.starts = padded(p.chunks * p.ranges * 8);
    p.items = p.starts + padded((p.ranges + 1) * 8);
    return p;
}

// args: index (m), values (m), out (n), scratch. Counts the elements of each range; fails at an index outside of [0, n).
inline int run_deal_count(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const DealParams*>(params);
    const int64_t* index = (const int64_t*)args[0];
    for (Py_ssize_t c = begin; c < end; c++) {
        Py_ssize_t lo = c * kDealChunk, hi = std::min(lo + kDealChunk, p.m);
        uint64_t outside = 0;
        for (Py_ssize_t j = lo; j < hi; j++) outside |= (uint64_t)((uint64_t)index[j] >= (uint64_t)p.n);
        if (outside) return kOutsideBins;
        // Two sets of counters: elements of one range that follow each other do not wait for the store.
        uint32_t counters[2][2 * kDealRanges] = {};
        for (Py_ssize_t j = lo; j < hi; j++) counters[j & 1][index[j] >> p.shift]++;
        int64_t* count = p.count(args[3], c);
        for (Py_ssize_t r = 0; r < p.ranges; r++) count[r] = counters[0][r] + counters[1][r];
    }
    return 0;
}
inline int find_deal_starts(const void* params, char** args) {
    const auto& p = *static_cast<const DealParams*>(params);
    int64_t *start = p.start(args[3]), at = 0;
    for (Py_ssize_t r = 0; r < p.ranges; r++) {
        start[r] = at;
        for (Py_ssize_t c = 0; c < p.chunks; c++) {
            int64_t* count = p.count(args[3], c) + r;
            int64_t size = *count;
            *count = at;
            at += size;
        }
    }
    start[p.ranges] = at;
    return 0;
}
template <class T> int run_deal(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const DealParams*>(params);
    const int64_t* index = (const int64_t*)args[0];
    const T* values = (const T*)args[1];
    auto* items = (Dealt<T>*)(args[3] + p.items);
    uint64_t within = ((uint64_t)1 << p.shift) - 1;
    for (Py_ssize_t c = begin; c < end; c++) {
        Py_ssize_t lo = c * kDealChunk, hi = std::min(lo + kDealChunk, p.m);
        int64_t* next = p.count(args[3], c);
        for (Py_ssize_t j = lo; j < hi; j++) {
            Dealt<T>& item = items[next[index[j] >> p.shift]++];
            item.row = (decltype(item.row))((uint64_t)index[j] & within);
            item.value = values[j];
        }
    }
    return 0;
}
template <class T, bool kAdds> int run_deal_write(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const DealParams*>(params);
    const auto* items = (const Dealt<T>*)(args[3] + p.items);
    const int64_t* start = p.start(args[3]);
    for (Py_ssize_t r = begin; r < end; r++) {
        T* out = (T*)args[2] + (r << p.shift);
        for (Py_ssize_t k = start[r]; k < start[r + 1]; k++) {
            if constexpr (kAdds) out[items[k].row] = add_element(out[items[k].row], items[k].value);
            else out[items[k].row] = items[k].value;
        }
    }
    return 0;
}

constexpr int kDealStages = 3;
template <class T, bool kAdds> Made make_deal_of(int stage, Py_ssize_t n, Py_ssize_t m) {
    DealParams p = deal_params((Py_ssize_t)sizeof(T), n, m);
    Made made = stage == 0 ? made_of(run_deal_count, p, p.chunks, 1)
                : stage == 1 ? made_of(run_deal<T>, p, p.chunks, 1)
                             : made_of(run_deal_write<T, kAdds>, p, p.ranges, 1);
    if (stage == 0) made.finish = find_deal_starts;
    made.scratch_bytes = p.items + m * (Py_ssize_t)sizeof(Dealt<T>);
    return made;
}
// The last of equal indices stays.
inline Made make_deal_put(int stage, Py_ssize_t row_bytes, Py_ssize_t n, Py_ssize_t m) {
    switch (row_bytes) {
    case 1: return make_deal_of<uint8_t, false>(stage, n, m);
    case 2: return make_deal_of<uint16_t, false>(stage, n, m);
    case 4: return make_deal_of<uint32_t, false>(stage, n, m);
    case 8: return make_deal_of<uint64_t, false>(stage, n, m);
    default: return make_deal_of<Bytes16, false>(stage, n, m);
    }
}
// Equal indices add up, in their order.
inline Made make_deal_add(int stage, int type, Py_ssize_t n, Py_ssize_t m) {
    return with_type(type, [&](auto x) { return make_deal_of<decltype(x), true>(stage, n, m); });
}

}  // namespace la
