// A convolution's weight gradient on tensor cores: for each tap the matrix product
// gradient[o, c] = sum over rows of dy[row, o] * image[voxel of (row, tap), c], straight from channels-last memory.
//
//   shared memory, STAGES times     left  [STEP voxels][outputs]  dy, as it lies
//                                   right [STEP voxels][channels] image, shifted by the tap, zeros outside
//
// The summed axis is the slow one in both, so 16-bit fragments are read by transposing ldmatrix, tf32 ones word
// by word. Voxels are dealt to `gridDim.z` splits; their sums are added in order by `conv3d_weight_reduce`. With
// the two activations swapped it is a transposed convolution's weight gradient.
#pragma once
#include "geometry.cuh"
#include "tile.cuh"

// Byte for byte `WeightGradientArguments` of weight_gradient.rs.
struct WeightGradientArguments {
    // Activations [voxels, pitch]; the second may be null.
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
    // Steps that each blockIdx.z takes.
    int iterations;
    // Tiles side by side: those of the first input, then those of the second.
    Divisor channel_tiles;
    int first_tiles;
};

// Chunk of 16 bytes within a row of whole 128 bytes. For 16-bit elements 8 rows of one chunk, which ldmatrix
// reads, lie in 8 bank groups; for tf32 4 rows of two chunks do, which a warp reads.
template <class Element>
DEVICE u32 slot(u32 row, u32 chunk) {
    if constexpr (sizeof(Element) == 4) {
        return (chunk ^ (row & 3) << 1) << 4;
    } else {
        return (chunk ^ (row & 7)) << 4;
    }
}

template <class Element, int OUTPUTS, int CHANNELS, int WARP_OUTPUTS, int WARP_CHANNELS, int STAGES>
struct WeightGradient {
    static const int WARPS_ALONG_OUTPUTS = OUTPUTS / WARP_OUTPUTS;
    static const int THREADS = WARPS_ALONG_OUTPUTS * (CHANNELS / WARP_CHANNELS) * 32;
    // Voxels of one step: two steps of mma.
    static const int STEP = 64 / sizeof(Element);
    static const int WIDE = Wide<Element>::COUNT;
    static const int LEFT_BYTES = OUTPUTS * sizeof(Element), RIGHT_BYTES = CHANNELS * sizeof(Element);
    static const int STAGE_BYTES = STEP * (LEFT_BYTES + RIGHT_BYTES);
    static const int SHARED_BYTES = STAGES * STAGE_BYTES;
    static_assert(LEFT_BYTES % 128 == 0 && RIGHT_BYTES % 128 == 0, "whole lines");

