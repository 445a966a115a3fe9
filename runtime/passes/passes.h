/* The passes, in the order in which a training step is made. Each takes a graph and returns a new
 * one in the same arena (or appends to the one it got, where its comment says so); errors are in
 * the returned graph's `error`; NULL only when out of memory. */
#ifndef OG_PASSES_PASSES_H
#define OG_PASSES_PASSES_H

#include "runtime/device/device.h"
#include "runtime/graph/storage.h"

/* ---- infer.c: types, and constants folded
 * ------------------------------------------------------------- */

/* Computes the outputs of `n` (a node of g; the elements it reads are all constants) and turns
 * them into constants. false: it cannot (g's error is left alone), or g->error is set. */
typedef struct og_evaluator {
    void *user;
    bool (*run)(void *user, og_graph *g, og_node *n);
} og_evaluator;

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
    int *values;     /* out, by value of the loaded graph: its typed value, negative if it has none;
                        NULL: not     wanted */
} og_binding;

/* A typed graph in `arena`; everything that does not depend on inputs or states is folded. One
 * error lists the problems of all nodes. */
og_graph *og_pass_infer(const og_graph *loaded, const og_binding *binding, og_evaluator evaluator,
                        og_arena *arena);

/* ---- trainable.c: what is trained
 * ---------------------------------------------------------------------- */

typedef struct og_param {
    int value;        /* of the loaded graph */
    const char *name; /* the initializer's */
    bool trained;
    bool buffer;        /* running statistic of a trained BatchNormalization */
    const char *reason; /* why or why not */
} og_param;

typedef struct og_params {
    og_param *items; /* every float initializer */
    int n;
} og_params;

/* Globs: `trainable` first narrows the set (if any is given), `freeze` then removes. A glob that
 * matches nothing is an error, set in `error`. */
og_status og_classify(const og_graph *loaded, const char *const *trainable, int n_trainable,
                      const char *const *freeze, int n_freeze, og_arena *arena, og_params *params,
                      og_error *error);

/* The state that random ops draw from, int64 [3]: seed, number of the update, number of the
 * micro-batch within it. Whoever runs a graph writes it before. */
#define OG_STATE_POSITION "random_position"

/* ---- training forms, gradients
 * ---------------------------------------------------------------------------- */

/* prepare.c: BatchNormalization in its training form with staged statistics, outputs that gradients
 * read made present, and every node on the way from a trained parameter without a gradient rule of
 * its own replaced by its definition. */
og_graph *og_pass_prepare(og_graph *g, og_storages *storages);

/* inference.c: the form for evaluation: BatchNormalization by its running statistics. */
og_graph *og_pass_inference_form(og_graph *g);

/* double.c: every float32 tensor becomes float64 and every state an input of its name: for checks.
 */
og_graph *og_pass_double(og_graph *g);

/* loss.c: appends to g. Σ weighted loss and Σ weight over the micro-batch. */
typedef struct og_loss {
    const char *name;           /* cross_entropy, mse, l1, bce_with_logits, output */
    double weight;              /* of this loss in the sum */
    double label_smoothing;     /* cross_entropy */
    int64_t ignore_index;       /* cross_entropy; -100 as in PyTorch */
    const float *class_weights; /* cross_entropy; NULL or n_class_weights of them */
    int n_class_weights;
} og_loss;
typedef struct og_loss_value {
    og_val sum, weight; /* scalars of the output's element type */
    double nominal;     /* the weight of a micro-batch whose samples all count once */
} og_loss_value;
og_loss_value og_loss_build(const og_loss *loss, og_val output, og_val target);
/* The type of the target that goes with an output. given: the data's type, whose shape decides
 * between forms (class axis 1 or last, class indices or probabilities; [N] matches [N, 1]); NULL:
 * the usual one. dims[0] = the output's. */
og_status og_loss_target_type(const og_loss *loss, const og_type *output, const og_type *given,
                              og_type *target, og_error *error);
bool og_loss_exists(const char *name);
/* "cross_entropy, mse, …" */
extern const char *const og_loss_names;

/* autodiff.c: appends to g the gradients of `y` (a scalar) with respect to `x`, given dy; dx[i].g
 * NULL where y does not depend on x[i]. */
bool og_autodiff(og_graph *g, og_val y, og_val dy, const og_val *x, int n, og_val *dx);

/* ---- for a device
 * -------------------------------------------------------------------------------------------- */

/* legalize.c: composite and internal ops the device has no kernel for are expanded. All ops that
 * then remain without a kernel are listed in one error. */
og_graph *og_pass_legalize(og_graph *g, const og_device *device);
/* The same without a device: internal ops are expanded to standard ones, for saving. */
og_graph *og_pass_standardize(og_graph *g);

/* simplify.c: equal nodes merged, identities dropped, dead nodes gone. */
og_graph *og_pass_simplify(og_graph *g);

/* fuse.c: elementwise nodes of one iteration space gathered into `Fused` programs. */
og_graph *og_pass_fuse(og_graph *g);

/* layout.c: views instead of copies where the reader's kernel allows it, `Copy` nodes where not;
 * kernels chosen. */
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

#endif
