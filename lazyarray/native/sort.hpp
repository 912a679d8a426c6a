// Stable sorts along the last axis of a C-contiguous (outer, n) array, NaN last, complex numbers lexicographic as in
// NumPy. Every element has an unsigned key with the order of the numbers (equal for 0.0 and -0.0, largest for NaN; of a
// complex number that of its real part). A stable sort has one result, so the bits depend neither on how the work is
// divided nor on what sorts.
//
// A short row is sorted by one unit. A long one is divided into buckets first (a sample sort, Frazer and McKellar 1970):
// splitters from a sample, the bucket of each element, a stable scatter, and each bucket by itself. What sorts numbers in
// a cache is NumPy's own function, vector code where the CPU has it. That one is not stable: values with one key but
// different bits (zeros, NaNs) are put in order afterwards, and indices are sorted packed into a word with their keys.
#pragma once
#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "simd.hpp"

namespace la {

constexpr Py_ssize_t kLongSort = 65536;     // elements; rows from here are divided where there are few
constexpr Py_ssize_t kFewRows = 8;
constexpr Py_ssize_t kBucketElements = 81920;  // wanted at most; with indices they fit a 2 MB cache
constexpr int kLeastLevels = 4, kMostLevels = 8;  // of the tree of splitters: a bucket's number is a byte
constexpr Py_ssize_t kSamples = 16;         // of each bucket
constexpr Py_ssize_t kSortChunk = 65536;    // elements that one unit classifies
constexpr Py_ssize_t kAtOnce = 64;          // classified side by side: a word of the smallest keys

typedef int (*SortFn)(void* start, Py_ssize_t n, void* array);
// NumPy's sort of each type, set when the module is imported; null: none.
inline SortFn numpy_sorts[kTypes];

template <int bytes> struct KeyBits { using type = uint64_t; };
template <> struct KeyBits<1> { using type = uint8_t; };
template <> struct KeyBits<2> { using type = uint16_t; };
template <> struct KeyBits<4> { using type = uint32_t; };

template <class T, class U> constexpr U infinity_bits =
    is_brain<T> ? (U)0x7f80 : is_half<T> ? (U)0x7c00 : sizeof(T) == 4 ? (U)0x7f800000u : (U)0x7ff0000000000000ull;
template <class T> LA_INLINE auto sort_key(T x) {
    if constexpr (is_complex<T>::value) {
        using U = decltype(sort_key(x.re));
        // A number with NaN in either part follows all without.
        return x.im != x.im ? (U)~(U)0 : sort_key(x.re);
    } else {
        using U = typename KeyBits<sizeof(T)>::type;
        constexpr U top = (U)((U)1 << (sizeof(T) * 8 - 1));
        U bits = bits_as<U>(x);
        if constexpr (is_bool<T> || std::is_unsigned_v<T>) {
            return bits;
        } else if constexpr (std::is_integral_v<T>) {
            return (U)(bits ^ top);
        } else {
            constexpr U infinity = infinity_bits<T, U>;
            U magnitude = bits & (U)~top;
            U key = magnitude == 0 ? top : bits & top ? (U)~bits : (U)(bits | top);
            return magnitude > infinity ? (U)~(U)0 : key;
        }
    }
}
template <class T> using Key = decltype(sort_key(T{}));
template <class T> constexpr int number_of_type =
    is_bool<T> ? kBool : is_brain<T> ? kBF16 : is_half<T> ? kF16 : std::is_same_v<T, float> ? kF32 : std::is_same_v<T, double> ? kF64
    : (std::is_signed_v<T> ? kI8 : kU8) + (sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3);

// NaNs follow all numbers in the order: (real, NaN), (NaN, real), (NaN, NaN).
template <class R> LA_INLINE bool real_less(R a, R b) { return a < b || (b != b && a == a); }
template <class R> LA_INLINE bool sorts_before(Complex<R> a, Complex<R> b) {
    if (a.re < b.re) return a.im == a.im || b.im != b.im;
    if (a.re > b.re) return b.im != b.im && a.im == a.im;
    if (a.re == b.re || (a.re != a.re && b.re != b.re)) return real_less(a.im, b.im);
    return b.re != b.re;
}

template <class T> void sort_by_numpy(T* x, Py_ssize_t n) {
    if constexpr (is_brain<T>) {  // by NumPy's sort of their keys, from which all but zeros and NaN are had back
        uint16_t* keys = reinterpret_cast<uint16_t*>(x);
        for (Py_ssize_t i = 0; i < n; i++) keys[i] = sort_key(x[i]);
        sort_by_numpy(keys, n);
        for (Py_ssize_t i = 0; i < n; i++) keys[i] = (uint16_t)(keys[i] & 0x8000 ? keys[i] ^ 0x8000 : ~keys[i]);
        return;
    }
    if (SortFn sort = numpy_sorts[number_of_type<T>]; sort && n > 1) sort(x, n, nullptr);
    else std::sort(x, x + n, [](T a, T b) { return sort_key(a) < sort_key(b); });
}

// ---- values

template <class T> LA_INLINE bool rises(const T* x, Py_ssize_t n) {
    for (Py_ssize_t i = 1; i < n;) {
        Py_ssize_t first = i, stop = std::min<Py_ssize_t>(i + 512, n);
        if constexpr (std::is_arithmetic_v<T>) {  // quicker than by keys; NaN is in no order here
            bool falls = false;
            for (; i < stop; i++) falls |= !(x[i - 1] <= x[i]);
            if (!falls) continue;
            if constexpr (std::is_integral_v<T>) return false;
        }
        Key<T> falls = 0;
        for (i = first; i < stop; i++) falls = (Key<T>)(falls | (sort_key(x[i]) < sort_key(x[i - 1])));
        if (falls) return false;
    }
    return true;
}
// Whether there are elements whose bits say more than their key: -0.0 and NaN.
template <class T> LA_INLINE bool has_specials(const T* x, Py_ssize_t n) {
    using U = Key<T>;
    constexpr U top = (U)((U)1 << (sizeof(T) * 8 - 1));
    constexpr U infinity = infinity_bits<T, U>;
    U found = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        U bits = bits_as<U>(x[i]);
        found = (U)(found | (bits == top) | ((bits & (U)~top) > infinity));
    }
    return found != 0;
}

