// Reductions in generated CUDA C++, by the tree of reduce.hpp, so with its bits: a warp is the 32 lanes of a block of 1024
// elements, each thread joins every 32nd element in order, and shuffles fold the lanes. Blocks are joined in pairs, pairs in
// pairs, and so on; a run without a partner goes on as it is, which is what the binary counter of reduce.hpp does.
#pragma once
#include "cuda_numbers.hpp"

namespace la {

constexpr int kLanes = 32, kBlock = 1024;
constexpr unsigned kAll = 0xffffffffu;

struct Add {
    template <class T> static LA_DEVICE T join(T a, T b) {
        if constexpr (Parts<T>::complex) return T{a.re + b.re, a.im + b.im};
        else return (T)(a + b);
    }
};
struct Multiply {
    template <class T> static LA_DEVICE T join(T a, T b) {
        if constexpr (Parts<T>::complex) return T{a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
        else if constexpr (sizeof(T) < 4) return (T)((uint32_t)a * (uint32_t)b);
        else return a * b;
    }
};

template <class T> LA_DEVICE bool no_number(T x) {
    if constexpr (Parts<T>::complex) return (x.re != x.re) | (x.im != x.im);
    else return x != x;
}
template <class T> LA_DEVICE bool below(T a, T b) {
    if constexpr (Parts<T>::complex) return a.re < b.re || (a.re == b.re && a.im < b.im);
    else return a < b;
}
// Whether `x`, which comes later, takes the place of the best so far: the first of equals is kept, and the first NaN.
template <bool kMaximum, class T> LA_DEVICE bool better(T x, T best) {
    return ((kMaximum ? below(best, x) : below(x, best)) | no_number(x)) & !no_number(best);
}
template <bool kMaximum> struct Extreme {
    template <class T> static LA_DEVICE T join(T a, T b) { return better<kMaximum>(b, a) ? b : a; }
};

// The same, leaving NaN out.
template <bool kMaximum> struct Known {
    template <class T> static LA_DEVICE T join(T a, T b) {
        if (no_number(b)) return a;
        return no_number(a) || (kMaximum ? below(a, b) : below(b, a)) ? b : a;
    }
};

template <class T> struct Best { T value; int64_t index; };
template <bool kMaximum> struct Position {
    template <class T> static LA_DEVICE Best<T> join(Best<T> a, Best<T> b) {
        if (better<kMaximum>(b.value, a.value)) return b;
        if (better<kMaximum>(a.value, b.value) || a.index < b.index) return a;
        return b;
    }
};

// ---- between the threads of a warp

template <class T> LA_DEVICE T from_above(T x, int distance, int width) {
    if constexpr (sizeof(T) < 4) return (T)__shfl_down_sync(kAll, (int)x, distance, width);
    else return __shfl_down_sync(kAll, x, distance, width);
}
template <class R> LA_DEVICE Complex<R> from_above(Complex<R> x, int distance, int width) {
    return {from_above(x.re, distance, width), from_above(x.im, distance, width)};
}
template <class T> LA_DEVICE Best<T> from_above(Best<T> x, int distance, int width) {
    return {from_above(x.value, distance, width), from_above(x.index, distance, width)};
}
template <class T> LA_DEVICE T from_first(T x, int width) {
    if constexpr (sizeof(T) < 4) return (T)__shfl_sync(kAll, (int)x, 0, width);
    else return __shfl_sync(kAll, x, 0, width);
}
template <class R> LA_DEVICE Complex<R> from_first(Complex<R> x, int width) {
    return {from_first(x.re, width), from_first(x.im, width)};
}
template <class T> LA_DEVICE Best<T> from_first(Best<T> x, int width) {
    return {from_first(x.value, width), from_first(x.index, width)};
}

// The lanes of a block, of which `used` hold something; the first thread of `width` gets their total.
template <class Op, int width, class T> LA_DEVICE T fold_lanes(T x, int lane, int used) {
#pragma unroll
    for (int h = width / 2; h; h /= 2) {
        const T other = from_above(x, h, width);
        if (lane + h < used) x = Op::join(x, other);
    }
    return x;
}
// Neighbours, and these in pairs, and so on; the first thread of a warp gets the total of its `count` <= 32 items.
template <class Op, class T> LA_DEVICE T fold_neighbours(T x, int lane, int count) {
#pragma unroll
    for (int h = 1; h < kLanes; h *= 2) {
        const T other = from_above(x, h, kLanes);
        if (lane % (2 * h) == 0 && lane + h < count) x = Op::join(x, other);
    }
    return x;
}

// The binary counter: items are joined like the blocks of reduce.hpp. A thread's own.
template <class Op, class T> struct Counter {
    T stack[40];
    int depth = 0;
    int64_t items = 0;
    LA_DEVICE void push(T item) {
        for (int64_t k = ++items; !(k & 1); k >>= 1) item = Op::join(stack[--depth], item);
        stack[depth++] = item;
    }
    LA_DEVICE T total() {
        T last = stack[--depth];
        while (depth) last = Op::join(stack[--depth], last);
        return last;
    }
};

}  // namespace la
