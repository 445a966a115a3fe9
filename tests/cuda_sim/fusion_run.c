/* Fusions, operation by operation: every tensor as an array of floats [dims], rounded to its
 * element type when it is made. */
#include <math.h>
#include <stdlib.h>

#include "kernels/cpu/internal.h"
#include "runtime/base/half.h"
#include "tests/cuda_sim/internal.h"

enum { SPATIAL = OG_CUDA_SPATIAL };

typedef struct machine {
    const og_cuda_fusion *fusion;
    float *values[OG_CUDA_TENSORS];
} machine;

typedef const og_cuda_tensor *tensor;

static int64_t count(tensor t)
{
    return og__product(t->dims, 0, t->rank);
}

/* Position behind the first element, in elements of a tensor's memory, of its element e. */
static int64_t offset_of(tensor t, int64_t e)
{
    int64_t at = 0;
    for (int a = t->rank - 1; a >= 0; a--) {
        at += e % t->dims[a] * t->strides[a];
        e /= t->dims[a];
    }
    return at;
}

static float rounded(og_dtype dtype, float v)
{
    return dtype == OG_FLOAT16    ? og_half_to_float(og_float_to_half(v))
           : dtype == OG_BFLOAT16 ? og_bfloat_to_float(og_float_to_bfloat(v))
           : dtype == OG_INT32    ? (float)(int32_t)v
           : dtype == OG_INT8     ? (float)(int8_t)v
           : dtype == OG_BOOL     ? (float)(v != 0)
                                  : v;
}

static float *load(tensor t, const void *memory)
{
    int64_t n = count(t);
    float *values = malloc((size_t)n * sizeof *values);
    for (int64_t e = 0; values && e < n; e++)
        values[e] = t->place == OG_CUDA_CONSTANT
                        ? t->value
                        : (float)og__load_double(memory, t->dtype, offset_of(t, e));
    return values;
}

/* ---- convolutions: of channels-last copies, so that the innermost loops are over channels */

typedef struct geometry {
    int64_t n, c, m, group, in[SPATIAL], out[SPATIAL], taps[SPATIAL], steps[SPATIAL],
        dilations[SPATIAL], begins[SPATIAL];
} geometry;

/* Always three spatial axes. */
static geometry geometry_of(const og_cuda_operation *o, tensor x, tensor w, tensor y)
{
    geometry g = {.n = x->dims[0],
                  .c = x->dims[1],
                  .m = w->dims[0],
                  .group = x->dims[1] / w->dims[1],
                  .in = {1, 1, 1},
                  .out = {1, 1, 1},
                  .taps = {1, 1, 1},
                  .steps = {1, 1, 1},
                  .dilations = {1, 1, 1}};
    int spatial = x->rank - 2;
    for (int a = 0; a < spatial; a++) {
        int to = a + SPATIAL - spatial;
        g.in[to] = x->dims[a + 2];
        g.out[to] = y->dims[a + 2];
        g.taps[to] = w->dims[a + 2];
        g.steps[to] = o->steps[a];
        g.dilations[to] = o->dilations[a];
        g.begins[to] = o->begins[a];
    }
    return g;
}

/* x [a, b, c] as [a, c, b], or [c, a, b] */
static double *transposed(const float *x, int64_t a, int64_t b, int64_t c, bool outermost,
                          bool tf32)
{
    double *y = calloc((size_t)(a * b * c), sizeof *y);
    for (int64_t i = 0; y && i < a; i++)
        for (int64_t j = 0; j < b; j++)
            for (int64_t k = 0; k < c; k++) {
                double v = x[(i * b + j) * c + k];
                y[outermost ? (k * a + i) * b + j : (i * c + k) * b + j] = tf32 ? sim_tf32(v) : v;
            }
    return y;
}

/* The place of the input that tap t of output o reads; -1: padding. */
static int64_t place_of(const geometry *g, int64_t o, int64_t t)
{
    int64_t place = 0, step = 1;
    for (int a = SPATIAL - 1; a >= 0; a--) {
        int64_t i = o % g->out[a] * g->steps[a] - g->begins[a] + t % g->taps[a] * g->dilations[a];
        if (i < 0 || i >= g->in[a])
            return -1;
        place += i * step;
        step *= g->in[a];
        o /= g->out[a];
        t /= g->taps[a];
    }
    return place;
}

/* One image and group: x, w and y as transposed has them, moved to the group. The one that kind
 * writes is added to. */
