/* ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceSumSquare: data, axes → reduced,
 * of any strides.
 *
 * Axes are split into kept and reduced ones, each list ordered by stride and merged. Along one kept
 * axis (the columns) outputs are computed in blocks; a block's accumulators take in the reduced
 * elements either a row across all columns at a time (columns contiguous: bias gradients) or a
 * whole line for each column (reduced axis contiguous). Where there are few outputs the reduced
 * elements are split into parts, whose partial results are joined in order: the split depends on
 * shapes only, so results do not depend on the number of threads. */
#include "kernels/cpu/reduce.h"

enum {
    BLOCK_COLUMNS = 1024, /* columns of a block, taken in a row at a time */
    BLOCK_LINES = 64,     /* columns of a block, taken in a line at a time */
    PART = 32768,         /* elements of a part, at least */
    MOST_PARTS = 64,
    ENOUGH_BLOCKS = 16 /* with this many blocks parts are not needed */
};

typedef struct axis {
    int64_t n, xs, ys; /* strides in elements */
} axis;

typedef struct plan {
    const og__reduce_fns *fns;
    int n_kept, n_reduced; /* without columns and line */
    axis kept[OG_MAX_RANK], reduced[OG_MAX_RANK];
    axis columns, line; /* the kept axis of a block; the innermost reduced axis */
    bool by_line;
    int64_t reduced_count, outer_count; /* elements reduced into one; outputs / columns.n */
    int64_t block, blocks, parts,
        part; /* columns of a block; of reduced elements a part has `part` */
    int64_t divisor;
} plan;

/* Broadcast axes count as slowest. */
static bool slower(int64_t a, int64_t b)
{
    uint64_t ua = a ? (uint64_t)(a < 0 ? -a : a) : UINT64_MAX,
             ub = b ? (uint64_t)(b < 0 ? -b : b) : UINT64_MAX;
    return ua > ub;
}

static void insert(axis *list, int *n, axis a)
{
    int at = (*n)++;
    for (; at > 0 && slower(a.xs, list[at - 1].xs); at--)
        list[at] = list[at - 1];
    list[at] = a;
}

static void merge(axis *list, int *n)
{
    int kept = 0;
    for (int i = 0; i < *n; i++) {
        axis a = list[i], *last = &list[kept - 1];
        if (kept && last->xs == a.xs * a.n && last->ys == a.ys * a.n)
            *last = (axis){last->n * a.n, a.xs, a.ys};
        else
            list[kept++] = a;
    }
    *n = kept;
}

static axis take_last(axis *list, int *n)
{
    return *n ? list[--*n] : (axis){1, 0, 0};
}

static bool supports_reduce(const og_call *call)
{
    og_fold kind = call->node->op->fold;
    return kind != OG_FOLD_NONE && OG__PICK(og__reduce_find)(kind, call->x[0].type.dtype) != NULL;
}

og_status og__reduce_axes(const og_call *call, bool *reduced, og_error *error)
{
    int rank = call->x[0].type.rank;
    int64_t axes[OG_MAX_RANK], n = 0;
    if (og__has(call->nx, call->x, 1))
        n = og__ints(&call->x[1], OG_MAX_RANK, axes);
    if (n < 0 || n > rank)
        return og__call_fail(call, error, OG_UNSUPPORTED,
                             "the axes must be a constant list of at most %d integers", rank);
    bool all = n == 0 && !og_attr_int(call->node, "noop_with_empty_axes", 0);
    for (int a = 0; a < rank; a++)
        reduced[a] = all;
    for (int64_t i = 0; i < n; i++) {
        if (axes[i] < -rank || axes[i] >= rank)
            return og__call_fail(call, error, OG_INVALID_MODEL, "axis %lld of rank %d",
                                 (long long)axes[i], rank);
        reduced[og__axis(axes[i], rank)] = true;
    }
    return OG_OK;
}

static og_status make_plan(const og_call *call, plan *p, og_error *error)
{
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    bool reduced[OG_MAX_RANK];
    og_fold kind = call->node->op->fold;
    OG_TRY(og__reduce_axes(call, reduced, error));
    p->fns = OG__PICK(og__reduce_find)(kind, x->type.dtype);
    p->n_kept = p->n_reduced = 0;
    p->reduced_count = 1;
    int64_t outputs = 1, step = 1;
    for (int a = x->type.rank - 1; a >= 0; a--) {
        int64_t n = x->type.dims[a];
        if (reduced[a]) {
            p->reduced_count *= n;
            if (n != 1)
                insert(p->reduced, &p->n_reduced, (axis){n, x->strides[a], 0});
        } else {
            if (n != 1)
                insert(p->kept, &p->n_kept, (axis){n, x->strides[a], step});
            step *= n;
            outputs *= n;
        }
    }
    if (outputs != og__elements(y))
        return og__call_fail(call, error, OG_INVALID_DATA,
                             "the axes give %lld elements, planned were %lld", (long long)outputs,
                             (long long)og__elements(y));
    merge(p->kept, &p->n_kept);
    merge(p->reduced, &p->n_reduced);
    p->columns = take_last(p->kept, &p->n_kept);
    p->line = take_last(p->reduced, &p->n_reduced);
    p->outer_count = p->columns.n ? outputs / p->columns.n : 0;
    p->by_line = slower(p->columns.xs, p->line.xs) && (p->line.n >= 16 || p->columns.n < p->line.n);
    int64_t most =
        p->by_line ? og__min(BLOCK_LINES, PART / og__max(1, p->line.n) + 1) : BLOCK_COLUMNS;
    p->block = og__max(1, og__min(p->columns.n, most));
    p->blocks = (p->columns.n + p->block - 1) / p->block;
    p->part = p->reduced_count;
    p->parts = 1;
    if (p->outer_count * p->blocks < ENOUGH_BLOCKS && p->reduced_count > 1) {
        p->part = og__max(1, PART / p->block);
        if ((p->reduced_count + p->part - 1) / p->part > MOST_PARTS)
            p->part = (p->reduced_count + MOST_PARTS - 1) / MOST_PARTS;
        if (p->by_line && p->part > p->line.n / 2) /* whole lines */
            p->part = (p->part + p->line.n - 1) / p->line.n * p->line.n;
        p->parts = (p->reduced_count + p->part - 1) / p->part;
    }
    bool divisible = p->reduced_count || og__is_real(x->type.dtype);
    p->divisor = kind == OG_FOLD_MEAN && divisible ? p->reduced_count : 1;
    return OG_OK;
}

