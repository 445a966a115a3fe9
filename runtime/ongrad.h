/* ongrad: trains ONNX models. The one public header; C99 and C++11.
 *
 * Lifetimes. Everything hangs off an og_context. A model, options and a session belong to the
 * context they were made with and must be freed before it. Strings returned by a function live as
 * long as the object they were asked from, or until the next call on that object where its comment
 * says so.
 *
 * Errors. Functions that can fail return og_status, or NULL; og_error_message(context) then says
 * what went wrong, in full sentences. The library never exits, prints, or installs signal handlers.
 *
 * Threads. One context and what belongs to it is used by one thread at a time; different contexts
 * are independent. The one exception is og_session_cancel, which any thread or signal handler may
 * call. */
#ifndef ONGRAD_H
#define ONGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define OG_API __attribute__((visibility("default")))
#else
#define OG_API
#endif

/* ---- status and types */

typedef enum og_status {
    OG_OK = 0,
    OG_INVALID_ARGUMENT, /* the caller's options, names, shapes or buffers */
    OG_INVALID_MODEL,    /* the ONNX file is malformed */
    OG_UNSUPPORTED,      /* a valid model that cannot be run or trained here */
    OG_INVALID_DATA,     /* data files that cannot be read or do not match the model */
    OG_IO_ERROR,         /* the file system said no */
    OG_OUT_OF_MEMORY,    /* memory, or the budget set for it */
    OG_NON_FINITE,       /* the loss or a gradient is NaN or infinite */
    OG_CANCELLED,        /* og_session_cancel was called */
    OG_INTERNAL          /* a bug in ongrad: the context is unusable afterwards */
} og_status;

/* Element types, numbered as TensorProto.DataType. */
typedef enum og_dtype {
    OG_UNDEFINED = 0,
    OG_FLOAT = 1,
    OG_UINT8 = 2,
    OG_INT8 = 3,
    OG_UINT16 = 4,
    OG_INT16 = 5,
    OG_INT32 = 6,
    OG_INT64 = 7,
    OG_STRING = 8,
    OG_BOOL = 9,
    OG_FLOAT16 = 10,
    OG_DOUBLE = 11,
    OG_UINT32 = 12,
    OG_UINT64 = 13,
    OG_COMPLEX64 = 14,
    OG_COMPLEX128 = 15,
    OG_BFLOAT16 = 16,
    OG_FLOAT8E4M3FN = 17,
    OG_FLOAT8E4M3FNUZ = 18,
    OG_FLOAT8E5M2 = 19,
    OG_FLOAT8E5M2FNUZ = 20,
    OG_UINT4 = 21,
    OG_INT4 = 22,
    OG_FLOAT4E2M1 = 23,
    OG_DTYPE_COUNT
} og_dtype;

#define OG_MAX_RANK 12

typedef struct og_context og_context;
typedef struct og_model og_model;
typedef struct og_options og_options;
typedef struct og_session og_session;

/* "1.0.0" */
OG_API const char *og_version(void);
/* "invalid model"; never NULL. */
OG_API const char *og_status_name(og_status status);
/* "float32", "int64" …; never NULL. */
OG_API const char *og_dtype_name(og_dtype dtype);
/* Bits of one element; 0 for strings and unknown types. */
OG_API int og_dtype_bits(og_dtype dtype);

/* ---- context */

typedef enum og_log_level { OG_LOG_DEBUG, OG_LOG_INFO, OG_LOG_WARNING } og_log_level;
typedef void og_log_fn(void *user, og_log_level level, const char *message);

typedef struct og_context_config {
    int threads;      /* compute threads; 0 = as many as the process may run on */
    bool pin_threads; /* bind each but the first to a processor, for threads of the process that
                         calls og_context_new: on a machine that nothing else uses */
    og_log_fn *log;   /* NULL: messages are dropped */
    void *log_user;
    /* On which sessions train: "cpu", "cuda:0" …; "auto": the CPU, as long as most ops of the CUDA
     * device run on the host. NULL: "auto". */
    const char *device;
} og_context_config;

