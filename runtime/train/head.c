/* A head for other classes: the last linear layer or convolution of kernel 1 before the output gets
 * new weights of another size. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/train/adapt.h"

enum { MOST_CLASSES = 1 << 24, MOST_PATH = 64 };

typedef struct head {
    const og_graph *g;
    const char *output;
    const og_node *node;     /* the product or convolution */
    int weight, bias;        /* values; bias -1: none */
    int axis;                /* of classes in the weight */
    int64_t classes, fan_in; /* that it has; inputs of a class */
    bool conv;
    const char *path[MOST_PATH]; /* values from the node to the output */
    int n_path;
    const og_node *reshape; /* one behind it, whose shape must not name the classes */
} head;

/* The output whose scores a loss compares with labels, else the only one. */
static og_status choose_output(og_model *m, const og_options *options, int *output)
{
    og__losses losses;
    og_error *error = &m->context->error;
    OG_TRY(og__losses_parse(&losses, m->graph, options, m->arena, error));
    for (int i = 0; i < losses.n; i++)
        if (!losses.sources[i].path && (og_loss_is_of_classes(losses.items[i].name) ||
                                        strcmp(losses.items[i].name, "bce_with_logits") == 0)) {
            *output = losses.sources[i].output;
            return OG_OK;
        }
    if (losses.n)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "num_classes is for an output that scores classes, and loss %s compares "
                       "none; hint: --loss cross_entropy",
                       losses.items[0].name);
    *output = 0;
    if (m->graph->n_outputs > 1)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "the model has %d outputs; --loss OUTPUT=cross_entropy says which of them "
                       "scores the classes of --num_classes",
                       m->graph->n_outputs);
    return OG_OK;
}

static bool is(const og_node *n, const char *op)
{
    return og_op_is(n->op, NULL, op);
}

/* Ops that leave the axis of classes where it is. */
static bool passes_on(const og_node *n)
{
    static const char *const ops[] = {"Identity",   "Softmax", "LogSoftmax",        "Sigmoid",
                                      "Cast",       "Relu",    "Dropout",           "Flatten",
                                      "Squeeze",    "Reshape", "GlobalAveragePool", "AveragePool",
                                      "ReduceMean", NULL};
    for (int i = 0; ops[i]; i++)
        if (is(n, ops[i]))
            return true;
    return false;
}

/* All but the first two dims of the weight are 1. */
static bool is_pointwise(const og_node *n, const og_type *weight)
{
    for (int i = 2; i < weight->rank; i++)
        if (weight->dims[i] != 1)
            return false;
    return weight->rank > 2 && og_attr_int(n, "group", 1) == 1;
}

/* Is it a layer of which classes can be the outputs? Fills in what is known of it then. */
static bool is_layer(head *h, const og_node *n)
{
    bool rows;
    int w = og__layer_weight(h->g, n, &rows);
    if (w < 0)
        return false;
    const og_type *t = &h->g->values[w]->type;
    bool conv = is(n, "Conv");
    if (conv && !is_pointwise(n, t))
        return false;
    h->node = n;
    h->weight = w;
    h->conv = conv;
    h->axis = rows ? 0 : 1;
    h->classes = t->dims[h->axis];
    h->fan_in = t->dims[1 - h->axis];
    if (n->n_in > 2 && n->in[2] >= 0)
        h->bias = n->in[2];
    return true;
}

static og_status not_found(const head *h, const og_node *n, og_error *error)
{
    char text[256] = "";
    return og_fail(error, OG_UNSUPPORTED,
                   "no head is found before output \"%s\": %s is no linear layer or convolution of "
                   "kernel 1 with weights of its own",
                   h->output, n ? og_node_text(text, n) : "what makes it");
}

static og_status find_head(head *h, int output, og_error *error)
{
    int id = output;
    while (true) {
        const og_value *v = h->g->values[id];
        const og_node *n = v->producer;
        if (!n || n->n_in < 1 || n->in[0] < 0 || h->n_path == MOST_PATH)
            return not_found(h, n, error);
        h->path[h->n_path++] = v->name;
        if (is_layer(h, n))
            return OG_OK;
        if (is(n, "Add") && h->bias < 0) {
            int constant = h->g->values[n->in[1]]->kind == OG_VALUE_CONST;
            if (h->g->values[n->in[constant]]->kind != OG_VALUE_CONST)
                return not_found(h, n, error);
            h->bias = n->in[constant];
            id = n->in[!constant];
            continue;
        }
        if (!passes_on(n))
            return not_found(h, n, error);
        h->reshape = is(n, "Reshape") ? n : h->reshape;
        id = n->in[0];
    }
}