static int64_t offset_of(const axis *axes, int n, int64_t at, int64_t *ys)
{
    int64_t offset = 0;
    for (int a = n - 1; a >= 0; a--) {
        int64_t i = at % axes[a].n;
        offset += i * axes[a].xs;
        *ys += i * axes[a].ys;
        at /= axes[a].n;
    }
    return offset;
}

/* acc: `columns` accumulators from column `first` on of outer output `outer`, which take in the
 * reduced elements begin … end - 1 (counted along the outer reduced axes, then the line). Returns
 * the first output's offset. */
static int64_t reduce_block(const plan *p, const char *x, int64_t size, int64_t outer,
                            int64_t first, int64_t columns, int64_t begin, int64_t end, void *acc)
{
    int64_t y_offset = first * p->columns.ys, ignored = 0;
    int64_t base = first * p->columns.xs + offset_of(p->kept, p->n_kept, outer, &y_offset);
    p->fns->start(acc, columns);
    while (begin < end) {
        int64_t i = begin % p->line.n, n = og__min(p->line.n - i, end - begin);
        int64_t offset = base + i * p->line.xs +
                         offset_of(p->reduced, p->n_reduced, begin / p->line.n, &ignored);
        if (p->by_line)
            for (int64_t c = 0; c < columns; c++)
                p->fns->row((char *)acc + 8 * c, x + (offset + c * p->columns.xs) * size, n,
                            p->line.xs);
        else
            p->fns->columns(acc, x + offset * size, n, p->line.xs, columns, p->columns.xs);
        begin += n;
    }
    return y_offset;
}

static og_status prepare_reduce(og_call *call, og_error *error)
{
    plan p;
    OG_TRY(make_plan(call, &p, error));
    call->workspace_bytes =
        p.parts > 1 ? (size_t)(p.outer_count * p.blocks * p.parts * p.block) * sizeof(double) : 0;
    return OG_OK;
}

static og_status run_reduce(const og_call *call, og_error *error)
{
    plan p;
    OG_TRY(make_plan(call, &p, error));
    const char *x = call->x[0].data;
    char *y = call->y[0].data, *partial = call->workspace;
    int64_t size = (int64_t)og__size(call->x[0].type.dtype), all_blocks = p.outer_count * p.blocks;
    int64_t items = all_blocks * p.parts;
#pragma omp parallel for schedule(static) \
    num_threads(og__threads(call, og__elements(&call->y[0]) * og__max(1, p.reduced_count)))
    for (int64_t i = 0; i < items; i++) {
        double stack[BLOCK_COLUMNS];
        int64_t block = i / p.parts, part = i % p.parts, first = block % p.blocks * p.block;
        int64_t columns = og__min(p.block, p.columns.n - first), begin = part * p.part;
        int64_t end = og__min(p.reduced_count, begin + p.part);
        void *acc = p.parts > 1 ? (void *)(partial + i * p.block * 8) : (void *)stack;
        int64_t at = reduce_block(&p, x, size, block / p.blocks, first, columns, begin, end, acc);
        if (p.parts == 1)
            p.fns->finish(acc, columns, p.divisor, y + at * size, p.columns.ys);
    }
    for (int64_t block = 0; p.parts > 1 && block < all_blocks; block++) {
        int64_t first = block % p.blocks * p.block, columns = og__min(p.block, p.columns.n - first);
        int64_t at = first * p.columns.ys;
        char *acc = partial + block * p.parts * p.block * 8;
        offset_of(p.kept, p.n_kept, block / p.blocks, &at);
        for (int64_t part = 1; part < p.parts; part++)
            p.fns->join(acc, acc + part * p.block * 8, columns);
        p.fns->finish(acc, columns, p.divisor, y + at * size, p.columns.ys);
    }
    return OG_OK;
}

#define REDUCE(op)                                                                             \
    {                                                                                          \
        op, "plain", OG_KERNEL_STRIDED | OG_KERNEL_REFERENCE, supports_reduce, prepare_reduce, \
            run_reduce, NULL                                                                   \
    }

const og_kernel og_kernels_cpu_reduce[] = {
    REDUCE("ReduceSum"),
    REDUCE("ReduceMean"),
    REDUCE("ReduceMax"),
    REDUCE("ReduceMin"),
    REDUCE("ReduceProd"),
    REDUCE("ReduceSumSquare"),
    {0},
};
