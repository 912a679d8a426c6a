// Linear equations, inverses, determinants and Cholesky factors of matrices, C-contiguous in the last two axes. A unit of a
// batch is one matrix: small ones are eliminated here, others by LAPACK, one thread a call. One large matrix is factored in
// panels: LAPACK factors a panel, then every block of columns behind and before it is a unit; blocks of right-hand sides are
// units as well. Which way is taken, and its blocks, depend on the shape alone: so do the bits. As in NumPy, all is computed
// in double precision (T), whatever the elements are (S).
#pragma once
#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <vector>

#include "simd.hpp"

namespace la {

constexpr int kSingular = 1;             // error code
constexpr Py_ssize_t kOwnOrder = 12;     // up to which the call of LAPACK costs more than the elimination
constexpr Py_ssize_t kPaneled = 256;     // order of one matrix from which it is factored in panels
constexpr Py_ssize_t kRightSides = 64;   // columns that one unit solves for
constexpr Py_ssize_t kInverted = 48;     // columns of an inverse, which are less work the further they are to the right
inline Py_ssize_t panel_width(Py_ssize_t n) { return n < 2048 ? 64 : 128; }

// SciPy's routines for one dtype, set when they are loaded.
template <class T> struct Routines {
    void (*getrf)(int* m, int* n, T* a, int* lda, int* pivots, int* info);
    void (*laswp)(int* n, T* a, int* lda, int* first, int* last, int* pivots, int* step);
    void (*trsm)(char* side, char* uplo, char* trans, char* diag, int* m, int* n, T* alpha, T* a, int* lda, T* b, int* ldb);
    void (*gemm)(char* at, char* bt, int* m, int* n, int* k, T* alpha, T* a, int* lda, T* b, int* ldb, T* beta, T* c, int* ldc);
    void (*potrf)(char* uplo, int* n, T* a, int* lda, int* info);
};
template <class T> inline Routines<T> routines;

template <class T>
void triangle_solve(char uplo, char diag, Py_ssize_t n, Py_ssize_t k, T* a, Py_ssize_t lda, T* b, Py_ssize_t ldb) {
    char left = 'L', plain = 'N';
    int rows = (int)n, columns = (int)k, a_step = (int)lda, b_step = (int)ldb;
    T one = 1;
    routines<T>.trsm(&left, &uplo, &plain, &diag, &rows, &columns, &one, a, &a_step, b, &b_step);
}
template <class T> void swap_rows(T* a, Py_ssize_t lda, Py_ssize_t columns, Py_ssize_t first, Py_ssize_t last, int* pivots) {
    int n = (int)columns, step = (int)lda, from = (int)first + 1, to = (int)last, unit = 1;
    routines<T>.laswp(&n, a, &step, &from, &to, pivots, &unit);
}
// In tiles, so that neither side's cache lines are left before they are full.
template <class From, class To>
void transpose_block(const From* from, Py_ssize_t from_step, To* to, Py_ssize_t to_step, Py_ssize_t rows, Py_ssize_t columns) {
    constexpr Py_ssize_t tile = 16;
    for (Py_ssize_t i = 0; i < rows; i += tile)
        for (Py_ssize_t j = 0; j < columns; j += tile)
            for (Py_ssize_t r = i; r < std::min(i + tile, rows); r++)
                for (Py_ssize_t c = j; c < std::min(j + tile, columns); c++) to[c * to_step + r] = (To)from[r * from_step + c];
}

template <class T> struct RealOf { using type = T; };
template <class R> struct RealOf<std::complex<R>> { using type = R; };
template <class T> using Real = typename RealOf<T>::type;
template <class T> constexpr bool has_parts = !std::is_same_v<T, Real<T>>;
// How LAPACK compares pivots.
template <class T> LA_INLINE Real<T> pivot_size(T x) {
    if constexpr (has_parts<T>) return std::abs(x.real()) + std::abs(x.imag());
    else return std::abs(x);
}
template <class T> LA_INLINE T times(T a, T b) {
    if constexpr (has_parts<T>) return T(a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real());
    else return a * b;
}
template <class T> LA_INLINE T mirrored(T x) {
    if constexpr (has_parts<T>) return std::conj(x);
    else return x;
}

enum Wanted { kInverse, kSolution, kDeterminant, kSignAndLog };
struct EquationParams {
    Wanted wanted;
    Py_ssize_t batch, n, k;   // k right-hand sides
    bool shared;              // by all matrices
    Py_ssize_t width, blocks;
    Py_ssize_t pivots;        // where in the scratch region
    bool is_solved() const { return wanted == kInverse || wanted == kSolution; }
};

// The determinant by the logarithm of its size, as NumPy computes it.
template <class T> struct Determinant {
    T sign = 1;
    Real<T> log = 0;
    bool zero = false;
    void add(T x, bool swapped) {
        if (swapped) sign = -sign;
        if (x == T(0)) zero = true;
        Real<T> size = std::abs(x);
        if constexpr (has_parts<T>) sign = times(sign, T(x.real() / size, x.imag() / size));
        else if (x < 0) sign = -sign;
        log += std::log(size);
    }
    T value() const { return zero ? T(0) : times(sign, T(std::exp(log))); }
    // As the result of matrix u; signs lie before logarithms, each aligned to 16 bytes.
    template <class S> void store(const EquationParams& p, S* out, Py_ssize_t u) const {
        if (p.wanted == kDeterminant) {
            out[u] = (S)value();
            return;
        }
        Py_ssize_t bytes = p.batch * (Py_ssize_t)sizeof(S);
        out[u] = (S)(zero ? T(0) : sign);
        ((Real<S>*)((char*)out + bytes + (-bytes & 15)))[u] = zero ? -std::numeric_limits<Real<S>>::infinity() : (Real<S>)log;
    }
};

// ---- a matrix by itself

// Gaussian elimination with partial pivoting of rows of `width` elements, a matrix and its right-hand sides behind it.
template <class T> bool eliminate(T* rows, Py_ssize_t n, Py_ssize_t width, Determinant<T>* found) {
    for (Py_ssize_t c = 0; c < n; c++) {
        T* head = rows + c * width;
        Py_ssize_t pivot = c;
        for (Py_ssize_t r = c + 1; r < n; r++)
            if (pivot_size(rows[r * width + c]) > pivot_size(rows[pivot * width + c])) pivot = r;
        if (pivot != c)
            for (Py_ssize_t j = 0; j < width; j++) std::swap(head[j], rows[pivot * width + j]);
        if (found) found->add(head[c], pivot != c);
        if (head[c] == T(0)) return false;
        for (Py_ssize_t r = c + 1; r < n; r++) {
            T* row = rows + r * width;
            T factor = row[c] / head[c];
            for (Py_ssize_t j = c + 1; j < width; j++) row[j] -= times(factor, head[j]);
        }
    }
    return true;
}
template <class T> void substitute_back(T* rows, Py_ssize_t n, Py_ssize_t width) {
    for (Py_ssize_t c = n - 1; c >= 0; c--) {
        T* solved = rows + c * width;
        for (Py_ssize_t j = n; j < width; j++) solved[j] = solved[j] / solved[c];
        for (Py_ssize_t r = 0; r < c; r++) {
            T* row = rows + r * width;
            for (Py_ssize_t j = n; j < width; j++) row[j] -= times(row[c], solved[j]);
        }
    }
}
// The same operations for an order and a number of right-hand sides known to the compiler, which keeps all in registers.
template <int C, int N, int W, class T> LA_INLINE bool eliminate_few(T (&rows)[N][W]) {
    if constexpr (C < N) {
        int pivot = C;
        Real<T> largest = pivot_size(rows[C][C]);
        for (int r = C + 1; r < N; r++)
            if (Real<T> size = pivot_size(rows[r][C]); size > largest) largest = size, pivot = r;
        for (int r = C + 1; r < N; r++)
            if (pivot == r)
                for (int j = 0; j < W; j++) std::swap(rows[C][j], rows[r][j]);
        if (rows[C][C] == T(0)) return false;
        for (int r = C + 1; r < N; r++) {
            T factor = rows[r][C] / rows[C][C];
            for (int j = C + 1; j < W; j++) rows[r][j] -= times(factor, rows[C][j]);
        }
        return eliminate_few<C + 1>(rows);
    }
    return true;
}
template <int N, int K, class T, class S> int solve_few(const S* a, const S* b, S* out) {
    T rows[N][N + K];
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) rows[i][j] = (T)a[i * N + j];
        for (int j = 0; j < K; j++) rows[i][N + j] = b ? (T)b[i * K + j] : T(i == j);
    }
    if (!eliminate_few<0>(rows)) return kSingular;
    for (int c = N - 1; c >= 0; c--) {
        for (int j = N; j < N + K; j++) rows[c][j] = rows[c][j] / rows[c][c];
        for (int r = 0; r < c; r++)
            for (int j = N; j < N + K; j++) rows[r][j] -= times(rows[r][c], rows[c][j]);
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < K; j++) out[i * K + j] = (S)rows[i][N + j];
    return 0;
}
// The unit u of the results, which begin at `all`.
template <class T, class S> int solve_small(const EquationParams& p, const S* a, const S* b, S* all, Py_ssize_t u) {
    constexpr Py_ssize_t sides = 32;  // at once, in a core's cache
    T rows[kOwnOrder * (kOwnOrder + sides)];
    if (!p.is_solved()) {
        Determinant<T> found;
        for (Py_ssize_t i = 0; i < p.n * p.n; i++) rows[i] = (T)a[i];
        eliminate(rows, p.n, p.n, &found);
        found.store(p, all, u);
        return 0;
    }
    S* out = all + u * p.n * p.k;
    switch (p.k < 8 ? p.n * 8 + p.k : 0) {
    case 2 * 8 + 1: return solve_few<2, 1, T>(a, b, out);
    case 2 * 8 + 2: return solve_few<2, 2, T>(a, b, out);
    case 3 * 8 + 1: return solve_few<3, 1, T>(a, b, out);
    case 3 * 8 + 3: return solve_few<3, 3, T>(a, b, out);
    case 4 * 8 + 1: return solve_few<4, 1, T>(a, b, out);
    case 4 * 8 + 4: return solve_few<4, 4, T>(a, b, out);
    }
    for (Py_ssize_t first = 0; first < p.k; first += sides) {
        Py_ssize_t k = std::min(sides, p.k - first), width = p.n + k;
        for (Py_ssize_t i = 0; i < p.n; i++) {
            T* row = rows + i * width;
            for (Py_ssize_t j = 0; j < p.n; j++) row[j] = (T)a[i * p.n + j];
            for (Py_ssize_t j = 0; j < k; j++) row[p.n + j] = b ? (T)b[i * p.k + first + j] : T(i == first + j);
        }
        if (!eliminate<T>(rows, p.n, width, nullptr)) return kSingular;
        substitute_back(rows, p.n, width);
        for (Py_ssize_t i = 0; i < p.n; i++)
            for (Py_ssize_t j = 0; j < k; j++) out[i * p.k + first + j] = (S)rows[i * width + p.n + j];
    }
    return 0;
}
// The right-hand sides [first, first + width) of a factored matrix, and their solutions in rows of `out`.
template <class T, class S>
void solve_columns(T* factors, int* pivots, Py_ssize_t n, Py_ssize_t k, const S* b, S* out, Py_ssize_t first,
                   Py_ssize_t width, T* room) {
    transpose_block(b + first, k, room, n, n, width);
    swap_rows(room, n, width, 0, n, pivots);
    triangle_solve('L', 'U', n, width, factors, n, room, n);
    triangle_solve('U', 'N', n, width, factors, n, room, n);
    transpose_block(room, n, out + first, k, width, n);
}
// Which column of the inverse each column of the inverse of the factors is: the rows' exchanges, undone.
inline void undo_pivots(const int* pivots, Py_ssize_t n, int* columns) {
    for (Py_ssize_t i = 0; i < n; i++) columns[i] = (int)i;
    for (Py_ssize_t i = 0; i < n; i++) std::swap(columns[i], columns[pivots[i] - 1]);
}
// The columns [first, first + width) of the inverse of the factors. That of the lower one has zeros above the diagonal.
template <class T, class S>
void invert_columns(T* factors, const int* columns, Py_ssize_t n, S* out, Py_ssize_t first, Py_ssize_t width, T* room) {
    std::fill_n(room, n * width, T(0));
    for (Py_ssize_t j = 0; j < width; j++) room[j * n + first + j] = 1;
    triangle_solve('L', 'U', n - first, width, factors + first * n + first, n, room + first, n);
    triangle_solve('U', 'N', n, width, factors, n, room, n);
    constexpr Py_ssize_t tile = 16;
    for (Py_ssize_t r = 0; r < n; r += tile)
        for (Py_ssize_t j = 0; j < width; j++) {
            S* column = out + columns[first + j];
            for (Py_ssize_t i = r; i < std::min(r + tile, n); i++) column[i * n] = (S)room[j * n + i];
        }
}
template <class T, class S>
void find_determinant(const EquationParams& p, const T* factors, const int* pivots, S* out, Py_ssize_t u) {
    Determinant<T> found;
    for (Py_ssize_t i = 0; i < p.n; i++) found.add(factors[i * p.n + i], pivots[i] != i + 1);
    found.store(p, out, u);
}
// args: a (batch, n, n), perhaps b (batch, n, k), out
template <class T, class S> int run_equations(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const EquationParams*>(params);
    bool given = p.wanted == kSolution;
    S* out = (S*)args[1 + given];
    Py_ssize_t sides = p.is_solved() ? p.k : 0;
    char* memory = p.n <= kOwnOrder ? nullptr : scratch((p.n * p.n + p.n * sides) * (Py_ssize_t)sizeof(T) + p.n * 8 + 64);
    if (p.n > kOwnOrder && !memory) return kNoMemory;
    for (Py_ssize_t u = begin; u < end; u++) {
        const S *a = (const S*)args[0] + u * p.n * p.n, *b = given ? (const S*)args[1] + (p.shared ? 0 : u * p.n * p.k) : nullptr;
        if (p.n <= kOwnOrder) {
            if (int code = solve_small<T>(p, a, b, out, u)) return code;
            continue;
        }
        T *factors = (T*)memory, *room = factors + p.n * p.n;
        int *pivots = (int*)(room + p.n * sides), n = (int)p.n, info = 0;
        transpose_block(a, p.n, factors, p.n, p.n, p.n);
        routines<T>.getrf(&n, &n, factors, &n, pivots, &info);
        if (!p.is_solved()) {
            find_determinant(p, factors, pivots, out, u);
            continue;
        }
        if (info > 0) return kSingular;
        if (given) {
            solve_columns(factors, pivots, p.n, p.k, b, out + u * p.n * p.k, 0, p.k, room);
            continue;
        }
        int* columns = pivots + p.n;
        undo_pivots(pivots, p.n, columns);
        for (Py_ssize_t first = 0; first < p.n; first += kInverted)
            invert_columns(factors, columns, p.n, out + u * p.n * p.n, first, std::min(kInverted, p.n - first), room);
    }
    return 0;
}