// Numbers without NaN, where zeros may have signs.
template <class T> void sort_with_zeros(T* x, Py_ssize_t n, const std::vector<T>& zeros) {
    sort_by_numpy(x, n);
    if (zeros.empty()) return;
    T* first = std::lower_bound(x, x + n, zeros[0], [](T a, T b) { return sort_key(a) < sort_key(b); });
    std::copy(zeros.begin(), zeros.end(), first);
}
template <class T> void sort_specials(T* x, Py_ssize_t n) {
    std::vector<T> nans, zeros;
    Key<T> zero = sort_key(T{});
    Py_ssize_t numbers = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        T value = x[i];
        Key<T> key = sort_key(value);
        if (key == (Key<T>)~(Key<T>)0) {
            nans.push_back(value);
            continue;
        }
        if (key == zero) zeros.push_back(value);
        x[numbers++] = value;
    }
    std::copy(nans.begin(), nans.end(), x + numbers);
    sort_with_zeros(x, numbers, zeros);
}

// Where much of a bucket is its largest key, that part moves to the end: a splitter was a frequent value. Of that key all
// elements have the same bits.
template <class T> LA_INLINE Py_ssize_t set_largest_apart(T* x, Py_ssize_t n) {
    constexpr Py_ssize_t tries = 32;
    if (n < 1024) return n;
    T top = x[0];
    for (Py_ssize_t i = 1; i < tries; i++)
        if (T each = x[n / tries * i]; sort_key(each) > sort_key(top)) top = each;
    Py_ssize_t equal = 0;
    for (Py_ssize_t i = 0; i < tries; i++) equal += sort_key(x[n / tries * i]) == sort_key(top);
    if (equal < tries / 4) return n;
    Key<T> largest = sort_key(top), above = 0;
    for (Py_ssize_t i = 0; i < n; i++) above = (Key<T>)(above | (sort_key(x[i]) > largest));
    if (above) return n;
    Py_ssize_t rest = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        T each = x[i];
        x[rest] = each;
        rest += sort_key(each) != largest;
    }
    std::fill(x + rest, x + n, top);
    return rest;
}

