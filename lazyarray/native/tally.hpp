// Rows of few different values: how often each occurs, by a table of hashes for each part of the row. A sort of such a row
// is a fill, its distinct values are at hand. Whether a table is enough depends on the elements alone.
#pragma once
#include <algorithm>
#include <new>
#include <vector>

#include "keys.hpp"

namespace la {

constexpr int kLeastTallyBits = 8, kMostTallyBits = 13;  // of a hash: a table of 128 KB at most
constexpr Py_ssize_t kTallyPart = 131072;                // elements of a table at least
constexpr Py_ssize_t kTallyParts = 16;                   // tables of a row at most
constexpr int kMostProbes = 64;
constexpr Py_ssize_t kMostValues = (Py_ssize_t)1 << (kMostTallyBits - 1);

struct Tallied {
    uint64_t bits;
    uint32_t count[2];  // of two by turns: elements of one value that follow each other do not wait for the store
};
struct TallyEntry {
    uint64_t key, bits;
    int64_t count, first;  // first: where the value occurs first
};

template <class T> constexpr bool tallies = !is_complex<T>::value;
inline Py_ssize_t tally_parts(Py_ssize_t n) { return std::clamp<Py_ssize_t>(n / kTallyPart, 1, kTallyParts); }
inline Py_ssize_t tally_part(Py_ssize_t n) { return (n + tally_parts(n) - 1) / tally_parts(n); }
// Of so many different elements in a sample of a row. A sparse table has few collisions.
inline int tally_bits(Py_ssize_t distinct) {
    int bits = kLeastTallyBits;
    while (bits < kMostTallyBits && (Py_ssize_t)1 << bits < 8 * distinct) bits++;
    return bits;
}
template <class U, class At> void draw_sample(U* sample, Py_ssize_t count, Py_ssize_t n, At key) {
    Py_ssize_t stride = n / count;
    for (Py_ssize_t i = 0; i < count; i++) {
        // A place in each stretch, scattered by a multiplicative hash: no period of the data is met.
        uint64_t hash = ((uint64_t)i * 0x9e3779b97f4a7c15ull) >> 33;
        sample[i] = key(i * stride + (Py_ssize_t)(hash % (uint64_t)stride));
    }
}
// Of a sorted sample: the bits of a hash for the values of its row; 0 where they are many.
template <class U> int few_in(const U* sorted, Py_ssize_t count) {
    Py_ssize_t distinct = 1;
    for (Py_ssize_t i = 1; i < count; i++) distinct += sorted[i] != sorted[i - 1];
    return distinct <= count - count / 4 ? tally_bits(distinct) : 0;
}

LA_INLINE size_t tally_hash(uint64_t bits, int width) { return (size_t)(bits * 0x9e3779b97f4a7c15ull >> (64 - width)); }

// Counts the elements of a part into a table of 2**width places; the values found stand at its begin then. How many they
// are; -1 where they are more than half of its places, or collide too often. `first`, where given, gets the place of the
// first of each.
template <class T> LA_INLINE Py_ssize_t tally(const T* x, Py_ssize_t n, Tallied* table, int width, int64_t* first = nullptr) {
    using U = typename KeyBits<sizeof(T)>::type;
    size_t places = (size_t)1 << width;
    // An empty place looks like that of the first value, which is known to be elsewhere.
    uint64_t empty = bits_as<U>(x[0]);
    size_t home = tally_hash(empty, width), found = 1;
    std::fill_n(table, places, Tallied{empty, {0, 0}});
    if (first) first[home] = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        uint64_t bits = bits_as<U>(x[i]);
        size_t at = tally_hash(bits, width);
        if (__builtin_expect(table[at].bits != bits, 0)) {
            int probes = 0;
            do {
                if (table[at].bits == empty && at != home) {
                    if (++found > places / 2) return -1;
                    table[at].bits = bits;
                    if (first) first[at] = i;
                    break;
                }
                if (++probes > kMostProbes) return -1;
                at = (at + 1) & (places - 1);
            } while (table[at].bits != bits);
        }
        table[at].count[i & 1]++;
    }
    size_t next = 0;
    for (size_t at = 0; at < places; at++) {
        if (!(table[at].count[0] | table[at].count[1])) continue;
        if (first) first[next] = first[at];
        table[next++] = table[at];
    }
    return (Py_ssize_t)next;
}

// The values of all parts in the order of their keys, of one key in the order in which they occur; false if they are too many.
// `sizes`: how many a part has. `firsts`: null, or for each part where they occur first in it.
template <class T>
bool join_tallies(const Tallied* tables, const int64_t* sizes, const int64_t* firsts, Py_ssize_t parts, Py_ssize_t part,
                  Py_ssize_t stride, int width, std::vector<TallyEntry>& entries) {
    using U = typename KeyBits<sizeof(T)>::type;
    size_t places = (size_t)1 << width;
    std::vector<int32_t> index(places, -1);
    entries.clear();
    for (Py_ssize_t t = 0; t < parts; t++)
        for (Py_ssize_t i = 0; i < sizes[t]; i++) {
            const Tallied& each = tables[t * stride + i];
            size_t at = tally_hash(each.bits, width);
            while (index[at] >= 0 && entries[(size_t)index[at]].bits != each.bits) at = (at + 1) & (places - 1);
            if (index[at] < 0) {
                if (entries.size() >= places / 2) return false;
                index[at] = (int32_t)entries.size();
                int64_t first = firsts ? t * part + firsts[t * stride + i] : 0;
                entries.push_back({(uint64_t)sort_key(bits_as<T>((U)each.bits)), each.bits, 0, first});
            }
            entries[(size_t)index[at]].count += (int64_t)each.count[0] + each.count[1];
        }
    std::sort(entries.begin(), entries.end(), [](const TallyEntry& a, const TallyEntry& b) {
        return a.key != b.key ? a.key < b.key : a.first != b.first ? a.first < b.first : a.bits < b.bits;
    });
    return true;
}

