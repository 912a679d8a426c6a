// Reductions of a C-contiguous (outer, red, inner) array over its middle axis.
//
// The tree is a function of `red` alone. Elements come in blocks of 1024. In a block, element j belongs to lane j % 32;
// a lane joins its elements in order, starting from its first. The lanes in use are folded: for h = 16, 8, 4, 2, 1, lane
// k takes lane k + h in where both hold something. Blocks are joined as by a binary counter: whenever two neighbouring
// runs of 2**k blocks each are complete they become one, and at the end the shorter runs are joined into the longer ones
// from the right. Chunks of 2**k blocks are nodes of that tree, so a long reduction is split into chunks whose results
// `finish` joins by the same counter. Columns of `inner` never meet; that a tile holds several changes nothing.
// float16 accumulates in float32, other types in the result's type; elements are converted first, as in NumPy.
#pragma once
#include <algorithm>
#include <vector>

#include "lanes.hpp"

namespace la {

constexpr Py_ssize_t kTileBytes = 4096;     // of a lane's accumulators; shorter pieces of rows miss the TLB too often
constexpr Py_ssize_t kNarrowTile = 1024;    // where wide tiles would leave fewer than kFewUnits units
constexpr Py_ssize_t kFewUnits = 16;
constexpr Py_ssize_t kChunk = 65536;        // elements in a chunk of a split reduction, about
constexpr Py_ssize_t kRowsOfLanes = 256;    // from which lanes are units: their partial results are written and read once more
constexpr Py_ssize_t kAhead = 4;            // rows of a lane whose elements are on their way from memory
constexpr Py_ssize_t kUnits = 32;           // more independent units than this are not split further
constexpr Py_ssize_t kGrainElements = 16384;

struct ReduceParams {
    LoopFn convert_in = nullptr, convert_out = nullptr;  // null: the accumulator's type already
    Py_ssize_t in_size, acc_size, out_size;
    Py_ssize_t outer, red, inner;
    Py_ssize_t width, tiles;           // columns in a tile, tiles
    Py_ssize_t chunk_rows, chunks;     // rows in a chunk
    Py_ssize_t results;                // outer * inner
    Py_ssize_t memory;                 // bytes of working storage for a run
    bool by_lanes = false;             // a unit is a lane of one block
    uint8_t top = 255;                 // of elements of one byte: none exceeds it
};

// Where a tile's rows lie; converts them on the way.
struct Rows {
    const ReduceParams& p;
    const char* base;          // row 0 of the tile
    Py_ssize_t width;
    char* converted;           // kLanes * width accumulators