static int count_readers(const og_graph *g, int id)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i]->n_in; k++)
            n += g->nodes[i]->in[k] == id;
    return n;
}

static og_status check_head(const head *h, og_error *error)
{
    const og_value *w = h->g->values[h->weight];
    const og_value *b = h->bias < 0 ? NULL : h->g->values[h->bias];
    char text[256];
    if (w->type.dtype != OG_FLOAT && w->type.dtype != OG_DOUBLE)
        return og_fail(error, OG_UNSUPPORTED,
                       "the head's weight \"%s\" is %s; only float32 and float64 are trained",
                       w->name, og_dtype_name(w->type.dtype));
    if (count_readers(h->g, h->weight) > 1 || (b && count_readers(h->g, h->bias) > 1))
        return og_fail(error, OG_UNSUPPORTED,
                       "the head's %s \"%s\" is read by other nodes, too (tied weights): it cannot "
                       "be re-created for itself",
                       count_readers(h->g, h->weight) > 1 ? "weight" : "bias",
                       count_readers(h->g, h->weight) > 1 ? w->name : b->name);
    if (b && (b->kind != OG_VALUE_CONST || !*b->name))
        return og_fail(error, OG_UNSUPPORTED, "%s: the head's bias is no initializer",
                       og_node_text(text, h->node));
    int64_t dims[OG_MAX_RANK];
    int n = h->reshape && h->reshape->n_in > 1
                ? og_value_ints(h->g->values[h->reshape->in[1]], OG_MAX_RANK, dims)
                : 0;
    for (int i = 0; i < n; i++)
        if (dims[i] == h->classes && dims[i] > 1)
            return og_fail(error, OG_UNSUPPORTED,
                           "%s, behind the head, has its %" PRId64 " classes in its shape",
                           og_node_text(text, h->reshape), h->classes);
    return OG_OK;
}

/* The bias' type with `to` classes: the one axis that is not 1. */
static og_type bias_type(const og_type *t, int64_t from, int64_t to)
{
    og_type resized = *t;
    for (int i = t->rank - 1; i >= 0; i--)
        if (t->dims[i] == from) {
            resized.dims[i] = to;
            break;
        }
    return resized;
}

og_status og__recreate_head(og_model *m, const og_options *options)
{
    og_error *error = &m->context->error;
    int64_t classes = og__option_int(options, "num_classes"),
            seed = og__option_int(options, "seed");
    int output;
    if (classes < 1 || classes > MOST_CLASSES)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "option num_classes is %" PRId64 ", expected 1 to %d", classes,
                       MOST_CLASSES);
    OG_TRY(choose_output(m, options, &output));
    head h = {.g = m->graph, .output = m->graph->outputs[output].name, .bias = -1};
    OG_TRY(find_head(&h, m->graph->outputs[output].value, error));
    OG_TRY(check_head(&h, error));

    const og_value *w = m->graph->values[h.weight], *b = og_graph_value(m->graph, h.bias);
    og_type weight = w->type;
    weight.dims[h.axis] = classes;
    og__init init = og__uniform(1 / sqrt((double)(h.fan_in > 0 ? h.fan_in : 1)));
    og_onnx_tensor tensors[2];
    int n = 0;
    char before[160], after[160];
    OG_TRY(og__draw_tensor(m, w->name, &weight, init, seed, OG__DRAW_AGAIN, 0, &tensors[n++]));
    if (b) {
        og_type bias = bias_type(&b->type, h.classes, classes);
        OG_TRY(og__draw_tensor(m, b->name, &bias, init, seed, OG__DRAW_AGAIN, 1, &tensors[n++]));
    }
    og__model_changed(m, "head of output %s re-created: %s, %s before, is %s%s%s, uniform in ±%.3g",
                      h.output, w->name, og_type_text(before, NULL, &w->type),
                      og_type_text(after, NULL, &weight), b ? "; with " : "", b ? b->name : "",
                      init.a);
    og_onnx_edit edit = {.tensors = tensors,
                         .n_tensors = n,
                         .output = h.output,
                         .axis = h.conv ? 1 : -1,
                         .length = classes,
                         .untyped = h.path,
                         .n_untyped = h.n_path};
    for (int i = 0; i < n; i++)
        m->fresh[m->n_fresh++] = tensors[i].name;
    return og__model_edit(m, &edit);
}
