// Batch normalisation with its activation: statistics, apply; sums of the backward pass, its apply.
//
//   x -> moments of pieces -> finish (f64) -> mean, remainder, variance, 1/sqrt(variance + eps), running statistics
//   x -> y = f(((x - mean) - remainder) * inverse * gamma + beta)
//   x, dy -> sums of g and g * normalised, pieces -> finish (f64) -> dbeta, dgamma -> dx
//
// A convolution's epilogue writes the moments of its tiles in the same layout; then the first pass is not needed.
#include "channels.cuh"

// f of the fused activation.
static const int RELU = 1, ELU = 2;

DEVICE float activate(float value, int activation) {
    if (activation == RELU) return value < 0.0f ? 0.0f : value;
    if (activation == ELU) return value > 0.0f ? value : expm1f(value);
    return value;
}

// dy * f'(value). A choice, not a product: an infinite dy must not become NaN where f' is 0.
DEVICE float gate(float gradient, float value, int activation) {
    if (activation == RELU) return value <= 0.0f ? 0.0f : gradient;
    if (activation == ELU) return value > 0.0f ? gradient : gradient * expf(value);
    return gradient;
}

// Byte for byte `MomentsArguments` of batch_norm/cuda.rs.
struct MomentsArguments {
    const void *input;
    // [pieces, 2, channels]: mean, less the base, and sum of squared deviations of each piece.
    float *moments;
    // [channels]: the first row. Means so far from 0 that f32 has no digits left for sigma keep them as differences.
    float *base;
    Channels shape;
};

// Deviations from the thread's first value: raw squares would lose their digits where the mean is large.
template <class Element, int COUNT>
DEVICE void moments_of_piece(const MomentsArguments &arguments) {
    __shared__ __align__(16) float means[256 * COUNT];
    __shared__ __align__(16) float squares[256 * COUNT];
    const Channels &shape = arguments.shape;
    const Place<COUNT> place(shape, blockIdx.x);
    const Element *input = (const Element *)arguments.input + place.channel;
    float base[COUNT] = {}, pivot[COUNT] = {}, sum[COUNT] = {}, square[COUNT] = {};
    if (place.first < place.end) load(base, input);
    if (place.first < place.end) load(pivot, input + (i64)place.first * shape.pitch);
    int rows = 0;
#pragma unroll 2
    for (int row = place.first; row < place.end; row += shape.lanes) {
        float value[COUNT];
        load(value, input + (i64)row * shape.pitch);
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            const float deviation = value[i] - pivot[i];
            sum[i] += deviation;
            square[i] = fmaf(deviation, deviation, square[i]);
        }
        rows++;
    }
    const int width = shape.vectors * COUNT;
    if (place.lane < shape.lanes) {
        const float share = rows > 0 ? 1.0f / (float)rows : 0.0f;
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            const float shift = sum[i] * share;
            square[i] -= sum[i] * shift;
            pivot[i] = (pivot[i] - base[i]) + shift;
        }
        store_shared(&means[place.lane * width + place.vector * COUNT], pivot);
        store_shared(&squares[place.lane * width + place.vector * COUNT], square);
    }
    __syncthreads();
    const int channel = blockIdx.y * width + threadIdx.x;
    if (threadIdx.x >= width || channel >= shape.channels) return;
    // Joined around the mean of all (Chan, Golub and LeVeque, 1983), lanes in order.
    const int first = blockIdx.x * shape.piece, all = min(shape.piece, shape.rows - first);
    float mean = 0.0f, total = 0.0f;
    for (int lane = 0; lane < min(shape.lanes, all); lane++) {
        const float count = (float)((all - lane + shape.lanes - 1) / shape.lanes);
        mean = fmaf(count / (float)all, means[lane * width + threadIdx.x], mean);
    }
    for (int lane = 0; lane < min(shape.lanes, all); lane++) {
        const float count = (float)((all - lane + shape.lanes - 1) / shape.lanes);
        const float deviation = means[lane * width + threadIdx.x] - mean;
        total += fmaf(count * deviation, deviation, squares[lane * width + threadIdx.x]);
    }
    float *moments = arguments.moments + (i64)blockIdx.x * 2 * shape.channels;
    moments[channel] = mean;
    moments[shape.channels + channel] = total;
    if (blockIdx.x == 0) arguments.base[channel] = widen(((const Element *)arguments.input)[channel]);
}

// Byte for byte `FinishArguments` of batch_norm/cuda.rs.
struct FinishArguments {
    // [pieces, 2, channels]; null: mean and variance are the running ones.
    const float *moments;
    // [channels]: what was subtracted from the means; null for nothing.
    const float *base;
    float *mean;
    float *remainder;
    float *variance;
    float *inverse;
    // Running statistics, updated where `momentum` is above 0; or null.
    float *running_mean;
    float *running_variance;
    int pieces;
    // Rows of each piece but the last, and of all.
    int piece;
    int rows;
    int channels;
    float epsilon;
    float momentum;
};

