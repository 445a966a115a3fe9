/* What is trained: the parameters of the exporter's signature if the file carries one, and what its
 * optimizer computed from them (a transposed weight); else named float initializers that are not
 * running statistics; the user's globs on top. */
#include <stdlib.h>
#include <string.h>

#include "runtime/passes/passes.h"

#define SIGNATURE "pkg.torch.export.ExportedProgram.graph_signature"

/* Does the signature list PARAMETER target='name'? Its lines read  p_w: PARAMETER target='w'. */
static bool signature_has(const char *signature, const char *kind, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = signature; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *end = strchr(line, '\n');
        const char *at = strstr(line, kind);
        if (!at || (end && at > end))
            continue;
        const char *target = strstr(at, "target='");
        if (target && (!end || target < end) && strncmp(target + 8, name, n) == 0 &&
            target[8 + n] == '\'')
            return true;
    }
    return false;
}

/* Was the initializer computed from a PARAMETER of the signature? */
static bool folded_from_parameter(const char *signature, const og_value *v)
{
    char name[512];
    const char *at = v->folded_from;
    while (og_next_quoted(&at, name, sizeof(name)))
        if (*name && signature_has(signature, "PARAMETER", name))
            return true;
    return false;
}

/* Inputs 3 and 4 of BatchNormalization, whatever else reads them. */
static void mark_statistics(const og_graph *g, bool *statistic)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        if (!og_op_is(n->op, NULL, "BatchNormalization"))
            continue;
        for (int k = 3; k < 5 && k < n->n_in; k++)
            if (n->in[k] >= 0)
                statistic[n->in[k]] = true;
    }
}

/* Initializers of one element that are read as exponents alone: tools that export x² and the like
 * as Pow leave such constants behind, and their gradient is NaN where the base is negative. */
static void mark_exponents(const og_graph *g, bool *exponent)
{
    for (int pass = 0; pass < 2;
         pass++) /* what a Pow reads; then, without what is read otherwise */
        for (int i = 0; i < g->n_nodes; i++) {
            const og_node *n = g->nodes[i];
            bool power = og_op_is(n->op, NULL, "Pow");
            for (int k = 0; k < n->n_in; k++) {
                bool is_exponent = power && k == 1;
                if (n->in[k] >= 0 && is_exponent == (pass == 0))
                    exponent[n->in[k]] =
                        is_exponent && og_type_elements(&g->values[n->in[k]]->type) == 1;
            }
        }
}

int og_folded_norms(const og_graph *g, char first[128])
{
    static const char kind[] = "BUFFER target='", suffix[] = ".running_mean'";
    const char *signature = og_graph_metadata(g, SIGNATURE);
    int n = 0;
    for (const char *at = signature; at && (at = strstr(at, kind)) != NULL;) {
        at += sizeof(kind) - 1;
        size_t length = strcspn(at, "'\n"), tail = sizeof(suffix) - 2;
        if (at[length] != '\'' || length <= tail || length >= 128 ||
            strncmp(at + length - tail, suffix, tail + 1) != 0)
            continue;
        bool present = false;
        for (int i = 0; i < g->n_values && !present; i++)
            present = strncmp(g->values[i]->name, at, length) == 0 && !g->values[i]->name[length];
        if (!present && n++ == 0) {
            memcpy(first, at, length - tail);
            first[length - tail] = 0;
        }
    }
    return n;
}

/* ---- the user's globs */

/* A list of options, and which of them has matched anything. */
typedef struct list {
    const char *option;
    og_globs globs;
    bool *hit;
} list;

typedef struct lists {
    const og_rules *rules;
    list trainable, freeze, freeze_bn, lr_scale, no_decay;
} lists;

static bool matches(const list *l, const char *name)
{
    bool any = false;
    for (int i = 0; i < l->globs.n; i++)
        if (og_glob_match(l->globs.items[i], name))
            any = l->hit[i] = true;
    return any;
}

static bool is_among(const char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

const char *og_nearest_initializer(const og_graph *g, const char *glob)
{
    const char *nearest = NULL;
    int best = 4 + (int)strlen(glob) / 2;
    for (int i = 0; i < g->n_values; i++) {
        const og_value *v = g->values[i];
        if (v->kind != OG_VALUE_CONST || !*v->name || !og_dtype_is_float(v->type.dtype))
            continue;
        int distance = og_edit_distance(glob, v->name);
        if (distance < best) {
            best = distance;
            nearest = v->name;
        }
    }
    return nearest;
}

static og_status check_hits(const og_graph *g, const list *l, const char *what, og_error *error)
{
    for (int i = 0; i < l->globs.n; i++) {
        if (l->hit[i])
            continue;
        const char *nearest = og_nearest_initializer(g, l->globs.items[i]);
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "--%s \"%s\" matches no %s%s%s%s; `ongrad check` lists their names",
                       l->option, l->globs.items[i], what, nearest ? "; the nearest is \"" : "",
                       nearest ? nearest : "", nearest ? "\"" : "");
    }
    return OG_OK;
}

