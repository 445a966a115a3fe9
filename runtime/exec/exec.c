/* Running a plan (exec.h). */
#include "runtime/exec/exec.h"

og_status og_plan_run(og_plan *plan, const atomic_bool *cancel, og_error *error)
{
    for (int i = 0; i < plan->n_steps; i++) {
        og_step *s = &plan->steps[i];
        if (cancel && atomic_load_explicit(cancel, memory_order_relaxed))
            return og_fail(error, OG_CANCELLED, "cancelled");
        og_status status = s->kernel->run(&s->call, error);
        if (status != OG_OK) {
            char text[256];
            og_error_prefix(error, "%s", og_node_text(text, s->call.node));
            return status;
        }
    }
    return OG_OK;
}
