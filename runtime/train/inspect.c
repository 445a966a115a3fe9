/* Looking into a model: its nodes with types, work, and whether gradients pass. */
#include <stdlib.h>
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/train/train.h"

enum { LARGE_BYTES = 64 << 10 }; /* of a constant that cannot be a shape or a size */

static void judge(og_node_info *info, const og_node *n, bool typed)
{
    const og_op *op = n->op;
    info->note = "";
    if (!typed) {
        info->support = "unsupported";
        info->note = "its shape could not be derived; see the problems";
    } else if (op->diff == OG_DIFF_ZERO) {
        info->support = "no gradient";
        info->note = "its gradient is zero everywhere";
    } else if (op->diff == OG_DIFF_NEVER) {
        info->support = "no gradient";
        info->note = "it is not differentiable";
    } else if (op->grad || op->expand || op->resolve) {
        info->support = "trains";
    } else {
        info->support = "no gradient";
        info->note = "its gradient is not written yet";
    }
}

/* The inputs' types: as declared, or 1 for every symbol. */
static og_status input_types(og_model *m, const og_tensor_info *inputs, og_arena *arena,
                             og_type **types)
{
    const og_graph *g = m->graph;
    *types = og_arena_array(arena, (size_t)g->n_inputs + 1, sizeof(og_type));
    if (!*types)
        return og_fail_memory(&m->context->error, sizeof(og_type), "inspection");
    for (int i = 0; i < g->n_inputs; i++) {
        og_type *t = &(*types)[i];
        *t = g->values[g->inputs[i]]->type;
        if (inputs)
            *t = og_type_make(inputs[i].dtype, inputs[i].rank, inputs[i].dims);
        for (int k = 0; k < t->rank; k++)
            if (t->dims[k] < 0)
                t->dims[k] = 1;
    }
    return OG_OK;
}

/* What large weights hold says nothing about types: as states they are neither copied, where they
 * lie unaligned in their file, nor folded. By value: its storage, of which there is none; -1. */
static const int *large_weights(const og_graph *g, og_arena *arena)
{
    int *storage = og_arena_array(arena, (size_t)g->n_values + 1, sizeof(int));
    for (int i = 0; storage && i < g->n_values; i++) {
        const og_value *v = g->values[i];
        storage[i] = v->kind == OG_VALUE_CONST && og_dtype_is_float(v->type.dtype) &&
                             og_type_bytes(&v->type) > LARGE_BYTES
                         ? 0
                         : -1;
    }
    return storage;
}

int og_model_inspect(og_model *m, const og_tensor_info *inputs)
{
    const og_graph *g = m->graph;
    og_error *error = &m->context->error;
    og__context_begin(m->context);
    og_arena_free(m->inspect_arena);
    free(m->problems);
    m->problems = NULL;
    m->n_node_info = 0;
    m->inspect_arena = og_arena_new();
    og_arena *arena = m->inspect_arena;
    og_type *types;
    if (!arena) {
        og_fail_memory(error, 64, "inspection");
        return -1;
    }
    int *map = og_arena_array(arena, (size_t)g->n_values + 1, sizeof(int));
    m->node_info = og_arena_array(arena, (size_t)g->n_nodes + 1, sizeof(og_node_info));
    if (!map || !m->node_info) {
        og_fail_memory(error, sizeof(og_node_info), "inspection");
        return -1;
    }
    if (input_types(m, inputs, arena, &types) != OG_OK)
        return -1;
    og_binding binding = {.inputs = types, .values = map, .storage = large_weights(g, arena)};
    for (int i = 0; i < g->n_inputs; i++) {
        const og_type *t = &g->values[g->inputs[i]]->type;
        if (t->rank > 0 && t->dims[0] > 0 && types[i].rank > 0 && types[i].dims[0] != t->dims[0]) {
            binding.baked_batch = t->dims[0];
            binding.batch = types[i].dims[0];
        }
    }
    og_graph *typed = og_pass_infer(g, &binding, og_eager_evaluator(m->context->host), arena);
    if (!typed) {
        og_fail_memory(error, sizeof(og_graph), "inspection");
        return -1;
    }
    m->problems = strdup(og_error_text(&typed->error));
    og_error_clear(&typed->error);
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        og_node_info *info = &m->node_info[i];
        *info = (og_node_info){.name = n->name,
                               .op = n->origin && *n->origin->op ? n->origin->op : n->op->name,
                               .inputs = n->n_in,
                               .outputs = n->n_out,
                               .output = {.name = "", .rank = -1}};
        int out = n->n_out ? map[n->out[0]] : -1;
        if (out >= 0) {
            const og_type *t = &typed->values[out]->type;
            info->output = (og_tensor_info){
                .name = g->values[n->out[0]]->name, .dtype = t->dtype, .rank = t->rank};
            memcpy(info->output.dims, t->dims, sizeof(t->dims));
            if (typed->values[out]->producer)
                info->flops = og_node_flops(typed, typed->values[out]->producer);
        }
        judge(info, n, out >= 0 || (n->op->resolve && out == OG_VALUE_RESOLVED));
    }
    m->n_node_info = g->n_nodes;
    return g->n_nodes;
}

const char *og_model_problems(const og_model *m)
{
    return m->problems ? m->problems : "";
}

static bool node_exists(const og_model *m, int index)
{
    return index >= 0 && index < m->n_node_info;
}

og_status og_model_node(const og_model *m, int index, og_node_info *info)
{
    if (!node_exists(m, index)) {
        og__context_begin(m->context);
        return og_fail(&m->context->error, OG_INVALID_ARGUMENT,
                       "node %d does not exist; %d were inspected", index, m->n_node_info);
    }
    *info = m->node_info[index];
    return OG_OK;
}

const char *og_model_node_input(const og_model *m, int index, int k)
{
    if (!node_exists(m, index) || k < 0 || k >= m->graph->nodes[index]->n_in)
        return NULL;
    const og_value *v = og_graph_value(m->graph, m->graph->nodes[index]->in[k]);
    return v ? v->name : "";
}

const char *og_model_node_output(const og_model *m, int index, int k)
{
    if (!node_exists(m, index) || k < 0 || k >= m->graph->nodes[index]->n_out)
        return NULL;
    return m->graph->values[m->graph->nodes[index]->out[k]]->name;
}
