// Convolution in two dimensions, channels last, and its gradients, on the batch-reduce microkernel.
#pragma once
#include "gemm.hpp"

namespace la {

struct ConvParams {
    const Micro* micro;
    ptrdiff_t n, h, w, c;                    // x
    ptrdiff_t kh, kw, cg, o, og, groups;     // kernel (kh, kw, cg, o); group i: channels i*cg.., outputs i*og..
    ptrdiff_t oh, ow;                        // out (n, oh, ow, o)
    ptrdiff_t sh, sw, ph, pw, dh, dw;
    ptrdiff_t image_parts, row_parts;        // units of forward and data gradient
    ptrdiff_t splits, tap_parts;             // units of the weight gradient
    ptrdiff_t output_parts;                  // units along the channels of the result
    ptrdiff_t rows_at_once;                  // forward: rows of outputs that pass while a piece of the kernel stays near
    bool gather;                             // data gradient: as a convolution of g
    bool outer;                              // all rows of all images of a unit pass: the kernel is too large to read often
};

// Share of the second-level cache (1 MiB or more) that a kernel may take while the pixels pass.
constexpr ptrdiff_t RESIDENT_BYTES = 512 << 10;
// Share of the first-level cache for the operand that is read again.
constexpr ptrdiff_t NEAR_BYTES = 24 << 10;

// Outputs i of [0, count) whose tap `shift + i * step` falls into [low, high).
inline Range outputs_within(ptrdiff_t shift, ptrdiff_t step, ptrdiff_t count, ptrdiff_t low, ptrdiff_t high) noexcept {
    ptrdiff_t begin = low > shift ? (low - shift + step - 1) / step : 0;
    ptrdiff_t end = high > shift ? (high - shift + step - 1) / step : 0;
    return {begin, end < count ? end : count};
}

// `count` rows of an image from row `first` (which may lie outside) with `side` zero pixels at both ends.
template <class T>
void pad_rows(const T* image, ptrdiff_t h, ptrdiff_t row, ptrdiff_t first, ptrdiff_t count, ptrdiff_t side, T* to) noexcept {
    ptrdiff_t pitch = row + 2 * side;
    for (ptrdiff_t r = 0; r < count; r++, to += pitch) {
        if (first + r < 0 || first + r >= h) {
            std::memset(to, 0, size_t(pitch) * sizeof(T));
            continue;
        }
        std::memset(to, 0, size_t(side) * sizeof(T));
        std::memcpy(to + side, image + (first + r) * row, size_t(row) * sizeof(T));
        std::memset(to + side + row, 0, size_t(side) * sizeof(T));
    }
}

// Some rows of outputs of some images. Taps along a row of the kernel are one run of channels when they touch.
template <class T>
int convolve_band(const ConvParams& g, const T* x, const T* kernel, T* out, Range images, Range band, Range outputs) noexcept {
    bool merged = g.dw == 1 && g.groups == 1, padded = g.ph || g.pw;
    ptrdiff_t taps = (g.kh - 1) * g.dh + 1, needed = (band.size() - 1) * g.sh + taps;
    ptrdiff_t pitch = (g.w + 2 * g.pw) * g.c, image = g.h * g.w * g.c, top = band.begin * g.sh - g.ph;
    T* rows = nullptr;
    if (padded) {
        ptrdiff_t held = g.outer ? images.size() : 1;
        rows = static_cast<T*>(scratch<1>(size_t(held * needed * pitch) * sizeof(T)));
        if (!rows) return OUT_OF_MEMORY;
        image = needed * pitch;
    }
    Block<T> b{};
    b.m = g.ow, b.n = g.groups == 1 ? outputs.size() : g.og, b.k = merged ? g.kw * g.c : g.cg;
    b.a_row = g.sw * g.c, b.a_k = 1, b.b_k = g.o, b.c_row = g.o;
    b.n1 = g.kh, b.a1 = g.dh * pitch, b.b1 = g.kw * g.cg * g.o;
    b.n2 = merged ? 1 : g.kw, b.a2 = g.dw * g.c, b.b2 = g.cg * g.o;
    b.a_u2 = g.sh * pitch, b.c_u2 = g.ow * g.o;
    b.a_u1 = image, b.c_u1 = g.oh * g.ow * g.o;
    ptrdiff_t at_once = g.outer || g.rows_at_once > band.size() ? band.size() : g.rows_at_once;
    bool pointwise = g.kh == 1 && g.kw == 1 && g.sh == 1 && g.sw == 1 && !padded;  // sees one long row
    if (g.outer) b.u1 = images.size();
    for (ptrdiff_t i = images.begin; i < images.end; i += b.u1) {
        const T* from = x + i * g.h * g.w * g.c;
        if (padded) {
            for (ptrdiff_t j = 0; j < b.u1; j++)
                pad_rows(from + j * g.h * g.w * g.c, g.h, g.w * g.c, top, needed, g.pw * g.c, rows + j * image);
            from = rows;
        } else {
            from += top * pitch;
        }
        for (ptrdiff_t group = 0; group < g.groups; group++)
            for (ptrdiff_t r = 0; r < band.size(); r += at_once) {
                b.u2 = r + at_once < band.size() ? at_once : band.size() - r;
                if (pointwise) b.m = b.u2 * g.ow, b.u2 = 1;
                b.a = from + r * b.a_u2 + group * g.cg;
                b.b = kernel + group * g.og + outputs.begin;
                b.c = out + (i * g.oh + band.begin + r) * g.ow * g.o + group * g.og + outputs.begin;
                g.micro->block(b);
            }
    }
    return 0;
}

template <class T> int run_conv2d(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) noexcept {
    const ConvParams& g = *static_cast<const ConvParams*>(params);
    for (ptrdiff_t unit = begin; unit < end; unit++) {
        ptrdiff_t i = unit / g.output_parts / g.row_parts, r = unit / g.output_parts % g.row_parts, j = unit % g.output_parts;
        Range images{part_begin(g.n, g.image_parts, i), part_begin(g.n, g.image_parts, i + 1)};
        Range band{part_begin(g.oh, g.row_parts, r), part_begin(g.oh, g.row_parts, r + 1)};
        Range outputs{part_begin(g.o, g.output_parts, j, 64), part_begin(g.o, g.output_parts, j + 1, 64)};
        int code = convolve_band(g, reinterpret_cast<const T*>(args[0]), reinterpret_cast<const T*>(args[1]),
                                 reinterpret_cast<T*>(args[2]), images, band, outputs);
        if (code) return code;
    }
    return 0;
}

// Adds what outputs [first, first + count) of one image, times one row of the kernel, give to row(s) of dx.
template <class T>
void scatter(const ConvParams& g, const T* product, ptrdiff_t first, ptrdiff_t count, ptrdiff_t shift_h, ptrdiff_t shift_w,
             ptrdiff_t reach, ptrdiff_t length, ptrdiff_t channel, T* dx) noexcept {
    // An inner output lies with all its `reach` taps in the row; the others are cut.
    Range inner = outputs_within(shift_w, g.sw, g.ow, 0, g.w - reach + 1);
    for (ptrdiff_t p = first; p < first + count;) {
        ptrdiff_t i = p / g.ow, j = p % g.ow, stop = first + count - p < g.ow - j ? j + first + count - p : g.ow;
        p += stop - j;
        T* row = dx + ((shift_h + i * g.sh) * g.w) * g.c + channel;
        while (j < stop) {
            if (j >= inner.begin && j < inner.end) {
                ptrdiff_t runs = (stop < inner.end ? stop : inner.end) - j;
                g.micro->add(Runs<T>{row + (shift_w + j * g.sw) * g.c, product, g.sw * g.c, length, length, runs});
                product += runs * length;
                j += runs;
                continue;
            }
            ptrdiff_t at = shift_w + j * g.sw, low = at < 0 ? -at : 0, high = at + reach > g.w ? g.w - at : reach;
            if (low < high) {
                ptrdiff_t pixel = length / reach;
                g.micro->add(Runs<T>{row + (at + low) * g.c, product + low * pixel, 0, 0, (high - low) * pixel, 1});
            }
            product += length;
            j++;
        }
    }
}

// dx = sum over taps of g K^T: exact work at any stride. For each element of dx: kernel rows in order, then outputs.
template <class T>
int data_grad_band(const ConvParams& g, const T* grad, const T* transposed, T* dx, ptrdiff_t image, Range band) noexcept {
    bool merged = g.dw == 1 && g.groups == 1;
    ptrdiff_t reach = merged ? g.kw : 1, length = merged ? g.kw * g.c : g.cg, steps = merged ? 1 : g.kw;
    ptrdiff_t chunk = NEAR_BYTES / (length * ptrdiff_t(sizeof(T)));
    chunk = chunk < 24 ? 24 : chunk > 256 ? 256 : chunk;
    if (g.outer) chunk = g.oh * g.ow < 1024 ? g.oh * g.ow : 1024;
    T* product = static_cast<T*>(scratch<2>(size_t(chunk * length) * sizeof(T)));
    if (!product) return OUT_OF_MEMORY;
    dx += image * g.h * g.w * g.c;
    grad += image * g.oh * g.ow * g.o;
    std::memset(dx + band.begin * g.w * g.c, 0, size_t(band.size() * g.w * g.c) * sizeof(T));
    for (ptrdiff_t group = 0; group < g.groups; group++)
        for (ptrdiff_t i = 0; i < g.kh; i++) {
            ptrdiff_t shift_h = i * g.dh - g.ph;
            Range outputs = outputs_within(shift_h, g.sh, g.oh, band.begin, band.end);
            for (ptrdiff_t j = 0; j < steps; j++)
                for (ptrdiff_t p = outputs.begin * g.ow; p < outputs.end * g.ow; p += chunk) {
                    ptrdiff_t count = outputs.end * g.ow - p < chunk ? outputs.end * g.ow - p : chunk;
                    const T* b = transposed + (((group * g.kh + i) * g.og) * g.kw + j) * g.cg;
                    g.micro->block(Block<T>{grad + p * g.o + group * g.og, b, product, count, length, g.og, g.o, 1, g.kw * g.cg,
                                            length, 1, 0, 0, 1, 0, 0, false});
                    scatter(g, product, p, count, shift_h, j * g.dw - g.pw, reach, length, group * g.cg, dx);
                }
        }
    return 0;
}

// Steps of one pixel: dx is itself a convolution, of g with the kernel turned round and its channels swapped.
template <class T>
int data_grad_gather(const ConvParams& g, const T* grad, const T* turned, T* dx, Range images, Range band, Range channels) noexcept {
    ConvParams back = g;
    back.h = g.oh, back.w = g.ow, back.c = g.o, back.cg = g.o, back.o = g.c, back.og = g.c, back.oh = g.h, back.ow = g.w;
    back.ph = (g.kh - 1) * g.dh - g.ph, back.pw = (g.kw - 1) * g.dw - g.pw;
    return convolve_band(back, grad, turned, dx, images, band, channels);
}

// (group, kh, og, kw * cg): each row of the kernel as B of a product with g.
template <class T> void transpose_kernel(const ConvParams& g, const T* kernel, T* to) noexcept {
    ptrdiff_t width = g.kw * g.cg;
    for (ptrdiff_t group = 0; group < g.groups; group++)
        for (ptrdiff_t i = 0; i < g.kh; i++, to += g.og * width)
            copy_matrix(g.micro, kernel + i * width * g.o + group * g.og, 1, g.o, to, g.og, width, width);
}

// (kh, kw, o, c), last tap first; some of the channels.
template <class T> void turn_kernel(const ConvParams& g, const T* kernel, T* to, Range channels) noexcept {
    ptrdiff_t taps = g.kh * g.kw, tap = g.c * g.o;
    for (ptrdiff_t t = 0; t < taps; t++)
        copy_matrix(g.micro, kernel + (taps - 1 - t) * tap + channels.begin * g.o, 1, g.o, to + t * tap + channels.begin, g.o,
                    channels.size(), g.c);
}

// args: g, kernel, dx. Units in order of channels, so that a call turns its part of the kernel once.
template <class T> int run_conv2d_data_grad(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) noexcept {
    const ConvParams& g = *static_cast<const ConvParams*>(params);
    const T* grad = reinterpret_cast<const T*>(args[0]);
    const T* kernel = reinterpret_cast<const T*>(args[1]);
    T* dx = reinterpret_cast<T*>(args[2]);
    T* ready = static_cast<T*>(scratch<3>(size_t(g.kh * g.kw * g.cg * g.o + 1) * sizeof(T)));
    if (!ready) return OUT_OF_MEMORY;
    if (!g.gather) transpose_kernel(g, kernel, ready);
    ptrdiff_t each = g.image_parts * g.row_parts, turned = -1;
    for (ptrdiff_t unit = begin; unit < end; unit++) {
        ptrdiff_t j = unit / each, part = unit % each / g.row_parts, r = unit % g.row_parts;
        Range channels{part_begin(g.c, g.output_parts, j, 64), part_begin(g.c, g.output_parts, j + 1, 64)};
        Range images{part_begin(g.n, g.image_parts, part), part_begin(g.n, g.image_parts, part + 1)};
        Range band{part_begin(g.h, g.row_parts, r), part_begin(g.h, g.row_parts, r + 1)};
        int code = 0;
        if (g.gather) {
            if (j != turned) turn_kernel(g, kernel, ready, channels);
            turned = j;
            code = data_grad_gather(g, grad, ready, dx, images, band, channels);
        } else {
            for (ptrdiff_t i = images.begin; i < images.end && !code; i++) code = data_grad_band(g, grad, ready, dx, i, band);
        }
        if (code) return code;
    }
    return 0;
}

// Part of dw (taps [taps.begin, taps.end) of kh * kw) from some images, into `to`; outputs in order.
template <class T>
int weight_grad_part(const ConvParams& g, const T* x, const T* grad, T* to, Range images, Range taps) noexcept {
    bool merged = (g.c < 16 || !g.pw) && g.dw == 1 && g.groups == 1 && taps.begin % g.kw == 0 && taps.end % g.kw == 0;
    bool padded = merged && g.pw;
    ptrdiff_t side = padded ? g.pw : 0, pitch = (g.w + 2 * side) * g.c, tap = g.cg * g.o;
    T* rows = nullptr;
    if (padded) {
        rows = static_cast<T*>(scratch<1>(size_t(g.h * pitch) * sizeof(T)));
        if (!rows) return OUT_OF_MEMORY;
    }
    // A chunk of g that stays in the first-level cache while all taps pass, one chain long at least: rows, or images.
    ptrdiff_t pixels = NEAR_BYTES / (g.o * ptrdiff_t(sizeof(T)));
    pixels = pixels < CHAIN ? CHAIN : pixels;
    ptrdiff_t high = pixels / g.ow < 1 ? 1 : pixels / g.ow, wide = 1;
    if (high >= g.oh) high = g.oh, wide = padded ? 1 : pixels / (g.oh * g.ow);
    else high = (g.oh + (g.oh - 1) / high) / ((g.oh - 1) / high + 1);
    std::memset(to + taps.begin * tap, 0, size_t(taps.size() * tap) * sizeof(T));
    for (ptrdiff_t i = images.begin; i < images.end; i += wide) {
        const T* from = x + i * g.h * g.w * g.c;
        if (padded) {
            pad_rows(from, g.h, g.w * g.c, 0, g.h, side * g.c, rows);
            from = rows;
        }
        for (ptrdiff_t top = 0; top < g.oh; top += high)
            for (ptrdiff_t t = taps.begin; t < taps.end; t += merged ? g.kw : 1) {
                ptrdiff_t shift_h = t / g.kw * g.dh - g.ph, shift_w = merged ? side - g.pw : t % g.kw * g.dw - g.pw;
                Range down = outputs_within(shift_h, g.sh, g.oh, 0, g.h);
                Range across = merged ? Range{0, g.ow} : outputs_within(shift_w, g.sw, g.ow, 0, g.w);
                if (down.begin < top) down.begin = top;
                if (down.end > top + high) down.end = top + high;
                if (!down.size() || !across.size()) continue;
                Block<T> b{};
                b.m = merged ? g.kw * g.c : g.cg, b.n = g.og, b.k = across.size();
                b.a_row = 1, b.a_k = g.sw * g.c, b.b_k = g.o, b.c_row = g.o;
                b.n1 = images.end - i < wide ? images.end - i : wide, b.a1 = g.h * g.w * g.c, b.b1 = g.oh * g.ow * g.o;
                b.n2 = down.size(), b.a2 = g.sh * pitch, b.b2 = g.ow * g.o;
                b.accumulate = true;
                for (ptrdiff_t group = 0; group < g.groups; group++) {
                    b.a = from + (shift_h + down.begin * g.sh) * pitch + (shift_w + across.begin * g.sw) * g.c + group * g.cg;
                    b.b = grad + ((i * g.oh + down.begin) * g.ow + across.begin) * g.o + group * g.og;
                    b.c = to + t * tap + group * g.og;
                    g.micro->block(b);
                }
            }
    }
    return 0;
}

template <class T> int run_conv2d_weight_grad(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) noexcept {
    const ConvParams& g = *static_cast<const ConvParams*>(params);
    ptrdiff_t size = g.kh * g.kw * g.cg * g.o;
    for (ptrdiff_t unit = begin; unit < end; unit++) {
        ptrdiff_t split = unit / g.tap_parts, part = unit % g.tap_parts;
        Range images{part_begin(g.n, g.splits, split), part_begin(g.n, g.splits, split + 1)};
        ptrdiff_t align = g.tap_parts <= g.kh ? g.kw : 1;
        Range taps{part_begin(g.kh * g.kw, g.tap_parts, part, align), part_begin(g.kh * g.kw, g.tap_parts, part + 1, align)};
        T* to = g.splits == 1 ? reinterpret_cast<T*>(args[2]) : reinterpret_cast<T*>(args[3]) + split * size;
        int code = weight_grad_part(g, reinterpret_cast<const T*>(args[0]), reinterpret_cast<const T*>(args[1]), to, images, taps);
        if (code) return code;
    }
    return 0;
}

// Joins the partial sums in pairs of neighbours.
template <class T> int finish_conv2d_weight_grad(const void* params, char** args) noexcept {
    const ConvParams& g = *static_cast<const ConvParams*>(params);
    if (g.splits == 1) return 0;
    ptrdiff_t size = g.kh * g.kw * g.cg * g.o, chunk = 2048 / ptrdiff_t(sizeof(T));
    T* parts = reinterpret_cast<T*>(args[3]);
    for (ptrdiff_t i = 0; i < size; i += chunk) {
        ptrdiff_t length = size - i < chunk ? size - i : chunk;
        for (ptrdiff_t stride = 1; stride < g.splits; stride *= 2)
            for (ptrdiff_t s = 0; s + stride < g.splits; s += 2 * stride)
                g.micro->add(Runs<T>{parts + s * size + i, parts + (s + stride) * size + i, 0, 0, length, 1});
        std::memcpy(reinterpret_cast<T*>(args[2]) + i, parts + i, size_t(length) * sizeof(T));
    }
    return 0;
}

}  // namespace la
