// The product of implicit_gemm.cuh for compute capability 9.0: rows are boxes of voxels, which the tensor memory
// accelerator copies with their zeros outside of the image, and warpgroups multiply straight from shared memory.
//
//   a block's tile            shared memory, STAGES times            device memory
//   +-----------+             left  [128 rows][128 bytes]     <-box- 64 channels of one tap: a box of voxels of the
//   | 128 x     |  wgmma <---                                        first or the second input, shifted by the tap
//   | COLUMNS   |             right [COLUMNS][128 bytes]      <-box- weight[tap][o][channels]
//   +-----------+
//        |
//        +-> f32 tile in the same shared memory -> bias, moments for batch norm -> 16-byte stores
//
// A box is [batch, depth, height, width], powers of two that make 128; rows beyond the result are not stored.
#pragma once
#include "implicit_gemm.cuh"
#include "warpgroup.cuh"

// Maps: the activations [batch, depth, height, width, channels], of one input both the same, and the weight [taps,
// columns, channels of both inputs]; boxes of 64 channels.
//
// Byte for byte `HopperArguments` of hopper.rs.
struct HopperArguments {
    const float *bias;
    // [rows, output_pitch].
    void *output;
    // [row tiles, 2, columns], or null; only where boxes fill the result.
    float *moments;
    // [splits, rows, columns], or null.
    float *partial;
    Geometry geometry;
    Boxes boxes;
    // Of each input, in lines.
    int lines[2];
    int rows;
    int columns;
    int output_pitch;
    // Iterations that each blockIdx.z takes.
    int iterations;
    Divisor column_tiles;
    // Outputs of each tap, with SCATTER.
    Divisor outputs;
};

template <class Element, int COLUMNS, int STAGES, bool SCATTER>
struct HopperProduct {
    static const int ROWS = 128, ROWS_LOG = 7;
    static const int STAGE_BYTES = (ROWS + COLUMNS) * LINE_BYTES;
    typedef Pipeline<STAGES, STAGE_BYTES, 2> Stages;
    static const int THREADS = Stages::THREADS;
    static const int PITCH = COLUMNS + 8;
    static_assert(STAGES * STAGE_BYTES >= ROWS * PITCH * 4, "the result lies where the stages were");

