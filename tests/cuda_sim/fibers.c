/* Kernels: the threads of a block, in a random order, on fibers that change where threads wait for
 * each other. A fiber runs one thread after the other as long as none waits, so that a kernel
 * without barriers is a plain loop. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/cuda_sim/internal.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

enum { MOST_THREADS = 1024, STACK = 256 << 10, WARP = 32, SITES = 16, STATIC_SHARED = 48 << 10 };

typedef enum state { IDLE, READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER } state;

/* Where code goes on: a stack, or what ucontext has of it, whose change asks the kernel for the
 * signal mask each time and takes ten times as long. */
#if defined(__x86_64__)
typedef void *place_in_code;
/* Registers that a call keeps go to the stack, the stack to *from, and back from `to`. */
void sim_change(place_in_code *from, place_in_code to);
__asm__(".text\n.globl sim_change\n.hidden sim_change\n.type sim_change, @function\nsim_change:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
        ".size sim_change, .-sim_change\n");
#define CHANGE(from, to) sim_change(&(from), to)
#else
typedef ucontext_t place_in_code;
#define CHANGE(from, to) swapcontext(&(from), &(to))
#endif

typedef struct fiber {
    place_in_code context;
    char *stack;
    void *fake; /* of the address sanitizer */
    state state;
    uint32_t thread; /* which it runs */
} fiber;

typedef struct site {
    const void *key;
    char *memory;
    size_t bytes;
    uint64_t block; /* that it was poisoned for */
} site;

static fiber *fibers[MOST_THREADS];
static int n_fibers;
/* Those of a state. What waits is in neither list. */
static fiber *ready[MOST_THREADS], *idle[MOST_THREADS];
static int n_ready, n_idle;

/* The block that runs. */
static struct {
    const og_sim_kernel *kernel;
    const void *arguments;
    uint64_t *random;
    uint32_t threads, next; /* started: order[0 … next - 1] */
    uint32_t order[MOST_THREADS];
    uint32_t finished, finished_in[MOST_THREADS / WARP];
    uint64_t given[2][MOST_THREADS]; /* to shuffles; the two take turns */
    uint32_t shuffles[MOST_THREADS]; /* that each thread has been in */
    fiber *current;
    place_in_code scheduler;
    const void *scheduler_bottom;
    size_t scheduler_size;
    void *scheduler_fake;
    const char *wrong;
    uint64_t number;             /* of the block, over all launches */
    size_t dynamic, used, limit; /* bytes of shared memory */
    site sites[SITES];
    int n_sites;
} now;

static og_sim card;
og_sim *og_sim_card = &card;

uint64_t sim_random(uint64_t *random)
{
    *random += 0x9e3779b97f4a7c15u;
    uint64_t z = *random;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- changing between fibers */

static void place(uint32_t thread)
{
    card.thread.x = thread % card.block_dim.x;
    card.thread.y = thread / card.block_dim.x % card.block_dim.y;
    card.thread.z = thread / card.block_dim.x / card.block_dim.y;
}

static void resume(fiber *f)
{
    now.current = f;
    place(f->thread);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&now.scheduler_fake, f->stack, STACK);
#endif
    CHANGE(now.scheduler, f->context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(now.scheduler_fake, NULL, NULL);
#endif
}

static void leave(fiber *f)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&f->fake, now.scheduler_bottom, now.scheduler_size);
#endif
    CHANGE(f->context, now.scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(f->fake, &now.scheduler_bottom, &now.scheduler_size);
#endif
    place(f->thread);
}

static void work(void)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, &now.scheduler_bottom, &now.scheduler_size);
#endif
    fiber *me = now.current;
    for (;;) {
        while (now.next < now.threads && !now.wrong) {
            me->thread = now.order[now.next++];
            place(me->thread);
            now.kernel->run(now.arguments);
            now.finished++;
            now.finished_in[me->thread / WARP]++;
        }
        me->state = IDLE;
        idle[n_idle++] = me;
        leave(me);
    }
}

