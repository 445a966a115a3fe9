/* A node test on disk, as test_node.py writes it:
 *
 *     ROOT/NAME/model.onnx   the model
 *     ROOT/NAME/data.onnx    a model without nodes whose initializers are i0, i1 … (the inputs, in
 * the order of the model's) and o0, o1 … (the outputs expected); its metadata holds rtol and atol
 *
 * Our own loader reads both, so that every element type it knows can be compared. */
#ifndef OG_TESTS_NODE_CASE_H
#define OG_TESTS_NODE_CASE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "runtime/exec/exec.h"
#include "runtime/graph/build.h"
#include "runtime/onnx/onnx.h"

typedef struct node_case {
    const char *name;
    og_onnx *model, *data;
    og_const *values; /* by value of the model's graph: what its inputs are */
} node_case;

/* data.onnx: initializer `letter``index`; NULL if there is none. */
__attribute__((unused)) static const og_value *case_tensor(const node_case *c, char letter,
                                                           int index)
{
    char name[16];
    const og_graph *g = og_onnx_graph(c->data);
    snprintf(name, sizeof name, "%c%d", letter, index);
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i]->kind == OG_VALUE_CONST && strcmp(g->values[i]->name, name) == 0)
            return g->values[i];
    return NULL;
}

__attribute__((unused)) static double case_number(const node_case *c, const char *key)
{
    const char *text = og_graph_metadata(og_onnx_graph(c->data), key);
    return text ? strtod(text, NULL) : 0;
}

static void case_free(node_case *c)
{
    og_onnx_free(c->model);
    og_onnx_free(c->data);
    free(c->values);
}

/* On error nothing is left to free. */
static og_status case_load(const char *root, const char *name, node_case *c, og_error *error)
{
    char path[4096];
    *c = (node_case){.name = name};
    snprintf(path, sizeof path, "%s/%s/data.onnx", root, name);
    c->data = og_onnx_load(path, error);
    if (c->data) {
        snprintf(path, sizeof path, "%s/%s/model.onnx", root, name);
        c->model = og_onnx_load(path, error);
    }
    if (c->model) {
        const og_graph *g = og_onnx_graph(c->model);
        c->values = calloc((size_t)g->n_values + 1, sizeof *c->values);
        if (!c->values)
            og_fail_memory(error, sizeof *c->values, "a test's inputs");
        for (int i = 0; c->values && i < g->n_inputs; i++) {
            const og_value *v = case_tensor(c, 'i', i);
            if (!v) {
                og_fail(error, OG_INVALID_DATA, "data.onnx has no i%d", i);
                break;
            }
            c->values[g->inputs[i]] = (og_const){.type = v->type, .data = v->data};
        }
    }
    if (error->status != OG_OK)
        case_free(c);
    return error->status;
}

/* A report as one line of text. */
static const char *one_line(og_error *error)
{
    char *text = error->text;
    for (; text && *text; text++)
        if (*text == '\n')
            *text = ';';
    return og_error_text(error);
}

/* NAME<tab>verdict<tab>text: what test_node.py reads. Flushed, so that a crash shows where it was.
 */
static void verdict(const char *name, const char *word, const char *text)
{
    printf("%s\t%s\t%s\n", name, word, text);
    fflush(stdout);
}

#endif
