/* Errors inside the library: one og_error an owner (context, graph, loader thread), carrying the
 * first status set and the text for the user. A text names the thing, the quantity, its value, what
 * was required, and a hint. */
#ifndef OG_BASE_STATUS_H
#define OG_BASE_STATUS_H

#include <stdarg.h>

#include "runtime/ongrad.h"

typedef struct og_error {
    og_status status;
    char *text;     /* malloc'd, NUL-terminated; NULL while status is OG_OK */
    size_t length;  /* of text */
    char fixed[96]; /* the text when malloc fails */
} og_error;

#define OG_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* Return from the calling function with the status of a failed call. */
#define OG_TRY(call)                       \
    do {                                   \
        og_status og_try_status_ = (call); \
        if (og_try_status_ != OG_OK)       \
            return og_try_status_;         \
    } while (0)

/* The same for functions that release something at `cleanup:`; `status` is the caller's variable.
 */
#define OG_TRY_CLEANUP(call) \
    do {                     \
        status = (call);     \
        if (status != OG_OK) \
            goto cleanup;    \
    } while (0)

/* Set the error unless one is set already (the first cause is the one worth reading); returns
 * `status`. */
og_status og_fail(og_error *error, og_status status, const char *format, ...) OG_PRINTF(3, 4);
og_status og_failv(og_error *error, og_status status, const char *format, va_list arguments)
    OG_PRINTF(3, 0);
/* Append a line to the text: the reports that list all problems at once. Sets `status` if none is
 * set. */
og_status og_fail_also(og_error *error, og_status status, const char *format, ...) OG_PRINTF(3, 4);
/* "out of memory: N bytes for WHAT" */
og_status og_fail_memory(og_error *error, size_t bytes, const char *what);
/* Put "PREFIX: " before the text: where the error arose. No effect while status is OG_OK. */
void og_error_prefix(og_error *error, const char *format, ...) OG_PRINTF(2, 3);
/* The text, "" while status is OG_OK. */
const char *og_error_text(const og_error *error);
/* Back to OG_OK, releasing the text. */
void og_error_clear(og_error *error);
/* Move the error of `from` to `to` unless `to` has one; clears `from`; returns the status of `to`.
 */
og_status og_error_move(og_error *to, og_error *from);

/* Static analysis sees one source file at a time. Functions of other files that report failures are
 * told to it by macros like these: what they return, it could not know otherwise. */
/* For the analyzer alone: what the caller, or an op's inference, has made sure of. */
#ifdef __clang_analyzer__
#define OG_ASSUME(fact)              \
    do {                             \
        if (!(fact))                 \
            __builtin_unreachable(); \
    } while (0)
#else
#define OG_ASSUME(fact) ((void)0)
#endif

#ifdef __clang_analyzer__
#define og_fail(error, status, ...) ((og_fail)(error, status, __VA_ARGS__), (status))
#define og_fail_memory(error, bytes, what) ((og_fail_memory)(error, bytes, what), OG_OUT_OF_MEMORY)
#endif

#endif