    bool flat() const { return width == p.inner; }
    // Rows [row, row + n), contiguous; only if flat().
    LA_INLINE const char* stripe(const Rows& self, Py_ssize_t row, Py_ssize_t n) {
        return fetch(self, self.base + row * self.p.inner * self.p.in_size, n * self.width);
    }
    LA_INLINE const char* row(const Rows& self, Py_ssize_t row) {
        return fetch(self, self.base + row * self.p.inner * self.p.in_size, self.width);
    }
    LA_INLINE const char* fetch(const Rows& self, const char* at, Py_ssize_t n) {
        if (!self.p.convert_in) return at;
        char* args[] = {const_cast<char*>(at), self.converted};
        Py_ssize_t steps[] = {self.p.in_size, self.p.acc_size};
        self.p.convert_in(args, &n, steps, nullptr);
        return self.converted;
    }
};

// Of rows [first, first + n) in the order of lanes, row r of a lane; past its last row, those of the next lane.
LA_INLINE void ask(const Rows& rows, Py_ssize_t first, Py_ssize_t n, Py_ssize_t lane, Py_ssize_t r) {
    if (r >= n) r = std::min(lane + 1 + (r - n) / kLanes * kLanes, n - 1);
    const char* at = rows.base + (first + r) * rows.p.inner * rows.p.in_size;
    for (Py_ssize_t k = 0; k < rows.width * rows.p.in_size; k += 64) __builtin_prefetch(at + k);
}

// A lane of rows [first, first + n): its accumulators stay in the L1 cache while its rows go by. The cache lines of the rows
// that come next are asked for: they lie too far apart for the processor to guess.
template <class T, class Op>
LA_INLINE void one_lane(const Rows& rows, Py_ssize_t first, Py_ssize_t n, Py_ssize_t lane, T* acc) {
    Py_ssize_t width = rows.width, r = lane + kLanes;
    std::memcpy(acc, Rows::row(rows, first + lane), (size_t)width * sizeof(T));
    // An extreme that looks for NaN four times over is no vector code.
    for (; !by_pairs<T, Op> && !rows.p.convert_in && r + 3 * kLanes < n; r += 4 * kLanes) {
        const T *x[4];
        for (int k = 0; k < 4; k++) {
            x[k] = (const T*)Rows::row(rows, first + r + k * kLanes);
            ask(rows, first, n, lane, r + (k + kAhead) * kLanes);
        }
        join_four<T, Op>(acc, x[0], x[1], x[2], x[3], width);
    }
    for (; r < n; r += kLanes) {
        ask(rows, first, n, lane, r + kAhead * kLanes);
        join_into<T, Op>(acc, (const T*)Rows::row(rows, first + r), width);
    }
}

// Rows [first, first + n), n <= kBlock, into lanes[0 .. width).
template <class T, class Op>
LA_INLINE void reduce_block(const Rows& rows, Py_ssize_t first, Py_ssize_t n, T* lanes) {
    Py_ssize_t width = rows.width, used = std::min(n, kLanes);
    if (width == 1 && rows.flat() && n >= kLanes) {
        column_lanes<T, Op>((const T*)Rows::stripe(rows, first, n), n, lanes);
    } else if (rows.flat()) {
        std::memcpy(lanes, Rows::stripe(rows, first, used), (size_t)(used * width) * sizeof(T));
        for (Py_ssize_t r = kLanes; r < n; r += kLanes) {
            Py_ssize_t m = std::min(kLanes, n - r);
            join_into<T, Op>(lanes, (const T*)Rows::stripe(rows, first + r, m), m * width);
        }
    } else {
        for (Py_ssize_t lane = 0; lane < used; lane++) one_lane<T, Op>(rows, first, n, lane, lanes + lane * width);
    }
    fold_lanes<T, Op>(lanes, used, width);
}

// The binary counter over items of `width` accumulators.
template <class T, class Op> struct Counter {
    T* stack;
    Py_ssize_t width, depth = 0, items = 0;
    LA_INLINE void push(Counter& c, const T* item) {
        std::memcpy(c.stack + c.depth * c.width, item, (size_t)c.width * sizeof(T));
        c.depth++;
        for (Py_ssize_t k = ++c.items; !(k & 1); k >>= 1) join_top(c);
    }
    LA_INLINE void join_top(Counter& c) {
        c.depth--;
        T* top = c.stack + c.depth * c.width;
        join_into<T, Op>(top - c.width, top, c.width);
    }
    LA_INLINE const T* total(Counter& c) {
        while (c.depth > 1) join_top(c);
        return c.stack;
    }
};
constexpr Py_ssize_t kDepth = 64;

LA_INLINE void write_results(const ReduceParams& p, const char* acc, char* out, Py_ssize_t n) {
    if (!p.convert_out) {
        std::memcpy(out, acc, (size_t)(n * p.out_size));
        return;
    }
    char* args[] = {const_cast<char*>(acc), out};
    Py_ssize_t steps[] = {p.acc_size, p.out_size};
    p.convert_out(args, &n, steps, nullptr);
}

// What unit (outer index, chunk, tile) covers.
struct Unit {
    Py_ssize_t o, chunk, column, width, row, rows;
    Unit(const ReduceParams& p, Py_ssize_t u) {
        Py_ssize_t t = 0;
        chunk = 0;
        o = u;
        if (p.tiles * p.chunks > 1) {
            t = u % p.tiles;
            chunk = u / p.tiles % p.chunks;
            o = u / p.tiles / p.chunks;
        }
        column = t * p.width;
        width = std::min(p.width, p.inner - column);
        row = chunk * p.chunk_rows;
        rows = std::min(p.chunk_rows, p.red - row);
    }
    const char* base(const ReduceParams& p, char* x) const {
        return x + ((o * p.red + row) * p.inner + column) * p.in_size;
    }
    Py_ssize_t result(const ReduceParams& p) const { return o * p.inner + column; }
};

template <class T, class Op> struct TreeReduce {
    // Rows that fit the lanes: several are folded side by side, so that the joins are vector code.
    LA_INLINE int short_rows(const ReduceParams& p, char** args, T* lanes, Py_ssize_t begin, Py_ssize_t end) {
        constexpr Py_ssize_t side = kBlock / kLanes / 2;
        Rows rows{p, args[0], 1, (char*)(lanes + side * kLanes)};
        for (Py_ssize_t u = begin; u < end; u += side) {
            Py_ssize_t n = std::min(side, end - u);
            const T* x = (const T*)Rows::stripe(rows, u * p.red, n * p.red);
            for (Py_ssize_t i = 0; i < n; i++)
                for (Py_ssize_t k = 0; k < p.red; k++) lanes[k * n + i] = x[i * p.red + k];
            fold_lanes<T, Op>(lanes, p.red, n);
            write_results(p, (const char*)lanes, args[1] + u * p.out_size, n);
        }
        return 0;
    }
    // Joins of integers have the same bits in any order.
    LA_INLINE T line_of_integers(const Rows& rows, Py_ssize_t n) {
        T total{};
        Py_ssize_t most = rows.p.convert_in ? kBlock : n;
        for (Py_ssize_t r = 0; r < n; r += most) {
            Py_ssize_t m = std::min(most, n - r);
            const T* x = (const T*)Rows::stripe(rows, r, m);
            T found = x[0];
            for (Py_ssize_t k = 1; k < m; k++) found = Op::join(found, x[k]);
            total = r ? Op::join(total, found) : found;
        }
        return total;
    }
    // The totals of n rows, in `lanes` or in `stack`; `direct`: of lines as they lie in memory, by pairs.
    LA_INLINE const T* tree_total(const Rows& rows, Py_ssize_t n, bool direct, T* lanes, T* stack) {
        if (n <= kBlock) {
            reduce_block<T, Op>(rows, 0, n, lanes);
            return lanes;
        }
        Counter<T, Op> counter{stack, rows.width};
        Py_ssize_t r = 0;
        for (const T* x = (const T*)rows.base; direct && r + 2 * kBlock <= n; r += 2 * kBlock) {
            pair_totals<T, Op>(x + r, x + r + kBlock, kBlock, lanes);
            Counter<T, Op>::push(counter, lanes);
            Counter<T, Op>::push(counter, lanes + 1);
        }
        for (; r < n; r += kBlock) {
            reduce_block<T, Op>(rows, r, std::min(kBlock, n - r), lanes);
            Counter<T, Op>::push(counter, lanes);
        }
        return Counter<T, Op>::total(counter);
    }
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const ReduceParams& p = *static_cast<const ReduceParams*>(params);
        char* memory = scratch(p.memory);
        if (!memory) return kNoMemory;
        T* lanes = (T*)memory;
        if (p.by_lanes) {
            for (Py_ssize_t u = begin; u < end; u++) {
                Rows rows{p, args[0] + u / kLanes * p.red * p.inner * p.in_size, p.inner, memory};
                T* acc = (T*)args[2] + u * p.inner;
                std::memcpy(acc, Rows::row(rows, u % kLanes), (size_t)p.inner * sizeof(T));
                for (Py_ssize_t r = u % kLanes + kLanes; r < p.red; r += kLanes)
                    join_into<T, Op>(acc, (const T*)Rows::row(rows, r), p.inner);
            }
            return 0;
        }
        if (p.inner == 1 && p.red <= kLanes) return short_rows(p, args, lanes, begin, end);
        T* stack = lanes + kLanes * p.width;
        bool direct = by_pairs<T, Op> && p.inner == 1 && !p.convert_in;  // lines as they lie in memory
        bool quick = direct;
        for (Py_ssize_t u = begin; u < end; u++) {
            Unit unit(p, u);
            if (direct && p.red <= kBlock && u + 1 < end) {
                const T* x = (const T*)args[0] + u * p.red;
                T totals[2];
                pair_totals<T, Op>(x, x + p.red, p.red, totals);
                write_results(p, (const char*)totals, args[1] + u * p.out_size, 2);
                u++;
                continue;
            }
            Rows rows{p, unit.base(p, args[0]), unit.width, (char*)(stack + kDepth * p.width)};
            const T* total = lanes;
            if constexpr (by_pairs<T, Op>)
                quick = quick && unit.rows > kBlock && extreme_joined<T, Op>((const T*)rows.base, unit.rows, lanes);
            if (std::is_integral_v<T> && p.inner == 1) lanes[0] = line_of_integers(rows, unit.rows);
            else if (!quick) total = tree_total(rows, unit.rows, direct, lanes, stack);
            if (p.chunks == 1)
                write_results(p, (const char*)total, args[1] + unit.result(p) * p.out_size, unit.width);
            else
                std::memcpy((T*)args[2] + unit.chunk * p.results + unit.result(p), total, (size_t)unit.width * sizeof(T));
        }
        return 0;
    }
    // The partial results lie at args[2] as (chunk, result), and the counter's stack behind them; or as (outer, lane, inner).
    static int finish(const void* params, char** args) {
        const ReduceParams& p = *static_cast<const ReduceParams*>(params);
        T* partial = (T*)args[2];
        if (p.by_lanes) {
            for (Py_ssize_t o = 0; o < p.outer; o++) {
                T* lanes = partial + o * kLanes * p.inner;
                fold_lanes<T, Op>(lanes, kLanes, p.inner);
                write_results(p, (const char*)lanes, args[1] + o * p.inner * p.out_size, p.inner);
            }
            return 0;
        }
        Counter<T, Op> counter{partial + p.chunks * p.results, p.results};
        for (Py_ssize_t c = 0; c < p.chunks; c++) Counter<T, Op>::push(counter, partial + c * p.results);
        write_results(p, (const char*)Counter<T, Op>::total(counter), args[1], p.results);
        return 0;
    }
};

