/* The graph: what every pass reads and writes.
 *
 * A graph is a list of nodes in topological order (a node is added after the values it reads exist,
 * so the order of `nodes` is always a valid execution order) and a list of values. Both, and
 * everything they point to, live in the graph's arena; nodes and values are never freed singly.
 * Passes that remove or replace nodes write a new graph (runtime/passes/rewrite.h).
 *
 * Types are concrete once a graph went through the infer pass. A freshly loaded graph may hold
 * symbols: a negative dim d stands for g->symbols[-d - 1], and values other than inputs, constants
 * and states are untyped.
 *
 * Errors stick: the first failure is kept in g->error, later builder calls do nothing and return a
 * null value, and whoever started the pass reads g->error once at its end. */
#ifndef OG_GRAPH_GRAPH_H
#define OG_GRAPH_GRAPH_H

#include "runtime/base/arena.h"
#include "runtime/base/bit.h"
#include "runtime/base/text.h"

typedef struct og_graph og_graph;
typedef struct og_node og_node;
typedef struct og_value og_value;
typedef struct og_op og_op;           /* runtime/graph/op.h */
typedef struct og_program og_program; /* runtime/graph/program.h */

/* A value together with its graph, so that builder calls nest. `g` NULL: no value (an absent
 * optional input). */
typedef struct og_val {
    og_graph *g;
    int id;
} og_val;

/* Shape and element type. rank -1: unknown. dims: numbers, or symbols (negative) before the infer
 * pass. */
typedef struct og_type {
    og_dtype dtype;
    int rank;
    int64_t dims[OG_MAX_RANK];
} og_type;

typedef enum og_value_kind {
    OG_VALUE_NODE,  /* output of a node */
    OG_VALUE_INPUT, /* given by the caller at every run */
    OG_VALUE_CONST, /* known now: `data` */
    OG_VALUE_STATE /* lives across runs: parameter, moment, running statistic, counter (og_state) */
} og_value_kind;

struct og_value {
    int id;
    og_value_kind kind;
    const char *name; /* "" for values made by builders */
    og_type type;
    og_node *producer; /* OG_VALUE_NODE only */
    int out_index;     /* of producer */
    /* OG_VALUE_CONST (and initial content of a state): row-major elements, 4-bit types packed two a
     * byte; in the arena or in a mapping that outlives the graph. Aligned for the type, but for
     * large floating-point initializers of a loaded graph and initial content of states, which may
     * lie anywhere. */
    const void *data;
    int storage;             /* OG_VALUE_STATE: index into the session's storages; else -1 */
    const char *folded_from; /* an initializer that the exporter's optimizer computed: the names it
                                was computed from, "['w', 'b']"; NULL where the file says nothing */
};

/* Numbered as AttributeProto.AttributeType. */
typedef enum og_attr_kind {
    OG_ATTR_FLOAT = 1,
    OG_ATTR_INT = 2,
    OG_ATTR_STRING = 3,
    OG_ATTR_TENSOR = 4,
    OG_ATTR_GRAPH = 5,
    OG_ATTR_FLOATS = 6,
    OG_ATTR_INTS = 7,
    OG_ATTR_STRINGS = 8
} og_attr_kind;

/* An attribute's tensor, or any constant outside a graph. */
typedef struct og_const {
    og_type type;
    const void *data;
} og_const;

typedef struct og_attr {
    const char *name;
    og_attr_kind kind;
    double f;             /* FLOAT; double, so that definitions keep their precision in double */
    int64_t i;            /* INT */
    const char *s;        /* STRING, NUL-terminated */
    const og_const *t;    /* TENSOR */
    og_graph *graph;      /* GRAPH: untyped, in the same arena */
    int n;                /* count of the list kinds; GRAPH: how many of its inputs, the last ones,
                             are values of the graph around it, passed as the node's last inputs */
    const double *floats; /* FLOATS */
    const int64_t *ints;  /* INTS */
    const char *const *strings;
} og_attr;