// ---- one large matrix, in stages: its copy by columns; for each panel its factors, then the other columns; the results

template <class T, class S> int run_by_columns(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const EquationParams*>(params);
    T* factors = (T*)args[2 + (p.wanted == kSolution)];
    Py_ssize_t first = begin * p.width, last = std::min(end * p.width, p.n);
    transpose_block((const S*)args[0] + first, p.n, factors + first * p.n, p.n, p.n, last - first);
    return 0;
}
struct PanelParams {
    EquationParams p;
    Py_ssize_t at;  // its first column
};
template <class T, class S> int run_panel(const void* params, char** args, Py_ssize_t, Py_ssize_t) {
    const auto& [p, at] = *static_cast<const PanelParams*>(params);
    char* memory = args[2 + (p.wanted == kSolution)];
    int* pivots = (int*)(memory + p.pivots) + at;
    int m = (int)(p.n - at), n = (int)std::min(p.width, p.n - at), lda = (int)p.n, info = 0;
    routines<T>.getrf(&m, &n, (T*)memory + at * p.n + at, &lda, pivots, &info);
    for (int i = 0; i < n; i++) pivots[i] += (int)at;
    return info > 0 && p.is_solved() ? kSingular : 0;
}
template <class T, class S> int run_behind_panel(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& [p, at] = *static_cast<const PanelParams*>(params);
    char* memory = args[2 + (p.wanted == kSolution)];
    T* factors = (T*)memory;
    Py_ssize_t last = std::min(at + p.width, p.n);
    for (Py_ssize_t u = begin; u < end; u++) {
        Py_ssize_t first = u * p.width, width = std::min(p.width, p.n - first);
        if (first == at) continue;
        T* column = factors + first * p.n;
        swap_rows(column, p.n, width, at, last, (int*)(memory + p.pivots));
        if (first < at) continue;
        T* panel = factors + at * p.n;
        triangle_solve('L', 'U', last - at, width, panel + at, p.n, column + at, p.n);
        if (last == p.n) continue;
        char plain = 'N';
        int m = (int)(p.n - last), n = (int)width, k = (int)(last - at), step = (int)p.n;
        T minus = -1, one = 1;
        routines<T>.gemm(&plain, &plain, &m, &n, &k, &minus, panel + last, &step, column + at, &step, &one, column + last, &step);
    }
    return 0;
}
template <class T, class S> int run_results(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const EquationParams*>(params);
    bool given = p.wanted == kSolution;
    char* memory = args[2 + given];
    T* factors = (T*)memory;
    S* out = (S*)args[1 + given];
    int* pivots = (int*)(memory + p.pivots);
    if (!p.is_solved()) {
        find_determinant(p, factors, pivots, out, 0);
        return 0;
    }
    Py_ssize_t wide = given ? kRightSides : kInverted, bytes = p.n * wide * (Py_ssize_t)sizeof(T);
    T* room = (T*)scratch(bytes + p.n * 4);
    if (!room) return kNoMemory;
    int* columns = (int*)((char*)room + bytes);
    if (!given) undo_pivots(pivots, p.n, columns);
    for (Py_ssize_t u = begin; u < end; u++) {
        Py_ssize_t first = u * wide, width = std::min(wide, p.k - first);
        if (given) solve_columns(factors, pivots, p.n, p.k, (const S*)args[1], out, first, width, room);
        else invert_columns(factors, columns, p.n, out, first, width, room);
    }
    return 0;
}

