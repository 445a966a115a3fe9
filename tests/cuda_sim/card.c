/* Queues: nothing is done when it is queued, but when somebody waits, in a random order that the
 * streams and events allow. Whether they forbid enough of them is found without luck: everything
 * queued carries a vector clock, and two pieces of work that touch the same memory, one of them
 * writing, must be ordered. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/cache.h"
#include "tests/cuda_sim/internal.h"

og_status sim_fault(og_cuda_card *card, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return og_fail(&card->fault, OG_INTERNAL, "simulated card (seed %llu): %s",
                   (unsigned long long)og_sim_seed(), text);
}

og_status sim_check(og_cuda_card *card, og_error *error)
{
    return card->fault.status == OG_OK
               ? OG_OK
               : og_fail(error, card->fault.status, "%s", og_error_text(&card->fault));
}

sim_region *sim_find_region(const og_cuda_card *card, const void *at, size_t bytes)
{
    const char *from = at;
    for (sim_region *r = card->regions; r; r = r->next)
        if (from >= r->at && from + bytes <= r->at + r->bytes)
            return r;
    return NULL;
}

void sim_item_free(sim_item *item)
{
    if (!item)
        return;
    free(item->ranges);
    free((void *)(uintptr_t)item->launch.arguments);
    free(item);
}

/* ---- order */

static void join(sim_clock *to, const sim_clock *from)
{
    for (int s = 0; s < OG_CUDA_STREAMS; s++)
        if (from->of[s] > to->of[s])
            to->of[s] = from->of[s];
}

static bool meet(const og_cuda_range *a, const og_cuda_range *b)
{
    const char *p = a->at, *q = b->at;
    return (a->write || b->write) && p < q + b->bytes && q < p + a->bytes;
}

static bool conflict(const sim_item *a, const sim_item *b)
{
    for (int i = 0; i < a->n_ranges; i++)
        for (int j = 0; j < b->n_ranges; j++)
            if (meet(&a->ranges[i], &b->ranges[j]))
                return true;
    return false;
}

/* Is some item of the other stream unordered with this one, on the same memory? */
static void find_races(og_cuda_card *card, const sim_item *item)
{
    for (int s = 0; s < OG_CUDA_STREAMS; s++) {
        if (s == (int)item->stream)
            continue;
        for (sim_item *other = card->history[s]; other && other->number > item->clock.of[s];
             other = other->previous)
            if (conflict(item, other))
                sim_fault(card, "a race: nothing orders %s and %s, which touch the same memory",
                          other->what, item->what);
    }
}

/* Forget what every later item comes after. */
static void prune(og_cuda_card *card)
{
    for (int s = 0; s < OG_CUDA_STREAMS; s++) {
        sim_clock after = card->host;
        join(&after, &card->clocks[1 - s]);
        for (sim_item **link = &card->history[s]; *link;) {
            sim_item *item = *link;
            if (item->done && item->number <= after.of[s]) {
                *link = item->previous;
                sim_item_free(item);
            } else {
                link = &item->previous;
            }
        }
    }
}

/* ---- queueing */

static bool pending_touches(const og_cuda_card *card, const void *at, size_t bytes, bool writers)
{
    const og_cuda_range range = {at, bytes, true};
    for (int s = 0; s < OG_CUDA_STREAMS; s++)
        for (const sim_item *i = card->first[s]; i; i = i->next)
            for (int k = 0; k < i->n_ranges; k++)
                if ((!writers || i->ranges[k].write) && meet(&i->ranges[k], &range))
                    return true;
    return false;
}

/* Pinned memory at either end of a copy that is now queued: a source that only the host writes must
 * stay as it is, and what lies at the destination is gone. */
static void watch_copy(og_cuda_card *card, sim_item *item)
{
    const sim_region *from = sim_find_region(card, item->from, item->bytes),
                     *to = sim_find_region(card, item->to, item->bytes);
    if (from && from->pinned && !pending_touches(card, item->from, item->bytes, true)) {
        item->summed = true;
        item->sum = og__cache_hash(OG__CACHE_HASH, item->from, item->bytes);
    }
    if (to && to->pinned && !pending_touches(card, item->to, item->bytes, false))
        sim_poison(item->to, item->bytes);
}

