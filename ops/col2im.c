/* Col2Im: columns of windows laid back into an image, elements that windows share added. */
#include "ops/window_rules.h"

/* Geometry of an image of that shape under windows of that shape. False: they, or an attribute, do
 * not fit. */
static bool read_blocks(const og_node *node, const og_value *image, const og_value *block,
                        og_window *w)
{
    og_type x = {.dtype = OG_FLOAT};
    int64_t kernel[OG_MAX_RANK];
    int n = og_value_ints(image, OG_MAX_RANK - 2, x.dims + 2);
    if (n < 1 || og_value_ints(block, OG_MAX_RANK - 2, kernel) != n)
        return false;
    x.rank = n + 2;
    for (int k = 0; k < n; k++)
        if (x.dims[k + 2] < 1 || kernel[k] < 1 || x.dims[k + 2] > OG_WINDOW_MAX ||
            kernel[k] > OG_WINDOW_MAX)
            return false;
    if (!og_window_read(w, node, &x, kernel))
        return false;
    int64_t padded = 1, read = 1;
    for (int k = 0; k < n; k++)
        if (w->out[k] < 1 ||
            __builtin_mul_overflow(padded, w->in[k] + w->pads[k] + w->pads[k + n], &padded) ||
            __builtin_mul_overflow(read, w->kernel[k], &read) ||
            __builtin_mul_overflow(read, w->out[k], &read))
            return false;
    return true;
}

static int64_t product(int n, const int64_t *v)
{
    int64_t p = 1;
    for (int k = 0; k < n; k++)
        p *= v[k];
    return p;
}

/* x [N, C · block, windows] → y [N, C, image] */
static bool col2im_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    og_window w = {0};
    if (!need_number(i, 0) || !need_rank(i, 0, "input", 3))
        return false;
    if (!is_const(i->x[1]) || !is_const(i->x[2]))
        return og_infer_error(i, "image_shape and block_shape must be constants");
    if (!read_blocks(i->node, i->x[1], i->x[2], &w))
        return og_infer_error(i,
                              "image_shape, block_shape and the attributes do not fit each other");
    int64_t block = product(w.n, w.kernel), windows = product(w.n, w.out);
    if (x->dims[1] % block || x->dims[2] != windows)
        return og_infer_error(i, "input is %s, expected [N, C · %" PRId64 ", %" PRId64 "]",
                              TypeText(i, x), block, windows);
    i->y[0] = (og_type){x->dtype, w.n + 2, {x->dims[0], x->dims[1] / block}};
    memcpy(i->y[0].dims + 2, w.in, sizeof(int64_t) * (size_t)w.n);
    return true;
}

/* y = the padded image with each column's element added at its place, without the pads */
static void col2im_expand(og_expand *e)
{
    og_val x = e->x[0], places = og_const_int(e->g, 0);
    og_window w = {0};
    read_blocks(e->node, og_value_of(e->x[1]), og_value_of(e->x[2]), &w);
    int64_t padded[OG_MAX_RANK], dims[OG_MAX_RANK];
    for (int k = 0; k < w.n; k++)
        padded[k] = w.in[k] + w.pads[k] + w.pads[k + w.n];
    int64_t block = product(w.n, w.kernel), windows = product(w.n, w.out),
            images = Dim(x, 0) * (Dim(x, 1) / block);
    /* place of element (k₁ …) of window (o₁ …): [kernel dims, window dims] */
    for (int k = 0; k < w.n; k++) {
        og_val at = arange(e->g, w.kernel[k], 2 * w.n - 1 - k),
               o = arange(e->g, w.out[k], w.n - 1 - k);
        at = Add(Mul(at, Scalar(at, (double)w.dilations[k])),
                 Mul(o, Scalar(o, (double)w.strides[k])));
        places = Add(Mul(places, Scalar(places, (double)padded[k])), at);
    }
    places = Reshape(places, 1, ((int64_t[]){block * windows}));
    og_val y = Op(OG_DOMAIN "::GatherGrad",
                  In(Reshape(x, 2, ((int64_t[]){images, block * windows})), places), I("axis", 1),
                  Is("x_dims", 2, ((int64_t[]){images, product(w.n, padded)})));
    dims[0] = Dim(x, 0);
    dims[1] = Dim(x, 1) / block;
    memcpy(dims + 2, padded, sizeof(int64_t) * (size_t)w.n);
    y = Reshape(y, w.n + 2, dims);
    for (int k = 0; k < w.n; k++)
        if (padded[k] != w.in[k])
            y = Slice(y, k + 2, w.pads[k], w.in[k]);
    e->y[0] = y;
}

const og_op og_ops_col2im[] = {
    {"Col2Im", NULL, 3, 3, 1, 1, col2im_infer, .expand = col2im_expand},
    {0},
};
