/* Descriptions of fusions as files: a tag that stands for driver.h, and the struct as it is. */
#include "tests/cuda_sim/fusions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cuda/cache.h"
#include "tests/cuda_sim/internal.h"

static const char tag[] = OG_SIM_DRIVER; /* a hash of driver.h's text */

void sim_fusion_leave(const og_cuda_fusion *fusion)
{
    char path[512], temporary[512];
    uint64_t h = og__cache_hash(OG__CACHE_HASH, tag, sizeof tag);
    h = og__cache_hash(h, fusion, sizeof *fusion);
    mkdir(OG_SIM_CACHE, 0777);
    snprintf(path, sizeof path, OG_SIM_CACHE "/%016llx.fusion", (unsigned long long)h);
    if (access(path, R_OK) == 0)
        return;
    snprintf(temporary, sizeof temporary, OG_SIM_CACHE "/%016llx.%d", (unsigned long long)h,
             (int)getpid());
    FILE *f = fopen(temporary, "wb");
    if (!f)
        return;
    bool ok = fwrite(tag, sizeof tag, 1, f) == 1 && fwrite(fusion, sizeof *fusion, 1, f) == 1;
    if (fclose(f) != 0 || !ok || rename(temporary, path) != 0)
        unlink(temporary);
}

bool sim_fusion_read(const char *path, og_cuda_fusion *fusion)
{
    char found[sizeof tag];
    FILE *f = fopen(path, "rb");
    bool ok = f && fread(found, sizeof found, 1, f) == 1 && memcmp(found, tag, sizeof tag) == 0 &&
              fread(fusion, sizeof *fusion, 1, f) == 1 && fgetc(f) == EOF &&
              !sim_fusion_wrong(fusion) && !sim_fusion_refused(fusion);
    if (f)
        fclose(f);
    return ok;
}

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

void sim_fusion_text(const og_cuda_fusion *f, char *text, size_t size)
{
    size_t n = 0;
#define ADD(...) n += n < size ? (size_t)snprintf(text + n, size - n, __VA_ARGS__) : 0
    for (int i = 0; i < f->n_operations; i++)
        ADD("%s%s", i ? "+" : "", name_of(&f->operations[i]));
    for (int i = 0; i < 2 && f->operations[0].in[i]; i++) {
        const og_cuda_tensor *t = &f->tensors[f->operations[0].in[i]];
        ADD(" %s", og_dtype_name(t->dtype));
        for (int a = 0; a < t->rank; a++)
            ADD("%c%lld", a ? 'x' : '[', (long long)t->dims[a]);
        ADD("]");
    }
#undef ADD
}

void sim_fusion_say(const og_cuda_fusion *fusion, const size_t *workspace, const char *why)
{
    char text[1024];
    const char *path = getenv("OG_SIM_FUSIONS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file)
        return;
    sim_fusion_text(fusion, text, sizeof text);
    if (workspace)
        fprintf(file, "planned %zu %s %s\n", *workspace, text, why);
    else
        fprintf(file, "refused %s %s\n", text, why);
    fclose(file);
}
