/* Group normalization and its gradient, in float32 whatever the elements are; d = x - mean:
 *
 *     mean = Σ x / m,  rstd = 1 / √(Σ d² / m + ε) over the m elements of a group,
 *     y = rstd scale d + bias
 *     g = dy scale: dx = rstd (g - Σ g / m - rstd² d Σ (g d) / m),  dscale = Σ dy d rstd,
 *     dbias = Σ dy over samples and space
 *
 * Each way is three kernels. The first adds up parts of groups or of channels, as many as there are
 * by the shapes alone, so that few groups keep a card busy, too; where images lie dense, a part is
 * consecutive elements, which a warp or a block adds; with channels last it is places, of which
 * each thread of a block adds the channels of one piece. The second joins the parts in order and
 * makes factors of them for every channel of every sample, by which the third writes the image. No
 * sum depends on the card. */
#include "kernels/cuda/group_norm.h"
#include "kernels/cuda/row.h"

/* ---- sums of parts: (mean, Σ (x - mean)²) of x; (Σ dy, Σ dy d) for the gradient */

/* The part of a team: its elements, and where its sums go. */
typedef struct og_group_part {
    int64_t row; /* of the sums: a group or a channel of a sample, and a part of it */
    int64_t first;
    int count, lane, threads;
} og_group_part;

OG_DEVICE og_group_part og_group_part_of(og_group_arguments p)
{
    const og_row r = og_row_of(p.warps);
    const int from = (int)(r.row % p.parts) * p.chunk, rest = p.length - from;
    og_group_part part;
    part.row = r.row;
    part.first = r.row / p.parts * p.length + from;
    part.count = rest < p.chunk ? rest : p.chunk;
    part.lane = r.lane;
    part.threads = r.threads;
    return part;
}

OG_DEVICE void og_group_put(float *sums, int64_t at, float a, float b)
{
    sums[2 * at] = a;
    sums[2 * at + 1] = b;
}

