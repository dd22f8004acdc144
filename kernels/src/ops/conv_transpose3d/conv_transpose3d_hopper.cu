// Transposed convolution of kernel 2 and stride 2 on warpgroups of compute capability 9.0: columns are (tap, output),
// eight times the outputs, so there are always many.
#include "hopper_product.cuh"

HOPPER_PRODUCT(conv_transpose3d_hopper_bf16_128x128, Bf16, 128, 3, true, 2)
HOPPER_PRODUCT(conv_transpose3d_hopper_f16_128x128, F16, 128, 3, true, 2)
