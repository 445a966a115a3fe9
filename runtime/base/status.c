/* og_error: the first status set, and its text. When memory for the text is refused, as much of the
 * message as fits stays in `fixed`, so that an error always says something. Every function takes a
 * NULL error and then only passes the status on. */
#include "runtime/base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The formatted message in fresh memory; NULL when refused, then its start is in `fixed`. */
static char *format_text(char *fixed, size_t fixed_size, size_t *length, const char *format,
                         va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int n = vsnprintf(fixed, fixed_size, format, arguments);
    char *text = n < 0 ? NULL : malloc((size_t)n + 1);
    if (text) {
        vsnprintf(text, (size_t)n + 1, format, again);
        *length = (size_t)n;
    } else if (n < 0) {
        fixed[0] = '\0';
    }
    va_end(again);
    return text;
}

og_status og_failv(og_error *error, og_status status, const char *format, va_list arguments)
{
    if (status == OG_OK)
        status = OG_INTERNAL;
    if (!error || error->status != OG_OK)
        return status;
    error->status = status;
    error->length = 0;
    error->text = format_text(error->fixed, sizeof error->fixed, &error->length, format, arguments);
    return status;
}

og_status(og_fail)(og_error *error, og_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    status = og_failv(error, status, format, arguments);
    va_end(arguments);
    return status;
}

/* text = a + separator + b; the old text stays when memory is refused. */
static void join_text(og_error *error, const char *a, const char *separator, const char *b)
{
    size_t length = strlen(a) + strlen(separator) + strlen(b);
    char *joined = malloc(length + 1);
    if (!joined)
        return;
    snprintf(joined, length + 1, "%s%s%s", a, separator, b);
    free(error->text);
    error->text = joined;
    error->length = length;
}

og_status og_fail_also(og_error *error, og_status status, const char *format, ...)
{
    if (!error)
        return status;
    va_list arguments;
    va_start(arguments, format);
    if (error->status == OG_OK) {
        og_failv(error, status, format, arguments);
    } else {
        char fixed[sizeof error->fixed];
        size_t length;
        char *line = format_text(fixed, sizeof fixed, &length, format, arguments);
        join_text(error, og_error_text(error), "\n", line ? line : fixed);
        free(line);
    }
    va_end(arguments);
    return status;
}

og_status(og_fail_memory)(og_error *error, size_t bytes, const char *what)
{
    return og_fail(error, OG_OUT_OF_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}

void og_error_prefix(og_error *error, const char *format, ...)
{
    if (!error || error->status == OG_OK)
        return;
    char fixed[sizeof error->fixed];
    size_t length;
    va_list arguments;
    va_start(arguments, format);
    char *prefix = format_text(fixed, sizeof fixed, &length, format, arguments);
    va_end(arguments);
    join_text(error, prefix ? prefix : fixed, ": ", og_error_text(error));
    free(prefix);
}

const char *og_error_text(const og_error *error)
{
    if (!error || error->status == OG_OK)
        return "";
    return error->text ? error->text : error->fixed;
}

void og_error_clear(og_error *error)
{
    if (!error)
        return;
    free(error->text);
    *error = (og_error){0};
}

og_status og_error_move(og_error *to, og_error *from)
{
    if (!from || from->status == OG_OK)
        return to ? to->status : OG_OK;
    if (!to || to->status != OG_OK) {
        og_status status = to ? to->status : from->status;
        og_error_clear(from);
        return status;
    }
    *to = *from;
    *from = (og_error){0};
    return to->status;
}
