/* Layer normalization over the last axis written out, as exporters do below opset 17:
 *     d = x - mean(x),  y = d / √(mean(d²) + ε) · scale + bias
 * (also d · 1/√…) becomes LayerNormalization, which has a kernel and a gradient of its own. */
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

/* The input of a ReduceMean over the last axis that keeps it; -1 if `value` is none. */
static int mean_of(const og_match *m, int value)
{
    const og_node *n = og_match_node(m, value, "ReduceMean");
    int64_t axis;
    if (!n || n->n_in < 2 || !og_attr_int(n, "keepdims", 1) || n->in[1] < 0 ||
        og_value_ints(m->g->values[n->in[1]], 1, &axis) != 1)
        return -1;
    int rank = m->g->values[n->in[0]]->type.rank;
    return axis == -1 || axis == rank - 1 ? n->in[0] : -1;
}

/* Is value = d²? */
static bool is_square(const og_match *m, int value, int d)
{
    og_match_list p;
    return m->uses[value] == 1 && og_match_product(m, value, &p) && p.n == 2 && p.constant == 1 &&
           p.items[0] == d && p.items[1] == d;
}

/* value = √(mean(d²) + ε)? */
static bool is_deviation(const og_match *m, int value, int d, double *epsilon)
{
    const og_node *root = og_match_inner(m, value, "Sqrt");
    double half;
    if (!root) {
        root = og_match_inner(m, value, "Pow");
        if (!root || !og_match_constant(m, root->in[1], &half) || half != 0.5)
            return false;
    }
    const og_node *add = og_match_inner(m, root->in[0], "Add");
    for (int k = 0; add && k < 2; k++) {
        int square = m->uses[add->in[k]] == 1 ? mean_of(m, add->in[k]) : -1;
        if (square >= 0 && is_square(m, square, d))
            return og_match_constant(m, add->in[1 - k], epsilon);
    }
    return false;
}

/* value = (x - mean x) / deviation: x; else -1. */
static int normalized(const og_match *m, int value, double *epsilon)
{
    const og_node *div = og_match_inner(m, value, "Div"), *mul = og_match_inner(m, value, "Mul");
    int d = -1;
    if (div && is_deviation(m, div->in[1], div->in[0], epsilon))
        d = div->in[0];
    for (int k = 0; mul && d < 0 && k < 2; k++) {
        const og_node *reciprocal = og_match_inner(m, mul->in[k], "Reciprocal");
        if (reciprocal && is_deviation(m, reciprocal->in[0], mul->in[1 - k], epsilon))
            d = mul->in[1 - k];
    }
    const og_node *sub = d < 0 ? NULL : og_match_node(m, d, "Sub");
    return sub && mean_of(m, sub->in[1]) == sub->in[0] ? sub->in[0] : -1;
}

/* One element for each of x's last axis? */
static bool is_row(const og_match *m, int value, int x)
{
    const og_type *v = &m->g->values[value]->type, *t = &m->g->values[x]->type;
    return v->rank == 1 && v->dims[0] == t->dims[t->rank - 1] && v->dtype == t->dtype;
}

bool og__pattern_layer_norm(const og_match *m, og_rewrite *rw, const og_node *n)
{
    if (!og_op_is(n->op, NULL, "Add"))
        return false;
    for (int k = 0; k < 2; k++) {
        const og_node *scaled = og_match_inner(m, n->in[k], "Mul");
        for (int j = 0; scaled && j < 2; j++) {
            double epsilon = 0;
            int bias = n->in[1 - k], scale = scaled->in[1 - j];
            int x = normalized(m, scaled->in[j], &epsilon);
            if (x < 0 || !is_row(m, scale, x) || !is_row(m, bias, x))
                continue;
            og_rewrite_set(rw, n->out[0],
                           Op("LayerNormalization",
                              In(og_rewrite_value(rw, x), og_rewrite_value(rw, scale),
                                 og_rewrite_value(rw, bias)),
                              I("axis", -1), F("epsilon", epsilon)));
            return true;
        }
    }
    return false;
}
