/* Fusions that the simulated card has met, as files for tests/cuda/cudnn_fusions.c. */
#ifndef OG_TESTS_CUDA_SIM_FUSIONS_H
#define OG_TESTS_CUDA_SIM_FUSIONS_H

#include "kernels/cuda/driver.h"

/* Into the build folder, under a hash of what is in it. */
void sim_fusion_leave(const og_cuda_fusion *fusion);
/* False: no such file, or one that another tree has left, whose card took what this one does not.
 */
bool sim_fusion_read(const char *path, og_cuda_fusion *fusion);
/* Its operations, and types and dims of the first one's first one or two operands. */
void sim_fusion_text(const og_cuda_fusion *fusion, char *text, size_t size);
/* Adds a line to the file that the environment names, OG_SIM_FUSIONS: "planned BYTES" or, workspace
 * NULL, "refused", that text, why. */
void sim_fusion_say(const og_cuda_fusion *fusion, const size_t *workspace, const char *why);

#endif
