/* What every subcommand is: a row of the table in main.c, and one file that runs it. Subcommands
 * write data to stdout and everything else to stderr, print their own errors, and return an exit
 * status. */
#ifndef OG_COMMAND_H
#define OG_COMMAND_H

#include <stdbool.h>

/* Exit statuses; inspect --diff has those of diff(1): 0, 1 where models differ, 2. */
enum {
    OG__EXIT_DONE = 0,
    OG__EXIT_FAILED = 1,
    OG__EXIT_USAGE = 2,
    OG__EXIT_STOPPED = 75 /* by a signal, after the model was saved */
};

/* Bits of og__row.commands. */
enum {
    OG__TRAIN = 1 << 0,
    OG__EVAL = 1 << 1,
    OG__PREDICT = 1 << 2,
    OG__INSPECT = 1 << 3,
    OG__PLAN = 1 << 4,
    OG__CHECK = 1 << 5,
    OG__EXPORT = 1 << 6,
    OG__DEVICES = 1 << 7,
    OG__NEW = 1 << 8,
    OG__DATA = 1 << 9,
    OG__REPORT = 1 << 10,
    OG__ALL = (1 << 11) - 1,
    /* subcommands about the command itself: of all options only --help is theirs, unless named */
    OG__MAN = 1 << 12,
    OG__COMPLETION = 1 << 13
};

struct og__arguments;

typedef struct og__command {
    const char *name;
    unsigned bit;          /* the options it takes */
    const char *arguments; /* "MODEL.onnx", "[MODEL.onnx]" where it may be left out, "LOG", "" for
                              none */
    const char *summary;   /* one sentence */
    const char *example;   /* a line to paste */
    int (*run)(const struct og__arguments *arguments);
} og__command;

/* The table of main.c; the last row has a NULL name. */
extern const og__command og__command_table[];
/* NULL: no such subcommand. */
const og__command *og__command_find(const char *name);
/* Says that there is no subcommand `name`, and the nearest; command: who says it, NULL: ongrad. */
int og__unknown_command(const char *command, const char *name);

int og__command_train(const struct og__arguments *arguments);
int og__command_eval(const struct og__arguments *arguments);
int og__command_predict(const struct og__arguments *arguments);
int og__command_inspect(const struct og__arguments *arguments);
int og__command_plan(const struct og__arguments *arguments);
int og__command_check(const struct og__arguments *arguments);
int og__command_export(const struct og__arguments *arguments);
int og__command_new(const struct og__arguments *arguments);
int og__command_data(const struct og__arguments *arguments);
int og__command_report(const struct og__arguments *arguments);
int og__command_devices(const struct og__arguments *arguments);
int og__command_man(const struct og__arguments *arguments);
int og__command_completion(const struct og__arguments *arguments);

/* Return from the calling function where a step failed; it has said why. */
#define OG__TRY(call)                   \
    do {                                \
        int og__exit_ = (call);         \
        if (og__exit_ != OG__EXIT_DONE) \
            return og__exit_;           \
    } while (0)

#endif
