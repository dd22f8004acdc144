// The weight gradient of convolutions of any shape, in f32 arithmetic on any card:
// gradient[o, (tap, channel)] = sum over rows of dy[row, o] * image[voxel of (row, tap), channel]: 64 outputs x 64
// pairs a block, 4 x 4 a thread, 32 voxels at a time. Sums of a split go to [split, tap, (output, channel)] and are
// added by `conv3d_weight_reduce`.
#pragma once
#include "direct_rows.cuh"

// Byte for byte `DirectWeightArguments` of weight_gradient.rs.
struct DirectWeightArguments {
    const void *input[2];
    // [rows, gradient_pitch].
    const void *gradient;
    // [splits, taps, partial_pitch]: a row holds [outputs, channels of both inputs].
    float *partial;
    Geometry geometry;
    int channels[2];
    int pitch[2];
    int rows;
    int outputs;
    int gradient_pitch;
    // A multiple of 8.
    int partial_pitch;
    // Voxels that each blockIdx.z takes.
    int voxels;
    // Pairs of a tile: 64, or fewer where those are whole taps.
    int columns;
    // Whether a voxel's outputs, or channels, are whole sectors.
    int whole_outputs;
    int whole_channels;
    // WindowColumns: elements of a window, and floats from one to the next in shared memory.
    int window;
    int window_pitch;
    Divisor column_tiles;
    Divisor all_channels;
};

// Outputs and pairs of a tile, voxels of a step, threads of a block.
static const int WEIGHT_TILE = 64, WEIGHT_DEPTH = 32, WEIGHT_THREADS = 256;

// What a source of a tile's right side knows: the (tap, channel) of its thread.
struct Column {
    bool valid;
    int line;
    u32 channel;
    int3 reach;

    DEVICE_MEMBER Column(const DirectWeightArguments &arguments, int first, int column) {
        const Geometry &geometry = arguments.geometry;
        const int taps = geometry.kernel[0] * geometry.kernel[1] * geometry.kernel[2];
        channel = first + column;
        valid = column < arguments.columns && first + column < taps * (arguments.channels[0] + arguments.channels[1]);
        const int tap = split(channel, arguments.all_channels);
        line = tap / geometry.kernel[2];
        reach = reach_of(geometry, tap);
    }
};

// 16 bytes of channels a thread.
template <class Element>
struct WideColumns {
    static const int WIDE = Wide<Element>::COUNT, CHUNKS = WEIGHT_TILE / WIDE, LANES = WEIGHT_THREADS / CHUNKS;
    const DirectWeightArguments &arguments;
    const int chunk;
    const Column column;

    DEVICE_MEMBER WideColumns(const DirectWeightArguments &arguments, int first)
        : arguments(arguments), chunk(threadIdx.x % CHUNKS), column(arguments, first, chunk * WIDE) {}

    DEVICE_MEMBER void fill(int, const int4 *origins, float (*right)[WEIGHT_TILE]) const {
#pragma unroll
        for (int i = 0; i < WEIGHT_DEPTH / LANES; i++) {
            const int lane = threadIdx.x / CHUNKS + i * LANES;
            const int voxel = voxel_of_tap<false>(arguments.geometry, nullptr, origins[lane], column.reach);
            float values[WIDE] = {};
            if (column.valid && voxel >= 0) {
                load(values, element_at<Element>(arguments.input, arguments.channels, arguments.pitch, voxel,
                                                 column.channel));
            }
            store_shared(&right[lane][chunk * WIDE], values);
        }
    }
};

template <class Element>
struct ElementColumns {
    static const int LANES = WEIGHT_THREADS / WEIGHT_TILE;
    const DirectWeightArguments &arguments;
    const Column column;

    DEVICE_MEMBER ElementColumns(const DirectWeightArguments &arguments, int first)
        : arguments(arguments), column(arguments, first, threadIdx.x % WEIGHT_TILE) {}

