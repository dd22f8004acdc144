// Elementwise activations, and the gradient of PReLU's slopes.
#include "channels.cuh"
#include "geometry.cuh"

static const int RELU = 0, PRELU = 1, ELU = 2, SIGMOID = 3;

// Byte for byte `ActivationArguments` of activation/cuda.rs.
struct ActivationArguments {
    // x; backward what was kept: y, for PReLU x.
    const void *input;
    // dy, backward.
    const void *gradient;
    void *output;
    // PReLU's slopes, [slopes].
    const float *slopes;
    u64 elements;
    Divisor slope_count;
    int kind;
};

template <class Element, int COUNT, bool BACKWARD>
DEVICE void activation(const ActivationArguments &arguments) {
    const u64 at = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * COUNT;
    if (at >= arguments.elements) return;
    float value[COUNT], gradient[COUNT];
    load(value, (const Element *)arguments.input + at);
    if constexpr (BACKWARD) load(gradient, (const Element *)arguments.gradient + at);
    u32 channel = arguments.kind == PRELU ? (u32)(at % arguments.slope_count.divisor) : 0;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        const float x = value[i];
        float slope = 0.0f;
        if (arguments.kind == PRELU) {
            slope = arguments.slopes[channel];
            channel = channel + 1 == arguments.slope_count.divisor ? 0 : channel + 1;
        }
        if constexpr (BACKWARD) {
            const float d = gradient[i];
            // Choices, not products: an infinite dy must not become NaN where the slope is 0.
            if (arguments.kind == RELU) value[i] = x <= 0.0f ? 0.0f : d;
            if (arguments.kind == PRELU) value[i] = x > 0.0f ? d : slope * d;
            if (arguments.kind == ELU) value[i] = x > 0.0f ? d : d * (x + 1.0f);
            if (arguments.kind == SIGMOID) value[i] = d * x * (1.0f - x);
        } else {
            if (arguments.kind == RELU) value[i] = x < 0.0f ? 0.0f : x;
            if (arguments.kind == PRELU) value[i] = x > 0.0f ? x : slope * x;
            if (arguments.kind == ELU) value[i] = x > 0.0f ? x : expm1f(x);
            if (arguments.kind == SIGMOID) value[i] = 1.0f / (1.0f + expf(-x));
        }
    }
    store((Element *)arguments.output + at, value);
}

// Byte for byte `SlopeArguments` of activation/cuda.rs.
struct SlopeArguments {
    const void *input;
    const void *gradient;
    // [pieces, channels]; `channel_sums_finish_f32` adds the pieces.
    float *sums;
    Channels shape;
};

template <class Element, int COUNT>
DEVICE void slope_sums(const SlopeArguments &arguments) {
    const Channels &shape = arguments.shape;
    const Place<COUNT> place(shape, blockIdx.x);
    const Element *input = (const Element *)arguments.input + place.channel;
    const Element *gradient = (const Element *)arguments.gradient + place.channel;
    float sums[1][COUNT] = {};
    for (int row = place.first; row < place.end; row += shape.lanes) {
        float x[COUNT], d[COUNT];
        load(x, input + (i64)row * shape.pitch);
        load(d, gradient + (i64)row * shape.pitch);
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            if (!(x[i] > 0.0f)) sums[0][i] = fmaf(x[i], d[i], sums[0][i]);
        }
    }
    write_sums(shape, place, sums, arguments.sums + (i64)blockIdx.x * shape.channels);
}

#define FORMAT(SUFFIX, ELEMENT, COUNT)                                                                               \
    extern "C" __global__ void __launch_bounds__(256) activation_##SUFFIX(const ActivationArguments a) {             \
        activation<ELEMENT, COUNT, false>(a);                                                                        \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256) activation_gradient_##SUFFIX(const ActivationArguments a) {    \
        activation<ELEMENT, COUNT, true>(a);                                                                         \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256) activation_slope_sums_##SUFFIX(const SlopeArguments a) {       \
        slope_sums<ELEMENT, COUNT>(a);                                                                               \
    }
FORMAT(f32, float, 4)
FORMAT(bf16, Bf16, 8)
FORMAT(f32_odd, float, 1)
FORMAT(bf16_odd, Bf16, 1)
