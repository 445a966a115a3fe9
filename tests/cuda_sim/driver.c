/* The simulated card as a driver: every call checked as it comes. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/cuda_sim/fusions.h"
#include "tests/cuda_sim/internal.h"
#include "tests/cuda_sim/planner.h"

/* Kernels of the .cu files of kernels/cuda/ and of tests, compiled as C: pointers that kernel.h
 * puts there. */
extern const og_sim_kernel *const __start_og_sim_kernels[] __attribute__((weak));
extern const og_sim_kernel *const __stop_og_sim_kernels[] __attribute__((weak));

static uint64_t memory_of_cards, seed; /* 0: as the environment says */
static int sm_of_cards;
static bool leaves_fusions = true;

void og_sim_set_memory(uint64_t bytes)
{
    memory_of_cards = bytes;
}

void og_sim_set_sm(int sm)
{
    sm_of_cards = sm;
}

void og_sim_leave_fusions(bool leave)
{
    leaves_fusions = leave;
}

void og_sim_set_seed(uint64_t value)
{
    seed = value;
}

static uint64_t setting(uint64_t of_test, const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return of_test ? of_test : text ? strtoull(text, NULL, 10) : otherwise;
}

uint64_t og_sim_seed(void)
{
    return seed = setting(seed, "OG_SIM_SEED", 1);
}

/* At the start of each call that may not be part of a recording. */
static og_status enter(og_cuda_card *card, const char *call, og_error *error)
{
    if (card->capture)
        sim_fault(card, "%s between the beginning and the end of a recording", call);
    return sim_check(card, error);
}
#define ENTER() OG_TRY(enter(card, __func__, error))

/* ---- the card */

static int count(const char **why)
{
    *why = "";
    return 1;
}

static og_status open_card(int index, og_cuda_card **card, og_error *error)
{
    og_cuda_card *c = calloc(1, sizeof *c);
    int sm = (int)setting((uint64_t)sm_of_cards, "OG_SIM_SM", 90);
    (void)index;
    (void)setenv("XDG_CACHE_HOME", OG_SIM_CACHE, 0); /* what is timed here is no user's */
    if (!c)
        return og_fail_memory(error, sizeof *c, "the simulated card");
    c->properties =
        (og_cuda_properties){.name = "simulated card",
                             .sm = sm,
                             .multiprocessors = 4,
                             .max_threads = 1024,
                             .max_grid = {2147483647, 65535, 65535},
                             .shared = (size_t)(sm >= 90   ? 227
                                                : sm == 80 ? 163
                                                           : 99)
                                       << 10,
                             .memory = setting(memory_of_cards, "OG_SIM_MEMORY", 8000000000u)};
    c->random = og_sim_seed();
    sim_watch_memory();
    *card = c;
    return OG_OK;
}

