/* Open addressing with linear probing, at most half full. The hash is seeded by the arena's
 * address, so that a file cannot be made to collide. Nothing ever walks the table, so results do
 * not depend on the seed. */
#include "runtime/onnx/names.h"

#include <string.h>

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

static uint64_t hash_of(const og__names *names, const char *name)
{
    uint64_t seed = mix((uintptr_t)names->arena), h = seed;
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, name + i, n - i < 8 ? n - i : 8);
        h = mix((h ^ word) + seed) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return mix(h ^ n);
}

/* The slot that holds `name`, or the free one where it belongs. */
static og__name *find(const og__names *names, const char *name, uint64_t hash)
{
    for (size_t i = hash & (names->capacity - 1);; i = (i + 1) & (names->capacity - 1)) {
        og__name *slot = &names->slots[i];
        if (!slot->name || (slot->hash == hash && strcmp(slot->name, name) == 0))
            return slot;
    }
}

bool og__names_get(const og__names *names, const char *name, int *value)
{
    if (names->n == 0)
        return false;
    const og__name *slot = find(names, name, hash_of(names, name));
    if (slot->name)
        *value = slot->value;
    return slot->name != NULL;
}

static bool rehash(og__names *names)
{
    og__names larger = {.arena = names->arena,
                        .capacity = names->capacity ? names->capacity * 2 : 64};
    larger.slots = og_arena_array(names->arena, larger.capacity, sizeof(*larger.slots));
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < names->capacity; i++)
        if (names->slots[i].name)
            *find(&larger, names->slots[i].name, names->slots[i].hash) = names->slots[i];
    larger.n = names->n;
    *names = larger;
    return true;
}

bool og__names_set(og__names *names, const char *name, int value)
{
    if (names->n >= names->capacity / 2 && !rehash(names))
        return false;
    uint64_t hash = hash_of(names, name);
    og__name *slot = find(names, name, hash);
    names->n += !slot->name;
    *slot = (og__name){slot->name ? slot->name : name, hash, value};
    return true;
}

const char *og__names_take(og__names *names, const char *wish)
{
    int count, unused;
    if (!og__names_get(names, wish, &count))
        return og__names_set(names, wish, 1) ? wish : NULL;
    const char *name;
    do
        name = og_arena_printf(names->arena, "%s_%d", wish, ++count);
    while (name && og__names_get(names, name, &unused));
    og__names_set(names, wish, count);
    return name && og__names_set(names, name, 1) ? name : NULL;
}