/* config NULL: defaults. NULL when out of memory. Where there is no such device, og_error_status
 * and og_error_message say so at once; models can be loaded and looked at, sessions cannot be made.
 */
OG_API og_context *og_context_new(const og_context_config *config);
OG_API void og_context_free(og_context *context);
/* The device's name; "" where it is not there. */
OG_API const char *og_context_device(const og_context *context);
/* What the last failed call said; "" if none failed. Valid until the next call with this context.
 */
OG_API const char *og_error_message(const og_context *context);
OG_API og_status og_error_status(const og_context *context);

/* Bytes of the context's device, as it reports them: in all, and what may still be used; 0 where
 * the device asked for is not there. */
OG_API void og_context_memory(const og_context *context, uint64_t *total, uint64_t *available);
/* "6GiB", "24GB", "1500000": bytes; false if it is no size. */
OG_API bool og_parse_bytes(const char *text, uint64_t *bytes);
/* A device of this machine that this build can use. */
typedef struct og_device_info {
    char device[16];           /* as og_context_config takes it: "cpu", "cuda:0" */
    char name[112];            /* what its maker calls it; "" where that is not known */
    uint64_t total, available; /* bytes of memory */
    og_dtype half; /* in which products are faster than in float32, OG_UNDEFINED: in none */
} og_device_info;
/* The number of devices; the first `room` are written, the CPU before all. */
OG_API int og_devices(og_device_info *infos, int room);
/* Versions of the libraries that the device, "cuda:0", computes with, which this loads: "CUDA
 * driver 13.0, NVRTC 13.0, cuBLASLt 13.1.0, cuDNN 9.19.0"; "" where it needs none. */
OG_API void og_device_libraries(const char *device, char *text, size_t room);

/* ---- options: key and value as on the command line, "lr" "1e-3"; `-` and `_` read the same */

typedef enum og_option_kind {
    OG_OPTION_FLAG, /* on, off (or true, false, 1, 0) */
    OG_OPTION_INT,
    OG_OPTION_FLOAT,
    OG_OPTION_TEXT,
    OG_OPTION_LIST /* each set adds one */
} og_option_kind;

/* One row of the table that makes the command line, the manual and this interface. */
typedef struct og_option_info {
    const char *name;
    og_option_kind kind;
    const char *fallback; /* the default as text; NULL = none */
    const char *argument; /* "N", "NAME", "GLOB" */
    const char *help;     /* one sentence */
} og_option_info;

/* Rows of the library's options; the last has a NULL name. */
OG_API const og_option_info *og_option_table(void);
OG_API og_options *og_options_new(og_context *context);
OG_API void og_options_free(og_options *options);
/* An unknown name (with the nearest one in the message) or a value that does not parse:
 * OG_INVALID_ARGUMENT. */
OG_API og_status og_options_set(og_options *options, const char *name, const char *value);
/* The value as text, the default if it was not set; NULL if it has none. A list: the first element.
 */
OG_API const char *og_options_get(const og_options *options, const char *name);
/* Was it set explicitly? */
OG_API bool og_options_is_set(const og_options *options, const char *name);

/* ---- built-in models */

/* An option (of og_option_table) that a built-in model takes, and its default there; NULL: none, or
 * one that follows from others. */
typedef struct og_model_option {
    const char *name, *fallback;
} og_model_option;

typedef struct og_model_type {
    const char *name, *summary;     /* "resnet"; a line */
    const og_model_option *options; /* the last has a NULL name */
} og_model_type;

/* The types there are; NULL past the end. */
OG_API const og_model_type *og_model_type_at(int index);
/* A new model with random weights, a function of option seed, as if it had been loaded from a file
 * of opset 20. type NULL: option model_type. options NULL: defaults. An unknown type, an option of
 * another type or a value out of range: OG_INVALID_ARGUMENT. NULL on error. */
OG_API og_model *og_model_new(og_context *context, const char *type, const og_options *options);

/* ---- model */

