// Convolutions of any kernel, stride, padding, dilation and number of channels, in f32 arithmetic on any card:
// tiles of the same implicit matrix product. direct_rows.cuh brings the image's elements.
//
// Weights come packed, [(tap, channel)][outputs], f32: the rows of the product's right side, in whole sectors.
#pragma once
#include "direct_rows.cuh"

// ROWS voxels x COLUMNS outputs a block, THREAD_ROWS x 4 a thread, 16 elements of the summed axis at a time, the
// next ones in registers.
template <class Element, template <class, int, int> class Source, int ROWS, int COLUMNS, int THREAD_ROWS>
struct Direct {
    static const int THREADS = ROWS / THREAD_ROWS * (COLUMNS / 4);
    // Rows 4r..4r+3 of each part are a thread's: each read is one access of 16 bytes.
    static const int PARTS = THREAD_ROWS / 4, PART = ROWS / PARTS;
    static const int RIGHT = DEPTH * COLUMNS / 4;
    static_assert(RIGHT <= THREADS, "a vector of the right side a thread");
    static_assert(PART * COLUMNS <= 2 * DEPTH * ROWS, "a part of the result fits the left side's memory");

    static DEVICE_MEMBER void run(const DirectArguments &arguments) {
        __shared__ __align__(16) float left[2][DEPTH][ROWS];
        __shared__ __align__(16) float right[2][DEPTH][COLUMNS];
        __shared__ __align__(16) int4 origins[ROWS];
        __shared__ __align__(16) float bias[COLUMNS];
        const int thread = threadIdx.x;
        const int row_tile = divide(blockIdx.x, arguments.column_tiles);
        const int first_row = row_tile * ROWS;
        const int first_column = (blockIdx.x - row_tile * arguments.column_tiles.divisor) * COLUMNS;
        Source<Element, ROWS, THREADS> source(arguments, first_row);
        for (int row = thread; row < ROWS; row += THREADS) {
            origins[row] = source.origin(first_row + row);
        }
        for (int column = thread; column < COLUMNS; column += THREADS) {
            const bool given = arguments.bias != nullptr && first_column + column < arguments.outputs;
            bias[column] = given ? arguments.bias[first_column + column] : 0.0f;
        }
        __syncthreads();

        const Geometry &geometry = arguments.geometry;
        const int summed = geometry.kernel[0] * geometry.kernel[1] * geometry.kernel[2] *
                           (arguments.channels[0] + arguments.channels[1]);
        const int right_depth = thread / (COLUMNS / 4), right_column = thread % (COLUMNS / 4) * 4;
        const bool in_columns = thread < RIGHT && first_column + right_column < arguments.weight_pitch;
        float4 ahead;
        auto fetch = [&](int from) {
            source.fetch(from, summed, origins);
            ahead = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (in_columns && from + right_depth < summed) {
                ahead = *(const float4 *)(arguments.weight + (i64)(from + right_depth) * arguments.weight_pitch +
                                          first_column + right_column);
            }
        };
        auto keep = [&](int from, int stage) {
            source.keep(from, summed, origins, left[stage]);
            if (thread < RIGHT) *(float4 *)&right[stage][right_depth][right_column] = ahead;
        };

        float sum[THREAD_ROWS][4];
#pragma unroll
        for (int i = 0; i < THREAD_ROWS; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) sum[i][j] = 0.0f;
        const int row = thread / (COLUMNS / 4) * 4, column = thread % (COLUMNS / 4) * 4;
        int stage = 0;
#pragma unroll 1
        for (int from = 0;; from += DEPTH) {
            const bool more = from < summed;
            if (more) fetch(from);
            if (from > 0) {
#pragma unroll 8
                for (int k = 0; k < DEPTH; k++) {
                    const int at = row ^ source.swizzle(k);
                    float a[THREAD_ROWS], b[4];
#pragma unroll
                    for (int part = 0; part < PARTS; part++) {
                        *(float4 *)&a[4 * part] = *(const float4 *)&left[stage][k][at + part * PART];
                    }
                    *(float4 *)&b[0] = *(const float4 *)&right[stage][k][column];
#pragma unroll
                    for (int i = 0; i < THREAD_ROWS; i++)
#pragma unroll
                        for (int j = 0; j < 4; j++) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
                }
            }
            if (!more) break;
            // The other stage: its last readers have passed the barrier below.
            stage ^= 1;
            keep(from, stage);
            __syncthreads();
        }

#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float value = bias[column + j];
#pragma unroll
            for (int i = 0; i < THREAD_ROWS; i++) sum[i][j] += value;
        }
        Element *output = (Element *)arguments.output + first_column;
        if (arguments.whole_rows) {
            // Outputs in whole sectors: four a thread, its neighbours' beside them.
            if (first_column + column >= arguments.outputs) return;
#pragma unroll
            for (int i = 0; i < THREAD_ROWS; i++) {
                const int at = first_row + row + (i & 3) + (i >> 2) * PART;
                if (at < arguments.rows) store(output + (i64)at * arguments.output_pitch + column, sum[i]);
            }
            return;
        }
        // Through shared memory, so that neighbouring threads write neighbouring elements.
        float *tile = &left[0][0][0];
        const u32 width = min(COLUMNS, arguments.outputs - first_column);
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            __syncthreads();
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    if (column + j < width) tile[(row + i) * width + column + j] = sum[4 * part + i][j];
                }
            __syncthreads();
            const int first = first_row + part * PART;
            const int count = min(PART, arguments.rows - first) * (int)width;
            for (int at = thread; at < count; at += THREADS) {
                const u32 from_row = (u32)at / width;
                output[(i64)(first + from_row) * arguments.output_pitch + (at - from_row * width)] =
                    narrow<Element>(tile[at]);
            }
        }
    }
};
