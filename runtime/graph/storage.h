/* State across runs: what lives in the arena for the whole session. Graphs name storages by index
 * (og_value.storage), so that the micro and update graphs of every batch shape mean the same
 * memory. */
#ifndef OG_GRAPH_STORAGE_H
#define OG_GRAPH_STORAGE_H

#include "runtime/graph/graph.h"

typedef enum og_storage_kind {
    OG_STORAGE_PARAMETER, /* trained */
    OG_STORAGE_BUFFER,    /* running statistics: saved, not trained */
    OG_STORAGE_STAGED,    /* running statistics of the micro-batches since the last update */
    OG_STORAGE_GRADIENT,  /* sums over micro-batches */
    OG_STORAGE_MOMENT,    /* the optimizer's */
    OG_STORAGE_AVERAGE,   /* of a parameter over its updates */
    OG_STORAGE_HALF,      /* a parameter's copy in half precision: update renews it */
    OG_STORAGE_KEPT,      /* what a plan keeps of values that depend on weights alone */
    OG_STORAGE_SCALAR     /* counters, loss and weight sums, the loss scale */
} og_storage_kind;

typedef struct og_storage {
    const char *name; /* unique within its kind; a parameter's is the initializer's, its moments'
                         begin with it */
    og_storage_kind kind;
    og_type type;
    const void *initial; /* dense content, not owned; NULL: `fill` everywhere */
    double fill;
    int of;        /* the parameter or buffer it belongs to; -1: none */
    int group;     /* of a parameter: which of the optimizer's groups it is in */
    int slab;      /* the storage in whose memory it lies, as one of several; -1: its own */
    size_t within; /* bytes from the slab's begin */
    size_t offset; /* in the session's arena; set by the planner */
} og_storage;

typedef struct og_storages {
    og_arena *arena;
    og_storage *items;
    int n;
    size_t capacity;
} og_storages;

/* The index of the storage of that kind and name, added if it is new; -1 when out of memory. */
int og_storage_get(og_storages *s, og_storage_kind kind, const char *name, const og_type *type,
                   const void *initial, double fill);
/* The same, as a state of `g`; one value for each storage and graph. */
og_val og_storage_state(og_graph *g, og_storages *s, og_storage_kind kind, const char *name,
                        const og_type *type, const void *initial, double fill);
/* The state of that kind that belongs to storage `of`, named NAME.suffix, of its type; staged
 * statistics and averages begin with its content, others with zeros. */
og_val og_storage_derived(og_graph *g, og_storages *s, og_storage_kind kind, int of,
                          const char *suffix);
/* Gathers the storages of a kind that belong to others (gradient sums to parameters, staged
 * statistics to running ones) in slabs, one a dtype and group: a one-dimensional storage in which
 * they lie one behind the other, each at a multiple of `alignment` bytes, and which belongs to a
 * slab of those others in the same order. What lies between them is zero. Whoever reads and writes
 * whole slabs treats all tensors at once. Call it before anything is placed, once a kind. false:
 * out of memory. */
bool og_storages_gather(og_storages *s, og_storage_kind kind, size_t alignment);
/* The same of half copies, after their parameters: a slab that is the parameters' in half, element
 * by element, at half their alignment. */
bool og_storages_gather_halves(og_storages *s);
/* A table with the same tensors, each in memory of its own, and no slabs nor what belongs to them:
 * for graphs that name every tensor. `items` NULL: out of memory. */
og_storages og_storages_apart(const og_storages *s, og_arena *arena);
/* The copy in type `half` of parameter `of`. Its first content is not given here: whoever fills the
 * states makes it of the parameter's. */
og_val og_storage_half_copy(og_graph *g, og_storages *s, int of, og_dtype half);
/* Does its content change with updates alone? Parameters, their half copies and running statistics,
 * unless the graph writes them. */
bool og_storage_is_weight(const og_storages *s, const og_state *state);
/* "gradient sums" … for tables. */
const char *og_storage_kind_name(og_storage_kind kind);

#endif
