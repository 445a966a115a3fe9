/* Low-rank adapters (Hu et al., LoRA, arXiv 2106.09685): beside a product or convolution with
 * weight W a branch y = x W + scale · (x A) B,   scale = alpha / rank of which A and B alone are
 * trained. A begins uniform in ±1/√in (PEFT: kaiming_uniform_, a = √5), B at zero, so that the
 * model is what it was. Saved, the model has its own nodes again and W + scale · A B for W, or with
 * key keep the branches. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/device/transfer.h"
#include "runtime/graph/op.h"
#include "runtime/train/adapt.h"

enum { MOST_RANK = 65536 };

/* ---- the option */

typedef struct wish {
    int64_t rank;
    double alpha; /* 0: the rank */
    bool keep, hit;
    const char *targets; /* "GLOB:GLOB"; NULL: all */
} wish;

static og_status wrong(og_error *error, const char *text, const char *why)
{
    return og_fail(error, OG_INVALID_ARGUMENT,
                   "option lora is \"%s\": %s; expected rank=N[,alpha=X][,target=GLOB[:GLOB…]]"
                   "[,keep], such as rank=8,alpha=16,target=*attn*",
                   text, why);
}

static og_status parse(og_arena *arena, const char *text, wish *w, og_error *error)
{
    char *copy = og_arena_strdup(arena, text), *rest = copy, *part, *end;
    *w = (wish){0};
    if (!copy)
        return og_fail_memory(error, strlen(text), "an option");
    while ((part = strsep(&rest, ","))) {
        char *value = strchr(part, '=');
        if (value)
            *value++ = 0;
        if (!value && strcmp(part, "keep") == 0) {
            w->keep = true;
        } else if (value && strcmp(part, "rank") == 0) {
            w->rank = strtoll(value, &end, 10);
            if (!*value || *end || w->rank < 1 || w->rank > MOST_RANK)
                return wrong(error, text, "rank is a number from 1 to 65536");
        } else if (value && strcmp(part, "alpha") == 0) {
            w->alpha = strtod(value, &end);
            if (!*value || *end || !(w->alpha > 0) || !isfinite(w->alpha))
                return wrong(error, text, "alpha is a number above 0");
        } else if (value && *value && strcmp(part, "target") == 0) {
            w->targets = value;
        } else {
            return wrong(error, text, "keys are rank, alpha, target and keep");
        }
    }
    if (!w->rank)
        return wrong(error, text, "rank is missing");
    if (w->alpha == 0)
        w->alpha = (double)w->rank;
    return OG_OK;
}

static bool is_target(const wish *w, const char *name)
{
    char glob[256];
    for (const char *at = w->targets; at && *at;) {
        size_t n = strcspn(at, ":");
        if (n < sizeof glob) {
            memcpy(glob, at, n);
            glob[n] = 0;
            if (og_glob_match(glob, name))
                return true;
        }
        at += n + (at[n] == ':');
    }
    return !w->targets;
}

/* ---- where branches can be */

static bool is(const og_node *n, const char *op)
{
    return og_op_is(n->op, NULL, op);
}

/* The weight of a node that a branch can stand beside; -1: it is none. *rows: the weight is
 * [out, in …]. */
static int target_of(const og_graph *g, const og_node *n, bool *rows)
{
    int w = og__layer_weight(g, n, rows);
    const og_type *t = w < 0 ? NULL : &g->values[w]->type;
    if (!t || (t->dtype != OG_FLOAT && t->dtype != OG_DOUBLE) || !*g->values[n->out[0]]->name)
        return -1;
    if (og_attr_float(n, "alpha", 1) != 1 || og_attr_int(n, "transA", 0) != 0 ||
        og_attr_int(n, "group", 1) != 1)
        return -1;
    return w;
}

/* Nodes that read value `id`, those behind a Transpose in its stead. */
static int count_readers(const og_graph *g, int id)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i]->n_in; k++)
            if (g->nodes[i]->in[k] == id)
                n += is(g->nodes[i], "Transpose") ? count_readers(g, g->nodes[i]->out[0]) : 1;
    return n;
}

static bool is_fresh(const og_model *m, const char *name)
{
    for (int i = 0; i < m->n_fresh; i++)
        if (strcmp(m->fresh[i], name) == 0)
            return true;
    return false;
}

