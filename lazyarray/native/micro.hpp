// One microkernel source, compiled once for each instruction set and chosen when the module is imported.
#pragma once
#include "types.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LA_VECTOR __attribute__((always_inline)) static inline

namespace la {

using std::ptrdiff_t;
using std::size_t;

constexpr int OUT_OF_MEMORY = 1;

// Grow-only memory of one worker thread; valid until the same slot is asked for again.
template <int slot> void* scratch(size_t bytes) noexcept {
    struct Region {
        void* data = nullptr;
        size_t bytes = 0;
        ~Region() { std::free(data); }
    };
    thread_local Region region;
    if (bytes > region.bytes) {
        std::free(region.data);
        size_t rounded = (bytes + bytes / 4 + 4095) & ~size_t(4095);
        region.data = std::aligned_alloc(64, rounded);
        region.bytes = region.data ? rounded : 0;
    }
    return region.data;
}

// C[i, j] (+)= sum over t1, t2, p of A[i; t1, t2, p] * B[t1, t2, p; j]: a batch-reduce gemm (Georganas et al., 2019).
// In the order t1, t2, p the products are cut into even pieces of at most CHAIN, by n1, n2 and k alone. A piece is one chain
// of fused multiply-adds from zero, and pieces are added in order: no tiling of rows or columns can change bits, and the
// error grows with CHAIN + k / CHAIN.
constexpr ptrdiff_t CHAIN = 128;

inline ptrdiff_t even_chain(ptrdiff_t k) noexcept {
    ptrdiff_t pieces = (k + CHAIN - 1) / CHAIN;
    return k > CHAIN ? (k + pieces - 1) / pieces : CHAIN;
}

constexpr ptrdiff_t SLACK = 16;   // elements
constexpr ptrdiff_t COLUMNS = 16; // a packed B has whole vectors of columns: n rounded up to a multiple of at most this

template <class T> struct Block {
    const T* a;
    const T* b;
    T* c;  // columns are contiguous
    ptrdiff_t m, n, k;
    ptrdiff_t a_row, a_k, b_k, c_row;
    ptrdiff_t n1, a1, b1;
    ptrdiff_t n2, a2, b2;
    bool accumulate;
    // The m rows are taken u1 * u2 times, from and to these steps: pieces of B are read once for all of them.
    ptrdiff_t u1 = 1, a_u1 = 0, c_u1 = 0;
    ptrdiff_t u2 = 1, a_u2 = 0, c_u2 = 0;
    ptrdiff_t b_col = 1;  // another step needs n1 == n2 == 1
    // Operands in the order in which tiles read them, with n1 == n2 == u1 == u2 == 1. A: see `strips`; each is a_row long for
    // a row, and begins at `a_first`. B: see `panels`, of `b_depth` rows, of which this product takes k from `b_first` on.
    bool a_ready = false, b_ready = false;
    ptrdiff_t a_first = 0, b_depth = 0, b_first = 0;
    T* b_to = nullptr;    // of a tile that packs B as it reads it
    ptrdiff_t chain = 0;  // of a part of the products along k: that of the whole
};

// `count` runs of consecutive elements are added one after the other; the targets may overlap.
template <class T> struct Runs {
    T* to;
    const T* from;
    ptrdiff_t to_step, from_step, length, count;
};

// y[i] = A[i, :] . x in LANES partial sums, p going to lane p mod LANES, joined in halves. x is contiguous.
template <class T> struct Gemv {
    const T* a;
    const T* x;
    T* y;
    ptrdiff_t m, k, a_row, a_k;
};

// Products whose B is packed by the routine itself: integers (wrapping), bool (or of ands), complex.
template <class T> struct Packed {
    const T* a;
    const T* b;
    T* c;
    ptrdiff_t m, n, k;
    ptrdiff_t a_row, a_k, b_k, b_col, c_row;
};

struct Micro;

struct PoolParams {
    const Micro* micro;
    ptrdiff_t n, h, w, c, oh, ow;
    ptrdiff_t kh, kw, sh, sw, ph, pw;
    bool count_pad;         // padding pixels count in an average
    bool apart;             // windows do not overlap: gradients are stored, not added
    bool covered;           // and every pixel lies in one
    ptrdiff_t image_parts;  // units along images
    ptrdiff_t row_parts;    // forward: units along oh
};

// The part of a window that lies on the image; never empty, since a pad is smaller than its window.
struct Window {
    ptrdiff_t top, bottom, left, right;
};
LA_VECTOR Window window_at(const PoolParams& g, ptrdiff_t i, ptrdiff_t j) {
    ptrdiff_t top = i * g.sh - g.ph, left = j * g.sw - g.pw, bottom = top + g.kh, right = left + g.kw;
    return {top < 0 ? 0 : top, bottom < g.h ? bottom : g.h, left < 0 ? 0 : left, right < g.w ? right : g.w};
}
template <class T> LA_VECTOR T divisor(const PoolParams& g, const Window& on) {
    return T(g.count_pad ? g.kh * g.kw : (on.bottom - on.top) * (on.right - on.left));
}

// Of one image; forward for some rows of outputs.
template <class T> struct PoolRoutines {
    void (*max)(const PoolParams&, const T* x, T* out, ptrdiff_t begin, ptrdiff_t end);
    void (*mean)(const PoolParams&, const T* x, T* out, ptrdiff_t begin, ptrdiff_t end);
    void (*max_grad)(const PoolParams&, const T* x, const T* grad, T* dx);
    void (*mean_grad)(const PoolParams&, const T* x, const T* grad, T* dx);
};

struct Micro {
    const char* name;
    PoolRoutines<float> pool_f32;
    PoolRoutines<double> pool_f64;
    void (*block_f32)(const Block<float>&);
    void (*block_f64)(const Block<double>&);
    void (*strips_f32)(const Block<float>&, float*);
    void (*strips_f64)(const Block<double>&, double*);
    void (*panels_f32)(const Block<float>&, ptrdiff_t, ptrdiff_t, float*);
    void (*panels_f64)(const Block<double>&, ptrdiff_t, ptrdiff_t, double*);
    void (*gemv_f32)(const Gemv<float>&);
    void (*gemv_f64)(const Gemv<double>&);
    void (*add_f32)(const Runs<float>&);
    void (*add_f64)(const Runs<double>&);
    void (*turn_f32)(const float*, ptrdiff_t, float*, ptrdiff_t, ptrdiff_t, ptrdiff_t);
    void (*turn_f64)(const double*, ptrdiff_t, double*, ptrdiff_t, ptrdiff_t, ptrdiff_t);
    int (*packed_u8)(const Packed<uint8_t>&);
    int (*packed_u16)(const Packed<uint16_t>&);
    int (*packed_u32)(const Packed<uint32_t>&);
    int (*packed_u64)(const Packed<uint64_t>&);
    int (*packed_bool)(const Packed<Bool>&);
    int (*packed_c64)(const Packed<Complex<float>>&);
    int (*packed_c128)(const Packed<Complex<double>>&);
    void (*widen_half)(const Half* from, ptrdiff_t step, float* to, ptrdiff_t count);
    void (*narrow_half)(const float* from, Half* to, ptrdiff_t count);
    void (*widen_bf16)(const Brain* from, ptrdiff_t step, float* to, ptrdiff_t count);
    void (*narrow_bf16)(const float* from, Brain* to, ptrdiff_t count);