static void convolve(og_cuda_operation_kind kind, const geometry *g, double *x, double *w,
                     double *y)
{
    int64_t c = g->c / g->group, m = g->m / g->group, outs = og__product(g->out, 0, SPATIAL),
            taps = og__product(g->taps, 0, SPATIAL);
    for (int64_t o = 0; o < outs; o++)
        for (int64_t t = 0; t < taps; t++) {
            int64_t i = place_of(g, o, t);
            double *to = y + o * g->m, *from = x + i * g->c, *by = w + t * g->m * c;
            for (int64_t j = 0; i >= 0 && j < m; j++, by += c) {
                if (kind == OG_CUDA_CONV)
                    for (int64_t k = 0; k < c; k++)
                        to[j] += from[k] * by[k];
                else if (kind == OG_CUDA_CONV_GRAD_DATA)
                    for (int64_t k = 0; k < c; k++)
                        from[k] += to[j] * by[k];
                else
                    for (int64_t k = 0; k < c; k++)
                        by[k] += to[j] * from[k];
            }
        }
}

static float *run_convolution(const machine *v, const og_cuda_operation *o)
{
    const og_cuda_fusion *f = v->fusion;
    int xi = o->kind == OG_CUDA_CONV_GRAD_DATA ? o->out[0] : o->in[0],
        wi = o->kind == OG_CUDA_CONV_GRAD_WEIGHTS ? o->out[0] : o->in[1],
        yi = o->kind == OG_CUDA_CONV             ? o->out[0]
             : o->kind == OG_CUDA_CONV_GRAD_DATA ? o->in[0]
                                                 : o->in[1];
    geometry g = geometry_of(o, &f->tensors[xi], &f->tensors[wi], &f->tensors[yi]);
    int64_t ins = og__product(g.in, 0, SPATIAL), outs = og__product(g.out, 0, SPATIAL),
            taps = og__product(g.taps, 0, SPATIAL), c = g.c / g.group, m = g.m / g.group;
    int64_t total = count(&f->tensors[o->out[0]]);
    float *zeros = calloc((size_t)total, sizeof *zeros);
    bool tf32 = f->arithmetic == OG_CUDA_TF32;
    const float *xs = v->values[xi] ? v->values[xi] : zeros,
                *ws = v->values[wi] ? v->values[wi] : zeros,
                *ys = v->values[yi] ? v->values[yi] : zeros;
    double *x = zeros ? transposed(xs, g.n, g.c, ins, false, tf32) : NULL,
           *w = zeros ? transposed(ws, g.m, c, taps, true, tf32) : NULL,
           *y = zeros ? transposed(ys, g.n, g.m, outs, false, tf32) : NULL;
    bool ok = x && w && y;
    for (int64_t n = 0; ok && n < g.n; n++)
        for (int64_t group = 0; group < g.group; group++)
            convolve(o->kind, &g, x + n * ins * g.c + group * c, w + group * m * c,
                     y + n * outs * g.m + group * m);
    /* and back */
    for (int64_t e = 0; ok && e < total; e++) {
        if (o->kind == OG_CUDA_CONV_GRAD_WEIGHTS)
            zeros[e] = (float)w[e % taps * g.m * c + e / taps];
        else {
            int64_t places = o->kind == OG_CUDA_CONV ? outs : ins,
                    channels = o->kind == OG_CUDA_CONV ? g.m : g.c;
            int64_t place = e % places, channel = e / places % channels,
                    image = e / places / channels;
            zeros[e] =
                (float)(o->kind == OG_CUDA_CONV ? y
                                                : x)[(image * places + place) * channels + channel];
        }
    }
    free(x);
    free(w);
    free(y);
    if (!ok) {
        free(zeros);
        return NULL;
    }
    return zeros;
}

/* Element e of the first axes of dims `of`, as one of t's first axes, whose axes of 1 repeat. */
static int64_t element_of(tensor t, tensor of, int axes, int64_t e)
{
    int64_t at = 0, step = 1;
    for (int a = axes - 1; a >= 0; a--) {
        at += (t->dims[a] == 1 ? 0 : e % of->dims[a]) * step;
        step *= t->dims[a];
        e /= of->dims[a];
    }
    return at;
}

/* ---- products of the last two axes */

