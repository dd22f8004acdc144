// Convolutions of any shape in f32 arithmetic; storage f32 or bf16.
#include "direct.cuh"
#include "direct_weight.cuh"

#define DIRECT(NAME, ELEMENT, SOURCE, ROWS, COLUMNS, THREAD_ROWS)                                                    \
    extern "C" __global__ void __launch_bounds__((Direct<ELEMENT, SOURCE, ROWS, COLUMNS, THREAD_ROWS>::THREADS), 2)  \
        NAME(const DirectArguments arguments) {                                                                      \
        Direct<ELEMENT, SOURCE, ROWS, COLUMNS, THREAD_ROWS>::run(arguments);                                         \
    }
#define WEIGHT(NAME, ELEMENT, SOURCE)                                                                                \
    extern "C" __global__ void __launch_bounds__(256, 2) NAME(const DirectWeightArguments arguments) {               \
        DirectWeight<ELEMENT, SOURCE>::run(arguments);                                                               \
    }
#define FORMAT(FORMAT, ELEMENT)                                                                                      \
    DIRECT(conv3d_direct_##FORMAT##_128x64, ELEMENT, WideForward, 128, 64, 8)                                        \
    DIRECT(conv3d_direct_##FORMAT##_128x32, ELEMENT, WideForward, 128, 32, 8)                                        \
    DIRECT(conv3d_direct_##FORMAT##_256x8, ELEMENT, WideForward, 256, 8, 4)                                          \
    DIRECT(conv3d_direct_transposed_##FORMAT##_128x64, ELEMENT, WideTransposed, 128, 64, 8)                          \
    DIRECT(conv3d_direct_transposed_##FORMAT##_128x32, ELEMENT, WideTransposed, 128, 32, 8)                          \
    DIRECT(conv3d_direct_transposed_##FORMAT##_256x8, ELEMENT, WideTransposed, 256, 8, 4)                            \
    DIRECT(conv3d_direct_windows_##FORMAT##_128x32, ELEMENT, WindowRows, 128, 32, 8)                                 \
    DIRECT(conv3d_direct_elements_##FORMAT##_128x32, ELEMENT, ElementsForward, 128, 32, 8)                           \
    DIRECT(conv3d_direct_transposed_elements_##FORMAT##_128x32, ELEMENT, ElementsTransposed, 128, 32, 8)             \
    WEIGHT(conv3d_direct_weight_##FORMAT, ELEMENT, WideColumns)                                                      \
    WEIGHT(conv3d_direct_weight_windows_##FORMAT, ELEMENT, WindowColumns)                                            \
    WEIGHT(conv3d_direct_weight_elements_##FORMAT, ELEMENT, ElementColumns)

FORMAT(f32, float)
FORMAT(bf16, Bf16)
