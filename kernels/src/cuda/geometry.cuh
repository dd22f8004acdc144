// Positions of voxels. The structures are those of geometry.rs, byte for byte.
#pragma once
#include "port.cuh"

// Division of a number below 2^31 by one known to the host, without a division.
struct Divisor {
    u32 divisor;
    u32 multiplier;
    u32 shift;
};

DEVICE u32 divide(u32 value, const Divisor &by) { return (__umulhi(value, by.multiplier) + value) >> by.shift; }

// Quotient; `value` becomes the rest.
DEVICE u32 split(u32 &value, const Divisor &by) {
    const u32 quotient = divide(value, by);
    value -= quotient * by.divisor;
    return quotient;
}

// Which voxels of an image each row of a result reads: position = row * stride + tap * dilation - low, an
// axis at a time; axes in the order depth, height, width. `low` may be negative.
struct Geometry {
    int image[3];
    int kernel[3];
    int stride[3];
    int low[3];
    int dilation[3];
    Divisor result[3];
};

// A row of the result: its batch entry and its voxel.
struct Row {
    int batch;
    int voxel[3];
};

DEVICE Row row_at(u32 row, const Geometry &geometry) {
    Row at;
    u32 rest = row;
    u32 above = split(rest, geometry.result[2]);
    at.voxel[2] = (int)rest;
    rest = above;
    above = split(rest, geometry.result[1]);
    at.voxel[1] = (int)rest;
    rest = above;
    above = split(rest, geometry.result[0]);
    at.voxel[0] = (int)rest;
    at.batch = (int)above;
    return at;
}

// Index of a voxel of the image, channels not counted; only meaningful where the voxel exists.
DEVICE int voxel_index(const Geometry &geometry, int batch, int depth, int height, int width) {
    return ((batch * geometry.image[0] + depth) * geometry.image[1] + height) * geometry.image[2] + width;
}

// What a tap adds to a row's voxel times the stride, an axis at a time; taps count along the width first.
DEVICE void tap_shift(const Geometry &geometry, int tap, int (&shift)[3]) {
    int rest = tap;
    shift[2] = rest % geometry.kernel[2] * geometry.dilation[2] - geometry.low[2];
    rest /= geometry.kernel[2];
    shift[1] = rest % geometry.kernel[1] * geometry.dilation[1] - geometry.low[1];
    shift[0] = rest / geometry.kernel[1] * geometry.dilation[0] - geometry.low[0];
}

// Where tap `tap` of a voxel goes in a grid twice as fine, of kernel 2 and stride 2; `row` counts the coarse voxels.
DEVICE i64 doubled_index(const Geometry &geometry, u32 row, u32 tap) {
    const Row from = row_at(row, geometry);
    const int depth = 2 * from.voxel[0] + (tap >> 2);
    const int height = 2 * from.voxel[1] + (tap >> 1 & 1);
    const int width = 2 * from.voxel[2] + (tap & 1);
    return (((i64)from.batch * 2 * geometry.image[0] + depth) * 2 * geometry.image[1] + height) * 2 *
               geometry.image[2] +
           width;
}
