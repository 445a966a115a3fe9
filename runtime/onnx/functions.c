/* The model's own functions, inlined. A call binds the function's inputs and attributes in a scope
 * of its own and adds the body's nodes; inner names get the call's name in front. A recursive
 * function is an error, and what all calls together make is bounded, for nested functions can
 * multiply. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/onnx/loader.h"

enum { MAX_CALL_DEPTH = 64, MAX_INLINED = 1 << 20 };

static char *key_of(og_arena *arena, const char *domain, const char *name, const char *overload)
{
    return og_arena_printf(arena, "%s:%s:%s", domain, name, overload);
}

void og__functions_index(og__loader *l, const og__model_view *model)
{
    int index;
    l->functions = og_arena_array(l->arena, (size_t)model->n_functions, sizeof(*l->functions));
    for (int i = 0; l->functions && i < model->n_functions; i++) {
        og__function_view *f = &l->functions[i];
        if (!og__function_read(l->arena, model->functions[i], f)) {
            og__report_add(&l->report, OG_INVALID_MODEL, "function %d is malformed", i);
            continue;
        }
        const char *key = key_of(l->arena, f->domain, f->name, f->overload);
        if (key && og__names_get(&l->function_index, key, &index))
            og__report_add(&l->report, OG_INVALID_MODEL,
                           "function \"%s\" of domain \"%s\" is defined twice", f->name, f->domain);
        else if (!key || !og__names_set(&l->function_index, key, i))
            og__loader_memory(l);
    }
    l->n_functions = model->n_functions;
}

const og__function_view *og__functions_find(og__loader *l, const og__node_view *node)
{
    int index;
    if (l->n_functions == 0)
        return NULL;
    size_t n = strlen(node->domain) + strlen(node->op) + strlen(node->overload) + 3;
    char *key = malloc(n);
    if (!key)
        return NULL;
    snprintf(key, n, "%s:%s:%s", node->domain, node->op, node->overload);
    bool found = og__names_get(&l->function_index, key, &index);
    free(key);
    return found ? &l->functions[index] : NULL;
}

const char *og__inner_name(og__loader *l, const char *prefix, const char *name)
{
    const char *full = og_arena_printf(l->arena, "%s%s", prefix, name);
    full = full ? og__names_take(&l->used, full) : NULL;
    if (!full)
        og_fail_memory(&l->g->error, strlen(name), "a name");
    return full ? full : "";
}

/* May this call be made? */
static bool check_call(og__loader *l, const og__scope *caller, const og__function_view *f,
                       const og__node_view *call)
{
    char label[160];
    og__node_label(label, call);
    const og__scope *s = caller;
    do {
        if (s->function == f) {
            og__report_add(&l->report, OG_INVALID_MODEL, "function \"%s\" calls itself (%s)",
                           f->name, label);
            return false;
        }
        s = s->caller;
    } while (s);
    if (caller->depth >= MAX_CALL_DEPTH) {
        og__report_add(&l->report, OG_UNSUPPORTED,
                       "%s: functions call each other more than %d deep", label, MAX_CALL_DEPTH);
        return false;
    }
    if (call->n_in > f->n_in || call->n_out > f->n_out) {
        og__report_add(&l->report, OG_INVALID_MODEL,
                       "%s passes %d inputs and reads %d outputs of a function that has %d and %d",
                       label, call->n_in, call->n_out, f->n_in, f->n_out);
        return false;
    }
    l->inlined += (uint64_t)f->n_nodes + 1;
    if (l->inlined > MAX_INLINED) {
        og_fail_also(l->report.error, OG_UNSUPPORTED,
                     "the model's functions expand to more than %d nodes", MAX_INLINED);
        l->fatal = true;
    }
    return !l->fatal;
}

static bool bind_inputs(og__loader *l, og__scope *scope, const int *in, int n_in)
{
    int known;
    for (int i = 0; i < scope->function->n_in; i++) {
        const char *name = scope->function->in[i];
        if (og__names_get(&scope->values, name, &known)) {
            og__report_add(&l->report, OG_INVALID_MODEL, "function \"%s\" has two inputs \"%s\"",
                           scope->function->name, name);
            return false;
        }
        if (!og__names_set(&scope->values, name, i < n_in ? in[i] : OG__ABSENT))
            return og__loader_memory(l);
    }
    return true;
}

/* Values of output i, and the caller's name for it if the body made it. */
static void bind_output(og__loader *l, const og__scope *scope, const og__scope *caller,
                        const og__node_view *call, int i, int first_new, int *out)
{
    const char *inner = scope->function->out[i];
    int id;
    *out = OG__POISONED;
    if (!og__names_get(&scope->values, inner, &id) || id <= OG__PRODUCED) {
        if (!l->fatal)
            og__report_add(&l->report, OG_INVALID_MODEL,
                           "function \"%s\": nothing makes its output \"%s\"",
                           scope->function->name, inner);
        return;
    }
    *out = id;
    if (id >= first_new && l->g->values[id]->kind == OG_VALUE_NODE && *call->out[i] &&
        !*caller->prefix)
        l->g->values[id]->name = call->out[i];
}

static void run_body(og__loader *l, og__scope *scope, const og__scope *caller,
                     const og__node_view *call, const int *in, int first_new, int *out)
{
    if (!bind_inputs(l, scope, in, call->n_in))
        return;
    og__nodes_load(l, scope, scope->function->nodes, scope->function->n_nodes);
    for (int i = 0; i < call->n_out && !l->fatal; i++)
        if (*call->out[i])
            bind_output(l, scope, caller, call, i, first_new, &out[i]);
}

void og__functions_call(og__loader *l, const og__scope *caller, const og__function_view *f,
                        const og__node_view *call, const int *in, int *out)
{
    for (int i = 0; i < call->n_out; i++)
        out[i] = OG__POISONED;
    int n_attrs, first_new = l->g->n_values;
    og_attr *attrs =
        og_arena_array(l->arena, (size_t)call->n_attrs + (size_t)f->n_defaults, sizeof(*attrs));
    if (!attrs)
        og_fail_memory(&l->g->error, sizeof(*attrs), "attributes");
    if (!og__loader_memory(l) || !check_call(l, caller, f, call) ||
        !og__attributes_load(l, caller, call, attrs, &n_attrs))
        return;
    og__scope scope = {
        .caller = caller,
        .function = f,
        .depth = caller->depth + 1,
        .n_opsets = f->n_opsets,
        .opsets = f->opsets,
        .bindings = attrs,
    };
    if (!og__attributes_defaults(l, &scope, f, attrs, &n_attrs))
        return;
    scope.n_bindings = n_attrs;
    const char *name = og__inner_name(l, caller->prefix, *call->name ? call->name : call->op);
    scope.prefix = og_arena_printf(l->arena, "%s/", name);
    og_arena *names = og_arena_new(); /* of this call only */
    if (!scope.prefix || !names)
        og_fail_memory(&l->g->error, strlen(name), "a function call");
    if (og__loader_memory(l)) {
        scope.values = og__names_in(names);
        run_body(l, &scope, caller, call, in, first_new, out);
    }
    og_arena_free(names);
}
