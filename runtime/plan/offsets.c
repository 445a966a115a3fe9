/* Offsets: buffers that live at different times share memory.
 *
 * Greedy by size: buffers in descending size; each goes into the smallest gap, among the buffers
 * already placed that live at the same time, which holds it; else behind the last of them. (The
 * heuristic of Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
 * arXiv 2001.03288, section 5.) */
#include <stdlib.h>

#include "runtime/base/checked.h"
#include "runtime/plan/plan.h"

static int by_size(const void *a, const void *b)
{
    const og_buffer *x = *(og_buffer *const *)a, *y = *(og_buffer *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : 0;
}

static int by_offset(const void *a, const void *b)
{
    const og_buffer *x = *(og_buffer *const *)a, *y = *(og_buffer *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool overlap(const og_buffer *a, const og_buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

size_t og__place_buffers(og_buffer *buffers, int n, og_arena *scratch, og_error *error)
{
    og_buffer **order = og_arena_array(scratch, (size_t)n + 1, sizeof(*order));
    og_buffer **placed = og_arena_array(scratch, (size_t)n + 1, sizeof(*placed));
    if (!order || !placed) {
        og_fail_memory(error, (size_t)n * sizeof(*order), "the memory plan");
        return 0;
    }
    int count = 0;
    for (int i = 0; i < n; i++)
        if (buffers[i].storage < 0 && buffers[i].bytes)
            order[count++] = &buffers[i];
    qsort(order, (size_t)count, sizeof(*order), by_size);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        og_buffer *b = order[i];
        size_t size = og_align_up(b->bytes, OG_ALIGNMENT), best = SIZE_MAX, best_gap = SIZE_MAX,
               end = 0;
        int m = 0;
        for (int k = 0; k < i; k++)
            if (overlap(order[k], b))
                placed[m++] = order[k];
        qsort(placed, (size_t)m, sizeof(*placed), by_offset);
        for (int k = 0; k < m; k++) {
            size_t start = placed[k]->offset,
                   next = start + og_align_up(placed[k]->bytes, OG_ALIGNMENT);
            if (start >= end && start - end >= size && start - end < best_gap) {
                best = end;
                best_gap = start - end;
            }
            if (next > end)
                end = next;
        }
        b->offset = best != SIZE_MAX ? best : end;
        if (b->offset + size > total)
            total = b->offset + size;
    }
    return total;
}
