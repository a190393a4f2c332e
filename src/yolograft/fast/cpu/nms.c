/* Non-maximum suppression of whole batches, with the boxes, the order and the rounding of torchvision's.
 *
 * Boxes are taken best score first, and one is kept unless it overlaps a kept one: so the first `most` that are kept never
 * depend on those after, and all ends there. Built without fused multiply-adds: an overlap must be rounded as torchvision's.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define BINS 2048

typedef struct { uint32_t score; int32_t at, class; } Candidate; /* a score above 0 sorts as its bits do */

/* Sort by score, best first, equal ones as they were: three passes over eleven bits each. */
static Candidate *sorted(Candidate *from, Candidate *to, int64_t count) {
    for (int shift = 0; shift < 33; shift += 11) {
        int64_t places[BINS] = {0}, place = 0;
        for (int64_t k = 0; k < count; k++) places[(~from[k].score >> shift) & (BINS - 1)]++;
        for (int bin = 0; bin < BINS; bin++) {
            const int64_t here = places[bin];
            places[bin] = place, place += here;
        }
        for (int64_t k = 0; k < count; k++) to[places[(~from[k].score >> shift) & (BINS - 1)]++] = from[k];
        Candidate *other = from;
        from = to, to = other;
    }
    return from;
}

/* The kept boxes of one group, side by side, filled up with boxes that overlap nothing. */
typedef struct { float *x1, *y1, *x2, *y2, *area; int64_t count; } Kept;

static int overlaps(const Kept *kept, float x1, float y1, float x2, float y2, float area, double threshold) {
    for (int64_t k = 0; k < kept->count; k += LANES) {
        int found = 0;
        for (int64_t n = k; n < k + LANES; n++) {
            const float left = kept->x1[n] > x1 ? kept->x1[n] : x1, top = kept->y1[n] > y1 ? kept->y1[n] : y1;
            const float right = kept->x2[n] < x2 ? kept->x2[n] : x2, low = kept->y2[n] < y2 ? kept->y2[n] : y2;
            const float wide = right - left > 0 ? right - left : 0, high = low - top > 0 ? low - top : 0;
            const float common = wide * high;
            found |= common / (kept->area[n] + area - common) > threshold;
        }
        if (found) return 1;
    }
    return 0;
}

/* One picture: `map` holds 4 + classes rows of `places` numbers: centre x, y, width, height, and a score for each class.
 * Writes rows of x1, y1, x2, y2, score, class. Returns how many, -1 where no memory is left, -2 where the candidates are
 * more than `limit`. */
static int64_t one(const float *map, int64_t places, int64_t classes, float least, double threshold, int64_t most,
                   int64_t limit, float apart, float *out) {
    int64_t count = 0, result = -1;
    for (const float *score = map + 4 * places; score < map + (4 + classes) * places; score++) count += *score > least;
    if (count > limit) return -2;
    const int64_t room = (most + LANES - 1) / LANES * LANES;
    Candidate *first = malloc((size_t)(2 * count + 1) * sizeof *first);
    float *corners = malloc((size_t)(4 * places) * sizeof *corners), *store = NULL;
    Kept *kept = NULL;
    if (!first || !corners) goto end;
    int grouped = apart > 0; /* whether the classes lie so far apart that boxes of two cannot overlap */
    count = 0;
    for (int64_t at = 0; at < places; at++) {
        const int64_t before = count;
        int number = 1;
        for (int64_t class = 0; class < classes; class++) {
            union { float value; uint32_t bits; } score = {.value = map[(4 + class) * places + at]};
            number &= !isnan(score.value);
            if (score.value > least) first[count++] = (Candidate){score.bits, (int32_t)at, (int32_t)class};
        }
        if (!number) count = before; /* a place without a best score is none */
        if (count == before) continue;
        for (int side = 0; side < 2; side++) {
            const float centre = map[side * places + at], half = map[(2 + side) * places + at] / 2;
            const float low = centre - half, high = centre + half;
            corners[4 * at + side] = low, corners[4 * at + 2 + side] = high;
            grouped &= low > -apart / 4 && high < apart / 4 && high > -apart / 4 && low < apart / 4;
        }
    }
    const int64_t groups = grouped ? classes : 1;
    kept = calloc((size_t)groups, sizeof *kept);
    store = malloc((size_t)(groups * room * 5 + 1) * sizeof *store);
    if (!kept || !store) goto end;
    for (int64_t k = 0; k < groups * room * 5; k++) store[k] = NAN; /* no comparison with it holds */
    for (int64_t g = 0; g < groups; g++) {
        float *own = store + g * room * 5;
        kept[g] = (Kept){own, own + room, own + 2 * room, own + 3 * room, own + 4 * room, 0};
    }
    const Candidate *order = sorted(first, first + count, count);
    result = 0;
    for (int64_t k = 0; k < count && result < most; k++) {
        const float *corner = corners + 4 * (int64_t)order[k].at, off = (float)order[k].class * apart;
        const float x1 = corner[0] + off, y1 = corner[1] + off, x2 = corner[2] + off, y2 = corner[3] + off;
        const float area = (x2 - x1) * (y2 - y1);
        Kept *group = kept + (grouped ? order[k].class : 0);
        if (overlaps(group, x1, y1, x2, y2, area, threshold)) continue;
        const int64_t n = group->count++;
        group->x1[n] = x1, group->y1[n] = y1, group->x2[n] = x2, group->y2[n] = y2, group->area[n] = area;
        union { uint32_t bits; float value; } score = {.bits = order[k].score};
        const float row[6] = {corner[0], corner[1], corner[2], corner[3], score.value, (float)order[k].class};
        memcpy(out + 6 * result++, row, sizeof row);
    }
end:
    free(first), free(corners), free(kept), free(store);
    return result;
}

/* A batch of pictures; `out` has room for `most` rows of each, and `counts` says how many there are, or why not. */
void suppress(const float *maps, int64_t pictures, int64_t places, int64_t classes, float least, double threshold,
              int64_t most, int64_t limit, float apart, float *out, int64_t *counts, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t p = 0; p < pictures; p++)
        counts[p] = one(maps + p * (4 + classes) * places, places, classes, least, threshold, most, limit, apart,
                        out + p * most * 6);
}