    void widen(const Half* from, ptrdiff_t step, float* to, ptrdiff_t count) const { widen_half(from, step, to, count); }
    void widen(const Brain* from, ptrdiff_t step, float* to, ptrdiff_t count) const { widen_bf16(from, step, to, count); }
    void narrow(const float* from, Half* to, ptrdiff_t count) const { narrow_half(from, to, count); }
    void narrow(const float* from, Brain* to, ptrdiff_t count) const { narrow_bf16(from, to, count); }

    void block(const Block<float>& g) const { block_f32(g); }
    void block(const Block<double>& g) const { block_f64(g); }
    // A, packed for a product with this block's n; SLACK elements behind it may be overwritten.
    void strips(const Block<float>& g, float* to) const { strips_f32(g, to); }
    void strips(const Block<double>& g, double* to) const { strips_f64(g, to); }
    // Rows [first, first + count) of B, to their place among all k rows.
    void panels(const Block<float>& g, ptrdiff_t first, ptrdiff_t count, float* to) const { panels_f32(g, first, count, to); }
    void panels(const Block<double>& g, ptrdiff_t first, ptrdiff_t count, double* to) const { panels_f64(g, first, count, to); }
    void gemv(const Gemv<float>& g) const { gemv_f32(g); }
    void gemv(const Gemv<double>& g) const { gemv_f64(g); }
    void add(const Runs<float>& g) const { add_f32(g); }
    void add(const Runs<double>& g) const { add_f64(g); }
    // to[j, i] = from[i, j] for i < m, j < n; rows of both are contiguous.
    void turn(const float* from, ptrdiff_t pitch, float* to, ptrdiff_t to_pitch, ptrdiff_t m, ptrdiff_t n) const {
        turn_f32(from, pitch, to, to_pitch, m, n);
    }
    void turn(const double* from, ptrdiff_t pitch, double* to, ptrdiff_t to_pitch, ptrdiff_t m, ptrdiff_t n) const {
        turn_f64(from, pitch, to, to_pitch, m, n);
    }
    int packed(const Packed<uint8_t>& g) const { return packed_u8(g); }
    int packed(const Packed<uint16_t>& g) const { return packed_u16(g); }
    int packed(const Packed<uint32_t>& g) const { return packed_u32(g); }
    int packed(const Packed<uint64_t>& g) const { return packed_u64(g); }
    int packed(const Packed<Bool>& g) const { return packed_bool(g); }
    int packed(const Packed<Complex<float>>& g) const { return packed_c64(g); }
    int packed(const Packed<Complex<double>>& g) const { return packed_c128(g); }
};

}  // namespace la

