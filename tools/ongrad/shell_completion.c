/* ongrad completion SHELL: what makes bash, zsh or fish complete subcommands and options, from
 * their tables. A value is completed as a file's name, but for numbers, switches, and names that
 * the tables list: built-in models, subcommands, shells. */
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/options.h"
#include "tools/ongrad/say.h"

typedef struct script {
    og_text *out;
    og__row *rows;
    int n_rows;
} script;

/* ---- what the tables say */

static bool is_number(const og__row *row)
{
    return row->info.kind == OG_OPTION_INT || row->info.kind == OG_OPTION_FLOAT;
}

static bool is_switch(const og__row *row)
{
    return row->info.kind == OG_OPTION_FLAG;
}

static bool is_value(const og__row *row)
{
    return !is_number(row) && !is_switch(row);
}

/* Has --no_NAME a meaning? Not for --help, and not for a switch that is off until it is given. */
static bool is_on(const og__row *row)
{
    return *og__help_negated(row) != '\0';
}

static void add_types(og_text *out)
{
    const og_model_type *type;
    for (int i = 0; (type = og_model_type_at(i)); i++)
        og_text_printf(out, "%s%s", i ? " " : "", type->name);
}

static void add_subcommands(og_text *out)
{
    for (const og__command *c = og__command_table; c->name; c++)
        og_text_printf(out, "%s%s", c == og__command_table ? "" : " ", c->name);
}

static const char shells[] = "bash zsh fish";

/* The words that the argument may be; nothing: a file. */
static void add_argument_words(og_text *out, const og__command *command)
{
    if (command->bit == OG__NEW)
        add_types(out);
    else if (command->bit == OG__MAN)
        add_subcommands(out);
    else if (command->bit == OG__COMPLETION)
        og_text_add(out, shells);
}

/* `s` within '…'; and for zsh, where `special` characters have a meaning, behind a backslash. */
static void add_quoted(og_text *out, const char *s, const char *special)
{
    for (; *s; s++) {
        if (*s == '\'') {
            og_text_add(out, "'\\''");
            continue;
        }
        if (strchr(special, *s))
            og_text_add(out, "\\");
        og_text_addn(out, s, 1);
    }
}

/* ---- bash */

static void bash_list(const script *s, const og__command *command, const char *name,
                      bool (*belongs)(const og__row *))
{
    og_text_printf(s->out, "        %s='", name);
    for (int i = 0; i < s->n_rows; i++)
        if ((s->rows[i].commands & command->bit) && belongs(&s->rows[i])) {
            og_text_printf(s->out, " --%s", s->rows[i].info.name);
            if (is_on(&s->rows[i]))
                og_text_printf(s->out, " --no_%s", s->rows[i].info.name);
        }
    og_text_add(s->out, " '\n");
}

static void bash(const script *s)
{
    og_text_add(s->out,
                "# Completion of ongrad for bash, made by `ongrad completion bash`.\n"
                "_ongrad()\n{\n"
                "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
                "    local switches numbers values words\n"
                "    COMPREPLY=()\n"
                "    if [[ $COMP_CWORD == 1 ]]; then\n"
                "        words='");
    add_subcommands(s->out);
    og_text_add(s->out, " --help --version'\n"
                        "        COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                        "        return\n"
                        "    fi\n"
                        "    # readline takes --name=value apart at the sign\n"
                        "    if [[ $word == = ]]; then\n"
                        "        word=\n"
                        "    elif [[ $before == = ]]; then\n"
                        "        before=${COMP_WORDS[COMP_CWORD - 2]}\n"
                        "    fi\n"
                        "    if [[ $before == --* ]]; then\n"
                        "        before=${before:2}\n"
                        "        before=--${before//-/_}\n"
                        "    fi\n"
                        "    case ${COMP_WORDS[1]} in\n");
    for (const og__command *c = og__command_table; c->name; c++) {
        og_text_printf(s->out, "    %s)\n", c->name);
        bash_list(s, c, "switches", is_switch);
        bash_list(s, c, "numbers", is_number);
        bash_list(s, c, "values", is_value);
        og_text_add(s->out, "        words='");
        add_argument_words(s->out, c);
        og_text_add(s->out, "'\n        ;;\n");
    }
    og_text_add(s->out, "    *) return ;;\n"
                        "    esac\n"
                        "    if [[ $before == --model_type ]]; then\n"
                        "        words='");
    add_types(s->out);
    og_text_add(s->out, "'\n"
                        "    elif [[ $numbers == *\" $before \"* ]]; then\n"
                        "        compopt +o default 2>/dev/null\n"
                        "        return\n"
                        "    elif [[ $values == *\" $before \"* ]]; then\n"
                        "        return # a file, which is readline's default\n"
                        "    elif [[ $word == -* ]]; then\n"
                        "        words=\"$switches$numbers$values\"\n"
                        "        word=${word:2}\n"
                        "        word=--${word//-/_}\n"
                        "    fi\n"
                        "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                        "}\n"
                        "complete -o default -F _ongrad ongrad\n");
}

/* ---- zsh */

