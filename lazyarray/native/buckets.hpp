// Long rows: five stages on the same operands, with one scratch region, each divided over the workers. A sample says how
// a row looks. One that seems to rise is only checked; one of few values is counted (tally.hpp) and filled in. Others are
// divided into buckets (a sample sort, Frazer and McKellar 1970): splitters from the sample, the bucket of each element, a
// stable move, and each bucket by itself.
#pragma once
#include "parted.hpp"
#include "sort.hpp"
#include "tally.hpp"

namespace la {

constexpr Py_ssize_t kLongSort = 65536;     // elements; rows from here are divided where there are few
constexpr Py_ssize_t kFewRows = 8;
constexpr Py_ssize_t kBucketElements = 81920;  // wanted at most; with indices they fit a 2 MB cache
constexpr int kLeastLevels = 4, kMostLevels = 8;  // of the tree of splitters: a bucket's number is a byte
constexpr Py_ssize_t kSamples = 16;         // of each bucket
constexpr Py_ssize_t kSortChunk = 65536;    // elements that one unit classifies
constexpr Py_ssize_t kAtOnce = 64;          // classified side by side: a word of the smallest keys

enum RowState : uint8_t { kDivided, kRising, kFewValues };

// Values of one key but different bits: where they stand in the result, and how many are in the parts before each.
struct MixedKey {
    uint64_t key;
    int64_t begin, before[kTallyParts];
};
struct RowNotes {
    RowState state;
    bool failed;           // it does not rise, or has many values
    int special;           // what there is of elements whose bits say more than their key
    int bits, mixed;       // of a table's hash; how many keys are mixed
    MixedKey mixes[2];     // of zeros and of NaNs
    int64_t sizes[kTallyParts], values;
};
struct BucketParams {
    Py_ssize_t outer, n, buckets, chunks, parts, part, sample;
    int levels;
    bool indices, vectors;
    Py_ssize_t notes, trees, counts, starts, tables, entries, numbers, items;  // where in the scratch region

    RowNotes& note(char* scratch, Py_ssize_t o) const { return ((RowNotes*)(scratch + notes))[o]; }
    template <class U> U* tree(char* scratch, Py_ssize_t o) const { return (U*)(scratch + trees) + o * buckets; }
    // Of a chunk: first how many elements each bucket gets, then where its first goes.
    int64_t* count(char* scratch, Py_ssize_t o, Py_ssize_t c) const {
        return (int64_t*)(scratch + counts) + (o * chunks + c) * buckets;
    }
    int64_t* start(char* scratch, Py_ssize_t o) const { return (int64_t*)(scratch + starts) + o * (buckets + 1); }
    uint8_t* number(char* scratch, Py_ssize_t o) const { return (uint8_t*)(scratch + numbers) + o * n; }
    Tallied* table(char* scratch, Py_ssize_t o, Py_ssize_t t) const {
        return (Tallied*)(scratch + tables) + ((o * parts + t) << kMostTallyBits);
    }
    // The values of a row that is counted; the counts are the places where they begin.
    TallyEntry* entry(char* scratch, Py_ssize_t o) const {
        return (TallyEntry*)(scratch + entries) + (o << (kMostTallyBits - 1));
    }
};

// ---- the look of a row

// A tree in the order of levels: child 2i holds smaller splitters than i, child 2i + 1 larger ones.
template <class U> void fill_tree(U* tree, const U* sorted, Py_ssize_t buckets, Py_ssize_t step) {
    for (Py_ssize_t width = buckets, i = 1; i < buckets; width /= 2)
        for (Py_ssize_t at = width / 2; at < buckets; at += width) tree[i++] = sorted[at * step - 1];
}
template <class T> struct LookAtRows {
    LA_INLINE void look(const BucketParams& p, char** args, Py_ssize_t o, std::vector<Key<T>>& sample) {
        using U = Key<T>;
        const T* x = (const T*)args[0] + o * p.n;
        RowNotes& note = p.note(args[2], o);
        note.state = kDivided;
        note.failed = false;
        note.special = kNoSpecials;
        draw_sample(sample.data(), p.sample, p.n, [x](Py_ssize_t i) { return sort_key(x[i]); });
        // Only where the sample rises may all do: then it pays to look.
        if constexpr (!is_complex<T>::value)
            if (rises(sample.data(), p.sample) && rises(x, std::min(p.n, kSortChunk))) note.state = kRising;
        sort_by_numpy(sample.data(), p.sample);
        if constexpr (tallies<T>)
            if (note.state == kDivided && !p.indices && (note.bits = few_in(sample.data(), p.sample))) note.state = kFewValues;
        Py_ssize_t step = p.sample / p.buckets;
        if constexpr (parts_by_vectors<T>)
            if (p.vectors) {
                T* splitters = p.tree<T>(args[2], o);
                for (Py_ssize_t b = 1; b < p.buckets; b++) splitters[b - 1] = splitter_of<T>(sample[(size_t)(b * step - 1)]);
                return;
            }
        fill_tree(p.tree<U>(args[2], o), sample.data(), p.buckets, step);
    }
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const BucketParams*>(params);
        try {
            std::vector<Key<T>> sample((size_t)p.sample);
            for (Py_ssize_t o = begin; o < end; o++) look(p, args, o, sample);
        } catch (const std::bad_alloc&) {
            return kNoMemory;
        }
        return 0;
    }
};

