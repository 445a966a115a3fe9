/* Fusions of the simulated card planned by cuDNN itself, without a card: OG_SIM_CUDNN names a
 * device's description (a JSON file of tests/cuda/). Kernels then get the engines' workspaces, and
 * are refused what cuDNN refuses. With OG_SIM_CUDNN_COMPILES, kernels that cuDNN has to compile are
 * compiled, too. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/cuda_sim/planner.h"

#ifdef OG_HAS_CUDNN

#include <dlfcn.h>

#include "kernels/cuda/driver_cuda.h"
#include "tests/cuda_sim/fusions.h"

static char *device; /* the description */

static og_status plan(const og_cuda_fusion *f, size_t *workspace, og_error *error)
{
    og_cuda_fused *made = NULL;
    og_status status = og__cudnn_plan_without(device, f, &made, workspace, error);
    if (status == OG_OK && getenv("OG_SIM_CUDNN_COMPILES"))
        status = og__cudnn_compile(made, error);
    sim_fusion_say(f, status == OG_OK ? workspace : NULL, og_error_text(error));
    og__cudnn_free(NULL, made);
    return status;
}

static char *read_all(const char *path)
{
    enum { MOST = 1 << 16 };
    FILE *file = fopen(path, "r");
    char *text = file ? calloc(1, MOST) : NULL;
    if (text && fread(text, 1, MOST - 1, file) == 0) {
        free(text);
        text = NULL;
    }
    if (file)
        fclose(file);
    return text;
}

sim_planner *sim_cudnn_planner(void)
{
    const char *path = getenv("OG_SIM_CUDNN");
    if (!path)
        return NULL;
    /* What is loaded under this name is what cuDNN finds. */
    if (!device &&
        (!dlopen(OG_SIM_STUB_DRIVER, RTLD_NOW | RTLD_GLOBAL) || !(device = read_all(path)))) {
        fprintf(stderr, "simulated card: OG_SIM_CUDNN=%s cannot be read\n", path);
        abort();
    }
    return plan;
}

#else

sim_planner *sim_cudnn_planner(void)
{
    return NULL;
}

#endif
