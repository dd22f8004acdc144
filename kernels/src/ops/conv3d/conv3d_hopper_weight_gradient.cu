// Weight gradients of convolutions and transposed convolutions on warpgroups of compute capability 9.0.
#include "hopper_weight_gradient.cuh"

#define TILES(FORMAT, ELEMENT)                                                            \
    HOPPER_WEIGHT_GRADIENT(conv3d_hopper_weight_##FORMAT##_128x128, ELEMENT, 128, 128, 3, 2) \
    HOPPER_WEIGHT_GRADIENT(conv3d_hopper_weight_##FORMAT##_64x64, ELEMENT, 64, 64, 4, 3)

TILES(bf16, Bf16)
TILES(f16, F16)