/* A tensor's description. A symbolic dim is -1 and has a name in dim_names. */
typedef struct og_tensor_info {
    const char *name;
    og_dtype dtype;
    int rank;
    int64_t dims[OG_MAX_RANK];
    const char *dim_names[OG_MAX_RANK]; /* NULL where the dim is a number */
} og_tensor_info;

/* A .onnx file with its external data beside it. NULL on error. */
OG_API og_model *og_model_load(og_context *context, const char *path);
/* The same from memory (copied). folder: where external data lies; NULL: there is none. */
OG_API og_model *og_model_load_memory(og_context *context, const void *bytes, size_t size,
                                      const char *folder);
OG_API void og_model_free(og_model *model);
/* As it was loaded or made, training mode and all (og_session_save writes trained weights). Tensors
 * of more than 1 GiB together go to PATH.data. The file appears whole or not at all. */
OG_API og_status og_model_save(const og_model *model, const char *path);
/* How many training algorithms the file has of its own (ONNX's TrainingInfoProto). */
OG_API int og_model_own_algorithms(const og_model *model);
/* From here on sessions train the model by its one algorithm: inputs of the algorithm are behind
 * the model's, and its first output that is no update is the loss: *loss is its name, which option
 * loss then is to have, "NAME=output". begin: with the values of its initialization, if it has one.
 * Before anything else is done with the model. */
OG_API og_status og_model_use_algorithm(og_model *model, bool begin, const char **loss);
/* Options that change the model itself, done to it: num_classes (a new head; of a built-in model it
 * is one already), init_from, reinit, lora, in this order. options NULL: they were done to it
 * before it was saved. Once a model, before its first session; after an error the model is only
 * good for og_model_free. */
OG_API og_status og_model_adapt(og_model *model, const og_options *options);
/* What og_model_adapt did, one line a change; "" if nothing. */
OG_API const char *og_model_changes(const og_model *model);
OG_API int og_model_input_count(const og_model *model);
OG_API int og_model_output_count(const og_model *model);
OG_API og_status og_model_input(const og_model *model, int index, og_tensor_info *info);
/* rank -1 where an output's shape is not known before inputs are bound. */
OG_API og_status og_model_output(const og_model *model, int index, og_tensor_info *info);

typedef struct og_model_info {
    int64_t ir_version;
    int opset;
    const char *producer;
    int nodes, parameters; /* parameters: tensors that would be trained */
    int64_t parameter_elements;
} og_model_info;
OG_API void og_model_describe(const og_model *model, og_model_info *info);

/* The file's metadata under a key, or what was set since; NULL: there is none. */
OG_API const char *og_model_metadata(const og_model *model, const char *key);
/* Written by og_session_save, beside what the file had; copied. Keys of ongrad's own begin with
 * "ongrad.". */
OG_API og_status og_model_set_metadata(og_model *model, const char *key, const char *value);

/* Weights by reason: what is trained and why. */
typedef struct og_parameter_info {
    const char *name;
    og_dtype dtype;
    int rank;
    int64_t dims[OG_MAX_RANK];
    bool trained, buffer; /* buffer: a running statistic */
    bool loss_model;      /* of a loss that is a model: not a part of the model that is saved */
    double lr_scale;      /* times the learning rate */
    bool no_decay;        /* weight decay 0 */
    const char *reason;
} og_parameter_info;
/* Float initializers under the options' freeze and trainable globs, then those of the losses that
 * are models, named NAME/INITIALIZER. options NULL: defaults. -1 on error. */
OG_API int og_model_parameter_count(og_model *model, const og_options *options);
/* Of the last og_model_parameter_count. */
OG_API og_status og_model_parameter(const og_model *model, int index, og_parameter_info *info);

