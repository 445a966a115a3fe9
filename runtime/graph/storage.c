/* The table of storages (storage.h). */
#include "runtime/graph/storage.h"

#include <string.h>

#include "runtime/base/checked.h"

int og_storage_get(og_storages *s, og_storage_kind kind, const char *name, const og_type *type,
                   const void *initial, double fill)
{
    for (int i = 0; i < s->n; i++)
        if (s->items[i].kind == kind && strcmp(s->items[i].name, name) == 0)
            return i;
    og_storage *items =
        og_arena_grow(s->arena, s->items, (size_t)s->n, &s->capacity, sizeof(*items));
    char *copy = og_arena_strdup(s->arena, name);
    if (!items || !copy)
        return -1;
    s->items = items;
    items[s->n] = (og_storage){.name = copy,
                               .kind = kind,
                               .type = *type,
                               .initial = initial,
                               .fill = fill,
                               .of = -1,
                               .slab = -1};
    return s->n++;
}

og_val og_storage_state(og_graph *g, og_storages *s, og_storage_kind kind, const char *name,
                        const og_type *type, const void *initial, double fill)
{
    int index = og_storage_get(s, kind, name, type, initial, fill);
    if (index < 0) {
        og_fail_memory(&g->error, sizeof(og_storage), "the table of states");
        return (og_val){NULL, -1};
    }
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].storage == index)
            return og_val_of(g, g->states[i].in);
    return og_graph_add_state(g, s->items[index].name, type, index, initial);
}

og_val og_storage_derived(og_graph *g, og_storages *s, og_storage_kind kind, int of,
                          const char *suffix)
{
    const og_storage parent = s->items[of];
    char *name = og_arena_printf(g->arena, "%s.%s", parent.name, suffix);
    bool same = kind == OG_STORAGE_STAGED || kind == OG_STORAGE_AVERAGE;
    const void *initial = same ? parent.initial : NULL;
    og_val v =
        name ? og_storage_state(g, s, kind, name, &parent.type, initial, 0) : (og_val){NULL, -1};
    if (v.g)
        s->items[og_value_of(v)->storage].of = of;
    return v;
}

/* Those of the kind, dtype and group of number `first`, which is the first of them, and their
 * owners. */
static bool gather(og_storages *s, int first, size_t alignment)
{
    og_storage_kind kind = s->items[first].kind;
    og_storage_kind owner = s->items[s->items[first].of].kind;
    og_dtype dtype = s->items[first].type.dtype;
    int group = s->items[s->items[first].of].group;
    const char *name =
        group ? og_arena_printf(s->arena, "ai.ongrad.slab.%s.%d", og_dtype_name(dtype), group)
              : og_arena_printf(s->arena, "ai.ongrad.slab.%s", og_dtype_name(dtype));
    og_type type = og_type_make(dtype, 1, (int64_t[]){0});
    int n = s->n, owners = -1, slab = -1;
    if (name)
        owners = og_storage_get(s, owner, name, &type, NULL, 0);
    if (owners >= 0)
        slab = og_storage_get(s, kind, name, &type, NULL, 0);
    if (slab < 0)
        return false;
    size_t at = 0;
    for (int i = first; i < n; i++) {
        og_storage *item = &s->items[i];
        if (item->kind != kind || item->type.dtype != dtype || item->of < 0 ||
            s->items[item->of].group != group)
            continue;
        og_storage *of = &s->items[item->of];
        item->slab = slab;
        of->slab = owners;
        item->within = of->within = at;
        at += og_align_up((size_t)og_type_bytes(&item->type), alignment);
    }
    s->items[slab].of = owners;
    s->items[owners].group = group;
    s->items[slab].type.dims[0] = s->items[owners].type.dims[0] =
        (int64_t)(at * 8 / (size_t)og_dtype_bits(dtype));
    return true;
}

bool og_storages_gather(og_storages *s, og_storage_kind kind, size_t alignment)
{
    int n = s->n;
    for (int i = 0; i < n; i++)
        if (s->items[i].kind == kind && s->items[i].of >= 0 && s->items[i].slab < 0 &&
            !gather(s, i, alignment))
            return false;
    return true;
}

bool og_storages_gather_halves(og_storages *s)
{
    for (int i = 0, n = s->n; i < n; i++) {
        og_storage *item = &s->items[i];
        int owners = item->kind == OG_STORAGE_HALF ? s->items[item->of].slab : -1;
        if (owners < 0 || item->slab >= 0)
            continue;
        og_type type = s->items[owners].type;
        type.dtype = item->type.dtype;
        int slab = og_storage_get(s, OG_STORAGE_HALF, s->items[owners].name, &type, NULL, 0);
        if (slab < 0)
            return false;
        item = &s->items[i];
        s->items[slab].of = owners;
        item->slab = slab;
        item->within = s->items[item->of].within * (size_t)og_dtype_bits(type.dtype) /
                       (size_t)og_dtype_bits(s->items[owners].type.dtype);
    }
    return true;
}

og_storages og_storages_apart(const og_storages *s, og_arena *arena)
{
    og_storages apart = {.arena = arena, .n = s->n, .capacity = (size_t)s->n + 1};
    bool *is_slab = og_arena_array(arena, apart.capacity, sizeof(bool));
    apart.items = og_arena_array(arena, apart.capacity, sizeof(og_storage));
    if (!is_slab || !apart.items) {
        apart.items = NULL;
        return apart;
    }
    for (int i = 0; i < s->n; i++)
        if (s->items[i].slab >= 0)
            is_slab[s->items[i].slab] = true;
    apart.n = 0; /* what is left out came last, so that numbers in `of` stay true */
    for (int i = 0; i < s->n; i++) {
        const og_storage *item = &s->items[i];
        if (is_slab[i] || (item->of >= 0 && is_slab[item->of]))
            continue;
        apart.items[apart.n] = *item;
        apart.items[apart.n++].slab = -1;
    }
    return apart;
}

og_val og_storage_half_copy(og_graph *g, og_storages *s, int of, og_dtype half)
{
    og_type type = s->items[of].type;
    type.dtype = half;
    const char *name = og_arena_printf(g->arena, "%s.half", s->items[of].name);
    og_val v =
        name ? og_storage_state(g, s, OG_STORAGE_HALF, name, &type, NULL, 0) : (og_val){NULL, -1};
    if (v.g)
        s->items[og_value_of(v)->storage].of = of;
    return v;
}

bool og_storage_is_weight(const og_storages *s, const og_state *state)
{
    og_storage_kind kind = s->items[state->storage].kind;
    return state->out < 0 &&
           (kind == OG_STORAGE_PARAMETER || kind == OG_STORAGE_BUFFER || kind == OG_STORAGE_HALF);
}

const char *og_storage_kind_name(og_storage_kind kind)
{
    static const char *const names[] = {
        "parameters", "buffers",     "staged statistics",    "gradient sums", "moments",
        "averages",   "half copies", "derived from weights", "scalars"};
    return names[kind];
}
