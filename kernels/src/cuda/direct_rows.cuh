// The left side of the direct kernels: what the voxels of a tile read, 16 (tap, channel) pairs at a time, into
// left[pair][row]. A row lies at row ^ swizzle(pair), so that 32 neighbouring lanes store into 32 banks.
//
//   WideRows      16 bytes of channels a thread: channels in whole sectors
//   WindowRows    few channels, stride 1: the stretch of the image that a line of taps reads of all rows, in whole
//                 sectors, from which elements are picked
//   ElementRows   whatever is left, element by element
//
// TRANSPOSED turns the map around: a row of the result reads position (row + low - tap * dilation) / stride
// where that is whole. It is a convolution's input gradient and a transposed convolution's forward pass where the
// stride is not 1; the other way round for the rest.
#pragma once
#include "element.cuh"
#include "geometry.cuh"

// Byte for byte `DirectArguments` of direct.rs.
struct DirectArguments {
    // Activations [voxels, pitch]; the second may be null.
    const void *input[2];
    // [taps, channels, weight_pitch], zeros beyond the outputs.
    const float *weight;
    // [outputs], or null.
    const float *bias;
    // [rows, output_pitch].
    void *output;
    Geometry geometry;
    // For TRANSPOSED.
    Divisor stride[3];
    int channels[2];
    int pitch[2];
    int rows;
    int outputs;
    int output_pitch;
    // A multiple of 8.
    int weight_pitch;
    // Whether a row's outputs are whole sectors.
    int whole_rows;
    // WindowRows: elements of a window, and floats from one to the next in shared memory.
    int window;
    int window_pitch;
    Divisor column_tiles;
    Divisor all_channels;
};

// How far a tap lies from a row's origin, axis by axis.
DEVICE int3 reach_of(const Geometry &geometry, int tap) {
    const int rest = tap / geometry.kernel[2];
    return make_int3(rest / geometry.kernel[1] * geometry.dilation[0],
                     rest % geometry.kernel[1] * geometry.dilation[1],
                     (tap - rest * geometry.kernel[2]) * geometry.dilation[2]);
}

// The index of the voxel that a tap of a row reads, or -1 outside of the image.
template <bool TRANSPOSED>
DEVICE int voxel_of_tap(const Geometry &geometry, const Divisor *stride, const int4 &origin, const int3 &tap) {
    int position[3] = {origin.y, origin.z, origin.w};
    const int reach[3] = {tap.x, tap.y, tap.z};
    bool valid = origin.x >= 0;
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
        if constexpr (TRANSPOSED) {
            position[axis] -= reach[axis];
            valid = valid && position[axis] >= 0;
            u32 rest = valid ? position[axis] : 0;
            position[axis] = (int)split(rest, stride[axis]);
            valid = valid && rest == 0 && position[axis] < geometry.image[axis];
        } else {
            position[axis] += reach[axis];
            valid = valid && (u32)position[axis] < (u32)geometry.image[axis];
        }
    }
    return valid ? voxel_index(geometry, origin.x, position[0], position[1], position[2]) : -1;
}

// Batch entry (-1 beyond the rows) and the positions before taps are added.
template <bool TRANSPOSED>
DEVICE int4 origin_of(const Geometry &geometry, int row, int rows) {
    if (row >= rows) return make_int4(-1, 0, 0, 0);
    const Row at = row_at(row, geometry);
    int origin[3];
#pragma unroll
    for (int axis = 0; axis < 3; axis++) {
        origin[axis] = TRANSPOSED ? at.voxel[axis] + geometry.low[axis]
                                  : at.voxel[axis] * geometry.stride[axis] - geometry.low[axis];
    }
    return make_int4(at.batch, origin[0], origin[1], origin[2]);
}

// Where a channel of a voxel lies in one of two activations.
template <class Element>
DEVICE const Element *element_at(const void *const *input, const int *channels, const int *pitch, int voxel,
                                 int channel) {
    const bool second = channel >= channels[0];
    const Element *image = (const Element *)(second ? input[1] : input[0]);
    const i64 step = second ? pitch[1] : pitch[0];
    return image + voxel * step + channel - (second ? channels[0] : 0);
}

