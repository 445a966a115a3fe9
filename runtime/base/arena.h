/* Bump allocation: objects of an arena are never freed singly, the arena is freed whole, and what
 * it took in large pieces then leaves the process. All memory comes back zeroed, aligned to 16
 * bytes. A NULL result means out of memory. */
#ifndef OG_BASE_ARENA_H
#define OG_BASE_ARENA_H

#include "runtime/base/status.h"

typedef struct og_arena og_arena;

/* NULL when out of memory. */
og_arena *og_arena_new(void);
void og_arena_free(og_arena *arena);
void *og_arena_alloc(og_arena *arena, size_t bytes);
/* count × size bytes; NULL also when the product overflows. */
void *og_arena_array(og_arena *arena, size_t count, size_t size);
void *og_arena_copy(og_arena *arena, const void *bytes, size_t count);
char *og_arena_strdup(og_arena *arena, const char *text);
char *og_arena_strndup(og_arena *arena, const char *text, size_t length);
char *og_arena_printf(og_arena *arena, const char *format, ...) OG_PRINTF(2, 3);
/* Grow an arena-held array by doubling: returns `array` (holding `count` elements of `size` bytes,
 * room for *capacity) or a larger copy with room for at least count + 1; NULL when out of memory,
 * then the old array is still valid. */
void *og_arena_grow(og_arena *arena, void *array, size_t count, size_t *capacity, size_t size);
/* When the arena is freed, call run(object) first, the newest such call first: for what an object
 * of the arena holds outside of it. false when out of memory; the object is then still the
 * caller's. */
bool og_arena_defer(og_arena *arena, void (*run)(void *object), void *object);
/* Does `object` lie in memory of this arena? */
bool og_arena_holds(const og_arena *arena, const void *object);
/* Bytes taken from the system so far. */
size_t og_arena_bytes(const og_arena *arena);

#endif