// Vectors of an instruction set: loads and stores of a whole vector, or of its first `count` lanes.
namespace la::plain {
constexpr char NAME[] = "plain";
#if defined(__aarch64__)
constexpr bool FUSED = true;
constexpr int MAX_VECTORS = 4;
constexpr int ACCUMULATORS = 24;
#else
constexpr bool FUSED = false;
constexpr int MAX_VECTORS = 2;
constexpr int ACCUMULATORS = 8;
#endif
template <class T> struct Vec {
    static constexpr int width = 16 / sizeof(T);
    typedef T V __attribute__((vector_size(16)));
    struct Mask {
        int count;
    };
    LA_VECTOR Mask mask(ptrdiff_t count) { return {int(count)}; }
    LA_VECTOR V load(const T* p) {
        V v;
        std::memcpy(&v, p, sizeof v);
        return v;
    }
    LA_VECTOR V load(const T* p, Mask mask) {
        V v = {};
        for (int i = 0; i < mask.count; i++) v[i] = p[i];
        return v;
    }
    LA_VECTOR void store(T* p, V v) { std::memcpy(p, &v, sizeof v); }
    LA_VECTOR void store(T* p, V v, Mask mask) {
        for (int i = 0; i < mask.count; i++) p[i] = v[i];
    }
    LA_VECTOR V set(T x) { return x - V{}; }
    LA_VECTOR V add(V a, V b) { return a + b; }
    LA_VECTOR V divide(V a, V b) { return a / b; }
    LA_VECTOR auto wins(V a, V b) { return ((a > b) | (a != a)) & (b == b); }
    LA_VECTOR auto equal(V a, V b) { return a == b; }
    template <class P> LA_VECTOR V blend(P p, V a, V b) { return p ? a : b; }
    LA_VECTOR V fma(V a, V b, V c) {
#if defined(__aarch64__)
        for (int i = 0; i < width; i++) c[i] = std::fma(a[i], b[i], c[i]);
        return c;
#else
        return a * b + c;  // no fma below AVX2: other bits than on a newer processor, the same on this one
#endif
    }
};
inline void widen(const Half* from, ptrdiff_t step, float* to, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) to[i] = half_to_float(from[i * step].bits);
}
inline void narrow(const float* from, Half* to, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) to[i].bits = float_to_half(from[i]);
}
inline void widen_brain(const Brain* from, ptrdiff_t step, float* to, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) to[i] = widened(from[i * step]);
}
inline void narrow_brain(const float* from, Brain* to, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) to[i].bits = float_to_brain(from[i]);
}
#include "pool.inc"
#include "micro.inc"
}  // namespace la::plain

