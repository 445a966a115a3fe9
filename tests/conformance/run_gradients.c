/* Gradients of node tests (node_case.h) against finite differences: run_gradients [--cuda] ROOT NAME…
 *
 * Every float32 or float64 input of the model is made a trained parameter, as far as the model
 * allows. loss = Σ w · y over the float outputs, w fixed and random. Autodiff differentiates it,
 * the graph is widened to double, and some elements of each parameter are moved up and down by h.
 * An element where the two one-sided differences disagree, or those of h and h / 2, lies at a kink
 * or a jump and is passed over. At last the gradients are computed once more as sessions do, in
 * float32 on the best kernels (with --cuda on those of the first card), and compared with those in double. One line a test: pass with the
 * number of elements compared fail          with the input, the index and both derivatives, or the
 * error kinks         every element was passed over, or there is none unsupported   nothing to
 * differentiate, or what the library says it cannot do */
#include <stdio.h>

#include "tests/conformance/node_case.h"
#include "tests/conformance/planned.h"

enum { ELEMENTS = 6 };      /* compared in each parameter */
#define TOLERANCE 2e-5      /* of a derivative, relative to the largest of the parameter, or 1 */
#define KINK_TOLERANCE 1e-3 /* between differences that should agree, likewise */

typedef struct check {
    const case_devices *devices;
    const node_case *c;
    og_arena *arena;
    const og_graph *loss;      /* double: one output */
    const og_graph *gradients; /* double: one output for each entry of `of` */
    og_graph *plain;           /* the same as it was made */
    og_storages storages;      /* the parameters */
    bool changed;              /* elements that are not finite were replaced in `inputs` */
    int *of; /* by output of `gradients`: the input of both graphs it belongs to */
    int n_inputs;
    og_const *inputs; /* by input of both graphs: content in double */
    int compared, skipped;
} check;

static uint64_t mix(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    uint64_t z = *state ^ *state >> 33;
    return z * 0xff51afd7ed558ccdull >> 20;
}

/* Σ w · y, w in [0.5, 1.5); none if y is not float. */
static og_val weighted_sum(og_val y, uint64_t seed)
{
    const og_type *t = og_type_of(y);
    int64_t n = Count(y);
    if ((t->dtype != OG_FLOAT && t->dtype != OG_DOUBLE) || n == 0)
        return OG_NONE;
    og_type wide = *t;
    wide.dtype = OG_DOUBLE;
    double *w = og_arena_array(y.g->arena, (size_t)n, sizeof *w);
    for (int64_t i = 0; w && i < n; i++)
        w[i] = 0.5 + (double)(mix(&seed) % 1000) / 1000;
    og_val weights = og_graph_add_const(y.g, "", &wide, w);
    if (t->dtype == OG_FLOAT)
        weights = Cast(weights, OG_FLOAT);
    return Reduce("ReduceSum", Mul(y, weights), 0, NULL, false);
}

/* All outputs of `g` for the check's inputs; NULL on error. */
static og_graph *evaluate(check *k, const og_graph *g, og_arena *arena, og_error *error)
{
    og_const *overrides = og_arena_array(arena, (size_t)g->n_values + 1, sizeof *overrides);
    for (int i = 0; overrides && i < g->n_inputs; i++)
        overrides[g->inputs[i]] = k->inputs[i];
    og_binding binding = {.overrides = overrides};
    og_graph *r =
        overrides ? og_pass_infer(g, &binding, og_eager_evaluator(k->devices->host), arena) : NULL;
    if (!r)
        og_fail_memory(error, sizeof *overrides, "an evaluation");
    else
        og_error_move(error, &r->error);
    for (int i = 0; r && error->status == OG_OK && i < r->n_outputs; i++)
        if (r->values[r->outputs[i].value]->kind != OG_VALUE_CONST)
            og_fail(error, OG_UNSUPPORTED, "random");
    return error->status == OG_OK ? r : NULL;
}

static double loss_at(check *k, og_error *error)
{
    og_arena *arena = og_arena_new();
    og_graph *r = arena ? evaluate(k, k->loss, arena, error) : NULL;
    double loss = r ? og_value_double(r->values[r->outputs[0].value], 0) : NAN;
    og_arena_free(arena);
    return loss;
}

