/* CSV (RFC 4180; tabs where the name ends in .tsv), the first row being names of columns. Columns
 * of numbers become int64 where all are whole, else float64; a single column of words becomes
 * labels, its classes the words in order. The key column names the samples: the first column of
 * that purpose, or the first that is not all numbers. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/checked.h"
#include "runtime/data/reader.h"

typedef struct table {
    char **cells; /* row after row, in place in the file's text */
    size_t n, capacity;
    int columns;
    int64_t rows; /* without the names */
} table;

static const char *cell(const table *t, int64_t row, int column)
{
    return t->cells[(size_t)(row + 1) * (size_t)t->columns + (size_t)column];
}

/* ---- text to cells */

static og_status add_cell(og_arena *arena, table *t, char *text, og_error *error)
{
    char **cells = og_arena_grow(arena, t->cells, t->n, &t->capacity, sizeof *cells);
    if (!cells)
        return og_fail_memory(error, t->n * sizeof *cells, "a CSV file");
    t->cells = cells;
    t->cells[t->n++] = text;
    return OG_OK;
}

/* One cell from *at on, unquoted in place; *end: the character that ended it. */
static og_status next_cell(char **at, char separator, int64_t line, char **text, char *end,
                           og_error *error)
{
    char *p = *at, *out = p;
    *text = p;
    if (*p == '"') {
        for (p++; *p && (*p != '"' || p[1] == '"'); p++) {
            p += *p == '"';
            *out++ = *p;
        }
        if (!*p)
            return og_fail(error, OG_INVALID_DATA, "line %" PRId64 ": a quote that does not end",
                           line);
        p++;
        if (*p && *p != separator && *p != '\n' && *p != '\r')
            return og_fail(error, OG_INVALID_DATA, "line %" PRId64 ": text behind a quoted cell",
                           line);
    } else {
        while (*p && *p != separator && *p != '\n' && *p != '\r')
            p++;
        out = p;
    }
    *end = *p;
    if (*p == '\r' && p[1] == '\n')
        p++;
    *at = *end ? p + 1 : p;
    *out = '\0';
    return OG_OK;
}

static og_status read_table(og_arena *arena, char *text, char separator, table *t, og_error *error)
{
    int64_t line = 1;
    if (!strncmp(text, "\xef\xbb\xbf", 3)) /* a byte order mark */
        text += 3;
    while (*text) {
        int columns = 0;
        char end = separator, *content;
        if (*text == '\n' || *text == '\r') { /* an empty line */
            line += *text++ == '\n';
            continue;
        }
        for (; end == separator; columns++) {
            OG_TRY(next_cell(&text, separator, line, &content, &end, error));
            OG_TRY(add_cell(arena, t, content, error));
        }
        if (t->columns && columns != t->columns)
            return og_fail(error, OG_INVALID_DATA, "line %" PRId64 " has %d cells, the first %d",
                           line, columns, t->columns);
        t->columns = columns;
        line++;
    }
    t->rows = t->columns ? (int64_t)t->n / t->columns - 1 : 0;
    if (t->rows < 1)
        return og_fail(error, OG_INVALID_DATA,
                       "no rows; the first line names the columns, samples follow");
    return OG_OK;
}

/* ---- columns */

static bool is_number(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    while (*end == ' ')
        end++;
    return end != text && !*end;
}

static bool is_whole(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    while (*end == ' ')
        end++;
    return end != text && !*end && !errno;
}

static bool all_numbers(const table *t, int column)
{
    double value;
    for (int64_t r = 0; r < t->rows; r++)
        if (!is_number(cell(t, r, column), &value))
            return false;
    return true;
}

static int find_column(const table *t, const char *name, size_t length)
{
    for (int c = 0; c < t->columns; c++)
        if (strlen(t->cells[c]) == length && !strncmp(t->cells[c], name, length))
            return c;
    return -1;
}

