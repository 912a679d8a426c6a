// Matrix products. Which routine and which tiles is a function of dtype and shapes alone, never of strides or workers.
#pragma once
#include "micro.hpp"

namespace la {

constexpr int MAX_BATCH_DIMS = 64;  // NumPy's limit on dimensions

// Fortran gemm; scalars and matrices of one type.
using BlasGemm = void (*)(char*, char*, int*, int*, int*, void*, void*, int*, void*, int*, void*, void*, int*);

enum Route : int {
    BLOCKED,  // the microkernel, tiled along M and N
    VECTOR,   // m == 1 or n == 1
    BLAS,     // one call a tile of rows
    PACKED,   // integer, bool, complex
};

struct GemmParams {
    const Micro* micro;
    BlasGemm blas;
    Route route;
    int batch_dims;
    ptrdiff_t batch[MAX_BATCH_DIMS], a_batch[MAX_BATCH_DIMS], b_batch[MAX_BATCH_DIMS];
    ptrdiff_t batches, m, n, k;
    ptrdiff_t a_row, a_col, b_row, b_col;
    ptrdiff_t tiles_m, tiles_n;  // tiles of nearly equal size
    // Of a product of whole rows: rows of one unit; and what a B takes that is packed before, else 0.
    ptrdiff_t unit_rows, panel_elements;
    // Parts of k: each is summed as a product of its own, then they are joined in pairs of neighbours. `spread`: parts are
    // units, and their sums wait in the scratch region; else one unit makes them all.
    ptrdiff_t splits;
    bool spread;
};

// Where part `index` of `parts` nearly equal parts of `extent` begins, in multiples of `align`.
inline ptrdiff_t part_begin(ptrdiff_t extent, ptrdiff_t parts, ptrdiff_t index, ptrdiff_t align = 1) noexcept {
    ptrdiff_t whole = (extent + align - 1) / align;
    ptrdiff_t begin = (whole / parts * index + (index < whole % parts ? index : whole % parts)) * align;
    return begin < extent ? begin : extent;
}

// m x n elements at any strides to rows `pitch` apart.
template <class T>
void copy_matrix(const Micro* micro, const T* from, ptrdiff_t row, ptrdiff_t col, T* to, ptrdiff_t m, ptrdiff_t n, ptrdiff_t pitch) noexcept {
    if (col == 1) {
        for (ptrdiff_t i = 0; i < m; i++) std::memcpy(to + i * pitch, from + i * row, size_t(n) * sizeof(T));
        return;
    }
    if constexpr (std::is_floating_point_v<T>)
        if (row == 1) return micro->turn(from, col, to, pitch, n, m);
    constexpr ptrdiff_t side = 16;  // a cache line of each of the tile's rows is read once
    for (ptrdiff_t i0 = 0; i0 < m; i0 += side)
        for (ptrdiff_t j0 = 0; j0 < n; j0 += side) {
            ptrdiff_t i1 = i0 + side < m ? i0 + side : m, j1 = j0 + side < n ? j0 + side : n;
            for (ptrdiff_t i = i0; i < i1; i++)
                for (ptrdiff_t j = j0; j < j1; j++) to[i * pitch + j] = from[i * row + j * col];
        }
}

struct Range {
    ptrdiff_t begin, end;
    ptrdiff_t size() const { return end > begin ? end - begin : 0; }
};

struct Product {
    ptrdiff_t a, b, c;  // offsets of one matrix of the batch, in elements
};

inline Product product_at(const GemmParams& g, ptrdiff_t index) noexcept {
    Product at{0, 0, index * g.m * g.n};
    for (int d = g.batch_dims - 1; d >= 0; d--) {
        ptrdiff_t i = index % g.batch[d];
        index /= g.batch[d];
        at.a += i * g.a_batch[d];
        at.b += i * g.b_batch[d];
    }
    return at;
}

template <class T> int run_vector(const GemmParams& g, const T* a, const T* b, T* c, ptrdiff_t begin, ptrdiff_t end) {
    bool column = g.n == 1;  // else y = B^T a
    Gemv<T> v{column ? a : b, column ? b : a, c + begin, end - begin, g.k, column ? g.a_row : g.b_col, column ? g.a_col : g.b_row};
    v.a += begin * v.a_row;
    if (ptrdiff_t step = column ? g.b_row : g.a_col; step != 1 && g.k > 1) {
        T* x = static_cast<T*>(scratch<1>(size_t(g.k) * sizeof(T)));
        if (!x) return OUT_OF_MEMORY;
        for (ptrdiff_t p = 0; p < g.k; p++) x[p] = v.x[p * step];
        v.x = x;
    }
    if (g.k == 1) v.a_k = v.a_row == 1 ? 0 : 1;
    if (v.a_k != 1 && v.a_row != 1) {
        T* packed = static_cast<T*>(scratch<2>(size_t(v.m * v.k + 1) * sizeof(T)));
        if (!packed) return OUT_OF_MEMORY;
        copy_matrix(g.micro, v.a, v.a_row, v.a_k, packed, v.m, v.k, v.k);
        v.a = packed;
        v.a_row = v.k;
        v.a_k = 1;
    }
    g.micro->gemv(v);
    return 0;
}

// A matrix as Fortran takes it: contiguous along one side, with the other's stride.
template <class T, int slot>
int as_fortran(const Micro* micro, const T*& from, ptrdiff_t row, ptrdiff_t col, ptrdiff_t m, ptrdiff_t n, char& trans, int& ld) {
    trans = 'N';
    if (col == 1 && row >= n) {
        ld = int(row);
    } else if (row == 1 && col >= m) {
        trans = 'T';
        ld = int(col);
    } else {
        T* packed = static_cast<T*>(scratch<slot>(size_t(m * n) * sizeof(T)));
        if (!packed) return OUT_OF_MEMORY;
        copy_matrix(micro, from, row, col, packed, m, n, n);
        from = packed;
        ld = int(n);
    }
    return 0;
}

template <class T> int run_blas(const GemmParams& g, const T* a, const T* b, T* c, ptrdiff_t begin, ptrdiff_t end) {
    char trans_a, trans_b;
    int lda, ldb, m = int(end - begin), n = int(g.n), k = int(g.k);
    a += begin * g.a_row;
    if (as_fortran<T, 1>(g.micro, a, g.a_row, g.a_col, m, k, trans_a, lda)) return OUT_OF_MEMORY;
    if (as_fortran<T, 2>(g.micro, b, g.b_row, g.b_col, k, n, trans_b, ldb)) return OUT_OF_MEMORY;
    T one, zero;
    if constexpr (std::is_floating_point_v<T>) {
        one = 1, zero = 0;
    } else {
        one = {1, 0}, zero = {0, 0};
    }
    // Rows first is columns first of the transpose: C^T = B^T A^T.
    g.blas(&trans_b, &trans_a, &n, &m, &k, &one, const_cast<T*>(b), &ldb, const_cast<T*>(a), &lda, &zero, c + begin * g.n, &n);
    return 0;
}

// Columns of one pass over k: A's part, packed, takes at most this of the second-level cache (1 MiB or more).
constexpr ptrdiff_t NEAR_A_BYTES = 512 << 10;

// `ready`: all of B as `panels` laid it out, or none. `c` is where the first of the rows begins.
template <class T>
int run_blocked(const GemmParams& g, const T* a, const T* b, const T* ready, T* c, Range rows, Range columns) {
    ptrdiff_t m = rows.size(), n = columns.size(), chain = even_chain(g.k);
    ptrdiff_t fit = NEAR_A_BYTES / (m * ptrdiff_t(sizeof(T))) / chain * chain;
    fit = fit < chain ? chain : fit;
    a += rows.begin * g.a_row;
    b += columns.begin * g.b_col;
    Block<T> tile{a, b, c + columns.begin, m, n, g.k, g.a_row, g.a_col, g.b_row, g.n,
                  1, 0, 0, 1, 0, 0, false};
    tile.b_col = g.b_col;
    // Rows of A a page or more apart share few sets of a cache. A packed A pays when several panels of B meet it.
    bool far = g.k > fit || g.a_col != 1 || g.a_row * ptrdiff_t(sizeof(T)) >= 4096;
    if (!ready && (n < 256 || !far || !g.k)) {
        g.micro->block(tile);
        return 0;
    }
    T* packed = static_cast<T*>(scratch<2>(size_t(m * (g.k < fit ? g.k : fit) + SLACK) * sizeof(T)));
    if (!packed) return OUT_OF_MEMORY;
    tile.a_ready = true;
    tile.chain = chain;
    tile.b_ready = ready != nullptr;
    tile.b_depth = g.k;
    for (ptrdiff_t p = 0; p < g.k; p += fit) {
        tile.k = g.k - p < fit ? g.k - p : fit;
        tile.a = a + p * g.a_col, tile.a_row = g.a_row;
        g.micro->strips(tile, packed);
        tile.a = packed, tile.a_row = tile.k;
        tile.b = ready ? ready : b + p * g.b_row;
        tile.b_first = p;
        g.micro->block(tile);
        tile.accumulate = true;
    }
    return 0;
}

template <class T> int run_tile(const GemmParams& g, const T* a, const T* b, T* c, ptrdiff_t tile) {
    constexpr bool has_blocks = std::is_same_v<T, float> || std::is_same_v<T, double>;
    constexpr bool has_blas = has_blocks || std::is_same_v<T, Complex<float>> || std::is_same_v<T, Complex<double>>;
    ptrdiff_t rows = g.route == VECTOR && g.n != 1 ? g.n : g.m, align = g.route == VECTOR ? 128 : 1;
    ptrdiff_t i = tile / g.tiles_n, j = tile % g.tiles_n;
    ptrdiff_t top = part_begin(rows, g.tiles_m, i, align), bottom = part_begin(rows, g.tiles_m, i + 1, align);
    Range across{part_begin(g.n, g.tiles_n, j, 64), part_begin(g.n, g.tiles_n, j + 1, 64)};
    if constexpr (has_blas)
        if (g.route == BLAS) return run_blas(g, a, b, c, top, bottom);
    if constexpr (has_blocks) {
        if (g.route == VECTOR) return run_vector(g, a, b, c, top, bottom);
        return run_blocked<T>(g, a, b, nullptr, c + top * g.n, {top, bottom}, across);
    } else {
        return g.micro->packed(Packed<T>{a + top * g.a_row, b + across.begin * g.b_col, c + top * g.n + across.begin,
                                         bottom - top, across.size(), g.k, g.a_row, g.a_col, g.b_row, g.b_col, g.n});
    }
}

// Calls `each` with (index of the product, its part of k, tile): one of them, or all those of a product.
template <class Each> int each_part(const GemmParams& g, ptrdiff_t unit, Each each) {
    ptrdiff_t tiles = g.tiles_m * g.tiles_n, units = g.splits * tiles;
    if (g.splits == 1 || g.spread) return each(unit / units, unit % units / tiles, unit % tiles);
    for (ptrdiff_t i = 0; i < units; i++)
        if (int code = each(unit, i / tiles, i % tiles)) return code;
    return 0;
}

// A product of one part of k. Parts begin where pieces of CHAIN and the lanes of dot products do.
inline GemmParams part_of(const GemmParams& g, ptrdiff_t part, Product& at) {
    GemmParams own = g;
    ptrdiff_t first = part_begin(g.k, g.splits, part, CHAIN);
    own.k = part_begin(g.k, g.splits, part + 1, CHAIN) - first;
    at.a += first * g.a_col;
    at.b += first * g.b_row;
    return own;
}

template <class T> void add_sums(const Micro* micro, T* to, const T* from, ptrdiff_t count) {
    if constexpr (std::is_floating_point_v<T>) return micro->add(Runs<T>{to, from, 0, 0, count, 1});
    for (ptrdiff_t i = 0; i < count; i++) {
        if constexpr (std::is_same_v<T, Bool>)
            to[i].v = to[i].v | from[i].v;
        else if constexpr (std::is_integral_v<T>)
            to[i] = T(to[i] + from[i]);
        else if constexpr (!std::is_floating_point_v<T>)
            to[i] = {to[i].re + from[i].re, to[i].im + from[i].im};
    }
}

// Joins the sums of the parts in pairs of neighbours: float16 and bfloat16 from float32.
template <class T, class Sum> void join_parts(const GemmParams& g, Sum* parts, T* c) {
    ptrdiff_t size = g.m * g.n, chunk = 2048 / ptrdiff_t(sizeof(Sum));
    for (ptrdiff_t i = 0; i < size; i += chunk) {
        ptrdiff_t length = size - i < chunk ? size - i : chunk;
        for (ptrdiff_t stride = 1; stride < g.splits; stride *= 2)
            for (ptrdiff_t s = 0; s + stride < g.splits; s += 2 * stride)
                add_sums(g.micro, parts + s * size + i, parts + (s + stride) * size + i, length);
        if constexpr (std::is_same_v<T, Sum>)
            std::memcpy(c + i, parts + i, size_t(length) * sizeof(T));
        else
            g.micro->narrow(parts + i, c + i, length);
    }
}

template <class T, class Sum = T> int finish_gemm(const void* params, char** args) noexcept {
    const GemmParams& g = *static_cast<const GemmParams*>(params);
    ptrdiff_t size = g.m * g.n;
    for (ptrdiff_t index = 0; index < g.batches; index++)
        join_parts(g, reinterpret_cast<Sum*>(args[3]) + index * g.splits * size, reinterpret_cast<T*>(args[2]) + index * size);
    return 0;
}

template <class T> int run_gemm(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) noexcept {
    const GemmParams& g = *static_cast<const GemmParams*>(params);
    const T *a = reinterpret_cast<const T*>(args[0]), *b = reinterpret_cast<const T*>(args[1]);
    T* parts = nullptr;
    if (g.splits > 1) parts = g.spread ? reinterpret_cast<T*>(args[3]) : static_cast<T*>(scratch<5>(size_t(g.splits * g.m * g.n) * sizeof(T)));
    if (g.splits > 1 && !parts) return OUT_OF_MEMORY;
    for (ptrdiff_t unit = begin; unit < end; unit++) {
        int code = each_part(g, unit, [&](ptrdiff_t index, ptrdiff_t part, ptrdiff_t tile) {
            Product at = product_at(g, index);
            T* c = reinterpret_cast<T*>(args[2]) + at.c;
            if (g.splits == 1) return run_tile(g, a + at.a, b + at.b, c, tile);
            GemmParams own = part_of(g, part, at);
            T* to = parts + ((g.spread ? index * g.splits : 0) + part) * g.m * g.n;
            int failed = run_tile(own, a + at.a, b + at.b, to, tile);
            if (!failed && !g.spread && part + 1 == g.splits && tile + 1 == g.tiles_m * g.tiles_n) join_parts(g, parts, c);
            return failed;
        });
        if (code) return code;
    }
    return 0;
}

// A product in two stages, with the scratch region as the fourth operand: all of B is packed once, then read by every unit.
constexpr ptrdiff_t STAGE_ROWS = 64;   // of B, in one unit of the first stage
constexpr ptrdiff_t STRIP_ROWS = 126;  // of A, together in the second-level cache

template <class T> int run_gemm_panels(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) noexcept {
    const GemmParams& g = *static_cast<const GemmParams*>(params);
    ptrdiff_t parts = (g.k + STAGE_ROWS - 1) / STAGE_ROWS;
    for (ptrdiff_t unit = begin; unit < end; unit++) {
        ptrdiff_t first = unit % parts * STAGE_ROWS, count = g.k - first < STAGE_ROWS ? g.k - first : STAGE_ROWS;
        Block<T> b{};
        b.b = reinterpret_cast<const T*>(args[1]) + product_at(g, unit / parts).b;
        b.n = g.n, b.k = g.k, b.b_k = g.b_row, b.b_col = g.b_col, b.n1 = b.n2 = 1;
        g.micro->panels(b, first, count, reinterpret_cast<T*>(args[3]) + unit / parts * g.panel_elements);
    }
    return 0;
}

// Calls `each` with (index of the product, rows) for every block of rows of the units [begin, end).
template <class Each> int row_blocks(const GemmParams& g, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t most, Each each) {
    ptrdiff_t parts = (g.m + g.unit_rows - 1) / g.unit_rows;
    while (begin < end) {
        ptrdiff_t index = begin / parts, first = begin % parts, last = first + end - begin < parts ? first + end - begin : parts;
        ptrdiff_t top = first * g.unit_rows, rows = (last * g.unit_rows < g.m ? last * g.unit_rows : g.m) - top;
        ptrdiff_t blocks = (rows + most - 1) / most;
        for (ptrdiff_t i = 0; i < blocks; i++)
            if (int code = each(index, Range{top + part_begin(rows, blocks, i, 6), top + part_begin(rows, blocks, i + 1, 6)}))
                return code;
        begin += last - first;
    }
    return 0;
}

template <class T> int run_gemm_shared(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) noexcept {
    const GemmParams& g = *static_cast<const GemmParams*>(params);
    return row_blocks(g, begin, end, STRIP_ROWS, [&](ptrdiff_t index, Range rows) {
        Product at = product_at(g, index);
        const T* panels = reinterpret_cast<const T*>(args[3]) + index * g.panel_elements;
        return run_blocked<T>(g, reinterpret_cast<const T*>(args[0]) + at.a, nullptr, panels,
                              reinterpret_cast<T*>(args[2]) + at.c + rows.begin * g.n, rows, {0, g.n});
    });
}

// A product of whole rows and an elementwise program that reads it: rows stay in cache from one to the other. The program's
// first operand is the product; the kernel's are A, B, those of the program behind the first, and packed panels if any.
struct FollowParams {
    GemmParams gemm;  // with unit_rows
    int (*run)(const void*, char**, Py_ssize_t, Py_ssize_t);
    const void* program;
    int operands;  // of the program
    int home;      // the one of its outputs that holds the product first; 0: none
};
constexpr int FOLLOW_OPERANDS = 128;
constexpr ptrdiff_t FOLLOW_BYTES = 1 << 20;  // of a block of rows

template <class T> int run_follow(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) noexcept {
    const FollowParams& f = *static_cast<const FollowParams*>(params);
    const GemmParams& g = f.gemm;
    ptrdiff_t most = FOLLOW_BYTES / (g.n * ptrdiff_t(sizeof(T)));
    most = most < g.unit_rows ? g.unit_rows : most < STRIP_ROWS ? most : STRIP_ROWS;
    char* own[FOLLOW_OPERANDS];
    for (int i = 1; i < f.operands; i++) own[i] = args[i + 1];
    return row_blocks(g, begin, end, most, [&](ptrdiff_t index, Range rows) {
        Product at = product_at(g, index);
        ptrdiff_t first = (index * g.m + rows.begin) * g.n;
        T* c = f.home ? reinterpret_cast<T*>(own[f.home]) + first : static_cast<T*>(scratch<4>(size_t(rows.size() * g.n) * sizeof(T)));
        if (!c) return OUT_OF_MEMORY;
        const T* a = reinterpret_cast<const T*>(args[0]) + at.a;
        const T* b = reinterpret_cast<const T*>(args[1]) + at.b;
        const T* panels = nullptr;
        if (g.panel_elements) panels = reinterpret_cast<const T*>(args[f.operands + 1]) + index * g.panel_elements;
        if (int code = run_blocked<T>(g, a, panels ? nullptr : b, panels, c, rows, {0, g.n})) return code;
        own[0] = reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(c) - size_t(first) * sizeof(T));  // where element 0 would be
        return f.run(f.program, own, first, first + rows.size() * g.n);
    });
}

