// Weight gradients of convolutions on tensor cores, a product for each tap.
#include "weight_gradient.cuh"

// BLOCKS at a time on a multiprocessor, for the large tile: tf32 wants more registers.
#define TILES(FORMAT, ELEMENT, BLOCKS)                                                     \
    WEIGHT_GRADIENT(conv3d_weight_##FORMAT##_128x128, ELEMENT, 128, 128, 64, 32, 3, BLOCKS) \
    WEIGHT_GRADIENT(conv3d_weight_##FORMAT##_64x64, ELEMENT, 64, 64, 32, 32, 4, 4)

TILES(bf16, Bf16, 2)
TILES(f16, F16, 2)
TILES(tf32, Tf32, 1)
