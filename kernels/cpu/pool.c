/* MaxPool, AveragePool, their gradients, and global pooling: x [N, C, 1 to 3 spatial dims], dense.
 * One thread takes a whole plane (n, c). MaxPool computes a few neighbouring outputs at a time over
 * all of their windows. AveragePool and its gradient take a line of outputs one window offset at a
 * time: for each offset the outputs whose element lies inside the input are a range, and the loop
 * over it is a vector loop. */
#include "kernels/cpu/pool.h"
#include "kernels/cpu/reduce.h"
#include "ops/window.h"

enum {
    CHUNK = 256 /* outputs of a line handled together */
};

/* What one window offset means for outputs [first, last) of the line (d, h): `n` outputs from `i`
 * on read elements stride[2] apart, the first of them `at` elements into the plane. */
typedef struct span {
    int64_t i, n, at;
} span;

typedef struct offsets {
    int64_t d, h, w; /* the next offset to look at */
} offsets;

static bool next_span(const og__pool_shape *g, int64_t d, int64_t h, int64_t first, int64_t last,
                      offsets *o, span *s)
{
    for (; o->d < g->kernel[0]; o->d++, o->h = 0) {
        int64_t id = og__pool_input(g, 0, d, o->d);
        if (id < 0 || id >= g->in[0])
            continue;
        for (; o->h < g->kernel[1]; o->h++, o->w = 0) {
            int64_t ih = og__pool_input(g, 1, h, o->h);
            if (ih < 0 || ih >= g->in[1])
                continue;
            while (o->w < g->kernel[2]) {
                int64_t begin, end, w = o->w++;
                if (w < OG__POOL_RANGES) {
                    begin = g->first[w];
                    end = g->last[w];
                } else {
                    og__pool_outputs(g, 2, w, &begin, &end);
                }
                begin = og__max(begin, first);
                end = og__min(end, last);
                if (begin >= end)
                    continue;
                *s = (span){begin, end - begin,
                            (id * g->in[1] + ih) * g->in[2] + og__pool_input(g, 2, begin, w)};
                return true;
            }
        }
    }
    return false;
}

/* ---- MaxPool */

static bool supports_max(const og_call *call)
{
    og__pool_shape g;
    return OG__PICK(og__pool_find)(call->x[0].type.dtype) &&
           og_attr_int(call->node, "storage_order", 0) == 0 && og__has(call->ny, call->y, 0) &&
           og__pool_read(call, &call->x[0].type, &call->y[0].type, &g) &&
           g.kernel[0] <= OG__POOL_ROWS && g.kernel[0] * g.kernel[1] <= OG__POOL_ROWS;
}

/* Windows of 2 × 2, 2 apart, without padding. */
static bool is_2x2(const og__pool_shape *g)
{
    return g->kernel[0] == 1 && g->stride[0] == 1 && g->kernel[1] == 2 && g->kernel[2] == 2 &&
           g->stride[1] == 2 && g->stride[2] == 2 && g->dilation[1] == 1 && g->dilation[2] == 1 &&
           !g->pad[0] && !g->pad[1] && !g->pad[2] && g->out[1] * 2 <= g->in[1] &&
           g->out[2] * 2 <= g->in[2];
}

static void max_plane(const og__pool_shape *g, const og__pool_fns *fns, const char *x, char *y,
                      int64_t *indices, int64_t plane, int64_t size)
{
    bool simple = is_2x2(g);
    int32_t rows[OG__POOL_ROWS], index[CHUNK];
    int64_t inner_first, inner_last, ignored;
    og__pool_outputs(g, 2, 0, &inner_first, &ignored);
    og__pool_outputs(g, 2, g->kernel[2] - 1, &ignored, &inner_last);
    for (int64_t l = 0; l < g->out[0] * g->out[1]; l++) {
        int64_t d = l / g->out[1], h = l % g->out[1];
        int32_t n_rows = simple ? 0 : og__pool_rows(g, d, h, rows);
        for (int64_t first = 0; first < g->out[2]; first += CHUNK) {
            int64_t n = og__min(g->out[2] - first, CHUNK), out = l * g->out[2] + first;
            if (simple) {
                int64_t at = (d * g->in[1] + 2 * h) * g->in[2] + 2 * first;
                fns->max_2x2(y + out * size, indices ? index : NULL, x + at * size, n, g->in[2],
                             (int32_t)at);
            } else {
                og__pool_line line = {rows,
                                      n_rows,
                                      (int32_t)n,
                                      (int32_t)og__pool_input(g, 2, first, 0),
                                      (int32_t)g->in[2],
                                      (int32_t)g->kernel[2],
                                      (int32_t)g->dilation[2],
                                      (int32_t)g->stride[2],
                                      (int32_t)og__max(0, og__min(inner_first - first, n)),
                                      (int32_t)og__max(0, og__min(inner_last - first, n))};
                fns->max(y + out * size, index, x, &line);
            }
            for (int64_t i = 0; indices && i < n; i++)
                indices[out + i] = index[i] < 0 ? -1 : plane * g->in_plane + index[i];
        }
    }
}

