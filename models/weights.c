/* The first content of a built-in model's weights (runtime/train/initial.h). */
#include <inttypes.h>

#include "models/model.h"

/* Does it fit the memory? Asked before any is taken. */
static og_status check_size(og__building *b, og_device *device)
{
    uint64_t bytes = 0, total, free;
    char size[32], room[32];
    for (int i = 0; i < b->n_weights; i++)
        if (__builtin_add_overflow(
                bytes, (uint64_t)og_type_bytes(&b->g->values[b->weights[i].value]->type), &bytes))
            bytes = UINT64_MAX;
    device->memory(device, &total, &free);
    if (bytes <= free)
        return OG_OK;
    return og_fail(&b->g->error, OG_OUT_OF_MEMORY,
                   "%s has %" PRIu64 " parameters, %s, and %s of memory are free", b->type->name,
                   bytes / sizeof(float), og_format_bytes(size, bytes),
                   og_format_bytes(room, free));
}

og_status og__weights_draw(og__building *b, int64_t seed, og_device *device)
{
    OG_TRY(check_size(b, device));
    for (int i = 0; i < b->n_weights; i++) {
        og_value *v = b->g->values[b->weights[i].value];
        size_t bytes = (size_t)og_type_bytes(&v->type);
        float *w = og_arena_alloc(b->g->arena, bytes + 1);
        if (!w)
            return og_fail_memory(&b->g->error, bytes, v->name);
        og__init_draw(b->weights[i].init, seed, 0, i, &v->type, device->threads, w);
        v->data = w;
    }
    return OG_OK;
}
