/* Arenas: a list of blocks, each a header followed by memory handed out from its start. The newest
 * block is the one being filled; an allocation that would waste much of a block gets one of its
 * own, put behind the newest. Large blocks are mapped: freed ones would stay with the heap, which
 * keeps what lies below anything still in use, and zeroed pages cost nothing until they are
 * touched. */
#include "runtime/base/arena.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/base/checked.h"

enum { ALIGNMENT = 16, FIRST_BLOCK = 8 << 10, LARGEST_BLOCK = 1 << 20, MAPPED = 64 << 10 };

typedef struct block {
    alignas(ALIGNMENT) struct block *next;
    size_t size, used; /* of the memory after the header */
} block;

typedef struct cleanup { /* lives in the arena itself */
    struct cleanup *next;
    void (*run)(void *object);
    void *object;
} cleanup;

struct og_arena {
    block *newest;
    cleanup *cleanups; /* the newest first */
    size_t next_size;  /* of the next ordinary block */
    size_t bytes;
};

static bool is_mapped(size_t size)
{
    return size >= MAPPED;
}

static void block_free(block *b)
{
    if (is_mapped(b->size))
        munmap(b, sizeof(block) + b->size);
    else
        free(b);
}

static block *block_new(og_arena *arena, size_t size)
{
    size_t total;
    if (!og_add_size(sizeof(block), size, &total))
        return NULL;
    block *b = is_mapped(size)
                   ? mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                   : calloc(1, total);
    if (!b || b == MAP_FAILED)
        return NULL;
    b->size = size;
    arena->bytes += total;
    return b;
}

og_arena *og_arena_new(void)
{
    og_arena *arena = calloc(1, sizeof *arena);
    if (arena) {
        arena->next_size = FIRST_BLOCK;
        arena->bytes = sizeof *arena;
    }
    return arena;
}

void og_arena_free(og_arena *arena)
{
    if (!arena)
        return;
    for (cleanup *c = arena->cleanups; c; c = c->next)
        c->run(c->object);
    for (block *b = arena->newest, *next; b; b = next) {
        next = b->next;
        block_free(b);
    }
    free(arena);
}

void *og_arena_alloc(og_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = og_align_up(bytes ? bytes : 1, ALIGNMENT);
    block *b = arena->newest;
    if (!b || b->size - b->used < bytes) {
        bool own = bytes > arena->next_size / 4;
        b = block_new(arena, own ? bytes : arena->next_size);
        if (!b)
            return NULL;
        if (own && arena->newest) {
            b->next = arena->newest->next;
            arena->newest->next = b;
        } else {
            b->next = arena->newest;
            arena->newest = b;
        }
        if (!own && arena->next_size < LARGEST_BLOCK)
            arena->next_size *= 2;
    }
    void *memory = (char *)(b + 1) + b->used;
    b->used += bytes;
    return memory;
}

void *og_arena_array(og_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    return og_mul_size(count, size, &bytes) ? og_arena_alloc(arena, bytes) : NULL;
}

void *og_arena_copy(og_arena *arena, const void *bytes, size_t count)
{
    void *copy = og_arena_alloc(arena, count);
    if (copy && count)
        memcpy(copy, bytes, count);
    return copy;
}

char *og_arena_strdup(og_arena *arena, const char *text)
{
    return og_arena_strndup(arena, text, strlen(text));
}

char *og_arena_strndup(og_arena *arena, const char *text, size_t length)
{
    size_t bytes;
    char *copy = og_add_size(length, 1, &bytes) ? og_arena_alloc(arena, bytes) : NULL;
    if (copy && length)
        memcpy(copy, text, length);
    return copy;
}

char *og_arena_printf(og_arena *arena, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int n = vsnprintf(NULL, 0, format, arguments);
    char *text = n < 0 ? NULL : og_arena_alloc(arena, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}

void *og_arena_grow(og_arena *arena, void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    size_t larger, bytes;
    if (!og_mul_size(count ? count : 4, 2, &larger) || !og_mul_size(larger, size, &bytes))
        return NULL;
    char *copy = og_arena_alloc(arena, bytes);
    if (!copy)
        return NULL;
    if (count)
        memcpy(copy, array, count * size);
    *capacity = larger;
    return copy;
}

size_t og_arena_bytes(const og_arena *arena)
{
    return arena->bytes;
}

bool og_arena_holds(const og_arena *arena, const void *object)
{
    for (const block *b = arena->newest; b; b = b->next)
        if ((uintptr_t)object - (uintptr_t)(b + 1) < b->used)
            return true;
    return false;
}

bool og_arena_defer(og_arena *arena, void (*run)(void *object), void *object)
{
    cleanup *c = og_arena_alloc(arena, sizeof(*c));
    if (!c)
        return false;
    *c = (cleanup){.next = arena->cleanups, .run = run, .object = object};
    arena->cleanups = c;
    return true;
}
