/* The gradient of doubling a map's sides by repeating its numbers: each is the sum of four. In bfloat16, on maps laid out
 * (B, H, W, C), summed in float and rounded once. Plain C, for any CPU. */
#include <stdint.h>

static inline float widened(uint16_t half) {
    union { uint32_t bits; float value; } one = {.bits = (uint32_t)half << 16};
    return one.value;
}

static inline uint16_t rounded(float value) { /* to the nearest, ties to even; what is no number stays none */
    union { float value; uint32_t bits; } one = {.value = value};
    const uint16_t near = (uint16_t)((one.bits + 0x7fff + (one.bits >> 16 & 1)) >> 16);
    return value != value ? 0x7fc0 : near;
}

/* (B, 2 H, 2 W, C), whose places are `step` numbers apart, -> (B, H, W, C) */
void halve(const uint16_t *from, uint16_t *to, int64_t batch, int64_t height, int64_t width, int64_t channels, int64_t step,
           int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < batch * height; row++) {
        const uint16_t *above = from + row * 4 * width * step, *below = above + 2 * width * step;
        for (int64_t at = 0; at < width; at++) {
            const uint16_t *a = above + 2 * at * step, *b = a + step, *c = below + 2 * at * step, *d = c + step;
            uint16_t *of = to + (row * width + at) * channels;
            for (int64_t k = 0; k < channels; k++)
                of[k] = rounded(widened(a[k]) + widened(b[k]) + (widened(c[k]) + widened(d[k])));
        }
    }
}
