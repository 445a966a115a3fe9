/* The fastest way of each planned product of which it is not known: found by running the library's
 * ways on memory that is lent for that, with the product's own beta and epilogue, and kept on disk
 * (tuning.h), where plans made afterwards find it. */
#include <string.h>

#include "kernels/cuda/product_plan.h"
#include "kernels/cuda/tuning.h"
#include "runtime/base/checked.h"

enum { MOST_RUNS = 20, ALIGNMENT = 256, PATTERN = 0x3c /* of operands: a number in every type */ };
#define ENOUGH_MS 0.4F /* of runs in a row, to tell two ways apart */
#define MOST_MS 100.0F /* for one product; what is not timed by then is left out */

/* ---- operands in the lent memory */

typedef struct room {
    char *at;
    size_t left;
    bool enough;
} room;

static char *take(room *r, int64_t elements, int64_t bits)
{
    size_t bytes = og_align_up((size_t)(elements * bits + 7) / 8, ALIGNMENT);
    char *at = r->at;
    r->enough = r->enough && bytes <= r->left;
    if (!r->enough)
        return NULL;
    r->at += bytes;
    r->left -= bytes;
    return at;
}

static char *take_matrix(room *r, const og_cuda_product *p, bool transposed, int64_t rows,
                         int64_t columns, int64_t ld, int64_t stride, og_dtype dtype)
{
    int64_t last = transposed ? (rows - 1) * ld + columns : (columns - 1) * ld + rows;
    return take(r, (p->batch - 1) * stride + last, og_dtype_bits(dtype));
}

/* C is D where it may be: sums are usually continued in place. */
static void take_operands(room *r, const og_cuda_product *p, og_cuda_operands *o)
{
    bool in_place = p->c == p->d && p->ldc == p->ldd && p->stride_c == p->stride_d;
    o->a = take_matrix(r, p, p->transpose_a, p->m, p->k, p->lda, p->stride_a, p->a);
    o->b = take_matrix(r, p, p->transpose_b, p->k, p->n, p->ldb, p->stride_b, p->b);
    o->d = take_matrix(r, p, false, p->m, p->n, p->ldd, p->stride_d, p->d);
    o->c = p->reads_c && !in_place ? take_matrix(r, p, false, p->m, p->n, p->ldc, p->stride_c, p->c)
                                   : o->d;
    if (og_cuda_bias_use(p->epilogue))
        o->bias = take(r, p->m > p->n ? p->m : p->n, og_dtype_bits(p->bias));
    if (og_cuda_aux_use(p->epilogue))
        o->aux =
            take(r, p->ldaux * p->n, og_cuda_aux_is_bits(p->epilogue) ? 1 : og_dtype_bits(p->d));
}

/* alpha and beta: {1, 0 or 1}, as float and as double. */
typedef struct scalars {
    float narrow[2];
    double wide[2];
} scalars;

static og_status place_scalars(og__cuda *cuda, const og_cuda_product *p, room *r, const scalars *s,
                               og_cuda_operands *o, og_error *error)
{
    bool wide = p->arithmetic == OG_CUDA_DOUBLE;
    size_t size = wide ? sizeof(double) : sizeof(float);
    const char *at = wide ? (const char *)s->wide : (const char *)s->narrow;
    if (p->scalars_on_device) {
        char *to = take(r, 2, 8 * (int64_t)size);
        if (to)
            OG_TRY(cuda->device.remote->upload(&cuda->device, to, at, 2 * size, error));
        at = to;
    }
    if (at) {
        o->alpha = at;
        o->beta = at + size;
    }
    return OG_OK;
}

/* ---- timing */

