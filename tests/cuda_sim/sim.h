/* What a test says to the simulated card, before a device is opened. */
#ifndef OG_TESTS_CUDA_SIM_SIM_H
#define OG_TESTS_CUDA_SIM_SIM_H

#include "kernels/cuda/driver.h"

/* The card's memory, 8 GB unless said; the compute capability, 90. */
void og_sim_set_memory(uint64_t bytes);
void og_sim_set_sm(int sm);
/* Is asked whether there is a plan for each fusion that is planned, and what workspace it needs;
 * NULL: the card's own rules alone. */
typedef og_status og_sim_planner(const og_cuda_fusion *fusion, size_t *workspace, og_error *error);
void og_sim_set_planner(og_sim_planner *planner);
/* The order in which work is done, and threads run, follows from the seed (OG_SIM_SEED, or 1). */
void og_sim_set_seed(uint64_t seed);
uint64_t og_sim_seed(void);

#endif
