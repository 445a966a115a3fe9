/* Group normalization that is written out is found and gives what it gave; near misses are left
 * alone. */
#include "tests/passes/graphs.h"

/* ---- group normalization by an instance normalization of groups */

/* x [2, 6, 3, 4] in `groups` of channels as rows of `rank`, normalized, scaled by `first` and then
 * by scale and bias of the given dims; with `twice` the normalized rows are read once more. */
typedef struct grouped {
    int64_t groups;
    double first;
    int rank;
    int64_t dims[4];
    bool twice;
} grouped;

static void build_grouped(og_graph *g, const grouped *how)
{
    og_val x = Input(g, "x", 2, 6, 3, 4);
    og_val scale = input(g, "scale", how->rank, how->dims);
    og_val bias = input(g, "bias", how->rank, how->dims);
    og_type vector = og_type_make(OG_DOUBLE, 1, &how->groups);
    int64_t rows[] = {2, how->groups, 72 / how->groups};
    og_val n = Op("InstanceNormalization",
                  In(Reshape(x, 3, rows), og_full(g, &vector, how->first), og_full(g, &vector, 0)),
                  F("epsilon", 0.01));
    og_graph_add_output(g, "y", Add(bias, Mul(ReshapeLike(n, x), scale)));
    if (how->twice)
        og_graph_add_output(g, "n", n);
}

static void group_norm(og_graph *g)
{
    build_grouped(g, &(grouped){3, 1, 3, {6, 1, 1}, false});
}

static void group_norm_of_full_rank(og_graph *g)
{
    build_grouped(g, &(grouped){1, 1, 4, {1, 6, 1, 1}, false});
}

static void group_norm_by_group(og_graph *g) /* its own scale is not 1 */
{
    build_grouped(g, &(grouped){2, 3, 3, {6, 1, 1}, false});
}

static void group_norm_scaled_by_row(og_graph *g)
{
    build_grouped(g, &(grouped){3, 1, 2, {3, 1}, false});
}

static void group_norm_read_twice(og_graph *g)
{
    build_grouped(g, &(grouped){3, 1, 3, {6, 1, 1}, true});
}

static void group_norm_across_samples(og_graph *g) /* rows are not the groups of a sample */
{
    og_val x = Input(g, "x", 4, 6, 3);
    og_type vector = og_type_make(OG_DOUBLE, 1, (int64_t[]){3});
    og_val rows = Reshape(x, 3, ((int64_t[]){2, 3, 12}));
    og_val n =
        Op("InstanceNormalization", In(rows, og_full(g, &vector, 1), og_full(g, &vector, 0)));
    og_graph_add_output(g, "y", ReshapeLike(n, x));
}

TEST(group_norms)
{
    static const char op[] = "GroupNormalization", by_group[] = "GroupNormalizationByGroup";
    CHECK_INT(compare(group_norm, og_pass_patterns, op), 1);
    CHECK_INT(compare(group_norm_of_full_rank, og_pass_patterns, op), 1);
    CHECK_INT(compare(group_norm_by_group, og_pass_patterns, op), 0);
    CHECK_INT(compare(group_norm_by_group, og_pass_patterns, by_group), 1);
    CHECK_INT(compare(group_norm_scaled_by_row, og_pass_patterns, by_group), 1);
    CHECK_INT(compare(group_norm_read_twice, og_pass_patterns, by_group), 0);
    CHECK_INT(compare(group_norm_across_samples, og_pass_patterns, by_group), 0);
}

static const og_test tests[] = {TEST_ROW(group_norms)};
TEST_MAIN(tests)
