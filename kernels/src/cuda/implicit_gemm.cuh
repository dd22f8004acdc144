// Convolution as a matrix product that is never laid out: result[row, o] = sum over (tap, channel) of
// image[voxel of (row, tap), channel] * weight[tap, o, channel], on tensor cores.
//
//   a block's tile            shared memory, STAGES times            device memory
//   +-----------+             left  [ROWS][64 bytes]      <-cp.async- one chunk of channels of one tap, from
//   | ROWS x    |  mma  <---                                          the first or the second input; zeros
//   | COLUMNS   |             right [COLUMNS][64 bytes]   <-cp.async- outside of the image
//   +-----------+                                                     weight[tap][o][channels]
//        |
//        +-> f32 tile in the same shared memory -> bias, moments for batch norm -> 16-byte stores
//
// The summed axis is cut into iterations of one tap and 64 bytes of channels, the last of each input filled
// with zeros. The same kernel is the input gradient of a convolution of stride 1 (mirrored taps, weight
// [tap, channel, o]), a transposed convolution's input gradient, and, with SCATTER, a transposed convolution
// of kernel 2 and stride 2: there columns are (tap, o), each tap of which goes to a voxel of its own.
#pragma once
#include "geometry.cuh"
#include "tile.cuh"

// Byte for byte `ConvolutionArguments` of convolution.rs.
struct ConvolutionArguments {
    // Activations [voxels, pitch]; the second may be null, then channels[1] is 0.
    const void *input[2];
    // [tap, columns, channels of both inputs], of the inputs' format.
    const void *weight;
    // [outputs], or null.
    const float *bias;
    // [rows, output_pitch].
    void *output;
    // [row tiles, 2, columns]: mean and sum of squared deviations of each tile; or null.
    float *moments;
    // [splits, rows, columns]: where given, sums of each split go there in place of the output.
    float *partial;
    Geometry geometry;
    int channels[2];
    int pitch[2];
    // Rows (voxels of the result) and columns of the product.
    int rows;
    int columns;
    int output_pitch;
    // Elements from a tap to the next, and from a column to the next, in the weight.
    int weight_tap;
    int weight_column;
    // Iterations that each blockIdx.z takes.
    int iterations;
    // Tiles side by side.
    Divisor column_tiles;
    // Outputs of each tap, with SCATTER.
    Divisor outputs;
    int reserved[2];
};

// Where the summed axis stands: the same for all threads.
struct Progress {
    int tap[3];
    int index;
    int input;
    int channel;

    DEVICE_MEMBER void start(const ConvolutionArguments &arguments, int iteration, int first, int second) {
        const int blocks = first + second;
        index = iteration / blocks;
        const int block = iteration - index * blocks;
        input = block >= first ? 1 : 0;
        channel = block - (input ? first : 0);
        int rest = index;
        tap[2] = rest % arguments.geometry.kernel[2];
        rest /= arguments.geometry.kernel[2];
        tap[1] = rest % arguments.geometry.kernel[1];
        tap[0] = rest / arguments.geometry.kernel[1];
    }

    DEVICE_MEMBER void next(const ConvolutionArguments &arguments, int step) {
        channel += step;
        if (channel < arguments.channels[input]) return;
        channel = 0;
        if (input == 0 && arguments.channels[1] > 0) {
            input = 1;
            return;
        }
        input = 0;
        index++;
        if (++tap[2] < arguments.geometry.kernel[2]) return;
        tap[2] = 0;
        if (++tap[1] < arguments.geometry.kernel[1]) return;
        tap[1] = 0;
        tap[0]++;
    }
};

// A bit for each tap of each axis at which a row's voxel lies in the image: 10 taps an axis.
DEVICE u32 taps_inside(const Geometry &geometry, const int (&origin)[3]) {
    u32 inside = 0;
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
#pragma unroll 1
        for (int tap = 0; tap < geometry.kernel[axis]; tap++) {
            const int position = origin[axis] + tap * geometry.dilation[axis];
            if (position >= 0 && position < geometry.image[axis]) inside |= 1u << (axis * 10 + tap);
        }
    }
    return inside;
}

// Mean and sum of squared deviations of each column of a tile of f32, in a fixed order. All threads of the block come
// here; with IDLERS those after THREADS do nothing.
template <int ROWS, int COLUMNS, int THREADS, bool IDLERS = false>
DEVICE void tile_moments(float *tile, int pitch, int rows, int columns, float *moments, int all_columns) {
    static_assert(THREADS % COLUMNS == 0, "whole lanes");
    const int LANES = THREADS / COLUMNS;
    const int column = threadIdx.x % COLUMNS, lane = threadIdx.x / COLUMNS;
    const bool idle = IDLERS && lane >= LANES;
    __shared__ float parts[LANES][COLUMNS];
    float sum = 0.0f;
#pragma unroll 4
    for (int row = lane; row < rows; row += LANES) sum += tile[row * pitch + column];
    if (!idle) parts[lane][column] = sum;
    __syncthreads();
    sum = 0.0f;
#pragma unroll
    for (int i = 0; i < LANES; i++) sum += parts[i][column];
    const float mean = sum / (float)rows;
    __syncthreads();
    float squares = 0.0f;
#pragma unroll 4
    for (int row = lane; row < rows; row += LANES) {
        const float deviation = tile[row * pitch + column] - mean;
        squares += deviation * deviation;
    }
    if (!idle) parts[lane][column] = squares;
    __syncthreads();
    if (lane == 0 && column < columns) {
        squares = 0.0f;
#pragma unroll
        for (int i = 0; i < LANES; i++) squares += parts[i][column];
        moments[column] = mean;
        moments[all_columns + column] = squares;
    }
}

