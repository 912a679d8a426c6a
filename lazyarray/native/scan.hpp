// Cumulative sums and products along the middle axis of a C-contiguous (outer, n, inner) array, one element after the
// other as in NumPy, so with NumPy's bits. Elements are converted to the result's type first; float16 and bfloat16 round each step.
#pragma once
#include <algorithm>

#include "cast.hpp"

namespace la {

struct ScanParams {
    LoopFn convert_in;   // null: the result's type already
    LoopFn join;         // numpy's loop, for complex products: its rounding is its own
    void* join_data;
    Py_ssize_t in_size, out_size, n, inner, width, tiles;
};

template <bool kProduct, class T> LA_INLINE T scan_join(T a, T b) {
    if constexpr (is_half<T>) {
        float x = widened(a), y = widened(b);
        return narrowed<T>(kProduct ? x * y : x + y);
    } else if constexpr (is_bool<T>) {
        return Bool{(uint8_t)(kProduct ? a.v & b.v : a.v | b.v)};
    } else if constexpr (is_complex<T>::value) {
        return T{a.re + b.re, a.im + b.im};
    } else if constexpr (std::is_integral_v<T>) {
        if constexpr (kProduct) return (T)((uint64_t)a * (uint64_t)b);
        else return (T)((uint64_t)a + (uint64_t)b);
    } else {
        return kProduct ? a * b : a + b;
    }
}

template <class T, bool kProduct> struct Scan {
    LA_INLINE int run(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
        const ScanParams& p = *static_cast<const ScanParams*>(params);
        for (Py_ssize_t u = begin; u < end; u++) {
            Py_ssize_t o = u / p.tiles, column = u % p.tiles * p.width, width = std::min(p.width, p.inner - column);
            const char* x = args[0] + (o * p.n * p.inner + column) * p.in_size;
            T* y = (T*)args[1] + o * p.n * p.inner + column;
            if (p.convert_in) convert_tile(p, x, (char*)y, width);
            else std::memcpy(y, x, (size_t)width * sizeof(T));
            const T* from = p.convert_in ? y : (const T*)x;
            if (p.join) {
                for (Py_ssize_t k = 0; k < width; k++) join_column(p, from + k, y + k);
            } else if (p.inner == 1) {
                T total = from[0];
                for (Py_ssize_t r = 1; r < p.n; r++) y[r] = total = scan_join<kProduct>(total, from[r]);
            } else {
                for (Py_ssize_t r = 1; r < p.n; r++)
                    for (Py_ssize_t k = 0; k < width; k++)
                        y[r * p.inner + k] = scan_join<kProduct>(y[(r - 1) * p.inner + k], from[r * p.inner + k]);
            }
        }
        return 0;
    }
    static void convert_tile(const ScanParams& p, const char* x, char* y, Py_ssize_t width) {
        bool whole = width == p.inner;
        Py_ssize_t rows = whole ? 1 : p.n, count = whole ? p.n * p.inner : width, steps[] = {p.in_size, p.out_size};
        for (Py_ssize_t r = 0; r < rows; r++) {
            char* args[] = {const_cast<char*>(x) + r * p.inner * p.in_size, y + r * p.inner * p.out_size};
            p.convert_in(args, &count, steps, nullptr);
        }
    }
    static void join_column(const ScanParams& p, const T* from, T* y) {
        Py_ssize_t step = p.inner * (Py_ssize_t)sizeof(T), count = p.n - 1, steps[] = {step, step, step};
        if (count < 1) return;
        char* args[] = {(char*)y, (char*)(from + p.inner), (char*)(y + p.inner)};
        p.join(args, &count, steps, p.join_data);
    }
};

inline Made make_scan(bool product, int in, int out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, LoopFn join,
                      void* join_data) {
    Made made;
    auto* p = new ScanParams{};
    p->convert_in = in == out ? nullptr : find_cast(in, out);
    p->join = join;
    p->join_data = join_data;
    p->in_size = type_size(in);
    p->out_size = type_size(out);
    p->n = n;
    p->inner = inner;
    p->width = std::max<Py_ssize_t>(std::min<Py_ssize_t>(inner, 4096 / p->out_size), 1);
    p->tiles = std::max<Py_ssize_t>((inner + p->width - 1) / p->width, 1);
    made.run = with_type(out, [product](auto x) {
        using T = decltype(x);
        return product ? plain_kernel<Scan<T, true>>() : plain_kernel<Scan<T, false>>();
    });
    made.params = p;
    made.drop = drop_params<ScanParams>;
    made.extent = n && inner ? outer * p->tiles : 0;
    made.grain = std::max<Py_ssize_t>(16384 / std::max<Py_ssize_t>(n * p->width, 1), 1);
    return made;
}

}  // namespace la
