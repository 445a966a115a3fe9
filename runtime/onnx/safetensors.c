/* Weights from a .safetensors file: a model without nodes, whose constants lie in the mapped file.
 * Only floating-point tensors are taken: others are counters of other programs. */
#include "runtime/base/safetensors.h"

#include <string.h>

#include "runtime/onnx/loader.h"

static og_status add_tensor(og_onnx *onnx, const og_safetensors *list, const og_safetensor *t,
                            og__names *known, og_error *error)
{
    const uint8_t *elements;
    size_t bytes;
    int index;
    OG_TRY(og_safetensor_place(list, t, &elements, &bytes, error));
    const char *name = og_arena_strdup(onnx->arena, t->name);
    og_type type = og_type_make(t->dtype, t->rank, t->dims);
    if (name && og__names_get(known, name, &index))
        return og_fail(error, OG_INVALID_MODEL, "there are two tensors \"%s\"", name);
    if (!name || !og__names_set(known, name, 0) ||
        !og_graph_add_const(onnx->graph, name, &type, elements).g)
        return og_fail_memory(error, sizeof(og_value), "the tensors' names");
    return OG_OK;
}

static og_status read_tensors(og_onnx *onnx, og_error *error)
{
    og_safetensors list;
    og_safetensor t;
    og__names known = og__names_in(onnx->arena);
    OG_TRY(og_safetensors_open(onnx->file.data, onnx->file.size, &list, error));
    for (bool more = true; more;) {
        OG_TRY(og_safetensors_next(&list, &t, &more, error));
        if (more && og_dtype_is_float(t.dtype))
            OG_TRY(add_tensor(onnx, &list, &t, &known, error));
    }
    return OG_OK;
}

static bool ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n > m && strcmp(path + n - m, ending) == 0;
}

/* By its content; a damaged one by its name. */
static bool is_safetensors(const char *path, const og__file *file)
{
    return file->data &&
           (ends_in(path, ".safetensors") || og_is_safetensors(file->data, file->size));
}

og_onnx *og_onnx_load_weights(const char *path, og_error *error)
{
    og_error own = {0};
    og__file file;
    og_status status = og__file_map(path, "model", INT64_MAX, &file, &own);
    if (status != OG_OK || !is_safetensors(path, &file)) {
        og__file_unmap(&file);
        og_error_clear(&own);
        return og_onnx_load(path, error); /* which says what is wrong */
    }
    og_onnx *onnx = og__onnx_new(&own);
    if (onnx) {
        onnx->file = file;
        onnx->external = og__external_new(NULL, NULL);
        status = onnx->external ? read_tensors(onnx, &own)
                                : og_fail_memory(&own, 0, "the tensors of a file");
        if (status == OG_OK)
            return onnx;
        og_onnx_free(onnx);
    } else {
        og__file_unmap(&file);
    }
    og_error_prefix(&own, "%s", path);
    og_error_move(error, &own);
    return NULL;
}