static float *run_product(const machine *v, const og_cuda_operation *o)
{
    const og_cuda_fusion *f = v->fusion;
    tensor ta = &f->tensors[o->in[0]], tb = &f->tensors[o->in[1]], tc = &f->tensors[o->out[0]];
    int r = tc->rank;
    int64_t m = tc->dims[r - 2], n = tc->dims[r - 1], k = ta->dims[r - 1],
            batches = og__product(tc->dims, 0, r - 2);
    float *c = malloc((size_t)count(tc) * sizeof *c);
    double *row = malloc((size_t)n * sizeof *row);
    bool tf32 = f->arithmetic == OG_CUDA_TF32;
    for (int64_t s = 0; c && row && s < batches; s++) {
        const float *a = v->values[o->in[0]] + element_of(ta, tc, r - 2, s) * m * k,
                    *b = v->values[o->in[1]] + element_of(tb, tc, r - 2, s) * k * n;
        for (int64_t i = 0; i < m; i++) {
            memset(row, 0, (size_t)n * sizeof *row);
            for (int64_t l = 0; l < k; l++) {
                double x = tf32 ? sim_tf32(a[i * k + l]) : a[i * k + l];
                for (int64_t j = 0; j < n; j++)
                    row[j] += x * (tf32 ? sim_tf32(b[l * n + j]) : b[l * n + j]);
            }
            for (int64_t j = 0; j < n; j++)
                c[(s * m + i) * n + j] = (float)row[j];
        }
    }
    free(row);
    return c;
}

/* ---- the rest */

static float pointwise(og_cuda_mode mode, float x, float b, float t)
{
    switch (mode) {
    case OG_CUDA_ADD:
        return x + b;
    case OG_CUDA_SUB:
        return x - b;
    case OG_CUDA_MUL:
        return x * b;
    case OG_CUDA_DIV:
        return x / b;
    case OG_CUDA_MAX:
        return x > b ? x : b;
    case OG_CUDA_EXP:
        return expf(x);
    case OG_CUDA_LOG:
        return logf(x);
    case OG_CUDA_RELU_FORWARD:
        return x > 0 ? x : 0;
    case OG_CUDA_GREATER_EQUAL:
        return x >= b;
    case OG_CUDA_SELECT:
        return t != 0 ? x : b;
    default:
        return x;
    }
}

static float *run_pointwise(const machine *v, const og_cuda_operation *o)
{
    tensor y = &v->fusion->tensors[o->out[0]];
    int64_t n = count(y), after = og__product(y->dims, o->axis + 1, y->rank);
    float *values = malloc((size_t)n * sizeof *values);
    for (int64_t e = 0; values && e < n; e++) {
        float in[3] = {0};
        for (int i = 0; i < 3; i++)
            if (o->in[i])
                in[i] =
                    v->values[o->in[i]][element_of(&v->fusion->tensors[o->in[i]], y, y->rank, e)];
        values[e] = o->mode == OG_CUDA_INDEX ? (float)(e / after % y->dims[o->axis])
                                             : pointwise(o->mode, in[0], in[1], in[2]);
    }
    return values;
}

static float *run_reduction(const machine *v, const og_cuda_operation *o)
{
    tensor x = &v->fusion->tensors[o->in[0]], y = &v->fusion->tensors[o->out[0]];
    int64_t n = count(x), kept = count(y);
    bool most = o->mode == OG_CUDA_MAXIMUM;
    double *sums = calloc((size_t)kept, sizeof *sums);
    float *values = malloc((size_t)kept * sizeof *values);
    for (int64_t e = 0; sums && e < kept; e++)
        sums[e] = most ? -INFINITY : 0;
    for (int64_t e = 0; sums && e < n; e++) {
        double *sum = &sums[element_of(y, x, x->rank, e)], value = v->values[o->in[0]][e];
        *sum = most ? fmax(*sum, value) : *sum + value;
    }
    for (int64_t e = 0; sums && values && e < kept; e++)
        values[e] = (float)sums[e];
    free(sums);
    return values;
}

static float *run_reshape(const machine *v, const og_cuda_operation *o)
{
    tensor x = &v->fusion->tensors[o->in[0]], y = &v->fusion->tensors[o->out[0]];
    int64_t n = count(x), span = 1;
    for (int a = 0; a < x->rank; a++)
        span += (x->dims[a] - 1) * x->strides[a] + (y->dims[a] - 1) * y->strides[a];
    float *memory = calloc((size_t)span, sizeof *memory),
          *values = malloc((size_t)n * sizeof *values);
    for (int64_t e = 0; memory && e < n; e++)
        memory[offset_of(x, e)] = v->values[o->in[0]][e];
    for (int64_t e = 0; memory && values && e < n; e++)
        values[e] = memory[offset_of(y, e)];
    free(memory);
    return values;
}

