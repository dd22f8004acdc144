// Loops over memory: fill, cast, scaled sums, copies of slices of channels, broadcast over voxels.
#include "element.cuh"
#include "geometry.cuh"

// Byte for byte `ElementwiseArguments` of elementwise.rs.
struct ElementwiseArguments {
    const void *input;
    void *output;
    // A factor on the device, or null.
    const float *factor;
    u64 elements;
    float value;
    int reserved;
};

#define ELEMENTWISE(NAME) extern "C" __global__ void __launch_bounds__(256) NAME(const ElementwiseArguments arguments)

template <class To>
DEVICE void fill(const ElementwiseArguments &arguments) {
    const u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < arguments.elements) ((To *)arguments.output)[at] = narrow<To>(arguments.value);
}
ELEMENTWISE(fill_f32) { fill<float>(arguments); }
ELEMENTWISE(fill_bf16) { fill<Bf16>(arguments); }

// Eight elements a thread; the last one takes what is left, one at a time.
template <class From, class To>
DEVICE void cast(const ElementwiseArguments &arguments) {
    const u64 at = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (at >= arguments.elements) return;
    const From *from = (const From *)arguments.input + at;
    To *to = (To *)arguments.output + at;
    if (at + 8 > arguments.elements) {
        for (u64 i = 0; at + i < arguments.elements; i++) to[i] = narrow<To>(widen(from[i]));
        return;
    }
    const int STEP = Wide<From>::COUNT < Wide<To>::COUNT ? Wide<From>::COUNT : Wide<To>::COUNT;
    float values[8];
#pragma unroll
    for (int i = 0; i < 8; i += Wide<From>::COUNT) {
        load(*(float(*)[Wide<From>::COUNT]) & values[i], from + i);
    }
#pragma unroll
    for (int i = 0; i < 8; i += Wide<To>::COUNT) store(to + i, *(const float(*)[Wide<To>::COUNT]) & values[i]);
    static_assert(STEP >= 4, "whole vectors");
}
ELEMENTWISE(cast_f32_to_bf16) { cast<float, Bf16>(arguments); }
ELEMENTWISE(cast_bf16_to_f32) { cast<Bf16, float>(arguments); }
ELEMENTWISE(cast_f32_to_f16) { cast<float, F16>(arguments); }
ELEMENTWISE(cast_f16_to_f32) { cast<F16, float>(arguments); }

// output += value * input: gradients that arrive second.
template <class Element>
DEVICE void add(const ElementwiseArguments &arguments) {
    const int COUNT = Wide<Element>::COUNT;
    const u64 at = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * COUNT;
    if (at >= arguments.elements) return;
    const Element *from = (const Element *)arguments.input + at;
    Element *to = (Element *)arguments.output + at;
    if (at + COUNT > arguments.elements) {
        for (u64 i = 0; at + i < arguments.elements; i++) {
            to[i] = narrow<Element>(fmaf(arguments.value, widen(from[i]), widen(to[i])));
        }
        return;
    }
    float x[COUNT], y[COUNT];
    load(x, from);
    load(y, to);
#pragma unroll
    for (int i = 0; i < COUNT; i++) y[i] = fmaf(arguments.value, x[i], y[i]);
    store(to, y);
}
ELEMENTWISE(add_f32) { add<float>(arguments); }
ELEMENTWISE(add_bf16) { add<Bf16>(arguments); }

// output *= the factor on the device, which 1 leaves untouched.
ELEMENTWISE(scale_f32) {
    const u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < arguments.elements) ((float *)arguments.output)[at] *= *arguments.factor;
}

// Byte for byte `SlicesArguments` of elementwise.rs.
struct SlicesArguments {
    const void *input;
    void *output;
    // Words of a row: copied, and from a row to the next.
    Divisor width;
    int input_pitch;
    int output_pitch;
    u32 words;
};

// Copies a slice of the channels of every row: a half of a concatenation or of its gradient.
template <class Word>
DEVICE void copy_slices(const SlicesArguments &arguments) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= arguments.words) return;
    u32 column = at;
    const i64 row = split(column, arguments.width);
    ((Word *)arguments.output)[row * arguments.output_pitch + column] =
        ((const Word *)arguments.input)[row * arguments.input_pitch + column];
}
#define SLICES(NAME, WORD)                                                                             \
    extern "C" __global__ void __launch_bounds__(256) NAME(const SlicesArguments arguments) {          \
        copy_slices<WORD>(arguments);                                                                  \
    }
SLICES(copy_slices_16, Words)
SLICES(copy_slices_4, u32)
SLICES(copy_slices_2, u16)

// Byte for byte `BroadcastArguments` of elementwise.rs.
struct BroadcastArguments {
    // [batches, channels].
    const void *input;
    // [batches, voxels, channels]: input * scale.
    void *output;
    Divisor channels;
    Divisor voxels;
    u32 elements;
    float scale;
};

// The gradient of a mean over voxels.
template <class Element>
DEVICE void broadcast(const BroadcastArguments &arguments) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= arguments.elements) return;
    u32 channel = at;
    const u32 batch = divide(split(channel, arguments.channels), arguments.voxels);
    const float value = widen(((const Element *)arguments.input)[batch * arguments.channels.divisor + channel]);
    ((Element *)arguments.output)[at] = narrow<Element>(value * arguments.scale);
}
#define BROADCAST(NAME, ELEMENT)                                                                       \
    extern "C" __global__ void __launch_bounds__(256) NAME(const BroadcastArguments arguments) {       \
        broadcast<ELEMENT>(arguments);                                                                 \
    }
BROADCAST(broadcast_f32, float)
BROADCAST(broadcast_bf16, Bf16)
