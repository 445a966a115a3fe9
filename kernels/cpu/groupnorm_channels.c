/* Group and instance normalization channels-last, in float: x [N, spatial, C] in memory.
 *
 * A sample's rows are cut into parts, as many for every number of threads; each has sums of its own
 * for every channel, and what a group needs is added up of them in order. Where there are samples
 * enough for the threads, one takes a sample through all passes while it is in cache. */
#include "kernels/cpu/batchnorm.h"
#include "kernels/cpu/groupnorm.h"

enum { PARTS = 32, LEAST_ROWS = 64, VECTORS = 4 };

/* A call, forward or gradient. All but the tensors is in the workspace. */
typedef struct work work;
struct work {
    const og_call *call;
    og__groups g;
    const og__batchnorm_fns *fns;
    int64_t parts;
    double *sums;   /* [N, parts, 2, C] */
    float *vectors; /* [N, VECTORS, C]: mean, a, b, c of each channel */
    /* what is done of a part of a sample, of a sample whose parts are summed, of a part again */
    void (*add)(const work *w, int64_t n, int64_t part);
    void (*join)(const work *w, int64_t n);
    void (*apply)(const work *w, int64_t n, int64_t part);
};

static work work_of(const og_call *call)
{
    work w = {.call = call,
              .g = og__groups_of(call->node, &call->x[0].type),
              .fns = OG__PICK(og__batchnorm_find)()};
    int64_t wanted = (PARTS + w.g.samples - 1) / og__max(1, w.g.samples);
    w.parts = og__max(1, og__min(wanted, w.g.spatial / LEAST_ROWS));
    w.sums = call->workspace;
    if (w.sums)
        w.vectors = (float *)(w.sums + w.g.samples * w.parts * 2 * w.g.channels);
    return w;
}

static og_status prepare(og_call *call, og_error *error)
{
    (void)error;
    work w = work_of(call);
    call->workspace_bytes =
        (size_t)(w.g.samples * w.g.channels *
                 (w.parts * 2 * (int64_t)sizeof(double) + VECTORS * (int64_t)sizeof(float)));
    return OG_OK;
}

static double *sums_at(const work *w, int64_t n, int64_t part)
{
    return w->sums + (n * w->parts + part) * 2 * w->g.channels;
}

static float *vector_at(const work *w, int64_t n, int which)
{
    return w->vectors + (n * VECTORS + which) * w->g.channels;
}

static int64_t first_row(const work *w, int64_t part)
{
    return w->g.spatial * part / w->parts;
}

static int64_t rows_of(const work *w, int64_t part)
{
    return first_row(w, part + 1) - first_row(w, part);
}

/* A part of sample n of an image. */
static float *part_of(const work *w, const og_tensor *t, int64_t n, int64_t part)
{
    return (float *)t->data + (n * w->g.spatial + first_row(w, part)) * w->g.channels;
}

/* The sums of part 0 become those of all. */
static double *add_parts(const work *w, int64_t n)
{
    double *all = sums_at(w, n, 0);
    for (int64_t p = 1; p < w->parts; p++)
        for (int64_t i = 0; i < 2 * w->g.channels; i++)
            all[i] += sums_at(w, n, p)[i];
    return all;
}

static void run_work(const work *w, int64_t passes)
{
    int64_t samples = w->g.samples, tasks = samples * w->parts,
            all = samples * w->g.spatial * w->g.channels * passes;
    int threads = og__threads(w->call, all);
    if (samples % threads == 0 || samples >= 4 * threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t n = 0; n < samples; n++) {
            for (int64_t p = 0; p < w->parts; p++)
                w->add(w, n, p);
            w->join(w, n);
            for (int64_t p = 0; p < w->parts; p++)
                w->apply(w, n, p);
        }
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < tasks; i++)
        w->add(w, i / w->parts, i % w->parts);
    for (int64_t n = 0; n < samples; n++)
        w->join(w, n);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < tasks; i++)
        w->apply(w, i / w->parts, i % w->parts);
}

/* ---- x, scale, bias → y, mean, rstd; attributes num_groups, epsilon */

static void add(const work *w, int64_t n, int64_t part)
{
    double *s = sums_at(w, n, part);
    w->fns->sums(part_of(w, &w->call->x[0], n, part), rows_of(w, part), w->g.channels,
                 vector_at(w, n, 0), s, s + w->g.channels);
}

static void join(const work *w, int64_t n)
{
    const og_call *call = w->call;
    const og__groups *g = &w->g;
    const double *s = add_parts(w, n);
    const float *scale = call->x[1].data;
    float *centre = vector_at(w, n, 0), *factor = vector_at(w, n, 1);
    for (int64_t i = 0; i < g->groups; i++) {
        double both[2] = {0, 0}, mean, var;
        for (int64_t c = i * g->each; c < (i + 1) * g->each; c++) {
            both[0] += s[c];
            both[1] += s[g->channels + c];
        }
        og__norm_moments(both, (double)centre[i * g->each], (double)(g->each * g->spatial), &mean,
                         &var);
        double rstd = og__groups_rstd(g, var, OG_FLOAT);
        for (int64_t c = i * g->each; c < (i + 1) * g->each; c++) {
            centre[c] = (float)mean;
            factor[c] = (float)rstd * scale[c];
        }
        og__norm_put(call, 1, n * g->groups + i, mean);
        og__norm_put(call, 2, n * g->groups + i, rstd);
    }
}

