// Elements joined in lanes: what a block of a line is reduced by, see reduce.hpp for the tree that this is a part of.
#pragma once
#include <algorithm>

#include "joins.hpp"

namespace la {

constexpr Py_ssize_t kLanes = 32, kBlock = 1024;

template <class T, class Op> LA_INLINE void join_into(T* __restrict a, const T* __restrict b, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++) a[i] = Op::join(a[i], b[i]);
}

// Four rows one after the other: an accumulator is read and written once.
template <class T, class Op>
LA_INLINE void join_four(T* __restrict a, const T* __restrict x, const T* __restrict y, const T* __restrict z,
                         const T* __restrict w, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++) a[i] = Op::join(Op::join(Op::join(Op::join(a[i], x[i]), y[i]), z[i]), w[i]);
}

template <class T, class Op> LA_INLINE void fold_lanes(T* lanes, Py_ssize_t used, Py_ssize_t width) {
    for (Py_ssize_t h = kLanes / 2; h; h /= 2)
        if (used > h) {
            join_into<T, Op>(lanes, lanes + h * width, (used - h) * width);
            used = h;
        }
}

template <class T, class Op> constexpr bool by_pairs = Op::has_numbers && std::is_floating_point_v<T>;
template <class T> using Mask = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;

// The full stripes of n >= 32 elements in lanes, NaN being looked for apart, as an extreme of numbers is one instruction.
// False where there is one; where it is left out, if a lane is as if it had met nothing else.
template <class T, class Op> LA_INLINE bool lanes_apart(const T* x, Py_ssize_t n, T* acc) {
    Mask<T> odd[kLanes] = {};
    if constexpr (leaves_out<Op>) {
        for (Py_ssize_t k = 0; k < kLanes; k++) acc[k] = Op::Numbers::join(Op::template nothing<T>(), x[k]);
        for (Py_ssize_t done = kLanes; done + kLanes <= n; done += kLanes)
            for (Py_ssize_t k = 0; k < kLanes; k++) acc[k] = Op::Numbers::join(acc[k], x[done + k]);
        for (Py_ssize_t k = 0; k < kLanes; k++) odd[k] = acc[k] == Op::template nothing<T>() ? 1 : 0;
    } else {
        std::memcpy(acc, x, kLanes * sizeof(T));
        Py_ssize_t done = kLanes;
        for (; done + 2 * kLanes <= n; done += 2 * kLanes)
            for (Py_ssize_t k = 0; k < kLanes; k++) {
                T p = x[done + k], q = x[done + kLanes + k];
                acc[k] = Op::Numbers::join(Op::Numbers::join(acc[k], p), q);
                odd[k] = __builtin_isunordered(p, q) ? 1 : odd[k];
            }
        if (done + kLanes <= n)
            for (Py_ssize_t k = 0; k < kLanes; k++) {
                T p = x[done + k];
                acc[k] = Op::Numbers::join(acc[k], p);
                odd[k] = p != p ? 1 : odd[k];
            }
        for (Py_ssize_t k = 0; k < kLanes; k++) odd[k] = x[k] != x[k] ? 1 : odd[k];
    }
    Mask<T> found = 0;
    for (Py_ssize_t k = 0; k < kLanes; k++) found |= odd[k];
    return !found;
}

// One column, n >= 32 rows at x: the lanes stay in registers over the full stripes.
template <class T, class Op> LA_INLINE void column_lanes(const T* x, Py_ssize_t n, T* lanes) {
    T acc[kLanes];
    if constexpr (by_pairs<T, Op>)
        if (lanes_apart<T, Op>(x, n, acc)) {
            std::memcpy(lanes, acc, sizeof acc);
            Py_ssize_t done = n / kLanes * kLanes;
            return join_into<T, Op>(lanes, x + done, n - done);
        }
    std::memcpy(acc, x, sizeof acc);
    Py_ssize_t done = kLanes;
    for (; done + kLanes <= n; done += kLanes)
        for (Py_ssize_t k = 0; k < kLanes; k++) acc[k] = Op::join(acc[k], x[done + k]);
    std::memcpy(lanes, acc, sizeof acc);
    join_into<T, Op>(lanes, x + done, n - done);
}

