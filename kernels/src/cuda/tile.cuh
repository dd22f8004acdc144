// Products of tiles in shared memory on tensor cores.
//
// A tile's row is 64 bytes of the summed axis: 32 elements of bf16 or f16, 16 of tf32. Bytes are what counts:
// one step of mma takes 32 bytes of each row whatever the format.
//
//   bank groups of 16 bytes   0 1 2 3 4 5 6 7
//   rows 0, 1                 a b c d a b c d      chunks a b c d of each row lie at
//   rows 2, 3                 b a d c b a d c      chunk ^ (row / 2 % 4),
//   rows 4, 5                 c d a b c d a b      so the same chunk of 8 rows, which ldmatrix
//   rows 6, 7                 d c b a d c b a      reads at once, lies in 8 different groups
#pragma once
#include "element.cuh"

static const int ROW_BYTES = 64;
static const int CHUNKS = ROW_BYTES / 16;

// Byte offset of a chunk of 16 bytes.
DEVICE u32 swizzled(u32 row, u32 chunk) { return row * ROW_BYTES + ((chunk ^ (row >> 1 & 3)) << 4); }

DEVICE void multiply(Bf16, float (&sum)[4], const u32 (&a)[4], const u32 *b) { multiply_bf16(sum, a, b); }
DEVICE void multiply(F16, float (&sum)[4], const u32 (&a)[4], const u32 *b) { multiply_f16(sum, a, b); }
DEVICE void multiply(Tf32, float (&sum)[4], const u32 (&a)[4], const u32 *b) { multiply_tf32(sum, a, b); }

// What mma wants of bits as they lie in memory.
template <class Element>
DEVICE void prepare(u32 (&fragment)[4]) {
    if constexpr (sizeof(Element) == 4) {
#pragma unroll
        for (int i = 0; i < 4; i++) fragment[i] = round_tf32(fragment[i]);
    }
}

// One warp's part of a tile: ROWS x COLUMNS sums. Lane l holds of each 16x8 block rows l/4 and l/4+8, columns
// 2(l%4) and 2(l%4)+1.
template <class Element, int ROWS, int COLUMNS>
struct WarpTile {
    static_assert(ROWS % 16 == 0 && COLUMNS % 16 == 0, "whole fragments");
    float sum[ROWS / 16][COLUMNS / 8][4];

    DEVICE_MEMBER void clear() {
#pragma unroll
        for (int i = 0; i < ROWS / 16; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
                for (int k = 0; k < 4; k++) sum[i][j][k] = 0.0f;
    }

    // sum += left * right^T, for tiles of rows of 64 bytes; the addresses are those of the warp's first rows.
    DEVICE_MEMBER void accumulate(u32 left, u32 right, u32 lane) {
        const u32 left_row = lane & 15, right_row = (lane >> 4) * 8 + (lane & 7);
#pragma unroll
        for (int step = 0; step < ROW_BYTES / 32; step++) {
            u32 b[COLUMNS / 16][4];
#pragma unroll
            for (int j = 0; j < COLUMNS / 16; j++) {
                load_matrices(b[j], right + j * 16 * ROW_BYTES + swizzled(right_row, step * 2 + (lane >> 3 & 1)));
                prepare<Element>(b[j]);
            }
#pragma unroll
            for (int i = 0; i < ROWS / 16; i++) {
                u32 a[4];
                load_matrices(a, left + i * 16 * ROW_BYTES + swizzled(left_row, step * 2 + (lane >> 4)));
                prepare<Element>(a);
#pragma unroll
                for (int j = 0; j < COLUMNS / 8; j++) multiply(Element{}, sum[i][j], a, &b[j / 2][j % 2 * 2]);
            }
        }
    }

    // Writes the sums, plus `bias(column)`, into a tile of f32. A pitch of 8 modulo 32 has no bank conflicts.
    template <class Bias>
    DEVICE_MEMBER void spill(float *tile, int pitch, u32 lane, const Bias &bias) const {
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++) {
            const int column = j * 8 + (lane & 3) * 2;
            const float first = bias(column), second = bias(column + 1);
#pragma unroll
            for (int i = 0; i < ROWS / 16; i++) {
                float *at = tile + (i * 16 + (lane >> 2)) * pitch + column;
                *(float2 *)at = make_float2(sum[i][j][0] + first, sum[i][j][1] + second);
                *(float2 *)(at + 8 * pitch) = make_float2(sum[i][j][2] + first, sum[i][j][3] + second);
            }
        }
    }
};
