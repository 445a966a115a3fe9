/* What a test says to the simulated card, before a device is opened. */
#ifndef OG_TESTS_CUDA_SIM_SIM_H
#define OG_TESTS_CUDA_SIM_SIM_H

#include "kernels/cuda/driver.h"

/* The card's memory, 8 GB unless said; the compute capability, 90. */
void og_sim_set_memory(uint64_t bytes);
void og_sim_set_sm(int sm);
/* The order in which work is done, and threads run, follows from the seed (OG_SIM_SEED, or 1). */
void og_sim_set_seed(uint64_t seed);
uint64_t og_sim_seed(void);

#endif