static void start_at_work(place_in_code *context, char *stack)
{
#if defined(__x86_64__)
    /* as if `work` had been called and had then changed away at its first instruction */
    void **top = (void **)(stack + STACK) - 2;
    *top = (void *)(uintptr_t)work;
    *context = top - 6;
#else
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = STACK;
    makecontext(context, work, 0);
#endif
}

static fiber *new_fiber(void)
{
    fiber *f = calloc(1, sizeof *f);
    void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!f || stack == MAP_FAILED)
        abort();
    f->stack = stack;
    start_at_work(&f->context, f->stack);
    return f;
}

static fiber *idle_fiber(void)
{
    return n_idle ? idle[--n_idle] : (fibers[n_fibers++] = new_fiber());
}

static void make_ready(fiber *f)
{
    f->state = READY;
    ready[n_ready++] = f;
}

/* ---- what kernels call */

static void wait_as(state s)
{
    fiber *me = now.current;
    me->state = s;
    leave(me);
}

static void block_barrier(void)
{
    wait_as(AT_BLOCK_BARRIER);
}

static void warp_barrier(void)
{
    wait_as(AT_WARP_BARRIER);
}

static uint64_t *give(uint64_t value)
{
    uint32_t thread = now.current->thread;
    uint64_t *row = now.given[now.shuffles[thread]++ % 2];
    row[thread] = value;
    wait_as(AT_WARP_BARRIER);
    return row + thread / WARP * WARP;
}

static uint32_t warp_size(uint32_t warp)
{
    uint32_t rest = now.threads - warp * WARP;
    return rest < WARP ? rest : WARP;
}

/* All lanes' values; 0 where there is no lane. */
static void gather(uint64_t value, uint64_t values[WARP])
{
    uint32_t size = warp_size(now.current->thread / WARP);
    const uint64_t *given = give(value);
    for (uint32_t lane = 0; lane < WARP; lane++)
        values[lane] = lane < size ? given[lane] : 0;
}

static uint64_t exchange(uint64_t value, uint32_t from)
{
    uint32_t warp = now.current->thread / WARP;
    const uint64_t *values = give(value);
    if (from >= warp_size(warp)) {
        now.wrong = "a shuffle reads a lane that the block does not have";
        return value;
    }
    return values[from];
}

static uint32_t ballot(int predicate)
{
    uint32_t warp = now.current->thread / WARP, bits = 0;
    const uint64_t *values = give(predicate != 0);
    for (uint32_t lane = 0; lane < warp_size(warp); lane++)
        bits |= (uint32_t)values[lane] << lane;
    return bits;
}

static void *shared(const void *key, uint64_t bytes)
{
    site *s = now.sites;
    if (!key)
        bytes = now.dynamic;
    for (int i = 0; i < now.n_sites && s->key != key; i++)
        s++;
    if (s == now.sites + now.n_sites) {
        if (now.n_sites == SITES)
            abort();
        now.n_sites++;
        *s = (site){
            .key = key, .memory = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64), .bytes = bytes};
        now.used += key ? bytes : 0;
        if (now.used > STATIC_SHARED)
            now.wrong = "the kernel declares more than 48 KiB of shared memory";
        else if (now.used + now.dynamic > now.limit)
            now.wrong = "the kernel's own shared memory and the launch's are more than there is";
    }
    if (s->block != now.number) {
        s->block = now.number;
        sim_poison(s->memory, s->bytes);
    }
    return s->memory;
}

/* ---- a block */

static bool release_block(void)
{
    uint32_t waiting = 0;
    for (int i = 0; i < n_fibers; i++)
        waiting += fibers[i]->state == AT_BLOCK_BARRIER;
    if (waiting == 0)
        return false;
    if (waiting < now.threads) {
        now.wrong = now.finished ? "threads wait at a barrier that others of the block passed by"
                                 : "threads wait at different barriers";
        return false;
    }
    for (int i = 0; i < n_fibers; i++)
        if (fibers[i]->state == AT_BLOCK_BARRIER)
            make_ready(fibers[i]);
    return true;
}

