/* What updates came to. A device that works behind the host is not waited for within a step: the
 * results of an update are fetched into a ring, behind a mark, and reported some updates later. On
 * the CPU the ring has one place, which is reported at once. */
#include <string.h>

#include "runtime/device/transfer.h"
#include "runtime/train/train.h"

_Static_assert(OG_MARKS - 1 == OG_UPDATES_BEHIND, "the public header says how late results are");

/* In a place of the ring; the means of the losses follow. */
enum { LOSS, GRAD_NORM, FINITE, SCALE, NEXT_SCALE, MEANS };

static bool is_remote(const og_session *s)
{
    return s->context->device->remote != NULL;
}

static int places(const og_session *s)
{
    return is_remote(s) ? OG_MARKS : 1;
}

static double *place(const og_session *s, int index)
{
    return s->results + (size_t)index * (size_t)(MEANS + s->losses.n);
}

static size_t ring_bytes(const og_session *s)
{
    return (size_t)places(s) * (size_t)(MEANS + s->losses.n) * sizeof(double);
}

og_status og__results_new(og_session *s)
{
    og_device *d = s->context->device;
    size_t bytes = ring_bytes(s);
    s->results = is_remote(s) ? d->remote->host_alloc(d, bytes) : og_arena_alloc(s->arena, bytes);
    s->result_copies =
        og_arena_array(s->arena, (size_t)MEANS + (size_t)s->losses.n, sizeof *s->result_copies);
    return s->results && s->result_copies
               ? OG_OK
               : og_fail_memory(&s->context->error, bytes, "results of updates");
}

void og__results_free(og_session *s)
{
    og_device *d = s->context->device;
    if (s->results && is_remote(s))
        d->remote->host_free(d, s->results);
}

/* The scale that the next update has. */
static const void *scale_state(const og_session *s)
{
    for (int i = 0; i < s->storages.n; i++)
        if (strcmp(s->storages.items[i].name, OG_STATE_SCALE) == 0)
            return og__state_at(s, i);
    return NULL;
}

static og_status fetch_all(og_session *s, double *to)
{
    static const struct {
        int output, at;
        size_t bytes;
    } outputs[] = {{OG_UPDATE_LOSS, LOSS, sizeof(double)},
                   {OG_UPDATE_GRAD_NORM, GRAD_NORM, sizeof(double)},
                   {OG_UPDATE_FINITE, FINITE, 1},
                   {OG_UPDATE_SCALE, SCALE, sizeof(double)}};
    og_device *d = s->context->device;
    og_copy *copies = s->result_copies;
    const void *scale = scale_state(s);
    int n = 0;
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
        copies[n++] = (og_copy){to + outputs[i].at, og_plan_output(s->update, outputs[i].output),
                                outputs[i].bytes};
    copies[n++] =
        (og_copy){to + NEXT_SCALE, scale ? scale : og_plan_output(s->update, OG_UPDATE_SCALE),
                  sizeof(double)};
    for (int i = 0; i < s->losses.n; i++)
        copies[n++] = (og_copy){to + MEANS + i, og_plan_output(s->update, OG_UPDATE_MEANS + i),
                                sizeof(double)};
    if (is_remote(s))
        return d->remote->fetch(d, copies, n, &s->context->error);
    for (int i = 0; i < n; i++)
        memcpy(copies[i].to, copies[i].from, copies[i].bytes);
    return OG_OK;
}

og_status og__results_push(og_session *s, const og__update_record *update)
{
    og_device *d = s->context->device;
    int index = (s->first_update + s->n_updates) % places(s);
    s->updates[index] = *update;
    OG_TRY(fetch_all(s, place(s, index)));
    if (is_remote(s))
        OG_TRY(d->remote->mark(d, index, &s->context->error));
    s->n_updates++;
    return OG_OK;
}

og_status og__results_take(og_session *s, bool all, og_step_result *result)
{
    og_device *d = s->context->device;
    int index = s->first_update;
    if (s->n_updates == 0 || (!all && s->n_updates < places(s)))
        return OG_OK;
    og_status status = is_remote(s) ? d->remote->wait(d, index, &s->context->error) : OG_OK;
    if (status != OG_OK) {
        s->broken = true;
        return status;
    }
    const og__update_record *u = &s->updates[index];
    const double *from = place(s, index);
    uint8_t finite;
    memcpy(&finite, &from[FINITE], 1);
    memcpy(s->means, from + MEANS, (size_t)s->losses.n * sizeof(double));
    s->first_update = (index + 1) % places(s);
    s->n_updates--;
    s->reported = u->step;
    *result = (og_step_result){.updated = true,
                               .skipped = !finite,
                               .step = u->step,
                               .begun = s->step,
                               .samples = u->samples,
                               .loss = from[LOSS],
                               .losses = s->means,
                               .grad_norm = from[GRAD_NORM],
                               .lr = u->lr,
                               .loss_scale = from[SCALE],
                               .next_loss_scale = from[NEXT_SCALE]};
    status = og__check_update(s, result);
    if (status != OG_OK && s->n_updates == 0) /* it changed nothing: as if it had not begun */
        s->step = s->reported = u->step - 1;
    return status;
}
