/* What the update graph (optimizer.c) and the optimizers' rules (optimizer_rules.c) share. */
#ifndef OG_PASSES_UPDATE_H
#define OG_PASSES_UPDATE_H

#include "runtime/graph/build.h"
#include "runtime/passes/optimizer.h"

typedef struct og__update {
    og_graph *g;
    og_storages *storages;
    const og_optimizer *o;
    og_val lr;     /* float64 scalar */
    og_val t;      /* float64 scalar: the number of this step, from 1 */
    og_val finite; /* bool scalar */
    og_val factor; /* float64 scalar: of the sums of gradients, to correct and clip them */
    og_val sum;    /* of the parameter whose rule is called: its gradient is sum · factor */
} og__update;

/* The parameter after a step. w: the parameter; g: its gradient, corrected and clipped, of w's
 * type. Null if the rule has set the parameter's state itself. */
typedef og_val og__rule(og__update *u, og_val w, og_val g);
/* NULL: there is no optimizer of that name. */
og__rule *og__find_rule(const char *name);

/* The state's new value, kept old when the step is skipped. */
void og__commit(og__update *u, og_val state, og_val value);
/* The half copy of parameter w; null if it has none. */
og_val og__half_copy_of(og__update *u, og_val w);
/* x in the element type of `like`. */
og_val og__as(og_val x, og_val like);

#endif