static double moved(check *k, double *x, double h, og_error *error)
{
    double old = *x;
    *x = old + h;
    double loss = loss_at(k, error);
    *x = old;
    return loss;
}

static double central(check *k, double *x, double h, og_error *error)
{
    return (moved(k, x, h, error) - moved(k, x, -h, error)) / (2 * h);
}

/* The model with the parameters `trained` (by input of the model) as states, differentiated. */
static og_status build(check *k, const bool *trained, og_error *error)
{
    const og_graph *model = og_onnx_graph(k->c->model);
    og_arena *arena = k->arena;
    k->storages.arena = arena;
    size_t room = (size_t)model->n_values + 1;
    og_graph typed_model = *model; /* its own inputs and values: some inputs become initializers */
    typed_model.values =
        og_arena_copy(arena, model->values, room * sizeof(og_value *) - sizeof(og_value *));
    typed_model.inputs = og_arena_array(arena, room, sizeof(int));
    int *storage = og_arena_array(arena, room, sizeof(int));
    og_type *types = og_arena_array(arena, room, sizeof *types);
    og_const *overrides = og_arena_array(arena, room, sizeof *overrides);
    if (!typed_model.values || !typed_model.inputs || !storage || !types || !overrides)
        return og_fail_memory(error, room, "a check");
    typed_model.n_inputs = 0;
    for (int i = 0; i < model->n_values; i++)
        storage[i] = -1;
    for (int i = 0; i < model->n_inputs; i++) {
        int id = model->inputs[i];
        const og_const *c = &k->c->values[id];
        if (!trained[i]) {
            overrides[id] = *c;
            typed_model.inputs[typed_model.n_inputs++] = id;
            continue;
        }
        og_value *v = og_arena_copy(arena, model->values[id], sizeof *v);
        if (!v)
            return og_fail_memory(error, sizeof *v, "a check");
        v->kind = OG_VALUE_CONST;
        v->type = c->type;
        v->data = c->data;
        typed_model.values[id] = v;
        storage[id] =
            og_storage_get(&k->storages, OG_STORAGE_PARAMETER, v->name, &v->type, v->data, 0);
    }
    og_binding binding = {.inputs = types, .storage = storage, .overrides = overrides};
    og_graph *g = og_pass_infer(&typed_model, &binding, og_eager_evaluator(k->devices->host), arena);
    if (g && g->error.status == OG_OK)
        g = og_pass_prepare(g, &k->storages);
    if (g && g->error.status == OG_OK)
        g = og_pass_whole(g, k->devices->device);
    if (!g)
        return og_fail_memory(error, room, "a check");
    if (g->error.status != OG_OK)
        return og_error_move(error, &g->error);

    og_val loss = OG_NONE;
    for (int i = 0; i < g->n_outputs; i++) {
        og_val part = weighted_sum(og_val_of(g, g->outputs[i].value), 17 + (uint64_t)i);
        part = Has(part) && DType(part) == OG_FLOAT ? Cast(part, OG_DOUBLE) : part;
        loss = Has(loss) && Has(part) ? Add(loss, part) : Has(part) ? part : loss;
    }
    if (!Has(loss))
        return og_error_move(error, &g->error) != OG_OK
                   ? error->status
                   : og_fail(error, OG_UNSUPPORTED, "no float output");
    size_t n = (size_t)g->n_states + 1;
    og_val *x = og_arena_array(arena, n, sizeof *x), *dx = og_arena_array(arena, n, sizeof *dx);
    k->of = og_arena_array(arena, n, sizeof(int));
    k->inputs = og_arena_array(arena, n + (size_t)g->n_inputs, sizeof *k->inputs);
    if (!x || !dx || !k->of || !k->inputs)
        return og_fail_memory(error, n, "a check");
    int n_trained = 0;
    for (int i = 0; i < g->n_states; i++) {
        g->states[i].out = -1;
        const og_value *v = g->values[g->states[i].in];
        if (k->storages.items[v->storage].kind == OG_STORAGE_PARAMETER) {
            k->of[n_trained] = g->n_inputs + i;
            x[n_trained++] = og_val_of(g, v->id);
        } else { /* the random position: zeros, as its storage begins */
            int64_t bytes = og_type_bytes(&v->type);
            k->inputs[g->n_inputs + i] =
                (og_const){.type = v->type, .data = og_arena_alloc(arena, (size_t)bytes + 1)};
        }
    }
    og_autodiff(g, loss, One(loss), x, n_trained, dx);
    if (g->error.status != OG_OK)
        return og_error_move(error, &g->error);
    g->n_outputs = 0;
    og_graph_add_output(g, "loss", loss);
    og_graph *only = og_pass_simplify(g);
    k->loss = only ? og_pass_double(only) : NULL;
    g->n_outputs = 0;
    for (int i = 0; i < n_trained; i++) {
        og_val zero = og_full(g, og_type_of(x[i]), 0);
        og_graph_add_output(g, "", Has(dx[i]) ? dx[i] : zero);
    }
    only = og_pass_simplify(g);
    k->gradients = only ? og_pass_double(only) : NULL;
    k->plain = only;
    if (!k->loss || !k->gradients)
        return og_fail_memory(error, n, "a check");
    og_error_move(error, (og_error *)(uintptr_t)&k->loss->error);
    og_error_move(error, (og_error *)(uintptr_t)&k->gradients->error);
    k->n_inputs = g->n_inputs + g->n_states;
    for (int i = 0; error->status == OG_OK && i < n_trained; i++) {
        const og_value *v = og_value_of(x[i]);
        int64_t count = og_type_elements(&v->type);
        double *wide = og_arena_array(arena, (size_t)count + 1, sizeof *wide);
        for (int64_t e = 0; wide && e < count; e++)
            wide[e] = isfinite(og_value_double(v, e)) ? og_value_double(v, e) : 0.25;
        for (int64_t e = 0; wide && e < count; e++)
            k->changed |= !isfinite(og_value_double(v, e));
        k->inputs[k->of[i]] = (og_const){.type = v->type, .data = wide};
        k->inputs[k->of[i]].type.dtype = OG_DOUBLE;
    }
    return error->status;
}

