/* Runs node tests (node_case.h): run_node [--cuda] folded|planned ROOT NAME…
 *
 * folded: every input is bound as a constant, so that folding evaluates the whole graph on the
 * plain kernels; what it leaves as constants are the outputs. planned: the inputs stay inputs, as
 * far as inference allows, and the graph is run as sessions run it, on the best kernels;
 * with --cuda on those of the first card.
 *
 * One line a test:
 *     pass          type, shape and elements are as expected
 *     fail          with the output, the index and both values, or the error
 *     unsupported   with what the library says it cannot do */
#include <stdio.h>

#include "tests/conformance/node_case.h"
#include "tests/conformance/planned.h"

/* Element i of 4-bit types, two a byte, the low half first. */
static int nibble(const og_value *v, int64_t i)
{
    int bits = ((const uint8_t *)v->data)[i / 2] >> (i % 2 * 4) & 15;
    return v->type.dtype == OG_INT4 && bits > 7 ? bits - 16 : bits;
}

static bool same_element(const og_value *a, const og_value *b, int64_t i, double rtol, double atol)
{
    size_t size = (size_t)og_dtype_bits(a->type.dtype) / 8;
    if (size == 0)
        return nibble(a, i) == nibble(b, i);
    if (size == 1 || !og_dtype_is_float(a->type.dtype))
        return memcmp((const char *)a->data + size * (size_t)i,
                      (const char *)b->data + size * (size_t)i, size) == 0;
    double x = og_value_double(a, i), y = og_value_double(b, i);
    return x == y || (isnan(x) && isnan(y)) || fabs(x - y) <= atol + rtol * fabs(y);
}

static double element(const og_value *v, int64_t i)
{
    return og_dtype_bits(v->type.dtype) < 8 ? nibble(v, i) : og_value_double(v, i);
}

/* false: `text` says where the two differ. */
static bool same(const og_value *got, const og_value *expected, const node_case *c, int out,
                 og_text *text)
{
    char a[160], b[160];
    if (!expected) {
        og_text_printf(text, "output %d is not in data.onnx", out);
        return false;
    }
    if (!og_type_equal(&got->type, &expected->type)) {
        og_text_printf(text, "output %d is %s, expected %s", out, og_type_text(a, NULL, &got->type),
                       og_type_text(b, NULL, &expected->type));
        return false;
    }
    double rtol = case_number(c, "rtol"), atol = case_number(c, "atol");
    if (got->type.dtype == OG_BFLOAT16) /* two units in the last place, as ONNX's own runner */
        rtol = fmax(rtol, 0x1p-6);
    int64_t n = og_type_elements(&got->type), wrong = 0, first = -1;
    for (int64_t i = 0; i < n; i++)
        if (!same_element(got, expected, i, rtol, atol)) {
            first = first < 0 ? i : first;
            wrong++;
        }
    if (wrong)
        og_text_printf(text,
                       "output %d, %s: %lld of %lld elements differ, [%lld] is %.9g, expected %.9g",
                       out, og_type_text(a, NULL, &got->type), (long long)wrong, (long long)n,
                       (long long)first, element(got, first), element(expected, first));
    return wrong == 0;
}

/* Why an output is not a constant. */
static const char *not_evaluated(const og_graph *g)
{
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i]->op->flags & OG_RANDOM)
            return "random";
    return "not evaluated";
}

static og_status folded(const node_case *c, og_device *device, og_text *text, og_error *error)
{
    og_arena *arena = og_arena_new();
    og_binding binding = {.overrides = c->values};
    og_graph *g =
        arena ? og_pass_infer(og_onnx_graph(c->model), &binding, og_eager_evaluator(device), arena)
              : NULL;
    if (g)
        og_error_move(error, &g->error);
    else
        og_fail_memory(error, sizeof *g, "a test");
    for (int i = 0; g && error->status == OG_OK && i < g->n_outputs && !text->s; i++) {
        const og_value *got = g->values[g->outputs[i].value];
        if (got->kind != OG_VALUE_CONST)
            og_fail(error, OG_UNSUPPORTED, "%s", not_evaluated(g));
        else
            same(got, case_tensor(c, 'o', i), c, i, text);
    }
    og_arena_free(arena);
    return error->status;
}

