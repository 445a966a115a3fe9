/* ONNX files in and out: the only place that sees protobuf-c.
 *
 * A loaded file keeps what it was made from (a mapping or a copy of the bytes), because saving
 * writes the original ModelProto with new weights: names, opset, metadata and fields younger than
 * our schema stay. */
#ifndef OG_ONNX_ONNX_H
#define OG_ONNX_ONNX_H

#include "runtime/graph/graph.h"

typedef struct og_onnx og_onnx;

/* Load from a file (external data relative to its folder) or from memory (copied; external data
 * relative to `folder`, refused if NULL). The graph of the model: untyped except inputs and
 * constants, functions inlined, ops in their newest form. Initializers are constants under their
 * names; constants of Constant nodes have none. Bodies of If, Loop and Scan are not represented:
 * their attributes hold a NULL graph. Caller frees with og_onnx_free; the graph's constants point
 * into it, those of the file's raw data into the mapped file. NULL on error; `error` then holds one
 * report with all problems of the model. */
og_onnx *og_onnx_load(const char *path, og_error *error);
og_onnx *og_onnx_load_memory(const void *bytes, size_t size, const char *folder, og_error *error);
/* Weights by name: of a model, or of a .safetensors file, whose floating-point tensors become the
 * constants of a graph without nodes. It is read, not saved. NULL on error. */
og_onnx *og_onnx_load_weights(const char *path, og_error *error);
/* The same graph as if it had been saved and loaded; its constants are read where they lie, so g
 * goes with the result, or is freed on error. */
og_onnx *og_onnx_from_graph(og_graph *g, og_error *error);
void og_onnx_free(og_onnx *onnx);

/* What an optimizing exporter did to parameters, and loading undid. */
typedef enum og_repair {
    OG_REPAIR_PARTED,  /* one of several equal ones was kept for all */
    OG_REPAIR_BIAS,    /* biases of zeros were dropped */
    OG_REPAIR_TIED,    /* a copy was made of a shared weight */
    OG_REPAIR_RENAMED, /* a transposed weight lost its name */
    OG_REPAIRS
} og_repair;
typedef struct og_onnx_repair {
    int n;
    const char *first; /* of them, by name */
} og_onnx_repair;
og_onnx_repair og_onnx_repaired(const og_onnx *onnx, og_repair what);

/* ---- a model with changes */

/* An initializer. Elements are borrowed: they outlive the model. */
typedef struct og_onnx_tensor {
    const char *name;
    og_type type;
    const void *data;
} og_onnx_tensor;

/* value, the result of a node of the model with its first input x, becomes
 *     value + op(scale · op(x, a), b),
 * op being MatMul, or of a Conv it and a Conv of kernel 1. a, b: names of initializers of `dtype`.
 */
typedef struct og_onnx_branch {
    const char *value, *a, *b;
    double scale;
    bool conv;
    og_dtype dtype;
} og_onnx_branch;

typedef struct og_onnx_edit {
    const og_onnx_tensor *tensors; /* in place of those of the same name, or new */
    int n_tensors;
    const og_onnx_branch *branches;
    int n_branches;
    const char *output; /* whose declared `axis` is `length` from now on; NULL: none */
    int axis;           /* -1: the last */
    int64_t length;
    const char *const *untyped; /* values inside, whose declared shapes are dropped */
    int n_untyped;
} og_onnx_edit;

/* A model with the changes, which owns `onnx` from here on, and goes on pointing into it;
 * og_onnx_base gives that. NULL on error, and `onnx` is still the caller's. */
og_onnx *og_onnx_edited(og_onnx *onnx, const og_onnx_edit *edit, og_error *error);
og_onnx *og_onnx_base(const og_onnx *onnx); /* NULL: it was not made by a change */

/* A symbolic dim of declared shapes by another name; other NULL: of a fixed length. */
typedef struct og_onnx_dim {
    const char *name, *other;
    int64_t length;
} og_onnx_dim;

/* What a model is written as; nothing of it changes what it computes but for rounding. */
typedef struct og_onnx_form {
    const og_onnx_dim *dims;
    int n_dims;
    const og_dtype *dtypes; /* not NULL: in float16 (form_half.c); by value of og_onnx_graph, those
                               not known OG_UNDEFINED */
} og_onnx_form;

/* The model in another form, which owns `onnx` from here on, as og_onnx_edited has it. */
og_onnx *og_onnx_formed(og_onnx *onnx, const og_onnx_form *form, og_error *error);
/* The same, with its graph in the form of that opset and functions inlined. A node that it cannot
 * say is OG_UNSUPPORTED. */
