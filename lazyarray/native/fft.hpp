// Discrete Fourier transforms of lines whose lengths have no large prime factor. A tile is as many lines as a vector has
// lanes: each lane transforms its own line, by the passes of Stockham's algorithm, so a line has the same bits alone and
// beside others, whatever the instruction set. A long line is a matrix of points: its columns are transformed, turned by
// roots of unity, then its rows (Bailey 1990, "FFTs in external or hierarchical memory"): tiles of columns and of rows are
// units. Which way is taken depends on the length alone. Real lines of even length are complex ones of half the length.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "simd.hpp"

namespace la {

constexpr Py_ssize_t kShortLine = 2048;          // points; the lanes of two buffers are in the second-level cache
constexpr Py_ssize_t kNearLine = 160;            // points; in the first-level cache, with as much room
constexpr int kPrime = 127;                      // the largest factor: beyond, convolutions are faster
constexpr Py_ssize_t kLongSide = 4096;           // points of a side of a long line's matrix
constexpr Py_ssize_t kAhead = 12;                // rows of the matrix that are fetched ahead
constexpr Py_ssize_t kTurns = 32;                // roots of a column are products of two tables of about this length
constexpr Py_ssize_t kStagedBytes = 256 << 20;   // of lines that are transformed in stages, by all workers together

template <class R> struct Root { R re, im; };
template <class R> constexpr int lanes_of = 64 / (int)sizeof(R);

// exp(-2 pi i a / n), by the octant, so that symmetric ones are equal.
inline Root<long double> root_of(Py_ssize_t a, Py_ssize_t n) {
    const long double unit = 0.25L * 3.141592653589793238462643383279502884L / (long double)n;
    Py_ssize_t x = 8 * (a % n), turn = x / (2 * n);
    x -= turn * 2 * n;
    long double c = std::cos(std::min(x, 2 * n - x) * unit), s = std::sin(std::min(x, 2 * n - x) * unit);
    if (x > n) std::swap(c, s);
    switch (turn) {
    case 0: return {c, -s};
    case 1: return {-s, -c};
    case 2: return {-c, s};
    default: return {s, c};
    }
}
// All roots of n, from two short tables.
struct Roots {
    Py_ssize_t n, part;
    std::vector<Root<long double>> near, far;
    explicit Roots(Py_ssize_t n) : n(n), part((Py_ssize_t)std::sqrt((double)n) + 1) {
        for (Py_ssize_t i = 0; i < part; i++) near.push_back(root_of(i, n));
        for (Py_ssize_t i = 0; i * part < n; i++) far.push_back(root_of(i * part, n));
    }
    template <class R> Root<R> at(Py_ssize_t a) const {
        a %= n;
        auto p = near[a % part], q = far[a / part];
        return {(R)(p.re * q.re - p.im * q.im), (R)(p.re * q.im + p.im * q.re)};
    }
};

// What passes multiply; none where a factor is beyond them.
inline std::vector<int> factors(Py_ssize_t n) {
    std::vector<int> found;
    for (int radix : {8, 4, 2})
        for (; n % radix == 0; n /= radix) found.push_back(radix);
    for (int radix = 3; n > 1 && radix <= kPrime; radix += 2)
        for (; n % radix == 0; n /= radix) found.push_back(radix);
    return n == 1 ? found : std::vector<int>{};
}
// n = before * radix * behind; where its roots begin, and the circle of a large radix.
struct Pass { int radix; Py_ssize_t before, behind, roots, circle; };
template <class R> struct Passes {
    Py_ssize_t n = 1;
    std::vector<Pass> all;
    std::vector<Root<R>> roots;
    std::vector<R> circles;

    Passes() = default;
    explicit Passes(Py_ssize_t n) : n(n) {
        Py_ssize_t before = 1;
        for (int radix : factors(n)) {
            Py_ssize_t behind = n / before / radix;
            all.push_back({radix, before, behind, (Py_ssize_t)roots.size(), (Py_ssize_t)circles.size()});
            for (Py_ssize_t i = 0; i < behind; i++)
                for (int b = 1; b < radix; b++) {
                    auto found = root_of(b * before * i, n);
                    roots.push_back({(R)found.re, (R)found.im});
                }
            if (radix > 13) {
                for (int i = 0; i < radix; i++) circles.push_back((R)root_of(i, radix).re);
                for (int i = 0; i < radix; i++) circles.push_back((R)-root_of(i, radix).im);
            }
            before *= radix;
        }
    }
};

enum LineKind { kComplexLine, kHalfSpectrum, kWholeSpectrum, kRealLine };
// An array of lines: of `length` elements each, `inner` of them side by side. Points are `step` reals apart, their imaginary
// parts `other` behind the real ones; 0: they have none.
struct Side {
    bool real;
    Py_ssize_t length, inner, step, other;
    Py_ssize_t start(Py_ssize_t line) const {
        return (line / inner * length * inner + line % inner) * (real ? 1 : 2);
    }
};
template <class R> struct Lines {
    LineKind kind;
    bool inverse, packed;                  // packed: a point is two real elements
    Py_ssize_t lines, inner, given, n;     // elements that the input has; of the transform
    Py_ssize_t points, half;               // of the complex transform; elements of half a spectrum
    Side in, out;
    int source, target;                    // which operands
    Py_ssize_t room_at;                    // where in the scratch region stages hand on what they made
    R factor;
    Passes<R> passes;                      // of a short line
    std::vector<Root<R>> mirror;           // roots of n, up to half of the points
    // A long line's.
    Py_ssize_t rows = 0, columns = 0;      // points = rows * columns
    Passes<R> down, along;
    std::vector<R> turns;                  // for each tile of columns two tables of vectors
    Py_ssize_t turn_count = 0;

    Py_ssize_t tiles(Py_ssize_t extent) const { return (extent + lanes_of<R> - 1) / lanes_of<R>; }
    Py_ssize_t prepared_reals() const { return kind == kRealLine ? (points * 2 + 15) / 16 * 16 : 0; }
    // Neighbours that one worker copies together: a line of the cache, unless lines are very long.
    Py_ssize_t at_once() const { return inner == 1 || n > (1 << 17) ? 1 : 64 / (2 * (Py_ssize_t)sizeof(R)); }
    Py_ssize_t room_reals() const { return tiles(rows) * columns * 2 * lanes_of<R> + prepared_reals(); }
};

// The sides of a long line's matrix: near each other, and whole tiles where that is possible.
inline std::pair<Py_ssize_t, Py_ssize_t> sides_of(Py_ssize_t points) {
    std::pair<Py_ssize_t, Py_ssize_t> best{0, 0};
    Py_ssize_t least = PY_SSIZE_T_MAX;
    for (Py_ssize_t rows = 1; rows <= kLongSide; rows++) {
        Py_ssize_t columns = points / rows;
        if (points % rows || columns > kLongSide) continue;
        Py_ssize_t cost = std::max(rows, columns) * (1 + (rows % 8 != 0) + (columns % 8 != 0));
        if (cost < least) {
            least = cost;
            best = {rows, columns};
        }
    }
    return best;
}
inline Side side(bool real, bool packed, Py_ssize_t length, Py_ssize_t inner) {
    if (!real) return {false, length, inner, 2 * inner, 1};
    if (packed) return {true, length, inner, 2 * inner, inner};
    return {true, length, inner, inner, 0};
}
template <class R> bool plan_lines(Lines<R>& p, double factor) {
    bool real = p.kind != kComplexLine;
    p.packed = real && p.n % 2 == 0;
    p.points = p.packed ? p.n / 2 : p.n;
    p.half = p.n / 2 + 1;
    p.factor = (R)factor;
    p.in = side(p.kind == kHalfSpectrum || p.kind == kWholeSpectrum, p.packed, p.given, p.inner);
    p.out = side(p.kind == kRealLine, p.packed, p.kind == kHalfSpectrum ? p.half : p.n, p.inner);
    if (p.points > 1 && factors(p.points).empty()) return false;
    if (p.packed)
        for (Roots roots(p.n); (Py_ssize_t)p.mirror.size() <= p.points / 2;)
            p.mirror.push_back(roots.at<R>((Py_ssize_t)p.mirror.size()));
    if (p.points <= kShortLine) {
        p.passes = Passes<R>(p.points);
        return true;
    }
    if (real && !p.packed) return false;
    std::tie(p.rows, p.columns) = sides_of(p.points);
    if (!p.rows) return false;
    p.down = Passes<R>(p.rows);
    p.along = Passes<R>(p.columns);
    constexpr int width = lanes_of<R>;
    p.turn_count = kTurns + (p.rows + kTurns - 1) / kTurns;
    p.turns.assign((size_t)(p.tiles(p.columns) * p.turn_count * 2 * width), R(0));
    Roots roots(p.points);
    for (Py_ssize_t column = 0; column < p.columns; column++)
        for (Py_ssize_t i = 0; i < p.turn_count; i++) {
            auto found = roots.at<R>(column * (i < kTurns ? i : (i - kTurns) * kTurns));
            R* to = p.turns.data() + (column / width * p.turn_count + i) * 2 * width + column % width;
            to[0] = found.re;
            to[width] = found.im;
        }
    return true;
}

template <class R> struct LinesParams { std::shared_ptr<const Lines<R>> lines; };
template <class R> struct LineRuns { KernelRun shorts, whole, prepare, columns, rows, mirror; };

}  // namespace la

