/* A device with memory of its own that works behind the host, made of the CPU's kernels: what a GPU
 * is to the runtime, at its least convenient.
 *
 * Its memory cannot be touched but by its own functions: its pages are closed whenever they do not
 * run. Work is queued, and done as late as can be: when something waits for it. Memory from
 * host_alloc holds NaN from the fetch on until its mark was waited for. Whoever breaks a promise of
 * og_remote is told on stdout, and counted. */
#ifndef OG_TESTS_REMOTE_DEVICE_H
#define OG_TESTS_REMOTE_DEVICE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/cpu/cpu.h"
#include "runtime/base/checked.h"

typedef enum remote_kind { REMOTE_CALL, REMOTE_COPY, REMOTE_CLEAR } remote_kind;

/* Something to be done. */
typedef struct remote_work {
    remote_kind kind;
    og_status (*run)(const og_call *call, og_error *error); /* a kernel's run or pack */
    og_call call; /* x and y are copies that belong to this */
    void *to;
    const void *from;
    void *owned; /* `from`, where it is to be freed */
    size_t bytes;
} remote_work;

typedef struct remote_list {
    remote_work *items;
    size_t n, capacity;
} remote_list;

typedef struct remote_block {
    char *base;
    size_t bytes; /* asked for; 0: free again */
    bool host;    /* from host_alloc */
} remote_block;

enum { REMOTE_BLOCKS = 64, REMOTE_KERNELS = 512 };

typedef struct remote_device {
    og_device device; /* first, so that one is the other */
    og_device *cpu;
    remote_block blocks[REMOTE_BLOCKS];
    remote_list queue;
    size_t done;            /* of the queue */
    size_t marks[OG_MARKS]; /* length of the queue when set */
    bool marked[OG_MARKS];
    char *reserved; /* two halves, which feeds use in turn */
    size_t reserved_bytes, half_used[2];
    remote_list *recording; /* being recorded; NULL: none */
    int live_recordings;
    int problems, recorded, replayed, feeds; /* counts */
    size_t allocated, most_allocated;        /* bytes of the device's memory */
} remote_device;

static og_kernel remote_kernels[REMOTE_KERNELS];
static const og_kernel *remote_originals[REMOTE_KERNELS];
static og_kernel_table remote_tables[2];

static og_status remote_problem(remote_device *r, og_error *error, const char *text)
{
    r->problems++;
    printf("    remote device: %s\n", text);
    return og_fail(error, OG_INTERNAL, "%s", text);
}

/* ---- memory */

static const remote_block *remote_find(const remote_device *r, const void *at, size_t bytes)
{
    for (int i = 0; i < REMOTE_BLOCKS; i++) {
        const remote_block *b = &r->blocks[i];
        if (b->bytes && (const char *)at >= b->base &&
            (const char *)at + bytes <= b->base + b->bytes)
            return b;
    }
    return NULL;
}

static bool remote_owns(const remote_device *r, const void *at, size_t bytes, bool host)
{
    const remote_block *b = remote_find(r, at, bytes);
    return b && b->host == host;
}

static size_t remote_pages(size_t bytes)
{
    return og_align_up(bytes, 4096);
}