/* Training over all axes but 1 (driver.h). results: y, mean, rstd. */
static void run_norm(const machine *v, const og_cuda_operation *o, float **results)
{
    tensor t = &v->fusion->tensors[o->in[0]];
    const float *x = v->values[o->in[0]], *scale = v->values[o->in[1]], *bias = v->values[o->in[2]];
    int64_t c = t->dims[1], places = og__product(t->dims, 2, t->rank), n = t->dims[0] * places;
    for (int64_t k = 0; k < c; k++) {
        double mean = 0, var = 0;
        for (int64_t e = 0; e < n; e++)
            mean += x[(e / places * c + k) * places + e % places];
        mean /= (double)n;
        for (int64_t e = 0; e < n; e++) {
            double d = x[(e / places * c + k) * places + e % places] - mean;
            var += d * d;
        }
        double rstd = 1 / sqrt(var / (double)n + v->values[o->in[3]][0]);
        results[1][k] = (float)mean;
        results[2][k] = (float)rstd;
        for (int64_t e = 0; e < n; e++) {
            int64_t at = (e / places * c + k) * places + e % places;
            results[0][at] = (float)((x[at] - mean) * rstd * scale[k] + bias[k]);
        }
    }
}

/* results: dx, dscale, dbias; x̂ = (x - mean) rstd, dx = scale rstd (dy - (dbias + x̂ dscale) / n) */
static void run_norm_grad(const machine *v, const og_cuda_operation *o, float **results)
{
    tensor t = &v->fusion->tensors[o->in[0]];
    const float *dy = v->values[o->in[0]], *x = v->values[o->in[1]], *scale = v->values[o->in[2]],
                *mean = v->values[o->in[3]], *rstd = v->values[o->in[4]];
    int64_t c = t->dims[1], places = og__product(t->dims, 2, t->rank), n = t->dims[0] * places;
    for (int64_t k = 0; k < c; k++) {
        double dscale = 0, dbias = 0;
        for (int64_t e = 0; e < n; e++) {
            int64_t at = (e / places * c + k) * places + e % places;
            dbias += dy[at];
            dscale += (double)dy[at] * (x[at] - mean[k]) * rstd[k];
        }
        for (int64_t e = 0; e < n; e++) {
            int64_t at = (e / places * c + k) * places + e % places;
            double centred = (double)(x[at] - mean[k]) * rstd[k];
            results[0][at] =
                (float)(scale[k] * rstd[k] * (dy[at] - (dbias + centred * dscale) / (double)n));
        }
        results[1][k] = (float)dscale;
        results[2][k] = (float)dbias;
    }
}

/* ---- pooling */

static geometry pool_geometry(const og_cuda_operation *o, tensor x, tensor y)
{
    og_cuda_tensor window = *x;
    memcpy(window.dims + 2, o->window, sizeof o->window);
    geometry g = geometry_of(o, x, &window, y);
    for (int a = 0; a < SPATIAL; a++)
        g.dilations[a] = 1;
    return g;
}

static bool more(float a, float b)
{
    return a > b || (isnan(a) && !isnan(b));
}

/* What a window's sum is divided by, at output o. */
static double divisor(const og_cuda_operation *operation, const geometry *g, int64_t o)
{
    int64_t taps = og__product(g->taps, 0, SPATIAL), inside = 0;
    for (int64_t t = 0; t < taps; t++)
        inside += place_of(g, o, t) >= 0;
    return (double)(operation->mode == OG_CUDA_AVERAGE ? inside : taps);
}

/* results: y [n, c, out …], places (NULL: none) */
static void run_pool(const machine *v, const og_cuda_operation *o, float **results)
{
    geometry g = pool_geometry(o, &v->fusion->tensors[o->in[0]], &v->fusion->tensors[o->out[0]]);
    int64_t ins = og__product(g.in, 0, SPATIAL), outs = og__product(g.out, 0, SPATIAL),
            taps = og__product(g.taps, 0, SPATIAL);
    for (int64_t e = 0; e < g.n * g.c * outs; e++) {
        const float *x = v->values[o->in[0]] + e / outs * ins;
        int64_t best = -1;
        float most = -INFINITY;
        double sum = 0;
        for (int64_t t = 0; t < taps; t++) {
            int64_t at = place_of(&g, e % outs, t);
            if (at < 0)
                continue;
            sum += x[at];
            if (best < 0 || more(x[at], most)) {
                best = t;
                most = x[at];
            }
        }
        results[0][e] = o->mode == OG_CUDA_MAXIMUM ? most : (float)(sum / divisor(o, &g, e % outs));
        if (results[1])
            results[1][e] = (float)best;
    }
}

