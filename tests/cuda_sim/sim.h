/* What a test says to the simulated card, before a device is opened. */
#ifndef OG_TESTS_CUDA_SIM_SIM_H
#define OG_TESTS_CUDA_SIM_SIM_H

#include "kernels/cuda/driver.h"

/* 0: what the environment says (OG_SIM_MEMORY, in bytes; OG_SIM_SM; OG_SIM_SEED), or 8 GB; compute
 * capability 90; 1. */
void og_sim_set_memory(uint64_t bytes);
void og_sim_set_sm(int sm);
/* The order in which work is done, and threads run, follows from the seed. */
void og_sim_set_seed(uint64_t seed);
uint64_t og_sim_seed(void);
/* Products that the card's library has no way to compute, of which cuBLASLt's documentation says
 * less than there are: those with an epilogue whose bit, 1 << og_cuda_epilogue, is in `epilogues`,
 * and those for addresses of less than `alignment`. Before it is called, what OG_SIM_REFUSE names:
 * "epilogues", all there are, and "unaligned", less than 16, with a comma between them. */
void og_sim_set_refused(uint32_t epilogues, size_t alignment);

/* Products: the card's library has so many ways for each, which differ in their workspaces and in
 * what a run takes by the card's clock, in ms (negative: it refuses to run). */
enum { OG_SIM_WAYS = 4 };
uint64_t og_sim_workspace(int way);
void og_sim_set_times(const float ms[OG_SIM_WAYS]);
/* Times that any card was asked to time a product. */
int og_sim_timed(void);
/* Are fusions left for cudnn_fusions.c, as they are unless said? Not those that no kernel would
 * describe. */
void og_sim_leave_fusions(bool leave);

#endif