/* A loss as option "loss" asks for it. */
typedef struct og_loss_info {
    const char *name;     /* in results and logs: OUTPUT.LOSS, or what key name says */
    const char *loss;     /* "cross_entropy" …, or the path of a loss model */
    int output;           /* that it reads; -1: a loss model, whose inputs say it */
    int target;           /* that it reads; -1: none, or a loss model's */
    double weight;        /* in the total */
    bool is_model;        /* a loss model */
    bool classes;         /* scores of classes are compared with labels … */
    int64_t ignore_index; /* … but not with this one */
} og_loss_info;
/* The losses of the options, read against the model; -1 on error. */
OG_API int og_model_loss_count(og_model *model, const og_options *options);
/* Of the last og_model_loss_count; so are the targets: each that some loss reads, in the order in
 * which the losses name them. NULL past the end. */
OG_API og_status og_model_loss(const og_model *model, int index, og_loss_info *info);
OG_API int og_model_target_count(const og_model *model);
OG_API const char *og_model_target_name(const og_model *model, int index);

/* What exporting did to the model's training, one line a kind: "repaired: …" by loading, "trained:
 * …" all the same, "lost: …" with the export call that keeps it; "" if nothing. Lives until the
 * next call. */
OG_API const char *og_model_export_notes(og_model *model);

/* ---- inspection: the graph with its inputs bound */

typedef struct og_node_info {
    const char *name, *op;
    int inputs, outputs;
    og_tensor_info output; /* the first */
    double flops;          /* forward; multiply and add count as two */
    const char *support;   /* "trains", "no gradient" (runs, but gradients stop: why is in note),
                              "unsupported" */
    const char *note;      /* "" if there is nothing to say */
} og_node_info;
/* Bind inputs (og_tensor_info without symbols, one an input, in order; NULL: batch 1 and other
 * symbols 1), infer types. Problems do not fail the call: they are in the notes. The count of
 * nodes; -1 on error. */
OG_API int og_model_inspect(og_model *model, const og_tensor_info *inputs);
/* What the last og_model_inspect found wrong, one line a problem; "" if nothing. */
OG_API const char *og_model_problems(const og_model *model);
OG_API og_status og_model_node(const og_model *model, int index, og_node_info *info);
/* The names of node `index`'s k-th input or output value ("" = absent); NULL past the end. */
OG_API const char *og_model_node_input(const og_model *model, int index, int k);
OG_API const char *og_model_node_output(const og_model *model, int index, int k);

/* Its attributes, "NAME=VALUE" a line, sorted; of tensors and graphs the type and a checksum. ""
 * where it has none, NULL when out of memory or there is no such node. Lives until the next call.
 */
OG_API const char *og_model_node_attributes(og_model *model, int index);

/* The named tensors of the model, float or not: initializers as loading left them. -1 on error. */
OG_API int og_model_weight_count(og_model *model);
/* Of those. data: row-major elements, 4-bit types packed, at any address; they live as long as the
 * model, and are not those that a session trained. */
OG_API og_status og_model_weight(const og_model *model, int index, og_tensor_info *info,
                                 const void **data);
/* The file's metadata in its order; false past the end. */
OG_API bool og_model_metadata_at(const og_model *model, int index, const char **key,
                                 const char **value);

/* Receives bytes in order; false: stop. */
typedef bool og_write_fn(void *user, const void *bytes, size_t size);

/* ---- session: a model in training */

/* inputs, targets: one a model input and one a target, with the largest shapes that will come, the
 * batch in dims[0]. Several targets are told apart by their names (og_model_target_name), or by
 * their order there where they have none; steps take them in the order given here. targets NULL:
 * the types the losses usually compare with, in their order. With no loss (option "loss" is "none")
 * the session only predicts. All memory of training is planned here: what does not fit the budget
 * fails now. With option "device_memory" nothing is allocated, and the session can only be asked
 * for its plan. NULL on error. */
OG_API og_session *og_session_new(og_model *model, const og_options *options,
                                  const og_tensor_info *inputs, int n_inputs,
                                  const og_tensor_info *targets, int n_targets);
OG_API void og_session_free(og_session *session);
/* The type in which a target must be delivered (labels as int64, …); dims as declared, batch in
 * dims[0]. */
OG_API og_status og_session_target(const og_session *session, int index, og_tensor_info *info);
/* An output at the session's batch size. */
OG_API og_status og_session_output(const og_session *session, int index, og_tensor_info *info);

