/* Running: a plan step by step, and a small interpreter that may allocate. */
#ifndef OG_EXEC_EXEC_H
#define OG_EXEC_EXEC_H

#include <stdatomic.h>

#include "runtime/plan/plan.h"

/* Run all steps in order, those of what the plan keeps only where it is not fresh, which it is
 * then. cancel: checked between steps; NULL = never. An error names the node; states may then be
 * half written, so that the session must not go on. On a device that works behind the host
 * (og_device.remote) the steps are queued on return; such a plan's calls are recorded and replayed,
 * its recordings are dropped when it is bound anew. */
og_status og_plan_run(og_plan *plan, const atomic_bool *cancel, og_error *error);

/* One step of it. */
og_status og__run_step(const og_step *step, const atomic_bool *cancel, og_error *error);

/* checked.c: the same, with dead memory poisoned and every write checked; slow. Not on devices with
 * memory of their own. */
og_status og_plan_run_checked(og_plan *plan, size_t state_bytes, og_error *error);

/* finite.c: runs the plan up to the first node that makes NaN or infinity of finite inputs; *found
 * NULL: none does. −∞ alone counts where nothing else is found. Not on devices with memory of their
 * own. */
og_status og_plan_find_non_finite(og_plan *plan, const og_node **found, og_error *error);

/* eager.c: an evaluator on the device's plain kernels, which allocates results in the graph's
 * arena. */
og_evaluator og_eager_evaluator(const og_device *device);

#endif
