/* Weights drawn again, as PyTorch's module of the node that reads them begins. */
#include <inttypes.h>

#include "runtime/train/adapt.h"

og_status og__draw_again(og_model *m, const og_options *options)
{
    og_error *error = &m->context->error;
    const og_graph *g = m->graph;
    int n_globs, n = 0;
    const char *const *globs = og__option_list(options, "reinit", &n_globs);
    int64_t seed = og__option_int(options, "seed"), elements = 0;
    if (!n_globs)
        return OG_OK;
    og_onnx_tensor *tensors = og_arena_array(m->arena, (size_t)g->n_values + 1, sizeof(*tensors));
    bool *hit = og_arena_array(m->arena, (size_t)n_globs, sizeof(bool));
    if (!tensors || !hit)
        return og_fail_memory(error, sizeof(*tensors), "weights");
    for (int i = 0; i < g->n_values; i++) {
        const og_value *v = g->values[i];
        const og_node *reader;
        og__init init;
        bool any = false;
        for (int k = 0; v->kind == OG_VALUE_CONST && *v->name && k < n_globs; k++)
            if (og_glob_match(globs[k], v->name) &&
                (v->type.dtype == OG_FLOAT || v->type.dtype == OG_DOUBLE))
                any = hit[k] = true;
        if (!any)
            continue;
        if (!og__initial_of(g, i, &init, &reader)) {
            char text[256];
            return og_fail(error, OG_UNSUPPORTED, "--reinit: how \"%s\" begins is not known; %s%s",
                           v->name, reader ? "it is read by " : "no node reads it",
                           reader ? og_node_text(text, reader) : "");
        }
        /* 2 and above: a new head took 0 and 1 */
        OG_TRY(og__draw_tensor(m, v->name, &v->type, init, seed, OG__DRAW_AGAIN, 2 + i,
                               &tensors[n++]));
        elements += og_type_elements(&v->type);
    }
    for (int k = 0; k < n_globs; k++)
        if (!hit[k])
            return og__no_match(g, "reinit", globs[k], error);
    og__model_changed(m, "%d tensor%s, %" PRId64 " elements, begin anew (--reinit)", n,
                      n > 1 ? "s" : "", elements);
    return og__model_edit(m, &(og_onnx_edit){.tensors = tensors, .n_tensors = n});
}
