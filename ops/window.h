/* Sliding windows: what convolution and pooling read from their attributes, with auto_pad and
 * ceil_mode resolved. Inference, gradient rules and kernels all take the geometry from here. Static
 * functions only. */
#ifndef OG_OPS_WINDOW_H
#define OG_OPS_WINDOW_H

#include <string.h>

#include "runtime/graph/graph.h"

/* Attributes (and dims, where they are multiplied) are at most this, so that no product overflows.
 */
#define OG_WINDOW_MAX ((int64_t)1 << 30)

typedef struct og_window {
    int n; /* spatial dims; each array has n entries, pads 2n: begins, then ends */
    int64_t in[OG_MAX_RANK], out[OG_MAX_RANK];
    int64_t kernel[OG_MAX_RANK], strides[OG_MAX_RANK], dilations[OG_MAX_RANK];
    int64_t pads[2 * OG_MAX_RANK];
    const char *bad; /* the attribute that made og_window_read fail */
} og_window;

/* An attribute list of exactly n entries, each at least `least`, or the fallback throughout. */
static inline bool og_window_list(og_window *w, const og_node *node, const char *name, int n,
                                  int64_t fallback, int64_t least, int64_t *list)
{
    const int64_t *given;
    int count = og_attr_ints(node, name, &given);
    w->bad = name;
    if (count && count != n)
        return false;
    for (int k = 0; k < n; k++) {
        list[k] = count ? given[k] : fallback;
        if (list[k] < least || list[k] > OG_WINDOW_MAX)
            return false;
    }
    w->bad = NULL;
    return true;
}

/* Input elements that one window covers along spatial dim k. */
static inline int64_t og_window_span(const og_window *w, int k)
{
    return (w->kernel[k] - 1) * w->dilations[k] + 1;
}

/* Pads of auto_pad SAME_UPPER or SAME_LOWER: out = in / stride, rounded up. */
static inline void og_window_pad_same(og_window *w, bool upper)
{
    for (int k = 0; k < w->n; k++) {
        int64_t out = (w->in[k] + w->strides[k] - 1) / w->strides[k];
        int64_t total = (out - 1) * w->strides[k] + og_window_span(w, k) - w->in[k];
        total = total > 0 ? total : 0;
        w->pads[k] = upper ? total / 2 : total - total / 2;
        w->pads[k + w->n] = total - w->pads[k];
    }
}

/* Geometry of a node over x [N, C, spatial…]. kernel: the window's dims, or NULL to read attribute
 * kernel_shape. False if an attribute has a wrong length or value (w->bad names it). An `out` of 0
 * or less: the window is larger than the padded input, which the caller reports. */
static inline bool og_window_read(og_window *w, const og_node *node, const og_type *x,
                                  const int64_t *kernel)
{
    memset(w, 0, sizeof *w);
    w->n = x->rank - 2;
    memcpy(w->in, x->dims + 2, sizeof(int64_t) * (size_t)w->n);
    if (kernel)
        memcpy(w->kernel, kernel, sizeof(int64_t) * (size_t)w->n);
    else if (!og_window_list(w, node, "kernel_shape", w->n, 0, 1, w->kernel))
        return false;
    const char *pad = og_attr_string(node, "auto_pad", "NOTSET");
    bool given = strcmp(pad, "NOTSET") == 0 || !*pad, valid = strcmp(pad, "VALID") == 0;
    bool upper = strcmp(pad, "SAME_UPPER") == 0, lower = strcmp(pad, "SAME_LOWER") == 0;
    if (!og_window_list(w, node, "strides", w->n, 1, 1, w->strides) ||
        !og_window_list(w, node, "dilations", w->n, 1, 1, w->dilations) ||
        (given && !og_window_list(w, node, "pads", 2 * w->n, 0, 0, w->pads)))
        return false;
    if (!given && !valid && !upper && !lower) {
        w->bad = "auto_pad";
        return false;
    }
    if (upper || lower)
        og_window_pad_same(w, upper);
    bool up = og_attr_int(node, "ceil_mode", 0) != 0;
    for (int k = 0; k < w->n; k++) {
        int64_t stride = w->strides[k], padded = w->in[k] + w->pads[k] + w->pads[k + w->n];
        int64_t room = padded - og_window_span(w, k);
        w->out[k] = room < 0 ? 0 : (room + (up ? stride - 1 : 0)) / stride + 1;
        /* a window must start inside the input or its leading pad */
        if (up && room >= 0 && (w->out[k] - 1) * stride >= w->in[k] + w->pads[k])
            w->out[k]--;
    }
    return true;
}

#endif
