/* Growable text: messages, reports, JSON. A failed allocation sticks (`failed`) and further appends
 * do nothing, so that a caller checks once at the end. */
#ifndef OG_BASE_TEXT_H
#define OG_BASE_TEXT_H

#include "runtime/base/status.h"

typedef struct og_text {
    char *s; /* NUL-terminated once anything was added; NULL before */
    size_t length, capacity;
    bool failed;
} og_text;

void og_text_add(og_text *text, const char *s);
void og_text_addn(og_text *text, const char *s, size_t length);
void og_text_printf(og_text *text, const char *format, ...) OG_PRINTF(2, 3);
void og_text_vprintf(og_text *text, const char *format, va_list arguments) OG_PRINTF(2, 0);
void og_text_free(og_text *text);

/* The next 'quoted' part of *at, which moves behind it: false where there is none. A part that does
 * not fit is given as "". */
bool og_next_quoted(const char **at, char *part, size_t size);

/* Does `name` match a shell glob (`*`, `?`, `[…]`)? */
bool og_glob_match(const char *glob, const char *name);
/* Edit distance, for "did you mean"; at most 64 characters of each are looked at. */
int og_edit_distance(const char *a, const char *b);
/* "; did you mean adamw?", where a word of a list for people ("adam, adamw or sgd") is near `name`;
 * else "". Written to `buffer`, which is returned. */
enum { OG_NEAREST = 96 };
const char *og_did_you_mean(char buffer[OG_NEAREST], const char *name, const char *list);
/* "1.5 GB" (10⁹ bytes), "12.0 MB", "640 bytes"; written to `buffer`, which is returned. */
const char *og_format_bytes(char buffer[32], uint64_t bytes);

#endif
