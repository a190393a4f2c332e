/* Gradient of nearest-neighbour upsampling by 2: each value is the sum of four. In bfloat16, on maps laid out (B, H, W, C)
 * (channels-last), summed in float and rounded once. Plain C, for any CPU. */
#include <stdint.h>

static inline float to_float(uint16_t half) {
    union { uint32_t bits; float value; } one = {.bits = (uint32_t)half << 16};
    return one.value;
}

static inline uint16_t to_bfloat16(float value) { /* to the nearest, ties to even; NaN stays NaN */
    union { float value; uint32_t bits; } one = {.value = value};
    const uint16_t near = (uint16_t)((one.bits + 0x7fff + (one.bits >> 16 & 1)) >> 16);
    return value != value ? 0x7fc0 : near;
}

/* (B, 2 H, 2 W, C), whose pixels are `stride` numbers apart, -> (B, H, W, C) */
void upsample_2x_backward(const uint16_t *from, uint16_t *to, int64_t batch, int64_t height, int64_t width, int64_t channels,
                          int64_t stride, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < batch * height; row++) {
        const uint16_t *above = from + row * 4 * width * stride, *below = above + 2 * width * stride;
        for (int64_t x = 0; x < width; x++) {
            const uint16_t *a = above + 2 * x * stride, *b = a + stride, *c = below + 2 * x * stride, *d = c + stride;
            uint16_t *sum = to + (row * width + x) * channels;
            for (int64_t k = 0; k < channels; k++)
                sum[k] = to_bfloat16(to_float(a[k]) + to_float(b[k]) + (to_float(c[k]) + to_float(d[k])));
        }
    }
}
