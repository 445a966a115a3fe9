/* ongrad devices: what can train here. This version has the CPU. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/json.h"
#include "tools/ongrad/options.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/table.h"

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

/* /proc/meminfo counts in kB of 1024 bytes; 0: not known. */
static uint64_t memory_of(const char *key)
{
    char text[64];
    return read_field("/proc/meminfo", key, text, sizeof text) ? strtoull(text, NULL, 10) * 1024
                                                               : 0;
}

int og__command_devices(const og__arguments *a)
{
    static const char *const headings[] = {"device", "name", ">cores", ">memory", ">available"};
    char name[128] = "CPU", total[32], available[32];
    cpu_set_t set;
    CPU_ZERO(&set);
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                            : (int)sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t all = memory_of("MemTotal"), free_now = memory_of("MemAvailable");
    read_field("/proc/cpuinfo", "model name", name, sizeof name);
    og_text out = {0};
    if (og__argument_flag(a, "json")) {
        og_json j = {&out};
        og_json_open(&j, NULL, '{');
        og_json_open(&j, "devices", '[');
        og_json_open(&j, NULL, '{');
        og_json_string(&j, "device", "cpu");
        og_json_string(&j, "name", name);
        og_json_int(&j, "cores", cores);
        og_json_int(&j, "total_bytes", (int64_t)all);
        og_json_int(&j, "available_bytes", (int64_t)free_now);
        og_json_close(&j, '}');
        og_json_close(&j, ']');
        og_json_close(&j, '}');
        og_text_add(&out, "\n");
    } else {
        og__table table;
        og__table_start(&table, 5, headings);
        og__table_cell(&table, "cpu");
        og__table_cell(&table, "%s", name);
        og__table_cell(&table, "%d", cores);
        og__table_cell(&table, "%s", og_format_bytes(total, all));
        og__table_cell(&table, "%s", og_format_bytes(available, free_now));
        og__table_finish(&table, &out, 0);
    }
    return og__write_stdout(a->command->name, &out);
}
