/* Memory of the card and pinned memory: a mapping each, poisoned, with a page without access at
 * both ends and a pattern between. The card's cannot be touched but by what runs on the card; with
 * the address sanitizer to the byte, else to the page. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/base/checked.h"
#include "tests/cuda_sim/internal.h"

enum { PAGE = 4096, ALIGNMENT = 256, POISON = 0xff /* a NaN in every type */, GUARD = 0xa5 };

const char *sim_now = "the host";

void sim_poison(void *at, size_t bytes)
{
    memset(at, POISON, bytes);
}

static bool all_are(const char *from, const char *to, int byte)
{
    for (; from < to; from++)
        if ((unsigned char)*from != byte)
            return false;
    return true;
}

/* The block's end lies as near to the last page as its alignment allows. */
sim_region *sim_region_new(size_t bytes, bool pinned)
{
    sim_region *r = calloc(1, sizeof *r);
    size_t inner = og_align_up(og_align_up(bytes, ALIGNMENT), PAGE);
    if (!r)
        return NULL;
    *r = (sim_region){.bytes = bytes, .map_bytes = inner + 2 * PAGE, .pinned = pinned};
    void *map =
        mmap(NULL, r->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED || mprotect((char *)map + PAGE, inner, PROT_READ | PROT_WRITE) != 0) {
        free(r);
        return NULL;
    }
    r->map = map;
    r->at = r->map + PAGE + inner - og_align_up(bytes, ALIGNMENT);
    memset(r->map + PAGE, GUARD, (size_t)(r->at - r->map) - PAGE);
    sim_poison(r->at, bytes);
    memset(r->at + bytes, GUARD, (size_t)(r->map + PAGE + inner - r->at) - bytes);
    SIM_FORBID(r->map + PAGE, inner);
    if (pinned)
        SIM_ALLOW(r->at, bytes);
    else
        (void)mprotect(r->map + PAGE, inner, PROT_NONE);
    return r;
}

bool sim_region_intact(const sim_region *r)
{
    char *from = r->map + PAGE, *to = r->map + r->map_bytes - PAGE, *end = r->at + r->bytes;
    char *last = (char *)((uintptr_t)end / PAGE * PAGE);
    /* Only the pages at the two ends hold a pattern. */
    (void)mprotect(from, PAGE, PROT_READ | PROT_WRITE);
    if (last < to)
        (void)mprotect(last, (size_t)(to - last), PROT_READ | PROT_WRITE);
    SIM_ALLOW(from, (size_t)(r->at - from));
    SIM_ALLOW(end, (size_t)(to - end));
    bool intact = all_are(from, r->at, GUARD) && all_are(end, to, GUARD);
    SIM_FORBID(from, (size_t)(r->at - from));
    SIM_FORBID(end, (size_t)(to - end));
    if (!r->pinned) {
        (void)mprotect(from, PAGE, PROT_NONE);
        if (last < to)
            (void)mprotect(last, (size_t)(to - last), PROT_NONE);
    }
    return intact;
}

bool sim_region_free(sim_region *r)
{
    bool intact = sim_region_intact(r);
    SIM_ALLOW(r->map + PAGE, r->map_bytes - 2 * PAGE);
    munmap(r->map, r->map_bytes);
    free(r);
    return intact;
}

void sim_region_open(const sim_region *r, const void *at, size_t bytes, bool open)
{
    if (r->pinned || bytes == 0)
        return;
    char *from = (char *)((uintptr_t)at / PAGE * PAGE);
    size_t n = og_align_up((size_t)((const char *)at + bytes - from), PAGE);
    if (open) {
        (void)mprotect(from, n, PROT_READ | PROT_WRITE);
        SIM_ALLOW(at, bytes);
    } else {
        SIM_FORBID(at, bytes);
        (void)mprotect(from, n, PROT_NONE);
    }
}

static void crashed(int signal, siginfo_t *info, void *context)
{
    (void)context;
    char text[256];
    int n = snprintf(text, sizeof text,
                     "simulated card: signal %d: %s touched memory at %p that it may not touch: of "
                     "the card and not among the ranges it declared, or no memory at all\n",
                     signal, sim_now, info->si_addr);
    if (n > 0 && write(2, text, (size_t)n) < 0)
        _exit(3);
    _exit(3);
}

void sim_watch_memory(void)
{
    static bool watched;
    if (watched)
        return;
    watched = true;
    struct sigaction action = {.sa_sigaction = crashed, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}
