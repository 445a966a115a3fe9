/* The parts of the simulated card (README.md). */
#ifndef OG_TESTS_CUDA_SIM_INTERNAL_H
#define OG_TESTS_CUDA_SIM_INTERNAL_H

#include "kernels/cuda/kernel.h"
#include "tests/cuda_sim/sim.h"

/* To the address sanitizer: [at, at + bytes) may not be touched, or may be. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define SIM_FORBID(at, bytes) ASAN_POISON_MEMORY_REGION(at, bytes)
#define SIM_ALLOW(at, bytes) ASAN_UNPOISON_MEMORY_REGION(at, bytes)
#else
#define SIM_FORBID(at, bytes) ((void)(at), (void)(bytes))
#define SIM_ALLOW(at, bytes) ((void)(at), (void)(bytes))
#endif

/* ---- memory.c: the card's memory and pinned memory */

typedef struct sim_region {
    struct sim_region *next;
    char *at; /* what the owner sees: `bytes` from here */
    size_t bytes;
    char *map; /* with what lies around it: a page without access at both ends */
    size_t map_bytes;
    bool pinned;
} sim_region;

/* NULL: the system has no more. Contents are poison. */
sim_region *sim_region_new(size_t bytes, bool pinned);
/* Frees it; false if something was written around it. */
bool sim_region_free(sim_region *region);
bool sim_region_intact(const sim_region *region);
/* Let what runs now read and write [at, at + bytes), or no longer. */
void sim_region_open(const sim_region *region, const void *at, size_t bytes, bool open);
void sim_poison(void *at, size_t bytes);
/* Say on a crash what was running. */
void sim_watch_memory(void);
extern const char *sim_now; /* what runs; "the host" otherwise */

/* ---- fibers.c: kernels */

/* Runs every block of a launch, threads in an order that follows from *random. shared: dynamic, of
 * at most `limit` with the kernel's own. NULL, or what went wrong, until the next call. */
const char *sim_run_kernel(const og_sim_kernel *kernel, const uint32_t grid[3],
                           const uint32_t block[3], size_t shared, size_t limit,
                           const void *arguments, uint64_t *random);
uint64_t sim_random(uint64_t *state);

/* ---- compile.c: source text as a module */

/* The library made of it, NULL after an error. Finds kernels by name. */
void *sim_compile(const char *name, const char *source, og_error *error);
const og_sim_kernel *sim_compiled_kernel(void *library, const char *name);

/* ---- products.c */

struct og_cuda_plan {
    og_cuda_product product;
    int way;
    size_t workspace;
};
/* The ways within the product's limit; their number. */
int sim_product_ways(const og_cuda_product *p, og_cuda_way ways[OG_SIM_WAYS]);
/* Which it is; -1: none of them. */
int sim_product_way(const og_cuda_product *p, const og_cuda_way *way);
float sim_product_ms(int way);
/* NULL, or why cuBLASLt would not take it. */
const char *sim_product_wrong(const og_cuda_product *p);
/* Is it one that the library has no way to compute (sim.h)? */
bool sim_product_refused(const og_cuda_product *p);
const char *sim_operands_wrong(const og_cuda_plan *plan, const og_cuda_operands *o);
/* What a run touches, at most 10 ranges; their count. */
int sim_product_ranges(const og_cuda_plan *plan, const og_cuda_operands *o, og_cuda_range *ranges);
/* alpha or beta. Those of the host are read when a product is queued, as a card does. */
double sim_product_scalar(const og_cuda_product *p, const void *at);
double sim_tf32(double v); /* to 10 bits of mantissa */
void sim_product_run(const og_cuda_plan *plan, const og_cuda_operands *o, double alpha,
                     double beta);

/* ---- fusion.c, fusion_run.c */

struct og_cuda_fused {
    og_cuda_fusion fusion;
    size_t workspace;
};
typedef struct sim_bindings {
    void *memory[OG_CUDA_TENSORS], *workspace;
    size_t workspace_bytes;
} sim_bindings;
/* NULL, or what no version of cuDNN would take; NULL, or why it has no engine. */
const char *sim_fusion_wrong(const og_cuda_fusion *f);
const char *sim_fusion_refused(const og_cuda_fusion *f);
size_t sim_fusion_workspace(const og_cuda_fusion *f);
const char *sim_bindings_wrong(const og_cuda_fused *plan, const sim_bindings *b);
/* What a run touches, at most OG_CUDA_TENSORS ranges; their count. */
int sim_fusion_ranges(const og_cuda_fused *plan, const sim_bindings *b, og_cuda_range *ranges);
/* false: the system has no more memory. */
bool sim_fusion_run(const og_cuda_fused *plan, const sim_bindings *b);

/* ---- rnn.c, rnn_run.c */