template <class T> LA_INLINE void sort_values(T* x, Py_ssize_t n) {
    if constexpr (is_complex<T>::value) {
        std::stable_sort(x, x + n, [](T a, T b) { return sorts_before(a, b); });
    } else if constexpr (sizeof(T) == 1) {
        Py_ssize_t counts[256] = {};
        for (Py_ssize_t i = 0; i < n; i++) counts[sort_key(x[i])]++;
        constexpr int flip = std::is_signed_v<T> ? 128 : 0;
        for (int k = 0; k < 256; k++) {
            std::memset((void*)x, k ^ flip, (size_t)counts[k]);
            x += counts[k];
        }
    } else {
        if (rises(x, n)) return;
        if constexpr (!std::is_integral_v<T>)
            if (has_specials(x, n)) return sort_specials(x, n);
        sort_by_numpy(x, set_largest_apart(x, n));
    }
}

// ---- indices

// Elements j < n have a key and an index, which rises with j; `out` gets the indices in the order of the keys.
template <class At> LA_INLINE void sort_indices(Py_ssize_t n, int64_t* out, At at) {
    uint64_t low = ~(uint64_t)0, high = 0;
    bool falls = false;
    uint64_t last = 0;
    for (Py_ssize_t j = 0; j < n; j++) {
        uint64_t key = at.key(j);
        low = std::min(low, key);
        high = std::max(high, key);
        falls |= key < last;
        last = key;
    }
    if (!falls) {
        for (Py_ssize_t j = 0; j < n; j++) out[j] = at.index(j);
        return;
    }
    int place_bits = 64 - __builtin_clzll((uint64_t)n), key_bits = 64 - __builtin_clzll(high - low);
    int shift = std::max(0, key_bits + place_bits - 64);
    uint64_t places = ((uint64_t)1 << place_bits) - 1;
    uint64_t* packed = (uint64_t*)out;
    for (Py_ssize_t j = 0; j < n; j++) packed[j] = (at.key(j) - low) >> shift << place_bits | (uint64_t)j;
    sort_by_numpy(packed, n);
    if (shift) {
        // Where the bits that were kept are equal, the others decide.
        for (Py_ssize_t i = 0; i < n;) {
            Py_ssize_t stop = i + 1;
            bool wrong = false;
            while (stop < n && packed[stop] >> place_bits == packed[i] >> place_bits) {
                wrong |= at.key((Py_ssize_t)(packed[stop] & places)) < at.key((Py_ssize_t)(packed[stop - 1] & places));
                stop++;
            }
            if (wrong)
                std::stable_sort(packed + i, packed + stop, [&](uint64_t a, uint64_t b) {
                    return at.key((Py_ssize_t)(a & places)) < at.key((Py_ssize_t)(b & places));
                });
            i = stop;
        }
    }
    for (Py_ssize_t i = 0; i < n; i++) out[i] = at.index((Py_ssize_t)(packed[i] & places));
}

template <class T> struct Plain {  // the elements of a row
    const T* x;
    uint64_t key(Py_ssize_t j) const { return sort_key(x[j]); }
    int64_t index(Py_ssize_t j) const { return j; }
};
template <class T> struct Ranked {
    std::conditional_t<is_complex<T>::value, T, uint64_t> key;
    int64_t index;
};
template <class T> struct Pairs {
    const Ranked<T>* items;
    uint64_t key(Py_ssize_t j) const { return items[j].key; }
    int64_t index(Py_ssize_t j) const { return items[j].index; }
};
// Keys of at most 32 bits fit into a word with an index.
template <class T> constexpr bool packs = sizeof(Key<T>) <= 4 && !is_complex<T>::value;

// ---- short rows

struct SortParams { Py_ssize_t n; };

template <class T> struct SortRows {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        Py_ssize_t n = static_cast<const SortParams*>(params)->n;
        try {
            for (Py_ssize_t o = begin; o < end; o++) {
                T* row = (T*)args[1] + o * n;
                std::memcpy((void*)row, args[0] + o * n * (Py_ssize_t)sizeof(T), (size_t)n * sizeof(T));
                sort_values(row, n);
            }
        } catch (const std::bad_alloc&) {
            return kNoMemory;
        }
        return 0;
    }
};
template <class T> struct ArgsortRows {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        Py_ssize_t n = static_cast<const SortParams*>(params)->n;
        try {
            for (Py_ssize_t o = begin; o < end; o++) {
                const T* x = (const T*)args[0] + o * n;
                int64_t* out = (int64_t*)args[1] + o * n;
                if constexpr (is_complex<T>::value) {
                    for (Py_ssize_t i = 0; i < n; i++) out[i] = i;
                    std::stable_sort(out, out + n, [&](int64_t a, int64_t b) { return sorts_before(x[a], x[b]); });
                } else {
                    sort_indices(n, out, Plain<T>{x});
                }
            }
        } catch (const std::bad_alloc&) {
            return kNoMemory;
        }
        return 0;
    }
};

