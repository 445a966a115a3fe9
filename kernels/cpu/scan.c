/* ArgMax, ArgMin and CumSum: ops that walk one axis of x: [outer, n, inner], keeping the order of
 * elements. Walked for a block of inner positions at a time, so that memory is read as it lies. Any
 * real or integer type of at least a byte; real types are compared and summed in double, integers
 * in int64_t. */
#include "kernels/cpu/iterate.h"

enum { BLOCK = 64 };

typedef struct shape {
    int64_t outer, n, inner;
} shape;

static shape shape_around(const og_type *t, int axis)
{
    return (shape){og__product(t->dims, 0, axis), t->rank ? t->dims[axis] : 1,
                   og__product(t->dims, og__min(axis + 1, t->rank), t->rank)};
}

static bool supports_scan(const og_call *call)
{
    og_dtype dtype = call->x[0].type.dtype;
    return og__is_real(dtype) || (og_dtype_is_int(dtype) && og__size(dtype));
}

/* `count` consecutive elements as A. */
#define LOAD_BLOCK(A, NAME, LOAD)                                                               \
    static void load_##NAME(A *to, const void *data, og_dtype dtype, int64_t at, int64_t count) \
    {                                                                                           \
        for (int64_t i = 0; i < count; i++)                                                     \
            to[i] = LOAD(data, dtype, at + i);                                                  \
    }
LOAD_BLOCK(double, real, og__load_double)
LOAD_BLOCK(int64_t, int, og__load_int)

static void load_real_fast(double *to, const void *data, og_dtype dtype, int64_t at, int64_t count)
{
    if (dtype == OG_FLOAT) {
        const float *x = (const float *)data + at;
        for (int64_t i = 0; i < count; i++)
            to[i] = x[i];
    } else if (dtype == OG_DOUBLE) {
        memcpy(to, (const double *)data + at, (size_t)count * sizeof *to);
    } else {
        load_real(to, data, dtype, at, count);
    }
}

/* ---- ArgMax, ArgMin */

/* Is v better than best? A NaN is better than any number. Ties: the first, or with `last` the last.
 */
#define BETTER_MAX(v, best, last) \
    ((v) > (best) || ((last) && (v) == (best)) || ((v) != (v) && ((last) || (best) == (best))))
#define BETTER_MIN(v, best, last) \
    ((v) < (best) || ((last) && (v) == (best)) || ((v) != (v) && ((last) || (best) == (best))))

/* y[c] = the index k that is best among x[k][c], c < count. */
#define ARG(NAME, A, LOAD, BETTER)                                                            \
    static void NAME(const og_tensor *x, int64_t at, int64_t n, int64_t inner, int64_t count, \
                     bool last, int64_t *y)                                                   \
    {                                                                                         \
        A best[BLOCK], v[BLOCK];                                                              \
        if (inner == 1) { /* a line: several k at a time */                                   \
            A top = 0;                                                                        \
            int64_t index = 0;                                                                \
            for (int64_t k0 = 0; k0 < n; k0 += BLOCK) {                                       \
                int64_t m = og__min(BLOCK, n - k0);                                           \
                LOAD(v, x->data, x->type.dtype, at + k0, m);                                  \
                for (int64_t k = 0; k < m; k++)                                               \
                    if (k0 + k == 0 || BETTER(v[k], top, last)) {                             \
                        top = v[k];                                                           \
                        index = k0 + k;                                                       \
                    }                                                                         \
            }                                                                                 \
            *y = index;                                                                       \
            return;                                                                           \
        }                                                                                     \
        LOAD(best, x->data, x->type.dtype, at, count);                                        \
        for (int64_t c = 0; c < count; c++)                                                   \
            y[c] = 0;                                                                         \
        for (int64_t k = 1; k < n; k++) {                                                     \
            LOAD(v, x->data, x->type.dtype, at + k * inner, count);                           \
            for (int64_t c = 0; c < count; c++)                                               \
                if (BETTER(v[c], best[c], last)) {                                            \
                    best[c] = v[c];                                                           \
                    y[c] = k;                                                                 \
                }                                                                             \
        }                                                                                     \
    }
ARG(max_real, double, load_real_fast, BETTER_MAX)
ARG(min_real, double, load_real_fast, BETTER_MIN)
ARG(max_int, int64_t, load_int, BETTER_MAX)
ARG(min_int, int64_t, load_int, BETTER_MIN)