static const int FINISH_CHANNELS = 32, FINISH_LANES = 16;

// Adds a channel's 16 partial sums in order; the same in all its lanes.
DEVICE double channel_sum(double value, double (*parts)[FINISH_CHANNELS]) {
    const int channel = threadIdx.x % FINISH_CHANNELS, lane = threadIdx.x / FINISH_CHANNELS;
    parts[lane][channel] = value;
    __syncthreads();
    double sum = 0.0;
    for (int i = 0; i < FINISH_LANES; i++) sum += parts[i][channel];
    __syncthreads();
    return sum;
}

// Joins the pieces' moments. Grid: groups of 32 channels; 512 threads.
extern "C" __global__ void __launch_bounds__(512) batch_norm_finish(const FinishArguments arguments) {
    __shared__ double parts[FINISH_LANES][FINISH_CHANNELS];
    const int channel = blockIdx.x * FINISH_CHANNELS + threadIdx.x % FINISH_CHANNELS;
    const int lane = threadIdx.x / FINISH_CHANNELS;
    const bool active = channel < arguments.channels;
    double mean, variance;
    if (arguments.moments != nullptr) {
        const float *moments = arguments.moments + channel;
        const i64 step = 2 * (i64)arguments.channels;
        double sum = 0.0;
        for (int piece = lane; active && piece < arguments.pieces; piece += FINISH_LANES) {
            const int rows = min(arguments.piece, arguments.rows - piece * arguments.piece);
            sum += (double)rows * (double)moments[piece * step];
        }
        mean = channel_sum(sum, parts) / (double)arguments.rows;
        sum = 0.0;
        for (int piece = lane; active && piece < arguments.pieces; piece += FINISH_LANES) {
            const int rows = min(arguments.piece, arguments.rows - piece * arguments.piece);
            const double deviation = (double)moments[piece * step] - mean;
            sum += (double)moments[piece * step + arguments.channels] + (double)rows * deviation * deviation;
        }
        variance = channel_sum(sum, parts) / (double)arguments.rows;
        // Rounding can leave a tiny negative sum; a NaN stays.
        if (variance < 0.0) variance = 0.0;
        if (active && arguments.base != nullptr) mean += (double)arguments.base[channel];
    } else {
        mean = active ? (double)arguments.running_mean[channel] : 0.0;
        variance = active ? (double)arguments.running_variance[channel] : 0.0;
    }
    if (!active || lane > 0) return;
    arguments.mean[channel] = (float)mean;
    arguments.remainder[channel] = (float)(mean - (double)(float)mean);
    arguments.variance[channel] = (float)variance;
    arguments.inverse[channel] = (float)(1.0 / sqrt(variance + (double)arguments.epsilon));
    if (arguments.moments != nullptr && arguments.running_mean != nullptr) {
        const double keep = 1.0 - (double)arguments.momentum, take = (double)arguments.momentum;
        const double unbiased = variance * ((double)arguments.rows / fmax((double)arguments.rows - 1.0, 1.0));
        arguments.running_mean[channel] = (float)(keep * (double)arguments.running_mean[channel] + take * mean);
        arguments.running_variance[channel] =
            (float)(keep * (double)arguments.running_variance[channel] + take * unbiased);
    }
}

// Byte for byte `ApplyArguments` of batch_norm/cuda.rs.
struct ApplyArguments {
    const void *input;
    // The output's gradient, backward.
    const void *gradient;
    // y, or dx; may be the memory of `gradient`.
    void *output;
    // [pieces, 2, channels]: sums of g and g * normalised; the sums pass writes them.
    float *sums;
    const float *mean;
    const float *remainder;
    const float *inverse;
    const float *gamma;
    const float *beta;
    // [2, channels]: the sums of all pieces, for dx.
    const float *total;
    Channels shape;
    int activation;
    // 1 / rows; 0 where the statistics were given.
    float share;
};

template <int COUNT>
struct Normaliser {
    float mean[COUNT], remainder[COUNT], inverse[COUNT], gamma[COUNT], beta[COUNT];

    template <int TABLES>
    DEVICE_MEMBER Normaliser(const SharedTables<COUNT, TABLES> &tables, const Place<COUNT> &place) {
        tables.take(mean, 0, place);
        tables.take(remainder, 1, place);
        tables.take(inverse, 2, place);
        tables.take(gamma, 3, place);
        tables.take(beta, 4, place);
    }

    DEVICE_MEMBER float normalised(float value, int i) const { return (value - mean[i] - remainder[i]) * inverse[i]; }

    DEVICE_MEMBER float affine(float normalised, int i) const { return fmaf(normalised, gamma[i], beta[i]); }
};

