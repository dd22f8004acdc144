// Passes over [rows, channels] in which every thread keeps its channels.
//
//            16 bytes   16 bytes   ...          a block: `vectors` threads side by side (at most 32),
//   row 0    thread 0   thread 1                `lanes` of them one below the other; a thread takes every
//   row 1    thread 2   thread 3                lanes-th row of the block's piece. What belongs to a channel
//   row 2    thread 0   thread 1                stays in registers; neighbouring threads read neighbouring bytes.
#pragma once
#include "reduce.cuh"

// Byte for byte `Channels` of channels.rs. Grid: pieces, groups of `vectors`.
struct Channels {
    int rows;
    int channels;
    // Elements from a row to the next.
    int pitch;
    // Threads side by side, and rows of threads; together at most 256.
    int vectors;
    int lanes;
    // Rows that a block takes.
    int piece;
};

template <int COUNT>
struct Place {
    int vector, lane, channel;
    int first, end;
    bool active;

    DEVICE_MEMBER Place(const Channels &shape, int piece) {
        lane = threadIdx.x / shape.vectors;
        vector = threadIdx.x - lane * shape.vectors;
        channel = (blockIdx.y * shape.vectors + vector) * COUNT;
        active = lane < shape.lanes && channel < shape.channels;
        first = piece * shape.piece + lane;
        end = active ? min((piece + 1) * shape.piece, shape.rows) : 0;
    }
};

// Tables [channels] of f32 in shared memory, for a block's channels: value i of vector v at [i][v]. The pitch lets
// neighbouring channels, which are written at once, lie in different banks; those read at once are neighbours.
template <int COUNT, int TABLES>
struct SharedTables {
    static const int PITCH = 32 + 32 / COUNT;
    float values[TABLES][COUNT][PITCH];

    // All threads call; the caller's barrier comes before the first use.
    DEVICE_MEMBER void fill(const Channels &shape, const float *const (&tables)[TABLES]) {
        const int width = shape.vectors * COUNT, channel = blockIdx.y * width + threadIdx.x;
        if (threadIdx.x >= width || channel >= shape.channels) return;
#pragma unroll
        for (int table = 0; table < TABLES; table++) {
            values[table][threadIdx.x % COUNT][threadIdx.x / COUNT] = tables[table][channel];
        }
    }

    DEVICE_MEMBER void take(float (&to)[COUNT], int table, const Place<COUNT> &place) const {
#pragma unroll
        for (int i = 0; i < COUNT; i++) to[i] = values[table][i][place.vector];
    }
};

// Adds each channel's sums over the lanes in order and writes them to out[term][channel]. All threads call.
template <int COUNT, int TERMS>
DEVICE void write_sums(const Channels &shape, const Place<COUNT> &place, const float (&sums)[TERMS][COUNT], float *out) {
    __shared__ __align__(16) float parts[256 * COUNT];
    const int width = shape.vectors * COUNT;
#pragma unroll
    for (int term = 0; term < TERMS; term++) {
        if (place.lane < shape.lanes) store_shared(&parts[place.lane * width + place.vector * COUNT], sums[term]);
        __syncthreads();
        const int channel = blockIdx.y * width + threadIdx.x;
        if (threadIdx.x < width && channel < shape.channels) {
            float sum = 0.0f;
            for (int lane = 0; lane < shape.lanes; lane++) sum += parts[lane * width + threadIdx.x];
            out[term * shape.channels + channel] = sum;
        }
        __syncthreads();
    }
}
