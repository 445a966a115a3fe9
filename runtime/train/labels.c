/* Class labels of a batch: each must name a class. Indices of ONNX count from the end when they are
 * negative, so without this -1 would train the last class. */
#include <inttypes.h>

#include "runtime/train/train.h"

static bool reads_labels(const og_loss *loss, const og__loss_source *source)
{
    return !source->path && source->target >= 0 && og_loss_is_of_classes(loss->name);
}

/* y, t: types of the loss's output and target at the full batch. */
static og_status check_labels(const og_session *s, const og_loss *loss, const og_type *y,
                              const og_type *t, const int64_t *labels, int64_t samples)
{
    int64_t count = og_type_elements(t);
    if (t->dtype != OG_INT64 || count < 1) /* probabilities, or nothing */
        return OG_OK;
    int64_t classes = og_type_elements(y) / count, each = count / t->dims[0];
    for (int64_t i = 0; i < samples * each; i++)
        if ((labels[i] < 0 || labels[i] >= classes) && labels[i] != loss->ignore_index)
            return og_fail(&s->context->error, OG_INVALID_DATA,
                           "%s: label %" PRId64 " (sample %" PRId64
                           " of the batch) is none of the %" PRId64
                           " classes of the output, 0 to %" PRId64 ", nor ignore_index (%" PRId64
                           "); hint: --loss %s,ignore_index=N ignores labels N",
                           loss->name, labels[i], i / each, classes, classes - 1,
                           loss->ignore_index, loss->name);
    return OG_OK;
}

og_status og__check_labels(const og_session *s, const void *const *targets, int64_t samples)
{
    for (int i = 0; i < s->losses.n; i++) {
        const og__loss_source *source = &s->losses.sources[i];
        if (reads_labels(&s->losses.items[i], source))
            OG_TRY(check_labels(s, &s->losses.items[i], &s->outputs[source->output],
                                &s->targets[source->target],
                                og__target_data(s, targets, source->target), samples));
    }
    return OG_OK;
}