    static DEVICE_MEMBER void run(const TensorMaps &maps, const HopperArguments &arguments, char *shared) {
        __shared__ __align__(8) u64 barriers[2 * STAGES];
        const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
        const int row_tile = divide(blockIdx.x, arguments.column_tiles);
        const int column_tile = blockIdx.x - row_tile * arguments.column_tiles.divisor;
        const int first_column = column_tile * COLUMNS;
        const Geometry &geometry = arguments.geometry;
        const Box<ROWS_LOG> box(arguments.boxes, row_tile);
        const int lines = arguments.lines[0] + arguments.lines[1];
        const int taps = geometry.kernel[0] * geometry.kernel[1] * geometry.kernel[2];
        const int begin = blockIdx.z * arguments.iterations;
        const int count = min(arguments.iterations, taps * lines - begin);
        const Stages stages(shared, barriers);
        float *result = (float *)(shared + (stages.tiles - shared_address(shared)));

        if (warp == Stages::CONSUMERS / 32) {
            if (lane == 0) {
                int origin[3];
#pragma unroll
                for (int axis = 0; axis < 3; axis++) {
                    origin[axis] = box.voxel[axis] * geometry.stride[axis] - geometry.low[axis];
                }
                int tap = begin / lines, line = begin - tap * lines, at[3];
                at[2] = tap % geometry.kernel[2];
                at[1] = tap / geometry.kernel[2] % geometry.kernel[1];
                at[0] = tap / geometry.kernel[2] / geometry.kernel[1];
                stages.produce(count, [&](int, u32 tile, u32 barrier) {
                    const bool second = line >= arguments.lines[0];
                    const int channel = (second ? line - arguments.lines[0] : line) * LINE;
                    copy_box(tile, maps.of[second], barrier, channel,
                             origin[2] + at[2] * geometry.dilation[2], origin[1] + at[1] * geometry.dilation[1],
                             origin[0] + at[0] * geometry.dilation[0], box.batch);
                    copy_box(tile + ROWS * LINE_BYTES, maps.of[2], barrier, line * LINE, first_column, tap);
                    if (++line < lines) return;
                    line = 0;
                    tap++;
                    if (++at[2] < geometry.kernel[2]) return;
                    at[2] = 0;
                    if (++at[1] < geometry.kernel[1]) return;
                    at[1] = 0;
                    at[0]++;
                });
            }
            __syncwarp();
            __syncthreads();
        } else {
            WarpTile<Element, 16, COLUMNS> tile;
            tile.clear();
            const u32 first_line = (warp >> 2) * 64 * LINE_BYTES;
            stages.consume(count, [&](u32 at) {
                const u64 left = describe(at + first_line, 0), right = describe(at + ROWS * LINE_BYTES, 0);
#pragma unroll
                // 16 elements are 32 bytes, counted in 16.
                for (int step = 0; step < LINE / 16; step++) {
                    multiply_warpgroup<false>(Element{}, tile.sum[0], left + 2 * step, right + 2 * step);
                }
            });
            // The other warpgroup reads the same columns of the stages.
            __syncthreads();
            const bool biased = arguments.partial == nullptr && arguments.bias != nullptr;
            auto bias = [&](int column) {
                u32 channel = first_column + column;
                if (!biased || channel >= (u32)arguments.columns) return 0.0f;
                if constexpr (SCATTER) split(channel, arguments.outputs);
                return arguments.bias[channel];
            };
            tile.spill(result + warp * 16 * PITCH, PITCH, lane, bias);
        }
        __syncthreads();
        if (arguments.partial != nullptr) {
            float *partial = arguments.partial + (i64)blockIdx.z * arguments.rows * arguments.columns;
            const auto keep = [&](int row, int column, const float(&values)[4]) {
                store(partial + (i64)row * arguments.columns + column, values);
            };
            deal<4>(arguments, box, result, first_column, keep);
            return;
        }
        deal<8>(arguments, box, result, first_column, [&](int row, u32 column, const float(&values)[8]) {
            i64 voxel = row;
            if constexpr (SCATTER) voxel = doubled_index(geometry, row, split(column, arguments.outputs));
            store((Element *)arguments.output + voxel * arguments.output_pitch + column, values);
        });
        if (!SCATTER && arguments.moments != nullptr) {
            tile_moments<ROWS, COLUMNS, Stages::CONSUMERS, true>(
                result, PITCH, ROWS, min(COLUMNS, arguments.columns - first_column),
                arguments.moments + (i64)row_tile * 2 * arguments.columns + first_column, arguments.columns);
        }
    }

    // Calls `take(row, column, values)` for WIDE columns of the result's rows at a time.
    template <int WIDE, class Take>
    static DEVICE_MEMBER void deal(const HopperArguments &arguments, const Box<ROWS_LOG> &box, const float *result,
                                   int first_column, const Take &take) {
#pragma unroll 1
        for (int at = threadIdx.x; at < ROWS * COLUMNS / WIDE; at += THREADS) {
            const int row = at / (COLUMNS / WIDE), column = at % (COLUMNS / WIDE) * WIDE;
            float values[WIDE];
            load_shared(values, result + row * PITCH + column);
            const int index = box.row(arguments.boxes, arguments.geometry, row);
            if (index >= 0 && first_column + column < arguments.columns) take(index, first_column + column, values);
        }
    }
};

// A kernel for one format and tile. Dynamic shared memory: that of the pipeline.
#define HOPPER_PRODUCT(NAME, ELEMENT, COLUMNS, STAGES, SCATTER, BLOCKS)                                              \
    extern "C" __global__ void __launch_bounds__((HopperProduct<ELEMENT, COLUMNS, STAGES, SCATTER>::THREADS), BLOCKS)\
        NAME(const __grid_constant__ TensorMaps maps, const HopperArguments arguments) {                             \
        extern __shared__ __align__(16) char shared[];                                                               \
        HopperProduct<ELEMENT, COLUMNS, STAGES, SCATTER>::run(maps, arguments, shared);                              \
    }
