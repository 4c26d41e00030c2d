/* The layers of the batch-2 networks, their sizes known to the compiler wherever they are used.

   Weights lie as (inputs, outputs), so that the innermost loop of a product runs along the outputs
   and needs no sum across a vector; only those of fewer than 16 outputs lie the other way. Where a
   sum across a vector is needed, `omp simd reduction` allows the compiler to reorder that one sum. */

#define BATCH 2
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Outputs of which the sums stay in registers at a time. */
#define TILE 32

/* y = x W + b */
ALWAYS_INLINE void linear(int inputs, int outputs, const float *restrict x,
                          const float *restrict W, const float *restrict b, float *restrict y) {
    const int tiled = outputs / TILE * TILE;
    for (int o = 0; o < tiled; o += TILE) {
        float sum[BATCH][TILE];
        for (int n = 0; n < BATCH; n++)
            for (int t = 0; t < TILE; t++)
                sum[n][t] = b[o + t];
        for (int i = 0; i < inputs; i++)
            for (int n = 0; n < BATCH; n++)
                for (int t = 0; t < TILE; t++)
                    sum[n][t] += x[n * inputs + i] * W[i * outputs + o + t];
        for (int n = 0; n < BATCH; n++)
            for (int t = 0; t < TILE; t++)
                y[n * outputs + o + t] = sum[n][t];
    }
    for (int n = 0; n < BATCH; n++)
        for (int r = tiled; r < outputs; r++)
            y[n * outputs + r] = b[r];
    for (int i = 0; i < inputs; i++)
        for (int n = 0; n < BATCH; n++)
            for (int r = tiled; r < outputs; r++)
                y[n * outputs + r] += x[n * inputs + i] * W[i * outputs + r];
}

/* y = x Wᵀ + b, for few outputs: the weight lies as (outputs, inputs), and the sums run along the
   inputs. */
ALWAYS_INLINE void linear_narrow(int inputs, int outputs, const float *restrict x,
                                 const float *restrict W, const float *restrict b,
                                 float *restrict y) {
    for (int o = 0; o < outputs; o++) {
        float first = 0, second = 0; /* of the batch */
#pragma omp simd reduction(+ : first, second)
        for (int i = 0; i < inputs; i++) {
            first += x[i] * W[o * inputs + i];
            second += x[inputs + i] * W[o * inputs + i];
        }
        y[o] = first + b[o];
        y[outputs + o] = second + b[o];
    }
}

ALWAYS_INLINE void relu(int size, float *x) {
    for (int i = 0; i < size; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
}

/* The gradient of relu, from its result. */
ALWAYS_INLINE void relu_backward(int size, const float *restrict y, float *restrict dy) {
    for (int i = 0; i < size; i++)
        dy[i] = y[i] > 0 ? dy[i] : 0;
}

/* dx = dy Wᵀ */
ALWAYS_INLINE void linear_backward_input(int inputs, int outputs, const float *restrict dy,
                                         const float *restrict W, float *restrict dx) {
    for (int i = 0; i < inputs; i++) {
        float first = 0, second = 0; /* of the batch */
#pragma omp simd reduction(+ : first, second)
        for (int o = 0; o < outputs; o++) {
            first += dy[o] * W[i * outputs + o];
            second += dy[outputs + o] * W[i * outputs + o];
        }
        dx[i] = first;
        dx[inputs + i] = second;
    }
}

/* The same for a weight that lies as (outputs, inputs): dx = dy W */
ALWAYS_INLINE void linear_narrow_backward_input(int inputs, int outputs, const float *restrict dy,
                                                const float *restrict W, float *restrict dx) {
    for (int n = 0; n < BATCH; n++)
        for (int i = 0; i < inputs; i++) {
            float sum = 0;
            for (int o = 0; o < outputs; o++)
                sum += dy[n * outputs + o] * W[o * inputs + i];
            dx[n * inputs + i] = sum;
        }
}

/* W -= rate xᵀ dy, b -= rate (the sum of dy's rows): the gradients are nowhere stored. */
ALWAYS_INLINE void linear_descend(int inputs, int outputs, const float *restrict x,
                                  const float *restrict dy, float rate, float *restrict W,
                                  float *restrict b) {
    for (int i = 0; i < inputs; i++)
        for (int o = 0; o < outputs; o++) {
            float gradient = 0;
            for (int n = 0; n < BATCH; n++)
                gradient += x[n * inputs + i] * dy[n * outputs + o];
            W[i * outputs + o] -= rate * gradient;
        }
    for (int o = 0; o < outputs; o++) {
        float gradient = 0;
        for (int n = 0; n < BATCH; n++)
            gradient += dy[n * outputs + o];
        b[o] -= rate * gradient;
    }
}