    // Columns `column`.. of a tile as mma's left operand (16 columns) or two right operands (8 each).
    static DEVICE_MEMBER void fragment(u32 (&to)[4], const char *shared, u32 tile, int row_bytes, int column, int step,
                                       u32 lane, bool left) {
        if constexpr (sizeof(Element) == 4) {
            const u32 group = lane >> 2, row = step * 8 + (lane & 3);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                // Left: columns +0, +8, +0, +8, rows +0, +0, +4, +4. Right: the other way round.
                const u32 at_row = row + ((left ? i >> 1 : i & 1) ? 4 : 0);
                const u32 at_column = column + group + ((left ? i & 1 : i >> 1) ? 8 : 0);
                const u32 offset = at_row * row_bytes + slot<Element>(at_row, at_column / 4) + at_column % 4 * 4;
                to[i] = *(const u32 *)(shared + tile + offset);
            }
            prepare<Element>(to);
        } else {
            const u32 matrix = lane >> 3;
            const u32 row = step * 16 + (left ? matrix >> 1 : matrix & 1) * 8 + (lane & 7);
            const u32 chunk = column / 8 + (left ? matrix & 1 : matrix >> 1);
            load_matrices_transposed(to, shared_address(shared) + tile + row * row_bytes + slot<Element>(row, chunk));
        }
    }

    static DEVICE_MEMBER void run(const WeightGradientArguments &arguments, char *shared) {
        const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
        const Geometry &geometry = arguments.geometry;
        const int output_tile = divide(blockIdx.x, arguments.channel_tiles);
        int channel_tile = blockIdx.x - output_tile * arguments.channel_tiles.divisor;
        const int source = channel_tile >= arguments.first_tiles ? 1 : 0;
        if (source) channel_tile -= arguments.first_tiles;
        const int first_output = output_tile * OUTPUTS, first_channel = channel_tile * CHANNELS;
        const Element *image = (const Element *)(source ? arguments.input[1] : arguments.input[0]);
        const int channels = source ? arguments.channels[1] : arguments.channels[0];
        const i64 pitch = source ? arguments.pitch[1] : arguments.pitch[0];

        int shift[3];
        tap_shift(geometry, blockIdx.y, shift);

        const int begin = blockIdx.z * arguments.iterations;
        const int count = min(arguments.iterations, (arguments.rows + STEP - 1) / STEP - begin);
        const u32 base_address = shared_address(shared);
        auto fetch = [&](int iteration, int stage) {
            const int first = (begin + iteration) * STEP;
            const u32 left = base_address + stage * STAGE_BYTES, right = left + STEP * LEFT_BYTES;
            const Element *gradient = (const Element *)arguments.gradient;
#pragma unroll
            for (int at = thread; at < STEP * LEFT_BYTES / 16; at += THREADS) {
                const int row = at / (LEFT_BYTES / 16), chunk = at % (LEFT_BYTES / 16);
                const int output = first_output + chunk * WIDE;
                const bool valid = first + row < arguments.rows && output < arguments.outputs;
                const Element *from =
                    valid ? gradient + (i64)(first + row) * arguments.gradient_pitch + output : gradient;
                copy_async(left + row * LEFT_BYTES + slot<Element>(row, chunk), from, valid);
            }
#pragma unroll
            for (int at = thread; at < STEP * RIGHT_BYTES / 16; at += THREADS) {
                const int row = at / (RIGHT_BYTES / 16), chunk = at % (RIGHT_BYTES / 16);
                const int channel = first_channel + chunk * WIDE;
                const Row voxel = row_at(first + row, geometry);
                bool valid = first + row < arguments.rows && channel < channels;
                int position[3];
#pragma unroll
                for (int axis = 0; axis < 3; axis++) {
                    position[axis] = voxel.voxel[axis] * geometry.stride[axis] + shift[axis];
                    valid = valid && (u32)position[axis] < (u32)geometry.image[axis];
                }
                const int index = voxel_index(geometry, voxel.batch, position[0], position[1], position[2]);
                const Element *from = valid ? image + index * pitch + channel : image;
                copy_async(right + row * RIGHT_BYTES + slot<Element>(row, chunk), from, valid);
            }
        };

        WarpTile<Element, WARP_OUTPUTS, WARP_CHANNELS> tile;
        tile.clear();
        const int warp_output = warp % WARPS_ALONG_OUTPUTS * WARP_OUTPUTS;
        const int warp_channel = warp / WARPS_ALONG_OUTPUTS * WARP_CHANNELS;
#pragma unroll 1
        for (int stage = 0; stage < STAGES - 1; stage++) {
            if (stage < count) fetch(stage, stage);
            commit_copies();
        }
        int stage = 0, ahead = STAGES - 1;
#pragma unroll 1
        for (int iteration = 0; iteration < count; iteration++) {
            wait_for_copies<STAGES - 2>();
            __syncthreads();
            if (iteration + STAGES - 1 < count) fetch(iteration + STAGES - 1, ahead);
            commit_copies();
            const u32 left = stage * STAGE_BYTES, right = left + STEP * LEFT_BYTES;
#pragma unroll
            for (int step = 0; step < 2; step++) {
                u32 b[WARP_CHANNELS / 16][4];
#pragma unroll
                for (int j = 0; j < WARP_CHANNELS / 16; j++) {
                    fragment(b[j], shared, right, RIGHT_BYTES, warp_channel + j * 16, step, lane, false);
                }
#pragma unroll
                for (int i = 0; i < WARP_OUTPUTS / 16; i++) {
                    u32 a[4];
                    fragment(a, shared, left, LEFT_BYTES, warp_output + i * 16, step, lane, true);
#pragma unroll
                    for (int j = 0; j < WARP_CHANNELS / 8; j++) {
                        multiply(Element{}, tile.sum[i][j], a, &b[j / 2][j % 2 * 2]);
                    }
                }
            }
            stage = stage + 1 == STAGES ? 0 : stage + 1;
            ahead = ahead + 1 == STAGES ? 0 : ahead + 1;
        }
        wait_for_copies<0>();

        const int all = arguments.channels[0] + arguments.channels[1];
        float *partial = arguments.partial + (i64)(blockIdx.z * gridDim.y + blockIdx.y) * arguments.outputs * all +
                         (source ? arguments.channels[0] : 0);
#pragma unroll
        for (int i = 0; i < WARP_OUTPUTS / 16; i++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int output = first_output + warp_output + i * 16 + half * 8 + (lane >> 2);
#pragma unroll
                for (int j = 0; j < WARP_CHANNELS / 8; j++) {
                    const int channel = first_channel + warp_channel + j * 8 + (lane & 3) * 2;
                    // Channels come in fours at least, so a pair is inside or outside as a whole; four lanes
                    // fill a sector of 32 bytes.
                    if (output < arguments.outputs && channel < channels) {
                        *(float2 *)(partial + (i64)output * all + channel) =
                            make_float2(tile.sum[i][j][2 * half], tile.sum[i][j][2 * half + 1]);
                    }
                }
            }
        }
    }
};

#define WEIGHT_GRADIENT(NAME, ELEMENT, OUTPUTS, CHANNELS, WARP_OUTPUTS, WARP_CHANNELS, STAGES, BLOCKS)             \
    extern "C" __global__ void __launch_bounds__(                                                                  \
        (WeightGradient<ELEMENT, OUTPUTS, CHANNELS, WARP_OUTPUTS, WARP_CHANNELS, STAGES>::THREADS), BLOCKS)        \
        NAME(const WeightGradientArguments arguments) {                                                            \
        extern __shared__ __align__(16) char shared[];                                                             \
        WeightGradient<ELEMENT, OUTPUTS, CHANNELS, WARP_OUTPUTS, WARP_CHANNELS, STAGES>::run(arguments, shared);   \
    }
