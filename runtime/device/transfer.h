/* Between the host's memory and a device's, whichever device it is: plain copies where both are the
 * same memory, functions of og_remote where they are not. */
#ifndef OG_DEVICE_TRANSFER_H
#define OG_DEVICE_TRANSFER_H

#include "runtime/device/device.h"

/* Host to device; `from` may be reused on return. */
og_status og_device_upload(og_device *device, void *to, const void *from, size_t bytes,
                           og_error *error);
/* Device to host; on return all queued work is done and the bytes have arrived. */
og_status og_device_download(og_device *device, void *to, const void *from, size_t bytes,
                             og_error *error);
/* Within the device's memory; a device that works behind the host does it in turn. */
og_status og_device_copy(og_device *device, void *to, const void *from, size_t bytes,
                         og_error *error);
og_status og_device_clear(og_device *device, void *at, size_t bytes, og_error *error);
/* Waits for all queued work. */
og_status og_device_finish(og_device *device, og_error *error);

#endif
