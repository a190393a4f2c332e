/* Batch normalisation and SiLU as one operator, forward and backward, in bfloat16 on channels-last maps (B, H, W, C).
 *
 * PyTorch runs them as two operators. Each reads and writes the whole map, and the map between them is rounded to bfloat16.
 * Here the forward pass reads a map twice and writes it once, and stores no map in between. All arithmetic is float. Sums
 * are double over blocks of rows, so that large maps and large batches lose no digits. The number of threads alone decides
 * which thread sums which rows, so the result is the same every time.
 *
 * A map is `rows` = B * H * W rows of `channels` numbers. If a row is shorter than a vector register, several rows are
 * processed as one ("folded"), and their sums are added at the end. For CPUs with AVX512-BF16.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define MAX_WIDTH 4096 /* maximum length of a (folded) row */
#define BLOCK 4096     /* numbers per block: small enough for the L1 cache */
#define LANES 16

typedef struct { int64_t rows, channels, fold, width, block; int threads; } Shape;

/* Fill in a shape; `is_contiguous` allows folding. Returns 0 if there are too many channels. */
static int init_shape(Shape *shape, int64_t rows, int64_t channels, int is_contiguous, int threads) {
    int64_t fold = 1;
    while (is_contiguous && channels * fold < 2 * LANES && rows % (fold * 2) == 0) fold *= 2;
    const int64_t width = channels * fold, block = BLOCK / width;
    const int64_t limit = rows * channels / (4 * BLOCK) + 1; /* starting a thread costs as much as a few blocks */
    *shape = (Shape){rows / fold, channels, fold, width, block > 4 ? block : 4, limit < threads ? (int)limit : threads};
    return width <= MAX_WIDTH - LANES;
}

static inline __mmask16 mask_of(int64_t left) { return left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1); }

static inline __m512 to_float(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

static inline __m512 load(const uint16_t *from, __mmask16 mask) { return to_float(_mm256_maskz_loadu_epi16(mask, from)); }

static inline void store(uint16_t *to, __mmask16 mask, __m512 value) {
    _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(value)); /* to the nearest, ties to even */
}

/* 1 / (1 + exp(-y)) with an error of 2e-4, a tenth of bfloat16's. exp(-y) = 2^(n + f) with 0 <= f < 1, and 2^f is the minimax
 * cubic polynomial, with a relative error of at most 7.5e-5. Infinities give 0 and 1. */
static inline __m512 sigmoid(__m512 y) {
    const __m512 power = _mm512_mul_ps(y, _mm512_set1_ps(-1.44269504f));
    const __m512 rest = _mm512_reduce_ps(power, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 sum = _mm512_fmadd_ps(rest, _mm512_set1_ps(0.0780248f), _mm512_set1_ps(0.2260667f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.6958337f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.9999252f));
    return _mm512_rcp14_ps(_mm512_add_ps(_mm512_scalef_ps(sum, power), _mm512_set1_ps(1.0f)));
}

/* Prefetch data of the next block. An address past the end of the map is harmless: a prefetch cannot fault. */
static inline void prefetch(const uint16_t *from) { _mm_prefetch((const char *)from, _MM_HINT_T0); }

/* Reduce the sums of one channel over threads and folds. */
static void reduce(const double *sums, const Shape *shape, int64_t channel, double *first, double *second) {
    *first = *second = 0;
    for (int t = 0; t < shape->threads; t++)
        for (int64_t f = 0; f < shape->fold; f++) {
            const double *of = sums + (size_t)t * shape->width * 2 + f * shape->channels + channel;
            *first += of[0];
            *second += of[shape->width];
        }
}

static inline void add_to(double *sum, int64_t count, __m512 part) {
    float parts[LANES];
    _mm512_storeu_ps(parts, part);
    for (int64_t k = 0; k < count; k++) sum[k] += parts[k];
}

/* z = silu(scale * x + shift), or scale * x + shift if `silu` is 0. */
static void apply(const uint16_t *x, uint16_t *z, const float *scale, const float *shift, const Shape *s, int silu) {
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t c = 0; c < s->width; c += LANES) {
            const __mmask16 mask = mask_of(s->width - c);
            const __m512 y = _mm512_fmadd_ps(load(x + r * s->width + c, mask), _mm512_loadu_ps(scale + c),
                                             _mm512_loadu_ps(shift + c));
            store(z + r * s->width + c, mask, silu ? _mm512_mul_ps(y, sigmoid(y)) : y);
        }
}