/* MaxPool: x → y, indices (flat over the whole of x) */
static og_status run_max(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0];
    const og__pool_fns *fns = OG__PICK(og__pool_find)(x->type.dtype);
    og__pool_shape g;
    int64_t size = (int64_t)og__size(x->type.dtype);
    int64_t *indices = og__has(call->ny, call->y, 1) ? call->y[1].data : NULL;
    if (!og__pool_read(call, &x->type, &call->y[0].type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
#pragma omp parallel for num_threads(og__threads(call, og__elements(x) * 2)) schedule(static)
    for (int64_t p = 0; p < g.planes; p++)
        max_plane(&g, fns, (const char *)x->data + p * g.in_plane * size,
                  (char *)call->y[0].data + p * g.out_plane * size,
                  indices ? indices + p * g.out_plane : NULL, p, size);
    return OG_OK;
}

#define MAX_GRAD(T)                                                                         \
    /* Plane p: dx[indices[i]] += dy[i]; false if an index is outside the plane. */         \
    static bool max_grad_##T(const void *dys, const int64_t *indices, void *dxs, int64_t p, \
                             int64_t n_in, int64_t n_out)                                   \
    {                                                                                       \
        const T *dy = (const T *)dys + p * n_out;                                           \
        T *dx = (T *)dxs + p * n_in;                                                        \
        int64_t base = p * n_in;                                                            \
        bool good = true;                                                                   \
        indices += p * n_out;                                                               \
        memset(dx, 0, (size_t)n_in * sizeof *dx);                                           \
        for (int64_t i = 0; i < n_out; i++) {                                               \
            uint64_t at = (uint64_t)(indices[i] - base);                                    \
            if (at < (uint64_t)n_in)                                                        \
                dx[at] += dy[i];                                                            \
            else                                                                            \
                good = good && indices[i] == -1;                                            \
        }                                                                                   \
        return good;                                                                        \
    }
MAX_GRAD(float)
MAX_GRAD(double)

/* MaxPoolGrad: dy, indices → dx, zero where no window took its element */
static og_status run_max_grad(const og_call *call, og_error *error)
{
    const og_tensor *dy = &call->x[0], *dx = &call->y[0];
    const int64_t *indices = call->x[1].data;
    int64_t planes = dx->type.dims[0] * dx->type.dims[1];
    int64_t n_in = og__product(dx->type.dims, 2, dx->type.rank),
            n_out = planes ? og__elements(dy) / planes : 0;
    bool good = true;
#pragma omp parallel for num_threads(og__threads(call, planes * (n_in + n_out))) schedule(static) reduction(&& : good)
    for (int64_t p = 0; p < planes; p++)
        good =
            OG__REAL(dy->type.dtype, max_grad, dy->data, indices, dx->data, p, n_in, n_out) && good;
    return good ? OG_OK
                : og__call_fail(call, error, OG_INVALID_DATA,
                                "an index points outside the plane it was taken from");
}

/* ---- AveragePool */

static bool supports_average(const og_call *call)
{
    og__pool_shape g;
    return og__supports_float(call) && og__pool_read(call, &call->x[0].type, &call->y[0].type, &g);
}

static bool supports_average_grad(const og_call *call)
{
    og__pool_shape g;
    return og__supports_float(call) && og__pool_read(call, &call->y[0].type, &call->x[0].type, &g);
}

static og_status prepare_average(og_call *call, og_error *error)
{
    (void)error;
    bool grad = strcmp(call->node->op->name, "AveragePoolGrad") == 0;
    const og_type *y = grad ? &call->x[0].type : &call->y[0].type;
    call->workspace_bytes = og__pool_counts_bytes(y);
    return OG_OK;
}

