/* What exporting a model did to its training: what loading repaired, what is trained all the same,
 * and what is lost and by which export it is kept. */
#include <string.h>

#include "runtime/graph/op.h"
#include "runtime/train/train.h"

static void note(og_text *text, const char *format, ...) OG_PRINTF(2, 3);
static void note(og_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (text->length)
        og_text_add(text, "\n");
    og_text_vprintf(text, format, arguments);
    va_end(arguments);
}

static void note_repair(const og_model *m, og_repair what, const char *one, const char *many,
                        og_text *text)
{
    og_onnx_repair done = og_onnx_repaired(m->onnx, what);
    if (done.n)
        note(text, "repaired: %d %s (the first is %s)", done.n, done.n > 1 ? many : one,
             done.first);
}

static int count_ops(const og_graph *g, const char *op)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        n += og_op_is(g->nodes[i]->op, NULL, op);
    return n;
}

/* BatchNormalization in inference mode; *evaluation: because the module was exported in evaluation
 * mode, for the newer exporter always writes them so, but calls them otherwise. */
static int count_inference_norms(const og_graph *g, bool *evaluation)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        if (!og_op_is(g->nodes[i]->op, NULL, "BatchNormalization") ||
            og_attr_int(g->nodes[i], "training_mode", 0) != 0)
            continue;
        n++;
        *evaluation |= !strstr(g->nodes[i]->name, "legit_functional");
    }
    return n;
}

/* Weights that the TorchScript exporter computed: of convolutions, those with a BatchNormalization
 * behind them. */
static int count_computed(const og_graph *g, const char *prefix, const char **first)
{
    int n = 0;
    for (int i = 0; i < g->n_values; i++) {
        const og_value *v = g->values[i];
        if (v->kind != OG_VALUE_CONST || strncmp(v->name, prefix, strlen(prefix)) != 0 ||
            v->type.rank < 2)
            continue;
        if (n++ == 0)
            *first = v->name;
    }
    return n;
}

const char *og_model_export_notes(og_model *m)
{
    const og_graph *g = m->graph;
    char folded[128];
    const char *first = "";
    og_text text = {0};
    note_repair(m, OG_REPAIR_PARTED, "parameter that the exporter had merged with an equal one",
                "parameters that the exporter had merged with equal ones", &text);
    note_repair(m, OG_REPAIR_BIAS, "bias of zeros that the exporter had dropped",
                "biases of zeros that the exporter had dropped", &text);
    note_repair(m, OG_REPAIR_TIED, "copy of a shared weight, computed from it again",
                "copies of shared weights, computed from them again", &text);
    note_repair(m, OG_REPAIR_RENAMED,
                "weight that the exporter had transposed, [in, out], has its name again",
                "weights that the exporter had transposed, [in, out], have their names again",
                &text);
    bool evaluation = false;
    int norms = count_inference_norms(g, &evaluation);
    if (norms)
        note(&text,
             "trained: %d BatchNormalization%s, exported in inference mode (--freeze_bn keeps the "
             "running statistics)",
             norms, norms > 1 ? "s" : "");
    int n = og_folded_norms(g, folded);
    int computed = count_computed(g, "onnx::Conv_", &first);
    if (n)
        note(&text,
             "lost: %d BatchNormalization%s (the first is %s), folded into other weights; "
             "torch.onnx.export(…, optimize=False) keeps %s",
             n, n > 1 ? "s" : "", folded, n > 1 ? "them" : "it");
    else if (computed)
        note(
            &text,
            "lost: %d convolution%s with a BatchNormalization folded in (the first is %s); "
            "torch.onnx.export(…, training=TrainingMode.TRAINING, do_constant_folding=False) keeps "
            "%s",
            computed, computed > 1 ? "s" : "", first, computed > 1 ? "them" : "it");
    const char *producer = og_onnx_producer(m->onnx);
    if ((evaluation || computed) && producer && strcmp(producer, "pytorch") == 0 &&
        count_ops(g, "Dropout") == 0)
        note(&text, "lost: Dropout, if the module has any: it was exported in evaluation mode; "
                    "model.train() before torch.onnx.export keeps it");
    og_text_free(&m->export_notes);
    m->export_notes = text;
    return text.s ? text.s : "";
}
