/* Saving a loaded model: og__rewrite makes the pieces, og__sink the file. Where tensors go to
 * PATH.data, both files are complete on the disk before either takes its name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/onnx/rewrite.h"

/* Writing reads the mapped files again; what was written is given back on the way, so that saving
 * takes no more memory than training did. */
typedef struct writer {
    const og__rewrite *rewrite;
    const og_onnx *onnx;
    og_onnx_write_fn *write;
    void *user;
    int small;    /* pieces since the model file was given back */
    char *bounce; /* STRETCH bytes, where some weights are not the host's; else NULL */
} writer;

enum { STRETCH = 1 << 20, SMALL = 64 << 10, SMALL_PIECES = 16 };

/* How to read at this address, where the host cannot; NULL: it can. */
static og_onnx_read_fn *reader_of(const writer *w, const char *at, void **user)
{
    for (int i = 0; w->bounce && i < w->rewrite->n_weights; i++) {
        const og_onnx_weight *weight = &w->rewrite->weights[i];
        int index;
        if (!weight->read || at < (const char *)weight->data ||
            !og__names_get(&w->onnx->initializer_index, weight->name, &index))
            continue;
        if (at < (const char *)weight->data + og_type_bytes(&w->onnx->initializers[index].type)) {
            *user = weight->user;
            return weight->read;
        }
    }
    for (int i = 0; w->bounce && i < w->rewrite->n_states; i++) {
        const og_onnx_state *state = &w->rewrite->states[i];
        if (state->read && at >= (const char *)state->data &&
            at < (const char *)state->data + og_type_bytes(&state->type)) {
            *user = state->user;
            return state->read;
        }
    }
    return NULL;
}

static bool write_piece(void *user, const void *bytes, size_t size)
{
    writer *w = user;
    const char *at = bytes;
    void *from = NULL;
    og_onnx_read_fn *read = reader_of(w, at, &from);
    for (size_t n; size; at += n, size -= n) {
        n = size < STRETCH ? size : STRETCH;
        if (read && !read(from, w->bounce, at, n))
            return false;
        if (!w->write(w->user, read ? w->bounce : at, n))
            return false;
        if (read)
            continue;
        if (n >= SMALL)
            og_onnx_forget(w->onnx, at, n);
        else if (++w->small % SMALL_PIECES == 0)
            og__file_forget(&w->onnx->file, w->onnx->file.data, w->onnx->file.size);
    }
    return true;
}

/* false: out of memory, which the error says. */
static bool writer_to(writer *w, const og__rewrite *r, og_onnx_write_fn *write, void *user)
{
    bool remote = false;
    for (int i = 0; i < r->n_weights; i++)
        remote |= r->weights[i].read != NULL;
    for (int i = 0; i < r->n_states; i++)
        remote |= r->states[i].read != NULL;
    *w = (writer){.rewrite = r, .onnx = r->onnx, .write = write, .user = user};
    if (remote)
        w->bounce = og_arena_alloc(r->arena, STRETCH);
    if (remote && !w->bounce)
        og_fail_memory(r->error, STRETCH, "saving");
    return !remote || w->bounce;
}

bool og__rewrite_write(const og__rewrite *r, og_onnx_write_fn *write, void *user)
{
    writer w;
    return writer_to(&w, r, write, user) && og__out_write(&r->out, write_piece, &w);
}

bool og__rewrite_write_chunks(const og__rewrite *r, og_onnx_write_fn *write, void *user)
{
    static const uint8_t zeros[4096];
    uint64_t at = 0;
    writer w;
    if (!writer_to(&w, r, write, user))
        return false;
    for (int i = 0; i < r->n_chunks; i++) {
        const og__chunk *c = &r->chunks[i];
        if (!write(user, zeros, (size_t)(c->offset - at)) ||
            !write_piece(&w, c->data, (size_t)c->size))
            return false;
        at = c->offset + c->size;
    }
    return true;
}

