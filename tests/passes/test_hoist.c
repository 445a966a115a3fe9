/* What depends on weights alone: which nodes are hoisted, and what a plan keeps of them. */
#include <stdlib.h>

#include "tests/test.h"

#include "kernels/cpu/cpu.h"
#include "runtime/exec/exec.h"
#include "runtime/graph/build.h"

enum { ROWS = 4, COLUMNS = 4 };

static og_val state(og_graph *g, og_storages *s, og_storage_kind kind, const char *name, int rank,
                    const int64_t *dims)
{
    og_type type = og_type_make(OG_FLOAT, rank, dims);
    return og_storage_state(g, s, kind, name, &type, NULL, 0);
}

static og_val input(og_graph *g, const char *name, int rank, const int64_t *dims)
{
    og_type type = og_type_make(OG_FLOAT, rank, dims);
    return og_graph_add_input(g, name, &type);
}

/* Nodes of an op that are hoisted; *others: that are not. */
static int count_hoisted(const og_graph *g, const char *op, int *others)
{
    int n = 0;
    *others = 0;
    for (int i = 0; i < g->n_nodes; i++)
        if (strcmp(g->nodes[i]->op->name, op) == 0)
            *(og_node_is_hoisted(g->nodes[i]) ? &n : others) += 1;
    return n;
}

TEST(only_what_depends_on_weights)
{
    const int64_t dims[] = {ROWS, COLUMNS}, large[] = {64, ROWS, COLUMNS};
    og_graph *g = og_graph_new();
    og_storages s = {.arena = g->arena};
    og_val x = input(g, "x", 2, dims);
    og_val w = state(g, &s, OG_STORAGE_PARAMETER, "w", 2, dims);
    og_val half = state(g, &s, OG_STORAGE_HALF, "half", 2, dims);
    og_val running = state(g, &s, OG_STORAGE_BUFFER, "running", 2, dims);
    og_val written = state(g, &s, OG_STORAGE_BUFFER, "written", 2, dims);
    og_val sum = state(g, &s, OG_STORAGE_GRADIENT, "w.grad", 2, dims);
    og_type large_type = og_type_make(OG_FLOAT, 3, large);
    og_val y = MatMul(x, SwapLast(Exp(w)));                /* Exp and its transpose */
    y = Add(y, Sqrt(half));                                /* Sqrt */
    y = Add(y, Sqrt(running));                             /* Sqrt */
    y = Add(y, Sin(written));                              /* a state that the graph writes */
    y = Add(y, Floor(sum));                                /* no weight */
    y = Add(y, Op("RandomUniformLike", In(w)));            /* random */
    og_val stretched = Add(w, og_full(g, &large_type, 1)); /* larger than w: made anew */
    og_graph_add_output(g, "y", y);
    og_graph_add_output(g, "z", stretched);
    og_graph_add_output(g, "out", Tanh(w)); /* what a run must write */
    og_graph_set_state(g, written, Neg(w));
    CHECK_INT(g->error.status, OG_OK);

    og_graph *to = og_pass_hoist(g, &s);
    REQUIRE(to && to->error.status == OG_OK);
    static const struct {
        const char *op;
        int hoisted, others;
    } expected[] = {{"Exp", 1, 0},  {"Transpose", 1, 0}, {"Sqrt", 2, 0},
                    {"Sin", 0, 1},  {"Floor", 0, 1},     {"RandomUniformLike", 0, 1},
                    {"Tanh", 0, 1}, {"Neg", 0, 1},       {"MatMul", 0, 1}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        TEST_CASE(expected[i].op);
        int others;
        CHECK_INT(count_hoisted(to, expected[i].op, &others), expected[i].hoisted);
        CHECK_INT(others, expected[i].others);
    }
    TEST_CASE("");
    CHECK(!og_node_is_hoisted(to->values[to->outputs[1].value]->producer));
    for (int i = 1; i < to->n_nodes; i++) /* they come first */
        CHECK(og_node_is_hoisted(to->nodes[i - 1]) || !og_node_is_hoisted(to->nodes[i]));
    /* Estimates say what of a micro-batch's time is an update's alone. */
    og_recompute whole = {.level = OG_RECOMPUTE_OFF}, plain = whole;
    CHECK(og_pass_recompute(to, &whole) && og_pass_recompute(g, &plain));
    CHECK(whole.hoisted_seconds > 0 && whole.hoisted_seconds < whole.seconds);
    CHECK(plain.hoisted_seconds == 0);
    og_graph_free(g);
}

/* ---- a plan that keeps */

typedef struct kept {
    og_device *device;
    og_storages storages;
    og_plan *plan;
    char *states;
    void *activations;
} kept;

/* The arena of g goes to the plan. Zeros in all states. */
static bool make_plan(kept *k, og_graph *g, bool keep)
{
    og_error error = {0};
    k->device = og_cpu_device_new(2);
    g = og_pass_simplify(g);
    g = og_pass_legalize(g, k->device);
    g = keep ? og_pass_hoist(g, &k->storages) : g;
    g = og_pass_fuse(g, k->device);
    size_t bytes = og_storages_place(&k->storages);
    k->plan = og_plan_new(g, g->arena, &k->storages, 0, k->device, keep, &error);
    if (!k->plan)
        return false;
    k->plan->kept_offset = bytes;
    k->states = k->device->alloc(k->device, bytes + k->plan->kept_bytes + OG_ALIGNMENT);
    k->activations = k->device->alloc(k->device, k->plan->activation_bytes + OG_ALIGNMENT);
    og_plan_bind(k->plan, k->states, k->activations);
    return true;
}