/* Pinned memory that a kernel will write is gone, too, if nothing queued before uses it. */
static void watch_launch(og_cuda_card *card, const sim_item *item)
{
    for (int i = 0; i < item->n_ranges; i++) {
        const og_cuda_range *r = &item->ranges[i];
        const sim_region *region = r->write ? sim_find_region(card, r->at, r->bytes) : NULL;
        if (region && region->pinned && !pending_touches(card, r->at, r->bytes, false))
            sim_poison((void *)(uintptr_t)r->at, r->bytes);
    }
}

static sim_item *copy_item(const sim_item *from)
{
    sim_item *item = malloc(sizeof *item);
    size_t ranges = (size_t)from->n_ranges * sizeof *from->ranges,
           arguments = from->launch.arguments_bytes;
    if (!item)
        return NULL;
    *item = *from;
    item->next = item->previous = NULL;
    item->ranges = malloc(ranges + 1);
    void *copy = malloc(arguments + 1);
    item->launch.arguments = copy;
    if (!item->ranges || !copy) {
        sim_item_free(item);
        return NULL;
    }
    if (ranges)
        memcpy(item->ranges, from->ranges, ranges);
    if (arguments)
        memcpy(copy, from->launch.arguments, arguments);
    return item;
}

static void name_item(sim_item *item, uint64_t number)
{
    static const char *const streams[OG_CUDA_STREAMS] = {"compute", "copy"};
    static const char *const kinds[] = {
        "a copy",    "a fill",   "a kernel",     "a host call",
        "a product", "a fusion", "a recurrence", "a recurrence's gradients",
        "an event",  "a wait"};
    const char *stream = streams[item->stream];
    if (item->kind == SIM_LAUNCH)
        snprintf(item->what, sizeof item->what, "kernel %s (%s stream, item %llu)",
                 item->launch.function->kernel->name, stream, (unsigned long long)number);
    else
        snprintf(item->what, sizeof item->what, "%s (%s stream, item %llu)", kinds[item->kind],
                 stream, (unsigned long long)number);
}

static og_status check_ranges(og_cuda_card *card, const sim_item *item)
{
    for (int i = 0; i < item->n_ranges; i++)
        if (item->ranges[i].bytes &&
            !sim_find_region(card, item->ranges[i].at, item->ranges[i].bytes))
            return sim_fault(card, "%s %s %zu bytes at %p, which are in no block of memory",
                             item->what, item->ranges[i].write ? "writes" : "reads",
                             item->ranges[i].bytes, item->ranges[i].at);
    return OG_OK;
}

static og_status queue(og_cuda_card *card, const sim_item *from, og_error *error)
{
    sim_item *item = copy_item(from);
    int s = (int)from->stream;
    if (!item)
        return og_fail_memory(error, sizeof *item, "the simulated card");
    item->number = ++card->counts[s];
    name_item(item, item->number);
    join(&card->clocks[s], &card->host);
    if (item->kind == SIM_FOLLOW)
        join(&card->clocks[s], &item->event->clock);
    card->clocks[s].of[s] = item->number;
    item->clock = card->clocks[s];
    if (item->kind == SIM_RECORD)
        item->event->clock = item->clock;
    if (check_ranges(card, item) == OG_OK) {
        find_races(card, item);
        if (item->kind == SIM_COPY)
            watch_copy(card, item);
        if (item->kind == SIM_LAUNCH)
            watch_launch(card, item);
    }
    if (card->last[s])
        card->last[s]->next = item;
    else
        card->first[s] = item;
    card->last[s] = item;
    item->previous = card->history[s];
    card->history[s] = item;
    return sim_check(card, error);
}

og_status sim_enqueue(og_cuda_card *card, const sim_item *item, og_error *error)
{
    if (!card->capture)
        return queue(card, item, error);
    if (item->stream != OG_CUDA_COMPUTE) {
        sim_fault(card, "work of the copy stream between the beginning and the end of a recording: "
                        "it is done at once and is no part of it");
        return sim_check(card, error);
    }
    sim_item *copy = copy_item(item);
    if (!copy)
        return og_fail_memory(error, sizeof *copy, "the simulated card");
    if (card->capture->last)
        card->capture->last->next = copy;
    else
        card->capture->first = copy;
    card->capture->last = copy;
    return OG_OK;
}

og_status sim_enqueue_graph(og_cuda_card *card, const og_cuda_graph *graph, og_error *error)
{
    for (const sim_item *i = graph->first; i; i = i->next)
        OG_TRY(queue(card, i, error));
    return OG_OK;
}

