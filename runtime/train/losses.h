/* The losses that the options ask for, read against a model. */
#ifndef OG_TRAIN_LOSSES_H
#define OG_TRAIN_LOSSES_H

#include "runtime/onnx/onnx.h"
#include "runtime/passes/passes.h"

/* What an input of a loss model stands for. */
typedef enum og__reads { OG__READS_INPUT, OG__READS_OUTPUT, OG__READS_TARGET } og__reads;
typedef struct og__loss_input {
    og__reads kind;
    int index; /* of the trained model's input or output, or of the target */
} og__loss_input;

/* Where a loss gets its values from. */
typedef struct og__loss_source {
    int output;            /* of the trained model; of a loss model: the one it adds to it */
    int target;            /* -1: none, or a loss model's */
    const char *path;      /* of a loss model; NULL: a loss by name */
    const char *prefix;    /* of its initializers' names */
    const og_onnx *onnx;   /* freed with the arena */
    og__loss_input *reads; /* by input of its graph */
} og__loss_source;

typedef struct og__losses {
    og_loss *items;
    og__loss_source *sources;
    int n;
    const char **targets; /* names, in the order in which the losses name them */
    int n_targets;
} og__losses;

/* losses.c: what option "loss" and its companions say. n is 0 for none. Everything lives in
 * `arena`. */
og_status og__losses_parse(og__losses *losses, const og_graph *model, const og_options *options,
                           og_arena *arena, og_error *error);
/* The index of the target of that name, added if it is new; -1 when out of memory. */
int og__losses_target(og__losses *losses, const char *name, og_arena *arena);
/* By name; -1: there is none. */
int og__output_by_name(const og_graph *model, const char *name);

/* loss_models.c: loads the model at source->path and finds out what its inputs read. */
og_status og__loss_model_open(og__losses *losses, og__loss_source *source, const og_graph *model,
                              og_arena *arena, og_error *error);
/* The trained model's graph with an input for each target and the loss models at its end: outputs
 * are the model's, then one a loss model. parts: 1 + n entries, filled; *n_parts how many. NULL on
 * error. */
og_graph *og__losses_join(og__losses *losses, const og_graph *model, og_arena *arena,
                          og_part *parts, int *n_parts, og_error *error);

#endif
