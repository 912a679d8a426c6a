// Eigenvalues and singular values of one matrix of doubles, with their vectors. The steps are those of LAPACK's drivers syevd
// and gesdd, one thread a call: a matrix is brought to a band and that one is solved, by one worker; the vectors are brought
// back in blocks of columns or rows, by all of them. The blocks depend on the order alone: so do the bits.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lapack.hpp"

namespace la {

constexpr int kDiverged = 2;            // error code
constexpr Py_ssize_t kBlockWork = 64;   // at most this many reflections are applied at once, in LAPACK
constexpr Py_ssize_t kBlockTriangle = 65 * 64;

// SciPy's, set when they are loaded.
struct Decompositions {
    using Whole = int*;
    using Some = double*;
    void (*sytrd)(char* uplo, Whole n, Some a, Whole lda, Some d, Some e, Some tau, Some work, Whole lwork, Whole info);
    void (*stedc)(char* compz, Whole n, Some d, Some e, Some z, Whole ldz, Some work, Whole lwork, Whole iwork, Whole liwork,
                  Whole info);
    void (*sterf)(Whole n, Some d, Some e, Whole info);
    void (*ormtr)(char* side, char* uplo, char* trans, Whole m, Whole n, Some a, Whole lda, Some tau, Some c, Whole ldc,
                  Some work, Whole lwork, Whole info);
    void (*gebrd)(Whole m, Whole n, Some a, Whole lda, Some d, Some e, Some tauq, Some taup, Some work, Whole lwork, Whole info);
    void (*bdsdc)(char* uplo, char* compq, Whole n, Some d, Some e, Some u, Whole ldu, Some vt, Whole ldvt, Some q, Whole iq,
                  Some work, Whole iwork, Whole info);
    void (*ormbr)(char* vect, char* side, char* trans, Whole m, Whole n, Whole k, Some a, Whole lda, Some tau, Some c, Whole ldc,
                  Some work, Whole lwork, Whole info);
};
inline Decompositions decompositions;

struct SpectrumParams {
    Py_ssize_t n;
    bool singular, vectors, upper;
    Py_ssize_t count;                // of blocks
    Py_ssize_t first(Py_ssize_t block) const { return block * n / count; }
    char triangle() const { return upper ? 'U' : 'L'; }
    Py_ssize_t squares() const { return n * n; }
    // Results are aligned to 16 bytes.
    Py_ssize_t after_values() const { return n + (n & 1); }
    // Extents of working arrays of the first step.
    Py_ssize_t work_size() const {
        Py_ssize_t solving = singular ? (vectors ? 3 * n * n + 4 * n : 8 * n) : vectors ? 1 + 4 * n + n * n : 0;
        return std::max(solving, 2 * n * kBlockWork);
    }
    Py_ssize_t whole_size() const { return 8 * n; }
    Py_ssize_t after_squares() const { return n * n + (n & 1); }
};
// In the scratch region, by columns as in NumPy, so that vectors have its signs: the matrix, then what tells of its
// reflections, then eigenvectors, or left and right vectors, then working arrays.
struct SpectrumRoom {
    double *a, *off, *first_tau, *second_tau, *z, *vh, *work;
    int* whole;
    SpectrumRoom(const SpectrumParams& p, char* memory)
        : a((double*)memory), off(a + p.squares()), first_tau(off + p.n), second_tau(first_tau + p.n), z(second_tau + p.n),
          vh(z + (p.vectors ? p.squares() : 0)), work(vh + (p.vectors && p.singular ? p.squares() : 0)),
          whole((int*)(work + p.work_size())) {}
    static Py_ssize_t bytes(const SpectrumParams& p) {
        Py_ssize_t reals = p.squares() * (!p.vectors ? 1 : p.singular ? 3 : 2) + 3 * p.n + p.work_size();
        return reals * (Py_ssize_t)sizeof(double) + p.whole_size() * (Py_ssize_t)sizeof(int);
    }
};

// The greatest absolute value, a NaN being greater than all: by their bits, which compare alike.
inline double largest_of(const double* a, Py_ssize_t count, double least = 0) {
    int64_t found = bits_as<int64_t>(least);
    for (Py_ssize_t i = 0; i < count; i++) found = std::max(found, (int64_t)(bits_as<uint64_t>(a[i]) << 1 >> 1));
    return bits_as<double>(found);
}
// What brings the greatest element between the ends of what the steps can square, as in the drivers.
inline double range_factor(double largest) {
    const double least = std::sqrt(std::numeric_limits<double>::min() / std::numeric_limits<double>::epsilon());
    if (largest > 0 && largest < least) return least / largest;
    return largest > 1 / least && std::isfinite(largest) ? 1 / least / largest : 1;
}

// args: a (n, n); out: eigenvalues, then perhaps vectors (n, n); the scratch region
inline int run_to_tridiagonal(const void* params, char** args, Py_ssize_t, Py_ssize_t) {
    const auto& p = *static_cast<const SpectrumParams*>(params);
    SpectrumRoom room(p, args[2]);
    double* values = (double*)args[1];
    int n = (int)p.n, info = 0, whole_size = (int)p.whole_size(), work_size = (int)p.work_size();
    char uplo = p.triangle(), from_identity = 'I';
    transpose_block((const double*)args[0], p.n, room.a, p.n, p.n, p.n);
    double largest = 0;
    for (Py_ssize_t j = 0; j < p.n; j++)
        largest = p.upper ? largest_of(room.a + j * p.n, j + 1, largest) : largest_of(room.a + j * p.n + j, p.n - j, largest);
    double factor = range_factor(largest);
    if (factor != 1)
        for (Py_ssize_t i = 0; i < p.squares(); i++) room.a[i] *= factor;
    decompositions.sytrd(&uplo, &n, room.a, &n, values, room.off, room.first_tau, room.work, &work_size, &info);
    if (p.vectors)
        decompositions.stedc(&from_identity, &n, values, room.off, room.z, &n, room.work, &work_size, room.whole, &whole_size,
                             &info);
    else
        decompositions.sterf(&n, values, room.off, &info);
    if (info > 0) return kDiverged;
    if (factor != 1)
        for (Py_ssize_t i = 0; i < p.n; i++) values[i] /= factor;
    return 0;
}
inline int run_eigenvectors(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const SpectrumParams*>(params);
    SpectrumRoom room(p, args[2]);
    double* out = (double*)args[1] + p.after_values();
    char left = 'L', plain = 'N', uplo = p.triangle();
    for (Py_ssize_t u = begin; u < end; u++) {
        Py_ssize_t first = p.first(u), width = p.first(u + 1) - first, size = width * kBlockWork + kBlockTriangle;
        int n = (int)p.n, columns = (int)width, work_size = (int)size, info = 0;
        double* work = (double*)scratch(size * (Py_ssize_t)sizeof(double));
        if (!work) return kNoMemory;
        double* c = room.z + first * p.n;
        decompositions.ormtr(&left, &uplo, &plain, &n, &columns, room.a, &n, room.first_tau, c, &n, work, &work_size, &info);
        transpose_block(c, p.n, out + first, p.n, width, p.n);
    }
    return 0;
}

// args: a (n, n); out: U (n, n), singular values, Vh (n, n), or the values; the scratch region
inline int run_to_bidiagonal(const void* params, char** args, Py_ssize_t, Py_ssize_t) {
    const auto& p = *static_cast<const SpectrumParams*>(params);
    SpectrumRoom room(p, args[2]);
    double* values = (double*)args[1] + (p.vectors ? p.after_squares() : 0);
    int n = (int)p.n, info = 0, work_size = (int)p.work_size();
    char upper = 'U', wanted = p.vectors ? 'I' : 'N';
    transpose_block((const double*)args[0], p.n, room.a, p.n, p.n, p.n);
    double largest = largest_of(room.a, p.squares()), factor = range_factor(largest);
    if (largest != largest || (p.vectors && !std::isfinite(largest))) return kDiverged;
    if (!std::isfinite(largest)) {
        std::fill_n(values, p.n, std::numeric_limits<double>::quiet_NaN());
        return 0;
    }
    if (factor != 1)
        for (Py_ssize_t i = 0; i < p.squares(); i++) room.a[i] *= factor;
    decompositions.gebrd(&n, &n, room.a, &n, values, room.off, room.first_tau, room.second_tau, room.work, &work_size, &info);
    decompositions.bdsdc(&upper, &wanted, &n, values, room.off, room.z, &n, room.vh, &n, nullptr, nullptr, room.work, room.whole, &info);
    if (info > 0) return kDiverged;
    if (factor != 1)
        for (Py_ssize_t i = 0; i < p.n; i++) values[i] /= factor;
    return 0;
}
// The first blocks are of columns of the left vectors, the others of rows of the right ones.
inline int run_singular_vectors(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) {
    const auto& p = *static_cast<const SpectrumParams*>(params);
    SpectrumRoom room(p, args[2]);
    double *u = (double*)args[1], *vh = u + p.after_squares() + p.after_values();
    char q = 'Q', other = 'P', left = 'L', right = 'R', plain = 'N', turned = 'T';
    for (Py_ssize_t unit = begin; unit < end; unit++) {
        Py_ssize_t block = unit % p.count, first = p.first(block), width = p.first(block + 1) - first;
        Py_ssize_t size = width * kBlockWork + kBlockTriangle;
        int n = (int)p.n, part = (int)width, work_size = (int)size, info = 0;
        double* work = (double*)scratch(size * (Py_ssize_t)sizeof(double));
        if (!work) return kNoMemory;
        if (unit < p.count) {
            double* c = room.z + first * p.n;
            decompositions.ormbr(&q, &left, &plain, &n, &part, &n, room.a, &n, room.first_tau, c, &n, work, &work_size, &info);
            transpose_block(c, p.n, u + first, p.n, width, p.n);
        } else {
            double* c = room.vh + first;
            decompositions.ormbr(&other, &right, &turned, &part, &n, &n, room.a, &n, room.second_tau, c, &n, work, &work_size,
                                 &info);
            transpose_block(c, p.n, vh + first * p.n, p.n, p.n, width);
        }
    }
    return 0;
}

inline void set_decompositions(void** found) {
    decompositions = {
        (decltype(Decompositions::sytrd))found[0], (decltype(Decompositions::stedc))found[1],
        (decltype(Decompositions::sterf))found[2], (decltype(Decompositions::ormtr))found[3],
        (decltype(Decompositions::gebrd))found[4], (decltype(Decompositions::bdsdc))found[5],
        (decltype(Decompositions::ormbr))found[6],
    };
}
inline std::vector<Made> make_spectrum(bool singular, Py_ssize_t n, bool vectors, bool upper) {
    SpectrumParams p{n, singular, vectors, upper, std::clamp<Py_ssize_t>(n / 96, 1, 8)};
    Py_ssize_t bytes = padded(SpectrumRoom::bytes(p));
    std::vector<Made> stages{lapack_made(singular ? run_to_bidiagonal : run_to_tridiagonal, p, 1, 1, bytes)};
    KernelRun second = singular ? run_singular_vectors : run_eigenvectors;
    if (vectors) stages.push_back(lapack_made(second, p, p.count * (singular ? 2 : 1), 1, bytes));
    return stages;
}

}  // namespace la
