// The arithmetic of a reduction behind pointers, for kernels that compute what they reduce.
//
// The tree is that of reduce.hpp. A Fold of a tree has `join` and `lines`; one that finds positions has `lines` and
// `search`, and keeps the best value and its index for each column.
#pragma once
#include "reduce.hpp"

namespace la {

constexpr Py_ssize_t kSide = 16;  // short lines that are folded side by side
template <class T> constexpr Py_ssize_t kRoom = kLanes + 64 / sizeof(T);  // for a whole vector, which GCC assumes

// a[i] joined with b[i]: args {a, b}, dimensions {n}.
template <class T, class Op> struct JoinLoop {
    LA_INLINE void run(char** args, const Py_ssize_t* n, const Py_ssize_t*, void*) {
        join_into<T, Op>((T*)args[0], (const T*)args[1], n[0]);
    }
};

// Whole trees over contiguous lines: args {x, accumulators}, dimensions {lines, length}.
template <class T, class Op> struct TreeLines {
    LA_INLINE void short_lines(const T* x, Py_ssize_t lines, Py_ssize_t n, T* out) {
        T lanes[kLanes * kSide];
        for (Py_ssize_t u = 0; u < lines; u += kSide) {
            Py_ssize_t side = std::min(kSide, lines - u);
            const T* at = x + u * n;
            if (side == kSide) {
                for (Py_ssize_t i = 0; i < kSide; i++)
                    for (Py_ssize_t k = 0; k < n; k++) lanes[k * kSide + i] = at[i * n + k];
                fold_lanes<T, Op>(lanes, n, kSide);
            } else {
                for (Py_ssize_t i = 0; i < side; i++)
                    for (Py_ssize_t k = 0; k < n; k++) lanes[k * side + i] = at[i * n + k];
                fold_lanes<T, Op>(lanes, n, side);
            }
            std::memcpy(out + u, lanes, (size_t)side * sizeof(T));
        }
    }
    LA_INLINE T block(const T* x, Py_ssize_t n, T* lanes) {
        if (n >= kLanes) {
            column_lanes<T, Op>(x, n, lanes);
            fold_lanes<T, Op>(lanes, kLanes, 1);
        } else {
            std::memcpy(lanes, x, (size_t)n * sizeof(T));
            fold_lanes<T, Op>(lanes, n, 1);
        }
        return lanes[0];
    }
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t*, void*) {
        const T* x = (const T*)args[0];
        T* out = (T*)args[1];
        Py_ssize_t lines = dimensions[0], n = dimensions[1];
        if (n <= kLanes && lines > 1) return short_lines(x, lines, n, out);
        if (n >= kLanes && n <= kBlock)
            for (; lines > 1; lines -= 2, x += 2 * n, out += 2) pair_totals<T, Op>(x, x + n, n, out);
        T lanes[kLanes], stack[kDepth];
        for (Py_ssize_t i = 0; i < lines; i++, x += n) {
            if (n <= kBlock) {
                out[i] = block(x, n, lanes);
                continue;
            }
            Counter<T, Op> counter{stack, 1};
            for (Py_ssize_t r = 0; r < n; r += kBlock) {
                T item = block(x + r, std::min(kBlock, n - r), lanes);
                Counter<T, Op>::push(counter, &item);
            }
            out[i] = *Counter<T, Op>::total(counter);
        }
    }
};

// Totals of lines from those of their blocks: args {items, accumulators}, dimensions {lines, blocks}.
template <class T, class Op> struct BlockTotals {
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t*, void*) {
        const T* x = (const T*)args[0];
        T *out = (T*)args[1], stack[kDepth];
        for (Py_ssize_t i = 0; i < dimensions[0]; i++) {
            Counter<T, Op> counter{stack, 1};
            for (Py_ssize_t b = 0; b < dimensions[1]; b++) Counter<T, Op>::push(counter, x++);
            out[i] = *Counter<T, Op>::total(counter);
        }
    }
};

