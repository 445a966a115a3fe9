/* What the command tells its user on stderr, and the lines it offers for pasting. */
#ifndef OG_COMMAND_SAY_H
#define OG_COMMAND_SAY_H

#include "runtime/base/text.h"
#include "tools/ongrad/command.h"

/* "ongrad train: …"; further lines of the message are indented. Returns `status`, an exit status.
 */
int og__say_error(const char *command, int status, const char *format, ...) OG_PRINTF(3, 4);
#ifdef __clang_analyzer__ /* see runtime/base/status.h */
#define og__say_error(command, status, ...) \
    ((og__say_error)(command, status, __VA_ARGS__), (status))
/* The same to a file; `text` stays the caller's. */
int og__write_file(const char *command, const og_text *text, const char *path);

#endif
/* Called with the text of each error that was said, to say more; NULL: nothing is. */
typedef void og__more_fn(const void *user, const char *text);
void og__say_after_errors(og__more_fn *more, const void *user);
void og__say_warning(const char *command, const char *format, ...) OG_PRINTF(2, 3);
/* A plain line. */
void og__say(const char *format, ...) OG_PRINTF(1, 2);
/* A line of a report, "  LABEL       text", to stderr; out: added there instead. */
void og__line(og_text *out, const char *label, const char *format, ...) OG_PRINTF(3, 4);
/* The exit status that a library status means. */
int og__exit_status(og_status status);
/* Errors of an og_error; clears it. */
int og__say_failure(const char *command, og_error *error);

/* May escape sequences be written to stderr: a terminal, no NO_COLOR, no TERM=dumb. */
bool og__say_in_color(void);

/* Add `word` to a command line, quoted for the shell where it must be, with a space before it
 * unless `line` is empty. */
void og__paste_word(og_text *line, const char *word);
/* Write to stdout what `text` holds and flush: a full disk or a closed pipe is a failure. Frees the
 * text. */
int og__write_stdout(const char *command, og_text *text);

/* The same to a file; `text` stays the caller's. */
int og__write_file(const char *command, const og_text *text, const char *path);

#endif
