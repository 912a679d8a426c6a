// Pooling windows in two dimensions, channels last, and their gradients: units, float16 and bfloat16.
#pragma once
#include "gemm.hpp"

namespace la {

template <class T> const auto& routines(const PoolParams& g) noexcept {
    if constexpr (std::is_same_v<T, double>)
        return g.micro->pool_f64;
    else
        return g.micro->pool_f32;
}

// What the routines take: the image itself, or halves widened to memory of this thread.
template <class T, int slot> auto taken(const PoolParams& g, const T* from, ptrdiff_t count) noexcept {
    if constexpr (is_half<T>) {
        float* wide = static_cast<float*>(scratch<slot>(size_t(count + 1) * sizeof(float)));
        if (wide) g.micro->widen(from, 1, wide, count);
        return static_cast<const float*>(wide);
    } else {
        return from;
    }
}

// args: x, out.
template <class T, bool max> int run_pool(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) noexcept {
    const PoolParams& g = *static_cast<const PoolParams*>(params);
    ptrdiff_t size = g.h * g.w * g.c, pooled = g.oh * g.ow * g.c;
    for (ptrdiff_t unit = begin; unit < end; unit++) {
        ptrdiff_t part = unit / g.row_parts, rows = unit % g.row_parts;
        ptrdiff_t top = part_begin(g.oh, g.row_parts, rows), bottom = part_begin(g.oh, g.row_parts, rows + 1);
        ptrdiff_t last = part_begin(g.n, g.image_parts, part + 1);
        for (ptrdiff_t i = part_begin(g.n, g.image_parts, part); i < last; i++) {
            auto x = taken<T, 1>(g, reinterpret_cast<const T*>(args[0]) + i * size, size);
            T* out = reinterpret_cast<T*>(args[1]) + i * pooled;
            if constexpr (is_half<T>) {
                float* wide = static_cast<float*>(scratch<2>(size_t(pooled + 1) * sizeof(float)));
                if (!x || !wide) return OUT_OF_MEMORY;
                (max ? routines<T>(g).max : routines<T>(g).mean)(g, x, wide, top, bottom);
                g.micro->narrow(wide + top * g.ow * g.c, out + top * g.ow * g.c, (bottom - top) * g.ow * g.c);
            } else {
                (max ? routines<T>(g).max : routines<T>(g).mean)(g, x, out, top, bottom);
            }
        }
    }
    return 0;
}

// args: x, g, dx for the maximum; g, dx for the mean. One image's gradient is one unit's.
template <class T, bool max> int run_pool_grad(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) noexcept {
    const PoolParams& g = *static_cast<const PoolParams*>(params);
    ptrdiff_t size = g.h * g.w * g.c, pooled = g.oh * g.ow * g.c, last = part_begin(g.n, g.image_parts, end);
    for (ptrdiff_t i = part_begin(g.n, g.image_parts, begin); i < last; i++) {
        auto x = max ? taken<T, 1>(g, reinterpret_cast<const T*>(args[0]) + i * size, size) : nullptr;
        auto grad = taken<T, 2>(g, reinterpret_cast<const T*>(args[max]) + i * pooled, pooled);
        T* dx = reinterpret_cast<T*>(args[max + 1]) + i * size;
        if constexpr (is_half<T>) {
            float* wide = static_cast<float*>(scratch<3>(size_t(size + 1) * sizeof(float)));
            if ((max && !x) || !grad || !wide) return OUT_OF_MEMORY;
            (max ? routines<T>(g).max_grad : routines<T>(g).mean_grad)(g, x, grad, wide);
            g.micro->narrow(wide, dx, size);
        } else {
            (max ? routines<T>(g).max_grad : routines<T>(g).mean_grad)(g, x, grad, dx);
        }
    }
    return 0;
}

}  // namespace la