static bool release_warps(void)
{
    uint32_t waiting[MOST_THREADS / WARP] = {0};
    bool any = false;
    for (int i = 0; i < n_fibers; i++)
        if (fibers[i]->state == AT_WARP_BARRIER)
            waiting[fibers[i]->thread / WARP]++;
    for (int i = 0; i < n_fibers; i++) {
        uint32_t warp = fibers[i]->thread / WARP;
        if (fibers[i]->state == AT_WARP_BARRIER && waiting[warp] == warp_size(warp)) {
            make_ready(fibers[i]);
            any = true;
        }
    }
    for (uint32_t w = 0; !any && w < (now.threads + WARP - 1) / WARP; w++)
        if (waiting[w])
            now.wrong = "lanes wait at a shuffle or warp barrier that others of the warp passed by";
    return any;
}

static fiber *random_ready(void)
{
    if (n_ready == 0)
        return NULL;
    int i = (int)(sim_random(now.random) % (uint64_t)n_ready);
    fiber *f = ready[i];
    ready[i] = ready[--n_ready];
    return f;
}

static void run_block(void)
{
    now.next = now.finished = 0;
    now.number++;
    memset(now.finished_in, 0, sizeof now.finished_in);
    memset(now.shuffles, 0, sizeof now.shuffles);
    for (uint32_t i = 0; i < now.threads; i++) {
        uint32_t j = (uint32_t)(sim_random(now.random) % (i + 1));
        now.order[i] = now.order[j];
        now.order[j] = i;
    }
    while (now.finished < now.threads && !now.wrong) {
        fiber *f = random_ready();
        if (!f && now.next < now.threads) {
            f = idle_fiber();
            f->state = READY;
        }
        if (f)
            resume(f);
        else if (!release_warps() && !now.wrong)
            release_block();
    }
}

/* After a block that was given up, fibers are in the middle of its threads. */
static void drop_fibers(void)
{
    n_ready = n_idle = 0;
    while (n_fibers) {
        fiber *f = fibers[--n_fibers];
        /* The marks around its frames would outlast the mapping. */
        SIM_ALLOW(f->stack, STACK);
        munmap(f->stack, STACK);
        free(f);
    }
}

const char *sim_run_kernel(const og_sim_kernel *kernel, const uint32_t grid[3],
                           const uint32_t block[3], size_t dynamic, size_t limit,
                           const void *arguments, uint64_t *random)
{
    card.block_dim = (og_dim3){block[0], block[1], block[2]};
    card.grid_dim = (og_dim3){grid[0], grid[1], grid[2]};
    card.block_barrier = block_barrier;
    card.warp_barrier = warp_barrier;
    card.exchange = exchange;
    card.gather = gather;
    card.ballot = ballot;
    card.shared = shared;
    now.kernel = kernel;
    now.arguments = arguments;
    now.random = random;
    now.threads = block[0] * block[1] * block[2];
    now.dynamic = dynamic;
    now.limit = limit;
    now.used = 0;
    now.wrong = NULL;
    uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2], start = sim_random(random);
    for (uint64_t i = 0; i < blocks && !now.wrong; i++) {
        uint64_t b = (i + start % blocks) % blocks; /* some block first */
        card.block = (og_dim3){(uint32_t)(b % grid[0]), (uint32_t)(b / grid[0] % grid[1]),
                               (uint32_t)(b / grid[0] / grid[1])};
        run_block();
    }
    for (int i = 0; i < now.n_sites; i++)
        free(now.sites[i].memory);
    now.n_sites = 0;
    if (now.wrong)
        drop_fibers();
    return now.wrong;
}
