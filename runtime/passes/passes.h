/* The passes; runtime/train/build.c runs them, in this order: attach, infer, patterns, prepare,
 * whole, loss, autodiff, then simplify, products, legalize, simplify, matmul_epilogue, hoist (where
 * a plan keeps what depends on weights alone), recompute, fuse, epilogue, layout, bits. Each takes
 * a graph and returns a new one in the same arena (or appends to the one it got, where its comment
 * says so); errors are in the returned graph's `error`; NULL only when out of memory. */
#ifndef OG_PASSES_PASSES_H
#define OG_PASSES_PASSES_H

#include "runtime/device/device.h"
#include "runtime/graph/storage.h"

/* ---- infer.c: types, and constants folded */

/* Computes the outputs of `n` (a node of g; the elements it reads are all constants) and turns
 * them into constants. false: it cannot (g's error is left alone), or g->error is set. */
typedef struct og_evaluator {
    void *user;
    bool (*run)(void *user, og_graph *g, og_node *n);
} og_evaluator;

/* Loaded values without a typed one. */
enum {
    OG_VALUE_RESOLVED = -1, /* absent, or a sequence: it became values of its own */
    OG_VALUE_FAILED = -2    /* its node, or one before it, could not be typed */
};

/* How a loaded graph's values enter: types of its inputs, and which initializers are state. */
typedef struct og_binding {
    const og_type *inputs;     /* n_inputs static types */
    const int *storage;        /* by value of the loaded graph: storage index of an initializer that
                                  becomes a state, or        -1; NULL: none */
    const og_const *overrides; /* by value: replaces an initializer's or input's content (data
                                  non-NULL); NULL: none */
    int64_t
        baked_batch; /* > 0: a literal batch of this size was baked in by the export and is now … */
    int64_t batch;   /* … this: constants of Reshape and Expand that hold it are rescaled */
    int *values; /* out, by value of the loaded graph: its typed value, or one of the below; NULL:
                    not wanted */
} og_binding;

/* A typed graph in `arena`; everything that does not depend on inputs or states is folded. One
 * error lists the problems of all nodes. */
og_graph *og_pass_infer(const og_graph *loaded, const og_binding *binding, og_evaluator evaluator,
                        og_arena *arena);

/* ---- attach.c: loaded graphs joined, before they are typed */

/* A copy of a loaded graph that can be added to; values keep their numbers. NULL when out of
 * memory. */
og_graph *og_graph_extend(const og_graph *loaded, og_arena *arena);
/* Appends the nodes and constants of `other` to an extended graph. inputs: by input of `other`, the
 * value of g that it reads. Initializers are called PREFIX and their name. map: out, by value of
 * `other`: its number in g, -1 where it has none. */
void og_graph_attach(og_graph *g, const og_graph *other, const int *inputs, const char *prefix,
                     int *map);

/* ---- trainable.c: what is trained */

typedef struct og_param {
    int value; /* of the loaded graph, or the whole it is joined to */
    int part;  /* that it is an initializer of */
    const og_type *type;
    const char *prefix; /* of its part */
    const char *name;   /* the initializer's, behind its part's prefix */
    bool trained;
    bool buffer;        /* running statistic of a trained BatchNormalization */
    double lr_scale;    /* times the learning rate */
    bool no_decay;      /* no weight decay */
    const char *reason; /* why or why not */
} og_param;

typedef struct og_params {
    og_param *items; /* every float initializer */
    int n;
} og_params;

/* One of the graphs that are joined: what its names begin with, and its values' numbers in the
 * whole. */
typedef struct og_part {
    const og_graph *graph; /* as loaded */
    const char *prefix;    /* "" for the model */
    const int *map;        /* by value; NULL: the same numbers */
} og_part;

/* Names by shell patterns. */
typedef struct og_globs {
    const char *const *items;
    int n;
} og_globs;

/* What options say of parameters. */
typedef struct og_rules {
    og_globs trainable, freeze;
    og_globs freeze_bn; /* BatchNormalization nodes, by their name or a parameter's; "all" */
    og_globs lr_scale;  /* "GLOB=X"; the first that matches */
    og_globs no_decay;
    /* Adapters: they alone train, with what is in `fresh` and what `trainable` names. */
    const char *const *adapters, *const *fresh;
    int n_adapters, n_fresh;
} og_rules;

/* The float initializers of all parts, each with its own signature. Globs: `trainable` first
 * narrows the set (if any is given), `freeze` then removes. A glob that matches nothing is an
 * error, set in `error`. */
og_status og_classify(const og_part *parts, int n_parts, const og_rules *rules, og_arena *arena,
                      og_params *params, og_error *error);
/* The float initializer whose name is nearest to a glob that matches none; NULL where none is near.
 */
const char *og_nearest_initializer(const og_graph *g, const char *glob);

/* The state that random ops draw from, int64 [3]: seed, number of the update, number of the
 * micro-batch within it. Whoever runs a graph writes it before. */
#define OG_STATE_POSITION "random_position"

