/* patterns: composites that the file has written out are recognized, so that they get one kernel
 * and a gradient that keeps little. Each pattern is a file pattern_*.c. */
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

/* Larger patterns first: the nodes inside them are then left dead. */
static og__pattern_fn *const patterns[] = {
    og__pattern_attention, og__pattern_layer_norm, og__pattern_rms_norm, og__pattern_group_norm,
    og__pattern_silu,      og__pattern_gelu,       og__pattern_power,    og__pattern_scale,
    og__pattern_transpose, og__pattern_split,      og__pattern_pool};

static og_graph *find_all(og_graph *g, bool fused_attention)
{
    og_rewrite rw;
    og_match m;
    if (!og_rewrite_begin(&rw, g) || !og_match_begin(&m, g, rw.live))
        return NULL;
    m.fused_attention = fused_attention;
    for (int i = 0; i < g->n_nodes && rw.to->error.status == OG_OK; i++) {
        const og_node *n = g->nodes[i];
        bool found = false;
        rw.to->origin = n->origin;
        for (size_t k = 0; rw.live[i] && !found && k < sizeof patterns / sizeof *patterns; k++)
            found = patterns[k](&m, &rw, n);
        if (rw.live[i] && !found)
            og_rewrite_copy(&rw, n);
    }
    return og_rewrite_end(&rw);
}

og_graph *og_pass_patterns(og_graph *g)
{
    return find_all(g, false);
}

og_graph *og_pass_patterns_for(og_graph *g, const og_device *device, og_dtype half)
{
    return find_all(g, half != OG_UNDEFINED &&
                           og_device_names(device, og_op_find(OG_DOMAIN, "WideAttentionHeads")));
}
