/* A map from names to ints. Names are borrowed: they live as long as the map's arena or longer. */
#ifndef OG_ONNX_NAMES_H
#define OG_ONNX_NAMES_H

#include "runtime/base/arena.h"

typedef struct og__name {
    const char *name; /* NULL: a free slot */
    uint64_t hash;
    int value;
} og__name;

typedef struct og__names {
    og_arena *arena;
    og__name *slots;
    size_t n, capacity; /* capacity: a power of two, or 0 */
} og__names;

static inline og__names og__names_in(og_arena *arena)
{
    return (og__names){.arena = arena};
}
/* Is `name` known? Then *value is set. */
bool og__names_get(const og__names *names, const char *name, int *value);
/* Add or overwrite; false when out of memory. */
bool og__names_set(og__names *names, const char *name, int value);
/* A map of names taken (and how often each was wished for): `wish`, or it with a number behind,
 * taken from here on. `wish` is borrowed. NULL when out of memory. */
const char *og__names_take(og__names *names, const char *wish);

#endif
