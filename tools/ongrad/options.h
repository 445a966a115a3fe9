/* The command line of every subcommand, from one table: the library's rows (og_option_table) and
 * the command's own.
 * `_` and `-` read the same; a switch has a --no_ form; --NAME_dir PATH is --data NAME=PATH. */
#ifndef OG_COMMAND_OPTIONS_H
#define OG_COMMAND_OPTIONS_H

#include "runtime/base/text.h"
#include "tools/ongrad/command.h"

typedef struct og__row {
    og_option_info info;
    unsigned commands; /* bits of the subcommands that take it */
    const char *group; /* its heading in the help: one of og__option_groups */
    int64_t least;     /* smallest value of a whole number */
    char letter;       /* -o; 0: none */
    bool library;      /* set with og_options_set */
    bool own;          /* read here, too */
    bool apart;        /* the library's option of this name is another one, of other subcommands */
} og__row;

/* option_table.c: ends with NULL. */
extern const char *const og__option_groups[];

/* One value given. */
typedef struct og__setting {
    const og__row *row;
    char *value;
    bool from_file; /* of --config: the command line wins */
    char *where;    /* "run.yaml:3"; NULL: the command line, or a checkpoint */
} og__setting;

typedef struct og__arguments {
    const og__command *command;
    og__row *rows; /* the merged table */
    int n_rows;
    og__setting *settings; /* in the order given, a config file's behind the command line's */
    int n_settings;
    const char *model; /* the argument that is no option; NULL: none */
    char *resumed;     /* the checkpoint that --resume found; NULL: none. It is the model then */
    char *made;        /* settings that made its model, as they are stored; NULL: none */
    char *like;        /* the model of the run that --like repeats; NULL: none */
    char *like_data;   /* what its data looked like */
    char *origin;      /* the model that the run began with, as it was given there; or NULL */
    bool help;
    og_text found; /* what the data decided, a line each */
} og__arguments;

/* Parse argv[0 … argc - 1], what follows the subcommand's name. argv must outlive the arguments.
 * Returns an exit status, having said what is wrong; og__arguments_free in any case. */
int og__arguments_parse(og__arguments *a, const og__command *command, int argc, char **argv);
void og__arguments_free(og__arguments *a);
/* The option of this name or alias, `_` and `-` alike; NULL if there is none. */
const og__row *og__arguments_row(const og__arguments *a, const char *name);
/* One more value, as a config file has it: ignored where the command line gave one. `where` names
 * the file and line. */
int og__arguments_add_from_file(og__arguments *a, const char *where, const char *name,
                                const char *value);

/* After an error: where in a file what it speaks of is set. The signature of og__more_fn. */
void og__arguments_say_where(const void *arguments, const char *text);

/* One more value that the data decided: as if from a file. */
int og__arguments_add_found(og__arguments *a, const char *name, const char *value);

/* Values of one option: the last one given, else the default; NULL if there is none. The name must
 * be in the table. */
const char *og__argument(const og__arguments *a, const char *name);
bool og__argument_is_set(const og__arguments *a, const char *name);
bool og__argument_flag(const og__arguments *a, const char *name);
int64_t og__argument_int(const og__arguments *a, const char *name);
/* The file that a switch was given: --profile=FILE.json; NULL: it is just on or off. */
const char *og__argument_file(const og__arguments *a, const char *name);
/* What the library gets: a switch without its file. */
const char *og__setting_for_library(const og__setting *setting);
/* The k-th value of a list as it was given; NULL past the end. */
const char *og__argument_at(const og__arguments *a, const char *name, int k);

/* option_table.c: the library's rows and the command's, merged. NULL: out of memory. */
og__row *og__option_rows(int *n);
/* What an alias or an old name stands for; `name` itself otherwise. */
const char *og__option_alias(const char *name);
/* Same but for `-` and `_`? */
bool og__same_name(const char *a, const char *b);

/* help.c */
int og__help_overview(void);
int og__help_command(const og__command *command, const og__row *rows, int n_rows);
/* "[no_]" where the switch is on by default, "" otherwise. */
const char *og__help_negated(const og__row *row);
/* What stands behind the name: " N", "[=FILE.json]" of a switch, "". */
void og__help_value(og_text *out, const og__row *row);
/* The sentence of the row, with "repeatable" and the default. */
void og__help_meaning(og_text *out, const og__row *row);
/* How options are written, and the exit statuses: a paragraph each. */
extern const char og__help_spelling[], og__help_statuses[], og__help_types[];

/* config.c: the settings of a YAML file, behind those of the command line. */
int og__config_read(og__arguments *a, const char *path);

#endif
