/* What cuDNN's batch normalization keeps of the variance, turned back: it gives 1 / √(var + ε). */
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/kernel.h"

/* var = 1 / rstd² - ε */
OG_KERNEL(og_batch_norm_variance, og_variance_arguments, p)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < p.n) {
        const float var = 1 / (p.rstd[i] * p.rstd[i]) - p.epsilon;
        p.var[i] = var < 0 ? 0 : var;
    }
}
