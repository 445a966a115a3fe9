/* What the rules of conv.c and pool.c share beyond the geometry itself. */
#ifndef OG_OPS_WINDOW_RULES_H
#define OG_OPS_WINDOW_RULES_H

#include "ops/common.h"
#include "ops/window.h"

/* og_window_read with messages; every output dim is at least 1. */
static inline bool read_window(og_infer *i, const og_type *x, const int64_t *kernel, og_window *w)
{
    if (!og_window_read(w, i->node, x, kernel))
        return og_infer_error(i, "attribute %s does not fit the %d spatial dims of %s", w->bad,
                              w->n, TypeText(i, x));
    for (int k = 0; k < w->n; k++)
        if (w->out[k] < 1)
            return og_infer_error(i,
                                  "spatial dim %d of %s is %" PRId64 " with pads %" PRId64
                                  " + %" PRId64 ", smaller than the window (%" PRId64
                                  ", dilation %" PRId64 ")",
                                  k, TypeText(i, x), w->in[k], w->pads[k], w->pads[k + w->n],
                                  w->kernel[k], w->dilations[k]);
    return true;
}

/* The explicit attributes of a window, in the order kernel_shape, strides, dilations, pads. */
#define WindowAttrs(w)                                                            \
    Is("kernel_shape", (w)->n, (w)->kernel), Is("strides", (w)->n, (w)->strides), \
        Is("dilations", (w)->n, (w)->dilations), Is("pads", 2 * (w)->n, (w)->pads)

static inline bool need_kernel_shape(og_infer *i)
{
    return og_node_attr(i->node, "kernel_shape") ||
           og_infer_error(i, "attribute kernel_shape is missing");
}

/* Pooling: x [N, C, D…] → y, the window given by attribute kernel_shape. */
static inline bool pool_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    og_window w;
    if (!need_number(i, 0) || !need_rank_from(i, 0, "input", 3) || !need_kernel_shape(i) ||
        !read_window(i, x, NULL, &w))
        return false;
    i->y[0] = *x;
    memcpy(i->y[0].dims + 2, w.out, sizeof(int64_t) * (size_t)w.n);
    return true;
}

/* The type that attribute x_dims and dy's element type make. */
static inline og_type x_type(const og_expand *e)
{
    const int64_t *dims;
    int rank = og_attr_ints(e->node, "x_dims", &dims);
    return og_type_make(DType(e->x[0]), rank, dims);
}

#endif