// The extreme of a long line in whatever order. False where the order of the tree may show in its bits: of zeros and NaNs.
template <class T, class Op> LA_INLINE bool extreme_joined(const T* x, Py_ssize_t n, T* total) {
    constexpr Py_ssize_t lanes = 256 / sizeof(T), piece = 8192;
    T acc[lanes], found[lanes + 64];
    if constexpr (leaves_out<Op>)
        for (Py_ssize_t k = 0; k < lanes; k++) acc[k] = Op::template nothing<T>();
    else
        std::memcpy(acc, x, sizeof acc);
    Py_ssize_t done = 0;
    while (done + 2 * lanes <= n) {
        Mask<T> odd[lanes] = {};
        Py_ssize_t end = std::min(done + piece, n);
        for (; done + 2 * lanes <= end; done += 2 * lanes)
            for (Py_ssize_t k = 0; k < lanes; k++) {
                T p = x[done + k], q = x[done + lanes + k];
                acc[k] = Op::Numbers::join(Op::Numbers::join(acc[k], p), q);
                if constexpr (!leaves_out<Op>) odd[k] = __builtin_isunordered(p, q) ? 1 : odd[k];
            }
        if constexpr (!leaves_out<Op>) {
            Mask<T> any = 0;
            for (Py_ssize_t k = 0; k < lanes; k++) any |= odd[k];
            if (any) return false;
        }
    }
    std::memcpy(found, acc, sizeof acc);
    T best = found[0];
    for (Py_ssize_t k = 1; k < lanes; k++) best = Op::join(best, found[k]);
    for (; done < n; done++) best = Op::join(best, x[done]);
    *total = best;
    if constexpr (leaves_out<Op>)
        if (best == Op::template nothing<T>()) return false;
    return best == best && best != T(0);
}

// The total of a line of n >= 32 elements whose full stripes are joined.
template <class T, class Op> LA_INLINE T line_total(const T* acc, const T* x, Py_ssize_t n) {
    T lanes[kLanes + 64];  // room for a whole vector, which GCC assumes
    std::memcpy(lanes, acc, kLanes * sizeof(T));
    Py_ssize_t done = n / kLanes * kLanes;
    join_into<T, Op>(lanes, x + done, n - done);
    fold_lanes<T, Op>(lanes, kLanes, 1);
    return lanes[0];
}

// Two lines of n >= 32 elements side by side, as the joins of one wait for each other: their totals. With kApart NaN is
// looked for apart, as an extreme of numbers is one instruction; false where there is one.
template <class T, class Op, bool kApart> LA_INLINE bool pair_joined(const T* x, const T* y, Py_ssize_t n, T* totals) {
    using I = Mask<T>;
    T a[kLanes], b[kLanes];
    I odd[kLanes] = {};
    std::memcpy(a, x, sizeof a);
    std::memcpy(b, y, sizeof b);
    if constexpr (kApart && leaves_out<Op>)
        for (Py_ssize_t k = 0; k < kLanes; k++) {
            a[k] = Op::Numbers::join(Op::template nothing<T>(), a[k]);
            b[k] = Op::Numbers::join(Op::template nothing<T>(), b[k]);
        }
    else if constexpr (kApart)
        for (Py_ssize_t k = 0; k < kLanes; k++) odd[k] = __builtin_isunordered(a[k], b[k]) ? 1 : 0;
    for (Py_ssize_t done = kLanes; done + kLanes <= n; done += kLanes) {
        if constexpr (kApart) {
            for (Py_ssize_t k = 0; k < kLanes; k++) {
                T p = x[done + k], q = y[done + k];
                a[k] = Op::Numbers::join(a[k], p);
                b[k] = Op::Numbers::join(b[k], q);
                if constexpr (!leaves_out<Op>) odd[k] = __builtin_isunordered(p, q) ? 1 : odd[k];
            }
        } else {
            for (Py_ssize_t k = 0; k < kLanes; k++) a[k] = Op::join(a[k], x[done + k]);
            for (Py_ssize_t k = 0; k < kLanes; k++) b[k] = Op::join(b[k], y[done + k]);
        }
    }
    if constexpr (kApart) {
        if constexpr (leaves_out<Op>)
            for (Py_ssize_t k = 0; k < kLanes; k++)
                odd[k] = (a[k] == Op::template nothing<T>()) | (b[k] == Op::template nothing<T>()) ? 1 : 0;
        I found = 0;
        for (Py_ssize_t k = 0; k < kLanes; k++) found |= odd[k];
        if (found) return false;
    }
    totals[0] = line_total<T, Op>(a, x, n);
    totals[1] = line_total<T, Op>(b, y, n);
    return true;
}
template <class T, class Op> LA_INLINE void pair_totals(const T* x, const T* y, Py_ssize_t n, T* totals) {
    if constexpr (by_pairs<T, Op>)
        if (pair_joined<T, Op, true>(x, y, n, totals)) return;
    pair_joined<T, Op, false>(x, y, n, totals);
}

}  // namespace la