// Positions in contiguous lines: args {x, int64}, dimensions {lines, length}.
template <class T, class Op> struct ArgLines {
    // Several lines side by side: the extreme of each, and where it is first, or the first NaN.
    template <class I> LA_INLINE void side_by_side(const T* x, Py_ssize_t n, Py_ssize_t side, int64_t* out) {
        T turned[kLanes * kSide], value[kSide];
        I index[kSide];
        for (Py_ssize_t i = 0; i < side; i++) {
            value[i] = x[i * n];
            index[i] = 0;
        }
        for (Py_ssize_t first = 0; first < n; first += kLanes) {
            Py_ssize_t rows = std::min(n - first, kLanes);
            for (Py_ssize_t i = 0; i < side; i++)
                for (Py_ssize_t k = 0; k < rows; k++) turned[k * kSide + i] = x[i * n + first + k];
            for (Py_ssize_t k = first ? 0 : 1; k < rows; k++)
                for (Py_ssize_t i = 0; i < side; i++) {
                    T found = turned[k * kSide + i];
                    bool better = Op::better(found, value[i]);
                    value[i] = better ? found : value[i];
                    index[i] = better ? (I)(first + k) : index[i];
                }
        }
        for (Py_ssize_t i = 0; i < side; i++) out[i] = index[i];
    }
    LA_INLINE void short_lines(const T* x, Py_ssize_t lines, Py_ssize_t n, int64_t* out) {
        using I = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
        for (; lines > 0; lines -= kSide, x += kSide * n, out += kSide)
            side_by_side<I>(x, n, std::min(lines, kSide), out);
    }
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t*, void*) {
        const T* x = (const T*)args[0];
        int64_t* out = (int64_t*)args[1];
        T lanes[kLanes];
        Py_ssize_t n = dimensions[1];
        if (n <= 3 * kLanes) return short_lines(x, dimensions[0], n, out);
        for (Py_ssize_t i = 0; i < dimensions[0]; i++, x += n) {
            Best<T> best{};
            for (Py_ssize_t r = 0; r < n; r += kBlock) {
                Py_ssize_t m = std::min(kBlock, n - r);
                if (!ArgReduce<T, Op>::search(x + r, r, m, lanes, best)) break;
            }
            out[i] = best.index;
        }
    }
};

// More rows of some columns: args {values, indices, x}, dimensions {rows, columns}, steps {first row}; at row 0 it begins.
template <class T, class Op> struct ArgSearch {
    LA_INLINE void run(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void*) {
        T* value = (T*)args[0];
        int64_t* index = (int64_t*)args[1];
        const T* x = (const T*)args[2];
        Py_ssize_t rows = dimensions[0], width = dimensions[1], first = steps[0];
        if (width == 1) {
            T lanes[kLanes];
            Best<T> best{value[0], index[0]};
            for (Py_ssize_t r = 0; r < rows; r += kBlock) {
                Py_ssize_t m = std::min(kBlock, rows - r);
                if (!ArgReduce<T, Op>::search(x + r, first + r, m, lanes, best)) break;
            }
            value[0] = best.value;
            index[0] = best.index;
            return;
        }
        for (Py_ssize_t r = 0; r < rows; r++, x += width) {
            if (first + r == 0) {
                std::memcpy(value, x, (size_t)width * sizeof(T));
                std::fill_n(index, width, 0);
                continue;
            }
            for (Py_ssize_t k = 0; k < width; k++) {
                bool better = Op::better(x[k], value[k]);
                value[k] = better ? x[k] : value[k];
                index[k] = better ? first + r : index[k];
            }
        }
    }
};

// The later part of some columns into the earlier one: args {values, indices, later values, later indices}, {columns}.
template <class T, class Op> struct ArgJoin {
    LA_INLINE void run(char** args, const Py_ssize_t* n, const Py_ssize_t*, void*) {
        T *value = (T*)args[0], *later = (T*)args[2];
        int64_t *index = (int64_t*)args[1], *later_index = (int64_t*)args[3];
        for (Py_ssize_t k = 0; k < n[0]; k++)
            if (Op::better(later[k], value[k])) {
                value[k] = later[k];
                index[k] = later_index[k];
            }
    }
};

struct Fold {
    LoopFn lines = nullptr, join = nullptr, search = nullptr;  // search: of positions only
    LoopFn totals = nullptr;                                   // of lines, from their blocks'
    LoopFn convert = nullptr;                                  // accumulators to results; null: they are results
    Py_ssize_t size = 0, result_size = 0;                      // of an accumulator, of a result
    bool positions() const { return search != nullptr; }
};

