/* What the public objects hold; shared by the files of this folder. */
#ifndef OG_TRAIN_TRAIN_H
#define OG_TRAIN_TRAIN_H

#include "runtime/exec/profile.h"
#include "runtime/onnx/onnx.h"
#include "runtime/passes/optimizer.h"
#include "runtime/train/losses.h"

struct og_context {
    og_error error;
    og_device *host;      /* the CPU: what is computed while planning, and checks */
    og_device *device;    /* of sessions; may be the host; NULL: the one asked for is not there */
    char device_name[64]; /* asked for: "auto", "cpu", "cuda:0" */
    og_log_fn *log;
    void *log_user;
};

/* The device of sessions; NULL, and the context's error, where it is not there. */
og_device *og__context_device(og_context *context);
/* devices.c: the device of that name, which may be `host` itself. NULL on error. */
og_device *og__device_new(const char *name, og_device *host, og_error *error);

/* Clears the last error: every public call that can fail begins with it. */
void og__context_begin(og_context *context);
void og__log(og_context *context, og_log_level level, const char *format, ...) OG_PRINTF(3, 4);

struct og_options {
    og_context *context;
    char ***values; /* by row of the table: the texts set, in order */
    int *counts;
};

/* Parsed values; the table's type was checked when they were set. */
int64_t og__option_int(const og_options *o, const char *name);
double og__option_float(const og_options *o, const char *name);
bool og__option_flag(const og_options *o, const char *name);
const char *const *og__option_list(const og_options *o, const char *name, int *n);
og_options *og__options_copy(const og_options *o);

/* A low-rank branch beside a weight (lora.c). */
typedef struct og__adapter {
    const char *weight, *a, *b;  /* names of initializers */
    int64_t rank, rows, columns; /* of the weight, all axes but the first as one */
    double scale;
    bool swapped, conv; /* the weight is [out, in], of a product; or a convolution's */
} og__adapter;

struct og_model {
    og_context *context;
    og_onnx *onnx;
    const og_graph *graph; /* as loaded */
    og_arena *arena;       /* of params */
    og_params params;
    og__losses losses;       /* of the last og_model_loss_count */
    og_arena *inspect_arena; /* of what og_model_inspect made */
    og_node_info *node_info;
    int n_node_info;
    int *weights; /* values that are named constants; contents.c */
    int n_weights;
    og_text attributes;   /* of the node last asked for */
    char *problems;       /* malloc'd */
    bool warned;          /* of what the exporter folded */
    og_text export_notes; /* of the last og_model_export_notes */
    bool built_in;        /* made by og_model_new */

    /* adapt.c: what options changed */
    bool adapted;
    og_text changes;      /* a line each */
    og_onnx *source;      /* of init_from; NULL: none */
    const char *fresh[2]; /* the tensors of a head made anew */
    int n_fresh;
    og__adapter *adapters;
    int n_adapters;
    bool keeps_adapters;      /* saved as branches */
    const og_onnx *unadapted; /* the model without its branches */
    /* metadata.c */
    /* own_algorithm.c: the model's own training; own_base NULL: it is not used */
    og_onnx_training training;
    const og_onnx *own_base; /* the model without it: what is saved */
    og_const *firsts;        /* by update: what it begins with; data NULL: the file's content */
    og_metadata *metadata;   /* set since it was loaded; written with the trained weights */
    int n_metadata;
    size_t metadata_capacity;
};

/* A model of `onnx`, which it takes over also on failure; NULL, with the context's error, where
 * that is NULL or memory is short. */
og_model *og__model_of(og_context *context, og_onnx *onnx);
/* Saved tensors of more bytes together go to a file of their own. */
#define OG__EXTERNAL_ABOVE ((uint64_t)1 << 30)

/* The parameters of all parts under the options' globs, in `arena`. */
og_status og__model_classify(const og_model *model, const og_part *parts, int n_parts,
                             const og_options *options, og_arena *arena, og_params *params);

typedef enum og_plan_kind {
    OG_PLAN_MICRO,
    OG_PLAN_EVAL,
    OG_PLAN_PREDICT,
    OG_PLAN_KINDS
} og_plan_kind;

/* A plan made for a number of samples; kept for the session's life. */
typedef struct og_plan_entry {
    og_plan_kind kind;
    int64_t samples;
    og_plan *plan;
    void
        *constants; /* memory of its own for them; NULL: they lie with the states, or with others */
} og_plan_entry;

