// Sums per channel: a bias's gradient, and the second stage of every sum per channel.
#include "channels.cuh"

// Byte for byte `ChannelSumsArguments` of channels.rs.
struct ChannelSumsArguments {
    const void *input;
    // [pieces, channels].
    float *sums;
    Channels shape;
};

template <class Element, int COUNT>
DEVICE void channel_sums(const ChannelSumsArguments &arguments) {
    const Channels &shape = arguments.shape;
    const Place<COUNT> place(shape, blockIdx.x);
    const Element *input = (const Element *)arguments.input + place.channel;
    float sums[1][COUNT] = {};
#pragma unroll 4
    for (int row = place.first; row < place.end; row += shape.lanes) {
        float value[COUNT];
        load(value, input + (i64)row * shape.pitch);
#pragma unroll
        for (int i = 0; i < COUNT; i++) sums[0][i] += value[i];
    }
    write_sums(shape, place, sums, arguments.sums + (i64)blockIdx.x * shape.channels);
}

#define FORMAT(SUFFIX, ELEMENT, COUNT)                                                                               \
    extern "C" __global__ void __launch_bounds__(256) channel_sums_##SUFFIX(const ChannelSumsArguments arguments) { \
        channel_sums<ELEMENT, COUNT>(arguments);                                                                     \
    }
FORMAT(f32, float, 4)
FORMAT(bf16, Bf16, 8)
FORMAT(f32_odd, float, 1)
FORMAT(bf16_odd, Bf16, 1)

// Byte for byte `SumsFinishArguments` of channels.rs.
struct SumsFinishArguments {
    // [batches, pieces, width].
    const float *partial;
    // [batches, width], times `scale`.
    void *sums;
    int pieces;
    int width;
    float scale;
    int reserved;
};

static const int COLUMNS = 32, LANES = 16;

// Adds the pieces in f64, 16 threads a column, each every sixteenth piece, in order. Grid: groups of 32
// columns, batches; 512 threads.
template <class Element>
DEVICE void finish_sums(const SumsFinishArguments &arguments) {
    __shared__ double parts[LANES][COLUMNS];
    const int lane = threadIdx.x / COLUMNS, column = blockIdx.x * COLUMNS + threadIdx.x % COLUMNS;
    const float *partial = arguments.partial + (i64)blockIdx.y * arguments.pieces * arguments.width + column;
    double sum = 0.0;
    if (column < arguments.width) {
        for (int piece = lane; piece < arguments.pieces; piece += LANES) {
            sum += (double)partial[(i64)piece * arguments.width];
        }
    }
    parts[lane][threadIdx.x % COLUMNS] = sum;
    __syncthreads();
    if (lane > 0 || column >= arguments.width) return;
    sum = 0.0;
    for (int i = 0; i < LANES; i++) sum += parts[i][threadIdx.x];
    ((Element *)arguments.sums)[(i64)blockIdx.y * arguments.width + column] =
        narrow<Element>((float)(sum * (double)arguments.scale));
}

extern "C" __global__ void __launch_bounds__(512) channel_sums_finish_f32(const SumsFinishArguments arguments) {
    finish_sums<float>(arguments);
}
extern "C" __global__ void __launch_bounds__(512) channel_sums_finish_bf16(const SumsFinishArguments arguments) {
    finish_sums<Bf16>(arguments);
}