template <class Body, bool kWide> LoopFn fold_loop() {
    if constexpr (kWide) return pick_loop<Body>();
    else return plain_loop<Body>();
}
template <class T, class Op, bool kWide> void choose_tree(Fold& fold) {
    fold.join = fold_loop<JoinLoop<T, Op>, kWide>();
    fold.lines = fold_loop<TreeLines<T, Op>, kWide>();
    fold.totals = plain_loop<BlockTotals<T, Op>>();
}
template <class T, class Op, bool kWide> void choose_positions(Fold& fold) {
    fold.join = fold_loop<ArgJoin<T, Op>, false>();
    fold.lines = fold_loop<ArgLines<T, Op>, kWide>();
    fold.search = fold_loop<ArgSearch<T, Op>, kWide>();
}

template <class T> void choose_fold(int op, Fold& fold) {
    constexpr bool floating = std::is_floating_point_v<T>, complex = is_complex<T>::value;
    constexpr bool wide = !complex && sizeof(T) > 1;
    if constexpr (std::is_unsigned_v<T> || floating || complex) {
        if (op == kSum) return choose_tree<T, Add, (sizeof(T) > 1)>(fold);
        if (op == kProd) return choose_tree<T, Multiply, wide>(fold);
    }
    if constexpr (floating || complex) {
        if (op == kFmin) return choose_tree<T, Known<false>, floating>(fold);
        if (op == kFmax) return choose_tree<T, Known<true>, floating>(fold);
    }
    if constexpr (!is_bool<T> && !is_half<T>) {
        switch (op) {
        case kMin: return choose_tree<T, Extreme<false>, wide>(fold);
        case kMax: return choose_tree<T, Extreme<true>, wide>(fold);
        case kArgmin: return choose_positions<T, Extreme<false>, floating>(fold);
        case kArgmax: return choose_positions<T, Extreme<true>, floating>(fold);
        }
    }
}

// Of elements of type `acc`, which have the bytes of `via`; results are converted from `via` to `out`.
inline Fold make_fold(int op, int via, int acc, int out) {
    Fold fold;
    with_type(acc, [&](auto x) { choose_fold<decltype(x)>(op, fold); });
    fold.size = type_size(acc);
    fold.result_size = type_size(out);
    if (!fold.positions() && out != via) fold.convert = find_cast(via, out);
    return fold;
}

// The binary counter of reduce.hpp, over items of `width` accumulators.
struct FoldCounter {
    const Fold& fold;
    char* stack;
    Py_ssize_t width, depth = 0, items = 0;

    char* push() {  // where the next item goes; closed by `joined`
        return stack + depth++ * width * fold.size;
    }
    void joined() {
        for (Py_ssize_t k = ++items; !(k & 1); k >>= 1) join_top();
    }
    void join_top() {
        depth--;
        char* top = stack + depth * width * fold.size;
        char* args[] = {top - width * fold.size, top};
        fold.join(args, &width, nullptr, nullptr);
    }
    char* total() {
        while (depth > 1) join_top();
        return stack;
    }
};

// Lane `row % kLanes` takes `n` rows in, which do not go past the last lane; the first row of a lane begins it.
inline void take_rows_in(const Fold& fold, char* lanes, const char* x, Py_ssize_t row, Py_ssize_t n, Py_ssize_t width) {
    char* lane = lanes + row % kLanes * width * fold.size;
    Py_ssize_t count = n * width;
    if (row < kLanes) {
        std::memcpy(lane, x, (size_t)(count * fold.size));
        return;
    }
    char* args[] = {lane, const_cast<char*>(x)};
    fold.join(args, &count, nullptr, nullptr);
}

inline void fold_lanes_in(const Fold& fold, char* lanes, Py_ssize_t rows, Py_ssize_t width) {
    Py_ssize_t used = std::min(rows, kLanes);
    for (Py_ssize_t h = kLanes / 2; h; h /= 2)
        if (used > h) {
            Py_ssize_t count = (used - h) * width;
            char* args[] = {lanes, lanes + h * width * fold.size};
            fold.join(args, &count, nullptr, nullptr);
            used = h;
        }
}

inline void convert_results(const Fold& fold, const char* from, char* to, Py_ssize_t n) {
    if (!fold.convert) {
        std::memcpy(to, from, (size_t)(n * fold.result_size));
        return;
    }
    char* args[] = {const_cast<char*>(from), to};
    Py_ssize_t steps[] = {fold.size, fold.result_size};
    fold.convert(args, &n, steps, nullptr);
}

}  // namespace la