/* With what a session is tried, and what was found where it does not fit. */
typedef struct og_attempt {
    int pieces;   /* micro-batches that a batch is split into */
    uint64_t cap; /* on the budget, where the device refused more; 0: none */
    /* out: */
    bool too_large; /* for the budget */
    bool apart;     /* in, too: samples were found not to see each other */
    int stride;     /* in, too: of the checkpoints that need least (fit.c); 0: not looked for */
    char tied[512]; /* why a batch is not to be split, for a message; "": no reason is known */
} og_attempt;

/* An update whose results have not been reported. */
typedef struct og__update_record {
    int64_t step, samples;
    double lr;
} og__update_record;

/* Where the inputs of plans lie on a device with memory of its own; elsewhere plans read the
 * caller's buffers, and all is zero. */
typedef struct og__slots {
    size_t bytes;    /* in the region of inputs: the slots, then what og_remote.reserve takes */
    size_t feed;     /* of the largest feed */
    char *base;      /* of the region */
    size_t *offsets; /* by input of the model, then target, in the losses' order */
    size_t lr;       /* offset of update's input */
    og_copy *copies; /* of one feed */
} og__slots;

struct og_session {
    og_attempt attempt;
    og_context *context;
    og_model *model;
    og_options *options;
    og_arena *arena;
    og_params params;
    og_storages storages;
    int *storage_of; /* by value of the loaded graph; -1: not a state */

    og_dtype half; /* of mixed precision; OG_UNDEFINED: off */
    og_optimizer optimizer;
    og__losses losses;
    og_total total;
    const og_graph *joined; /* as loaded: the model with targets and loss models */
    og_const *constants;  /* by its values: aligned content of what is no state; data NULL: as is */
    int64_t batch;        /* samples of a full batch, as callers give them */
    int64_t micro;        /* at most so many of them go through a plan at once */
    int64_t eval_samples; /* the same for evaluation; fewer where that needs less memory */
    int64_t baked_batch;  /* the literal batch of the export; 0: none */
    int accumulation;
    og_type *inputs; /* declared, full batch */
    int n_inputs;
    og_type *targets;  /* in the losses' order, as they want them; full batch */
    int *target_place; /* by the caller's order: which of them it is */
    og_type *outputs;  /* full batch */
    int n_outputs;
    double *loss_sums, *weight_sums; /* of the last og_session_eval_step, by loss */
    double *means;                   /* of the last optimizer step, by loss */

    og_plan *update;
    og_plan_entry *plans;
    int n_plans;
    size_t plans_capacity;
    /* states, and behind them constants and inputs where the device has memory of its own; NULL:
     * the session only plans */
    char *states;
    size_t state_bytes, resident_bytes; /* of the states; of all in that block */
    void *activations;
    size_t activation_bytes;
    og__slots slots;
    size_t lower_bound;
    size_t room; /* while plans are tried: what activations may take; else 0 */
    og_memory_report memory;
    bool keeps;              /* the first plan, what depends on weights alone */
    og_recompute recompute;  /* what the plans of micro-batches keep */
    og_recompute recomputed; /* what the pass said about the last plan made */
    uint64_t *memory_curve;  /* of the last og_session_memory_curve */
    og_tensor_use *uses;     /* of the last og_session_peak_tensor_count */
    int n_uses;
    og_host_call *host_calls; /* of the last og_session_host_call_count */
    int n_host_calls;

    int pending;             /* plans of micro-batches run since the last update */
    int calls;               /* batches of the caller's since then */
    int64_t pending_samples; /* in them */
    double lr;
    int64_t step;     /* optimizer steps begun */
    int64_t reported; /* the last one of which a result was given */
    int position;     /* the storage that says where in the run a micro-batch is; -1: none */
    og__update_record updates[OG_MARKS]; /* not reported, from first_update on, as a ring */
    int first_update, n_updates;
    og_copy *result_copies; /* of one place, while they are made */
    double *results;        /* by place in that ring, RESULTS + losses each (results.c) */
    int skipped;            /* updates in a row, with a fixed loss scale */
    atomic_bool cancel;
    bool check_memory;
    og_profile *profile; /* NULL: nothing is timed */
    int n_profile_rows;  /* of its last report */
    bool averaged;       /* averages and parameters have changed places */
    bool broken;         /* an error left states half written */
};

/* build.c: graphs of the session, before anything device-specific. `arena` takes them. NULL on
 * error. */