template <class P>
Made lapack_made(KernelRun run, const P& params, Py_ssize_t extent, Py_ssize_t grain, Py_ssize_t scratch_bytes) {
    Made made;
    made.run = run;
    made.params = new P(params);
    made.drop = drop_params<P>;
    made.extent = extent;
    made.grain = std::max<Py_ssize_t>(grain, 1);
    made.scratch_bytes = scratch_bytes;
    return made;
}
template <class T, class S>
std::vector<Made> equations_of(int wanted, Py_ssize_t batch, Py_ssize_t n, Py_ssize_t k, bool shared) {
    EquationParams p{(Wanted)wanted, batch, n, k, shared, panel_width(n), 0, 0};
    if (batch != 1 || n < kPaneled) return {lapack_made(run_equations<T, S>, p, batch, 30000 / (n * n * n), 0)};
    p.blocks = (n + p.width - 1) / p.width;
    p.pivots = padded(n * n * (Py_ssize_t)sizeof(T));
    Py_ssize_t bytes = p.pivots + padded(n * 4);
    std::vector<Made> stages{lapack_made(run_by_columns<T, S>, p, p.blocks, 1, bytes)};
    for (Py_ssize_t at = 0; at < n; at += p.width) {
        stages.push_back(lapack_made(run_panel<T, S>, PanelParams{p, at}, 1, 1, bytes));
        stages.push_back(lapack_made(run_behind_panel<T, S>, PanelParams{p, at}, p.blocks, 1, bytes));
    }
    Py_ssize_t wide = p.wanted == kInverse ? kInverted : kRightSides;
    Py_ssize_t units = p.is_solved() ? (k + wide - 1) / wide : 1;
    stages.push_back(lapack_made(run_results<T, S>, p, units, 1, bytes));
    return stages;
}

