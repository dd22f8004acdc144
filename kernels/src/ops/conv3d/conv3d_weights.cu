// What stands before and after the products: packed weights, and sums of splits in a fixed order.
#include "element.cuh"
#include "geometry.cuh"

// Byte for byte `PackArguments` of convolution.rs.
struct PackArguments {
    // [first, second, taps], PyTorch's layout.
    const float *weight;
    // [taps, first, second], transposed: [taps, second, first].
    void *packed;
    int first;
    int second;
    int taps;
    int transposed;
    // Taps in the opposite order, for the input gradient.
    int mirrored;
    int reserved;
};

static const int PACK_TILE = 16;

// A block turns 16 x 16 channels with all their taps. Grid: tiles of `second`, tiles of `first`; 256 threads;
// shared memory: [16, 16 * taps] floats.
template <class Element>
DEVICE void pack_weights(const PackArguments &arguments, float *tile) {
    const int first = blockIdx.y * PACK_TILE, second = blockIdx.x * PACK_TILE, taps = arguments.taps;
    const int rows = min(PACK_TILE, arguments.first - first), columns = min(PACK_TILE, arguments.second - second);
    for (int at = threadIdx.x; at < PACK_TILE * PACK_TILE * taps; at += blockDim.x) {
        const int row = at / (PACK_TILE * taps), rest = at - row * PACK_TILE * taps;
        if (row < rows && rest < columns * taps) {
            tile[at] = arguments.weight[((i64)(first + row) * arguments.second + second) * taps + rest];
        }
    }
    __syncthreads();
    Element *packed = (Element *)arguments.packed;
    for (int at = threadIdx.x; at < PACK_TILE * PACK_TILE * taps; at += blockDim.x) {
        const int fast = at % PACK_TILE, slow = at / PACK_TILE % PACK_TILE, tap = at / (PACK_TILE * PACK_TILE);
        const int row = arguments.transposed ? fast : slow, column = arguments.transposed ? slow : fast;
        if (row >= rows || column >= columns) continue;
        const int from = arguments.mirrored ? taps - 1 - tap : tap;
        const float value = tile[row * PACK_TILE * taps + column * taps + from];
        const i64 to = arguments.transposed
                           ? ((i64)tap * arguments.second + second + column) * arguments.first + first + row
                           : ((i64)tap * arguments.first + first + row) * arguments.second + second + column;
        packed[to] = narrow<Element>(value);
    }
}

#define PACK(FORMAT, ELEMENT)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) conv3d_pack_##FORMAT(const PackArguments arguments) {         \
        extern __shared__ __align__(16) float tile[];                                                               \
        pack_weights<ELEMENT>(arguments, tile);                                                                     \
    }
PACK(bf16, Bf16)
PACK(f16, F16)
PACK(tf32, Tf32)

// Byte for byte `WeightReduceArguments` of weight_gradient.rs.
struct WeightReduceArguments {
    // [splits, taps, outputs, channels].
    const float *partial;
    // [outputs, channels, taps], PyTorch's layout.
    float *gradient;
    int splits;
    int taps;
    int outputs;
    int channels;
};

// Adds the splits in order and turns the layout, 32 channels a block. Grid: tiles of channels, outputs; 256
// threads; shared memory: [32 * taps] floats.
extern "C" __global__ void __launch_bounds__(256) conv3d_weight_reduce(const WeightReduceArguments arguments) {
    extern __shared__ __align__(16) float tile[];
    const int first = blockIdx.x * 32, taps = arguments.taps;
    const int channels = min(32, arguments.channels - first);
    const i64 split = (i64)taps * arguments.outputs * arguments.channels;
    for (int at = threadIdx.x; at < 32 * taps; at += blockDim.x) {
        const int channel = at % 32, tap = at / 32;
        if (channel >= channels) continue;
        const float *from =
            arguments.partial + ((i64)tap * arguments.outputs + blockIdx.y) * arguments.channels + first + channel;
        float sum = 0.0f;
#pragma unroll 4
        for (int i = 0; i < arguments.splits; i++) sum += from[i * split];
        tile[channel * taps + tap] = sum;
    }
    __syncthreads();
    float *to = arguments.gradient + ((i64)blockIdx.y * arguments.channels + first) * taps;
    for (int at = threadIdx.x; at < channels * taps; at += blockDim.x) to[at] = tile[at];
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
#pragma unroll
        for (int j = 0; j < 4; j++) sum[j] += arguments.bias[column + j];
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
