/* If, Loop and Scan. They are resolved while types are inferred: the branch that a constant
 * condition chooses, or the body once for each step, is added in place, so that no later stage
 * knows of control flow. What is decided by data while the model runs is an error that names the
 * node. Inputs after those of the op itself are values that its graphs read from outside. */
#include "ops/common.h"

enum { MAX_STEPS = 100000 };

static bool known_bool(const og_item *x, bool *value)
{
    bool known = x->v.g && is_const(og_value_of(x->v)) && Count(x->v) == 1;
    if (known)
        *value = og_value_double(og_value_of(x->v), 0) != 0;
    return known;
}

static const og_attr *graph_attr(og_resolve *r, const char *name)
{
    const og_attr *a = og_node_attr(r->node, name);
    if (a && a->kind == OG_ATTR_GRAPH && a->graph)
        return a;
    og_node_fail(r->g, r->node, OG_INVALID_MODEL, "has no graph attribute %s", name);
    return NULL;
}

static og_item *new_items(og_resolve *r, size_t n)
{
    og_item *items = og_arena_array(r->g->arena, n + 1, sizeof *items);
    if (!items)
        og_fail_memory(&r->g->error, n * sizeof *items, "control flow");
    return items;
}

/* ---- If */

static bool if_resolve(og_resolve *r)
{
    bool condition;
    if (!known_bool(&r->x[0], &condition))
        return og_node_fail(r->g, r->node, OG_UNSUPPORTED,
                            "its condition is computed while running; it must be a constant, or "
                            "follow from shapes and constants");
    const og_attr *branch = graph_attr(r, condition ? "then_branch" : "else_branch");
    return branch && r->run(r, branch->graph, r->nx - 1, r->x + 1, r->ny, r->y);
}

/* ---- results of all steps */

/* One value a step, as slices of a new axis: steps[i * stride]. */
static bool stack(og_resolve *r, const og_item *steps, int64_t n, int stride, int64_t axis,
                  bool reverse, og_item *y)
{
    og_val *v = og_arena_array(r->g->arena, (size_t)n + 1, sizeof *v);
    if (!v) {
        og_fail_memory(&r->g->error, (size_t)n * sizeof *v, "control flow");
        return false;
    }
    if (n == 0)
        return og_node_fail(r->g, r->node, OG_UNSUPPORTED,
                            "makes no step, and so results of unknown shape");
    for (int64_t i = 0; i < n; i++) {
        og_val step = steps[i * stride].v;
        if (!step.g)
            return og_node_fail(r->g, r->node, OG_UNSUPPORTED, "collects sequences");
        v[reverse ? n - 1 - i : i] = Op("Unsqueeze", In(step, og_const_ints(r->g, 1, &axis)));
    }
    *y = (og_item){.v = concat_all((int)n, v, axis)};
    return r->g->error.status == OG_OK;
}

/* ---- Loop */

/* body: step number, condition, states, captured → condition, states, results of the step */
static bool loop_resolve(og_resolve *r)
{
    const og_attr *body = graph_attr(r, "body");
    if (!body)
        return false;
    og_graph *g = r->g;
    int n_states = r->nx - 2 - body->n, n_out = body->graph->n_outputs,
        n_results = n_out - 1 - n_states;
    double most = INFINITY;
    bool go = true;
    if (n_states < 0 || n_results < 0 || r->ny > n_states + n_results)
        return og_node_fail(g, r->node, OG_INVALID_MODEL,
                            "its body does not fit its inputs and outputs");
    if (r->x[0].v.g) {
        const og_value *trips = og_value_of(r->x[0].v);
        if (!is_const(trips))
            return og_node_fail(g, r->node, OG_UNSUPPORTED,
                                "the number of its steps is computed while running; it must be a "
                                "constant, or follow from shapes and constants");
        most = og_value_double(trips, 0);
    }
    if (r->x[1].v.g && !known_bool(&r->x[1], &go))
        return og_node_fail(g, r->node, OG_UNSUPPORTED,
                            "its condition is computed while running; it must be a constant");
    og_item *in = new_items(r, (size_t)r->nx), *steps = NULL;
    size_t room = 0;
    if (!in)
        return false;
    memcpy(in, r->x, sizeof *in * (size_t)r->nx);
    int64_t n = 0;
    bool unknown = false;
    for (; go && (double)n < most; n++) {
        if (unknown || n >= MAX_STEPS)
            return og_node_fail(g, r->node, OG_UNSUPPORTED,
                                unknown ? "its condition is computed while running; only a loop of "
                                          "a constant number of steps can be unrolled"
                                        : "makes more than %d steps",
                                MAX_STEPS);
        for (int k = 0; k < n_out; k++) { /* room for the results of one more step */
            og_item *grown =
                og_arena_grow(g->arena, steps, (size_t)(n * n_out + k), &room, sizeof *steps);
            if (!grown) {
                og_fail_memory(&g->error, sizeof *steps, "control flow");
                return false;
            }
            steps = grown;
        }
        in[0] = (og_item){.v = og_const_int(g, n)};
        og_type flag = {.dtype = OG_BOOL};
        in[1] = (og_item){.v = og_const_copy(g, &flag, &(uint8_t){1})};
        og_item *out = steps + n * n_out;
        OG_ASSUME(out); /* a body has at least its condition */
        if (!r->run(r, body->graph, r->nx, in, n_out, out))
            return false;
        unknown = !known_bool(&out[0], &go);
        memcpy(in + 2, out + 1, sizeof *in * (size_t)n_states);
    }
    for (int k = 0; k < r->ny; k++) {
        if (k < n_states)
            r->y[k] = in[2 + k];
        else if (!stack(r, steps + 1 + k, n, n_out, 0, false, &r->y[k]))
            return false;
    }
    return true;
}

