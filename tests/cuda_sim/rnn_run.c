/* The steps of recurrences in plain loops, values as floats, rounded to the element type where
 * memory holds them. The reserve knows what it is of: of one plan, of one x, y and weights, and for
 * one way back. */
#include <math.h>
#include <stdlib.h>

#include "kernels/cpu/internal.h"
#include "kernels/cuda/cache.h"
#include "tests/cuda_sim/internal.h"

enum { MOST_GATES = 4, CELL = 4 };
#define UNSPENT 0x7265736572766564u

typedef const og_cuda_recurrence *recurrence;

/* A run, and what it holds of the step that it is at, one sequence after the other. */
typedef struct machine {
    const og_cuda_walk *plan;
    recurrence r;
    const og_cuda_recurrence_operands *o;
    int gates, kept;
    sim_reserve_head *head;
    float *saved;                  /* [T, B, H, kept], in the reserve */
    float *x, *dx;                 /* [I] */
    float *h, *c, *next, *dh, *dc; /* [H]; h: before the step; next: after it, or dh before it */
    double *sums;                  /* the weights' gradients: of each matrix, then of its bias */
} machine;

/* ---- arithmetic */

static float rounded(recurrence r, double v)
{
    uint16_t bits;
    if (r->dtype == OG_FLOAT)
        return (float)v;
    og__store_double(&bits, r->dtype, 0, v);
    return (float)og__load_double(&bits, r->dtype, 0);
}

/* As an operand of a product. */
static double operand(recurrence r, double v)
{
    return r->arithmetic == OG_CUDA_TF32 ? sim_tf32(v) : v;
}

/* Element i; 0 of NULL. */
static float at(recurrence r, const void *from, int64_t i)
{
    return from ? (float)og__load_double(from, r->dtype, i) : 0;
}

static void put(recurrence r, void *to, int64_t i, double v)
{
    if (to)
        og__store_double(to, r->dtype, i, v);
}

static float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

static int64_t columns(const machine *m, int k)
{
    return k < m->gates ? m->r->I : m->r->H;
}

/* Row j of matrix k times `vector`, and its bias. */
static float row_times(const machine *m, int k, int64_t j, const float *vector)
{
    const char *base = m->o->weights;
    const og_cuda_recurrence_sizes *s = &m->plan->sizes;
    double sum = 0;
    int64_t n = columns(m, k);
    for (int64_t i = 0; i < n; i++)
        sum += operand(m->r, vector[i]) * operand(m->r, at(m->r, base + s->matrix[k], j * n + i));
    return (float)(sum + (m->r->bias ? at(m->r, base + s->bias[k], j) : 0));
}

/* to += v times row j of matrix k; and the gradient of the row and its bias, where what the row was
 * multiplied with is `vector`. */
static void row_back(const machine *m, int k, int64_t j, float v, const float *vector, float *to)
{
    recurrence r = m->r;
    const char *matrix = (const char *)m->o->weights + m->plan->sizes.matrix[k];
    int64_t n = columns(m, k);
    double *sums = m->sums;
    for (int before = 0; before < k; before++)
        sums += r->H * (columns(m, before) + 1);
    for (int64_t i = 0; i < n; i++) {
        to[i] += (float)(operand(r, v) * operand(r, at(r, matrix, j * n + i)));
        sums[j * n + i] += operand(r, v) * operand(r, vector[i]);
    }
    sums[r->H * n + j] += v;
}

/* ---- one unit */

/* From its sums beside W and beside R, by gate: the new h, and c; kept: what goes to the reserve:
 * LSTM i f c o and the cell, GRU r z n and h Rᵀ + b of n, RNN y. */
static float step(recurrence r, const float *w, const float *u, float h, float *c, float *kept)
{
    switch (r->cell) {
    case OG_CUDA_LSTM:
        for (int k = 0; k < 4; k++)
            kept[k] = k == 2 ? tanhf(w[k] + u[k]) : sigmoid(w[k] + u[k]);
        kept[CELL] = *c = rounded(r, kept[1] * *c + kept[0] * kept[2]);
        return kept[3] * tanhf(*c);
    case OG_CUDA_GRU:
        kept[0] = sigmoid(w[0] + u[0]);
        kept[1] = sigmoid(w[1] + u[1]);
        kept[3] = u[2];
        kept[2] = tanhf(w[2] + kept[0] * u[2]);
        return (1 - kept[1]) * kept[2] + kept[1] * h;
    case OG_CUDA_RNN_TANH:
        return kept[0] = tanhf(w[0] + u[0]);
    default:
        return kept[0] = fmaxf(0, w[0] + u[0]);
    }
}

