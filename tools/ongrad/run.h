/* What the subcommands with a model share, in the order it is made: context, model, options, data,
 * session. */
#ifndef OG_COMMAND_RUN_H
#define OG_COMMAND_RUN_H

#include "tools/ongrad/feed.h"
#include "tools/ongrad/shapes.h"

typedef struct og__run {
    const og__arguments *arguments;
    const char *command;
    bool quiet;
    og_context *context;
    og_model *model;
    const char *model_name; /* its path, or the type of a built-in model */
    og_options *options;
    og__losses losses;
    og__bindings data;
    og_transforms transforms;
    bool trains_itself; /* by the model's own algorithm */
    int64_t batch_size, default_batch;
    int n_inputs, n_targets;
    og_tensor_info *inputs;  /* as given to the session */
    og_tensor_info *targets; /* before the session: as their files are, NULL where there are none;
                                after: as it wants them */
    og_session *session;
    og_checkpoint *checkpoint; /* that --resume goes on from, until it did, or that eval, predict
                                  and export use; NULL: none */
} og__run;

/* Context and options. An exit status; og__run_close in any case. */
int og__run_open_context(og__run *run, const og__arguments *arguments);
/* Those and the model: the file given, else a new built-in one. */
int og__run_open(og__run *run, const og__arguments *arguments);
void og__run_close(og__run *run);

/* Losses are wanted: an error that names what the targets would suit if there is no --loss. */
int og__run_need_loss(og__run *run);
/* No losses, whatever the options say. */
int og__run_without_loss(og__run *run);

/* Open --data and, with losses, --target; the batch size and the shapes follow. part: gets what
 * --val_split takes off, where it is given; NULL: nothing is. */
int og__run_bind_data(og__run *run, bool with_targets, og__bindings *part);
/* The same without data: shapes from the model, --batch_size (else `batch`) and --dim (else
 * `fallback`, 0: an error); targets are what the losses usually compare with. */
int og__run_bind_shapes(og__run *run, int64_t batch, int64_t fallback);

/* The session for what was bound. Where it does not fit the memory, says what would. */
int og__run_start(og__run *run);

/* Say the context's error. */
int og__run_failed(const og__run *run);

/* og_tensor_info of one output at the session's batch. */
int og__run_output(const og__run *run, int index, og_tensor_info *info);

/* A path that will be written: its folder must exist and be writable, and it must be none of the
 * files being read. `what`: "--output". */
int og__run_check_writable(const og__run *run, const char *what, const char *path);

#endif
