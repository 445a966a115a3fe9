/* Elements chosen by content: NonZero and Compress. How many there are depends on the data, so that
 * both are supported where that is constant. */
#include "ops/common.h"

static bool need_content(og_infer *i, int input, const char *what)
{
    return is_const(i->x[input]) ||
           og_node_fail(i->g, i->node, OG_UNSUPPORTED,
                        "%s (input %d) is computed while running, and the shape of the result "
                        "depends on it; it must be a constant",
                        what, input);
}

/* [rank, N]: the indices of the N elements that are not zero */
static bool non_zero_infer(og_infer *i)
{
    const og_value *x = i->x[0];
    int64_t n = 0;
    if (!need_content(i, 0, "input"))
        return false;
    for (int64_t k = 0; k < og_type_elements(&x->type); k++)
        n += og_value_double(x, k) != 0;
    i->y[0] = (og_type){.dtype = OG_INT64, .rank = 2, .dims = {x->type.rank, n}};
    return true;
}

/* How many entries of `condition` are true. */
static int64_t count_true(const og_value *condition)
{
    int64_t n = 0;
    for (int64_t k = 0; k < condition->type.dims[0]; k++)
        n += ((const uint8_t *)condition->data)[k] != 0;
    return n;
}

/* y: x without the rows along axis (without an axis: x flat) where condition is false or ends */
static bool compress_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    const og_value *condition = i->x[1];
    bool flat = !og_node_attr(i->node, "axis");
    int axis = 0;
    if (!need_dtype(i, 1, OG_BOOL) || !need_rank(i, 1, "condition", 1) ||
        !need_content(i, 1, "condition") ||
        (!flat && !need_axis(i, og_attr_int(i->node, "axis", 0), x->rank, &axis)))
        return false;
    int64_t dim = flat ? og_type_elements(x) : x->dims[axis];
    if (condition->type.dims[0] > dim)
        return og_infer_error(
            i, "condition (input 1) has %" PRId64 " entries, expected %" PRId64 " or less (%s)",
            condition->type.dims[0], dim, TypeText(i, x));
    i->y[0] = *x;
    if (flat)
        i->y[0].rank = 1;
    i->y[0].dims[axis] = count_true(condition);
    return true;
}

/* y = Gather(x, where condition is true) */
static void compress_expand(og_expand *e)
{
    const og_value *condition = og_value_of(e->x[1]);
    og_val x = e->x[0];
    int64_t n = count_true(condition);
    int64_t *rows = og_arena_array(e->g->arena, (size_t)n + 1, sizeof *rows);
    if (!rows) {
        og_fail_memory(&e->g->error, (size_t)n * sizeof *rows, "indices");
        return;
    }
    for (int64_t k = 0, at = 0; k < condition->type.dims[0]; k++)
        if (((const uint8_t *)condition->data)[k])
            rows[at++] = k;
    og_type list = {.dtype = OG_INT64, .rank = 1, .dims = {n}};
    if (!og_node_attr(e->node, "axis"))
        x = Reshape(x, 1, (int64_t[]){Count(x)});
    e->y[0] = Op("Gather", In(x, og_graph_add_const(e->g, "", &list, rows)),
                 I("axis", og_attr_int(e->node, "axis", 0)));
}

const og_op og_ops_compress[] = {
    {"NonZero", NULL, 1, 1, 1, 1, non_zero_infer, .diff = OG_DIFF_ZERO, .flags = OG_EAGER_ONLY},
    {"Compress", NULL, 2, 2, 1, 1, compress_infer, .expand = compress_expand},
    {0},
};