#define GROUP_SUMS(suffix, type, piece, vec, load, store)                                \
    OG_KERNEL(og_group_moments_##suffix, og_group_arguments, p)                          \
    {                                                                                    \
        OG_SHARED(float, scratch, 32);                                                   \
        const og_group_part t = og_group_part_of(p);                                     \
        const type *x = (const type *)p.x + t.first;                                     \
        float mean = 0, square = 0;                                                      \
        if (t.row >= p.n * p.groups * p.parts)                                           \
            return;                                                                      \
        for (int i = t.lane; i < t.count / vec; i += t.threads) {                        \
            piece v;                                                                     \
            OG_LOAD_PIECE(v, x, i);                                                      \
            OG_UNROLL for (int e = 0; e < vec; e++) mean += load(v.e[e]);                \
        }                                                                                \
        mean = og_row_sum(p.warps, mean, scratch) / (float)t.count;                      \
        for (int i = t.lane; i < t.count / vec; i += t.threads) {                        \
            piece v;                                                                     \
            OG_LOAD_PIECE(v, x, i);                                                      \
            OG_UNROLL for (int e = 0; e < vec; e++)                                      \
            {                                                                            \
                const float d = load(v.e[e]) - mean;                                     \
                square += d * d;                                                         \
            }                                                                            \
        }                                                                                \
        square = og_row_sum(p.warps, square, scratch);                                   \
        if (t.lane == 0)                                                                 \
            og_group_put(p.sums, t.row, mean, square);                                   \
    }                                                                                    \
    OG_KERNEL(og_group_grad_sums_##suffix, og_group_arguments, p)                        \
    {                                                                                    \
        OG_SHARED(float, scratch, 32);                                                   \
        const og_group_part t = og_group_part_of(p);                                     \
        const int64_t channel = t.row / p.parts;                                         \
        const type *x = (const type *)p.x + t.first, *dy = (const type *)p.dy + t.first; \
        float sum = 0, sum_d = 0;                                                        \
        if (channel >= p.n * p.c)                                                        \
            return;                                                                      \
        const float mean = p.mean[channel / p.each];                                     \
        for (int i = t.lane; i < t.count / vec; i += t.threads) {                        \
            piece v, d;                                                                  \
            OG_LOAD_PIECE(v, x, i);                                                      \
            OG_LOAD_PIECE(d, dy, i);                                                     \
            OG_UNROLL for (int e = 0; e < vec; e++)                                      \
            {                                                                            \
                sum += load(d.e[e]);                                                     \
                sum_d += load(d.e[e]) * (load(v.e[e]) - mean);                           \
            }                                                                            \
        }                                                                                \
        sum = og_row_sum(p.warps, sum, scratch);                                         \
        sum_d = og_row_sum(p.warps, sum_d, scratch);                                     \
        if (t.lane == 0)                                                                 \
            og_group_put(p.sums, t.row, sum, sum_d);                                     \
    }
OG_ROW_TYPES(GROUP_SUMS)

/* The part of a block with channels last: places from … to - 1 of sample n, and in them the piece
 * of this thread, if there is one. */
typedef struct og_group_place {
    int64_t n;
    int part, from, to, column, lane, first, down;
} og_group_place;

OG_DEVICE og_group_place og_group_place_of(og_group_arguments p, int vec)
{
    og_group_place t;
    const int64_t block = (int64_t)blockIdx.x / p.columns;
    t.lane = (int)threadIdx.x % p.width;
    t.first = (int)threadIdx.x / p.width;
    t.down = (int)blockDim.x / p.width;
    t.column = ((int)blockIdx.x % p.columns) * p.width + t.lane;
    t.part = (int)(block % p.parts);
    t.n = block / p.parts;
    t.from = t.part * p.chunk;
    t.to = p.length - t.from < p.chunk ? p.length : t.from + p.chunk;
    if (t.column >= p.c / vec)
        t.to = t.from; /* there is no such piece */
    return t;
}

/* Sums of each column over the block's threads that share it. scratch: vec floats a thread. */
#define OG_DOWN_SUM(sum, vec, t, p, scratch)                                                 \
    do {                                                                                     \
        float *mine = (scratch) + (int)threadIdx.x * (vec);                                  \
        OG_UNROLL for (int e = 0; e < (vec); e++) mine[e] = (sum)[e];                        \
        __syncthreads();                                                                     \
        for (int half = (t).down / 2; half > 0; half /= 2) {                                 \
            if ((t).first < half)                                                            \
                OG_UNROLL for (int e = 0; e < (vec); e++) mine[e] +=                         \
                    mine[half * (p).width * (vec) + e];                                      \
            __syncthreads();                                                                 \
        }                                                                                    \
        OG_UNROLL for (int e = 0; e < (vec); e++)(sum)[e] = (scratch)[(t).lane * (vec) + e]; \
        __syncthreads();                                                                     \
    } while (0)

#define GROUP_SUMS_LAST(suffix, type, piece, vec, load, store)                                    \
    OG_KERNEL(og_group_moments_last_##suffix, og_group_arguments, p)                              \
    {                                                                                             \
        OG_SHARED(float, scratch, OG_GROUP_THREADS *vec);                                         \
        const og_group_place t = og_group_place_of(p, vec);                                       \
        const type *x = (const type *)p.x + t.n * p.space * p.c;                                  \
        const float count = (float)(t.to - t.from);                                               \
        float mean[vec] = {0}, square[vec] = {0};                                                 \
        for (int s = t.from + t.first; s < t.to; s += t.down) {                                   \
            piece v;                                                                              \
            OG_LOAD_PIECE(v, x, (int64_t)s *(p.c / vec) + t.column);                              \
            OG_UNROLL for (int e = 0; e < vec; e++) mean[e] += load(v.e[e]);                      \
        }                                                                                         \
        OG_DOWN_SUM(mean, vec, t, p, scratch);                                                    \
        OG_UNROLL for (int e = 0; e < vec; e++) mean[e] /= count;                                 \
        for (int s = t.from + t.first; s < t.to; s += t.down) {                                   \
            piece v;                                                                              \
            OG_LOAD_PIECE(v, x, (int64_t)s *(p.c / vec) + t.column);                              \
            OG_UNROLL for (int e = 0; e < vec; e++)                                               \
            {                                                                                     \
                const float d = load(v.e[e]) - mean[e];                                           \
                square[e] += d * d;                                                               \
            }                                                                                     \
        }                                                                                         \
        OG_DOWN_SUM(square, vec, t, p, scratch);                                                  \
        if (t.first == 0 && t.from < t.to)                                                        \
            OG_UNROLL for (int e = 0; e < vec; e++) og_group_put(                                 \
                p.sums, (t.n * p.c + t.column * vec + e) * p.parts + t.part, mean[e], square[e]); \
    }                                                                                             \
    OG_KERNEL(og_group_grad_sums_last_##suffix, og_group_arguments, p)                            \
    {                                                                                             \
        OG_SHARED(float, scratch, OG_GROUP_THREADS *vec);                                         \
        const og_group_place t = og_group_place_of(p, vec);                                       \
        const type *x = (const type *)p.x + t.n * p.space * p.c;                                  \
        const type *dy = (const type *)p.dy + t.n * p.space * p.c;                                \
        float mean[vec] = {0}, sum[vec] = {0}, sum_d[vec] = {0};                                  \
        if (t.from < t.to)                                                                        \
            OG_UNROLL for (int e = 0; e < vec; e++) mean[e] =                                     \
                p.mean[t.n * p.groups + (t.column * vec + e) / p.each];                           \
        for (int s = t.from + t.first; s < t.to; s += t.down) {                                   \
            piece v, d;                                                                           \
            OG_LOAD_PIECE(v, x, (int64_t)s *(p.c / vec) + t.column);                              \
            OG_LOAD_PIECE(d, dy, (int64_t)s *(p.c / vec) + t.column);                             \
            OG_UNROLL for (int e = 0; e < vec; e++)                                               \
            {                                                                                     \
                sum[e] += load(d.e[e]);                                                           \
                sum_d[e] += load(d.e[e]) * (load(v.e[e]) - mean[e]);                              \
            }                                                                                     \
        }                                                                                         \
        OG_DOWN_SUM(sum, vec, t, p, scratch);                                                     \
        OG_DOWN_SUM(sum_d, vec, t, p, scratch);                                                   \
        if (t.first == 0 && t.from < t.to)                                                        \
            OG_UNROLL for (int e = 0; e < vec; e++) og_group_put(                                 \
                p.sums, (t.n * p.c + t.column * vec + e) * p.parts + t.part, sum[e], sum_d[e]);   \
    }
OG_ROW_TYPES(GROUP_SUMS_LAST)

/* ---- parts joined: a warp a group */

/* The factors of the channels of group `row`, b and e without the channel's scale and bias. */
typedef struct og_group_factors {
    float centre, rstd, b, e;
} og_group_factors;

#define GROUP_JOIN(suffix, type, load, store)                                              \
    OG_DEVICE void og_group_factor_##suffix(og_group_arguments p, int64_t row, int lane,   \
                                            og_group_factors f)                            \
    {                                                                                      \
        const int64_t all = p.n * p.c;                                                     \
        for (int i = lane; i < p.each; i += 32) {                                          \
            const int64_t at = row * p.each + i, c = at % p.c;                             \
            const float a = f.rstd * load(((const type *)p.scale)[c]);                     \
            p.factors[at] = f.centre;                                                      \
            p.factors[all + at] = a;                                                       \
            p.factors[2 * all + at] = p.dy ? f.b : a;                                      \
            p.factors[3 * all + at] = p.dy ? f.e : load(((const type *)p.bias)[c]);        \
        }                                                                                  \
    }                                                                                      \
    OG_KERNEL(og_group_join_##suffix, og_group_arguments, p)                               \
    {                                                                                      \
        const og_row r = og_row_of(1);                                                     \
        if (r.row >= p.n * p.groups)                                                       \
            return;                                                                        \
        const int count = p.last ? p.each * p.parts : p.parts;                             \
        const float m = (float)p.each * (float)p.space;                                    \
        const float *sums = p.sums + 2 * r.row * count;                                    \
        float mean = 0, square = 0;                                                        \
        for (int i = r.lane; i < count; i += 32) {                                         \
            const int rest = p.length - i % p.parts * p.chunk;                             \
            mean += sums[2 * i] * (float)(rest < p.chunk ? rest : p.chunk);                \
        }                                                                                  \
        mean = og_warp_sum(mean) / m;                                                      \
        for (int i = r.lane; i < count; i += 32) {                                         \
            const int rest = p.length - i % p.parts * p.chunk;                             \
            const float d = sums[2 * i] - mean;                                            \
            square += sums[2 * i + 1] + d * d * (float)(rest < p.chunk ? rest : p.chunk);  \
        }                                                                                  \
        og_group_factors f = {0};                                                          \
        f.centre = mean;                                                                   \
        f.rstd = 1.0f / sqrtf(og_warp_sum(square) / m + p.epsilon);                        \
        if (r.lane == 0 && p.mean)                                                         \
            p.mean[r.row] = mean;                                                          \
        if (r.lane == 0 && p.rstd)                                                         \
            p.rstd[r.row] = f.rstd;                                                        \
        og_group_factor_##suffix(p, r.row, r.lane, f);                                     \
    }                                                                                      \
    OG_KERNEL(og_group_grad_join_##suffix, og_group_arguments, p)                          \
    {                                                                                      \
        const og_row r = og_row_of(1);                                                     \
        if (r.row >= p.n * p.groups)                                                       \
            return;                                                                        \
        const int count = p.each * p.parts;                                                \
        const float m = (float)p.each * (float)p.space;                                    \
        const float *sums = p.sums + 2 * r.row * count;                                    \
        float sum = 0, sum_d = 0;                                                          \
        for (int i = r.lane; i < count; i += 32) {                                         \
            const int64_t c = (r.row * p.each + i / p.parts) % p.c;                        \
            const float scale = load(((const type *)p.scale)[c]);                          \
            sum += sums[2 * i] * scale;                                                    \
            sum_d += sums[2 * i + 1] * scale;                                              \
        }                                                                                  \
        sum = og_warp_sum(sum) / m;                                                        \
        sum_d = og_warp_sum(sum_d) / m;                                                    \
        og_group_factors f;                                                                \
        f.centre = p.mean[r.row];                                                          \
        f.rstd = p.rstd[r.row];                                                            \
        f.b = -f.rstd * f.rstd * f.rstd * sum_d;                                           \
        f.e = -f.rstd * sum;                                                               \
        og_group_factor_##suffix(p, r.row, r.lane, f);                                     \
    }                                                                                      \
    /* 32 channels by 8 rows of threads: each adds every eighth sample, then the eight are \
     * added. */                                                                           \
    OG_KERNEL(og_group_parameters_##suffix, og_group_arguments, p)                         \
    {                                                                                      \
        OG_SHARED(float, scratch, 2 * OG_GROUP_THREADS);                                   \
        const int lane = (int)threadIdx.x % 32, first = (int)threadIdx.x / 32;             \
        const int c = (int)blockIdx.x * 32 + lane;                                         \
        float dscale = 0, dbias = 0;                                                       \
        for (int64_t n = first; c < p.c && n < p.n; n += 8) {                              \
            const float *sums = p.sums + 2 * (n * p.c + c) * p.parts;                      \
            float sum_d = 0;                                                               \
            for (int i = 0; i < p.parts; i++) {                                            \
                dbias += sums[2 * i];                                                      \
                sum_d += sums[2 * i + 1];                                                  \
            }                                                                              \
            dscale += sum_d * p.rstd[n * p.groups + c / p.each];                           \
        }                                                                                  \
        scratch[threadIdx.x] = dscale;                                                     \
        scratch[OG_GROUP_THREADS + threadIdx.x] = dbias;                                   \
        __syncthreads();                                                                   \
        if (first != 0 || c >= p.c)                                                        \
            return;                                                                        \
        for (int i = 1; i < 8; i++) {                                                      \
            dscale += scratch[i * 32 + lane];                                              \
            dbias += scratch[OG_GROUP_THREADS + i * 32 + lane];                            \
        }                                                                                  \
        if (p.dscale)                                                                      \
            ((type *)p.dscale)[c] = store(dscale);                                         \
        if (p.dbias)                                                                       \
            ((type *)p.dbias)[c] = store(dbias);                                           \
    }
GROUP_JOIN(float, float, , )
GROUP_JOIN(half, uint16_t, og_half_to_float, og_float_to_half)
GROUP_JOIN(bfloat, uint16_t, og_bfloat_to_float, og_float_to_bfloat)

/* ---- the image, a part of a sample a block */

#define GROUP_APPLY(suffix, type, piece, vec, load, store)                                        \
    OG_KERNEL(og_group_apply_##suffix, og_group_arguments, p)                                     \
    {                                                                                             \
        const int64_t n = (int64_t)blockIdx.x / p.blocks, all = p.n * p.c;                        \
        const int each = p.c * p.space, run = p.last ? 1 : p.space;                               \
        const int from = (int)((int64_t)blockIdx.x % p.blocks) * OG_GROUP_PIECES;                 \
        const int to = each / vec - from < OG_GROUP_PIECES ? each / vec : from + OG_GROUP_PIECES; \
        const type *x = (const type *)p.x + n * each, *dy = (const type *)p.dy;                   \
        const float *centre = p.factors + n * p.c;                                                \
        dy = dy ? dy + n * each : dy;                                                             \
        for (int i = from + (int)threadIdx.x; i < to; i += (int)blockDim.x) {                     \
            const int at = i * vec;                                                               \
            int c = p.last ? at % p.c : at / p.space, place = p.last ? 0 : at % p.space;          \
            piece v, d;                                                                           \
            OG_LOAD_PIECE(v, x, i);                                                               \
            if (dy)                                                                               \
                OG_LOAD_PIECE(d, dy, i);                                                          \
            OG_UNROLL for (int e = 0; e < vec; e++)                                               \
            {                                                                                     \
                float out =                                                                       \
                    (load(v.e[e]) - centre[c]) * centre[2 * all + c] + centre[3 * all + c];       \
                if (dy)                                                                           \
                    out += load(d.e[e]) * centre[all + c];                                        \
                v.e[e] = store(out);                                                              \
                if (++place == run) {                                                             \
                    place = 0;                                                                    \
                    c++;                                                                          \
                }                                                                                 \
            }                                                                                     \
            OG_STORE_PIECE(v, (type *)p.out + n * each, i);                                       \
        }                                                                                         \
    }
OG_ROW_TYPES(GROUP_APPLY)
