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
