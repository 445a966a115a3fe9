#include "runtime/device/transfer.h"

#include <string.h>

og_status og_device_upload(og_device *d, void *to, const void *from, size_t bytes, og_error *error)
{
    if (d->remote && bytes)
        return d->remote->upload(d, to, from, bytes, error);
    if (bytes)
        memcpy(to, from, bytes);
    return OG_OK;
}

og_status og_device_download(og_device *d, void *to, const void *from, size_t bytes,
                             og_error *error)
{
    if (d->remote && bytes)
        return d->remote->download(d, to, from, bytes, error);
    if (bytes)
        memcpy(to, from, bytes);
    return OG_OK;
}

og_status og_device_copy(og_device *d, void *to, const void *from, size_t bytes, og_error *error)
{
    if (d->remote && bytes)
        return d->remote->copy(d, to, from, bytes, error);
    if (bytes)
        memcpy(to, from, bytes);
    return OG_OK;
}

og_status og_device_clear(og_device *d, void *at, size_t bytes, og_error *error)
{
    if (d->remote && bytes)
        return d->remote->clear(d, at, bytes, error);
    if (bytes)
        memset(at, 0, bytes);
    return OG_OK;
}

og_status og_device_finish(og_device *d, og_error *error)
{
    return d->remote ? d->remote->finish(d, error) : OG_OK;
}
