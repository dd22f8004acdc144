// Sums in a fixed order: no atomics, so the same bits in every run.
//
// Two stages throughout. First a block sums a piece whose size depends on shapes alone and writes what it found;
// then a second kernel adds the pieces, each thread a fixed set of them in order, threads by a fixed tree.
#pragma once
#include "element.cuh"

// The sum over a block's THREADS values, the same in every thread. THREADS: a power of two, at most 1024.
template <int THREADS>
DEVICE double block_sum(double value) {
    __shared__ double parts[THREADS];
    parts[threadIdx.x] = value;
    __syncthreads();
#pragma unroll 1
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        __syncthreads();
    }
    const double sum = parts[0];
    __syncthreads();
    return sum;
}
