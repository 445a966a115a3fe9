/* Fused: an elementwise program, perhaps with a reduction at its end (runtime/graph/program.h).
 * Made by the fuse pass, which also sets the types. */
#include "runtime/graph/op.h"

static bool fused_infer(og_infer *i)
{
    return og_infer_error(i, "is typed by the pass that makes it");
}

const og_op og_ops_fused[] = {
    {"Fused", OG_DOMAIN, .min_in = 0, .max_in = OG_VARIADIC, .min_out = 1, .max_out = OG_VARIADIC,
     .infer = fused_infer, .diff = OG_DIFF_NEVER},
    {0},
};
