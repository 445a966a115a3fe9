/* Group normalization as exporters write it below opset 21, by an instance normalization of a view
 * whose channels are the groups:
 *     r = Reshape(InstanceNormalization(Reshape(x, [N, groups, …]), s, t), dims of x)
 *     y = r · scale + bias, one scale and bias a channel
 * r becomes GroupNormalization with scale and bias by group, y one by channel where s is 1 and t is
 * 0: it has kernels and a gradient of its own, which take x as it lies. */
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

typedef struct group_norm {
    int x, s, t; /* s, t: [groups] */
    int64_t groups;
    double epsilon;
} group_norm;

/* value = r? */
static bool is_group_norm(const og_match *m, int value, group_norm *found)
{
    const og_node *back = og_match_node(m, value, "Reshape");
    const og_node *norm = back ? og_match_inner(m, back->in[0], "InstanceNormalization") : NULL;
    const og_node *rows = norm ? og_match_node(m, norm->in[0], "Reshape") : NULL;
    if (!rows)
        return false;
    const og_type *x = &m->g->values[rows->in[0]]->type, *r = &m->g->values[rows->out[0]]->type;
    *found = (group_norm){.x = rows->in[0],
                          .s = norm->in[1],
                          .t = norm->in[2],
                          .groups = r->dims[1],
                          .epsilon = og_attr_float(norm, "epsilon", 1e-5)};
    return og_type_equal(&m->g->values[value]->type, x) && x->rank >= 2 &&
           r->dims[0] == x->dims[0] && r->dims[1] > 0 && x->dims[1] % r->dims[1] == 0;
}

/* Is every element of the constant c? Constants may be one element expanded. */
static bool is_all(const og_match *m, int value, double c)
{
    const og_value *v = m->g->values[value];
    const og_node *expand = og_match_node(m, value, "Expand");
    if (expand)
        v = m->g->values[expand->in[0]];
    if (v->kind != OG_VALUE_CONST || !v->data || !og_dtype_is_float(v->type.dtype))
        return false;
    for (int64_t i = 0; i < og_type_elements(&v->type); i++)
        if (og_value_double(v, i) != c)
            return false;
    return true;
}

/* Does the value have an element for each channel of x, and none beside? */
static bool is_per_channel(const og_match *m, int value, int x)
{
    const og_type *v = &m->g->values[value]->type, *t = &m->g->values[x]->type;
    int axis = v->rank - t->rank + 1; /* of v, that of channels */
    for (int k = 0; k < v->rank; k++)
        if (k != axis && v->dims[k] != 1)
            return false;
    return v->dtype == t->dtype && axis >= 0 && v->rank <= t->rank && v->dims[axis] == t->dims[1];
}

/* value = r · scale with s = 1, t = 0; nothing else reads either. */
static bool is_scaled(const og_match *m, int value, group_norm *found, int *scale)
{
    const og_node *mul = og_match_inner(m, value, "Mul");
    for (int k = 0; mul && k < 2; k++) {
        *scale = mul->in[1 - k];
        if (m->uses[mul->in[k]] == 1 && is_group_norm(m, mul->in[k], found) &&
            is_all(m, found->s, 1) && is_all(m, found->t, 0) && is_per_channel(m, *scale, found->x))
            return true;
    }
    return false;
}

static void replace(og_rewrite *rw, int value, const char *op, const group_norm *found,
                    og_val scale, og_val bias)
{
    og_rewrite_set(rw, value,
                   Op(op, In(og_rewrite_value(rw, found->x), scale, bias),
                      I("num_groups", found->groups), F("epsilon", found->epsilon)));
}

bool og__pattern_group_norm(const og_match *m, og_rewrite *rw, const og_node *n)
{
    group_norm found;
    int scale;
    if (og_op_is(n->op, NULL, "Reshape") && is_group_norm(m, n->out[0], &found)) {
        replace(rw, n->out[0], OG_DOMAIN "::GroupNormalizationByGroup", &found,
                og_rewrite_value(rw, found.s), og_rewrite_value(rw, found.t));
        return true;
    }
    for (int k = 0; og_op_is(n->op, NULL, "Add") && k < 2; k++) {
        int bias = n->in[1 - k];
        if (!is_scaled(m, n->in[k], &found, &scale) || !is_per_channel(m, bias, found.x))
            continue;
        const int64_t *channels = &m->g->values[found.x]->type.dims[1];
        replace(rw, n->out[0], "GroupNormalization", &found,
                Reshape(og_rewrite_value(rw, scale), 1, channels),
                Reshape(og_rewrite_value(rw, bias), 1, channels));
        return true;
    }
    return false;
}