/* The same back: from d, that of h, and *dc of LSTM to the gradients of the sums; what flows past R
 * is returned. h, c: before the step. */
static float step_back(recurrence r, const float *kept, float h, float c, float d, float *dc,
                       float *dw, float *du)
{
    float past = 0;
    if (r->cell == OG_CUDA_LSTM) {
        const float i = kept[0], f = kept[1], g = kept[2], o = kept[3], t = tanhf(kept[CELL]);
        float cell = *dc + d * o * (1 - t * t);
        dw[0] = cell * g * i * (1 - i);
        dw[1] = cell * c * f * (1 - f);
        dw[2] = cell * i * (1 - g * g);
        dw[3] = d * t * o * (1 - o);
        *dc = cell * f;
    } else if (r->cell == OG_CUDA_GRU) {
        const float reset = kept[0], z = kept[1], n = kept[2], q = kept[3];
        dw[2] = d * (1 - z) * (1 - n * n);
        dw[1] = d * (h - n) * z * (1 - z);
        dw[0] = dw[2] * q * reset * (1 - reset);
        past = d * z;
    } else {
        dw[0] = r->cell == OG_CUDA_RNN_TANH ? d * (1 - kept[0] * kept[0]) : kept[0] > 0 ? d : 0;
    }
    for (int k = 0; k < sim_recurrence_gates(r); k++)
        du[k] = r->cell == OG_CUDA_GRU && k == 2 ? dw[2] * kept[0] : dw[k];
    return past;
}

/* ---- one step of sequence b; row: t B + b */

static void walk_step(machine *m, int64_t row)
{
    recurrence r = m->r;
    for (int64_t i = 0; i < r->I; i++)
        m->x[i] = at(r, m->o->x, row * r->I + i);
    for (int64_t j = 0; j < r->H; j++) {
        float w[MOST_GATES] = {0}, u[MOST_GATES] = {0}, kept[MOST_GATES + 1];
        for (int k = 0; k < m->gates; k++) {
            w[k] = row_times(m, k, j, m->x);
            u[k] = row_times(m, m->gates + k, j, m->h);
        }
        m->next[j] = rounded(r, step(r, w, u, m->h[j], &m->c[j], kept));
        put(r, m->o->y, row * r->H + j, m->next[j]);
        if (r->training)
            memcpy(m->saved + (row * r->H + j) * m->kept, kept, (size_t)m->kept * sizeof *kept);
    }
    memcpy(m->h, m->next, (size_t)r->H * sizeof *m->h);
}

static void walk_step_back(machine *m, int64_t t, int64_t b)
{
    recurrence r = m->r;
    const og_cuda_recurrence_operands *o = m->o;
    int64_t H = r->H, row = t * r->B + b, last = row - r->B;
    for (int64_t i = 0; i < r->I; i++) {
        m->x[i] = at(r, o->x, row * r->I + i);
        m->dx[i] = 0;
    }
    for (int64_t j = 0; j < H; j++) {
        m->h[j] = t ? at(r, o->y, last * H + j) : at(r, o->h0, b * H + j);
        m->c[j] = r->cell != OG_CUDA_LSTM ? 0
                  : t                     ? m->saved[(last * H + j) * m->kept + CELL]
                                          : at(r, o->c0, b * H + j);
        m->next[j] = 0;
    }
    for (int64_t j = 0; j < H; j++) {
        float d[2 * MOST_GATES];
        m->next[j] += step_back(r, m->saved + (row * H + j) * m->kept, m->h[j], m->c[j],
                                m->dh[j] + at(r, o->dy, row * H + j), &m->dc[j], d, d + m->gates);
        for (int k = 0; k < 2 * m->gates; k++)
            row_back(m, k, j, rounded(r, d[k]), k < m->gates ? m->x : m->h,
                     k < m->gates ? m->dx : m->next);
    }
    for (int64_t i = 0; i < r->I; i++)
        put(r, o->dx, row * r->I + i, m->dx[i]);
    memcpy(m->dh, m->next, (size_t)H * sizeof *m->dh);
}

/* ---- all of them */

