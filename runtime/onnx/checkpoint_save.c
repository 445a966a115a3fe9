/* Writing a checkpoint (checkpoint.h) so that at every moment a whole one lies at its path:
 * external data first, under a name of its own; then the model in a temporary file, brought to the
 * disk; then a link keeps the old model, and the new one takes its name. Data files that no
 * checkpoint names any more go last. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/checksum.h"
#include "runtime/onnx/algorithm.h"
#include "runtime/onnx/checkpoint_file.h"
#include "runtime/onnx/fields.h"
#include "runtime/onnx/rewrite.h"

enum { ATTR_IS_TENSOR = 4 };

typedef struct saver {
    og__rewrite r;
    const og_onnx_checkpoint *c;
    const char *path;
    char *data_path; /* of external data; NULL: none */
    og__out training;
} saver;

static og_status no_memory(const saver *s)
{
    return og_fail_memory(s->r.error, 0, "a checkpoint");
}

/* ---- the training information */

static og_status put_state(saver *s, og__out *graph, const og_onnx_state *state)
{
    og__out tensor = og__out_in(s->r.arena);
    for (int i = 0; i < state->type.rank; i++)
        og__out_varint(&tensor, TENSOR_DIMS, (uint64_t)state->type.dims[i]);
    og__out_varint(&tensor, TENSOR_TYPE, state->type.dtype);
    og__out_text(&tensor, TENSOR_NAME, state->name);
    const og_const c = {state->type, state->data};
    OG_TRY(og__rewrite_put_data(&s->r, &tensor, &c));
    og__out_message(graph, GRAPH_INITIALIZER, &tensor);
    return OG_OK;
}

/* The algorithm's nodes and bindings go to *graph and s->training; where they cannot be said, why
 * not. */
static og_status put_algorithm(saver *s, og__out *graph)
{
    const og_onnx_checkpoint *c = s->c;
    og_error why = {0};
    og__out nodes = og__out_in(s->r.arena), bindings = nodes;
    og_status status = OG_UNSUPPORTED;
    if (c->algorithm)
        status = og__algorithm_write(s->r.onnx, c->algorithm, c->names, s->r.arena, &nodes,
                                     &bindings, &why);
    if (status == OG_OK) {
        for (size_t i = 0; i < nodes.n; i++)
            og__out_raw(graph, nodes.pieces[i].bytes, nodes.pieces[i].size);
        for (size_t i = 0; i < bindings.n; i++)
            og__out_raw(&s->training, bindings.pieces[i].bytes, bindings.pieces[i].size);
    } else if (status == OG_UNSUPPORTED) {
        og_text doc = {0};
        og_text_printf(&doc, "states alone: %s",
                       why.status != OG_OK ? og_error_text(&why)
                       : c->why            ? c->why
                                           : "the step cannot be written in standard ops");
        if (doc.s)
            og__out_text(graph, GRAPH_DOC, doc.s);
        og_text_free(&doc);
        status = OG_OK;
    } else {
        og_error_move(s->r.error, &why);
    }
    og_error_clear(&why);
    return status;
}

/* A Constant of a tensor with this data. */
static void put_constant(saver *s, og__out *graph, const char *name, const og_type *type,
                         const void *data)
{
    og__out tensor = og__out_in(s->r.arena), attribute = tensor, node = tensor;
    const og_const c = {*type, data};
    for (int i = 0; i < type->rank; i++)
        og__out_varint(&tensor, TENSOR_DIMS, (uint64_t)type->dims[i]);
    og__out_varint(&tensor, TENSOR_TYPE, type->dtype);
    og__out_bytes(&tensor, 9, c.data, (size_t)og_type_bytes(type));
    og__out_text(&attribute, ATTR_NAME, "value");
    og__out_message(&attribute, ATTR_T, &tensor);
    og__out_varint(&attribute, ATTR_TYPE, ATTR_IS_TENSOR);
    og__out_text(&node, NODE_OUTPUT, name);
    og__out_text(&node, NODE_OP, "Constant");
    og__out_message(&node, NODE_ATTRIBUTE, &attribute);
    og__out_message(graph, GRAPH_NODE, &node);
}

