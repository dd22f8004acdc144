// Convolutions of any kernel, stride, padding, dilation and number of channels, in f32 arithmetic on any card:
// tiles of the same implicit matrix product, gathered element by element.
//
// TRANSPOSED turns the map around: a row of the result reads position (row + low - tap * dilation) / stride
// where that is whole. It is a convolution's input gradient and a transposed convolution's forward pass; the
// other way round for the rest. Weights stay in PyTorch's layout, f32, read by strides.
#pragma once
#include "element.cuh"
#include "geometry.cuh"

// Byte for byte `DirectArguments` of direct.rs.
struct DirectArguments {
    // Activations [voxels, pitch]; the second may be null.
    const void *input[2];
    // Element (output, summed channel, tap) at output * weight_output + channel * weight_channel + tap.
    const float *weight;
    // [outputs], or null.
    const float *bias;
    // [rows, output_pitch].
    void *output;
    Geometry geometry;
    // For TRANSPOSED.
    Divisor stride[3];
    int channels[2];
    int pitch[2];
    int rows;
    int outputs;
    int output_pitch;
    int weight_output;
    int weight_channel;
    Divisor column_tiles;
    Divisor all_channels;
    int reserved[2];
};

// Byte for byte `DirectWeightArguments` of weight_gradient.rs.
struct DirectWeightArguments {
    const void *input[2];
    // [rows, gradient_pitch].
    const void *gradient;
    // [splits, taps, outputs, channels of both inputs].
    float *partial;
    Geometry geometry;
    int channels[2];
    int pitch[2];
    int rows;
    int outputs;
    int gradient_pitch;
    // Voxels that each blockIdx.z takes.
    int voxels;
    Divisor column_tiles;
    Divisor all_channels;
};

// How far a tap lies from a row's origin, axis by axis.
DEVICE int3 reach_of(const Geometry &geometry, int tap) {
    const int rest = tap / geometry.kernel[2];
    return make_int3(rest / geometry.kernel[1] * geometry.dilation[0],
                     rest % geometry.kernel[1] * geometry.dilation[1],
                     (tap - rest * geometry.kernel[2]) * geometry.dilation[2]);
}

// The index of the voxel that a tap of a row reads, or -1 outside of the image.
template <bool TRANSPOSED>
DEVICE int voxel_of_tap(const Geometry &geometry, const Divisor *stride, const int4 &origin, const int3 &tap) {
    int position[3] = {origin.y, origin.z, origin.w};
    const int reach[3] = {tap.x, tap.y, tap.z};
    bool valid = origin.x >= 0;
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
        if constexpr (TRANSPOSED) {
            position[axis] -= reach[axis];
            valid = valid && position[axis] >= 0;
            u32 rest = valid ? position[axis] : 0;
            position[axis] = (int)split(rest, stride[axis]);
            valid = valid && rest == 0 && position[axis] < geometry.image[axis];
        } else {
            position[axis] += reach[axis];
            valid = valid && (u32)position[axis] < (u32)geometry.image[axis];
        }
    }
    return valid ? voxel_index(geometry, origin.x, position[0], position[1], position[2]) : -1;
}

// Batch entry (-1 beyond the rows) and the positions before taps are added.
template <bool TRANSPOSED>
DEVICE int4 origin_of(const Geometry &geometry, int row, int rows) {
    if (row >= rows) return make_int4(-1, 0, 0, 0);
    const Row at = row_at(row, geometry);
    int origin[3];
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
        origin[axis] = TRANSPOSED ? at.voxel[axis] + geometry.low[axis]
                                  : at.voxel[axis] * geometry.stride[axis] - geometry.low[axis];
    }
    return make_int4(at.batch, origin[0], origin[1], origin[2]);
}

template <class Element>
DEVICE float element_at(const void *const *input, const int *channels, const int *pitch, int voxel, int channel) {
    const bool second = channel >= channels[0];
    const Element *image = (const Element *)(second ? input[1] : input[0]);
    const i64 step = second ? pitch[1] : pitch[0];
    return widen(image[voxel * step + channel - (second ? channels[0] : 0)]);
}

// 128 rows x COLUMNS outputs a block, 8 x 4 a thread, 16 elements of the summed axis at a time, the next ones
// in registers.
template <class Element, bool TRANSPOSED, int COLUMNS>
struct Direct {
    static const int ROWS = 128, DEPTH = 16;
    static const int THREADS = ROWS / 8 * (COLUMNS / 4);
    static const int LANES = THREADS / DEPTH;

