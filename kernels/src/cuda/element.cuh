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

// COUNT elements as f32: one access of 16 bytes where that is what COUNT elements are, else one at a time.
template <int COUNT, class Element>
DEVICE void load(float (&to)[COUNT], const Element *from) {
    if constexpr (COUNT * sizeof(Element) == 16) {
        const Words words = *(const Words *)from;
        if constexpr (sizeof(Element) == 4) {
            for (int i = 0; i < 4; i++) to[i] = __int_as_float((int)words.word[i]);
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                to[2 * i] = widen(Element{(u16)words.word[i]});
                to[2 * i + 1] = widen(Element{(u16)(words.word[i] >> 16)});
            }
        }
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; i++) to[i] = widen(from[i]);
    }
}

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
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; i++) to[i] = narrow<Element>(from[i]);
    }
}
