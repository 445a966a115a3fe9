/* ongrad man: manual pages in man(7), from the tables of subcommands and options. `ongrad man` is
 * the page ongrad(1), `ongrad man train` ongrad-train(1); with --output all of them are written to
 * a folder. No date, so that a page changes with the program alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/ongrad/options.h"
#include "tools/ongrad/say.h"

/* ---- text as roff shows it unchanged */

/* A character that roff would read or draw otherwise. A hyphen is written as a minus sign, which
 * can be pasted. */
static const char *escaped(char c)
{
    switch (c) {
    case '\\':
        return "\\e";
    case '-':
        return "\\-";
    case '\'':
        return "\\(aq";
    case '`':
        return "\\(ga";
    case '^':
        return "\\(ha";
    case '~':
        return "\\(ti";
    default:
        return NULL;
    }
}

static void add_text(og_text *out, const char *s)
{
    for (; *s; s++) {
        const char *other = escaped(*s);
        if (*s == '.' && (!out->length || out->s[out->length - 1] == '\n'))
            og_text_add(out, "\\&"); /* a point begins a request there */
        if (other)
            og_text_add(out, other);
        else
            og_text_addn(out, s, 1);
    }
}

/* `text` in another font, of one letter: B or I. */
static void add_in(og_text *out, char font, const char *text)
{
    og_text_printf(out, "\\f%c", font);
    add_text(out, text);
    og_text_add(out, "\\fR");
}

static void add_paragraph(og_text *out, const char *text)
{
    og_text_add(out, ".PP\n");
    add_text(out, text);
    og_text_add(out, "\n");
}

static void add_example(og_text *out, const char *line)
{
    og_text_add(out, ".PP\n.RS 4\n.nf\n");
    add_text(out, line);
    og_text_add(out, "\n.fi\n.RE\n");
}

/* ---- sections */

/* command NULL: ongrad(1) itself. */
static void begin_page(og_text *out, const og__command *command)
{
    const char *summary = command ? command->summary : "trains ONNX models.";
    og_text_printf(out, ".TH ONGRAD%s", command ? "\\-" : "");
    for (const char *s = command ? command->name : ""; *s; s++)
        og_text_printf(out, "%c", *s - 'a' + 'A');
    og_text_printf(out, " 1 \"\" \"ongrad %s\" \"ongrad\"\n.SH NAME\nongrad%s%s \\- ", og_version(),
                   command ? "\\-" : "", command ? command->name : "");
    size_t length = strlen(summary);
    og_text sentence = {0};
    og_text_addn(&sentence, summary, length - (summary[length - 1] == '.'));
    add_text(out, sentence.s ? sentence.s : "");
    og_text_free(&sentence);
    og_text_add(out, "\n.SH SYNOPSIS\n");
}

static void add_row(og_text *out, const og__row *row)
{
    const og_option_info *info = &row->info;
    og_text value = {0}, meaning = {0}, name = {0};
    og_text_add(out, ".TP\n");
    if (row->letter) {
        char letter[3] = {'-', row->letter};
        add_in(out, 'B', letter);
        og_text_add(out, ", ");
    }
    og_text_printf(&name, "--%s%s", og__help_negated(row), info->name);
    add_in(out, 'B', name.s ? name.s : "");
    og__help_value(&value, row);
    if (value.length)
        add_in(out, 'I', value.s);
    og_text_add(out, "\n");
    og__help_meaning(&meaning, row);
    add_text(out, meaning.s ? meaning.s : "");
    og_text_add(out, "\n");
    out->failed |= value.failed || meaning.failed || name.failed;
    og_text_free(&value);
    og_text_free(&meaning);
    og_text_free(&name);
}

static void add_options(og_text *out, const og__command *command, const og__row *rows, int n_rows)
{
    og_text_add(out, ".SH OPTIONS\n");
    for (const char *const *group = og__option_groups; *group; group++) {
        bool any = false;
        for (int i = 0; i < n_rows; i++) {
            if (!(rows[i].commands & command->bit) || rows[i].group != *group)
                continue;
            if (!any) {
                og_text_add(out, ".SS ");
                add_text(out, *group);
                og_text_add(out, "\n");
            }
            any = true;
            add_row(out, &rows[i]);
        }
    }
    if (command->bit & OG__ALL & ~(unsigned)OG__DEVICES)
        add_paragraph(out, og__help_spelling);
}

static void add_types(og_text *out)
{
    const og_model_type *type;
    og_text_add(out, ".SH TYPES\n");
    for (int i = 0; (type = og_model_type_at(i)); i++) {
        og_text_add(out, ".TP\n");
        add_in(out, 'B', type->name);
        og_text_add(out, "\n");
        add_text(out, type->summary);
        og_text_add(out, "\n");
    }
    add_paragraph(out, og__help_types);
}