/* ---- Scan */

static int64_t list_at(const og_node *n, const char *name, int i)
{
    const int64_t *list;
    int count = og_attr_ints(n, name, &list);
    return i < count ? list[i] : 0;
}

/* body: states, slices of the scanned inputs, captured → states, results of the step */
static bool scan_resolve(og_resolve *r)
{
    const og_attr *body = graph_attr(r, "body");
    if (!body)
        return false;
    og_graph *g = r->g;
    int n_scanned = (int)og_attr_int(r->node, "num_scan_inputs", 0),
        n_states = r->nx - body->n - n_scanned, n_out = body->graph->n_outputs;
    if (n_scanned < 1 || n_states < 0 || n_states > n_out || r->ny != n_out)
        return og_node_fail(g, r->node, OG_INVALID_MODEL,
                            "its body does not fit its inputs and outputs");
    int64_t n = -1;
    for (int k = 0; k < n_scanned; k++) {
        og_val x = r->x[n_states + k].v;
        int64_t axis = list_at(r->node, "scan_input_axes", k);
        if (!x.g || axis < -Rank(x) || axis >= Rank(x) || (n >= 0 && Dim(x, (int)axis) != n))
            return og_node_fail(g, r->node, OG_INVALID_MODEL,
                                "scanned input %d has no such axis or another length", k);
        n = Dim(x, (int)axis);
    }
    og_item *in = new_items(r, (size_t)r->nx);
    og_item *steps = n <= MAX_STEPS ? new_items(r, (size_t)n * (size_t)n_out) : NULL;
    if (n > MAX_STEPS)
        og_node_fail(g, r->node, OG_UNSUPPORTED, "makes more than %d steps", MAX_STEPS);
    if (!in || !steps)
        return false;
    memcpy(in, r->x, sizeof *in * (size_t)r->nx);
    for (int64_t t = 0; t < n; t++) {
        for (int k = 0; k < n_scanned; k++) {
            bool reverse = list_at(r->node, "scan_input_directions", k) != 0;
            in[n_states + k] = (og_item){
                .v =
                    Op("Gather", In(r->x[n_states + k].v, og_const_int(g, reverse ? n - 1 - t : t)),
                       I("axis", list_at(r->node, "scan_input_axes", k)))};
        }
        og_item *out = steps + t * n_out;
        if (g->error.status != OG_OK || !r->run(r, body->graph, r->nx, in, n_out, out))
            return false;
        memcpy(in, out, sizeof *in * (size_t)n_states);
    }
    for (int k = 0; k < n_out; k++) {
        int result = k - n_states;
        if (result < 0)
            r->y[k] = in[k];
        else if (!stack(r, steps + k, n, n_out, list_at(r->node, "scan_output_axes", result),
                        list_at(r->node, "scan_output_directions", result) != 0, &r->y[k]))
            return false;
    }
    return true;
}

/* Below opset 9, Scan had a batch axis and sequence lengths. */
static bool scan_upgrade_9(og_draft *d)
{
    og_fail(
        &d->g->error, OG_UNSUPPORTED,
        "Scan \"%s\" (opset %d): the form of opset 8 is not supported; expected that of opset 9 or "
        "newer (convert the model, or export it again)",
        d->name, d->opset);
    return false;
}

const og_op og_ops_control_flow[] = {
    {"If", NULL, 1, OG_VARIADIC, 1, OG_VARIADIC, resolved_before, .resolve = if_resolve},
    {"Loop", NULL, 2, OG_VARIADIC, 1, OG_VARIADIC, resolved_before, .resolve = loop_resolve},
    {"Scan", NULL, 1, OG_VARIADIC, 1, OG_VARIADIC, resolved_before, .resolve = scan_resolve,
     .upgrade = {{9, scan_upgrade_9}}},
    {0},
};
