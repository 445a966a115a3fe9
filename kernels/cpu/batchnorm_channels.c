/* Batch normalization channels-last, in float: x [rows, channels] in memory, rows = N × spatial.
 *
 * Rows are cut into parts, as many for every number of threads. Each part has its own sums; they
 * are added up in order. Then the parts are normalized. */
#include "kernels/cpu/batchnorm.h"

enum { MOST_PARTS = 64, LEAST_ROWS = 64 };

/* What a call works on. Everything but the tensors is in the workspace. */
typedef struct work {
    int64_t rows, channels, parts;
    double *sums;            /* [parts, 2, channels] */
    float *mean, *a, *b, *c; /* [channels] */
    float *unwanted[3];      /* [channels]: in place of absent outputs */
} work;

enum { VECTORS = 7 };

static work work_of(const og_call *call, const og_type *x)
{
    work w = {.channels = x->dims[1], .rows = x->dims[0] * og__product(x->dims, 2, x->rank)};
    w.parts = og__max(1, og__min(MOST_PARTS, w.rows / LEAST_ROWS));
    w.sums = call->workspace;
    if (w.sums) {
        float *vectors[VECTORS];
        for (int i = 0; i < VECTORS; i++)
            vectors[i] = (float *)(w.sums + w.parts * 2 * w.channels) + i * w.channels;
        w.mean = vectors[0];
        w.a = vectors[1];
        w.b = vectors[2];
        w.c = vectors[3];
        memcpy(w.unwanted, vectors + 4, sizeof w.unwanted);
    }
    return w;
}

static og_status prepare(og_call *call, og_error *error)
{
    (void)error;
    work w = work_of(call, &call->x[0].type);
    call->workspace_bytes = (size_t)(w.channels * (w.parts * 2 * (int64_t)sizeof(double) +
                                                   VECTORS * (int64_t)sizeof(float)));
    return OG_OK;
}

/* Where output i goes, i > 0. */
static float *vector_out(const og_call *call, const work *w, int i)
{
    return og__has(call->ny, call->y, i) ? call->y[i].data : w->unwanted[i - 1];
}

static int64_t first_row(const work *w, int64_t part)
{
    return w->rows * part / w->parts;
}

/* The sums of part 0 become those of all. */
static void add_parts(const work *w)
{
    for (int64_t p = 1; p < w->parts; p++)
        for (int64_t i = 0; i < 2 * w->channels; i++)
            w->sums[i] += w->sums[p * 2 * w->channels + i];
}

/* BatchNormalizationTraining: x, scale, bias → y, mean, var (biased), rstd; attribute epsilon */
static og_status run_training(const og_call *call, og_error *error)
{
    (void)error;
    const og__batchnorm_fns *fns = OG__PICK(og__batchnorm_find)();
    const float *x = call->x[0].data;
    float *y = call->y[0].data;
    work w = work_of(call, &call->x[0].type);
    double epsilon = og_attr_float(call->node, "epsilon", 1e-5);
    memcpy(w.mean, x, (size_t)w.channels * sizeof *x); /* sums are taken about the first row */
#pragma omp parallel for num_threads(og__threads(call, w.rows *w.channels * 2)) schedule(static)
    for (int64_t p = 0; p < w.parts; p++) {
        double *s = w.sums + p * 2 * w.channels;
        fns->sums(x + first_row(&w, p) * w.channels, first_row(&w, p + 1) - first_row(&w, p),
                  w.channels, w.mean, s, s + w.channels);
    }
    add_parts(&w);
    float *mean = vector_out(call, &w, 1), *var = vector_out(call, &w, 2);
    fns->moments(w.channels, (double)w.rows, epsilon, w.sums, w.sums + w.channels, call->x[1].data,
                 w.mean, var, vector_out(call, &w, 3), w.a);
    memcpy(mean, w.mean, (size_t)w.channels * sizeof *mean);
#pragma omp parallel for num_threads(og__threads(call, w.rows *w.channels * 2)) schedule(static)
    for (int64_t p = 0; p < w.parts; p++) {
        int64_t at = first_row(&w, p), rows = first_row(&w, p + 1) - at;
        fns->scale(x + at * w.channels, y + at * w.channels, rows, w.channels, w.mean, w.a,
                   call->x[2].data);
    }
    return OG_OK;
}