// ---- Cholesky

struct FactorParams { Py_ssize_t n; bool upper; };
// The lower factor of a small matrix: l (n, n), rows of which hold the triangle at first.
template <class T> bool factor_small(T* l, Py_ssize_t n) {
    for (Py_ssize_t j = 0; j < n; j++) {
        Real<T> left = std::real(l[j * n + j]);
        for (Py_ssize_t k = 0; k < j; k++) left -= std::norm(l[j * n + k]);
        if (!(left > 0)) return false;
        Real<T> root = std::sqrt(left);
        l[j * n + j] = root;
        for (Py_ssize_t i = j + 1; i < n; i++) {
            T sum = l[i * n + j];
            for (Py_ssize_t k = 0; k < j; k++) sum -= times(l[i * n + k], mirrored(l[j * n + k]));
            l[i * n + j] = sum / root;
        }
    }
    return true;
}
// args: a (batch, n, n), of which one triangle is read; out
template <class T, class S> int run_cholesky(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const FactorParams*>(params);
    T own[kOwnOrder * kOwnOrder], *room = p.n <= kOwnOrder ? own : (T*)scratch(p.n * p.n * (Py_ssize_t)sizeof(T));
    if (!room) return kNoMemory;
    for (Py_ssize_t u = begin; u < end; u++) {
        const S* a = (const S*)args[0] + u * p.n * p.n;
        S* out = (S*)args[1] + u * p.n * p.n;
        std::fill_n(out, p.n * p.n, S(0));
        if (p.n > kOwnOrder) {
            char uplo = p.upper ? 'U' : 'L';
            int n = (int)p.n, info = 0;
            transpose_block(a, p.n, room, p.n, p.n, p.n);
            routines<T>.potrf(&uplo, &n, room, &n, &info);
            if (info > 0) return kSingular;
            for (Py_ssize_t i = 0; i < p.n; i++)
                for (Py_ssize_t j = p.upper ? i : 0; j < (p.upper ? p.n : i + 1); j++) out[i * p.n + j] = (S)room[j * p.n + i];
            continue;
        }
        // The upper factor is the adjoint of the lower one of the adjoint.
        for (Py_ssize_t i = 0; i < p.n; i++)
            for (Py_ssize_t j = 0; j <= i; j++) room[i * p.n + j] = p.upper ? mirrored((T)a[j * p.n + i]) : (T)a[i * p.n + j];
        if (!factor_small(room, p.n)) return kSingular;
        for (Py_ssize_t i = 0; i < p.n; i++)
            for (Py_ssize_t j = 0; j <= i; j++) {
                if (p.upper) out[j * p.n + i] = (S)mirrored(room[i * p.n + j]);
                else out[i * p.n + j] = (S)room[i * p.n + j];
            }
    }
    return 0;
}