// ---- rows that may rise, or have few values

template <class T> struct TryRows {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const BucketParams*>(params);
        for (Py_ssize_t u = begin; u < end; u++) {
            Py_ssize_t o = u / p.parts, t = u % p.parts, lo = t * p.part, hi = std::min(lo + p.part, p.n);
            RowNotes& note = p.note(args[2], o);
            const T* x = (const T*)args[0] + o * p.n;
            if (note.state == kDivided || __atomic_load_n(&note.failed, __ATOMIC_RELAXED)) continue;
            bool fails = false;
            if constexpr (!is_complex<T>::value)
                if (Py_ssize_t from = std::max<Py_ssize_t>(lo - 1, 0); note.state == kRising) fails = !rises(x + from, hi - from);
            if constexpr (tallies<T>)
                if (note.state == kFewValues) {
                    note.sizes[t] = tally(x + lo, hi - lo, p.table(args[2], o, t), note.bits);
                    fails = note.sizes[t] < 0;
                }
            if (fails) __atomic_store_n(&note.failed, true, __ATOMIC_RELAXED);
        }
        return 0;
    }
};
// Where each value begins, and what is known of zeros and NaNs of different bits.
template <class T> bool settle_values(const BucketParams& p, char* scratch, Py_ssize_t o) {
    RowNotes& note = p.note(scratch, o);
    std::vector<TallyEntry> found;
    Py_ssize_t stride = (Py_ssize_t)1 << kMostTallyBits;
    if (!join_tallies<T>(p.table(scratch, o, 0), note.sizes, nullptr, p.parts, p.part, stride, note.bits, found)) return false;
    int64_t at = 0;
    note.mixed = 0;
    note.values = (int64_t)found.size();
    for (size_t i = 0; i < found.size(); i++) {
        bool more = i + 1 < found.size() && found[i + 1].key == found[i].key;
        if (more && (i == 0 || found[i - 1].key != found[i].key)) note.mixes[note.mixed++] = {found[i].key, at, {}};
        int64_t count = found[i].count;
        found[i].count = at;
        at += count;
    }
    for (int m = 0; m < note.mixed; m++) {
        int64_t before = 0;
        for (Py_ssize_t t = 0; t < p.parts; t++) {
            note.mixes[m].before[t] = before;
            const Tallied* table = p.table(scratch, o, t);
            for (Py_ssize_t i = 0; i < note.sizes[t]; i++)
                if (sort_key(bits_as<T>((typename KeyBits<sizeof(T)>::type)table[i].bits)) == note.mixes[m].key)
                    before += (int64_t)table[i].count[0] + table[i].count[1];
        }
    }
    std::copy(found.begin(), found.end(), p.entry(scratch, o));
    return true;
}
template <class T> int settle_rows(const void* params, char** args) {
    const auto& p = *static_cast<const BucketParams*>(params);
    try {
        for (Py_ssize_t o = 0; o < p.outer; o++) {
            RowNotes& note = p.note(args[2], o);
            if constexpr (tallies<T>)
                if (note.state == kFewValues && !note.failed) note.failed = !settle_values<T>(p, args[2], o);
            if (note.failed) note.state = kDivided;
        }
    } catch (const std::bad_alloc&) {
        return kNoMemory;
    }
    return 0;
}
template <class T> void fill_values(const BucketParams& p, char** args, Py_ssize_t o, Py_ssize_t lo, Py_ssize_t n) {
    const TallyEntry *entries = p.entry(args[2], o), *last = entries + p.note(args[2], o).values;
    const TallyEntry* at = std::upper_bound(entries, last, lo, [](int64_t i, const TallyEntry& e) { return i < e.count; }) - 1;
    T* out = (T*)args[1] + o * p.n;
    for (Py_ssize_t i = lo; i < lo + n; at++) {
        Py_ssize_t stop = at + 1 < last ? std::min<Py_ssize_t>(at[1].count, lo + n) : lo + n;
        std::fill(out + i, out + stop, bits_as<T>((typename KeyBits<sizeof(T)>::type)at->bits));
        i = stop;
    }
}
// Zeros and NaNs in the order in which they occur.
template <class T> void restore_mixed(const BucketParams& p, char** args, Py_ssize_t o, Py_ssize_t t) {
    const RowNotes& note = p.note(args[2], o);
    const T* x = (const T*)args[0] + o * p.n;
    T* out = (T*)args[1] + o * p.n;
    for (int m = 0; m < note.mixed; m++) {
        Py_ssize_t at = note.mixes[m].begin + note.mixes[m].before[t];
        for (Py_ssize_t i = t * p.part; i < std::min((t + 1) * p.part, p.n); i++)
            if (sort_key(x[i]) == note.mixes[m].key) out[at++] = x[i];
    }
}