/* Training: z = silu(weight * (x - mean) / sqrt(variance + eps) + bias) with the mean and the biased variance of the batch;
 * no SiLU if `silu` is 0. Writes z and, for each channel, mean and rstd = 1 / sqrt(variance + eps). Updates the running mean
 * and the running unbiased variance by `momentum`; both may be NULL.
 * Returns 0, or 1 if there are too many channels or there is no memory: then nothing is written. */
int batchnorm_silu_train(const uint16_t *x, uint16_t *z, const float *weight, const float *bias, float *mean, float *rstd,
                         float *running_mean, float *running_variance, int64_t rows, int64_t channels, float momentum,
                         float eps, int silu, int threads) {
    Shape s;
    if (!init_shape(&s, rows, channels, 1, threads)) return 1;
    double *sums = calloc((size_t)s.threads * s.width * 2, sizeof(double));
    if (!sums) return 1;
    float scale[MAX_WIDTH], shift[MAX_WIDTH], first[MAX_WIDTH];
    /* Sum the differences from the first row: with a mean far from 0, the variance would lose digits. */
    for (int64_t c = 0; c < s.width; c++) {
        union { uint32_t bits; float value; } one = {.bits = (uint32_t)x[c % channels] << 16};
        first[c] = isfinite(one.value) ? one.value : 0.0f;
    }
#pragma omp parallel for num_threads(s.threads) schedule(static)
    for (int t = 0; t < s.threads; t++) {
        double *sum = sums + (size_t)t * s.width * 2;
        const int64_t last = s.rows * (t + 1) / s.threads;
        for (int64_t begin = s.rows * t / s.threads; begin < last; begin += s.block) {
            const int64_t end = begin + s.block < last ? begin + s.block : last;
            for (int64_t c = 0; c < s.width; c += LANES) {
                const __mmask16 mask = mask_of(s.width - c);
                const __m512 origin = _mm512_loadu_ps(first + c);
                __m512 part = _mm512_setzero_ps(), square = _mm512_setzero_ps();
                for (int64_t r = begin; r < end; r++) {
                    prefetch(x + (r + s.block) * s.width + c);
                    const __m512 off = _mm512_sub_ps(load(x + r * s.width + c, mask), origin);
                    part = _mm512_add_ps(part, off);
                    square = _mm512_fmadd_ps(off, off, square);
                }
                const int64_t count = s.width - c < LANES ? s.width - c : LANES;
                add_to(sum + c, count, part);
                add_to(sum + s.width + c, count, square);
            }
        }
    }
    for (int64_t c = 0; c < channels; c++) {
        double sum, square;
        reduce(sums, &s, c, &sum, &square);
        const double off = sum / rows, spread = square / rows - off * off;
        const float variance = spread < 0 ? 0.0f : (float)spread; /* NaN stays NaN */
        mean[c] = (float)(first[c] + off);
        rstd[c] = 1.0f / sqrtf(variance + eps);
        if (running_mean && running_variance) {
            running_mean[c] += momentum * (mean[c] - running_mean[c]);
            running_variance[c] += momentum * (variance * rows / (rows - 1) - running_variance[c]);
        }
        for (int64_t f = c; f < s.width; f += channels) {
            scale[f] = weight[c] * rstd[c];
            shift[f] = bias[c] - mean[c] * scale[f];
        }
    }
    free(sums);
    apply(x, z, scale, shift, &s, silu);
    return 0;
}

/* Evaluation: as `batchnorm_silu_train`, with the running mean and variance. z may be x. Same return value. */
int batchnorm_silu_eval(const uint16_t *x, uint16_t *z, const float *weight, const float *bias, const float *mean,
                        const float *variance, int64_t rows, int64_t channels, float eps, int silu, int threads) {
    Shape s;
    if (!init_shape(&s, rows, channels, 1, threads)) return 1;
    float scale[MAX_WIDTH], shift[MAX_WIDTH];
    for (int64_t c = 0; c < s.width; c++) {
        const int64_t k = c % channels;
        scale[c] = weight[k] / sqrtf(variance[k] + eps), shift[c] = bias[k] - mean[k] * scale[c];
    }
    apply(x, z, scale, shift, &s, silu);
    return 0;
}

/* The backward pass of SiLU, dz -> dy: d(y s(y)) / dy = s (1 + y (1 - s)). */
static inline __m512 silu_backward(__m512 dz, __m512 y) {
    const __m512 one = _mm512_set1_ps(1.0f), gate = sigmoid(y);
    return _mm512_mul_ps(_mm512_mul_ps(dz, gate), _mm512_fmadd_ps(y, _mm512_sub_ps(one, gate), one));
}