// A line of taps (those along the width at one depth and height) reads of `first` and the rows after it a stretch
// of the image, where the stride is 1 and the result has the image's extents: the element it begins with, rounded
// down to a sector.
template <class Element>
DEVICE i64 window_start(const Geometry &geometry, int first, int line, int channels) {
    const int depth = line / geometry.kernel[1];
    const int height = line - depth * geometry.kernel[1];
    const int ahead = voxel_index(geometry, 0, depth * geometry.dilation[0] - geometry.low[0],
                                  height * geometry.dilation[1] - geometry.low[1], -geometry.low[2]);
    return ((i64)first + ahead) * channels & -(i64)(32 / sizeof(Element));
}

// Loads the windows of lines first_line..last_line; what lies beyond the image is left as it is and not read.
template <class Element, int THREADS>
DEVICE void load_windows(const Geometry &geometry, const Element *image, int channels, i64 elements, int first,
                         int first_line, int last_line, int window, int window_pitch, float *windows) {
#pragma unroll 1
    for (int line = first_line; line <= last_line; line++) {
        const i64 start = window_start<Element>(geometry, first, line, channels);
        float *to = windows + (line - first_line) * window_pitch;
#pragma unroll 1
        for (int i = threadIdx.x; i < window; i += THREADS) {
            if ((u64)(start + i) < (u64)elements) to[i] = widen(image[start + i]);
        }
    }
}

// Pairs taken at once.
static const int DEPTH = 16;

template <class Element, int ROWS, int THREADS, bool TRANSPOSED>
struct WideRows {
    static const int WIDE = Wide<Element>::COUNT, PARTS = DEPTH / WIDE, LANES = THREADS / PARTS;
    static const int COUNT = ROWS / LANES;
    static_assert(COUNT * LANES == ROWS, "whole fetches");
    const DirectArguments &arguments;
    const int part, lane;
    Words ahead[COUNT];

    DEVICE_MEMBER WideRows(const DirectArguments &arguments, int)
        : arguments(arguments), part(threadIdx.x % PARTS), lane(threadIdx.x / PARTS) {}

    DEVICE_MEMBER int4 origin(int row) const {
        return origin_of<TRANSPOSED>(arguments.geometry, row, arguments.rows);
    }

    static DEVICE_MEMBER int swizzle(int pair) { return pair / WIDE * (32 / PARTS); }

    DEVICE_MEMBER void fetch(int from, int summed, const int4 *origins) {
        u32 channel = from + part * WIDE;
        const bool valid = from + part * WIDE < summed;
        const int3 reach = reach_of(arguments.geometry, split(channel, arguments.all_channels));
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            const int voxel = voxel_of_tap<TRANSPOSED>(arguments.geometry, arguments.stride,
                                                       origins[lane + i * LANES], reach);
            ahead[i] = {};
            if (valid && voxel >= 0) {
                ahead[i] = *(const Words *)element_at<Element>(arguments.input, arguments.channels, arguments.pitch,
                                                               voxel, channel);
            }
        }
    }

    DEVICE_MEMBER void keep(int, int, const int4 *, float (*left)[ROWS]) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            float values[WIDE];
            unpack<Element>(values, ahead[i]);
            const int row = (lane + i * LANES) ^ swizzle(part * WIDE);
#pragma unroll
            for (int j = 0; j < WIDE; j++) left[part * WIDE + j][row] = values[j];
        }
    }
};

template <class Element, int ROWS, int THREADS, bool TRANSPOSED>
struct ElementRows {
    static const int LANES = THREADS / DEPTH, COUNT = ROWS / LANES;
    const DirectArguments &arguments;
    const int depth, lane;
    float ahead[COUNT];

    DEVICE_MEMBER ElementRows(const DirectArguments &arguments, int)
        : arguments(arguments), depth(threadIdx.x % DEPTH), lane(threadIdx.x / DEPTH) {}