template <class Element, int ROWS, int COLUMNS, int WARP_ROWS, int WARP_COLUMNS, int STAGES, bool SCATTER>
struct ImplicitGemm {
    static const int WARPS_ALONG_ROWS = ROWS / WARP_ROWS;
    static const int THREADS = WARPS_ALONG_ROWS * (COLUMNS / WARP_COLUMNS) * 32;
    // Channels of one iteration.
    static const int STEP = ROW_BYTES / sizeof(Element);
    static const int WIDE = Wide<Element>::COUNT;
    // Rows that all threads fetch at once, four a row.
    static const int FETCHED = THREADS / CHUNKS;
    static const int STAGE_BYTES = (ROWS + COLUMNS) * ROW_BYTES;
    static const int PITCH = COLUMNS + 8;
    static const int PIPELINE_BYTES = STAGES * STAGE_BYTES, TILE_BYTES = ROWS * PITCH * 4;
    static const int SHARED_BYTES = PIPELINE_BYTES > TILE_BYTES ? PIPELINE_BYTES : TILE_BYTES;
    static_assert(ROWS % FETCHED == 0 && COLUMNS % FETCHED == 0, "whole fetches");

    static DEVICE_MEMBER void run(const ConvolutionArguments &arguments, char *shared) {
        const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
        const int row_tile = divide(blockIdx.x, arguments.column_tiles);
        const int column_tile = blockIdx.x - row_tile * arguments.column_tiles.divisor;
        const int first_row = row_tile * ROWS, first_column = column_tile * COLUMNS;
        const Geometry &geometry = arguments.geometry;

        const int blocks_a = (arguments.channels[0] + STEP - 1) / STEP;
        const int blocks_b = (arguments.channels[1] + STEP - 1) / STEP;
        const int taps = geometry.kernel[0] * geometry.kernel[1] * geometry.kernel[2];
        const int begin = blockIdx.z * arguments.iterations;
        const int count = min(arguments.iterations, taps * (blocks_a + blocks_b) - begin);

        // What this thread fetches: chunk `chunk` of rows thread / CHUNKS, + FETCHED, ...
        const int chunk = thread % CHUNKS, fetched = thread / CHUNKS;
        int base[ROWS / FETCHED];
        u32 inside[ROWS / FETCHED];
#pragma unroll
        for (int i = 0; i < ROWS / FETCHED; i++) {
            const int row = first_row + fetched + i * FETCHED;
            base[i] = 0;
            inside[i] = 0;
            if (row < arguments.rows) {
                const Row at = row_at(row, geometry);
                int origin[3];
#pragma unroll
                for (int axis = 0; axis < 3; axis++) {
                    origin[axis] = at.voxel[axis] * geometry.stride[axis] - geometry.low[axis];
                }
                base[i] = voxel_index(geometry, at.batch, origin[0], origin[1], origin[2]);
                inside[i] = taps_inside(geometry, origin);
            }
        }

        Progress progress;
        progress.start(arguments, begin, blocks_a, blocks_b);
        progress.channel *= STEP;
        const u32 base_address = shared_address(shared);
        auto fetch = [&](int stage) {
            const u32 left = base_address + stage * STAGE_BYTES, right = left + ROWS * ROW_BYTES;
            const int channel = progress.channel + chunk * WIDE;
            const bool in_channels = channel < arguments.channels[progress.input];
            const u32 needed =
                1u << progress.tap[0] | 1u << (10 + progress.tap[1]) | 1u << (20 + progress.tap[2]);
            const int ahead = voxel_index(geometry, 0, progress.tap[0] * geometry.dilation[0],
                                          progress.tap[1] * geometry.dilation[1],
                                          progress.tap[2] * geometry.dilation[2]);
            const Element *image = (const Element *)arguments.input[progress.input];
            const i64 pitch = arguments.pitch[progress.input];
#pragma unroll
            for (int i = 0; i < ROWS / FETCHED; i++) {
                const bool valid = in_channels && (inside[i] & needed) == needed;
                const Element *from = valid ? image + (base[i] + ahead) * pitch + channel : image;
                copy_async(left + swizzled(fetched + i * FETCHED, chunk), from, valid);
            }
            const Element *weight = (const Element *)arguments.weight;
            const i64 tap = (i64)progress.index * arguments.weight_tap;
            const int offset = (progress.input ? arguments.channels[0] : 0) + channel;
#pragma unroll
            for (int i = 0; i < COLUMNS / FETCHED; i++) {
                const int column = first_column + fetched + i * FETCHED;
                const bool valid = in_channels && column < arguments.columns;
                const Element *from =
                    valid ? weight + tap + (i64)column * arguments.weight_column + offset : weight;
                copy_async(right + swizzled(fetched + i * FETCHED, chunk), from, valid);
            }
            progress.next(arguments, STEP);
        };

        WarpTile<Element, WARP_ROWS, WARP_COLUMNS> tile;
        tile.clear();
        const int warp_row = warp % WARPS_ALONG_ROWS * WARP_ROWS;
        const int warp_column = warp / WARPS_ALONG_ROWS * WARP_COLUMNS;
        // Groups are counted, so empty ones are closed too.
#pragma unroll 1
        for (int stage = 0; stage < STAGES - 1; stage++) {
            if (stage < count) fetch(stage);
            commit_copies();
        }
        int stage = 0, ahead = STAGES - 1;
#pragma unroll 1
        for (int iteration = 0; iteration < count; iteration++) {
            wait_for_copies<STAGES - 2>();
            // Also: all have read the stage that is filled next.
            __syncthreads();
            if (iteration + STAGES - 1 < count) fetch(ahead);
            commit_copies();
            const u32 left = base_address + stage * STAGE_BYTES, right = left + ROWS * ROW_BYTES;
            tile.accumulate(left + warp_row * ROW_BYTES, right + warp_column * ROW_BYTES, lane);
            stage = stage + 1 == STAGES ? 0 : stage + 1;
            ahead = ahead + 1 == STAGES ? 0 : ahead + 1;
        }
        wait_for_copies<0>();
        __syncthreads();

        float *result = (float *)shared;
        const int columns = min(COLUMNS, arguments.columns - first_column);
        const int rows = min(ROWS, arguments.rows - first_row);
        const bool biased = arguments.partial == nullptr && arguments.bias != nullptr;
        auto bias = [&](int column) {
            u32 channel = first_column + warp_column + column;
            if (!biased || channel >= (u32)arguments.columns) return 0.0f;
            if constexpr (SCATTER) split(channel, arguments.outputs);
            return arguments.bias[channel];
        };
        tile.spill(result + warp_row * PITCH + warp_column, PITCH, lane, bias);
        __syncthreads();

        if (arguments.partial != nullptr) {
            float *partial = arguments.partial + ((i64)blockIdx.z * arguments.rows + first_row) * arguments.columns;
#pragma unroll 1
            for (int at = thread; at < ROWS * COLUMNS / 4; at += THREADS) {
                const int row = at / (COLUMNS / 4), column = at % (COLUMNS / 4) * 4;
                if (row < rows && column < columns) {
                    *(float4 *)(partial + (i64)row * arguments.columns + first_column + column) =
                        *(const float4 *)(result + row * PITCH + column);
                }
            }
            return;
        }
        write(arguments, result, first_row, first_column, rows, columns);
        if (!SCATTER && arguments.moments != nullptr) {
            tile_moments<ROWS, COLUMNS, THREADS>(
                result, PITCH, rows, columns,
                arguments.moments + (i64)row_tile * 2 * arguments.columns + first_column, arguments.columns);
        }
    }

