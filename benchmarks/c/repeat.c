/* Calls a piece of work many times, so that what is timed is the work and not the call from Python.
   It stands in a file of its own: the compiler must not see what is repeated. */

typedef void work(const float *X, float *const *numbers, float learning_rate, float *result);

void repeat(long times, work *run, const float *X, float *const *numbers, float learning_rate,
            float *result) {
    for (long i = 0; i < times; i++)
        run(X, numbers, learning_rate, result);
}
