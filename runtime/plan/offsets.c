/* Offsets: buffers that live at different times share memory.
 *
 * Greedy: buffers in some order; each goes into the smallest gap, among the buffers already placed
 * that live at the same time, which holds it; else behind the last of them. By size is the
 * heuristic of Pisarchyk and Lee ("Efficient Memory Management for Deep Neural Net Inference",
 * arXiv 2001.03288, section 5). No order is best for every graph, so several are tried, until one
 * needs no more than what is alive at the peak, and the best is kept. Then what ended up at the top
 * is placed first, and all others again, as long as that is tried (MOST_TRIES). */
#include <stdlib.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/plan/plan.h"

enum { MOST_TRIES = 24, MANY = 4000 /* buffers: that often only where much is to be won */ };

/* A buffer, and where its order puts it: large first, then small `then`. */
typedef struct entry {
    og_buffer *b;
    double key, then;
    size_t offset;
} entry;

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

static bool overlap(const og_buffer *a, const og_buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The size of the region; placed: room for n, becomes the entries by offset. */
static size_t place(entry *entries, int n, entry **placed)
{
    size_t total = 0;
    for (int i = 0; i < n; i++) {
        entry *e = &entries[i];
        size_t size = og_align_up(e->b->bytes, OG_ALIGNMENT), best = SIZE_MAX, best_gap = SIZE_MAX;
        size_t end = 0;
        int at = 0;
        for (int k = 0; k < i; k++) {
            const entry *p = placed[k];
            if (!overlap(p->b, e->b))
                continue;
            if (p->offset >= end && p->offset - end >= size && p->offset - end < best_gap) {
                best = end;
                best_gap = p->offset - end;
            }
            size_t next = p->offset + og_align_up(p->b->bytes, OG_ALIGNMENT);
            end = next > end ? next : end;
        }
        e->offset = best != SIZE_MAX ? best : end;
        total = e->offset + size > total ? e->offset + size : total;
        while (at < i && placed[at]->offset <= e->offset)
            at++;
        memmove(placed + at + 1, placed + at, (size_t)(i - at) * sizeof(*placed));
        placed[at] = e;
    }
    return total;
}

/* What reaches the top comes first. */
static void raise_top(entry *entries, int n, size_t total)
{
    for (int i = n - 1; i > 0; i--) {
        const entry top = entries[i];
        if (top.offset + og_align_up(top.b->bytes, OG_ALIGNMENT) != total)
            continue;
        memmove(entries + 1, entries, (size_t)i * sizeof(*entries));
        entries[0] = top;
        return;
    }
}

size_t og__place_buffers(og_buffer *buffers, int n, int n_steps, size_t room, og_arena *scratch,
                         og_error *error)
{
    uint64_t *live = og_arena_array(scratch, (size_t)n_steps + 1, sizeof(*live));
    entry *entries = og_arena_array(scratch, (size_t)n + 1, sizeof(*entries));
    entry **placed = og_arena_array(scratch, (size_t)n + 1, sizeof(*placed));
    if (!live || !entries || !placed) {
        og_fail_memory(error, (size_t)n * sizeof(*entries), "the memory plan");
        return 0;
    }
    og_plan_live(buffers, n, n_steps, live);
    int count = 0, peak = og_plan_peak_step(live, n_steps);
    for (int i = 0; i < n; i++)
        if (buffers[i].storage < 0 && buffers[i].bytes)
            entries[count++].b = &buffers[i];
    size_t total = SIZE_MAX;
    uint64_t enough = count > MANY ? live[peak] + live[peak] / 20 : live[peak];
    enough = room > enough ? room : enough;
    int tries = room && live[peak] > room ? 1 : ORDERS * (MOST_TRIES + 1);
    for (int i = 0; i < tries && total > enough; i++) {
        if (i % (MOST_TRIES + 1) == 0)
            sort(entries, count, (order)(i / (MOST_TRIES + 1)), peak);
        size_t size = place(entries, count, placed);
        for (int k = 0; size < total && k < count; k++)
            entries[k].b->offset = entries[k].offset;
        total = size < total ? size : total;
        raise_top(entries, count, size);
    }
    return total;
}
