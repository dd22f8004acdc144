// Losses on the softmax of logits [rows, classes] with labels [rows]: cross-entropy and focal loss, weighted by
// class if wanted, and soft Dice. A thread takes four rows; sums are f64, in a fixed order. Exponentials are f32 of
// logit - largest, everything after them f64.
#include "reduce.cuh"

static const int THREADS = 256, ROWS = 4, PIECE = THREADS * ROWS;
// Numerator, denominator and rows out of range come before the classes' sums.
static const int FIXED = 3;

// Byte for byte `SoftmaxArguments` of loss/cuda.rs.
struct SoftmaxArguments {
    const void *logits;
    const float *labels;
    // [classes], or null.
    const float *weights;
    // [pieces, 3 + 3 * classes].
    double *partial;
    // [3 + 2 * classes]: numerator, denominator, rows and weights out of range; then for each class what Dice
    // divides and by what, 0 and 0 for one that does not count.
    double *sums;
    // [1].
    float *loss;
    // The incoming gradient, [1], and the one of the logits.
    const float *incoming;
    void *gradient;
    double gamma;
    u32 rows;
    u32 pieces;
    int classes;
    int entropy;
    // Whether there is Dice, its first class and smooth.
    int dice;
    int first_class;
    float smooth;
    int reserved;
};

// What a row's terms are made of.
struct SoftmaxRow {
    // -1 for a row that does not exist or whose label is out of range.
    int label;
    float largest, shift;
    double sum, others, inverse;

    template <class Element>
    DEVICE_MEMBER void take(const SoftmaxArguments &arguments, u32 row, bool &invalid) {
        label = -1;
        invalid = false;
        largest = 0.0f, shift = 0.0f;
        sum = 0.0, others = 0.0, inverse = 0.0;
        if (row >= arguments.rows) return;
        const float given = arguments.labels[row];
        const bool valid = given >= 0.0f && given < (float)arguments.classes && given == floorf(given);
        invalid = !valid;
        if (!valid) return;
        label = (int)given;
        const Element *logits = (const Element *)arguments.logits + (u64)row * arguments.classes;
        largest = widen(logits[0]);
        for (int k = 1; k < arguments.classes; k++) largest = fmaxf(largest, widen(logits[k]));
        for (int k = 0; k < arguments.classes; k++) {
            const float difference = widen(logits[k]) - largest;
            const double power = (double)expf(difference);
            sum += power;
            if (k == label) {
                shift = difference;
            } else {
                others += power;
            }
        }
        inverse = 1.0 / sum;
    }

    // -ln q, where q is the label's probability.
    DEVICE_MEMBER double entropy() const { return log(sum) - (double)shift; }

    DEVICE_MEMBER double weight(const SoftmaxArguments &arguments) const {
        return arguments.weights == nullptr ? 1.0 : (double)arguments.weights[label];
    }
};

// u^gamma.
DEVICE double modulation(double u, double gamma) {
    if (gamma == 0.0) return 1.0;
    if (gamma == 2.0) return u * u;
    return pow(u, gamma);
}

template <class Element>
DEVICE void softmax_sums(const SoftmaxArguments &arguments) {
    const int width = FIXED + 3 * arguments.classes;
    double *partial = arguments.partial + (u64)blockIdx.x * width;
    const u32 first = blockIdx.x * PIECE + threadIdx.x;
    SoftmaxRow rows[ROWS];
    double numerator = 0.0, denominator = 0.0, invalid_rows = 0.0;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        bool invalid;
        rows[i].take<Element>(arguments, first + i * THREADS, invalid);
        if (invalid) invalid_rows += 1.0;
        if (arguments.entropy && rows[i].label >= 0) {
            const double weight = rows[i].weight(arguments);
            numerator += weight * rows[i].entropy() *
                         modulation(rows[i].others * rows[i].inverse, arguments.gamma);
            denominator += weight;
        }
    }
    numerator = block_sum<THREADS>(numerator);
    denominator = block_sum<THREADS>(denominator);
    invalid_rows = block_sum<THREADS>(invalid_rows);
    if (threadIdx.x == 0) {
        partial[0] = numerator;
        partial[1] = denominator;
        partial[2] = invalid_rows;
    }
#pragma unroll 1
    for (int k = 0; k < arguments.classes; k++) {
        double both = 0.0, one = 0.0, other = 0.0;
        if (arguments.dice) {
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                if (rows[i].label < 0) continue;
                const Element *logits =
                    (const Element *)arguments.logits + (u64)(first + i * THREADS) * arguments.classes;
                const double q = (double)expf(widen(logits[k]) - rows[i].largest) * rows[i].inverse;
                one += q;
                if (k == rows[i].label) {
                    both += q;
                    other += 1.0;
                }
            }
        }
        both = block_sum<THREADS>(both);
        one = block_sum<THREADS>(one);
        other = block_sum<THREADS>(other);
        if (threadIdx.x == 0) {
            partial[FIXED + 3 * k] = both;
            partial[FIXED + 3 * k + 1] = one;
            partial[FIXED + 3 * k + 2] = other;
        }
    }
}

