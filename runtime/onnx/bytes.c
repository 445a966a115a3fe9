/* The model's bytes with another graph, in place of those that were loaded; they are what is saved.
 */
#include <string.h>

#include "runtime/onnx/loader.h"

enum { MODEL_GRAPH = 7 };

static bool append(void *user, const void *bytes, size_t size)
{
    uint8_t **to = user;
    memcpy(*to, bytes, size);
    *to += size;
    return true;
}

void og__graph_rewrite(og__loader *l, void (*write)(void *user, og__wire graph, og__out *out),
                       void *user)
{
    og_onnx *onnx = l->onnx;
    og__out out = og__out_in(l->arena);
    og__wire in = og__wire_of(onnx->bytes, onnx->size);
    og__field f;
    while (og__wire_next(&in, &f) > 0) {
        if (f.number == MODEL_GRAPH && f.type == OG__WIRE_BYTES) {
            og__out inner = og__out_in(l->arena);
            write(user, og__wire_inside(&f), &inner);
            og__out_message(&out, MODEL_GRAPH, &inner);
        } else {
            og__out_raw(&out, f.start, f.total);
        }
    }
    uint8_t *bytes = out.failed ? NULL : og_arena_alloc(l->arena, (size_t)out.size + 1);
    if (!bytes) {
        og_fail_memory(&l->g->error, (size_t)out.size, "the model");
        og__loader_memory(l);
        return;
    }
    uint8_t *end = bytes;
    og__out_write(&out, append, &end);
    onnx->bytes = bytes;
    onnx->size = (size_t)out.size;
    l->budget += out.size;
}

og_value *og__scope_constant(const og__loader *l, const og__scope *scope, const char *name)
{
    int id;
    if (!*name || !og__names_get(&scope->values, name, &id) || id < 0)
        return NULL;
    og_value *v = l->g->values[id];
    return v->kind == OG_VALUE_CONST ? v : NULL;
}
