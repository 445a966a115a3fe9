/* Reductions at the end of elementwise programs (fold.h). */
#include "kernels/cpu/fold.h"

enum {
    PART = 16384,      /* elements of a part, at least */
    MOST_PIECES = 64,  /* of an outer index */
    ENOUGH_OUTER = 16, /* with this many outer indices none is cut */
    FEWEST = 32,       /* elements for an accumulator: they stay small beside what they take in */
    BLOCK = 2048,      /* columns of a block, of very many */
    UNIT = 16,         /* lines are cut after multiples of this */
    SHORT_LINE = 16,   /* lines below this length are taken in side by side */
    ACC = 8            /* bytes of an accumulator */
};

/* ---- planning */

/* The axes as they lie into outer, rows, kept, line. False if they alternate otherwise. */
static bool split_axes(og__fold *f, const og_program *program, const int *order)
{
    const og_type *space = &program->space;
    int64_t *const levels[4] = {&f->outer, &f->rows, &f->kept, &f->line};
    int level = 0;
    for (int i = 0; i < 4; i++)
        *levels[i] = 1;
    for (int i = 0; i < space->rank; i++) {
        int reduced = program->folded_axes >> order[i] & 1;
        if (space->dims[order[i]] == 1)
            continue;
        while (level < 4 && level % 2 != reduced)
            level++;
        if (level == 4)
            return false;
        *levels[level] *= space->dims[order[i]];
    }
    if (f->kept == 1) { /* rows of one element are a line */
        f->line *= f->rows;
        f->rows = 1;
    }
    return true;
}

/* Where the kept axes, in the order in which they lie, lead in the output. */
static void place_output(og__fold *f, const og_program *program, const int *order)
{
    const og_type *space = &program->space;
    int64_t strides[OG_MAX_RANK] = {0}, step = 1;
    for (int a = space->rank - 1; a >= 0; a--) {
        if (program->folded_axes >> a & 1)
            continue;
        strides[a] = step;
        step *= space->dims[a];
    }
    f->y.n = 1;
    for (int i = 0; i < space->rank; i++) {
        int a = order[i];
        if (program->folded_axes >> a & 1)
            continue;
        f->y.dims[f->y.rank] = space->dims[a];
        f->y.strides[0][f->y.rank++] = strides[a];
    }
    og__collapse(&f->y.rank, f->y.dims, 1, f->y.strides);
}

static void cut(og__fold *f)
{
    int64_t group = f->rows * f->kept * f->line;
    f->groups = og__max(1, og__min(f->outer, PART / og__max(1, group)));
    f->pieces = f->blocks = 1;
    f->piece = group;
    f->block = f->kept;
    if (f->line == 1 && f->kept >= 2 * BLOCK && group >= 2 * PART) {
        f->blocks = (f->kept + BLOCK - 1) / BLOCK;
        f->block = BLOCK;
    } else if (f->outer < ENOUGH_OUTER && group >= 2 * PART) {
        int64_t unit = f->rows > 1 ? f->kept * f->line : UNIT, units = (group + unit - 1) / unit;
        int64_t most = f->rows > 1 ? og__min(f->rows, f->rows * f->line / FEWEST) : MOST_PIECES;
        int64_t pieces = og__max(1, og__min(og__min(MOST_PIECES, most), group / PART));
        int64_t piece = (units + pieces - 1) / pieces;
        f->pieces = (units + piece - 1) / piece;
        f->piece = piece * unit;
    }
    f->parts = (f->outer + f->groups - 1) / f->groups * f->pieces * f->blocks;
}

bool og__fold_plan(og__fold *f, const og_program *program, const og_tensor *y, const int *order)
{
    *f = (og__fold){.fns = OG__PICK(og__reduce_find)(program->fold, program->domain),
                    .out = OG__PICK(og__reduce_find)(program->fold, y->type.dtype)};
    if (program->domain == OG_INT64 || !og__is_real(y->type.dtype) || !f->fns || !f->out ||
        !split_axes(f, program, order) || f->outer * f->kept != og__elements(y))
        return false;
    place_output(f, program, order);
    cut(f);
    f->divisor = program->fold == OG_FOLD_MEAN ? f->rows * f->line : 1;
    return true;
}

size_t og__fold_bytes(const og__fold *f)
{
    return (size_t)(f->parts / f->blocks * f->groups * f->kept) * ACC;
}

/* ---- taking in */

/* Blocks of columns share an outer index's. */
static char *accumulators(const og__fold *f, void *all, int64_t part)
{
    return (char *)all + part / f->blocks * f->groups * f->kept * ACC;
}