/* Some devices work behind the caller: a step is queued and the call returns, so that the next one
 * can be prepared. Results of optimizer steps are then reported up to OG_UPDATES_BEHIND steps
 * later, each once and in order; errors of a step come with its report. On the CPU a step is done
 * when its call returns, and reported by it. */
enum { OG_UPDATES_BEHIND = 3 };

typedef struct og_step_result {
    bool updated;    /* an optimizer step is reported; the fields below are of it */
    bool skipped;    /* the gradient was not finite; nothing changed but a dynamic loss scale */
    int64_t step;    /* its number, from 1, skipped ones included; not updated: the last reported */
    int64_t begun;   /* optimizer steps so far, those included that were not reported yet */
    int64_t samples; /* of its micro-batches */
    double loss;     /* of the effective batch, before the step: Σ weight · mean of the losses */
    /* The mean of each loss, in og_model_loss order; NaN where nothing counted. Valid until the
     * next step. */
    const double *losses;
    double grad_norm; /* of all gradients, before clipping */
    double lr, loss_scale, next_loss_scale;
} og_step_result;

/* One micro-batch of `samples` (at most the planned batch) from the caller's buffers, row-major,
 * which are the caller's again on return. Every gradient_accumulation_steps calls end in an
 * optimizer step. */
OG_API og_status og_session_train_step(og_session *session, const void *const *inputs,
                                       const void *const *targets, int64_t samples,
                                       og_step_result *result);
/* The optimizer step for micro-batches that are still summed (a short last group); nothing if there
 * are none. Then waits for the device, and reports as og_session_report does. */
OG_API og_status og_session_flush(og_session *session, og_step_result *result);
/* Reports the oldest optimizer step that was not reported yet, waiting for it: call it until
 * `updated` is false to have all. */
OG_API og_status og_session_report(og_session *session, og_step_result *result);
/* After OG_NON_FINITE: runs micro-batch number `micro` (from 0) of its update again and names the
 * first node that made NaN or infinity of finite inputs: `Log "log_1"`; "" if there is none, or the
 * device's memory cannot be looked into. Sums of micro-batches are dropped. */
OG_API og_status og_session_find_non_finite(og_session *session, const void *const *inputs,
                                            const void *const *targets, int64_t samples,
                                            int64_t micro, char text[256]);
OG_API void og_session_set_lr(og_session *session, double lr);

typedef struct og_eval_result {
    /* One loss: loss = Σ loss_sum / Σ weight_sum over any number of batches. Several: the total of
     * this batch times its samples, and its samples. */
    double loss_sum, weight_sum;
    /* Of each loss, in og_model_loss order: mean = Σ loss_sums / Σ weight_sums over any number of
     * batches. Valid until the next step. */
    const double *loss_sums, *weight_sums;
} og_eval_result;
/* Inference mode (BatchNormalization by running statistics). outputs: NULL, or one buffer an output
 * (NULL = unwanted), row-major, `samples` of them. targets NULL: outputs only. */
OG_API og_status og_session_eval_step(og_session *session, const void *const *inputs,
                                      const void *const *targets, int64_t samples,
                                      void *const *outputs, og_eval_result *result);
OG_API og_status og_session_predict(og_session *session, const void *const *inputs, int64_t samples,
                                    void *const *outputs);

/* Parameters and buffers by name; `bytes` must be the tensor's size. */
OG_API og_status og_session_get_parameter(og_session *session, const char *name, void *data,
                                          size_t bytes);
OG_API og_status og_session_set_parameter(og_session *session, const char *name, const void *data,
                                          size_t bytes);

/* With option ema: until it is turned off again, or the next step or checkpoint, evaluation,
 * prediction, parameters and saving are of the averages in place of the weights. Nothing happens
 * without the option. */
OG_API og_status og_session_use_ema(og_session *session, bool on);

/* The original model with the trained weights, in inference mode. The file appears whole or not at
 * all. */
