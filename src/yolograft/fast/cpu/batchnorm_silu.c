/* Batch normalisation and SiLU in one pass, forward and backward, in bfloat16 on maps laid out (B, H, W, C).
 *
 * PyTorch runs them as two operators, each of which reads and writes the whole map and rounds it to bfloat16 between.
 * Here a map is read twice and written once going forward, and nothing is kept of what lies between. All arithmetic is
 * float, and sums are double over blocks of rows, so that neither the size of a map nor the number of pictures costs
 * digits; which thread sums which rows depends on the number of threads alone, so the same numbers come out every time.
 *
 * A map is `rows` = B * H * W rows of `channels` numbers. Where rows are shorter than a vector of the CPU's, several are
 * taken as one ("folded"), and their sums are added up afterwards. For CPUs with AVX512-BF16.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define WIDE 4096  /* the most channels, folded ones included */
#define BLOCK 4096 /* numbers of a map that are worked on at a time: small enough for the first cache */
#define LANES 16

typedef struct { int64_t rows, channels, fold, wide, block; int threads; } Shape;

static int shape_of(Shape *shape, int64_t rows, int64_t channels, int together, int threads) {
    int64_t fold = 1;
    while (together && channels * fold < 2 * LANES && rows % (fold * 2) == 0) fold *= 2;
    const int64_t wide = channels * fold, block = BLOCK / wide;
    const int64_t most = rows * channels / (4 * BLOCK) + 1; /* a thread costs more than a few blocks of work */
    *shape = (Shape){rows / fold, channels, fold, wide, block > 4 ? block : 4, most < threads ? (int)most : threads};
    return wide <= WIDE - LANES;
}

static inline __mmask16 mask_of(int64_t left) { return left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1); }

static inline __m512 widened(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

static inline __m512 load(const uint16_t *from, __mmask16 mask) { return widened(_mm256_maskz_loadu_epi16(mask, from)); }

static inline void store(uint16_t *to, __mmask16 mask, __m512 value) {
    _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(value)); /* to the nearest, ties to even */
}

/* 1 / (1 + exp(-y)) to 2e-4, ten times finer than bfloat16: exp(-y) = 2^(n + f), 0 <= f < 1, a cubic for 2^f whose largest
 * relative error is the least there can be, 7.5e-5. Infinities end at 0 and 1. */
static inline __m512 sigmoid(__m512 y) {
    const __m512 power = _mm512_mul_ps(y, _mm512_set1_ps(-1.44269504f));
    const __m512 rest = _mm512_reduce_ps(power, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 sum = _mm512_fmadd_ps(rest, _mm512_set1_ps(0.0780248f), _mm512_set1_ps(0.2260667f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.6958337f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.9999252f));
    return _mm512_rcp14_ps(_mm512_add_ps(_mm512_scalef_ps(sum, power), _mm512_set1_ps(1.0f)));
}

/* Ask for what the next block will need; what lies past the map's end is never read. */
static inline void ahead(const uint16_t *from) { _mm_prefetch((const char *)from, _MM_HINT_T0); }

/* Add up, for each channel, what the threads and the folds summed. */
static void gather(const double *sums, const Shape *shape, int64_t channel, double *first, double *second) {
    *first = *second = 0;
    for (int t = 0; t < shape->threads; t++)
        for (int64_t f = 0; f < shape->fold; f++) {
            const double *of = sums + (size_t)t * shape->wide * 2 + f * shape->channels + channel;
            *first += of[0];
            *second += of[shape->wide];
        }
}

static inline void add_to(double *sum, int64_t count, __m512 part) {
    float parts[LANES];
    _mm512_storeu_ps(parts, part);
    for (int64_t k = 0; k < count; k++) sum[k] += parts[k];
}

/* z = silu(scale * x + shift), without the silu where that is 0. */
static void apply(const uint16_t *x, uint16_t *z, const float *scale, const float *shift, const Shape *s, int silu) {
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t c = 0; c < s->wide; c += LANES) {
            const __mmask16 mask = mask_of(s->wide - c);
            const __m512 y = _mm512_fmadd_ps(load(x + r * s->wide + c, mask), _mm512_loadu_ps(scale + c),
                                             _mm512_loadu_ps(shift + c));
            store(z + r * s->wide + c, mask, silu ? _mm512_mul_ps(y, sigmoid(y)) : y);
        }
}

