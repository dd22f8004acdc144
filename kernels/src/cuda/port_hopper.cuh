// Inline PTX of sm_90a, beside that of port.cuh: barriers in shared memory that count arrivals and bytes, copies of
// boxes by the tensor memory accelerator, products of a warpgroup (four warps). PTX ISA 8.0 names them.
//
// Copies and products belong to the asynchronous proxy: what ordinary stores wrote before, they see after
// `publish_barriers` alone; what they wrote, ordinary loads see once they were waited for.
#pragma once
#include "element.cuh"

// What the driver's cuTensorMapEncodeTiled writes: an array in device memory, and the box that a copy takes of it.
struct __align__(64) TensorMap {
    u64 opaque[16];
};

// A kernel's maps are a parameter of their own, whose address is taken; the other one stays in constant memory.
struct TensorMaps {
    TensorMap of[3];
};

// Makes a barrier whose phases end with `arrivals` arrivals and all bytes expected.
DEVICE void make_barrier(u32 barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Shows barriers made by this thread to the asynchronous proxy; other threads see them after a barrier.
DEVICE void publish_barriers() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

DEVICE void arrive(u32 barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives, and makes the phase wait for so many bytes more.
DEVICE void arrive_expecting(u32 barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Waits for the end of the phase of this parity; the phase before the first counts as over and odd.
DEVICE void wait_for_phase(u32 barrier, u32 parity) {
    u32 over;
    do {
        asm volatile("{ .reg .pred over; mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2; "
                     "selp.u32 %0, 1, 0, over; }"
                     : "=r"(over)
                     : "r"(barrier), "r"(parity)
                     : "memory");
    } while (!over);
}

// Copies a box of an array of three axes to shared memory, zeros where it reaches beyond; the fastest axis first.
DEVICE void copy_box(u32 to, const TensorMap &map, u32 barrier, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
                 "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z)
                 : "memory");
}

// The same of five axes: channel, width, height, depth, batch entry.
DEVICE void copy_box(u32 to, const TensorMap &map, u32 barrier, int channel, int width, int height, int depth,
                     int batch) {
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(to),
                 "l"(&map), "r"(barrier), "r"(channel), "r"(width), "r"(height), "r"(depth), "r"(batch)
                 : "memory");
}

// Before the first product of a chain: its sums are written by ordinary instructions.
DEVICE void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Closes a group of products.
DEVICE void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most `PENDING` groups are still under way.
template <int PENDING>
DEVICE void wait_for_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

#define SUMS(J) "+f"(sum[J][0]), "+f"(sum[J][1]), "+f"(sum[J][2]), "+f"(sum[J][3])

// sum += a * b on a warpgroup, 64 x 16 by 16 x columns, both in shared memory by their descriptors: rows (columns of
// b) of 16 elements, or, TRANSPOSED, 16 rows of 64 (or `columns`). Of each 16 rows a warp holds fragments as of mma.
#define WARPGROUP_PRODUCT_64(TYPE) \
    asm volatile("{ .reg .pred add; setp.ne.u32 add, %34, 0; "                                                       \
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE " "                                     \
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "                 \
                 " %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "                          \
                 "%32, %33, add, 1, 1, %35, %35; }"                                                                  \
                 : SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7)                            \
                 : "l"(a), "l"(b), "r"(1), "n"(TRANSPOSED) : "memory")

#define WARPGROUP_PRODUCT_128(TYPE) \
    asm volatile("{ .reg .pred add; setp.ne.u32 add, %66, 0; "                                                       \
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE " "                                    \
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "                 \
                 " %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "                 \
                 " %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "                 \
                 " %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "                          \
                 "%64, %65, add, 1, 1, %67, %67; }"                                                                  \
                 : SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7),                           \
                   SUMS(8), SUMS(9), SUMS(10), SUMS(11), SUMS(12), SUMS(13), SUMS(14), SUMS(15)                      \
                 : "l"(a), "l"(b), "r"(1), "n"(TRANSPOSED) : "memory")

template <bool TRANSPOSED>
DEVICE void multiply_warpgroup(Bf16, float (&sum)[8][4], u64 a, u64 b) {
    WARPGROUP_PRODUCT_64("bf16");
}

template <bool TRANSPOSED>
DEVICE void multiply_warpgroup(F16, float (&sum)[8][4], u64 a, u64 b) {
    WARPGROUP_PRODUCT_64("f16");
}

template <bool TRANSPOSED>
DEVICE void multiply_warpgroup(Bf16, float (&sum)[16][4], u64 a, u64 b) {
    WARPGROUP_PRODUCT_128("bf16");
}

template <bool TRANSPOSED>
DEVICE void multiply_warpgroup(F16, float (&sum)[16][4], u64 a, u64 b) {
    WARPGROUP_PRODUCT_128("f16");
}
