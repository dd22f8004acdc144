// All inline PTX of the kernels, and nothing else. Instructions of sm_80; PTX ISA 7.0 names them.
//
// Every wrapper has the shape of its instruction: the emulator of the tests executes these very strings.
#pragma once

#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// Address within shared memory, as ldmatrix and cp.async want it.
DEVICE u32 shared_address(const void *pointer) {
    u32 address;
    asm("{ .reg .u64 wide; cvta.to.shared.u64 wide, %1; cvt.u32.u64 %0, wide; }" : "=r"(address) : "l"(pointer));
    return address;
}

// Four f32 in one access, which the compiler may not take apart.
DEVICE void store_four(u32 address, const float (&from)[4]) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address), "f"(from[0]), "f"(from[1]), "f"(from[2]),
                 "f"(from[3])
                 : "memory");
}

// Copies 16 bytes from global to shared memory past L1, or writes 16 zeros where `valid` is false; `from`
// must then still be an address of the buffer, though nothing is read.
DEVICE void copy_async(u32 to, const void *from, bool valid) {
    const u32 bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// Closes a group of asynchronous copies.
DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `PENDING` of this thread's groups are still under way.
template <int PENDING>
DEVICE void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four 8x8 matrices of 16-bit elements, a row of 16 bytes at each lane's address: lanes 0-7 name the rows of
// the first, 8-15 of the second, and so on. Lane l receives row l/4, elements 2(l%4) and 2(l%4)+1. With
// 32-bit elements the same bytes are 8x4 matrices: row l/4, element l%4.
DEVICE void load_matrices(u32 (&to)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

// The same, each matrix transposed: lane l receives column l/4, elements of rows 2(l%4) and 2(l%4)+1.
DEVICE void load_matrices_transposed(u32 (&to)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

// sum += a * b on one warp: 16x16 by 16x8, bf16, sums in f32.
DEVICE void multiply_bf16(float (&sum)[4], const u32 (&a)[4], const u32 *b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// sum += a * b on one warp: 16x16 by 16x8, f16, sums in f32.
DEVICE void multiply_f16(float (&sum)[4], const u32 (&a)[4], const u32 *b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// sum += a * b on one warp: 16x8 by 8x8, tf32, sums in f32.
DEVICE void multiply_tf32(float (&sum)[4], const u32 (&a)[4], const u32 *b) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The nearest tf32 (10 bits of fraction) of an f32's bits, ties away from 0. mma alone would cut off.
DEVICE u32 round_tf32(u32 bits) {
    u32 rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__int_as_float((int)bits)));
    return rounded;
}

// Two bf16 in a word, the first in the low half; nearest, ties to even.
DEVICE u32 pack_bf16(float first, float second) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(second), "f"(first));
    return packed;
}

// The nearest f16, ties to even; beyond the range infinity.
DEVICE u16 narrow_f16(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

// A choice that the compiler cannot turn into a branch: lanes of a warp stay together.
DEVICE float choose(u32 condition, float yes, float no) {
    float value;
    asm("{ .reg .pred chosen; setp.ne.u32 chosen, %1, 0; selp.f32 %0, %2, %3, chosen; }"
        : "=f"(value)
        : "r"(condition), "f"(yes), "f"(no));
    return value;
}

DEVICE float widen_f16(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
