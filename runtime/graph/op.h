/* What an op is: one row, in the newest form the op has in ONNX. Rows live in ops/<family>.c;
 * passes and kernels ask rows and never switch on names. A row says nothing about how an op is
 * computed. */
#ifndef OG_GRAPH_OP_H
#define OG_GRAPH_OP_H

#include "runtime/graph/graph.h"
#include "runtime/graph/program.h"

/* The internal ops' domain. */
#define OG_DOMAIN "ai.ongrad"
/* That of Gradient and the optimizers, ONNX's preview of training. */
#define OG_TRAINING_DOMAIN "ai.onnx.preview.training"

/* ---- inference: types of the outputs from the inputs */

typedef struct og_infer {
    og_graph *g;
    const og_node *node;
    int nx, ny;
    const og_value *const *
        x; /* nx entries; NULL = absent. Types are concrete; x[i]->data is non-NULL for constants */
    og_type *y; /* ny entries to fill; y of absent outputs are ignored */
} og_infer;

/* Returns false after og_infer_error. A rule may rely on nx within the row's bounds and on required
 * inputs being present; nothing else is checked before. */
typedef bool og_infer_fn(og_infer *i);
/* Sets g->error with the node in front; returns false. */
bool og_infer_error(og_infer *i, const char *format, ...) OG_PRINTF(2, 3);
#ifdef __clang_analyzer__ /* see base/status.h */
#define og_infer_error(...) ((og_infer_error)(__VA_ARGS__), false)
#endif

/* ---- definition: the op in simpler ops */

typedef struct og_expand {
    og_graph *g;
    const og_node *node; /* attributes; not part of g */
    int nx, ny;
    const og_val *x;  /* x[i].g NULL = absent */
    og_val *y;        /* to fill; one may be left out only if the node's output is absent */
    const bool *want; /* want[i]: output i is used */
    og_val position;  /* rows with OG_RANDOM: seed, update and micro-batch, int64 [3] … */
    int64_t key;      /* … and a number of its own for each such node; see ops/random.c */
} og_expand;

typedef void og_expand_fn(og_expand *e);

/* ---- gradient: calculus only; the pass undoes broadcasting, sums contributions and prunes */

typedef struct og_grad {
    og_graph *g;
    const og_node *node;
    int nx, ny;
    const og_val *x, *y;
    const og_val
        *dy; /* every float output has one (zeros where nothing flows); .g NULL for others */
    const bool *need; /* need[i]: dx[i] is wanted */
    og_val *
        dx; /* to fill; left out = zero. May have the broadcast shape, the pass reduces it to x's */
} og_grad;

typedef void og_grad_fn(og_grad *d);

/* ---- recomputation */

/* Output 0 once more, elementwise and to the same bits, from the inputs x and the other outputs y
 * (y[0] is absent): what need not be kept for the backward pass where x and y are. */
typedef og_val og_replay_fn(og_graph *g, const og_node *node, const og_val *x, const og_val *y);

/* ---- resolution: ops that are gone once a graph is typed */

/* What stands for a value of a loaded graph while it is inferred: a value of the typed graph, or a
 * sequence of them. Sequences exist nowhere else. v.g NULL and no sequence: absent, or an empty
 * optional. */
typedef struct og_item {
    og_val v;
    bool sequence;
    int n; /* of the sequence */
    const og_val *items;
} og_item;

typedef struct og_resolve og_resolve;
struct og_resolve {
    og_graph *g;
    const og_node *node; /* attributes; of the loaded graph */
    int nx, ny;
    const og_item *x;
    og_item *y; /* to fill */
    /* Adds the nodes of a graph attribute with its inputs bound to `in`, and gives its outputs.
     * false: something failed, and is reported. */
    bool (*run)(og_resolve *r, const og_graph *body, int n_in, const og_item *in, int n_out,
                og_item *out);
    void *user;
};

/* Replaces the node while types are inferred: control flow, sequences, and nodes that turn out to
 * do nothing. true: y is filled. false: the node stays as it is, or something failed and g->error
 * is set or was reported. */
typedef bool og_resolve_fn(og_resolve *r);

/* ---- upgrade: from an older opset's form to the next */

/* A node being loaded, before it is added. Steps edit it in place with og_draft_… (ops/upgrade.h).
 */
typedef struct og_draft og_draft;
typedef struct og_upgrade {
    int to; /* applies to models with opset < to; steps are listed in ascending order */
    bool (*run)(og_draft *draft); /* false after setting the graph's error */
} og_upgrade;

/* ---- views */

/* How a value lies in its storage: element strides and offset. */
typedef struct og_layout {
    int64_t strides[OG_MAX_RANK];
    int64_t offset;
} og_layout;