// Calls fn(T{}, S{}) for one of "fdFD".
template <class F> auto with_lapack(char kind, F fn) {
    using C = std::complex<double>;
    switch (kind) {
    case 'f': return fn(double{}, float{});
    case 'd': return fn(double{}, double{});
    case 'F': return fn(C{}, std::complex<float>{});
    default: return fn(C{}, C{});
    }
}
inline void set_routines(char kind, void* getrf, void* laswp, void* trsm, void* gemm, void* potrf) {
    with_lapack(kind, [&](auto x, auto) {
        using T = decltype(x);
        using R = Routines<T>;
        routines<T> = {(decltype(R::getrf))getrf, (decltype(R::laswp))laswp, (decltype(R::trsm))trsm,
                       (decltype(R::gemm))gemm, (decltype(R::potrf))potrf};
    });
}
inline std::vector<Made> make_equations(char kind, int wanted, Py_ssize_t batch, Py_ssize_t n, Py_ssize_t k, bool shared) {
    return with_lapack(kind, [&](auto x, auto y) {
        return equations_of<decltype(x), decltype(y)>(wanted, batch, n, k, shared);
    });
}
inline Made make_cholesky(char kind, Py_ssize_t batch, Py_ssize_t n, bool upper) {
    return with_lapack(kind, [&](auto x, auto y) {
        return lapack_made(run_cholesky<decltype(x), decltype(y)>, FactorParams{n, upper}, batch, 60000 / (n * n * n), 0);
    });
}

}  // namespace la
