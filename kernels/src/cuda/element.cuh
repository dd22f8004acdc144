// Storage formats of activations. Arithmetic is always f32 (or f64, for sums).
#pragma once
#include "port.cuh"

// Brain floating point: the upper half of an f32.
struct Bf16 {
    u16 bits;
};

// IEEE half precision.
struct F16 {
    u16 bits;
};

// An f32 in memory that tensor cores read as tf32.
struct Tf32 {
    float value;
};

// Elements in 16 bytes, the widest access there is.
template <class Element>
struct Wide {
    static const int COUNT = 16 / sizeof(Element);
};

DEVICE float widen(float value) { return value; }
DEVICE float widen(Tf32 value) { return value.value; }
DEVICE float widen(Bf16 value) { return __int_as_float((int)((u32)value.bits << 16)); }
DEVICE float widen(F16 value) { return widen_f16(value.bits); }

template <class Element>
DEVICE Element narrow(float value);
template <>
__device__ __forceinline__ float narrow<float>(float value) {
    return value;
}
template <>
__device__ __forceinline__ Tf32 narrow<Tf32>(float value) {
    return {value};
}
template <>
__device__ __forceinline__ Bf16 narrow<Bf16>(float value) {
    return {(u16)pack_bf16(value, 0.0f)};
}
template <>
__device__ __forceinline__ F16 narrow<F16>(float value) {
    return {narrow_f16(value)};
}

// Two elements in a word, the first in the low half.
DEVICE u32 pack(Bf16, float first, float second) { return pack_bf16(first, second); }
DEVICE u32 pack(F16, float first, float second) {
    return (u32)narrow_f16(first) | (u32)narrow_f16(second) << 16;
}

struct __align__(16) Words {
    u32 word[4];
};

// The elements of 16 bytes as f32.
template <class Element>
DEVICE void unpack(float (&to)[Wide<Element>::COUNT], const Words &words) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if constexpr (sizeof(Element) == 4) {
            to[i] = __int_as_float((int)words.word[i]);
        } else {
            to[2 * i] = widen(Element{(u16)words.word[i]});
            to[2 * i + 1] = widen(Element{(u16)(words.word[i] >> 16)});
        }
    }
}

// COUNT elements as f32: one access of 16 bytes where that is what COUNT elements are, else one at a time.
template <int COUNT, class Element>
DEVICE void load(float (&to)[COUNT], const Element *from) {
    if constexpr (COUNT * sizeof(Element) == 16) {
        const Words words = *(const Words *)from;
        unpack<Element>(to, words);
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; i++) to[i] = widen(from[i]);
    }
}

// One access of 16 or 8 bytes where that is what COUNT elements are, else one at a time.
template <int COUNT, class Element>
DEVICE void store(Element *to, const float (&from)[COUNT]) {
    if constexpr (COUNT * sizeof(Element) == 16) {
        Words words;
        if constexpr (sizeof(Element) == 4) {
            for (int i = 0; i < 4; i++) words.word[i] = (u32)__float_as_int(from[i]);
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++) words.word[i] = pack(Element{}, from[2 * i], from[2 * i + 1]);
        }
        *(Words *)to = words;
    } else if constexpr (COUNT * sizeof(Element) == 8 && sizeof(Element) == 2) {
        *(uint2 *)to = make_uint2(pack(Element{}, from[0], from[1]), pack(Element{}, from[2], from[3]));
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; i++) to[i] = narrow<Element>(from[i]);
    }
}

// COUNT neighbours in shared memory, lanes' neighbours beside each other, without bank conflicts. Of eight, half of
// a quarter-warp's lanes take the upper four first.
template <int COUNT>
DEVICE void load_shared(float (&to)[COUNT], const float *from) {
    if constexpr (COUNT == 8) {
        const bool swap = threadIdx.x >> 2 & 1;
        const float4 one = *(const float4 *)(from + (swap ? 4 : 0));
        const float4 other = *(const float4 *)(from + (swap ? 0 : 4));
        const float4 low = swap ? other : one, high = swap ? one : other;
        to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
        to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
    } else {
        load(to, from);
    }
}

template <int COUNT>
DEVICE void store_shared(float *to, const float (&from)[COUNT]) {
    if constexpr (COUNT == 8) {
        const u32 swap = threadIdx.x >> 2 & 1;
        float one[4], other[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            one[i] = choose(swap, from[i + 4], from[i]);
            other[i] = choose(swap, from[i], from[i + 4]);
        }
        store_four(shared_address(to) + swap * 16, one);
        store_four(shared_address(to) + 16 - swap * 16, other);
    } else {
        store(to, from);
    }
}

// Four parameters: one access where they lie on 16 bytes, which parameters in one buffer need not.
DEVICE void load_parameters(float (&to)[4], const float *from) {
    if (((u64)from & 15) == 0) {
        load(to, from);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) to[i] = from[i];
    }
}
