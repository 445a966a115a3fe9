/* Sizes that come from files are multiplied and added with overflow checks. */
#ifndef OG_BASE_CHECKED_H
#define OG_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a × b (or a + b); false, *out untouched in meaning, on overflow. */
static inline bool og_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool og_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline size_t og_align_up(size_t n, size_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

#endif
