/* ongrad devices: what can train here; half: in which products are faster than in float32, what
 * --amp auto takes. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/json.h"
#include "tools/ongrad/machine.h"
#include "tools/ongrad/options.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/table.h"

enum { MOST_DEVICES = 64 };

static bool is_cpu(const og_device_info *info)
{
    return strcmp(info->device, "cpu") == 0;
}

static void add_json(og_json *j, const og_device_info *info)
{
    og_json_open(j, NULL, '{');
    og_json_string(j, "device", info->device);
    og_json_string(j, "name", info->name);
    if (is_cpu(info))
        og_json_int(j, "cores", og__cores());
    og_json_int(j, "total_bytes", (int64_t)info->total);
    og_json_int(j, "available_bytes", (int64_t)info->available);
    char libraries[160];
    og_device_libraries(info->device, libraries, sizeof libraries);
    if (*libraries)
        og_json_string(j, "libraries", libraries);
    og_json_string(j, "half", info->half == OG_UNDEFINED ? NULL : og_dtype_name(info->half));
    og_json_close(j, '}');
}

static void add_row(og__table *table, const og_device_info *info)
{
    char total[32], available[32];
    og__table_cell(table, "%s", info->device);
    og__table_cell(table, "%s", info->name);
    if (is_cpu(info))
        og__table_cell(table, "%d", og__cores());
    else
        og__table_cell(table, "-");
    og__table_cell(table, "%s", og_format_bytes(total, info->total));
    og__table_cell(table, "%s", og_format_bytes(available, info->available));
    og__table_cell(table, "%s", info->half == OG_UNDEFINED ? "-" : og_dtype_name(info->half));
}

int og__command_devices(const og__arguments *a)
{
    static const char *const headings[] = {"device",  "name",       ">cores",
                                           ">memory", ">available", "half"};
    og_device_info infos[MOST_DEVICES];
    int n = og_devices(infos, MOST_DEVICES);
    n = n < MOST_DEVICES ? n : MOST_DEVICES;
    for (int i = 0; i < n; i++)
        if (is_cpu(&infos[i]))
            og__cpu_name(infos[i].name, sizeof infos[i].name);
    og_text out = {0};
    if (og__argument_flag(a, "json")) {
        og_json j = {&out};
        og_json_open(&j, NULL, '{');
        og_json_open(&j, "devices", '[');
        for (int i = 0; i < n; i++)
            add_json(&j, &infos[i]);
        og_json_close(&j, ']');
        og_json_close(&j, '}');
        og_text_add(&out, "\n");
    } else {
        og__table table;
        og__table_start(&table, sizeof headings / sizeof *headings, headings);
        for (int i = 0; i < n; i++)
            add_row(&table, &infos[i]);
        og__table_finish(&table, &out, 0);
    }
    return og__write_stdout(a->command->name, &out);
}