static float *state_of(const kept *k, int storage)
{
    return (float *)(k->states + k->storages.items[storage].offset);
}

static void free_plan(kept *k)
{
    og_storages *s = &k->storages;
    size_t bytes = k->plan->kept_offset + k->plan->kept_bytes + OG_ALIGNMENT;
    k->device->free(k->device, k->states, bytes);
    k->device->free(k->device, k->activations, k->plan->activation_bytes + OG_ALIGNMENT);
    og_plan_free(k->plan);
    og_arena_free(s->arena);
    k->device->destroy(k->device);
}

/* y = x exp(w)ᵀ */
TEST(kept_until_weights_change)
{
    const int64_t dims[] = {ROWS, COLUMNS};
    og_error error = {0};
    kept k = {.storages = {.arena = og_arena_new()}};
    og_graph *g = og_graph_new_in(og_arena_new());
    og_val x = input(g, "x", 2, dims);
    og_val w = state(g, &k.storages, OG_STORAGE_PARAMETER, "w", 2, dims);
    og_graph_add_output(g, "y", MatMul(x, SwapLast(Exp(w))));
    REQUIRE(make_plan(&k, g, true));
    CHECK_INT(k.plan->n_once, 1);
    CHECK_INT(k.plan->n_steps, 2);
    CHECK_INT(k.plan->kept_bytes, OG_ALIGNMENT);
    float data[ROWS * COLUMNS], *weights = state_of(&k, 0);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        data[i] = 1;
    og_plan_set_input(k.plan, 0, data);
    static const struct {
        double w, expected; /* of every element */
        bool told;
    } runs[] = {{0, 4, true}, {1, 4, false}, {1, 4 * 2.718281828459045, true}};
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
        for (int i = 0; i < ROWS * COLUMNS; i++)
            weights[i] = (float)runs[r].w;
        if (runs[r].told)
            k.plan->fresh = false;
        CHECK_INT(og_plan_first(k.plan), k.plan->fresh ? 1 : 0);
        CHECK_INT(og_plan_run(k.plan, NULL, &error), OG_OK);
        const float *y = og_plan_output(k.plan, 0);
        for (int i = 0; i < ROWS * COLUMNS; i++)
            CHECK_CLOSE(y[i], runs[r].expected, 1e-6);
    }
    free_plan(&k);
}

enum { CHANNELS = 32, SIDE = 8, IMAGE = 2 * CHANNELS * SIDE * SIDE };

/* Two convolutions of different images by the same weights, and one by others. */
static og_graph *convolutions(og_storages *s)
{
    const int64_t dims[] = {2, CHANNELS, SIDE, SIDE}, w_dims[] = {CHANNELS, CHANNELS, 3, 3};
    og_graph *g = og_graph_new_in(og_arena_new());
    og_val w = state(g, s, OG_STORAGE_PARAMETER, "w", 4, w_dims);
    og_val v = state(g, s, OG_STORAGE_PARAMETER, "v", 4, w_dims);
    og_val y = input(g, "x", 4, dims);
    const og_val by[] = {w, w, v};
    for (int i = 0; i < 3; i++)
        y = Relu(Op("Conv", In(y, by[i]), Is("pads", 4, ((int64_t[]){1, 1, 1, 1}))));
    og_graph_add_output(g, "y", y);
    return g;
}

TEST(alike_packs_are_shared)
{
    static float x[IMAGE], y[2][IMAGE];
    size_t bytes[2];
    for (int i = 0; i < IMAGE; i++)
        x[i] = (float)(i % 17 - 8) / 8;
    for (int keep = 0; keep < 2; keep++) {
        og_error error = {0};
        kept k = {.storages = {.arena = og_arena_new()}};
        REQUIRE(make_plan(&k, convolutions(&k.storages), keep));
        for (int s = 0; s < 2; s++)
            for (int i = 0; i < CHANNELS * CHANNELS * 9; i++)
                state_of(&k, s)[i] = (float)((i + s) % 11 - 5) / 64;
        og_plan_set_input(k.plan, 0, x);
        for (int run = 0; run < 2; run++) /* the second finds what the first packed */
            CHECK_INT(og_plan_run(k.plan, NULL, &error), OG_OK);
        memcpy(y[keep], og_plan_output(k.plan, 0), sizeof y[keep]);
        bytes[keep] = k.plan->kept_bytes;
        CHECK(k.plan->n_packs == 0 || (keep && k.plan->n_packs == 2));
        CHECK(k.plan->n_packs == 0 || bytes[keep] >= 2 * sizeof(float) * CHANNELS * CHANNELS * 9);
        free_plan(&k);
    }
    CHECK_INT(bytes[0], 0);
    CHECK(memcmp(y[0], y[1], sizeof y[0]) == 0);
}

static const og_test tests[] = {
    TEST_ROW(only_what_depends_on_weights),
    TEST_ROW(kept_until_weights_change),
    TEST_ROW(alike_packs_are_shared),
};
TEST_MAIN(tests)
