/* Dropout, and tensors of random numbers. */
#include "ops/common.h"

/* ---- Dropout
 * ----------------------------------------------------------------------------------------- */

/* Is the node surely the identity: not in training mode, or with ratio 0? Input 2 absent: not in
 * training mode. */
static bool drops_nothing(const og_value *ratio, const og_value *training)
{
    return !training || (is_const(training) && og_value_double(training, 0) == 0) ||
           (ratio && is_const(ratio) && og_value_double(ratio, 0) == 0);
}

/* ratio may have any float type: opsets below 12 had it as an attribute. */
static bool dropout_infer(og_infer *i)
{
    const og_value *ratio = present(i, 1) ? i->x[1] : NULL,
                   *training = present(i, 2) ? i->x[2] : NULL;
    if (!need_float(i, 0) || (ratio && !(need_float(i, 1) && need_scalar(i, 1, "ratio"))) ||
        (training && !(need_dtype(i, 2, OG_BOOL) && need_scalar(i, 2, "training_mode"))))
        return false;
    if (!drops_nothing(ratio, training))
        return og_node_fail(
            i->g, i->node, OG_UNSUPPORTED,
            "training_mode is set and ratio is not 0: random masks are not supported "
            "(export the model in evaluation mode)");
    for (int k = 0; k < i->ny; k++)
        i->y[k] = i->x[0]->type;
    if (i->ny > 1)
        i->y[1].dtype = OG_BOOL;
    return true;
}

/* y = x, mask = true */
static void dropout_expand(og_expand *e)
{
    e->y[0] = Identity(e->x[0]);
    if (e->ny > 1) {
        og_type mask = *og_type_of(e->x[0]);
        mask.dtype = OG_BOOL;
        e->y[1] = og_full(e->g, &mask, 1);
    }
}

/* Below opset 12, ratio was an attribute, and the op as exported did nothing. */
static bool dropout_upgrade_12(og_draft *d)
{
    return og_draft_float_to_input(d, "ratio", 1);
}

/* ---- random tensors
 * ----------------------------------------------------------------------------------- */

static bool need_dtype_attr(og_infer *i, og_dtype fallback, og_dtype *dtype)
{
    int64_t d = og_attr_int(i->node, "dtype", fallback);
    *dtype = (og_dtype)d;
    return (d > OG_UNDEFINED && d < OG_DTYPE_COUNT) ||
           og_infer_error(i, "attribute dtype is %" PRId64 ", expected an element type", d);
}

/* Attribute shape */
static bool random_infer(og_infer *i)
{
    og_dtype dtype;
    if (!need_dtype_attr(i, OG_FLOAT, &dtype) || !type_from_attr(i, "shape", dtype, &i->y[0]))
        return false;
    for (int k = 0; k < i->y[0].rank; k++)
        if (i->y[0].dims[k] < 0)
            return og_infer_error(i, "shape dim %d is %" PRId64 ", expected 0 or more", k,
                                  i->y[0].dims[k]);
    return og_dtype_is_float(dtype) ||
           og_infer_error(i, "dtype is %s, expected a floating point type", og_dtype_name(dtype));
}

/* The shape of the input */
static bool random_like_infer(og_infer *i)
{
    i->y[0] = i->x[0]->type;
    return need_dtype_attr(i, i->x[0]->type.dtype, &i->y[0].dtype);
}

/* x [batch, classes] logits, y [batch, sample_size] class numbers */
static bool multinomial_infer(og_infer *i)
{
    int64_t n = og_attr_int(i->node, "sample_size", 1);
    i->y[0] = i->x[0]->type;
    if (!need_float(i, 0) || !need_rank(i, 0, "input", 2) ||
        !need_dtype_attr(i, OG_INT32, &i->y[0].dtype))
        return false;
    i->y[0].dims[1] = n;
    return n > 0 || og_infer_error(i, "sample_size is %" PRId64 ", expected 1 or more", n);
}

#define RANDOM .diff = OG_DIFF_ZERO, .flags = OG_RANDOM

const og_op og_ops_random[] = {
    {"Dropout", NULL, 1, 3, 1, 2, dropout_infer, .expand = dropout_expand,
     .upgrade = {{12, dropout_upgrade_12}}},
    {"RandomNormal", NULL, 0, 1, 1, 1, random_infer, RANDOM},
    {"RandomUniform", NULL, 0, 1, 1, 1, random_infer, RANDOM},
    {"RandomNormalLike", NULL, 1, 1, 1, 1, random_like_infer, RANDOM},
    {"RandomUniformLike", NULL, 1, 1, 1, 1, random_like_infer, RANDOM},
    {"Bernoulli", NULL, 1, 1, 1, 1, random_like_infer, RANDOM},
    {"Multinomial", NULL, 1, 1, 1, 1, multinomial_infer, RANDOM},
    {0},
};
