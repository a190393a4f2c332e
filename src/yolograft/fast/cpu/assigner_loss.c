/* Task-aligned assignment (TOOD, Feng et al. 2021) as YOLO heads use it: which anchors are foreground, for which ground-truth
 * box, and with which target score. PyTorch works on tensors of images x boxes x anchors, most of whose entries are outside of
 * the boxes. Here only the anchors inside a box are computed. Plain C, for any CPU. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { float left, top, right, bottom; } Box;

static inline float min(float a, float b) { return a < b ? a : b; }
static inline float max(float a, float b) { return a > b ? a : b; }

/* Complete IoU (Zheng et al. 2020, eq. 10, 11) with Ultralytics' epsilons. `angle` is arctan(width / height) of the truth. */
static float ciou(Box truth, float angle, Box predicted) {
    const float eps = 1e-7f;
    const float w1 = truth.right - truth.left, h1 = truth.bottom - truth.top + eps;
    const float w2 = predicted.right - predicted.left, h2 = predicted.bottom - predicted.top + eps;
    const float intersection = max(min(truth.right, predicted.right) - max(truth.left, predicted.left), 0) *
                         max(min(truth.bottom, predicted.bottom) - max(truth.top, predicted.top), 0);
    const float iou = intersection / (w1 * h1 + w2 * h2 - intersection + eps);
    const float wide = max(truth.right, predicted.right) - min(truth.left, predicted.left);
    const float high = max(truth.bottom, predicted.bottom) - min(truth.top, predicted.top);
    const float dx = predicted.left + predicted.right - truth.left - truth.right;
    const float dy = predicted.top + predicted.bottom - truth.top - truth.bottom;
    const float turn = atanf(w2 / h2) - angle, v = 0.405284735f * turn * turn; /* 4 / pi^2 */
    const float distance = (dx * dx + dy * dy) / 4 / (wide * wide + high * high + eps);
    return iou - (distance + v * (v / (v - iou + (1 + eps))));
}

/* One image. `state[m * anchors + a]` is 1 if anchor a is assigned to box m, and 2 if it may be: its alignment metric is 0 and
 * the box has fewer than `topk` better anchors. `overlaps` and `metrics` have the same size. Returns the number of foreground
 * anchors, or -1 if a value is not finite, if a class does not exist, or if such an anchor decides between boxes: among
 * anchors with a metric of 0, inside or outside of the box, PyTorch's sort decides. */