/* z = silu(weight * (x - mean) / sqrt(variance + eps) + bias) with the batch's own mean and (biased) variance, without
 * the silu where that is 0. Writes z and, for each channel, mean and rstd = 1 / sqrt(variance + eps), and moves the
 * running mean and variance (the latter unbiased; both may be NULL) towards the batch's by `momentum`.
 * Returns 0, or 1 where there are too many channels or no memory: then nothing is written. */
int norm_act_forward(const uint16_t *x, uint16_t *z, const float *weight, const float *bias, float *mean, float *rstd,
                     float *running_mean, float *running_variance, int64_t rows, int64_t channels, float momentum,
                     float eps, int silu, int threads) {
    Shape s;
    if (!shape_of(&s, rows, channels, 1, threads)) return 1;
    double *sums = calloc((size_t)s.threads * s.wide * 2, sizeof(double));
    if (!sums) return 1;
    float scale[WIDE], shift[WIDE], first[WIDE];
    /* Distances from the first row's numbers are summed: a mean far from 0 would eat the variance's digits. */
    for (int64_t c = 0; c < s.wide; c++) {
        union { uint32_t bits; float value; } one = {.bits = (uint32_t)x[c % channels] << 16};
        first[c] = isfinite(one.value) ? one.value : 0.0f;
    }
#pragma omp parallel for num_threads(s.threads) schedule(static)
    for (int t = 0; t < s.threads; t++) {
        double *sum = sums + (size_t)t * s.wide * 2;
        const int64_t last = s.rows * (t + 1) / s.threads;
        for (int64_t begin = s.rows * t / s.threads; begin < last; begin += s.block) {
            const int64_t end = begin + s.block < last ? begin + s.block : last;
            for (int64_t c = 0; c < s.wide; c += LANES) {
                const __mmask16 mask = mask_of(s.wide - c);
                const __m512 origin = _mm512_loadu_ps(first + c);
                __m512 part = _mm512_setzero_ps(), square = _mm512_setzero_ps();
                for (int64_t r = begin; r < end; r++) {
                    ahead(x + (r + s.block) * s.wide + c);
                    const __m512 off = _mm512_sub_ps(load(x + r * s.wide + c, mask), origin);
                    part = _mm512_add_ps(part, off);
                    square = _mm512_fmadd_ps(off, off, square);
                }
                const int64_t count = s.wide - c < LANES ? s.wide - c : LANES;
                add_to(sum + c, count, part);
                add_to(sum + s.wide + c, count, square);
            }
        }
    }
    for (int64_t c = 0; c < channels; c++) {
        double sum, square;
        gather(sums, &s, c, &sum, &square);
        const double off = sum / rows, spread = square / rows - off * off;
        const float variance = spread < 0 ? 0.0f : (float)spread; /* NaN stays NaN */
        mean[c] = (float)(first[c] + off);
        rstd[c] = 1.0f / sqrtf(variance + eps);
        if (running_mean && running_variance) {
            running_mean[c] += momentum * (mean[c] - running_mean[c]);
            running_variance[c] += momentum * (variance * rows / (rows - 1) - running_variance[c]);
        }
        for (int64_t f = c; f < s.wide; f += channels) {
            scale[f] = weight[c] * rstd[c];
            shift[f] = bias[c] - mean[c] * scale[f];
        }
    }
    free(sums);
    apply(x, z, scale, shift, &s, silu);
    return 0;
}

/* z = silu(weight * (x - mean) / sqrt(variance + eps) + bias) with a given mean and variance, without the silu where that is
 * 0; z may be x. Returns as the other does. */
int norm_act_known(const uint16_t *x, uint16_t *z, const float *weight, const float *bias, const float *mean,
                   const float *variance, int64_t rows, int64_t channels, float eps, int silu, int threads) {
    Shape s;
    if (!shape_of(&s, rows, channels, 1, threads)) return 1;
    float scale[WIDE], shift[WIDE];
    for (int64_t c = 0; c < s.wide; c++) {
        const int64_t k = c % channels;
        scale[c] = weight[k] / sqrtf(variance[k] + eps), shift[c] = bias[k] - mean[k] * scale[c];
    }
    apply(x, z, scale, shift, &s, silu);
    return 0;
}

