/* The chimera: three nested layers, a linear layer, then a layer used twice around a constant
   product, and a loop that halves until the sum of absolute values is at most 1. */

#include <math.h>

#include "layers.h"

enum { W1, B1, W2, B2, W3, B3, W4, B4, W5, B5, CONSTANT };

/* What the forward pass computes, and the backward pass reads. */
typedef struct {
    float h1[BATCH * 64], h2[BATCH * 32], h3[BATCH * 16], h4[BATCH * 20];
    float first[BATCH * 20], fixed[BATCH * 20], last[BATCH * 20];
    float scale; /* what the loop has multiplied by */
} activations;

static const float ones[20] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

ALWAYS_INLINE float forward(const float *X, float *const *p, activations *a) {
    linear(20, 64, X, p[W1], p[B1], a->h1);
    relu(BATCH * 64, a->h1);
    linear(64, 32, a->h1, p[W2], p[B2], a->h2);
    relu(BATCH * 32, a->h2);
    linear(32, 16, a->h2, p[W3], p[B3], a->h3);
    linear(16, 20, a->h3, p[W4], p[B4], a->h4);
    linear(20, 20, a->h4, p[W5], p[B5], a->first);
    linear(20, 20, a->first, p[CONSTANT], ones, a->fixed);
    relu(BATCH * 20, a->fixed);
    linear(20, 20, a->fixed, p[W5], p[B5], a->last);

    float *x = a->last;
    a->scale = 1;
    for (;;) {
        float size = 0;
#pragma omp simd reduction(+ : size)
        for (int i = 0; i < BATCH * 20; i++)
            size += fabsf(x[i]);
        if (!(size > 1))
            break;
        for (int i = 0; i < BATCH * 20; i++)
            x[i] /= 2;
        a->scale /= 2;
    }
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < BATCH * 20; i++)
        sum += x[i];
    return sum;
}

void chimera_forward(const float *X, float *const *p, float learning_rate, float *result) {
    (void)learning_rate;
    activations a;
    *result = forward(X, p, &a);
}

void chimera_train(const float *X, float *const *p, float rate, float *result) {
    activations a;
    *result = forward(X, p, &a);

    float d_last[BATCH * 20], d_fixed[BATCH * 20], d_first[BATCH * 20], d_h4[BATCH * 20];
    float d_h3[BATCH * 16], d_h2[BATCH * 32], d_h1[BATCH * 64];
    for (int i = 0; i < BATCH * 20; i++)
        d_last[i] = a.scale;
    linear_backward_input(20, 20, d_last, p[W5], d_fixed);
    relu_backward(BATCH * 20, a.fixed, d_fixed);
    linear_backward_input(20, 20, d_fixed, p[CONSTANT], d_first);
    linear_backward_input(20, 20, d_first, p[W5], d_h4);
    linear_backward_input(16, 20, d_h4, p[W4], d_h3);
    linear_backward_input(32, 16, d_h3, p[W3], d_h2);
    relu_backward(BATCH * 32, a.h2, d_h2);
    linear_backward_input(64, 32, d_h2, p[W2], d_h1);
    relu_backward(BATCH * 64, a.h1, d_h1);

    /* Both uses of the shared layer have been differentiated: now it may change. */
    linear_descend(20, 20, a.fixed, d_last, rate, p[W5], p[B5]);
    linear_descend(20, 20, a.h4, d_first, rate, p[W5], p[B5]);
    linear_descend(16, 20, a.h3, d_h4, rate, p[W4], p[B4]);
    linear_descend(32, 16, a.h2, d_h3, rate, p[W3], p[B3]);
    linear_descend(64, 32, a.h1, d_h2, rate, p[W2], p[B2]);
    linear_descend(20, 64, X, d_h1, rate, p[W1], p[B1]);
}