struct og_cuda_walk {
    og_cuda_recurrence recurrence;
    og_cuda_recurrence_sizes sizes;
    uint64_t id;
};
/* What a reserve begins with; behind it a float for each that is kept of each unit of a step. */
typedef struct sim_reserve_head {
    uint64_t plan, inputs; /* whose it is, and a sum of what the walk read and gave */
    uint64_t unspent;
} sim_reserve_head;
enum { SIM_RECURRENCE_RANGES = 17 };
int sim_recurrence_gates(const og_cuda_recurrence *r);
int sim_recurrence_kept(const og_cuda_recurrence *r); /* of a unit and step */
/* NULL, or what no version of cuDNN would take. */
const char *sim_recurrence_wrong(const og_cuda_recurrence *r);
void sim_recurrence_place(const og_cuda_recurrence *r, uint64_t *random, og_cuda_walk *plan);
const char *sim_recurrence_operands_wrong(const og_cuda_walk *plan,
                                          const og_cuda_recurrence_operands *o, bool back);
/* What a run touches; their count. */
int sim_recurrence_ranges(const og_cuda_walk *plan, const og_cuda_recurrence_operands *o, bool back,
                          og_cuda_range *ranges);
/* NULL, or what went wrong. */
const char *sim_recurrence_run(const og_cuda_walk *plan, const og_cuda_recurrence_operands *o,
                               bool back);

/* ---- card.c: queues, and the check that everything is ordered */

typedef enum sim_kind {
    SIM_COPY,
    SIM_SET,
    SIM_LAUNCH,
    SIM_CALL,
    SIM_PRODUCT,
    SIM_FUSION,
    SIM_WALK,
    SIM_WALK_BACK,
    SIM_RECORD,
    SIM_FOLLOW
} sim_kind;

typedef struct sim_clock {
    uint64_t of[OG_CUDA_STREAMS]; /* items of each stream that came before */
} sim_clock;

struct og_cuda_event {
    og_cuda_event *next;
    sim_clock clock;
    uint64_t recorded, done; /* how often it was recorded, and how many of these were reached */
};

struct og_cuda_function {
    og_cuda_function *next;
    const og_sim_kernel *kernel;
    size_t shared;
};

typedef struct sim_item {
    struct sim_item *next;     /* in its stream's queue, or its graph */
    struct sim_item *previous; /* in its stream's history */
    sim_kind kind;
    og_cuda_stream stream;
    uint64_t number;
    sim_clock clock;
    char what[96];
    og_cuda_range *ranges;
    int n_ranges;
    bool done;
    bool summed; /* a copy whose pinned source was summed when it was queued */
    uint64_t sum;
    void *to; /* SIM_COPY, SIM_SET */
    const void *from;
    size_t bytes;
    int byte;
    og_cuda_launch launch; /* SIM_LAUNCH; its arguments are the item's */
    void (*run)(void *user);
    void *user;
    og_cuda_plan plan; /* SIM_PRODUCT */
    og_cuda_operands operands;
    double alpha, beta;         /* those of the host */
    const og_cuda_fused *fused; /* SIM_FUSION */
    sim_bindings bindings;
    const og_cuda_walk *walk; /* SIM_WALK, SIM_WALK_BACK */
    og_cuda_recurrence_operands states;
    og_cuda_event *event; /* SIM_RECORD, SIM_FOLLOW */
    uint64_t generation;
} sim_item;

struct og_cuda_graph {
    sim_item *first, *last;
};

struct og_cuda_module {
    og_cuda_module *next;
    const og_cuda_image *image; /* NULL: compiled */
    void *library;
};

struct og_cuda_card {
    og_cuda_properties properties;
    uint64_t used, random;
    og_error fault; /* the first; every call reports it from then on */
    sim_region *regions;
    og_cuda_event *events;
    og_cuda_module *modules;
    og_cuda_function *functions;
    sim_item *first[OG_CUDA_STREAMS], *last[OG_CUDA_STREAMS]; /* queued, not done */
    sim_item *history[OG_CUDA_STREAMS];                       /* the newest; done or not */
    sim_clock clocks[OG_CUDA_STREAMS], host;
    uint64_t counts[OG_CUDA_STREAMS];
    og_cuda_graph *capture;
};

/* Sets the card's fault. Returns its status. */
og_status sim_fault(og_cuda_card *card, const char *format, ...) OG_PRINTF(2, 3);
/* The card's fault, if there is one, as the caller's error. */
og_status sim_check(og_cuda_card *card, og_error *error);
/* Queue a copy of the item (or append it to the recording). ranges are copied. */
og_status sim_enqueue(og_cuda_card *card, const sim_item *item, og_error *error);
og_status sim_enqueue_graph(og_cuda_card *card, const og_cuda_graph *graph, og_error *error);
/* Work until `event` has reached `generation`; NULL: until all is done. Then a little more. */
og_status sim_work(og_cuda_card *card, const og_cuda_event *event, uint64_t generation,
                   og_error *error);
void sim_item_free(sim_item *item);
/* The region that holds all of it; NULL: none. */
sim_region *sim_find_region(const og_cuda_card *card, const void *at, size_t bytes);
void sim_forget_all(og_cuda_card *card);

#endif
