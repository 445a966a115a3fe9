/* Growable text, and the three small text services every message needs: globs, "did you mean", byte
 * counts. */
#include "runtime/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/checked.h"

/* Room for `more` bytes and the NUL; false after a failure. */
static bool reserve(og_text *text, size_t more)
{
    size_t needed;
    if (text->failed)
        return false;
    if (!og_add_size(text->length, more, &needed) || !og_add_size(needed, 1, &needed) ||
        needed > SIZE_MAX / 2) {
        text->failed = true;
        return false;
    }
    if (needed <= text->capacity)
        return true;
    size_t capacity = text->capacity ? text->capacity : 64;
    while (capacity < needed)
        capacity *= 2;
    char *s = realloc(text->s, capacity);
    if (!s) {
        text->failed = true;
        return false;
    }
    text->s = s;
    text->capacity = capacity;
    return true;
}

void og_text_add(og_text *text, const char *s)
{
    og_text_addn(text, s, strlen(s));
}

void og_text_addn(og_text *text, const char *s, size_t length)
{
    if (!reserve(text, length))
        return;
    if (length)
        memcpy(text->s + text->length, s, length);
    text->length += length;
    text->s[text->length] = '\0';
}

void og_text_printf(og_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    og_text_vprintf(text, format, arguments);
    va_end(arguments);
}

void og_text_vprintf(og_text *text, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int n = vsnprintf(NULL, 0, format, arguments);
    if (n < 0) {
        text->failed = true;
    } else if (reserve(text, (size_t)n)) {
        vsnprintf(text->s + text->length, (size_t)n + 1, format, again);
        text->length += (size_t)n;
    }
    va_end(again);
}

void og_text_free(og_text *text)
{
    free(text->s);
    *text = (og_text){0};
}

/* One character against the set at `set` (which points behind '['): whether it is in, and *end
 * behind ']'. false with *end NULL when the bracket is never closed: then '[' stands for itself. */
static bool match_set(const char *set, char c, const char **end)
{
    bool negated = *set == '!' || *set == '^', in = false;
    if (negated)
        set++;
    const char *first = set;
    while (*set && (*set != ']' || set == first)) {
        unsigned char low = (unsigned char)set[0], high = low;
        if (set[1] == '-' && set[2] && set[2] != ']') {
            high = (unsigned char)set[2];
            set += 2;
        }
        if (low <= (unsigned char)c && (unsigned char)c <= high)
            in = true;
        set++;
    }
    *end = *set ? set + 1 : NULL;
    return *end && in != negated;
}

bool og_next_quoted(const char **at, char *part, size_t size)
{
    const char *start = *at ? strchr(*at, '\'') : NULL;
    const char *end = start ? strchr(start + 1, '\'') : NULL;
    if (!end)
        return false;
    size_t n = (size_t)(end - start - 1);
    if (n >= size)
        n = 0;
    memcpy(part, start + 1, n);
    part[n] = 0;
    *at = end + 1;
    return true;
}

bool og_glob_match(const char *glob, const char *name)
{
    /* Names like "layers[0].weight" match themselves. */
    if (!strcmp(glob, name))
        return true;
    const char *star = NULL,
               *resume = NULL; /* behind the last '*', and the name's place it was tried at */
    while (*name) {
        const char *end = NULL;
        if (*glob == '*') {
            star = ++glob;
            resume = name;
        } else if (*glob == '[' && match_set(glob + 1, *name, &end)) {
            glob = end;
            name++;
        } else if (*glob == '?' || (*glob == *name && !end)) {
            glob++;
            name++;
        } else if (star) {
            glob = star;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return !*glob;
}

int og_edit_distance(const char *a, const char *b)
{
    enum { MOST = 64 };
    int na = (int)strnlen(a, MOST), nb = (int)strnlen(b, MOST);
    int row[MOST + 1]; /* row[j]: distance of a[0 … i] to b[0 … j] */
    for (int j = 0; j <= nb; j++)
        row[j] = j;
    for (int i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[nb];
}

/* The next word between ", ", " or " and ": " and "; what has spaces inside, or is a
 * number, is none, and empty. */
static const char *next_word(const char *list, char word[64])
{
    static const char *const ends[] = {",", ":", " or ", " and "};
    while (*list == ' ' || *list == ',' || *list == ':')
        list++;
    if (!strncmp(list, "or ", 3))
        list += 3;
    if (!*list)
        return NULL;
    size_t n = strlen(list);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *end = strstr(list, ends[i]);
        if (end && (size_t)(end - list) < n)
            n = (size_t)(end - list);
    }
    bool plain = n < 64 && !memchr(list, ' ', n) && !strchr("0123456789.-+", *list);
    snprintf(word, 64, "%.*s", plain ? (int)n : 0, list);
    return list + n;
}

const char *og_did_you_mean(char buffer[OG_NEAREST], const char *name, const char *list)
{
    char word[64];
    int best = 2 + (int)strlen(name) / 3; /* further away it is no slip of the finger */
    *buffer = '\0';
    while ((list = next_word(list, word)) != NULL) {
        int distance = og_edit_distance(name, word);
        if (*word && distance < best && distance < (int)strlen(word)) {
            best = distance;
            snprintf(buffer, OG_NEAREST, "; did you mean %s?", word);
        }
    }
    return buffer;
}

const char *og_format_bytes(char buffer[32], uint64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    if (bytes < 1000) {
        snprintf(buffer, 32, "%u byte%s", (unsigned)bytes, bytes == 1 ? "" : "s");
        return buffer;
    }
    double value = (double)bytes / 1000;
    int unit = 0;
    for (; value >= 999.95 && unit < 5; unit++) /* never "1000.0 MB" */
        value /= 1000;
    snprintf(buffer, 32, "%.1f %s", value, units[unit]);
    return buffer;
}