/* ---- doing it */

static void open_ranges(const og_cuda_card *card, const sim_item *item, bool open)
{
    for (int i = 0; i < item->n_ranges; i++) {
        const og_cuda_range *r = &item->ranges[i];
        const sim_region *region = r->bytes ? sim_find_region(card, r->at, r->bytes) : NULL;
        if (region)
            sim_region_open(region, r->at, r->bytes, open);
    }
}

static void run_copy(og_cuda_card *card, const sim_item *item)
{
    if (item->summed && og__cache_hash(OG__CACHE_HASH, item->from, item->bytes) != item->sum)
        sim_fault(card,
                  "the pinned source of %s was changed between its being queued and done: written "
                  "again before an event said that the copy was over",
                  item->what);
    memcpy(item->to, item->from, item->bytes);
}

static void run_product(const sim_item *item)
{
    const og_cuda_product *p = &item->plan.product;
    bool device = p->scalars_on_device;
    sim_product_run(&item->plan, &item->operands,
                    device ? sim_product_scalar(p, item->operands.alpha) : item->alpha,
                    device ? sim_product_scalar(p, item->operands.beta) : item->beta);
}

static void run_item(og_cuda_card *card, sim_item *item)
{
    const char *wrong = NULL;
    sim_now = item->what;
    open_ranges(card, item, true);
    switch (item->kind) {
    case SIM_COPY:
        run_copy(card, item);
        break;
    case SIM_SET:
        memset(item->to, item->byte, item->bytes);
        break;
    case SIM_LAUNCH:
        wrong = sim_run_kernel(item->launch.function->kernel, item->launch.grid, item->launch.block,
                               item->launch.shared, card->properties.shared, item->launch.arguments,
                               &card->random);
        break;
    case SIM_CALL:
        item->run(item->user);
        break;
    case SIM_PRODUCT:
        run_product(item);
        break;
    case SIM_FUSION:
        wrong = sim_fusion_run(item->fused, &item->bindings) ? NULL : "out of memory";
        break;
    case SIM_WALK:
    case SIM_WALK_BACK:
        wrong = sim_recurrence_run(item->walk, &item->states, item->kind == SIM_WALK_BACK);
        break;
    case SIM_RECORD:
        item->event->done = item->generation;
        break;
    case SIM_FOLLOW:
        break;
    }
    open_ranges(card, item, false);
    sim_now = "the host";
    if (wrong)
        sim_fault(card, "%s: %s", item->what, wrong);
    item->done = true;
}

static bool may_run(const sim_item *item)
{
    return item && (item->kind != SIM_FOLLOW || item->event->done >= item->generation);
}

static bool step(og_cuda_card *card)
{
    int s = (int)(sim_random(&card->random) % OG_CUDA_STREAMS);
    for (int tries = 0; tries < OG_CUDA_STREAMS; tries++, s = (s + 1) % OG_CUDA_STREAMS) {
        sim_item *item = card->first[s];
        if (!may_run(item))
            continue;
        run_item(card, item);
        card->first[s] = item->next;
        if (!item->next)
            card->last[s] = NULL;
        return true;
    }
    return false;
}

og_status sim_work(og_cuda_card *card, const og_cuda_event *event, uint64_t generation,
                   og_error *error)
{
    while (card->fault.status == OG_OK && (event ? event->done < generation : true) && step(card)) {
    }
    uint64_t more = event ? sim_random(&card->random) % 4 : 0;
    while (card->fault.status == OG_OK && more-- && step(card)) {
    }
    if (event)
        join(&card->host, &event->clock);
    for (int s = 0; !event && s < OG_CUDA_STREAMS; s++)
        join(&card->host, &card->clocks[s]);
    prune(card);
    for (sim_region *r = card->regions; r && !event; r = r->next)
        if (!sim_region_intact(r))
            sim_fault(card, "something wrote around the %zu bytes at %p", r->bytes, (void *)r->at);
    return sim_check(card, error);
}

void sim_forget_all(og_cuda_card *card)
{
    for (int s = 0; s < OG_CUDA_STREAMS; s++)
        for (sim_item *item = card->history[s], *previous; item; item = previous) {
            previous = item->previous;
            sim_item_free(item);
        }
}
