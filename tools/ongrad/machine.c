#define _GNU_SOURCE /* sched_getaffinity */
#include "tools/ongrad/machine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#ifndef OG_COMMIT /* tools/cmake/OngradCommit.cmake gives it to the command, not to its tests */
#define OG_COMMIT ""
#endif

/* The text behind "KEY…:" in a file of /proc; false where there is none. */
static bool read_field(const char *path, const char *key, char *out, size_t room)
{
    char line[512];
    bool found = false;
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)) != 0)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(out, room, "%s", colon);
        found = true;
    }
    if (file)
        fclose(file);
    return found;
}

int og__cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                       : (int)sysconf(_SC_NPROCESSORS_ONLN);
}

void og__cpu_name(char *name, size_t room)
{
    if (!read_field("/proc/cpuinfo", "model name", name, room))
        snprintf(name, room, "CPU");
}

/* ---- memory */

/* A line of /proc/self/status, "VmHWM:    1234 kB", in bytes; 0 where there is none. */
static uint64_t status_bytes(const char *key)
{
    char text[64];
    return read_field("/proc/self/status", key, text, sizeof text) ? strtoull(text, NULL, 10) * 1024
                                                                   : 0;
}

uint64_t og__process_peak(void)
{
    /* ru_maxrss also counts what the parent had before this program took its process over. */
    struct rusage usage;
    uint64_t peak = status_bytes("VmHWM");
    if (peak)
        return peak;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

uint64_t og__process_resident(void)
{
    return status_bytes("VmRSS");
}

uint64_t og__process_anonymous(void)
{
    return status_bytes("RssAnon");
}

uint64_t og__memory_in_use(const og_context *context)
{
    uint64_t total, available;
    if (strcmp(og_context_device(context), "cpu") == 0)
        return og__process_anonymous();
    og_context_memory(context, &total, &available);
    return total > available ? total - available : 0;
}

/* ---- environment */

const char *og__date_text(char buffer[32])
{
    time_t now = time(NULL);
    struct tm utc;
    if (!gmtime_r(&now, &utc) || !strftime(buffer, 32, "%Y-%m-%dT%H:%M:%SZ", &utc))
        buffer[0] = '\0';
    return buffer;
}

static const char *compiler(void)
{
#ifdef __VERSION__
    return __VERSION__;
#else
    return "";
#endif
}

/* The device that trains, as og_devices knows it. */
static void add_device(const char *device, og_json *j)
{
    enum { MOST_DEVICES = 64 };
    og_device_info infos[MOST_DEVICES];
    int n = og_devices(infos, MOST_DEVICES);
    og_json_string(j, "device", device);
    for (int i = 0; i < n && i < MOST_DEVICES; i++)
        if (strcmp(infos[i].device, device) == 0) {
            if (*infos[i].name)
                og_json_string(j, "device_name", infos[i].name);
            og_json_int(j, "device_memory_bytes", (int64_t)infos[i].total);
        }
}

void og__environment_json(const og_context *context, int64_t threads, og_json *j)
{
    struct utsname system;
    char date[32], cpu[128];
    og__cpu_name(cpu, sizeof cpu);
    og_json_open(j, "environment", '{');
    og_json_string(j, "date", og__date_text(date));
    og_json_string(j, "ongrad", og_version());
    if (*OG_COMMIT)
        og_json_string(j, "commit", OG_COMMIT);
    og_json_string(j, "compiler", compiler());
    if (uname(&system) == 0) {
        og_json_string(j, "system", system.sysname);
        og_json_string(j, "release", system.release);
        og_json_string(j, "machine", system.machine);
    }
    og_json_string(j, "cpu", cpu);
    og_json_int(j, "cores", og__cores());
    og_json_int(j, "threads", threads > 0 ? threads : og__cores());
    add_device(og_context_device(context), j);
    og_json_close(j, '}');
}