/* The output's layout if it can be a view of input 0 as that lies now; false where a copy is
 * needed. `x`, `y`: types of input 0 and output `out`. `in`: all inputs, for constant starts,
 * indices … */
typedef bool og_view_fn(const og_node *node, int out, const og_value *const *in, const og_type *x,
                        const og_layout *lx, const og_type *y, og_layout *ly);

/* Floating-point operations of one call, a multiplication and an addition counting as two; types
 * are concrete. */
typedef double og_flops_fn(const og_node *node, const og_value *const *x, const og_type *y);

/* ---- the row */

typedef enum og_diff {
    OG_DIFF_MISSING = 0, /* no gradient written yet (an error that names the node), unless .grad or
                         .expand is set */
    OG_DIFF_ZERO,        /* gradient zero almost everywhere: Floor, comparisons, Shape, ArgMax */
    OG_DIFF_NEVER        /* not differentiable by definition: an error if a gradient reaches it */
} og_diff;

/* Mixed precision: where the op computes. */
typedef enum og_precision {
    OG_PRECISION_FOLLOW = 0, /* as its inputs */
    OG_PRECISION_HALF,       /* matmul, convolution */
    OG_PRECISION_FLOAT       /* reductions, softmax, losses, norms */
} og_precision;

enum og_op_flags {
    OG_COMMUTATIVE = 1 << 0,
    OG_RANDOM = 1 << 1, /* result differs from call to call: never folded or merged */
    OG_CHEAP = 1 << 2,  /* its output is rather computed again in the backward pass than kept */
    OG_EAGER_ONLY =
        1 << 3, /* output shape depends on data: runs only in eager.c (NonZero, Unique) */
    OG_HALF_IMAGES = 1 << 4 /* of class float: its images may be half where all else is float32, if
                               the device has a kernel for that */
};

#define OG_VARIADIC (-1)

struct og_op {
    const char *name;
    const char *domain;                      /* NULL: ONNX's own; OG_DOMAIN: internal */
    int8_t min_in, max_in, min_out, max_out; /* max 0 is read as 1; OG_VARIADIC: any number */
    og_infer_fn *infer;
    og_scalar scalar;     /* elementwise with broadcasting, as one instruction; 0: none */
    og_expand_fn *expand; /* composite */
    og_grad_fn *grad;     /* preferred over the gradient of the definition */
    og_view_fn *view;
    og_expand_fn *evaluate; /* the form for evaluation, where that is another than for training */
    og_resolve_fn *resolve; /* asked before `infer` when a loaded graph is typed */
    og_replay_fn *replay;   /* norms: y from x and the statistics */
    og_flops_fn *flops; /* NULL: one an element of the output, or of the input if that is larger */
    int8_t saved; /* .grad reads y[0 … saved - 1]; the pass makes absent ones present before */
    og_diff diff;
    og_precision precision;
    og_fold fold;     /* a reduction (data, axes) that may end a program; 0: none */
    const char *wide; /* the internal op that computes the same of half inputs and rounds no more
                         than to float32; NULL: none. Of a row of class float: what stands for it in
                         mixed precision */
    uint8_t half_in;  /* of such an op: bit k: input k is half, the operand of a product; all others
                         are float32 */
    const char *whole; /* the internal op that computes the same (y without what this one saves) and
                          whose gradient is one op for all inputs, for devices that have kernels for
                          both; its last output, uint8 [attribute reserve_bytes], is what they keep
                          between the two. NULL: none */
    unsigned flags;
    uint8_t type_only; /* bit k: input k is read for its type and shape, not its elements: Shape,
                          CastLike's second */
    uint8_t images_in, images_out; /* bit k: input (output) k is an image [N, C, spatial …], which
                                      kernels may want with its channels last in memory; bit 7
                                      stands for all from 7 on */
    og_upgrade upgrade[8];
};

/* Every row of every table, made by CMake from the files present in ops/ (build/…/registry.c). */
typedef struct og_op_table {
    const char *family; /* the file's stem */
    const og_op *ops;   /* ends with a NULL name */
} og_op_table;
extern const og_op_table og_op_tables[]; /* ends with a NULL family */

/* NULL if unknown. `domain` "" or "ai.onnx" or NULL: ONNX's own. */
const og_op *og_op_find(const char *domain, const char *name);
/* The ONNX name closest to `name`, for messages; NULL if none is close. */
const char *og_op_nearest(const char *name);

/* Of a node of a typed graph, by its row. */
double og_node_flops(const og_graph *g, const og_node *n);

/* Bit k of a row's images_in or images_out. */
static inline bool og_op_image(uint8_t images, int k)
{
    return images >> (k < 7 ? k : 7) & 1;
}

static inline bool og_op_is(const og_op *op, const char *domain, const char *name)
{
    return op == og_op_find(domain, name);
}

#endif
