/* Looking for patterns (match.h). */
#include "runtime/passes/match.h"

#include <math.h>

#include "runtime/graph/build.h"

static void mark_stateful(og_match *m, const og_graph *g)
{
    for (int i = 0; i < g->n_states; i++)
        m->stateful[g->states[i].in] = og_dtype_is_float(g->values[g->states[i].in]->type.dtype);
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        bool any = false;
        for (int k = 0; k < n->n_in && n->op->diff != OG_DIFF_ZERO; k++)
            any |= n->in[k] >= 0 && m->stateful[n->in[k]];
        for (int k = 0; any && k < n->n_out; k++)
            if (n->out[k] >= 0)
                m->stateful[n->out[k]] = og_dtype_is_float(g->values[n->out[k]]->type.dtype);
    }
}

bool og_match_begin(og_match *m, og_graph *g, const bool *live)
{
    *m = (og_match){
        .g = g,
        .uses = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(int)),
        .stateful = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(bool)),
    };
    if (!m->uses || !m->stateful) {
        og_fail_memory(&g->error, sizeof(int) * (size_t)g->n_values, "looking for patterns");
        return false;
    }
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; live[i] && k < g->nodes[i]->n_in; k++)
            if (g->nodes[i]->in[k] >= 0)
                m->uses[g->nodes[i]->in[k]]++;
    for (int i = 0; i < g->n_outputs; i++)
        m->uses[g->outputs[i].value]++;
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].out >= 0)
            m->uses[g->states[i].out]++;
    mark_stateful(m, g);
    return true;
}

const og_node *og_match_node(const og_match *m, int value, const char *op)
{
    const og_value *v = og_graph_value(m->g, value);
    return v && v->kind == OG_VALUE_NODE && v->producer && v->out_index == 0 &&
                   og_op_is(v->producer->op, NULL, op)
               ? v->producer
               : NULL;
}

const og_node *og_match_inner(const og_match *m, int value, const char *op)
{
    return value >= 0 && m->uses[value] == 1 ? og_match_node(m, value, op) : NULL;
}

bool og_match_constant(const og_match *m, int value, double *c)
{
    const og_value *v = og_graph_value(m->g, value);
    if (!v || v->kind != OG_VALUE_CONST || og_type_elements(&v->type) != 1 ||
        !(og_dtype_is_float(v->type.dtype) || og_dtype_is_int(v->type.dtype)))
        return false;
    *c = og_value_double(v, 0);
    return true;
}

bool og_match_close(double c, double expected)
{
    return fabs(c - expected) <= 1e-6 * fabs(expected);
}

/* ---- lists */

static bool same_type(const og_match *m, int a, int b)
{
    return og_type_equal(&m->g->values[a]->type, &m->g->values[b]->type);
}

static bool add_item(const og_match *m, int root, int value, int times, og_match_list *list)
{
    if (!same_type(m, root, value))
        return false;
    for (; times > 0; times--) {
        if (list->n == OG_MATCH_MAX)
            return false;
        list->items[list->n++] = value;
    }
    return true;
}

/* The product's factor `value`, to the power `times`. */
static bool add_factor(const og_match *m, int root, int value, int times, og_match_list *list)
{
    double c;
    if (og_match_constant(m, value, &c)) {
        list->constant *= pow(c, times);
        return true;
    }
    bool through = value == root || m->uses[value] == 1;
    const og_node *n = through ? og_match_node(m, value, "Mul") : NULL;
    if (n)
        return add_factor(m, root, n->in[0], times, list) &&
               add_factor(m, root, n->in[1], times, list);
    n = through ? og_match_node(m, value, "Div") : NULL;
    if (n && og_match_constant(m, n->in[1], &c) && c != 0) {
        list->constant /= pow(c, times);
        return add_factor(m, root, n->in[0], times, list);
    }
    n = through ? og_match_node(m, value, "Pow") : NULL;
    if (n && og_match_constant(m, n->in[1], &c) && (c == 2 || c == 3))
        return add_factor(m, root, n->in[0], times * (int)c, list);
    return add_item(m, root, value, times, list);
}

bool og_match_product(const og_match *m, int value, og_match_list *list)
{
    *list = (og_match_list){.constant = 1};
    return value >= 0 && add_factor(m, value, value, 1, list);
}

