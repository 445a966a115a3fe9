/* What is alive when: the measure of an order, and what `ongrad plan` draws. */
#include "runtime/base/checked.h"
#include "runtime/plan/plan.h"

void og_plan_live(const og_buffer *buffers, int n, int n_steps, uint64_t *live)
{
    for (int i = 0; i < n_steps; i++)
        live[i] = 0;
    for (int i = 0; i < n; i++) {
        const og_buffer *b = &buffers[i];
        if (b->storage >= 0 || n_steps == 0)
            continue;
        uint64_t bytes = og_align_up(b->bytes, OG_ALIGNMENT);
        live[b->first < 0 ? 0 : b->first] += bytes;
        if (b->last + 1 < n_steps)
            live[b->last + 1] -= bytes; /* modulo 2⁶⁴, as the sums below are */
    }
    for (int i = 1; i < n_steps; i++)
        live[i] += live[i - 1];
}

int og_plan_peak_step(const uint64_t *live, int n_steps)
{
    int peak = 0;
    for (int i = 1; i < n_steps; i++)
        if (live[i] > live[peak])
            peak = i;
    return peak;
}

size_t og__live_bytes(const og_buffer *buffers, int n, int n_steps, og_arena *scratch)
{
    uint64_t *live = og_arena_array(scratch, (size_t)n_steps + 1, sizeof(*live));
    if (!live)
        return 0;
    og_plan_live(buffers, n, n_steps, live);
    return (size_t)live[og_plan_peak_step(live, n_steps)];
}
