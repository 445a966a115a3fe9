/* The algorithm of a TrainingInfoProto; see algorithm.c. */
#ifndef OG_ONNX_ALGORITHM_H
#define OG_ONNX_ALGORITHM_H

#include "runtime/onnx/loader.h"

enum {
    OG__TRAINING_INITIALIZATION = 1,
    OG__TRAINING_ALGORITHM = 2,
    OG__TRAINING_RESET = 3, /* initialization_binding */
    OG__TRAINING_UPDATE = 4 /* update_binding */
};

/* Nodes, inputs and outputs of g as fields of a GraphProto, behind the graph of `base`, and the
 * bindings of what it makes. states: by storage, the initializer that it is, of the base or of the
 * algorithm; NULL: none. OG_UNSUPPORTED where the base's opset cannot say it; *graph and *bindings
 * are then of no use. Pieces borrow from g. */
og_status og__algorithm_write(const og_onnx *base, const og_graph *g, const char *const *states,
                              og_arena *arena, og__out *graph, og__out *bindings, og_error *error);

#endif
