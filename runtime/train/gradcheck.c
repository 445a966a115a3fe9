/* The graph's gradients against central differences, both in double, on the plain kernels. The
 * graph evaluated is the one training runs (training forms, rules, loss), before it is made legal
 * and fused for a device. */
#include <math.h>
#include <string.h>

#include "runtime/device/transfer.h"
#include "runtime/graph/build.h"
#include "runtime/train/train.h"

typedef struct check {
    og_session *s;
    og_arena *arena;
    const og_graph *loss;      /* double: one output, the loss */
    const og_graph *gradients; /* double: one output a trained tensor */
    og_const *inputs;          /* by input of both graphs: content in double */
    int first_state;           /* inputs from here on are states */
} check;

static double *to_double(og_arena *arena, const og_type *t, const void *data)
{
    int64_t n = og_type_elements(t);
    double *d = og_arena_array(arena, (size_t)n + 1, sizeof(double));
    const og_value v = {.type = *t, .data = data};
    for (int64_t i = 0; d && i < n; i++)
        d[i] = og_value_double(&v, i);
    return d;
}

/* All outputs of `g` for the check's inputs, as constants of a graph in `arena`; NULL on error. */
static og_graph *evaluate(check *c, const og_graph *g, og_arena *arena)
{
    og_error *error = &c->s->context->error;
    og_const *overrides = og_arena_array(arena, (size_t)g->n_values + 1, sizeof(og_const));
    if (!overrides) {
        og_fail_memory(error, sizeof(og_const), "the gradient check");
        return NULL;
    }
    for (int i = 0; i < g->n_inputs; i++)
        overrides[g->inputs[i]] = c->inputs[i];
    og_binding binding = {.overrides = overrides};
    og_graph *result = og_pass_infer(g, &binding, og_eager_evaluator(c->s->context->host), arena);
    if (!result)
        og_fail_memory(error, sizeof(og_graph), "the gradient check");
    else
        og_error_move(error, &result->error);
    for (int i = 0; result && error->status == OG_OK && i < result->n_outputs; i++)
        if (result->values[result->outputs[i].value]->kind != OG_VALUE_CONST)
            og_fail(error, OG_UNSUPPORTED, "output %d of the check could not be evaluated", i);
    return error->status == OG_OK ? result : NULL;
}

static double loss_at(check *c)
{
    og_arena *arena = og_arena_new();
    og_graph *r = arena ? evaluate(c, c->loss, arena) : NULL;
    double loss = r ? og_value_double(r->values[r->outputs[0].value], 0) : NAN;
    og_arena_free(arena);
    return loss;
}

/* The largest disagreement among `count` elements of input `index`. */
static og_status check_tensor(check *c, int index, const double *gradient, int count,
                              og_gradient_check *out)
{
    const og_type *t = &c->inputs[index].type;
    double *x = (double *)(uintptr_t)c->inputs[index].data;
    int64_t n = og_type_elements(t);
    double scale = 0;
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(gradient[i]));
    uint64_t random = 0x9E3779B97F4A7C15ull * (uint64_t)(index + 1);
    for (int k = 0; k < count && k < n; k++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        int64_t i = count >= n ? k : (int64_t)((random >> 17) % (uint64_t)n);
        double old = x[i], h = 1e-6 * fmax(1, fabs(old));
        x[i] = old + h;
        double up = loss_at(c);
        x[i] = old - h;
        double down = loss_at(c);
        x[i] = old;
        double difference = (up - down) / (2 * h);
        double error = fabs(difference - gradient[i]) / fmax(scale, 1e-8);
        if (c->s->context->error.status != OG_OK)
            return c->s->context->error.status;
        if (k == 0 || error > out->error || isnan(error)) {
            out->gradient = gradient[i];
            out->difference = difference;
            out->error = error;
        }
    }
    return OG_OK;
}

/* The two graphs, in double: the mean loss, and its gradients by trained tensor. trained[i]: state
 * of gradient output i. */
static og_status build_graphs(check *c, int64_t samples, int *trained, int *n_trained)
{
    og_session *s = c->s;
    og_error *error = &s->context->error;
    og_loss_value *losses = og_arena_array(c->arena, (size_t)s->losses.n, sizeof(*losses));
    if (!losses)
        return og_fail_memory(error, sizeof(*losses), "the gradient check");
    og_graph *g = og__build_training_forward(s, samples, OG_UNDEFINED, c->arena, losses);
    if (!g)
        return error->status != OG_OK
                   ? error->status
                   : og_fail_memory(error, sizeof(og_graph), "the gradient check");
    int n = 0;
    og_val *x = og_arena_array(c->arena, (size_t)g->n_states + 1, sizeof(og_val));
    og_val *dx = og_arena_array(c->arena, (size_t)g->n_states + 1, sizeof(og_val));
    if (!x || !dx)
        return og_fail_memory(error, sizeof(og_val), "the gradient check");
    for (int i = 0; i < g->n_states; i++) {
        g->states[i].out = -1;
        if (s->storages.items[g->states[i].storage].kind == OG_STORAGE_PARAMETER)
            x[n++] = og_val_of(g, g->states[i].in);
    }
    og_total total = s->total;
    total.nominal = s->losses.n == 1 ? losses[0].nominal : (double)samples;
    og_seed seed = og_total_seed(&total, losses, samples);
    og_autodiff(g, seed.y, seed.dy, x, n, dx);
    g->n_outputs = 0;
    og_graph_add_output(g, "loss", Mul(seed.y, seed.dy));
    og_graph *only_loss = og_pass_simplify(g);
    c->loss = only_loss ? og_pass_double(only_loss) : NULL;
    g->n_outputs = 0;
    *n_trained = 0;
    for (int i = 0; i < n; i++)
        if (x[i].g && dx[i].g) {
            for (int k = 0; k < g->n_states; k++)
                if (g->states[k].in == x[i].id)
                    trained[*n_trained] = k;
            og_graph_add_output(g, og_value_of(x[i])->name, dx[i]);
            ++*n_trained;
        }
    og_graph *only_gradients = og_pass_simplify(g);
    og_graph *gradients = only_gradients ? og_pass_double(only_gradients) : NULL;
    c->gradients = gradients;
    if (!c->loss || !c->gradients)
        return og_fail_memory(error, sizeof(og_graph), "the gradient check");
    og_error_move(error, (og_error *)(uintptr_t)&c->loss->error);
    return og_error_move(error, &gradients->error);
}

