/* A batch that an export baked in as a number was freed by the infer pass, which had to guess which
 * constants hold it. Here the guess is verified: two samples together must give what each of them
 * gives alone. */
#include <math.h>
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/train/train.h"

#define TOLERANCE 1e-3 /* relative; sums of different length are rounded differently */

/* The graph evaluated on `batch` samples, the first of them number `first`. */
typedef struct trial {
    int64_t batch, first;
    og_graph *graph;
    int *values; /* by loaded value */
} trial;

/* Element i of sample `sample`: floats within ±1, integers 0 or 1 (they may be indices). */
static double sample_value(int input, int64_t sample, int64_t i)
{
    uint64_t h = (uint64_t)(input * 1000003 + sample * 10007 + i) * 0x9E3779B97F4A7C15ull;
    h ^= h >> 29;
    return (double)(h >> 40) / (double)(1 << 23) - 1;
}

static const void *make_input(og_session *s, const og_type *t, int input, const trial *r,
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
        og_fail_memory(&s->context->error, 64, "the check of the freed batch");
        return NULL;
    }
    return data;
}

static og_status evaluate(og_session *s, trial *r, og_arena *arena)
{
    const og_graph *g = s->model->graph;
    og_error *error = &s->context->error;
    og_const *overrides = og_arena_array(arena, (size_t)g->n_values + 1, sizeof(og_const));
    r->values = og_arena_array(arena, (size_t)g->n_values + 1, sizeof(int));
    if (!overrides || !r->values)
        return og_fail_memory(error, sizeof(og_const), "the check of the freed batch");
    for (int i = 0; i < s->n_inputs; i++) {
        og_type t = s->inputs[i];
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
        return og_fail_memory(error, sizeof(og_graph), "the check of the freed batch");
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

/* Does the loaded value behave: samples side by side along its first axis, or not at all dependent
 * on the batch? *known: it is one of these two forms and could be compared. */
static bool behaves(int value, const trial *both, const trial *one, const trial *two, bool *known)
{
    int ids[3] = {both->values[value], one->values[value], two->values[value]};
    *known = false;
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0)
        return true;
    const og_value *a = both->graph->values[ids[0]], *b = one->graph->values[ids[1]],
                   *c = two->graph->values[ids[2]];
    if (a->kind != OG_VALUE_CONST || b->kind != OG_VALUE_CONST || c->kind != OG_VALUE_CONST)
        return true;
    int64_t n = og_type_elements(&b->type);
    *known =
        a->type.rank > 0 && a->type.rank == b->type.rank && a->type.dims[0] == 2 * b->type.dims[0];
    for (int i = 1; *known && i < a->type.rank; i++)
        *known = a->type.dims[i] == b->type.dims[i];
    return !*known || (equal_elements(a, 0, b, n) && equal_elements(a, n, c, n));
}

og_status og__verify_free_batch(og_session *s)
{
    const og_graph *g = s->model->graph;
    if (!s->baked_batch || s->baked_batch == s->micro)
        return OG_OK;
    for (int i = 0; i < g->n_nodes; i++)
        if (og_op_is(g->nodes[i]->op, NULL, "BatchNormalization") &&
            og_attr_int(g->nodes[i], "training_mode", 0))
            return OG_OK; /* batch statistics tie samples together: nothing to compare */
    og_error *error = &s->context->error;
    og_arena *arena = og_arena_new();
    if (!arena)
        return og_fail_memory(error, 64, "the check of the freed batch");
    trial both = {.batch = 2}, one = {.batch = 1}, two = {.batch = 1, .first = 1};
    if (evaluate(s, &both, arena) == OG_OK && evaluate(s, &one, arena) == OG_OK &&
        evaluate(s, &two, arena) == OG_OK) {
        bool good = true, known;
        for (int i = 0; i < g->n_outputs; i++)
            good &= behaves(g->outputs[i].value, &both, &one, &two, &known) && known;
        for (int i = 0; !good && i < g->n_nodes && error->status == OG_OK; i++)
            for (int k = 0; k < g->nodes[i]->n_out; k++)
                if (!behaves(g->nodes[i]->out[k], &both, &one, &two, &known)) {
                    char text[256];
                    og_fail(error, OG_UNSUPPORTED,
                            "%s: the model was exported for a batch of %lld and mixes samples here "
                            "when the batch changes; "
                            "export it with a dynamic batch (torch.onnx.export(…, "
                            "dynamic_shapes={\"input\": {0: \"batch\"}}))",
                            og_node_text(text, g->nodes[i]), (long long)s->baked_batch);
                    break;
                }
        if (!good)
            og_fail(error, OG_UNSUPPORTED,
                    "the model was exported for a batch of %lld and does not work with another; "
                    "export it with a dynamic batch "
                    "(torch.onnx.export(…, dynamic_shapes={\"input\": {0: \"batch\"}})), or use "
                    "--batch_size %lld",
                    (long long)s->baked_batch, (long long)s->baked_batch);
    }
    og_arena_free(arena);
    return error->status;
}
