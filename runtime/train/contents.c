/* What a model holds: tensors, metadata, attributes of nodes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/checksum.h"
#include "runtime/graph/print.h"
#include "runtime/train/train.h"

/* ---- attributes */

/* Quoted; a line stays a line. */
static void add_string(og_text *text, const char *s)
{
    og_text_add(text, "\"");
    for (; *s; s++)
        if (*s == '\n')
            og_text_add(text, "\\n");
        else
            og_text_addn(text, s, 1);
    og_text_add(text, "\"");
}

static void add_checksum(og_text *text, const void *bytes, size_t size)
{
    og_checksum sum = og_checksum_start();
    og_checksum_add(&sum, bytes, size);
    og_text_printf(text, " #%08" PRIx32, (uint32_t)og_checksum_value(&sum));
}

static void add_tensor(og_text *text, const og_const *t)
{
    char type[160];
    int64_t bytes = og_type_bytes(&t->type);
    og_text_add(text, og_type_text(type, NULL, &t->type));
    if (bytes > 0 && t->data)
        add_checksum(text, t->data, (size_t)bytes);
}

static void add_graph(og_text *text, const og_graph *g)
{
    og_text printed = {0};
    if (!g) {
        og_text_add(text, "a graph");
        return;
    }
    og_graph_print(&printed, g);
    og_text_printf(text, "a graph of %d nodes", g->n_nodes);
    if (printed.s)
        add_checksum(text, printed.s, printed.length);
    og_text_free(&printed);
}

static void add_value(og_text *text, const og_attr *a)
{
    switch (a->kind) {
    case OG_ATTR_FLOAT:
        og_text_printf(text, "%.9g", a->f);
        break;
    case OG_ATTR_INT:
        og_text_printf(text, "%" PRId64, a->i);
        break;
    case OG_ATTR_STRING:
        add_string(text, a->s);
        break;
    case OG_ATTR_TENSOR:
        add_tensor(text, a->t);
        break;
    case OG_ATTR_GRAPH:
        add_graph(text, a->graph);
        break;
    case OG_ATTR_FLOATS:
    case OG_ATTR_INTS:
    case OG_ATTR_STRINGS:
        og_text_add(text, "[");
        for (int i = 0; i < a->n; i++) {
            og_text_add(text, i ? ", " : "");
            if (a->kind == OG_ATTR_FLOATS)
                og_text_printf(text, "%.9g", a->floats[i]);
            else if (a->kind == OG_ATTR_INTS)
                og_text_printf(text, "%" PRId64, a->ints[i]);
            else
                add_string(text, a->strings[i]);
        }
        og_text_add(text, "]");
        break;
    }
}

static int compare(const void *a, const void *b)
{
    return strcmp((*(const og_attr *const *)a)->name, (*(const og_attr *const *)b)->name);
}

const char *og_model_node_attributes(og_model *m, int index)
{
    og__context_begin(m->context);
    if (index < 0 || index >= m->n_node_info) {
        og_fail(&m->context->error, OG_INVALID_ARGUMENT, "node %d does not exist", index);
        return NULL;
    }
    const og_node *n = m->graph->nodes[index];
    const og_attr **sorted = calloc((size_t)n->n_attrs + 1, sizeof *sorted);
    og_text_free(&m->attributes);
    for (int i = 0; sorted && i < n->n_attrs; i++)
        sorted[i] = &n->attrs[i];
    if (sorted)
        qsort(sorted, (size_t)n->n_attrs, sizeof *sorted, compare);
    for (int i = 0; sorted && i < n->n_attrs; i++) {
        og_text_printf(&m->attributes, "%s=", sorted[i]->name);
        add_value(&m->attributes, sorted[i]);
        og_text_add(&m->attributes, "\n");
    }
    bool whole = sorted && !m->attributes.failed;
    free(sorted);
    if (!whole) {
        og_fail_memory(&m->context->error, m->attributes.length + 1, "attributes");
        return NULL;
    }
    return m->attributes.s ? m->attributes.s : "";
}

/* ---- tensors */

static bool is_weight(const og_value *v)
{
    return v->kind == OG_VALUE_CONST && *v->name && v->data;
}

int og_model_weight_count(og_model *m)
{
    const og_graph *g = m->graph;
    og__context_begin(m->context);
    m->n_weights = 0;
    m->weights = og_arena_array(m->arena, (size_t)g->n_values + 1, sizeof *m->weights);
    if (!m->weights) {
        og_fail_memory(&m->context->error, (size_t)g->n_values * sizeof *m->weights, "weights");
        return -1;
    }
    for (int i = 0; i < g->n_values; i++)
        if (is_weight(g->values[i]))
            m->weights[m->n_weights++] = i;
    return m->n_weights;
}

og_status og_model_weight(const og_model *m, int index, og_tensor_info *info, const void **data)
{
    if (index < 0 || index >= m->n_weights) {
        og__context_begin(m->context);
        return og_fail(&m->context->error, OG_INVALID_ARGUMENT,
                       "weight %d does not exist; there are %d", index, m->n_weights);
    }
    const og_value *v = m->graph->values[m->weights[index]];
    *info = (og_tensor_info){.name = v->name, .dtype = v->type.dtype, .rank = v->type.rank};
    memcpy(info->dims, v->type.dims, sizeof info->dims);
    *data = v->data;
    return OG_OK;
}

/* ---- metadata */

bool og_model_metadata_at(const og_model *m, int index, const char **key, const char **value)
{
    if (index < 0 || index >= m->graph->n_metadata)
        return false;
    *key = m->graph->metadata[index].key;
    *value = m->graph->metadata[index].value;
    return true;
}
