/* The session's graphs: micro (one micro-batch: loss, gradients, sums), forward (evaluation),
 * update. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/train/train.h"

static og_type with_samples(og_type t, int64_t samples)
{
    if (t.rank > 0)
        t.dims[0] = samples;
    return t;
}

/* Types of the model's inputs for `samples` instead of a full batch, then of the targets. */
static og_type *bound_inputs(og_session *s, int64_t samples, og_arena *arena)
{
    og_type *types =
        og_arena_array(arena, (size_t)(s->n_inputs + s->losses.n_targets) + 1, sizeof(og_type));
    for (int i = 0; types && i < s->n_inputs; i++) {
        bool batched = s->inputs[i].rank > 0 && s->inputs[i].dims[0] == s->batch;
        types[i] = batched ? with_samples(s->inputs[i], samples) : s->inputs[i];
    }
    for (int t = 0; types && s->targets && t < s->losses.n_targets; t++)
        types[s->n_inputs + t] = with_samples(s->targets[t], samples);
    return types;
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

/* `loaded`: the model's graph, or the one that is joined with the losses. half: of mixed precision.
 */
static og_graph *typed_graph(og_session *s, const og_graph *loaded, int64_t samples, og_dtype half,
                             og_arena *arena)
{
    og_binding binding = {.inputs = bound_inputs(s, samples, arena),
                          .storage = s->storage_of,
                          .overrides = s->constants,
                          .baked_batch = s->baked_batch,
                          .batch = samples};
    og_graph *g = binding.inputs
                      ? og_pass_infer(loaded, &binding, og_eager_evaluator(s->context->host), arena)
                      : NULL;
    g = checked(s, g);
    return g ? checked(s, og_pass_patterns_for(g, s->context->device, half)) : NULL;
}

/* The target as the loss wants it: it may serve others that see axes of 1 elsewhere. */
static og_val target_for(og_session *s, og_graph *g, int i, og_val y)
{
    int index = s->losses.sources[i].target;
    if (index < 0)
        return OG_NONE;
    og_val target = og_val_of(g, g->inputs[s->n_inputs + index]);
    og_type wanted;
    og_loss_target_type(&s->losses.items[i], og_type_of(y), og_type_of(target), &wanted, &g->error);
    return og_type_equal(&wanted, og_type_of(target)) || g->error.status != OG_OK
               ? target
               : Reshape(target, wanted.rank, wanted.dims);
}

/* Appends the losses; values: one each. */
static void add_losses(og_session *s, og_graph *g, og_loss_value *values)
{
    for (int i = 0; i < s->losses.n && g->error.status == OG_OK; i++) {
        const og_loss *l = &s->losses.items[i];
        const og__loss_source *source = &s->losses.sources[i];
        og_graph_set_origin(g, &(og_origin){.role = OG_ROLE_LOSS, .node = "", .op = l->name});
        og_val y = og_val_of(g, g->outputs[source->output].value);
        if (!og_dtype_is_float(DType(y)))
            og_fail(&g->error, OG_INVALID_ARGUMENT, "%s: the loss is %s, not floating point",
                    source->path ? source->path : l->name, og_dtype_name(DType(y)));
        else
            values[i] = og_loss_build(l, y, target_for(s, g, i, y));
    }
}

/* Passes that ask what the device can do, and the kernels they then find, go by these. */
static void set_device_options(og_session *s, og_dtype half)
{
    s->context->device->options =
        (og_device_options){.allow_tf32 = og__option_flag(s->options, "allow_tf32"),
                            .deterministic = og__option_flag(s->options, "deterministic"),
                            .half = half};
}

og_graph *og__build_training_forward(og_session *s, int64_t samples, og_dtype half, og_arena *arena,
                                     og_loss_value *losses)
{
    og_graph *g = typed_graph(s, s->joined, samples, half, arena);
    g = g ? checked(s, og_pass_prepare(g, &s->storages)) : NULL;
    if (g && og__trains_itself(s->model))
        g = checked(s, og_pass_gradients(g));
    if (g && half != OG_UNDEFINED)
        g = checked(s, og_pass_precision(g, s->context->device, half));
    set_device_options(s, half);
    g = g ? checked(s, og_pass_whole(g, s->context->device)) : NULL;
    if (!g)
        return NULL;
    add_losses(s, g, losses);
    return checked(s, g);
}

/* The only micro-batch of its update: nothing to add to, and nothing update must zero. more: null,
 * or whether there is something to add to. */
static og_val continued(const og_session *s, og_val sum, og_val dx, og_val more)
{
    if (s->optimizer.accumulation == 1)
        return dx;
    if (!more.g)
        return Add(sum, dx);
    return Op("ai.ongrad::Accumulate",
              In(dx, sum, DType(dx) == DType(more) ? more : Cast(more, DType(dx))));
}

/* dx of the n parameters x, where they have one. */
static void add_to_sums(og_session *s, og_graph *g, const og_val *x, const og_val *dx, int n)
{
    bool continues = s->optimizer.accumulation > 1 && s->optimizer.continues_sums;
    og_val more = continues ? og_accumulating_state(g, &s->storages) : OG_NONE;
    for (int i = 0; i < n; i++) {
        if (!x[i].g || !dx[i].g)
            continue;
        og_val sum = og_storage_derived(g, &s->storages, OG_STORAGE_GRADIENT,
                                        og_value_of(x[i])->storage, "grad");
        og_graph_set_state(g, sum, continued(s, sum, og_widen_gradient(dx[i]), more));
    }
    if (more.g)
        og_graph_set_state(g, more, One(more));
}

og_graph *og__build_micro(og_session *s, int64_t samples, og_arena *arena)
{
    og_loss_value *losses = og_arena_array(arena, (size_t)s->losses.n, sizeof(*losses));
    if (!losses) {
        og_fail_memory(&s->context->error, sizeof(*losses), "the losses");
        return NULL;
    }
    og_graph *g = og__build_training_forward(s, samples, s->half, arena, losses);
    if (!g)
        return NULL;
    g->name = "micro";
    if (s->total.nominal == 0)
        s->total.nominal =
            (s->losses.n == 1 ? losses[0].nominal : (double)samples) * s->optimizer.accumulation;
    if (og__trains_itself(s->model)) {
        og_graph_set_origin(g, &(og_origin){.role = OG_ROLE_ACCUMULATE, .node = "", .op = ""});
        og__own_updates(s, g, losses[0].sum, s->model->graph->n_outputs);
        g->n_outputs = 0;
        og_total_accumulate(g, &s->storages, &s->total, losses, samples);
        return checked(s, g);
    }
    g->n_outputs = 0; /* the step needs the losses alone */

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
    og_seed seed = og_total_seed(&s->total, losses, samples);
    const og_scaling *scaling = &s->optimizer.scaling;
    if (scaling->on && seed.dy.g) {
        og_val scale = og_scale_state(g, &s->storages, scaling);
        seed.dy = Mul(seed.dy, Cast(scale, DType(seed.dy)));
    }
    og_autodiff(g, seed.y, seed.dy, x, n, dx);

    og_graph_set_origin(g, &(og_origin){.role = OG_ROLE_ACCUMULATE, .node = "", .op = ""});
    og_total_accumulate(g, &s->storages, &s->total, losses, samples);
    add_to_sums(s, g, x, dx, n);
    g = checked(s, g);
    if (g && s->half != OG_UNDEFINED) {
        g = checked(s, og_pass_half_products(g, s->half));
        g = g ? checked(s, og_pass_half_copies(g, &s->storages, s->half)) : NULL;
    }
    return g;
}

og_graph *og__build_forward(og_session *s, int64_t samples, bool with_loss, og_arena *arena)
{
    og_graph *g =
        typed_graph(s, with_loss ? s->joined : s->model->graph, samples, OG_UNDEFINED, arena);
    if (g && with_loss && og__trains_itself(s->model))
        g->n_outputs = s->model->graph->n_outputs; /* without the updates */
    g = g ? checked(s, og_pass_inference_form(g)) : NULL;
    if (!g)
        return NULL;
    g->name = "forward";
    if (!with_loss)
        return g;
    og_loss_value *losses = og_arena_array(arena, (size_t)s->losses.n, sizeof(*losses));
    if (!losses) {
        og_fail_memory(&s->context->error, sizeof(*losses), "the losses");
        return NULL;
    }
    add_losses(s, g, losses);
    g->n_outputs = s->n_outputs; /* those of loss models are none of the model's */
    for (int i = 0; i < s->losses.n && g->error.status == OG_OK; i++) {
        const char *label = s->losses.items[i].label;
        bool one = s->losses.n == 1;
        const char *sum = one ? "loss_sum" : og_arena_printf(arena, "loss_sum.%s", label);
        const char *weight = one ? "weight_sum" : og_arena_printf(arena, "weight_sum.%s", label);
        og_graph_add_output(g, sum ? sum : "", Cast(losses[i].sum, OG_DOUBLE));
        og_graph_add_output(g, weight ? weight : "", Cast(losses[i].weight, OG_DOUBLE));
    }
    return checked(s, g);
}

og_graph *og__build_update_graph(og_session *s, og_storages *storages, og_arena *arena)
{
    return checked(s, og_build_update(&s->optimizer, &s->total, storages, arena));
}

og_plan *og__plan_graph(og_session *s, og_graph *g, bool keep, og_arena *arena)
{
    og_error *error = &s->context->error;
    set_device_options(s, s->half);
    g = g ? checked(s, og_pass_simplify(g)) : NULL;
    g = g ? checked(s, og_pass_products(g)) : NULL;
    g = g ? checked(s, og_pass_legalize(g, s->context->device)) : NULL;
    g = g ? checked(s, og_pass_simplify(g)) : NULL;
    g = g ? checked(s, og_pass_matmul_epilogue(g, s->context->device)) : NULL;
    if (keep)
        g = g ? checked(s, og_pass_hoist(g, &s->storages)) : NULL;
    s->recomputed = s->recompute;
    g = g ? checked(s, og_pass_recompute(g, &s->recomputed)) : NULL;
    g = g ? checked(s, og_pass_fuse(g, s->context->device)) : NULL;
    g = g ? checked(s, og_pass_epilogue(g, s->context->device)) : NULL;
    og_arena *own = g ? og_arena_new() : NULL;
    og_graph *planned = own ? og_graph_copy(g, own) : NULL;
    if (g && !planned)
        og_fail_memory(error, sizeof(og_graph), "a plan");
    og_arena_free(arena);
    if (!planned) {
        og_arena_free(own);
        return NULL;
    }
    og_storages_place(&s->storages);
    return og_plan_new(planned, own, &s->storages, s->room, s->context->device, keep, error);
}
