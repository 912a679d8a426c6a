// Stable sorts along the last axis of a C-contiguous (outer, n) array, NaN last, complex numbers lexicographic as in
// NumPy. Real elements have an unsigned key with the order of the numbers (equal for 0.0 and -0.0, largest for NaN), so
// long rows are sorted by digits of it (least significant first), short ones by comparison.
#pragma once
#include <algorithm>
#include <memory>
#include <new>

#include "simd.hpp"

namespace la {

constexpr Py_ssize_t kDigitSort = 1024;  // elements; below, comparison is faster
constexpr int kDigitBits = 8;            // 256 places written at once stay in the L1 cache and the TLB
constexpr Py_ssize_t kBuckets = 1 << kDigitBits;

struct SortParams { Py_ssize_t n; };

template <int bytes> struct KeyBits { using type = uint64_t; };
template <> struct KeyBits<1> { using type = uint8_t; };
template <> struct KeyBits<2> { using type = uint16_t; };
template <> struct KeyBits<4> { using type = uint32_t; };

template <class T> LA_INLINE auto sort_key(T x) {
    using U = typename KeyBits<sizeof(T)>::type;
    constexpr U top = (U)1 << (sizeof(T) * 8 - 1);
    U bits = bits_as<U>(x);
    if constexpr (is_bool<T> || std::is_unsigned_v<T>) {
        return bits;
    } else if constexpr (std::is_integral_v<T>) {
        return (U)(bits ^ top);
    } else {
        constexpr U infinity = is_half<T> ? (U)0x7c00 : sizeof(T) == 4 ? (U)0x7f800000u : (U)0x7ff0000000000000ull;
        U magnitude = bits & (U)~top;
        if (magnitude > infinity) return (U)~(U)0;
        return magnitude == 0 ? top : bits & top ? (U)~bits : (U)(bits | top);
    }
}

// NaNs follow all numbers in the order: (real, NaN), (NaN, real), (NaN, NaN).
template <class R> LA_INLINE bool real_less(R a, R b) { return a < b || (b != b && a == a); }
template <class T> LA_INLINE bool sorts_before(T a, T b) {
    if constexpr (is_complex<T>::value) {
        if (a.re < b.re) return a.im == a.im || b.im != b.im;
        if (a.re > b.re) return b.im != b.im && a.im == a.im;
        if (a.re == b.re || (a.re != a.re && b.re != b.re)) return real_less(a.im, b.im);
        return b.re != b.re;
    } else {
        return sort_key(a) < sort_key(b);
    }
}

// Sorts `items` by key(item), using `other` (as long) and counters; the result ends up in `items`.
template <class Item, class Key> void digit_sort(Item* items, Item* other, Py_ssize_t n, int bits, Key key) {
    uint32_t passes = (uint32_t)(bits + kDigitBits - 1) / kDigitBits;
    std::vector<Py_ssize_t> counts(passes * kBuckets, 0);
    for (Py_ssize_t i = 0; i < n; i++) {
        auto k = key(items[i]);
        for (uint32_t p = 0; p < passes; p++) counts[p * kBuckets + (((uint64_t)k >> (p * kDigitBits)) & (kBuckets - 1))]++;
    }
    Item *from = items, *to = other;
    for (uint32_t p = 0; p < passes; p++) {
        Py_ssize_t *count = &counts[p * kBuckets], at = 0;
        auto digit = [&](const Item& x) { return ((uint64_t)key(x) >> (p * kDigitBits)) & (kBuckets - 1); };
        if (count[digit(from[0])] == n) continue;
        for (Py_ssize_t b = 0; b < kBuckets; b++) {
            Py_ssize_t size = count[b];
            count[b] = at;
            at += size;
        }
        for (Py_ssize_t i = 0; i < n; i++) to[count[digit(from[i])]++] = from[i];
        std::swap(from, to);
    }
    if (from != items) std::memcpy((void*)items, (const void*)from, (size_t)n * sizeof(Item));
}

template <class T> void sort_row(T* row, Py_ssize_t n, T* other) {
    if constexpr (!is_complex<T>::value) {
        if (n >= kDigitSort) return digit_sort(row, other, n, (int)sizeof(T) * 8, [](T x) { return sort_key(x); });
    }
    std::stable_sort(row, row + n, [](T a, T b) { return sorts_before(a, b); });
}

template <class T> int run_sort(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) try {
    Py_ssize_t n = static_cast<const SortParams*>(params)->n;
    std::unique_ptr<T[]> other(n >= kDigitSort ? new T[(size_t)n] : nullptr);
    for (Py_ssize_t o = begin; o < end; o++) {
        T* row = (T*)args[1] + o * n;
        std::memcpy((void*)row, args[0] + o * n * (Py_ssize_t)sizeof(T), (size_t)n * sizeof(T));
        sort_row(row, n, other.get());
    }
    return 0;
} catch (const std::bad_alloc&) {
    return kNoMemory;
}

template <class T> struct Ranked { decltype(sort_key(T{})) key; int64_t index; };
template <class R> struct Ranked<Complex<R>> { Complex<R> key; int64_t index; };

template <class T> int run_argsort(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) try {
    Py_ssize_t n = static_cast<const SortParams*>(params)->n;
    using Item = Ranked<T>;
    std::unique_ptr<Item[]> items(new Item[(size_t)n]), other(n >= kDigitSort ? new Item[(size_t)n] : nullptr);
    for (Py_ssize_t o = begin; o < end; o++) {
        const T* x = (const T*)args[0] + o * n;
        int64_t* out = (int64_t*)args[1] + o * n;
        if constexpr (is_complex<T>::value) {
            for (Py_ssize_t i = 0; i < n; i++) items[i] = {x[i], i};
            std::stable_sort(items.get(), items.get() + n,
                             [](const Item& a, const Item& b) { return sorts_before(a.key, b.key); });
        } else {
            for (Py_ssize_t i = 0; i < n; i++) items[i] = {sort_key(x[i]), i};
            if (n >= kDigitSort)
                digit_sort(items.get(), other.get(), n, (int)sizeof(T) * 8, [](const Item& a) { return a.key; });
            else
                std::stable_sort(items.get(), items.get() + n, [](const Item& a, const Item& b) { return a.key < b.key; });
        }
        for (Py_ssize_t i = 0; i < n; i++) out[i] = items[i].index;
    }
    return 0;
} catch (const std::bad_alloc&) {
    return kNoMemory;
}

inline Made make_sort(bool indices, int type, Py_ssize_t outer, Py_ssize_t n) {
    Made made;
    made.run = with_type(type, [indices](auto x) -> KernelRun {
        using T = decltype(x);
        return indices ? run_argsort<T> : run_sort<T>;
    });
    made.params = new SortParams{n};
    made.drop = drop_params<SortParams>;
    made.extent = n ? outer : 0;
    made.grain = std::max<Py_ssize_t>(4096 / std::max<Py_ssize_t>(n, 1), 1);
    return made;
}

}  // namespace la
