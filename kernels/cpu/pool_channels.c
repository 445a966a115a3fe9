/* Pooling and its gradients channels-last, in float: the images lie as [N, plane, C], and an
 * output takes its channels together. Where a gradient adds into an image, one thread takes the
 * whole sample. */
#include "kernels/cpu/pool.h"

enum { MOST_TAPS = OG__POOL_ROWS };

static bool is_image(const og_tensor *t)
{
    return t->type.dtype == OG_FLOAT && og_tensor_is_channels_last(t);
}

/* x: the larger side */
static bool supports(const og_call *call, const og_tensor *x, const og_tensor *y)
{
    og__pool_shape g;
    return is_image(x) && is_image(y) && og__pool_read(call, &x->type, &y->type, &g) &&
           g.kernel[0] <= MOST_TAPS && g.kernel[1] <= MOST_TAPS && g.kernel[2] <= MOST_TAPS &&
           og__product(g.kernel, 0, 3) <= MOST_TAPS;
}

/* A line of outputs (n, d, h, 0 …), and what its windows read. */
typedef struct line {
    int64_t n, d, h;
    int32_t n_rows, rows[OG__POOL_ROWS], before[OG__POOL_ROWS];
} line;

static int64_t lines_of(const og__pool_shape *g, const og_type *x)
{
    return x->dims[0] * g->out[0] * g->out[1];
}

static void start_line(const og__pool_shape *g, int64_t at, line *l)
{
    l->h = at % g->out[1];
    l->d = at / g->out[1] % g->out[0];
    l->n = at / g->out[1] / g->out[0];
    l->n_rows = og__pool_rows(g, l->d, l->h, l->rows, l->before);
}

/* The elements of the window of output w of the line that lie inside, in row-major order; their
 * count. numbers: NULL, or their places in the window, for windows of OG__PLACES elements at most.
 */
static int taps_of(const og__pool_shape *g, const line *l, int64_t w, int32_t *taps,
                   uint8_t *numbers)
{
    int64_t start = og__pool_input(g, 2, w, 0), first = 0, last = g->kernel[2];
    while (first < last && start + first * g->dilation[2] < 0)
        first++;
    while (last > first && start + (last - 1) * g->dilation[2] >= g->in[2])
        last--;
    int n = 0;
    for (int32_t r = 0; r < l->n_rows; r++)
        for (int64_t k = first; k < last; k++) {
            if (numbers)
                numbers[n] = (uint8_t)(l->before[r] + k);
            taps[n++] = l->rows[r] + (int32_t)(start + k * g->dilation[2]);
        }
    return n;
}

/* Elements from an image's sample, and from the output (n, d, h, 0). */
static int64_t sample_at(const og__pool_shape *g, const line *l, int64_t channels)
{
    return l->n * g->in_plane * channels;
}
static int64_t line_at(const og__pool_shape *g, const line *l, int64_t channels)
{
    return ((l->n * g->out[0] + l->d) * g->out[1] + l->h) * g->out[2] * channels;
}

/* The counts of an output's window along the three dims, multiplied. */
static float count_of(const int32_t *const *counts, const line *l, int64_t w)
{
    return (float)((double)counts[0][l->d] * counts[1][l->h] * counts[2][w]);
}

/* ---- MaxPool */

static bool supports_max(const og_call *call)
{
    return og__has(call->ny, call->y, 0) && og_attr_int(call->node, "storage_order", 0) == 0 &&
           supports(call, &call->x[0], &call->y[0]);
}