static void apply(const work *w, int64_t n, int64_t part)
{
    w->fns->scale(part_of(w, &w->call->x[0], n, part), part_of(w, &w->call->y[0], n, part),
                  rows_of(w, part), w->g.channels, vector_at(w, n, 0), vector_at(w, n, 1),
                  w->call->x[2].data);
}

/* Sums are taken about the first element of each group. */
static og_status run(const og_call *call, og_error *error)
{
    (void)error;
    work w = work_of(call);
    w.add = add;
    w.join = join;
    w.apply = apply;
    for (int64_t n = 0; n < w.g.samples; n++)
        for (int64_t c = 0; c < w.g.channels; c++)
            vector_at(&w, n, 0)[c] = part_of(&w, &call->x[0], n, 0)[c / w.g.each * w.g.each];
    run_work(&w, 3);
    return OG_OK;
}

static bool supports(const og_call *call)
{
    return og__norm_all_float(call->nx, call->x) && og__norm_all_float(call->ny, call->y) &&
           og__has(call->ny, call->y, 0) && og_tensor_is_channels_last(&call->x[0]) &&
           og__elements(&call->x[0]) > 0;
}

/* ---- GroupNormalizationGrad: dy, x, scale, mean, rstd → dx, dscale, dbias. The formulas are those
 * of groupnorm.c. */

static void grad_add(const work *w, int64_t n, int64_t part)
{
    double *s = sums_at(w, n, part);
    w->fns->grad_sums(part_of(w, &w->call->x[0], n, part), part_of(w, &w->call->x[1], n, part),
                      rows_of(w, part), w->g.channels, vector_at(w, n, 0), s, s + w->g.channels);
}

static void grad_join(const work *w, int64_t n)
{
    const og__groups *g = &w->g;
    const double *s = add_parts(w, n);
    const float *scale = w->call->x[2].data, *rstds = w->call->x[4].data;
    float *a = vector_at(w, n, 1), *b = vector_at(w, n, 2), *e = vector_at(w, n, 3);
    double m = (double)(g->each * g->spatial);
    for (int64_t i = 0; i < g->groups; i++) {
        double rstd = (double)rstds[n * g->groups + i], mean_g = 0, mean_gx = 0;
        for (int64_t c = i * g->each; c < (i + 1) * g->each; c++) {
            mean_g += (double)scale[c] * s[c] / m;
            mean_gx += (double)scale[c] * s[g->channels + c] * rstd / m;
        }
        for (int64_t c = i * g->each; c < (i + 1) * g->each; c++) {
            a[c] = (float)(rstd * (double)scale[c]);
            b[c] = (float)(-rstd * rstd * mean_gx);
            e[c] = (float)(-rstd * mean_g);
        }
    }
}

static void grad_apply(const work *w, int64_t n, int64_t part)
{
    w->fns->grad(part_of(w, &w->call->x[0], n, part), part_of(w, &w->call->x[1], n, part),
                 part_of(w, &w->call->y[0], n, part), rows_of(w, part), w->g.channels,
                 vector_at(w, n, 0), vector_at(w, n, 1), vector_at(w, n, 2), vector_at(w, n, 3));
}

static og_status run_grad(const og_call *call, og_error *error)
{
    (void)error;
    work w = work_of(call);
    w.add = grad_add;
    w.join = grad_join;
    w.apply = grad_apply;
    for (int64_t n = 0; n < w.g.samples; n++)
        for (int64_t c = 0; c < w.g.channels; c++)
            vector_at(&w, n, 0)[c] =
                ((const float *)call->x[3].data)[n * w.g.groups + c / w.g.each];
    run_work(&w, 4);
    og__groups_parameters(call, &w.g, w.parts, w.sums);
    return OG_OK;
}

static bool supports_grad(const og_call *call)
{
    return supports(call) && og_tensor_is_channels_last(&call->x[1]);
}

#define FORWARD(op)                                                                \
    {                                                                              \
        op, "channels-last", OG_KERNEL_CHANNELS_LAST, supports, prepare, run, NULL \
    }

const og_kernel og_kernels_cpu_groupnorm_channels[] = {
    FORWARD("InstanceNormalization"),
    FORWARD("GroupNormalization"),
    FORWARD("ai.ongrad::GroupNormalizationTraining"),
    {"ai.ongrad::GroupNormalizationGrad", "channels-last", OG_KERNEL_CHANNELS_LAST, supports_grad,
     prepare, run_grad, NULL},
    {0},
};
