/* A session's model in another form. It is saved as it is to a file of its own beside the path,
 * which is read again and written in the other form: weights need not be in memory twice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/train/train.h"

/* "NAME=N" or "NAME=OTHER" */
static og_status parse_dim(og_session *s, const char *text, og_onnx_dim *dim)
{
    const char *equals = strchr(text, '=');
    char *end = NULL;
    long long length = equals ? strtoll(equals + 1, &end, 10) : 0;
    bool number = equals && end != equals + 1 && !*end;
    if (!equals || equals == text || !equals[1] || (number && length < 1))
        return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                       "dim \"%s\": expected NAME=N with N of at least 1, or NAME=OTHER", text);
    char *name = og_arena_strndup(s->arena, text, (size_t)(equals - text));
    *dim = (og_onnx_dim){
        .name = name, .other = number ? NULL : equals + 1, .length = number ? length : 0};
    return name ? OG_OK : og_fail_memory(&s->context->error, strlen(text), "a dim");
}

/* By value of the model's graph, as its inputs' shapes make them. */
static og_dtype *find_dtypes(og_session *s, const og_onnx *onnx, og_arena *arena)
{
    const og_graph *g = og_onnx_graph(onnx);
    size_t n = (size_t)g->n_values + 1;
    int *values = og_arena_array(arena, n, sizeof(*values));
    og_dtype *dtypes = og_arena_array(arena, n, sizeof(*dtypes));
    og_binding binding = {
        .inputs = s->inputs, .baked_batch = s->baked_batch, .batch = s->batch, .values = values};
    og_graph *typed = NULL;
    if (values && dtypes)
        typed = og_pass_infer(g, &binding, og_eager_evaluator(s->context->host), arena);
    if (!values || !dtypes || !typed) {
        og_fail_memory(&s->context->error, n * sizeof(*values), "an export");
        return NULL;
    }
    if (og_error_move(&s->context->error, &typed->error) != OG_OK)
        return NULL;
    for (int i = 0; i < g->n_values; i++)
        dtypes[i] = values[i] >= 0 ? typed->values[values[i]]->type.dtype : OG_UNDEFINED;
    return dtypes;
}

/* `made` in place of *onnx, which it owns; NULL: an error, and *onnx stays. */
static og_status take(og_session *s, og_onnx **onnx, og_onnx *made)
{
    *onnx = made ? made : *onnx;
    return made ? OG_OK : s->context->error.status;
}

static og_status reform(og_session *s, og_onnx **onnx, const og_export *how, og_arena *arena)
{
    og_error *error = &s->context->error;
    og_onnx_dim *dims = og_arena_array(s->arena, (size_t)how->n_dims + 1, sizeof(*dims));
    if (!dims)
        return og_fail_memory(error, sizeof(*dims), "an export");
    for (int i = 0; i < how->n_dims; i++)
        OG_TRY(parse_dim(s, how->dims[i], &dims[i]));
    if (how->opset && how->opset != og_onnx_opset(*onnx))
        OG_TRY(take(s, onnx, og_onnx_at_opset(*onnx, how->opset, error)));
    og_onnx_form form = {.dims = dims, .n_dims = how->n_dims};
    if (how->half == OG_FLOAT16)
        form.dtypes = find_dtypes(s, *onnx, arena);
    if (error->status == OG_OK && (form.n_dims || form.dtypes))
        OG_TRY(take(s, onnx, og_onnx_formed(*onnx, &form, error)));
    return error->status;
}

static og_status export_through(og_session *s, const char *path, const char *between,
                                const og_export *how)
{
    og_error *error = &s->context->error;
    OG_TRY(og__session_save(s, between, OG__EXTERNAL_ABOVE));
    og_onnx *onnx = og_onnx_load(between, error);
    og_arena *arena = og_arena_new();
    if (onnx && !arena)
        og_fail_memory(error, 64, "an export");
    if (onnx && arena && reform(s, &onnx, how, arena) == OG_OK)
        og_onnx_save(onnx, path, NULL, 0, NULL, 0,
                     how->single_file ? OG_ONNX_SINGLE : OG__EXTERNAL_ABOVE, error);
    og_onnx_free(onnx);
    og_arena_free(arena);
    return error->status;
}

og_status og_session_export(og_session *s, const char *path, const og_export *how)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    if (how->half != OG_UNDEFINED && how->half != OG_FLOAT16)
        return og_fail(error, OG_INVALID_ARGUMENT, "models are written in float16 or as they are");
    if (!how->n_dims && !how->opset && how->half == OG_UNDEFINED)
        return og__session_save(s, path, how->single_file ? OG_ONNX_SINGLE : OG__EXTERNAL_ABOVE);
    size_t n = strlen(path) + 64;
    char *between = malloc(n), *data = malloc(n + sizeof ".data");
    og_status status = between && data ? OG_OK : og_fail_memory(error, n, "an export");
    if (status == OG_OK) {
        snprintf(between, n, "%s.%ld.between.tmp", path, (long)getpid());
        snprintf(data, n + sizeof ".data", "%s.data", between);
        status = export_through(s, path, between, how);
        unlink(between);
        unlink(data);
    }
    free(between);
    free(data);
    return status;
}
