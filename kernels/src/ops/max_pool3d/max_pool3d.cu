// Maximum over windows, its position kept; backward every input voxel looks for windows that chose it, so nothing
// is added by two threads.
#include "element.cuh"
#include "geometry.cuh"

// Byte for byte `PoolArguments` of max_pool3d/cuda.rs.
struct PoolArguments {
    const void *input;
    void *output;
    // [rows, channels]: the winner's position in its window, in scan order; u8, or u32 for windows above 256.
    void *positions;
    // Of the windows: image, kernel, stride; result in forward. Padding is 0, dilation 1.
    Geometry geometry;
    // Extents of the windows' grid, and divisors of the image, for backward.
    int windows[3];
    Divisor image[3];
    // Vectors of channels in a row.
    Divisor vectors;
    int channels;
    // Threads that have something to do.
    u32 threads;
    int reserved;
};

template <class Element, int COUNT, class Position>
DEVICE void pool(const PoolArguments &arguments) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= arguments.threads) return;
    u32 vector = at;
    const u32 row = split(vector, arguments.vectors);
    const Geometry &geometry = arguments.geometry;
    const Row place = row_at(row, geometry);
    const int channel = vector * COUNT;
    const Element *input = (const Element *)arguments.input + channel;
    float best[COUNT];
    u32 position[COUNT] = {};
    u32 here = 0;
#pragma unroll 1
    for (int i = 0; i < geometry.kernel[0]; i++) {
#pragma unroll 1
        for (int j = 0; j < geometry.kernel[1]; j++) {
#pragma unroll 1
            for (int k = 0; k < geometry.kernel[2]; k++) {
                const int voxel = voxel_index(geometry, place.batch, place.voxel[0] * geometry.stride[0] + i,
                                              place.voxel[1] * geometry.stride[1] + j,
                                              place.voxel[2] * geometry.stride[2] + k);
                float value[COUNT];
                load(value, input + (i64)voxel * arguments.channels);
#pragma unroll
                for (int c = 0; c < COUNT; c++) {
                    // The first of equal values; the last of NaNs.
                    if (here == 0 || value[c] > best[c] || value[c] != value[c]) {
                        best[c] = value[c];
                        position[c] = here;
                    }
                }
                here++;
            }
        }
    }
    const i64 to = (i64)row * arguments.channels + channel;
    store((Element *)arguments.output + to, best);
    Position *positions = (Position *)arguments.positions + to;
#pragma unroll
    for (int c = 0; c < COUNT; c++) positions[c] = (Position)position[c];
}

// The windows an axis at position x lies in: (x - kernel, x] / stride.
DEVICE int first_window(int position, int kernel, int stride) {
    const int least = position - kernel + 1;
    return least > 0 ? (least + stride - 1) / stride : 0;
}

template <class Element, int COUNT, class Position>
DEVICE void pool_gradient(const PoolArguments &arguments) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= arguments.threads) return;
    u32 vector = at;
    const u32 row = split(vector, arguments.vectors);
    const Geometry &geometry = arguments.geometry;
    int voxel[3];
    u32 rest = row, above = split(rest, arguments.image[2]);
    voxel[2] = rest, rest = above;
    above = split(rest, arguments.image[1]);
    voxel[1] = rest, rest = above;
    const int batch = split(rest, arguments.image[0]);
    voxel[0] = rest;
    int first[3], last[3];
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
        first[axis] = first_window(voxel[axis], geometry.kernel[axis], geometry.stride[axis]);
        last[axis] = min(voxel[axis] / geometry.stride[axis], arguments.windows[axis] - 1);
    }
    const int channel = vector * COUNT;
    const Element *gradient = (const Element *)arguments.input + channel;
    const Position *positions = (const Position *)arguments.positions + channel;
    float sum[COUNT] = {};
#pragma unroll 1
    for (int d = first[0]; d <= last[0]; d++) {
#pragma unroll 1
        for (int h = first[1]; h <= last[1]; h++) {
#pragma unroll 1
            for (int w = first[2]; w <= last[2]; w++) {
                const u32 here = ((voxel[0] - d * geometry.stride[0]) * geometry.kernel[1] + voxel[1] -
                                  h * geometry.stride[1]) *
                                     geometry.kernel[2] +
                                 voxel[2] - w * geometry.stride[2];
                const i64 window = ((batch * arguments.windows[0] + d) * arguments.windows[1] + h) *
                                       (i64)arguments.windows[2] +
                                   w;
                float value[COUNT];
                load(value, gradient + window * arguments.channels);
#pragma unroll
                for (int c = 0; c < COUNT; c++) {
                    if (positions[window * arguments.channels + c] == here) sum[c] += value[c];
                }
            }
        }
    }
    store((Element *)arguments.output + (i64)row * arguments.channels + channel, sum);
}

#define FORMAT(SUFFIX, ELEMENT, COUNT, POSITION)                                                               \
    extern "C" __global__ void __launch_bounds__(256, 4) max_pool3d_##SUFFIX(const PoolArguments a) {             \
        pool<ELEMENT, COUNT, POSITION>(a);                                                                     \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(256, 4) max_pool3d_gradient_##SUFFIX(const PoolArguments a) {    \
        pool_gradient<ELEMENT, COUNT, POSITION>(a);                                                            \
    }
FORMAT(f32, float, 4, u8)
FORMAT(bf16, Bf16, 8, u8)
FORMAT(f32_odd, float, 1, u8)
FORMAT(bf16_odd, Bf16, 1, u8)
FORMAT(f32_large, float, 1, u32)
FORMAT(bf16_large, Bf16, 1, u32)