#if defined(__x86_64__) && !defined(__clang__)
#define LA_WIDE 1
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2")
namespace la::avx2 {
constexpr char NAME[] = "avx2";
constexpr bool FUSED = true;
constexpr int MAX_VECTORS = 2;
constexpr int ACCUMULATORS = 12;
template <class T> struct Vec;
template <> struct Vec<float> {
    static constexpr int width = 8;
    using V = __m256;
    using Mask = __m256i;
    LA_VECTOR Mask mask(ptrdiff_t n) {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
    LA_VECTOR V load(const float* p) { return _mm256_loadu_ps(p); }
    LA_VECTOR V load(const float* p, Mask m) { return _mm256_maskload_ps(p, m); }
    LA_VECTOR void store(float* p, V v) { _mm256_storeu_ps(p, v); }
    LA_VECTOR void store(float* p, V v, Mask m) { _mm256_maskstore_ps(p, m, v); }
    LA_VECTOR V set(float x) { return _mm256_set1_ps(x); }
    LA_VECTOR V add(V a, V b) { return _mm256_add_ps(a, b); }
    LA_VECTOR V divide(V a, V b) { return _mm256_div_ps(a, b); }
    LA_VECTOR V wins(V a, V b) {
        return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_NLE_UQ), _mm256_cmp_ps(b, b, _CMP_ORD_Q));
    }
    LA_VECTOR V equal(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
    LA_VECTOR V blend(V p, V a, V b) { return _mm256_blendv_ps(b, a, p); }
    LA_VECTOR V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
};
template <> struct Vec<double> {
    static constexpr int width = 4;
    using V = __m256d;
    using Mask = __m256i;
    LA_VECTOR Mask mask(ptrdiff_t n) {
        return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
    }
    LA_VECTOR V load(const double* p) { return _mm256_loadu_pd(p); }
    LA_VECTOR V load(const double* p, Mask m) { return _mm256_maskload_pd(p, m); }
    LA_VECTOR void store(double* p, V v) { _mm256_storeu_pd(p, v); }
    LA_VECTOR void store(double* p, V v, Mask m) { _mm256_maskstore_pd(p, m, v); }
    LA_VECTOR V set(double x) { return _mm256_set1_pd(x); }
    LA_VECTOR V add(V a, V b) { return _mm256_add_pd(a, b); }
    LA_VECTOR V divide(V a, V b) { return _mm256_div_pd(a, b); }
    LA_VECTOR V wins(V a, V b) {
        return _mm256_and_pd(_mm256_cmp_pd(a, b, _CMP_NLE_UQ), _mm256_cmp_pd(b, b, _CMP_ORD_Q));
    }
    LA_VECTOR V equal(V a, V b) { return _mm256_cmp_pd(a, b, _CMP_EQ_OQ); }
    LA_VECTOR V blend(V p, V a, V b) { return _mm256_blendv_pd(b, a, p); }
    LA_VECTOR V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
};
inline void widen(const Half* from, ptrdiff_t step, float* to, ptrdiff_t count) {
    ptrdiff_t i = 0;
    if (step == 1)
        for (; i + 8 <= count; i += 8)
            _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(from + i))));
    for (; i < count; i++) to[i] = _cvtsh_ss(from[i * step].bits);
}
inline void narrow(const float* from, Half* to, ptrdiff_t count) {
    ptrdiff_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i*)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < count; i++) to[i].bits = _cvtss_sh(from[i], _MM_FROUND_TO_NEAREST_INT);
}
// GCC makes vector code of these.
inline void widen_brain(const Brain* from, ptrdiff_t step, float* to, ptrdiff_t count) {
    if (step == 1)
        for (ptrdiff_t i = 0; i < count; i++) to[i] = bits_as<float>((uint32_t)from[i].bits << 16);
    else
        for (ptrdiff_t i = 0; i < count; i++) to[i] = bits_as<float>((uint32_t)from[i * step].bits << 16);
}
inline void narrow_brain(const float* from, Brain* to, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) to[i].bits = float_to_brain(from[i]);
}
#include "pool.inc"
#include "micro.inc"
}  // namespace la::avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c,bmi,bmi2,prfchw,prefer-vector-width=512")
namespace la::avx512 {
constexpr char NAME[] = "avx512";
constexpr bool FUSED = true;
constexpr int MAX_VECTORS = 4;
constexpr int ACCUMULATORS = 24;
template <class T> struct Vec;
template <> struct Vec<float> {
    static constexpr int width = 16;
    using V = __m512;
    using Mask = __mmask16;
    LA_VECTOR Mask mask(ptrdiff_t n) { return Mask((1u << n) - 1); }
    LA_VECTOR V load(const float* p) { return _mm512_loadu_ps(p); }
    LA_VECTOR V load(const float* p, Mask m) { return _mm512_maskz_loadu_ps(m, p); }
    LA_VECTOR void store(float* p, V v) { _mm512_storeu_ps(p, v); }
    LA_VECTOR void store(float* p, V v, Mask m) { _mm512_mask_storeu_ps(p, m, v); }
    LA_VECTOR V set(float x) { return _mm512_set1_ps(x); }
    LA_VECTOR V add(V a, V b) { return _mm512_add_ps(a, b); }
    LA_VECTOR V divide(V a, V b) { return _mm512_div_ps(a, b); }
    LA_VECTOR Mask wins(V a, V b) {
        return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(b, b, _CMP_ORD_Q), a, b, _CMP_NLE_UQ);
    }
    LA_VECTOR Mask equal(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
    LA_VECTOR V blend(Mask p, V a, V b) { return _mm512_mask_blend_ps(p, b, a); }
    LA_VECTOR V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
};
template <> struct Vec<double> {
    static constexpr int width = 8;
    using V = __m512d;
    using Mask = __mmask8;
    LA_VECTOR Mask mask(ptrdiff_t n) { return Mask((1u << n) - 1); }
    LA_VECTOR V load(const double* p) { return _mm512_loadu_pd(p); }
    LA_VECTOR V load(const double* p, Mask m) { return _mm512_maskz_loadu_pd(m, p); }
    LA_VECTOR void store(double* p, V v) { _mm512_storeu_pd(p, v); }
    LA_VECTOR void store(double* p, V v, Mask m) { _mm512_mask_storeu_pd(p, m, v); }
    LA_VECTOR V set(double x) { return _mm512_set1_pd(x); }
    LA_VECTOR V add(V a, V b) { return _mm512_add_pd(a, b); }
    LA_VECTOR V divide(V a, V b) { return _mm512_div_pd(a, b); }
    LA_VECTOR Mask wins(V a, V b) {
        return _mm512_mask_cmp_pd_mask(_mm512_cmp_pd_mask(b, b, _CMP_ORD_Q), a, b, _CMP_NLE_UQ);
    }
    LA_VECTOR Mask equal(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
    LA_VECTOR V blend(Mask p, V a, V b) { return _mm512_mask_blend_pd(p, b, a); }
    LA_VECTOR V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
};
using avx2::narrow;
using avx2::narrow_brain;
using avx2::widen;
using avx2::widen_brain;
#include "pool.inc"
#include "micro.inc"
}  // namespace la::avx512
#pragma GCC pop_options
#endif

namespace la {

// The microkernels of the widest instruction set that this processor has; by name for tests, NULL if absent.
inline const Micro* micro_named(const char* name) noexcept {
#ifdef LA_WIDE
    const char* limit = std::getenv("LAZYARRAY_SIMD");  // 0, 1 or 2, as in _loops
    int most = limit && *limit >= '0' && *limit <= '2' ? *limit - '0' : 2;
    __builtin_cpu_init();
    bool has_avx2 = most >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    bool has_avx512 = most >= 2 && has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (has_avx512 && (!name || !std::strcmp(name, avx512::NAME))) return &avx512::MICRO;
    if (has_avx2 && (!name || !std::strcmp(name, avx2::NAME))) return &avx2::MICRO;
#endif
    return !name || !std::strcmp(name, plain::NAME) ? &plain::MICRO : nullptr;
}

}  // namespace la