// ---- the bucket of each element

// The bucket of each element is the number of splitters that its key exceeds.
template <class U, int kLevels> struct SearchTree {  // several searches side by side: the tree's latency is hidden
    LA_INLINE void several(const U* tree, const U* key, uint8_t* number) {
        uint32_t at[kAtOnce];
        for (Py_ssize_t k = 0; k < kAtOnce; k++) at[k] = 1;
        for (int level = 0; level < kLevels; level++)
            for (Py_ssize_t k = 0; k < kAtOnce; k++) at[k] = 2 * at[k] + (tree[at[k]] < key[k]);
        for (Py_ssize_t k = 0; k < kAtOnce; k++) number[k] = (uint8_t)(at[k] - (1u << kLevels));
    }
};
// The same with the tree in registers of 64 bytes, looked up by permutations.
template <class U, int kLevels> struct PermuteTree {
    static constexpr int kLanes = 64 / (int)sizeof(U);
    typedef U Word __attribute__((vector_size(64), aligned(1), may_alias));
    LA_INLINE void several(const U* tree, const U* key, uint8_t* number) {
        const Word* nodes = (const Word*)tree;
        for (Py_ssize_t k = 0; k < kAtOnce; k += kLanes) {
            Word each = *(const Word*)(key + k), at = each * 0 + 1;
            for (int level = 0; level < kLevels; level++) {
                int first = (1 << level) / kLanes, words = first ? first : 1;
                Word node;
                if (words == 1) node = __builtin_shuffle(nodes[first], at);
                else node = __builtin_shuffle(nodes[first], nodes[first + 1], at);
                for (int w = 2; w < words; w += 2) {
                    Word other = __builtin_shuffle(nodes[first + w], nodes[first + w + 1], at);
                    node = (at / (U)kLanes - (U)first) / 2 == (U)(w / 2) ? other : node;
                }
                at = at + at - (Word)(node < each);
            }
            for (int lane = 0; lane < kLanes; lane++) number[k + lane] = (uint8_t)(at[lane] - (1u << kLevels));
        }
    }
};