static void remote_open(remote_device *r, bool open)
{
    for (int i = 0; i < REMOTE_BLOCKS; i++)
        if (r->blocks[i].bytes && !r->blocks[i].host)
            mprotect(r->blocks[i].base, remote_pages(r->blocks[i].bytes),
                     open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

static void *remote_allocate(remote_device *r, size_t bytes, bool host)
{
    int i = 0;
    while (i < REMOTE_BLOCKS && r->blocks[i].bytes)
        i++;
    void *base = i == REMOTE_BLOCKS ? MAP_FAILED
                                    : mmap(NULL, remote_pages(bytes), PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    r->blocks[i] = (remote_block){base, bytes, host};
    if (host)
        memset(base, 0xFF, bytes);
    return base;
}

static void *remote_alloc(og_device *d, size_t bytes)
{
    remote_device *r = (remote_device *)d;
    void *base = remote_allocate(r, bytes, false);
    if (!base)
        return NULL;
    mprotect(base, remote_pages(bytes), PROT_NONE);
    r->allocated += bytes;
    if (r->allocated > r->most_allocated)
        r->most_allocated = r->allocated;
    return base;
}

static void *remote_host_alloc(og_device *d, size_t bytes)
{
    return remote_allocate((remote_device *)d, bytes, true);
}

static void remote_release(remote_device *r, void *memory, bool host)
{
    for (int i = 0; i < REMOTE_BLOCKS; i++)
        if (r->blocks[i].bytes && r->blocks[i].base == memory && r->blocks[i].host == host) {
            if (r->done < r->queue.n)
                remote_problem(r, NULL, "memory was freed that queued work may use");
            munmap(memory, remote_pages(r->blocks[i].bytes));
            r->allocated -= host ? 0 : r->blocks[i].bytes;
            r->blocks[i].bytes = 0;
            return;
        }
    remote_problem(r, NULL, "memory was freed that is not allocated");
}

static void remote_free(og_device *d, void *memory, size_t bytes)
{
    remote_device *r = (remote_device *)d;
    const remote_block *b = remote_find(r, memory, 1);
    if (b && b->bytes != bytes)
        remote_problem(r, NULL, "memory was freed with another size than it was allocated with");
    remote_release(r, memory, false);
}

static void remote_host_free(og_device *d, void *memory)
{
    remote_release((remote_device *)d, memory, true);
}

/* ---- work */

static void remote_add(remote_list *list, remote_work w)
{
    if (list->n == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->items = realloc(list->items, list->capacity * sizeof(*list->items));
        if (!list->items)
            abort();
    }
    list->items[list->n++] = w;
}

static og_tensor *remote_tensors(const og_tensor *from, int n)
{
    og_tensor *to = malloc(sizeof(*to) * (size_t)(n + 1));
    if (!to)
        abort();
    memcpy(to, from, sizeof(*to) * (size_t)n);
    return to;
}

static remote_work remote_work_of(og_status (*run)(const og_call *, og_error *),
                                  const og_call *call)
{
    remote_work w = {.kind = REMOTE_CALL, .run = run, .call = *call};
    w.call.x = remote_tensors(call->x, call->nx);
    w.call.y = remote_tensors(call->y, call->ny);
    return w;
}

static void remote_forget_work(remote_work *w)
{
    if (w->kind == REMOTE_CALL) {
        free(w->call.x);
        free(w->call.y);
    }
    free(w->owned);
}

static void remote_clear_list(remote_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        remote_forget_work(&list->items[i]);
    free(list->items);
    *list = (remote_list){0};
}

static og_status remote_do(const remote_work *w, og_error *error)
{
    if (w->kind == REMOTE_CALL)
        return w->run(&w->call, error);
    if (w->kind == REMOTE_COPY)
        memcpy(w->to, w->from, w->bytes);
    else
        memset(w->to, 0, w->bytes);
    return OG_OK;
}

/* Does the first `count` of all that was queued. */
static og_status remote_catch_up(remote_device *r, size_t count, og_error *error)
{
    og_status status = OG_OK;
    if (r->done >= count)
        return OG_OK;
    remote_open(r, true);
    for (; r->done < count && status == OG_OK; r->done++)
        status = remote_do(&r->queue.items[r->done], error);
    remote_open(r, false);
    return status;
}

static bool remote_may(remote_device *r, og_error *error)
{
    if (r->recording)
        remote_problem(r, error, "something else than kernels while recording");
    return !r->recording;
}

static og_status remote_queue(og_status (*run)(const og_call *, og_error *), const og_call *call)
{
    remote_device *r = (remote_device *)(uintptr_t)call->device;
    for (int i = 0; i < call->nx; i++)
        if (call->x[i].type.dtype != OG_UNDEFINED && og_type_bytes(&call->x[i].type) > 0 &&
            !(i < 8 && call->node->op->type_only >> i & 1) &&
            !remote_owns(r, call->x[i].data, 1, false))
            return remote_problem(r, NULL, "a kernel reads memory that is not the device's");
    remote_add(r->recording ? r->recording : &r->queue, remote_work_of(run, call));
    return OG_OK;
}

/* ---- og_remote */

static og_status remote_finish(og_device *d, og_error *error)
{
    remote_device *r = (remote_device *)d;
    return remote_may(r, error) ? remote_catch_up(r, r->queue.n, error) : OG_INTERNAL;
}

static og_status remote_upload(og_device *d, void *to, const void *from, size_t bytes,
                               og_error *error)
{
    remote_device *r = (remote_device *)d;
    if (!remote_may(r, error))
        return OG_INTERNAL;
    if (!remote_owns(r, to, bytes, false) || remote_owns(r, from, 1, false))
        return remote_problem(r, error, "an upload that is not from the host to the device");
    void *copy = malloc(bytes);
    if (!copy)
        abort();
    memcpy(copy, from, bytes);
    remote_add(
        &r->queue,
        (remote_work){.kind = REMOTE_COPY, .to = to, .from = copy, .owned = copy, .bytes = bytes});
    return OG_OK;
}

static og_status remote_download(og_device *d, void *to, const void *from, size_t bytes,
                                 og_error *error)
{
    remote_device *r = (remote_device *)d;
    OG_TRY(remote_finish(d, error));
    if (!remote_owns(r, from, bytes, false) || remote_owns(r, to, 1, false))
        return remote_problem(r, error, "a download that is not from the device to the host");
    remote_open(r, true);
    memcpy(to, from, bytes);
    remote_open(r, false);
    return OG_OK;
}

static og_status remote_copy(og_device *d, void *to, const void *from, size_t bytes,
                             og_error *error)
{
    remote_device *r = (remote_device *)d;
    if (!remote_may(r, error))
        return OG_INTERNAL;
    if (!remote_owns(r, from, bytes, false) || !remote_owns(r, to, bytes, false))
        return remote_problem(r, error, "a copy that is not within the device");
    remote_add(&r->queue,
               (remote_work){.kind = REMOTE_COPY, .to = to, .from = from, .bytes = bytes});
    return OG_OK;
}

static og_status remote_clear(og_device *d, void *at, size_t bytes, og_error *error)
{
    remote_device *r = (remote_device *)d;
    if (!remote_may(r, error))
        return OG_INTERNAL;
    if (!remote_owns(r, at, bytes, false))
        return remote_problem(r, error, "memory is cleared that is not the device's");
    remote_add(&r->queue, (remote_work){.kind = REMOTE_CLEAR, .to = at, .bytes = bytes});
    return OG_OK;
}

static og_status remote_reserve(og_device *d, void *memory, size_t bytes, og_error *error)
{
    remote_device *r = (remote_device *)d;
    if (!remote_may(r, error))
        return OG_INTERNAL;
    if (!remote_owns(r, memory, bytes, false) || (uintptr_t)memory % 256)
        return remote_problem(r, error, "what is reserved is not the device's, or not aligned");
    r->reserved = memory;
    r->reserved_bytes = bytes;
    r->half_used[0] = r->half_used[1] = 0;
    return OG_OK;
}

static og_status remote_feed(og_device *d, const og_copy *copies, int n, og_error *error)
{
    remote_device *r = (remote_device *)d;
    int half = r->feeds++ % 2;
    size_t sum = 0, half_bytes = r->reserved_bytes / 2 / 256 * 256;
    if (!remote_may(r, error))
        return OG_INTERNAL;
    for (int i = 0; i < n; i++)
        sum += og_align_up(copies[i].bytes, 256);
    if (sum > half_bytes)
        return remote_problem(r, error, "a feed is larger than what was reserved for it");
    OG_TRY(remote_catch_up(r, r->half_used[half], error));
    char *at = r->reserved + (size_t)half * half_bytes;
    for (int i = 0; i < n; i++) {
        const og_copy *c = &copies[i];
        if (!remote_owns(r, c->to, c->bytes, false) || remote_owns(r, c->from, 1, false))
            return remote_problem(r, error, "a feed that is not from the host to the device");
        remote_open(r, true);
        memcpy(at, c->from, c->bytes);
        remote_open(r, false);
        remote_add(&r->queue,
                   (remote_work){.kind = REMOTE_COPY, .to = c->to, .from = at, .bytes = c->bytes});
        at += og_align_up(c->bytes, 256);
    }
    r->half_used[half] = r->queue.n;
    return OG_OK;
}

static og_status remote_fetch(og_device *d, const og_copy *copies, int n, og_error *error)
{
    remote_device *r = (remote_device *)d;
    if (!remote_may(r, error))
        return OG_INTERNAL;
    for (int i = 0; i < n; i++) {
        const og_copy *c = &copies[i];
        if (!remote_owns(r, c->from, c->bytes, false) || !remote_owns(r, c->to, c->bytes, true))
            return remote_problem(r, error, "a fetch that is not into memory from host_alloc");
        memset(c->to, 0xFF, c->bytes);
        remote_add(
            &r->queue,
            (remote_work){.kind = REMOTE_COPY, .to = c->to, .from = c->from, .bytes = c->bytes});
    }
    return OG_OK;
}

static og_status remote_mark(og_device *d, int mark, og_error *error)
{
    remote_device *r = (remote_device *)d;
    if (!remote_may(r, error))
        return OG_INTERNAL;
    if (mark < 0 || mark >= OG_MARKS)
        return remote_problem(r, error, "there is no such mark");
    r->marks[mark] = r->queue.n;
    r->marked[mark] = true;
    return OG_OK;
}

static og_status remote_wait(og_device *d, int mark, og_error *error)
{
    remote_device *r = (remote_device *)d;
    if (!remote_may(r, error))
        return OG_INTERNAL;
    if (mark < 0 || mark >= OG_MARKS || !r->marked[mark])
        return remote_problem(r, error, "a mark is waited for that was not set");
    return remote_catch_up(r, r->marks[mark], error);
}

static og_status remote_record(og_device *d, og_error *error)
{
    remote_device *r = (remote_device *)d;
    if (!remote_may(r, error))
        return OG_INTERNAL;
    r->recording = calloc(1, sizeof(*r->recording));
    return r->recording ? OG_OK : og_fail_memory(error, sizeof(*r->recording), "a recording");
}

static og_status remote_recorded(og_device *d, void **recording, og_error *error)
{
    remote_device *r = (remote_device *)d;
    if (!r->recording)
        return remote_problem(r, error, "nothing is being recorded");
    *recording = r->recording;
    r->recording = NULL;
    r->recorded++;
    r->live_recordings++;
    return OG_OK;
}

static og_status remote_replay(og_device *d, void *recording, og_error *error)
{
    remote_device *r = (remote_device *)d;
    const remote_list *list = recording;
    if (!remote_may(r, error))
        return OG_INTERNAL;
    for (size_t i = 0; i < list->n; i++)
        remote_add(&r->queue, remote_work_of(list->items[i].run, &list->items[i].call));
    r->replayed++;
    return OG_OK;
}

static void remote_forget(og_device *d, void *recording)
{
    remote_device *r = (remote_device *)d;
    remote_clear_list(recording);
    free(recording);
    r->live_recordings--;
}

static const og_remote remote_functions = {
    .upload = remote_upload,
    .download = remote_download,
    .copy = remote_copy,
    .clear = remote_clear,
    .finish = remote_finish,
    .reserve = remote_reserve,
    .feed = remote_feed,
    .host_alloc = remote_host_alloc,
    .host_free = remote_host_free,
    .fetch = remote_fetch,
    .mark = remote_mark,
    .wait = remote_wait,
    .record = remote_record,
    .recorded = remote_recorded,
    .replay = remote_replay,
    .forget = remote_forget,
};

/* ---- kernels: those of the CPU, whose run and pack queue the call. A function does not learn
 * which kernel it is of, so each has its own. */

#define REMOTE_FUNCTIONS(n)                                                \
    static og_status remote_run_##n(const og_call *call, og_error *error)  \
    {                                                                      \
        (void)error;                                                       \
        return remote_queue(remote_originals[0##n]->run, call);            \
    }                                                                      \
    static og_status remote_pack_##n(const og_call *call, og_error *error) \
    {                                                                      \
        (void)error;                                                       \
        return remote_queue(remote_originals[0##n]->pack, call);           \
    }
#define REMOTE_PAIR(n) {remote_run_##n, remote_pack_##n},
/* n: octal digits */
/* clang-format off */
#define REMOTE_8(f, n) f(n##0) f(n##1) f(n##2) f(n##3) f(n##4) f(n##5) f(n##6) f(n##7)
#define REMOTE_64(f, n)                                                            \
    REMOTE_8(f, n##0) REMOTE_8(f, n##1) REMOTE_8(f, n##2) REMOTE_8(f, n##3)        \
    REMOTE_8(f, n##4) REMOTE_8(f, n##5) REMOTE_8(f, n##6) REMOTE_8(f, n##7)
#define REMOTE_ALL(f)                                                              \
    REMOTE_64(f, 0) REMOTE_64(f, 1) REMOTE_64(f, 2) REMOTE_64(f, 3)                \
    REMOTE_64(f, 4) REMOTE_64(f, 5) REMOTE_64(f, 6) REMOTE_64(f, 7)
/* clang-format on */
REMOTE_ALL(REMOTE_FUNCTIONS)

static bool remote_wrap_kernels(void)
{
    static const struct {
        og_status (*run)(const og_call *, og_error *), (*pack)(const og_call *, og_error *);
    } functions[REMOTE_KERNELS] = {REMOTE_ALL(REMOTE_PAIR)};
    int n = 0;
    for (const og_kernel_table *t = og_cpu_kernel_tables; t->family; t++)
        for (const og_kernel *k = t->kernels; k->op; k++) {
            if (n == REMOTE_KERNELS - 1)
                return false;
            remote_originals[n] = k;
            remote_kernels[n] = *k;
            remote_kernels[n].run = functions[n].run;
            remote_kernels[n].pack = k->pack ? functions[n].pack : NULL;
            n++;
        }
    remote_kernels[n] = (og_kernel){0};
    remote_tables[0] = (og_kernel_table){"remote", remote_kernels};
    return true;
}

/* ---- the device */

static void remote_memory(og_device *d, uint64_t *total, uint64_t *left)
{
    remote_device *r = (remote_device *)d;
    r->cpu->memory(r->cpu, total, left);
}

static void remote_destroy(og_device *d)
{
    remote_device *r = (remote_device *)d;
    for (int i = 0; i < REMOTE_BLOCKS; i++)
        if (r->blocks[i].bytes)
            munmap(r->blocks[i].base, remote_pages(r->blocks[i].bytes));
    remote_clear_list(&r->queue);
    free(r);
}

/* cpu: outlives it, and computes as many threads' share. NULL: it cannot be made. */
static remote_device *remote_device_new(og_device *cpu)
{
    remote_device *r = remote_wrap_kernels() ? calloc(1, sizeof(*r)) : NULL;
    if (!r)
        return NULL;
    r->cpu = cpu;
    r->device = (og_device){.name = "remote",
                            .remote = &remote_functions,
                            .threads = cpu->threads,
                            .half = cpu->half,
                            .tables = remote_tables,
                            .memory = remote_memory,
                            .alloc = remote_alloc,
                            .free = remote_free,
                            .destroy = remote_destroy};
    return r;
}

#endif
