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

/* Where what is found goes, all of it: either MaxPool's indices, or places, which are bytes or
 * words; none of them: not wanted. */
typedef struct found {
    int64_t *indices;
    uint8_t *bytes;
    int32_t *words;
} found;

static found found_of(const og_tensor *t, bool given)
{
    og_dtype dtype = given ? t->type.dtype : OG_UNDEFINED;
    return (found){.indices = dtype == OG_INT64 ? t->data : NULL,
                   .bytes = dtype == OG_UINT8 ? t->data : NULL,
                   .words = dtype == OG_INT32 ? t->data : NULL};
}

/* number: of the plane whose indices begin at `base`; -1 for none */
static void put(const found *f, int64_t at, const int32_t *number, int64_t n, int64_t base)
{
    for (int64_t i = 0; f->indices && i < n; i++)
        f->indices[at + i] = number[i] < 0 ? -1 : base + number[i];
    for (int64_t i = 0; f->bytes && i < n; i++)
        f->bytes[at + i] = (uint8_t)(number[i] < 0 ? 0 : number[i]);
    for (int64_t i = 0; f->words && i < n; i++)
        f->words[at + i] = number[i] < 0 ? 0 : number[i];
}

static void max_plane(const og__pool_shape *g, const og__pool_fns *fns, const char *x, char *y,
                      const found *f, int64_t plane, int64_t size)
{
    bool simple = is_2x2(g), places = f->bytes || f->words;
    int32_t rows[OG__POOL_ROWS], taps[OG__POOL_ROWS], index[CHUNK];
    int64_t inner_first, inner_last, ignored;
    og__pool_outputs(g, 2, 0, &inner_first, &ignored);
    og__pool_outputs(g, 2, g->kernel[2] - 1, &ignored, &inner_last);
    for (int64_t l = 0; l < g->out[0] * g->out[1]; l++) {
        int64_t d = l / g->out[1], h = l % g->out[1];
        int32_t n_rows = simple ? 0 : og__pool_rows(g, d, h, rows, taps);
        for (int64_t first = 0; first < g->out[2]; first += CHUNK) {
            int64_t n = og__min(g->out[2] - first, CHUNK), out = l * g->out[2] + first;
            if (simple) {
                int64_t at = (d * g->in[1] + 2 * h) * g->in[2] + 2 * first;
                fns->max_2x2(y + out * size, places || f->indices ? index : NULL, x + at * size, n,
                             g->in[2], (int32_t)at, places);
            } else {
                int32_t start = (int32_t)og__pool_input(g, 2, first, 0);
                og__pool_line line = {
                    .rows = rows,
                    .numbers = places ? taps : rows,
                    .number_start = places ? 0 : start,
                    .number_step = places ? 0 : (int32_t)g->stride[2],
                    .number_unit = places ? 1 : (int32_t)g->dilation[2],
                    .n_rows = n_rows,
                    .n = (int32_t)n,
                    .start = start,
                    .width = (int32_t)g->in[2],
                    .kernel = (int32_t)g->kernel[2],
                    .dilation = (int32_t)g->dilation[2],
                    .step = (int32_t)g->stride[2],
                    .inner_first = (int32_t)og__max(0, og__min(inner_first - first, n)),
                    .inner_last = (int32_t)og__max(0, og__min(inner_last - first, n))};
                fns->max(y + out * size, index, x, &line);
            }
            put(f, plane * g->out_plane + out, index, n, plane * g->in_plane);
        }
    }
}

/* MaxPool: x → y, indices (flat over the whole of x)
 * MaxPoolTraining: x → y, places */
