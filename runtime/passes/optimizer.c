/* The update graph (optimizer.h): correction, norm, clipping, the optimizer's rule for every
 * parameter (optimizer_rules.c), and the commit of states. Clipping is PyTorch's clip_grad_norm_.
 */
#include <string.h>

#include "runtime/passes/update.h"

void og__commit(og__update *u, og_val state, og_val value)
{
    og_graph_set_state(u->g, state, Where(u->finite, value, state));
}

og_val og__as(og_val x, og_val like)
{
    return DType(x) == DType(like) ? x : Cast(x, DType(like));
}

static og_val scalar_state(og_graph *g, og_storages *storages, const char *name, double start)
{
    og_type type = og_type_make(OG_DOUBLE, 0, NULL);
    return og_storage_state(g, storages, OG_STORAGE_SCALAR, name, &type, NULL, start);
}

og_val og_scale_state(og_graph *g, og_storages *storages, const og_scaling *scaling)
{
    return scalar_state(g, storages, OG_STATE_SCALE, scaling->start);
}

og_val og_accumulating_state(og_graph *g, og_storages *storages)
{
    og_type type = og_type_make(OG_FLOAT, 0, NULL);
    return og_storage_state(g, storages, OG_STORAGE_SCALAR, OG_STATE_ACCUMULATING, &type, NULL, 0);
}

bool og_is_accumulating(const og_storage *storage)
{
    return storage->kind == OG_STORAGE_SCALAR && strcmp(storage->name, OG_STATE_ACCUMULATING) == 0;
}

/* scale' = scale · backoff after a skipped update, scale · growth after `interval` clean ones in a
 * row. */
static void renew_scale(og__update *u, og_val scale)
{
    const og_scaling *s = &u->o->scaling;
    if (!s->dynamic)
        return;
    og_val clean = scalar_state(u->g, u->storages, "clean_updates", 0);
    og_val count = Add(clean, One(clean));
    og_val full = GreaterOrEqual(count, Scalar(count, (double)s->interval));
    og_val grown = Where(full, Mul(scale, Scalar(scale, s->growth)), scale);
    og_graph_set_state(u->g, scale, Where(u->finite, grown, Mul(scale, Scalar(scale, s->backoff))));
    og_graph_set_state(u->g, clean, Where(And(u->finite, Not(full)), count, Zero(count)));
}

og_val og__half_copy_of(og__update *u, og_val w)
{
    int of = og_value_of(w)->storage;
    for (int i = 0; i < u->storages->n; i++) {
        const og_storage s = u->storages->items[i];
        if (s.kind == OG_STORAGE_HALF && s.slab < 0 && s.of == of)
            return og_storage_state(u->g, u->storages, s.kind, s.name, &s.type, NULL, 0);
    }
    return OG_NONE;
}

static bool is_renewed(const og_graph *g, og_val state)
{
    for (int k = 0; k < g->n_states; k++)
        if (g->states[k].in == state.id)
            return g->states[k].out >= 0;
    return false;
}

/* Half copies follow their parameters, where the rule has not seen to that. */
static void renew_copies(og__update *u)
{
    for (int k = 0, n = u->g->n_states; k < n; k++) {
        const og_state w = u->g->states[k];
        og_val half = w.out >= 0 ? og__half_copy_of(u, og_val_of(u->g, w.in)) : OG_NONE;
        if (half.g && !is_renewed(u->g, half))
            og_graph_set_state(u->g, half, Cast(og_val_of(u->g, w.out), DType(half)));
    }
}

/* Running statistics: running ← staged if the step counts; staged ← running again if not. */
static void commit_statistics(og__update *u)
{
    int n = u->storages->n;
    for (int i = 0; i < n; i++) {
        og_storage s = u->storages->items[i];
        if (s.kind != OG_STORAGE_STAGED || s.slab >= 0)
            continue;
        og_val staged = og_storage_state(u->g, u->storages, s.kind, s.name, &s.type, NULL, 0);
        const og_storage *buffer = &u->storages->items[s.of];
        og_val running =
            og_storage_state(u->g, u->storages, buffer->kind, buffer->name, &s.type, NULL, 0);
        og_val kept = Where(u->finite, staged, running);
        og_graph_set_state(u->g, running, kept);
        og_graph_set_state(u->g, staged, kept);
    }
}

/* The exponential moving average of a parameter: e ← d e + (1 − d) w, of the parameter after the
 * step. With warm-up d grows with the steps t to its value, min(d, (1 + t) / (10 + t)), as in
 * TensorFlow's ExponentialMovingAverage. */
static void renew_average(og__update *u, og_val w)
{
    int stepped = -1;
    if (u->o->ema == 0)
        return;
    for (int i = 0; i < u->g->n_states; i++)
        if (u->g->states[i].in == w.id)
            stepped = u->g->states[i].out;
    og_val decay = Scalar(u->t, u->o->ema);
    if (u->o->ema_warmup)
        decay = Min(decay, Div(Add(u->t, One(u->t)), Add(u->t, Scalar(u->t, 10))));
    og_val d = og__as(decay, w), rest = og__as(Sub(One(decay), decay), w);
    og_val average =
        og_storage_derived(u->g, u->storages, OG_STORAGE_AVERAGE, og_value_of(w)->storage, "ema");
    og__commit(u, average, Add(Mul(d, average), Mul(rest, og_val_of(u->g, stepped))));
}