static bool add_term(const og_match *m, int root, int value, og_match_list *list)
{
    double c;
    if (og_match_constant(m, value, &c)) {
        list->constant += c;
        return true;
    }
    bool through = value == root || m->uses[value] == 1;
    const og_node *n = through ? og_match_node(m, value, "Add") : NULL;
    if (n)
        return add_term(m, root, n->in[0], list) && add_term(m, root, n->in[1], list);
    n = through ? og_match_node(m, value, "Sub") : NULL;
    if (n && og_match_constant(m, n->in[1], &c)) {
        list->constant -= c;
        return add_term(m, root, n->in[0], list);
    }
    return add_item(m, root, value, 1, list);
}

bool og_match_sum(const og_match *m, int value, og_match_list *list)
{
    *list = (og_match_list){0};
    return value >= 0 && add_term(m, value, value, list);
}

bool og_match_take(og_match_list *list, int item)
{
    for (int i = 0; i < list->n; i++)
        if (list->items[i] == item) {
            list->items[i] = list->items[--list->n];
            return true;
        }
    return false;
}

/* ---- normalization */

int og_match_mean(const og_match *m, int value, int *axis)
{
    const og_node *n = og_match_node(m, value, "ReduceMean");
    int64_t axes[OG_MAX_RANK];
    int count = n && n->n_in > 1 && n->in[1] >= 0
                    ? og_value_ints(m->g->values[n->in[1]], OG_MAX_RANK, axes)
                    : 0;
    if (count < 1 || !og_attr_int(n, "keepdims", 1))
        return -1;
    int rank = m->g->values[n->in[0]]->type.rank;
    unsigned marks = 0, last = 0;
    for (int i = 0; i < count; i++) {
        marks |= 1u << (axes[i] < 0 ? axes[i] + rank : axes[i]);
        last |= 1u << (rank - 1 - i);
    }
    *axis = rank - count;
    return marks == last ? n->in[0] : -1;
}

/* Is value = x²? */
static bool is_square(const og_match *m, int value, int x)
{
    og_match_list p;
    return m->uses[value] == 1 && og_match_product(m, value, &p) && p.n == 2 && p.constant == 1 &&
           p.items[0] == x && p.items[1] == x;
}

/* The input of a power with that exponent, or of `op`, with one reader; else -1. */
static int power_of(const og_match *m, int value, const char *op, double exponent)
{
    const og_node *n = og_match_inner(m, value, op), *pow = og_match_inner(m, value, "Pow");
    double c;
    if (n)
        return n->in[0];
    return pow && og_match_constant(m, pow->in[1], &c) && c == exponent ? pow->in[0] : -1;
}

/* The value that this one is the reciprocal of, with one reader; else -1. */
static int inverse_of(const og_match *m, int value)
{
    const og_node *div = og_match_inner(m, value, "Div");
    double c;
    if (div && og_match_constant(m, div->in[0], &c) && c == 1)
        return div->in[1];
    return power_of(m, value, "Reciprocal", -1);
}

/* value = mean(x²) + ε? */
static bool is_mean_square(const og_match *m, int value, int x, og_match_norm *norm)
{
    const og_node *add = og_match_inner(m, value, "Add");
    for (int k = 0; add && k < 2; k++) {
        int square = m->uses[add->in[k]] == 1 ? og_match_mean(m, add->in[k], &norm->axis) : -1;
        if (square >= 0 && is_square(m, square, x))
            return og_match_constant(m, add->in[1 - k], &norm->epsilon);
    }
    return false;
}

int og_match_normalized(const og_match *m, int value, og_match_norm *norm)
{
    const og_node *div = og_match_node(m, value, "Div"), *mul = og_match_node(m, value, "Mul");
    if (div && is_mean_square(m, power_of(m, div->in[1], "Sqrt", 0.5), div->in[0], norm))
        return div->in[0];
    for (int k = 0; mul && k < 2; k++) {
        int x = mul->in[1 - k], root = inverse_of(m, mul->in[k]);
        int square =
            root >= 0 ? power_of(m, root, "Sqrt", 0.5) : power_of(m, mul->in[k], "Pow", -0.5);
        if (is_mean_square(m, square, x, norm))
            return x;
    }
    return -1;
}

bool og_match_has_last_dims(const og_match *m, int value, int x, int axis)
{
    const og_type *v = &m->g->values[value]->type, *t = &m->g->values[x]->type;
    og_type want = og_type_make(t->dtype, t->rank - axis, t->dims + axis);
    return og_type_equal(v, &want);
}
