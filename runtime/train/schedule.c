/* Learning-rate schedules, with the meaning they have in PyTorch's and Transformers' schedulers of
 * these names: the factor at step s of n, after w warm-up steps that rise linearly from 0. */
#include <math.h>
#include <string.h>

#include "runtime/train/train.h"

#define USE_SCHEDULER_WARMUP 0.05 /* of all steps: --use_scheduler alone */

double og_schedule_lr(const og_options *options, int64_t step, int64_t total)
{
    double lr = og__option_float(options, "lr");
    const char *name = og_options_get(options, "scheduler");
    int64_t warmup = og__option_int(options, "warmup_steps");
    if (!name && og__option_flag(options, "use_scheduler")) {
        name = "cosine";
        if (!og_options_is_set(options, "warmup_steps"))
            warmup = (int64_t)ceil(USE_SCHEDULER_WARMUP * (double)total);
    }
    if (step < warmup)
        return lr * (double)step / (double)warmup;
    if (!name || strcmp(name, "constant") == 0 || total <= warmup)
        return lr;
    double progress = (double)(step - warmup) / (double)(total - warmup);
    if (progress > 1)
        progress = 1;
    if (strcmp(name, "linear") == 0)
        return lr * (1 - progress);
    return lr * 0.5 * (1 + cos(M_PI * progress)); /* cosine */
}