static og_status no_column(const table *t, const char *name, size_t length, og_error *error)
{
    og_text list = {0};
    for (int c = 0; c < t->columns; c++)
        og_text_printf(&list, "%s%s", c ? ", " : "", t->cells[c]);
    og_fail(error, OG_INVALID_DATA, "no column \"%.*s\"; there are: %s", (int)length, name,
            list.s ? list.s : "");
    og_text_free(&list);
    return OG_INVALID_DATA;
}

/* -1: none. */
static og_status find_key(const table *t, const char *asked, int *key, og_error *error)
{
    static const char *const names[] = {"file", "filename", "path",  "key", "stem",
                                        "name", "image",    "video", "id"};
    *key = -1;
    if (asked) {
        *key = find_column(t, asked, strlen(asked));
        return *key < 0 ? no_column(t, asked, strlen(asked), error) : OG_OK;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names && *key < 0 && t->columns > 1; i++)
        for (int c = 0; c < t->columns && *key < 0; c++)
            if (!strcasecmp(t->cells[c], names[i]))
                *key = c;
    for (int c = 0; c < t->columns && *key < 0 && t->columns > 1; c++)
        if (!all_numbers(t, c))
            *key = c;
    return OG_OK;
}

/* Which columns are read: those asked for; else all of numbers but the key; else the one of words.
 */
static og_status choose_columns(const table *t, const char *asked, int key, int *chosen, int *n,
                                og_error *error)
{
    *n = 0;
    while (asked && *asked) {
        size_t length = strcspn(asked, "+");
        int c = find_column(t, asked, length);
        if (c < 0)
            return no_column(t, asked, length, error);
        if (*n == t->columns)
            return og_fail(error, OG_INVALID_DATA, "a column is named twice");
        chosen[(*n)++] = c;
        asked += length + (asked[length] == '+');
    }
    for (int c = 0; c < t->columns && !*n && t->columns == 1; c++)
        chosen[(*n)++] = c;
    if (*n)
        return OG_OK;
    for (int c = 0; c < t->columns; c++)
        if (c != key && all_numbers(t, c))
            chosen[(*n)++] = c;
    for (int c = 0; c < t->columns && *n == 0; c++)
        if (c != key)
            chosen[(*n)++] = c;
    return *n ? OG_OK : og_fail(error, OG_INVALID_DATA, "no column but the key");
}

/* ---- columns to elements */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Words to labels. */
static og_status read_words(og_source *s, const table *t, int column, int64_t *out, og_error *error)
{
    const char **words = og_arena_array(s->arena, (size_t)t->rows, sizeof *words);
    if (!words)
        return og_fail_memory(error, (size_t)t->rows * sizeof *words, "classes");
    int n = 0;
    for (int64_t r = 0; r < t->rows; r++)
        words[r] = cell(t, r, column);
    qsort(words, (size_t)t->rows, sizeof *words, by_text);
    for (int64_t r = 0; r < t->rows; r++)
        if (n == 0 || strcmp(words[n - 1], words[r]) != 0)
            words[n++] = words[r];
    s->classes = words;
    s->n_classes = n;
    for (int64_t r = 0; r < t->rows; r++) {
        const char *word = cell(t, r, column);
        const char **found = bsearch(&word, words, (size_t)n, sizeof *words, by_text);
        out[r] = found ? found - words : 0;
    }
    return OG_OK;
}

static og_status read_numbers(og_array *array, const table *t, const int *columns, int n,
                              og_error *error)
{
    bool whole = true;
    int64_t value, *integers = array->owned;
    double *numbers = array->owned;
    for (int64_t r = 0; r < t->rows && whole; r++)
        for (int c = 0; c < n && whole; c++)
            whole = is_whole(cell(t, r, columns[c]), &value);
    array->dtype = whole ? OG_INT64 : OG_DOUBLE;
    for (int64_t r = 0; r < t->rows; r++)
        for (int c = 0; c < n; c++) {
            const char *text = cell(t, r, columns[c]);
            bool fits =
                whole ? is_whole(text, &integers[r * n + c]) : is_number(text, &numbers[r * n + c]);
            if (!fits)
                return og_fail(error, OG_INVALID_DATA,
                               "row %" PRId64 ", column \"%s\": \"%.60s\" is no number", r + 1,
                               t->cells[columns[c]], text);
        }
    return OG_OK;
}

