// Data movement in generated CUDA C++: transposing copies by tiles, rows by index. Elements are moved as bytes of their size.
#pragma once
#include "cuda_numbers.hpp"

namespace la {

struct Bytes16 { uint64_t lo, hi; };
struct alignas(16) Wide16 { uint64_t lo, hi; };  // where addresses are multiples of 16

constexpr int kTile = 32, kTileRows = 8;  // a block of (32, 8) threads moves a tile of 32 by 32

// A tile from rows that are contiguous to rows that are contiguous along the other axis. `from` and `to` are the first
// elements of the tile; `step` and `pitch` the bytes between rows there; `width` and `height` of the tile exist.
template <class T>
LA_DEVICE void turn_tile(const char* from, int64_t step, char* to, int64_t pitch, int width, int height, T (*tile)[kTile + 1]) {
    const int x = threadIdx.x, y = threadIdx.y;
#pragma unroll
    for (int k = 0; k < kTile; k += kTileRows)
        if (x < width && y + k < height) tile[y + k][x] = ((const T*)(from + (y + k) * step))[x];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kTile; k += kTileRows)
        if (x < height && y + k < width) ((T*)(to + (y + k) * pitch))[x] = tile[x][y + k];
    __syncthreads();
}

}  // namespace la
