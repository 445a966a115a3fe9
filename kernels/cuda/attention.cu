/* What attention by a library leaves over (attention_cudnn.c): rows that attend to nothing. */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/kernel.h"

/* y is 0 where a row's probabilities are NaN, or it has none: rows of -∞ alone. */
OG_KERNEL(og_attention_clear, og_attention_clear_arguments, p)
{
    const int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= p.rows || p.statistics[row] > -INFINITY)
        return;
    const int64_t s = row % p.S, h = row / p.S % p.H, b = row / p.S / p.H;
    for (int e = 0; e < p.E; e++)
        p.y[((b * p.S + s) * p.H + h) * p.E + e] = 0;
}

/* log Σ exp of a row's scores; +∞, of which exp makes probabilities of 0, where that is NaN and
 * shall be none. */
OG_KERNEL(og_attention_join, og_attention_join_arguments, p)
{
    const int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= p.rows)
        return;
    const float statistics = p.top[row] + p.log_sum[row];
    p.statistics[row] = p.zero_nan && !(statistics > -INFINITY) ? INFINITY : statistics;
}
