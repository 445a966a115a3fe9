/* What the files that make a plan share. */
#ifndef OG_PLAN_PLANNER_H
#define OG_PLAN_PLANNER_H

#include "runtime/plan/plan.h"

typedef struct og__planner {
    og_plan *plan;
    og_graph *g;
    const og_storages *storages;
    const og_device *device;
    og_error *error;
    bool keep;
    bool *steady;      /* by value: what it is a view of stays the same until weights change */
    int *node_at;      /* by step: its node */
    int *step_of;      /* by node: its step, -1: a view, or dead */
    int *last_read;    /* by root value: the last step that reads it or a view of it; n_steps for
                          outputs */
    int *defined;      /* by value: the step that writes it; -1 before the first */
    size_t *workspace; /* by node: bytes, once its kernel is prepared */
} og__planner;

static inline int og__root_of(const og__planner *p, int value)
{
    return p->plan->layouts.places[value].root;
}

/* ---- buffers.c */

/* The steps, in the graph's order. false when out of memory. */
bool og__plan_steps(og__planner *p);
/* step_of, last_read and defined from node_at. */
void og__plan_lifetimes(og__planner *p);
/* May the step's kernel write output `out` over input root `in`? */
bool og__in_place(const og__planner *p, int step, int in, int out);
/* Which values share a buffer, and when each lives; workspaces come last, in the order of steps.
 * May be asked again for another order. */
void og__plan_buffers(og__planner *p);

/* ---- order.c */

/* Makes the buffers; before, puts steps in another order where less is then alive at the peak.
 * false when out of memory. */
bool og__plan_order(og__planner *p);

#endif
