/* Which bools the bits pass packs: large ones that programs alone touch. */
#include "runtime/passes/passes.h"
#include "tests/passes/graphs.h"

/* The type of the bools that are left, after layout and bits; string: they differ. */
static og_dtype packed(og_graph *g)
{
    og_device *device = og_cpu_device_new(1);
    og_layouts l;
    g = og_pass_fuse(g, device);
    CHECK(g && g->error.status == OG_OK);
    og_graph *to = og_pass_layout(g, device, &l);
    CHECK(to && to->error.status == OG_OK && og_pass_bits(&l, device));
    og_dtype found = OG_UNDEFINED;
    for (int i = 0; i < to->n_values; i++) {
        og_dtype dtype = to->values[i]->type.dtype;
        if (dtype == OG_BOOL || dtype == OG_BIT)
            found = found == OG_UNDEFINED || found == dtype ? dtype : OG_STRING;
    }
    device->destroy(device);
    return found;
}

enum use { BY_PROGRAM, BY_PRODUCT, BY_VIEW, AS_OUTPUT };

/* x < y of n elements; then used in a program that the product between keeps apart from the first.
 */
static og_dtype mask_of(int64_t n, enum use use)
{
    og_graph *g = og_graph_new();
    input_dtype = OG_FLOAT;
    og_val x = Input(g, "x", 64, n), y = Input(g, "y", 64, n), w = Input(g, "w", n, n);
    og_val mask = Op("Less", In(x, y)), z = MatMul(Where(mask, x, y), w);
    og_graph_add_output(g, "z", Where(mask, z, x));
    if (use == BY_PRODUCT)
        og_graph_add_output(g, "p", MatMul(Cast(mask, OG_FLOAT), w));
    if (use == BY_VIEW)
        og_graph_add_output(g, "v", MatMul(Cast(Transpose(mask, ((int[]){1, 0})), OG_FLOAT), x));
    if (use == AS_OUTPUT)
        og_graph_add_output(g, "mask", mask);
    CHECK_STR(og_error_text(&g->error), "");
    og_dtype dtype = packed(g);
    og_graph_free(g);
    return dtype;
}

TEST(large_masks)
{
    CHECK_STR(og_dtype_name(mask_of(128, BY_PROGRAM)), "bit");
    CHECK_STR(og_dtype_name(mask_of(8, BY_PROGRAM)), "bool");
    CHECK_STR(og_dtype_name(mask_of(128, BY_PRODUCT)), "bit"); /* the cast is a program */
    CHECK_STR(og_dtype_name(mask_of(128, BY_VIEW)), "bool");
    CHECK_STR(og_dtype_name(mask_of(128, AS_OUTPUT)), "bool");
}

static const og_test tests[] = {TEST_ROW(large_masks)};
TEST_MAIN(tests)