static void put_type(const saver *s, og__out *value, const og_type *type)
{
    og__out shape = og__out_in(s->r.arena), tensor = shape, outer = shape;
    for (int i = 0; i < type->rank; i++) {
        og__out dim = og__out_in(s->r.arena);
        og__out_varint(&dim, DIM_VALUE, (uint64_t)type->dims[i]);
        og__out_message(&shape, SHAPE_DIM, &dim);
    }
    og__out_varint(&tensor, TENSOR_ELEM, type->dtype);
    og__out_message(&tensor, TENSOR_SHAPE, &shape);
    og__out_message(&outer, TYPE_TENSOR, &tensor);
    og__out_message(value, VALUE_TYPE, &outer);
}

/* The state's first content: Expand(fill, shape). */
static og_status put_reset(saver *s, og__out *graph, const og_onnx_state *state)
{
    og_arena *arena = s->r.arena;
    og_type one = og_type_make(state->type.dtype, 0, NULL);
    og_type shape = og_type_make(OG_INT64, 1, (int64_t[]){state->type.rank});
    const char *fill = og_arena_printf(arena, "%s_fill", state->name),
               *dims = og_arena_printf(arena, "%s_shape", state->name),
               *made = og_arena_printf(arena, "%s_first", state->name);
    double *value = og_arena_alloc(arena, sizeof(double));
    int64_t *lengths = og_arena_array(arena, (size_t)state->type.rank + 1, sizeof(*lengths));
    if (!fill || !dims || !made || !value || !lengths)
        return no_memory(s);
    if (state->type.dtype == OG_DOUBLE)
        *value = state->fill;
    else
        memcpy(value, &(float){(float)state->fill}, sizeof(float));
    if (state->type.rank)
        memcpy(lengths, state->type.dims, (size_t)state->type.rank * sizeof(*lengths));
    put_constant(s, graph, fill, &one, value);
    put_constant(s, graph, dims, &shape, lengths);
    og__out node = og__out_in(arena), output = node, entry = node;
    og__out_text(&node, NODE_INPUT, fill);
    og__out_text(&node, NODE_INPUT, dims);
    og__out_text(&node, NODE_OUTPUT, made);
    og__out_text(&node, NODE_OP, "Expand");
    og__out_message(graph, GRAPH_NODE, &node);
    og__out_text(&output, VALUE_NAME, made);
    put_type(s, &output, &state->type);
    og__out_message(graph, GRAPH_OUTPUT, &output);
    og__out_text(&entry, 1, state->name);
    og__out_text(&entry, 2, made);
    og__out_message(&s->training, OG__TRAINING_RESET, &entry);
    return OG_OK;
}

static og_status put_training(saver *s)
{
    og__out first = og__out_in(s->r.arena), algorithm = first;
    og__out_text(&first, GRAPH_NAME, "ai.ongrad.initialization");
    og__out_text(&algorithm, GRAPH_NAME, OG__ALGORITHM);
    s->training = og__out_in(s->r.arena);
    for (int i = 0; i < s->c->n_states; i++)
        if (s->c->states[i].resets)
            OG_TRY(put_reset(s, &first, &s->c->states[i]));
    OG_TRY(put_algorithm(s, &algorithm));
    for (int i = 0; i < s->c->n_states; i++)
        OG_TRY(put_state(s, &algorithm, &s->c->states[i]));
    og__out_message(&s->training, OG__TRAINING_INITIALIZATION, &first);
    og__out_message(&s->training, OG__TRAINING_ALGORITHM, &algorithm);
    og__out_message(&s->r.out, MODEL_TRAINING, &s->training);
    return s->r.out.failed ? no_memory(s) : OG_OK;
}

static void put_metadata(saver *s, const char *key, const char *value)
{
    og__out entry = og__out_in(s->r.arena);
    const char *full = og_arena_printf(s->r.arena, OG__CHECKPOINT "%s", key);
    s->r.out.failed |= !full;
    og__out_text(&entry, 1, full ? full : "");
    og__out_text(&entry, 2, value);
    og__out_message(&s->r.out, MODEL_METADATA, &entry);
}