    DEVICE_MEMBER int4 origin(int row) const {
        return origin_of<TRANSPOSED>(arguments.geometry, row, arguments.rows);
    }

    static DEVICE_MEMBER int swizzle(int pair) { return (pair & 7) * 4; }

    DEVICE_MEMBER void fetch(int from, int summed, const int4 *origins) {
        u32 channel = from + depth;
        const bool valid = from + depth < summed;
        const int3 reach = reach_of(arguments.geometry, split(channel, arguments.all_channels));
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            const int voxel = voxel_of_tap<TRANSPOSED>(arguments.geometry, arguments.stride,
                                                       origins[lane + i * LANES], reach);
            ahead[i] = valid && voxel >= 0 ? widen(*element_at<Element>(arguments.input, arguments.channels,
                                                                        arguments.pitch, voxel, channel))
                                           : 0.0f;
        }
    }

    DEVICE_MEMBER void keep(int, int, const int4 *, float (*left)[ROWS]) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) left[depth][(lane + i * LANES) ^ swizzle(depth)] = ahead[i];
    }
};

// Windows are not fetched ahead: they are short, and there are few of them.
template <class Element, int ROWS, int THREADS>
struct WindowRows {
    // Floats of all windows that 16 pairs touch: WINDOWS of direct.rs.
    static const int CAPACITY = 2176;
    // A quarter of a warp takes eight pairs of a row.
    static const int LANES = THREADS / 8;
    const DirectArguments &arguments;
    const int first_row;

    DEVICE_MEMBER WindowRows(const DirectArguments &arguments, int first_row)
        : arguments(arguments), first_row(first_row) {}

    DEVICE_MEMBER int4 origin(int row) const { return origin_of<false>(arguments.geometry, row, arguments.rows); }

    static DEVICE_MEMBER int swizzle(int pair) { return (pair & 7) * 4; }

    DEVICE_MEMBER void fetch(int, int, const int4 *) {}

    DEVICE_MEMBER void keep(int from, int summed, const int4 *origins, float (*left)[ROWS]) {
        __shared__ float windows[CAPACITY];
        const Geometry &geometry = arguments.geometry;
        const int channels = arguments.channels[0], line_pairs = geometry.kernel[2] * channels;
        const int first_line = from / line_pairs, last_line = (min(from + DEPTH, summed) - 1) / line_pairs;
        // Rows are as many as the image's voxels.
        load_windows<Element, THREADS>(geometry, (const Element *)arguments.input[0], channels,
                                       (i64)arguments.rows * channels, first_row, first_line, last_line,
                                       arguments.window, arguments.window_pitch, windows);
        __syncthreads();
        const int lane = threadIdx.x / 8;
#pragma unroll
        for (int half = 0; half < DEPTH / 8; half++) {
            const int pair = half * 8 + threadIdx.x % 8;
            u32 channel = from + pair;
            const bool valid = from + pair < summed;
            const int tap = split(channel, arguments.all_channels);
            const int3 reach = reach_of(geometry, tap);
            const int line = tap / geometry.kernel[2];
            const int offset = (line - first_line) * arguments.window_pitch + (int)channel;
            const i64 start = window_start<Element>(geometry, first_row, line, channels);
#pragma unroll
            for (int i = 0; i < ROWS / LANES; i++) {
                const int row = lane + i * LANES;
                const int voxel = voxel_of_tap<false>(geometry, nullptr, origins[row], reach);
                left[pair][row ^ swizzle(pair)] =
                    valid && voxel >= 0 ? windows[offset + (int)((i64)voxel * channels - start)] : 0.0f;
            }
        }
    }
};

template <class Element, int ROWS, int THREADS>
using WideForward = WideRows<Element, ROWS, THREADS, false>;
template <class Element, int ROWS, int THREADS>
using WideTransposed = WideRows<Element, ROWS, THREADS, true>;
template <class Element, int ROWS, int THREADS>
using ElementsForward = ElementRows<Element, ROWS, THREADS, false>;
template <class Element, int ROWS, int THREADS>
using ElementsTransposed = ElementRows<Element, ROWS, THREADS, true>;
