/* Names that an optimizing exporter took away. It transposes the weight of a linear layer that is
 * read as a MatMul's second operand, [in, out] for PyTorch's [out, in], and calls the result val_6.
 * Where the file says that it was computed from one parameter, which it no longer holds, and every
 * node that reads it was traced as a linear layer of that parameter, it gets the parameter's name
 * back, in the graph and in the bytes that are saved; its elements stay as they are. */
#include <string.h>

#include "runtime/onnx/fields.h"
#include "runtime/onnx/loader.h"

#define SIGNATURE "pkg.torch.export.ExportedProgram.graph_signature"
#define TRACED "pkg.torch.onnx.fx_node"

typedef struct rename {
    og__loader *l;
    og__scope *scope;
    const og__graph_view *g;
    og__names names;   /* old name → index in to */
    const char **to;   /* the parameter's */
    const char **from; /* "p_fc_weight": how calls name it; NULL: not to be renamed after all */
    bool *read;        /* some node reads it */
    int n;
} rename_pass;

static bool no_memory(rename_pass *r)
{
    og_fail_memory(&r->l->g->error, sizeof(*r), "names of parameters");
    return og__loader_memory(r->l);
}

/* What calls name the parameter by, from the signature's line  p_fc_weight: PARAMETER
 * target='fc.weight'; NULL where there is none. */
static const char *argument_of(og_arena *arena, const char *signature, const char *name)
{
    const char *line = og_arena_printf(arena, ": PARAMETER target='%s'", name);
    const char *at = line ? strstr(signature, line) : NULL;
    const char *start = at;
    while (start && start > signature && start[-1] != '\n' && start[-1] != ' ')
        start--;
    return at && at > start ? og_arena_strndup(arena, start, (size_t)(at - start)) : NULL;
}

/* Does the call "%linear : …(args = (%x, %p_fc_weight, …" name it? */
static bool names(const char *call, const char *argument)
{
    size_t n = strlen(argument);
    for (const char *at = strchr(call, '%'); at; at = strchr(at + 1, '%'))
        if (strncmp(at + 1, argument, n) == 0 && (at[1 + n] == ',' || at[1 + n] == ')'))
            return true;
    return false;
}

static bool collect(rename_pass *r, const char *signature)
{
    og_arena *arena = r->l->arena;
    size_t n = (size_t)r->g->n_values + 1;
    og__names taken = og__names_in(arena);
    r->to = og_arena_array(arena, n, sizeof(char *));
    r->from = og_arena_array(arena, n, sizeof(char *));
    r->read = og_arena_array(arena, n, sizeof(bool));
    if (!r->to || !r->from || !r->read)
        return no_memory(r);
    for (int i = 0; i < r->g->n_values && og__loader_memory(r->l); i++) {
        og__value_view view;
        char name[512];
        int known;
        og__value_read(r->g->values[i], &view);
        const og_value *v = og__scope_constant(r->l, r->scope, view.name);
        const char *list = v ? v->folded_from : NULL;
        if (!list || v->type.rank != 2 || !og_next_quoted(&list, name, sizeof name) || !*name ||
            strchr(list, '\''))
            continue;
        if (og__names_get(&r->scope->values, name, &known) || og__names_get(&taken, name, &known))
            continue;
        const char *argument = argument_of(arena, signature, name);
        const char *copy = og_arena_strdup(arena, name);
        if (!copy || !og__names_set(&taken, copy, r->n))
            return no_memory(r);
        if (!argument)
            continue;
        if (!og__names_set(&r->names, view.name, r->n))
            return no_memory(r);
        r->to[r->n] = copy;
        r->from[r->n++] = argument;
    }
    return !r->l->fatal;
}

/* Drops those that something else reads than a product that was traced as a linear layer of it.
 * false: names may be read where they are not seen. */
