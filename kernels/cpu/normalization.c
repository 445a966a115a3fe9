/* Layer and RMS normalization: statistics over runs of consecutive elements.
 * Statistics are sums in double about the first element of each run; that is one of the sample, so
 * the shift is at most √n standard deviations from the mean and nothing cancels. Batch
 * normalization is in batchnorm.c, group and instance normalization in groupnorm.c. */
#include "kernels/cpu/normalization.h"

/* ---- shared with batchnorm.c and groupnorm.c */

static bool all_real(const og_tensor *t, int n)
{
    for (int i = 0; i < n; i++)
        if (t[i].type.dtype != OG_UNDEFINED && !og__is_real(t[i].type.dtype))
            return false;
    return true;
}

bool og__supports_norm(const og_call *call)
{
    og_dtype dtype = call->x[0].type.dtype;
    return (dtype == OG_FLOAT || dtype == OG_DOUBLE) &&
           (!og__has(call->ny, call->y, 0) || call->y[0].type.dtype == dtype) &&
           all_real(call->x, call->nx) && all_real(call->y, call->ny);
}

bool og__norm_all_float(int n, const og_tensor *t)
{
    for (int i = 0; i < n; i++)
        if (og__has(n, t, i) && t[i].type.dtype != OG_FLOAT)
            return false;
    return true;
}

double og__norm_get(int n, const og_tensor *t, int which, int64_t i, double fallback)
{
    return og__has(n, t, which) ? og__load_double(t[which].data, t[which].type.dtype, i) : fallback;
}

void og__norm_put(const og_call *call, int out, int64_t i, double value)
{
    if (og__has(call->ny, call->y, out))
        og__store_double(call->y[out].data, call->y[out].type.dtype, i, value);
}

void og__norm_moments(const double s[2], double shift, double m, double *mean, double *var)
{
    double d = s[0] / m, v = s[1] / m - d * d;
    *mean = shift + d;
    *var = v < 0 ? 0 : v;
}

/* ---- LayerNormalization; RMSNormalization is the same with a mean of 0 */

/* x seen as [outer, n] */
static void layer_shape(const og_call *call, const og_type *t, int64_t *outer, int64_t *n)
{
    int axis = og__axis(og_attr_int(call->node, "axis", -1), t->rank);
    *outer = og__product(t->dims, 0, axis);
    *n = og__product(t->dims, axis, t->rank);
}

static bool is_rms(const og_call *call)
{
    return strncmp(call->node->op->name, "RMS", 3) == 0;
}

static bool supports_layer(const og_call *call)
{
    int64_t outer, n;
    layer_shape(call, &call->x[0].type, &outer, &n);
    for (int i = 1; i < 3; i++)
        if (og__has(call->nx, call->x, i) &&
            (og__elements(&call->x[i]) != n || call->x[i].type.dtype != call->x[0].type.dtype))
            return false;
    return og__supports_norm(call);
}

/* LayerNormalization: x, scale, bias → y, mean, rstd; attributes axis, epsilon
 * RMSNormalization, RMSNormalizationTraining: x, scale → y, rstd; the same attributes */
static og_status run_layer(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0];
    const og__norm_fns *fns = OG__PICK(og__norm_find)(x->type.dtype);
    const void *scale = call->x[1].data,
               *bias = og__has(call->nx, call->x, 2) ? call->x[2].data : NULL;
    double epsilon = og_attr_float(call->node, "epsilon", 1e-5);
    int64_t outer, n, size = (int64_t)og__size(x->type.dtype);
    bool rms = is_rms(call);
    layer_shape(call, &x->type, &outer, &n);
    if (n == 0)
        return OG_OK;
#pragma omp parallel for num_threads(og__threads(call, outer *n * 3)) schedule(static)
    for (int64_t r = 0; r < outer; r++) {
        const char *row = (const char *)x->data + r * n * size;
        double s[2] = {0, 0}, shift = rms ? 0 : og__load_double(row, x->type.dtype, 0);
        double mean = 0, var;
        fns->line_sums(row, n, shift, s);
        if (rms)
            var = s[1] / (double)n;
        else
            og__norm_moments(s, shift, (double)n, &mean, &var);
        double rstd = 1 / sqrt(var + epsilon);
        if (og__has(call->ny, call->y, 0))
            fns->layer(row, scale, bias, (char *)call->y[0].data + r * n * size, n, mean, rstd);
        if (!rms)
            og__norm_put(call, 1, r, mean);
        og__norm_put(call, rms ? 1 : 2, r, rstd);
    }
    return OG_OK;
}

/* Rows are split into parts, which add up their own dscale and dbias. */
enum { PART = 32768, MOST_PARTS = 32, MOST_SUMS = 1 << 19 };