/* Of what the way back must find as the walk left it. */
static uint64_t sum_of(const machine *m)
{
    recurrence r = m->r;
    size_t size = og__size(r->dtype);
    uint64_t sum = og__cache_hash(OG__CACHE_HASH, m->o->x, (size_t)(r->T * r->B * r->I) * size);
    sum = og__cache_hash(sum, m->o->y, (size_t)(r->T * r->B * r->H) * size);
    for (int k = 0; k < 2 * m->gates; k++)
        sum = og__cache_hash(sum, (const char *)m->o->weights + m->plan->sizes.matrix[k],
                             (size_t)(r->H * columns(m, k)) * size);
    return sum;
}

static const char *walk(machine *m)
{
    recurrence r = m->r;
    for (int64_t b = 0; b < r->B; b++) {
        for (int64_t j = 0; j < r->H; j++) {
            m->h[j] = at(r, m->o->h0, b * r->H + j);
            m->c[j] = at(r, m->o->c0, b * r->H + j);
        }
        for (int64_t t = 0; t < r->T; t++)
            walk_step(m, t * r->B + b);
        for (int64_t j = 0; j < r->H; j++) {
            put(r, m->o->h, b * r->H + j, m->h[j]);
            put(r, m->o->c, b * r->H + j, m->c[j]);
        }
    }
    if (r->training)
        *m->head = (sim_reserve_head){m->plan->id, sum_of(m), UNSPENT};
    return NULL;
}

/* What weights' gradients have grown by goes to where they lie. */
static void add_weights(const machine *m)
{
    recurrence r = m->r;
    const double *sums = m->sums;
    for (int k = 0; k < 2 * m->gates; k++) {
        char *matrix = (char *)m->o->dweights + m->plan->sizes.matrix[k],
             *bias = (char *)m->o->dweights + m->plan->sizes.bias[k];
        for (int64_t i = 0; i < r->H * columns(m, k); i++)
            put(r, matrix, i, at(r, matrix, i) + *sums++);
        for (int64_t j = 0; j < r->H; j++, sums++)
            if (r->bias)
                put(r, bias, j, at(r, bias, j) + *sums);
    }
}

static const char *walk_back(machine *m)
{
    recurrence r = m->r;
    if (m->head->plan != m->plan->id)
        return "the reserve is not what a run of this plan has left";
    if (m->head->unspent != UNSPENT)
        return "the reserve has served another way back";
    if (m->head->inputs != sum_of(m))
        return "the reserve is of another run: x, y or the weights are not those that it had";
    for (int64_t b = 0; b < r->B; b++) {
        for (int64_t j = 0; j < r->H; j++) {
            m->dh[j] = at(r, m->o->dh, b * r->H + j);
            m->dc[j] = at(r, m->o->dc, b * r->H + j);
        }
        for (int64_t t = r->T - 1; t >= 0; t--)
            walk_step_back(m, t, b);
        for (int64_t j = 0; j < r->H; j++) {
            put(r, m->o->dh0, b * r->H + j, m->dh[j]);
            put(r, m->o->dc0, b * r->H + j, m->dc[j]);
        }
    }
    add_weights(m);
    sim_poison(m->o->reserve, m->plan->sizes.reserve);
    *m->head = (sim_reserve_head){.plan = m->plan->id};
    return NULL;
}

const char *sim_recurrence_run(const og_cuda_walk *plan, const og_cuda_recurrence_operands *o,
                               bool back)
{
    recurrence r = &plan->recurrence;
    int gates = sim_recurrence_gates(r);
    int64_t H = r->H, I = r->I;
    float *scratch = malloc((size_t)(5 * H + 2 * I) * sizeof *scratch);
    double *sums = calloc((size_t)(gates * H * (I + H + 2)), sizeof *sums);
    const char *wrong = "out of memory";
    sim_poison(o->workspace, plan->sizes.workspace);
    if (scratch && sums) {
        sim_reserve_head *head = o->reserve;
        machine m = {.plan = plan,
                     .r = r,
                     .o = o,
                     .gates = gates,
                     .kept = sim_recurrence_kept(r),
                     .head = head,
                     .saved = head ? (float *)(head + 1) : NULL,
                     .x = scratch,
                     .dx = scratch + I,
                     .h = scratch + 2 * I,
                     .c = scratch + 2 * I + H,
                     .next = scratch + 2 * I + 2 * H,
                     .dh = scratch + 2 * I + 3 * H,
                     .dc = scratch + 2 * I + 4 * H,
                     .sums = sums};
        wrong = back ? walk_back(&m) : walk(&m);
    }
    free(scratch);
    free(sums);
    return wrong;
}
