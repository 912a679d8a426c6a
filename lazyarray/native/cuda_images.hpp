// Windows over images in generated CUDA C++, channels last: pooling, its gradients, and what convolutions need beside a product.
// A thread owns results and gathers what they are made of, in the CPU's order (native/pool.inc): so with its bits, and without
// atomics. V channels are read and written at once; KH and KW are a small window's extents, 0 where the call says them.
#pragma once
#include "cuda_numbers.hpp"

namespace la {

struct Windows {
    int64_t count, images;               // elements of what the threads own; of the batch
    int32_t h, w, c, oh, ow;             // of an image, and of windows
    int32_t kh, kw, sh, sw, ph, pw, dh, dw;
    int32_t counted;                     // whether what lies outside counts in a mean
    int32_t apart;                       // whether windows have no pixel in common
    int32_t groups;                      // of channels
};

struct Brain { uint16_t bits; };
template <class T> struct Wide { typedef T type; };  // what is computed with
template <> struct Wide<Half> { typedef float type; };
template <> struct Wide<Brain> { typedef float type; };
LA_DEVICE float lowest(float) { return bits_as<float>(0xff800000u); }
LA_DEVICE double lowest(double) { return bits_as<double>((uint64_t)0xfff0000000000000ull); }
LA_DEVICE float widened(float x) { return x; }
LA_DEVICE double widened(double x) { return x; }
LA_DEVICE float widened(Half x) { return half_to_float(x.bits); }
LA_DEVICE float widened(Brain x) { return brain_to_float(x.bits); }
LA_DEVICE void narrow(float x, float& to) { to = x; }
LA_DEVICE void narrow(double x, double& to) { to = x; }
LA_DEVICE void narrow(float x, Half& to) { to.bits = float_to_half(x); }
LA_DEVICE void narrow(float x, Brain& to) { to.bits = float_to_brain(x); }

template <int V, class T, class S> LA_DEVICE void read(const T* from, S (&to)[V]) {
    T own[V];
    load<T, V>(from, own, true, V);
#pragma unroll
    for (int v = 0; v < V; v++) to[v] = widened(own[v]);
}
template <int V, class T, class S> LA_DEVICE void write(T* to, const S (&from)[V]) {
    T own[V];
#pragma unroll
    for (int v = 0; v < V; v++) narrow(from[v], own[v]);
    store<T, V>(to, own, true, V);
}

// A NaN wins over every number; the first of equals stays.
template <class S> LA_DEVICE bool wins(S a, S b) { return !(a <= b) && b == b; }

// Where a thread's element lies: channel, column, row, image.
struct Spot { int32_t c, x, y; int64_t n; };
template <int V, class I, class D> LA_DEVICE Spot spot_of(I e, const D& packs, const D& columns, const D& rows) {
    const I line = quotient(e, packs), row = quotient(line, columns), n = quotient(row, rows);
    return {(int32_t)(e - line * (I)extent_of(packs)) * V, (int32_t)(line - row * (I)extent_of(columns)),
            (int32_t)(row - n * (I)extent_of(rows)), (int64_t)n};
}

// Each pixel of window (i, j) that lies in the image, in order: use(number in the window, row, column).
template <int KH, int KW, class F> LA_DEVICE void each_pixel(const Windows& g, int32_t i, int32_t j, F use) {
    const int32_t top = i * g.sh - g.ph, left = j * g.sw - g.pw;
    if constexpr (KH * KW != 0) {
#pragma unroll
        for (int32_t a = 0; a < KH; a++)
#pragma unroll
            for (int32_t b = 0; b < KW; b++) {
                const int32_t y = top + a, x = left + b;
                if (y >= 0 && y < g.h && x >= 0 && x < g.w) use(a * KW + b, y, x);
            }
    } else {
        for (int32_t a = top < 0 ? -top : 0; a < g.kh && top + a < g.h; a++)
            for (int32_t b = left < 0 ? -left : 0; b < g.kw && left + b < g.w; b++) use(a * g.kw + b, top + a, left + b);
    }
}

// How many of (i, j)'s pixels a mean is of.
template <class S> LA_DEVICE S pixels_of(const Windows& g, int32_t i, int32_t j) {
    const int32_t top = i * g.sh - g.ph, left = j * g.sw - g.pw;
    const int32_t high = (top + g.kh < g.h ? top + g.kh : g.h) - (top < 0 ? 0 : top);
    const int32_t wide = (left + g.kw < g.w ? left + g.kw : g.w) - (left < 0 ? 0 : left);
    return (S)(g.counted ? g.kh * g.kw : high * wide);
}

// The windows along one axis that have a pixel: from `first` to before `end`.
struct Range { int32_t first, end; };
LA_DEVICE Range windows_with(int32_t pixel, int32_t window, int32_t stride, int32_t count) {
    const int32_t low = pixel - window + 1, last = pixel / stride + 1;
    return {low > 0 ? (low + stride - 1) / stride : 0, last < count ? last : count};
}

#define LA_EACH(I, e, count) \
    for (I e = (I)blockIdx.x * blockDim.x + threadIdx.x; e < (I)(count); e += (I)gridDim.x * blockDim.x)

// ---- pooling. Divisors: packs of channels, columns and rows of what the threads own.

template <class I, class T, int V, int KH, int KW, class D>
LA_DEVICE void max_pool(const Windows& g, const D* d, const T* x, T* out) {
    typedef typename Wide<T>::type S;
    LA_EACH(I, e, g.count / V) {
        const Spot at = spot_of<V>(e, d[0], d[1], d[2]);
        const T* image = x + at.n * g.h * g.w * g.c + at.c;
        S best[V];
#pragma unroll
        for (int v = 0; v < V; v++) best[v] = lowest((S)0);
        each_pixel<KH, KW>(g, at.y, at.x, [&](int32_t, int32_t row, int32_t column) {
            S value[V];
            read<V>(image + ((int64_t)row * g.w + column) * g.c, value);
#pragma unroll
            for (int v = 0; v < V; v++) best[v] = wins(value[v], best[v]) ? value[v] : best[v];
        });
        write<V>(out + (int64_t)e * V, best);
    }
}

template <class I, class T, int V, int KH, int KW, class D>
LA_DEVICE void avg_pool(const Windows& g, const D* d, const T* x, T* out) {
    typedef typename Wide<T>::type S;
    LA_EACH(I, e, g.count / V) {
        const Spot at = spot_of<V>(e, d[0], d[1], d[2]);
        const T* image = x + at.n * g.h * g.w * g.c + at.c;
        S sum[V] = {};
        each_pixel<KH, KW>(g, at.y, at.x, [&](int32_t, int32_t row, int32_t column) {
            S value[V];
            read<V>(image + ((int64_t)row * g.w + column) * g.c, value);
#pragma unroll
            for (int v = 0; v < V; v++) sum[v] = sum[v] + value[v];
        });
        const S count = pixels_of<S>(g, at.y, at.x);
#pragma unroll
        for (int v = 0; v < V; v++) sum[v] = sum[v] / count;
        write<V>(out + (int64_t)e * V, sum);
    }
}

// Windows that have no pixel in common: a thread owns one, and what lies up to the next. Each pixel is read once.
template <class I, class T, int V, int KH, int KW, class D>
LA_DEVICE void max_pool_back_apart(const Windows& g, const D* d, const T* x, const T* grad, T* dx) {
    typedef typename Wide<T>::type S;
    LA_EACH(I, e, g.count / V) {
        const Spot at = spot_of<V>(e, d[0], d[1], d[2]);
        const int64_t image = at.n * g.h * g.w * g.c + at.c;
        S best[V], share[V];
        int32_t where[V];
#pragma unroll
        for (int v = 0; v < V; v++) best[v] = lowest((S)0), where[v] = -1;
        each_pixel<KH, KW>(g, at.y, at.x, [&](int32_t tap, int32_t row, int32_t column) {
            S value[V];
            read<V>(x + image + ((int64_t)row * g.w + column) * g.c, value);
#pragma unroll
            for (int v = 0; v < V; v++) {
                const bool better = where[v] < 0 || wins(value[v], best[v]);
                best[v] = better ? value[v] : best[v];
                where[v] = better ? tap : where[v];
            }
        });
        read<V>(grad + (int64_t)e * V, share);
        const int32_t top = at.y * g.sh - g.ph, left = at.x * g.sw - g.pw;
        const int32_t bottom = at.y == g.oh - 1 ? g.h : top + g.sh, right = at.x == g.ow - 1 ? g.w : left + g.sw;
        for (int32_t row = top < 0 ? 0 : top; row < bottom; row++)
            for (int32_t column = left < 0 ? 0 : left; column < right; column++) {
                const bool inside = row < top + g.kh && column < left + g.kw;
                const int32_t tap = inside ? (row - top) * g.kw + (column - left) : -2;
                S own[V];
#pragma unroll
                for (int v = 0; v < V; v++) own[v] = where[v] == tap ? (S)0 + share[v] : (S)0;
                write<V>(dx + image + ((int64_t)row * g.w + column) * g.c, own);
            }
    }
}

// A thread owns a pixel, and asks each window that has it whether it is the first maximum.
template <class I, class T, int V, int KH, int KW, class D>
LA_DEVICE void max_pool_back(const Windows& g, const D* d, const T* x, const T* grad, T* dx) {
    typedef typename Wide<T>::type S;
    LA_EACH(I, e, g.count / V) {
        const Spot at = spot_of<V>(e, d[0], d[1], d[2]);
        const T* image = x + at.n * g.h * g.w * g.c + at.c;
        const T* slopes = grad + at.n * g.oh * g.ow * g.c + at.c;
        S own[V], sum[V] = {};
        read<V>(x + (int64_t)e * V, own);
        const Range down = windows_with(at.y + g.ph, g.kh, g.sh, g.oh), across = windows_with(at.x + g.pw, g.kw, g.sw, g.ow);
        for (int32_t i = down.first; i < down.end; i++)
            for (int32_t j = across.first; j < across.end; j++) {
                const int32_t here = (at.y - i * g.sh + g.ph) * g.kw + (at.x - j * g.sw + g.pw);
                bool first[V];
#pragma unroll
                for (int v = 0; v < V; v++) first[v] = true;
                each_pixel<KH, KW>(g, i, j, [&](int32_t tap, int32_t row, int32_t column) {
                    if (tap == here) return;
                    S value[V];
                    read<V>(image + ((int64_t)row * g.w + column) * g.c, value);
#pragma unroll
                    for (int v = 0; v < V; v++) first[v] = first[v] && (tap < here ? wins(own[v], value[v]) : !wins(value[v], own[v]));
                });
                S share[V];
                read<V>(slopes + ((int64_t)i * g.ow + j) * g.c, share);
#pragma unroll
                for (int v = 0; v < V; v++) sum[v] = first[v] ? sum[v] + share[v] : sum[v];
            }
        write<V>(dx + (int64_t)e * V, sum);
    }
}

template <class I, class T, int V, class D> LA_DEVICE void avg_pool_back(const Windows& g, const D* d, const T* grad, T* dx) {
    typedef typename Wide<T>::type S;
    LA_EACH(I, e, g.count / V) {
        const Spot at = spot_of<V>(e, d[0], d[1], d[2]);
        const T* slopes = grad + at.n * g.oh * g.ow * g.c + at.c;
        S sum[V] = {};
        const Range down = windows_with(at.y + g.ph, g.kh, g.sh, g.oh), across = windows_with(at.x + g.pw, g.kw, g.sw, g.ow);
        for (int32_t i = down.first; i < down.end; i++)
            for (int32_t j = across.first; j < across.end; j++) {
                S share[V];
                read<V>(slopes + ((int64_t)i * g.ow + j) * g.c, share);
                const S count = pixels_of<S>(g, i, j);
#pragma unroll
                for (int v = 0; v < V; v++) sum[v] = g.apart ? share[v] / count : sum[v] + share[v] / count;
            }
        write<V>(dx + (int64_t)e * V, sum);
    }
}

// ---- convolution

// Windows as rows: (group, image, row, column of the window; kh, kw, channel of the group). What lies outside is 0. Elements
// are moved as words. Divisors: packs of a group's channels, kw, kh, ow, oh, images.
template <class I, class T, int V, class D> LA_DEVICE void windows_to_rows(const Windows& g, const D* d, const T* x, T* rows) {
    const int32_t each = g.c / g.groups;
    LA_EACH(I, e, g.count / V) {
        const I taps = quotient(e, d[0]), lines = quotient(taps, d[1]), windows = quotient(lines, d[2]);
        const int32_t channel = (int32_t)(e - taps * (I)extent_of(d[0])) * V;
        const int32_t b = (int32_t)(taps - lines * (I)extent_of(d[1])), a = (int32_t)(lines - windows * (I)extent_of(d[2]));
        const I line = quotient(windows, d[3]), image = quotient(line, d[4]), group = quotient(image, d[5]);
        const int32_t j = (int32_t)(windows - line * (I)extent_of(d[3])), i = (int32_t)(line - image * (I)extent_of(d[4]));
        const int64_t n = (int64_t)(image - group * (I)extent_of(d[5]));
        const int32_t row = i * g.sh - g.ph + a * g.dh, column = j * g.sw - g.pw + b * g.dw;
        T own[V] = {};
        if (row >= 0 && row < g.h && column >= 0 && column < g.w)
            load<T, V>(x + ((n * g.h + row) * g.w + column) * g.c + (int64_t)group * each + channel, own, true, V);
        store<T, V>(rows + (int64_t)e * V, own, true, V);
    }
}

// The sum of what all windows hold of a pixel, over (kh, kw) in order. A thread owns a pixel. Divisors: packs of a group's
// channels, groups, columns, rows.
template <class I, class T, int V, class D>
LA_DEVICE void rows_to_images(const Windows& g, const D* d, const T* rows, T* x) {
    typedef typename Wide<T>::type S;
    const int32_t each = g.c / g.groups;
    LA_EACH(I, e, g.count / V) {
        const I groups = quotient(e, d[0]), pixels = quotient(groups, d[1]);
        const int32_t channel = (int32_t)(e - groups * (I)extent_of(d[0])) * V;
        const int64_t group = (int64_t)(groups - pixels * (I)extent_of(d[1]));
        const I line = quotient(pixels, d[2]), n = quotient(line, d[3]);
        const int32_t x0 = (int32_t)(pixels - line * (I)extent_of(d[2])) + g.pw, y0 = (int32_t)(line - n * (I)extent_of(d[3])) + g.ph;
        const int64_t first = (group * g.images + (int64_t)n) * g.oh;
        S sum[V] = {};
        for (int32_t a = 0; a < g.kh; a++) {
            const int32_t y = y0 - a * g.dh, i = y / g.sh;
            if (y < 0 || i * g.sh != y || i >= g.oh) continue;
            for (int32_t b = 0; b < g.kw; b++) {
                const int32_t x1 = x0 - b * g.dw, j = x1 / g.sw;
                if (x1 < 0 || j * g.sw != x1 || j >= g.ow) continue;
                S value[V];
                read<V>(rows + ((((first + i) * g.ow + j) * g.kh + a) * g.kw + b) * each + channel, value);
#pragma unroll
                for (int v = 0; v < V; v++) sum[v] = sum[v] + value[v];
            }
        }
        write<V>(x + (int64_t)e * V, sum);
    }
}

}  // namespace la
