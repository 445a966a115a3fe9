/* The geometry of pooling (pool.h). */
#include "kernels/cpu/pool.h"
#include "ops/window.h"

static int64_t divide_up(int64_t a, int64_t b) /* b > 0 */
{
    return a > 0 ? (a + b - 1) / b : -(-a / b);
}

void og__pool_outputs(const og__pool_shape *g, int k, int64_t o, int64_t *first, int64_t *last)
{
    int64_t shift = g->pad[k] - o * g->dilation[k];
    *first = og__max(0, divide_up(shift, g->stride[k]));
    *last = og__min(g->out[k], divide_up(g->in[k] + shift, g->stride[k]));
}

bool og__pool_read(const og_call *call, const og_type *x, const og_type *y, og__pool_shape *g)
{
    og_window w;
    int lead = 5 - x->rank;
    if (lead < 0 || lead > 2 || y->rank != x->rank || !og_window_read(&w, call->node, x, NULL))
        return false;
    for (int k = 0; k < 3; k++) {
        int from = k - lead;
        g->in[k] = from < 0 ? 1 : w.in[from];
        g->out[k] = from < 0 ? 1 : y->dims[2 + from];
        g->kernel[k] = from < 0 ? 1 : w.kernel[from];
        g->stride[k] = from < 0 ? 1 : w.strides[from];
        g->dilation[k] = from < 0 ? 1 : w.dilations[from];
        g->pad[k] = from < 0 ? 0 : w.pads[from];
        g->pad_end[k] = from < 0 ? 0 : w.pads[from + w.n];
    }
    g->planes = x->dims[0] * x->dims[1];
    g->in_plane = og__product(g->in, 0, 3);
    g->out_plane = og__product(g->out, 0, 3);
    g->include_pad = og_attr_int(call->node, "count_include_pad", 0) != 0;
    for (int64_t o = 0; o < og__min(g->kernel[2], OG__POOL_RANGES); o++) {
        int64_t first, last;
        og__pool_outputs(g, 2, o, &first, &last);
        g->first[o] = (int32_t)first;
        g->last[o] = (int32_t)og__max(0, last);
    }
    bool fits = g->in_plane < INT32_MAX && g->out_plane < INT32_MAX;
    for (int k = 0; k < 3; k++)
        fits = fits &&
               g->kernel[k] * g->dilation[k] + g->pad[k] + g->pad_end[k] + g->in[k] + g->stride[k] <
                   INT32_MAX;
    return fits;
}

int64_t og__pool_input(const og__pool_shape *g, int k, int64_t i, int64_t o)
{
    return i * g->stride[k] - g->pad[k] + o * g->dilation[k];
}

bool og__pool_has_element(const og__pool_shape *g, int k, int64_t i)
{
    for (int64_t o = 0; o < g->kernel[k]; o++) {
        int64_t at = og__pool_input(g, k, i, o);
        if (at >= 0 && at < g->in[k])
            return true;
    }
    return false;
}

bool og__pool_whole(const og__pool_shape *g)
{
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < g->out[k]; i++)
            if (!og__pool_has_element(g, k, i))
                return false;
    return true;
}

void og__pool_offsets(const og__pool_shape *g, int64_t offsets[OG__PLACES])
{
    int64_t window = og__product(g->kernel, 0, 3);
    for (int64_t p = 0; p < OG__PLACES; p++) {
        int64_t a = p / g->kernel[2] / g->kernel[1], b = p / g->kernel[2] % g->kernel[1],
                c = p % g->kernel[2];
        offsets[p] = p < window ? (a * g->dilation[0] * g->in[1] + b * g->dilation[1]) * g->in[2] +
                                      c * g->dilation[2]
                                : INT64_MIN / 2;
    }
}

int32_t og__pool_rows(const og__pool_shape *g, int64_t d, int64_t h, int32_t *rows, int32_t *taps)
{
    int32_t n = 0;
    for (int64_t a = 0; a < g->kernel[0]; a++)
        for (int64_t b = 0; b < g->kernel[1]; b++) {
            int64_t id = og__pool_input(g, 0, d, a), ih = og__pool_input(g, 1, h, b);
            if (id < 0 || id >= g->in[0] || ih < 0 || ih >= g->in[1])
                continue;
            if (taps)
                taps[n] = (int32_t)((a * g->kernel[1] + b) * g->kernel[2]);
            rows[n++] = (int32_t)((id * g->in[1] + ih) * g->in[2]);
        }
    return n;
}

void og__pool_counts(const og__pool_shape *g, int32_t *list, const int32_t **counts)
{
    for (int k = 0; k < 3; k++) {
        int64_t low = g->include_pad ? -g->pad[k] : 0,
                high = g->in[k] + (g->include_pad ? g->pad_end[k] : 0);
        counts[k] = list;
        for (int64_t i = 0; i < g->out[k]; i++) {
            int64_t start = og__pool_input(g, k, i, 0), step = g->dilation[k];
            int64_t first = og__max(0, divide_up(low - start, step));
            int64_t last = og__min(g->kernel[k], divide_up(high - start, step));
            *list++ = (int32_t)og__max(1, last - first);
        }
    }
}

size_t og__pool_counts_bytes(const og_type *y)
{
    size_t entries = 3;
    for (int k = 2; k < y->rank; k++)
        entries += (size_t)y->dims[k];
    return entries * sizeof(int32_t);
}
