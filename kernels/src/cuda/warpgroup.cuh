// Tiles in shared memory for products of warpgroups, and the pipeline that fills them.
//
// A tile's row is 128 bytes, 64 elements of 16 bits; the tensor memory accelerator puts chunk c of row r at chunk
// c ^ (r % 8), and products undo it: both go by the address, so tiles begin at whole 1024 bytes.
//
//   producer: one thread                          consumers: every warp of the warpgroups
//     wait until empty[stage] is over               wait until full[stage] is over
//     arrive at full[stage], expecting bytes        multiply
//     copy boxes, which count their bytes there     wait for the products before; arrive at empty[their stage]
#pragma once
#include "geometry.cuh"
#include "port_hopper.cuh"

static const int LINE_BYTES = 128;
// Elements of a line: what one iteration takes of the summed axis.
static const int LINE = LINE_BYTES / 2;
// Lines that the swizzle repeats after.
static const int PATTERN_BYTES = 8 * LINE_BYTES;

// A tile for products: eight lines follow eight lines; where its lines run along the result, `next` is how far the
// next 64 columns are. (PTX ISA, "Matrix Descriptor Format"; 1 in the upper bits: swizzle of 128 bytes.)
DEVICE u64 describe(u32 address, u32 next) {
    return (u64)((address & 0x3ffff) >> 4) | (u64)(next >> 4) << 16 | (u64)(PATTERN_BYTES >> 4) << 32 | (u64)1 << 62;
}

// Which stage, and how often the stages went round.
template <int STAGES>
struct Turn {
    int stage = 0;
    u32 round = 0;

    DEVICE_MEMBER void next() {
        if (++stage < STAGES) return;
        stage = 0;
        round ^= 1;
    }
};

// The stages of a block with WARPGROUPS that multiply, and the warp after them that copies.
template <int STAGES, int STAGE_BYTES, int WARPGROUPS>
struct Pipeline {
    static const int CONSUMERS = WARPGROUPS * 128;
    static const int THREADS = CONSUMERS + 32;
    // Where dynamic shared memory begins is known to 16 bytes only.
    static const int BYTES = STAGES * STAGE_BYTES + PATTERN_BYTES;

    u32 tiles;
    u32 full;
    u32 empty;

    // `barriers`: two for each stage.
    DEVICE_MEMBER Pipeline(char *shared, u64 *barriers) {
        tiles = (shared_address(shared) + PATTERN_BYTES - 1) & ~(PATTERN_BYTES - 1);
        full = shared_address(barriers);
        empty = full + STAGES * 8;
        if (threadIdx.x == 0) {
#pragma unroll
            for (int stage = 0; stage < STAGES; stage++) {
                make_barrier(full + stage * 8, 1);
                make_barrier(empty + stage * 8, CONSUMERS / 32);
            }
            publish_barriers();
        }
        __syncthreads();
    }

    // Calls `fetch(iteration, tile, barrier)`, which copies STAGE_BYTES there, on one thread.
    template <class Fetch>
    DEVICE_MEMBER void produce(int count, const Fetch &fetch) const {
        Turn<STAGES> turn;
#pragma unroll 1
        for (int iteration = 0; iteration < count; iteration++) {
            const u32 barrier = full + turn.stage * 8;
            wait_for_phase(empty + turn.stage * 8, turn.round ^ 1);
            arrive_expecting(barrier, STAGE_BYTES);
            fetch(iteration, tiles + turn.stage * STAGE_BYTES, barrier);
            turn.next();
        }
    }

    // Calls `multiply(tile)`, which begins products, on every warp of a warpgroup.
    template <class Multiply>
    DEVICE_MEMBER void consume(int count, const Multiply &multiply) const {
        Turn<STAGES> turn;
        u32 before = 0;
#pragma unroll 1
        for (int iteration = 0; iteration < count; iteration++) {
            wait_for_phase(full + turn.stage * 8, turn.round);
            begin_products();
            multiply(tiles + turn.stage * STAGE_BYTES);
            commit_products();
            wait_for_products<1>();
            // Nobody waits for the last stages.
            if (iteration > 0 && (threadIdx.x & 31) == 0) arrive(before);
            before = empty + turn.stage * 8;
            turn.next();
        }
        wait_for_products<0>();
    }
};

// A result cut into boxes of voxels, [batch, depth, height, width], each extent a power of two.
struct Boxes {
    // Of a box's extents along width, height and depth the logarithm.
    int log[3];
    int batch;
    // Boxes along width, height and depth.
    Divisor count[3];
    int reserved[3];
};

// Where a box of 2^ROWS_LOG rows begins, and the voxels of its rows.
template <int ROWS_LOG>
struct Box {
    int batch;
    int voxel[3];

    DEVICE_MEMBER Box(const Boxes &boxes, u32 number) {
        int log = ROWS_LOG;
#pragma unroll
        for (int axis = 2; axis >= 0; axis--) {
            u32 rest = number;
            number = split(rest, boxes.count[2 - axis]);
            voxel[axis] = (int)(rest << boxes.log[2 - axis]);
            log -= boxes.log[2 - axis];
        }
        batch = (int)(number << log);
    }

    // The index of a row among all rows of the result, or -1 beyond it.
    DEVICE_MEMBER int row(const Boxes &boxes, const Geometry &geometry, u32 row) const {
        int at[3];
        bool inside = true;
#pragma unroll
        for (int axis = 2; axis >= 0; axis--) {
            const int log = boxes.log[2 - axis];
            at[axis] = voxel[axis] + (int)(row & ((1u << log) - 1));
            row >>= log;
            inside = inside && at[axis] < (int)geometry.result[axis].divisor;
        }
        const int entry = batch + (int)row;
        if (!inside || entry >= boxes.batch) return -1;
        const Divisor(&result)[3] = geometry.result;
        return ((entry * (int)result[0].divisor + at[0]) * (int)result[1].divisor + at[1]) * (int)result[2].divisor +
               at[2];
    }
};
