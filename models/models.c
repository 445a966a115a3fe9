/* Built-in models as models: the registry, and a type's row built, drawn and handed on as if it had
 * been loaded. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "models/model.h"

/* ---- the registry */

static const og_builtin *builtin_at(int index)
{
    for (const og_builtin_table *t = og_builtin_tables; t->file; t++)
        for (const og_builtin *row = t->rows; row->type.name; row++)
            if (index-- == 0)
                return row;
    return NULL;
}

const og_model_type *og_model_type_at(int index)
{
    const og_builtin *row = index < 0 ? NULL : builtin_at(index);
    return row ? &row->type : NULL;
}

static bool takes(const og_model_type *type, const char *name)
{
    for (const og_model_option *o = type->options; o->name; o++)
        if (strcmp(o->name, name) == 0)
            return true;
    return false;
}

static const og_builtin *find(const char *name, og_error *error)
{
    const og_builtin *row, *nearest = NULL;
    int best = 1 + (int)strlen(name) / 3;
    og_text all = {0};
    for (int i = 0; (row = builtin_at(i)); i++) {
        int distance = og_edit_distance(name, row->type.name);
        if (distance == 0)
            break;
        if (distance <= best) {
            best = distance - 1;
            nearest = row;
        }
        og_text_printf(&all, "%s%s", i ? ", " : "", row->type.name);
    }
    if (!row && nearest)
        og_fail(error, OG_INVALID_ARGUMENT, "unknown model type \"%s\"; did you mean %s?", name,
                nearest->type.name);
    else if (!row)
        og_fail(error, OG_INVALID_ARGUMENT, "unknown model type \"%s\"; there are %s", name,
                all.s ? all.s : "none");
    og_text_free(&all);
    return row;
}

/* An option of another type is a slip, not to be passed over. */
static og_status check_options(const og_model_type *type, const og_options *options,
                               og_error *error)
{
    const og_model_type *other;
    for (int i = 0; options && (other = og_model_type_at(i)); i++)
        for (const og_model_option *o = other->options; o->name; o++) {
            if (!og_options_is_set(options, o->name) || takes(type, o->name))
                continue;
            og_text all = {0};
            for (const og_model_option *own = type->options; own->name; own++)
                og_text_printf(&all, "%s%s", own == type->options ? "" : ", ", own->name);
            og_status status = og_fail(error, OG_INVALID_ARGUMENT, "%s has no option %s; it has %s",
                                       type->name, o->name, all.s ? all.s : "");
            og_text_free(&all);
            return status;
        }
    return OG_OK;
}

/* ---- the batch */

/* A multiple of the stand-in: "batch", "16*batch". */
static int64_t free_dim(og_graph *g, int64_t dim)
{
    if (dim < OG__BATCH || dim % OG__BATCH != 0)
        return dim;
    int64_t times = dim / OG__BATCH;
    const char *name = times == 1 ? "batch" : og_arena_printf(g->arena, "%" PRId64 "*batch", times);
    if (name)
        return og_graph_symbol(g, name);
    og_fail_memory(&g->error, 0, "a name");
    return dim;
}

static bool names_the_batch(const og_value *v)
{
    int64_t dims[OG_MAX_RANK];
    int n = og_value_ints(v, OG_MAX_RANK, dims);
    for (int i = 0; i < n; i++)
        if (dims[i] && dims[i] % OG__BATCH == 0)
            return true;
    return false;
}

static void free_batch(og_graph *g)
{
    for (int i = 0; i < g->n_values; i++) {
        og_value *v = g->values[i];
        if (v->kind == OG_VALUE_CONST && names_the_batch(v))
            og_fail(&g->error, OG_INTERNAL, "a built-in model names its batch size");
        for (int k = 0; v->kind != OG_VALUE_CONST && k < v->type.rank; k++)
            v->type.dims[k] = free_dim(g, v->type.dims[k]);
    }
    for (int i = 0; i < g->n_nodes; i++)
        g->nodes[i]->origin = NULL; /* the user's own nodes, not made by a rule */
}

/* ---- models */

/* The graph with its weights, in g, whose error tells what went wrong, and what draws them. */
static void build(og_graph *g, const og_builtin *row, const og_options *options, og_device *device,
                  og_onnx_maker *maker)
{
    og__building b = {.g = g, .type = &row->type, .options = options, .scope = ""};
    g->name = row->type.name;
    og__scope all = {"", 0};
    row->build(&b);
    if (og__model_failed(&b)) {
        if (g->error.status != OG_INVALID_ARGUMENT)
            og_error_prefix(&g->error, "a %s of this size cannot be built", row->type.name);
        return;
    }
    og__leave(&b, all);
    free_batch(g);
    if (og__model_failed(&b))
        return;
    int64_t seed = options ? og__option_int(options, "seed") : 0;
    if (og__weights_draw(&b, seed, device) != OG_OK)
        return;
    *maker = og__weights_maker(b.weights, b.n_weights, g, seed, device->threads);
    if (!maker->user)
        og_fail_memory(&g->error, sizeof(*maker), "weights");
}

og_model *og_model_new(og_context *c, const char *type, const og_options *options)
{
    og__context_begin(c);
    if (!type)
        type = og_options_get(options, "model_type");
    const og_builtin *row = find(type, &c->error);
    if (!row || check_options(&row->type, options, &c->error) != OG_OK)
        return NULL;
    og_graph *g = og_graph_new();
    if (!g) {
        og_fail_memory(&c->error, sizeof(*g), "a model");
        return NULL;
    }
    og_onnx_maker maker = {0};
    build(g, row, options, c->device, &maker);
    if (og_error_move(&c->error, &g->error) != OG_OK) {
        og_graph_free(g);
        free(maker.user);
        return NULL;
    }
    og_onnx *onnx = og_onnx_from_graph(g, &c->error);
    if (onnx)
        og_onnx_set_maker(onnx, maker);
    else
        free(maker.user);
    og_model *m = og__model_of(c, onnx);
    if (m)
        m->built_in = true;
    return m;
}
