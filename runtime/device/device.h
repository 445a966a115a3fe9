/* A device: memory, and for each op an ordered list of kernels, best first, the plain one last.
 * Passes and the planner ask a device what it supports; nothing else about it is known to them.
 *
 * A kernel is prepared once for each node when the plan is made (types, layouts and constants are
 * known, other data is not) and says then what workspace it needs; it is granted that workspace
 * whenever it runs and allocates nothing while a step runs. Where the planner says that an input
 * seldom changes (weights while gradients are summed up), a kernel that has to bring it into
 * another form first may do so apart, in `pack`. */
#ifndef OG_DEVICE_DEVICE_H
#define OG_DEVICE_DEVICE_H

#include "runtime/graph/op.h"

typedef struct og_device og_device;

#define OG_ALIGNMENT 256      /* bytes: what memory of its own begins at a multiple of */
enum { OG_MOST_STEADY = 32 }; /* inputs of a call that can be */

/* A tensor as a kernel sees it. */
typedef struct og_tensor {
    og_type type;                 /* dtype OG_UNDEFINED: an absent input or output */
    int64_t strides[OG_MAX_RANK]; /* in elements; 0 = broadcast; negative = reversed */
    size_t offset; /* bytes that `data` lies behind an address of 256, while planning too; views
                      have one */
    void *data;    /* the element at index 0, strides' offset included; while planning NULL except
                      for constants (host memory) */
} og_tensor;

/* One kernel invocation. */
typedef struct og_call {
    const og_node *node;
    const og_device *device;
    int nx, ny;
    og_tensor *x, *y;
    uint32_t steady;        /* set by the planner: bit k: input k seldom changes, and `pack` runs
                               whenever it has */
    void *state;            /* what prepare left */
    void *workspace;        /* workspace_bytes bytes, 256-byte aligned; contents undefined */
    size_t workspace_bytes; /* set by prepare */
    void *packed;           /* packed_bytes bytes, 256-byte aligned, which only `pack` writes */
    size_t packed_bytes;    /* set by prepare, where an input is steady: what pack makes of it */
} og_call;

enum og_kernel_flags {
    OG_KERNEL_STRIDED =
        1 << 0, /* reads inputs of any strides (within what supports() accepts); without it, and
                   without OG_KERNEL_CHANNELS_LAST, every input is dense row-major. */
    OG_KERNEL_INPLACE =
        1 << 1, /* any output may share memory with any input of the same type and layout */
    OG_KERNEL_REFERENCE = 1 << 2, /* the plain kernel: what eager.c prefers */
    OG_KERNEL_ANY_ORDER =
        1 << 3, /* outputs may lie without gaps in any order of axes, all in the same one; without
                   it, and without OG_KERNEL_CHANNELS_LAST, outputs are dense row-major. */
    OG_KERNEL_CHANNELS_LAST =
        1 << 4, /* the op's images (og_op.images_in, .images_out) may all lie channels-last;
                   supports() sees the layouts and decides. Everything else is dense row-major. */
    OG_KERNEL_PREFERS_CHANNELS_LAST =
        1 << 5, /* with OG_KERNEL_CHANNELS_LAST: faster so, enough to be worth copies of images */
    OG_KERNEL_PROGRAM = 1 << 6, /* runs the node's program, if it has one that supports() accepts;
                                   without it the kernel is not asked for nodes that have one */
    OG_KERNEL_INPLACE_PROGRAM =
        1 << 7, /* an output may share memory with an input of the program (og_own_inputs) that has
                  as many elements, of the same type and layout */
    OG_KERNEL_BITS = 1 << 8, /* bools may be kept in bits (OG_BIT) where supports() accepts that */
    OG_KERNEL_HOST = 1 << 9, /* computes on the host: tensors travel there and back when it runs */
    OG_KERNEL_INPLACE_LAST =
        1 << 10 /* the last output may share memory with the last input, which has its type */
};

typedef struct og_kernel {
    const char *op;   /* a row's name; internal ops as "ai.ongrad::Name"; "*": every op */
    const char *name; /* "oneDNN", "plain" */
    unsigned flags;
    bool (*supports)(const og_call *call);                /* NULL: always */
    og_status (*prepare)(og_call *call, og_error *error); /* NULL: nothing to do */
    og_status (*run)(const og_call *call, og_error *error);
    void (*release)(og_call *call); /* undoes prepare; NULL: nothing to do */
    /* Brings steady inputs, which alone it reads, into the form that run wants, in call->packed.
     * The same for calls of one kernel with the same types, layouts and attributes. NULL: prepare
     * never asks for packed_bytes. */
    og_status (*pack)(const og_call *call, og_error *error);
    /* Of an op that another one names as `whole` (og_op): the bytes of its last output, for a call
     * that is supported, whose outputs are not looked at. NULL: it has no such output. */
    size_t (*reserve_bytes)(const og_call *call);
} og_kernel;

typedef struct og_kernel_table {
    const char *family;
    const og_kernel *kernels; /* ends with a NULL op */
} og_kernel_table;

/* How the host reaches a device that has memory of its own and works behind the host: kernels' run
 * and the functions below queue work, which is done in the order of queueing. What queued work runs
 * into may be reported by any later call. */
typedef struct og_copy {
    void *to;
    const void *from;
    size_t bytes;
} og_copy;

enum { OG_MARKS = 4 };