template <class Element, int COUNT>
DEVICE void apply(const ApplyArguments &arguments) {
    const Channels &shape = arguments.shape;
    __shared__ SharedTables<COUNT, 5> tables;
    const Place<COUNT> place(shape, blockIdx.x);
    const float *const all[] = {arguments.mean, arguments.remainder, arguments.inverse, arguments.gamma, arguments.beta};
    tables.fill(shape, all);
    __syncthreads();
    if (!place.active) return;
    const Normaliser<COUNT> channel(tables, place);
    const Element *input = (const Element *)arguments.input + place.channel;
    Element *output = (Element *)arguments.output + place.channel;
#pragma unroll 2
    for (int row = place.first; row < place.end; row += shape.lanes) {
        float value[COUNT];
        load(value, input + (i64)row * shape.pitch);
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            value[i] = activate(channel.affine(channel.normalised(value[i], i), i), arguments.activation);
        }
        store(output + (i64)row * shape.pitch, value);
    }
}

template <class Element, int COUNT>
DEVICE void gradient_sums(const ApplyArguments &arguments) {
    const Channels &shape = arguments.shape;
    __shared__ SharedTables<COUNT, 5> tables;
    const Place<COUNT> place(shape, blockIdx.x);
    const float *const all[] = {arguments.mean, arguments.remainder, arguments.inverse, arguments.gamma, arguments.beta};
    tables.fill(shape, all);
    __syncthreads();
    float sums[2][COUNT] = {};
    if (place.active) {
        const Normaliser<COUNT> channel(tables, place);
        const Element *input = (const Element *)arguments.input + place.channel;
        const Element *gradient = (const Element *)arguments.gradient + place.channel;
        for (int row = place.first; row < place.end; row += shape.lanes) {
            float value[COUNT], g[COUNT];
            load(value, input + (i64)row * shape.pitch);
            load(g, gradient + (i64)row * shape.pitch);
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                const float normalised = channel.normalised(value[i], i);
                const float gated = gate(g[i], channel.affine(normalised, i), arguments.activation);
                sums[0][i] += gated;
                sums[1][i] = fmaf(gated, normalised, sums[1][i]);
            }
        }
    }
    write_sums(shape, place, sums, arguments.sums + (i64)blockIdx.x * 2 * shape.channels);
}

template <class Element, int COUNT>
DEVICE void input_gradient(const ApplyArguments &arguments) {
    const Channels &shape = arguments.shape;
    __shared__ SharedTables<COUNT, 7> tables;
    const Place<COUNT> place(shape, blockIdx.x);
    const float *const all[] = {arguments.mean,  arguments.remainder, arguments.inverse,               arguments.gamma,
                                arguments.beta, arguments.total,     arguments.total + shape.channels};
    tables.fill(shape, all);
    __syncthreads();
    if (!place.active) return;
    const Normaliser<COUNT> channel(tables, place);
    float beta[COUNT], gamma[COUNT];
    tables.take(beta, 5, place);
    tables.take(gamma, 6, place);
    const Element *input = (const Element *)arguments.input + place.channel;
    const Element *gradient = (const Element *)arguments.gradient + place.channel;
    Element *output = (Element *)arguments.output + place.channel;
    for (int row = place.first; row < place.end; row += shape.lanes) {
        float value[COUNT], g[COUNT];
        load(value, input + (i64)row * shape.pitch);
        load(g, gradient + (i64)row * shape.pitch);
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            const float normalised = channel.normalised(value[i], i);
            const float gated = gate(g[i], channel.affine(normalised, i), arguments.activation);
            const float through = (beta[i] + normalised * gamma[i]) * arguments.share;
            // Where the statistics were given nothing goes through them, whatever the sums are.
            const float rest = arguments.share == 0.0f ? gated : gated - through;
            g[i] = channel.gamma[i] * channel.inverse[i] * rest;
        }
        store(output + (i64)row * shape.pitch, g);
    }
}

#define FORMAT(SUFFIX, ELEMENT, COUNT)                                                                              \
    extern "C" __global__ void __launch_bounds__(256) batch_norm_moments_##SUFFIX(const MomentsArguments a) {       \
        moments_of_piece<ELEMENT, COUNT>(a);                                                                        \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) batch_norm_apply_##SUFFIX(const ApplyArguments a) {           \
        apply<ELEMENT, COUNT>(a);                                                                                   \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) batch_norm_gradient_sums_##SUFFIX(const ApplyArguments a) {   \
        gradient_sums<ELEMENT, COUNT>(a);                                                                           \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) batch_norm_input_gradient_##SUFFIX(const ApplyArguments a) {  \
        input_gradient<ELEMENT, COUNT>(a);                                                                          \
    }

FORMAT(f32, float, 4)
FORMAT(bf16, Bf16, 8)
FORMAT(f32_odd, float, 1)
FORMAT(bf16_odd, Bf16, 1)
