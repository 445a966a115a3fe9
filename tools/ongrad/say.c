#include "tools/ongrad/say.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool og__say_in_color(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDERR_FILENO) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

/* "ongrad train: KIND: text", continued lines indented by four. The text comes from files and the
 * command line: control characters are shown as '?', so that a file's name cannot drive the
 * terminal. */
static void say_as(const char *command, const char *kind, const char *color, og__more_fn *more,
                   const void *more_user, const char *format, va_list arguments)
{
    og_text text = {0};
    og_text_vprintf(&text, format, arguments);
    while (text.length && text.s[text.length - 1] == '\n')
        text.s[--text.length] = '\0';
    bool colored = og__say_in_color();
    fprintf(stderr, "ongrad%s%s: %s%s%s ", command ? " " : "", command ? command : "",
            colored ? color : "", kind, colored ? "\033[0m" : "");
    for (const char *s = text.failed ? "out of memory" : text.s ? text.s : ""; *s; s++) {
        bool control = (unsigned char)*s < 0x20 || *s == 0x7f;
        if (*s == '\n')
            fputs("\n    ", stderr);
        else
            fputc(control && *s != '\t' ? '?' : *s, stderr);
    }
    fputc('\n', stderr);
    if (more)
        more(more_user, text.s ? text.s : "");
    og_text_free(&text);
}

static og__more_fn *after_errors;
static const void *after_errors_user;

void og__say_after_errors(og__more_fn *more, const void *user)
{
    after_errors = more;
    after_errors_user = user;
}

int(og__say_error)(const char *command, int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_as(command, "error:", "\033[1;31m", after_errors, after_errors_user, format, arguments);
    va_end(arguments);
    return status;
}

void og__say_warning(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_as(command, "warning:", "\033[1;33m", NULL, NULL, format, arguments);
    va_end(arguments);
}

void og__say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

void og__line(og_text *out, const char *label, const char *format, ...)
{
    og_text line = {0};
    va_list arguments;
    og_text_printf(&line, "  %-11s ", label);
    va_start(arguments, format);
    og_text_vprintf(&line, format, arguments);
    va_end(arguments);
    if (out && line.s)
        og_text_printf(out, "%s\n", line.s);
    else if (line.s)
        og__say("%s", line.s);
    og_text_free(&line);
}

int og__exit_status(og_status status)
{
    return status == OG_OK                 ? OG__EXIT_DONE
           : status == OG_INVALID_ARGUMENT ? OG__EXIT_USAGE
                                           : OG__EXIT_FAILED;
}

int og__say_failure(const char *command, og_error *error)
{
    int status = og__say_error(command, og__exit_status(error->status), "%s", og_error_text(error));
    og_error_clear(error);
    return status ? status : OG__EXIT_FAILED;
}

void og__paste_word(og_text *line, const char *word)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,+@%";
    if (line->length)
        og_text_add(line, " ");
    if (*word && word[strspn(word, plain)] == '\0') {
        og_text_add(line, word);
        return;
    }
    og_text_add(line, "'");
    for (; *word; word++)
        og_text_addn(line, *word == '\'' ? "'\\''" : word, *word == '\'' ? 4 : 1);
    og_text_add(line, "'");
}

int og__write_stdout(const char *command, og_text *text)
{
    int status = OG__EXIT_DONE;
    if (text->failed)
        status = og__say_error(command, OG__EXIT_FAILED, "out of memory for the output");
    else if ((text->length && fwrite(text->s, 1, text->length, stdout) != text->length) ||
             fflush(stdout) != 0)
        status =
            og__say_error(command, OG__EXIT_FAILED, "cannot write to stdout: %s", strerror(errno));
    og_text_free(text);
    return status;
}

int og__write_file(const char *command, const og_text *text, const char *path)
{
    FILE *file = fopen(path, "we");
    bool ok = file && fwrite(text->s, 1, text->length, file) == text->length;
    int problem = errno;
    if (file && fclose(file) != 0 && ok) {
        ok = false;
        problem = errno;
    }
    return ok ? OG__EXIT_DONE
              : og__say_error(command, OG__EXIT_FAILED, "cannot write %s: %s", path,
                              strerror(problem));
}