/* Milliseconds of one run; negative: it does not run. */
static og_status time_way(const og__cuda *cuda, og_cuda_plan *plan, const og_cuda_operands *o,
                          float *spent, float *ms, og_error *error)
{
    float once = -1;
    for (int warm = 0; warm < 2; warm++) { /* the first time loads its code */
        OG_TRY(cuda->driver->product_time(cuda->card, plan, o, 1, &once, error));
        *ms = -1;
        if (once < 0)
            return OG_OK;
        *spent += once;
    }
    int runs = once <= ENOUGH_MS / MOST_RUNS ? MOST_RUNS : 1 + (int)(ENOUGH_MS / once);
    OG_TRY(cuda->driver->product_time(cuda->card, plan, o, runs, ms, error));
    *spent += *ms > 0 ? *ms : 0;
    *ms /= (float)runs;
    return OG_OK;
}

static og_status time_all(const og__cuda *cuda, const og_cuda_product *shape,
                          const og_cuda_way *ways, int n, const og_cuda_operands *o, float *ms,
                          og_error *error)
{
    float spent = 0;
    for (int i = 0; i < n; i++) {
        og_cuda_plan *plan = NULL;
        og_error refusal = {0};
        ms[i] = -1;
        if (spent <= MOST_MS && ways[i].workspace <= o->workspace_bytes &&
            cuda->driver->product_plan(cuda->card, shape, &ways[i], &plan, &refusal) == OG_OK) {
            og_status status = time_way(cuda, plan, o, &spent, &ms[i], error);
            cuda->driver->product_free(cuda->card, plan);
            OG_TRY(status);
        }
        og_error_clear(&refusal);
    }
    return OG_OK;
}

/* Leaves the fastest on disk, unless the memory is too little. */
static og_status find_fastest(og__cuda *cuda, const og_cuda_product *shape, room r, const char *key,
                              og_error *error)
{
    const scalars s = {{1, shape->reads_c}, {1, shape->reads_c}};
    og_cuda_way ways[OG__PRODUCT_WAYS];
    og_cuda_operands o = {0};
    float ms[OG__PRODUCT_WAYS];
    int n = 0;
    char *begin = r.at;
    take_operands(&r, shape, &o);
    if (!r.enough)
        return OG_OK;
    OG_TRY(cuda->driver->set(cuda->card, OG_CUDA_COMPUTE, begin, PATTERN, (size_t)(r.at - begin),
                             error));
    OG_TRY(place_scalars(cuda, shape, &r, &s, &o, error));
    if (!r.enough)
        return OG_OK;
    o.workspace = r.at;
    o.workspace_bytes = r.left;
    OG_TRY(cuda->driver->product_ways(cuda->card, shape, ways, OG__PRODUCT_WAYS, &n, error));
    OG_TRY(time_all(cuda, shape, ways, n, &o, ms, error));
    int fastest = og__tuning_fastest(ms, n);
    if (fastest >= 0)
        og__tuning_write(key, &ways[fastest]);
    return OG_OK;
}

static og_status tune_one(og__cuda *cuda, const og__planned *p, room r, bool *changes,
                          og_error *error)
{
    og_text key = {0};
    og__planned now = {.shape = p->shape};
    og_status status = og__cuda_product_key(cuda, &p->shape, &key, error);
    bool known = status == OG_OK && og__planned_as_known(cuda, &now, key.s); /* of an equal one */
    if (status == OG_OK && !known) {
        status = find_fastest(cuda, &p->shape, r, key.s, error);
        known = status == OG_OK && og__planned_as_known(cuda, &now, key.s);
    }
    if (known) {
        *changes |= memcmp(now.way.algorithm, p->way.algorithm, sizeof now.way.algorithm) != 0;
        cuda->driver->product_free(cuda->card, now.plan);
    }
    og_text_free(&key);
    return status;
}

bool og__cuda_untimed(const og_device *device)
{
    return og__cuda_of(device)->untimed != NULL;
}

og_status og__cuda_tune(og_device *device, void *memory, size_t bytes, bool *changes,
                        og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    *changes = false;
    while (cuda->untimed) {
        og__planned *p = cuda->untimed;
        og__planned_is_timed(p);
        OG_TRY(tune_one(cuda, p, (room){memory, bytes, true}, changes, error));
    }
    return OG_OK;
}
