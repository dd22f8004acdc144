// The weight gradient of weight_gradient.cuh for compute capability 9.0: gradient[o, c] = sum over voxels of
// dy[voxel, o] * image[voxel + tap, c], for each tap.
//
//   shared memory, STAGES times     left  OUTPUTS / 64 times [64 voxels][64 outputs]     <-box- dy
//                                   right CHANNELS / 64 times [64 voxels][64 channels]   <-box- image, shifted
//
// Lines run along the result, so products transpose both. Boxes of voxels are dealt to `gridDim.z` splits, whose sums
// `conv3d_weight_reduce` adds in order.
#pragma once
#include "tile.cuh"
#include "warpgroup.cuh"

// Maps: dy [batch, depth, height, width, outputs], and the inputs, of one both the same; boxes of 64 channels.
//
// Byte for byte `HopperWeightArguments` of hopper.rs.
struct HopperWeightArguments {
    // [splits, taps, outputs, channels of both inputs].
    float *partial;
    Geometry geometry;
    Boxes boxes;
    int channels[2];
    int outputs;
    // Boxes in all, and how many each blockIdx.z takes.
    int voxel_boxes;
    int iterations;
    // Tiles side by side: those of the first input, then those of the second.
    Divisor channel_tiles;
    int first_tiles;
    int reserved;
};

template <class Element, int OUTPUTS, int CHANNELS, int STAGES>
struct HopperWeightGradient {
    static const int VOXELS = 64, VOXELS_LOG = 6;
    static const int PART_BYTES = VOXELS * LINE_BYTES;
    static const int WARPGROUPS = OUTPUTS / LINE, PARTS = CHANNELS / LINE;
    typedef Pipeline<STAGES, (WARPGROUPS + PARTS) * PART_BYTES, WARPGROUPS> Stages;
    static const int THREADS = Stages::THREADS;

    static DEVICE_MEMBER void run(const TensorMaps &maps, const HopperWeightArguments &arguments, char *shared) {
        __shared__ __align__(8) u64 barriers[2 * STAGES];
        const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
        const Geometry &geometry = arguments.geometry;
        const int output_tile = divide(blockIdx.x, arguments.channel_tiles);
        int channel_tile = blockIdx.x - output_tile * arguments.channel_tiles.divisor;
        const int source = channel_tile >= arguments.first_tiles ? 1 : 0;
        if (source) channel_tile -= arguments.first_tiles;
        const int first_output = output_tile * OUTPUTS, first_channel = channel_tile * CHANNELS;
        const int begin = blockIdx.z * arguments.iterations;
        const int count = min(arguments.iterations, arguments.voxel_boxes - begin);
        const Stages stages(shared, barriers);

        if (warp == Stages::CONSUMERS / 32) {
            if (lane == 0) {
                int shift[3];
                tap_shift(geometry, blockIdx.y, shift);
                stages.produce(count, [&](int iteration, u32 tile, u32 barrier) {
                    const Box<VOXELS_LOG> box(arguments.boxes, begin + iteration);
#pragma unroll
                    for (int i = 0; i < WARPGROUPS; i++) {
                        copy_box(tile + i * PART_BYTES, maps.of[0], barrier, first_output + i * LINE,
                                 box.voxel[2], box.voxel[1], box.voxel[0], box.batch);
                    }
                    int at[3];
#pragma unroll
                    for (int axis = 0; axis < 3; axis++) at[axis] = box.voxel[axis] * geometry.stride[axis] + shift[axis];
#pragma unroll
                    for (int i = 0; i < PARTS; i++) {
                        copy_box(tile + (WARPGROUPS + i) * PART_BYTES, maps.of[1 + source], barrier,
                                 first_channel + i * LINE, at[2], at[1], at[0], box.batch);
                    }
                });
            }
            return;
        }
        WarpTile<Element, 16, CHANNELS> tile;
        tile.clear();
        const u32 part = (warp >> 2) * PART_BYTES;
        stages.consume(count, [&](u32 at) {
            const u64 left = describe(at + part, PART_BYTES), right = describe(at + WARPGROUPS * PART_BYTES, PART_BYTES);
#pragma unroll
            // 16 voxels are 16 lines, counted in 16 bytes.
            for (int step = 0; step < VOXELS / 16; step++) {
                multiply_warpgroup<true>(Element{}, tile.sum[0], left + step * LINE_BYTES, right + step * LINE_BYTES);
            }
        });

        const int channels = source ? arguments.channels[1] : arguments.channels[0];
        const int all = arguments.channels[0] + arguments.channels[1];
        float *partial = arguments.partial + (i64)(blockIdx.z * gridDim.y + blockIdx.y) * arguments.outputs * all +
                         (source ? arguments.channels[0] : 0);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int output = first_output + warp * 16 + half * 8 + (lane >> 2);
#pragma unroll
            for (int j = 0; j < CHANNELS / 8; j++) {
                const int channel = first_channel + j * 8 + (lane & 3) * 2;
                // Four lanes fill a sector of 32 bytes.
                if (output < arguments.outputs && channel < channels) {
                    *(float2 *)(partial + (i64)output * all + channel) =
                        make_float2(tile.sum[0][j][2 * half], tile.sum[0][j][2 * half + 1]);
                }
            }
        }
    }
};

// A kernel for one format and tile. Dynamic shared memory: that of the pipeline.
#define HOPPER_WEIGHT_GRADIENT(NAME, ELEMENT, OUTPUTS, CHANNELS, STAGES, BLOCKS)                                     \
    extern "C" __global__ void __launch_bounds__(                                                                    \
        (HopperWeightGradient<ELEMENT, OUTPUTS, CHANNELS, STAGES>::THREADS), BLOCKS)                                 \
        NAME(const __grid_constant__ TensorMaps maps, const HopperWeightArguments arguments) {                       \
        extern __shared__ __align__(16) char shared[];                                                               \
        HopperWeightGradient<ELEMENT, OUTPUTS, CHANNELS, STAGES>::run(maps, arguments, shared);                      \
    }
