/* Batch normalization: x [N, C, spatial …] or [N, C], statistics over all axes but 1.
 *
 * Where the spatial size is large, a channel is N lines of consecutive elements, and one thread
 * takes a whole channel through all passes while it is in cache. Where it is small, lines would be
 * short: C × spatial columns are walked in blocks of whole channels, and the columns of a channel
 * are added up. */
#include "kernels/cpu/normalization.h"

enum { SHORT_LINE = 16 };

typedef struct shape {
    int64_t samples, channels, spatial, size;
    const og__norm_fns *fns;
    int64_t together; /* channels of a block */
} shape;

static shape shape_of(const og_type *t)
{
    shape s = {t->rank > 0 ? t->dims[0] : 1, t->rank > 1 ? t->dims[1] : 1,      1,
               (int64_t)og__size(t->dtype),  OG__PICK(og__norm_find)(t->dtype), 1};
    if (t->rank > 2)
        s.spatial = og__product(t->dims, 2, t->rank);
    if (s.spatial < SHORT_LINE)
        s.together = OG__NORM_COLUMNS / og__max(1, s.spatial);
    return s;
}

/* Byte offset of the line of sample n, channel c. */
static int64_t line_at(const shape *s, int64_t n, int64_t c)
{
    return (n * s->channels + c) * s->spatial * s->size;
}

typedef double columns[OG__NORM_COLUMNS];

/* to[column] = from[channel], for `count` channels. */
static void spread(const shape *s, int64_t count, const double *from, double *to)
{
    for (int64_t c = 0; c < count; c++)
        for (int64_t k = 0; k < s->spatial; k++)
            to[c * s->spatial + k] = from[c];
}

/* The other way, adding up. */
static void gather(const shape *s, int64_t count, const double *from, double *to)
{
    for (int64_t c = 0; c < count; c++) {
        to[c] = 0;
        for (int64_t k = 0; k < s->spatial; k++)
            to[c] += from[c * s->spatial + k];
    }
}

/* Sums about shift[c] of `count` channels from c0 on; with dy, the sums of the gradient about mean
 * = shift. */
static void sums(const shape *s, const char *x, const char *dy, int64_t c0, int64_t count,
                 const double *shift, double *s0, double *s1)
{
    if (s->spatial >= SHORT_LINE) {
        double sum[2] = {0, 0};
        for (int64_t n = 0; n < s->samples; n++) {
            if (dy)
                s->fns->line_grad_sums(dy + line_at(s, n, c0), x + line_at(s, n, c0), s->spatial,
                                       shift[0], sum);
            else
                s->fns->line_sums(x + line_at(s, n, c0), s->spatial, shift[0], sum);
        }
        s0[0] = sum[0];
        s1[0] = sum[1];
        return;
    }
    columns about, sum0 = {0}, sum1 = {0};
    int64_t stride = s->channels * s->spatial, at = line_at(s, 0, c0);
    spread(s, count, shift, about);
    if (dy)
        s->fns->columns_grad_sums(dy + at, x + at, s->samples, stride, count * s->spatial, about,
                                  sum0, sum1);
    else
        s->fns->columns_sums(x + at, s->samples, stride, count * s->spatial, about, sum0, sum1);
    gather(s, count, sum0, s0);
    gather(s, count, sum1, s1);
}

/* y = (x - mean[c]) a[c] + b[c]; with dy: y = a dy + b (x - mean) + d */
static void apply(const shape *s, const char *x, const char *dy, char *y, int64_t c0, int64_t count,
                  const double *mean, const double *a, const double *b, const double *d)
{
    if (s->spatial >= SHORT_LINE) {
        for (int64_t n = 0; n < s->samples; n++) {
            int64_t at = line_at(s, n, c0);
            if (dy)
                s->fns->line_grad(dy + at, x + at, y + at, s->spatial, mean[0], a[0], b[0], d[0]);
            else
                s->fns->line_scale(x + at, y + at, s->spatial, mean[0], a[0], b[0]);
        }
        return;
    }
    columns mean_of, a_of, b_of, d_of;
    int64_t stride = s->channels * s->spatial, at = line_at(s, 0, c0);
    spread(s, count, mean, mean_of);
    spread(s, count, a, a_of);
    spread(s, count, b, b_of);
    if (dy) {
        spread(s, count, d, d_of);
        s->fns->columns_grad(dy + at, x + at, y + at, s->samples, stride, count * s->spatial,
                             mean_of, a_of, b_of, d_of);
    } else {
        s->fns->columns_scale(x + at, y + at, s->samples, stride, count * s->spatial, mean_of, a_of,
                              b_of);
    }
}

/* BatchNormalizationTraining: x, scale, bias → y, mean, var (biased), rstd; attribute epsilon */
static og_status run_training(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0];
    shape s = shape_of(&x->type);
    double epsilon = og_attr_float(call->node, "epsilon", 1e-5),
           m = (double)(s.samples * s.spatial);
    int64_t blocks = (s.channels + s.together - 1) / s.together;
    bool want_y = og__has(call->ny, call->y, 0);
    if (og__elements(x) == 0)
        return OG_OK;