og_graph *og__build_micro(og_session *s, int64_t samples, og_arena *arena);
og_graph *og__build_forward(og_session *s, int64_t samples, bool with_loss, og_arena *arena);
og_graph *og__build_update_graph(og_session *s, og_storages *storages, og_arena *arena);
/* simplify, products, legalize, simplify, hoist (keep: and the plan keeps what depends on weights
 * alone), recompute, fuse, plan. Frees the arena: the plan has its own, without the graphs that the
 * passes left behind. */
og_plan *og__plan_graph(og_session *s, og_graph *g, bool keep, og_arena *arena);

/* The typed graph in its training form with the losses appended; losses: one a loss, set. half: of
 * mixed precision; OG_UNDEFINED: none. */
og_graph *og__build_training_forward(og_session *s, int64_t samples, og_dtype half, og_arena *arena,
                                     og_loss_value *losses);

/* targets.c: which target is which, their types, and whether every loss fits what it reads. targets
 * NULL: what the losses usually compare with. */
og_status og__session_bind_targets(og_session *s, const og_tensor_info *targets, int n);
/* Target `index`, in the losses' order, among the caller's. */
const void *og__target_data(const og_session *s, const void *const *targets, int index);

/* samples.c: the graph evaluated on `batch` samples, the first of them number `first`. */
typedef struct og__trial {
    int64_t batch, first;
    og_graph *graph;
    int *values; /* by loaded value */
} og__trial;
typedef struct og__trials {
    og__trial both, one, two; /* two samples; the first; the second */
} og__trials;
/* g: as loaded; the model's, or the one that is joined with losses and has targets behind the
 * inputs. Everything is in `arena`. */
og_status og__try_samples(og_session *s, const og_graph *g, og__trials *t, og_arena *arena);
/* Does the loaded value have what each sample alone gives side by side along its first axis?
 * *known: it has that form, and could be computed; otherwise nothing speaks against it. */
bool og__trials_agree(const og__trials *t, int value, bool *known);
/* The first node where they do not; NULL: none. */
const og_node *og__first_tie(const og_graph *g, const og__trials *t);

/* free_batch.c: OG_OK unless the export baked in another batch and the graph does not work without
 * it. */
og_status og__verify_free_batch(og_session *s);

/* labels.c: the context's error where a class label of the batch names no class. */
og_status og__check_labels(const og_session *s, const void *const *targets, int64_t samples);

/* fit.c: the plan of a micro-batch, of which activations are computed again where the budget asks
 * for it, and s->update. *plan is the caller's, also on failure. */
og_status og__plan_training(og_session *s, og_plan **plan);

/* memory_use.c: the step's node in a message, less the opset; "" where `step` is none of the
 * plan's; NULL: out of memory. */
const char *og__step_text(og_session *s, const og_plan *plan, int step);

/* schedule.c: OG_OK if the options of the learning-rate schedule make sense. */
og_status og__schedule_check(const og_options *options, og_error *error);

/* precision.c: mixed precision and loss scaling from the options; the half copy of parameter
 * `storage` renewed, -1: of all. */
og_status og__parse_precision(og_session *s);
og_status og__renew_half_copies(og_session *s, int storage);
/* own_algorithm.c: of a session whose model trains by an algorithm of its own. Outputs of `joined`
 * for the updates; which states there are, instead of what options say; the new states of a
 * micro-batch, whose graph has those outputs behind the first n. */
bool og__trains_itself(const og_model *m);
og_status og__own_outputs(og_session *s, og_graph *joined);
og_status og__own_states(og_session *s);
void og__own_params(const og_model *m, og_params *params);
void og__own_updates(og_session *s, og_graph *g, og_val loss, int n);
/* average.c: averages of parameters (option ema). Their first content; that of the average of
 * parameter `storage`, if it has one; parameters and averages where they belong. */
og_status og__begin_averages(og_session *s);
og_status og__set_average(og_session *s, int storage, const void *data);
og_status og__use_weights(og_session *s);
/* After an update: the context's error where it was skipped and skipping more would not help. */
og_status og__check_update(og_session *s, const og_step_result *result);

/* session.c: a session planned, with no memory yet. NULL: the context's error says why. */
og_session *og__session_plan(og_model *model, const og_options *options,
                             const og_tensor_info *inputs, int n_inputs,
                             const og_tensor_info *targets, int n_targets, og_attempt *attempt);

