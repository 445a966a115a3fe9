/* Mixed precision as the session knows it: what the options say, half copies of parameters, and the
 * end of loss scaling. Evaluation and prediction compute in float32. */
#include <stdlib.h>
#include <string.h>

#include "runtime/base/half.h"
#include "runtime/train/train.h"

static og_status invalid(og_session *s, const char *option, const char *wanted)
{
    return og_fail(&s->context->error, OG_INVALID_ARGUMENT, "option %s is \"%s\", expected %s",
                   option, og_options_get(s->options, option), wanted);
}

static og_status parse_scaling(og_session *s)
{
    const og_options *o = s->options;
    og_scaling *scaling = &s->optimizer.scaling;
    const char *text = og_options_get(o, "loss_scale");
    *scaling = (og_scaling){.start = og__option_float(o, "loss_scale_start"),
                            .growth = og__option_float(o, "loss_scale_growth"),
                            .backoff = og__option_float(o, "loss_scale_backoff"),
                            .interval = og__option_int(o, "loss_scale_interval")};
    if (!(scaling->start >= OG_LEAST_LOSS_SCALE && scaling->start <= 0x1p100))
        return invalid(s, "loss_scale_start", "a number from 2^-14 to 2^100");
    if (!(scaling->growth >= 1 && scaling->growth <= 65536))
        return invalid(s, "loss_scale_growth", "a number from 1 to 65536");
    if (!(scaling->backoff > 0 && scaling->backoff < 1))
        return invalid(s, "loss_scale_backoff", "a number between 0 and 1");
    if (scaling->interval < 1)
        return invalid(s, "loss_scale_interval", "a number of updates of at least 1");
    if (strcmp(text, "auto") == 0) {
        scaling->on = scaling->dynamic = s->half == OG_FLOAT16;
    } else if (strcmp(text, "dynamic") == 0) {
        scaling->on = scaling->dynamic = true;
    } else if (strcmp(text, "off") != 0) {
        char *end;
        scaling->start = strtod(text, &end);
        scaling->on = true;
        if (*end || end == text || !(scaling->start >= OG_LEAST_LOSS_SCALE) ||
            scaling->start > 0x1p100)
            return invalid(s, "loss_scale", "auto, dynamic, off or a number from 2^-14 to 2^100");
    }
    return OG_OK;
}

og_status og__parse_precision(og_session *s)
{
    static const struct {
        const char *name;
        og_dtype half;
    } modes[] = {{"off", OG_UNDEFINED}, {"fp16", OG_FLOAT16}, {"bf16", OG_BFLOAT16}};
    const char *amp = og_options_get(s->options, "amp");
    if (strcmp(amp, "auto") == 0) {
        s->half = s->context->device->half;
        return parse_scaling(s);
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(amp, modes[i].name) == 0) {
            s->half = modes[i].half;
            return parse_scaling(s);
        }
    return invalid(s, "amp", "auto, fp16, bf16 or off");
}

og_status og__check_scale(og_session *s, double scale)
{
    double next = scale * s->optimizer.scaling.backoff;
    if (next >= OG_LEAST_LOSS_SCALE)
        return OG_OK;
    return og_fail(&s->context->error, OG_NON_FINITE,
                   "step %lld: the gradients are not finite at a loss scale of %g either, and it "
                   "cannot become smaller than 2^-14; nothing was changed by this step. Use --amp "
                   "bf16, whose range is that of float32%s",
                   (long long)s->step, scale,
                   s->half == OG_FLOAT16 ? "" : " (or look for NaN in the data)");
}

og_dtype og_session_half(const og_session *s)
{
    return s->half;
}

double og_session_loss_scale(const og_session *s)
{
    for (int i = 0; i < s->storages.n; i++)
        if (strcmp(s->storages.items[i].name, OG_STATE_SCALE) == 0)
            return *(const double *)((const char *)s->states + s->storages.items[i].offset);
    return 1;
}

void og__renew_half_copies(og_session *s, int storage)
{
    for (int i = 0; i < s->storages.n; i++) {
        const og_storage *copy = &s->storages.items[i];
        if (copy->kind != OG_STORAGE_HALF || (storage >= 0 ? copy->of != storage : copy->slab >= 0))
            continue;
        const og_storage *w = &s->storages.items[copy->of];
        const float *from = (const float *)((const char *)s->states + w->offset);
        uint16_t *to = (uint16_t *)((char *)s->states + copy->offset);
        for (int64_t k = 0, n = og_type_elements(&w->type); k < n; k++)
            to[k] = copy->type.dtype == OG_FLOAT16 ? og_float_to_half(from[k])
                                                   : og_float_to_bfloat(from[k]);
    }
}