template <class T, template <class, int> class Tree> struct Classify {
    template <int kLevels> LA_INLINE void several(const Key<T>* tree, const T* x, uint8_t* number, Py_ssize_t n) {
        for (Py_ssize_t i = 0; i < n; i += kAtOnce) {
            Key<T> key[kAtOnce] = {};
            Py_ssize_t m = std::min(kAtOnce, n - i);
            if (m == kAtOnce) {
                for (Py_ssize_t k = 0; k < kAtOnce; k++) key[k] = sort_key(x[i + k]);
                Tree<Key<T>, kLevels>::several(tree, key, number + i);
            } else {
                uint8_t last[kAtOnce];
                for (Py_ssize_t k = 0; k < m; k++) key[k] = sort_key(x[i + k]);
                Tree<Key<T>, kLevels>::several(tree, key, last);
                std::memcpy(number + i, last, (size_t)m);
            }
        }
    }
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const BucketParams*>(params);
        for (Py_ssize_t u = begin; u < end; u++) {
            Py_ssize_t o = u / p.chunks, c = u % p.chunks, lo = c * kSortChunk, n = std::min(kSortChunk, p.n - lo);
            if (p.note(args[2], o).state != kDivided) continue;
            const Key<T>* tree = p.tree<Key<T>>(args[2], o);
            const T* x = (const T*)args[0] + o * p.n + lo;
            uint8_t* number = p.number(args[2], o) + lo;
            switch (p.levels) {
            case 4: several<4>(tree, x, number, n); break;
            case 5: several<5>(tree, x, number, n); break;
            case 6: several<6>(tree, x, number, n); break;
            case 7: several<7>(tree, x, number, n); break;
            default: several<8>(tree, x, number, n);
            }
            // Two sets of counters: elements of one bucket that follow each other do not wait for the store.
            uint32_t counters[2][256] = {};
            for (Py_ssize_t i = 0; i < n; i++) counters[i & 1][number[i]]++;
            int64_t* count = p.count(args[2], o, c);
            for (Py_ssize_t b = 0; b < p.buckets; b++) count[b] = counters[0][b] + counters[1][b];
        }
        return 0;
    }
};
// One bucket: all elements may be special.
inline int count_whole(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const BucketParams*>(params);
    for (Py_ssize_t u = begin; u < end; u++) {
        Py_ssize_t o = u / p.chunks, c = u % p.chunks;
        *p.count(args[2], o, c) = std::min(kSortChunk, p.n - c * kSortChunk);
        __atomic_store_n(&p.note(args[2], o).special, kNegativeZero | kNaN, __ATOMIC_RELAXED);
    }
    return 0;
}
template <class T> int count_by_vectors(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
#if defined(__x86_64__)
    const auto& p = *static_cast<const BucketParams*>(params);
    for (Py_ssize_t u = begin; u < end; u++) {
        Py_ssize_t o = u / p.chunks, c = u % p.chunks, lo = c * kSortChunk, n = std::min(kSortChunk, p.n - lo);
        RowNotes& note = p.note(args[2], o);
        if (note.state != kDivided) continue;
        const T *x = (const T*)args[0] + o * p.n + lo, *splitters = p.tree<T>(args[2], o);
        int64_t* count = p.count(args[2], o, c);
        int found = p.buckets == 4 ? count_parts<T, 4>(x, n, splitters, count) : count_parts<T, 8>(x, n, splitters, count);
        if (found) __atomic_fetch_or(&note.special, found, __ATOMIC_RELAXED);
    }
#endif
    return 0;
}
template <class T> KernelRun pick_classify(const BucketParams& p) {
    if constexpr (parts_by_vectors<T>)
        if (p.vectors) return p.buckets == 1 ? count_whole : count_by_vectors<T>;
    if (p.buckets == 1) return count_whole;
    if (cpu_level() == 2) return KernelLevels<Classify<T, PermuteTree>>::v4;
    return pick_kernel<Classify<T, SearchTree>>();
}
inline int find_starts(const void* params, char** args) {
    const auto& p = *static_cast<const BucketParams*>(params);
    for (Py_ssize_t o = 0; o < p.outer; o++) {
        if (p.note(args[2], o).state != kDivided) continue;
        int64_t *start = p.start(args[2], o), at = 0;
        for (Py_ssize_t b = 0; b < p.buckets; b++) {
            start[b] = at;
            for (Py_ssize_t c = 0; c < p.chunks; c++) {
                int64_t* count = p.count(args[2], o, c) + b;
                int64_t size = *count;
                *count = at;
                at += size;
            }
        }
        start[p.buckets] = at;
    }
    return 0;
}

// ---- into the buckets

