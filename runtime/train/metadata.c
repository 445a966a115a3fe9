/* Keys and values of the model's file: those it had, and those set since. */
#include <string.h>

#include "runtime/train/train.h"

static const char *find(const og_metadata *list, int n, const char *key)
{
    for (int i = n; i-- > 0;)
        if (strcmp(list[i].key, key) == 0)
            return list[i].value;
    return NULL;
}

const char *og_model_metadata(const og_model *m, const char *key)
{
    const char *set = find(m->metadata, m->n_metadata, key);
    return set ? set : find(m->graph->metadata, m->graph->n_metadata, key);
}

og_status og_model_set_metadata(og_model *m, const char *key, const char *value)
{
    og_error *error = &m->context->error;
    og__context_begin(m->context);
    if (!*key)
        return og_fail(error, OG_INVALID_ARGUMENT, "metadata without a key");
    for (int i = 0; i < m->n_metadata; i++)
        if (strcmp(m->metadata[i].key, key) == 0) {
            const char *copy = og_arena_strdup(m->arena, value);
            if (!copy)
                return og_fail_memory(error, strlen(value), "metadata");
            m->metadata[i].value = copy;
            return OG_OK;
        }
    og_metadata *list = og_arena_grow(m->arena, m->metadata, (size_t)m->n_metadata,
                                      &m->metadata_capacity, sizeof *list);
    og_metadata entry = {og_arena_strdup(m->arena, key), og_arena_strdup(m->arena, value)};
    if (!list || !entry.key || !entry.value)
        return og_fail_memory(error, strlen(key) + strlen(value), "metadata");
    m->metadata = list;
    m->metadata[m->n_metadata++] = entry;
    return OG_OK;
}