static og_status run_max(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0];
    const og__pool_fns *fns = OG__PICK(og__pool_find)(x->type.dtype);
    og__pool_shape g;
    int64_t size = (int64_t)og__size(x->type.dtype);
    found f = found_of(&call->y[1], og__has(call->ny, call->y, 1));
    if (!og__pool_read(call, &x->type, &call->y[0].type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
#pragma omp parallel for num_threads(og__threads(call, og__elements(x) * 2)) schedule(static)
    for (int64_t p = 0; p < g.planes; p++)
        max_plane(&g, fns, (const char *)x->data + p * g.in_plane * size,
                  (char *)call->y[0].data + p * g.out_plane * size, &f, p, size);
    return OG_OK;
}

static bool supports_max_grad(const og_call *call)
{
    og__pool_shape g;
    return og__supports_float(call) && og__pool_read(call, &call->y[0].type, &call->x[0].type, &g);
}

/* Where in the plane the outputs first … first + n - 1 of line (d, h) have their largest elements;
 * -1 where a window is empty. Their places are the elements from `from` on. false: one lies outside
 * the plane. */
static bool elements_of(const og__pool_shape *g, const int64_t *by_place, bool whole,
                        const found *f, int64_t from, int64_t d, int64_t h, int64_t first,
                        int64_t n, int32_t *at)
{
    int64_t base = (og__pool_input(g, 0, d, 0) * g->in[1] + og__pool_input(g, 1, h, 0)) * g->in[2];
    bool good = true,
         rows = whole || (og__pool_has_element(g, 0, d) && og__pool_has_element(g, 1, h));
    for (int64_t i = 0; i < n; i++) {
        int64_t element = base + og__pool_input(g, 2, first + i, 0);
        if (f->bytes) {
            element += by_place[f->bytes[from + i]];
        } else {
            int64_t p = f->words[from + i], a = p / g->kernel[2] / g->kernel[1];
            element +=
                (a * g->dilation[0] * g->in[1] + p / g->kernel[2] % g->kernel[1] * g->dilation[1]) *
                    g->in[2] +
                p % g->kernel[2] * g->dilation[2];
        }
        bool empty = !whole && (!rows || !og__pool_has_element(g, 2, first + i));
        bool inside = (uint64_t)element < (uint64_t)g->in_plane;
        at[i] = inside && !empty ? (int32_t)element : -1;
        good = good && (inside || empty);
    }
    return good;
}

/* Plane p of dx, where windows are 2 × 2 and 2 apart: every element is written once. */
static void grad_2x2(const og__pool_shape *g, const og__pool_fns *fns, const char *dy, char *dx,
                     const uint8_t *places, int64_t size)
{
    int64_t done = 2 * g->out[2];
    for (int64_t d = 0; d < g->in[0]; d++)
        for (int64_t h = 0; h < g->in[1]; h += 2) {
            int64_t from = (d * g->out[1] + h / 2) * g->out[2], to = (d * g->in[1] + h) * g->in[2];
            if (h / 2 < g->out[1])
                fns->spread_2x2(dx + to * size, dy + from * size, places + from, g->out[2],
                                g->in[2]);
            for (int64_t r = h; r < og__min(h + 2, g->in[1]); r++, to += g->in[2]) {
                int64_t first = h / 2 < g->out[1] ? done : 0;
                memset(dx + (to + first) * size, 0, (size_t)((g->in[2] - first) * size));
            }
        }
}

/* MaxPoolGrad: dy, places → dx, zero where no window took its element */
static og_status run_max_grad(const og_call *call, og_error *error)
{
    const og_tensor *dy = &call->x[0], *dx = &call->y[0];
    const og__pool_fns *fns = OG__PICK(og__pool_find)(dy->type.dtype);
    found f = found_of(&call->x[1], true);
    int64_t size = (int64_t)og__size(dy->type.dtype), by_place[OG__PLACES];
    og__pool_shape g;
    if (!og__pool_read(call, &dx->type, &dy->type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
    og__pool_offsets(&g, by_place);
    bool good = true, whole = og__pool_whole(&g), simple = is_2x2(&g);
#pragma omp parallel for num_threads(og__threads(call, g.planes * (g.in_plane + g.out_plane))) schedule(static) reduction(&& : good)
    for (int64_t p = 0; p < g.planes; p++) {
        const char *from = (const char *)dy->data + p * g.out_plane * size;
        char *to = (char *)dx->data + p * g.in_plane * size;
        if (simple) {
            grad_2x2(&g, fns, from, to, f.bytes + p * g.out_plane, size);
            continue;
        }
        memset(to, 0, (size_t)(g.in_plane * size));
        for (int64_t l = 0; l < g.out[0] * g.out[1]; l++)
            for (int64_t first = 0; first < g.out[2]; first += CHUNK) {
                int32_t at[CHUNK];
                int64_t n = og__min(g.out[2] - first, CHUNK), out = l * g.out[2] + first;
                good = elements_of(&g, by_place, whole, &f, p * g.out_plane + out, l / g.out[1],
                                   l % g.out[1], first, n, at) &&
                       good;
                fns->scatter(to, from + out * size, at, n);
            }
    }
    return good ? OG_OK
                : og__call_fail(call, error, OG_INVALID_DATA,
                                "a place points outside the plane it was taken from");
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
    const og__reduce_fns *fns =
        OG__PICK(og__reduce_find)(max ? OG_FOLD_MAX : OG_FOLD_SUM, x->type.dtype);
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
    {"ai.ongrad::MaxPoolTraining", "plain", OG_KERNEL_REFERENCE, supports_max, NULL, run_max, NULL},
    {"ai.ongrad::MaxPoolGrad", "plain", OG_KERNEL_REFERENCE, supports_max_grad, NULL, run_max_grad,
     NULL},
    {"AveragePool", "plain", OG_KERNEL_REFERENCE, supports_average, prepare_average, run_average,
     NULL},
    {"ai.ongrad::AveragePoolGrad", "plain", OG_KERNEL_REFERENCE, supports_average_grad,
     prepare_average, run_average_grad, NULL},
    {"GlobalAveragePool", "plain", OG_KERNEL_REFERENCE, og__supports_float, NULL, run_global, NULL},
    {"GlobalMaxPool", "plain", OG_KERNEL_REFERENCE, og__supports_float, NULL, run_global, NULL},
    {0},
};