// ---- the distinct values of a row

constexpr Py_ssize_t kLeastSample = 1024;

struct DistinctParams {
    Py_ssize_t n, parts, part, sample;
    struct Notes {
        bool failed;
        int bits;
        int64_t sizes[kTallyParts];
    };
    static Notes& note(char* scratch) { return *(Notes*)scratch; }
    static Tallied* table(char* scratch, Py_ssize_t t) {
        return (Tallied*)(scratch + padded(sizeof(Notes))) + (t << kMostTallyBits);
    }
    int64_t* first(char* scratch, Py_ssize_t t) const {
        return (int64_t*)table(scratch, parts) + (t << kMostTallyBits);
    }
};
// args: x (n); out (3, kMostValues + 1): how many, and the values' bits; the count of each; the first place of each.
template <class T> struct LookAtRow {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t, Py_ssize_t) {
        const auto& p = *static_cast<const DistinctParams*>(params);
        DistinctParams::Notes& note = p.note(args[2]);
        note.bits = 0;
        if constexpr (tallies<T>) {
            const T* x = (const T*)args[0];
            Key<T> sample[kLeastSample];
            draw_sample(sample, p.sample, p.n, [x](Py_ssize_t i) { return sort_key(x[i]); });
            sort_by_numpy(sample, p.sample);
            note.bits = few_in(sample, p.sample);
        }
        note.failed = note.bits == 0;
        return 0;
    }
};
template <class T> struct TallyRow {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const auto& p = *static_cast<const DistinctParams*>(params);
        DistinctParams::Notes& note = p.note(args[2]);
        if constexpr (tallies<T>)
            for (Py_ssize_t t = begin; t < end && !__atomic_load_n(&note.failed, __ATOMIC_RELAXED); t++) {
                Py_ssize_t lo = t * p.part, n = std::min(p.part, p.n - lo);
                note.sizes[t] = tally((const T*)args[0] + lo, n, p.table(args[2], t), note.bits, p.first(args[2], t));
                if (note.sizes[t] < 0) __atomic_store_n(&note.failed, true, __ATOMIC_RELAXED);
            }
        return 0;
    }
};
template <class T> int join_row(const void* params, char** args) {
    const auto& p = *static_cast<const DistinctParams*>(params);
    const DistinctParams::Notes& note = p.note(args[2]);
    int64_t *bits = (int64_t*)args[1], *counts = bits + kMostValues + 1, *firsts = counts + kMostValues + 1;
    std::fill_n(bits, 3 * (kMostValues + 1), (int64_t)0);
    bits[0] = -1;
    if constexpr (tallies<T>) {
        if (note.failed) return 0;
        try {
            std::vector<TallyEntry> found;
            Py_ssize_t stride = (Py_ssize_t)1 << kMostTallyBits;
            if (!join_tallies<T>(p.table(args[2], 0), note.sizes, p.first(args[2], 0), p.parts, p.part, stride, note.bits, found))
                return 0;
            Py_ssize_t total = 0;
            for (size_t i = 0; i < found.size(); i++) {
                // Values of one key count as one, which is the first of them.
                if (i && found[i].key == found[i - 1].key) {
                    counts[total] += found[i].count;
                    continue;
                }
                total++;
                bits[total] = (int64_t)found[i].bits;
                counts[total] = found[i].count;
                firsts[total] = found[i].first;
            }
            bits[0] = total;
        } catch (const std::bad_alloc&) {
            return kNoMemory;
        }
    }
    return 0;
}
constexpr int kDistinctStages = 2;
inline Made make_distinct(int stage, int type, Py_ssize_t n) {
    DistinctParams p{n, tally_parts(n), tally_part(n), std::min<Py_ssize_t>(std::max<Py_ssize_t>(n / 64, 1), kLeastSample)};
    Made made;
    made.run = with_type(type, [stage](auto x) -> KernelRun {
        using T = decltype(x);
        return stage == 0 ? plain_kernel<LookAtRow<T>>() : pick_kernel<TallyRow<T>>();
    });
    if (stage == 1) made.finish = with_type(type, [](auto x) -> KernelFinish { return join_row<decltype(x)>; });
    made.params = new DistinctParams(p);
    made.drop = drop_params<DistinctParams>;
    made.extent = stage == 0 ? 1 : p.parts;
    made.scratch_bytes = padded(sizeof(DistinctParams::Notes)) + (p.parts << kMostTallyBits) * (Py_ssize_t)(sizeof(Tallied) + 8);
    return made;
}

}  // namespace la
