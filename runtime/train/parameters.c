/* Parameters and running statistics, by name and as a whole model. */
#include <stdlib.h>
#include <string.h>

#include "runtime/device/transfer.h"
#include "runtime/train/train.h"

/* The storage of a parameter or buffer; its size checked. -1 on error. */
static int find_parameter(og_session *s, const char *name, size_t bytes)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    if (og__session_has_memory(s) != OG_OK)
        return -1;
    for (int i = 0; i < s->storages.n; i++) {
        const og_storage *st = &s->storages.items[i];
        if ((st->kind != OG_STORAGE_PARAMETER && st->kind != OG_STORAGE_BUFFER) ||
            strcmp(st->name, name) != 0)
            continue;
        if (bytes == (size_t)og_type_bytes(&st->type))
            return i;
        og_fail(error, OG_INVALID_ARGUMENT, "parameter \"%s\" has %lld bytes, the buffer %zu", name,
                (long long)og_type_bytes(&st->type), bytes);
        return -1;
    }
    og_fail(error, OG_INVALID_ARGUMENT, "there is no trained parameter or running statistic \"%s\"",
            name);
    return -1;
}

og_status og_session_get_parameter(og_session *s, const char *name, void *data, size_t bytes)
{
    int i = find_parameter(s, name, bytes);
    if (i < 0)
        return s->context->error.status;
    return og_device_download(s->context->device, data, og__state_at(s, i), bytes,
                              &s->context->error);
}

og_status og_session_set_parameter(og_session *s, const char *name, const void *data, size_t bytes)
{
    int i = find_parameter(s, name, bytes);
    if (i < 0)
        return s->context->error.status;
    og_device *d = s->context->device;
    og_error *error = &s->context->error;
    OG_TRY(og_device_upload(d, og__state_at(s, i), data, bytes, error));
    for (int k = 0; k < s->storages.n; k++)
        if (s->storages.items[k].kind == OG_STORAGE_STAGED && s->storages.items[k].of == i)
            OG_TRY(og_device_upload(d, og__state_at(s, k), data, bytes, error));
    OG_TRY(og__set_average(s, i, data));
    og__weights_changed(s);
    return og__renew_half_copies(s, i);
}

static bool read_state(void *user, void *to, const void *from, size_t bytes)
{
    og_session *s = user;
    return og_device_download(s->context->device, to, from, bytes, &s->context->error) == OG_OK;
}

/* The trained tensors and running statistics of one part, under the names they have in its file. */
static og_status save(og_session *s, int part, const og_onnx *onnx, const char *path,
                      uint64_t external_above, og_write_fn *write, void *user)
{
    og_error *error = &s->context->error;
    int n = 0;
    OG_TRY(og__session_has_memory(s));
    /* Merged, adapters are no part of the model. */
    const og_model *model = s->model;
    bool merges = part == 0 && model->n_adapters && !model->keeps_adapters;
    og__merges *merged = NULL;
    size_t most = (size_t)s->params.n + (size_t)model->n_adapters + 1;
    og_onnx_weight *weights = calloc(most, sizeof(*weights));
    if (!weights)
        return og_fail_memory(error, sizeof(*weights), "saving");
    if (merges)
        onnx = model->unadapted;
    if (part == 0 && og__trains_itself(model))
        onnx = model->own_base;
    for (int i = 0; i < s->params.n; i++) {
        const og_param *p = &s->params.items[i];
        int storage = s->storage_of[p->value];
        bool of_model = p->trained || p->buffer;
        if (p->part == part && storage >= 0 && of_model &&
            !(merges && og__is_adapted(model, p->name)))
            weights[n++] = (og_onnx_weight){.name = p->name + strlen(p->prefix),
                                            .data = og__state_at(s, storage),
                                            .read = s->context->device->remote ? read_state : NULL,
                                            .user = s};
    }
    const og_metadata *metadata = part == 0 ? s->model->metadata : NULL;
    int n_metadata = part == 0 ? s->model->n_metadata : 0;
    og_status status = merges ? og__merges_begin(s, &merged, weights, &n) : OG_OK;
    if (status == OG_OK)
        status =
            path ? og_onnx_save(onnx, path, weights, n, metadata, n_metadata, external_above, error)
                 : og_onnx_write(onnx, write, user, weights, n, metadata, n_metadata, error);
    og__merges_free(merged);
    free(weights);
    return status;
}

og_status og__session_save(og_session *s, const char *path, uint64_t external_above)
{
    return save(s, 0, s->model->onnx, path, external_above, NULL, NULL);
}

og_status og_session_save(og_session *s, const char *path)
{
    og__context_begin(s->context);
    return og__session_save(s, path, OG__EXTERNAL_ABOVE);
}

og_status og_session_save_to(og_session *s, og_write_fn *write, void *user)
{
    og__context_begin(s->context);
    return save(s, 0, s->model->onnx, NULL, 0, write, user);
}

og_status og_session_save_loss(og_session *s, int index, const char *path)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    int part = 0;
    for (int i = 0; i <= index && i < s->losses.n; i++)
        part += s->losses.sources[i].path != NULL;
    if (index < 0 || index >= s->losses.n || !s->losses.sources[index].path)
        return og_fail(error, OG_INVALID_ARGUMENT, "loss %d is not a model", index);
    return save(s, part, s->losses.sources[index].onnx, path, OG__EXTERNAL_ABOVE, NULL, NULL);
}