/* Where the host can read it; NULL on error. */
static const void *state_content(check *c, int storage)
{
    og_session *s = c->s;
    og_device *d = s->context->device;
    size_t bytes = (size_t)og_type_bytes(&s->storages.items[storage].type);
    if (!d->remote)
        return og__state_at(s, storage);
    void *copy = og_arena_alloc(c->arena, bytes);
    if (!copy)
        og_fail_memory(&s->context->error, bytes, "the gradient check");
    else if (og_device_download(d, copy, og__state_at(s, storage), bytes, &s->context->error) ==
             OG_OK)
        return copy;
    return NULL;
}

static og_status fill_inputs(check *c, const void *const *inputs, const void *const *targets,
                             int64_t samples)
{
    og_session *s = c->s;
    const og_graph *g = c->gradients;
    c->inputs = og_arena_array(c->arena, (size_t)g->n_inputs + 1, sizeof(og_const));
    if (!c->inputs)
        return og_fail_memory(&s->context->error, sizeof(og_const), "the gradient check");
    for (int i = 0; i < g->n_inputs; i++) {
        const og_type *t = &g->values[g->inputs[i]]->type;
        c->inputs[i].type = *t;
        og_type stored = *t;
        const void *data;
        if (i < s->n_inputs) {
            data = inputs[i];
            stored.dtype = s->inputs[i].dtype;
        } else if (i < c->first_state) {
            int target = i - s->n_inputs;
            data = og__target_data(s, targets, target);
            stored.dtype = s->targets[target].dtype;
        } else {
            int storage = -1;
            for (int k = s->storages.n - 1; k >= 0; k--) /* parameters come first */
                if (strcmp(s->storages.items[k].name, g->values[g->inputs[i]]->name) == 0)
                    storage = k;
            const og_storage *st = &s->storages.items[storage];
            stored.dtype = st->type.dtype;
            data = state_content(c, storage);
            if (!data)
                return s->context->error.status;
        }
        c->inputs[i].data = t->dtype == OG_DOUBLE ? to_double(c->arena, &stored, data) : data;
        if (!c->inputs[i].data)
            return og_fail_memory(&s->context->error, sizeof(double), "the gradient check");
    }
    (void)samples;
    return OG_OK;
}

og_status og_session_check_gradients(og_session *s, const void *const *inputs,
                                     const void *const *targets, int64_t samples, int count,
                                     og_gradient_check *results, int *n)
{
    og_error *error = &s->context->error;
    int room = *n, n_trained = 0;
    *n = 0;
    og__context_begin(s->context);
    if (s->losses.n == 0)
        return og_fail(error, OG_INVALID_ARGUMENT, "this session has no loss to differentiate");
    if (!targets && s->losses.n_targets)
        return og_fail(error, OG_INVALID_ARGUMENT, "no targets were given; the losses take %d",
                       s->losses.n_targets);
    if (samples < 1 || samples > s->batch)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "%lld samples were given; the session was planned for 1 to %lld",
                       (long long)samples, (long long)s->batch);
    check c = {.s = s, .arena = og_arena_new(), .first_state = s->n_inputs + s->losses.n_targets};
    og_arena *scratch = og_arena_new();
    int *trained = c.arena ? og_arena_array(c.arena, (size_t)s->storages.n + 1, sizeof(int)) : NULL;
    og_status status = trained && scratch
                           ? build_graphs(&c, samples, trained, &n_trained)
                           : og_fail_memory(error, sizeof(int), "the gradient check");
    if (status == OG_OK)
        status = fill_inputs(&c, inputs, targets, samples);
    og_graph *g = status == OG_OK ? evaluate(&c, c.gradients, scratch) : NULL;
    status = error->status;
    for (int i = 0; g && i < n_trained && i < room && status == OG_OK; i++) {
        results[i] = (og_gradient_check){.name = s->storages.items[0].name};
        for (int k = s->storages.n - 1; k >= 0; k--)
            if (strcmp(s->storages.items[k].name, g->outputs[i].name) == 0)
                results[i].name = s->storages.items[k].name;
        const double *gradient = g->values[g->outputs[i].value]->data;
        status = check_tensor(&c, c.first_state + trained[i], gradient, count, &results[i]);
        ++*n;
    }
    og_arena_free(scratch);
    og_arena_free(c.arena);
    return status;
}
