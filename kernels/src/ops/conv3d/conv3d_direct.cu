// Convolutions of any shape in f32 arithmetic; storage f32 or bf16.
#include "direct.cuh"

#define DIRECT(NAME, ELEMENT, TRANSPOSED, COLUMNS)                                                      \
    extern "C" __global__ void __launch_bounds__((Direct<ELEMENT, TRANSPOSED, COLUMNS>::THREADS), 2)    \
        NAME(const DirectArguments arguments) {                                                         \
        Direct<ELEMENT, TRANSPOSED, COLUMNS>::run(arguments);                                           \
    }
#define FORMAT(FORMAT, ELEMENT)                                                                         \
    DIRECT(conv3d_direct_##FORMAT##_128x64, ELEMENT, false, 64)                                         \
    DIRECT(conv3d_direct_##FORMAT##_128x32, ELEMENT, false, 32)                                         \
    DIRECT(conv3d_direct_transposed_##FORMAT##_128x64, ELEMENT, true, 64)                               \
    DIRECT(conv3d_direct_transposed_##FORMAT##_128x32, ELEMENT, true, 32)                               \
    extern "C" __global__ void __launch_bounds__(256, 2)                                                \
        conv3d_direct_weight_##FORMAT(const DirectWeightArguments arguments) {                          \
        DirectWeight<ELEMENT>::run(arguments);                                                          \
    }

FORMAT(f32, float)
FORMAT(bf16, Bf16)
