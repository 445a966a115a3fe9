/* Running a plan (exec.h).
 *
 * On a device that works behind the host a run only queues its calls. The first run of a plan does
 * that one by one (kernels and libraries load their code then); the second one is
 * recorded, and from there on the recording is replayed. */
#include "runtime/exec/exec.h"

enum { WARM_RUNS = 1 };

static og_status check_cancel(const atomic_bool *cancel, og_error *error)
{
    if (cancel && atomic_load_explicit(cancel, memory_order_relaxed))
        return og_fail(error, OG_CANCELLED, "cancelled");
    return OG_OK;
}

og_status og__run_step(const og_step *step, const atomic_bool *cancel, og_error *error)
{
    OG_TRY(check_cancel(cancel, error));
    og_status (*run)(const og_call *, og_error *) =
        step->packs >= 0 ? step->kernel->pack : step->kernel->run;
    og_status status = run(&step->call, error);
    if (status != OG_OK)
        og_node_prefix(error, step->call.node);
    return status;
}

static og_status run_steps(og_plan *plan, const atomic_bool *cancel, og_error *error)
{
    for (int i = og_plan_first(plan); i >= 0; i = og_plan_next(plan, i))
        OG_TRY(og__run_step(&plan->steps[i], cancel, error));
    plan->fresh = true;
    return OG_OK;
}

static og_status record(og_plan *plan, void **recording, og_error *error)
{
    og_device *d = plan->device;
    void *made = NULL;
    bool fresh = plan->fresh;
    OG_TRY(d->remote->record(d, error));
    og_status run = run_steps(plan, NULL, error);
    og_status status = d->remote->recorded(d, &made, error); /* it ends in any case */
    plan->fresh = fresh;                                     /* nothing was done yet */
    status = run != OG_OK ? run : status;
    if (status == OG_OK)
        *recording = made;
    else if (made)
        d->remote->forget(d, made);
    return status;
}

og_status og_plan_run(og_plan *plan, const atomic_bool *cancel, og_error *error)
{
    og_device *d = plan->device;
    if (!d->remote || plan->runs < WARM_RUNS) {
        OG_TRY(run_steps(plan, cancel, error));
        plan->runs += d->remote != NULL;
        return OG_OK;
    }
    bool keeps = plan->n_once > 0 || plan->n_packs > 0;
    void **recording = &plan->recordings[keeps && !plan->fresh];
    OG_TRY(check_cancel(cancel, error));
    if (!*recording)
        OG_TRY(record(plan, recording, error));
    OG_TRY(d->remote->replay(d, *recording, error));
    plan->fresh = true;
    return OG_OK;
}
