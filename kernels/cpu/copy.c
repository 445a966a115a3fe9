/* Copies between strided layouts. A copy is brought to its simplest form first (axes of length 1
 * dropped, axes ordered as they lie in the destination, neighbours merged, a contiguous innermost
 * axis made part of the element) and then done in one of three ways: runs of bytes, lines of
 * elements, or blocked transposition where the two sides are contiguous along different axes. */
#include "kernels/cpu/iterate.h"

OG__BUILDS(void, og__transpose,
           (size_t size, const char *x, int64_t xs, char *y, int64_t ys, int64_t rows,
            int64_t columns));

typedef struct plan {
    int rank;
    int64_t size; /* bytes of an element, which may be a run of the caller's elements */
    og__copy_axis a[OG__COPY_RANK]; /* strides in bytes; slowest in the destination first */
} plan;

static int64_t magnitude(int64_t v)
{
    return v < 0 ? -v : v;
}

/* false: nothing to copy. */
static bool simplify(plan *p, int rank, const og__copy_axis *axes, size_t size)
{
    int n = 0;
    p->size = (int64_t)size;
    for (int i = 0; i < rank; i++) {
        if (axes[i].n <= 0)
            return false;
        if (axes[i].n == 1)
            continue;
        og__copy_axis a = {axes[i].n, axes[i].to * p->size, axes[i].from * p->size};
        int at = n++;
        for (; at > 0 && magnitude(p->a[at - 1].to) < magnitude(a.to); at--)
            p->a[at] = p->a[at - 1];
        p->a[at] = a;
    }
    int kept = 0;
    for (int i = 0; i < n; i++) {
        og__copy_axis *last = kept ? &p->a[kept - 1] : NULL, a = p->a[i];
        if (last && last->to == a.to * a.n && last->from == a.from * a.n)
            *last = (og__copy_axis){last->n * a.n, a.to, a.from};
        else
            p->a[kept++] = a;
    }
    if (kept && p->a[kept - 1].to == p->size && p->a[kept - 1].from == p->size)
        p->size *= p->a[--kept].n;
    p->rank = kept;
    return true;
}

/* ---- walking the outer axes */

typedef struct walk {
    int64_t index[OG__COPY_RANK];
    int64_t to, from; /* byte offsets */
} walk;

static walk walk_from(const plan *p, int axes, int64_t at)
{
    walk w;
    w.to = w.from = 0;
    for (int a = axes - 1; a >= 0; a--) {
        w.index[a] = at % p->a[a].n;
        at /= p->a[a].n;
        w.to += w.index[a] * p->a[a].to;
        w.from += w.index[a] * p->a[a].from;
    }
    return w;
}

static inline void walk_on(const plan *p, int axes, walk *w)
{
    for (int a = axes - 1; a >= 0; a--) {
        w->to += p->a[a].to;
        w->from += p->a[a].from;
        if (++w->index[a] < p->a[a].n)
            return;
        w->to -= p->a[a].to * p->a[a].n;
        w->from -= p->a[a].from * p->a[a].n;
        w->index[a] = 0;
    }
}

static int64_t axes_product(const plan *p, int axes)
{
    int64_t n = 1;
    for (int a = 0; a < axes; a++)
        n *= p->a[a].n;
    return n;
}

/* ---- lines */

typedef uint16_t e2 __attribute__((aligned(1), may_alias));
typedef uint32_t e4 __attribute__((aligned(1), may_alias));
typedef uint64_t e8 __attribute__((aligned(1), may_alias));
typedef uint64_t e16 __attribute__((vector_size(16), aligned(1), may_alias));

#define LINE(T)                                                            \
    do {                                                                   \
        if (a->from == 0 && a->to == sizeof(T)) {                          \
            const T value = *(const T *)from;                              \
            for (int64_t i = 0; i < n; i++)                                \
                ((T *)to)[i] = value;                                      \
        } else if (a->to == sizeof(T)) {                                   \
            for (int64_t i = 0; i < n; i++)                                \
                ((T *)to)[i] = *(const T *)(from + i * a->from);           \
        } else {                                                           \
            for (int64_t i = 0; i < n; i++)                                \
                *(T *)(to + i * a->to) = *(const T *)(from + i * a->from); \
        }                                                                  \
    } while (0)

