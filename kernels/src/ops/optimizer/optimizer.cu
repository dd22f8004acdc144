// Optimisers over flat buffers, and the length of the gradient. Formulas and their order are those of mod.rs.
#include "reduce.cuh"

// Byte for byte `OptimizerArguments` of optimizer/cuda.rs.
struct OptimizerArguments {
    float *parameters;
    const float *gradients;
    // Momentum, or Adam's mean.
    float *first;
    // Adam's squares.
    float *second;
    // The factor of clipping, or null.
    const float *factor;
    u64 elements;
    // SGD: rate, momentum, 1 - dampening, weight decay. In step 1 momentum is 0 and dampening too.
    // Adam: rate / (1 - beta1^t), beta1, beta2, epsilon, coupled decay, 1 - rate * decoupled decay,
    // sqrt(1 - beta2^t).
    float values[7];
    int nesterov;
};

#define OPTIMIZER(NAME) extern "C" __global__ void __launch_bounds__(256) NAME(const OptimizerArguments arguments)
#define EACH_ELEMENT                                                        \
    const u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;              \
    if (at >= arguments.elements) return;                                   \
    float p = arguments.parameters[at], g = arguments.gradients[at];        \
    if (arguments.factor != nullptr) g *= *arguments.factor;

OPTIMIZER(sgd) {
    EACH_ELEMENT
    const float rate = arguments.values[0], decay = arguments.values[3];
    g = fmaf(decay, p, g);
    arguments.parameters[at] = p - rate * g;
}

OPTIMIZER(sgd_momentum) {
    EACH_ELEMENT
    const float rate = arguments.values[0], momentum = arguments.values[1];
    const float share = arguments.values[2], decay = arguments.values[3], kept = arguments.values[4];
    g = fmaf(decay, p, g);
    // `kept` is the momentum, but 0 in step 1, when the buffer is the gradient.
    const float moved = fmaf(kept, arguments.first[at], share * g);
    arguments.first[at] = moved;
    const float direction = arguments.nesterov ? fmaf(momentum, moved, g) : moved;
    arguments.parameters[at] = p - rate * direction;
}

OPTIMIZER(adam) {
    EACH_ELEMENT
    const float rate = arguments.values[0], beta1 = arguments.values[1], beta2 = arguments.values[2];
    const float epsilon = arguments.values[3], decay = arguments.values[4];
    const float shrink = arguments.values[5], root = arguments.values[6];
    g = fmaf(decay, p, g);
    const float mean = fmaf(beta1, arguments.first[at], (1.0f - beta1) * g);
    const float squares = fmaf(beta2, arguments.second[at], (1.0f - beta2) * g * g);
    arguments.first[at] = mean;
    arguments.second[at] = squares;
    arguments.parameters[at] = p * shrink - rate * mean / (sqrtf(squares) / root + epsilon);
}

// Byte for byte `NormArguments` of optimizer/cuda.rs.
struct NormArguments {
    const float *gradients;
    // [pieces]: sums of squares.
    double *partial;
    // [2]: the norm, and the factor to clip by.
    float *norm;
    u64 elements;
    u32 pieces;
    float limit;
};

static const int THREADS = 256, PIECE = 16384;

// Grid: pieces of 16384 elements.
extern "C" __global__ void __launch_bounds__(THREADS) gradient_norm_sums(const NormArguments arguments) {
    const u64 first = (u64)blockIdx.x * PIECE;
    double sum = 0.0;
    for (int i = threadIdx.x; i < PIECE; i += THREADS) {
        if (first + i < arguments.elements) {
            const double g = (double)arguments.gradients[first + i];
            sum += g * g;
        }
    }
    sum = block_sum<THREADS>(sum);
    if (threadIdx.x == 0) arguments.partial[blockIdx.x] = sum;
}

// One block. The factor is 1 where nothing is to be clipped, also for a norm that is NaN or infinite.
extern "C" __global__ void __launch_bounds__(THREADS) gradient_norm_finish(const NormArguments arguments) {
    double sum = 0.0;
    for (u32 piece = threadIdx.x; piece < arguments.pieces; piece += THREADS) sum += arguments.partial[piece];
    sum = block_sum<THREADS>(sum);
    if (threadIdx.x > 0) return;
    const double norm = sqrt(sum);
    const double factor = (double)arguments.limit / (norm + 1e-6);
    const bool clips = arguments.limit > 0.0f && factor < 1.0 && norm - norm == 0.0;
    arguments.norm[0] = (float)norm;
    arguments.norm[1] = clips ? (float)factor : 1.0f;
}