/* The rule's parameter and its gradient sum, storage `index`, under their group's rates. */
static void step_parameter(const og__update *update, int index)
{
    og__update u = *update;
    og_optimizer own = *u.o;
    og_storage s = u.storages->items[index];
    const og_storage *parameter = &u.storages->items[s.of];
    og_val w =
        og_storage_state(u.g, u.storages, OG_STORAGE_PARAMETER, parameter->name, &s.type, NULL, 0);
    og_val sum = og_storage_state(u.g, u.storages, s.kind, s.name, &s.type, NULL, 0);
    if (own.groups) {
        const og_group *group = &own.groups[u.storages->items[s.of].group];
        own.weight_decay = group->no_decay ? 0 : own.weight_decay;
        u.lr = group->lr_scale == 1 ? u.lr : Mul(u.lr, Scalar(u.lr, group->lr_scale));
        u.o = &own;
    }
    u.sum = sum;
    og_val stepped = og__find_rule(own.name)(&u, w, Mul(sum, og__as(u.factor, sum)));
    if (stepped.g)
        og__commit(&u, w, stepped);
    renew_average(&u, w);
    if (own.accumulation > 1 && !own.continues_sums)
        og_graph_set_state(u.g, sum, og_full(u.g, &s.type, 0));
}

og_graph *og_build_update(const og_optimizer *optimizer, const og_total *total,
                          og_storages *storages, og_arena *arena)
{
    og_graph *g = og_graph_new_in(arena);
    if (!g)
        return NULL;
    g->name = "update";
    og_graph_set_origin(g, &(og_origin){.role = OG_ROLE_UPDATE, .node = "", .op = ""});
    og__update u = {.g = g, .storages = storages, .o = optimizer};
    og_type scalar = og_type_make(OG_DOUBLE, 0, NULL);
    u.lr = og_graph_add_input(g, "lr", &scalar);
    og_val step = scalar_state(g, storages, "step", 0);
    u.t = Add(step, One(step));
    og_val *means = og_arena_array(arena, (size_t)total->n, sizeof(og_val));
    if (!means) {
        og_fail_memory(&g->error, sizeof(og_val), "the update graph");
        return g;
    }
    og_total_result losses = og_total_finish(g, storages, total, means);

    /* norm² = Σ g²; a value that is not finite anywhere makes the sum not finite. Sums in a slab
     * are taken together, there and below. */
    int n = storages->n;
    og_val squares = OG_NONE;
    for (int i = 0; i < n; i++) {
        og_storage s = storages->items[i];
        if (s.kind != OG_STORAGE_GRADIENT || s.slab >= 0)
            continue;
        og_val sum = og_storage_state(g, storages, s.kind, s.name, &s.type, NULL, 0);
        og_val square = og__as(Reduce("ReduceSumSquare", sum, 0, NULL, false), u.lr);
        squares = squares.g ? Add(squares, square) : square;
    }
    if (!squares.g && optimizer->elsewhere)
        squares = Zero(u.lr);
    if (!squares.g) {
        og_fail(&g->error, OG_INVALID_ARGUMENT,
                "no trained parameter influences the loss; `ongrad check` lists what would be "
                "trained and what not, and why");
        return g;
    }
    const og_scaling *scaling = &optimizer->scaling;
    og_val scale = scaling->on ? og_scale_state(g, storages, scaling) : One(u.lr);
    og_val correction = scaling->on ? Div(losses.correction, scale) : losses.correction;
    og_val norm = Mul(Sqrt(squares), correction), factor = correction;
    if (optimizer->max_norm > 0) { /* clip_grad_norm_: min(1, max_norm / (norm + 1e-6)) */
        og_val clip = Div(Scalar(norm, optimizer->max_norm), Add(norm, Scalar(norm, 1e-6)));
        factor = Mul(correction, Min(clip, One(clip)));
    }
    u.finite = IsFinite(Add(norm, losses.loss));
    u.factor = factor;

    for (int i = 0; i < n && g->error.status == OG_OK; i++)
        if (storages->items[i].kind == OG_STORAGE_GRADIENT && storages->items[i].slab < 0)
            step_parameter(&u, i);
    if (optimizer->accumulation > 1 && optimizer->continues_sums && !optimizer->elsewhere) {
        og_val accumulating = og_accumulating_state(g, storages);
        og_graph_set_state(g, accumulating, Zero(accumulating));
    }
    commit_statistics(&u);
    og__commit(&u, step, u.t);
    renew_copies(&u);
    if (scaling->on)
        renew_scale(&u, scale);
    og_graph_add_output(g, "loss", losses.loss);
    og_graph_add_output(g, "grad_norm", norm);
    og_graph_add_output(g, "finite", u.finite);
    og_graph_add_output(g, "scale", Identity(scale));
    for (int i = 0; i < total->n; i++) {
        const char *name = og_arena_printf(arena, "loss.%s", total->losses[i].label);
        og_graph_add_output(g, name ? name : "", means[i]);
    }
    return g;
}