/* What a node is for. */
typedef enum og_role {
    OG_ROLE_FORWARD,
    OG_ROLE_LOSS,
    OG_ROLE_GRADIENT,
    OG_ROLE_ACCUMULATE, /* sums over micro-batches */
    OG_ROLE_UPDATE,     /* optimizer, clipping, loss scale */
    OG_ROLE_RECOMPUTE,  /* a forward value again, for the backward pass */
    OG_ROLE_WEIGHTS,    /* depends on weights alone: once an update (runtime/passes/hoist.c) */
    OG_ROLE_COUNT
} og_role;
/* "forward", "loss", "gradient", "accumulate", "update", "recompute", "weights" */
const char *og_role_name(og_role role);

/* Where a node comes from, for messages, profile and plan. Shared by nodes; immutable. */
typedef struct og_origin {
    og_role role;
    const char *node; /* the user's node name ("" if unnamed) */
    const char *op;   /* the user's op, "" where there is none */
    int opset;        /* as the file declares it; 0 where there is none */
    const char
        *file; /* the rule that made the node: source file and line; NULL for the user's own */
    int line;
} og_origin;

struct og_node {
    int id;
    const og_op *op;
    const char *name;
    const og_attr *attrs;
    int n_attrs;
    int *in; /* value ids; -1 = absent optional input */
    int n_in;
    int *out; /* value ids; -1 = absent optional output */
    int n_out;
    const og_origin *origin;
    const og_program *program; /* what op Fused computes; of a product: what its result goes through
                                  before it is written (NULL: nothing) */
};

/* A piece of state as one graph sees it. `out` takes `in`'s storage; every read of the old value
 * comes first. */
typedef struct og_state {
    int storage; /* index into the session's storages */
    int in;      /* value id of kind OG_VALUE_STATE */
    int out;     /* value id of the new content; -1: this graph only reads it */
} og_state;

typedef struct og_output {
    const char *name;
    int value;
} og_output;

typedef struct og_metadata {
    const char *key, *value;
} og_metadata;

struct og_graph {
    og_arena *arena;
    og_error error;
    const char *name;

    og_node **nodes; /* topological order */
    int n_nodes;
    og_value **values; /* by id */
    int n_values;
    int *inputs; /* value ids */
    int n_inputs;
    og_output *outputs;
    int n_outputs;
    og_state *states;
    int n_states;
    const char **symbols; /* names of symbolic dims, "batch" */
    int n_symbols;
    og_metadata *metadata; /* of the file's model and graph */
    int n_metadata;

    const og_origin *origin; /* given to nodes added from here on */
    bool owns_arena;
    bool defer; /* add nodes without inference (the loader): outputs stay untyped */

    size_t cap_nodes, cap_values, cap_inputs, cap_outputs, cap_states, cap_symbols, cap_metadata;
};

/* NULL when out of memory. _in: everything lives in `arena`, which must outlive the graph and is
 * not freed with it: the graphs of a chain of passes share one arena, and so their names,
 * attributes and constants. */
og_graph *og_graph_new(void);
og_graph *og_graph_new_in(og_arena *arena);
void og_graph_free(og_graph *graph);
/* All of it but its error in another arena, ids kept, sharing nothing with g's arena, which may be
 * freed; elements of constants that lie elsewhere are shared. NULL when out of memory. */
og_graph *og_graph_copy(const og_graph *g, og_arena *arena);

/* Values. All return a null og_val, and set g->error, when out of memory. */
og_val og_graph_add_input(og_graph *g, const char *name, const og_type *type);
/* `data` is not copied: it must outlive the graph (see og_const_copy in build.h for copies). */
og_val og_graph_add_const(og_graph *g, const char *name, const og_type *type, const void *data);
/* `initial`: NULL, or content that outlives the graph. Adds the og_state entry, with out = -1. */
og_val og_graph_add_state(og_graph *g, const char *name, const og_type *type, int storage,
                          const void *initial);
void og_graph_add_output(og_graph *g, const char *name, og_val value);
/* `state`: a value made by og_graph_add_state; `out` has its type. */
void og_graph_set_state(og_graph *g, og_val state, og_val out);
/* A symbol as a dim: the same name gives the same negative number. */
int64_t og_graph_symbol(og_graph *g, const char *name);
void og_graph_add_metadata(og_graph *g, const char *key, const char *value);
const char *og_graph_metadata(const og_graph *g, const char *key); /* NULL if absent */

/* Nodes. `in`: n_in value ids (-1 absent); attrs are copied shallowly (arrays and strings must live
 * as long as the graph). Unless g->defer, the op's inference types the outputs and a failure sets
 * g->error. Returns NULL on error. */
