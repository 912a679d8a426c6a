// Several kernels as one: its units are the grains of the first, then those of the second, and so on.
#pragma once
#include "simd.hpp"

#include <algorithm>

namespace la {

struct Bundled {
    KernelRun run;
    KernelFinish finish;
    const void* params;
    Py_ssize_t extent, grain;
    Py_ssize_t first_unit;  // among those of the bundle
    Py_ssize_t first_arg;
};

// Followed by its parts.
struct Bundle {
    Py_ssize_t count;
    const Bundled* parts() const { return reinterpret_cast<const Bundled*>(this + 1); }
    Bundled* parts() { return reinterpret_cast<Bundled*>(this + 1); }
};

inline int run_bundle(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end) noexcept {
    const Bundle& bundle = *static_cast<const Bundle*>(params);
    const Bundled* parts = bundle.parts();
    const Bundled* after = std::upper_bound(
        parts, parts + bundle.count, begin, [](Py_ssize_t unit, const Bundled& part) { return unit < part.first_unit; });
    for (const Bundled* part = after - 1; part != parts + bundle.count && part->first_unit < end; part++) {
        Py_ssize_t from = std::max(begin - part->first_unit, Py_ssize_t(0)) * part->grain;
        Py_ssize_t to = std::min((end - part->first_unit) * part->grain, part->extent);
        if (from >= to) continue;
        if (int code = part->run(part->params, args + part->first_arg, from, to)) return code;
    }
    return 0;
}

inline int finish_bundle(const void* params, char** args) noexcept {
    const Bundle& bundle = *static_cast<const Bundle*>(params);
    for (const Bundled* part = bundle.parts(); part != bundle.parts() + bundle.count; part++)
        if (part->finish)
            if (int code = part->finish(part->params, args + part->first_arg)) return code;
    return 0;
}

}  // namespace la