// float16 and bfloat16 sum in float32 and round once.
template <class T> int run_gemm_half(const void* params, char** args, ptrdiff_t begin, ptrdiff_t end) noexcept {
    const GemmParams& g = *static_cast<const GemmParams*>(params);
    const T* source = nullptr;
    float *b = nullptr, *parts = nullptr;
    if (g.splits > 1) parts = g.spread ? reinterpret_cast<float*>(args[3]) : static_cast<float*>(scratch<5>(size_t(g.splits * g.m * g.n) * sizeof(float)));
    if (g.splits > 1 && !parts) return OUT_OF_MEMORY;
    for (ptrdiff_t unit = begin; unit < end; unit++) {
        int code = each_part(g, unit, [&](ptrdiff_t index, ptrdiff_t part, ptrdiff_t tile) -> int {
            Product at = product_at(g, index);
            GemmParams wide = part_of(g, part, at);
            wide.a_row = wide.k, wide.a_col = 1;
            wide.b_row = g.n, wide.b_col = 1;
            ptrdiff_t k = wide.k, top = part_begin(g.m, g.tiles_m, tile), height = part_begin(g.m, g.tiles_m, tile + 1) - top;
            const T* from = reinterpret_cast<const T*>(args[1]) + at.b;
            if (from != source || !b) {
                b = static_cast<float*>(scratch<1>(size_t(k * g.n + 1) * sizeof(float)));
                T* row = static_cast<T*>(scratch<2>(size_t(k * g.n + 1) * sizeof(T)));
                if (!b || !row) return OUT_OF_MEMORY;
                bool flat = g.b_col == 1 || g.n == 1;
                if (!flat) copy_matrix(g.micro, from, g.b_row, g.b_col, row, k, g.n, g.n);
                for (ptrdiff_t p = 0; p < k; p++) g.micro->widen(flat ? from + p * g.b_row : row + p * g.n, 1, b + p * g.n, g.n);
                source = from;
            }
            float* a = static_cast<float*>(scratch<4>(size_t(height * k + 1) * sizeof(float)));
            float* c = g.splits > 1 ? parts + ((g.spread ? index * g.splits : 0) + part) * g.m * g.n + top * g.n
                                    : static_cast<float*>(scratch<3>(size_t(height * g.n + 1) * sizeof(float)));
            if (!a || !c) return OUT_OF_MEMORY;
            const T* rows = reinterpret_cast<const T*>(args[0]) + at.a + top * g.a_row;
            for (ptrdiff_t i = 0; i < height; i++) g.micro->widen(rows + i * g.a_row, g.a_col, a + i * k, k);
            if (run_blocked<float>(wide, a, b, nullptr, c, {0, height}, {0, g.n})) return OUT_OF_MEMORY;
            T* out = reinterpret_cast<T*>(args[2]) + at.c;
            if (g.splits == 1)
                g.micro->narrow(c, out + top * g.n, height * g.n);
            else if (!g.spread && part + 1 == g.splits && tile + 1 == g.tiles_m)
                join_parts(g, parts, out);
            return 0;
        });
        if (code) return code;
    }
    return 0;
}

}  // namespace la