// ---- long rows: four stages on the same operands, with one scratch region

struct BucketParams {
    Py_ssize_t outer, n, buckets, chunks;
    int levels;
    Py_ssize_t sorted, trees, counts, starts, numbers, items;  // where in the scratch region

    uint8_t& is_sorted(char* scratch, Py_ssize_t o) const { return *(uint8_t*)(scratch + sorted + o); }

    template <class U> U* tree(char* scratch, Py_ssize_t o) const { return (U*)(scratch + trees) + o * buckets; }
    // Of a chunk: first how many elements each bucket gets, then where its first goes.
    int64_t* count(char* scratch, Py_ssize_t o, Py_ssize_t c) const {
        return (int64_t*)(scratch + counts) + (o * chunks + c) * buckets;
    }
    int64_t* start(char* scratch, Py_ssize_t o) const { return (int64_t*)(scratch + starts) + o * (buckets + 1); }
    uint8_t* number(char* scratch, Py_ssize_t o) const { return (uint8_t*)(scratch + numbers) + o * n; }
};

// A tree in the order of levels: child 2i holds smaller splitters than i, child 2i + 1 larger ones.
template <class U> void fill_tree(U* tree, const U* sorted, Py_ssize_t buckets, Py_ssize_t step) {
    for (Py_ssize_t width = buckets, i = 1; i < buckets; width /= 2)
        for (Py_ssize_t at = width / 2; at < buckets; at += width) tree[i++] = sorted[at * step - 1];
}
template <class T> struct FindSplitters {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const BucketParams*>(params);
        using U = Key<T>;
        Py_ssize_t count = p.buckets * kSamples, stride = p.n / count;
        try {
            std::vector<U> sample((size_t)count);
            for (Py_ssize_t o = begin; o < end; o++) {
                const T* x = (const T*)args[0] + o * p.n;
                for (Py_ssize_t i = 0; i < count; i++) {
                    // A place in each stretch, scattered by a multiplicative hash: no period of the data is met.
                    uint64_t hash = ((uint64_t)i * 0x9e3779b97f4a7c15ull) >> 33;
                    sample[(size_t)i] = sort_key(x[i * stride + (Py_ssize_t)(hash % (uint64_t)stride)]);
                }
                // Only where the sample rises may all do: then it pays to look.
                bool sorted = false;
                if constexpr (!is_complex<T>::value) sorted = rises(sample.data(), count) && rises(x, p.n);
                p.is_sorted(args[2], o) = sorted;
                if (sorted) continue;
                sort_by_numpy(sample.data(), count);
                fill_tree(p.tree<U>(args[2], o), sample.data(), p.buckets, kSamples);
            }
        } catch (const std::bad_alloc&) {
            return kNoMemory;
        }
        return 0;
    }
};

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
            if (p.is_sorted(args[2], o)) continue;
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
template <class T> KernelRun pick_classify() {
    if (cpu_level() == 2) return KernelLevels<Classify<T, PermuteTree>>::v4;
    return pick_kernel<Classify<T, SearchTree>>();
}
inline int find_starts(const void* params, char** args) {
    const auto& p = *static_cast<const BucketParams*>(params);
    for (Py_ssize_t o = 0; o < p.outer; o++) {
        if (p.is_sorted(args[2], o)) continue;
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

template <class T, bool kIndices> struct Scatter {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const BucketParams*>(params);
        for (Py_ssize_t u = begin; u < end; u++) {
            Py_ssize_t o = u / p.chunks, c = u % p.chunks, lo = c * kSortChunk, n = std::min(kSortChunk, p.n - lo);
            const T* x = (const T*)args[0] + o * p.n + lo;
            if (p.is_sorted(args[2], o)) {
                if constexpr (kIndices)
                    for (Py_ssize_t i = 0; i < n; i++) ((int64_t*)args[1])[o * p.n + lo + i] = lo + i;
                else
                    std::memcpy((void*)((T*)args[1] + o * p.n + lo), (const void*)x, (size_t)n * sizeof(T));
                continue;
            }
            const uint8_t* number = p.number(args[2], o) + lo;
            int64_t* next = p.count(args[2], o, c);
            if constexpr (!kIndices) {
                T* out = (T*)args[1] + o * p.n;
                for (Py_ssize_t i = 0; i < n; i++) out[next[number[i]]++] = x[i];
            } else if constexpr (packs<T>) {
                uint64_t* out = (uint64_t*)args[1] + o * p.n;
                for (Py_ssize_t i = 0; i < n; i++)
                    out[next[number[i]]++] = (uint64_t)sort_key(x[i]) << 32 | (uint64_t)(lo + i);
            } else {
                auto* items = (Ranked<T>*)(args[2] + p.items) + o * p.n;
                for (Py_ssize_t i = 0; i < n; i++) {
                    if constexpr (is_complex<T>::value) items[next[number[i]]++] = {x[i], lo + i};
                    else items[next[number[i]]++] = {sort_key(x[i]), lo + i};
                }
            }
        }
        return 0;
    }
};

template <class T, bool kIndices> struct SortBuckets {
    LA_INLINE void bucket(const BucketParams& p, char** args, Py_ssize_t o, Py_ssize_t lo, Py_ssize_t n) {
        if constexpr (!kIndices) {
            sort_values((T*)args[1] + o * p.n + lo, n);
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
                if (p.is_sorted(args[2], o)) continue;
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

inline Made make_sort_rows(bool indices, int type, Py_ssize_t outer, Py_ssize_t n) {
    Made made;
    made.run = with_type(type, [indices](auto x) {
        using T = decltype(x);
        return indices ? pick_kernel<ArgsortRows<T>>() : pick_kernel<SortRows<T>>();
    });
    made.params = new SortParams{n};
    made.drop = drop_params<SortParams>;
    made.extent = n ? outer : 0;
    made.grain = std::max<Py_ssize_t>(4096 / std::max<Py_ssize_t>(n, 1), 1);
    return made;
}

inline bool sorts_in_buckets(int type, Py_ssize_t outer, Py_ssize_t n) {
    return n >= kLongSort && outer < kFewRows && n <= (Py_ssize_t)0xffffffff && type_size(type) > 1;
}
inline BucketParams bucket_params(Py_ssize_t outer, Py_ssize_t n) {
    BucketParams p{};
    p.outer = outer;
    p.n = n;
    p.levels = kLeastLevels;
    while (p.levels < kMostLevels && n >> p.levels > kBucketElements) p.levels++;
    p.buckets = (Py_ssize_t)1 << p.levels;
    p.chunks = (n + kSortChunk - 1) / kSortChunk;
    Py_ssize_t at = 0;
    auto place = [&](Py_ssize_t bytes) {
        Py_ssize_t here = at;
        at += padded(bytes);
        return here;
    };
    p.sorted = place(outer);
    p.trees = place(outer * p.buckets * 8);
    p.counts = place(outer * p.chunks * p.buckets * 8);
    p.starts = place(outer * (p.buckets + 1) * 8);
    p.numbers = place(outer * n);
    p.items = at;
    return p;
}
inline Py_ssize_t bucket_scratch(const BucketParams& p, bool indices, int type) {
    if (!indices) return p.items;
    return p.items + with_type(type, [&](auto x) {
        using T = decltype(x);
        return packs<T> ? (Py_ssize_t)0 : p.outer * p.n * (Py_ssize_t)sizeof(Ranked<T>);
    });
}

constexpr int kSortStages = 4;
inline Made make_sort_stage(int stage, bool indices, int type, Py_ssize_t outer, Py_ssize_t n) {
    BucketParams p = bucket_params(outer, n);
    Made made;
    made.run = with_type(type, [stage, indices](auto x) -> KernelRun {
        using T = decltype(x);
        switch (stage) {
        case 0: return pick_kernel<FindSplitters<T>>();
        case 1: return pick_classify<T>();
        case 2: return indices ? plain_kernel<Scatter<T, true>>() : plain_kernel<Scatter<T, false>>();
        default: return indices ? pick_kernel<SortBuckets<T, true>>() : pick_kernel<SortBuckets<T, false>>();
        }
    });
    made.params = new BucketParams(p);
    made.drop = drop_params<BucketParams>;
    made.finish = stage == 1 ? find_starts : nullptr;
    made.extent = outer * (stage == 0 ? 1 : stage == 3 ? p.buckets : p.chunks);
    made.scratch_bytes = bucket_scratch(p, indices, type);
    return made;
}

}  // namespace la
