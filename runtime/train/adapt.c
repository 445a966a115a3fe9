/* Options that change the model itself, and what their steps share (adapt.h). */
#include "runtime/train/adapt.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/graph/op.h"

og_status og__model_edit(og_model *m, const og_onnx_edit *edit)
{
    og_onnx *edited = og_onnx_edited(m->onnx, edit, &m->context->error);
    if (!edited)
        return m->context->error.status;
    for (int i = 0; i < m->graph->n_values; i++) { /* what was replaced is not read again */
        const og_value *v = m->graph->values[i];
        for (int k = 0; v->kind == OG_VALUE_CONST && k < edit->n_tensors; k++)
            if (strcmp(v->name, edit->tensors[k].name) == 0)
                og_onnx_release(m->onnx, v->data, (size_t)og_type_bytes(&v->type), true);
    }
    m->onnx = edited;
    m->graph = og_onnx_graph(edited);
    m->params.n = 0;
    m->n_node_info = 0;
    return OG_OK;
}

void og__model_changed(og_model *m, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (m->changes.length)
        og_text_add(&m->changes, "\n");
    og_text_vprintf(&m->changes, format, arguments);
    va_end(arguments);
}

og_status og__draw_tensor(og_model *m, const char *name, const og_type *type, og__init init,
                          int64_t seed, int stream, int64_t number, og_onnx_tensor *tensor)
{
    size_t bytes = (size_t)og_type_bytes(type);
    void *data = og_arena_alloc(m->arena, bytes + 1);
    if (!data)
        return og_fail_memory(&m->context->error, bytes, name);
    og__init_draw(init, seed, stream, number, type, m->context->host->threads, data);
    *tensor = (og_onnx_tensor){name, *type, data};
    return OG_OK;
}

int og__weight_of(const og_graph *g, int id, bool *swapped)
{
    *swapped = false;
    if (id < 0)
        return -1;
    const og_node *n = g->values[id]->producer;
    if (n && og_op_is(n->op, NULL, "Transpose") && n->n_in == 1 && n->in[0] >= 0) {
        const int64_t *perm;
        int rank = og_attr_ints(n, "perm", &perm);
        if (rank != 0 && !(rank == 2 && perm[0] == 1 && perm[1] == 0))
            return -1;
        *swapped = true;
        id = n->in[0];
    }
    const og_value *v = g->values[id];
    return v->kind == OG_VALUE_CONST && *v->name && (!*swapped || v->type.rank == 2) ? id : -1;
}

int og__layer_weight(const og_graph *g, const og_node *n, bool *rows)
{
    bool swapped, gemm = og_op_is(n->op, NULL, "Gemm"), conv = og_op_is(n->op, NULL, "Conv");
    if (!(gemm || conv || og_op_is(n->op, NULL, "MatMul")) || n->n_in < 2)
        return -1;
    int w = og__weight_of(g, n->in[1], &swapped);
    if (w < 0 || (conv ? swapped || g->values[w]->type.rank < 3 : g->values[w]->type.rank != 2))
        return -1;
    *rows = conv || (gemm && og_attr_int(n, "transB", 0) != 0) != swapped;
    return w;
}

og_status og__no_match(const og_graph *g, const char *option, const char *glob, og_error *error)
{
    const char *nearest = og_nearest_initializer(g, glob);
    return og_fail(error, OG_INVALID_ARGUMENT,
                   "--%s \"%s\" matches no float tensor of the model%s%s%s; `ongrad check` lists "
                   "their names",
                   option, glob, nearest ? "; the nearest is \"" : "", nearest ? nearest : "",
                   nearest ? "\"" : "");
}

og_status og_model_adapt(og_model *m, const og_options *options)
{
    og__context_begin(m->context);
    if (m->adapted)
        return og_fail(&m->context->error, OG_INVALID_ARGUMENT,
                       "the model was adapted before; load it again to adapt it otherwise");
    m->adapted = true;
    if (!m->built_in && og_options_is_set(options, "num_classes"))
        OG_TRY(og__recreate_head(m, options));
    OG_TRY(og__load_weights(m, options));
    OG_TRY(og__draw_again(m, options));
    OG_TRY(og__add_adapters(m, options));
    return m->changes.failed ? og_fail_memory(&m->context->error, 64, "what was changed") : OG_OK;
}

const char *og_model_changes(const og_model *m)
{
    return m->changes.s ? m->changes.s : "";
}
