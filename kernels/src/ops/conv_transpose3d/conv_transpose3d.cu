// Transposed convolution of kernel 2 and stride 2 on tensor cores: one product whose columns are (tap, output),
// each tap scattered to its own voxel of the doubled grid. Its gradients are those of conv3d.cu (a convolution of
// stride 2) and conv3d_weight_gradient.cu (activations swapped).
#include "implicit_gemm.cuh"

#define TILES(FORMAT, ELEMENT)                                                                       \
    IMPLICIT_GEMM(conv_transpose3d_##FORMAT##_128x128, ELEMENT, 128, 128, 64, 32, 4, true, 2)        \
    IMPLICIT_GEMM(conv_transpose3d_##FORMAT##_128x64, ELEMENT, 128, 64, 64, 32, 4, true, 4)

TILES(bf16, Bf16)
TILES(f16, F16)
TILES(tf32, Tf32)
