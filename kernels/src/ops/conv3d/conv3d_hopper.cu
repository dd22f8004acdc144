// 3D convolution on warpgroups of compute capability 9.0: forward, and the input gradient of stride 1.
#include "hopper_product.cuh"

// Tiles by the number of outputs: 128 or 64 columns. Two blocks share a multiprocessor.
#define TILES(FORMAT, ELEMENT)                                              \
    HOPPER_PRODUCT(conv3d_hopper_##FORMAT##_128x128, ELEMENT, 128, 3, false, 2) \
    HOPPER_PRODUCT(conv3d_hopper_##FORMAT##_128x64, ELEMENT, 64, 4, false, 2)

TILES(bf16, Bf16)
TILES(f16, F16)
