/* Offsets: buffers that live at different times share memory.
 *
 * Greedy: buffers in some order; each goes into the smallest gap, among the buffers already placed
 * that live at the same time, which holds it; else behind the last of them. By size is the
 * heuristic of Pisarchyk and Lee ("Efficient Memory Management for Deep Neural Net Inference",
 * arXiv 2001.03288, section 5). No order is best for every graph, so several are tried, until one
 * needs no more than what is alive at the peak, and the best is kept. Then what ended up at the top
 * is placed first, and all others again, as long as that helps (MOST_TRIES, PATIENCE). */
#include <stdlib.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/plan/plan.h"

enum {
    MOST_TRIES = 24,
    PATIENCE = 8, /* tries of an order without a smaller region */
    MANY = 4000   /* buffers: that many are placed again only where much is to be won */
};

/* A buffer, and where its order puts it: large first, then small `then`. */
typedef struct entry {
    og_buffer *b;
    double key, then;
    size_t size, offset;
} entry;

/* A buffer that has its place. */
typedef struct occupied {
    size_t offset, end;
    int first, last; /* steps */
} occupied;

typedef enum order {
    BY_SIZE,
    BY_AREA, /* bytes × steps */
    BY_LIFE, /* the longest life first */
    PEAK_THEN_AREA /* what is alive at the peak, by life; then the rest by area */,
    PEAK_THEN_SIZE,
    BY_END, /* what lives on the longest lies lowest: a stack's order for the backward pass */
    ORDERS
} order;

static int in_order(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    if (x->then != y->then)
        return x->then < y->then ? 1 : -1;
    return x->b < y->b ? -1 : x->b > y->b;
}

static void sort(entry *entries, int n, order o, int peak)
{
    for (int i = 0; i < n; i++) {
        const og_buffer *b = entries[i].b;
        double bytes = (double)b->bytes, life = b->last - b->first + 1, area = bytes * life;
        bool at_peak = b->first <= peak && peak <= b->last;
        double keys[ORDERS] = {[BY_SIZE] = bytes,
                               [BY_AREA] = area,
                               [BY_LIFE] = life,
                               [PEAK_THEN_AREA] = at_peak ? 1e30 * life : area,
                               [PEAK_THEN_SIZE] = at_peak ? 1e30 * life : bytes,
                               [BY_END] = b->last};
        entries[i].key = keys[o];
        entries[i].then = o == BY_SIZE ? -b->first : bytes;
    }
    qsort(entries, (size_t)n, sizeof(*entries), in_order);
}

/* The size of the region; taken: room for n, becomes what is where, by offset. */
static size_t place(entry *entries, int n, occupied *taken)
{
    size_t total = 0;
    for (int i = 0; i < n; i++) {
        entry *e = &entries[i];
        const int first = e->b->first, last = e->b->last;
        size_t best = SIZE_MAX, best_gap = SIZE_MAX, end = 0;
        for (int k = 0; k < i; k++) {
            const occupied *t = &taken[k];
            if (t->first > last || first > t->last)
                continue;
            if (t->offset >= end && t->offset - end >= e->size && t->offset - end < best_gap) {
                best = end;
                best_gap = t->offset - end;
            }
            end = t->end > end ? t->end : end;
        }
        e->offset = best != SIZE_MAX ? best : end;
        total = e->offset + e->size > total ? e->offset + e->size : total;
        int at = i;
        for (; at > 0 && taken[at - 1].offset > e->offset; at--)
            taken[at] = taken[at - 1];
        taken[at] = (occupied){e->offset, e->offset + e->size, first, last};
    }
    return total;
}

/* What reaches the top comes first. */
static void raise_top(entry *entries, int n, size_t total)
{
    for (int i = n - 1; i > 0; i--) {
        const entry top = entries[i];
        if (top.offset + top.size != total)
            continue;
        memmove(entries + 1, entries, (size_t)i * sizeof(*entries));
        entries[0] = top;
        return;
    }
}

/* Places the entries in the order they have, up to `tries` times; *total is the smallest region so
 * far of all orders, and its offsets are the buffers'. */
static void try_order(entry *entries, int n, occupied *taken, int tries, uint64_t enough,
                      size_t *total)
{
    size_t least = SIZE_MAX;
    for (int i = 0, since = 0; i < tries && since<PATIENCE && * total> enough; i++) {
        size_t size = place(entries, n, taken);
        for (int k = 0; size < *total && k < n; k++)
            entries[k].b->offset = entries[k].offset;
        *total = size < *total ? size : *total;
        since = size < least ? 0 : since + 1;
        least = size < least ? size : least;
        raise_top(entries, n, size);
    }
}

size_t og__place_buffers(og_buffer *buffers, int n, int n_steps, size_t room, og_arena *scratch,
                         og_error *error)
{
    uint64_t *live = og_arena_array(scratch, (size_t)n_steps + 1, sizeof(*live));
    entry *entries = og_arena_array(scratch, (size_t)n + 1, sizeof(*entries));
    occupied *taken = og_arena_array(scratch, (size_t)n + 1, sizeof(*taken));
    if (!live || !entries || !taken) {
        og_fail_memory(error, (size_t)n * sizeof(*entries), "the memory plan");
        return 0;
    }
    og_plan_live(buffers, n, n_steps, live);
    int count = 0, peak = og_plan_peak_step(live, n_steps);
    for (int i = 0; i < n; i++)
        if (buffers[i].storage < 0 && buffers[i].bytes)
            entries[count++] =
                (entry){.b = &buffers[i], .size = og_align_up(buffers[i].bytes, OG_ALIGNMENT)};
    size_t total = SIZE_MAX;
    uint64_t enough = count > MANY ? live[peak] + live[peak] / 20 : live[peak];
    enough = room > enough ? room : enough;
    bool hopeless = room && live[peak] > room;
    for (int o = 0; o < (hopeless ? 1 : ORDERS) && total > enough; o++) {
        sort(entries, count, (order)o, peak);
        try_order(entries, count, taken, hopeless ? 1 : MOST_TRIES + 1, enough, &total);
    }
    return total;
}