/* dy, the gradient before SiLU, of dz, the one after: d(y s(y)) / dy = s (1 + y (1 - s)). */
static inline __m512 before_silu(__m512 dz, __m512 y) {
    const __m512 one = _mm512_set1_ps(1.0f), gate = sigmoid(y);
    return _mm512_mul_ps(_mm512_mul_ps(dz, gate), _mm512_fmadd_ps(y, _mm512_sub_ps(one, gate), one));
}

/* The gradients of what `norm_act_forward` did, given dz, whose rows are `step` numbers apart, and what it wrote; dx holds dy
 * in between. Returns as the other does. */
int norm_act_backward(const uint16_t *dz, int64_t step, const uint16_t *x, uint16_t *dx, const float *weight, const float *bias,
                      const float *mean, const float *rstd, float *d_weight, float *d_bias, int64_t rows,
                      int64_t channels, int silu, int threads) {
    Shape s;
    if (!shape_of(&s, rows, channels, step == channels, threads)) return 1;
    if (step == channels) step = s.wide;
    double *sums = calloc((size_t)s.threads * s.wide * 2, sizeof(double));
    if (!sums) return 1;
    float scale[WIDE], shift[WIDE], centre[WIDE], slope[WIDE], rest[WIDE];
    for (int64_t c = 0; c < s.wide; c++) {
        const int64_t k = c % channels;
        centre[c] = mean[k], scale[c] = weight[k] * rstd[k], shift[c] = bias[k] - mean[k] * scale[c];
    }
#pragma omp parallel for num_threads(s.threads) schedule(static)
    for (int t = 0; t < s.threads; t++) {
        double *sum = sums + (size_t)t * s.wide * 2;
        const int64_t last = s.rows * (t + 1) / s.threads;
        for (int64_t begin = s.rows * t / s.threads; begin < last; begin += s.block) {
            const int64_t end = begin + s.block < last ? begin + s.block : last;
            for (int64_t c = 0; c < s.wide; c += LANES) {
                const __mmask16 mask = mask_of(s.wide - c);
                const __m512 by = _mm512_loadu_ps(scale + c), plus = _mm512_loadu_ps(shift + c);
                const __m512 middle = _mm512_loadu_ps(centre + c);
                __m512 part = _mm512_setzero_ps(), product = _mm512_setzero_ps();
                for (int64_t r = begin; r < end; r++) {
                    ahead(x + (r + s.block) * s.wide + c);
                    ahead(dz + (r + s.block) * step + c);
                    const __m512 value = load(x + r * s.wide + c, mask);
                    __m512 dy = load(dz + r * step + c, mask);
                    if (silu) {
                        dy = before_silu(dy, _mm512_fmadd_ps(value, by, plus));
                        const __m256i kept = (__m256i)_mm512_cvtneps_pbh(dy);
                        _mm256_mask_storeu_epi16(dx + r * s.wide + c, mask, kept);
                        dy = widened(kept); /* the sums must be those of what is kept */
                    }
                    part = _mm512_add_ps(part, dy);
                    product = _mm512_fmadd_ps(dy, _mm512_sub_ps(value, middle), product);
                }
                const int64_t count = s.wide - c < LANES ? s.wide - c : LANES;
                add_to(sum + c, count, part);
                add_to(sum + s.wide + c, count, product);
            }
        }
    }
    for (int64_t c = 0; c < channels; c++) {
        double sum, product;
        gather(sums, &s, c, &sum, &product);
        d_bias[c] = (float)sum;
        d_weight[c] = (float)(product * rstd[c]);
        for (int64_t f = c; f < s.wide; f += channels) { /* dx = scale dy + slope x + rest: only dy and x vary by row */
            slope[f] = (float)(-scale[f] * rstd[c] * rstd[c] * product / rows);
            rest[f] = (float)(-scale[f] * sum / rows - (double)slope[f] * mean[c]);
        }
    }
    free(sums);
#pragma omp parallel for num_threads(s.threads) schedule(static)
    for (int64_t r = 0; r < s.rows; r++)
        for (int64_t c = 0; c < s.wide; c += LANES) {
            const __mmask16 mask = mask_of(s.wide - c);
            const __m512 value = load(x + r * s.wide + c, mask), dy = load(silu ? dx + r * s.wide + c : dz + r * step + c, mask);
            const __m512 other = _mm512_fmadd_ps(value, _mm512_loadu_ps(slope + c), _mm512_loadu_ps(rest + c));
            store(dx + r * s.wide + c, mask, _mm512_fmadd_ps(dy, _mm512_loadu_ps(scale + c), other));
        }
    return 0;
}
