/* Choices of products (tuning.h). A file holds its whole key, so that no hash decides what is
 * computed. */
#include "kernels/cuda/tuning.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cache.h"

#define NOISE 1.02F /* times that differ by less are the same */

void og__tuning_key(og_text *key, const og_cuda_product *p, const char *device, uint64_t library)
{
    og_text_printf(key, "%s, library %" PRIu64, device, library);
    og_text_printf(key, ", m %" PRId64 " n %" PRId64 " k %" PRId64 " batch %" PRId64, p->m, p->n,
                   p->k, p->batch);
    og_text_printf(key, ", types %d %d %d %d %d, arithmetic %d", p->a, p->b, p->c, p->d, p->bias,
                   p->arithmetic);
    og_text_printf(key, ", transposed %d %d", p->transpose_a, p->transpose_b);
    og_text_printf(key, ", ld %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, p->lda, p->ldb, p->ldc,
                   p->ldd);
    og_text_printf(key, ", strides %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, p->stride_a,
                   p->stride_b, p->stride_c, p->stride_d);
    og_text_printf(key, ", epilogue %d %" PRId64 ", reads c %d, scalars %d", p->epilogue, p->ldaux,
                   p->reads_c, p->scalars_on_device);
    og_text_printf(key, ", workspace %zu, alignment %zu", p->workspace_limit, p->alignment);
}

static bool find_path(const char *key, char path[OG__CACHE_PATH])
{
    char name[64];
    snprintf(name, sizeof name, "product-%016" PRIx64,
             og__cache_hash(OG__CACHE_HASH, key, strlen(key)));
    return og__cache_path(path, name);
}

bool og__tuning_keeps(void)
{
    char path[OG__CACHE_PATH];
    return og__cache_path(path, "product");
}

/* A file: the key with its NUL, then the way. */
bool og__tuning_read(const char *key, og_cuda_way *way)
{
    char path[OG__CACHE_PATH];
    size_t bytes, length = strlen(key) + 1;
    char *data = find_path(key, path) ? og__cache_read(path, &bytes) : NULL;
    bool known = data && bytes == length + sizeof *way && memcmp(data, key, length) == 0;
    if (known)
        memcpy(way, data + length, sizeof *way);
    free(data);
    return known;
}

void og__tuning_write(const char *key, const og_cuda_way *way)
{
    char path[OG__CACHE_PATH];
    size_t length = strlen(key) + 1;
    char *data = malloc(length + sizeof *way);
    if (data && find_path(key, path)) {
        memcpy(data, key, length);
        memcpy(data + length, way, sizeof *way);
        og__cache_write(path, data, length + sizeof *way);
    }
    free(data);
}

int og__tuning_fastest(const float *ms, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (ms[i] >= 0 && (best < 0 || ms[i] < ms[best]))
            best = i;
    for (int i = 0; i < best; i++)
        if (ms[i] >= 0 && ms[i] <= ms[best] * NOISE)
            return i;
    return best;
}
