/* The context: device, log and the last error. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/cpu.h"
#include "runtime/train/train.h"

og_context *og_context_new(const og_context_config *config)
{
    og_context *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->device = og_cpu_device_new(config ? config->threads : 0);
    if (!c->device) {
        free(c);
        return NULL;
    }
    if (config && config->pin_threads)
        og_cpu_pin_threads(c->device);
    if (config) {
        c->log = config->log;
        c->log_user = config->log_user;
    }
    return c;
}

void og_context_free(og_context *c)
{
    if (!c)
        return;
    og_error_clear(&c->error);
    c->device->destroy(c->device);
    free(c);
}

const char *og_error_message(const og_context *c)
{
    return og_error_text(&c->error);
}

og_status og_error_status(const og_context *c)
{
    return c->error.status;
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
