/* The CPU device: memory of this process, and how much of it is left as the kernel and the control
 * groups see it. Linux only; where /proc is missing, sysconf's figures are used. */
#define _GNU_SOURCE
#include <malloc.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/cpu/internal.h"
#include "runtime/base/checked.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define ALIGNMENT 256

/* ---- memory */

static size_t whole_pages(size_t bytes)
{
    long page = sysconf(_SC_PAGESIZE);
    return og_align_up(bytes, page > 0 ? (size_t)page : HUGE_PAGE);
}

/* Large slabs are mapped from huge-page boundaries on, which saves page faults and TLB misses. */
static void *cpu_alloc(og_device *device, size_t bytes)
{
    (void)device;
    if (bytes == 0)
        bytes = 1;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    if (bytes < HUGE_PAGE) {
        size_t whole = og_align_up(bytes, ALIGNMENT);
        void *memory = aligned_alloc(ALIGNMENT, whole);
        return memory ? memset(memory, 0, whole) : NULL;
    }
    size_t size = whole_pages(bytes);
    char *map =
        mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    size_t head = og_align_up((uintptr_t)map, HUGE_PAGE) - (uintptr_t)map;
    if (head)
        munmap(map, head);
    if (HUGE_PAGE - head)
        munmap(map + head + size, HUGE_PAGE - head);
    (void)madvise(map + head, size, MADV_HUGEPAGE); /* a refusal only costs speed */
    return map + head;
}

static void cpu_free(og_device *device, void *memory, size_t bytes)
{
    (void)device;
    if (!memory)
        return;
    if (bytes < HUGE_PAGE)
        free(memory);
    else
        munmap(memory, whole_pages(bytes));
}

/* The number after `key` at the start of a line ("" = the file's first number); false if there is
 * none ("max"). */
static bool read_number(const char *path, const char *key, uint64_t *value)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char line[256];
    bool found = false;
    size_t n = strlen(key);
    while (!found && fgets(line, sizeof line, file)) {
        unsigned long long number;
        if (strncmp(line, key, n) == 0 && sscanf(line + n, "%llu", &number) == 1) {
            *value = number;
            found = true;
        }
    }
    fclose(file);
    return found;
}

/* One control group's limit: what is left counts page cache that can be dropped as free. */
static void apply_group(const char *folder, bool v2, uint64_t *total, uint64_t *left)
{
    char path[4096 + 64];
    uint64_t limit, used, cache = 0;
    snprintf(path, sizeof path, "%s/%s", folder, v2 ? "memory.max" : "memory.limit_in_bytes");
    if (!read_number(path, "", &limit) || limit >= *total)
        return;
    *total = limit;
    snprintf(path, sizeof path, "%s/%s", folder, v2 ? "memory.current" : "memory.usage_in_bytes");
    if (!read_number(path, "", &used))
        return;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    read_number(path, v2 ? "inactive_file " : "total_inactive_file ", &cache);
    used -= cache < used ? cache : used;
    uint64_t rest = used < limit ? limit - used : 0;
    if (rest < *left)
        *left = rest;
}

/* The groups this process is in, from its own up to the root, in `mount`. */
static void apply_groups(const char *mount, const char *group, bool v2, uint64_t *total,
                         uint64_t *left)
{
    char folder[4096];
    int n = snprintf(folder, sizeof folder, "%s%s", mount, group);
    if (n < 0 || (size_t)n >= sizeof folder)
        return;
    size_t root = strlen(mount);
    for (;;) {
        apply_group(folder, v2, total, left);
        char *slash = strrchr(folder + root, '/');
        if (!slash)
            return;
        *slash = 0;
    }
}

static void cpu_memory(og_device *device, uint64_t *total, uint64_t *left)
{
    (void)device;
    long page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES),
         idle = sysconf(_SC_AVPHYS_PAGES);
    *total = page > 0 && pages > 0 ? (uint64_t)page * (uint64_t)pages : 0;
    *left = page > 0 && idle > 0 ? (uint64_t)page * (uint64_t)idle : 0;
    uint64_t kilobytes;
    if (read_number("/proc/meminfo", "MemTotal:", &kilobytes))
        *total = kilobytes * 1024;
    if (read_number("/proc/meminfo", "MemAvailable:", &kilobytes))
        *left = kilobytes * 1024;

    /* Lines are "0::/group" (version 2) or "5:memory:/group" (version 1). */
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file) {
        char line[2048];
        while (fgets(line, sizeof line, file)) {
            line[strcspn(line, "\n")] = 0;
            char *controllers = strchr(line, ':'),
                 *group = controllers ? strchr(controllers + 1, ':') : NULL;
            if (!group)
                continue;
            *group++ = 0;
            if (controllers[1] == 0)
                apply_groups("/sys/fs/cgroup", group, true, total, left);
            else if (strstr(controllers, "memory"))
                apply_groups("/sys/fs/cgroup/memory", group, false, total, left);
        }
        fclose(file);
    }
    if (*left > *total)
        *left = *total;
}

static uint64_t cpu_held(og_device *device)
{
    (void)device;
    uint64_t kilobytes = 0;
    read_number("/proc/self/status", "RssAnon:", &kilobytes);
    return kilobytes * 1024;
}

/* ---- the device */

/* Primitives of plans that were only tried stay in oneDNN's cache, and freed memory with the heap.
 */
static void cpu_settle(og_device *device)
{
    (void)device;
    if (og__onednn_settle)
        og__onednn_settle();
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static void cpu_destroy(og_device *device)
{
    free(device);
}

/* OMP_NUM_THREADS if the user set it, else the processors the process may run on. */
static int usable_processors(void)
{
    if (getenv("OMP_NUM_THREADS"))
        return omp_get_max_threads();
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

void og_cpu_pin_threads(const og_device *device)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 ||
        CPU_COUNT(&allowed) < device->threads)
        return;
#pragma omp parallel num_threads(device->threads)
    {
        int wanted = omp_get_thread_num(), cpu = 0;
        for (int seen = -1; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &allowed) && ++seen == wanted)
                break;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (wanted > 0)
            (void)sched_setaffinity(0, sizeof one, &one); /* a refusal only costs speed */
    }
}

/* bfloat16, if the processor multiplies it and there are kernels that make it do so. */
static og_dtype half_type(void)
{
    for (const og_kernel_table *t = og_cpu_kernel_tables; t->family; t++)
        for (const og_kernel *k = t->kernels; k->op; k++)
            if (strcmp(k->op, "MatMul") == 0 && !(k->flags & OG_KERNEL_REFERENCE))
                return og__has_bfloat16() ? OG_BFLOAT16 : OG_UNDEFINED;
    return OG_UNDEFINED;
}

og_device *og_cpu_device_new(int threads)
{
    og_device *device = malloc(sizeof *device);
    if (!device)
        return NULL;
    *device = (og_device){
        .name = "cpu",
        .threads = threads > 0 ? threads : usable_processors(),
        .half = half_type(),
        .tables = og_cpu_kernel_tables,
        .memory = cpu_memory,
        .alloc = cpu_alloc,
        .free = cpu_free,
        .held = cpu_held,
        .settle = cpu_settle,
        .destroy = cpu_destroy,
    };
    return device;
}
