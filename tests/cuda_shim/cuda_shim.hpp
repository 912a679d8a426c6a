// CUDA C++ on the CPU: what generated sources use, for tests without a GPU. A block's threads are fibers of one thread, run in
// turn from one barrier to the next; a warp's shuffle is a barrier of its threads. Blocks run one after the other.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ static
#define __noinline__

struct dim3 { unsigned x = 1, y = 1, z = 1; };

namespace shim {

constexpr unsigned kWarp = 32;
constexpr size_t kStack = 256 << 10;

enum Wait { kRun, kBlockBarrier, kWarpBarrier, kDone };

struct Fiber {
    ucontext_t context;
    Wait wait = kRun;
    dim3 index;
    unsigned char sent[16];  // to the other threads of the warp
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<char*> stacks;
    ucontext_t home;
    const std::function<void()>* body = nullptr;
    unsigned current = 0;
    bool fibered = false;
};
inline Block& block() {
    static Block own;
    return own;
}

}  // namespace shim

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

inline void yield(Wait why) {
    Block& b = block();
    Fiber& own = b.fibers[b.current];
    own.wait = why;
    swapcontext(&own.context, &b.home);
}

inline void enter() {
    Block& b = block();
    (*b.body)();
    b.fibers[b.current].wait = kDone;
    swapcontext(&b.fibers[b.current].context, &b.home);
}

inline void resume(unsigned i) {
    Block& b = block();
    b.current = i;
    threadIdx = b.fibers[i].index;
    b.fibers[i].wait = kRun;
    swapcontext(&b.home, &b.fibers[i].context);
}

// Whether all living threads in [begin, end) wait for this.
inline bool gathered(unsigned begin, unsigned end, Wait what) {
    bool any = false;
    for (unsigned i = begin; i < end; i++) {
        Wait wait = block().fibers[i].wait;
        if (wait != what && wait != kDone) return false;
        any |= wait == what;
    }
    return any;
}

inline void run_block(unsigned threads) {
    Block& b = block();
    b.fibers.assign(threads, Fiber{});
    while (b.stacks.size() < threads) b.stacks.push_back((char*)malloc(kStack));
    for (unsigned i = 0; i < threads; i++) {
        Fiber& f = b.fibers[i];
        f.index = dim3{i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = b.stacks[i];
        f.context.uc_stack.ss_size = kStack;
        f.context.uc_link = nullptr;
        makecontext(&f.context, (void (*)())enter, 0);
    }
    for (unsigned i = 0; i < threads; i++) resume(i);
    for (;;) {
        bool moved = false;
        for (unsigned w = 0; w < threads; w += kWarp) {
            unsigned end = w + kWarp < threads ? w + kWarp : threads;
            if (!gathered(w, end, kWarpBarrier)) continue;
            moved = true;
            std::vector<unsigned> ready;
            for (unsigned i = w; i < end; i++)
                if (b.fibers[i].wait == kWarpBarrier) ready.push_back(i);
            for (unsigned i : ready) resume(i);
        }
        if (moved) continue;
        if (!gathered(0, threads, kBlockBarrier)) break;
        for (unsigned i = 0; i < threads; i++)
            if (b.fibers[i].wait == kBlockBarrier) resume(i);
    }
    for (unsigned i = 0; i < threads; i++)
        if (b.fibers[i].wait != kDone) {
            fprintf(stderr, "thread %u of block %u waits for ever\n", i, blockIdx.x);
            abort();
        }
}

// With `fibered` the threads of a block may wait for each other; without, they run one by one.
inline void launch(const std::function<void()>& body, const unsigned* grid, const unsigned* threads, bool fibered) {
    Block& b = block();
    b.body = &body;
    b.fibered = fibered;
    gridDim = dim3{grid[0], grid[1], grid[2]};
    blockDim = dim3{threads[0], threads[1], threads[2]};
    unsigned count = threads[0] * threads[1] * threads[2];
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = dim3{x, y, z};
                if (fibered) {
                    run_block(count);
                    continue;
                }
                for (unsigned i = 0; i < count; i++) {
                    threadIdx = dim3{i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
                    body();
                }
            }
}

// What thread `from` of this warp sends; itself where there is no such thread.
template <class T> T exchanged(T value, unsigned from) {
    static_assert(sizeof(T) <= 16);
    Block& b = block();
    unsigned own = b.current, base = own / kWarp * kWarp;
    memcpy(b.fibers[own].sent, &value, sizeof value);
    yield(kWarpBarrier);
    T got = value;
    if (base + from < b.fibers.size()) memcpy(&got, b.fibers[base + from].sent, sizeof got);
    yield(kWarpBarrier);
    return got;
}
inline unsigned lane() { return block().current % kWarp; }

}  // namespace shim

inline void wait_or_fail(shim::Wait why) {
    if (!shim::block().fibered) abort();
    shim::yield(why);
}
inline void __syncthreads() { wait_or_fail(shim::kBlockBarrier); }
inline void __syncwarp(unsigned = ~0u) { wait_or_fail(shim::kWarpBarrier); }
template <class T> T __shfl_down_sync(unsigned, T value, unsigned delta, int width = 32) {
    unsigned lane = shim::lane(), from = lane + delta;
    return shim::exchanged(value, from / width == lane / width ? from : lane);
}
template <class T> T __shfl_sync(unsigned, T value, int source, int width = 32) {
    unsigned lane = shim::lane();
    return shim::exchanged(value, lane / width * width + source % width);
}
inline unsigned __ballot_sync(unsigned, int holds) {
    unsigned found = 0;
    for (unsigned i = 0; i < shim::kWarp; i++) found |= (unsigned)(shim::exchanged(holds, i) != 0) << i;
    return found;
}

inline uint32_t __umulhi(uint32_t a, uint32_t b) { return (uint32_t)((uint64_t)a * b >> 32); }
inline int __popcll(uint64_t x) { return __builtin_popcountll(x); }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
inline double __dsqrt_rn(double a) { return __builtin_sqrt(a); }
// CUDA's own, which the C library lacks: Newton's method from a rough start (Winitzki 2008).
inline double erfinv(double y) {
    if (!(fabs(y) < 1)) return fabs(y) == 1 ? copysign(HUGE_VAL, y) : NAN;
    double l = log1p(-y * y), a = 2 / (M_PI * 0.147) + l / 2, x = copysign(sqrt(sqrt(a * a - l / 0.147) - a), y);
    for (int i = 0; i < 4; i++) {
        double wrong = fabs(y) < 0.5 ? erf(x) - y : (y < 0 ? -1 : 1) * (1 - fabs(y) - erfc(fabs(x)));
        x -= wrong * sqrt(M_PI) / 2 * exp(x * x);
    }
    return y == 0 ? y : x;
}
inline float erfinv(float y) { return (float)erfinv((double)y); }

template <class T> T atomicMax(T* at, T value) {
    T old = *at;
    *at = old < value ? value : old;
    return old;
}
template <class T> T atomicAdd(T* at, T value) {
    T old = *at;
    *at = old + value;
    return old;
}