    static DEVICE_MEMBER void run(const DirectArguments &arguments) {
        __shared__ __align__(16) float left[2][DEPTH][ROWS + 4];
        __shared__ __align__(16) float right[2][DEPTH][COLUMNS + 4];
        __shared__ __align__(16) int4 origins[ROWS];
        const int thread = threadIdx.x;
        const Geometry &geometry = arguments.geometry;
        const int row_tile = divide(blockIdx.x, arguments.column_tiles);
        const int first_row = row_tile * ROWS;
        const int first_column = (blockIdx.x - row_tile * arguments.column_tiles.divisor) * COLUMNS;
        for (int row = thread; row < ROWS; row += THREADS) {
            origins[row] = origin_of<TRANSPOSED>(geometry, first_row + row, arguments.rows);
        }
        __syncthreads();

        const int channels = arguments.channels[0] + arguments.channels[1];
        const int summed = geometry.kernel[0] * geometry.kernel[1] * geometry.kernel[2] * channels;
        const int depth = thread % DEPTH, lane = thread / DEPTH;
        float ahead_left[ROWS / LANES], ahead_right[COLUMNS / LANES];
        auto fetch = [&](int from) {
            u32 channel = from + depth;
            const bool valid = from + depth < summed;
            const int tap = split(channel, arguments.all_channels);
            const int3 reach = reach_of(geometry, tap);
#pragma unroll
            for (int i = 0; i < ROWS / LANES; i++) {
                const int voxel =
                    voxel_of_tap<TRANSPOSED>(geometry, arguments.stride, origins[lane + i * LANES], reach);
                ahead_left[i] = valid && voxel >= 0 ? element_at<Element>(arguments.input, arguments.channels,
                                                                          arguments.pitch, voxel, channel)
                                                    : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < COLUMNS / LANES; i++) {
                const int column = first_column + lane + i * LANES;
                ahead_right[i] = valid && column < arguments.outputs
                                     ? arguments.weight[(i64)column * arguments.weight_output +
                                                        (i64)channel * arguments.weight_channel + tap]
                                     : 0.0f;
            }
        };
        auto keep = [&](int stage) {
#pragma unroll
            for (int i = 0; i < ROWS / LANES; i++) left[stage][depth][lane + i * LANES] = ahead_left[i];
#pragma unroll
            for (int i = 0; i < COLUMNS / LANES; i++) right[stage][depth][lane + i * LANES] = ahead_right[i];
        };

        float sum[8][4];
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) sum[i][j] = 0.0f;
        // Rows 4r..4r+3 and 64+4r..: each read is one access of 16 bytes.
        const int row = thread / (COLUMNS / 4) * 4, column = thread % (COLUMNS / 4) * 4;
        int stage = 0;
#pragma unroll 1
        for (int from = 0;; from += DEPTH) {
            const bool more = from < summed;
            if (more) fetch(from);
            if (from > 0) {
#pragma unroll 8
                for (int k = 0; k < DEPTH; k++) {
                    float a[8], b[4];
                    *(float4 *)&a[0] = *(const float4 *)&left[stage][k][row];
                    *(float4 *)&a[4] = *(const float4 *)&left[stage][k][row + 64];
                    *(float4 *)&b[0] = *(const float4 *)&right[stage][k][column];
#pragma unroll
                    for (int i = 0; i < 8; i++)
#pragma unroll
                        for (int j = 0; j < 4; j++) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
                }
            }
            if (!more) break;
            // The other stage: its last readers have passed the barrier below.
            stage ^= 1;
            keep(stage);
            __syncthreads();
        }

        float bias[4] = {};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (arguments.bias != nullptr && first_column + column + j < arguments.outputs) {
                bias[j] = arguments.bias[first_column + column + j];
            }
        }
        Element *output = (Element *)arguments.output;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int at = first_row + row + (i & 3) + (i >> 2) * 64;
            if (at >= arguments.rows) continue;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (first_column + column + j < arguments.outputs) {
                    output[(i64)at * arguments.output_pitch + first_column + column + j] =
                        narrow<Element>(sum[i][j] + bias[j]);
                }
            }
        }
    }
};

// 64 outputs x 64 (tap, channel) pairs a block, 4 x 4 a thread, 32 voxels at a time. Sums of a split go to
// [split, tap, output, channel] and are added by `conv3d_weight_reduce`.
template <class Element>
struct DirectWeight {
    static const int TILE = 64, DEPTH = 32, THREADS = 256;

    static DEVICE_MEMBER void run(const DirectWeightArguments &arguments) {
        __shared__ __align__(16) float left[DEPTH][TILE];
        __shared__ __align__(16) float right[DEPTH][TILE];
        __shared__ __align__(16) int4 origins[2][DEPTH];
        const int thread = threadIdx.x;
        const Geometry &geometry = arguments.geometry;
        const int row_tile = divide(blockIdx.x, arguments.column_tiles);
        const int first_output = row_tile * TILE;
        const int first_column = (blockIdx.x - row_tile * arguments.column_tiles.divisor) * TILE;
        const int channels = arguments.channels[0] + arguments.channels[1];
        const int taps = geometry.kernel[0] * geometry.kernel[1] * geometry.kernel[2];
        const int begin = blockIdx.z * arguments.voxels;
        const int end = min(begin + arguments.voxels, arguments.rows);
        // This thread's column of both tiles, and every fourth voxel.
        const int mine = thread % TILE, lane = thread / TILE;
        u32 channel = first_column + mine;
        const bool valid = first_column + mine < taps * channels;
        const int3 reach = reach_of(geometry, split(channel, arguments.all_channels));
        const Element *gradient = (const Element *)arguments.gradient;

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
#pragma unroll
            for (int i = 0; i < DEPTH / 4; i++) {
                const int voxel = from + lane + i * 4;
                const bool inside = voxel < end && first_output + mine < arguments.outputs;
                left[lane + i * 4][mine] =
                    inside ? widen(gradient[(i64)voxel * arguments.gradient_pitch + first_output + mine]) : 0.0f;
                const int at = voxel_of_tap<false>(geometry, nullptr, origins[stage][lane + i * 4], reach);
                right[lane + i * 4][mine] = valid && at >= 0 ? element_at<Element>(arguments.input, arguments.channels,
                                                                                   arguments.pitch, at, channel)
                                                             : 0.0f;
            }
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

        float *partial = arguments.partial + (i64)blockIdx.z * taps * arguments.outputs * channels;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            u32 channel = first_column + column + j;
            if (channel >= (u32)(taps * channels)) continue;
            const int tap = split(channel, arguments.all_channels);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (first_output + row + i < arguments.outputs) {
                    partial[((i64)tap * arguments.outputs + first_output + row + i) * channels + channel] = sum[i][j];
                }
            }
        }
    }
};