template <class T>
void move_by_vectors(const BucketParams& p, char** args, Py_ssize_t o, Py_ssize_t c, const T* x, Py_ssize_t n) {
#if defined(__x86_64__)
    T *starts[kMostParted], *stops[kMostParted], *out = (T*)args[1] + o * p.n;
    const T* splitters = p.tree<T>(args[2], o);
    for (Py_ssize_t b = 0; b < p.buckets; b++) {
        starts[b] = out + p.count(args[2], o, c)[b];
        stops[b] = out + (c + 1 < p.chunks ? p.count(args[2], o, c + 1)[b] : p.start(args[2], o)[b + 1]);
    }
    if (p.buckets == 4) move_parts<T, 4>(x, n, splitters, starts, stops);
    else move_parts<T, 8>(x, n, splitters, starts, stops);
#endif
}
template <class T, bool kIndices> struct Scatter {
    LA_INLINE void move(const BucketParams& p, char** args, Py_ssize_t o, Py_ssize_t c, const T* x, Py_ssize_t n) {
        const uint8_t* number = p.number(args[2], o) + c * kSortChunk;
        int64_t* next = p.count(args[2], o, c);
        if constexpr (!kIndices) {
            T* out = (T*)args[1] + o * p.n;
            for (Py_ssize_t i = 0; i < n; i++) out[next[number[i]]++] = x[i];
        } else if constexpr (packs<T>) {
            uint64_t* out = (uint64_t*)args[1] + o * p.n;
            for (Py_ssize_t i = 0; i < n; i++)
                out[next[number[i]]++] = (uint64_t)sort_key(x[i]) << 32 | (uint64_t)(c * kSortChunk + i);
        } else {
            auto* items = (Ranked<T>*)(args[2] + p.items) + o * p.n;
            for (Py_ssize_t i = 0; i < n; i++) {
                if constexpr (is_complex<T>::value) items[next[number[i]]++] = {x[i], c * kSortChunk + i};
                else items[next[number[i]]++] = {sort_key(x[i]), c * kSortChunk + i};
            }
        }
    }
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const BucketParams*>(params);
        for (Py_ssize_t u = begin; u < end; u++) {
            Py_ssize_t o = u / p.chunks, c = u % p.chunks, lo = c * kSortChunk, n = std::min(kSortChunk, p.n - lo);
            const T* x = (const T*)args[0] + o * p.n + lo;
            RowState state = p.note(args[2], o).state;
            if constexpr (kIndices) {
                if (state == kRising)
                    for (Py_ssize_t i = 0; i < n; i++) ((int64_t*)args[1])[o * p.n + lo + i] = lo + i;
                else move(p, args, o, c, x, n);
            } else {
                if (state == kRising || (state == kDivided && p.buckets == 1))
                    std::memcpy((void*)((T*)args[1] + o * p.n + lo), (const void*)x, (size_t)n * sizeof(T));
                else if (state == kDivided && !p.vectors) move(p, args, o, c, x, n);
                else if constexpr (tallies<T>) {
                    if (state == kFewValues) fill_values<T>(p, args, o, lo, n);
                    else if constexpr (parts_by_vectors<T>) move_by_vectors<T>(p, args, o, c, x, n);
                }
            }
        }
        return 0;
    }
};

// ---- each bucket

template <class T, bool kIndices> struct SortBuckets {
    LA_INLINE void bucket(const BucketParams& p, char** args, Py_ssize_t o, Py_ssize_t lo, Py_ssize_t n) {
        if constexpr (!kIndices) {
            int special = p.vectors ? p.note(args[2], o).special : kNegativeZero | kNaN;
            if (lo + n < p.n) special &= kNegativeZero;  // NaNs are in the last bucket
            sort_values((T*)args[1] + o * p.n + lo, n, special);
        } else if constexpr (packs<T>) {
            uint64_t* packed = (uint64_t*)args[1] + o * p.n + lo;
            if (!rises(packed, n)) sort_by_numpy(packed, n);
            for (Py_ssize_t i = 0; i < n; i++) packed[i] &= 0xffffffffu;
        } else {
            auto* items = (Ranked<T>*)(args[2] + p.items) + o * p.n + lo;
            int64_t* out = (int64_t*)args[1] + o * p.n + lo;
            if constexpr (is_complex<T>::value) {
                std::stable_sort(items, items + n,
                                 [](const Ranked<T>& a, const Ranked<T>& b) { return sorts_before(a.key, b.key); });
                for (Py_ssize_t i = 0; i < n; i++) out[i] = items[i].index;
            } else {
                sort_indices(n, out, Pairs<T>{items});
            }
        }
    }
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const BucketParams*>(params);
        try {
            for (Py_ssize_t u = begin; u < end; u++) {
                Py_ssize_t o = u / p.buckets, b = u % p.buckets;
                RowState state = p.note(args[2], o).state;
                if constexpr (tallies<T> && !kIndices)
                    if (state == kFewValues)
                        for (Py_ssize_t t = b; t < p.parts; t += p.buckets) restore_mixed<T>(p, args, o, t);
                if (state != kDivided) continue;
                const int64_t* start = p.start(args[2], o);
                if (start[b + 1] > start[b]) bucket(p, args, o, start[b], start[b + 1] - start[b]);
            }
        } catch (const std::bad_alloc&) {
            return kNoMemory;
        }
        return 0;
    }
};

