/* What the kernels of this folder share: the device behind a call, queueing on it, and modules.
 *
 * A kernel's `prepare` loads or compiles (og__cuda_function, og__cuda_compiled) and keeps what it
 * needs in call->state; its `run` only queues, on the compute stream, and must be recordable: all
 * that may change between two runs lies in the card's memory. */
#ifndef OG_KERNELS_CUDA_INTERNAL_H
#define OG_KERNELS_CUDA_INTERNAL_H

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/driver.h"
#include "kernels/cuda/outside.h"

/* A kernel that is compiled here, once for each text. */
typedef struct og__cuda_text og__cuda_text;
typedef struct og__cuda_host og__cuda_host; /* host.c: one prepared call */
typedef struct og__cuda_feed og__cuda_feed; /* feed.c */
typedef struct og__cuda_block og__cuda_block;
typedef struct og__cuda_answer og__cuda_answer; /* product_goes.c: whether a product goes */
typedef struct og__cuda_watch og__cuda_watch;   /* outside.c: a call that reads at indices */

/* Pinned memory through which uploads and downloads go. */
typedef struct og__cuda_bounce {
    char *memory;
    og_cuda_event *free; /* the last copy that used it is done */
} og__cuda_bounce;

enum { OG__BOUNCES = 2, OG__BOUNCE_BYTES = 4 << 20 };
/* Where the record of outside.h is copied to: one for each mark, and for who waits at once. */
enum { OG__OUTSIDE_NOW = OG_MARKS, OG__OUTSIDE_PLACES };

typedef struct og__cuda {
    og_device device; /* first: an og_device * of this kind is one of these */
    char name[32];
    const og_device *host;
    const og_cuda_driver *driver;
    og_cuda_card *card;
    og_cuda_properties properties;
    bool recording;
    og__cuda_bounce bounce[OG__BOUNCES];
    int next_bounce;
    og_cuda_event *marks[OG_MARKS];
    og__cuda_feed *feed;
    og__cuda_text *texts;           /* compiled so far */
    struct og__cuda_loaded *loaded; /* images loaded so far */
    struct og__fusion *fusions;     /* fusion.c: planned so far */
    struct og__planned *untimed;    /* products whose fastest way is not known */
    void *ones;                     /* product_plan.c: what products are multiplied by */
    struct og__walk *walks;         /* walk_plan.c: planned so far */
    og__cuda_answer *answers;       /* products asked about so far */
    og__cuda_host *calls;           /* prepared host calls */
    og__cuda_block *blocks;         /* staging memory of host calls, the largest first */
    og_outside *outside;            /* the card's */
    og_outside *outside_seen;       /* pinned, OG__OUTSIDE_PLACES of them */
    og__cuda_watch *watches;
    unsigned last_watch;
} og__cuda;

static inline og__cuda *og__cuda_of(const og_device *device)
{
    return (og__cuda *)(uintptr_t)device;
}

/* feed.c */
og_status og__cuda_reserve(og_device *device, void *memory, size_t bytes, og_error *error);
og_status og__cuda_feed_run(og_device *device, const og_copy *copies, int n, og_error *error);
void og__cuda_feed_free(og__cuda *cuda);

/* product_time.c: og_device.untimed and .tune */
bool og__cuda_untimed(const og_device *device);
og_status og__cuda_tune(og_device *device, void *memory, size_t bytes, bool *changes,
                        og_error *error);

/* collect.c */
og_status og__cuda_fetch(og_device *device, const og_copy *copies, int n, og_error *error);

/* modules.c: `name` of the image, loaded when first asked for; `shared` as driver.h says. */
og_status og__cuda_function(og__cuda *cuda, const og_cuda_image *image, const char *name,
                            size_t shared, og_cuda_function **function, og_error *error);
/* The same of a text that is put behind the dialect of kernel.h and compiled when first asked for.
 * title: for messages. */
og_status og__cuda_compiled(og__cuda *cuda, const char *title, const char *text, const char *name,
                            og_cuda_function **function, og_error *error);
void og__cuda_modules_free(og__cuda *cuda);

/* host.c: is the op's definition, a few kernels of this device, better than the processor's kernel?
 * Where it has one and is not, the reason. */
bool og__cuda_by_definition(const og_op *op);
const char *og__cuda_kept_on_host(const og_op *op);
/* Staging memory for every call that is prepared (before a recording, in which nothing can
 * be allocated); what host calls ran into. */
og_status og__cuda_host_stage(og__cuda *cuda, og_error *error);
og_status og__cuda_host_error(og__cuda *cuda, og_error *error);
/* Bytes of it, with what those calls will take. */
uint64_t og__cuda_host_staging(const og_device *device);
void og__cuda_host_free(og__cuda *cuda);

/* outside.c: `fetch` queues a copy of the record to a place, `error` reads it once that has been
 * waited for: the error of an index that nothing has. */
og_status og__cuda_outside_new(og__cuda *cuda, og_error *error);
void og__cuda_outside_free(og__cuda *cuda);
og_status og__cuda_outside_fetch(og__cuda *cuda, int place, og_error *error);
og_status og__cuda_outside_error(og__cuda *cuda, int place, og_error *error);
/* A call whose kernel may meet a value that is refused (og__bad_index: one outside -bound …
 * bound - 1); it says so by the number. The error is what `refuse` makes of it. */
typedef og_status og__cuda_refusal(const og_call *call, og_error *error, int64_t position,
                                   int64_t value, int64_t bound);
og_status og__cuda_watch_new(const og_call *call, og__cuda_refusal *refuse, int64_t bound,
                             og__cuda_watch **watch, og_error *error);
unsigned og__cuda_watch_number(const og__cuda_watch *watch);
void og__cuda_watch_free(og__cuda *cuda, og__cuda_watch *watch);

/* A piece of a call's workspace, 256-byte aligned; bytes 0: not used. `book` is prepare's. */
typedef struct og__place {
    size_t at, bytes;
} og__place;
static inline og__place og__cuda_book(og_call *call, size_t bytes)
{
    og__place place = {call->workspace_bytes, bytes};
    call->workspace_bytes += (bytes + OG_ALIGNMENT - 1) / OG_ALIGNMENT * OG_ALIGNMENT;
    return place;
}
static inline char *og__cuda_at(const og_call *call, og__place place)
{
    return (char *)call->workspace + place.at;
}

/* move.c: a tensor made dense. new: of the types and strides of `from`,
 * which `run` reads wherever it lies then; `to` lies on the card. */
typedef struct og__cuda_copier og__cuda_copier;
og_status og__cuda_copier_new(const og_call *call, const og_tensor *from, og__cuda_copier **copier,
                              og_error *error);
og_status og__cuda_copier_run(const og_call *call, const og__cuda_copier *copier,
                              const og_tensor *from, void *to, og_error *error);
void og__cuda_copier_free(og__cuda_copier *copier);

/* Queue a kernel over a one-dimensional grid. */
og_status og__cuda_launch(const og_call *call, og_cuda_function *function, int64_t blocks,
                          int threads, size_t shared, const void *arguments, size_t bytes,
                          const og_cuda_range *ranges, int n_ranges, og_error *error);
/* Bytes that a tensor spans, as a range. */
og_cuda_range og__cuda_range(const og_tensor *t, bool write);

#endif
