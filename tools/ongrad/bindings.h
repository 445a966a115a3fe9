/* What the model's inputs and the losses' targets read: files and constants, as --data and --target
 * name them. */
#ifndef OG_COMMAND_BINDINGS_H
#define OG_COMMAND_BINDINGS_H

#include "runtime/data/source.h"
#include "tools/ongrad/losses.h"

/* `[NAME=]PATH[,KEY=VALUE…]`, `NAME=ones|zeros|const:V` or `NAME=mask[:OTHER]` */
typedef struct og__binding {
    char *name;        /* of the input or target */
    char *path;        /* as given; NULL: not a file */
    og_source *source; /* open, or NULL; not owned where `shares` */
    og_source_options options;
    char *key, *columns; /* which the options point to */
    bool keyed_rate;     /* a rate was given, not the model's */
    bool shares;         /* the source is another binding's */
    bool constant;
    double value;                               /* of the constant */
    bool mask;                                  /* of the lengths of input `mask_of` */
    char *mask_of;                              /* its name; NULL: the one whose lengths differ */
    int masked;                                 /* which input that is */
    bool raw;                                   /* pictures whose values are class labels */
    double scale, shift;                        /* x' = x × scale + shift */
    bool scaled;                                /* by a key of the user's */
    bool scaled_as_trained, columns_as_trained; /* as_trained.h */
    const int64_t *rows; /* sample i is sample rows[i] of the source; NULL: sample i */
} og__binding;

typedef struct og__bindings {
    const char *command;
    og_model *model;
    const og__losses *losses;
    const char *data_option,
        *target_option;              /* "data", "val_data"; target_option NULL: no targets */
    const struct og__bindings *base; /* of training, where this validates; NULL: it does not */
    int n_inputs, n_targets;
    og__binding *inputs, *targets; /* in the model's and the losses' order */
    int64_t samples;               /* that every source has, once paired */
    og_pairing pairing;
    int64_t **rows; /* of a part of the pairs, one a binding; NULL: all */
    int n_rows;
} og__bindings;

/* Open what the options name. An exit status; og__bindings_free in any case. An input without data
 * takes the constant that `base` has for it; base may be NULL. */
int og__bindings_open(og__bindings *b, const og__arguments *a, og_model *model,
                      const og__losses *losses, const char *data_option, const char *target_option,
                      const og__bindings *base);
void og__bindings_free(og__bindings *b);
/* Does it read samples, rather than hold one value? */
static inline bool og__binding_reads(const og__binding *b)
{
    return b->source || b->mask;
}
/* Of inputs and then targets, number i. */
static inline og__binding *og__binding_at(const og__bindings *b, int i)
{
    return i < b->n_inputs ? &b->inputs[i] : &b->targets[i - b->n_inputs];
}
/* What the data set is told of it: `info` says what the model takes. A mask has no source yet. */
og_field og__binding_field(const og__binding *b, const og_tensor_info *info, int64_t samples);
/* --val_split: `part` becomes a part of the pairs of `all`, to validate with, and `all` the rest.
 * An exit status; `part` is to be freed before `all`. */
int og__bindings_split(og__bindings *all, og__bindings *part, const og__arguments *a);
/* binding_open.c: the sources, their pairs, and labels where folders give them. */
int og__bindings_open_sources(og__bindings *b, const og__arguments *a);

/* binding_text.c: one value of --data; `names`: what NAME may be. *index: which; -1: no name was
 * given. */
int og__binding_parse(og__binding *source, const char *command, const char *option,
                      const char *text, const char *const *names, int n_names, int *index);
void og__binding_free(og__binding *source);

#endif
