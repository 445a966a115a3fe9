/* What build functions write with: options, names, inputs, weights, outputs (model.h). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/model.h"

/* ---- errors */

void og__model_fail(og__building *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    og_failv(&b->g->error, OG_INVALID_ARGUMENT, format, arguments);
    va_end(arguments);
}

bool og__model_failed(const og__building *b)
{
    return b->g->error.status != OG_OK;
}

/* ---- options */

const char *og__model_text(og__building *b, const char *name)
{
    if (b->options && og_options_is_set(b->options, name))
        return og_options_get(b->options, name);
    for (const og_model_option *o = b->type->options; o->name; o++)
        if (strcmp(o->name, name) == 0)
            return o->fallback;
    og_fail(&b->g->error, OG_INTERNAL, "%s reads an option %s that its row does not name",
            b->type->name, name);
    return NULL;
}

int64_t og__model_int(og__building *b, const char *name, int64_t least, int64_t most)
{
    const char *text = og__model_text(b, name);
    int64_t value = text ? strtoll(text, NULL, 10) : least;
    if (value >= least && value <= most)
        return value;
    og__model_fail(b, "%s: %s is %" PRId64 ", expected %" PRId64 " to %" PRId64, b->type->name,
                   name, value, least, most);
    return least;
}

double og__model_float(og__building *b, const char *name, double least, double below)
{
    const char *text = og__model_text(b, name);
    double value = text ? strtod(text, NULL) : least;
    if (value >= least && value < below)
        return value;
    og__model_fail(b, "%s: %s is %g, expected at least %g and less than %g", b->type->name, name,
                   value, least, below);
    return least;
}

bool og__model_flag(og__building *b, const char *name)
{
    const char *text = og__model_text(b, name);
    return text && (strcmp(text, "on") == 0 || strcmp(text, "true") == 0 ||
                    strcmp(text, "yes") == 0 || strcmp(text, "1") == 0);
}

int og__model_sizes(og__building *b, const char *name, int64_t sizes[OG__MOST_SIZES])
{
    const char *text = og__model_text(b, name), *at = text ? text : "";
    char *end;
    int n = 0;
    while (n < OG__MOST_SIZES) {
        sizes[n] = strtoll(at, &end, 10);
        if (end == at || sizes[n] < 1 || sizes[n] > OG__MOST_SIZE)
            break;
        n++;
        if (!*end)
            return n;
        if (*end != ',')
            break;
        at = end + 1;
    }
    og__model_fail(b, "%s: %s is \"%s\", expected up to %d whole numbers from 1 to %d: N,N,...",
                   b->type->name, name, text ? text : "", OG__MOST_SIZES, OG__MOST_SIZE);
    return 0;
}

/* ---- names */

/* `name` in the scope, and `ending`. */
static const char *scoped(og__building *b, const char *name, const char *ending)
{
    const char *full = og_arena_printf(b->g->arena, "%s%s%s", b->scope, name, ending);
    if (!full)
        og_fail_memory(&b->g->error, strlen(name), "a name");
    return full ? full : "";
}

og__scope og__enter(og__building *b, const char *format, ...)
{
    char name[128];
    og__scope scope = {b->scope, b->g->n_nodes};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof(name), format, arguments);
    va_end(arguments);
    b->scope = scoped(b, name, ".");
    return scope;
}

/* Nodes made in the scope are called SCOPE/OP, the second SCOPE/OP_1 … */
void og__leave(og__building *b, og__scope scope)
{
    og_graph *g = b->g;
    int length = (int)strlen(b->scope) - 1;
    for (int i = scope.first_node; i < g->n_nodes; i++) {
        og_node *n = g->nodes[i];
        int earlier = 0;
        if (*n->name)
            continue;
        for (int k = scope.first_node; k < i; k++)
            earlier += g->nodes[k]->op == n->op;
        const char *slash = length > 0 ? "/" : "";
        char *name =
            earlier ? og_arena_printf(g->arena, "%.*s%s%s_%d", length, b->scope, slash, n->op->name,
                                      earlier)
                    : og_arena_printf(g->arena, "%.*s%s%s", length, b->scope, slash, n->op->name);
        if (name)
            n->name = name;
        else
            og_fail_memory(&g->error, 0, "a name");
    }
    b->scope = scope.outer;
}

/* ---- values */

og_val og__model_input(og__building *b, const char *name, og_dtype dtype, int rank,
                       const int64_t *dims)
{
    og_type type = {.dtype = dtype, .rank = rank, .dims = {OG__BATCH}};
    memcpy(&type.dims[1], dims, sizeof(int64_t) * (size_t)(rank - 1));
    return og__model_failed(b) ? OG_NONE : og_graph_add_input(b->g, name, &type);
}

void og__model_output(og__building *b, const char *name, og_val value)
{
    if (Has(value) && !og__model_failed(b))
        og_graph_add_output(b->g, name, value);
}

og_val og__model_weight(og__building *b, const char *name, int rank, const int64_t *dims,
                        og__init init)
{
    og_graph *g = b->g;
    og_type type = og_type_make(OG_FLOAT, rank, dims);
    const char *full = scoped(b, name, "");
    if (!og__model_failed(b) && og_type_bytes(&type) < 0)
        og__model_fail(b, "%s: \"%s\" would have more elements than can be counted", b->type->name,
                       full);
    og__weight *weights = og_arena_grow(g->arena, b->weights, (size_t)b->n_weights,
                                        &b->weights_capacity, sizeof(*weights));
    if (!weights) {
        og_fail_memory(&g->error, sizeof(*weights), "the list of weights");
        return OG_NONE;
    }
    if (og__model_failed(b))
        return OG_NONE;
    b->weights = weights;
    og_val v = og_graph_add_const(g, full, &type, NULL);
    if (Has(v))
        b->weights[b->n_weights++] = (og__weight){v.id, init};
    return v;
}
