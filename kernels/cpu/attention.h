/* Between the kernels of AttentionHeads (attention.c, attention_grad.c), what they share
 * (attention_shape.c) and their loops over rows of scores (attention_simd.c), which exist once for
 * each instruction set.
 *
 * Names as in ops/attention_heads.c: B batch, H heads, S queries, T keys, D and E elements. A unit
 * is one head of one sample. Its scores [S, T] are seen as blocks of OG__ATTENTION_ROWS queries and
 * OG__ATTENTION_COLUMNS keys; only a block at a time exists. */
#ifndef OG_KERNELS_CPU_ATTENTION_H
#define OG_KERNELS_CPU_ATTENTION_H

#include "kernels/cpu/gemm.h"

/* Rows: as many as a product reads where they lie (gemm_template.h), a multiple of the inner
 * kernels' rows. Columns: a multiple of their columns. */
#define OG__ATTENTION_ROWS 48
#define OG__ATTENTION_COLUMNS 128

/* What the mask leaves of a block: the columns before `end`, 0 if none; and if it changes those. */
typedef struct og__block {
    uint8_t end;
    bool masked;
} og__block;

typedef struct og__attention {
    og_dtype dtype; /* float or double */
    int64_t size;   /* of an element, bytes */
    int64_t B, H, S, T, D, E;
    int64_t row_blocks, column_blocks;
    double scale;
    bool zero_nan;
    const og_tensor *q, *k, *v; /* [B, S, H, D], [B, T, H, D], [B, T, H, E], any strides */
    const og_tensor *mask;      /* NULL: none; its last stride is 1 */
    int64_t mask_strides[4];    /* over B, H, S, T */
    int64_t masks, mask_heads;  /* different ones; of them, for each sample */
    size_t map_bytes;
} og__attention;

/* From a call whose q, k, v are inputs first … first + 2 and whose mask, if any, is input `mask`.
 */
void og__attention_shape(const og_call *call, int first, int mask, og__attention *a);
/* Does the kernel take it: float or double, no empty dim, D and E at most OG__GEMM_K? */
bool og__attention_supports(const og_call *call, int first, int mask);
/* All blocks, [masks, row_blocks, column_blocks]; `map` has a->map_bytes.
 *
 * A column is left out if every element of it in the block is below -1e30 and each of the block's
 * rows has one above -1e20 elsewhere: scores, unless they overflow a float's square, cannot make up
 * for that, and exp gives 0 exactly. */
void og__attention_map(const og_call *call, const og__attention *a, og__block *map);
/* What both kernels plan: their call->state begins with it. */
typedef struct og__attention_plan {
    og__attention shape; /* of the call that was planned: its tensors are not read */
    int threads;
    size_t task_bytes; /* workspace of a thread, and before them all the map */
    og__block *map;    /* of a constant mask */
} og__attention_plan;

/* call->state becomes `size` zeroed bytes that begin with a plan, whose shape and map are set;
 * og__attention_release frees it, also on error. first, mask: as for og__attention_shape. */
og_status og__attention_begin(og_call *call, size_t size, int first, int mask, og_error *error);
/* The plan's last two figures, and the call's workspace from them. */
void og__attention_end(og_call *call, int threads, size_t task_bytes);
void og__attention_release(og_call *call);
/* Block (i, j) of one mask's map; NULL: there is no mask. */
static inline og__block og__attention_block(const og__attention *a, const og__block *map, int64_t i,
                                            int64_t j)
{
    int64_t n = og__min(OG__ATTENTION_COLUMNS, a->T - j * OG__ATTENTION_COLUMNS);
    return map ? map[i * a->column_blocks + j] : (og__block){(uint8_t)n, false};
}

/* ---- one task */

/* The next `bytes` of a workspace that starts at `base`, aligned; NULL base: only counts. */
static inline void *og__attention_take(char *base, size_t *at, size_t bytes)
{
    char *taken = base ? base + *at : NULL;
    *at += (bytes + 255) / 256 * 256;
    return taken;
}

/* Elements of x [B, positions, H, n] from position `first` of unit (b, h) on. */
static inline const char *og__attention_at(const og_tensor *x, int64_t size, int64_t b, int64_t h,
                                           int64_t first)
{
    return (const char *)x->data +
           (b * x->strides[0] + h * x->strides[2] + first * x->strides[1]) * size;
}

/* Which of the different masks a unit has. */
static inline int64_t og__attention_mask_of(const og__attention *a, int64_t b, int64_t h)
{
    return (a->mask_strides[0] ? b : 0) * a->mask_heads + (a->mask_strides[1] ? h : 0);
}

/* The mask of a block: element (0, 0). */
static inline const void *og__attention_bias(const og__attention *a, int64_t b, int64_t h,
                                             int64_t row, int64_t column)
{
    const int64_t *s = a->mask_strides;
    return (const char *)a->mask->data +
           (b * s[0] + h * s[1] + row * s[2] + column * s[3]) * a->size;
}

/* Elements from one row of a block to the next: not a power of two, which would let rows fall into
 * the same places of the cache. */
#define OG__ATTENTION_PITCH (OG__ATTENTION_COLUMNS + 16)
static inline int64_t og__attention_pitch(int64_t n)
{
    return (n + 15) / 16 * 16 + 16;
}

/* ---- loops: attention_simd.c */

/* A block of scores, m × n with OG__ATTENTION_PITCH elements a row, in T. */
typedef struct og__scores {
    int64_t m, n;
    void *s;
    const void *bias; /* the mask's block, rows bias_row apart; NULL: none */
    int64_t bias_row;
} og__scores;

typedef struct og__attention_fns {
    /* to[i * pitch + j] = factor · from[i * row + j * column], rows × columns */
    void (*gather)(const void *from, int64_t row, int64_t column, void *to, int64_t pitch,
                   int64_t rows, int64_t columns, double factor);
    /* The step of an online softmax: s becomes exp(s + bias - top); top, total [m] and o (m rows of
     * E, o_pitch apart) are brought to the new maximum. */
    void (*softmax)(const og__scores *b, void *top, double *total, void *o, int64_t o_pitch,
                    int64_t E);
    /* y = o / total of one row of E elements. */
    void (*divide)(const void *o, double total, void *y, int64_t E);
    /* Σ a b over n elements. */
    double (*dot)(const void *a, const void *b, int64_t n);
    /* s becomes p = exp(s + bias - top - log_sum), ds becomes p (ds - delta); both with zeros up to
     * the next 12th column behind n. zero_nan: rows with a log_sum of NaN are zeros. */
    void (*gradient)(const og__scores *b, void *ds, const void *top, const void *log_sum,
                     const void *delta, bool zero_nan);
    /* The largest of n elements. */
    double (*largest)(const void *x, int64_t n);
    /* Are n elements all zero? */
    bool (*zeros)(const void *x, int64_t n);
} og__attention_fns;

OG__BUILDS(const og__attention_fns *, og__attention_find, (og_dtype dtype));

#endif