// Vectors are handed over between inlined functions alone. To the end: templates are made into code there.
#pragma GCC diagnostic ignored "-Wpsabi"
namespace la::fft_plain {
#include "fft_passes.inc"
#include "fft.inc"
}
#if defined(__x86_64__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,fma,f16c,lzcnt,popcnt")
namespace la::fft_avx2 {
#include "fft_passes.inc"
#include "fft.inc"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,fma,f16c,lzcnt,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,prefer-vector-width=512")
namespace la::fft_avx512 {
#include "fft_passes.inc"
#include "fft.inc"
}
#pragma GCC pop_options
#else
namespace la::fft_avx2 = la::fft_plain;
namespace la::fft_avx512 = la::fft_plain;
#endif

namespace la {

template <class R> LineRuns<R> line_runs() {
    switch (cpu_level()) {
    case 2: return fft_avx512::runs<R>();
    case 1: return fft_avx2::runs<R>();
    default: return fft_plain::runs<R>();
    }
}
template <class R>
Made line_made(KernelRun run, const std::shared_ptr<const Lines<R>>& lines, Py_ssize_t extent, Py_ssize_t bytes) {
    Made made;
    made.run = run;
    made.params = new LinesParams<R>{lines};
    made.drop = drop_params<LinesParams<R>>;
    made.extent = extent;
    made.scratch_bytes = bytes;
    return made;
}
// The stages of a transform along one axis; none: this length is somebody else's. `bytes` of the scratch region are taken.
template <class R> std::vector<Made> lines_of(Lines<R> p, double factor, Py_ssize_t& bytes) {
    if (!plan_lines(p, factor)) return {};
    p.room_at = bytes;
    bool staged = p.rows && p.inner == 1 && p.lines * p.room_reals() * (Py_ssize_t)sizeof(R) <= kStagedBytes;
    if (staged) bytes += padded(p.lines * p.room_reals() * (Py_ssize_t)sizeof(R));
    auto lines = std::make_shared<const Lines<R>>(std::move(p));
    auto runs = line_runs<R>();
    if (!lines->rows) return {line_made(runs.shorts, lines, lines->tiles(lines->lines), 0)};
    if (!staged) {
        auto made = line_made(runs.whole, lines, lines->lines, 0);
        made.grain = lines->at_once();
        return {made};
    }
    std::vector<Made> stages;
    Py_ssize_t pieces = lines->lines * 16;
    if (lines->kind == kRealLine) stages.push_back(line_made(runs.prepare, lines, pieces, 0));
    stages.push_back(line_made(runs.columns, lines, lines->lines * lines->tiles(lines->columns), 0));
    stages.push_back(line_made(runs.rows, lines, lines->lines * lines->tiles(lines->rows), 0));
    if (lines->packed && lines->kind != kRealLine) stages.push_back(line_made(runs.mirror, lines, pieces, 0));
    return stages;
}

struct LineAxis { Py_ssize_t kind, inverse, lines, inner, given, n, source, target; double factor; };
// Transforms along axes, one after the other, the operands being 0: the input, 1: the output, 2: the scratch region, which
// begins with `held` bytes for a value between them. None: a length is somebody else's.
template <class R> std::vector<Made> transforms_of(const std::vector<LineAxis>& axes, Py_ssize_t held) {
    std::vector<Made> stages;
    Py_ssize_t most = padded(held);
    for (const auto& axis : axes) {
        Lines<R> p{};
        p.kind = (LineKind)axis.kind;
        p.inverse = axis.inverse;
        p.lines = axis.lines, p.inner = axis.inner, p.given = axis.given, p.n = axis.n;
        p.source = (int)axis.source, p.target = (int)axis.target;
        Py_ssize_t bytes = padded(held);
        auto found = lines_of(std::move(p), axis.factor, bytes);
        if (found.empty()) {
            for (auto& each : stages) each.drop(each.params);
            return {};
        }
        most = std::max(most, bytes);
        stages.insert(stages.end(), found.begin(), found.end());
    }
    for (auto& each : stages) each.scratch_bytes = most;
    return stages;
}
inline std::vector<Made> make_transforms(bool single, const std::vector<LineAxis>& axes, Py_ssize_t held) {
    return single ? transforms_of<float>(axes, held) : transforms_of<double>(axes, held);
}

}  // namespace la
