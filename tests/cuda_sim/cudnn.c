/* Fusions of the simulated card planned by cuDNN itself, without a card: OG_SIM_CUDNN names a
 * device's description (a JSON file of tests/cuda/). Kernels then get the engines' workspaces, and
 * are refused what cuDNN refuses. With OG_SIM_CUDNN_COMPILES, kernels that cuDNN has to compile are
 * compiled, too. What it said of each fusion goes to the file OG_SIM_FUSIONS. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/cuda_sim/planner.h"

#ifdef OG_HAS_CUDNN

#include <dlfcn.h>

#include "kernels/cuda/driver_cuda.h"

static char *device; /* the description */

static const char *name_of(const og_cuda_operation *o)
{
    static const char *const names[] = {
        [OG_CUDA_CONV] = "conv",
        [OG_CUDA_CONV_GRAD_DATA] = "conv_grad_data",
        [OG_CUDA_CONV_GRAD_WEIGHTS] = "conv_grad_weights",
        [OG_CUDA_MATMUL] = "matmul",
        [OG_CUDA_POINTWISE] = "pointwise",
        [OG_CUDA_REDUCTION] = "reduction",
        [OG_CUDA_RESHAPE] = "reshape",
        [OG_CUDA_NORM] = "norm",
        [OG_CUDA_NORM_GRAD] = "norm_grad",
        [OG_CUDA_POOL] = "pool",
        [OG_CUDA_POOL_GRAD] = "pool_grad",
    };
    return names[o->kind];
}

/* One line: planned BYTES or refused, the operations, dims of the first one or two operands, why.
 */
static void say(const og_cuda_fusion *f, const size_t *workspace, const char *why)
{
    const char *path = getenv("OG_SIM_FUSIONS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file)
        return;
    if (workspace)
        fprintf(file, "planned %zu", *workspace);
    else
        fprintf(file, "refused");
    for (int i = 0; i < f->n_operations; i++)
        fprintf(file, "%s%s", i ? "+" : " ", name_of(&f->operations[i]));
    for (int i = 0; i < 2 && f->operations[0].in[i]; i++) {
        const og_cuda_tensor *t = &f->tensors[f->operations[0].in[i]];
        fprintf(file, " %s", og_dtype_name(t->dtype));
        for (int a = 0; a < t->rank; a++)
            fprintf(file, "%c%lld", a ? 'x' : '[', (long long)t->dims[a]);
        fputc(']', file);
    }
    fprintf(file, " %s\n", why);
    fclose(file);
}

static og_status plan(const og_cuda_fusion *f, size_t *workspace, og_error *error)
{
    og_cuda_fused *made = NULL;
    og_status status = og__cudnn_plan_without(device, f, &made, workspace, error);
    if (status == OG_OK && getenv("OG_SIM_CUDNN_COMPILES"))
        status = og__cudnn_compile(made, error);
    say(f, status == OG_OK ? workspace : NULL, og_error_text(error));
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