/* MaxPool: x → y, indices (as of a row-major x, flat over the whole of it) */
static og_status run_max(const og_call *call, og_error *error)
{
    const og__pool_channels_fns *fns = OG__PICK(og__pool_channels_find)();
    const og_type *type = &call->x[0].type;
    const float *x = call->x[0].data;
    float *y = call->y[0].data;
    int64_t *indices = og__has(call->ny, call->y, 1) ? call->y[1].data : NULL;
    int64_t channels = type->dims[1];
    og__pool_shape g;
    if (!og__pool_read(call, type, &call->y[0].type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
#pragma omp parallel for num_threads(og__threads(call, og__elements(&call->x[0]))) schedule(static)
    for (int64_t i = 0; i < lines_of(&g, type); i++) {
        int32_t taps[MOST_TAPS];
        line l;
        start_line(&g, i, &l);
        for (int64_t w = 0; w < g.out[2]; w++) {
            int64_t at = line_at(&g, &l, channels) + w * channels,
                    first = sample_at(&g, &l, channels);
            int n = taps_of(&g, &l, w, taps, NULL);
            fns->max(y + at, indices ? indices + at : NULL, x + first, taps, n, channels, first,
                     g.in_plane);
        }
    }
    return OG_OK;
}

static bool has_bytes(const og_tensor *places)
{
    return places->type.dtype == OG_UINT8 && og_tensor_is_channels_last(places);
}

static bool supports_max_training(const og_call *call)
{
    return og__has(call->ny, call->y, 1) && has_bytes(&call->y[1]) &&
           supports(call, &call->x[0], &call->y[0]);
}

/* MaxPoolTraining: x → y, places */
static og_status run_max_training(const og_call *call, og_error *error)
{
    const og__pool_channels_fns *fns = OG__PICK(og__pool_channels_find)();
    const og_type *type = &call->x[0].type;
    const float *x = call->x[0].data;
    float *y = call->y[0].data;
    uint8_t *places = call->y[1].data;
    int64_t channels = type->dims[1];
    og__pool_shape g;
    if (!og__pool_read(call, type, &call->y[0].type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
#pragma omp parallel for num_threads(og__threads(call, og__elements(&call->x[0]))) schedule(static)
    for (int64_t i = 0; i < lines_of(&g, type); i++) {
        int32_t taps[OG__PLACES];
        uint8_t numbers[OG__PLACES];
        line l;
        start_line(&g, i, &l);
        for (int64_t w = 0; w < g.out[2]; w++) {
            int64_t at = line_at(&g, &l, channels) + w * channels;
            int n = taps_of(&g, &l, w, taps, numbers);
            fns->max_place(y + at, places + at, x + sample_at(&g, &l, channels), taps, numbers, n,
                           channels);
        }
    }
    return OG_OK;
}

static bool supports_max_grad(const og_call *call)
{
    return has_bytes(&call->x[1]) && supports(call, &call->y[0], &call->x[0]);
}

/* MaxPoolGrad: dy, places → dx, zero where no window took its element */
static og_status run_max_grad(const og_call *call, og_error *error)
{
    const og__pool_channels_fns *fns = OG__PICK(og__pool_channels_find)();
    const og_type *type = &call->y[0].type;
    const float *dy = call->x[0].data;
    const uint8_t *places = call->x[1].data;
    float *dx = call->y[0].data;
    int64_t channels = type->dims[1];
    og__pool_shape g;
    if (!og__pool_read(call, type, &call->x[0].type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
#pragma omp parallel for num_threads( \
    og__threads(call, og__elements(&call->x[0]) + og__elements(&call->y[0]))) schedule(static)
    for (int64_t sample = 0; sample < type->dims[0]; sample++) {
        int32_t taps[OG__PLACES];
        uint8_t numbers[OG__PLACES];
        int64_t lines = g.out[0] * g.out[1], size = g.in_plane * channels;
        memset(dx + sample * size, 0, (size_t)size * sizeof *dx);
        for (int64_t i = sample * lines; i < (sample + 1) * lines; i++) {
            line l;
            start_line(&g, i, &l);
            for (int64_t w = 0; w < g.out[2]; w++) {
                int64_t at = line_at(&g, &l, channels) + w * channels;
                int n = taps_of(&g, &l, w, taps, numbers);
                fns->choose(dy + at, places + at, dx + sample * size, taps, numbers, n, channels);
            }
        }
    }
    return OG_OK;
}

/* ---- AveragePool */

static bool supports_average(const og_call *call)
{
    return supports(call, &call->x[0], &call->y[0]);
}

static bool supports_average_grad(const og_call *call)
{
    return supports(call, &call->y[0], &call->x[0]);
}

static og_status prepare_average(og_call *call, og_error *error)
{
    (void)error;
    call->workspace_bytes = og__pool_counts_bytes(&call->y[0].type);
    return OG_OK;
}

static og_status prepare_average_grad(og_call *call, og_error *error)
{
    (void)error;
    call->workspace_bytes = og__pool_counts_bytes(&call->x[0].type);
    return OG_OK;
}

/* AveragePool: x → y */
static og_status run_average(const og_call *call, og_error *error)
{
    const og__pool_channels_fns *fns = OG__PICK(og__pool_channels_find)();
    const og_type *type = &call->x[0].type;
    const float *x = call->x[0].data;
    float *y = call->y[0].data;
    int64_t channels = type->dims[1];
    const int32_t *counts[3];
    og__pool_shape g;
    if (!og__pool_read(call, type, &call->y[0].type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
    og__pool_counts(&g, call->workspace, counts);
#pragma omp parallel for num_threads(og__threads(call, og__elements(&call->x[0]))) schedule(static)
    for (int64_t i = 0; i < lines_of(&g, type); i++) {
        int32_t taps[MOST_TAPS];
        line l;
        start_line(&g, i, &l);
        for (int64_t w = 0; w < g.out[2]; w++) {
            int n = taps_of(&g, &l, w, taps, NULL);
            fns->average(y + line_at(&g, &l, channels) + w * channels,
                         x + sample_at(&g, &l, channels), taps, n, channels,
                         count_of(counts, &l, w));
        }
    }
    return OG_OK;
}

/* AveragePoolGrad: dy → dx; every element of a window receives dy / count */
static og_status run_average_grad(const og_call *call, og_error *error)
{
    const og__pool_channels_fns *fns = OG__PICK(og__pool_channels_find)();
    const og_type *type = &call->y[0].type;
    const float *dy = call->x[0].data;
    float *dx = call->y[0].data;
    int64_t channels = type->dims[1];
    const int32_t *counts[3];
    og__pool_shape g;
    if (!og__pool_read(call, type, &call->x[0].type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
    og__pool_counts(&g, call->workspace, counts);
    memset(dx, 0, (size_t)og__elements(&call->y[0]) * sizeof *dx);
#pragma omp parallel for num_threads(og__threads(call, og__elements(&call->y[0]))) schedule(static)
    for (int64_t sample = 0; sample < type->dims[0]; sample++) {
        int32_t taps[MOST_TAPS];
        int64_t lines = g.out[0] * g.out[1];
        for (int64_t i = sample * lines; i < (sample + 1) * lines; i++) {
            line l;
            start_line(&g, i, &l);
            for (int64_t w = 0; w < g.out[2]; w++) {
                int n = taps_of(&g, &l, w, taps, NULL);
                fns->spread(dy + line_at(&g, &l, channels) + w * channels,
                            dx + sample_at(&g, &l, channels), taps, n, channels,
                            count_of(counts, &l, w));
            }
        }
    }
    return OG_OK;
}

#define ROW(op, supports, prepare, run)                                            \
    {                                                                              \
        op, "channels-last", OG_KERNEL_CHANNELS_LAST, supports, prepare, run, NULL \
    }

const og_kernel og_kernels_cpu_pool_channels[] = {
    ROW("MaxPool", supports_max, NULL, run_max),
    ROW("ai.ongrad::MaxPoolTraining", supports_max_training, NULL, run_max_training),
    ROW("ai.ongrad::MaxPoolGrad", supports_max_grad, NULL, run_max_grad),
    ROW("AveragePool", supports_average, prepare_average, run_average),
    ROW("ai.ongrad::AveragePoolGrad", supports_average_grad, prepare_average_grad,
        run_average_grad),
    {0},
};