int64_t og__fold_runs(const og__fold *f)
{
    return f->blocks > 1 ? f->rows : 1;
}

void og__fold_range(const og__fold *f, int64_t part, int64_t run, int64_t *begin, int64_t *end)
{
    int64_t group = f->rows * f->kept * f->line;
    if (f->blocks > 1) {
        int64_t column = part % f->blocks * f->block;
        *begin = part / f->blocks * group + run * f->kept + column;
        *end = *begin + og__min(f->block, f->kept - column);
    } else if (f->pieces > 1) {
        int64_t first = part / f->pieces * group, at = part % f->pieces * f->piece;
        *begin = first + at;
        *end = first + og__min(group, at + f->piece);
    } else {
        *begin = part * f->groups * group;
        *end = og__min(f->outer, (part + 1) * f->groups) * group;
    }
}

void og__fold_start(const og__fold *f, void *all, int64_t part)
{
    int64_t column = part % f->blocks * f->block;
    int64_t n = f->blocks > 1 ? og__min(f->block, f->kept - column) : f->groups * f->kept;
    f->fns->start(accumulators(f, all, part) + column * ACC, n);
}

/* Rows are faster four at a time; and give the same sums, one row after the other. */
int64_t og__fold_together(const og__fold *f, int64_t most)
{
    bool by_rows = f->line == 1 && f->kept > 1 && f->blocks == 1;
    return by_rows && f->kept <= most / 4 ? most / f->kept / 4 * 4 * f->kept : 1;
}

/* Elements of one line, or of several short ones, from the start of `data`; how many. acc: the
 * first line's accumulator; lines: accumulators that follow it. */
static int64_t take_lines(const og__fold *f, char *acc, int64_t lines, int64_t in_line, int64_t n,
                          const char *data)
{
    if (f->line < SHORT_LINE && in_line == 0 && n >= f->line) {
        lines = og__min(lines, n / f->line);
        f->fns->columns(acc, data, f->line, 1, lines, f->line);
        return lines * f->line;
    }
    n = og__min(n, f->line - in_line);
    f->fns->row(acc, data, n, 1);
    return n;
}

/* The same of rows of `kept` elements; acc: of the first column, rows: that are left. */
static int64_t take_rows(const og__fold *f, char *acc, int64_t rows, int64_t column, int64_t n,
                         const char *data)
{
    if (column == 0 && n >= f->kept) {
        rows = og__min(rows, n / f->kept);
        f->fns->columns(acc, data, rows, f->kept, f->kept, 1);
        return rows * f->kept;
    }
    n = og__min(n, f->kept - column);
    f->fns->columns(acc + column * ACC, data, 1, 0, n, 1);
    return n;
}

void og__fold_take(const og__fold *f, void *all, int64_t part, int64_t at, int64_t n,
                   const void *data, size_t size)
{
    char *accs = accumulators(f, all, part);
    int64_t group = f->rows * f->kept * f->line, first = part / f->blocks / f->pieces * f->groups;
    const char *from = data;
    while (n > 0) {
        int64_t within = at % group, done;
        char *acc = accs + (at / group - first) * f->kept * ACC;
        if (f->line == 1 && f->kept > 1) {
            done = take_rows(f, acc, (group - within) / f->kept, within % f->kept, n, from);
        } else {
            int64_t k = within / f->line % f->kept;
            int64_t lines = f->kept > 1 ? f->kept - k : n; /* those of outer indices follow, too */
            done = take_lines(f, acc + k * ACC, lines, within % f->line, n, from);
        }
        at += done;
        n -= done;
        from += done * (int64_t)size;
    }
}

void og__fold_finish(const og__fold *f, void *all, const og_tensor *y)
{
    int last = f->y.rank - 1;
    int64_t size = (int64_t)og__size(y->type.dtype), line = f->y.dims[last];
    if (f->pieces > 1) /* those of each outer index into its first, and these side by side */
        for (int64_t o = 0; o < f->outer; o++) {
            char *acc = (char *)all + o * f->kept * ACC,
                 *pieces = accumulators(f, all, o * f->pieces);
            memmove(acc, pieces, (size_t)f->kept * ACC);
            for (int64_t i = 1; i < f->pieces; i++)
                f->fns->join(acc, pieces + i * f->kept * ACC, f->kept);
        }
    og__cursor c = {0};
    for (int64_t at = 0; at < f->outer * f->kept; at += line) {
        f->out->finish((char *)all + at * ACC, line, f->divisor,
                       (char *)y->data + c.offset[0] * size, f->y.strides[0][last]);
        og__next(&f->y, last, &c);
    }
}