/* ---- adding them */

typedef struct adding {
    og_model *m;
    wish *wishes;
    int n_wishes;
    og_onnx_tensor *tensors;
    og_onnx_branch *branches;
    int n_tensors, n_branches;
    int64_t elements, seed;
    int *adapter; /* by value: 1 + its index in the model's adapters */
    int tied;     /* targets left out, because other nodes read them, too */
    const char *first_tied;
} adding;

static og_status make_adapter(adding *a, const og_node *n, int weight, bool rows, const wish *w)
{
    og_model *m = a->m;
    og_error *error = &m->context->error;
    const og_value *v = m->graph->values[weight];
    const og_type *t = &v->type;
    bool conv = is(n, "Conv");
    og__adapter *to = &m->adapters[m->n_adapters];
    *to = (og__adapter){.weight = v->name,
                        .a = og_arena_printf(m->arena, "%s.lora_A", v->name),
                        .b = og_arena_printf(m->arena, "%s.lora_B", v->name),
                        .rank = w->rank,
                        .scale = w->alpha / (double)w->rank,
                        .rows = t->dims[0],
                        .columns = og_type_elements(t) / (t->dims[0] ? t->dims[0] : 1),
                        .swapped = rows && !conv,
                        .conv = conv};
    if (!to->a || !to->b)
        return og_fail_memory(error, strlen(v->name), "adapters");
    int64_t in = rows ? t->dims[1] : t->dims[0], out = rows ? t->dims[0] : t->dims[1];
    int64_t fan = rows ? to->columns : to->rows;
    if (in < 1 || out < 1 || fan < 1)
        return og_fail(error, OG_INVALID_MODEL, "\"%s\" has no elements to adapt", v->name);
    og_type down = og_type_make(t->dtype, 2, (int64_t[]){in, w->rank});
    og_type up = og_type_make(t->dtype, 2, (int64_t[]){w->rank, out});
    if (conv) {
        down = up = *t;
        down.dims[0] = up.dims[1] = w->rank;
        for (int i = 2; i < t->rank; i++)
            up.dims[i] = 1;
    }
    OG_TRY(og__draw_tensor(m, to->a, &down, og__uniform(1 / sqrt((double)fan)), a->seed,
                           OG__DRAW_ADAPTER, m->n_adapters, &a->tensors[a->n_tensors++]));
    OG_TRY(og__draw_tensor(m, to->b, &up, og__constant(0), 0, OG__DRAW_ADAPTER, 0,
                           &a->tensors[a->n_tensors++]));
    a->elements += og_type_elements(&down) + og_type_elements(&up);
    a->adapter[weight] = ++m->n_adapters;
    return OG_OK;
}

static og_status add_branch(adding *a, const og_node *n)
{
    og_model *m = a->m;
    const og_graph *g = m->graph;
    bool rows;
    int weight = target_of(g, n, &rows);
    const og_value *v = og_graph_value(g, weight);
    if (!v || is_fresh(m, v->name))
        return OG_OK;
    wish *w = NULL;
    for (int i = 0; i < a->n_wishes && !w; i++)
        if (is_target(&a->wishes[i], v->name))
            w = &a->wishes[i];
    if (!w)
        return OG_OK;
    int products = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        bool other;
        products += target_of(g, g->nodes[i], &other) == weight && other == rows;
    }
    if (products != count_readers(g, weight)) {
        if (a->tied++ == 0)
            a->first_tied = v->name;
        return OG_OK;
    }
    w->hit = true;
    if (!a->adapter[weight])
        OG_TRY(make_adapter(a, n, weight, rows, w));
    const og__adapter *adapter = &m->adapters[a->adapter[weight] - 1];
    a->branches[a->n_branches++] = (og_onnx_branch){.value = g->values[n->out[0]]->name,
                                                    .a = adapter->a,
                                                    .b = adapter->b,
                                                    .scale = adapter->scale,
                                                    .conv = adapter->conv,
                                                    .dtype = v->type.dtype};
    return OG_OK;
}