static og_status write_files(const og__rewrite *r, const char *path, const char *data_path)
{
    og__sink model, data = {.fd = -1};
    og_status status = og__sink_open(&model, path, r->error);
    if (status != OG_OK)
        goto cleanup;
    if (r->n_chunks && !model.temporary) {
        status =
            og_fail(r->error, OG_UNSUPPORTED,
                    "\"%s\" is no regular file, so external data has no place beside it", path);
        goto cleanup;
    }
    if (r->n_chunks) {
        OG_TRY_CLEANUP(og__sink_open(&data, data_path, r->error));
        if (!og__rewrite_write_chunks(r, og__sink_write, &data)) {
            status = r->error->status;
            goto cleanup;
        }
        OG_TRY_CLEANUP(og__sink_finish(&data));
    }
    if (!og__rewrite_write(r, og__sink_write, &model)) {
        status = OG_IO_ERROR;
        goto cleanup;
    }
    OG_TRY_CLEANUP(og__sink_finish(&model));
    if (r->n_chunks)
        OG_TRY_CLEANUP(og__sink_commit(&data));
    status = og__sink_commit(&model);
cleanup:
    og__sink_abandon(&model);
    og__sink_abandon(&data);
    return status;
}

static uint64_t tensor_bytes(const og_onnx *onnx)
{
    uint64_t total = 0;
    for (int i = 0; i < onnx->n_initializers; i++)
        total += (uint64_t)og_type_bytes(&onnx->initializers[i].type);
    return total;
}

/* Above `external_above` bytes of tensors (0: never), or where it must be, tensors go to PATH.data.
 */
static og_status save(og__rewrite *r, const char *path, uint64_t external_above)
{
    og_status status = OG_OK;
    size_t n = strlen(path) + sizeof(".data");
    char *data_path = malloc(n);
    r->arena = og_arena_new();
    if (!r->arena || !data_path) {
        status = og_fail_memory(r->error, n, "saving");
        goto cleanup;
    }
    snprintf(data_path, n, "%s.data", path);
    bool single = external_above == OG_ONNX_SINGLE;
    if (external_above && tensor_bytes(r->onnx) > external_above)
        r->location = og__path_base(data_path);
    OG_TRY_CLEANUP(og__rewrite_run(r));
    if (r->out.size > INT32_MAX && single) {
        status = og_fail(r->error, OG_UNSUPPORTED,
                         "the model has %llu bytes in a single file, ONNX files end at 2 GiB",
                         (unsigned long long)r->out.size);
        goto cleanup;
    }
    if (r->out.size > INT32_MAX && !r->location) {
        r->location = og__path_base(data_path);
        OG_TRY_CLEANUP(og__rewrite_run(r));
    }
    if (r->out.size > INT32_MAX) {
        status =
            og_fail(r->error, OG_UNSUPPORTED,
                    "the model has %llu bytes even without its tensors, ONNX files end at 2 GiB",
                    (unsigned long long)r->out.size);
        goto cleanup;
    }
    status = write_files(r, path, data_path);
cleanup:
    free(data_path);
    og_arena_free(r->arena);
    return status;
}

og_status og_onnx_save(const og_onnx *onnx, const char *path, const og_onnx_weight *weights,
                       int n_weights, const og_metadata *metadata, int n_metadata,
                       uint64_t external_above, og_error *error)
{
    og__rewrite r = {.onnx = onnx,
                     .weights = weights,
                     .n_weights = n_weights,
                     .metadata = metadata,
                     .n_metadata = n_metadata,
                     .error = error};
    return save(&r, path, external_above);
}

og_status og_onnx_save_as_is(const og_onnx *onnx, const char *path, uint64_t external_above,
                             og_error *error)
{
    og__rewrite r = {.onnx = onnx, .training = true, .error = error};
    return save(&r, path, external_above);
}

og_status og_onnx_write(const og_onnx *onnx, og_onnx_write_fn *write, void *user,
                        const og_onnx_weight *weights, int n_weights, const og_metadata *metadata,
                        int n_metadata, og_error *error)
{
    og_arena *arena = og_arena_new();
    if (!arena)
        return og_fail_memory(error, 0, "saving");
    og__rewrite r = {.onnx = onnx,
                     .arena = arena,
                     .weights = weights,
                     .n_weights = n_weights,
                     .metadata = metadata,
                     .n_metadata = n_metadata,
                     .error = error};
    og_status status = og__rewrite_run(&r);
    if (status == OG_OK && r.out.size > INT32_MAX)
        status = og_fail(
            error, OG_UNSUPPORTED,
            "the model has %llu bytes, more than 2 GiB need external data: save it to a path",
            (unsigned long long)r.out.size);
    if (status == OG_OK && !og__rewrite_write(&r, write, user))
        status = og_fail(error, OG_IO_ERROR, "the callback refused the model's bytes");
    og_arena_free(arena);
    return status;
}