/* All but the checksums, which are known when the rest is written. */
static og_status make(saver *s, const char *location)
{
    s->r.location = location;
    OG_TRY(og__rewrite_run(&s->r));
    OG_TRY(put_training(s));
    for (int i = 0; i < s->c->n_metadata; i++)
        put_metadata(s, s->c->metadata[i].key, s->c->metadata[i].value);
    return s->r.out.failed ? no_memory(s) : OG_OK;
}

/* ---- files */

typedef struct summed {
    og__sink *sink;
    og_checksum sum;
} summed;

static bool write_summed(void *user, const void *bytes, size_t size)
{
    summed *to = user;
    og_checksum_add(&to->sum, bytes, size);
    return og__sink_write(to->sink, bytes, size);
}

/* A name beside `path` that no file has. */
static og_status name_data(saver *s)
{
    size_t n = strlen(s->path) + 32;
    s->data_path = malloc(n);
    if (!s->data_path)
        return no_memory(s);
    for (int i = 0;; i++) {
        snprintf(s->data_path, n, "%s.%d.data", s->path, i);
        if (access(s->data_path, F_OK) != 0)
            return OG_OK;
    }
}

/* On the disk under its name. */
static og_status write_data(saver *s)
{
    og__sink sink;
    summed to = {&sink, og_checksum_start()};
    char text[OG__CHECKSUM_TEXT + 1];
    og_status status = og__sink_open(&sink, s->data_path, s->r.error);
    if (status == OG_OK && !og__rewrite_write_chunks(&s->r, write_summed, &to))
        status = s->r.error->status;
    if (status == OG_OK)
        status = og__sink_finish(&sink);
    if (status == OG_OK)
        status = og__sink_commit(&sink);
    og__sink_abandon(&sink);
    if (status == OG_OK) {
        og__checksum_text(text, &to.sum);
        put_metadata(s, "data_name", og__path_base(s->data_path));
        put_metadata(s, "data_checksum", text);
    }
    return status;
}

/* One more name for the file at `path`: that of the first older checkpoint. Where the file system
 * has no links the file itself is renamed; what is at `path` for that moment is nothing. */
static void keep_old(const char *path, int keep)
{
    if (keep < 2 || access(path, F_OK) != 0)
        return;
    for (int k = keep - 1; k >= 1; k--) {
        char *from = k > 1 ? og_checkpoint_older(path, k - 1) : NULL,
             *to = og_checkpoint_older(path, k);
        if (to && k > 1 && from) {
            (void)rename(from, to); /* there may be none yet */
        } else if (to && k == 1) {
            size_t n = strlen(path) + 16;
            char *link_path = malloc(n);
            if (link_path) {
                snprintf(link_path, n, "%s.old.tmp", path);
                unlink(link_path);
                if (link(path, link_path) != 0 || rename(link_path, to) != 0)
                    (void)rename(path, to);
                unlink(link_path); /* of one file, rename leaves both names */
            }
            free(link_path);
        }
        free(from);
        free(to);
    }
}

/* Those that are older than the `keep` newest. */
static void drop_older(const char *path, int keep)
{
    for (int k = keep < 1 ? 1 : keep;; k++) {
        char *older = og_checkpoint_older(path, k);
        bool gone = !older || unlink(older) != 0;
        free(older);
        if (gone)
            return;
    }
}

static og_status write_model(saver *s)
{
    og__sink sink;
    summed to = {&sink, og_checksum_start()};
    uint8_t tail[OG__CHECKPOINT_TAIL];
    og_status status = og__sink_open(&sink, s->path, s->r.error);
    if (status == OG_OK && !sink.temporary)
        status = og_fail(s->r.error, OG_IO_ERROR, "\"%s\" is no regular file", s->path);
    if (status == OG_OK && !og__rewrite_write(&s->r, write_summed, &to))
        status = s->r.error->status;
    if (status == OG_OK) {
        og__checkpoint_tail(tail, &to.sum);
        if (!og__sink_write(&sink, tail, sizeof tail))
            status = s->r.error->status;
    }
    if (status == OG_OK)
        status = og__sink_finish(&sink);
    if (status == OG_OK) {
        keep_old(sink.path, s->c->keep);
        status = og__sink_commit(&sink);
    }
    og__sink_abandon(&sink);
    return status;
}