    static DEVICE_MEMBER void write(const ConvolutionArguments &arguments, const float *result, int first_row,
                                    int first_column, int rows, int columns) {
        Element *output = (Element *)arguments.output;
#pragma unroll 1
        for (int at = threadIdx.x; at < ROWS * COLUMNS / WIDE; at += THREADS) {
            const int row = at / (COLUMNS / WIDE), column = at % (COLUMNS / WIDE) * WIDE;
            float values[WIDE];
            const float *from = result + row * PITCH + column;
            load_shared(values, from);
            if (row >= rows || column >= columns) continue;
            i64 voxel = first_row + row;
            u32 channel = first_column + column;
            if constexpr (SCATTER) {
                voxel = doubled_index(arguments.geometry, first_row + row, split(channel, arguments.outputs));
            }
            store(output + voxel * arguments.output_pitch + channel, values);
        }
    }
};

// A kernel for one format and tile. Dynamic shared memory: SHARED_BYTES.
#define IMPLICIT_GEMM(NAME, ELEMENT, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, STAGES, SCATTER, BLOCKS)            \
    extern "C" __global__ void __launch_bounds__(                                                              \
        (ImplicitGemm<ELEMENT, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, STAGES, SCATTER>::THREADS), BLOCKS)     \
        NAME(const ConvolutionArguments arguments) {                                                           \
        extern __shared__ __align__(16) char shared[];                                                         \
        ImplicitGemm<ELEMENT, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, STAGES, SCATTER>::run(arguments, shared); \
    }