static bool supports_training(const og_call *call)
{
    return og__norm_all_float(call->nx, call->x) && og__norm_all_float(call->ny, call->y) &&
           og__has(call->ny, call->y, 0) && og_tensor_is_channels_last(&call->x[0]) &&
           og__elements(&call->x[0]) > 0;
}

/* BatchNormalizationGrad: dy, x, scale, mean, rstd → dx, dscale, dbias. The formulas are those of
 * batchnorm.c. */
static og_status run_grad(const og_call *call, og_error *error)
{
    (void)error;
    const og__batchnorm_fns *fns = OG__PICK(og__batchnorm_find)();
    const float *dy = call->x[0].data, *x = call->x[1].data;
    float *dx = call->y[0].data;
    work w = work_of(call, &call->x[0].type);
    const float *mean = call->x[3].data;
#pragma omp parallel for num_threads(og__threads(call, w.rows *w.channels * 3)) schedule(static)
    for (int64_t p = 0; p < w.parts; p++) {
        double *s = w.sums + p * 2 * w.channels;
        int64_t at = first_row(&w, p) * w.channels;
        fns->grad_sums(dy + at, x + at, first_row(&w, p + 1) - first_row(&w, p), w.channels, mean,
                       s, s + w.channels);
    }
    add_parts(&w);
    fns->grad_factors(w.channels, (double)w.rows, w.sums, w.sums + w.channels, call->x[2].data,
                      call->x[4].data, vector_out(call, &w, 1), vector_out(call, &w, 2), w.a, w.b,
                      w.c);
#pragma omp parallel for num_threads(og__threads(call, w.rows *w.channels * 3)) schedule(static)
    for (int64_t p = 0; p < w.parts; p++) {
        int64_t at = first_row(&w, p) * w.channels, rows = first_row(&w, p + 1) - first_row(&w, p);
        fns->grad(dy + at, x + at, dx + at, rows, w.channels, mean, w.a, w.b, w.c);
    }
    return OG_OK;
}

static bool supports_grad(const og_call *call)
{
    return supports_training(call) && og_tensor_is_channels_last(&call->x[1]);
}

/* BatchNormalization for inference: x, scale, bias, mean, var → y; attribute epsilon */
static og_status run_inference(const og_call *call, og_error *error)
{
    (void)error;
    const og__batchnorm_fns *fns = OG__PICK(og__batchnorm_find)();
    const float *x = call->x[0].data;
    float *y = call->y[0].data;
    work w = work_of(call, &call->x[0].type);
    double epsilon = og_attr_float(call->node, "epsilon", 1e-5);
    OG_ASSUME(w.sums);
    for (int64_t c = 0; c < w.channels; c++) {
        w.mean[c] = (float)og__norm_get(call->nx, call->x, 3, c, 0);
        w.a[c] = (float)(og__norm_get(call->nx, call->x, 1, c, 1) /
                         sqrt(og__norm_get(call->nx, call->x, 4, c, 1) + epsilon));
        w.b[c] = (float)og__norm_get(call->nx, call->x, 2, c, 0);
    }
#pragma omp parallel for num_threads(og__threads(call, w.rows *w.channels)) schedule(static)
    for (int64_t p = 0; p < w.parts; p++) {
        int64_t at = first_row(&w, p), rows = first_row(&w, p + 1) - at;
        fns->scale(x + at * w.channels, y + at * w.channels, rows, w.channels, w.mean, w.a, w.b);
    }
    return OG_OK;
}

static bool supports_inference(const og_call *call)
{
    return supports_training(call) && og_attr_int(call->node, "training_mode", 0) == 0;
}

const og_kernel og_kernels_cpu_batchnorm_channels[] = {
    {"BatchNormalization", "channels-last", OG_KERNEL_CHANNELS_LAST, supports_inference, prepare,
     run_inference, NULL},
    {"ai.ongrad::BatchNormalizationTraining", "channels-last", OG_KERNEL_CHANNELS_LAST,
     supports_training, prepare, run_training, NULL},
    {"ai.ongrad::BatchNormalizationGrad", "channels-last", OG_KERNEL_CHANNELS_LAST, supports_grad,
     prepare, run_grad, NULL},
    {0},
};
