/* The session's graphs: micro (one micro-batch: loss, gradients, sums), forward (evaluation),
 * update. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/train/train.h"

/* Types of the model's inputs for `samples` instead of a full batch. */
static og_type *bound_inputs(og_session *s, int64_t samples, og_arena *arena)
{
    og_type *types = og_arena_copy(arena, s->inputs, sizeof(og_type) * (size_t)s->n_inputs);
    for (int i = 0; types && i < s->n_inputs; i++)
        if (types[i].rank > 0 && types[i].dims[0] == s->batch)
            types[i].dims[0] = samples;
    return types;
}

static og_type bound_target(const og_session *s, int64_t samples)
{
    og_type t = s->target;
    if (t.rank > 0)
        t.dims[0] = samples;
    return t;
}

static og_graph *typed_graph(og_session *s, int64_t samples, og_arena *arena)
{
    og_error *error = &s->context->error;
    og_binding binding = {.inputs = bound_inputs(s, samples, arena),
                          .storage = s->storage_of,
                          .baked_batch = s->baked_batch,
                          .batch = samples};
    og_graph *g = binding.inputs ? og_pass_infer(s->model->graph, &binding,
                                                 og_eager_evaluator(s->context->device), arena)
                                 : NULL;
    if (!g)
        og_fail_memory(error, sizeof(og_type), "a graph");
    else
        og_error_move(error, &g->error);
    return error->status == OG_OK ? g : NULL;
}

/* The finished graph, or NULL with its error moved to the context. */
static og_graph *checked(og_session *s, og_graph *g)
{
    og_error *error = &s->context->error;
    if (!g)
        og_fail_memory(error, sizeof(og_graph), "a graph");
    else
        og_error_move(error, &g->error);
    return error->status == OG_OK ? g : NULL;
}

static og_loss_value add_loss(og_session *s, og_graph *g, int64_t samples)
{
    og_graph_set_origin(g, &(og_origin){.role = OG_ROLE_LOSS, .node = "", .op = s->loss.name});
    og_val y = og_val_of(g, g->outputs[s->loss_output].value), target = OG_NONE;
    if (s->has_target) {
        og_type t = bound_target(s, samples);
        target = og_graph_add_input(g, "target", &t);
    }
    return og_loss_build(&s->loss, y, target);
}

/* Σ over micro-batches, in double: sum' = sum + value */
static void accumulate_scalar(og_session *s, og_graph *g, const char *name, og_val value)
{
    og_type type = og_type_make(OG_DOUBLE, 0, NULL);
    og_val sum = og_storage_state(g, &s->storages, OG_STORAGE_SCALAR, name, &type, NULL, 0);
    og_graph_set_state(g, sum,
                       Add(sum, DType(value) == OG_DOUBLE ? value : Cast(value, OG_DOUBLE)));
}

og_graph *og__build_training_forward(og_session *s, int64_t samples, og_arena *arena,
                                     og_loss_value *loss)
{
    og_graph *g = typed_graph(s, samples, arena);
    g = g ? checked(s, og_pass_prepare(g, &s->storages)) : NULL;
    if (!g)
        return NULL;
    *loss = add_loss(s, g, samples);
    return checked(s, g);
}

og_graph *og__build_micro(og_session *s, int64_t samples, og_arena *arena)
{
    og_loss_value loss;
    og_graph *g = og__build_training_forward(s, samples, arena, &loss);
    if (!g)
        return NULL;
    g->name = "micro";
    if (s->nominal == 0)
        s->nominal = loss.nominal * s->accumulation;
    g->n_outputs = 0; /* the step needs the loss alone */

    int n = 0;
    og_val *x = og_arena_array(arena, (size_t)g->n_states + 1, sizeof(og_val));
    og_val *dx = og_arena_array(arena, (size_t)g->n_states + 1, sizeof(og_val));
    if (!x || !dx) {
        og_fail_memory(&s->context->error, sizeof(og_val), "gradients");
        return NULL;
    }
    for (int i = 0; i < g->n_states; i++)
        if (s->storages.items[g->states[i].storage].kind == OG_STORAGE_PARAMETER)
            x[n++] = og_val_of(g, g->states[i].in);
    og_autodiff(g, loss.sum, Scalar(loss.sum, s->loss.weight / s->nominal), x, n, dx);

    og_graph_set_origin(g, &(og_origin){.role = OG_ROLE_ACCUMULATE, .node = "", .op = ""});
    accumulate_scalar(s, g, OG_STATE_LOSS, loss.sum);
    accumulate_scalar(s, g, OG_STATE_WEIGHT, loss.weight);
    for (int i = 0; i < n; i++) {
        if (!x[i].g || !dx[i].g)
            continue;
        og_val sum = og_storage_derived(g, &s->storages, OG_STORAGE_GRADIENT,
                                        og_value_of(x[i])->storage, "grad");
        og_graph_set_state(g, sum, Add(sum, dx[i]));
    }
    return checked(s, g);
}

og_graph *og__build_forward(og_session *s, int64_t samples, bool with_loss, og_arena *arena)
{
    og_graph *g = typed_graph(s, samples, arena);
    g = g ? checked(s, og_pass_inference_form(g)) : NULL;
    if (!g)
        return NULL;
    g->name = "forward";
    if (with_loss) {
        og_loss_value loss = add_loss(s, g, samples);
        og_graph_add_output(g, "loss_sum", Cast(loss.sum, OG_DOUBLE));
        og_graph_add_output(g, "weight_sum", Cast(loss.weight, OG_DOUBLE));
    }
    return checked(s, g);
}

og_graph *og__build_update_graph(og_session *s, og_arena *arena)
{
    return checked(s, og_build_update(&s->optimizer, &s->storages, s->nominal, arena));
}

og_plan *og__plan_graph(og_session *s, og_graph *g, og_arena *arena)
{
    og_error *error = &s->context->error;
    g = g ? checked(s, og_pass_simplify(g)) : NULL;
    g = g ? checked(s, og_pass_legalize(g, s->context->device)) : NULL;
    g = g ? checked(s, og_pass_simplify(g)) : NULL;
    g = g ? checked(s, og_pass_fuse(g)) : NULL;
    if (!g) {
        og_arena_free(arena);
        return NULL;
    }
    og_storages_place(&s->storages);
    return og_plan_new(g, arena, &s->storages, s->context->device, error);
}
