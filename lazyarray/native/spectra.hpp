// Decompositions of matrices, C-contiguous in the last two axes: eigenvalues of Hermitian ones, singular values, orthonormal
// columns. A unit of a batch is one matrix, which LAPACK takes by columns, one thread a call: bits depend on it alone. As in
// NumPy, all is computed in double precision (T), whatever the elements are (S). Results lie side by side in one value, each
// from an address divisible by 16.
#pragma once
#include <initializer_list>

#include "lapack.hpp"

namespace la {

constexpr int kDiverged = 1;  // error code

// SciPy's routines for one dtype, set when they are loaded.
template <class T> struct Decompositions {
    void (*geqrf)(int* m, int* n, T* a, int* lda, T* tau, T* work, int* lwork, int* info);
    void (*gqr)(int* m, int* n, int* k, T* a, int* lda, T* tau, T* work, int* lwork, int* info);
    void* evd;
    void* sdd;
    void (*gemm)(char* at, char* bt, int* m, int* n, int* k, T* alpha, T* a, int* lda, T* b, int* ldb, T* beta, T* c, int* ldc);
};
template <class T> inline Decompositions<T> decompositions;

// Extents of working arrays: elements, reals beside complex ones, integers.
struct Working {
    int elements = 0, reals = 0, integers = 0;
};
template <class T> struct Rooms {
    T* work;
    Real<T>* reals;
    int* integers;
};

template <class T>
int call_evd(char job, char uplo, Py_ssize_t order, T* a, Real<T>* w, const Rooms<T>& rooms, Working sizes) {
    int n = (int)order, info = 0;
    if constexpr (has_parts<T>) {
        using F = void (*)(char*, char*, int*, T*, int*, Real<T>*, T*, int*, Real<T>*, int*, int*, int*, int*);
        ((F)decompositions<T>.evd)(&job, &uplo, &n, a, &n, w, rooms.work, &sizes.elements, rooms.reals, &sizes.reals,
                                   rooms.integers, &sizes.integers, &info);
    } else {
        using F = void (*)(char*, char*, int*, T*, int*, T*, T*, int*, int*, int*, int*);
        ((F)decompositions<T>.evd)(&job, &uplo, &n, a, &n, w, rooms.work, &sizes.elements, rooms.integers, &sizes.integers, &info);
    }
    return info;
}
template <class T>
int call_sdd(char job, Py_ssize_t rows, Py_ssize_t columns, T* a, Real<T>* s, T* u, T* vt, Py_ssize_t vt_step,
             const Rooms<T>& rooms, Working sizes) {
    int m = (int)rows, n = (int)columns, ldv = (int)std::max<Py_ssize_t>(vt_step, 1), info = 0;
    if constexpr (has_parts<T>) {
        using F = void (*)(char*, int*, int*, T*, int*, Real<T>*, T*, int*, T*, int*, T*, int*, Real<T>*, int*, int*);
        ((F)decompositions<T>.sdd)(&job, &m, &n, a, &m, s, u, &m, vt, &ldv, rooms.work, &sizes.elements, rooms.reals,
                                   rooms.integers, &info);
    } else {
        using F = void (*)(char*, int*, int*, T*, int*, T*, T*, int*, T*, int*, T*, int*, int*, int*);
        ((F)decompositions<T>.sdd)(&job, &m, &n, a, &m, s, u, &m, vt, &ldv, rooms.work, &sizes.elements, rooms.integers, &info);
    }
    return info;
}

struct SpectrumParams {
    Py_ssize_t m, n, k;           // rows, columns, the smaller one
    Py_ssize_t left, right;       // columns of u or q, rows of vt or r; 0 without vectors
    Py_ssize_t starts[3];         // of the results, in bytes
    Working sizes;
    char job, uplo;
    double share;                 // of the greatest singular value, up to which one counts as zero
};
// Divides the thread's storage; null where there is none.
template <class T> struct Storage {
    T *a, *u, *vt;
    Real<T>* values;
    Rooms<T> rooms;
    explicit Storage(const SpectrumParams& p) {
        Py_ssize_t counts[] = {p.m * p.n, p.m * p.left, p.right * p.n, p.sizes.elements};
        Py_ssize_t bytes = 0;
        for (Py_ssize_t count : counts) bytes += padded(count * (Py_ssize_t)sizeof(T));
        bytes += padded(p.m + p.n) * (Py_ssize_t)sizeof(T) + padded(p.sizes.reals * 8) + padded(p.sizes.integers * 4) + 256;
        char* at = scratch(bytes);
        a = (T*)at;
        if (!at) return;
        auto take = [&](Py_ssize_t size) {
            char* found = at;
            at += padded(size);
            return found;
        };
        a = (T*)take(counts[0] * sizeof(T));
        u = (T*)take(counts[1] * sizeof(T));
        vt = (T*)take(counts[2] * sizeof(T));
        rooms.work = (T*)take(counts[3] * sizeof(T));
        values = (Real<T>*)take(p.k * sizeof(T));
        rooms.reals = (Real<T>*)take(p.sizes.reals * 8);
        rooms.integers = (int*)take(p.sizes.integers * 4);
    }
};
template <class S> S* part_of(char* out, const SpectrumParams& p, int place, Py_ssize_t unit, Py_ssize_t extent) {
    return (S*)(out + p.starts[place]) + unit * extent;
}

// args: a (batch, n, n), of which one triangle is read; values (batch, n), perhaps vectors (batch, n, n)
template <class T, class S> int run_eigen(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const SpectrumParams*>(params);
    Storage<T> rooms(p);
    if (!rooms.a) return kNoMemory;
    for (Py_ssize_t i = begin; i < end; i++) {
        transpose_block((const S*)args[0] + i * p.n * p.n, p.n, rooms.a, p.n, p.n, p.n);
        if (call_evd(p.job, p.uplo, p.n, rooms.a, rooms.values, rooms.rooms, p.sizes)) return kDiverged;
        std::copy_n(rooms.values, p.n, part_of<Real<S>>(args[1], p, 0, i, p.n));
        if (p.job == 'V') transpose_block(rooms.a, p.n, part_of<S>(args[1], p, 1, i, p.n * p.n), p.n, p.n, p.n);
    }
    return 0;
}
// args: a (batch, m, n); u (batch, m, left), values (batch, k), vt (batch, right, n), or the values alone
template <class T, class S> int run_singular(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const SpectrumParams*>(params);
    Storage<T> rooms(p);
    if (!rooms.a) return kNoMemory;
    for (Py_ssize_t i = begin; i < end; i++) {
        transpose_block((const S*)args[0] + i * p.m * p.n, p.n, rooms.a, p.m, p.m, p.n);
        if (call_sdd(p.job, p.m, p.n, rooms.a, rooms.values, rooms.u, rooms.vt, p.right, rooms.rooms, p.sizes)) return kDiverged;
        std::copy_n(rooms.values, p.k, part_of<Real<S>>(args[1], p, p.job != 'N', i, p.k));
        if (p.job == 'N') continue;
        transpose_block(rooms.u, p.m, part_of<S>(args[1], p, 0, i, p.m * p.left), p.left, p.left, p.m);
        transpose_block(rooms.vt, p.right, part_of<S>(args[1], p, 2, i, p.right * p.n), p.n, p.n, p.right);
    }
    return 0;
}
// args: a (batch, m, n); q (batch, m, left), r (batch, right, n), or r alone
template <class T, class S> int run_orthonormal(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const SpectrumParams*>(params);
    Storage<T> rooms(p);
    if (!rooms.a) return kNoMemory;
    int m = (int)p.m, n = (int)p.n, k = (int)p.k, wide = (int)p.left, room = p.sizes.elements, info = 0;
    for (Py_ssize_t i = begin; i < end; i++) {
        T *a = rooms.a, *tau = (T*)rooms.values;
        transpose_block((const S*)args[0] + i * p.m * p.n, p.n, a, p.m, p.m, p.n);
        decompositions<T>.geqrf(&m, &n, a, &m, tau, rooms.rooms.work, &room, &info);
        S* r = part_of<S>(args[1], p, p.left != 0, i, p.right * p.n);
        for (Py_ssize_t row = 0; row < p.right; row++)
            for (Py_ssize_t c = 0; c < p.n; c++) r[row * p.n + c] = row > c ? S(0) : (S)a[c * p.m + row];
        if (!p.left) continue;
        T* q = rooms.u;
        std::copy_n(a, p.m * p.k, q);
        std::fill(q + p.m * p.k, q + p.m * p.left, T(0));
        decompositions<T>.gqr(&m, &wide, &k, q, &m, tau, rooms.rooms.work, &room, &info);
        transpose_block(q, p.m, part_of<S>(args[1], p, 0, i, p.m * p.left), p.left, p.left, p.m);
    }
    return 0;
}

// args: a (batch, m, n); the pseudo-inverses (batch, n, m)
template <class T, class S> int run_pseudo_inverse(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const SpectrumParams*>(params);
    Storage<T> rooms(p);
    if (!rooms.a) return kNoMemory;
    for (Py_ssize_t i = begin; i < end; i++) {
        T *a = rooms.a, *vt = rooms.vt, one = 1, zero = 0;
        transpose_block((const S*)args[0] + i * p.m * p.n, p.n, a, p.m, p.m, p.n);
        if (call_sdd(p.job, p.m, p.n, a, rooms.values, rooms.u, vt, p.right, rooms.rooms, p.sizes)) return kDiverged;
        Real<T> least = (Real<T>)p.share * rooms.values[0];
        for (Py_ssize_t j = 0; j < p.k; j++) {
            Real<T> s = rooms.values[j], factor = s > least ? 1 / s : 0;
            for (Py_ssize_t c = 0; c < p.n; c++) vt[c * p.k + j] *= factor;
        }
        char turned = 'C';
        int m = (int)p.m, n = (int)p.n, k = (int)p.k;
        decompositions<T>.gemm(&turned, &turned, &n, &m, &k, &one, vt, &k, rooms.u, &m, &zero, a, &n);
        transpose_block(a, p.n, (S*)args[1] + i * p.m * p.n, p.m, p.m, p.n);
    }
    return 0;
}

enum Decomposition { kEigen, kSingularValues, kOrthonormal, kPseudoInverse };

// How large LAPACK wants its working arrays.
template <class T> Working working(Decomposition what, const SpectrumParams& p) {
    T element{}, none{};
    Real<T> real{}, value{};
    int integer = 0, m = (int)p.m, n = (int)p.n, k = (int)p.k, wide = (int)p.left, ask = -1, info = 0;
    Working asking{-1, -1, -1}, found;
    Rooms<T> rooms{&element, &real, &integer};
    if (what == kEigen) {
        call_evd(p.job, p.uplo, p.n, &none, &value, rooms, asking);
        found = {(int)std::real(element), has_parts<T> ? (int)real : 0, integer};
    } else if (what == kSingularValues || what == kPseudoInverse) {
        call_sdd(p.job, p.m, p.n, &none, &value, &none, &none, p.right, rooms, asking);
        Py_ssize_t large = std::max(p.m, p.n), small = p.k;
        Py_ssize_t reals = p.job == 'N' ? 7 * small : small * std::max(5 * small + 7, 2 * large + 2 * small + 1);
        found = {(int)std::real(element), has_parts<T> ? (int)reals : 0, 8 * k};
    } else {
        decompositions<T>.geqrf(&m, &n, &none, &m, &none, &element, &ask, &info);
        found.elements = (int)std::real(element);
        if (p.left) decompositions<T>.gqr(&m, &wide, &k, &none, &m, &none, &element, &ask, &info);
        found.elements = std::max(found.elements, (int)std::real(element));
    }
    return found;
}

// Extents as in SpectrumParams; `starts` are those of the results.
inline Made make_decomposition(char kind, int what, Py_ssize_t batch, Py_ssize_t m, Py_ssize_t n, Py_ssize_t left, Py_ssize_t right,
                               const std::vector<Py_ssize_t>& starts, char job, char uplo, double share) {
    return with_lapack(kind, [&](auto x, auto y) {
        using T = decltype(x);
        using S = decltype(y);
        SpectrumParams p{m, n, std::min(m, n), left, right, {0, 0, 0}, {}, job, uplo, share};
        std::copy(starts.begin(), starts.end(), p.starts);
        p.sizes = working<T>((Decomposition)what, p);
        const KernelRun runs[] = {run_eigen<T, S>, run_singular<T, S>, run_orthonormal<T, S>, run_pseudo_inverse<T, S>};
        return lapack_made(runs[what], p, batch, 3000 / std::max<Py_ssize_t>(m * n * p.k, 1), 0);
    });
}
inline void set_decompositions(char kind, void* geqrf, void* gqr, void* evd, void* sdd, void* gemm) {
    with_lapack(kind, [&](auto x, auto) {
        using D = Decompositions<decltype(x)>;
        decompositions<decltype(x)> = {(decltype(D::geqrf))geqrf, (decltype(D::gqr))gqr, evd, sdd, (decltype(D::gemm))gemm};
    });
}

}  // namespace la