og_onnx *og_onnx_at_opset(og_onnx *onnx, int opset, og_error *error);

/* What a model says about its own training. Names and bytes live as long as the joined model. */
typedef struct og_onnx_binding {
    const char *initializer, *output;
} og_onnx_binding;
typedef struct og_onnx_training {
    og_onnx_binding *updates; /* after a step the initializer is the output of the joined graph */
    int n_updates;
    const char *loss;        /* the algorithm's first output that is no update; NULL: none */
    og_onnx_binding *firsts; /* before the first one it is the output of the initialization */
    int n_firsts;
    const uint8_t *initialization; /* a model without inputs; NULL: none */
    size_t initialization_size;
} og_onnx_training;

/* How many training algorithms the model has that are no checkpoint's. */
int og_onnx_own_algorithms(const og_onnx *onnx);
/* The model with the nodes, inputs and initializers of its one algorithm, and those outputs that
 * are no updates; a change as og_onnx_edited has it. */
og_onnx *og_onnx_with_algorithm(og_onnx *onnx, og_onnx_training *training, og_error *error);

const og_graph *og_onnx_graph(const og_onnx *onnx);
int64_t og_onnx_ir_version(const og_onnx *onnx);
int og_onnx_opset(const og_onnx *onnx); /* of ONNX's own domain */
const char *og_onnx_producer(const og_onnx *onnx);

/* What lies at `data`, an initializer's content, is not needed until it is next read: where it is
 * part of a mapped file its memory is given back, and read again from the file when next touched.
 */
void og_onnx_forget(const og_onnx *onnx, const void *data, size_t bytes);

/* Elements that can be made again (a built-in model's first weights), so that their memory can be
 * given back once they were copied: `release` does that for what lies at `data`, which then is not
 * to be read before `recall`, which makes all that is gone again, but for what is gone for good. */
typedef struct og_onnx_maker {
    void *user; /* released with the model, by `free` */
    void (*release)(void *user, const void *data, size_t bytes, bool for_good);
    void (*recall)(void *user);
    void (*free)(void *user);
} og_onnx_maker;
void og_onnx_set_maker(og_onnx *onnx, og_onnx_maker maker);
/* Both do nothing where the model has no maker. */
void og_onnx_release(const og_onnx *onnx, const void *data, size_t bytes, bool for_good);
void og_onnx_recall(const og_onnx *onnx);

/* Copies bytes that the host cannot read itself; false: it failed, and has said why. */
typedef bool og_onnx_read_fn(void *user, void *to, const void *from, size_t bytes);

/* New content for an initializer: same type as in the file, row-major. */
typedef struct og_onnx_weight {
    const char *name;
    const void *data;
    og_onnx_read_fn
        *read;  /* NULL: `data` is the host's. Else `data` is only an address, unlike any
                   of the host's, and a stretch of it is read just before it is written */
    void *user; /* of read */
} og_onnx_weight;

/* Bytes go to a callback (which returns false to stop), or to a file: written to a temporary file
 * in the same folder, then renamed, so that what was there survives a failure. Above
 * `external_above` bytes of tensors (0: never) tensors go to PATH.data beside it.
 * OG_ONNX_SINGLE: never, and a model of 2 GiB is an error.
 * BatchNormalization and Dropout are written in inference mode. metadata: extra key/values
 * (n_metadata pairs), replacing equal keys. */
#define OG_ONNX_SINGLE UINT64_MAX
og_status og_onnx_save(const og_onnx *onnx, const char *path, const og_onnx_weight *weights,
                       int n_weights, const og_metadata *metadata, int n_metadata,
                       uint64_t external_above, og_error *error);
/* The same with the weights and the training mode that it was loaded or made with. */
og_status og_onnx_save_as_is(const og_onnx *onnx, const char *path, uint64_t external_above,
                             og_error *error);
typedef bool og_onnx_write_fn(void *user, const void *bytes, size_t size);
og_status og_onnx_write(const og_onnx *onnx, og_onnx_write_fn *write, void *user,
                        const og_onnx_weight *weights, int n_weights, const og_metadata *metadata,
                        int n_metadata, og_error *error);

/* Any graph as a standard model of the newest opset (states become inputs, their new values outputs
 * named NAME and NAME_new; constants without a name become Constant nodes). Internal ops must have
 * been expanded before. */
og_status og_onnx_save_graph(const og_graph *g, const char *path, og_error *error);

/* Raw file bytes of the model without external data, for fuzzing: what og_onnx_load_memory checks
 * before unpacking. */
og_status og_onnx_scan(const void *bytes, size_t size, og_error *error);

#endif
