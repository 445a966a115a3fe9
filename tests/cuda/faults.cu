/* Kernels that are right, and the same with a fault, for the tests of the simulated card. */
#include "kernels/cuda/kernel.h"
#include "tests/cuda/faults.h"

/* y[i] = x[n - 1 - i], through shared memory; n = blockDim.x */
OG_KERNEL(og_test_reverse, fault_arguments, p)
{
    OG_SHARED(float, row, 256);
    row[threadIdx.x] = p.x[threadIdx.x];
    __syncthreads();
    p.y[threadIdx.x] = row[p.n - 1 - threadIdx.x];
}

/* Reads what other threads may not have written yet. */
OG_KERNEL(og_test_reverse_without_barrier, fault_arguments, p)
{
    OG_SHARED(float, row, 256);
    row[threadIdx.x] = p.x[threadIdx.x];
    p.y[threadIdx.x] = row[p.n - 1 - threadIdx.x];
}

/* Some threads leave before the barrier. */
OG_KERNEL(og_test_barrier_in_branch, fault_arguments, p)
{
    if (threadIdx.x < 40)
        __syncthreads();
    p.y[threadIdx.x] = p.x[threadIdx.x];
}

/* Some lanes leave before the shuffle. */
OG_KERNEL(og_test_shuffle_in_branch, fault_arguments, p)
{
    float v = p.x[threadIdx.x];
    if (threadIdx.x % 2)
        v = __shfl_xor_sync(~0u, v, 1);
    p.y[threadIdx.x] = v;
}

/* Sums of rows of n elements, one a block, by shuffles and shared memory. */
OG_KERNEL(og_test_row_sums, fault_arguments, p)
{
    OG_SHARED(float, scratch, 32);
    float sum = 0, top = -INFINITY;
    for (int i = (int)threadIdx.x; i < p.n; i += (int)blockDim.x) {
        sum += p.x[(int64_t)blockIdx.x * p.n + i];
        top = fmaxf(top, p.x[(int64_t)blockIdx.x * p.n + i]);
    }
    sum = og_block_sum(sum, scratch);
    top = og_block_max(top, scratch);
    if (threadIdx.x == 0) {
        p.y[2 * blockIdx.x] = sum;
        p.y[2 * blockIdx.x + 1] = top;
    }
}

/* Dynamic shared memory, and a ballot. */
OG_KERNEL(og_test_count, fault_arguments, p)
{
    OG_SHARED_DYNAMIC(uint32_t, bits);
    uint32_t warp = threadIdx.x / 32, mine = __ballot_sync(~0u, p.x[threadIdx.x] > 0);
    if (threadIdx.x % 32 == 0)
        bits[warp] = mine;
    __syncthreads();
    p.y[threadIdx.x] = bits[warp] >> (threadIdx.x % 32) & 1 ? 1.0f : 0.0f;
}
