// What stands before and after the products: packed weights, and sums of splits in a fixed order.
#include "element.cuh"
#include "geometry.cuh"

// Threads of a block, and rows of a matrix that it turns.
static const int THREADS = 256, ROWS = 32;

// Where element `column` of a row lies in a tile of 32 rows of `columns`, row after row, so that 32 neighbours in
// a row and 32 rows of a column lie in 32 banks. An odd number of columns sees to that by itself; of an even one,
// 2^n times an odd one, groups of 2^n columns are permuted.
DEVICE int turned(int row, int column, int columns) {
    const int power = min(columns & -columns, 32);
    return row * columns + (column ^ row * power >> 5);
}

// Byte for byte `PackArguments` of packing.rs.
struct PackArguments {
    // [batches, rows, columns, taps], f32, by the steps below; columns with their taps lie side by side.
    const float *weight;
    // [taps, batches, columns, pitch]: rows side by side, zeros beyond them.
    void *packed;
    i64 batch_step;
    i64 row_step;
    int rows;
    int columns;
    int taps;
    int pitch;
    // Taps in the opposite order, for the input gradient.
    int mirrored;
    int reserved;
};

// Pairs of column and tap that a block turns.
static const int PACK_PAIRS = 64;

// Turns matrices of rows by (column, tap) around. Grid: tiles of rows, tiles of pairs, batches.
template <class Element>
DEVICE void pack_weights(const PackArguments &arguments) {
    __shared__ float tile[ROWS * PACK_PAIRS];
    const int first_row = blockIdx.x * ROWS, first_pair = blockIdx.y * PACK_PAIRS, taps = arguments.taps;
    const int pairs = min(PACK_PAIRS, arguments.columns * taps - first_pair);
    const int rows = min(ROWS, arguments.rows - first_row);
    const float *weight = arguments.weight + blockIdx.z * arguments.batch_step + first_pair;
    for (int at = threadIdx.x; at < rows * pairs; at += THREADS) {
        const int row = at / pairs, pair = at - row * pairs;
        tile[turned(row, pair, pairs)] = weight[(first_row + row) * arguments.row_step + pair];
    }
    __syncthreads();
    Element *packed = (Element *)arguments.packed + first_row;
    const int row = threadIdx.x % ROWS;
    if (first_row + row >= arguments.pitch) return;
    for (int pair = threadIdx.x / ROWS; pair < pairs; pair += THREADS / ROWS) {
        const int column = (first_pair + pair) / taps, from = first_pair + pair - column * taps;
        const int tap = arguments.mirrored ? taps - 1 - from : from;
        const i64 to = ((i64)tap * gridDim.z + blockIdx.z) * arguments.columns + column;
        packed[to * arguments.pitch + row] = narrow<Element>(row < rows ? tile[turned(row, pair, pairs)] : 0.0f);
    }
}

#define PACK(FORMAT, ELEMENT)                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS) conv3d_pack_##FORMAT(const PackArguments arguments) {     \
        pack_weights<ELEMENT>(arguments);                                                                           \
    }
PACK(bf16, Bf16)
PACK(f16, F16)
PACK(f32, float)

// Byte for byte `WeightReduceArguments` of weight_gradient.rs.
struct WeightReduceArguments {
    // [splits, taps, pitch]: a row holds [outputs, channels].
    const float *partial;
    // [outputs, channels, taps], PyTorch's layout.
    float *gradient;
    i64 split;
    int splits;
    int taps;
    // outputs * channels.
    int elements;
    int pitch;
};

// Taps that a block takes at once.
static const int REDUCED_TAPS = 32;

// Adds the splits in order and turns the layout. Grid: tiles of 32 elements, of 32 taps.
extern "C" __global__ void __launch_bounds__(THREADS) conv3d_weight_reduce(const WeightReduceArguments arguments) {
    __shared__ float tile[ROWS * REDUCED_TAPS];
    const int first = blockIdx.x * ROWS, first_tap = blockIdx.y * REDUCED_TAPS;
    const int elements = min(ROWS, arguments.elements - first), taps = min(REDUCED_TAPS, arguments.taps - first_tap);
    const int element = threadIdx.x % ROWS;
    for (int tap = threadIdx.x / ROWS; tap < taps && element < elements; tap += THREADS / ROWS) {
        const float *from = arguments.partial + (i64)(first_tap + tap) * arguments.pitch + first + element;
        float sum = 0.0f;
#pragma unroll 4
        for (int i = 0; i < arguments.splits; i++) sum += from[i * arguments.split];
        tile[turned(element, tap, taps)] = sum;
    }
    __syncthreads();
    float *to = arguments.gradient + (i64)first * arguments.taps + first_tap;
    for (int at = threadIdx.x; at < elements * taps; at += THREADS) {
        const int row = at / taps, tap = at - row * taps;
        to[(i64)row * arguments.taps + tap] = tile[turned(row, tap, taps)];
    }
}

// Byte for byte `ReduceArguments` of convolution.rs.
struct ReduceArguments {
    // [splits, rows, columns].
    const float *partial;
    // [columns], or null.
    const float *bias;
    // [rows, output_pitch].
    void *output;
    i64 elements;
    Divisor columns;
    int splits;
    int output_pitch;
    int reserved;
};

// Adds the splits in order, then the bias: four columns a thread. Columns come in fours.
template <class Element>
DEVICE void reduce_splits(const ReduceArguments &arguments) {
    const i64 at = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (at >= arguments.elements) return;
    // Elements of what is split fit 31 bits: see convolution.rs.
    u32 column = (u32)at;
    const u32 row = split(column, arguments.columns);
    float sum[4];
    load(sum, arguments.partial + at);
    for (int i = 1; i < arguments.splits; i++) {
        float part[4];
        load(part, arguments.partial + i * arguments.elements + at);
#pragma unroll
        for (int j = 0; j < 4; j++) sum[j] += part[j];
    }
    if (arguments.bias != nullptr) {
        float bias[4];
        load_parameters(bias, arguments.bias + column);
#pragma unroll
        for (int j = 0; j < 4; j++) sum[j] += bias[j];
    }
    store((Element *)arguments.output + (i64)row * arguments.output_pitch + column, sum);
}

#define REDUCE(FORMAT, ELEMENT)                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) conv3d_reduce_##FORMAT(const ReduceArguments arguments) {   \
        reduce_splits<ELEMENT>(arguments);                                                                        \
    }
REDUCE(bf16, Bf16)
REDUCE(f16, F16)
REDUCE(tf32, Tf32)