/* How many BatchNormalizations the exporter's optimizer folded into the layers before them: the
 * signature lists their running means, the file holds none. The first one's name goes to `first`.
 */
int og_folded_norms(const og_graph *loaded, char first[128]);

/* ---- training forms, gradients */

/* gradient.c: after og_pass_prepare, nodes of ONNX's preview of training (Gradient, Adam …) in
 * simpler ops. */
og_graph *og_pass_gradients(og_graph *g);

/* prepare.c: BatchNormalization in its training form with staged statistics, outputs that gradients
 * read made present, and every node on the way from a trained parameter without a gradient rule of
 * its own replaced by its definition. */
og_graph *og_pass_prepare(og_graph *g, og_storages *storages);

/* precision.c: products and convolutions in type `half` (float16 or bfloat16), reductions, softmax,
 * norms and losses in float32, the rest as what it reads; inputs, outputs and states keep their
 * types. Ops of the latter class read operands in half where the device has kernels for that. For
 * forward graphs in their training form. */
og_graph *og_pass_precision(og_graph *g, const og_device *device, og_dtype half);
/* half_gradients.c, after autodiff: the gradient of a parameter without the roundings to half that
 * only it sees (appends to the graph); products that are cast to float32, with their bias, not
 * rounded before, and those in gradients of float32 ops with operands cast to half; half copies of
 * parameters as states that `update` renews. */
og_val og_widen_gradient(og_val dx);
og_graph *og_pass_half_products(og_graph *g, og_dtype half);
og_graph *og_pass_half_copies(og_graph *g, og_storages *storages, og_dtype half);

/* patterns.c: composites that the file has written out (attention, Gelu, SiLU,
 * LayerNormalization, RMSNormalization, powers, scaled products, transposes of merged axes) become
 * one or two nodes; MaxPool of Relu becomes Relu of MaxPool. Values agree within rounding. */
og_graph *og_pass_patterns(og_graph *g);
/* The same for steps on a device in mixed precision of type `half` (OG_UNDEFINED: in float32):
 * attention over few keys, too, where the device has a kernel for all of it. */
og_graph *og_pass_patterns_for(og_graph *g, const og_device *device, og_dtype half);

/* whole.c, before gradients are taken: nodes with a `whole` op (og_op) that the device has kernels
 * for, with the options that it has now, become that. For forward graphs in their training form. */
og_graph *og_pass_whole(og_graph *g, const og_device *device);

/* inference.c: the form for evaluation: BatchNormalization by its running statistics. */
og_graph *og_pass_inference_form(og_graph *g);

/* double.c: every float32 tensor becomes float64 and every state an input of its name: for checks.
 */
og_graph *og_pass_double(og_graph *g);

/* loss.c: appends to g. Σ loss and Σ weight over the micro-batch. */
typedef struct og_loss {
    const char *name;           /* one of og_loss_names */
    const char *label;          /* what it is called in reports and states: unique among losses */
    double weight;              /* of this loss in the total */
    int64_t ignore_index;       /* labels of this value do not count; -100 as in PyTorch */
    const float *class_weights; /* NULL or n_class_weights of them */
    int n_class_weights;
    double label_smoothing; /* cross_entropy */
    double beta, delta;     /* smooth_l1; huber */
    bool log_target;        /* kl_div: the target is the logarithm of probabilities */
    bool batchmean;         /* kl_div: the sum divided by samples, not by elements */
} og_loss;
typedef struct og_loss_value {
    og_val sum, weight; /* scalars of the output's element type; the loss is their quotient */
    double nominal;     /* the weight of a micro-batch whose samples all count once */
} og_loss_value;
og_loss_value og_loss_build(const og_loss *loss, og_val output, og_val target);
/* The type of the target that goes with an output. given: the data's type, whose shape decides
 * between forms (class axis 1 or last, class indices or probabilities; [N] matches [N, 1]); NULL:
 * the usual one. dims[0] = the output's. */
og_status og_loss_target_type(const og_loss *loss, const og_type *output, const og_type *given,
                              og_type *target, og_error *error);
bool og_loss_exists(const char *name);
bool og_loss_takes_target(const char *name);
/* Scores of classes are compared with labels. */
bool og_loss_is_of_classes(const char *name);
/* The fields above that it reads beside name, label and weight, as words: "ignore_index …"; "" if
 * none. kl_div's batchmean is called reduction. */
const char *og_loss_keys(const char *name);
/* "bce_with_logits, cross_entropy, …" */
extern const char *const og_loss_names;

/* loss_total.c: the losses of a step, Σ weight · mean. */
typedef struct og_total {
    const og_loss *losses;
    int n;
    double nominal; /* of an effective batch: the loss's weight if every sample counts once; where
                       there are several losses the number of samples */
} og_total;
/* What a micro-batch of `samples` is differentiated by: y with dy, so that the gradients of an
 * effective batch's micro-batches add up to nominal / Σ weight times those of the total. */
