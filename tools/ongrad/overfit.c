#include "tools/ongrad/overfit.h"

#include <inttypes.h>
#include <math.h>

#include "tools/ongrad/say.h"

enum { STEPS = 150 }; /* at each learning rate */
static const double rates[] = {1e-3, 1e-2, 3e-2}, enough = 0.1;

int og__overfit_batch(og__run *run, const void *const *inputs, const void *const *targets,
                      int64_t samples, og__overfit *o)
{
    *o = (og__overfit){.first = NAN, .last = NAN};
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
        o->lr = rates[r];
        og_session_set_lr(run->session, rates[r]);
        for (int64_t i = 0; i < STEPS; i++) {
            og_step_result result;
            if (og_session_train_step(run->session, inputs, targets, samples, &result) != OG_OK)
                return og__run_failed(run);
            if (!result.updated)
                continue;
            o->steps = result.step;
            o->last = result.loss;
            if (isnan(o->first))
                o->first = result.loss;
            if (o->last <= enough * o->first)
                return OG__EXIT_DONE;
        }
    }
    return og__say_error(run->command, OG__EXIT_FAILED,
                         "the model does not learn one batch of %" PRId64
                         " samples by heart: in %" PRId64 " steps its loss went from %.4g to %.4g\n"
                         "(labels that do not belong to their samples, inputs that are not scaled, "
                         "or frozen layers do that; a model too small for the batch, too: try a "
                         "smaller --batch_size)",
                         samples, o->steps, o->first, o->last);
}
