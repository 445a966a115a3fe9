/* What the files of the loader and the saver share: the loaded model and the state of a load.
 *
 * One arena holds the unpacked ModelProto, the graph and everything made on the way; the graph
 * borrows names and tensors from the proto. Problems of the model go to a report and loading goes
 * on where it can, so that one run tells them all: a value that could not be made is POISONED, and
 * nodes that read it are left out silently. */
#ifndef OG_ONNX_LOADER_H
#define OG_ONNX_LOADER_H

#include "runtime/graph/draft.h"
#include "runtime/onnx/file.h"
#include "runtime/onnx/names.h"
#include "runtime/onnx/onnx.h"
#include "runtime/onnx/proto.h"
#include "runtime/onnx/wire.h"

enum {
    OG__OPSET_OLDEST = 7,
    OG__OPSET_NEWEST = 28, /* the rows' newest form is at most this */
    OG__IR_OLDEST = 3
};

struct og_onnx {
    og_arena *arena;
    og_graph *graph;
    og_graph *made_of; /* og_onnx_from_graph: holds the tensors that `external` lends; else NULL */
    og_onnx_maker maker;
    og_onnx *base; /* og_onnx_edited: the model before, whose `external` this is; else NULL */
    og__external *external;
    og__file file;        /* the mapping of the model file; data NULL when loaded from memory */
    const uint8_t *bytes; /* the ModelProto as it came */
    size_t size;
    int64_t ir_version;
    int opset;
    const char *producer;
    og__names initializer_index; /* name → index in initializers */
    og_const *initializers;      /* of the top graph, in file order */
    int n_initializers;
    og_onnx_repair repairs[OG_REPAIRS];
};

/* Without bytes, external data and nodes. NULL on error. */
og_onnx *og__onnx_new(og_error *error);

/* ---- graphs made here (save_graph.c) */

/* The model's bytes in `arena`, without its large tensors: `lend` gets those. */
og_status og__graph_bytes(const og_graph *g, og__external *lend, og_arena *arena,
                          const uint8_t **bytes, size_t *size, og_error *error);

/* ---- models with changes (edit.c) */

/* The bytes of the changed model in `arena`; base->external lends their large tensors. */
og_status og__edit_bytes(const og_onnx *base, const og_onnx_edit *edit, og_arena *arena,
                         const uint8_t **bytes, size_t *size, og_error *error);

/* ---- models in another form (form.c, opset.c) */

og_status og__form_bytes(const og_onnx *base, const og_onnx_form *form, og_arena *arena,
                         const uint8_t **bytes, size_t *size, og_error *error);
og_status og__opset_bytes(const og_onnx *base, int opset, og_arena *arena, const uint8_t **bytes,
                          size_t *size, og_error *error);

/* own_algorithm.c: the model's bytes with those of its algorithm; training is filled. */
og_status og__joined_bytes(const og_onnx *base, og_onnx_training *training, og_arena *arena,
                           const uint8_t **bytes, size_t *size, og_error *error);

/* ---- report (report.c) */

typedef struct og__unknown_op {
    const char *domain, *op, *node; /* node: the first one's name */
    int count;
} og__unknown_op;

typedef struct og__report {
    og_error *error;
    og_arena *arena;
    int problems; /* reported so far; past a limit they are only counted */
    og__names unknown_index;
    og__unknown_op *unknown;
    int n_unknown;
    size_t capacity;
} og__report;

/* A line in the report. */
void og__report_add(og__report *report, og_status status, const char *format, ...) OG_PRINTF(3, 4);
/* Moves an error into the report as a line. */
void og__report_move(og__report *report, og_error *from);
/* An op without a row: told at the end, once an op, with its count. */
void og__report_unknown_op(og__report *report, const char *domain, const char *op,
                           const char *node);
/* The unknown ops and the count of what was left out; returns the status of the whole. */
og_status og__report_finish(og__report *report);

/* ---- loading */

enum {
    OG__ABSENT = -1,
    OG__POISONED = -2,
    OG__PRODUCED = -3 /* and below: by node OG__PRODUCED - value */
};

