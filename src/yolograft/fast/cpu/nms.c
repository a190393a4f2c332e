/* Non-maximum suppression of a batch, with the same boxes, order and rounding as torchvision's.
 *
 * Boxes are visited in descending order of score. A box is selected unless it overlaps a selected box. So the first
 * `max_det` selected boxes do not depend on later ones, and the loop stops there. Compiled without fused multiply-adds, so
 * that an IoU is rounded as in torchvision.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define BINS 2048

typedef struct { uint32_t score; int32_t anchor, class; } Candidate; /* positive floats sort as their bits do */

/* Stable radix sort by score, highest first: three passes over eleven bits each. */
static Candidate *radix_sort(Candidate *from, Candidate *to, int64_t count) {
    for (int shift = 0; shift < 33; shift += 11) {
        int64_t offsets[BINS] = {0}, offset = 0;
        for (int64_t k = 0; k < count; k++) offsets[(~from[k].score >> shift) & (BINS - 1)]++;
        for (int bin = 0; bin < BINS; bin++) {
            const int64_t size = offsets[bin];
            offsets[bin] = offset, offset += size;
        }
        for (int64_t k = 0; k < count; k++) to[offsets[(~from[k].score >> shift) & (BINS - 1)]++] = from[k];
        Candidate *other = from;
        from = to, to = other;
    }
    return from;
}

/* The selected boxes of one group of classes, as one array per coordinate, padded with NaN boxes that overlap nothing. */
typedef struct { float *x1, *y1, *x2, *y2, *area; int64_t count; } Selected;

static int overlaps(const Selected *selected, float x1, float y1, float x2, float y2, float area, double threshold) {
    for (int64_t k = 0; k < selected->count; k += LANES) {
        int found = 0;
        for (int64_t n = k; n < k + LANES; n++) {
            const float left = selected->x1[n] > x1 ? selected->x1[n] : x1, top = selected->y1[n] > y1 ? selected->y1[n] : y1;
            const float right = selected->x2[n] < x2 ? selected->x2[n] : x2, low = selected->y2[n] < y2 ? selected->y2[n] : y2;
            const float wide = right - left > 0 ? right - left : 0, high = low - top > 0 ? low - top : 0;
            const float common = wide * high;
            found |= common / (selected->area[n] + area - common) > threshold;
        }
        if (found) return 1;
    }
    return 0;
}

/* One image: `map` holds 4 + classes rows of `anchors` numbers: centre x, y, width, height, and a score for each class.
 * Writes rows of x1, y1, x2, y2, score, class. Returns the number of rows, -1 if out of memory, -2 if there are more than
 * `max_nms` candidates. */
static int64_t suppress_image(const float *map, int64_t anchors, int64_t classes, float conf, double threshold,
                              int64_t max_det, int64_t max_nms, float max_wh, float *out) {
    int64_t count = 0, result = -1;
    for (const float *score = map + 4 * anchors; score < map + (4 + classes) * anchors; score++) count += *score > conf;
    if (count > max_nms) return -2;
    const int64_t capacity = (max_det + LANES - 1) / LANES * LANES;
    Candidate *first = malloc((size_t)(2 * count + 1) * sizeof *first);
    float *corners = malloc((size_t)(4 * anchors) * sizeof *corners), *store = NULL;
    Selected *selected = NULL;
    if (!first || !corners) goto end;
    int grouped = max_wh > 0; /* whether boxes of different classes cannot overlap, moved apart by max_wh */
    count = 0;
    for (int64_t anchor = 0; anchor < anchors; anchor++) {
        const int64_t before = count;
        int is_number = 1;
        for (int64_t class = 0; class < classes; class++) {
            union { float value; uint32_t bits; } score = {.value = map[(4 + class) * anchors + anchor]};
            is_number &= !isnan(score.value);
            if (score.value > conf) first[count++] = (Candidate){score.bits, (int32_t)anchor, (int32_t)class};
        }
        if (!is_number) count = before; /* an anchor with a NaN score has no box */
        if (count == before) continue;
        for (int side = 0; side < 2; side++) {
            const float centre = map[side * anchors + anchor], half = map[(2 + side) * anchors + anchor] / 2;
            const float low = centre - half, high = centre + half;
            corners[4 * anchor + side] = low, corners[4 * anchor + 2 + side] = high;
            grouped &= low > -max_wh / 4 && high < max_wh / 4 && high > -max_wh / 4 && low < max_wh / 4;
        }
    }
    const int64_t groups = grouped ? classes : 1;
    selected = calloc((size_t)groups, sizeof *selected);
    store = malloc((size_t)(groups * capacity * 5 + 1) * sizeof *store);
    if (!selected || !store) goto end;
    for (int64_t k = 0; k < groups * capacity * 5; k++) store[k] = NAN; /* every comparison with NaN is false */
    for (int64_t g = 0; g < groups; g++) {
        float *own = store + g * capacity * 5;
        selected[g] = (Selected){own, own + capacity, own + 2 * capacity, own + 3 * capacity, own + 4 * capacity, 0};
    }
    const Candidate *order = radix_sort(first, first + count, count);
    result = 0;
    for (int64_t k = 0; k < count && result < max_det; k++) {
        const float *corner = corners + 4 * (int64_t)order[k].anchor, off = (float)order[k].class * max_wh;
        const float x1 = corner[0] + off, y1 = corner[1] + off, x2 = corner[2] + off, y2 = corner[3] + off;
        const float area = (x2 - x1) * (y2 - y1);
        Selected *group = selected + (grouped ? order[k].class : 0);
        if (overlaps(group, x1, y1, x2, y2, area, threshold)) continue;
        const int64_t n = group->count++;
        group->x1[n] = x1, group->y1[n] = y1, group->x2[n] = x2, group->y2[n] = y2, group->area[n] = area;
        union { uint32_t bits; float value; } score = {.bits = order[k].score};
        const float row[6] = {corner[0], corner[1], corner[2], corner[3], score.value, (float)order[k].class};
        memcpy(out + 6 * result++, row, sizeof row);
    }
end:
    free(first), free(corners), free(selected), free(store);
    return result;
}

/* A batch of images. `out` has `max_det` rows per image, and `counts` gets the return values of `suppress_image`. */
void suppress(const float *maps, int64_t images, int64_t anchors, int64_t classes, float conf, double threshold,
              int64_t max_det, int64_t max_nms, float max_wh, float *out, int64_t *counts, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t p = 0; p < images; p++)
        counts[p] = suppress_image(maps + p * (4 + classes) * anchors, anchors, classes, conf, threshold, max_det, max_nms,
                                   max_wh, out + p * max_det * 6);
}
