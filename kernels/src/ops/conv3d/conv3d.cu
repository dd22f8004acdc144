// 3D convolution on tensor cores: forward, and the input gradient of stride 1 (by other weights).
#include "implicit_gemm.cuh"

// Tiles by the number of outputs: 128, 64, 32 columns. Tiles of few rows are for the deep levels.
#define TILES(FORMAT, ELEMENT)                                                              \
    IMPLICIT_GEMM(conv3d_##FORMAT##_128x128, ELEMENT, 128, 128, 64, 32, 4, false, 2)        \
    IMPLICIT_GEMM(conv3d_##FORMAT##_128x64, ELEMENT, 128, 64, 64, 32, 4, false, 4)          \
    IMPLICIT_GEMM(conv3d_##FORMAT##_128x32, ELEMENT, 128, 32, 32, 32, 4, false, 4)

TILES(bf16, Bf16)
TILES(f16, F16)
TILES(tf32, Tf32)
