/* A model on two samples together, and on each of them alone, on the host's plain kernels: whether
 * samples see each other is found out by trying. */
#include <math.h>
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/train/train.h"

#define TOLERANCE 1e-3 /* relative; sums of different length are rounded differently */

/* Element i of sample `sample`: floats within ±1, integers 0 or 1 (they may be indices). */
static double sample_value(int input, int64_t sample, int64_t i)
{
    uint64_t h = (uint64_t)(input * 1000003 + sample * 10007 + i) * 0x9E3779B97F4A7C15ull;
    h ^= h >> 29;
    return (double)(h >> 40) / (double)(1 << 23) - 1;
}

static const void *make_input(og_session *s, const og_type *t, int input, const og__trial *r,
                              og_arena *arena)
{
    int64_t n = og_type_elements(t), each = n / r->batch;
    og_val v = OG_NONE;
    og_graph *scratch = og_graph_new_in(arena);
    char *data = og_arena_alloc(arena, (size_t)og_type_bytes(t) + 16);
    size_t size = (size_t)og_dtype_bits(t->dtype) / 8;
    for (int64_t i = 0; scratch && data && i < n; i++) {
        double x = sample_value(input, r->first + i / each, i % each);
        v = og_const_double(scratch, t->dtype, og_dtype_is_float(t->dtype) ? x : x > 0);
        if (!v.g)
            break;
        memcpy(data + (size_t)i * size, og_value_of(v)->data, size);
    }
    if (!scratch || !data || (n && !v.g)) {
        og_fail_memory(&s->context->error, 64, "the check of two samples");
        return NULL;
    }
    return data;
}

/* A model input's type, or behind them a target's, for a full batch. */
static const og_type *declared(const og_session *s, int input)
{
    return input < s->n_inputs ? &s->inputs[input] : &s->targets[input - s->n_inputs];
}

static og_status evaluate(og_session *s, const og_graph *g, og__trial *r, og_arena *arena)
{
    og_error *error = &s->context->error;
    og_const *overrides = og_arena_array(arena, (size_t)g->n_values + 1, sizeof(og_const));
    r->values = og_arena_array(arena, (size_t)g->n_values + 1, sizeof(int));
    if (!overrides || !r->values)
        return og_fail_memory(error, sizeof(og_const), "the check of two samples");
    for (int i = 0; i < g->n_inputs; i++) {
        og_type t = *declared(s, i);
        if (t.rank > 0 && t.dims[0] == s->batch)
            t.dims[0] = r->batch;
        const void *data = make_input(s, &t, i, r, arena);
        if (!data)
            return OG_OUT_OF_MEMORY;
        overrides[g->inputs[i]] = (og_const){.type = t, .data = data};
    }
    og_binding binding = {.overrides = overrides,
                          .baked_batch = s->baked_batch,
                          .batch = r->batch,
                          .values = r->values};
    r->graph = og_pass_infer(g, &binding, og_eager_evaluator(s->context->host), arena);
    if (!r->graph)
        return og_fail_memory(error, sizeof(og_graph), "the check of two samples");
    return og_error_move(error, &r->graph->error);
}

static bool equal_elements(const og_value *a, int64_t at, const og_value *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double x = og_value_double(a, at + i), y = og_value_double(b, i);
        if (fabs(x - y) > TOLERANCE * fmax(1, fabs(y)))
            return false;
    }
    return true;
}

bool og__trials_agree(const og__trials *t, int value, bool *known)
{
    int ids[3] = {t->both.values[value], t->one.values[value], t->two.values[value]};
    *known = false;
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0)
        return true;
    const og_value *a = t->both.graph->values[ids[0]], *b = t->one.graph->values[ids[1]],
                   *c = t->two.graph->values[ids[2]];
    if (a->kind != OG_VALUE_CONST || b->kind != OG_VALUE_CONST || c->kind != OG_VALUE_CONST)
        return true;
    int64_t n = og_type_elements(&b->type);
    *known =
        a->type.rank > 0 && a->type.rank == b->type.rank && a->type.dims[0] == 2 * b->type.dims[0];
    for (int i = 1; *known && i < a->type.rank; i++)
        *known = a->type.dims[i] == b->type.dims[i];
    return !*known || (equal_elements(a, 0, b, n) && equal_elements(a, n, c, n));
}

og_status og__try_samples(og_session *s, const og_graph *g, og__trials *t, og_arena *arena)
{
    *t = (og__trials){.both = {.batch = 2}, .one = {.batch = 1}, .two = {.batch = 1, .first = 1}};
    OG_TRY(evaluate(s, g, &t->both, arena));
    OG_TRY(evaluate(s, g, &t->one, arena));
    return evaluate(s, g, &t->two, arena);
}

const og_node *og__first_tie(const og_graph *g, const og__trials *t)
{
    bool known;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i]->n_out; k++)
            if (g->nodes[i]->out[k] >= 0 && !og__trials_agree(t, g->nodes[i]->out[k], &known))
                return g->nodes[i];
    return NULL;
}
