/* Group and instance normalization of images that lie row-major, where a group is a run of
 * consecutive elements and a channel of it a line: statistics as in normalization.c. A thread takes
 * whole groups, through all passes while they are in cache. */
#include "kernels/cpu/groupnorm.h"

og__groups og__groups_of(const og_node *node, const og_type *x)
{
    og__groups g = {.samples = x->dims[0],
                    .channels = x->dims[1],
                    .groups = strcmp(node->op->name, "InstanceNormalization") == 0
                                  ? x->dims[1]
                                  : og_attr_int(node, "num_groups", 0),
                    .spatial = og__product(x->dims, 2, x->rank),
                    .epsilon = og_attr_float(node, "epsilon", 1e-5)};
    g.each = g.groups > 0 ? g.channels / g.groups : 0;
    return g;
}

double og__groups_rstd(const og__groups *g, double var, og_dtype dtype)
{
    double rstd = 1 / sqrt(var + g->epsilon);
    return dtype == OG_DOUBLE ? rstd : (double)(float)rstd;
}

void og__groups_parameters(const og_call *call, const og__groups *g, int64_t parts,
                           const double *sums)
{
    for (int64_t c = 0; c < g->channels; c++) {
        double dscale = 0, dbias = 0;
        for (int64_t n = 0; n < g->samples; n++) {
            const double *s = sums + n * parts * 2 * g->channels;
            dscale += s[g->channels + c] *
                      og__norm_get(call->nx, call->x, 4, n * g->groups + c / g->each, 1);
            dbias += s[c];
        }
        og__norm_put(call, 1, c, dscale);
        og__norm_put(call, 2, c, dbias);
    }
}

/* InstanceNormalization, GroupNormalization, GroupNormalizationTraining: x, scale, bias → y, mean,
 * rstd; attributes num_groups, epsilon */
static og_status run(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0];
    const og__norm_fns *fns = OG__PICK(og__norm_find)(x->type.dtype);
    const og__groups g = og__groups_of(call->node, &x->type);
    if (og__elements(x) == 0)
        return OG_OK;
    if (g.groups < 1 || g.channels % g.groups)
        return og__call_fail(call, error, OG_INVALID_MODEL, "%lld channels in %lld groups",
                             (long long)g.channels, (long long)g.groups);
    int64_t rows = g.samples * g.groups, m = g.each * g.spatial,
            size = (int64_t)og__size(x->type.dtype);
#pragma omp parallel for num_threads(og__threads(call, rows *m * 3)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        const char *from = (const char *)x->data + i * m * size;
        double s[2] = {0, 0}, shift = og__load_double(from, x->type.dtype, 0), mean, var;
        fns->line_sums(from, m, shift, s);
        og__norm_moments(s, shift, (double)m, &mean, &var);
        double rstd = og__groups_rstd(&g, var, x->type.dtype);
        for (int64_t k = 0; og__has(call->ny, call->y, 0) && k < g.each; k++) {
            int64_t c = i % g.groups * g.each + k, line = k * g.spatial * size;
            fns->line_scale(from + line, (char *)call->y[0].data + i * m * size + line, g.spatial,
                            mean, rstd * og__norm_get(call->nx, call->x, 1, c, 1),
                            og__norm_get(call->nx, call->x, 2, c, 0));
        }
        og__norm_put(call, 1, i, mean);
        og__norm_put(call, 2, i, rstd);
    }
    return OG_OK;
}

static bool supports_grad(const og_call *call)
{
    return og__supports_norm(call) && call->x[1].type.dtype == call->x[0].type.dtype;
}

static og_status prepare_grad(og_call *call, og_error *error)
{
    (void)error;
    const int64_t *dims = call->x[1].type.dims;
    call->workspace_bytes = (size_t)(dims[0] * 2 * dims[1]) * sizeof(double);
    return OG_OK;
}

/* GroupNormalizationGrad: dy, x, scale, mean, rstd → dx, dscale, dbias; attribute num_groups.
 * With h = (x - mean) rstd, g = dy scale, and means over the m elements of a group (Wu and He:
 * Group Normalization, 2018; differentiate y = h scale + bias through mean and rstd): dx = rstd (g
 * - mean g - h mean(g h)),  dscale = Σ dy h,  dbias = Σ dy over samples and space. All of them
 * follow from Σ dy and Σ dy (x - mean) of each line. */
static og_status run_grad(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *dy = &call->x[0], *x = &call->x[1];
    const og__norm_fns *fns = OG__PICK(og__norm_find)(dy->type.dtype);
    const og__groups g = og__groups_of(call->node, &x->type);
    int64_t rows = g.samples * g.groups, line = g.spatial * (int64_t)og__size(dy->type.dtype);
    double m = (double)(g.each * g.spatial), *sums = call->workspace; /* [N, 2, C] */
#pragma omp parallel for num_threads(og__threads(call, og__elements(x) * 4)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        int64_t first = i % g.groups * g.each;
        double mean = og__norm_get(call->nx, call->x, 3, i, 0);
        double rstd = og__norm_get(call->nx, call->x, 4, i, 1);
        double *s = sums + i / g.groups * 2 * g.channels, mean_g = 0, mean_gx = 0;
        const char *dy_at = (const char *)dy->data + i * g.each * line;
        const char *x_at = (const char *)x->data + i * g.each * line;
        for (int64_t k = 0; k < g.each; k++) {
            double both[2] = {0, 0}, scale = og__norm_get(call->nx, call->x, 2, first + k, 1);
            fns->line_grad_sums(dy_at + k * line, x_at + k * line, g.spatial, mean, both);
            s[first + k] = both[0];
            s[g.channels + first + k] = both[1];
            mean_g += scale * both[0] / m;
            mean_gx += scale * both[1] * rstd / m;
        }
        for (int64_t k = 0; og__has(call->ny, call->y, 0) && k < g.each; k++)
            fns->line_grad(dy_at + k * line, x_at + k * line,
                           (char *)call->y[0].data + (i * g.each + k) * line, g.spatial, mean,
                           rstd * og__norm_get(call->nx, call->x, 2, first + k, 1),
                           -rstd * rstd * mean_gx, -rstd * mean_g);
    }
    og__groups_parameters(call, &g, 1, sums);
    return OG_OK;
}

const og_kernel og_kernels_cpu_groupnorm[] = {
    {"InstanceNormalization", "plain", OG_KERNEL_REFERENCE, og__supports_norm, NULL, run, NULL},
    {"GroupNormalization", "plain", OG_KERNEL_REFERENCE, og__supports_norm, NULL, run, NULL},
    {"ai.ongrad::GroupNormalizationTraining", "plain", OG_KERNEL_REFERENCE, og__supports_norm, NULL,
     run, NULL},
    {"ai.ongrad::GroupNormalizationGrad", "plain", OG_KERNEL_REFERENCE, supports_grad, prepare_grad,
     run_grad, NULL},
    {0},
};