/* tune.c: times what the session's plans, which have no memory yet, do not know the fastest way
 * of; and a later plan, in the region of activations, while no plan runs. *changes: plans of today
 * would be others. */
og_status og__session_tune(og_session *s, bool *changes);
og_status og__late_tune(og_session *s, bool *changes);

/* split.c: OG_OK unless samples of a batch, or micro-batches, are not independent of each other;
 * s->attempt.tied says what ties them. Where the session does not fit, only what can be seen. */
og_status og__session_may_split(og_session *s);
/* Does every output have the samples along its first axis, and no other axis depend on them? */
bool og__outputs_are_by_sample(og_session *s);
/* Do samples see each other, in the model or in a loss that is a model? As far as it can be tried;
 * the context's error is left alone. where: the node, for a message. */
bool og__samples_mix(og_session *s, const og_graph *g, char where[256]);
/* The first sample of part i of n that `samples` are split into; part n begins behind the last. */
int64_t og__part_begin(int64_t samples, int64_t i, int64_t n);
/* Sample `first` in data of a full batch of this type; the same for all samples where its first
 * axis is not the batch. */
void *og__sample_at(const og_session *s, const og_type *type, const void *data, int64_t first);

/* memory.c: the budget; whether the peak is within it, with `plan` as the session's first, the one
 * that may keep something; memory for the plans, and its first content. */
void og__fill_budget(og_session *s);
og_status og__session_fits(og_session *s, og_plan *plan, size_t activation_bytes);
og_status og__session_allocate(og_session *s);
/* What the device would still give, below `bytes`. */
uint64_t og__device_left(og_device *d, uint64_t bytes);
/* Bytes of all that stays with `plan` and s->update: states, what `plan` keeps, and on a device
 * with memory of its own their constants and inputs. */
size_t og__persistent_bytes(og_session *s, const og_plan *plan);
/* Weights were written: whatever plans keep of them is old. */
void og__weights_changed(og_session *s);
/* Where a storage lies in the device's memory. */
void *og__state_at(const og_session *s, int storage);
/* An initializer's content was copied: its memory is given back where it is part of a file. */
void og__session_forget(const og_session *s, const void *data, size_t bytes);

/* plans.c: plans by number of samples, made when they are first asked for. NULL on error. */
og_plan *og__find_plan(og_session *s, og_plan_kind kind, int64_t samples);
/* profile NULL: not timed. */
og_status og__run_plan(og_session *s, og_plan *plan, og_profile *profile,
                       const atomic_bool *cancel);
/* Where the session's memory and the plan's inputs are. */
void og__bind_plan(og_session *s, og_plan *plan);

/* inputs.c: what a step reads of the caller's, and where in the run it is. */
og_status og__place_inputs(og_session *s);
og_status og__reserve_inputs(og_session *s, char *base);
void og__bind_inputs(og_session *s, og_plan *plan);
/* Sample `first` of the batch and those behind it. targets: in the caller's order; NULL where the
 * plan has no losses. */
og_status og__set_inputs(og_session *s, og_plan *plan, const void *const *inputs,
                         const void *const *targets, int64_t first);
og_status og__set_lr_input(og_session *s);

/* results.c: what updates came to. Once the results of OG_MARKS updates are on their way the oldest
 * is reported; on the CPU each at once. */
og_status og__results_new(og_session *s);
void og__results_free(og_session *s);
/* The update that was just queued. */
og_status og__results_push(og_session *s, const og__update_record *update);
/* The oldest that is due, or with `all` the oldest; *result is left alone if there is none. */
og_status og__results_take(og_session *s, bool all, og_step_result *result);

/* parameters.c: og_session_save, and tensors beside it from so many bytes on. */
og_status og__session_save(og_session *s, const char *path, uint64_t external_above);
/* lora.c: the merged weights of a session's adapters as weights to save in model->unadapted, added
 * to the n there are; og__merges_free in any case, after saving. */
typedef struct og__merges og__merges;
/* Is it an adapter, or a weight that one is merged into? */
bool og__is_adapted(const og_model *m, const char *name);
og_status og__merges_begin(og_session *s, og__merges **merges, og_onnx_weight *weights, int *n);
void og__merges_free(og__merges *merges);

/* step.c: the state after the last update again: sums zero, staged statistics as the running ones.
 */
og_status og__clear_sums(og_session *s);
/* A call on the session begins; the context's error where it must not. */
og_status og__session_has_memory(og_session *s);
og_status og__session_begin(og_session *s, int64_t samples);

#endif
