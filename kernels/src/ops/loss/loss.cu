// Losses of a prediction and a target of one shape: sums of pieces, their finish, the gradient. Sums are f64, in a
// fixed order. Formulas and edges are those of mod.rs.
#include "reduce.cuh"
#include "sigmoid.cuh"

static const int MSE = 0, MASKED_MSE = 1, BCE = 2, BCE_LOGITS = 3, WEIGHTED_BCE = 4, DICE = 5, SIGMOID_MSE = 6,
                 SIGMOID_DICE = 7, SIGMOID_DICE_BCE = 8, SIGMOID_FOCAL = 9;

// Sums of a piece: up to four terms, and how many elements are out of range.
static const int TERMS = 4, SUMS = TERMS + 1;
static const int THREADS = 256, PIECE = 2048;

// Byte for byte `LossArguments` of loss/cuda.rs.
struct LossArguments {
    const void *prediction;
    const float *target;
    // The mask of MASKED_MSE, else null.
    const float *mask;
    // The sigmoid that SIGMOID_MSE keeps, f32.
    float *kept;
    // [pieces, 5].
    double *partial;
    // [5]: numerator, denominator, those of Dice beside a cross-entropy, elements out of range.
    double *sums;
    // [1].
    float *loss;
    // The incoming gradient, [1], and the one of the prediction.
    const float *incoming;
    void *gradient;
    u64 elements;
    u32 pieces;
    int kind;
    // smooth, or the weight of positive targets, or alpha and gamma.
    float first;
    float second;
};

// ln q and its company for the focal loss: z = x for a positive target, else -x; q = sigmoid(z).
struct Focal {
    float weight, modulation, entropy, q, rest;

    DEVICE_MEMBER Focal(float x, float t, float alpha, float gamma) {
        const float sign = 2.0f * t - 1.0f, z = sign * x;
        const float power = expf(-fabsf(z)), tail = log1pf(power);
        const float up = z < 0.0f ? 0.0f : z, down = z > 0.0f ? 0.0f : -z;
        const float near = 1.0f / (1.0f + power), far = power / (1.0f + power);
        weight = sign * (t * alpha + (1.0f - t) * (1.0f - alpha));
        // 1 - q = exp(-ln(1 + exp(z))): no digits are lost where q is nearly 1.
        modulation = expf(-gamma * (up + tail));
        entropy = down + tail;
        q = z < 0.0f ? far : near;
        rest = z < 0.0f ? near : far;
    }
};

DEVICE double square(double value) { return value * value; }

template <class Element>
DEVICE void loss_sums(const LossArguments &arguments) {
    const u64 first = (u64)blockIdx.x * PIECE;
    double sums[SUMS] = {};
#pragma unroll 1
    for (int i = threadIdx.x; i < PIECE; i += THREADS) {
        const u64 at = first + i;
        if (at >= arguments.elements) break;
        const float x = widen(((const Element *)arguments.prediction)[at]), t = arguments.target[at];
        float p = x;
        switch (arguments.kind) {
            case MSE: sums[0] += square((double)x - (double)t); break;
            case MASKED_MSE: {
                const double weight = (double)arguments.mask[at];
                // Outside the mask anything goes, NaN included.
                if (weight != 0.0) sums[0] += weight * square((double)x - (double)t);
                sums[1] += weight;
                break;
            }
            case BCE: {
                if (!(x >= 0.0f && x <= 1.0f)) sums[TERMS] += 1.0;
                const double yes = fmax(log((double)x), -100.0), no = fmax(log1p(-(double)x), -100.0);
                sums[0] -= (double)t * yes + (1.0 - (double)t) * no;
                break;
            }
            case BCE_LOGITS: sums[0] += logistic_loss(x, t); break;
            case WEIGHTED_BCE:
                sums[0] += (double)arguments.first * (double)t * (double)softplus(-x) +
                           (1.0 - (double)t) * (double)softplus(x);
                break;
            case SIGMOID_MSE:
                p = sigmoid(x);
                arguments.kept[at] = p;
                sums[0] += square((double)p - (double)t);
                break;
            case SIGMOID_FOCAL: {
                if (t != 0.0f && t != 1.0f) sums[TERMS] += 1.0;
                const Focal focal(x, t, arguments.first, arguments.second);
                sums[0] += (double)(fabsf(focal.weight) * focal.modulation * focal.entropy);
                break;
            }
            default:
                if (arguments.kind != DICE) p = sigmoid(x);
                if (arguments.kind == SIGMOID_DICE_BCE) sums[3] += logistic_loss(x, t);
                sums[0] += (double)p * (double)t;
                sums[1] += (double)p;
                sums[2] += (double)t;
        }
    }
#pragma unroll
    for (int term = 0; term < SUMS; term++) {
        const double sum = block_sum<THREADS>(sums[term]);
        if (threadIdx.x == 0) arguments.partial[(u64)blockIdx.x * SUMS + term] = sum;
    }
}

