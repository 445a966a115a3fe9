/* Everything that the CUDA device asks of a card, as one table of functions. It is the only way to
 * a card: driver_cuda.c and its neighbours fill the table where the toolkit is there when
 * building, driver_none.c where it is not, and tests link a card of their own (tests/cuda_sim/).
 *
 * A card has two streams, on which work is done in the order of queueing; between them only events
 * order. Functions that queue return at once. What queued work runs into may be reported by any
 * later call.
 *
 * Queued work is accompanied by the ranges of memory that it reads and writes. A card does not look
 * at them; the simulated one holds the work against them.
 *
 * One thread at a time uses a card. */
#ifndef OG_KERNELS_CUDA_DRIVER_H
#define OG_KERNELS_CUDA_DRIVER_H

#include "runtime/base/status.h"

typedef struct og_cuda_card og_cuda_card;         /* an open card */
typedef struct og_cuda_module og_cuda_module;     /* loaded kernels */
typedef struct og_cuda_function og_cuda_function; /* one of them */
typedef struct og_cuda_event og_cuda_event;
typedef struct og_cuda_graph og_cuda_graph; /* a recording, ready to be launched */
typedef struct og_cuda_plan og_cuda_plan;   /* how a product is computed */
typedef struct og_cuda_fused og_cuda_fused; /* how a fusion is computed */
typedef struct og_cuda_walk og_cuda_walk;   /* how a recurrence is computed */

typedef enum og_cuda_stream { OG_CUDA_COMPUTE, OG_CUDA_COPY, OG_CUDA_STREAMS } og_cuda_stream;

typedef struct og_cuda_properties {
    char name[128];
    int sm; /* 10 × major + minor of the compute capability: 80, 90 */
    int multiprocessors;
    int max_threads;     /* of a block */
    int64_t max_grid[3]; /* blocks */
    size_t shared;       /* bytes that a block may have, asked for */
    size_t memory;       /* bytes of the card */
} og_cuda_properties;

/* Memory that queued work reads or writes. */
typedef struct og_cuda_range {
    const void *at;
    size_t bytes;
    bool write;
} og_cuda_range;

/* Kernels that were compiled with the library: kernels/cuda/<name>.cu as og_cuda_image_<name>.
 * data NULL: built without the toolkit. */
typedef struct og_cuda_image {
    const char *name;
    const void *data;
} og_cuda_image;

/* The bytes of a kernel's arguments, one struct, are at most these. */
enum { OG_CUDA_ARGUMENTS = 4096 };

typedef struct og_cuda_launch {
    og_cuda_function *function;
    uint32_t grid[3], block[3];
    size_t shared;         /* dynamic shared memory, bytes */
    const void *arguments; /* copied when queued */
    size_t arguments_bytes;
    const og_cuda_range *ranges; /* read when queued */
    int n_ranges;
} og_cuda_launch;

/* ---- products: D = epilogue(alpha op(A) op(B) + beta C), column-major as in BLAS */

typedef enum og_cuda_arithmetic {
    OG_CUDA_FLOAT,  /* float32 */
    OG_CUDA_TF32,   /* float32 operands rounded to 10 bits of mantissa, sums in float32 */
    OG_CUDA_HALF,   /* 16-bit operands, sums in float32 */
    OG_CUDA_DOUBLE, /* float64 */
} og_cuda_arithmetic;

/* What is done with the sum x. Gelu is the form by tanh. aux: what a later gradient reads, m × n.
 */
typedef enum og_cuda_epilogue {
    OG_CUDA_PLAIN,
    OG_CUDA_BIAS,          /* x + bias[m], along the columns of D */
    OG_CUDA_RELU,          /* max(0, x) */
    OG_CUDA_RELU_BIAS,     /* of x + bias */
    OG_CUDA_RELU_AUX_BIAS, /* the same; aux: bits, x + bias > 0 */
    OG_CUDA_GELU_BIAS,     /* Gelu(x + bias) */
    OG_CUDA_GELU_AUX_BIAS, /* the same; aux: x + bias, of d's type */
    OG_CUDA_DRELU,         /* x where aux has a bit, else 0 */
    OG_CUDA_DRELU_BGRAD,   /* the same; also bias[m] = Σ over n of D */
    OG_CUDA_DGELU,         /* x Gelu'(aux) */
    OG_CUDA_DGELU_BGRAD,   /* the same; also bias[m] = Σ over n of D */
    OG_CUDA_BGRADA,        /* x; also bias[m] = Σ over k of op(A) */
    OG_CUDA_BGRADB,        /* x; also bias[n] = Σ over k of op(B) */
    OG_CUDA_EPILOGUES
} og_cuda_epilogue;

