// The logistic function and what losses make of it, without overflow on either side.
#pragma once
#include "port.cuh"

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// ln(1 + exp(x)).
DEVICE float softplus(float x) { return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x))); }

// Binary cross-entropy of a logit.
DEVICE double logistic_loss(float x, float t) {
    const float positive = x < 0.0f ? 0.0f : x;
    return (double)positive - (double)x * (double)t + (double)log1pf(expf(-fabsf(x)));
}