/* AveragePool: x → y */
static og_status run_average(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    const og__pool_fns *fns = OG__PICK(og__pool_find)(x->type.dtype);
    const int32_t *counts[3];
    og__pool_shape g;
    int64_t size = (int64_t)og__size(x->type.dtype);
    if (!og__pool_read(call, &x->type, &y->type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
    og__pool_counts(&g, call->workspace, counts);
#pragma omp parallel for num_threads(og__threads(call, og__elements(x) * 2)) schedule(static)
    for (int64_t p = 0; p < g.planes; p++) {
        const char *from = (const char *)x->data + p * g.in_plane * size;
        for (int64_t line = 0; line < g.out[0] * g.out[1]; line++) {
            char *sum = (char *)y->data + (p * g.out_plane + line * g.out[2]) * size;
            int64_t d = line / g.out[1], h = line % g.out[1];
            offsets o = {0, 0, 0};
            span s;
            memset(sum, 0, (size_t)(g.out[2] * size));
            while (next_span(&g, d, h, 0, g.out[2], &o, &s))
                fns->add(sum + s.i * size, from + s.at * size, s.n, g.stride[2]);
            fns->divide(sum, sum, counts[2], (double)counts[0][d] * counts[1][h], g.out[2]);
        }
    }
    return OG_OK;
}

/* AveragePoolGrad: dy → dx; every element of a window receives dy / count */
static og_status run_average_grad(const og_call *call, og_error *error)
{
    const og_tensor *dy = &call->x[0], *dx = &call->y[0];
    const og__pool_fns *fns = OG__PICK(og__pool_find)(dy->type.dtype);
    const int32_t *counts[3];
    og__pool_shape g;
    int64_t size = (int64_t)og__size(dy->type.dtype);
    if (!og__pool_read(call, &dx->type, &dy->type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
    og__pool_counts(&g, call->workspace, counts);
#pragma omp parallel for num_threads(og__threads(call, og__elements(dx) * 2)) schedule(static)
    for (int64_t p = 0; p < g.planes; p++) {
        double share[CHUNK];
        char *to = (char *)dx->data + p * g.in_plane * size;
        memset(to, 0, (size_t)(g.in_plane * size));
        for (int64_t line = 0; line < g.out[0] * g.out[1]; line++) {
            const char *from = (const char *)dy->data + (p * g.out_plane + line * g.out[2]) * size;
            int64_t d = line / g.out[1], h = line % g.out[1];
            for (int64_t first = 0; first < g.out[2]; first += CHUNK) {
                int64_t last = og__min(g.out[2], first + CHUNK);
                offsets o = {0, 0, 0};
                span s;
                fns->divide(share, from + first * size, counts[2] + first,
                            (double)counts[0][d] * counts[1][h], last - first);
                while (next_span(&g, d, h, first, last, &o, &s))
                    fns->spread(to + s.at * size, (const char *)share + (s.i - first) * size, s.n,
                                g.stride[2]);
            }
        }
    }
    return OG_OK;
}

/* ---- global pooling */

/* GlobalAveragePool, GlobalMaxPool: x [N, C, …] → y [N, C, 1 …] */
static og_status run_global(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0];
    bool max = strcmp(call->node->op->name, "GlobalMaxPool") == 0;
    const og__reduce_fns *fns = OG__PICK(og__reduce_find)(max ? OG__MAX : OG__SUM, x->type.dtype);
    int64_t planes = x->type.dims[0] * x->type.dims[1],
            n = og__product(x->type.dims, 2, x->type.rank);
    int64_t size = (int64_t)og__size(x->type.dtype);
#pragma omp parallel for num_threads(og__threads(call, planes *n)) schedule(static)
    for (int64_t p = 0; p < planes; p++) {
        double acc;
        fns->start(&acc, 1);
        fns->row(&acc, (const char *)x->data + p * n * size, n, 1);
        fns->finish(&acc, 1, max ? 1 : n, (char *)call->y[0].data + p * size, 1);
    }
    return OG_OK;
}

const og_kernel og_kernels_cpu_pool[] = {
    {"MaxPool", "plain", OG_KERNEL_REFERENCE, supports_max, NULL, run_max, NULL},
    {"ai.ongrad::MaxPoolGrad", "plain", OG_KERNEL_REFERENCE, og__supports_float, NULL, run_max_grad,
     NULL},
    {"AveragePool", "plain", OG_KERNEL_REFERENCE, supports_average, prepare_average, run_average,
     NULL},
    {"ai.ongrad::AveragePoolGrad", "plain", OG_KERNEL_REFERENCE, supports_average_grad,
     prepare_average, run_average_grad, NULL},
    {"GlobalAveragePool", "plain", OG_KERNEL_REFERENCE, og__supports_float, NULL, run_global, NULL},
    {"GlobalMaxPool", "plain", OG_KERNEL_REFERENCE, og__supports_float, NULL, run_global, NULL},
    {0},
};