// ---- factories

inline bool sorts_in_buckets(int type, Py_ssize_t outer, Py_ssize_t n) {
    return n >= kLongSort && outer < kFewRows && n <= (Py_ssize_t)0xffffffff && type_size(type) > 1;
}
inline BucketParams bucket_params(bool indices, int type, Py_ssize_t outer, Py_ssize_t n, int workers) {
    BucketParams p{};
    p.outer = outer;
    p.n = n;
    p.indices = indices;
    p.levels = kLeastLevels;
    while (p.levels < kMostLevels && n >> p.levels > kBucketElements) p.levels++;
    p.buckets = (Py_ssize_t)1 << p.levels;
    if (!indices) {
        bool fits = with_type(type, [](auto x) { return parts_by_vectors<decltype(x)>; });
        p.vectors = cpu_level() == 2 && fits && workers <= kMostParted / 2;
        // Two for each worker; a worker alone sorts the row as a whole.
        if (p.vectors) p.buckets = workers <= 2 ? 4 : 8;
        if (workers == 1) p.buckets = 1;
    }
    p.sample = std::max(p.buckets * kSamples, kLeastSample);
    p.chunks = (n + kSortChunk - 1) / kSortChunk;
    p.parts = tally_parts(n);
    p.part = tally_part(n);
    Py_ssize_t at = 0;
    auto place = [&](Py_ssize_t bytes) {
        Py_ssize_t here = at;
        at += padded(bytes);
        return here;
    };
    p.notes = place(outer * (Py_ssize_t)sizeof(RowNotes));
    p.trees = place(outer * p.buckets * 8);
    p.counts = place(outer * p.chunks * p.buckets * 8);
    p.starts = place(outer * (p.buckets + 1) * 8);
    p.entries = place(indices ? 0 : (outer << (kMostTallyBits - 1)) * (Py_ssize_t)sizeof(TallyEntry));
    p.tables = p.numbers = at;  // of rows that are counted, of rows that are divided
    Py_ssize_t numbers = p.vectors || p.buckets == 1 ? 0 : padded(outer * n);
    Py_ssize_t tables = indices ? 0 : (outer * p.parts << kMostTallyBits) * (Py_ssize_t)sizeof(Tallied);
    place(outer == 1 ? std::max(numbers, tables) : numbers + tables);
    if (outer > 1) p.numbers = p.tables + tables;
    p.items = at;
    return p;
}
inline Py_ssize_t bucket_scratch(const BucketParams& p, int type) {
    if (!p.indices) return p.items;
    return p.items + with_type(type, [&](auto x) {
        using T = decltype(x);
        return packs<T> ? (Py_ssize_t)0 : p.outer * p.n * (Py_ssize_t)sizeof(Ranked<T>);
    });
}

constexpr int kSortStages = 5;
inline Made make_sort_stage(int stage, bool indices, int type, Py_ssize_t outer, Py_ssize_t n, int workers) {
    BucketParams p = bucket_params(indices, type, outer, n, workers);
    Made made;
    made.run = with_type(type, [stage, &p](auto x) -> KernelRun {
        using T = decltype(x);
        switch (stage) {
        case 0: return pick_kernel<LookAtRows<T>>();
        case 1: return pick_kernel<TryRows<T>>();
        case 2: return pick_classify<T>(p);
        case 3: return p.indices ? plain_kernel<Scatter<T, true>>() : plain_kernel<Scatter<T, false>>();
        default: return p.indices ? pick_kernel<SortBuckets<T, true>>() : pick_kernel<SortBuckets<T, false>>();
        }
    });
    if (stage == 1) made.finish = with_type(type, [](auto x) -> KernelFinish { return settle_rows<decltype(x)>; });
    if (stage == 2) made.finish = find_starts;
    made.params = new BucketParams(p);
    made.drop = drop_params<BucketParams>;
    made.extent = outer * (stage == 0 ? 1 : stage == 1 ? p.parts : stage == 4 ? p.buckets : p.chunks);
    made.scratch_bytes = bucket_scratch(p, type);
    return made;
}

}  // namespace la