/* Gradients of `batchnorm_silu_train`, from dz, whose rows are `stride` numbers apart, and from the mean and rstd that it
 * wrote. dx holds dy between the two passes. Same return value. */
int batchnorm_silu_backward(const uint16_t *dz, int64_t stride, const uint16_t *x, uint16_t *dx, const float *weight,
                            const float *bias, const float *mean, const float *rstd, float *d_weight, float *d_bias,
                            int64_t rows, int64_t channels, int silu, int threads) {
    Shape s;
    if (!init_shape(&s, rows, channels, stride == channels, threads)) return 1;
    if (stride == channels) stride = s.width;
    double *sums = calloc((size_t)s.threads * s.width * 2, sizeof(double));
    if (!sums) return 1;
    float scale[MAX_WIDTH], shift[MAX_WIDTH], centre[MAX_WIDTH], slope[MAX_WIDTH], rest[MAX_WIDTH];
    for (int64_t c = 0; c < s.width; c++) {
        const int64_t k = c % channels;
        centre[c] = mean[k], scale[c] = weight[k] * rstd[k], shift[c] = bias[k] - mean[k] * scale[c];
    }
#pragma omp parallel for num_threads(s.threads) schedule(static)
    for (int t = 0; t < s.threads; t++) {
        double *sum = sums + (size_t)t * s.width * 2;
        const int64_t last = s.rows * (t + 1) / s.threads;
        for (int64_t begin = s.rows * t / s.threads; begin < last; begin += s.block) {
            const int64_t end = begin + s.block < last ? begin + s.block : last;
            for (int64_t c = 0; c < s.width; c += LANES) {
                const __mmask16 mask = mask_of(s.width - c);
                const __m512 by = _mm512_loadu_ps(scale + c), plus = _mm512_loadu_ps(shift + c);
                const __m512 middle = _mm512_loadu_ps(centre + c);
                __m512 part = _mm512_setzero_ps(), product = _mm512_setzero_ps();
                for (int64_t r = begin; r < end; r++) {
                    prefetch(x + (r + s.block) * s.width + c);
                    prefetch(dz + (r + s.block) * stride + c);
                    const __m512 value = load(x + r * s.width + c, mask);
                    __m512 dy = load(dz + r * stride + c, mask);
                    if (silu) {
                        dy = silu_backward(dy, _mm512_fmadd_ps(value, by, plus));
                        const __m256i rounded = (__m256i)_mm512_cvtneps_pbh(dy);
                        _mm256_mask_storeu_epi16(dx + r * s.width + c, mask, rounded);
                        dy = to_float(rounded); /* the second pass reads the rounded dy: sum the same numbers */
                    }
                    part = _mm512_add_ps(part, dy);
                    product = _mm512_fmadd_ps(dy, _mm512_sub_ps(value, middle), product);
                }
                const int64_t count = s.width - c < LANES ? s.width - c : LANES;
                add_to(sum + c, count, part);
                add_to(sum + s.width + c, count, product);
            }
        }
    }
    for (int64_t c = 0; c < channels; c++) {
        double sum, product;
        reduce(sums, &s, c, &sum, &product);
        d_bias[c] = (float)sum;
        d_weight[c] = (float)(product * rstd[c]);
        /* dx = scale dy + slope x + rest, where only dy and x depend on the row */
        for (int64_t f = c; f < s.width; f += channels) {
            slope[f] = (float)(-scale[f] * rstd[c] * rstd[c] * product / rows);
            rest[f] = (float)(-scale[f] * sum / rows - (double)slope[f] * mean[c]);
        }
    }
    free(sums);
#pragma omp parallel for num_threads(s.threads) schedule(static)
    for (int64_t r = 0; r < s.rows; r++)
        for (int64_t c = 0; c < s.width; c += LANES) {
            const __mmask16 mask = mask_of(s.width - c);
            const __m512 value = load(x + r * s.width + c, mask);
            const __m512 dy = load(silu ? dx + r * s.width + c : dz + r * stride + c, mask);
            const __m512 other = _mm512_fmadd_ps(value, _mm512_loadu_ps(slope + c), _mm512_loadu_ps(rest + c));
            store(dx + r * s.width + c, mask, _mm512_fmadd_ps(dy, _mm512_loadu_ps(scale + c), other));
        }
    return 0;
}
