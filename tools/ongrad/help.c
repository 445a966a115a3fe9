/* `ongrad --help` and `ongrad SUBCOMMAND --help`, from the tables; at most 100 columns. */
#include <string.h>

#include "tools/ongrad/options.h"
#include "tools/ongrad/say.h"

const char og__help_spelling[] =
    "`_` and `-` read the same, --name=VALUE and --name VALUE too; every switch has a --no_ form. "
    "--INPUT_dir PATH is --data INPUT=PATH.";
const char og__help_statuses[] =
    "0 done, 1 failed, 2 wrong usage, 75 stopped by a signal after saving.";
const char og__help_types[] =
    "ongrad new TYPE --help lists the options of one type with its defaults. The file is in "
    "training mode: Dropout drops; ongrad train and ongrad export write models for inference.";

enum { COLUMNS = 100, HELP_COLUMN = 34 };

/* Columns that UTF-8 text takes, one a character. */
static int columns(const char *s, size_t bytes)
{
    int n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n;
}

/* `s` wrapped between `indent` and COLUMNS, the cursor standing at column `at`; ends the line. */
static void add_wrapped(og_text *out, int at, int indent, const char *s)
{
    if (at > 0 && at >= indent) {
        og_text_add(out, "\n");
        at = 0;
    }
    og_text_printf(out, "%*s", indent - at, "");
    at = indent;
    while (*s) {
        size_t word = strcspn(s, " ");
        int width = columns(s, word);
        if (at > indent && at + 1 + width > COLUMNS) {
            og_text_printf(out, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            og_text_add(out, " ");
            at++;
        }
        og_text_addn(out, s, word);
        at += width;
        s += word;
        s += strspn(s, " ");
    }
    og_text_add(out, "\n");
}

const char *og__help_negated(const og__row *row)
{
    const og_option_info *info = &row->info;
    bool on = info->kind == OG_OPTION_FLAG && info->fallback && !strcmp(info->fallback, "on");
    return on ? "[no_]" : "";
}

void og__help_value(og_text *out, const og__row *row)
{
    const og_option_info *info = &row->info;
    if (info->kind != OG_OPTION_FLAG)
        og_text_printf(out, " %s", info->argument ? info->argument : "VALUE");
    else if (info->argument)
        og_text_printf(out, "[=%s]", info->argument);
}

void og__help_meaning(og_text *out, const og__row *row)
{
    const og_option_info *info = &row->info;
    og_text_add(out, info->help);
    if (info->kind == OG_OPTION_LIST)
        og_text_add(out, "; repeatable");
    if (info->fallback && (info->kind != OG_OPTION_FLAG || *og__help_negated(row)))
        og_text_printf(out, " (%s)", info->fallback);
}

static void add_row(og_text *out, const og__row *row)
{
    og_text left = {0}, right = {0};
    if (row->letter)
        og_text_printf(&left, "  -%c, ", row->letter);
    else
        og_text_add(&left, "      ");
    og_text_printf(&left, "--%s%s", og__help_negated(row), row->info.name);
    og__help_value(&left, row);
    og__help_meaning(&right, row);
    og_text_add(out, left.s ? left.s : "");
    add_wrapped(out, columns(left.s ? left.s : "", left.length), HELP_COLUMN,
                right.s ? right.s : "");
    og_text_free(&left);
    og_text_free(&right);
}

/* The types of built-in models. */
static void add_types(og_text *out)
{
    const og_model_type *type;
    og_text_add(out, "Types\n");
    for (int i = 0; (type = og_model_type_at(i)); i++) {
        og_text_printf(out, "      %s", type->name);
        add_wrapped(out, 6 + (int)strlen(type->name), HELP_COLUMN, type->summary);
    }
    og_text_add(out, "\n");
    add_wrapped(out, 0, 0, og__help_types);
    og_text_add(out, "\n");
}

int og__help_command(const og__command *command, const og__row *rows, int n_rows)
{
    og_text out = {0};
    og_text_printf(&out, "ongrad %s%s%s [OPTIONS]\n\n", command->name,
                   *command->arguments ? " " : "", command->arguments);
    add_wrapped(&out, 0, 0, command->summary);
    og_text_printf(&out, "\n    %s\n", command->example);
    for (const char *const *group = og__option_groups; *group; group++) {
        bool any = false;
        for (int i = 0; i < n_rows; i++) {
            if (!(rows[i].commands & command->bit) || rows[i].group != *group)
                continue;
            if (!any)
                og_text_printf(&out, "\n%s\n", *group);
            any = true;
            add_row(&out, &rows[i]);
        }
    }
    og_text_add(&out, "\n");
    if (command->bit == OG__NEW)
        add_types(&out);
    if (command->bit & OG__ALL & ~(unsigned)OG__DEVICES)
        add_wrapped(&out, 0, 0, og__help_spelling);
    og_text_printf(&out, "Exit status: %s\n", og__help_statuses);
    return og__write_stdout(command->name, &out);
}

int og__help_overview(void)
{
    og_text out = {0};
    og_text_add(&out,
                "ongrad trains ONNX models.\n\n    ongrad SUBCOMMAND [MODEL.onnx] [OPTIONS]\n\n");
    for (const og__command *c = og__command_table; c->name; c++) {
        int at = 4 + (int)strlen(c->name);
        og_text_printf(&out, "    %s", c->name);
        add_wrapped(&out, at, 16, c->summary);
    }
    og_text_add(&out, "\n    ongrad SUBCOMMAND --help   its options\n"
                      "    ongrad --version           the version\n\n"
                      "For example:\n");
    for (const og__command *c = og__command_table; c->name; c++)
        if (c->bit & (OG__TRAIN | OG__EVAL | OG__INSPECT))
            og_text_printf(&out, "    %s\n", c->example);
    return og__write_stdout(NULL, &out);
}
