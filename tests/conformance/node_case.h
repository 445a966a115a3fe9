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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "runtime/exec/exec.h"
#include "runtime/graph/build.h"
#include "runtime/onnx/onnx.h"

enum { CASE_AGAIN = 9 }; /* exit status: the tests that were not reported need another process */

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

/* Where the tests run: the processor, or with --cuda as the first argument, which is taken away,
 * the first card, held to float32 in full and to what gives the same bits each time; with
 * --cuda_fast not to the latter. */
typedef struct case_devices {
    og_device *host; /* evaluates constants */
    og_device *device;
} case_devices;

static void case_close(case_devices *d)
{
    if (d->device && d->device != d->host)
        d->device->destroy(d->device);
    if (d->host)
        d->host->destroy(d->host);
}

/* false: it was said on stderr why, and nothing is left to close. */
static bool case_open(case_devices *d, int threads, int *argc, char ***argv)
{
    og_error error = {0};
    bool fast = *argc > 1 && strcmp((*argv)[1], "--cuda_fast") == 0;
    bool cuda = fast || (*argc > 1 && strcmp((*argv)[1], "--cuda") == 0);
    *argc -= cuda;
    *argv += cuda;
    d->host = d->device = og_cpu_device_new(threads);
    if (d->host && cuda) {
        d->device = og_cuda_device_new(0, d->host, &error);
        if (d->device)
            d->device->options = (og_device_options){.deterministic = !fast};
    }
    if (d->device)
        return true;
    fprintf(stderr, "%s\n", d->host ? og_error_text(&error) : "out of memory");
    og_error_clear(&error);
    case_close(d);
    return false;
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