typedef struct og_remote {
    /* host -> device; `from` may be reused on return */
    og_status (*upload)(og_device *device, void *to, const void *from, size_t bytes,
                        og_error *error);
    /* device -> host; on return it has arrived */
    og_status (*download)(og_device *device, void *to, const void *from, size_t bytes,
                          og_error *error);
    /* device -> device, not overlapping */
    og_status (*copy)(og_device *device, void *to, const void *from, size_t bytes, og_error *error);
    og_status (*clear)(og_device *device, void *at, size_t bytes, og_error *error);
    /* Waits until all queued work is done. */
    og_status (*finish)(og_device *device, og_error *error);

    /* Inputs of steps: like n uploads, which travel while earlier work still runs. What they pass
     * through on the device is the memory that `reserve` was given: twice the bytes of the largest
     * call, each copy rounded up to 256. Without it, or where that is too little, they are uploads.
     */
    og_status (*reserve)(og_device *device, void *memory, size_t bytes, og_error *error);
    og_status (*feed)(og_device *device, const og_copy *copies, int n, og_error *error);

    /* Results read later: n queued copies into memory from host_alloc, there once a mark that was
     * set behind them has been waited for. Setting a mark again moves it. */
    void *(*host_alloc)(og_device *device, size_t bytes); /* NULL when refused */
    void (*host_free)(og_device *device, void *memory);
    og_status (*fetch)(og_device *device, const og_copy *copies, int n, og_error *error);
    og_status (*mark)(og_device *device, int mark, og_error *error); /* 0 … OG_MARKS - 1 */
    og_status (*wait)(og_device *device, int mark, og_error *error);

    /* Bytes of the host's memory, pinned, that calls go through which are prepared now and compute
     * on the host. NULL: none do. */
    uint64_t (*staging)(const og_device *device);

    /* What kernels' run queue between record and recorded is not done but recorded, and done by
     * each replay. Only kernels may be called in between. */
    og_status (*record)(og_device *device, og_error *error);
    og_status (*recorded)(og_device *device, void **recording, og_error *error);
    og_status (*replay)(og_device *device, void *recording, og_error *error);
    void (*forget)(og_device *device, void *recording);
} og_remote;

/* What kernels may do that are prepared from here on. */
typedef struct og_device_options {
    bool allow_tf32;    /* float32 products in TF32; on */
    bool deterministic; /* nothing that may give other bits the next time; off */
    og_dtype half;      /* that of mixed precision; OG_UNDEFINED: off */
} og_device_options;

struct og_device {
    const char *name;        /* "cpu", "cuda:0" */
    const char *model;       /* what its maker calls it; NULL: not known */
    const og_remote *remote; /* NULL: the host's memory; a call's work is done when it returns */
    int threads;             /* of the compute thread's OpenMP pool */
    og_dtype half;           /* in which products are faster than in float32: what --amp auto takes;
                                OG_UNDEFINED: none */
    bool continues_sums; /* its kernels add to a sum of gradients or begin it, as a scalar in its
                            memory says (op Accumulate), and no slower: nobody has to clear it */
    og_device_options options;
    /* What moves elements where ops ask for it (kernels/cpu/iterate.h); NULL: the processor does.
     */
    const struct og_mover *mover;
    const og_kernel_table *tables; /* ends with a NULL family; tables and rows are asked in order */
    /* Total and free bytes, as the user understands them: the card's, or what this process may
     * still use. */
    void (*memory)(og_device *device, uint64_t *total, uint64_t *free);
    void *(*alloc)(og_device *device,
                   size_t bytes); /* 256-byte aligned, zeroed; NULL when refused */
    void (*free)(og_device *device, void *memory, size_t bytes);
    /* Bytes of the host's memory that this process holds and no file backs; 0: not known. NULL: as
     * for 0. */
    uint64_t (*held)(og_device *device);
    /* Plans were made: gives back what only making them took. NULL: nothing to do. */
    void (*settle)(og_device *device);
    /* Was a kernel prepared, and not released, that has several ways to compute without knowing
     * which is the fastest? `tune` times the ways of all there are, in `memory`, bytes of the
     * device's that nothing uses; for what that is too little for, nothing is known afterwards
     * either. *changes: prepared again, a kernel would compute otherwise, with another workspace.
     * NULL: there is nothing to time. */
    bool (*untimed)(const og_device *device);
    og_status (*tune)(og_device *device, void *memory, size_t bytes, bool *changes,
                      og_error *error);
    void (*destroy)(og_device *device);
};

/* The first kernel for the call's op that supports it, NULL if none.
 * reference: only plain kernels. */
const og_kernel *og_device_kernel(const og_device *device, const og_call *call, bool reference);
/* Does the device have any kernel for this op at all? */
bool og_device_has(const og_device *device, const og_op *op);
/* One that is for this op, not for every one? */
bool og_device_names(const og_device *device, const og_op *op);

/* Tensors. Dense: row-major, without gaps; dims of 1 have any stride. */
og_tensor og_tensor_dense(const og_type *type, void *data);
bool og_tensor_is_dense(const og_tensor *t);
void og_strides_dense(const og_type *type, int64_t *strides);
/* Channels-last: an image [N, C, spatial …], rank at least 3, whose elements lie as those of a
 * dense [N, spatial …, C]. */
bool og_tensor_is_channels_last(const og_tensor *t);
void og_strides_channels_last(const og_type *type, int64_t *strides);
/* og_tensor.offset of a value that lies so in its storage, which begins at an address of 256. */
size_t og_layout_misaligned(const og_layout *layout, og_dtype dtype);

#endif
