/* The order of steps: less is alive at the peak than in the graph's order, states are read before
 * they are written, and results are the same. */
#include "kernels/cpu/cpu.h"
#include "runtime/graph/build.h"
#include "tests/conformance/planned.h"
#include "tests/test.h"

enum { BRANCHES = 8, ROWS = 16, INNER = 4, COLUMNS = 4096 };

static float weights[BRANCHES][INNER * COLUMNS], first[ROWS * INNER];

/* All products of `x` first, then all their sums along rows: each product waits for its sum. */
static void add_branches(og_graph *g, og_val x)
{
    og_val product[BRANCHES];
    for (int i = 0; i < BRANCHES; i++) {
        og_type t = og_type_make(OG_FLOAT, 2, (int64_t[]){INNER, COLUMNS});
        product[i] = MatMul(x, og_graph_add_input(g, "w", &t));
    }
    for (int i = 0; i < BRANCHES; i++)
        og_graph_add_output(g, "y", Reduce("ReduceSum", product[i], 1, (int[]){1}, false));
}

static const void *const *fill(const void *inputs[BRANCHES + 1], int before)
{
    for (int i = 0; i < BRANCHES; i++) {
        for (int k = 0; k < INNER * COLUMNS; k++)
            weights[i][k] = (float)((k * (i + 3)) % 17 - 8); /* whole numbers: sums are exact */
        inputs[before + i] = weights[i];
    }
    for (int k = 0; k < ROWS * INNER; k++)
        first[k] = (float)(k % 7 - 3);
    inputs[0] = before ? first : inputs[0];
    return inputs;
}

static void check_sums(const planned *p)
{
    for (int i = 0; i < BRANCHES; i++) {
        og_value y = planned_output(p, i);
        for (int r = 0; r < ROWS; r++) {
            double sum = 0;
            for (int c = 0; c < COLUMNS; c++)
                for (int k = 0; k < INNER; k++)
                    sum += (double)first[r * INNER + k] * (double)weights[i][k * COLUMNS + c];
            CHECK_CLOSE(og_value_double(&y, r), sum, 0);
        }
    }
}

TEST(branches_run_one_after_the_other)
{
    og_device *device = og_cpu_device_new(1);
    og_arena *arena = og_arena_new();
    og_graph *g = og_graph_new_in(arena);
    og_storages storages = {0};
    og_error error = {0};
    const void *inputs[BRANCHES + 1];
    planned p;
    og_type t = og_type_make(OG_FLOAT, 2, (int64_t[]){ROWS, INNER});
    add_branches(g, og_graph_add_input(g, "x", &t));
    if (CHECK_INT(planned_run(&p, g, arena, &storages, device, fill(inputs, 1), &error), OG_OK)) {
        size_t product = ROWS * COLUMNS * sizeof(float);
        CHECK(p.plan->lower_bound < 3 * product); /* in the graph's order it is BRANCHES products */
        check_sums(&p);
        planned_free(&p);
    }
    CHECK_STR(og_error_text(&error), "");
    og_error_clear(&error);
    device->destroy(device);
}

/* The new value of x is there before anything has read the old one. */
TEST(a_state_is_read_before_it_is_written)
{
    og_device *device = og_cpu_device_new(1);
    og_arena *arena = og_arena_new(), *names = og_arena_new();
    og_graph *g = og_graph_new_in(arena);
    og_storages storages = {.arena = names};
    og_error error = {0};
    const void *inputs[BRANCHES + 1];
    planned p;
    fill(inputs, 0);
    for (int k = 0; k < ROWS * INNER; k++)
        first[k] = (float)(k % 7 - 3);
    og_type t = og_type_make(OG_FLOAT, 2, (int64_t[]){ROWS, INNER});
    og_val x = og_storage_state(g, &storages, OG_STORAGE_PARAMETER, "x", &t, first, 0);
    og_graph_set_state(g, x, MatMul(x, og_full(g, &(og_type){OG_FLOAT, 2, {INNER, INNER}}, 2)));
    add_branches(g, x);
    if (CHECK_INT(planned_run(&p, g, arena, &storages, device, inputs, &error), OG_OK)) {
        const float *now = (const float *)p.memory; /* the states come first */
        CHECK(p.plan->lower_bound < 3 * ROWS * COLUMNS * sizeof(float));
        check_sums(&p);
        for (int r = 0; r < ROWS; r++) {
            float sum = 0;
            for (int k = 0; k < INNER; k++)
                sum += 2 * first[r * INNER + k];
            CHECK_CLOSE(now[r * INNER], sum, 0);
        }
        planned_free(&p);
    }
    CHECK_STR(og_error_text(&error), "");
    og_error_clear(&error);
    og_arena_free(names);
    device->destroy(device);
}

static const og_test tests[] = {TEST_ROW(branches_run_one_after_the_other),
                                TEST_ROW(a_state_is_read_before_it_is_written)};
TEST_MAIN(tests)