// One block.
extern "C" __global__ void __launch_bounds__(THREADS) loss_finish(const LossArguments arguments) {
    double sums[SUMS];
#pragma unroll
    for (int term = 0; term < SUMS; term++) {
        double sum = 0.0;
        for (u32 piece = threadIdx.x; piece < arguments.pieces; piece += THREADS) {
            sum += arguments.partial[(u64)piece * SUMS + term];
        }
        sums[term] = block_sum<THREADS>(sum);
    }
    if (threadIdx.x > 0) return;
    const double smooth = (double)arguments.first;
    const double above = 2.0 * sums[0] + smooth, below = sums[1] + sums[2] + smooth;
    double numerator = sums[0], denominator = (double)arguments.elements, value;
    switch (arguments.kind) {
        case DICE:
        case SIGMOID_DICE:
            numerator = above;
            denominator = below;
            value = 1.0 - above / below;
            break;
        case SIGMOID_DICE_BCE:
            numerator = sums[3];
            value = numerator / denominator + (1.0 - above / below);
            break;
        case MASKED_MSE:
            denominator = sums[1];
            // An empty mask.
            value = denominator == 0.0 ? 0.0 : numerator / denominator;
            break;
        default: value = numerator / denominator;
    }
    arguments.sums[0] = numerator;
    arguments.sums[1] = denominator;
    arguments.sums[2] = above;
    arguments.sums[3] = below;
    arguments.sums[4] = sums[TERMS];
    arguments.loss[0] = (float)value;
}

template <class Element>
DEVICE void loss_gradient(const LossArguments &arguments) {
    const u64 at = (u64)blockIdx.x * THREADS + threadIdx.x;
    if (at >= arguments.elements) return;
    const double dy = (double)arguments.incoming[0], denominator = arguments.sums[1];
    const float share = denominator == 0.0 ? 0.0f : (float)(dy / denominator), twice = 2.0f * share;
    const double above = arguments.sums[2], below = arguments.sums[3];
    // The gradient of Dice by p is base - slope * t.
    const float base = (float)(dy * above / (below * below)), slope = (float)(2.0 * dy / below);
    const float t = arguments.target[at];
    const float x = arguments.kind == SIGMOID_MSE ? arguments.kept[at]
                                                  : widen(((const Element *)arguments.prediction)[at]);
    float gradient;
    switch (arguments.kind) {
        case MSE: gradient = twice * (x - t); break;
        case MASKED_MSE: {
            const float mask = arguments.mask[at];
            gradient = mask == 0.0f ? 0.0f : twice * mask * (x - t);
            break;
        }
        case BCE: gradient = share * (x - t) / fmaxf(x * (1.0f - x), 1e-12f); break;
        case BCE_LOGITS: gradient = share * (sigmoid(x) - t); break;
        case WEIGHTED_BCE:
            gradient = share * ((1.0f - t) * sigmoid(x) - arguments.first * t * sigmoid(-x));
            break;
        case SIGMOID_MSE: gradient = twice * (x - t) * x * (1.0f - x); break;
        case SIGMOID_FOCAL: {
            const Focal focal(x, t, arguments.first, arguments.second);
            gradient = -share * focal.weight * focal.modulation *
                       (arguments.second * focal.q * focal.entropy + focal.rest);
            break;
        }
        case DICE: gradient = base - slope * t; break;
        default:
            gradient = (base - slope * t) * sigmoid(x) * sigmoid(-x);
            if (arguments.kind == SIGMOID_DICE_BCE) gradient += share * (sigmoid(x) - t);
    }
    ((Element *)arguments.gradient)[at] = narrow<Element>(gradient);
}

#define FORMAT(FORMAT, ELEMENT)                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) loss_sums_##FORMAT(const LossArguments a) {    \
        loss_sums<ELEMENT>(a);                                                                           \
    }                                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS) loss_gradient_##FORMAT(const LossArguments a) { \
        loss_gradient<ELEMENT>(a);                                                                       \
    }
FORMAT(f32, float)
FORMAT(bf16, Bf16)