    DEVICE_MEMBER void fill(int, const int4 *origins, float (*right)[WEIGHT_TILE]) const {
#pragma unroll
        for (int i = 0; i < WEIGHT_DEPTH / LANES; i++) {
            const int lane = threadIdx.x / WEIGHT_TILE + i * LANES;
            const int voxel = voxel_of_tap<false>(arguments.geometry, nullptr, origins[lane], column.reach);
            const bool valid = column.valid && voxel >= 0;
            right[lane][threadIdx.x % WEIGHT_TILE] =
                valid ? widen(*element_at<Element>(arguments.input, arguments.channels, arguments.pitch, voxel,
                                                   column.channel))
                      : 0.0f;
        }
    }
};

// Picks elements from windows of the image: see WindowRows.
template <class Element>
struct WindowColumns {
    // Floats of all windows that 64 pairs touch: WINDOWS of weight_gradient.rs.
    static const int CAPACITY = 1792;
    static const int LANES = WEIGHT_THREADS / WEIGHT_TILE;
    const DirectWeightArguments &arguments;
    const Column column;
    int first_line, last_line;

    DEVICE_MEMBER WindowColumns(const DirectWeightArguments &arguments, int first)
        : arguments(arguments), column(arguments, first, threadIdx.x % WEIGHT_TILE) {
        const Geometry &geometry = arguments.geometry;
        const int line_pairs = geometry.kernel[2] * arguments.channels[0];
        const int pairs = geometry.kernel[0] * geometry.kernel[1] * line_pairs;
        first_line = first / line_pairs;
        last_line = (min(first + arguments.columns, pairs) - 1) / line_pairs;
    }

    DEVICE_MEMBER void fill(int first_row, const int4 *origins, float (*right)[WEIGHT_TILE]) const {
        __shared__ float windows[CAPACITY];
        const Geometry &geometry = arguments.geometry;
        const int channels = arguments.channels[0];
        load_windows<Element, WEIGHT_THREADS>(geometry, (const Element *)arguments.input[0], channels,
                                              (i64)arguments.rows * channels, first_row, first_line, last_line,
                                              arguments.window, arguments.window_pitch, windows);
        __syncthreads();
        const int offset = (column.line - first_line) * arguments.window_pitch + (int)column.channel;
        const i64 start = window_start<Element>(geometry, first_row, column.line, channels);
#pragma unroll
        for (int i = 0; i < WEIGHT_DEPTH / LANES; i++) {
            const int lane = threadIdx.x / WEIGHT_TILE + i * LANES;
            const int voxel = voxel_of_tap<false>(geometry, nullptr, origins[lane], column.reach);
            right[lane][threadIdx.x % WEIGHT_TILE] =
                column.valid && voxel >= 0 ? windows[offset + (int)((i64)voxel * channels - start)] : 0.0f;
        }
    }
};

template <class Element, template <class> class Source>
struct DirectWeight {
    static const int TILE = WEIGHT_TILE, DEPTH = WEIGHT_DEPTH, THREADS = WEIGHT_THREADS;
    static const int WIDE = Wide<Element>::COUNT, CHUNKS = TILE / WIDE;
    // An odd pitch, so that outputs of a pair lie in different banks.
    static const int PITCH = TILE + 1;

    // dy of 32 voxels. Outputs that are no whole sectors are taken one by one, side by side over all voxels.
    static DEVICE_MEMBER void fill_left(const DirectWeightArguments &arguments, int first_output, int from, int end,
                                        float (*left)[TILE]) {
        const Element *gradient =
            (const Element *)arguments.gradient + (i64)from * arguments.gradient_pitch + first_output;
        if (arguments.whole_outputs) {
            const int chunk = threadIdx.x % CHUNKS * WIDE;
#pragma unroll
            for (int row = threadIdx.x / CHUNKS; row < DEPTH; row += THREADS / CHUNKS) {
                float values[WIDE] = {};
                if (from + row < end && first_output + chunk < arguments.outputs) {
                    load(values, gradient + (i64)row * arguments.gradient_pitch + chunk);
                }
                store_shared(&left[row][chunk], values);
            }
        } else {
            const u32 width = min(TILE, arguments.outputs - first_output);
            for (int at = threadIdx.x; at < DEPTH * (int)width; at += THREADS) {
                const u32 row = (u32)at / width, output = at - row * width;
                left[row][output] =
                    from + (int)row < end ? widen(gradient[(i64)row * arguments.gradient_pitch + output]) : 0.0f;
            }
        }
    }