static void copy_line(char *to, const char *from, const og__copy_axis *a, int64_t size)
{
    int64_t n = a->n;
    switch (size) {
    case 1:
        LINE(uint8_t);
        break;
    case 2:
        LINE(e2);
        break;
    case 4:
        LINE(e4);
        break;
    case 8:
        LINE(e8);
        break;
    case 16:
        LINE(e16);
        break;
    default:
        for (int64_t i = 0; i < n; i++)
            memcpy(to + i * a->to, from + i * a->from, (size_t)size);
    }
}

static void copy_lines(const og_call *call, const plan *p, char *to, const char *from)
{
    int axes = p->rank - 1;
    int64_t lines = axes_product(p, axes), n = p->a[axes].n;
    int threads = og__threads(call, lines * n * og__max(1, p->size / 16));
    if (lines < threads) { /* few long lines: split each */
        int64_t part = (n + threads - 1) / threads;
        walk w = walk_from(p, axes, 0);
        for (int64_t l = 0; l < lines; l++, walk_on(p, axes, &w)) {
#pragma omp parallel for num_threads(threads) schedule(static)
            for (int t = 0; t < threads; t++) {
                og__copy_axis a = p->a[axes];
                a.n = og__min(part, n - t * part);
                copy_line(to + w.to + t * part * a.to, from + w.from + t * part * a.from, &a,
                          p->size);
            }
        }
        return;
    }
    int64_t part = (lines + threads - 1) / threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        int64_t begin = t * part, end = og__min(lines, begin + part);
        walk w = walk_from(p, axes, begin);
        for (int64_t l = begin; l < end; l++, walk_on(p, axes, &w))
            copy_line(to + w.to, from + w.from, &p->a[axes], p->size);
    }
}

/* One run of bytes, shared by the threads. */
static void copy_run(const og_call *call, char *to, const char *from, int64_t bytes)
{
    int threads = og__threads(call, bytes / 8);
    int64_t part = (int64_t)((bytes / threads + 64) & ~(int64_t)63);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        int64_t begin = t * part, count = og__min(bytes - begin, part);
        if (count > 0)
            memcpy(to + begin, from + begin, (size_t)count);
    }
}

/* ---- transposition */

/* The axis the source is contiguous along, if the destination is contiguous along the last one;
 * else -1. */
static int crossed_axis(const plan *p)
{
    if (p->size > 16 || (p->size & (p->size - 1)) || p->rank < 2 || p->a[p->rank - 1].to != p->size)
        return -1;
    for (int a = 0; a < p->rank - 1; a++)
        if (p->a[a].from == p->size)
            return p->a[a].n >= 8 || p->a[p->rank - 1].n >= 8 ? a : -1;
    return -1;
}

static void copy_crossed(const og_call *call, const plan *p, int crossed, char *to,
                         const char *from)
{
    enum { TILE = 64 };
    void (*transpose)(size_t, const char *, int64_t, char *, int64_t, int64_t, int64_t) =
        OG__PICK(og__transpose);
    og__copy_axis r = p->a[crossed], c = p->a[p->rank - 1];
    plan outer = *p;
    outer.rank = 0;
    for (int a = 0; a < p->rank - 1; a++)
        if (a != crossed)
            outer.a[outer.rank++] = p->a[a];
    int64_t row_tiles = (r.n + TILE - 1) / TILE, column_tiles = (c.n + TILE - 1) / TILE;
    int64_t tiles = row_tiles * column_tiles, all = axes_product(&outer, outer.rank) * tiles;
#pragma omp parallel for num_threads(og__threads(call, axes_product(p, p->rank))) schedule(static)
    for (int64_t i = 0; i < all; i++) {
        walk w = walk_from(&outer, outer.rank, i / tiles);
        int64_t r0 = i % tiles / column_tiles * TILE, c0 = i % column_tiles * TILE;
        transpose((size_t)p->size, from + w.from + r0 * r.from + c0 * c.from, c.from,
                  to + w.to + r0 * r.to + c0 * c.to, r.to, og__min(TILE, r.n - r0),
                  og__min(TILE, c.n - c0));
    }
}

/* ---- entry points */