og_node *og_graph_add_node(og_graph *g, const og_op *op, const char *name, const int *in, int n_in,
                           int n_out, const og_attr *attrs, int n_attrs);
/* With given output types (n_out entries), without inference: copies of nodes that were typed
 * before. */
og_node *og_graph_add_typed_node(og_graph *g, const og_op *op, const char *name, const int *in,
                                 int n_in, const og_type *types, int n_out, const og_attr *attrs,
                                 int n_attrs);
/* The same as og_graph_add_node, looking up the newest form of domain::op; unknown: an error. */
og_node *og_graph_add_op(og_graph *g, const char *domain, const char *op, const char *name,
                         const int *in, int n_in, int n_out, const og_attr *attrs, int n_attrs);
/* A shared copy of `origin` in the graph's arena becomes g->origin. */
const og_origin *og_graph_set_origin(og_graph *g, const og_origin *origin);

/* Types */
og_type og_type_make(og_dtype dtype, int rank, const int64_t *dims);
bool og_type_equal(const og_type *a, const og_type *b);
bool og_type_same_dims(const og_type *a, const og_type *b); /* of any dtypes */
bool og_type_is_static(const og_type *t);                   /* rank known, no symbols */
/* Elements of a static type; 1 for a scalar; -1 if not static or the product overflows. */
int64_t og_type_elements(const og_type *t);
/* Bytes, row-major and dense, 4-bit types packed; -1 as above. */
int64_t og_type_bytes(const og_type *t);
/* Can elements of the type be read at this address? */
bool og_type_is_aligned(const og_type *t, const void *data);
/* `data`, or an aligned copy of it in the arena; NULL when out of memory. */
const void *og_type_align(const og_type *t, const void *data, og_arena *arena);
bool og_dtype_is_float(og_dtype dtype); /* floating point, any width */
bool og_dtype_is_half(og_dtype dtype);  /* float16 or bfloat16 */
bool og_dtype_is_int(og_dtype dtype);   /* signed or unsigned integers; not bool */
/* "float32 [batch, 64]"; symbols by name if g is given. */
const char *og_type_text(char buffer[160], const og_graph *g, const og_type *t);

/* Attributes; `fallback` where absent. */
const og_attr *og_node_attr(const og_node *n, const char *name); /* NULL if absent */
int64_t og_attr_int(const og_node *n, const char *name, int64_t fallback);
double og_attr_float(const og_node *n, const char *name, double fallback);
const char *og_attr_string(const og_node *n, const char *name, const char *fallback);
/* Count of the list, *ints set; 0 and *ints NULL if absent. */
int og_attr_ints(const og_node *n, const char *name, const int64_t **ints);

/* The same attributes, in the same order. */
bool og_node_same_attrs(const og_node *a, const og_node *b);
/* Is it one of those that the hoist pass found to depend on weights alone? */
static inline bool og_node_is_hoisted(const og_node *n)
{
    return n->origin && n->origin->role == OG_ROLE_WEIGHTS;
}

/* A node in a message: `Conv "layer1.0.conv1" (opset 17)`; "gradient of …" for derived nodes. */
const char *og_node_text(char buffer[256], const og_node *n);
/* Puts it in front of an error's text, where it is not there yet. */
void og_node_prefix(og_error *error, const og_node *n);
/* Sets g->error: the node, then the message. Always returns false, for `return og_node_fail(…)`. */
bool og_node_fail(og_graph *g, const og_node *n, og_status status, const char *format, ...)
    OG_PRINTF(4, 5);
#ifdef __clang_analyzer__ /* see base/status.h */
#define og_node_fail(...) ((og_node_fail)(__VA_ARGS__), false)
#endif

static inline og_value *og_value_of(og_val v)
{
    OG_ASSUME(v.g);
    return v.g->values[v.id];
}
static inline og_value *og_graph_value(const og_graph *g, int id)
{
    return id < 0 ? NULL : g->values[id];
}
static inline og_val og_val_of(og_graph *g, int id)
{
    return (og_val){id < 0 ? NULL : g, id};
}
static inline const og_type *og_type_of(og_val v)
{
    OG_ASSUME(v.g);
    return &v.g->values[v.id]->type;
}

#endif
