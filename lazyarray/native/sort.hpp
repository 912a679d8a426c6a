// Stable sorts along the last axis of a C-contiguous (outer, n) array, in the order of keys.hpp. A stable sort has one
// result, so the bits depend neither on how the work is divided nor on what sorts.
//
// Here are the sorts of what fits a cache. What sorts numbers there is NumPy's own function, vector code where the CPU has
// it. That one is not stable: values with one key but different bits (zeros, NaNs) are put in order afterwards, and indices
// are sorted packed into a word with their keys. Long rows are divided first: buckets.hpp.
#pragma once
#include <memory>
#include <new>
#include <vector>

#include "keys.hpp"

namespace la {

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
// What there is of elements whose bits say more than their key.
template <class T> LA_INLINE int specials_of(const T* x, Py_ssize_t n) {
    using U = Key<T>;
    constexpr U top = (U)((U)1 << (sizeof(T) * 8 - 1));
    constexpr U infinity = infinity_bits<T, U>;
    U zeros = 0, nans = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        U bits = bits_as<U>(x[i]);
        zeros = (U)(zeros | (bits == top));
        nans = (U)(nans | ((bits & (U)~top) > infinity));
    }
    return (zeros ? kNegativeZero : 0) | (nans ? kNaN : 0);
}

template <class T> LA_INLINE bool is_nan_bits(T x) {
    using U = Key<T>;
    return (U)(bits_as<U>(x) << 1) > (U)(infinity_bits<T, U> << 1);
}
template <class T> LA_INLINE bool is_zero_bits(T x) { return (Key<T>)(bits_as<Key<T>>(x) << 1) == 0; }
template <class T> LA_INLINE bool zeros_in(const T* x, Py_ssize_t n) {
    Key<T> found = 0;
    for (Py_ssize_t i = 0; i < n; i++) found = (Key<T>)(found | is_zero_bits(x[i]));
    return found != 0;
}

// Numbers, the zeros among which have signs, in order.
template <class T> void sort_with_zeros(T* x, Py_ssize_t n, const T* zeros, Py_ssize_t count) {
    sort_by_numpy(x, n);
    if (!count) return;
    T* first = std::lower_bound(x, x + n, zeros[0], [](T a, T b) { return sort_key(a) < sort_key(b); });
    std::copy(zeros, zeros + count, first);
}
// NaNs go to the end, in order, and zeros are kept where they have signs.
template <class T> LA_INLINE void sort_specials(T* x, Py_ssize_t n, bool signs) {
    constexpr Py_ssize_t width = 16;
    std::vector<T> nans(width), zeros(width);
    Py_ssize_t numbers = 0, not_numbers = 0, found = 0;
    for (Py_ssize_t i = 0; i < n; i += width) {
        T block[width];
        Py_ssize_t m = std::min(width, n - i);
        if (m == width) {
            std::memcpy((void*)block, (const void*)(x + i), sizeof block);
            if (!(specials_of(block, width) & kNaN) && !(signs && zeros_in(block, width))) {
                std::memcpy((void*)(x + numbers), (const void*)block, sizeof block);
                numbers += width;
                continue;
            }
        } else {
            std::copy(x + i, x + n, block);
        }
        if ((Py_ssize_t)nans.size() < not_numbers + width) nans.resize((size_t)(2 * not_numbers + width));
        if ((Py_ssize_t)zeros.size() < found + width) zeros.resize((size_t)(2 * found + width));
        for (Py_ssize_t k = 0; k < m; k++) {
            bool number = !is_nan_bits(block[k]);
            nans[(size_t)not_numbers] = zeros[(size_t)found] = x[numbers] = block[k];
            not_numbers += !number;
            numbers += number;
            found += is_zero_bits(block[k]);
        }
    }
    std::copy(nans.data(), nans.data() + not_numbers, x + numbers);
    sort_with_zeros(x, numbers, zeros.data(), signs ? found : 0);
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

// `special`: which elements there may be whose bits say more than their key.
template <class T> LA_INLINE void sort_values(T* x, Py_ssize_t n, int special = kNegativeZero | kNaN) {
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
            if (int found = special ? specials_of(x, n) : 0) return sort_specials(x, n, (found & kNegativeZero) != 0);
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

}  // namespace la