static og_status name_columns(og_source *s, const table *t, const int *columns, int n,
                              og_error *error)
{
    og_text names = {0};
    bool plain = true;
    for (int c = 0; c < n; c++) {
        og_text_printf(&names, "%s%s", c ? "+" : "", t->cells[columns[c]]);
        plain &= !strchr(t->cells[columns[c]], '+');
    }
    if (plain && names.s && !names.failed)
        s->columns = og_arena_strdup(s->arena, names.s);
    bool failed = names.failed || (plain && names.s && !s->columns);
    og_text_free(&names);
    return failed ? og_fail_memory(error, 0, "names of columns") : OG_OK;
}

static og_status read_columns(og_source *s, const table *t, og_error *error)
{
    int key, n, *columns = og_arena_array(s->arena, (size_t)t->columns + 1, sizeof *columns);
    if (!columns)
        return og_fail_memory(error, 64, "a CSV file");
    OG_TRY(find_key(t, s->options.key, &key, error));
    OG_TRY(choose_columns(t, s->options.columns, key, columns, &n, error));
    OG_TRY(name_columns(s, t, columns, n, error));
    og_array *a = s->array = calloc(1, sizeof *s->array);
    size_t bytes;
    if (!a || !og_mul_size((size_t)t->rows * (size_t)n, 8, &bytes))
        return og_fail_memory(error, sizeof *a, "a CSV file");
    OG_TRY(og__array_own(a, bytes, error));
    a->rank = n == 1 ? 1 : 2;
    a->dims[0] = t->rows;
    a->dims[1] = n == 1 ? 0 : n;
    a->dtype = OG_INT64;
    if (n == 1 && !all_numbers(t, columns[0]))
        OG_TRY(read_words(s, t, columns[0], a->owned, error));
    else
        OG_TRY(read_numbers(a, t, columns, n, error));
    if (key >= 0) {
        s->keys = og_arena_array(s->arena, (size_t)t->rows, sizeof *s->keys);
        if (!s->keys)
            return og_fail_memory(error, (size_t)t->rows * sizeof *s->keys, "a CSV file");
        for (int64_t r = 0; r < t->rows; r++)
            s->keys[r] = cell(t, r, key);
    }
    s->dtype = a->dtype;
    s->rank = a->rank;
    memcpy(s->dims, a->dims, sizeof s->dims);
    s->samples = t->rows;
    return OG_OK;
}

static const og__source_type csv = {"CSV", false, NULL};

og_source *og__csv_open(const char *path, const og_source_options *options, og_error *error)
{
    og__scratch scratch = {0};
    og__bytes file;
    table t = {0};
    og_source *s = og__source_new(&csv, path, error);
    if (!s)
        return NULL;
    s->options = *options;
    og_status status = og__read_file(path, &scratch, &file, error);
    char *text = status == OG_OK ? og_arena_alloc(s->arena, file.n + 4) : NULL;
    if (status == OG_OK && !text)
        status = og_fail_memory(error, file.n, "a CSV file");
    if (status == OG_OK && memchr(file.p, 0, file.n))
        status = og_fail(error, OG_INVALID_DATA, "a NUL character: not a text file");
    if (status == OG_OK && text) {
        size_t n = strlen(path);
        memcpy(text, file.p, file.n);
        status = read_table(s->arena, text, n > 4 && !strcmp(path + n - 4, ".tsv") ? '\t' : ',', &t,
                            error);
    }
    if (status == OG_OK)
        status = read_columns(s, &t, error);
    free(scratch.file.p);
    if (status == OG_OK)
        return s;
    og_source_free(s);
    return NULL;
}
