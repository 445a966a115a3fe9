/* Between the pooling kernels and their loops (pool_simd.c), which exist once for each instruction
 * set. */
#ifndef OG_KERNELS_CPU_POOL_H
#define OG_KERNELS_CPU_POOL_H

#include "kernels/cpu/iterate.h"

#define OG__POOL_RANGES 16 /* window offsets whose ranges are kept */
#define OG__POOL_ROWS 1024 /* input rows that a window reads at most */

/* Windows with three spatial dims; missing leading ones have length 1. */
typedef struct og__pool_shape {
    int64_t planes, in_plane, out_plane;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3], pad_end[3];
    bool include_pad;
    int32_t first[OG__POOL_RANGES], last[OG__POOL_RANGES]; /* og__pool_outputs of the last
    dim, for its first window offsets */
} og__pool_shape;

/* x: the larger side. False for ranks or sizes that are not handled. */
bool og__pool_read(const og_call *call, const og_type *x, const og_type *y, og__pool_shape *g);
/* Outputs first … last - 1 of dim k whose element at window offset o is inside the input. */
void og__pool_outputs(const og__pool_shape *g, int k, int64_t o, int64_t *first, int64_t *last);
/* The input index that output i reads at window offset o; may lie outside. */
int64_t og__pool_input(const og__pool_shape *g, int k, int64_t i, int64_t o);
/* The input rows that the windows of line (d, h) read, as where their first elements lie in the
 * plane; their count, at most kernel[0] × kernel[1]. taps (unless NULL): how many elements of a
 * window come before each row. */
int32_t og__pool_rows(const og__pool_shape *g, int64_t d, int64_t h, int32_t *rows, int32_t *taps);
/* Does every window have an element inside the input? */
bool og__pool_whole(const og__pool_shape *g);
/* The same of output i along dim k alone. */
bool og__pool_has_element(const og__pool_shape *g, int k, int64_t i);
/* By place in a window, how far its element lies from the window's first one in the plane; an
 * offset outside any plane for places beyond the window. */
enum { OG__PLACES = 256 };
void og__pool_offsets(const og__pool_shape *g, int64_t offsets[OG__PLACES]);
/* How many elements count in the window of each output, along each dim: three lists in the
 * workspace. With count_include_pad also the padding counts, but not what ceil_mode adds beyond it.
 */
void og__pool_counts(const og__pool_shape *g, int32_t *list, const int32_t **counts);
/* Bytes that these three lists need, for outputs of type y. */
size_t og__pool_counts_bytes(const og_type *y);

/* A line of n outputs of MaxPool over one plane x. */
typedef struct og__pool_line {
    const int32_t *rows; /* where the input rows that its windows read begin in the plane */
    /* What an element is called: numbers[row] + number_start + output number_step + number_unit
     * (the element's offset in the row of its window): where it lies in the plane, or its place in
     * the window. */
    const int32_t *numbers;
    int32_t number_start, number_step, number_unit;
    int32_t n_rows, n;
    int32_t start; /* input column of output 0 at window offset 0; may be negative */
    int32_t width; /* of an input row */
    int32_t kernel, dilation, step;  /* along the row */
    int32_t inner_first, inner_last; /* outputs whose window lies inside the row */
} og__pool_line;

/* T: float, double, int8_t or uint8_t; what follows the first two functions float and double only.
 */
typedef struct og__pool_fns {
    /* best[i] = the largest element, a NaN if there is one; index[i] = its number, -1 for an empty
     * window */
    void (*max)(void *best, int32_t *index, const void *x, const og__pool_line *line);
    /* The same for windows of 2 × 2, 2 apart: the largest of x[2i], x[2i + 1], x[2i + below], x[2i
     * + 1 + below]; index (NULL: not wanted) = `at` + its offset from x, or where `places` its
     * place, 0 to 3 */
    void (*max_2x2)(void *best, int32_t *index, const void *x, int64_t n, int64_t below, int32_t at,
                    bool places);
    /* y[i] += x[i step] */
    void (*add)(void *y, const void *x, int64_t n, int64_t step);
    /* y[i step] += x[i] */
    void (*spread)(void *y, const void *x, int64_t n, int64_t step);
    /* y[i] = x[i] / (count[i] others) */
    void (*divide)(void *y, const void *x, const int32_t *count, double others, int64_t n);
    /* y[at[i]] += x[i]; at[i] is -1 for nowhere */
    void (*scatter)(void *y, const void *x, const int32_t *at, int64_t n);
    /* Undoes max_2x2: place[i] of y[2i], y[2i + 1], y[2i + below], y[2i + 1 + below] = x[i], the
     * others = 0 */
    void (*spread_2x2)(void *y, const void *x, const uint8_t *place, int64_t n, int64_t below);
} og__pool_fns;

/* The same channels-last, for float: a tap is an element of a window, as its place in the plane;
 * x [in_plane, channels]; y, index of one output [channels]. */
typedef struct og__pool_channels_fns {
    /* y = the largest of the taps, a NaN if there is one, -infinity for no taps; index (unless
     * NULL) = its place in an NCHW tensor, where channel c begins at first + c plane; -1 for no
     * taps */
    void (*max)(float *y, int64_t *index, const float *x, const int32_t *taps, int n,
                int64_t channels, int64_t first, int64_t plane);
    /* The same with the largest element's number, of a byte each, for its place; 0 for no taps */
    void (*max_place)(float *y, uint8_t *place, const float *x, const int32_t *taps,
                      const uint8_t *numbers, int n, int64_t channels);
    /* Undoes max_place: each tap of dx += dy where its number is the place */
    void (*choose)(const float *dy, const uint8_t *place, float *dx, const int32_t *taps,
                   const uint8_t *numbers, int n, int64_t channels);
    /* y = Σ taps of x / count */
    void (*average)(float *y, const float *x, const int32_t *taps, int n, int64_t channels,
                    float count);
    /* Each tap of dx += dy / count */
    void (*spread)(const float *dy, float *dx, const int32_t *taps, int n, int64_t channels,
                   float count);
} og__pool_channels_fns;
OG__BUILDS(const og__pool_channels_fns *, og__pool_channels_find, (void));

/* NULL for other types. */
OG__BUILDS(const og__pool_fns *, og__pool_find, (og_dtype dtype));

#endif
