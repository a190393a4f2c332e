/* Which places of a head's maps learn which true box, and how much: the task-aligned assignment of TOOD (Feng et al. 2021) as
 * YOLO heads use it. PyTorch works on tensors of pictures x boxes x places, most of whose entries are outside the boxes; here
 * a place is looked at for the boxes that it lies in. Plain C, for any CPU. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { float left, top, right, bottom; } Box;

static inline float least(float a, float b) { return a < b ? a : b; }
static inline float most(float a, float b) { return a > b ? a : b; }

/* Complete IoU (Zheng et al. 2020, eq. 10, 11) with Ultralytics' epsilons; `slant` is arctan(width / height) of the truth. */
static float ciou(Box truth, float slant, Box found) {
    const float eps = 1e-7f;
    const float w1 = truth.right - truth.left, h1 = truth.bottom - truth.top + eps;
    const float w2 = found.right - found.left, h2 = found.bottom - found.top + eps;
    const float common = most(least(truth.right, found.right) - most(truth.left, found.left), 0) *
                         most(least(truth.bottom, found.bottom) - most(truth.top, found.top), 0);
    const float iou = common / (w1 * h1 + w2 * h2 - common + eps);
    const float wide = most(truth.right, found.right) - least(truth.left, found.left);
    const float high = most(truth.bottom, found.bottom) - least(truth.top, found.top);
    const float dx = found.left + found.right - truth.left - truth.right;
    const float dy = found.top + found.bottom - truth.top - truth.bottom;
    const float turn = atanf(w2 / h2) - slant, v = 0.405284735f * turn * turn; /* 4 / pi^2 */
    const float apart = (dx * dx + dy * dy) / 4 / (wide * wide + high * high + eps);
    return iou - (apart + v * (v / (v - iou + (1 + eps))));
}

/* One picture. `ours[m * places + a]` is 1 where box m has place a, and 2 where it may have it, at a measure of 0, for want of
 * better ones; `overlaps` and `metrics` are as large. Returns how many places are taken, or -1 where a number is none, a class
 * is not there, or such a place decides who has it: PyTorch takes any of those of measure 0, inside the box or out of it. */
