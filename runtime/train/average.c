/* Averages of parameters (option ema), which update keeps. A session is of them for a while by
 * changing their places with the parameters': evaluation, saving and all else then read them with
 * no plan of their own. Between calls the block of activations is free, and serves as room for
 * that. */
#include <string.h>

#include "runtime/device/transfer.h"
#include "runtime/onnx/checkpoint.h"
#include "runtime/train/train.h"

/* An average that lies in no slab, and so what it is of. */
static bool is_average(const og_session *s, int storage)
{
    const og_storage *st = &s->storages.items[storage];
    return st->kind == OG_STORAGE_AVERAGE && st->slab < 0;
}

og_status og__begin_averages(og_session *s)
{
    for (int i = 0; i < s->storages.n; i++)
        if (is_average(s, i))
            OG_TRY(og_device_copy(
                s->context->device, og__state_at(s, i), og__state_at(s, s->storages.items[i].of),
                (size_t)og_type_bytes(&s->storages.items[i].type), &s->context->error));
    return OG_OK;
}

og_status og__set_average(og_session *s, int storage, const void *data)
{
    const og_storage *parameter = &s->storages.items[storage];
    int owner = parameter->slab >= 0 ? parameter->slab : storage;
    size_t within = parameter->slab >= 0 ? parameter->within : 0;
    for (int i = 0; i < s->storages.n; i++)
        if (is_average(s, i) && s->storages.items[i].of == owner)
            return og_device_upload(s->context->device, (char *)og__state_at(s, i) + within, data,
                                    (size_t)og_type_bytes(&parameter->type), &s->context->error);
    return OG_OK;
}

static og_status exchange(og_session *s, char *a, char *b, size_t bytes)
{
    og_device *d = s->context->device;
    og_error *error = &s->context->error;
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < s->activation_bytes ? bytes - at : s->activation_bytes;
        OG_TRY(og_device_copy(d, s->activations, a + at, n, error));
        OG_TRY(og_device_copy(d, a + at, b + at, n, error));
        OG_TRY(og_device_copy(d, b + at, s->activations, n, error));
    }
    return OG_OK;
}

static og_status use_averages(og_session *s, bool on)
{
    if (s->averaged == on || s->optimizer.ema == 0)
        return OG_OK;
    for (int i = 0; i < s->storages.n; i++)
        if (is_average(s, i) &&
            exchange(s, og__state_at(s, i), og__state_at(s, s->storages.items[i].of),
                     (size_t)og_type_bytes(&s->storages.items[i].type)) != OG_OK) {
            s->broken = true;
            return s->context->error.status;
        }
    s->averaged = on;
    og__weights_changed(s);
    return OG_OK;
}

og_status og__use_weights(og_session *s)
{
    return use_averages(s, false);
}

og_status og_session_use_ema(og_session *s, bool on)
{
    OG_TRY(og__session_begin(s, 1));
    return use_averages(s, on);
}