/* Every page but that of `self`. */
static void add_see_also(og_text *out, const og__command *self)
{
    og_text_add(out, ".SH SEE ALSO\n");
    bool first = true;
    if (self) {
        og_text_add(out, ".BR ongrad (1)");
        first = false;
    }
    for (const og__command *c = og__command_table; c->name; c++)
        if (c != self) {
            og_text_printf(out, "%s.BR ongrad\\-%s (1)", first ? "" : ",\n", c->name);
            first = false;
        }
    og_text_add(out, "\n");
}

static void add_end(og_text *out, const og__command *command)
{
    og_text_add(out, ".SH EXIT STATUS\n");
    add_text(out, og__help_statuses);
    og_text_add(out, "\n");
    add_see_also(out, command);
}

/* ---- pages */

static void command_page(og_text *out, const og__command *command, const og__row *rows, int n_rows)
{
    begin_page(out, command);
    og_text_printf(out, ".B ongrad %s\n", command->name);
    if (*command->arguments) {
        add_in(out, 'I', command->arguments);
        og_text_add(out, "\n");
    }
    og_text_add(out, "[OPTIONS]\n.SH DESCRIPTION\n");
    add_text(out, command->summary);
    og_text_add(out, "\nFor example:\n");
    add_example(out, command->example);
    add_options(out, command, rows, n_rows);
    if (command->bit == OG__NEW)
        add_types(out);
    add_end(out, command);
}

static void overview_page(og_text *out)
{
    begin_page(out, NULL);
    og_text_add(out, ".B ongrad\n.I SUBCOMMAND\n[ARGUMENT] [OPTIONS]\n.SH DESCRIPTION\n");
    add_text(out, "A model that any tool exported as ONNX goes in, a trained ONNX file comes out.");
    og_text_add(out, "\nEach subcommand has a page of its own, and ");
    add_in(out, 'B', "--help");
    og_text_add(out, ".\n.SH SUBCOMMANDS\n");
    for (const og__command *c = og__command_table; c->name; c++) {
        og_text_printf(out, ".TP\n.BR ongrad\\-%s (1)\n", c->name);
        add_text(out, c->summary);
        og_text_add(out, "\n");
    }
    og_text_add(out, ".SH EXAMPLES\n.nf\n");
    for (const og__command *c = og__command_table; c->name; c++) {
        add_text(out, c->example);
        og_text_add(out, "\n");
    }
    og_text_add(out, ".fi\n.SH FILES\n.TP\n");
    add_in(out, 'I', "./ongrad.yaml");
    og_text_add(out, "\n");
    add_text(out, "Options for a run that is given neither --data nor --config.");
    og_text_add(out, "\n.SH ENVIRONMENT\n.TP\n");
    add_in(out, 'B', "NO_COLOR");
    og_text_add(out, "\n");
    add_text(out, "If it is set, messages have no colors.");
    og_text_add(out, "\n");
    add_end(out, NULL);
}

/* command NULL: the overview. */
static int make_page(og_text *out, const og__command *command)
{
    int n_rows;
    og__row *rows = og__option_rows(&n_rows);
    if (!rows)
        return og__say_error("man", OG__EXIT_FAILED, "out of memory for the options");
    if (command)
        command_page(out, command, rows, n_rows);
    else
        overview_page(out);
    free(rows);
    return out->failed ? og__say_error("man", OG__EXIT_FAILED, "out of memory for a page")
                       : OG__EXIT_DONE;
}

static int write_page(const char *folder, const og__command *command)
{
    og_text page = {0}, path = {0};
    int status = make_page(&page, command);
    og_text_printf(&path, "%s/ongrad%s%s.1", folder, command ? "-" : "",
                   command ? command->name : "");
    if (status == OG__EXIT_DONE && path.failed)
        status = og__say_error("man", OG__EXIT_FAILED, "out of memory for a path");
    if (status == OG__EXIT_DONE)
        status = og__write_file("man", &page, path.s);
    og_text_free(&page);
    og_text_free(&path);
    return status;
}

static int write_pages(const char *folder)
{
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return og__say_error("man", OG__EXIT_FAILED, "cannot make the folder %s: %s", folder,
                             strerror(errno));
    OG__TRY(write_page(folder, NULL));
    for (const og__command *c = og__command_table; c->name; c++)
        OG__TRY(write_page(folder, c));
    return OG__EXIT_DONE;
}

int og__command_man(const og__arguments *a)
{
    const char *folder = og__argument(a, "output");
    const og__command *command = a->model ? og__command_find(a->model) : NULL;
    og_text page = {0};
    if (folder && a->model)
        return og__say_error("man", OG__EXIT_USAGE,
                             "--output writes every page: leave out \"%s\", or --output", a->model);
    if (folder)
        return write_pages(folder);
    if (a->model && !command)
        return og__unknown_command("man", a->model);
    int status = make_page(&page, command);
    if (status == OG__EXIT_DONE)
        return og__write_stdout("man", &page);
    og_text_free(&page);
    return status;
}
