/* What is trained: the parameters of the exporter's signature if the file carries one, and what its
 * optimizer computed from them (a transposed weight); else named float initializers that are not
 * running statistics; the user's globs on top. */
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

static bool matches(const char *const *globs, int n, const char *name, bool *hit)
{
    bool any = false;
    for (int i = 0; i < n; i++)
        if (og_glob_match(globs[i], name))
            any = hit[i] = true;
    return any;
}

static og_status check_hits(const char *option, const char *const *globs, const bool *hit, int n,
                            og_error *error)
{
    for (int i = 0; i < n; i++)
        if (!hit[i])
            return og_fail(
                error, OG_INVALID_ARGUMENT,
                "--%s \"%s\" matches no trainable tensor; `ongrad check` lists their names", option,
                globs[i]);
    return OG_OK;
}

/* Globs of the options, and whether each has matched anything. */
typedef struct globs {
    const char *const *trainable, *const *freeze;
    int n_trainable, n_freeze;
    bool *hit_trainable, *hit_freeze;
} globs;

/* An initializer that is trained by default, under the globs. */
static void narrow(og_param *p, const globs *o)
{
    if (o->n_trainable && !matches(o->trainable, o->n_trainable, p->name, o->hit_trainable)) {
        p->trained = false;
        p->reason = "not matched by --trainable";
    }
    if (p->trained && matches(o->freeze, o->n_freeze, p->name, o->hit_freeze)) {
        p->trained = false;
        p->reason = "--freeze";
    }
}

/* Appends the float initializers of one part to params, which has room. */
static og_status classify_part(const og_part *part, int number, const globs *o, og_arena *arena,
                               og_params *params, og_error *error)
{
    const og_graph *g = part->graph;
    size_t n_values = (size_t)g->n_values + 1;
    bool *statistic = og_arena_array(arena, n_values, sizeof(bool));
    bool *used = og_arena_array(arena, n_values, sizeof(bool));
    bool *exponent = og_arena_array(arena, n_values, sizeof(bool));
    if (!statistic || !used || !exponent)
        return og_fail_memory(error, n_values, "the list of parameters");
    mark_statistics(g, statistic);
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
        if (statistic[i]) {
            p.buffer = true;
            p.reason = "running statistic of a BatchNormalization";
        } else if (!used[i]) {
            p.reason = "no node reads it";
        } else if (v->type.dtype != OG_FLOAT && v->type.dtype != OG_DOUBLE) {
            p.reason =
                "stored in reduced precision; only float32 and float64 parameters are trained";
        } else if (signature_helps && folded_from_parameter(signature, v)) {
            p.trained = true;
            p.reason = "computed by the exporter from a parameter of its signature";
        } else if (signature_helps && !signature_has(signature, "PARAMETER", v->name)) {
            p.reason = "not among the parameters of the exporter's signature";
        } else if (exponent[i] && !signature_helps && !o->n_trainable) {
            p.reason = "the exponent of a Pow; --trainable trains it";
        } else {
            p.trained = true;
            p.reason =
                signature_helps ? "a parameter of the exporter's signature" : "a float initializer";
            narrow(&p, o);
        }
        params->items[params->n++] = p;
    }
    return OG_OK;
}

og_status og_classify(const og_part *parts, int n_parts, const char *const *trainable,
                      int n_trainable, const char *const *freeze, int n_freeze, og_arena *arena,
                      og_params *params, og_error *error)
{
    size_t n_values = 1;
    for (int i = 0; i < n_parts; i++)
        n_values += (size_t)parts[i].graph->n_values;
    globs o = {.trainable = trainable,
               .freeze = freeze,
               .n_trainable = n_trainable,
               .n_freeze = n_freeze,
               .hit_trainable = og_arena_array(arena, (size_t)n_trainable + 1, sizeof(bool)),
               .hit_freeze = og_arena_array(arena, (size_t)n_freeze + 1, sizeof(bool))};
    params->n = 0;
    params->items = og_arena_array(arena, n_values, sizeof(og_param));
    if (!params->items || !o.hit_trainable || !o.hit_freeze)
        return og_fail_memory(error, n_values * sizeof(og_param), "the list of parameters");
    for (int i = 0; i < n_parts; i++)
        OG_TRY(classify_part(&parts[i], i, &o, arena, params, error));
    OG_TRY(check_hits("trainable", trainable, o.hit_trainable, n_trainable, error));
    return check_hits("freeze", freeze, o.hit_freeze, n_freeze, error);
}
