/* Running a plan (exec.h). */
#include "runtime/exec/exec.h"

og_status og__run_step(const og_step *step, const atomic_bool *cancel, og_error *error)
{
    if (cancel && atomic_load_explicit(cancel, memory_order_relaxed))
        return og_fail(error, OG_CANCELLED, "cancelled");
    og_status (*run)(const og_call *, og_error *) =
        step->packs >= 0 ? step->kernel->pack : step->kernel->run;
    og_status status = run(&step->call, error);
    if (status != OG_OK) {
        char text[256];
        og_error_prefix(error, "%s", og_node_text(text, step->call.node));
    }
    return status;
}

og_status og_plan_run(og_plan *plan, const atomic_bool *cancel, og_error *error)
{
    for (int i = og_plan_first(plan); i >= 0; i = og_plan_next(plan, i))
        OG_TRY(og__run_step(&plan->steps[i], cancel, error));
    plan->fresh = true;
    return OG_OK;
}