/* How an epilogue uses bias or aux. */
typedef enum og_cuda_use { OG_CUDA_UNUSED, OG_CUDA_READ, OG_CUDA_WRITTEN } og_cuda_use;
static inline og_cuda_use og_cuda_bias_use(og_cuda_epilogue e)
{
    return e == OG_CUDA_BIAS || (e >= OG_CUDA_RELU_BIAS && e <= OG_CUDA_GELU_AUX_BIAS)
               ? OG_CUDA_READ
           : e == OG_CUDA_DRELU_BGRAD || e >= OG_CUDA_DGELU_BGRAD ? OG_CUDA_WRITTEN
                                                                  : OG_CUDA_UNUSED;
}
static inline og_cuda_use og_cuda_aux_use(og_cuda_epilogue e)
{
    return e == OG_CUDA_RELU_AUX_BIAS || e == OG_CUDA_GELU_AUX_BIAS ? OG_CUDA_WRITTEN
           : e >= OG_CUDA_DRELU && e <= OG_CUDA_DGELU_BGRAD         ? OG_CUDA_READ
                                                                    : OG_CUDA_UNUSED;
}
/* Is aux a matrix of bits? */
static inline bool og_cuda_aux_is_bits(og_cuda_epilogue e)
{
    return e == OG_CUDA_RELU_AUX_BIAS || e == OG_CUDA_DRELU || e == OG_CUDA_DRELU_BGRAD;
}

/* op(A): m × k, op(B): k × n, C and D: m × n. Leading dimensions and strides in elements. */
typedef struct og_cuda_product {
    int64_t m, n, k, batch; /* batch ≥ 1 */
    og_dtype a, b, c, d;    /* element types; bias has d's, but for sums of 16-bit operands */
    bool transpose_a, transpose_b;
    int64_t lda, ldb, ldc, ldd;
    int64_t stride_a, stride_b, stride_c, stride_d; /* from one matrix of a batch to the next */
    og_cuda_arithmetic arithmetic;
    bool scalars_on_device; /* alpha and beta are read from the card's memory when it runs */
    bool reads_c;           /* beta may be other than 0 */
    og_cuda_epilogue epilogue;
    og_dtype bias;          /* element type, where the epilogue has one */
    int64_t ldaux;          /* in elements, a multiple of 8; in bits, of 128 */
    size_t workspace_limit; /* bytes a plan may ask for */
    size_t alignment;       /* of all pointers; 0: 256 */
    bool deterministic;     /* the same bits every time */
} og_cuda_product;

/* One of a library's ways to compute a product. */
enum { OG_CUDA_ALGORITHM_BYTES = 64 };
typedef struct og_cuda_way {
    unsigned char algorithm[OG_CUDA_ALGORITHM_BYTES]; /* the library's own form of it */
    uint64_t workspace; /* bytes of the card's memory, 256-byte aligned, that each run needs */
} og_cuda_way;

/* What a product is run on. alpha and beta: float, double for OG_CUDA_DOUBLE. */
typedef struct og_cuda_operands {
    const void *a, *b, *c;
    void *d, *bias, *aux;
    const void *alpha, *beta;
    void *workspace;
    size_t workspace_bytes;
} og_cuda_operands;

/* ---- fusions: operations on tensors that a library runs as one, which cuDNN calls an operation
 * graph */

/* Tensors of a fusion are counted from 1: 0 is none. */
enum {
    OG_CUDA_DIMS = 5,
    OG_CUDA_TENSORS = 56,
    OG_CUDA_OPERATIONS = 32,
    OG_CUDA_OPERANDS = 5,
    OG_CUDA_SPATIAL = 3
};

typedef enum og_cuda_place {
    OG_CUDA_MEMORY,  /* the address comes with each run */
    OG_CUDA_VIRTUAL, /* lies nowhere: one operation's result and others' operand */
    OG_CUDA_CONSTANT /* one element, `value` */
} og_cuda_place;

typedef struct og_cuda_tensor {
    og_dtype dtype;
    int rank;
    int64_t dims[OG_CUDA_DIMS], strides[OG_CUDA_DIMS]; /* in elements */
    og_cuda_place place;
    float value;
    bool blocked; /* in memory; its elements lie as the library likes, and are added to */
} og_cuda_tensor;