static void zsh_option(const script *s, const og__row *row, const char *prefix)
{
    const og_option_info *info = &row->info;
    og_text_printf(s->out, " \\\n            '%s--%s%s%s[", info->kind == OG_OPTION_LIST ? "*" : "",
                   prefix, info->name, is_switch(row) ? "" : "=");
    add_quoted(s->out, info->help, "[]\\");
    og_text_add(s->out, "]");
    if (!is_switch(row)) {
        og_text_add(s->out, ":");
        add_quoted(s->out, info->argument ? info->argument : "VALUE", ":\\");
        if (!strcmp(info->name, "model_type")) {
            og_text_add(s->out, ":(");
            add_types(s->out);
            og_text_add(s->out, ")");
        } else {
            og_text_add(s->out, is_number(row) ? ": " : ":_files");
        }
    }
    og_text_add(s->out, "'");
}

static void zsh_command(const script *s, const og__command *command)
{
    og_text_printf(s->out, "    %s)\n        _arguments", command->name);
    for (int i = 0; i < s->n_rows; i++)
        if (s->rows[i].commands & command->bit) {
            zsh_option(s, &s->rows[i], "");
            if (is_on(&s->rows[i]))
                zsh_option(s, &s->rows[i], "no_");
        }
    if (*command->arguments) {
        og_text words = {0};
        add_argument_words(&words, command);
        og_text_add(s->out, " \\\n            '1:");
        add_quoted(s->out, command->arguments, ":\\");
        if (words.length)
            og_text_printf(s->out, ":(%s)'", words.s);
        else
            og_text_add(s->out, ":_files'");
        s->out->failed |= words.failed;
        og_text_free(&words);
    }
    og_text_add(s->out, "\n        ;;\n");
}

static void zsh(const script *s)
{
    og_text_add(s->out, "#compdef ongrad\n"
                        "# Completion of ongrad for zsh, made by `ongrad completion zsh`.\n"
                        "_ongrad() {\n"
                        "    if (( CURRENT == 2 )); then\n"
                        "        local -a subcommands=(");
    for (const og__command *c = og__command_table; c->name; c++) {
        og_text_printf(s->out, "\n            '%s:", c->name);
        add_quoted(s->out, c->summary, ":\\");
        og_text_add(s->out, "'");
    }
    og_text_add(s->out, "\n        )\n"
                        "        _describe subcommand subcommands\n"
                        "        return\n"
                        "    fi\n"
                        "    local subcommand=$words[2]\n"
                        "    shift words\n"
                        "    (( CURRENT-- ))\n"
                        "    case $subcommand in\n");
    for (const og__command *c = og__command_table; c->name; c++)
        zsh_command(s, c);
    og_text_add(s->out, "    esac\n"
                        "}\n"
                        "if [[ $funcstack[1] == _ongrad ]]; then\n"
                        "    _ongrad \"$@\"\n"
                        "else\n"
                        "    compdef _ongrad ongrad\n"
                        "fi\n");
}

/* ---- fish */

static void fish_option(const script *s, const og__command *command, const og__row *row,
                        const char *prefix)
{
    og_text_printf(s->out, "complete -c ongrad -n '__fish_seen_subcommand_from %s' -l %s%s",
                   command->name, prefix, row->info.name);
    if (row->letter && !*prefix)
        og_text_printf(s->out, " -s %c", row->letter);
    if (is_number(row))
        og_text_add(s->out, " -x");
    else if (!strcmp(row->info.name, "model_type")) {
        og_text_add(s->out, " -x -a '");
        add_types(s->out);
        og_text_add(s->out, "'");
    } else if (is_value(row))
        og_text_add(s->out, " -r -F");
    og_text_add(s->out, " -d '");
    add_quoted(s->out, row->info.help, "\\");
    og_text_add(s->out, "'\n");
}

static void fish(const script *s)
{
    og_text_add(s->out, "# Completion of ongrad for fish, made by `ongrad completion fish`.\n");
    for (const og__command *c = og__command_table; c->name; c++) {
        og_text words = {0};
        add_argument_words(&words, c);
        og_text_printf(s->out, "complete -c ongrad -n __fish_use_subcommand -f -a %s -d '",
                       c->name);
        add_quoted(s->out, c->summary, "\\");
        og_text_add(s->out, "'\n");
        if (words.length)
            og_text_printf(s->out,
                           "complete -c ongrad -n '__fish_seen_subcommand_from %s' -f -a '%s'\n",
                           c->name, words.s);
        s->out->failed |= words.failed;
        og_text_free(&words);
        for (int i = 0; i < s->n_rows; i++)
            if (s->rows[i].commands & c->bit) {
                fish_option(s, c, &s->rows[i], "");
                if (is_on(&s->rows[i]))
                    fish_option(s, c, &s->rows[i], "no_");
            }
    }
}

/* ---- */

int og__command_completion(const og__arguments *a)
{
    static const struct {
        const char *shell;
        void (*write)(const script *s);
    } writers[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    og_text out = {0};
    script s = {&out, a->rows, a->n_rows};
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++)
        if (!strcmp(a->model, writers[i].shell)) {
            writers[i].write(&s);
            return og__write_stdout("completion", &out);
        }
    return og__say_error("completion", OG__EXIT_USAGE,
                         "the shell is \"%s\", expected bash, zsh or fish", a->model);
}
