// Instruction-set levels, per-thread scratch memory, and the signatures of loops and kernels.
#pragma once
#include <Python.h>

#include <cstdlib>

#include "types.hpp"

namespace la {

typedef void (*LoopFn)(char** args, const Py_ssize_t* dimensions, const Py_ssize_t* steps, void* data);
typedef int (*KernelRun)(const void* params, char** args, Py_ssize_t begin, Py_ssize_t end);
typedef int (*KernelFinish)(const void* params, char** args);

// What a kernel's factory hands to _loops.pyx, which owns `params` from then on and gives it to `drop`.
struct Made {
    KernelRun run = nullptr;
    KernelFinish finish = nullptr;
    void* params = nullptr;
    void (*drop)(void*) = nullptr;
    Py_ssize_t extent = 0, grain = 1, scratch_bytes = 0;
};

template <class P> void drop_params(void* params) { delete static_cast<P*>(params); }

constexpr int kNoMemory = 99;  // error code

// Every level runs the same operations in the same order (no contraction), so the level never changes bits.
#if defined(__x86_64__)
#define LA_AVX2 "avx2,bmi,bmi2,fma,f16c,lzcnt,popcnt"
#define LA_AVX512 "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,prefer-vector-width=512"
#define LA_V3 __attribute__((target(LA_AVX2)))
#define LA_V4 __attribute__((target(LA_AVX2 "," LA_AVX512)))
#else
#define LA_V3
#define LA_V4
#endif

inline int cpu_level() {
    static const int level = [] {
        int found = 0;
#if defined(__x86_64__)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
            __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt"))
            found = 1;
        if (found && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vl"))
            found = 2;
#endif
        const char* wish = std::getenv("LAZYARRAY_SIMD");  // 0, 1 or 2: an upper limit
        if (wish && *wish >= '0' && *wish < '0' + found) found = *wish - '0';
        return found;
    }();
    return level;
}

// A Body has one always-inlined `run`, which GCC turns into vector code once per level.
template <class Body> struct LoopLevels {
    static void v2(char** a, const Py_ssize_t* n, const Py_ssize_t* s, void* d) { Body::run(a, n, s, d); }
    LA_V3 static void v3(char** a, const Py_ssize_t* n, const Py_ssize_t* s, void* d) { Body::run(a, n, s, d); }
    LA_V4 static void v4(char** a, const Py_ssize_t* n, const Py_ssize_t* s, void* d) { Body::run(a, n, s, d); }
};
template <class Body> LoopFn pick_loop() {
    LoopFn table[] = {LoopLevels<Body>::v2, LoopLevels<Body>::v3, LoopLevels<Body>::v4};
    return table[cpu_level()];
}

template <class Body> struct KernelLevels {
    static int v2(const void* p, char** a, Py_ssize_t b, Py_ssize_t e) { return Body::run(p, a, b, e); }
    LA_V3 static int v3(const void* p, char** a, Py_ssize_t b, Py_ssize_t e) { return Body::run(p, a, b, e); }
    LA_V4 static int v4(const void* p, char** a, Py_ssize_t b, Py_ssize_t e) { return Body::run(p, a, b, e); }
};
template <class Body> KernelRun pick_kernel() {
    KernelRun table[] = {KernelLevels<Body>::v2, KernelLevels<Body>::v3, KernelLevels<Body>::v4};
    return table[cpu_level()];
}

// One copy for all levels, where wider vectors bring nothing: it keeps the build short.
template <class Body> LoopFn plain_loop() { return LoopLevels<Body>::v2; }
template <class Body> KernelRun plain_kernel() { return KernelLevels<Body>::v2; }

constexpr Py_ssize_t padded(Py_ssize_t bytes) { return (bytes + 63) & ~(Py_ssize_t)63; }

// At least `bytes` bytes, 64-byte aligned, valid until this thread asks again; nullptr when memory is short.
inline char* scratch(Py_ssize_t bytes) {
    struct Owner {
        char* base = nullptr;
        Py_ssize_t size = 0;
        ~Owner() { std::free(base); }
    };
    thread_local Owner own;
    if (own.size < bytes) {
        std::free(own.base);
        own.size = padded(bytes + bytes / 2 + 4096);
        own.base = static_cast<char*>(std::aligned_alloc(64, (size_t)own.size));
        if (!own.base) own.size = 0;
    }
    return own.base;
}

// Calls `fn(T{})` for the element type with this number.
template <class F> auto with_type(int type, F fn) {
    switch (type) {
    case kBool: return fn(Bool{});
    case kI8: return fn(int8_t{});
    case kI16: return fn(int16_t{});
    case kI32: return fn(int32_t{});
    case kI64: return fn(int64_t{});
    case kU8: return fn(uint8_t{});
    case kU16: return fn(uint16_t{});
    case kU32: return fn(uint32_t{});
    case kU64: return fn(uint64_t{});
    case kF16: return fn(Half{});
    case kF32: return fn(float{});
    case kF64: return fn(double{});
    case kC64: return fn(C64{});
    case kBF16: return fn(Brain{});
    default: return fn(C128{});
    }
}
inline Py_ssize_t type_size(int type) {
    return with_type(type, [](auto x) { return (Py_ssize_t)sizeof x; });
}

}  // namespace la