static bool check_readers(rename_pass *r)
{
    int index;
    for (int i = 0; i < r->g->n_nodes; i++) {
        og__node_view node;
        og__node_read(r->l->arena, r->g->nodes[i], &node);
        for (int k = 0; k < node.n_attrs; k++) {
            og__attr_view attr;
            og__attr_read(node.attrs[k], &attr);
            if (attr.g)
                return false;
        }
        for (int k = 0; k < node.n_in; k++) {
            if (!og__names_get(&r->names, node.in[k], &index))
                continue;
            const char *call = og__node_metadata(r->l->arena, r->g->nodes[i], TRACED);
            r->read[index] = true;
            if (!call || !r->from[index] || strcmp(node.op, "MatMul") != 0 || k != 1 ||
                !strstr(call, "aten.linear") || !names(call, r->from[index]))
                r->from[index] = NULL;
        }
    }
    for (int i = 0; i < r->g->n_outputs; i++) {
        og__value_view view;
        og__value_read(r->g->outputs[i], &view);
        if (og__names_get(&r->names, view.name, &index))
            r->from[index] = NULL;
    }
    for (int i = 0; i < r->g->n_inputs; i++) {
        og__value_view view;
        og__value_read(r->g->inputs[i], &view);
        if (og__names_get(&r->names, view.name, &index))
            r->from[index] = NULL;
    }
    return true;
}

/* The new name of `old`; NULL: it keeps its own. */
static const char *name_for(const rename_pass *r, const char *old)
{
    int index;
    return og__names_get(&r->names, old, &index) && r->from[index] && r->read[index] ? r->to[index]
                                                                                     : NULL;
}

/* ---- the graph and the bytes */

static bool change_graph(rename_pass *r)
{
    og_onnx *onnx = r->l->onnx;
    og_onnx_repair *done = &onnx->repairs[OG_REPAIR_RENAMED];
    for (size_t i = 0; i < r->names.capacity; i++) {
        const char *old = r->names.slots[i].name, *name = old ? name_for(r, old) : NULL;
        int id, index;
        if (!name || !og__names_get(&r->scope->values, old, &id) ||
            !og__names_get(&onnx->initializer_index, old, &index))
            continue;
        if (!og__names_set(&r->scope->values, name, id) ||
            !og__names_set(&onnx->initializer_index, name, index))
            return no_memory(r);
        r->l->g->values[id]->name = name;
        if (done->n++ == 0 || strcmp(name, done->first) < 0)
            done->first = name;
    }
    for (int i = 0; i < r->g->n_nodes; i++) {
        og__node_view node;
        og__node_read(r->l->arena, r->g->nodes[i], &node);
        for (int k = 0; k < node.n_in; k++) {
            const char *name = name_for(r, node.in[k]);
            if (name && !og__node_set_input(r->l->arena, r->g->nodes[i], k, name))
                return no_memory(r);
        }
    }
    return og__loader_memory(r->l);
}

/* The message with its fields `number` renamed. */
static void write_message(rename_pass *r, const og__field *message, uint32_t number, og__out *out)
{
    og__out inner = og__out_in(r->l->arena);
    bool changed = false;
    og__field f;
    for (og__wire in = og__wire_inside(message); og__wire_next(&in, &f) > 0;) {
        char old[256];
        const char *name = NULL;
        if (f.number == number && f.type == OG__WIRE_BYTES && f.size < sizeof old) {
            memcpy(old, f.bytes, f.size);
            old[f.size] = 0;
            name = name_for(r, old);
        }
        changed |= name != NULL;
        if (name)
            og__out_text(&inner, number, name);
        else
            og__out_raw(&inner, f.start, f.total);
    }
    if (changed)
        og__out_message(out, message->number, &inner);
    else
        og__out_raw(out, message->start, message->total);
}

static void write_graph(void *user, og__wire in, og__out *out)
{
    rename_pass *r = user;
    og__field f;
    while (og__wire_next(&in, &f) > 0) {
        uint32_t named = f.number == GRAPH_NODE          ? NODE_INPUT
                         : f.number == GRAPH_INITIALIZER ? TENSOR_NAME
                         : f.number == GRAPH_VALUE_INFO  ? VALUE_NAME
                                                         : 0;
        if (named)
            write_message(r, &f, named, out);
        else
            og__out_raw(out, f.start, f.total);
    }
}

void og__restore_names(og__loader *l, og__scope *scope, const og__graph_view *g)
{
    const char *signature = og_graph_metadata(l->g, SIGNATURE);
    rename_pass r = {.l = l, .scope = scope, .g = g, .names = og__names_in(l->arena)};
    if (!signature || l->fatal || !collect(&r, signature) || !r.n || !check_readers(&r) ||
        !change_graph(&r))
        return;
    if (l->onnx->repairs[OG_REPAIR_RENAMED].n)
        og__graph_rewrite(l, write_graph, &r);
}
