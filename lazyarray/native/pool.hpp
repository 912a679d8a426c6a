// Pooling windows in two dimensions, channels last, and their gradients.
#pragma once
#include "gemm.hpp"
#include "simd.hpp"

namespace la {

struct PoolParams {
    ptrdiff_t n, h, w, c, oh, ow;
    ptrdiff_t kh, kw, sh, sw, ph, pw;
    bool count_pad;         // padding pixels count in an average
    ptrdiff_t image_parts;  // units along images; the gradient of one image stays in one unit
    ptrdiff_t row_parts;    // units along oh, forward only
};

constexpr int CHANNELS = 128;  // taken together: a window's running values stay in the first-level cache

// float16 computes in float32.
template <class T> using Wide = std::conditional_t<is_half<T>, float, T>;
// As wide as the value, so that a comparison of one selects the other.
template <class T> using Tap = std::conditional_t<sizeof(Wide<T>) == 8, int64_t, int32_t>;

template <class T> LA_INLINE Wide<T> widened(T x) {
    if constexpr (is_half<T>)
        return half_to_float(x.bits);
    else
        return x;
}
template <class T> LA_INLINE T narrowed(Wide<T> x) {
    if constexpr (is_half<T>)
        return T{float_to_half(x)};
    else
        return x;
}

// The part of a window that lies on the image; never empty, since a pad is smaller than its window.
struct Window {
    ptrdiff_t top, bottom, left, right;
};
LA_INLINE Window window_at(const PoolParams& g, ptrdiff_t i, ptrdiff_t j) {
    ptrdiff_t top = i * g.sh - g.ph, left = j * g.sw - g.pw, bottom = top + g.kh, right = left + g.kw;
    return {top < 0 ? 0 : top, bottom < g.h ? bottom : g.h, left < 0 ? 0 : left, right < g.w ? right : g.w};
}
template <class T> LA_INLINE Wide<T> divisor(const PoolParams& g, const Window& on) {
    return Wide<T>(g.count_pad ? g.kh * g.kw : (on.bottom - on.top) * (on.right - on.left));
}

// One output pixel, `count` channels. A NaN wins over every number.
template <class T> struct MaxOf {
    LA_INLINE void pixel(const PoolParams& g, const Window& on, const T* image, T* out, int count) {
        Wide<T> best[CHANNELS];
        const T* corner = image + (on.top * g.w + on.left) * g.c;
        for (int c = 0; c < count; c++) best[c] = widened(corner[c]);
        for (ptrdiff_t y = on.top; y < on.bottom; y++)
            for (ptrdiff_t x = on.left; x < on.right; x++) {
                const T* from = image + (y * g.w + x) * g.c;
                for (int c = 0; c < count; c++) {
                    Wide<T> value = widened(from[c]), old = best[c];
                    best[c] = (value > old) | (value != value) ? value : old;
                }
            }
        for (int c = 0; c < count; c++) out[c] = narrowed<T>(best[c]);
    }
};

template <class T> struct MeanOf {
    LA_INLINE void pixel(const PoolParams& g, const Window& on, const T* image, T* out, int count) {
        Wide<T> sum[CHANNELS], over = divisor<T>(g, on);
        for (int c = 0; c < count; c++) sum[c] = 0;
        for (ptrdiff_t y = on.top; y < on.bottom; y++)
            for (ptrdiff_t x = on.left; x < on.right; x++) {
                const T* from = image + (y * g.w + x) * g.c;
                for (int c = 0; c < count; c++) sum[c] += widened(from[c]);
            }
        for (int c = 0; c < count; c++) out[c] = narrowed<T>(sum[c] / over);
    }
};

template <class T, template <class> class Op> struct Pool {
    template <int> LA_INLINE int run(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) {
        const PoolParams& g = *static_cast<const PoolParams*>(params);
        for (ptrdiff_t unit = begin; unit < end; unit++) {
            ptrdiff_t part = unit / g.row_parts, rows = unit % g.row_parts;
            ptrdiff_t last = part_begin(g.n, g.image_parts, part + 1), bottom = part_begin(g.oh, g.row_parts, rows + 1);
            for (ptrdiff_t image = part_begin(g.n, g.image_parts, part); image < last; image++)
                for (ptrdiff_t i = part_begin(g.oh, g.row_parts, rows); i < bottom; i++)
                    for (ptrdiff_t j = 0; j < g.ow; j++) {
                        const T* x = reinterpret_cast<const T*>(args[0]) + image * g.h * g.w * g.c;
                        T* out = reinterpret_cast<T*>(args[1]) + ((image * g.oh + i) * g.ow + j) * g.c;
                        Window on = window_at(g, i, j);
                        for (ptrdiff_t c = 0; c < g.c; c += CHANNELS)
                            Op<T>::pixel(g, on, x + c, out + c, int(g.c - c < CHANNELS ? g.c - c : CHANNELS));
                    }
        }
        return 0;
    }
};

// The whole gradient goes to the window's first maximum, found again: an index array would cost more to read.
template <class T> struct MaxGrad {
    static constexpr bool needs_x = true;
    LA_INLINE void pixel(const PoolParams& g, const Window& on, const T* image, const T* grad, Wide<T>* dx, int count) {
        Wide<T> best[CHANNELS];
        Tap<T> where[CHANNELS], tap = 0;
        const T* corner = image + (on.top * g.w + on.left) * g.c;
        for (int c = 0; c < count; c++) best[c] = widened(corner[c]), where[c] = 0;
        for (ptrdiff_t y = on.top; y < on.bottom; y++)
            for (ptrdiff_t x = on.left; x < on.right; x++, tap++) {
                const T* from = image + (y * g.w + x) * g.c;
                for (int c = 0; c < count; c++) {
                    Wide<T> value = widened(from[c]), old = best[c];
                    bool wins = (value > old) | ((value != value) & (old == old));
                    best[c] = wins ? value : old;
                    where[c] = wins ? tap : where[c];
                }
            }
        tap = 0;
        for (ptrdiff_t y = on.top; y < on.bottom; y++)
            for (ptrdiff_t x = on.left; x < on.right; x++, tap++) {
                Wide<T>* to = dx + (y * g.w + x) * g.c;
                for (int c = 0; c < count; c++) to[c] += where[c] == tap ? widened(grad[c]) : Wide<T>(0);
            }
    }
};

template <class T> struct MeanGrad {
    static constexpr bool needs_x = false;
    LA_INLINE void pixel(const PoolParams& g, const Window& on, const T*, const T* grad, Wide<T>* dx, int count) {
        Wide<T> share[CHANNELS], over = divisor<T>(g, on);
        for (int c = 0; c < count; c++) share[c] = widened(grad[c]) / over;
        for (ptrdiff_t y = on.top; y < on.bottom; y++)
            for (ptrdiff_t x = on.left; x < on.right; x++) {
                Wide<T>* to = dx + (y * g.w + x) * g.c;
                for (int c = 0; c < count; c++) to[c] += share[c];
            }
    }
};

// Outputs in order, so overlapping windows add up in one order. args: (x, g, dx), or (g, dx) where x is not needed.
template <class T, template <class> class Op> struct PoolGrad {
    template <int> LA_INLINE int run(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) {
        const PoolParams& g = *static_cast<const PoolParams*>(params);
        ptrdiff_t size = g.h * g.w * g.c, first = part_begin(g.n, g.image_parts, begin), last = part_begin(g.n, g.image_parts, end);
        const T* x = reinterpret_cast<const T*>(args[0]);
        const T* grad = reinterpret_cast<const T*>(args[Op<T>::needs_x]);
        T* out = reinterpret_cast<T*>(args[Op<T>::needs_x + 1]);
        for (ptrdiff_t image = first; image < last; image++) {
            T* to = out + image * size;
            Wide<T>* dx;
            if constexpr (is_half<T>) {
                dx = static_cast<Wide<T>*>(scratch<1>(size_t(size) * sizeof(Wide<T>)));
                if (!dx) return OUT_OF_MEMORY;
            } else {
                dx = to;
            }
            std::memset(dx, 0, size_t(size) * sizeof(Wide<T>));
            for (ptrdiff_t i = 0; i < g.oh; i++)
                for (ptrdiff_t j = 0; j < g.ow; j++) {
                    const T* from = grad + ((image * g.oh + i) * g.ow + j) * g.c;
                    Window on = window_at(g, i, j);
                    for (ptrdiff_t c = 0; c < g.c; c += CHANNELS)
                        Op<T>::pixel(g, on, x + image * size + c, from + c, dx + c, int(g.c - c < CHANNELS ? g.c - c : CHANNELS));
                }
            if constexpr (is_half<T>)
                for (ptrdiff_t i = 0; i < size; i++) to[i] = narrowed<T>(dx[i]);
        }
        return 0;
    }
};

enum PoolKind : int { MAX_POOL, MAX_POOL_GRAD, AVG_POOL, AVG_POOL_GRAD };

template <class T> KernelRun pick_pool(int kind) {
    switch (kind) {
    case MAX_POOL: return pick_kernel<Pool<T, MaxOf>>();
    case MAX_POOL_GRAD: return pick_kernel<PoolGrad<T, MaxGrad>>();
    case AVG_POOL: return pick_kernel<Pool<T, MeanOf>>();
    default: return pick_kernel<PoolGrad<T, MeanGrad>>();
    }
}

}  // namespace la
