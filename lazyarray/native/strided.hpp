// Moving elements between a strided array, read in C order, and contiguous memory.
#pragma once
#include <algorithm>
#include <vector>

#include "simd.hpp"

namespace la {

struct Axis { Py_ssize_t extent, stride; };  // stride in bytes

// Drops extents of 1 and joins neighbours that are one axis; C order stays what it was. Never empty.
inline std::vector<Axis> merged(const std::vector<Py_ssize_t>& shape, const Py_ssize_t* strides) {
    std::vector<Axis> axes;
    for (size_t d = 0; d < shape.size(); d++) {
        if (shape[d] == 1) continue;
        if (!axes.empty() && axes.back().stride == shape[d] * strides[d]) {
            axes.back().extent *= shape[d];
            axes.back().stride = strides[d];
        } else {
            axes.push_back({shape[d], strides[d]});
        }
    }
    if (axes.empty()) axes.push_back({1, 0});
    return axes;
}

template <class T> LA_INLINE void move_elements(char* to, Py_ssize_t to_step, const char* from, Py_ssize_t from_step,
                                                Py_ssize_t n) {
    constexpr Py_ssize_t w = sizeof(T);
    if (from_step == 0) {
        T x;
        __builtin_memcpy(&x, from, w);
        if (to_step == w)
            for (Py_ssize_t i = 0; i < n; i++) __builtin_memcpy(to + i * w, &x, w);
        else
            for (Py_ssize_t i = 0; i < n; i++) __builtin_memcpy(to + i * to_step, &x, w);
    } else if (to_step == w) {
        if (from_step == -w)
            for (Py_ssize_t i = 0; i < n; i++) __builtin_memcpy(to + i * w, from - i * w, w);
        else if (from_step == 2 * w)
            for (Py_ssize_t i = 0; i < n; i++) __builtin_memcpy(to + i * w, from + i * 2 * w, w);
        else
            for (Py_ssize_t i = 0; i < n; i++) __builtin_memcpy(to + i * w, from + i * from_step, w);
    } else {
        for (Py_ssize_t i = 0; i < n; i++) __builtin_memcpy(to + i * to_step, from + i * from_step, w);
    }
}

// `to` and `from` overlap only where they are the same.
inline void move_run(Py_ssize_t itemsize, char* to, Py_ssize_t to_step, const char* from, Py_ssize_t from_step,
                     Py_ssize_t n) {
    if (to_step == itemsize && from_step == itemsize) {
        if (to != from) std::memcpy(to, from, (size_t)(n * itemsize));
        return;
    }
    switch (itemsize) {
    case 1: return move_elements<uint8_t>(to, to_step, from, from_step, n);
    case 2: return move_elements<uint16_t>(to, to_step, from, from_step, n);
    case 4: return move_elements<uint32_t>(to, to_step, from, from_step, n);
    case 8: return move_elements<uint64_t>(to, to_step, from, from_step, n);
    case 16: return move_elements<Bytes16>(to, to_step, from, from_step, n);
    }
    for (Py_ssize_t i = 0; i < n; i++) std::memcpy(to + i * to_step, from + i * from_step, (size_t)itemsize);
}

// Visits elements [lo, lo + count) in C order as runs along the last axis: visit(pointer, elements).
template <class Visit> void walk(const Axis* axes, int dims, char* at, Py_ssize_t lo, Py_ssize_t count, Visit visit) {
    int last = dims - 1;
    Py_ssize_t where[64];
    for (int d = last; d >= 0; d--) {
        where[d] = d ? lo % axes[d].extent : lo;
        if (d) lo /= axes[d].extent;
        at += where[d] * axes[d].stride;
    }
    const Axis inner = axes[last];
    while (count > 0) {
        Py_ssize_t run = std::min(inner.extent - where[last], count);
        visit(at, run);
        count -= run;
        if (count == 0) return;
        at -= where[last] * inner.stride;
        where[last] = 0;
        for (int d = last - 1; d >= 0; d--) {
            at += axes[d].stride;
            if (++where[d] < axes[d].extent) break;
            at -= axes[d].extent * axes[d].stride;
            where[d] = 0;
        }
    }
}

template <class Visit> void walk(const std::vector<Axis>& axes, char* at, Py_ssize_t lo, Py_ssize_t count, Visit visit) {
    walk(axes.data(), (int)axes.size(), at, lo, count, visit);
}

// Rows of a few elements: a run for each would cost more than its elements.
constexpr Py_ssize_t kShortRun = 16;
template <class T, int kExtent>
LA_INLINE void short_rows(char* to, const char* from, Py_ssize_t row_step, Py_ssize_t step, Py_ssize_t extent, Py_ssize_t n) {
    constexpr Py_ssize_t w = sizeof(T);
    Py_ssize_t length = kExtent ? kExtent : extent;
    for (Py_ssize_t i = 0; i < n; i++)
        for (Py_ssize_t k = 0; k < length; k++)
            __builtin_memcpy(to + (i * length + k) * w, from + i * row_step + k * step, w);
}
template <class T>
void gather_rows_of(char* to, const char* from, Py_ssize_t row_step, Py_ssize_t step, Py_ssize_t extent, Py_ssize_t n) {
    switch (extent) {
    case 2: return short_rows<T, 2>(to, from, row_step, step, extent, n);
    case 3: return short_rows<T, 3>(to, from, row_step, step, extent, n);
    case 4: return short_rows<T, 4>(to, from, row_step, step, extent, n);
    }
    short_rows<T, 0>(to, from, row_step, step, extent, n);
}
inline void gather_rows(Py_ssize_t itemsize, char* to, const char* from, Py_ssize_t row_step, Py_ssize_t step,
                        Py_ssize_t extent, Py_ssize_t n) {
    switch (itemsize) {
    case 1: return gather_rows_of<uint8_t>(to, from, row_step, step, extent, n);
    case 2: return gather_rows_of<uint16_t>(to, from, row_step, step, extent, n);
    case 4: return gather_rows_of<uint32_t>(to, from, row_step, step, extent, n);
    case 8: return gather_rows_of<uint64_t>(to, from, row_step, step, extent, n);
    default: return gather_rows_of<Bytes16>(to, from, row_step, step, extent, n);
    }
}

inline Py_ssize_t period(const std::vector<Axis>& axes) {
    Py_ssize_t p = 1;
    for (size_t d = 1; d < axes.size(); d++) p *= axes[d].extent;
    return p;
}

inline void gather(const std::vector<Axis>& axes, Py_ssize_t itemsize, const char* base, Py_ssize_t lo,
                   Py_ssize_t count, char* to) {
    Py_ssize_t step = axes.back().stride, first = count;
    // An outer broadcast axis: one period is fetched, the rest are copies of it, doubling.
    if (axes[0].stride == 0 && axes.size() > 1) first = std::min(count, period(axes));
    char* out = to;
    Py_ssize_t left = first, inner = axes.back().extent;
    auto run = [&](char* from, Py_ssize_t n) {
        move_run(itemsize, out, itemsize, from, step, n);
        out += n * itemsize;
    };
    bool fits = itemsize == 1 || itemsize == 2 || itemsize == 4 || itemsize == 8 || itemsize == 16;
    if (axes.size() > 1 && inner <= kShortRun && left >= 4 * inner && fits) {
        int dims = (int)axes.size() - 1;
        if (Py_ssize_t head = (inner - lo % inner) % inner) {
            walk(axes, const_cast<char*>(base), lo, head, run);
            lo += head;
            left -= head;
        }
        Py_ssize_t row_step = axes[dims - 1].stride, rows = left / inner;
        walk(axes.data(), dims, const_cast<char*>(base), lo / inner, rows, [&](char* from, Py_ssize_t n) {
            gather_rows(itemsize, out, from, row_step, step, inner, n);
            out += n * inner * itemsize;
        });
        lo += rows * inner;
        left -= rows * inner;
    }
    if (left) walk(axes, const_cast<char*>(base), lo, left, run);
    for (Py_ssize_t done = first; done < count;) {
        Py_ssize_t n = std::min(done, count - done);
        std::memcpy(to + done * itemsize, to, (size_t)(n * itemsize));
        done += n;
    }
}

inline void scatter(const std::vector<Axis>& axes, Py_ssize_t itemsize, char* base, Py_ssize_t lo, Py_ssize_t count,
                    const char* from) {
    Py_ssize_t step = axes.back().stride;
    walk(axes, base, lo, count, [&](char* to, Py_ssize_t n) {
        move_run(itemsize, to, step, from, itemsize, n);
        from += n * itemsize;
    });
}

// A tile of a matrix whose columns are contiguous: matrix element (i, j) is at matrix + i * itemsize + j * stride, and
// at rows + (i * row_length + j) * itemsize on the other side. Sixteen columns at a time: their cache lines stay in L1
// while the rows go by (8 and 4 columns were a third slower on a 4096 x 4096 float32 transpose).
constexpr Py_ssize_t kColumns = 16;
template <class T, bool kInto> LA_INLINE void move_row(char* strided, Py_ssize_t stride, char* flat, Py_ssize_t n) {
    constexpr Py_ssize_t w = sizeof(T);
    for (Py_ssize_t j = 0; j < n; j++) {
        if (kInto) __builtin_memcpy(flat + j * w, strided + j * stride, w);
        else __builtin_memcpy(strided + j * stride, flat + j * w, w);
    }
}
template <class T, bool kInto> void move_tile_of(char* matrix, Py_ssize_t stride, char* rows, Py_ssize_t row_length,
                                                 Py_ssize_t height, Py_ssize_t width) {
    constexpr Py_ssize_t w = sizeof(T);
    for (Py_ssize_t j = 0; j < width; j += kColumns) {
        Py_ssize_t n = std::min(kColumns, width - j);
        for (Py_ssize_t i = 0; i < height; i++) {
            char *strided = matrix + i * w + j * stride, *flat = rows + (i * row_length + j) * w;
            if (n == kColumns) move_row<T, kInto>(strided, stride, flat, kColumns);
            else move_row<T, kInto>(strided, stride, flat, n);
        }
    }
}
template <bool kInto> void move_tile(Py_ssize_t itemsize, char* matrix, Py_ssize_t stride, char* rows,
                                     Py_ssize_t row_length, Py_ssize_t height, Py_ssize_t width) {
    switch (itemsize) {
    case 1: return move_tile_of<uint8_t, kInto>(matrix, stride, rows, row_length, height, width);
    case 2: return move_tile_of<uint16_t, kInto>(matrix, stride, rows, row_length, height, width);
    case 4: return move_tile_of<uint32_t, kInto>(matrix, stride, rows, row_length, height, width);
    case 8: return move_tile_of<uint64_t, kInto>(matrix, stride, rows, row_length, height, width);
    default: return move_tile_of<Bytes16, kInto>(matrix, stride, rows, row_length, height, width);
    }
}

}  // namespace la