    static DEVICE_MEMBER void run(const DirectWeightArguments &arguments) {
        __shared__ __align__(16) float memory[TILE * PITCH];
        __shared__ __align__(16) int4 origins[2][DEPTH];
        float(*left)[TILE] = (float(*)[TILE])memory;
        float(*right)[TILE] = left + DEPTH;
        const int thread = threadIdx.x;
        const Geometry &geometry = arguments.geometry;
        const int row_tile = divide(blockIdx.x, arguments.column_tiles);
        const int first_output = row_tile * TILE;
        const int first_column =
            (blockIdx.x - row_tile * arguments.column_tiles.divisor) * arguments.columns;
        const int begin = blockIdx.z * arguments.voxels;
        const int end = min(begin + arguments.voxels, arguments.rows);
        const Source<Element> source(arguments, first_column);

        // Of outputs that do not exist, which nobody writes below.
        for (int at = thread; at < DEPTH * TILE; at += THREADS) memory[at] = 0.0f;
        if (thread < DEPTH) origins[0][thread] = origin_of<false>(geometry, begin + thread, end);
        __syncthreads();
        float sum[4][4];
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) sum[i][j] = 0.0f;
        const int row = thread / 16 * 4, column = thread % 16 * 4;
        int stage = 0;
#pragma unroll 1
        for (int from = begin; from < end; from += DEPTH) {
            fill_left(arguments, first_output, from, end, left);
            source.fill(from, origins[stage], right);
            stage ^= 1;
            if (thread < DEPTH) origins[stage][thread] = origin_of<false>(geometry, from + DEPTH + thread, end);
            __syncthreads();
#pragma unroll 4
            for (int k = 0; k < DEPTH; k++) {
                float a[4], b[4];
                *(float4 *)a = *(const float4 *)&left[k][row];
                *(float4 *)b = *(const float4 *)&right[k][column];
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int j = 0; j < 4; j++) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
            }
            __syncthreads();
        }

        const int channels = arguments.channels[0] + arguments.channels[1];
        const int taps = geometry.kernel[0] * geometry.kernel[1] * geometry.kernel[2];
        float *partial = arguments.partial + (i64)blockIdx.z * taps * arguments.partial_pitch;
        const int outputs = min(TILE, arguments.outputs - first_output);
        const int columns = min(arguments.columns, taps * channels - first_column);
        if (arguments.whole_channels) {
            if (column >= columns) return;
            u32 channel = first_column + column;
            const int tap = split(channel, arguments.all_channels);
            float *to = partial + (i64)tap * arguments.partial_pitch + (i64)first_output * channels + channel;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (row + i < outputs) store(to + (i64)(row + i) * channels, sum[i]);
            }
            return;
        }
        // Through shared memory: (output, channel) of a tap lie side by side.
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) memory[(row + i) * PITCH + column + j] = sum[i][j];
        __syncthreads();
        for (int at = 0; at < columns;) {
            u32 channel = first_column + at;
            const int tap = split(channel, arguments.all_channels);
            const u32 width = min(columns - at, channels - (int)channel);
            float *to = partial + (i64)tap * arguments.partial_pitch + (i64)first_output * channels + channel;
            for (int i = thread; i < outputs * (int)width; i += THREADS) {
                const u32 output = (u32)i / width;
                const u32 of_output = i - output * width;
                to[(i64)output * channels + of_output] = memory[output * PITCH + at + of_output];
            }
            at += width;
        }
    }
};
