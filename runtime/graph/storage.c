/* The table of storages (storage.h). */
#include "runtime/graph/storage.h"

#include <string.h>

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
    items[s->n] = (og_storage){
        .name = copy, .kind = kind, .type = *type, .initial = initial, .fill = fill, .of = -1};
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
    const void *initial = kind == OG_STORAGE_STAGED ? parent.initial : NULL;
    og_val v =
        name ? og_storage_state(g, s, kind, name, &parent.type, initial, 0) : (og_val){NULL, -1};
    if (v.g)
        s->items[og_value_of(v)->storage].of = of;
    return v;
}

const char *og_storage_kind_name(og_storage_kind kind)
{
    static const char *const names[] = {"parameters",    "buffers", "staged statistics",
                                        "gradient sums", "moments", "scalars"};
    return names[kind];
}