/* An initializer that is trained by default, under the globs. */
static void narrow(og_param *p, const lists *o)
{
    const og_rules *r = o->rules;
    bool named = o->trainable.globs.n && matches(&o->trainable, p->name);
    if (r->n_adapters && !*p->prefix && !named && !is_among(r->fresh, r->n_fresh, p->name)) {
        p->trained = false;
        p->reason = "--lora trains adapters beside it";
    } else if (o->trainable.globs.n && !named && !r->n_adapters) {
        p->trained = false;
        p->reason = "not matched by --trainable";
    }
    if (matches(&o->freeze, p->name) && p->trained) {
        p->trained = false;
        p->reason = "--freeze";
    }
}

/* "GLOB=X": the glob, and X; false: it has not that form. */
static bool split_scale(const char *text, char glob[256], double *x)
{
    const char *equals = strrchr(text, '=');
    char *end;
    if (!equals || equals == text || equals - text >= 256)
        return false;
    memcpy(glob, text, (size_t)(equals - text));
    glob[equals - text] = 0;
    *x = strtod(equals + 1, &end);
    return end != equals + 1 && !*end && *x >= 0 && *x <= 1e6;
}

/* How it is trained: by the first that names it. */
static void set_rates(og_param *p, const lists *o)
{
    bool found = false;
    p->lr_scale = 1;
    for (int i = 0; i < o->lr_scale.globs.n; i++) {
        char glob[256];
        double x;
        if (!split_scale(o->lr_scale.globs.items[i], glob, &x) || !og_glob_match(glob, p->name))
            continue;
        o->lr_scale.hit[i] = true;
        if (!found)
            p->lr_scale = x;
        found = true;
    }
    p->no_decay = matches(&o->no_decay, p->name);
}

/* Is it said of this node, by its name or one of its parameters, that it is frozen? */
static bool is_frozen_norm(const og_graph *g, const og_node *n, const char *prefix, const lists *o)
{
    const list *l = &o->freeze_bn;
    bool frozen = false;
    for (int i = 0; i < l->globs.n && !*prefix; i++)
        if (strcmp(l->globs.items[i], "all") == 0)
            frozen = l->hit[i] = true;
    frozen |= !*prefix && matches(l, n->name);
    for (int k = 1; k < n->n_in && k < 5 && !*prefix; k++)
        frozen |=
            n->in[k] >= 0 && *g->values[n->in[k]]->name && matches(l, g->values[n->in[k]]->name);
    return frozen;
}

/* By value: statistics that frozen nodes read. */
static void mark_frozen(const og_graph *g, const char *prefix, const lists *o, bool *frozen)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        if (!og_op_is(n->op, NULL, "BatchNormalization") || !is_frozen_norm(g, n, prefix, o))
            continue;
        for (int k = 3; k < 5 && k < n->n_in; k++)
            if (n->in[k] >= 0)
                frozen[n->in[k]] = true;
    }
}