// any and all of lines of one column: a line is left at the block that decides it.
template <class T, bool kAny> struct TruthReduce {
    LA_INLINE bool decided(const T* x, Py_ssize_t n) {
        uint8_t found = 0;
        for (Py_ssize_t i = 0; i < n; i++) found |= (uint8_t)(truth(x[i]) == kAny);
        return found;
    }
    LA_INLINE bool line(const T* x, Py_ssize_t n) {
        for (; n >= kBlock; x += kBlock, n -= kBlock)
            if (decided(x, kBlock)) return kAny;
        return decided(x, n) ? kAny : !kAny;
    }
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const ReduceParams& p = *static_cast<const ReduceParams*>(params);
        for (Py_ssize_t u = begin; u < end; u++) {
            Unit unit(p, u);
            uint8_t found = line((const T*)unit.base(p, args[0]), unit.rows);
            if (p.chunks == 1) write_results(p, (const char*)&found, args[1] + u * p.out_size, 1);
            else ((uint8_t*)args[2])[unit.chunk * p.results + unit.o] = found;
        }
        return 0;
    }
};

template <class T> struct Best { T value; int64_t index; };

template <class T, class Op> struct ArgReduce {
    static constexpr bool in_one_pass = (sizeof(T) == 4 || sizeof(T) == 8) && !is_complex<T>::value;
    // The first extreme of n elements, kLanes <= n <= kBlock, in one pass: each lane remembers in which stripe it met its own.
    // The last stripe overlaps the one before; an element that is met twice has one place. False where there is a NaN.
    LA_INLINE bool line(const T* x, Py_ssize_t n, Best<T>& best) {
        using I = Mask<T>;
        T acc[kLanes];
        I at[kLanes], odd[kLanes] = {};
        std::memcpy(acc, x, sizeof acc);
        for (Py_ssize_t k = 0; k < kLanes; k++) at[k] = (I)k;
        for (Py_ssize_t done = 0; done < n; done += kLanes) {
            Py_ssize_t from = std::min(done, n - kLanes);
            for (Py_ssize_t k = 0; k < kLanes; k++) {
                T p = x[from + k], old = acc[k];
                bool better = Op::maximum ? p > old : p < old;
                if constexpr (std::is_floating_point_v<T>) {
                    // By bits: two selects on one condition become stores under a mask, which the next stripe waits for.
                    I hit = -(I)better;
                    acc[k] = Op::Numbers::join(old, p);
                    at[k] = (at[k] & ~hit) | ((I)(from + k) & hit);
                    odd[k] |= (I)(p != p);
                } else {
                    acc[k] = better ? p : old;
                    at[k] = better ? (I)(from + k) : at[k];
                }
            }
        }
        T extremes[kLanes + 64];  // room for a whole vector, which GCC assumes
        std::memcpy(extremes, acc, sizeof acc);
        fold_lanes<T, typename Op::Numbers>(extremes, kLanes, 1);
        I found = 0, place = (I)n;
        for (Py_ssize_t k = 0; k < kLanes; k++) found |= odd[k];
        if (found) return false;
        for (Py_ssize_t k = 0; k < kLanes; k++) {
            I here = acc[k] == extremes[0] ? at[k] : (I)n;
            place = here < place ? here : place;
        }
        best = {x[place], place};
        return true;
    }
    // Elements [first, first + m) of a column, m <= kBlock: they are searched only if their extreme is better than the
    // best so far. Whether later elements can be better still.
    LA_INLINE bool search(const T* x, Py_ssize_t first, Py_ssize_t m, T* lanes, Best<T>& best) {
        T extreme = x[0];
        if (!std::is_integral_v<T> && m >= kLanes) {
            column_lanes<T, Op>(x, m, lanes);
            fold_lanes<T, Op>(lanes, kLanes, 1);
            extreme = lanes[0];
        } else {
            for (Py_ssize_t k = 1; k < m; k++) extreme = Op::join(extreme, x[k]);
        }
        if (first && !Op::better(extreme, best.value)) return true;
        bool nan = is_nan(extreme);
        Py_ssize_t i = nan ? find<true>(x, m, extreme) : find<false>(x, m, extreme);
        best = {x[i], first + i};
        return !nan;
    }
    // Where the extreme of m elements is, or their first NaN. No branch: in short lines it would be mispredicted.
    template <bool kNan> LA_INLINE Py_ssize_t find(const T* x, Py_ssize_t m, T extreme) {
        if constexpr (is_complex<T>::value) {
            Py_ssize_t i = 0;
            while (kNan ? !is_nan(x[i]) : less(x[i], extreme) || less(extreme, x[i])) i++;
            return i;
        } else {
            using I = std::conditional_t<sizeof(T) == 8, int64_t, std::conditional_t<sizeof(T) == 4, int32_t, int16_t>>;
            constexpr Py_ssize_t step = 4 * kLanes;
            Py_ssize_t passed = 0;
            for (; m > 2 * step; x += step, m -= step, passed += step) {
                I found = 0;
                for (Py_ssize_t i = 0; i < step; i++) found |= (I)(kNan ? is_nan(x[i]) : x[i] == extreme);
                if (found) {
                    m = step;
                    break;
                }
            }
            I at = (I)m;
            for (I i = 0; i < (I)m; i++) {
                bool here = kNan ? is_nan(x[i]) : x[i] == extreme;
                I k = here ? i : (I)m;
                at = k < at ? k : at;
            }
            return passed + at;
        }
    }
    LA_INLINE void column(const Rows& rows, Py_ssize_t n, T* lanes, Best<T>& best) {
        for (Py_ssize_t r = 0; r < n; r += kBlock) {
            Py_ssize_t m = std::min(kBlock, n - r);
            if (!search((const T*)Rows::stripe(rows, r, m), r, m, lanes, best)) return;
            if constexpr (std::is_same_v<T, uint8_t>)
                if (best.value == (Op::maximum ? rows.p.top : 0)) return;
        }
    }
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const ReduceParams& p = *static_cast<const ReduceParams*>(params);
        char* memory = scratch(p.memory);
        if (!memory) return kNoMemory;
        int64_t* index = (int64_t*)memory;
        T* lanes = (T*)(index + p.width);
        T* value = lanes + kLanes;
        for (Py_ssize_t u = begin; u < end; u++) {
            Unit unit(p, u);
            Rows rows{p, unit.base(p, args[0]), unit.width, (char*)(value + p.width)};
            if (p.inner == 1) {
                Best<T> best{};
                bool known = false;
                if constexpr (in_one_pass)
                    if (kLanes <= unit.rows && unit.rows <= kBlock)
                        known = line((const T*)Rows::stripe(rows, 0, unit.rows), unit.rows, best);
                if (!known) column(rows, unit.rows, lanes, best);
                value[0] = best.value;
                index[0] = best.index;
            } else {
                std::memcpy(value, Rows::row(rows, 0), (size_t)unit.width * sizeof(T));
                std::fill_n(index, unit.width, 0);
                for (Py_ssize_t r = 1; r < unit.rows; r++) {
                    const T* x = (const T*)Rows::row(rows, r);
                    for (Py_ssize_t k = 0; k < unit.width; k++) {
                        bool better = Op::better(x[k], value[k]);
                        value[k] = better ? x[k] : value[k];
                        index[k] = better ? r : index[k];
                    }
                }
            }
            if (p.chunks == 1) {
                std::memcpy((int64_t*)args[1] + unit.result(p), index, (size_t)unit.width * 8);
            } else {
                Best<T>* partial = (Best<T>*)args[2] + unit.chunk * p.results + unit.result(p);
                for (Py_ssize_t k = 0; k < unit.width; k++) partial[k] = {value[k], index[k] + unit.row};
            }
        }
        return 0;
    }
    static int finish(const void* params, char** args) {
        const ReduceParams& p = *static_cast<const ReduceParams*>(params);
        const Best<T>* partial = (const Best<T>*)args[2];
        for (Py_ssize_t k = 0; k < p.results; k++) {
            Best<T> best = partial[k];
            for (Py_ssize_t c = 1; c < p.chunks; c++)
                if (Op::better(partial[c * p.results + k].value, best.value)) best = partial[c * p.results + k];
            ((int64_t*)args[1])[k] = best.index;
        }
        return 0;
    }
};