og_status og__add_adapters(og_model *m, const og_options *options)
{
    og_error *error = &m->context->error;
    const og_graph *g = m->graph;
    int n_texts;
    const char *const *texts = og__option_list(options, "lora", &n_texts);
    size_t n_nodes = (size_t)g->n_nodes + 1;
    if (!n_texts)
        return OG_OK;
    adding a = {.m = m,
                .n_wishes = n_texts,
                .wishes = og_arena_array(m->arena, (size_t)n_texts, sizeof(wish)),
                .tensors = og_arena_array(m->arena, 2 * n_nodes, sizeof(og_onnx_tensor)),
                .branches = og_arena_array(m->arena, n_nodes, sizeof(og_onnx_branch)),
                .adapter = og_arena_array(m->arena, (size_t)g->n_values + 1, sizeof(int)),
                .seed = og__option_int(options, "seed")};
    m->adapters = og_arena_array(m->arena, n_nodes, sizeof(og__adapter));
    if (!a.wishes || !a.tensors || !a.branches || !a.adapter || !m->adapters)
        return og_fail_memory(error, n_nodes * sizeof(og_onnx_tensor), "adapters");
    for (int i = 0; i < n_texts; i++) {
        OG_TRY(parse(m->arena, texts[i], &a.wishes[i], error));
        m->keeps_adapters |= a.wishes[i].keep;
    }
    for (int i = 0; i < g->n_nodes; i++)
        OG_TRY(add_branch(&a, g->nodes[i]));
    for (int i = 0; i < n_texts; i++)
        if (!a.wishes[i].hit)
            return og_fail(error, OG_INVALID_ARGUMENT,
                           "--lora %s finds no weight of a MatMul, Gemm or Conv%s%s%s%s", texts[i],
                           a.tied ? " that no other node reads, too (the first such is \"" : "",
                           a.tied ? a.first_tied : "", a.tied ? "\")" : "",
                           a.tied ? "" : "; `ongrad check` lists their names");
    og__model_changed(
        m, "adapters beside %d weight%s, %" PRId64 " elements, which train alone; saved %s",
        m->n_adapters, m->n_adapters > 1 ? "s" : "", a.elements,
        m->keeps_adapters ? "as branches" : "merged into the weights");
    if (a.tied)
        og__model_changed(
            m, "%d target%s without an adapter, read by other nodes, too; the first is %s", a.tied,
            a.tied > 1 ? "s" : "", a.first_tied);
    m->unadapted = m->onnx;
    return og__model_edit(m, &(og_onnx_edit){.tensors = a.tensors,
                                             .n_tensors = a.n_tensors,
                                             .branches = a.branches,
                                             .n_branches = a.n_branches});
}

/* ---- merging */

/* A merged weight, made a stretch at a time while it is written. */
typedef struct merge {
    const og__adapter *adapter;
    const void *base;    /* W */
    bool wide;           /* float64 */
    void *a, *b, *owned; /* copies on the host; of W, where it was trained, too */
    void *place;         /* addresses that stand for it: nothing lies there */
    size_t bytes;
} merge;

struct og__merges {
    merge *items;
    int n;
};

static double at(const void *data, bool wide, int64_t i)
{
    return wide ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

/* W + scale · A B, in W's order, or of a weight [out, in] W + scale · (A B)ᵀ, of a convolution's
 * W + scale · B A */
static double merged_element(const merge *m, int64_t p, int64_t q)
{
    const og__adapter *d = m->adapter;
    double sum = 0;
    for (int64_t k = 0; k < d->rank; k++) {
        int64_t in_a = d->conv ? k * d->columns + q : (d->swapped ? q : p) * d->rank + k;
        int64_t in_b = d->conv ? p * d->rank + k
                               : k * (d->swapped ? d->rows : d->columns) + (d->swapped ? p : q);
        sum += at(m->a, m->wide, in_a) * at(m->b, m->wide, in_b);
    }
    return sum * d->scale;
}

/* og_onnx_read_fn */
static bool read_merged(void *user, void *to, const void *from, size_t bytes)
{
    const merge *m = user;
    size_t size = m->wide ? sizeof(double) : sizeof(float);
    size_t first = (size_t)((const char *)from - (const char *)m->place);
    memcpy(to, (const char *)m->base + first, bytes);
    for (size_t i = 0; i < bytes / size; i++) {
        int64_t element = (int64_t)(first / size + i);
        double more =
            merged_element(m, element / m->adapter->columns, element % m->adapter->columns);
        if (m->wide)
            ((double *)to)[i] += more;
        else
            ((float *)to)[i] = (float)((double)((float *)to)[i] + more);
    }
    return true;
}

static const og_value *initializer(const og_graph *g, const char *name)
{
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i]->kind == OG_VALUE_CONST && strcmp(g->values[i]->name, name) == 0)
            return g->values[i];
    return NULL;
}

