/* The first content of a built-in model's weights (runtime/train/initial.h). */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

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
        og__init_draw(b->weights[i].init, seed, OG__DRAW_MODEL, i, &v->type, device->threads, w);
        v->data = w;
    }
    return OG_OK;
}

/* ---- given back, and drawn again */

typedef struct drawn {
    og__init init;
    og_type type;
    int number;
    float *data;
    bool gone;
} drawn;

typedef struct maker {
    int64_t seed;
    int threads, n;
    drawn weights[];
} maker;

/* The whole pages between the weight's first and last; the rest of it is a few kilobytes. */
static void release(void *user, const void *data, size_t bytes, bool for_good)
{
    maker *m = user;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)data + bytes) / page * page;
    for (int i = 0; i < m->n; i++) {
        drawn *w = &m->weights[i];
        if (w->data == data && to > from)
            w->gone |= madvise((void *)from, to - from, MADV_DONTNEED) == 0;
        if (w->data == data && for_good)
            *w = (drawn){.data = NULL};
    }
}

static void recall(void *user)
{
    maker *m = user;
    for (int i = 0; i < m->n; i++) {
        drawn *w = &m->weights[i];
        if (w->gone)
            og__init_draw(w->init, m->seed, OG__DRAW_MODEL, w->number, &w->type, m->threads,
                          w->data);
        w->gone = false;
    }
}

og_onnx_maker og__weights_maker(const og__weight *weights, int n, og_graph *g, int64_t seed,
                                int threads)
{
    maker *m = calloc(1, sizeof(*m) + sizeof(drawn) * (size_t)n);
    if (!m)
        return (og_onnx_maker){0};
    *m = (maker){.seed = seed, .threads = threads, .n = n};
    for (int i = 0; i < n; i++) {
        const og_value *v = g->values[weights[i].value];
        m->weights[i] = (drawn){weights[i].init, v->type, i, (float *)v->data, false};
    }
    return (og_onnx_maker){m, release, recall, free};
}