static int64_t picture(const float *distances, const float *scores, const float *points, const float *strides,
                       const float *truths, int64_t classes, int64_t places, int64_t boxes, int64_t top, float alpha,
                       float beta, float eps, float small, float enlarged, float *overlaps, float *metrics, uint8_t *ours,
                       int64_t *place, int64_t *truth, float *weight) {
    int64_t best[64], taken = 0;
    /* filled up to the picture with the most boxes: by zeros, in which these need no room */
    while (boxes && truths[5 * boxes - 4] + truths[5 * boxes - 3] + truths[5 * boxes - 2] + truths[5 * boxes - 1] == 0) boxes--;
    if (!boxes) return 0;
    memset(overlaps, 0, places * boxes * sizeof *overlaps);
    memset(metrics, 0, places * boxes * sizeof *metrics);
    memset(ours, 0, places * boxes);
    for (int64_t m = 0; m < boxes; m++) {
        const float *of = truths + 5 * m;
        const Box box = {of[1], of[2], of[3], of[4]};
        if (!(box.left + box.top + box.right + box.bottom > 0)) continue; /* no box, for Ultralytics */
        if (!(of[0] >= 0 && of[0] < classes)) return -1;
        const float *score = scores + (int64_t)of[0] * places;
        Box reach = box;
        if (small > 0) { /* newer versions let a small box reach further */
            const float x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
            float w = box.right - box.left, h = box.bottom - box.top;
            w = (w < small ? enlarged : w) / 2, h = (h < small ? enlarged : h) / 2;
            reach = (Box){x - w, y - h, x + w, y + h};
        }
        const float slant = atanf((box.right - box.left) / (box.bottom - box.top + 1e-7f));
        int64_t count = 0;
        for (int64_t a = 0; a < places; a++) {
            const float s = strides[a], px = points[2 * a], py = points[2 * a + 1], x = px * s, y = py * s;
            if (!(x - reach.left > 1e-9f && y - reach.top > 1e-9f && reach.right - x > 1e-9f && reach.bottom - y > 1e-9f))
                continue;
            const Box found = {(px - distances[a]) * s, (py - distances[places + a]) * s,
                               (px + distances[2 * places + a]) * s, (py + distances[3 * places + a]) * s};
            const float near = ciou(box, slant, found), sure = 1 / (1 + expf(-score[a]));
            if (!(isfinite(near) && isfinite(sure))) return -1;
            const float overlap = overlaps[m * places + a] = most(near, 0);
            const float metric = powf(sure, alpha) * powf(overlap, beta);
            metrics[m * places + a] = metric;
            if (metric == 0) ours[m * places + a] = 2;
            if (!(metric > 0) || (count == top && metric <= metrics[m * places + best[top - 1]])) continue;
            int64_t at = count < top ? count++ : top - 1;
            for (; at > 0 && metrics[m * places + best[at - 1]] < metric; at--) best[at] = best[at - 1];
            best[at] = a;
        }
        for (int64_t a = 0; a < places && count == top; a++) ours[m * places + a] = 0;
        for (int64_t k = 0; k < count; k++) ours[m * places + best[k]] = 1;
    }
    for (int64_t a = 0; a < places; a++) { /* a place that several boxes want is the one's that it overlaps most */
        int64_t wanted = 0, maybe = 0, highest = 0;
        for (int64_t m = 0; m < boxes; m++) {
            wanted += ours[m * places + a] == 1;
            maybe += ours[m * places + a] == 2;
            if (overlaps[m * places + a] > overlaps[highest * places + a]) highest = m;
        }
        const int other = ours[highest * places + a] != 1 && metrics[highest * places + a] > 0;
        if (wanted < 2 && wanted + maybe > 1 && other) return -1;
        if (wanted > 1)
            for (int64_t m = 0; m < boxes; m++) ours[m * places + a] = m == highest;
    }
    for (int64_t m = 0; m < boxes; m++) {
        float metric = 0, overlap = 0;
        for (int64_t a = 0; a < places; a++)
            if (ours[m * places + a] == 1) {
                metric = most(metric, metrics[m * places + a]);
                overlap = most(overlap, overlaps[m * places + a]);
            }
        for (int64_t a = 0; a < places; a++)
            if (ours[m * places + a] == 1 && metrics[m * places + a] > 0) {
                place[taken] = a, truth[taken] = m;
                weight[taken++] = metrics[m * places + a] * overlap / (metric + eps);
            }
    }
    return taken;
}

/* For each of `pictures`: distances (4, places) of sides in strides, scores (classes, places) before the sigmoid, truths
 * (boxes, 5) with class and corners in pixels; sides below `small` are `enlarged` about their centre to find places. Writes `places` entries a picture at most, and how many into `counts`, or -1 as
 * above. Returns 0, or 1 where there is no memory or `top` is too large: then nothing is written. */
int assign(const float *distances, const float *scores, const float *points, const float *strides, const float *truths,
           int64_t pictures, int64_t classes, int64_t places, int64_t boxes, int64_t top, float alpha, float beta, float eps,
           float small, float enlarged, int64_t *place, int64_t *truth, float *weight, int64_t *counts, int threads) {
    const int64_t each = places * boxes;
    float *room = malloc((size_t)pictures * each * 2 * sizeof(float));
    uint8_t *ours = malloc((size_t)pictures * each);
    const int failed = !room || !ours || top > 64;
    if (!failed) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (int64_t p = 0; p < pictures; p++)
            counts[p] = picture(distances + p * 4 * places, scores + p * classes * places, points, strides,
                                truths + p * boxes * 5, classes, places, boxes, top, alpha, beta, eps, small, enlarged,
                                room + p * each * 2, room + p * each * 2 + each, ours + p * each, place + p * places,
                                truth + p * places, weight + p * places);
    }
    free(room);
    free(ours);
    return failed;
}