/* Operations, by what `in` and `out` of them are; an optional one may be 0. Images are
 * [n, c, spatial …] with two or three spatial axes, weights [m, c / group, spatial …]. */
typedef enum og_cuda_operation_kind {
    OG_CUDA_CONV,              /* in x, w           out y */
    OG_CUDA_CONV_GRAD_DATA,    /* in dy, w          out dx */
    OG_CUDA_CONV_GRAD_WEIGHTS, /* in x, dy          out dw */
    OG_CUDA_MATMUL,            /* in a, b           out c: of the last two axes */
    OG_CUDA_POINTWISE,         /* in x, b, t        out y: b, t as `mode` needs; dims of 1 are as
                                  long as y's */
    OG_CUDA_REDUCTION,         /* in x              out y: over the axes where y has one element */
    OG_CUDA_RESHAPE,           /* in x              out y: the same elements under y's strides */
    OG_CUDA_NORM,              /* in x, scale, bias, epsilon   out y, mean, rstd: over all axes but
                                  1, in training */
    OG_CUDA_NORM_GRAD,         /* in dy, x, scale, mean, rstd  out dx, dscale, dbias */
    OG_CUDA_POOL,              /* in x              out y, places: of each window by `mode`; places,
                                  of int8, where its first largest element is, counted in row-major
                                  order with what is padding; an optional result of
                                  OG_CUDA_MAXIMUM */
    OG_CUDA_POOL_GRAD          /* in dy, places     out dx: places for OG_CUDA_MAXIMUM */
} og_cuda_operation_kind;

/* Of OG_CUDA_POINTWISE, then of OG_CUDA_REDUCTION, OG_CUDA_MAXIMUM to the end of pooling. */
typedef enum og_cuda_mode {
    OG_CUDA_IDENTITY, /* y = x */
    OG_CUDA_ADD,      /* x + b */
    OG_CUDA_SUB,
    OG_CUDA_MUL,
    OG_CUDA_DIV,
    OG_CUDA_MAX,
    OG_CUDA_EXP,
    OG_CUDA_LOG,
    OG_CUDA_RELU_FORWARD,
    OG_CUDA_INDEX,         /* the position along `axis`; x gives the shape alone */
    OG_CUDA_GREATER_EQUAL, /* x ≥ b: a bool */
    OG_CUDA_SELECT,        /* t ? x : b */
    OG_CUDA_SUM,           /* reductions */
    OG_CUDA_MAXIMUM,
    OG_CUDA_AVERAGE,        /* Σ ÷ the window's elements that are no padding */
    OG_CUDA_AVERAGE_PADDED, /* Σ ÷ all of its elements */
    OG_CUDA_MODES
} og_cuda_mode;

typedef struct og_cuda_operation {
    og_cuda_operation_kind kind;
    og_cuda_mode mode;
    int axis;                                        /* OG_CUDA_INDEX */
    int in[OG_CUDA_OPERANDS], out[OG_CUDA_OPERANDS]; /* tensors */
    int64_t begins[OG_CUDA_SPATIAL], ends[OG_CUDA_SPATIAL], steps[OG_CUDA_SPATIAL];
    int64_t dilations[OG_CUDA_SPATIAL]; /* of convolutions */
    int64_t window[OG_CUDA_SPATIAL];    /* of pooling */
} og_cuda_operation;

/* All that is not set is 0, so that two may be compared as bytes. Arithmetic is in float32, but
 * positions and bools; operands of convolutions and products as `arithmetic` says. Every tensor in
 * memory is aligned to 16 bytes. */
typedef struct og_cuda_fusion {
    og_cuda_arithmetic arithmetic;
    bool deterministic;
    size_t workspace_limit;
    int n_tensors, n_operations; /* tensor 0 is counted */
    og_cuda_tensor tensors[OG_CUDA_TENSORS];
    og_cuda_operation operations[OG_CUDA_OPERATIONS];
} og_cuda_fusion;

/* ---- recurrences: LSTM, GRU and RNN over all steps, which cuDNN calls its RNN API */

typedef enum og_cuda_cell {
    OG_CUDA_LSTM, /* gates i f c o; these are the cells of ops/recurrence.c */
    OG_CUDA_GRU,  /* r z n */
    OG_CUDA_RNN_TANH,
    OG_CUDA_RNN_RELU
} og_cuda_cell;