static int find_trained(const og_session *s, const char *name)
{
    for (int i = 0; i < s->storages.n; i++)
        if (s->storages.items[i].kind == OG_STORAGE_PARAMETER &&
            strcmp(s->storages.items[i].name, name) == 0)
            return i;
    return -1;
}

/* A copy of the tensor as it is now, malloc'd; NULL: the context's error says why. */
static void *content_of(og_session *s, const char *name)
{
    og_error *error = &s->context->error;
    int storage = find_trained(s, name);
    const og_value *v = initializer(s->model->graph, name);
    size_t bytes = v ? (size_t)og_type_bytes(&v->type) : 0;
    void *data = v ? malloc(bytes + 1) : NULL;
    if (!v)
        og_fail(error, OG_INTERNAL, "the tensor \"%s\" is gone", name);
    else if (!data)
        og_fail_memory(error, bytes, "merging adapters");
    else if (storage < 0)
        memcpy(data, v->data, bytes);
    else if (og_device_download(s->context->device, data, og__state_at(s, storage), bytes, error) !=
             OG_OK)
        bytes = 0;
    if (bytes)
        return data;
    free(data);
    return NULL;
}

static og_status begin_merge(og_session *s, const og__adapter *adapter, merge *m,
                             og_onnx_weight *weight)
{
    const og_value *w = initializer(og_onnx_graph(s->model->unadapted), adapter->weight);
    og_error *error = &s->context->error;
    if (!w)
        return og_fail(error, OG_INTERNAL, "the weight \"%s\" is gone", adapter->weight);
    m->adapter = adapter;
    m->base = w->data;
    m->wide = w->type.dtype == OG_DOUBLE;
    m->bytes = (size_t)og_type_bytes(&w->type);
    m->a = content_of(s, adapter->a);
    m->b = m->a ? content_of(s, adapter->b) : NULL;
    if (m->b && find_trained(s, adapter->weight) >= 0)
        m->base = m->owned = content_of(s, adapter->weight);
    if (!m->b || !m->base)
        return error->status;
    void *place =
        mmap(NULL, m->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        return og_fail_memory(error, m->bytes, "merging adapters");
    m->place = place;
    *weight = (og_onnx_weight){adapter->weight, m->place, read_merged, m};
    return OG_OK;
}

bool og__is_adapted(const og_model *m, const char *name)
{
    for (int i = 0; i < m->n_adapters; i++) {
        const og__adapter *a = &m->adapters[i];
        if (strcmp(a->a, name) == 0 || strcmp(a->b, name) == 0 || strcmp(a->weight, name) == 0)
            return true;
    }
    return false;
}

og_status og__merges_begin(og_session *s, og__merges **merges, og_onnx_weight *weights, int *n)
{
    const og_model *m = s->model;
    *merges = calloc(1, sizeof(**merges));
    if (*merges)
        (*merges)->items = calloc((size_t)m->n_adapters + 1, sizeof(merge));
    if (!*merges || !(*merges)->items)
        return og_fail_memory(&s->context->error, sizeof(merge), "merging adapters");
    for (int i = 0; i < m->n_adapters; i++) {
        (*merges)->n = i + 1;
        OG_TRY(begin_merge(s, &m->adapters[i], &(*merges)->items[i], &weights[*n]));
        ++*n;
    }
    return OG_OK;
}

void og__merges_free(og__merges *merges)
{
    for (int i = 0; merges && merges->items && i < merges->n; i++) {
        free(merges->items[i].a);
        free(merges->items[i].b);
        free(merges->items[i].owned);
        if (merges->items[i].place)
            munmap(merges->items[i].place, merges->items[i].bytes);
    }
    if (merges)
        free(merges->items);
    free(merges);
}
