/* Slabs: gradient sums and their parameters one behind the other, and the update that takes each
 * slab as one tensor. */
#include "tests/test.h"

#include "runtime/graph/build.h"
#include "runtime/passes/optimizer.h"
#include "runtime/plan/plan.h"

enum { ALIGNMENT = OG_ALIGNMENT };

/* What a micro graph leaves for three trained tensors and one without influence on the loss. */
static og_storages after_micro(og_graph *g)
{
    og_storages s = {.arena = g->arena};
    og_type a = og_type_make(OG_FLOAT, 1, (int64_t[]){3});
    og_type b = og_type_make(OG_FLOAT, 2, (int64_t[]){10, 10});
    og_type c = og_type_make(OG_DOUBLE, 1, (int64_t[]){5});
    int of_a = og_storage_get(&s, OG_STORAGE_PARAMETER, "a", &a, NULL, 1);
    og_storage_get(&s, OG_STORAGE_PARAMETER, "unused", &a, NULL, 1);
    int of_b = og_storage_get(&s, OG_STORAGE_PARAMETER, "b", &b, NULL, 2);
    int of_c = og_storage_get(&s, OG_STORAGE_PARAMETER, "c", &c, NULL, 3);
    og_storage_derived(g, &s, OG_STORAGE_GRADIENT, of_a, "grad");
    og_storage_derived(g, &s, OG_STORAGE_GRADIENT, of_b, "grad");
    og_storage_derived(g, &s, OG_STORAGE_GRADIENT, of_c, "grad");
    return s;
}

static const og_storage *find(const og_storages *s, og_storage_kind kind, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (s->items[i].kind == kind && strcmp(s->items[i].name, name) == 0)
            return &s->items[i];
    return NULL;
}

TEST(sums_and_parameters_lie_alike)
{
    og_graph *g = og_graph_new();
    og_storages s = after_micro(g);
    int before = s.n;
    REQUIRE(og_storages_gather(&s, OG_STORAGE_GRADIENT, ALIGNMENT));
    CHECK_INT(s.n, before + 4); /* float and double, sums and parameters */
    size_t bytes = og_storages_place(&s);
    /* a and b take one and two times the alignment, c one: twice; and what is not in a slab */
    CHECK_INT(bytes, (3 + 1) * 2 * ALIGNMENT + ALIGNMENT);
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        TEST_CASE(names[i]);
        char sum_name[16];
        snprintf(sum_name, sizeof sum_name, "%s.grad", names[i]);
        const og_storage *w = find(&s, OG_STORAGE_PARAMETER, names[i]);
        const og_storage *sum = find(&s, OG_STORAGE_GRADIENT, sum_name);
        REQUIRE(w && sum && w->slab >= 0 && sum->slab >= 0);
        const og_storage *slab = &s.items[sum->slab];
        CHECK_INT(slab->of, w->slab);
        CHECK_INT(sum->within, w->within);
        CHECK_INT(sum->offset, slab->offset + sum->within);
        CHECK_INT(w->offset, s.items[w->slab].offset + w->within);
        CHECK(sum->within + (size_t)og_type_bytes(&sum->type) <=
              (size_t)og_type_bytes(&slab->type));
        CHECK_INT(slab->type.dtype, w->type.dtype);
    }
    TEST_CASE("");
    CHECK_INT(find(&s, OG_STORAGE_PARAMETER, "b")->within, ALIGNMENT);
    CHECK_INT(find(&s, OG_STORAGE_PARAMETER, "unused")->slab, -1);
    og_graph_free(g);
}

static og_graph *build_update(const char *optimizer, og_storages *s, og_arena *arena)
{
    og_loss loss = {.name = "mse", .label = "mse", .weight = 1};
    og_total total = {.losses = &loss, .n = 1, .nominal = 1};
    og_optimizer o = *og_optimizer_defaults(optimizer);
    o.accumulation = 1;
    og_graph *g = og_build_update(&o, &total, s, arena);
    CHECK_INT(g->error.status, OG_OK);
    return g;
}

/* States of a kind that the graph gives a new value. */
static int renewed(const og_graph *g, const og_storages *s, og_storage_kind kind)
{
    int n = 0;
    for (int i = 0; i < g->n_states; i++)
        n += g->states[i].out >= 0 && s->items[g->states[i].storage].kind == kind;
    return n;
}

TEST(update_takes_a_slab_as_one_tensor)
{
    og_graph *g = og_graph_new();
    og_storages s = after_micro(g);
    REQUIRE(og_storages_gather(&s, OG_STORAGE_GRADIENT, ALIGNMENT));
    og_graph *update = build_update("adamw", &s, g->arena);
    CHECK_INT(renewed(update, &s, OG_STORAGE_PARAMETER), 2);
    CHECK_INT(renewed(update, &s, OG_STORAGE_MOMENT), 4);
    og_graph_free(g);
}

TEST(apart_again_every_tensor_is_named)
{
    og_graph *g = og_graph_new();
    og_storages s = after_micro(g);
    int before = s.n;
    REQUIRE(og_storages_gather(&s, OG_STORAGE_GRADIENT, ALIGNMENT));
    build_update("adamw", &s, g->arena); /* adds moments of slabs */
    og_storages apart = og_storages_apart(&s, g->arena);
    REQUIRE(apart.items);
    for (int i = 0; i < before; i++) {
        CHECK_STR(apart.items[i].name, s.items[i].name);
        CHECK_INT(apart.items[i].slab, -1);
        CHECK_INT(apart.items[i].of, s.items[i].of);
    }
    og_graph *update = build_update("adamw", &apart, g->arena);
    CHECK_INT(renewed(update, &apart, OG_STORAGE_PARAMETER), 3);
    CHECK_INT(renewed(update, &apart, OG_STORAGE_MOMENT), 6);
    og_graph_free(g);
}

TEST(rules_that_look_at_whole_tensors_say_so)
{
    CHECK(og_optimizer_is_by_tensor("lamb"));
    CHECK(!og_optimizer_is_by_tensor("adamw"));
    CHECK(!og_optimizer_is_by_tensor("none of these"));
}

static const og_test tests[] = {
    TEST_ROW(sums_and_parameters_lie_alike),
    TEST_ROW(update_takes_a_slab_as_one_tensor),
    TEST_ROW(apart_again_every_tensor_is_named),
    TEST_ROW(rules_that_look_at_whole_tensors_say_so),
};
TEST_MAIN(tests)