/* Appends the float initializers of one part to params, which has room. */
static og_status classify_part(const og_part *part, int number, const lists *o, og_arena *arena,
                               og_params *params, og_error *error)
{
    const og_graph *g = part->graph;
    const og_rules *rules = o->rules;
    size_t n_values = (size_t)g->n_values + 1;
    bool *statistic = og_arena_array(arena, n_values, sizeof(bool));
    bool *frozen = og_arena_array(arena, n_values, sizeof(bool));
    bool *used = og_arena_array(arena, n_values, sizeof(bool));
    bool *exponent = og_arena_array(arena, n_values, sizeof(bool));
    if (!statistic || !frozen || !used || !exponent)
        return og_fail_memory(error, n_values, "the list of parameters");
    mark_statistics(g, statistic);
    mark_frozen(g, part->prefix, o, frozen);
    mark_exponents(g, exponent);
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i]->n_in; k++)
            if (g->nodes[i]->in[k] >= 0)
                used[g->nodes[i]->in[k]] = true;

    const char *signature = og_graph_metadata(g, SIGNATURE);
    bool signature_helps = false; /* an optimizing exporter may have renamed everything */
    for (int i = 0; signature && i < g->n_values; i++)
        signature_helps |= g->values[i]->kind == OG_VALUE_CONST && *g->values[i]->name &&
                           (signature_has(signature, "PARAMETER", g->values[i]->name) ||
                            folded_from_parameter(signature, g->values[i]));

    for (int i = 0; i < g->n_values; i++) {
        const og_value *v = g->values[i];
        if (v->kind != OG_VALUE_CONST || !*v->name || !og_dtype_is_float(v->type.dtype))
            continue;
        og_param p = {.value = part->map ? part->map[i] : i,
                      .part = number,
                      .type = &v->type,
                      .prefix = part->prefix,
                      .name = v->name};
        if (*part->prefix && !(p.name = og_arena_printf(arena, "%s%s", part->prefix, v->name)))
            return og_fail_memory(error, strlen(v->name), "the list of parameters");
        if (frozen[i]) {
            p.reason = "running statistic that --freeze_bn keeps as it is";
        } else if (statistic[i]) {
            p.buffer = true;
            p.reason = "running statistic of a BatchNormalization";
        } else if (!used[i]) {
            p.reason = "no node reads it";
        } else if (v->type.dtype != OG_FLOAT && v->type.dtype != OG_DOUBLE) {
            p.reason =
                "stored in reduced precision; only float32 and float64 parameters are trained";
        } else if (!*part->prefix && is_among(rules->adapters, rules->n_adapters, v->name)) {
            p.trained = !matches(&o->freeze, p.name);
            p.reason = p.trained ? "a low-rank adapter" : "--freeze";
        } else if (signature_helps && folded_from_parameter(signature, v)) {
            p.trained = true;
            p.reason = "computed by the exporter from a parameter of its signature";
            narrow(&p, o);
        } else if (signature_helps && !signature_has(signature, "PARAMETER", v->name)) {
            p.reason = "not among the parameters of the exporter's signature";
        } else if (exponent[i] && !signature_helps && !o->trainable.globs.n) {
            p.reason = "the exponent of a Pow; --trainable trains it";
        } else {
            p.trained = true;
            p.reason =
                signature_helps ? "a parameter of the exporter's signature" : "a float initializer";
            narrow(&p, o);
        }
        set_rates(&p, o);
        params->items[params->n++] = p;
    }
    return OG_OK;
}

static og_status check_scales(const og_globs *scales, og_error *error)
{
    char glob[256];
    double x;
    for (int i = 0; i < scales->n; i++)
        if (!split_scale(scales->items[i], glob, &x))
            return og_fail(error, OG_INVALID_ARGUMENT,
                           "option lr_scale is \"%s\", expected GLOB=X with X from 0 to 1e6, such "
                           "as backbone.*=0.1",
                           scales->items[i]);
    return OG_OK;
}

og_status og_classify(const og_part *parts, int n_parts, const og_rules *rules, og_arena *arena,
                      og_params *params, og_error *error)
{
    size_t n_values = 1;
    for (int i = 0; i < n_parts; i++)
        n_values += (size_t)parts[i].graph->n_values;
    lists o = {.rules = rules,
               .trainable = {"trainable", rules->trainable, NULL},
               .freeze = {"freeze", rules->freeze, NULL},
               .freeze_bn = {"freeze_bn", rules->freeze_bn, NULL},
               .lr_scale = {"lr_scale", rules->lr_scale, NULL},
               .no_decay = {"no_decay", rules->no_decay, NULL}};
    list *const all[] = {&o.trainable, &o.freeze, &o.freeze_bn, &o.lr_scale, &o.no_decay};
    params->n = 0;
    params->items = og_arena_array(arena, n_values, sizeof(og_param));
    bool memory = params->items != NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        all[i]->hit = og_arena_array(arena, (size_t)all[i]->globs.n + 1, sizeof(bool));
        memory &= all[i]->hit != NULL;
    }
    if (!memory)
        return og_fail_memory(error, n_values * sizeof(og_param), "the list of parameters");
    OG_TRY(check_scales(&rules->lr_scale, error));
    for (int i = 0; i < n_parts; i++)
        OG_TRY(classify_part(&parts[i], i, &o, arena, params, error));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        OG_TRY(check_hits(parts[0].graph, all[i],
                          all[i] == &o.freeze_bn ? "BatchNormalization" : "trainable tensor",
                          error));
    return OG_OK;
}