OG_API og_status og_session_save(og_session *session, const char *path);
OG_API og_status og_session_save_to(og_session *session, og_write_fn *write, void *user);
/* In what form a model is written. */
typedef struct og_export {
    const char *const *dims; /* "NAME=N" fixes a symbolic dim, "NAME=OTHER" renames it */
    int n_dims;
    int opset;        /* 0: as it is */
    og_dtype half;    /* OG_FLOAT16: computes in it, but for inputs, outputs and what needs more
                         range or digits (softmax, norms, reductions); OG_UNDEFINED: as it is */
    bool single_file; /* tensors in the file, whatever its size; from 2 GiB on an error */
} og_export;
/* og_session_save in another form. */
OG_API og_status og_session_export(og_session *session, const char *path, const og_export *how);
/* The loss model of loss `index` with its trained weights. */
OG_API og_status og_session_save_loss(og_session *session, int index, const char *path);

/* ---- checkpoints: a session as one ONNX model, from which another goes on */

/* A key and a value of the caller's that travel in a checkpoint, both valid UTF-8. */
typedef struct og_note {
    const char *key, *value;
} og_note;

/* Everything that training needs to go on to the bit (weights, the optimizer's state, sums of
 * micro-batches whose update is still to come, statistics, loss scale, random position) and the
 * step itself as the algorithm of a TrainingInfoProto, where the model's opset can say it. Replaces
 * `path` in one step; what was there is kept as the first of `keep` - 1 older ones,
 * "run.ckpt.1.onnx" for "run.ckpt.onnx". Reports of updates must have been taken
 * (og_session_report). After a failure what was at `path` is still there, and the session can go
 * on. */
OG_API og_status og_session_checkpoint(og_session *session, const char *path, int keep,
                                       const og_note *notes, int n_notes);

/* Metadata that a model has if it is a checkpoint. */
#define OG_CHECKPOINT_KEY "ai.ongrad.checkpoint.session"
typedef struct og_checkpoint og_checkpoint;
/* A file that is damaged, cut short or no checkpoint is OG_INVALID_MODEL. NULL on error. */
OG_API og_checkpoint *og_checkpoint_open(og_context *context, const char *path);
OG_API void og_checkpoint_free(og_checkpoint *checkpoint);
/* NULL where there is none. */
OG_API const char *og_checkpoint_note(const og_checkpoint *checkpoint, const char *key);
/* Where the K-th older one of a path lies; the caller frees it. NULL when out of memory. */
OG_API char *og_checkpoint_older_path(const char *path, int k);
/* Removes what runs that were killed in the middle of writing left beside `path`. No other run may
 * be using it. */
OG_API void og_checkpoint_clean_path(const char *path);

/* What the checkpoint says of the model in the same file; before og_model_adapt, whose options
 * num_classes, init_from and reinit have done their work then and must not be set. */
OG_API og_status og_model_restore(og_model *model, const og_checkpoint *checkpoint);

typedef struct og_restored {
    int64_t step;        /* optimizer steps begun */
    int64_t calls;       /* micro-batches of the next one that are in its sums */
    int states, missing; /* restored; that the checkpoint does not have: they begin anew */
    bool dropped;        /* such sums were left out: accumulation or splitting changed */
} og_restored;
/* The session, of the model in the same file (og_model_load) and fresh, becomes the one that was
 * saved. */
OG_API og_status og_session_restore(og_session *session, const og_checkpoint *checkpoint,
                                    og_restored *restored);

/* For a session that only evaluates or saves, of the model in the same file: the weights that are
 * not in the model itself (adapters), and with `averages` the averages of option ema in place of
 * all. A checkpoint of a run without averages is an error then. */
OG_API og_status og_session_restore_weights(og_session *session, const og_checkpoint *checkpoint,
                                            bool averages);