// An empty axis: the results are the identity's bytes.
struct EmptyReduce { Py_ssize_t out_size, results; char identity[16]; };
inline int run_empty_reduce(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const EmptyReduce*>(params);
    for (Py_ssize_t i = begin; i < end; i++) std::memcpy(args[1] + i * p.out_size, p.identity, (size_t)p.out_size);
    return 0;
}
inline Made make_empty_reduce(Py_ssize_t out_size, Py_ssize_t results, const char* identity) {
    auto* p = new EmptyReduce{out_size, results, {}};
    std::memcpy(p->identity, identity, (size_t)out_size);
    Made made;
    made.run = run_empty_reduce;
    made.params = p;
    made.drop = drop_params<EmptyReduce>;
    made.extent = results;
    made.grain = 4096;
    return made;
}

template <class Body> void choose(Made& made) {
    made.run = pick_kernel<Body>();
    made.finish = Body::finish;
}
template <class Body> void choose_plain(Made& made) {
    made.run = plain_kernel<Body>();
    made.finish = Body::finish;
}
template <class T> bool choose_reduce(int op, Made& made) {
    if constexpr (std::is_unsigned_v<T> || std::is_floating_point_v<T> || is_complex<T>::value) {
        if (op == kSum) return choose<TreeReduce<T, Add>>(made), true;
        if constexpr (!is_complex<T>::value)
            if (op == kProd) return choose<TreeReduce<T, Multiply>>(made), true;
        if (op == kProd) return choose_plain<TreeReduce<T, Multiply>>(made), true;
    }
    if constexpr (is_complex<T>::value) {
        switch (op) {
        case kMin: return choose_plain<TreeReduce<T, Extreme<false>>>(made), true;
        case kMax: return choose_plain<TreeReduce<T, Extreme<true>>>(made), true;
        case kArgmin: return choose_plain<ArgReduce<T, Extreme<false>>>(made), true;
        case kArgmax: return choose_plain<ArgReduce<T, Extreme<true>>>(made), true;
        }
    } else if constexpr (!is_bool<T> && !is_half<T>) {
        switch (op) {
        case kMin: return choose<TreeReduce<T, Extreme<false>>>(made), true;
        case kMax: return choose<TreeReduce<T, Extreme<true>>>(made), true;
        case kArgmin: return choose<ArgReduce<T, Extreme<false>>>(made), true;
        case kArgmax: return choose<ArgReduce<T, Extreme<true>>>(made), true;
        }
    }
    if constexpr (std::is_floating_point_v<T>) {
        if (op == kFmin) return choose<TreeReduce<T, Known<false>>>(made), true;
        if (op == kFmax) return choose<TreeReduce<T, Known<true>>>(made), true;
    } else if constexpr (is_complex<T>::value) {
        if (op == kFmin) return choose_plain<TreeReduce<T, Known<false>>>(made), true;
        if (op == kFmax) return choose_plain<TreeReduce<T, Known<true>>>(made), true;
    }
    return false;
}

