/* Reading a checkpoint (checkpoint.h): its checksum first, then where its states lie. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/onnx/algorithm.h"
#include "runtime/onnx/checkpoint_file.h"
#include "runtime/onnx/fields.h"
#include "runtime/onnx/rewrite.h"

#define CHECKSUM_KEY OG__CHECKPOINT "checksum"

struct og_onnx_saved {
    og_arena *arena;
    og__file file, data; /* data: external; empty: none */
    og_metadata *metadata;
    int n_metadata;
    size_t cap_metadata;
    const char **names;
    og_const *states;
    int n_states;
    size_t cap_names, cap_states;
    og__external *external;
};

/* ---- the end of the file */

void og__checksum_text(char text[OG__CHECKSUM_TEXT + 1], const og_checksum *sum)
{
    snprintf(text, OG__CHECKSUM_TEXT + 1, "%016llx-%016llx",
             (unsigned long long)og_checksum_value(sum), (unsigned long long)sum->bytes);
}

void og__checkpoint_tail(uint8_t tail[OG__CHECKPOINT_TAIL], const og_checksum *sum)
{
    enum { KEY = sizeof CHECKSUM_KEY - 1, ENTRY = 2 + KEY + 2 + OG__CHECKSUM_TEXT };
    _Static_assert(2 + ENTRY == OG__CHECKPOINT_TAIL, "the length of the tail");
    char text[OG__CHECKSUM_TEXT + 1];
    uint8_t *at = tail;
    og__checksum_text(text, sum);
    *at++ = MODEL_METADATA << 3 | OG__WIRE_BYTES;
    *at++ = ENTRY;
    *at++ = 1 << 3 | OG__WIRE_BYTES;
    *at++ = KEY;
    memcpy(at, CHECKSUM_KEY, KEY);
    at += KEY;
    *at++ = 2 << 3 | OG__WIRE_BYTES;
    *at++ = OG__CHECKSUM_TEXT;
    memcpy(at, text, OG__CHECKSUM_TEXT);
}

static bool is_cut(const og__file *file)
{
    uint8_t tail[OG__CHECKPOINT_TAIL];
    og_checksum sum = og_checksum_start();
    enum { HEAD = OG__CHECKPOINT_TAIL - OG__CHECKSUM_TEXT };
    og__checkpoint_tail(tail, &sum);
    return file->size < sizeof tail ||
           memcmp(file->data + file->size - sizeof tail, tail, HEAD) != 0;
}

static og_status check(const og__file *file, const char *path, og_error *error)
{
    uint8_t tail[OG__CHECKPOINT_TAIL];
    og_checksum sum = og_checksum_start();
    if (is_cut(file))
        return og_fail(error, OG_INVALID_MODEL,
                       "\"%s\" is no checkpoint of ongrad, or its end is missing", path);
    og_checksum_add(&sum, file->data, file->size - sizeof tail);
    og__checkpoint_tail(tail, &sum);
    if (memcmp(file->data + file->size - sizeof tail, tail, sizeof tail) != 0)
        return og_fail(error, OG_INVALID_MODEL,
                       "\"%s\" is damaged: its checksum is not that of its content", path);
    return OG_OK;
}

/* ---- metadata */

/* Key and value of an entry; false where one is missing. */
static bool read_entry(const og__field *f, og__field *key, og__field *value)
{
    og__wire in = og__wire_inside(f);
    int seen = 0;
    for (og__field part; og__wire_next(&in, &part) > 0;) {
        if (part.type != OG__WIRE_BYTES || part.number < 1 || part.number > 2)
            continue;
        *(part.number == 1 ? key : value) = part;
        seen |= part.number == 1 ? 1 : 2;
    }
    return seen == 3;
}

static bool is_ours(const og__field *key)
{
    return key->size > strlen(OG__CHECKPOINT) &&
           memcmp(key->bytes, OG__CHECKPOINT, strlen(OG__CHECKPOINT)) == 0;
}

void og__checkpoint_find(const og__file *file, const char *key, char *value, size_t size)
{
    og__wire in = og__wire_of(file->data, file->size);
    size_t prefix = strlen(OG__CHECKPOINT), n = strlen(key);
    *value = '\0';
    for (og__field f, k, v; og__wire_next(&in, &f) > 0;)
        if (f.number == MODEL_METADATA && f.type == OG__WIRE_BYTES && read_entry(&f, &k, &v) &&
            is_ours(&k) && k.size == prefix + n && memcmp(k.bytes + prefix, key, n) == 0 &&
            v.size < size) {
            memcpy(value, v.bytes, v.size);
            value[v.size] = '\0';
        }
}

static bool add_metadata(og_onnx_saved *s, const og__field *f)
{
    og__field key, value;
    if (!read_entry(f, &key, &value) || !is_ours(&key))
        return true;
    size_t prefix = strlen(OG__CHECKPOINT);
    og_metadata *grown = og_arena_grow(s->arena, s->metadata, (size_t)s->n_metadata,
                                       &s->cap_metadata, sizeof(*grown));
    const char *k = og_arena_strndup(s->arena, (const char *)key.bytes + prefix, key.size - prefix);
    const char *v = og_arena_strndup(s->arena, (const char *)value.bytes, value.size);
    if (!grown || !k || !v)
        return false;
    s->metadata = grown;
    s->metadata[s->n_metadata++] = (og_metadata){k, v};
    return true;
}

const char *og_onnx_saved_metadata(const og_onnx_saved *s, const char *key)
{
    for (int i = 0; i < s->n_metadata; i++)
        if (strcmp(s->metadata[i].key, key) == 0)
            return s->metadata[i].value;
    return NULL;
}

/* ---- states */