/* results: dx [n, c, in …], zeros before */
static void run_pool_grad(const machine *v, const og_cuda_operation *o, float **results)
{
    geometry g = pool_geometry(o, &v->fusion->tensors[o->out[0]], &v->fusion->tensors[o->in[0]]);
    int64_t ins = og__product(g.in, 0, SPATIAL), outs = og__product(g.out, 0, SPATIAL),
            taps = og__product(g.taps, 0, SPATIAL);
    for (int64_t e = 0; e < g.n * g.c * outs; e++) {
        float *dx = results[0] + e / outs * ins, dy = v->values[o->in[0]][e];
        bool most = o->mode == OG_CUDA_MAXIMUM;
        double count = divisor(o, &g, e % outs);
        for (int64_t t = 0; t < taps; t++) {
            int64_t at = place_of(&g, e % outs, t);
            if (at >= 0 && (!most || (float)t == v->values[o->in[1]][e]))
                dx[at] += most ? dy : (float)(dy / count);
        }
    }
}

static bool run_operation(const machine *v, const og_cuda_operation *o, float **results)
{
    switch (o->kind) {
    case OG_CUDA_CONV:
    case OG_CUDA_CONV_GRAD_DATA:
    case OG_CUDA_CONV_GRAD_WEIGHTS:
        results[0] = run_convolution(v, o);
        break;
    case OG_CUDA_MATMUL:
        results[0] = run_product(v, o);
        break;
    case OG_CUDA_POINTWISE:
        results[0] = run_pointwise(v, o);
        break;
    case OG_CUDA_REDUCTION:
        results[0] = run_reduction(v, o);
        break;
    case OG_CUDA_RESHAPE:
        results[0] = run_reshape(v, o);
        break;
    default:
        for (int i = 0; i < OG_CUDA_OPERANDS && o->out[i]; i++) {
            results[i] = calloc((size_t)count(&v->fusion->tensors[o->out[i]]), sizeof(float));
            if (!results[i])
                return false;
        }
        (o->kind == OG_CUDA_NORM        ? run_norm
         : o->kind == OG_CUDA_NORM_GRAD ? run_norm_grad
         : o->kind == OG_CUDA_POOL      ? run_pool
                                        : run_pool_grad)(v, o, results);
        break;
    }
    return results[0] != NULL;
}

/* Results become values, and memory. */
static void keep(machine *v, const og_cuda_operation *o, float **results, const sim_bindings *b)
{
    for (int i = 0; i < OG_CUDA_OPERANDS; i++) {
        tensor t = &v->fusion->tensors[o->out[i]];
        if (!results[i])
            continue;
        for (int64_t e = 0, n = count(t); e < n; e++) {
            if (t->blocked) /* is added to */
                results[i][e] += ((const float *)b->memory[o->out[i]])[offset_of(t, e)];
            results[i][e] = rounded(t->dtype, results[i][e]);
            if (t->place == OG_CUDA_MEMORY)
                og__store_double(b->memory[o->out[i]], t->dtype, offset_of(t, e), results[i][e]);
        }
        v->values[o->out[i]] = results[i];
    }
}

bool sim_fusion_run(const og_cuda_fused *plan, const sim_bindings *b)
{
    machine v = {.fusion = &plan->fusion};
    const og_cuda_fusion *f = &plan->fusion;
    bool ok = true;
    if (plan->workspace)
        sim_poison(b->workspace, plan->workspace);
    for (int k = 0; ok && k < f->n_operations; k++) {
        const og_cuda_operation *o = &f->operations[k];
        float *results[OG_CUDA_OPERANDS] = {NULL};
        for (int i = 0; i < OG_CUDA_OPERANDS; i++)
            if (o->in[i] && !v.values[o->in[i]]) {
                v.values[o->in[i]] = load(&f->tensors[o->in[i]], b->memory[o->in[i]]);
                ok = ok && v.values[o->in[i]];
            }
        ok = ok && run_operation(&v, o, results);
        keep(&v, o, results, b);
    }
    for (int i = 0; i < OG_CUDA_TENSORS; i++)
        free(v.values[i]);
    return ok;
}