static int64_t assign_image(const float *distances, const float *scores, const float *points, const float *strides,
                            const float *truths, int64_t classes, int64_t anchors, int64_t boxes, int64_t topk, float alpha,
                            float beta, float eps, float min_side, float expanded_side, float *overlaps, float *metrics,
                            uint8_t *state, int64_t *anchor, int64_t *truth, float *weight) {
    int64_t best[64], foreground = 0;
    /* images with fewer boxes than the largest one of the batch end with rows of zeros: leave them out */
    while (boxes && truths[5 * boxes - 4] + truths[5 * boxes - 3] + truths[5 * boxes - 2] + truths[5 * boxes - 1] == 0) boxes--;
    if (!boxes) return 0;
    memset(overlaps, 0, anchors * boxes * sizeof *overlaps);
    memset(metrics, 0, anchors * boxes * sizeof *metrics);
    memset(state, 0, anchors * boxes);
    for (int64_t m = 0; m < boxes; m++) {
        const float *row = truths + 5 * m;
        const Box box = {row[1], row[2], row[3], row[4]};
        if (!(box.left + box.top + box.right + box.bottom > 0)) continue; /* Ultralytics takes such a row as padding */
        if (!(row[0] >= 0 && row[0] < classes)) return -1;
        const float *score = scores + (int64_t)row[0] * anchors;
        Box region = box;
        if (min_side > 0) { /* newer versions expand small boxes in candidate selection */
            const float x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
            float w = box.right - box.left, h = box.bottom - box.top;
            w = (w < min_side ? expanded_side : w) / 2, h = (h < min_side ? expanded_side : h) / 2;
            region = (Box){x - w, y - h, x + w, y + h};
        }
        const float angle = atanf((box.right - box.left) / (box.bottom - box.top + 1e-7f));
        int64_t count = 0;
        for (int64_t a = 0; a < anchors; a++) {
            const float s = strides[a], px = points[2 * a], py = points[2 * a + 1], x = px * s, y = py * s;
            if (!(x - region.left > 1e-9f && y - region.top > 1e-9f && region.right - x > 1e-9f && region.bottom - y > 1e-9f))
                continue;
            const Box predicted = {(px - distances[a]) * s, (py - distances[anchors + a]) * s,
                                   (px + distances[2 * anchors + a]) * s, (py + distances[3 * anchors + a]) * s};
            const float iou = ciou(box, angle, predicted), probability = 1 / (1 + expf(-score[a]));
            if (!(isfinite(iou) && isfinite(probability))) return -1;
            const float overlap = overlaps[m * anchors + a] = max(iou, 0);
            const float metric = powf(probability, alpha) * powf(overlap, beta);
            metrics[m * anchors + a] = metric;
            if (metric == 0) state[m * anchors + a] = 2;
            if (!(metric > 0) || (count == topk && metric <= metrics[m * anchors + best[topk - 1]])) continue;
            int64_t at = count < topk ? count++ : topk - 1;
            for (; at > 0 && metrics[m * anchors + best[at - 1]] < metric; at--) best[at] = best[at - 1];
            best[at] = a;
        }
        for (int64_t a = 0; a < anchors && count == topk; a++) state[m * anchors + a] = 0;
        for (int64_t k = 0; k < count; k++) state[m * anchors + best[k]] = 1;
    }
    for (int64_t a = 0; a < anchors; a++) { /* of several boxes, an anchor belongs to the one with the highest overlap */
        int64_t assigned = 0, possible = 0, highest = 0;
        for (int64_t m = 0; m < boxes; m++) {
            assigned += state[m * anchors + a] == 1;
            possible += state[m * anchors + a] == 2;
            if (overlaps[m * anchors + a] > overlaps[highest * anchors + a]) highest = m;
        }
        const int is_new = state[highest * anchors + a] != 1 && metrics[highest * anchors + a] > 0;
        if (assigned < 2 && assigned + possible > 1 && is_new) return -1;
        if (assigned > 1)
            for (int64_t m = 0; m < boxes; m++) state[m * anchors + a] = m == highest;
    }
    for (int64_t m = 0; m < boxes; m++) {
        float metric = 0, overlap = 0;
        for (int64_t a = 0; a < anchors; a++)
            if (state[m * anchors + a] == 1) {
                metric = max(metric, metrics[m * anchors + a]);
                overlap = max(overlap, overlaps[m * anchors + a]);
            }
        for (int64_t a = 0; a < anchors; a++)
            if (state[m * anchors + a] == 1 && metrics[m * anchors + a] > 0) {
                anchor[foreground] = a, truth[foreground] = m;
                weight[foreground++] = metrics[m * anchors + a] * overlap / (metric + eps);
            }
    }
    return foreground;
}

/* A batch. For each image: distances (4, anchors) from the anchor to the box sides in strides, scores (classes, anchors) before
 * the sigmoid, truths (boxes, 5) with class and corners in pixels. For candidate selection, sides below `min_side` become
 * `expanded_side`, about the same centre. Writes at most `anchors` entries per image, and their number, or -1 as above, into
 * `counts`. Returns 0, or 1 if out of memory or if `topk` is too large: then nothing is written. */
int assign(const float *distances, const float *scores, const float *points, const float *strides, const float *truths,
           int64_t images, int64_t classes, int64_t anchors, int64_t boxes, int64_t topk, float alpha, float beta, float eps,
           float min_side, float expanded_side, int64_t *anchor, int64_t *truth, float *weight, int64_t *counts, int threads) {
    const int64_t size = anchors * boxes;
    float *overlaps = malloc((size_t)images * size * 2 * sizeof(float));
    uint8_t *state = malloc((size_t)images * size);
    const int failed = !overlaps || !state || topk > 64;
    if (!failed) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (int64_t p = 0; p < images; p++)
            counts[p] = assign_image(distances + p * 4 * anchors, scores + p * classes * anchors, points, strides,
                                     truths + p * boxes * 5, classes, anchors, boxes, topk, alpha, beta, eps, min_side,
                                     expanded_side, overlaps + p * size * 2, overlaps + p * size * 2 + size,
                                     state + p * size, anchor + p * anchors, truth + p * anchors, weight + p * anchors);
    }
    free(overlaps);
    free(state);
    return failed;
}