/* Some elements of input `index`; false: `text` says which one is wrong. */
static bool compare(check *k, int index, const og_value *gradient, og_text *text, og_error *error)
{
    double *x = (double *)(uintptr_t)k->inputs[index].data;
    int64_t n = og_type_elements(&k->inputs[index].type);
    uint64_t random = (uint64_t)index + 1;
    double scale = 1, middle = loss_at(k, error);
    for (int64_t i = 0; i < n; i++)
        if (isfinite(og_value_double(gradient, i)))
            scale = fmax(scale, fabs(og_value_double(gradient, i)));
    for (int e = 0; e < ELEMENTS && e < n && error->status == OG_OK; e++) {
        int64_t i = n <= ELEMENTS ? e : (int64_t)(mix(&random) % (uint64_t)n);
        double h = 1e-6 * fmax(1, fabs(x[i])), dx = og_value_double(gradient, i);
        double near = central(k, x + i, h / 2, error), difference = central(k, x + i, h, error);
        double up = (moved(k, x + i, h, error) - middle) / h, down = 2 * difference - up;
        if (!isfinite(difference) || fabs(up - down) > KINK_TOLERANCE * scale ||
            fabs(near - difference) > KINK_TOLERANCE * scale) {
            k->skipped++;
            continue;
        }
        k->compared++;
        if (!(fabs(difference - dx) <= TOLERANCE * scale)) {
            og_text_printf(text, "input %d [%lld]: the gradient is %.9g, the difference %.9g",
                           index, (long long)i, dx, difference);
            return false;
        }
    }
    return error->status == OG_OK;
}

/* Gradients `wide` in double, `got` as sessions compute them. */
static bool agree(const og_value *got, const og_value *wide, int index, og_text *text)
{
    int64_t n = og_type_elements(&got->type);
    double scale = 0;
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(og_value_double(wide, i)));
    for (int64_t i = 0; i < n; i++) {
        double a = og_value_double(got, i), b = og_value_double(wide, i);
        if (a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-4 * scale + 1e-6)
            continue;
        og_text_printf(text, "input %d [%lld]: the planned gradient is %.9g, in double it is %.9g",
                       index, (long long)i, a, b);
        return false;
    }
    return true;
}