template <class T> KernelRun choose_truth(bool any) {
    return any ? pick_kernel<TruthReduce<T, true>>() : pick_kernel<TruthReduce<T, false>>();
}

// Cuts `inner` into tiles of at most `widest` columns, and `red` into chunks where that gives too few units.
inline void set_tiles(ReduceParams& p, Py_ssize_t widest) {
    p.tiles = std::max<Py_ssize_t>((p.inner + widest - 1) / widest, 1);
    p.width = p.inner;
    if (p.tiles > 1) {
        p.width = ((p.inner + p.tiles - 1) / p.tiles + 15) / 16 * 16;
        p.tiles = (p.inner + p.width - 1) / p.width;
    }
    p.chunk_rows = kBlock;
    while (p.chunk_rows * std::max<Py_ssize_t>(p.width, 1) < kChunk) p.chunk_rows *= 2;
    p.chunks = (p.red + p.chunk_rows - 1) / p.chunk_rows;
    if (p.outer * p.tiles >= kUnits || p.chunks < 2) {
        p.chunks = 1;
        p.chunk_rows = p.red;
    }
}

// Elements are converted from `in` to `via`, which has the bytes of `acc`, and results from `via` to `out`. For argmin and
// argmax `out` is int64 and not converted to.
inline Made make_reduce(int op, int in, int via, int acc, int out, Py_ssize_t outer, Py_ssize_t red, Py_ssize_t inner) {
    Made made;
    bool arg = op == kArgmin || op == kArgmax;
    if (!with_type(acc, [&](auto x) { return choose_reduce<decltype(x)>(op, made); })) return made;
    // Of bytes that are 0 or 1: what is not 0 or 1 yet need not become it first.
    if (via == kBool && out == kBool && inner == 1 && red > 2 * kLanes && (op == kMin || op == kMax))
        made.run = with_type(in, [op](auto x) { return choose_truth<decltype(x)>(op == kMax); });
    auto* p = new ReduceParams{};
    if (in != via) p->convert_in = find_cast(in, via);
    if (out != via && !arg) p->convert_out = find_cast(via, out);
    p->in_size = type_size(in);
    p->acc_size = type_size(acc);
    p->out_size = type_size(out);
    p->outer = outer;
    p->red = red;
    p->inner = inner;
    p->results = outer * inner;
    if (via == kBool) p->top = 1;
    set_tiles(*p, kTileBytes / p->acc_size);
    // Whole rows are read faster than pieces of them, the prefetched rest of which nobody wants yet.
    p->by_lanes = !arg && outer * p->tiles * p->chunks < kFewUnits && p->chunks == 1 && red >= kRowsOfLanes && red <= kBlock &&
                  inner * p->acc_size >= kNarrowTile;
    if (!p->by_lanes && outer * p->tiles * p->chunks < kFewUnits) set_tiles(*p, kNarrowTile / p->acc_size);
    p->memory = (kLanes + kDepth + kLanes + 4) * std::max<Py_ssize_t>(p->width, 1) * std::max<Py_ssize_t>(p->acc_size, 8) +
                kBlock * p->acc_size;
    if (p->by_lanes) {
        p->tiles = 1;
        p->width = inner;
        p->memory = inner * p->acc_size;
        made.scratch_bytes = kLanes * p->results * p->acc_size;
    } else if (p->chunks > 1)
        made.scratch_bytes = arg ? p->chunks * p->results * 32 : (p->chunks + kDepth) * p->results * p->acc_size;
    else
        made.finish = nullptr;
    made.params = p;
    made.drop = drop_params<ReduceParams>;
    made.extent = p->results ? outer * p->chunks * p->tiles * (p->by_lanes ? kLanes : 1) : 0;
    Py_ssize_t per_unit = std::max<Py_ssize_t>(p->chunk_rows * p->width / (p->by_lanes ? kLanes : 1), 1);
    made.grain = std::max<Py_ssize_t>(kGrainElements / per_unit, 1);
    return made;
}

}  // namespace la
