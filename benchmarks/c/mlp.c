/* The MLP 20-256-10, forward and a training step with Adam. */

#include <math.h>

#include "layers.h"

/* The parameters, then Adam's means and mean squares in the same order, then the steps taken. */
enum { W1, B1, W2, B2, PARAMETERS, STEPS = 3 * PARAMETERS };

void mlp_forward(const float *X, float *const *p, float learning_rate, float *result) {
    (void)learning_rate;
    float hidden[BATCH * 256];
    linear(20, 256, X, p[W1], p[B1], hidden);
    relu(BATCH * 256, hidden);
    linear_narrow(256, 10, hidden, p[W2], p[B2], result);
}

typedef struct {
    float step_size, correction; /* both change with the number of steps */
} adam;

/* Changes one parameter by Adam's rule. */
ALWAYS_INLINE void adam_change(adam rates, float gradient, float *restrict value,
                               float *restrict mean, float *restrict square) {
    *mean = 0.9f * *mean + 0.1f * gradient;
    *square = 0.999f * *square + 0.001f * gradient * gradient;
    *value -= rates.step_size * *mean / (sqrtf(*square) * rates.correction + 1e-8f);
}

/* Changes a weight of (rows, columns), whose gradient is the sum over the batch of
   left[row] right[column] and is nowhere stored. */
ALWAYS_INLINE void weight_adam(int rows, int columns, const float *restrict left,
                               const float *restrict right, adam rates, float *restrict W,
                               float *restrict mean, float *restrict square) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) {
            float gradient = 0;
            for (int n = 0; n < BATCH; n++)
                gradient += left[n * rows + r] * right[n * columns + c];
            int at = r * columns + c;
            adam_change(rates, gradient, &W[at], &mean[at], &square[at]);
        }
}

/* Changes a bias, whose gradient is the sum of dy's rows. */
ALWAYS_INLINE void bias_adam(int outputs, const float *restrict dy, adam rates, float *restrict b,
                             float *restrict mean, float *restrict square) {
    for (int o = 0; o < outputs; o++) {
        float gradient = 0;
        for (int n = 0; n < BATCH; n++)
            gradient += dy[n * outputs + o];
        adam_change(rates, gradient, &b[o], &mean[o], &square[o]);
    }
}

void mlp_train(const float *X, float *const *p, float learning_rate, float *result) {
    float hidden[BATCH * 256], y[BATCH * 10], dy[BATCH * 10], d_hidden[BATCH * 256];
    linear(20, 256, X, p[W1], p[B1], hidden);
    relu(BATCH * 256, hidden);
    linear_narrow(256, 10, hidden, p[W2], p[B2], y);
    float loss = 0;
    for (int i = 0; i < BATCH * 10; i++) {
        loss += y[i];
        dy[i] = 1;
    }
    *result = loss;
    linear_narrow_backward_input(256, 10, dy, p[W2], d_hidden);
    relu_backward(BATCH * 256, hidden, d_hidden);

    float *const *mean = p + PARAMETERS, *const *square = p + 2 * PARAMETERS;
    float steps = *p[STEPS] += 1;
    adam rates = {learning_rate / (1 - powf(0.9f, steps)), 1 / sqrtf(1 - powf(0.999f, steps))};
    weight_adam(10, 256, dy, hidden, rates, p[W2], mean[W2], square[W2]);
    bias_adam(10, dy, rates, p[B2], mean[B2], square[B2]);
    weight_adam(20, 256, X, d_hidden, rates, p[W1], mean[W1], square[W1]);
    bias_adam(256, d_hidden, rates, p[B1], mean[B1], square[B1]);
}