static og_status add_state(og_onnx_saved *s, const og__field *f, og_error *error)
{
    og__tensor_view view;
    const og__tensor_proto *t = og__proto_unpack_tensor(s->arena, f->bytes, f->size);
    const char **names =
        og_arena_grow(s->arena, s->names, (size_t)s->n_states, &s->cap_names, sizeof(*names));
    og_const *states =
        og_arena_grow(s->arena, s->states, (size_t)s->n_states, &s->cap_states, sizeof(*states));
    if (!t || !names || !states)
        return og_fail_memory(error, f->size, "a checkpoint");
    s->names = names;
    s->states = states;
    og__tensor_read(t, &view);
    names[s->n_states] = view.name;
    OG_TRY(og__tensor_load(s->arena, s->external, t, true, &states[s->n_states], error));
    s->n_states++;
    return OG_OK;
}

static og_status read_algorithm(og_onnx_saved *s, const og__field *graph, og_error *error)
{
    og__field f;
    bool ours = false;
    og__wire in = og__wire_inside(graph);
    while (og__wire_next(&in, &f) > 0)
        ours |= f.number == GRAPH_NAME && og__field_is(&f, OG__ALGORITHM);
    in = og__wire_inside(graph);
    while (ours && og__wire_next(&in, &f) > 0)
        if (f.number == GRAPH_INITIALIZER && f.type == OG__WIRE_BYTES)
            OG_TRY(add_state(s, &f, error));
    return OG_OK;
}

/* ---- the file */

static og_status check_data(og_onnx_saved *s, const char *path, og_error *error)
{
    const char *name = og_onnx_saved_metadata(s, "data_name"),
               *expected = og_onnx_saved_metadata(s, "data_checksum");
    char *folder = og__path_folder(path), text[OG__CHECKSUM_TEXT + 1];
    const char *data = folder && name ? og_arena_printf(s->arena, "%s/%s", folder, name) : NULL;
    og_status status = OG_OK;
    free(folder);
    if (!name)
        return OG_OK;
    if (!data)
        return og_fail_memory(error, strlen(name), "a checkpoint");
    status = og__file_map(data, "checkpoint", SIZE_MAX, &s->data, error);
    if (status != OG_OK)
        return status;
    og_checksum sum = og_checksum_start();
    og_checksum_add(&sum, s->data.data, s->data.size);
    og__checksum_text(text, &sum);
    if (!expected || strcmp(text, expected) != 0)
        return og_fail(error, OG_INVALID_MODEL,
                       "\"%s\", which belongs to \"%s\", is damaged: its checksum is not that of "
                       "its content",
                       data, path);
    return OG_OK;
}

static og_status read_file(og_onnx_saved *s, const char *path, og_error *error)
{
    og__field f, graph;
    OG_TRY(og__file_map(path, "checkpoint", INT32_MAX, &s->file, error));
    OG_TRY(check(&s->file, path, error));
    OG_TRY(og_onnx_scan(s->file.data, s->file.size, error));
    og__wire in = og__wire_of(s->file.data, s->file.size);
    while (og__wire_next(&in, &f) > 0)
        if (f.number == MODEL_METADATA && f.type == OG__WIRE_BYTES && !add_metadata(s, &f))
            return og_fail_memory(error, f.size, "a checkpoint");
    OG_TRY(check_data(s, path, error));
    in = og__wire_of(s->file.data, s->file.size);
    while (og__wire_next(&in, &f) > 0) {
        if (f.number != MODEL_TRAINING || f.type != OG__WIRE_BYTES)
            continue;
        og__wire training = og__wire_inside(&f);
        while (og__wire_next(&training, &graph) > 0)
            if (graph.number == OG__TRAINING_ALGORITHM && graph.type == OG__WIRE_BYTES)
                OG_TRY(read_algorithm(s, &graph, error));
    }
    return OG_OK;
}

og_onnx_saved *og_onnx_open_checkpoint(const char *path, og_error *error)
{
    og_onnx_saved *s = calloc(1, sizeof(*s));
    og_status status = s ? OG_OK : og_fail_memory(error, sizeof(*s), "a checkpoint");
    if (s) {
        s->arena = og_arena_new();
        s->external = og__external_new(path, NULL);
        status = s->arena && s->external ? read_file(s, path, error)
                                         : og_fail_memory(error, sizeof(*s), "a checkpoint");
    }
    if (status == OG_OK)
        return s;
    og_onnx_close_checkpoint(s);
    return NULL;
}

void og_onnx_close_checkpoint(og_onnx_saved *s)
{
    if (!s)
        return;
    og__file_unmap(&s->file);
    og__file_unmap(&s->data);
    og__external_free(s->external);
    og_arena_free(s->arena);
    free(s);
}

const void *og_onnx_saved_state(const og_onnx_saved *s, const char *name, const og_type *type)
{
    for (int i = 0; i < s->n_states; i++)
        if (strcmp(s->names[i], name) == 0)
            return og_type_equal(&s->states[i].type, type) ? s->states[i].data : NULL;
    return NULL;
}

int og_onnx_saved_states(const og_onnx_saved *s)
{
    return s->n_states;
}

/* "a.ckpt.onnx" → "a.ckpt.K.onnx"; what has no such end gets the number behind. */
char *og_checkpoint_older(const char *path, int k)
{
    static const char end[] = ".onnx";
    size_t n = strlen(path), stem = n, room = n + 16;
    char *older = malloc(room);
    if (n > sizeof end - 1 && strcmp(path + n - (sizeof end - 1), end) == 0)
        stem = n - (sizeof end - 1);
    if (older)
        snprintf(older, room, "%.*s.%d%s", (int)stem, path, k, path + stem);
    return older;
}