typedef struct og_memory_report {
    /* bytes, as the device reports them; budget = min(memory_fraction × total, available,
     * memory_budget) */
    uint64_t total, available, budget;
    /* persistent; derived: what depends on weights alone, kept where several micro-batches or
     * predictions share it and the budget allows */
    uint64_t parameters, gradients, optimizer, derived, other_state;
    /* persistent, on a device with memory of its own: constants of the model and the step, and
     * places that batches travel through */
    uint64_t constants, inputs;
    /* the arena that micro and update plans share, workspaces included; it grows, within the
     * budget, if evaluation needs more */
    uint64_t activations;
    uint64_t lower_bound; /* the most bytes live at once in it */
    uint64_t peak;        /* persistent + activations: predicted, and what is allocated */
    /* of the host's memory, beside all that: what the process held when everything was planned and
     * nothing of the above was there: program, libraries, kernels' code, data; 0: not known */
    uint64_t program;
    /* where the budget made more be computed again than is cheap, or option recompute is max: the
     * least peak at this batch size; else 0 */
    uint64_t least;
    double more_time; /* predicted for what is computed again, of a micro-batch's */
    double seconds;   /* of an optimizer step with all its micro-batches, by counts of operations
                         and bytes: to compare plans, not to tell the time */
    /* of the host's memory, pinned, beside all that: what calls travel through that the device
     * leaves to the host */
    uint64_t staging;
    int micro_steps, update_steps; /* kernel calls */
    int pieces; /* a batch is split into so many micro-batches, whose gradients are summed */
    int64_t micro_batch; /* the samples of the largest */
    uint64_t refused;    /* bytes that the system refused before this was planned; 0: none */
    /* of a device with memory of its own, what all have in use there, as it reports: just before
     * the session allocated its memory, and just after; else 0 */
    uint64_t used_before, used_after;
    double flops; /* of one micro-batch, forward and backward */
} og_memory_report;
/* Mixed precision of training steps: OG_FLOAT16, OG_BFLOAT16, or OG_UNDEFINED where all is computed
 * in the model's types. */
OG_API og_dtype og_session_half(const og_session *session);
/* What the next micro-batch's loss is multiplied by; 1 without loss scaling. */
OG_API double og_session_loss_scale(const og_session *session);
OG_API void og_session_memory(const og_session *session, og_memory_report *report);
/* One tensor (or a kernel's workspace) of the arena, and why it is there. */
typedef struct og_tensor_use {
    const char *type;    /* "float32 [32, 64]"; "workspace" */
    const char *made_by; /* `Conv "layer1.conv1"` */
    const char *kept_by; /* the last that reads it; "" where nothing does after it was made */
    uint64_t bytes;
    int first, last; /* kernel calls, counted as in og_session_memory_curve */
} og_tensor_use;
/* Bytes alive in the arena during each kernel call of a micro-batch, then of an update; the count
 * of calls, -1 on error. *bytes lives as long as the session. */
OG_API int og_session_memory_curve(og_session *session, const uint64_t **bytes);
/* What is alive during the call where most is, the largest first; its count, -1 on error. */
OG_API int og_session_peak_tensor_count(og_session *session);
/* Of the last og_session_peak_tensor_count. */
OG_API og_status og_session_peak_tensor(const og_session *session, int index, og_tensor_use *use);
/* A kernel call that the device leaves to the host: what it reads is copied there, but for
 * constants, and what it makes is copied back, whenever it runs. */
typedef struct og_host_call {
    const char *op;              /* "TopK" */
    const char *node;            /* the model's, `TopK "scores"` */
    bool in_update;              /* once an update, else once a micro-batch */
    int order;                   /* counted as in og_session_memory_curve */
    uint64_t to_host, from_host; /* bytes copied */
} og_host_call;
/* Those of a micro-batch and of an update, what copies most first; the count, -1 on error. */
OG_API int og_session_host_call_count(og_session *session);
/* Of the last og_session_host_call_count. */
OG_API og_status og_session_host_call(const og_session *session, int index, og_host_call *call);
/* The planned kernel calls of "micro" or "update", a line each: kernel, node, type, where its
 * result lies; at the end what is packed of weights, once an update. */
OG_API og_status og_session_print_plan(og_session *session, const char *which, og_write_fn *write,
                                       void *user);