/* Takes the check's arena. */
static bool check_planned(check *k, const og_graph *wide, og_text *text, og_error *error)
{
    planned p;
    og_arena *arena = k->arena;
    bool good = true;
    k->arena = NULL;
    if (planned_run(&p, k->plain, arena, &k->storages, k->devices->device, NULL, error) != OG_OK)
        return false;
    for (int i = 0; good && i < wide->n_outputs; i++) {
        og_value got = planned_output(&p, i);
        good = agree(&got, wide->values[wide->outputs[i].value], i, text);
    }
    planned_free(&p);
    return good;
}

static bool check_all(check *k, og_text *text, og_error *error)
{
    og_arena *scratch = og_arena_new();
    og_graph *r = scratch ? evaluate(k, k->gradients, scratch, error) : NULL;
    bool good = r != NULL;
    for (int i = 0; good && i < r->n_outputs; i++)
        good = compare(k, k->of[i], r->values[r->outputs[i].value], text, error);
    good = good && (k->changed || check_planned(k, r, text, error));
    og_arena_free(scratch);
    return good;
}

/* One check with these parameters. false: `text` or `error` says why. */
static bool attempt(const case_devices *devices, const node_case *c, const bool *trained,
                    int *compared, int *skipped, og_text *text, og_error *error)
{
    check k = {.devices = devices, .c = c, .arena = og_arena_new()};
    bool good = k.arena && build(&k, trained, error) == OG_OK && check_all(&k, text, error);
    *compared += k.compared;
    *skipped += k.skipped;
    og_arena_free(k.arena);
    return good;
}

/* false: an error, after which a device may do nothing more. */
static bool run(const char *root, const char *name, const case_devices *devices)
{
    og_error error = {0};
    og_text text = {0};
    node_case c;
    if (case_load(root, name, &c, &error) != OG_OK) {
        verdict(name, "unsupported", one_line(&error));
        og_error_clear(&error);
        return true;
    }
    const og_graph *g = og_onnx_graph(c.model);
    bool *trained = calloc((size_t)g->n_inputs + 1, sizeof *trained);
    bool *every = calloc((size_t)g->n_inputs + 1, sizeof *every);
    int n = 0, compared = 0, skipped = 0;
    for (int i = 0; trained && every && i < g->n_inputs; i++) {
        og_dtype dtype = c.values[g->inputs[i]].type.dtype;
        every[i] = dtype == OG_FLOAT || dtype == OG_DOUBLE;
        n += every[i];
    }
    bool good = n > 0 && attempt(devices, &c, every, &compared, &skipped, &text, &error);
    bool refused = !good && !text.s;
    if (refused && n > 1) { /* an input that must be a constant: each alone */
        int usable = 0;
        for (int i = 0; i < g->n_inputs && !text.s; i++) {
            og_error alone = {0};
            trained[i] = every[i];
            usable += every[i] && attempt(devices, &c, trained, &compared, &skipped, &text, &alone);
            trained[i] = false;
            og_error_clear(&alone);
        }
        good = usable && !text.s;
    }
    if (text.s)
        verdict(name, "fail", text.s);
    else if (n == 0)
        verdict(name, "unsupported", "no float input");
    else if (!good)
        verdict(name, error.status == OG_INTERNAL ? "fail" : "unsupported", one_line(&error));
    else {
        char counts[64];
        snprintf(counts, sizeof counts, "%d compared, %d at kinks", compared, skipped);
        verdict(name, compared ? "pass" : "kinks", counts);
    }
    good = error.status == OG_OK || error.status == OG_UNSUPPORTED;
    free(trained);
    free(every);
    case_free(&c);
    og_text_free(&text);
    og_error_clear(&error);
    return good;
}

int main(int argc, char **argv)
{
    case_devices devices;
    if (!case_open(&devices, 1, &argc, &argv))
        return 2;
    if (argc < 2)
        fprintf(stderr, "usage: run_gradients [--cuda] ROOT NAME…\n");
    bool good = true;
    for (int i = 2; i < argc && good; i++)
        good = run(argv[1], argv[i], &devices) || devices.device == devices.host;
    case_close(&devices);
    return argc < 2 ? 2 : good ? 0 : CASE_AGAIN;
}
