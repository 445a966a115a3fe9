/* The driver of a build without the CUDA toolkit: there are no cards. */
#include "kernels/cuda/driver.h"

static int count(const char **why)
{
    *why = "this ongrad was built without CUDA";
    return 0;
}

const og_cuda_driver *og_cuda_driver_get(void)
{
    static const og_cuda_driver none = {.count = count};
    return &none;
}