typedef struct og_seed {
    og_val y, dy;
} og_seed;
og_seed og_total_seed(const og_total *total, const og_loss_value *values, int64_t samples);
/* Adds the micro-batch to the sums of loss and weight. */
void og_total_accumulate(og_graph *g, og_storages *storages, const og_total *total,
                         const og_loss_value *values, int64_t samples);
/* From the sums, which are set back to zero: the total loss of the effective batch and each loss's
 * mean (n of them, float64 scalars; a mean without weight is NaN and left out of the total), and
 * what the sums of gradients are to be multiplied by. */
typedef struct og_total_result {
    og_val loss, correction;
} og_total_result;
og_total_result og_total_finish(og_graph *g, og_storages *storages, const og_total *total,
                                og_val *means);
/* Is it one of these sums? They are zero where no micro-batch is pending. */
bool og_total_is_sum(const og_storage *storage);

/* autodiff.c: appends to g the gradients of `y` (a scalar) with respect to `x`, given dy; dx[i].g
 * NULL where y does not depend on x[i]. */
bool og_autodiff(og_graph *g, og_val y, og_val dy, const og_val *x, int n, og_val *dx);

/* ---- for a device */

/* legalize.c: composite and internal ops the device has no kernel for are expanded. All ops that
 * then remain without a kernel are listed in one error. */
og_graph *og_pass_legalize(og_graph *g, const og_device *device);
/* The same without a device: internal ops are expanded to standard ones, for saving. */
og_graph *og_pass_standardize(og_graph *g);

/* follow.c: `next` behind g, which it extends: where g writes a state, next reads what it wrote and
 * what next writes is the state's new value. Both are typed, share an arena and a table of
 * storages. Outputs of g are dropped, those of next stay. */
og_graph *og_pass_follow(og_graph *g, const og_graph *next);

/* simplify.c: equal nodes merged, identities dropped, dead nodes gone. */
og_graph *og_pass_simplify(og_graph *g);

/* products.c: products that are only read transposed are computed transposed. */
og_graph *og_pass_products(og_graph *g);

/* matmul_epilogue.c: what is done before and after products of a training step, done by them, where
 * the device can. */
og_graph *og_pass_matmul_epilogue(og_graph *g, const og_device *device);

/* hoist.c: nodes that depend on weights alone come first, in the role OG_ROLE_WEIGHTS. No later
 * pass computes them again or fuses them with others. */
og_graph *og_pass_hoist(og_graph *g, const og_storages *storages);

/* recompute.c: forward values that the backward pass reads are computed again there, where that is
 * cheap or where the budget asks for it, instead of being kept until then. */
typedef enum og_recompute_level {
    OG_RECOMPUTE_OFF,   /* everything is kept */
    OG_RECOMPUTE_CHEAP, /* elementwise results, norms, masks: from what is kept anyway */
    OG_RECOMPUTE_BLOCKS /* also what costs more, between checkpoints */
} og_recompute_level;
typedef struct og_recompute {
    og_recompute_level level;
    int drop;   /* how many of the level's candidates, the cheapest for a byte first; CHEAP:
                   OG_RECOMPUTE_FREE, those that cost next to nothing */
    int stride; /* BLOCKS: a checkpoint at every stride-th cut */
    /* out: */
    int candidates;               /* of the level: values that might be dropped */
    int dropped;                  /* of these */
    int cuts;                     /* BLOCKS: places that little passes through */
    double seconds, more_seconds; /* what the graph's nodes are estimated to take, and those that
                                     run again, less what they save */
    double hoisted_seconds;       /* of `seconds`, those of hoisted nodes: once an update */
} og_recompute;
/* As many as are estimated to add no more than a hundredth to the graph's time, all together. */
enum { OG_RECOMPUTE_FREE = -1 };
og_graph *og_pass_recompute(og_graph *g, og_recompute *recompute);

/* fuse.c: elementwise nodes of one iteration space gathered into `Fused` programs, and a reduction
 * of what they compute, where the device has a kernel for that. */
og_graph *og_pass_fuse(og_graph *g, const og_device *device);

/* epilogue.c: what a product's result goes through next, done by the product, where the device can.
 */
og_graph *og_pass_epilogue(og_graph *g, const og_device *device);

/* layout.c: views instead of copies where the reader's kernel allows it, `Copy` nodes where not;
 * regions of images channels-last where the device is faster so; kernels chosen. */
typedef struct og_place {
    int root;         /* the value in whose memory this one lies (itself: its own) */
    og_layout layout; /* within root, in elements of the value's dtype */
} og_place;
typedef struct og_layouts {
    og_graph *graph;
    og_place *places;          /* by value */
    const og_kernel **kernels; /* by node; NULL: a view, nothing runs */
} og_layouts;
og_graph *og_pass_layout(og_graph *g, const og_device *device, og_layouts *layouts);

/* bits.c: large bools that only programs write and read become OG_BIT, in place, where the kernels
 * that were chosen take that. false when out of memory. */
bool og_pass_bits(og_layouts *layouts, const og_device *device);

#endif