/* ArgMax, ArgMin: x → y int64; attributes axis, keepdims (only y's shape), select_last_index */
static og_status run_arg(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0];
    shape s = shape_around(&x->type, og__axis(og_attr_int(call->node, "axis", 0), x->type.rank));
    bool max = strcmp(call->node->op->name, "ArgMax") == 0, real = og__is_real(x->type.dtype);
    bool last = og_attr_int(call->node, "select_last_index", 0) != 0;
    int64_t blocks = (s.inner + BLOCK - 1) / BLOCK;
    int64_t *y = call->y[0].data;
    if (s.n == 0 && s.outer * s.inner > 0)
        return og__call_fail(call, error, OG_INVALID_DATA, "no elements along the axis");
#pragma omp parallel for num_threads(og__threads(call, s.outer *s.n *s.inner)) schedule(static)
    for (int64_t i = 0; i < s.outer * blocks; i++) {
        int64_t o = i / blocks, c = i % blocks * BLOCK, count = og__min(BLOCK, s.inner - c);
        int64_t at = o * s.n * s.inner + c, *to = y + o * s.inner + c;
        (real  ? max ? max_real : min_real
         : max ? max_int
               : min_int)(x, at, s.n, s.inner, count, last, to);
    }
    return OG_OK;
}

/* ---- CumSum */

#define CUMSUM(NAME, A, LOAD, ADD, STORE)                                                   \
    static void NAME(const og_call *call, shape s, bool exclusive, bool reverse, int64_t o, \
                     int64_t c0, int64_t count)                                             \
    {                                                                                       \
        og_dtype dtype = call->x[0].type.dtype;                                             \
        A sum[BLOCK] = {0}, v[BLOCK];                                                       \
        for (int64_t step = 0; step < s.n; step++) {                                        \
            int64_t k = reverse ? s.n - 1 - step : step, at = (o * s.n + k) * s.inner + c0; \
            LOAD(v, call->x[0].data, dtype, at, count);                                     \
            for (int64_t c = 0; c < count; c++) {                                           \
                A before = sum[c];                                                          \
                sum[c] = ADD(before, v[c]);                                                 \
                STORE(call->y[0].data, dtype, at + c, exclusive ? before : sum[c]);         \
            }                                                                               \
        }                                                                                   \
    }
#define ADD_REAL(a, b) ((a) + (b))
#define ADD_INT(a, b) (int64_t)((uint64_t)(a) + (uint64_t)(b))
CUMSUM(cumsum_real, double, load_real_fast, ADD_REAL, og__store_double)
CUMSUM(cumsum_int, int64_t, load_int, ADD_INT, og__store_int)

/* CumSum: x, axis → y; attributes exclusive, reverse */
static og_status run_cumsum(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0];
    int64_t axis = 0;
    if (og__ints(&call->x[1], 1, &axis) != 1 || axis < -x->type.rank || axis >= x->type.rank)
        return og__call_fail(call, error, OG_INVALID_DATA, "axis %lld of rank %d", (long long)axis,
                             x->type.rank);
    shape s = shape_around(&x->type, og__axis(axis, x->type.rank));
    bool exclusive = og_attr_int(call->node, "exclusive", 0) != 0;
    bool reverse = og_attr_int(call->node, "reverse", 0) != 0, real = og__is_real(x->type.dtype);
    int64_t blocks = (s.inner + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(og__threads(call, s.outer *s.n *s.inner)) schedule(static)
    for (int64_t i = 0; i < s.outer * blocks; i++) {
        int64_t c = i % blocks * BLOCK;
        (real ? cumsum_real : cumsum_int)(call, s, exclusive, reverse, i / blocks, c,
                                          og__min(BLOCK, s.inner - c));
    }
    return OG_OK;
}

const og_kernel og_kernels_cpu_scan[] = {
    {"ArgMax", "plain", OG_KERNEL_REFERENCE, supports_scan, NULL, run_arg, NULL},
    {"ArgMin", "plain", OG_KERNEL_REFERENCE, supports_scan, NULL, run_arg, NULL},
    {"CumSum", "plain", OG_KERNEL_REFERENCE, supports_scan, NULL, run_cumsum, NULL},
    {0},
};
