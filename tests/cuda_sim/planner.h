/* Who says whether there is a plan for a fusion, and what workspace it needs. */
#ifndef OG_TESTS_CUDA_SIM_PLANNER_H
#define OG_TESTS_CUDA_SIM_PLANNER_H

#include "kernels/cuda/driver.h"

typedef og_status sim_planner(const og_cuda_fusion *fusion, size_t *workspace, og_error *error);
/* cudnn.c: cuDNN, where the environment asks for it; NULL: the card's own rules. */
sim_planner *sim_cudnn_planner(void);

#endif