/* ---- what is not needed any more */

/* Is the data file named by the checkpoint at `path`? */
static bool is_named_by(const char *path, const char *name)
{
    og_error error = {0};
    og__file file = {0};
    char found[256] = "";
    if (path && og__file_map(path, "checkpoint", SIZE_MAX, &file, &error) == OG_OK) {
        og__checkpoint_find(&file, "data_name", found, sizeof found);
        og__file_unmap(&file);
    }
    og_error_clear(&error);
    return strcmp(found, name) == 0;
}

static bool is_in_use(const char *path, const char *name)
{
    bool used = is_named_by(path, name), more = true;
    for (int k = 1; !used && more; k++) {
        char *older = og_checkpoint_older(path, k);
        more = older && access(older, F_OK) == 0;
        used = more && is_named_by(older, name);
        free(older);
    }
    return used;
}

static bool begins_and_ends(const char *name, const char *begin, const char *end)
{
    size_t n = strlen(name), a = strlen(begin), b = strlen(end);
    return n > a + b && strncmp(name, begin, a) == 0 && name[a] == '.' &&
           strcmp(name + n - b, end) == 0;
}

/* Files PATH.*.data that no checkpoint names; with `all`, temporary files, too. */
static void clean(const char *path, bool all)
{
    char *folder = og__path_folder(path);
    const char *base = og__path_base(path);
    DIR *d = folder ? opendir(folder) : NULL;
    for (const struct dirent *e; d && (e = readdir(d));) {
        bool data = begins_and_ends(e->d_name, base, ".data");
        if (!(data && !is_in_use(path, e->d_name)) &&
            !(all && begins_and_ends(e->d_name, base, ".tmp")))
            continue;
        (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
    free(folder);
}

void og_checkpoint_clean(const char *path)
{
    clean(path, true);
}

/* ---- the whole */

static uint64_t tensor_bytes(const saver *s)
{
    uint64_t total = 0;
    for (size_t i = 0; i < s->r.onnx->initializer_index.n; i++)
        total += (uint64_t)og_type_bytes(&s->r.onnx->initializers[i].type);
    for (int i = 0; i < s->c->n_states; i++)
        total += (uint64_t)og_type_bytes(&s->c->states[i].type);
    return total;
}

static og_status save(saver *s, uint64_t external_above)
{
    bool external = external_above && tensor_bytes(s) > external_above;
    if (!external)
        OG_TRY(make(s, NULL));
    if (external || s->r.out.size > INT32_MAX) {
        OG_TRY(name_data(s));
        OG_TRY(make(s, og__path_base(s->data_path)));
        if (s->r.out.size > INT32_MAX)
            return og_fail(s->r.error, OG_UNSUPPORTED,
                           "the checkpoint has %llu bytes even without its tensors, ONNX files end "
                           "at 2 GiB",
                           (unsigned long long)s->r.out.size);
        OG_TRY(write_data(s));
    }
    if (s->r.out.failed)
        return no_memory(s);
    return write_model(s);
}

og_status og_onnx_save_checkpoint(const og_onnx *onnx, const char *path,
                                  const og_onnx_checkpoint *checkpoint, uint64_t external_above,
                                  og_error *error)
{
    char *real = realpath(path, NULL); /* NULL: there is nothing yet */
    saver s = {.c = checkpoint, .path = real ? real : path};
    s.r = (og__rewrite){.onnx = onnx,
                        .weights = checkpoint->weights,
                        .n_weights = checkpoint->n_weights,
                        .states = checkpoint->states,
                        .n_states = checkpoint->n_states,
                        .training = true,
                        .error = error,
                        .arena = og_arena_new()};
    og_status status = s.r.arena ? save(&s, external_above) : no_memory(&s);
    if (status == OG_OK) {
        drop_older(s.path, checkpoint->keep);
        clean(s.path, false);
    } else if (s.data_path) {
        (void)unlink(s.data_path);
    }
    free(s.data_path);
    free(real);
    og_arena_free(s.r.arena);
    return status;
}