// One block: a thread a class, then one for the value.
extern "C" __global__ void __launch_bounds__(THREADS) softmax_loss_finish(const SoftmaxArguments arguments) {
    const int width = FIXED + 3 * arguments.classes;
    auto total = [&](int column) {
        double sum = 0.0;
        for (u32 piece = 0; piece < arguments.pieces; piece++) sum += arguments.partial[(u64)piece * width + column];
        return sum;
    };
    const double smooth = (double)arguments.smooth;
    for (int k = threadIdx.x; k < arguments.classes; k += THREADS) {
        const bool counts = arguments.dice && k >= arguments.first_class;
        const double both = total(FIXED + 3 * k), one = total(FIXED + 3 * k + 1), other = total(FIXED + 3 * k + 2);
        arguments.sums[FIXED + 2 * k] = counts ? 2.0 * both + smooth : 0.0;
        arguments.sums[FIXED + 2 * k + 1] = counts ? one + other + smooth : 0.0;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    const double numerator = total(0), denominator = total(1);
    double invalid = total(2), dice = 0.0, counted = 0.0;
    for (int k = 0; k < arguments.classes; k++) {
        const double below = arguments.sums[FIXED + 2 * k + 1];
        if (below != 0.0) {
            dice += 1.0 - arguments.sums[FIXED + 2 * k] / below;
            counted += 1.0;
        }
        if (arguments.weights != nullptr) {
            const float weight = arguments.weights[k];
            if (!(weight >= 0.0f && weight - weight == 0.0f)) invalid += 1.0;
        }
    }
    const double value = denominator == 0.0 ? 0.0 : numerator / denominator;
    arguments.sums[0] = numerator;
    arguments.sums[1] = denominator;
    arguments.sums[2] = invalid;
    arguments.loss[0] = (float)(counted > 0.0 ? value + dice / counted : value);
}

template <class Element>
DEVICE void softmax_gradient(const SoftmaxArguments &arguments) {
    const u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= arguments.rows) return;
    SoftmaxRow row = {};
    bool invalid;
    row.take<Element>(arguments, at, invalid);
    const Element *logits = (const Element *)arguments.logits + (u64)at * arguments.classes;
    Element *gradient = (Element *)arguments.gradient + (u64)at * arguments.classes;
    const double dy = (double)arguments.incoming[0], weights = arguments.sums[1];
    // The factor of q - one-hot.
    double factor = 0.0;
    if (arguments.entropy && !invalid && weights > 0.0) {
        double focus = 1.0;
        if (arguments.gamma != 0.0) {
            const double u = row.others * row.inverse;
            const double ratio = u > 0.0 ? row.entropy() / u : 1.0;
            focus = modulation(u, arguments.gamma) * (arguments.gamma * (1.0 - u) * ratio + 1.0);
        }
        factor = dy / weights * row.weight(arguments) * focus;
    }
    const double counted = (double)(arguments.classes - arguments.first_class);
    // The gradient of class k's Dice by q is base - slope * [label = k].
    auto of_class = [&](int k) {
        const double above = arguments.sums[FIXED + 2 * k], below = arguments.sums[FIXED + 2 * k + 1];
        if (below == 0.0) return 0.0;
        return dy / counted * above / (below * below) - (k == row.label ? 2.0 * dy / counted / below : 0.0);
    };
    double mean = 0.0;
    if (arguments.dice) {
        for (int k = 0; k < arguments.classes; k++) {
            mean += (double)expf(widen(logits[k]) - row.largest) * row.inverse * of_class(k);
        }
    }
    for (int k = 0; k < arguments.classes; k++) {
        const double q = (double)expf(widen(logits[k]) - row.largest) * row.inverse;
        // q - 1 of the label without cancellation.
        const double difference = k == row.label ? -row.others * row.inverse : q;
        const double through = arguments.dice ? q * (of_class(k) - mean) : 0.0;
        gradient[k] = narrow<Element>((float)(factor * difference + through));
    }
}

#define FORMAT(FORMAT, ELEMENT)                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS) softmax_loss_sums_##FORMAT(const SoftmaxArguments a) {  \
        softmax_sums<ELEMENT>(a);                                                                                 \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                         \
        softmax_loss_gradient_##FORMAT(const SoftmaxArguments a) {                                                \
        softmax_gradient<ELEMENT>(a);                                                                             \
    }
FORMAT(f32, float)
FORMAT(bf16, Bf16)