/* x [T, B, I] → y [T, B, H], from the first step to the last; every sequence has all steps. All
 * tensors and weights have one element type, sums are float32. All that is not set is 0, so that
 * two may be compared as bytes. */
typedef struct og_cuda_recurrence {
    og_cuda_cell cell;
    og_dtype dtype;
    og_cuda_arithmetic arithmetic;
    bool bias;     /* there are two of each gate, one beside W and one beside R */
    bool training; /* what gradients need is kept in the reserve */
    int64_t T, B, I, H;
} og_cuda_recurrence;

enum { OG_CUDA_MATRICES = 8 };

/* Bytes that the runs of a recurrence are given, and where its weights lie among theirs, as bytes
 * from their beginning: of each gate W [H, I], then of each R [H, H], row-major, and the bias [H]
 * beside it. What lies between is not read. */
typedef struct og_cuda_recurrence_sizes {
    size_t weights, workspace, reserve; /* reserve 0 where it is not for training */
    int matrices;                       /* 2 × gates */
    size_t matrix[OG_CUDA_MATRICES], bias[OG_CUDA_MATRICES];
} og_cuda_recurrence_sizes;

/* What one is run on: states are [B, H], c of LSTM; all aligned to 16 bytes, weights, workspace and
 * reserve to 256. Nothing that is written overlaps anything else. */
typedef struct og_cuda_recurrence_operands {
    const void *weights;
    const void *x, *h0, *c0; /* first states NULL: zeros */
    void *y, *h, *c;         /* y is read going back; last states NULL: not wanted */
    void *workspace, *reserve;
    size_t workspace_bytes, reserve_bytes;
    const void *dy, *dh, *dc; /* those of last states NULL: zeros */
    void *dx, *dh0, *dc0;     /* those of first states NULL: not wanted */
    void *dweights;           /* as the weights lie; is added to */
} og_cuda_recurrence_operands;

/* ---- the table */

