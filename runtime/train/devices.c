/* The devices of this build, by name: "cpu", "cuda:0". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "runtime/train/train.h"

/* Makes device `index` of its kind; `host` outlives it. NULL, and an error, where it cannot be
 * had. */
typedef struct maker {
    const char *kind;
    og_device *(*make)(int index, const og_device *host, og_error *error);
    int (*count)(const char **why);
    void (*libraries)(char *text, size_t room);
    bool on_request; /* "auto" does not take it */
} maker;

/* Beside the CPU; in the order in which "auto" tries them. The CUDA device has run on no GPU yet,
 * so it is taken on request alone. */
static const maker makers[] = {
    {"cuda", og_cuda_device_new, og_cuda_device_count, og_cuda_libraries, true},
    {NULL},
};

enum { MOST_NAMES = 16 };

/* "cuda" or "cuda:0": which of the kind; -1: it is none of the kind. */
static int index_of(const char *name, const char *kind)
{
    size_t n = strlen(kind);
    char tail;
    int index;
    if (strncmp(name, kind, n) != 0)
        return -1;
    if (name[n] == '\0')
        return 0;
    return sscanf(name + n, ":%3d%c", &index, &tail) == 1 && index >= 0 ? index : -1;
}

/* The first device of any kind; NULL where there is none. */
static og_device *make_first(const og_device *host)
{
    og_device *device = NULL;
    for (const maker *m = makers; m->kind && !device; m++) {
        og_error ignored = {0};
        if (!m->on_request)
            device = m->make(0, host, &ignored);
        og_error_clear(&ignored);
    }
    return device;
}

/* "cpu, cuda:0": those that there are. */
static void add_names(og_text *out)
{
    og_device_info infos[MOST_NAMES];
    int n = og_devices(infos, MOST_NAMES);
    for (int i = 0; i < n && i < MOST_NAMES; i++)
        og_text_printf(out, "%s%s", i ? ", " : "", infos[i].device);
}

og_device *og__device_new(const char *name, og_device *host, og_error *error)
{
    if (strcmp(name, "cpu") == 0)
        return host;
    if (strcmp(name, "auto") == 0) {
        og_device *first = make_first(host);
        return first ? first : host;
    }
    for (const maker *m = makers; m->kind; m++) {
        int index = index_of(name, m->kind);
        if (index < 0)
            continue;
        og_device *device = m->make(index, host, error);
        if (!device)
            og_error_prefix(error, "device %s", name);
        return device;
    }
    og_text names = {0};
    add_names(&names);
    og_fail(error, OG_INVALID_ARGUMENT, "this build has no device %s; there is: %s", name,
            names.s && *names.s ? names.s : "none");
    og_text_free(&names);
    return NULL;
}

static void describe(og_device *d, og_device_info *info)
{
    *info = (og_device_info){.half = d->half};
    snprintf(info->device, sizeof info->device, "%s", d->name);
    snprintf(info->name, sizeof info->name, "%s", d->model ? d->model : "");
    d->memory(d, &info->total, &info->available);
}

int og_devices(og_device_info *infos, int room)
{
    int n = 0;
    og_device *host = og_cpu_device_new(0);
    if (!host)
        return 0;
    if (n++ < room)
        describe(host, &infos[0]);
    for (const maker *m = makers; m->kind; m++)
        for (int i = 0; i < m->count(NULL); i++) {
            og_error ignored = {0};
            og_device *device = m->make(i, host, &ignored);
            og_error_clear(&ignored);
            if (!device)
                continue; /* too old, or somebody else's alone */
            if (n++ < room)
                describe(device, &infos[n - 1]);
            device->destroy(device);
        }
    host->destroy(host);
    return n;
}

void og_device_libraries(const char *device, char *text, size_t room)
{
    if (room)
        *text = '\0';
    for (const maker *m = makers; m->kind; m++)
        if (index_of(device, m->kind) >= 0)
            m->libraries(text, room);
}
