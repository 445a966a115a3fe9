/* Mixed precision as the session knows it: what the options say, half copies of parameters, and the
 * end of loss scaling. Evaluation and prediction compute in float32. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/half.h"
#include "runtime/device/transfer.h"
#include "runtime/train/train.h"

static og_status invalid(og_session *s, const char *option, const char *wanted)
{
    const char *value = og_options_get(s->options, option);
    char nearest[OG_NEAREST];
    return og_fail(&s->context->error, OG_INVALID_ARGUMENT, "option %s is \"%s\", expected %s%s",
                   option, value, wanted, og_did_you_mean(nearest, value, wanted));
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

/* With a fixed scale: so many updates in a row are no accident of a batch. */
enum { MOST_SKIPPED = 20 };

static og_status fail_fixed(og_session *s, int64_t step, double scale)
{
    if (++s->skipped < MOST_SKIPPED)
        return OG_OK;
    return og_fail(
        &s->context->error, OG_NON_FINITE,
        "step %lld: the gradients were not finite in %d updates in a row at the fixed "
        "loss scale of %g; nothing was changed by them. Use --loss_scale dynamic, which "
        "finds a scale that fits, or --amp bf16, whose range is that of float32 (or look "
        "for NaN in the data)",
        (long long)step, MOST_SKIPPED, scale);
}

static og_status fail_dynamic(og_session *s, int64_t step, double scale)
{
    if (scale * s->optimizer.scaling.backoff >= OG_LEAST_LOSS_SCALE)
        return OG_OK;
    return og_fail(&s->context->error, OG_NON_FINITE,
                   "step %lld: the gradients are not finite at a loss scale of %g either, and it "
                   "cannot become smaller than 2^-14; nothing was changed by this step. Use --amp "
                   "bf16, whose range is that of float32%s",
                   (long long)step, scale,
                   s->half == OG_FLOAT16 ? "" : " (or look for NaN in the data)");
}

og_status og__check_update(og_session *s, const og_step_result *r)
{
    const og_scaling *scaling = &s->optimizer.scaling;
    if (!r->skipped) {
        s->skipped = 0;
        return OG_OK;
    }
    if (scaling->on)
        return scaling->dynamic ? fail_dynamic(s, r->step, r->loss_scale)
                                : fail_fixed(s, r->step, r->loss_scale);
    return og_fail(&s->context->error, OG_NON_FINITE,
                   "step %lld: the loss is %g and the gradient norm %g; nothing was changed by "
                   "this step. Look for NaN in the data, or lower the learning rate (%g)",
                   (long long)r->step, isnan(r->loss) ? NAN : r->loss, /* no "-nan" */
                   isnan(r->grad_norm) ? NAN : r->grad_norm, r->lr);
}

og_dtype og_session_half(const og_session *s)
{
    return s->half;
}

double og_session_loss_scale(const og_session *s)
{
    double scale = NAN;
    for (int i = 0; i < s->storages.n; i++)
        if (strcmp(s->storages.items[i].name, OG_STATE_SCALE) == 0) {
            if (!s->states)
                return s->storages.items[i].fill;
            og_device_download(s->context->device, &scale, og__state_at(s, i), sizeof scale,
                               &s->context->error);
            return scale;
        }
    return 1;
}

/* ---- half copies */

static void narrow(const float *from, uint16_t *to, int64_t n, og_dtype half)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = half == OG_FLOAT16 ? og_float_to_half(from[i]) : og_float_to_bfloat(from[i]);
}

/* Piece by piece, through the host. */
static og_status narrow_remotely(og_session *s, const float *from, uint16_t *to, int64_t n,
                                 og_dtype half)
{
    enum { PIECE = 1 << 18 };
    og_device *d = s->context->device;
    og_error *error = &s->context->error;
    size_t bytes = PIECE * (sizeof(float) + sizeof(uint16_t));
    float *wide = malloc(bytes);
    if (!wide)
        return og_fail_memory(error, bytes, "half copies");
    uint16_t *narrowed = (uint16_t *)(wide + PIECE);
    og_status status = OG_OK;
    for (int64_t at = 0; at < n && status == OG_OK; at += PIECE) {
        int64_t count = n - at < PIECE ? n - at : PIECE;
        status = og_device_download(d, wide, from + at, (size_t)count * sizeof(float), error);
        if (status != OG_OK)
            break;
        narrow(wide, narrowed, count, half);
        status = og_device_upload(d, to + at, narrowed, (size_t)count * sizeof(uint16_t), error);
    }
    free(wide);
    return status;
}

og_status og__renew_half_copies(og_session *s, int storage)
{
    for (int i = 0; i < s->storages.n; i++) {
        const og_storage *copy = &s->storages.items[i];
        if (copy->kind != OG_STORAGE_HALF || (storage >= 0 ? copy->of != storage : copy->slab >= 0))
            continue;
        int64_t n = og_type_elements(&s->storages.items[copy->of].type);
        const float *from = og__state_at(s, copy->of);
        uint16_t *to = og__state_at(s, i);
        if (s->context->device->remote)
            OG_TRY(narrow_remotely(s, from, to, n, copy->type.dtype));
        else
            narrow(from, to, n, copy->type.dtype);
    }
    return OG_OK;
}
