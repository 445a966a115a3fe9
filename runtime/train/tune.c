/* What is computed in the fastest of several ways: a device that does not know which that is times
 * them once plans are decided on, and then the plans are made again, with the workspaces that those
 * ways need. It takes no more memory than the plans themselves do. */
#include <string.h>

#include "runtime/train/train.h"

/* Not for a device that is not here. */
static bool may_tune(const og_session *s)
{
    const og_device *d = s->context->device;
    const char *memory = og_options_get(s->options, "device_memory");
    return d->untimed && d->untimed(d) && og__option_flag(s->options, "tune") &&
           (!memory || strcmp(memory, "auto") == 0);
}

og_status og__session_tune(og_session *s, bool *changes)
{
    og_device *d = s->context->device;
    size_t bytes = (size_t)s->memory.peak;
    *changes = false;
    void *memory = may_tune(s) ? d->alloc(d, bytes) : NULL;
    if (!memory) /* what refuses it refuses the session, too, or only plans are made */
        return OG_OK;
    og_status status = d->tune(d, memory, bytes, changes, &s->context->error);
    d->free(d, memory, bytes);
    return status;
}

og_status og__late_tune(og_session *s, bool *changes)
{
    og_device *d = s->context->device;
    *changes = false;
    return may_tune(s)
               ? d->tune(d, s->activations, s->activation_bytes, changes, &s->context->error)
               : OG_OK;
}