void og__copy(const og_call *call, int rank, const og__copy_axis *axes, void *to, const void *from,
              size_t size)
{
    plan p;
    const og_mover *mover = call->device ? call->device->mover : NULL;
    if (size == 0 || !simplify(&p, rank, axes, size))
        return;
    if (mover) {
        mover->copy(call, p.rank, p.a, to, from, (size_t)p.size);
        return;
    }
    int crossed = crossed_axis(&p);
    if (p.rank == 0)
        copy_run(call, to, from, p.size);
    else if (crossed >= 0)
        copy_crossed(call, &p, crossed, to, from);
    else
        copy_lines(call, &p, to, from);
}

void og__copy_dense(const og_call *call, void *to, const og_tensor *x)
{
    og__copy_axis axes[OG_MAX_RANK];
    int64_t step = 1;
    for (int a = x->type.rank - 1; a >= 0; a--) {
        axes[a] = (og__copy_axis){x->type.dims[a], step, x->strides[a]};
        step *= x->type.dims[a];
    }
    og__copy(call, x->type.rank, axes, to, x->data, og__size(x->type.dtype));
}

void og__fill(const og_call *call, void *to, int64_t n, const void *value, size_t size)
{
    bool zero = true;
    const og_mover *mover = call->device ? call->device->mover : NULL;
    if (mover) {
        mover->fill(call, to, n, value, size);
        return;
    }
    for (size_t i = 0; value && i < size; i++)
        zero = zero && ((const unsigned char *)value)[i] == 0;
    if (n <= 0)
        return;
    if (!zero) {
        og__copy(call, 1, &(og__copy_axis){n, 1, 0}, to, value, size);
        return;
    }
    int64_t bytes = n * (int64_t)size;
    int threads = og__threads(call, bytes / 8);
    int64_t part = (bytes / threads + 64) & ~(int64_t)63;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        int64_t begin = t * part, count = og__min(bytes - begin, part);
        if (count > 0)
            memset((char *)to + begin, 0, (size_t)count);
    }
}

#define GATHER(T)                   \
    for (int64_t i = 0; i < n; i++) \
    ((T *)to)[i] = ((const T *)from)[index[i]]

void og__gather(void *to, const void *from, const int64_t *index, int64_t n, size_t size)
{
    switch (size) {
    case 1:
        GATHER(uint8_t);
        break;
    case 2:
        GATHER(e2);
        break;
    case 4:
        GATHER(e4);
        break;
    case 8:
        GATHER(e8);
        break;
    case 16:
        GATHER(e16);
        break;
    default:
        for (int64_t i = 0; i < n; i++)
            memcpy((char *)to + i * (int64_t)size, (const char *)from + index[i] * (int64_t)size,
                   size);
    }
}

int64_t og__ints(const og_tensor *t, int64_t max, int64_t *ints)
{
    if (!t->data || t->type.rank > 1 || !og_dtype_is_int(t->type.dtype) ||
        og__size(t->type.dtype) == 0)
        return -1;
    int64_t n = og__elements(t);
    for (int64_t i = 0; i < n && i < max; i++)
        ints[i] = og__load_int(t->data, t->type.dtype, t->type.rank ? i * t->strides[0] : 0);
    return n;
}

og_status(og__call_fail)(const og_call *call, og_error *error, og_status status, const char *format,
                         ...)
{
    va_list arguments;
    va_start(arguments, format);
    og_failv(error, status, format, arguments);
    va_end(arguments);
    og_node_prefix(error, call->node);
    return status;
}

static bool whole_bytes(const og_tensor *t, int n)
{
    for (int i = 0; i < n; i++)
        if (t[i].type.dtype != OG_UNDEFINED && og__size(t[i].type.dtype) == 0)
            return false;
    return true;
}

bool og__supports_bytes(const og_call *call)
{
    return whole_bytes(call->x, call->nx) && whole_bytes(call->y, call->ny);
}

static bool all_of(const og_tensor *t, int n, og_dtype dtype)
{
    for (int i = 0; i < n; i++)
        if (og_dtype_is_float(t[i].type.dtype) && t[i].type.dtype != dtype)
            return false;
    return true;
}

bool og__supports_float(const og_call *call)
{
    og_dtype dtype = call->x[0].type.dtype;
    return (dtype == OG_FLOAT || dtype == OG_DOUBLE) && all_of(call->x, call->nx, dtype) &&
           all_of(call->y, call->ny, dtype);
}
