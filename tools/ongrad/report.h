/* What a run says on stderr before it starts and after it ends. `out` is that of og__line. */
#ifndef OG_COMMAND_REPORT_H
#define OG_COMMAND_REPORT_H

#include "tools/ongrad/run.h"

typedef struct og__report {
    const og__run *run;
    const og__feed *feed;
    const og__bindings *validation; /* NULL: none */
    int64_t steps, epochs, accumulation;
    bool by_steps; /* --steps, not --epochs, says how long */
    const char *output;
} og__report;

/* What the options changed of the model, a line each. */
void og__report_changes(og_text *out, const og__run *run);
/* What exporting did to it. */
void og__report_export(og_text *out, const og__run *run);
/* What is trained, on what, with how much memory; `out` is needed. */
void og__report_start(og_text *out, const og__report *report);
/* What was not asked for, and follows from the data. */
void og__report_found(og_text *out, const og__arguments *arguments);
/* Data whose stored values look as if they wanted scaling: 8-bit integers that a float input takes
 * as they are. */
void og__report_stored_values(og_text *out, const og__bindings *bindings,
                              const og_tensor_info *inputs);

/* Is the peak so far below the budget that a larger batch is worth a try? */
bool og__has_room(const og_memory_report *memory);
/* A line on how the batch is split; nothing where it is not. */
void og__add_split(const og_memory_report *memory, og_text *out);

/* "Next:" and commands to paste. Each line is added with og__next_line, then og__next_add …;
 * og__next_say prints and frees. */
typedef struct og__next {
    og_text lines, line;
} og__next;
void og__next_line(og__next *next, const char *command, const char *model);
/* A line on the run's own model: its path, or the options that make it. */
void og__next_model(og__next *next, const char *command, const og__run *run);
/* One more word, quoted where needed. */
void og__next_add(og__next *next, const char *word);
/* Every value of option `from` as option `as`. false: there was none. */
bool og__next_option(og__next *next, const og__arguments *a, const char *from, const char *as);
/* The options that say what a loss is. */
void og__next_loss(og__next *next, const og__arguments *a);
/* The same without --loss itself. */
void og__next_loss_options(og__next *next, const og__arguments *a);
void og__next_say(og__next *next, bool quiet);

#endif
