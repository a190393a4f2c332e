/* The mean of 0, 1, ..., bins - 1 weighed by the softmax of as many numbers: how YOLO heads say how far a side of a box is.
 * Nothing but that mean is written, where PyTorch writes all weights and reads them again. Plain C, for any CPU. */
#include <stdint.h>
#include <string.h>

#define LANES 64

/* e^x for x <= 0, to 2e-7 of its value, and e^-87 below: 2^(n + f), |f| <= 1/2, with a polynomial for 2^f. NaN stays NaN. */
static inline float power(float x) {
    const float least = -87.0f, bias = 12582912.0f; /* 1.5 * 2^23: what is added to it is rounded to a whole number */
    x = x < least ? least : x;
    union { float value; uint32_t bits; } whole = {.value = x * 1.44269502f + bias}, scale;
    const float n = whole.value - bias, f = (x * 1.44269502f - n) + x * 1.9259630e-8f;
    scale.bits = (whole.bits + 127) << 23;
    const float sum = ((((0.00133908f * f + 0.00967007f) * f + 0.05550342f) * f + 0.24022119f) * f + 0.69314724f) * f + 1.0f;
    return sum * scale.value;
}

/* (planes, bins, places) -> (planes, places) */
void expect(const float *x, float *out, int64_t planes, int64_t bins, int64_t places, int threads) {
    const int64_t blocks = (places + LANES - 1) / LANES;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t at = 0; at < planes * blocks; at++) {
        const int64_t begin = at % blocks * LANES, count = places - begin < LANES ? places - begin : LANES;
        const float *from = x + at / blocks * bins * places + begin;
        float most[LANES], total[LANES] = {0}, mean[LANES] = {0};
        memcpy(most, from, count * sizeof *most);
        for (int64_t k = 1; k < bins; k++)
            for (int64_t j = 0; j < count; j++) {
                const float value = from[k * places + j];
                most[j] = value > most[j] ? value : most[j];
            }
        for (int64_t k = 0; k < bins; k++)
            for (int64_t j = 0; j < count; j++) {
                const float one = power(from[k * places + j] - most[j]);
                total[j] += one, mean[j] += (float)k * one;
            }
        for (int64_t j = 0; j < count; j++) out[at / blocks * places + begin + j] = mean[j] / total[j];
    }
}