typedef struct og_cuda_driver {
    /* Cards there are. 0 with the reason in *why, a text that lasts, where there are none. */
    int (*count)(const char **why);
    /* Versions of the libraries that are used, as loaded: "CUDA driver 13.0, NVRTC 13.0". */
    void (*libraries)(char *text, size_t room);
    og_status (*open)(int index, og_cuda_card **card, og_error *error);
    /* Waits for what is queued. Modules, events and memory of the card go with it. */
    void (*close)(og_cuda_card *card);
    void (*properties)(og_cuda_card *card, og_cuda_properties *properties);
    /* free: without what modules, libraries and recordings come to take of it. */
    og_status (*memory)(og_cuda_card *card, uint64_t *total, uint64_t *free, og_error *error);

    /* The card's memory, 256-byte aligned, undefined contents; *memory NULL when refused. `free`
     * waits for what is queued. */
    og_status (*alloc)(og_cuda_card *card, size_t bytes, void **memory, og_error *error);
    void (*free)(og_cuda_card *card, void *memory);
    /* Pinned memory of the host; likewise. */
    og_status (*host_alloc)(og_cuda_card *card, size_t bytes, void **memory, og_error *error);
    void (*host_free)(og_cuda_card *card, void *memory);

    /* Queued: bytes from one place to another, of which each is the card's or pinned; `copy` finds
     * out which. Both stay as they are until the copy is done. */
    og_status (*copy)(og_cuda_card *card, og_cuda_stream stream, void *to, const void *from,
                      size_t bytes, og_error *error);
    og_status (*set)(og_cuda_card *card, og_cuda_stream stream, void *at, int byte, size_t bytes,
                     og_error *error);
    og_status (*launch)(og_cuda_card *card, og_cuda_stream stream, const og_cuda_launch *launch,
                        og_error *error);
    /* Runs run(user) on some thread of the host; it may not use the card. */
    og_status (*call)(og_cuda_card *card, og_cuda_stream stream, void (*run)(void *user),
                      void *user, const og_cuda_range *ranges, int n_ranges, og_error *error);

    /* Events: `record` marks what is queued on the stream so far; work queued on `stream` after
     * `follow` runs after what the last `record` marked, and `wait` returns after it. Never
     * recorded: nothing to wait for. */
    og_status (*event_new)(og_cuda_card *card, og_cuda_event **event, og_error *error);
    void (*event_free)(og_cuda_card *card, og_cuda_event *event);
    og_status (*event_record)(og_cuda_card *card, og_cuda_event *event, og_cuda_stream stream,
                              og_error *error);
    og_status (*event_follow)(og_cuda_card *card, og_cuda_event *event, og_cuda_stream stream,
                              og_error *error);
    og_status (*event_wait)(og_cuda_card *card, og_cuda_event *event, og_error *error);
    /* Waits for everything queued. */
    og_status (*synchronize)(og_cuda_card *card, og_error *error);

    /* Kernels: those of an image, and source text compiled here (a name for messages). Modules last
     * as long as the card. `function`: `shared` is the most dynamic shared memory of a launch. */
    og_status (*load)(og_cuda_card *card, const og_cuda_image *image, og_cuda_module **module,
                      og_error *error);
    og_status (*compile)(og_cuda_card *card, const char *name, const char *source,
                         og_cuda_module **module, og_error *error);
    og_status (*function)(og_cuda_card *card, og_cuda_module *module, const char *name,
                          size_t shared, og_cuda_function **function, og_error *error);

    /* What is queued on the compute stream between begin and end is recorded instead: copy, set,
     * launch, call, product_run, fusion_run, recurrence_run and recurrence_back; no other function
     * that takes the card may be called in between. */
    og_status (*capture_begin)(og_cuda_card *card, og_error *error);
    og_status (*capture_end)(og_cuda_card *card, og_cuda_graph **graph, og_error *error);
    og_status (*graph_launch)(og_cuda_card *card, og_cuda_graph *graph, og_error *error);
    void (*graph_free)(og_cuda_card *card, og_cuda_graph *graph);

    /* Products. `library`: the version of what multiplies, 0 where it is not there. `ways`: the
     * ways it has within the product's workspace_limit, at most `most`, what it takes for the
     * fastest first; OG_UNSUPPORTED: none. */
    uint64_t (*product_library)(og_cuda_card *card);
    og_status (*product_ways)(og_cuda_card *card, const og_cuda_product *product, og_cuda_way *ways,
                              int most, int *n, og_error *error);
    /* By that way, which may be of an earlier process: OG_UNSUPPORTED if the library does not take
     * it, or needs more than way->workspace. */
    og_status (*product_plan)(og_cuda_card *card, const og_cuda_product *product,
                              const og_cuda_way *way, og_cuda_plan **plan, og_error *error);
    og_status (*product_run)(og_cuda_card *card, og_cuda_plan *plan,
                             const og_cuda_operands *operands, og_error *error);
    /* *ms: what `runs` of them take, one after the other; negative: it does not run. Waits. */
    og_status (*product_time)(og_cuda_card *card, og_cuda_plan *plan,
                              const og_cuda_operands *operands, int runs, float *ms,
                              og_error *error);
    void (*product_free)(og_cuda_card *card, og_cuda_plan *plan);

    /* Fusions; all NULL in builds without cuDNN. OG_UNSUPPORTED: the library is not there, or has
     * no way to compute it. The description is copied. memory: an address for each tensor, NULL
     * for those that have none; workspace as for products. */
    og_status (*fusion_plan)(og_cuda_card *card, const og_cuda_fusion *fusion, og_cuda_fused **plan,
                             size_t *workspace, og_error *error);
    og_status (*fusion_run)(og_cuda_card *card, og_cuda_fused *plan, void *const *memory,
                            void *workspace, size_t workspace_bytes, og_error *error);
    void (*fusion_free)(og_cuda_card *card, og_cuda_fused *plan);

    /* Recurrences; all NULL in builds without cuDNN, OG_UNSUPPORTED as for fusions. `back` reads
     * the reserve that a run of the same plan on the same x, y, first states and weights has
     * written, and spends it: it serves one `back`. */
    og_status (*recurrence_plan)(og_cuda_card *card, const og_cuda_recurrence *recurrence,
                                 og_cuda_walk **plan, og_cuda_recurrence_sizes *sizes,
                                 og_error *error);
    og_status (*recurrence_run)(og_cuda_card *card, og_cuda_walk *plan,
                                const og_cuda_recurrence_operands *operands, og_error *error);
    og_status (*recurrence_back)(og_cuda_card *card, og_cuda_walk *plan,
                                 const og_cuda_recurrence_operands *operands, og_error *error);
    void (*recurrence_free)(og_cuda_card *card, og_cuda_walk *plan);
} og_cuda_driver;

/* The driver that this program is linked with. The definition stands alone in its object, so that a
 * program with one of its own takes that. */
const og_cuda_driver *og_cuda_driver_get(void);

#endif