static void close_card(og_cuda_card *card)
{
    og_error ignored = {0};
    (void)sim_work(card, NULL, 0, &ignored);
    og_error_clear(&ignored);
    sim_forget_all(card);
    for (sim_region *r = card->regions, *next; r; r = next) {
        next = r->next;
        sim_region_free(r);
    }
    for (og_cuda_event *e = card->events, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    for (og_cuda_function *f = card->functions, *next; f; f = next) {
        next = f->next;
        free(f);
    }
    for (og_cuda_module *m = card->modules, *next; m; m = next) {
        next = m->next;
        free(m); /* libraries stay: fibers may have been in them */
    }
    og_error_clear(&card->fault);
    free(card);
}

static void libraries(char *text, size_t room)
{
    snprintf(text, room, "simulated");
}

static void properties(og_cuda_card *card, og_cuda_properties *p)
{
    *p = card->properties;
}

/* ---- memory */

static og_status memory(og_cuda_card *card, uint64_t *total, uint64_t *left, og_error *error)
{
    ENTER();
    *total = card->properties.memory;
    *left = card->properties.memory - card->used;
    return OG_OK;
}

static og_status make_region(og_cuda_card *card, size_t bytes, bool pinned, void **at)
{
    *at = NULL;
    if (!pinned && bytes > card->properties.memory - card->used)
        return OG_OK;
    sim_region *r = sim_region_new(bytes, pinned);
    if (!r)
        return OG_OK;
    r->next = card->regions;
    card->regions = r;
    card->used += pinned ? 0 : bytes;
    *at = r->at;
    return OG_OK;
}

static og_status alloc(og_cuda_card *card, size_t bytes, void **at, og_error *error)
{
    ENTER();
    return make_region(card, bytes, false, at);
}

static og_status host_alloc(og_cuda_card *card, size_t bytes, void **at, og_error *error)
{
    ENTER();
    return make_region(card, bytes, true, at);
}

static void free_region(og_cuda_card *card, void *at)
{
    og_error ignored = {0};
    if (enter(card, "free", &ignored) == OG_OK)
        (void)sim_work(card, NULL, 0, &ignored);
    og_error_clear(&ignored);
    for (sim_region **link = &card->regions; *link; link = &(*link)->next) {
        sim_region *r = *link;
        if (r->at != at)
            continue;
        *link = r->next;
        card->used -= r->pinned ? 0 : r->bytes;
        if (!sim_region_free(r))
            sim_fault(card, "something wrote around the bytes at %p", at);
        return;
    }
    sim_fault(card, "free of %p, which is no block of memory", at);
}

/* ---- queueing */

static og_status copy(og_cuda_card *card, og_cuda_stream stream, void *to, const void *from,
                      size_t bytes, og_error *error)
{
    OG_TRY(sim_check(card, error));
    og_cuda_range ranges[] = {{from, bytes, false}, {to, bytes, true}};
    if (bytes == 0)
        return OG_OK;
    if ((const char *)to < (const char *)from + bytes && (const char *)from < (char *)to + bytes)
        sim_fault(card, "a copy of %zu bytes overlaps itself", bytes);
    if (!sim_find_region(card, from, bytes) || !sim_find_region(card, to, bytes))
        sim_fault(card,
                  "a copy of %zu bytes from %p to %p: each must be memory of the card or pinned",
                  bytes, from, to);
    OG_TRY(sim_check(card, error));
    const sim_item item = {.kind = SIM_COPY,
                           .stream = stream,
                           .ranges = ranges,
                           .n_ranges = 2,
                           .to = to,
                           .from = from,
                           .bytes = bytes};
    return sim_enqueue(card, &item, error);
}

static og_status set(og_cuda_card *card, og_cuda_stream stream, void *at, int byte, size_t bytes,
                     og_error *error)
{
    OG_TRY(sim_check(card, error));
    og_cuda_range range = {at, bytes, true};
    const sim_item item = {.kind = SIM_SET,
                           .stream = stream,
                           .ranges = &range,
                           .n_ranges = 1,
                           .to = at,
                           .byte = byte,
                           .bytes = bytes};
    return bytes ? sim_enqueue(card, &item, error) : OG_OK;
}

static const char *launch_wrong(const og_cuda_card *card, const og_cuda_launch *l)
{
    const og_cuda_properties *p = &card->properties;
    for (int i = 0; i < 3; i++)
        if (l->grid[i] < 1 || l->grid[i] > p->max_grid[i])
            return "the grid is empty or too large";
    if (l->block[0] < 1 || l->block[1] < 1 || l->block[2] < 1 || l->block[2] > 64 ||
        (uint64_t)l->block[0] * l->block[1] * l->block[2] > (uint64_t)p->max_threads)
        return "a block has 1 to 1024 threads";
    if (l->shared > l->function->shared)
        return "more dynamic shared memory than the function was made for";
    if (l->arguments_bytes > OG_CUDA_ARGUMENTS)
        return "the arguments are too large";
    if (l->arguments_bytes != l->function->kernel->bytes)
        return "the arguments are another struct than the kernel's";
    return NULL;
}

static og_status launch(og_cuda_card *card, og_cuda_stream stream, const og_cuda_launch *l,
                        og_error *error)
{
    OG_TRY(sim_check(card, error));
    const char *wrong = launch_wrong(card, l);
    if (wrong) {
        sim_fault(card, "kernel %s: %s", l->function->kernel->name, wrong);
        return sim_check(card, error);
    }
    const sim_item item = {.kind = SIM_LAUNCH,
                           .stream = stream,
                           .ranges = (og_cuda_range *)(uintptr_t)l->ranges,
                           .n_ranges = l->n_ranges,
                           .launch = *l};
    return sim_enqueue(card, &item, error);
}

static og_status call(og_cuda_card *card, og_cuda_stream stream, void (*run)(void *), void *user,
                      const og_cuda_range *ranges, int n_ranges, og_error *error)
{
    OG_TRY(sim_check(card, error));
    for (int i = 0; i < n_ranges; i++) {
        const sim_region *r = sim_find_region(card, ranges[i].at, ranges[i].bytes);
        if (!r || !r->pinned)
            sim_fault(card, "a host call touches memory that is not pinned");
    }
    OG_TRY(sim_check(card, error));
    const sim_item item = {.kind = SIM_CALL,
                           .stream = stream,
                           .ranges = (og_cuda_range *)(uintptr_t)ranges,
                           .n_ranges = n_ranges,
                           .run = run,
                           .user = user};
    return sim_enqueue(card, &item, error);
}

/* ---- events */

static og_status event_new(og_cuda_card *card, og_cuda_event **event, og_error *error)
{
    ENTER();
    *event = calloc(1, sizeof **event);
    if (!*event)
        return og_fail_memory(error, sizeof **event, "an event");
    (*event)->next = card->events;
    card->events = *event;
    return OG_OK;
}

/* It goes with the card: queued items may know it. */
static void event_free(og_cuda_card *card, og_cuda_event *event)
{
    og_error ignored = {0};
    (void)event;
    (void)enter(card, __func__, &ignored);
    og_error_clear(&ignored);
}

static og_status event_record(og_cuda_card *card, og_cuda_event *event, og_cuda_stream stream,
                              og_error *error)
{
    ENTER();
    const sim_item item = {
        .kind = SIM_RECORD, .stream = stream, .event = event, .generation = ++event->recorded};
    return sim_enqueue(card, &item, error);
}

static og_status event_follow(og_cuda_card *card, og_cuda_event *event, og_cuda_stream stream,
                              og_error *error)
{
    ENTER();
    const sim_item item = {
        .kind = SIM_FOLLOW, .stream = stream, .event = event, .generation = event->recorded};
    return event->recorded ? sim_enqueue(card, &item, error) : OG_OK;
}

static og_status event_wait(og_cuda_card *card, og_cuda_event *event, og_error *error)
{
    ENTER();
    return event->recorded ? sim_work(card, event, event->recorded, error) : OG_OK;
}

static og_status synchronize(og_cuda_card *card, og_error *error)
{
    ENTER();
    return sim_work(card, NULL, 0, error);
}

/* ---- kernels */

static og_status add_module(og_cuda_card *card, const og_cuda_image *image, void *library,
                            og_cuda_module **module, og_error *error)
{
    og_cuda_module *m = calloc(1, sizeof *m);
    if (!m)
        return og_fail_memory(error, sizeof *m, "a module");
    *m = (og_cuda_module){.next = card->modules, .image = image, .library = library};
    *module = card->modules = m;
    return OG_OK;
}

static og_status load(og_cuda_card *card, const og_cuda_image *image, og_cuda_module **module,
                      og_error *error)
{
    ENTER();
    return add_module(card, image, NULL, module, error);
}

static og_status compile(og_cuda_card *card, const char *name, const char *source,
                         og_cuda_module **module, og_error *error)
{
    ENTER();
    void *library = sim_compile(name, source, error);
    return library ? add_module(card, NULL, library, module, error) : error->status;
}

static const og_sim_kernel *linked_kernel(const char *name)
{
    size_t n = ((uintptr_t)__stop_og_sim_kernels - (uintptr_t)__start_og_sim_kernels) /
               sizeof *__start_og_sim_kernels;
    for (size_t i = 0; i < n; i++)
        if (strcmp(__start_og_sim_kernels[i]->name, name) == 0)
            return __start_og_sim_kernels[i];
    return NULL;
}

static og_status function(og_cuda_card *card, og_cuda_module *module, const char *name,
                          size_t shared, og_cuda_function **f, og_error *error)
{
    ENTER();
    const og_sim_kernel *kernel =
        module->library ? sim_compiled_kernel(module->library, name) : linked_kernel(name);
    if (!kernel)
        return og_fail(error, OG_INTERNAL, "simulated card: no kernel is called \"%s\"", name);
    if (shared > card->properties.shared)
        return og_fail(error, OG_INTERNAL, "kernel %s: %zu bytes of shared memory, there are %zu",
                       name, shared, card->properties.shared);
    *f = calloc(1, sizeof **f);
    if (!*f)
        return og_fail_memory(error, sizeof **f, "a kernel");
    **f = (og_cuda_function){.next = card->functions, .kernel = kernel, .shared = shared};
    card->functions = *f;
    return OG_OK;
}

/* ---- recordings */

static og_status capture_begin(og_cuda_card *card, og_error *error)
{
    ENTER();
    card->capture = calloc(1, sizeof *card->capture);
    return card->capture ? OG_OK : og_fail_memory(error, sizeof *card->capture, "a recording");
}

static og_status capture_end(og_cuda_card *card, og_cuda_graph **graph, og_error *error)
{
    *graph = card->capture;
    if (!card->capture)
        sim_fault(card, "the end of a recording that was not begun");
    card->capture = NULL;
    return sim_check(card, error);
}

static og_status graph_launch(og_cuda_card *card, og_cuda_graph *graph, og_error *error)
{
    ENTER();
    return sim_enqueue_graph(card, graph, error);
}

static void graph_free(og_cuda_card *card, og_cuda_graph *graph)
{
    og_error ignored = {0};
    (void)enter(card, __func__, &ignored);
    og_error_clear(&ignored);
    for (sim_item *i = graph->first, *next; i; i = next) {
        next = i->next;
        sim_item_free(i);
    }
    free(graph);
}

/* ---- products */

static int times_timed;

int og_sim_timed(void)
{
    return times_timed;
}

static uint64_t product_library(og_cuda_card *card)
{
    (void)card;
    return 1;
}

static og_status check_product(const og_cuda_product *product, og_error *error)
{
    const char *wrong = sim_product_wrong(product);
    if (sim_product_refused(product))
        return og_fail(error, OG_UNSUPPORTED,
                       "simulated card: no way to compute epilogue %d at %zu", product->epilogue,
                       product->alignment);
    if (!wrong)
        return OG_OK;
    return og_fail(error, OG_INTERNAL,
                   "simulated card: product m %lld n %lld k %lld, lda %lld ldb %lld ldd %lld: %s",
                   (long long)product->m, (long long)product->n, (long long)product->k,
                   (long long)product->lda, (long long)product->ldb, (long long)product->ldd,
                   wrong);
}

static og_status product_ways(og_cuda_card *card, const og_cuda_product *product, og_cuda_way *ways,
                              int most, int *n, og_error *error)
{
    og_cuda_way all[OG_SIM_WAYS];
    ENTER();
    OG_TRY(check_product(product, error));
    int there = sim_product_ways(product, all);
    *n = most < there ? most : there;
    memcpy(ways, all, (size_t)*n * sizeof *ways);
    return OG_OK;
}

static og_status product_plan(og_cuda_card *card, const og_cuda_product *product,
                              const og_cuda_way *way, og_cuda_plan **plan, og_error *error)
{
    ENTER();
    OG_TRY(check_product(product, error));
    int which = sim_product_way(product, way);
    if (which < 0)
        return og_fail(error, OG_UNSUPPORTED, "simulated card: there is no such way");
    *plan = calloc(1, sizeof **plan);
    if (!*plan)
        return og_fail_memory(error, sizeof **plan, "a product");
    **plan = (og_cuda_plan){*product, which, (size_t)og_sim_workspace(which)};
    return OG_OK;
}

static og_status product_run(og_cuda_card *card, og_cuda_plan *plan, const og_cuda_operands *o,
                             og_error *error)
{
    og_cuda_range ranges[10];
    OG_TRY(sim_check(card, error));
    const char *wrong = sim_operands_wrong(plan, o);
    if (wrong) {
        sim_fault(card, "a product: %s", wrong);
        return sim_check(card, error);
    }
    bool device = plan->product.scalars_on_device;
    const sim_item item = {.kind = SIM_PRODUCT,
                           .stream = OG_CUDA_COMPUTE,
                           .ranges = ranges,
                           .n_ranges = sim_product_ranges(plan, o, ranges),
                           .plan = *plan,
                           .operands = *o,
                           .alpha = device ? 0 : sim_product_scalar(&plan->product, o->alpha),
                           .beta = device ? 0 : sim_product_scalar(&plan->product, o->beta)};
    return sim_enqueue(card, &item, error);
}

/* What it would touch is checked, and what it would write is poisoned; nothing is multiplied. */
static og_status product_time(og_cuda_card *card, og_cuda_plan *plan, const og_cuda_operands *o,
                              int runs, float *ms, og_error *error)
{
    og_cuda_range ranges[10];
    ENTER();
    times_timed++;
    *ms = (float)runs * sim_product_ms(plan->way);
    if (*ms < 0)
        return OG_OK;
    const char *wrong = sim_operands_wrong(plan, o);
    if (wrong)
        sim_fault(card, "a product that is timed: %s", wrong);
    int n = wrong ? 0 : sim_product_ranges(plan, o, ranges);
    for (int i = 0; i < n; i++) {
        const sim_item item = {.kind = SIM_SET,
                               .stream = OG_CUDA_COMPUTE,
                               .ranges = ranges,
                               .n_ranges = n,
                               .to = (void *)(uintptr_t)ranges[i].at,
                               .byte = 0xff,
                               .bytes = ranges[i].bytes};
        if (ranges[i].write)
            OG_TRY(sim_enqueue(card, &item, error));
    }
    return sim_work(card, NULL, 0, error);
}

static void product_free(og_cuda_card *card, og_cuda_plan *plan)
{
    (void)card;
    free(plan);
}

/* ---- fusions */

static og_status fusion_plan(og_cuda_card *card, const og_cuda_fusion *fusion, og_cuda_fused **plan,
                             size_t *workspace, og_error *error)
{
    ENTER();
    sim_planner *planner = sim_cudnn_planner();
    const char *wrong = sim_fusion_wrong(fusion),
               *refused = wrong || planner ? NULL : sim_fusion_refused(fusion);
    if (wrong) {
        sim_fault(card, "a fusion of %d operations: %s", fusion->n_operations, wrong);
        return sim_check(card, error);
    }
    if (refused) {
        sim_fusion_say(fusion, NULL, refused);
        return og_fail(error, OG_UNSUPPORTED, "simulated card: no engine for %s", refused);
    }
    *workspace = sim_fusion_workspace(fusion);
    if (!planner) {
        sim_fusion_say(fusion, workspace, "");
        if (leaves_fusions)
            sim_fusion_leave(fusion);
    }
    if (planner)
        OG_TRY(planner(fusion, workspace, error));
    *plan = calloc(1, sizeof **plan);
    if (!*plan)
        return og_fail_memory(error, sizeof **plan, "a fusion");
    **plan = (og_cuda_fused){*fusion, *workspace};
    return OG_OK;
}

static og_status fusion_run(og_cuda_card *card, og_cuda_fused *plan, void *const *memory,
                            void *workspace, size_t workspace_bytes, og_error *error)
{
    og_cuda_range ranges[OG_CUDA_TENSORS];
    OG_TRY(sim_check(card, error));
    sim_item item = {.kind = SIM_FUSION,
                     .stream = OG_CUDA_COMPUTE,
                     .ranges = ranges,
                     .fused = plan,
                     .bindings = {.workspace = workspace, .workspace_bytes = workspace_bytes}};
    memcpy(item.bindings.memory, memory, sizeof item.bindings.memory);
    const char *wrong = sim_bindings_wrong(plan, &item.bindings);
    if (wrong) {
        sim_fault(card, "a fusion of %d operations: %s", plan->fusion.n_operations, wrong);
        return sim_check(card, error);
    }
    item.n_ranges = sim_fusion_ranges(plan, &item.bindings, ranges);
    return sim_enqueue(card, &item, error);
}

/* Not before what is queued has used it. */
static void fusion_free(og_cuda_card *card, og_cuda_fused *plan)
{
    og_error ignored = {0};
    (void)sim_work(card, NULL, 0, &ignored);
    og_error_clear(&ignored);
    free(plan);
}

/* ---- recurrences */

static og_status recurrence_plan(og_cuda_card *card, const og_cuda_recurrence *recurrence,
                                 og_cuda_walk **plan, og_cuda_recurrence_sizes *sizes,
                                 og_error *error)
{
    ENTER();
    const char *wrong = sim_recurrence_wrong(recurrence);
    if (wrong) {
        sim_fault(card, "a recurrence of %lld steps, %lld sequences: %s", (long long)recurrence->T,
                  (long long)recurrence->B, wrong);
        return sim_check(card, error);
    }
    if (sim_cudnn_planner())
        return og_fail(error, OG_UNSUPPORTED, "cuDNN plans no recurrence without a device");
    *plan = calloc(1, sizeof **plan);
    if (!*plan)
        return og_fail_memory(error, sizeof **plan, "a recurrence");
    sim_recurrence_place(recurrence, &card->random, *plan);
    *sizes = (*plan)->sizes;
    return OG_OK;
}

static og_status walk(og_cuda_card *card, const og_cuda_walk *plan,
                      const og_cuda_recurrence_operands *o, bool back, og_error *error)
{
    og_cuda_range ranges[SIM_RECURRENCE_RANGES];
    OG_TRY(sim_check(card, error));
    const char *wrong = sim_recurrence_operands_wrong(plan, o, back);
    if (wrong) {
        sim_fault(card, "a recurrence%s: %s", back ? "'s gradients" : "", wrong);
        return sim_check(card, error);
    }
    const sim_item item = {.kind = back ? SIM_WALK_BACK : SIM_WALK,
                           .stream = OG_CUDA_COMPUTE,
                           .ranges = ranges,
                           .n_ranges = sim_recurrence_ranges(plan, o, back, ranges),
                           .walk = plan,
                           .states = *o};
    return sim_enqueue(card, &item, error);
}

static og_status recurrence_run(og_cuda_card *card, og_cuda_walk *plan,
                                const og_cuda_recurrence_operands *operands, og_error *error)
{
    return walk(card, plan, operands, false, error);
}

static og_status recurrence_back(og_cuda_card *card, og_cuda_walk *plan,
                                 const og_cuda_recurrence_operands *operands, og_error *error)
{
    return walk(card, plan, operands, true, error);
}

/* Not before what is queued has used it. */
static void recurrence_free(og_cuda_card *card, og_cuda_walk *plan)
{
    og_error ignored = {0};
    (void)sim_work(card, NULL, 0, &ignored);
    og_error_clear(&ignored);
    free(plan);
}

const og_cuda_driver *og_cuda_driver_get(void)
{
    static const og_cuda_driver driver = {
        .count = count,
        .libraries = libraries,
        .open = open_card,
        .close = close_card,
        .properties = properties,
        .memory = memory,
        .alloc = alloc,
        .free = free_region,
        .host_alloc = host_alloc,
        .host_free = free_region,
        .copy = copy,
        .set = set,
        .launch = launch,
        .call = call,
        .event_new = event_new,
        .event_free = event_free,
        .event_record = event_record,
        .event_follow = event_follow,
        .event_wait = event_wait,
        .synchronize = synchronize,
        .load = load,
        .compile = compile,
        .function = function,
        .capture_begin = capture_begin,
        .capture_end = capture_end,
        .graph_launch = graph_launch,
        .graph_free = graph_free,
        .product_library = product_library,
        .product_ways = product_ways,
        .product_plan = product_plan,
        .product_run = product_run,
        .product_time = product_time,
        .product_free = product_free,
        .fusion_plan = fusion_plan,
        .fusion_run = fusion_run,
        .fusion_free = fusion_free,
        .recurrence_plan = recurrence_plan,
        .recurrence_run = recurrence_run,
        .recurrence_back = recurrence_back,
        .recurrence_free = recurrence_free,
    };
    return &driver;
}
