/* The update graph: from sums of gradients to new parameters. */
#ifndef OG_PASSES_OPTIMIZER_H
#define OG_PASSES_OPTIMIZER_H

#include "runtime/passes/passes.h"

/* Loss scaling (Micikevicius et al., arXiv 1710.03740, section 3.2): micro seeds with the scale,
 * update divides by it. Dynamic: an update whose gradients are not finite is skipped and multiplies
 * the scale by backoff, `interval` clean ones in a row multiply it by growth. */
typedef struct og_scaling {
    bool on, dynamic;
    double start, growth, backoff;
    int64_t interval;
} og_scaling;

/* The scale below which it has no use: even values of this size would overflow float16. */
#define OG_LEAST_LOSS_SCALE 0x1p-14

/* Parameters that are stepped differently from others (og_storage.group). */
typedef struct og_group {
    double lr_scale; /* times the learning rate */
    bool no_decay;   /* weight decay 0 */
} og_group;

typedef struct og_optimizer {
    const char *name; /* one of og_optimizer_names */
    double weight_decay, momentum, beta1, beta2, eps;
    double alpha;               /* rmsprop: decay of the mean of squares */
    double lr_decay;            /* adagrad */
    double initial_accumulator; /* adagrad: what the sum of squares begins with */
    bool nesterov, centered;
    double max_norm; /* of all gradients together; 0 = no clipping */
    double ema;      /* decay of the averages of parameters; 0 = there are none */
    bool ema_warmup;
    bool elsewhere;      /* micro has a step of its own: update only reports and commits */
    int accumulation;    /* micro-batches before an update; with one, micro replaces the sums */
    bool continues_sums; /* with more, a state says whether micro begins the sums or adds to them:
                            update leaves them as they are */
    og_scaling scaling;
    const og_group *groups; /* NULL: one, of all */
} og_optimizer;

/* The loss scale, a float64 scalar of this name. */
#define OG_STATE_SCALE "loss_scale"
og_val og_scale_state(og_graph *g, og_storages *storages, const og_scaling *scaling);

/* A float32 scalar of this name: 1 where the sums of gradients hold those of micro-batches whose
 * update is still to come, else 0, and what they hold is nothing. Where the optimizer has
 * continues_sums, and accumulates. */
#define OG_STATE_ACCUMULATING "accumulating"
og_val og_accumulating_state(og_graph *g, og_storages *storages);
bool og_is_accumulating(const og_storage *storage);

/* "adagrad, adam, …" */
extern const char *const og_optimizer_names;
/* An optimizer with the values it has where nothing is said: PyTorch's, or the paper's where
 * PyTorch does not have it. NULL: there is none of that name. */
const og_optimizer *og_optimizer_defaults(const char *name);

/* Does its rule look at a whole tensor? Then slabs would change what it does. */
bool og_optimizer_is_by_tensor(const char *name);

/* Outputs of the update graph, in this order; then the mean of each loss. */
enum {
    OG_UPDATE_LOSS,
    OG_UPDATE_GRAD_NORM,
    OG_UPDATE_FINITE,
    OG_UPDATE_SCALE, /* the one this update's gradients had */
    OG_UPDATE_MEANS
};

/* The graph, in `arena`. Input "lr": a float64 scalar. For every parameter with a gradient storage:
 * the new parameter and moments, and the sum set to zero unless micro begins it anew; for those in
 * a slab, the slab's. Staged statistics are committed. If a sum is not finite every state keeps its
 * value, but the loss scale, and output finite is false. Half copies of parameters are renewed.
 * total: the losses as micro had them. */
og_graph *og_build_update(const og_optimizer *optimizer, const og_total *total,
                          og_storages *storages, og_arena *arena);

#endif