/* Where names mean something: the top graph, or one call of a function. */
typedef struct og__scope {
    const struct og__scope *caller; /* NULL for the top graph */
    const og__function_view *function;
    const char *prefix; /* of inner names, "" for the top graph */
    int depth;
    int n_opsets;
    const og__opset *opsets;
    og__names values;        /* → value id, or one of the above */
    const og_attr *bindings; /* attributes of the call, for references */
    int n_bindings;
} og__scope;

typedef struct og__loader {
    og_onnx *onnx;
    og_arena *arena;
    og_graph *g;
    og__report report;
    og__names function_index; /* "domain:op:overload" → index in functions */
    og__function_view *functions;
    int n_functions;
    og__names used;       /* names given to inner values and calls → how often */
    og_attr *draft_attrs; /* scratch of the node being added */
    int *draft_in;
    size_t room_attrs, room_in;
    uint64_t inlined; /* nodes made by functions */
    uint64_t budget;  /* bytes the arena may hold */
    bool fatal;       /* stop: the error is set */
} og__loader;

/* Out of memory, or more of it used than a model of this size may; stops the load. */
bool og__loader_memory(og__loader *l);
/* The node in messages: `Conv "name"`. */
const char *og__node_label(char buffer[160], const og__node_view *node);

/* tensor.c: the tensor's type and data; the error says what is wrong and leaves it to the caller to
 * say where. anywhere: large floats need not be aligned. */
og_status og__tensor_load(og_arena *arena, og__external *external, const og__tensor_proto *tensor,
                          bool anywhere, og_const *c, og_error *error);
/* load.c: a graph's initializers as constants named in scope->values, their content in
 * `consts`; index, given for the top graph, gets their numbers by name. */
void og__initializers_load(og__loader *l, og__scope *scope, const og__graph_view *g,
                           og_const *consts, og__names *index);
/* body.c: the names that the node's graph attributes read from outside become its last inputs. */
bool og__captures_add(og__loader *l, og__node_view *node);
/* The graph of an attribute of `node`, with the captured values as its last inputs; NULL after a
 * report. */
og_graph *og__body_load(og__loader *l, const og__scope *scope, const og__node_view *node,
                        const og__graph_proto *graph);
/* attributes.c: a node's attributes, references bound, into the caller's array of node->n_attrs;
 * false if one of them was reported. */
bool og__attributes_load(og__loader *l, const og__scope *scope, const og__node_view *node,
                         og_attr *attrs, int *n);
/* A function's defaults for attributes that are not among the n there already. */
bool og__attributes_defaults(og__loader *l, const og__scope *scope,
                             const og__function_view *function, og_attr *attrs, int *n);
/* restore.c, tie.c, rename.c: after the initializers, before the nodes. */
void og__restore_parameters(og__loader *l, og__scope *scope, const og__graph_view *g);
void og__restore_ties(og__loader *l, og__scope *scope, const og__graph_view *g);
void og__restore_names(og__loader *l, og__scope *scope, const og__graph_view *g);
/* bytes.c: the model's bytes with another graph, which `write` makes of the one that is there. */
void og__graph_rewrite(og__loader *l, void (*write)(void *user, og__wire graph, og__out *out),
                       void *user);
/* The constant that `name` is, or NULL. */
og_value *og__scope_constant(const og__loader *l, const og__scope *scope, const char *name);
/* nodes.c: add nodes in an order that works; names of their outputs are in scope->values
 * afterwards. */
void og__nodes_load(og__loader *l, og__scope *scope, const og__node_proto *const *nodes, int n);
/* Version of `domain` imported where the scope's nodes were written; 0 if none. */
int og__scope_opset(const og__scope *scope, const char *domain);
/* functions.c: index the model's functions. */
void og__functions_index(og__loader *l, const og__model_view *model);
/* The function a node calls, or NULL. */
const og__function_view *og__functions_find(og__loader *l, const og__node_view *node);
/* Add the body; out[i]: value id or OG__POISONED, OG__ABSENT for each output of the call. */
void og__functions_call(og__loader *l, const og__scope *caller, const og__function_view *function,
                        const og__node_view *call, const int *in, int *out);
/* A name no other inner value has: prefix + name. */
const char *og__inner_name(og__loader *l, const char *prefix, const char *name);

#endif
