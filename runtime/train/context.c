/* The context: devices, log and the last error. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/cpu.h"
#include "runtime/train/train.h"

og_context *og_context_new(const og_context_config *config)
{
    og_context *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->host = og_cpu_device_new(config ? config->threads : 0);
    if (!c->host) {
        free(c);
        return NULL;
    }
    if (config && config->pin_threads)
        og_cpu_pin_threads(c->host);
    if (config) {
        c->log = config->log;
        c->log_user = config->log_user;
    }
    const char *name = config && config->device ? config->device : "auto";
    snprintf(c->device_name, sizeof c->device_name, "%s", name);
    og__context_device(c);
    return c;
}

og_device *og__context_device(og_context *c)
{
    if (!c->device)
        c->device = og__device_new(c->device_name, c->host, &c->error);
    return c->device;
}

void og_context_free(og_context *c)
{
    if (!c)
        return;
    og_error_clear(&c->error);
    if (c->device && c->device != c->host)
        c->device->destroy(c->device);
    c->host->destroy(c->host);
    free(c);
}

const char *og_context_device(const og_context *c)
{
    return c->device ? c->device->name : "";
}

const char *og_error_message(const og_context *c)
{
    return og_error_text(&c->error);
}

og_status og_error_status(const og_context *c)
{
    return c->error.status;
}

void og_context_memory(const og_context *c, uint64_t *total, uint64_t *available)
{
    *total = *available = 0;
    if (c->device)
        c->device->memory(c->device, total, available);
}

void og__context_begin(og_context *c)
{
    og_error_clear(&c->error);
}

void og__log(og_context *c, og_log_level level, const char *format, ...)
{
    if (!c->log)
        return;
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    c->log(c->log_user, level, message);
}