/* The step as standard ONNX: "micro", "update" or "forward"; internal ops are expanded. */
OG_API og_status og_session_save_graph(og_session *session, const char *which, const char *path);

/* ---- profile: where the time of training steps goes (option "profile") */

typedef enum og_profile_by {
    OG_PROFILE_BY_OP,   /* calls of the same op, kernel and role are one row */
    OG_PROFILE_BY_NODE, /* and that come from the same node of the model */
    OG_PROFILE_BY_CALL  /* each call of the plans is a row */
} og_profile_by;

/* Kernel calls, summed over all measured steps. */
typedef struct og_profile_row {
    const char *op;       /* of the planned graph: "Conv", "Fused", "ConvGradData" */
    const char *kernel;   /* which of the op's kernels ran */
    const char *role;     /* "forward", "loss", "recompute", "gradient", "accumulate", "update";
                             "weights": what depends on weights alone, and their packing for a
                             kernel, where it is done once for several micro-batches */
    const char *node;     /* the model's node (its op where it has no name); "" by op, or if none */
    const char *shapes;   /* by call: types of inputs and outputs, instructions of Fused; else "" */
    int64_t calls;        /* made */
    double seconds;       /* that they took */
    double least_seconds; /* had each taken what it took at its fastest */
    double flops;         /* floating-point operations; multiply and add count as two */
    double bytes;         /* of inputs and outputs, each as if read or written once */
} og_profile_row;

/* The first three steps only warm up; they are measured where no others followed. */
typedef struct og_profile_summary {
    int64_t steps, warmup_steps; /* measured; left out */
    double seconds; /* of the measured steps, inside og_session_train_step and _flush */
    double kernel_seconds, least_seconds, flops, bytes; /* sums of the rows */
    int64_t calls;
} og_profile_summary;

/* What the steps so far took, the longest first. The count of rows; -1 on error, such as a session
 * without the option. Rows and their texts live until the next og_session_profile. */
OG_API int og_session_profile(og_session *session, og_profile_by by, og_profile_summary *summary);
OG_API og_status og_session_profile_row(const og_session *session, int index, og_profile_row *row);
/* The first three measured steps call by call, as JSON for chrome://tracing or Perfetto. */
OG_API og_status og_session_profile_trace(og_session *session, og_write_fn *write, void *user);

/* Finite differences in double on one micro-batch: for `count` random elements of each trained
 * tensor, the largest difference between the graph's gradient and a central difference, relative to
 * the tensor's largest gradient. */
typedef struct og_gradient_check {
    const char *name;
    double gradient, difference, error;
} og_gradient_check;
/* results: one a trained tensor, in og_model_parameter order; *n: room, then how many were written.
 */
OG_API og_status og_session_check_gradients(og_session *session, const void *const *inputs,
                                            const void *const *targets, int64_t samples, int count,
                                            og_gradient_check *results, int *n);

/* From any thread or a signal handler: the running or next call ends with OG_CANCELLED between two
 * kernels. */
OG_API void og_session_cancel(og_session *session);

/* The learning rate at optimizer step `step` (0-based) of `total` under the options' lr, scheduler
 * and what belongs to it. reduce_lr_on_plateau is multiplied by og_plateau.factor. */
OG_API double og_schedule_lr(const og_options *options, int64_t step, int64_t total);
/* Is the scheduler reduce_lr_on_plateau? */
OG_API bool og_schedule_is_plateau(const og_options *options);

/* What reduce_lr_on_plateau remembers. */
typedef struct og_plateau {
    double factor;         /* of the learning rate */
    double best;           /* value seen; NaN: none yet */
    int64_t bad, cooldown; /* values in a row that were no better; values that do not count yet */
} og_plateau;
OG_API og_plateau og_plateau_start(void);
/* One more value of what is watched, such as a validation loss; `larger`: is better. */
OG_API void og_plateau_step(const og_options *options, og_plateau *plateau, double value,
                            bool larger);

#ifdef __cplusplus
}
#endif

#endif
