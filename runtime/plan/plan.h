/* A plan: the flat list of kernel calls that runs a graph, with every tensor at a fixed offset of
 * one arena.
 *
 *     arena = [ states of the session | activations and workspaces of the running plan ]
 *
 * Plans of one session share the state region and, since one runs at a time, the activation region.
 * Making a plan allocates no tensor memory: og_plan_bind later says where the arena lies. A device
 * with memory of its own also has the constants there, and inputs at places that stay the same.
 *
 * A plan that runs many times with the same weights can keep what depends on them alone: values of
 * hoisted nodes (runtime/passes/hoist.c) and what kernels pack. Its first n_once steps and, behind
 * the others, its packs run only where it is not fresh; the rest finds what they left in the state
 * region, in kept_bytes of its own. */
#ifndef OG_PLAN_PLAN_H
#define OG_PLAN_PLAN_H

#include "runtime/passes/passes.h"

#define OG_KEPT INT32_MAX

/* A piece of the activation region, or of a state: what several values (views, in-place results)
 * may share. */
typedef struct og_buffer {
    size_t bytes;
    int first, last; /* steps during which it is live, both included; last = n_steps: to the end */
    size_t offset;   /* in the activation region; of a state: in the state region; of OG_KEPT: in
                        what the plan keeps */
    int storage;     /* >= 0: the state's, or OG_KEPT */
    int value;       /* the root it was made for; -1: a workspace */
} og_buffer;

typedef struct og_step {
    const og_kernel *kernel;
    og_call call;
    int node; /* of the graph */
    bool prepared;
    int packs;        /* the step whose call it packs for; -1: it runs its own */
    size_t packed_at; /* in what the plan keeps; packed_bytes 0: nothing */
} og_step;

/* Constant data that kernels read at run, in the memory of a device that does not read the host's.
 */
typedef struct og_constant {
    const void *data; /* the host's */
    size_t bytes, offset;
    char *at;                         /* the device's: set by og_plan_load_constants */
    const struct og_constant *shared; /* another plan's that is read instead; NULL: none */
} og_constant;

/* A tensor of a step that lies in a caller's buffer (graph input), to be set before each run. */
typedef struct og_patch {
    og_tensor *tensor;
    int64_t offset; /* bytes from the caller's pointer */
} og_patch;

typedef struct og_plan {
    og_arena *arena; /* owned: graph, steps, everything below */
    og_device *device;
    og_graph *graph;
    og_layouts layouts;
    og_step *steps; /* n_steps, in order, then n_packs */
    int n_steps, n_once, n_packs;
    og_buffer *buffers;
    int n_buffers;
    int *buffer_of;     /* by value: the root's buffer; -1: constant, input, or unused */
    og_patch **patches; /* by graph input */
    int *n_patches;
    size_t activation_bytes; /* size of the activation region */
    size_t lower_bound;      /* the largest sum of live bytes at any step */
    size_t kept_bytes;       /* in the state region … */
    size_t kept_offset;      /* … where whoever binds the plan says */
    bool fresh; /* what is kept is that of today's weights; whoever changes them clears it */
    char *state_base, *activation_base; /* set by og_plan_bind */

    /* On a device with memory of its own. */
    og_constant *constants;
    int n_constants;
    int *constant_of;      /* by root value: its constant; -1: none */
    size_t constant_bytes; /* size of the region of its constants, without shared ones */
    int runs;              /* since it was bound; for the recordings */
    void *recordings[2];   /* of its calls as they are bound now; [1]: where it is not fresh */
} og_plan;

/* Assign each storage its offset; returns the state region's size. Storages added later go behind.
 */
size_t og_storages_place(og_storages *storages);

/* Plan a graph that went through fuse: layout, order, buffers, offsets, kernels prepared. room: the
 * activation region is no question but of being within this many bytes; 0: it is to be small. keep:
 * what depends on weights alone; the graph went through hoist, too. The plan owns `arena` (in which
 * g lives) from here on, also on failure. NULL on error. */
og_plan *og_plan_new(og_graph *g, og_arena *arena, const og_storages *storages, size_t room,
                     og_device *device, bool keep, og_error *error);
/* constants.c: for a device that has memory of its own (elsewhere there are no constants and these
 * do nothing). Constants that `from` has, too, are read where that plan's lie: it must live as
 * long. */
void og_plan_share_constants(og_plan *plan, const og_plan *from);
/* Those that are not shared are uploaded to `base`, constant_bytes of the device's memory. Before
 * the plan is bound, and after those it shares with. */
og_status og_plan_load_constants(og_plan *plan, void *base, og_error *error);
/* No queued work may read what is bound. */
void og_plan_bind(og_plan *plan, void *state_base, void *activation_base);
/* Set the memory of graph input i, the device's: dense row-major, and untouched while the plan
 * runs.
 */
void og_plan_set_input(og_plan *plan, int input, const void *data);
/* Where output i lies in the device's memory after a run; valid until the next run of any plan in
 * the same arena. */
const void *og_plan_output(const og_plan *plan, int output);
void og_plan_free(og_plan *plan);
/* The steps of a run in order, packs among them: for (i = og_plan_first(p); i >= 0; i =
 * og_plan_next(p, i)). */
int og_plan_first(const og_plan *plan);
int og_plan_next(const og_plan *plan, int step);
/* Does the step run only where the plan is not fresh? */
bool og_plan_runs_once(const og_plan *plan, int step);

/* kept.c. By node: does it run only where the plan is not fresh? By value: is its memory's content
 * the same until weights change? false when out of memory. */
bool og__find_once(og_graph *g, const og_layouts *l, const og_storages *storages, const bool *live,
                   bool *once, bool *steady);
/* Room in what the plan keeps: its offset there. */
size_t og__keep(og_plan *plan, size_t bytes);
/* A pack for the step, which was prepared and asks for one, or that of a call that packs the same.
 * Once a step, when all have their numbers. */
void og__add_pack(og_plan *plan, int step);

/* constants.c: what the steps read of constants; false: out of memory. */
bool og__find_constants(og_plan *plan);

/* offsets.c: greedy placement, best fit, in the best of several orders; returns the region's size.
 * Buffers of states are skipped. room: no better one is looked for than this, nor where this cannot
 * be reached; 0: the best. */
size_t og__place_buffers(og_buffer *buffers, int n, int n_steps, size_t room, og_arena *scratch,
                         og_error *error);

/* usage.c: bytes of the activation region that are live at each step; live: n_steps entries. */
void og_plan_live(const og_buffer *buffers, int n, int n_steps, uint64_t *live);
/* The first step at which most is live. */
int og_plan_peak_step(const uint64_t *live, int n_steps);
/* The most bytes live at one step; 0 when out of memory. */
size_t og__live_bytes(const og_buffer *buffers, int n, int n_steps, og_arena *scratch);

#endif