#pragma omp parallel for num_threads(og__threads(call, og__elements(x) * 2)) schedule(static)
    for (int64_t i = 0; i < blocks; i++) {
        columns shift, s0, s1, mean, a, b;
        int64_t c0 = i * s.together, count = og__min(s.together, s.channels - c0);
        for (int64_t c = 0; c < count; c++)
            shift[c] = og__load_double(x->data, x->type.dtype, (c0 + c) * s.spatial);
        sums(&s, x->data, NULL, c0, count, shift, s0, s1);
        for (int64_t c = 0; c < count; c++) {
            double var, both[2] = {s0[c], s1[c]};
            og__norm_moments(both, shift[c], m, &mean[c], &var);
            double rstd = 1 / sqrt(var + epsilon);
            if (x->type.dtype != OG_DOUBLE)
                rstd = (double)(float)rstd; /* as whoever computes y again has it */
            a[c] = rstd * og__norm_get(call->nx, call->x, 1, c0 + c, 1);
            b[c] = og__norm_get(call->nx, call->x, 2, c0 + c, 0);
            og__norm_put(call, 1, c0 + c, mean[c]);
            og__norm_put(call, 2, c0 + c, var);
            og__norm_put(call, 3, c0 + c, rstd);
        }
        if (want_y)
            apply(&s, x->data, NULL, call->y[0].data, c0, count, mean, a, b, NULL);
    }
    return OG_OK;
}

/* BatchNormalizationGrad: dy, x, scale, mean, rstd → dx, dscale, dbias.
 * With h = (x - mean) rstd and means over the m elements of a channel (Ioffe and Szegedy: Batch
 * Normalization, 2015, section 3): dx = scale rstd (dy - mean dy - h mean(dy h)),  dscale = Σ dy h,
 * dbias = Σ dy */
static og_status run_grad(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *dy = &call->x[0], *x = &call->x[1];
    shape s = shape_of(&x->type);
    double m = (double)(s.samples * s.spatial);
    int64_t blocks = (s.channels + s.together - 1) / s.together;
    bool want_x = og__has(call->ny, call->y, 0);
    if (og__elements(x) == 0) {
        for (int64_t c = 0; c < s.channels; c++) {
            og__norm_put(call, 1, c, 0);
            og__norm_put(call, 2, c, 0);
        }
        return OG_OK;
    }
#pragma omp parallel for num_threads(og__threads(call, og__elements(x) * 3)) schedule(static)
    for (int64_t i = 0; i < blocks; i++) {
        columns mean, s0, s1, a, b, d;
        int64_t c0 = i * s.together, count = og__min(s.together, s.channels - c0);
        for (int64_t c = 0; c < count; c++)
            mean[c] = og__norm_get(call->nx, call->x, 3, c0 + c, 0);
        sums(&s, x->data, dy->data, c0, count, mean, s0, s1);
        for (int64_t c = 0; c < count; c++) {
            double rstd = og__norm_get(call->nx, call->x, 4, c0 + c, 1);
            a[c] = rstd * og__norm_get(call->nx, call->x, 2, c0 + c, 1);
            b[c] = -a[c] * rstd * rstd * s1[c] / m;
            d[c] = -a[c] * s0[c] / m;
            og__norm_put(call, 1, c0 + c, s1[c] * rstd);
            og__norm_put(call, 2, c0 + c, s0[c]);
        }
        if (want_x)
            apply(&s, x->data, dy->data, call->y[0].data, c0, count, mean, a, b, d);
    }
    return OG_OK;
}

static bool supports_grad(const og_call *call)
{
    return og__supports_norm(call) && call->x[1].type.dtype == call->x[0].type.dtype;
}

/* BatchNormalization for inference: x, scale, bias, mean, var → y; attributes epsilon,
 * training_mode 0 */
static og_status run_inference(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0];
    shape s = shape_of(&x->type);
    double epsilon = og_attr_float(call->node, "epsilon", 1e-5);
    int64_t blocks = (s.channels + s.together - 1) / s.together;
    if (og__elements(x) == 0)
        return OG_OK;
#pragma omp parallel for num_threads(og__threads(call, og__elements(x))) schedule(static)
    for (int64_t i = 0; i < blocks; i++) {
        columns mean, a, b;
        int64_t c0 = i * s.together, count = og__min(s.together, s.channels - c0);
        for (int64_t c = 0; c < count; c++) {
            mean[c] = og__norm_get(call->nx, call->x, 3, c0 + c, 0);
            a[c] = og__norm_get(call->nx, call->x, 1, c0 + c, 1) /
                   sqrt(og__norm_get(call->nx, call->x, 4, c0 + c, 1) + epsilon);
            b[c] = og__norm_get(call->nx, call->x, 2, c0 + c, 0);
        }
        apply(&s, x->data, NULL, call->y[0].data, c0, count, mean, a, b, NULL);
    }
    return OG_OK;
}

static bool supports_inference(const og_call *call)
{
    return og__supports_norm(call) && og_attr_int(call->node, "training_mode", 0) == 0;
}

const og_kernel og_kernels_cpu_batchnorm[] = {
    {"BatchNormalization", "plain", OG_KERNEL_REFERENCE, supports_inference, NULL, run_inference,
     NULL},
    {"ai.ongrad::BatchNormalizationTraining", "plain", OG_KERNEL_REFERENCE, og__supports_norm, NULL,
     run_training, NULL},
    {"ai.ongrad::BatchNormalizationGrad", "plain", OG_KERNEL_REFERENCE, supports_grad, NULL,
     run_grad, NULL},
    {0},
};