/* One run with those inputs constant. */
static og_status planned_with(const node_case *c, const bool *constant, const case_devices *d,
                              og_text *text, og_error *error)
{
    const og_graph *model = og_onnx_graph(c->model);
    size_t room = (size_t)model->n_values + 1;
    og_arena *arena = og_arena_new();
    og_storages storages = {.arena = arena};
    og_const *overrides = calloc(room, sizeof *overrides);
    og_type *types = calloc(room, sizeof *types);
    const void **inputs = calloc(room, sizeof *inputs);
    og_graph *g = NULL;
    planned p;
    int n = 0;
    if (!arena || !overrides || !types || !inputs) {
        og_fail_memory(error, room, "a test");
        goto cleanup;
    }
    for (int i = 0; i < model->n_inputs; i++) {
        const og_const *value = &c->values[model->inputs[i]];
        types[i] = value->type;
        if (constant[i])
            overrides[model->inputs[i]] = *value;
        else
            inputs[n++] = value->data;
    }
    og_binding binding = {.inputs = types, .overrides = overrides};
    g = planned_pass(og_pass_infer(model, &binding, og_eager_evaluator(d->host), arena), error);
    if (g && planned_run(&p, g, arena, &storages, d->device, inputs, error) == OG_OK) {
        for (int i = 0; i < p.plan->graph->n_outputs && !text->s; i++) {
            og_value got = planned_output(&p, i);
            same(&got, case_tensor(c, 'o', i), c, i, text);
        }
        planned_free(&p);
    }
cleanup:
    if (!g)
        og_arena_free(arena);
    free(overrides);
    free(types);
    free(inputs);
    return error->status;
}

/* With all inputs variable if that works; else with those of integers, all but the first, or all of
 * them constant. */
static og_status planned_best(const node_case *c, const case_devices *d, og_text *text,
                              og_error *error)
{
    const og_graph *model = og_onnx_graph(c->model);
    bool *constant = calloc((size_t)model->n_inputs + 1, sizeof *constant);
    if (!constant)
        return og_fail_memory(error, 1, "a test");
    for (int attempt = 0; attempt < 4; attempt++) {
        for (int i = 0; i < model->n_inputs; i++)
            constant[i] =
                (attempt == 1 && !og_dtype_is_float(c->values[model->inputs[i]].type.dtype)) ||
                (attempt == 2 && i > 0) || attempt == 3;
        og_error_clear(error);
        og_status status = planned_with(c, constant, d, text, error);
        if (status != OG_UNSUPPORTED && status != OG_INVALID_MODEL)
            break;
    }
    free(constant);
    return error->status;
}

/* false: an error, after which a device may do nothing more. */
static bool run(const char *root, const char *name, bool plan, const case_devices *d)
{
    og_error error = {0};
    og_text text = {0};
    node_case c;
    if (case_load(root, name, &c, &error) == OG_OK) {
        if (plan)
            planned_best(&c, d, &text, &error);
        else
            folded(&c, d->host, &text, &error);
        case_free(&c);
    }
    if (error.status != OG_OK)
        verdict(name, error.status == OG_UNSUPPORTED ? "unsupported" : "fail", one_line(&error));
    else
        verdict(name, text.s ? "fail" : "pass", text.s ? text.s : "");
    bool good = error.status == OG_OK || error.status == OG_UNSUPPORTED;
    og_text_free(&text);
    og_error_clear(&error);
    return good;
}

int main(int argc, char **argv)
{
    case_devices devices;
    if (!case_open(&devices, 2, &argc, &argv))
        return 2;
    bool plan = argc > 1 && strcmp(argv[1], "planned") == 0;
    bool usage = argc < 3 || (!plan && strcmp(argv[1], "folded") != 0);
    if (usage)
        fprintf(stderr, "usage: run_node [--cuda] folded|planned ROOT NAME…\n");
    bool good = true;
    for (int i = 3; !usage && i < argc && good; i++)
        good = run(argv[2], argv[i], plan, &devices) || devices.device == devices.host;
    case_close(&devices);
    return usage ? 2 : good ? 0 : CASE_AGAIN;
}
