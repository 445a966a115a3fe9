/* What the model's inputs and the losses' targets read: files and constants, as --data and --target
 * name them. */
#ifndef OG_COMMAND_BINDINGS_H
#define OG_COMMAND_BINDINGS_H

#include "runtime/data/data.h"
#include "tools/ongrad/losses.h"

/* `[NAME=]PATH[,scale=S][,mean=M][,std=D]` or `NAME=ones|zeros|const:V` */
typedef struct og__source {
    char *name;      /* of the input or target */
    char *path;      /* as given; NULL: not a file */
    og_array *array; /* open, or NULL */
    bool constant;
    double value;        /* of the constant */
    double scale, shift; /* x' = x × scale + shift */
    bool scaled;         /* by a key of the user's */
} og__source;

typedef struct og__bindings {
    const char *command;
    og_model *model;
    const og__losses *losses;
    const char *data_option,
        *target_option; /* "data", "val_data"; target_option NULL: no targets */
    int n_inputs, n_targets;
    og__source *inputs, *targets; /* in the model's and the losses' order */
    int64_t samples;              /* that every file has */
} og__bindings;

/* Open what the options name. An exit status; og__bindings_free in any case. An input without data
 * takes the constant that `base` has for it; base may be NULL. */
int og__bindings_open(og__bindings *b, const og__arguments *a, og_model *model,
                      const og__losses *losses, const char *data_option, const char *target_option,
                      const og__bindings *base);
void og__bindings_free(og__bindings *b);

/* source_text.c: one value of --data; `names`: what NAME may be. *index: which; -1: no name was
 * given. */
int og__source_parse(og__source *source, const char *command, const char *option, const char *text,
                     const char *const *names, int n_names, int *index);
void og__source_free(og__source *source);

#endif