static int64_t layer_grad_parts(int64_t outer, int64_t n)
{
    int64_t parts = og__min(og__min(outer, MOST_PARTS), (outer * n + PART - 1) / PART);
    return og__max(1, og__min(parts, MOST_SUMS / og__max(1, n)));
}

static bool supports_layer_grad(const og_call *call)
{
    int64_t outer, n;
    og_dtype dtype = call->x[0].type.dtype;
    layer_shape(call, &call->x[0].type, &outer, &n);
    return og__supports_norm(call) && call->x[1].type.dtype == dtype &&
           call->x[2].type.dtype == dtype && og__elements(&call->x[2]) == n;
}

static og_status prepare_layer_grad(og_call *call, og_error *error)
{
    (void)error;
    int64_t outer, n;
    layer_shape(call, &call->x[0].type, &outer, &n);
    call->workspace_bytes = (size_t)(layer_grad_parts(outer, n) * 2 * n) * sizeof(double);
    return OG_OK;
}

/* LayerNormalizationGrad: dy, x, scale, mean, rstd → dx, dscale, dbias; attribute axis.
 * With h = (x - mean) rstd and g = dy scale, means taken over the normalized axes (Ba, Kiros,
 * Hinton: Layer Normalization, 2016; differentiate y = h scale + bias through mean and rstd): dx =
 * rstd (g - mean g - h mean(g h)),  dscale = Σ dy h,  dbias = Σ dy over the other axes
 * RMSNormalizationGrad: dy, x, scale, rstd → dx, dscale: the same with mean and mean g 0 */
static og_status run_layer_grad(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *dy = &call->x[0];
    const og__norm_fns *fns = OG__PICK(og__norm_find)(dy->type.dtype);
    int64_t outer, n, size = (int64_t)og__size(dy->type.dtype);
    layer_shape(call, &dy->type, &outer, &n);
    int64_t parts = layer_grad_parts(outer, n), rows = (outer + parts - 1) / parts;
    double *sums = call->workspace; /* [parts, 2, n]: dscale, dbias */
    bool want_x = og__has(call->ny, call->y, 0), want_scale = og__has(call->ny, call->y, 1);
    bool want_bias = og__has(call->ny, call->y, 2), rms = is_rms(call);
#pragma omp parallel for num_threads(og__threads(call, outer *n * 4)) schedule(static)
    for (int64_t p = 0; p < parts; p++) {
        double *dscale = sums + p * 2 * n, *dbias = dscale + n;
        memset(dscale, 0, (size_t)(2 * n) * sizeof *dscale);
        for (int64_t r = p * rows; r < og__min(outer, (p + 1) * rows); r++) {
            const char *dy_row = (const char *)dy->data + r * n * size;
            const char *x_row = (const char *)call->x[1].data + r * n * size;
            double s[2], mean = rms ? 0 : og__norm_get(call->nx, call->x, 3, r, 0);
            double rstd = og__norm_get(call->nx, call->x, rms ? 3 : 4, r, 1);
            fns->layer_grad_sums(dy_row, x_row, call->x[2].data, n, mean, rstd, s,
                                 want_scale ? dscale : NULL, want_bias ? dbias : NULL);
            if (rms)
                s[0] = 0;
            if (want_x)
                fns->layer_grad(dy_row, x_row, call->x[2].data,
                                (char *)call->y[0].data + r * n * size, n, mean, rstd, s);
        }
    }
    for (int64_t p = 1; p < parts; p++)
        for (int64_t i = 0; i < 2 * n; i++)
            sums[i] += sums[p * 2 * n + i];
    for (int64_t i = 0; i < n; i++) {
        og__norm_put(call, 1, i, sums[i]);
        og__norm_put(call, 2, i, sums[n + i]);
    }
    return OG_OK;
}

const og_kernel og_kernels_cpu_normalization[] = {
    {"LayerNormalization", "plain", OG_KERNEL_REFERENCE, supports_layer, NULL, run_layer, NULL},
    {"ai.ongrad::LayerNormalizationGrad", "plain", OG_KERNEL_REFERENCE, supports_layer_grad,
     prepare_layer_grad, run_layer_grad, NULL},
    {"RMSNormalization", "plain", OG_KERNEL_REFERENCE, supports_layer, NULL, run_layer, NULL},
    {"ai.ongrad::RMSNormalizationTraining", "plain", OG_KERNEL_REFERENCE, supports_layer, NULL,
     run_layer, NULL},
    {"ai.ongrad::RMSNormalizationGrad", "plain", OG_KERNEL_REFERENCE, supports_layer_grad,
     prepare_layer_grad, run_layer_grad, NULL},
    {0},
};
