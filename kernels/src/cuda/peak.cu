// The card's arithmetic ceilings: multiply-adds in registers alone, whose results nobody needs.
#include "port.cuh"

// Byte for byte `PeakArguments` of device/peak.rs.
struct PeakArguments {
    // A place for a result, so that the compiler keeps the arithmetic.
    float *sink;
    int iterations;
    // Finite and harmless: read from memory of the launch, so that nothing is known when compiling.
    float factor;
};

// Sixteen independent f32 multiply-adds an iteration.
extern "C" __global__ void __launch_bounds__(256) peak_f32(const PeakArguments arguments) {
    float sums[16];
#pragma unroll
    for (int i = 0; i < 16; i++) sums[i] = (float)(threadIdx.x + i);
    for (int step = 0; step < arguments.iterations; step++) {
#pragma unroll
        for (int i = 0; i < 16; i++) sums[i] = fmaf(sums[i], arguments.factor, arguments.factor);
    }
    float all = 0.0f;
#pragma unroll
    for (int i = 0; i < 16; i++) all += sums[i];
    // Never: the sums stay far below.
    if (all == 1e30f) *arguments.sink = all;
}

// Eight independent products of tensor cores an iteration and warp.
#define PEAK(NAME, MULTIPLY)                                                                            \
    extern "C" __global__ void __launch_bounds__(256) NAME(const PeakArguments arguments) {             \
        float sums[8][4] = {};                                                                          \
        u32 a[4], b[2];                                                                                 \
        const u32 bits = (u32)__float_as_int(arguments.factor);                                         \
        for (int i = 0; i < 4; i++) a[i] = bits;                                                        \
        for (int i = 0; i < 2; i++) b[i] = bits;                                                        \
        for (int step = 0; step < arguments.iterations; step++) {                                       \
            _Pragma("unroll") for (int i = 0; i < 8; i++) MULTIPLY(sums[i], a, b);                      \
        }                                                                                               \
        float all = 0.0f;                                                                               \
        for (int i = 0; i < 8; i++) all += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];           \
        if (all == 1e30f) *arguments.sink = all;                                                        \
    }
PEAK(peak_bf16, multiply_bf16)
PEAK(peak_tf32, multiply_tf32)
