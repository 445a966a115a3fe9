/* Checkpoints: one ONNX model that also holds what training needs to go on.
 *
 *     ModelProto  graph with today's weights, otherwise as it was loaded
 *                 training_info: algorithm (one step, its states as initializers), bindings
 *                 metadata_props: og_onnx_checkpoint.metadata under "ai.ongrad.checkpoint.KEY"
 *                 metadata_props: the checksum of all bytes before, always last
 *
 * Whatever else writes the model (og_onnx_save, og_onnx_save_as_is) leaves both out again. */
#ifndef OG_ONNX_CHECKPOINT_H
#define OG_ONNX_CHECKPOINT_H

#include "runtime/onnx/onnx.h"

/* A tensor of the training state; an initializer of the algorithm. */
typedef struct og_onnx_state {
    const char *name;
    og_type type;
    const void *data;
    og_onnx_read_fn *read; /* as in og_onnx_weight */
    void *user;
    bool resets; /* the initialization graph makes it `fill` */
    double fill;
} og_onnx_state;

typedef struct og_onnx_checkpoint {
    const og_onnx_weight *weights; /* of the model's graph */
    int n_weights;
    const og_graph *algorithm; /* standard ops alone; NULL: there is none */
    const char *const *names;  /* by storage of the algorithm's states: the initializer it is, of
                                  the model or among `states`; NULL: none */
    const char *why;           /* why there is no algorithm; NULL: nothing is known */
    const og_onnx_state *states;
    int n_states;
    const og_metadata *metadata;
    int n_metadata;
    int keep; /* checkpoints that stay: this one at PATH, older ones as og_checkpoint_older says */
} og_onnx_checkpoint;

/* Replaces the checkpoint at `path` in one step; what was there becomes the first of the older
 * ones. An algorithm that the model's opset cannot say is left out. After a failure what was at
 * `path` is still there. */
og_status og_onnx_save_checkpoint(const og_onnx *onnx, const char *path,
                                  const og_onnx_checkpoint *checkpoint, uint64_t external_above,
                                  og_error *error);
/* "run.ckpt.2.onnx" for the second older one of "run.ckpt.onnx"; malloc'd, NULL when out of memory.
 */
char *og_checkpoint_older(const char *path, int k);
/* What runs that ended in the middle of writing left beside `path`; no other run may be using it.
 */
void og_checkpoint_clean(const char *path);

/* An open checkpoint: mapped, its checksum right. */
typedef struct og_onnx_saved og_onnx_saved;
og_onnx_saved *og_onnx_open_checkpoint(const char *path, og_error *error);
void og_onnx_close_checkpoint(og_onnx_saved *saved);
/* NULL where there is none. */
const char *og_onnx_saved_metadata(const og_onnx_saved *saved, const char *key);
/* Its content, in the mapping at any alignment; NULL where there is no state of that name and type.
 */
const void *og_onnx_saved_state(const og_onnx_saved *saved, const char *name, const og_type *type);
int og_onnx_saved_states(const og_onnx_saved *saved);

#endif
