/* What a device has no kernel for is expanded; where that leads nowhere, the node is named. */
#include "tests/test.h"

#include "kernels/cpu/cpu.h"
#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"

/* MaxPool and MaxPoolTraining define each other; the CPU has kernels for up to three spatial dims.
 */
TEST(no_end)
{
    og_device *device = og_cpu_device_new(1);
    og_graph *g = og_graph_new();
    og_type t = og_type_make(OG_FLOAT, 6, (int64_t[]){1, 1, 2, 2, 2, 2});
    og_val x = og_graph_add_input(g, "x", &t);
    og_graph_add_output(g, "y",
                        Op("MaxPool", In(x), Is("kernel_shape", 4, ((int64_t[]){2, 2, 2, 2}))));
    CHECK_STR(og_error_text(&g->error), "");
    og_graph *legal = og_pass_legalize(g, device);
    CHECK(legal && legal->error.status == OG_UNSUPPORTED);
    CHECK(legal && strstr(og_error_text(&legal->error), "has no kernel for float32"));
    og_graph_free(g);
    device->destroy(device);
}

static const og_test tests[] = {TEST_ROW(no_end)};
TEST_MAIN(tests)
